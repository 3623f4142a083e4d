//! What of a listener's servers a caller may reach by CONNECT: it can only have fewer.

use toml::Spanned;

use super::Config;
use super::mistake::ConfigMistake;
use super::sections::{CallerSection, ListenerSection};
use super::settings::CallerReach;
use crate::proxy::connect::TunnelTarget;

impl Config {
    /// What a caller may reach; `None` if that is all of its listener's.
    pub(super) fn caller_reach(
        &self,
        caller: &CallerSection,
        listener: &ListenerSection,
    ) -> Result<Option<CallerReach>, ConfigMistake> {
        if caller.intercept.is_none() && caller.tunnel.is_none() {
            return Ok(None);
        }
        let same = |own: &str, listed: &str| own == listed;
        let intercept = self.narrowed("intercept", caller.intercept.as_deref(), &listener.intercept, same)?;
        let same = |own: &str, listed: &str| TunnelTarget::parse(own) == TunnelTarget::parse(listed);
        let tunnel = self.narrowed("tunnel", caller.tunnel.as_deref(), &listener.tunnel, same)?;
        // One that cannot be read is told at the listener's own list.
        let tunnel = tunnel.iter().filter_map(|text| TunnelTarget::parse(text).ok()).collect();
        Ok(Some(CallerReach { intercept, tunnel }))
    }

    fn narrowed(
        &self,
        key: &str,
        own: Option<&[Spanned<String>]>,
        listed: &[Spanned<String>],
        same: impl Fn(&str, &str) -> bool,
    ) -> Result<Vec<String>, ConfigMistake> {
        let Some(own) = own else { return Ok(listed.iter().map(|entry| entry.get_ref().clone()).collect()) };
        for entry in own {
            if !listed.iter().any(|listed| same(entry.get_ref(), listed.get_ref())) {
                let message = format!(
                    "{:?} is not in {key} of the listener, and a caller can only have fewer: add it there, or leave it out",
                    entry.get_ref()
                );
                return Err(self.mistake(entry, message));
            }
        }
        Ok(own.iter().map(|entry| entry.get_ref().clone()).collect())
    }
}
