//! What the tables of instances say: where each is, as whom it is called, how fast.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use http::uri::{Authority, PathAndQuery};
use toml::Spanned;
use zeroize::Zeroizing;

use super::Config;
use super::host::InstanceHost;
use super::instance_site::{InstanceSite, ServerConfig};
use super::mistake::ConfigMistake;
use super::sections::{InstanceSection, RateSection};
use super::settings::InstanceConfig;
use super::value::{ClientId, ClientSecret, InstanceAddress, ProxyChoice, Reference, SecretText};
use crate::base::secret::Secret;
use crate::base::secret::source::{SecretSource, SourceError};
use crate::net::dial::proxy::HttpProxy;
use crate::net::tls::{TlsError, Trust};
use crate::observe::logging::ErrorChain;
use crate::proxy::rate_limit::RateLimits;
use crate::proxy::token::credentials::{Credentials, CredentialsError};

/// The most of `requests-per-second`.
const MAX_PER_SECOND: f64 = 1e6;

/// What is said of one without the other.
pub(super) const PAIR: &str = "certificate and key belong together: give both, or leave both out";

impl Config {
    pub(super) fn instance(&self, name: &str, file: &InstanceSection) -> Result<InstanceConfig, ConfigMistake> {
        let origin = match self.site(file)? {
            None => None,
            Some(site) => Some(ServerConfig { site, credentials: Arc::new(self.credentials(name, file)?) }),
        };
        let users = self.users(name, file, origin.as_ref())?;
        let (name, token_path) = (name.to_owned(), file.token_path.get_ref().clone());
        let rate = file.rate.as_ref().map(|rate| self.limits(rate)).transpose()?;
        Ok(InstanceConfig {
            name,
            origin,
            token_path,
            client_auth: file.client_auth,
            users,
            rate,
            doctor: self.command("doctor"),
        })
    }

    pub(super) fn limits(&self, file: &RateSection) -> Result<RateLimits, ConfigMistake> {
        let RateSection { requests_per_second, burst, concurrent, wait, retry_after_max } = file;
        let pace = match (requests_per_second, burst) {
            (Some(per_second), burst) => {
                let per_second = self.per_second(per_second)?;
                let default = NonZeroU32::new(per_second.ceil() as u32).unwrap_or(NonZeroU32::MIN);
                Some((per_second, burst.as_ref().map_or(default, |burst| *burst.get_ref())))
            }
            (None, Some(burst)) => {
                return Err(
                    self.mistake(burst, "burst belongs to requests-per-second: give that too, or leave burst out")
                );
            }
            (None, None) => None,
        };
        Ok(RateLimits { pace, concurrent: *concurrent, wait: wait.0, retry_after_max: retry_after_max.0 })
    }

    fn per_second(&self, place: &Spanned<f64>) -> Result<f64, ConfigMistake> {
        let number = *place.get_ref();
        if number > 0.0 && number <= MAX_PER_SECOND {
            return Ok(number);
        }
        let hint = "write a number above 0 and up to 1000000, such as 10 or 0.5, or leave the key out";
        Err(self.mistake(place, format!("{number} is out of range: {hint}")))
    }

    /// Where an instance is, and whom to trust there; `None` for the sandbox.
    pub(crate) fn site(&self, file: &InstanceSection) -> Result<Option<InstanceSite>, ConfigMistake> {
        let (tls, authority) = match file.host.get_ref() {
            InstanceHost::Sandbox => {
                return self.without_addresses(file, "the sandbox is a part of this process").map(|()| None);
            }
            InstanceHost::Https(authority) => (true, authority.clone()),
            InstanceHost::Http(authority) => (false, authority.clone()),
        };
        let path = file.token_path.get_ref();
        if !path.starts_with('/') || path.contains('#') || PathAndQuery::try_from(path.as_str()).is_err() {
            let message =
                format!("{path:?} is not a path: it begins with / and has no blanks, such as \"/ws/oauth/token\"");
            return Err(self.mistake(&file.token_path, message));
        }
        let proxy = self.proxy(file, &authority, tls)?;
        let trust = if tls { Some(self.trust(file)?) } else { None };
        let addresses = self.addresses(file, proxy.as_deref(), tls)?;
        Ok(Some(InstanceSite { authority, trust, proxy, addresses }))
    }

    /// Those that the file names in the place of DNS.
    fn addresses(
        &self,
        file: &InstanceSection,
        proxy: Option<&HttpProxy>,
        tls: bool,
    ) -> Result<Vec<IpAddr>, ConfigMistake> {
        let Some(place) = &file.addresses else { return Ok(Vec::new()) };
        let addresses: Vec<IpAddr> = place.get_ref().iter().map(|InstanceAddress(ip)| *ip).collect();
        if addresses.is_empty() {
            return Err(self.mistake(place, "the list is empty: write at least one address, or leave addresses out"));
        }
        if let Some(proxy) = proxy {
            let why = format!(
                "the HTTP proxy {proxy} is on the way, and it looks up the name itself: leave addresses out, or write proxy = \"none\" to connect without it"
            );
            return Err(self.mistake(place, why));
        }
        if let Some(ip) = addresses.iter().find(|ip| !tls && !ip.to_canonical().is_loopback()) {
            let why = format!(
                "{ip} is not on this machine, and http:// would send the client secret there in clear text: use https://"
            );
            return Err(self.mistake(place, why));
        }
        Ok(addresses)
    }

