//! Quotas of listeners and callers: what is written becomes limits, and what of it can never be reached.

use toml::Spanned;

use super::mistake::ConfigMistake;
use super::sections::QuotaSection;
use super::warnings::Warning;
use super::{CallerConfig, Config, ListenerConfig};
use crate::proxy::quota::{ByKind, QuotaConfig, QuotaLimit};

impl Config {
    /// The limits of a table `quota`; none without one.
    pub(super) fn quota(&self, file: Option<&Spanned<QuotaSection>>) -> Result<ByKind<QuotaLimit>, ConfigMistake> {
        let Some(file) = file else { return Ok(ByKind::default()) };
        let QuotaSection { requests, writes, critical } = *file.get_ref();
        let limits = ByKind { requests, writes, critical };
        if limits.is_empty() {
            let message = "this quota limits nothing: write at least one of requests, writes and critical, such as quota = { requests = \"600/min\" }, or leave it out";
            return Err(self.mistake(file, message));
        }
        Ok(limits)
    }
}

impl ListenerConfig {
    /// Its quotas and those of its callers.
    pub fn quotas(&self) -> QuotaConfig {
        let own = |caller: &CallerConfig| (caller.entry.name.clone(), caller.quota.clone());
        QuotaConfig { listener: self.quota.clone(), callers: self.callers.iter().map(own).collect() }
    }

    /// Limits of callers that the listener's own keep from ever being reached.
    pub(super) fn quota_warnings(&self) -> Vec<Warning> {
        let name = &self.name;
        let of_caller = |caller: &CallerConfig| -> Vec<Warning> {
            let above = caller.quota.iter().filter_map(|(kind, own)| {
                let of_listener = self.quota.get(kind)?;
                (own.count() > of_listener.most_within(*own)).then_some((kind.as_str(), own, of_listener))
            });
            let told = above.map(|(kind, own, of_listener)| Warning {
                text: format!(
                    "listeners.{name}.callers.{}: quota.{kind} = \"{own}\" can never be reached, since all callers of the listener together have \"{of_listener}\"",
                    caller.entry.name
                ),
                fix: format!("write less, or more for {kind} in quota of [listeners.{name}]."),
            });
            told.collect()
        };
        self.callers.iter().flat_map(of_caller).collect()
    }
}
