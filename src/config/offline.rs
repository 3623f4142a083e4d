//! `check --offline`: a configuration that is to run elsewhere, checked without credentials, without the network, and
//! without files that this machine does not have.

use std::path::Path;

use toml::Spanned;

use super::host::InstanceHost;
use super::mistake::ConfigMistake;
use super::sections::{InstanceSection, TlsChoice};
use super::{Config, ListenerConfig};
use crate::net::listener;
use crate::net::tls::{TlsError, Trust};

impl Config {
    /// Checks from now on what the file says, and of other files what is here.
    pub(crate) fn offline(mut self) -> Self {
        self.offline = true;
        self
    }

    /// The listeners of a configuration that is otherwise right, too.
    pub(crate) fn check_offline(&self) -> Result<Vec<ListenerConfig>, ConfigMistake> {
        let listeners = self.listeners()?;
        self.log_filter()?;
        self.check_certificates(&listeners)?;
        for (name, file) in &self.file.instances {
            self.site(file)?;
            file.users.iter().try_for_each(|(user, file)| self.check_user(name, user, file).map(drop))?;
            file.rate.as_ref().map(|rate| self.limits(rate)).transpose()?;
        }
        self.audit()?;
        self.traces()?;
        self.check_notices_offline()?;
        Ok(listeners)
    }

    /// What was not checked, by key.
    pub(crate) fn unchecked(&self) -> Vec<String> {
        let instances =
            self.file.instances.iter().filter(|(_, file)| *file.host.get_ref() != InstanceHost::Sandbox).flat_map(
                |(name, file)| {
                    let credentials = format!("instances.{name}.client-id, client-secret: not read");
                    let files = [("ca-file", &file.ca_file), ("certificate", &file.certificate), ("key", &file.key)];
                    let missing = files.into_iter().filter_map(|(key, path)| Some((key, path.as_ref()?.get_ref())));
                    let missing = missing.filter(|(_, path)| !self.is_here(path));
                    let missing = missing.map(move |(key, path)| absent(&format!("instances.{name}.{key}"), path));
                    [credentials].into_iter().chain(missing)
                },
            );
        let listeners = self.file.listeners.iter().flat_map(|(name, file)| {
            let certificates = match file.tls.as_ref().map(Spanned::get_ref) {
                Some(TlsChoice::Files(files)) => {
                    let named = [
                        ("certificate", Some(files.certificate.get_ref())),
                        ("key", Some(files.key.get_ref())),
                        ("client-ca", files.client_ca.as_ref().map(Spanned::get_ref)),
                    ];
                    let missing = named.into_iter().filter_map(|(key, path)| Some((key, path?)));
                    let missing = missing.filter(|(_, path)| !self.is_here(path));
                    missing.map(|(key, path)| absent(&format!("listeners.{name}.tls.{key}"), path)).collect()
                }
                Some(TlsChoice::LocalCa(_)) | None => Vec::new(),
            };
            let unknown = |group: &&Spanned<String>| !matches!(listener::group(group.get_ref()), Ok(Some(_)));
            let group = file.group.iter().filter(unknown);
            let group =
                group.map(move |own| format!("listeners.{name}.group: this system has no group {:?}", own.get_ref()));
            certificates.into_iter().chain(group).collect::<Vec<_>>()
        });
        instances.chain(listeners).collect()
    }

    /// Whether all files of the certificate can be looked at.
    pub(super) fn are_here(&self, tls: &TlsChoice) -> bool {
        match tls {
            TlsChoice::LocalCa(_) => false,
            TlsChoice::Files(files) => {
                let all = [Some(&files.certificate), Some(&files.key), files.client_ca.as_ref()];
                all.into_iter().flatten().map(Spanned::get_ref).all(|path| self.is_here(path))
            }
        }
    }

    /// Reads of the certificates what is here.
    pub(super) fn trust_offline(&self, file: &InstanceSection) -> Result<Trust, ConfigMistake> {
        let mut trust = Trust::nobody();
        if let Some(path) = file.ca_file.as_ref().filter(|path| self.is_here(path.get_ref())) {
            trust = Trust::load(Some(&self.beside(path.get_ref())))
                .map_err(|error| self.mistake(path, error.to_string()))?;
        }
        let here = |path: &Spanned<std::path::PathBuf>| self.is_here(path.get_ref());
        match (&file.certificate, &file.key) {
            (Some(certificate), Some(key)) if here(certificate) && here(key) => {
                trust.showing(&self.beside(certificate.get_ref()), &self.beside(key.get_ref())).map_err(|error| {
                    self.mistake(if matches!(error, TlsError::Key(_)) { key } else { certificate }, error.to_string())
                })
            }
            (Some(place), None) | (None, Some(place)) => Err(self.mistake(place, super::instances::PAIR)),
            (Some(_), Some(_)) | (None, None) => Ok(trust),
        }
    }

    fn is_here(&self, path: &Path) -> bool {
        self.beside(path).exists()
    }
}

fn absent(key: &str, path: &Path) -> String {
    format!("{key}: {} is not on this machine", path.display())
}
