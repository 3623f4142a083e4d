//! The TLS of listeners: certificate and key, or the local CA, and the CA of callers.

use toml::Spanned;

use super::Config;
use super::mistake::ConfigMistake;
use super::sections::{TlsChoice, TlsSection};
use super::settings::ListenerConfig;
use crate::net::tls::local::{self, LocalCa};
use crate::net::tls::server::{CallerCertificates as Demand, Files, IdentitySource, ServerError};

impl Config {
    /// Where a listener's certificate comes from; `intercepted` are the names that it stands in for.
    pub(super) fn basis(
        &self,
        tls: &Spanned<TlsChoice>,
        names: &[String],
        intercepted: &[String],
    ) -> Result<IdentitySource, ConfigMistake> {
        match tls.get_ref() {
            TlsChoice::Files(files) => self.tls_files(files).map(IdentitySource::Files),
            TlsChoice::LocalCa(_) => {
                let vouched = |name: &String| local::NAMES.contains(&name.as_str()) || intercepted.contains(name);
                if let Some(name) = names.iter().find(|name| !vouched(name)) {
                    let message = format!(
                        "the local CA vouches for {} and the names of intercept only, not for {name:?}: leave the name out, give certificate and key, or add the name to intercept if callers take this proxy for it",
                        local::NAMES.join(", ")
                    );
                    return Err(self.mistake(tls, message));
                }
                LocalCa::find(intercepted.to_vec())
                    .map(IdentitySource::LocalCa)
                    .map_err(|error| self.mistake(tls, error.to_string()))
            }
        }
    }

    fn tls_files(&self, file: &TlsSection) -> Result<Files, ConfigMistake> {
        let clients = match (&file.client_ca, &file.client_auth) {
            (Some(path), demand) => Some((
                self.beside(path.get_ref()),
                demand.as_ref().map_or(Demand::Required, |demand| *demand.get_ref()),
            )),
            (None, Some(demand)) => {
                let message = "client-auth needs client-ca, the file of the certificates that vouch for callers";
                return Err(self.mistake(demand, message));
            }
            (None, None) => None,
        };
        Ok(Files {
            certificate: self.beside(file.certificate.get_ref()),
            key: self.beside(file.key.get_ref()),
            clients,
        })
    }

    /// Whether certificates and keys can be used. Reads them.
    pub(super) fn check_certificates(&self, listeners: &[ListenerConfig]) -> Result<(), ConfigMistake> {
        for ListenerConfig { name, tls, interception, .. } in listeners {
            let written = self.file.listeners.get(name);
            if let (Some(home), Some(place)) = (interception, written.and_then(|file| file.intercept.first()))
                && !self.offline
            {
                home.check().map_err(|error| self.mistake(place, error.to_string()))?;
            }
            let file = written.and_then(|file| file.tls.as_ref());
            let file = file.filter(|tls| !self.offline || self.are_here(tls.get_ref()));
            if let (Some(basis), Some(place)) = (tls, file) {
                basis.check().map_err(|error| match (place.get_ref(), &error) {
                    (TlsChoice::Files(file), ServerError::Key(_) | ServerError::Pair { .. }) => {
                        self.mistake(&file.key, error.to_string())
                    }
                    (TlsChoice::Files(file), ServerError::ClientCa(_) | ServerError::Clients { .. }) => {
                        self.mistake(file.client_ca.as_ref().unwrap_or(&file.certificate), error.to_string())
                    }
                    (TlsChoice::Files(file), _) => self.mistake(&file.certificate, error.to_string()),
                    (TlsChoice::LocalCa(_), _) => self.mistake(place, error.to_string()),
                })?;
            }
        }
        Ok(())
    }
}
