//! The names for which a listener stands in, and what its local CA is to vouch for.

use toml::Spanned;

use super::Config;
use super::mistake::ConfigMistake;
use crate::net::tls::local::{LocalCa, NAMES};
use crate::proxy::authn::host_name;
use crate::proxy::connect::TunnelTarget;

impl Config {
    /// The names of `intercept`.
    pub(super) fn intercepted(&self, names: &[Spanned<String>]) -> Result<Vec<String>, ConfigMistake> {
        let mut checked: Vec<String> = Vec::new();
        for name in names {
            let text = name.get_ref();
            host_name::check_plain(text).map_err(|error| self.mistake(name, format!("{text:?}: {error}")))?;
            if NAMES.contains(&text.as_str()) || text.ends_with(".localhost") {
                let message = format!("{text:?} is this machine itself, where callers need no CONNECT: leave it out");
                return Err(self.mistake(name, message));
            }
            // Name constraints hold for all names below one (RFC 5280 section 4.2.1.10).
            if !text.contains('.') {
                let message = format!(
                    "{text:?} has one part only, and the local CA could vouch for every name that ends with .{text}: write the whole name of the host"
                );
                return Err(self.mistake(name, message));
            }
            if checked.contains(text) {
                return Err(self.twice(name));
            }
            checked.push(text.clone());
        }
        Ok(checked)
    }

    /// The servers of `tunnel`, of a listener that intercepts these names.
    pub(super) fn tunnel(
        &self,
        entries: &[Spanned<String>],
        intercept: &[String],
    ) -> Result<Vec<TunnelTarget>, ConfigMistake> {
        let mut checked: Vec<TunnelTarget> = Vec::new();
        for entry in entries {
            let text = entry.get_ref();
            let target = TunnelTarget::parse(text);
            let target = target.map_err(|error| self.mistake(entry, format!("{text:?}: {error}")))?;
            if let Some(name) = intercept.iter().find(|name| target.is_https_of(name)) {
                let message = format!("{name:?} is in intercept too, and ends at this proxy: leave one out");
                return Err(self.mistake(entry, message));
            }
            if checked.contains(&target) {
                return Err(self.twice(entry));
            }
            checked.push(target);
        }
        Ok(checked)
    }

    fn twice(&self, entry: &Spanned<String>) -> ConfigMistake {
        self.mistake(entry, format!("{:?} is in the list twice: leave one out", entry.get_ref()))
    }

    /// The CA that vouches for the names of `intercept`, if there are any.
    pub(super) fn interception_ca(
        &self,
        written: &[Spanned<String>],
        names: &[String],
    ) -> Result<Option<LocalCa>, ConfigMistake> {
        let Some(first) = written.first() else { return Ok(None) };
        let found = LocalCa::find(names.to_vec()).map_err(|error| self.mistake(first, error.to_string()))?;
        Ok(Some(found))
    }
}
