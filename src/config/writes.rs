//! Whether writes are sent, as `writes` of listeners and callers says.

use toml::Spanned;

use super::Config;
use super::mistake::ConfigMistake;
use super::sections::WritesChoice;

/// Whether the writes of a listener are not sent.
pub(super) fn tries_writes(of_listener: Option<&Spanned<WritesChoice>>) -> bool {
    of_listener.is_some_and(|choice| *choice.get_ref() == WritesChoice::DryRun)
}

impl Config {
    /// Whether the writes of a caller are not sent.
    pub(super) fn caller_tries_writes(
        &self,
        own: Option<&Spanned<WritesChoice>>,
        of_listener: Option<&Spanned<WritesChoice>>,
    ) -> Result<bool, ConfigMistake> {
        match own.map(|choice| (*choice.get_ref(), choice)) {
            Some((WritesChoice::Send, place)) if tries_writes(of_listener) => {
                let message = "the listener has writes = \"dry-run\", and a caller can only narrow what its listener does: take this line out, or take it out of the listener and write writes = \"dry-run\" into each caller whose writes are not to be sent";
                Err(self.mistake(place, message))
            }
            Some((choice, _)) => Ok(choice == WritesChoice::DryRun),
            None => Ok(tries_writes(of_listener)),
        }
    }
}
