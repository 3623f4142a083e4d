//! Where the proxy tells what was done: the audit log, the operations used, and traces.

use std::path::{Path, PathBuf};

use reqwest::Url;

use super::mistake::ConfigMistake;
use super::sections::{AuditSection, TracesSection};
use super::{Config, ListenerConfig};
use crate::base::state::{MissingFolder, StateFolder};
use crate::net::listener::ListenAddress;
use crate::net::tls::Trust;
use crate::observe::audit_log;
use crate::observe::traces;

/// The least size of a file of the audit log, in bytes.
const MIN_AUDIT: u64 = 64 << 10;

impl Config {
    /// Where and how writes and refusals are recorded; `None`: they are not.
    pub fn audit(&self) -> Result<Option<audit_log::AuditConfig>, ConfigMistake> {
        let AuditSection { enabled, file, max_size, sync, on_failure } = &self.file.audit;
        let size = max_size.get_ref();
        if size.0 < MIN_AUDIT {
            return Err(self.mistake(max_size, format!("{:?} is too small: write 64KiB or more", size.to_string())));
        }
        if !enabled.unwrap_or(file.is_some()) {
            return Ok(None);
        }
        let file = match file {
            Some(file) => self.beside(file.get_ref()),
            None => self.folder("the audit log", "audit")?.audit(),
        };
        Ok(Some(audit_log::AuditConfig { file, max_size: size.0, sync: *sync, on_failure: *on_failure }))
    }

    /// Where the operations used are recorded.
    pub fn record(&self) -> Result<PathBuf, ConfigMistake> {
        match &self.file.learn.file {
            Some(path) => Ok(self.beside(path)),
            None => self.folder("the record of operations used", "learn").map(|folder| folder.learned()),
        }
    }

    /// Where spans go, and of which requests; `None`: nowhere.
    pub fn traces(&self) -> Result<Option<traces::TracesConfig>, ConfigMistake> {
        let TracesSection { endpoint, sample } = &self.file.traces;
        if !(0.0..=1.0).contains(sample.get_ref()) {
            let message = format!(
                "{} is out of range: write a number from 0 to 1, the part of all traces that is sent",
                sample.get_ref()
            );
            return Err(self.mistake(sample, message));
        }
        let Some(place) = endpoint else { return Ok(None) };
        let is_web = |url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host();
        let mut endpoint = Url::parse(place.get_ref()).ok().filter(is_web).ok_or_else(|| {
            let hint = "write the URL of a collector, such as http://127.0.0.1:4318";
            self.mistake(place, format!("{:?} is not an http or https URL: {hint}", place.get_ref()))
        })?;
        if endpoint.path() == "/" {
            endpoint.set_path("/v1/traces");
        }
        let trust = if endpoint.scheme() == "https" && !self.offline { Trust::load(None) } else { Ok(Trust::nobody()) };
        let trust = trust.map_err(|error| self.mistake(place, error.to_string()))?;
        Ok(Some(traces::TracesConfig { endpoint, trust, sample: *sample.get_ref() }))
    }

    /// Whether the folders of configured files can be made: a path that is typed wrong makes none.
    pub(super) fn check_folders(
        &self,
        listeners: &[ListenerConfig],
        record: Option<&Path>,
    ) -> Result<(), ConfigMistake> {
        if let Some(file) = self.file.audit.file.as_ref().filter(|_| self.file.audit.enabled.unwrap_or(true)) {
            MissingFolder::of(&self.beside(file.get_ref())).map_err(|error| self.mistake(file, error.to_string()))?;
        }
        if let Some(file) = record.filter(|_| self.file.learn.file.is_some()) {
            let mistake = |error: MissingFolder| self.about(&["learn", "file"], &[], error.to_string());
            MissingFolder::of(file).map_err(mistake)?;
        }
        for ListenerConfig { name, place, .. } in listeners {
            if let ListenAddress::Unix(file) = place {
                let mistake =
                    |error: MissingFolder| self.about(&["listeners", name, "address"], &[], error.to_string());
                MissingFolder::of(&file.path).map_err(mistake)?;
            }
        }
        Ok(())
    }

    fn folder(&self, what: &str, table: &str) -> Result<StateFolder, ConfigMistake> {
        let message = |error| format!("nowhere to write {what}: {error}; or write file = \"PATH\" in [{table}]");
        StateFolder::find().map_err(|error| self.about(&[table, "file"], &[&["listeners"]], message(error)))
    }
}