    fn without_addresses(&self, file: &InstanceSection, because: &str) -> Result<(), ConfigMistake> {
        let message =
            || format!("{because}, and has no other address: leave addresses out, or write the host of an instance");
        file.addresses.as_ref().map_or(Ok(()), |place| Err(self.mistake(place, message())))
    }

    /// The proxy that the file names, or the environment. Blocks.
    fn proxy(
        &self,
        file: &InstanceSection,
        authority: &Authority,
        tls: bool,
    ) -> Result<Option<Arc<HttpProxy>>, ConfigMistake> {
        let elsewhere = file.proxy.as_ref().is_none_or(|place| matches!(place.get_ref(), ProxyChoice::Reference(_)));
        if self.offline && elsewhere {
            return Ok(None);
        }
        let Some(place) = &file.proxy else {
            let port = authority.port_u16().unwrap_or(443);
            let proxy = HttpProxy::of_environment(authority.host(), port, |name| std::env::var(name).ok());
            let wrong = |error| {
                let hint = "correct the environment, or give proxy here, which has precedence (\"none\": no proxy)";
                format!("HTTPS_PROXY of the environment: {}; {hint}", ErrorChain(&error))
            };
            let proxy =
                proxy.map_err(|error| self.about(&["instances", self.name_of(file), "proxy"], &[], wrong(error)))?;
            return Ok(proxy.filter(|_| tls).map(Arc::new));
        };
        let text = match place.get_ref() {
            ProxyChoice::None => return Ok(None),
            ProxyChoice::Url(SecretText(text)) => Zeroizing::new(text.clone()),
            ProxyChoice::Reference(reference) => {
                let read = self.referred(reference).and_then(|source| source.read());
                read.map_err(|error| self.mistake(place, error.to_string()))?.expose()
            }
        };
        if !tls {
            let message = "a host in clear text is on this machine, where no proxy can be on the way: leave proxy out";
            return Err(self.mistake(place, message));
        }
        HttpProxy::parse(&text)
            .map(|proxy| Some(Arc::new(proxy)))
            .map_err(|error| self.mistake(place, error.to_string()))
    }

    /// Reads the credentials of an instance that is not the sandbox. Blocks.
    pub(crate) fn credentials(&self, name: &str, file: &InstanceSection) -> Result<Credentials, ConfigMistake> {
        let id = match file.client_id.get_ref() {
            ClientId::Plain(id) => Ok(SecretSource::Given(Secret::new(id.clone()))),
            ClientId::Reference(reference) => self.referred(reference),
        };
        let id = id.map_err(|error| self.no_credential(name, "client-id", &file.client_id, &error))?;
        let ClientSecret(reference) = file.client_secret.get_ref();
        let missing = |error: &SourceError| self.no_credential(name, "client-secret", &file.client_secret, error);
        let secret = self.referred(reference).map_err(|error| missing(&error))?;
        Credentials::read(id, secret).map_err(|error| match error {
            CredentialsError::Id(error) => self.no_credential(name, "client-id", &file.client_id, &error),
            CredentialsError::Secret(error) => missing(&error),
        })
    }

    pub(super) fn referred(&self, reference: &Reference) -> Result<SecretSource, SourceError> {
        match reference {
            Reference::Env(name) => Ok(SecretSource::Env(name.clone())),
            Reference::File(path) => Ok(SecretSource::File(self.beside(path))),
            Reference::Credential(name) => SecretSource::credential(name),
            Reference::Command(words) => Ok(SecretSource::Command(words.clone())),
        }
    }

    /// A default is nowhere in the file.
    fn no_credential<T>(&self, instance: &str, key: &str, place: &Spanned<T>, error: &SourceError) -> ConfigMistake {
        let unset = matches!(error, SourceError::NoVariable(_));
        let hint = if unset { format!(": set it, or give {key} as {{ file = \"PATH\" }}") } else { String::new() };
        match place.span() {
            span if span.is_empty() => self.about(&["instances", instance, key], &[], format!("{error}{hint}")),
            _ => self.mistake(place, format!("{error}{hint}")),
        }
    }

    fn trust(&self, file: &InstanceSection) -> Result<Trust, ConfigMistake> {
        let trust = match &file.ca_file {
            _ if self.offline => return self.trust_offline(file),
            Some(path) => {
                let loaded = Trust::load(Some(&self.beside(path.get_ref())));
                loaded.map_err(|error| self.mistake(path, error.to_string()))?
            }
            None => {
                let loaded = Trust::load(None);
                let wrong = |error| {
                    self.about(&["instances", self.name_of(file), "ca-file"], &[], ErrorChain(&error).to_string())
                };
                loaded.map_err(wrong)?
            }
        };
        match (&file.certificate, &file.key) {
            (None, None) => Ok(trust),
            (Some(certificate), Some(key)) => {
                trust.showing(&self.beside(certificate.get_ref()), &self.beside(key.get_ref())).map_err(|error| {
                    let place = if matches!(error, TlsError::Key(_)) { key } else { certificate };
                    self.mistake(place, error.to_string())
                })
            }
            (Some(place), None) | (None, Some(place)) => Err(self.mistake(place, PAIR)),
        }
    }

    pub(super) fn name_of(&self, file: &InstanceSection) -> &str {
        let found = self.file.instances.iter().find(|(_, own)| std::ptr::eq(*own, file));
        found.map_or("main", |(name, _)| name)
    }
}
