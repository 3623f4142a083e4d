//! The configuration: a file as written becomes the settings of the stages, or one clear mistake.

pub mod admin_address;
mod caller_proofs;
pub(crate) mod catalog_file;
pub mod edit;
pub mod host;
mod instance_site;
mod key_position;
pub mod mistake;
mod observing;
mod offline;
pub mod policy_target;
pub mod published_catalog;
pub mod replacement;
mod sandbox_warning;
pub mod sections;
pub mod self_call;
pub mod units;
pub mod value;
pub(crate) mod warnings;
mod wording;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::uri::{Authority, PathAndQuery};
use toml::Spanned;
use tracing_subscriber::filter::Targets;
use zeroize::Zeroizing;

use crate::base::secret::Secret;
use crate::base::secret::source::{SecretSource, SourceError};
use crate::net::dial::proxy::HttpProxy;
use crate::net::listener::{self, ListenAddress, SocketFile};
use crate::net::tls::local::{self, LocalCa};
use crate::net::tls::server::{CallerCertificates as Demand, Files, IdentitySource, ServerError};
use crate::net::tls::{TlsError, Trust};
use crate::observe::audit_log;
use crate::observe::logging::{self, ErrorChain};
use crate::observe::traces;
use crate::proxy::authn::callers::CallerProofs;
use crate::proxy::authn::key::KeyHash;
use crate::proxy::authn::{browser, caller_name};
use crate::proxy::policy::catalog::{Catalog, Scope, ScopeSet};
use crate::proxy::policy::group::{self, Group};
use crate::proxy::policy::rule::Rule;
use crate::proxy::policy::{Groups, InstanceId, Policy, PolicyError, Rules};
use crate::proxy::rate_limit::RateLimits;
use crate::proxy::token::credentials::{Credentials, CredentialsError};
use crate::proxy::token::endpoint::ClientAuthMethod;
use host::InstanceHost;
pub use instance_site::{EndpointError, InstanceSite, ServerConfig, SiteError};
use mistake::ConfigMistake;
pub use sandbox_warning::SandboxWarning;
pub(crate) use sandbox_warning::is_set;
use sections::{CallerSection, ConfigFile, InstanceSection, ListenerSection, RateSection, TlsChoice, TlsSection};
use value::{Address, ClientId, ClientSecret, InstanceAddress, Mode, Permissions, ProxyChoice, Reference, SecretText};

/// Where a configuration is looked for if none is given.
pub const DEFAULT_FILE: &str = "config.toml";

/// The name of the built-in defaults in messages.
const BUILT_IN: &str = "built-in defaults";

/// The largest configuration file.
const MAX_FILE: u64 = 4 << 20;

/// The range of `limits.head`; hyper takes no less.
const MIN_HEAD: u64 = 8 << 10;
const MAX_HEAD: u64 = 1 << 20;

/// The most of `limits.headers`: a map of fields has no room for 25,000, and its parser takes time for each that there
/// may be.
const MAX_HEADERS: u16 = 10_000;
/// The least of `limits.buffers`: room for some large bodies.
const MIN_BUFFERS: u64 = 4 << 20;

/// The most of `requests-per-second`.
const MAX_PER_SECOND: f64 = 1e6;

/// What is said of one without the other.
const PAIR: &str = "certificate and key belong together: give both, or leave both out";

/// The default of a listener's `permissions`: the user of the process alone may connect.
const SOCKET_MODE: u32 = 0o600;

/// A configuration file that was read, and where it came from.
#[derive(Debug)]
pub struct Config {
    path: PathBuf,
    text: String,
    /// Whether it is for another machine, and is checked without what is there only.
    offline: bool,
    /// Its content, with defaults where it says nothing.
    pub file: ConfigFile,
}

/// What the stages are made of.
#[derive(Debug)]
pub struct Settings {
    /// By [`InstanceId`].
    pub instances: Vec<InstanceConfig>,
    /// In the order of their names.
    pub listeners: Vec<ListenerConfig>,
    /// Where the operations used are recorded, if a listener only observes its rules.
    pub record: Option<PathBuf>,
    /// The audit log, if it is enabled.
    pub audit: Option<audit_log::AuditConfig>,
    /// Where spans go, if anywhere.
    pub traces: Option<traces::TracesConfig>,
    /// Instances that are the sandbox although a tenant seems to be meant.
    pub doubts: Vec<SandboxWarning>,
}

/// A NinjaOne tenant.
#[derive(Debug)]
pub struct InstanceConfig {
    /// Its name in the configuration.
    pub name: String,
    /// Where it is, and whom we are there; `None` for the embedded sandbox.
    pub origin: Option<ServerConfig>,
    /// The path of its token endpoint.
    pub token_path: String,
    /// How that is given the credentials.
    pub client_auth: ClientAuthMethod,
    /// How fast requests go to it; `None`: as they come.
    pub rate: Option<RateLimits>,
    /// The command line that examines it.
    pub doctor: String,
}

/// What a listener or a caller says of what is open.
struct RulesFile<'a> {
    scopes: &'a Spanned<Vec<Spanned<String>>>,
    groups: &'a [Spanned<String>],
    allow: &'a [Spanned<String>],
    deny: &'a [Spanned<String>],
}

/// A local port.
#[derive(Debug)]
pub struct ListenerConfig {
    /// Its name in the configuration.
    pub name: String,
    /// Where it listens.
    pub place: ListenAddress,
    /// What its TLS is made of; `None` for clear text.
    pub tls: Option<IdentitySource>,
    /// Further names that callers may use.
    pub names: Vec<String>,
    /// The pages of other origins that may use it.
    pub origins: Vec<browser::WebOrigin>,
    /// What may be done through it at most.
    pub policy: Arc<Policy>,
    /// Who may call, by [`crate::proxy::authn::callers::CallerId`]; empty: everybody who reaches it.
    pub callers: Vec<CallerConfig>,
}

/// Somebody who may call.
#[derive(Debug)]
pub struct CallerConfig {
    /// Its name and its proofs.
    pub entry: CallerProofs,
    /// What it may do.
    pub policy: Arc<Policy>,
}

impl ListenerConfig {
    /// What is open to those who call: the policy of each caller, or the listener's own where there are none.
    pub fn policies(&self) -> Vec<&Arc<Policy>> {
        match self.callers.as_slice() {
            [] => vec![&self.policy],
            callers => callers.iter().map(|caller| &caller.policy).collect(),
        }
    }
}

impl Config {
    /// Reads the file at `path`; without one `config.toml` in the working directory, and without that the built-in
    /// defaults.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigMistake> {
        let asked = path.unwrap_or(Path::new(DEFAULT_FILE));
        match crate::base::file::read_text(asked, MAX_FILE) {
            Ok(text) => Self::parse(asked, text),
            Err(error) if path.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
                Ok(Self { path: BUILT_IN.into(), text: String::new(), offline: false, file: ConfigFile::default() })
            }
            Err(error) => Err(ConfigMistake::of_file(asked, format!("the configuration cannot be read: {error}"))),
        }
    }

    /// Reads a configuration's text; `path` is for messages and for relative paths in it.
    pub fn parse(path: &Path, text: String) -> Result<Self, ConfigMistake> {
        match toml::from_str(&text) {
            Ok(file) => match key_position::control_characters(&text) {
                None => Ok(Self { path: path.to_owned(), text, offline: false, file }),
                Some(span) => {
                    Err(ConfigMistake::at(path, &text, span.clone(), wording::control_characters(&text, &span)))
                }
            },
            Err(error) => {
                let span = error.span().unwrap_or(0..0);
                let message = wording::plain(error.message(), &text, &span);
                Err(ConfigMistake::at(path, &text, wording::place(error.message(), &text, span), message))
            }
        }
    }

    /// The file that it was read from; `None` for the built-in defaults.
    pub fn path(&self) -> Option<&Path> {
        (self.path != Path::new(BUILT_IN)).then_some(&self.path)
    }

    /// The files that it is made of, apart from those that are followed by themselves: credentials, and the certificates
    /// of listeners.
    pub fn parts(&self) -> Vec<PathBuf> {
        let of_instance = |file: &InstanceSection| {
            let given = [&file.ca_file, &file.certificate, &file.key].into_iter().flatten();
            let mut files: Vec<_> = given.map(|path| self.beside(path.get_ref())).collect();
            if let Some(ProxyChoice::Reference(Reference::File(path))) = file.proxy.as_ref().map(Spanned::get_ref) {
                files.push(self.beside(path));
            }
            files
        };
        let own = self.path().map(Path::to_owned);
        let catalog = self.file.catalog_file.iter().map(|path| self.beside(path.get_ref()));
        own.into_iter().chain(catalog).chain(self.file.instances.values().flat_map(of_instance)).collect()
    }

    /// A number that is the same for the same text, and another for another: the first 48 bits of its SHA-256, which a
    /// floating-point number holds exactly.
    pub fn digest(&self) -> u64 {
        let digest = ring::digest::digest(&ring::digest::SHA256, self.text.as_bytes());
        digest.as_ref().iter().take(6).fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    /// Where it came from, for people.
    pub fn source(&self) -> impl std::fmt::Display + '_ {
        self.path.display()
    }

    /// The command line that has `words` done with this configuration, to be pasted from any folder.
    pub fn command(&self, words: &str) -> String {
        let Some(path) = self.path() else { return format!("ninjaone-proxy {words}") };
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string();
        let is_plain = path.chars().all(|c| c.is_alphanumeric() || "/\\:._-~".contains(c));
        if is_plain {
            format!("ninjaone-proxy --config {path} {words}")
        } else {
            format!("ninjaone-proxy --config {path:?} {words}")
        }
    }

    /// Checks what the keys say together, reads the credentials, and compiles the policies.
    pub fn settings(&self) -> Result<Settings, ConfigMistake> {
        let listeners = self.listeners()?;
        self.log_filter()?;
        self.check_certificates(&listeners)?;
        let instances = self.file.instances.iter().map(|(name, file)| self.instance(name, file));
        let record = listeners.iter().any(|listener| listener.policy.observes()).then(|| self.record()).transpose()?;
        let instances = instances.collect::<Result<_, _>>()?;
        let (audit, traces, doubts) = (self.audit()?, self.traces()?, self.doubts(is_set));
        self.check_folders(&listeners, record.as_deref())?;
        Ok(Settings { instances, listeners, record, audit, traces, doubts })
    }

    /// Checks what the keys say together, credentials apart, and compiles the policies.
    pub(crate) fn listeners(&self) -> Result<Vec<ListenerConfig>, ConfigMistake> {
        let catalog = self.catalog()?;
        for (table, empty, header) in [
            ("listeners", self.file.listeners.is_empty(), "[listeners.local]"),
            ("instances", self.file.instances.is_empty(), "[instances.main]"),
        ] {
            if empty {
                return Err(self.about(
                    &[table],
                    &[],
                    format!("there is none: write {header} in the place of this line"),
                ));
            }
        }
        self.check_limits()?;
        self.check_addresses()?;
        self.file.listeners.iter().map(|(name, file)| self.listener(name, file, &catalog)).collect()
    }

    /// The operations that are known.
    pub(crate) fn catalog(&self) -> Result<Arc<Catalog>, ConfigMistake> {
        let built_in =
            Catalog::built_in().map_err(|error| ConfigMistake::of_file(&self.path, ErrorChain(&error).to_string()))?;
        let Some(path) = &self.file.catalog_file else { return Ok(Arc::new(built_in)) };
        let document = catalog_file::read(&self.beside(path.get_ref()));
        let document = document.map_err(|error| self.mistake(path, error.to_string()))?;
        Ok(Arc::new(built_in.with(&document)))
    }

    fn check_limits(&self) -> Result<(), ConfigMistake> {
        let head = &self.file.limits.head;
        if !(MIN_HEAD..=MAX_HEAD).contains(&head.get_ref().0) {
            return Err(self.mistake(
                head,
                format!("{:?} is out of range: a head may have 8KiB to 1MiB", head.get_ref().to_string()),
            ));
        }
        let headers = &self.file.limits.headers;
        if headers.get_ref().get() > MAX_HEADERS {
            return Err(self.mistake(headers, format!("a head may have at most {MAX_HEADERS} header fields")));
        }
        let buffers = &self.file.limits.buffers;
        if buffers.get_ref().0 < MIN_BUFFERS {
            return Err(
                self.mistake(buffers, format!("{:?} is too small: write 4MiB or more", buffers.get_ref().to_string()))
            );
        }
        Ok(())
    }

    /// Whether two that listen want the same address.
    fn check_addresses(&self) -> Result<(), ConfigMistake> {
        let listeners = self.file.listeners.iter().map(|(name, file)| {
            let all = match file.address.get_ref() {
                Address::Tcp(address) => ListenAddress::Tcp(*address).addresses(),
                Address::Localhost(port) => ListenAddress::Localhost(*port).addresses(),
                Address::Unix(_) | Address::Fd(_) => Vec::new(),
            };
            let texts = if all.is_empty() { vec![file.address.get_ref().to_string()] } else { with_port(&all) };
            (vec!["listeners", name.as_str(), "address"], texts)
        });
        let of_table = |table, place: &Option<ListenAddress>| {
            place.as_ref().map(|place| (vec![table, "address"], with_port(&place.addresses())))
        };
        let single = [of_table("admin", &self.file.admin.address.0), of_table("probes", &self.file.probes.address.0)];
        let mut taken = BTreeMap::<String, Vec<&str>>::new();
        for (key, texts) in listeners.chain(single.into_iter().flatten()) {
            for text in texts {
                if let Some(other) = taken.get(&text) {
                    let message = format!("{} has the address {text} too: choose another one", other.join("."));
                    return Err(self.about(&key, &[other], message));
                }
                taken.insert(text, key.clone());
            }
        }
        Ok(())
    }

    fn instance(&self, name: &str, file: &InstanceSection) -> Result<InstanceConfig, ConfigMistake> {
        let origin = match self.site(file)? {
            None => None,
            Some(site) => Some(ServerConfig { site, credentials: Arc::new(self.credentials(name, file)?) }),
        };
        let (name, token_path) = (name.to_owned(), file.token_path.get_ref().clone());
        let rate = file.rate.as_ref().map(|rate| self.limits(rate)).transpose()?;
        Ok(InstanceConfig {
            name,
            origin,
            token_path,
            client_auth: file.client_auth,
            rate,
            doctor: self.command("doctor"),
        })
    }

    fn limits(&self, file: &RateSection) -> Result<RateLimits, ConfigMistake> {
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

    fn referred(&self, reference: &Reference) -> Result<SecretSource, SourceError> {
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

    fn listener(
        &self,
        name: &str,
        file: &ListenerSection,
        catalog: &Arc<Catalog>,
    ) -> Result<ListenerConfig, ConfigMistake> {
        let instance = self.instance_of(name, file)?;
        let rules = RulesFile { scopes: &file.scopes, groups: &file.groups, allow: &file.allow, deny: &file.deny };
        let observes = file.mode.as_ref().is_some_and(|mode| *mode.get_ref() == Mode::Observe);
        let policy = Arc::new(self.policy(&rules, instance, catalog)?.observing(observes));
        let origin = |text: &Spanned<String>| {
            browser::WebOrigin::parse(text.get_ref())
                .map_err(|error| self.mistake(text, format!("{:?}: {error}", text.get_ref())))
        };
        let origins = file.allowed_origins.iter().map(origin).collect::<Result<_, _>>()?;
        self.check_proofs(name, &file.callers)?;
        let callers = file.callers.iter().map(|(name, caller)| self.caller(name, caller, file, &policy));
        let callers = callers.collect::<Result<_, _>>()?;
        let (name, place, names) = (name.to_owned(), self.place(file)?, self.names(&file.names)?);
        let tls = file.tls.as_ref().map(|tls| self.basis(tls, &names)).transpose()?;
        Ok(ListenerConfig { name, place, tls, names, origins, policy, callers })
    }

    fn policy(
        &self,
        rules: &RulesFile<'_>,
        instance: InstanceId,
        catalog: &Arc<Catalog>,
    ) -> Result<Policy, ConfigMistake> {
        let scopes = self.scopes(rules.scopes)?;
        let (groups, allow, deny) = (self.groups(rules.groups)?, self.rules(rules.allow)?, self.rules(rules.deny)?);
        Policy::new(Arc::clone(catalog), instance, Rules { scopes, groups, allow, deny })
            .map_err(|error| self.policy_mistake(rules, &error))
    }

    fn names(&self, names: &[Spanned<String>]) -> Result<Vec<String>, ConfigMistake> {
        let checked = |text: &Spanned<String>| match caller_name::check(text.get_ref()) {
            Ok(()) => Ok(text.get_ref().clone()),
            Err(error) => Err(self.mistake(text, format!("{:?}: {error}", text.get_ref()))),
        };
        names.iter().map(checked).collect()
    }

    fn groups(&self, names: &[Spanned<String>]) -> Result<Groups, ConfigMistake> {
        let find = |name: &Spanned<String>| {
            let text = name.get_ref();
            let unknown = || {
                let valid = Group::names();
                format!("unknown group {text:?}: valid groups are {}{}", valid.join(", "), nearest(text, valid))
            };
            Group::find(text).ok_or_else(|| self.mistake(name, unknown()))
        };
        match names {
            [] => Ok(Groups::Ordinary),
            [one] if one.get_ref() == group::NONE => Ok(Groups::Only(Vec::new())),
            [..] => match names.iter().find(|name| *name.get_ref() == group::NONE) {
                Some(none) => {
                    Err(self.mistake(none, "\"none\" must be the only entry: it means that no group is open"))
                }
                None => names.iter().map(find).collect::<Result<_, _>>().map(Groups::Only),
            },
        }
    }

    fn caller(
        &self,
        name: &str,
        file: &Spanned<CallerSection>,
        listener: &ListenerSection,
        ceiling: &Arc<Policy>,
    ) -> Result<CallerConfig, ConfigMistake> {
        let CallerSection { key, certificate, uids, gids, scopes, groups, allow, deny } = file.get_ref();
        if key.is_none() && certificate.is_none() && uids.is_empty() && gids.is_empty() {
            let message = format!(
                "the caller {name} has nothing to prove who it is: give it key, uids, gids or certificate (\"ninjaone-proxy key new {name}\" makes a key)"
            );
            return Err(self.mistake(file, message));
        }
        let hash = |text: &Spanned<String>| {
            KeyHash::parse(text.get_ref()).map_err(|error| {
                // Anything else may be the key itself.
                let shown = text.get_ref().starts_with("sha256:").then(|| format!("{:?}", text.get_ref()));
                let message = error.to_string();
                self.mistake(text, shown.map_or(message.clone(), |shown| message.replacen("this", &shown, 1)))
            })
        };
        if let Some((key, _)) =
            key.as_ref().and_then(|key| Some((key, hash(key).ok()?))).filter(|(_, hash)| hash.is_guessed(name))
        {
            let message = format!(
                "this is the hash of a key that is guessed at once, such as a common word, the caller's name or nothing: \"ninjaone-proxy key new {name}\" makes one that nobody can guess"
            );
            return Err(self.mistake(key, message));
        }
        let key = key.as_ref().map(hash).transpose()?;
        let certificate = certificate.as_ref().map(hash).transpose()?;
        let entry = CallerProofs { name: name.to_owned(), key, certificate, uids: uids.clone(), gids: gids.clone() };
        let rules = RulesFile { scopes: scopes.as_ref().unwrap_or(&listener.scopes), groups, allow, deny };
        let policy = self.policy(&rules, ceiling.instance(), &ceiling.shared_catalog())?;
        let within = policy.within(Arc::clone(ceiling));
        let policy = within.map_err(|error| self.mistake(rules.scopes, error.to_string()))?;
        Ok(CallerConfig { entry, policy: Arc::new(policy) })
    }

    fn basis(&self, tls: &Spanned<TlsChoice>, names: &[String]) -> Result<IdentitySource, ConfigMistake> {
        match tls.get_ref() {
            TlsChoice::Files(files) => self.tls_files(files).map(IdentitySource::Files),
            TlsChoice::LocalCa(_) => {
                if let Some(name) = names.iter().find(|name| !local::NAMES.contains(&name.as_str())) {
                    let message = format!(
                        "the local CA vouches for {} only, not for {name:?}: leave the name out, or give certificate and key",
                        local::NAMES.join(", ")
                    );
                    return Err(self.mistake(tls, message));
                }
                LocalCa::find().map(IdentitySource::LocalCa).map_err(|error| self.mistake(tls, error.to_string()))
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
    fn check_certificates(&self, listeners: &[ListenerConfig]) -> Result<(), ConfigMistake> {
        for ListenerConfig { name, tls, .. } in listeners {
            let file = self.file.listeners.get(name).and_then(|file| file.tls.as_ref());
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

    fn place(&self, file: &ListenerSection) -> Result<ListenAddress, ConfigMistake> {
        if !matches!(file.address.get_ref(), Address::Unix(_)) {
            let socket = |mode: &&Spanned<Mode>| matches!(mode.get_ref(), Mode::Permissions(_));
            self.without_file("mode", file.mode.as_ref().filter(socket))?;
            self.without_file("permissions", file.permissions.as_ref())?;
            self.without_file("group", file.group.as_ref())?;
        }
        match file.address.get_ref() {
            Address::Tcp(address) => {
                self.check_exposure(address.ip(), file)?;
                Ok(ListenAddress::Tcp(*address))
            }
            Address::Localhost(port) => Ok(ListenAddress::Localhost(*port)),
            Address::Fd(socket) => Ok(ListenAddress::Inherited(socket.clone())),
            Address::Unix(path) => {
                let mode = self.permissions(file)?;
                let group = file.group.as_ref().map(|name| self.group(name)).transpose()?;
                Ok(ListenAddress::Unix(SocketFile { path: self.beside(path), mode, group }))
            }
        }
    }

    /// Those of a Unix socket, from one of two places.
    fn permissions(&self, file: &ListenerSection) -> Result<u32, ConfigMistake> {
        match (file.mode.as_ref().map(Spanned::get_ref), &file.permissions) {
            (Some(Mode::Permissions(_)), Some(permissions)) => {
                Err(self.mistake(permissions, "mode sets the permissions already: leave one of the two out"))
            }
            (Some(Mode::Permissions(Permissions(mode))), None) => Ok(*mode),
            (_, Some(permissions)) => Ok(permissions.get_ref().0),
            (Some(Mode::Enforce | Mode::Observe) | None, None) => Ok(SOCKET_MODE),
        }
    }

    /// Anyone who reaches a port uses the proxy's credentials.
    fn check_exposure(&self, ip: IpAddr, file: &ListenerSection) -> Result<(), ConfigMistake> {
        let message = if ip.is_loopback() || (!file.callers.is_empty() && (file.tls.is_some() || file.cleartext)) {
            return Ok(());
        } else if file.callers.is_empty() {
            format!(
                "{ip} is not a loopback address, and anyone who reaches this port would use the proxy's credentials: use 127.0.0.1 or [::1], or say who may call (\"ninjaone-proxy key new NAME\")"
            )
        } else {
            format!(
                "{ip} is not a loopback address, and callers would send their keys in clear text: give the listener a certificate ([listeners.NAME.tls]), or set cleartext = true if nobody else can listen on that network (containers of one host)"
            )
        };
        Err(self.mistake(&file.address, message))
    }

    fn without_file<T>(&self, key: &str, value: Option<&Spanned<T>>) -> Result<(), ConfigMistake> {
        let message = || format!("{key} belongs to a Unix socket: leave it out, or write address = \"unix:PATH\"");
        value.map_or(Ok(()), |value| Err(self.mistake(value, message())))
    }

    fn group(&self, name: &Spanned<String>) -> Result<u32, ConfigMistake> {
        let text = name.get_ref();
        match listener::group(text) {
            Ok(Some(number)) => Ok(number),
            Ok(None) | Err(_) if self.offline => Ok(0),
            Ok(None) => {
                Err(self.mistake(name, format!("this system has no group {text:?}: make it, or write its number")))
            }
            Err(error) => Err(self.mistake(name, format!("the group {text:?} cannot be looked up: {error}"))),
        }
    }

    fn scopes(&self, names: &Spanned<Vec<Spanned<String>>>) -> Result<ScopeSet, ConfigMistake> {
        let valid = Scope::ALL.map(Scope::as_str);
        let scope = |name: &Spanned<String>| {
            let text = name.get_ref();
            let hint =
                || format!("unknown scope {text:?}: valid scopes are {}{}", valid.join(", "), nearest(text, valid));
            Scope::parse(text).ok_or_else(|| self.mistake(name, hint()))
        };
        let scopes: ScopeSet = names.get_ref().iter().map(scope).collect::<Result<_, _>>()?;
        if scopes.iter().next().is_none() {
            return Err(self.mistake(
                names,
                "a listener needs at least one scope, such as [\"monitoring\"]: NinjaOne grants no token without",
            ));
        }
        Ok(scopes)
    }

    fn rules(&self, texts: &[Spanned<String>]) -> Result<Vec<Rule>, ConfigMistake> {
        let rule = |text: &Spanned<String>| {
            Rule::parse(text.get_ref()).map_err(|error| {
                let hint = error.unknown_group().map_or_else(String::new, |name| nearest(name, Group::names()));
                self.mistake(text, format!("{:?}: {error}{hint}", text.get_ref()))
            })
        };
        texts.iter().map(rule).collect()
    }

    fn instance_of(&self, listener: &str, file: &ListenerSection) -> Result<InstanceId, ConfigMistake> {
        let mut names = self.file.instances.keys();
        let known = || self.file.instances.keys().map(String::as_str);
        let position = match &file.instance {
            Some(wanted) => {
                let unknown = || {
                    let (wanted, list) = (wanted.get_ref(), known().collect::<Vec<_>>().join(", "));
                    format!("unknown instance {wanted:?}: valid instances are {list}{}", nearest(wanted, known()))
                };
                let position = names.position(|name| name == wanted.get_ref());
                position.ok_or_else(|| self.mistake(wanted, unknown()))?
            }
            None if self.file.instances.len() == 1 => 0,
            None => {
                let list = known().collect::<Vec<_>>().join(", ");
                let message = format!(
                    "this key is needed, since there are several instances ({list}): write instance = {:?}, or another of them",
                    known().next().unwrap_or_default()
                );
                return Err(self.about(&["listeners", listener, "instance"], &[&["instances"]], message));
            }
        };
        let too_many = |_| self.about(&["instances"], &[], "there are more than 65535 of them");
        u16::try_from(position).map(InstanceId).map_err(too_many)
    }

    fn policy_mistake(&self, file: &RulesFile<'_>, error: &PolicyError) -> ConfigMistake {
        match error {
            PolicyError::AboveCeiling { rule, scope } => {
                let hint = format!(
                    "add {:?} to scopes (and to the API client app in NinjaOne), or take the rule out",
                    scope.as_str()
                );
                let place = file.allow.iter().find(|allow| allow.get_ref() == rule);
                let message = format!("{error}: {hint}");
                place.map_or_else(|| self.mistake(file.scopes, &message), |place| self.mistake(place, &message))
            }
            PolicyError::Misspelled { rule, .. } => {
                let place = file.allow.iter().chain(file.deny).find(|entry| entry.get_ref() == rule);
                let message = error.to_string();
                place.map_or_else(|| self.mistake(file.scopes, &message), |place| self.mistake(place, &message))
            }
            PolicyError::AboveListener(_) => self.mistake(file.scopes, error.to_string()),
            PolicyError::TooManyRules => match file.allow.first().or(file.deny.first()) {
                Some(place) => self.mistake(place, error.to_string()),
                None => self.mistake(file.scopes, error.to_string()),
            },
        }
    }

    fn mistake<T>(&self, place: &Spanned<T>, message: impl Into<String>) -> ConfigMistake {
        match place.span() {
            // A default.
            span if span.is_empty() => ConfigMistake::of_file(&self.path, message),
            span => ConfigMistake::at(&self.path, &self.text, span, message),
        }
    }

    /// About a key that need not be in the file: see [`ConfigMistake::about`].
    fn about(&self, key: &[&str], others: &[&[&str]], message: impl Into<String>) -> ConfigMistake {
        ConfigMistake::about(&self.path, &self.text, key, others, message)
    }

    /// Entries that a list has twice: no mistake, but hardly meant.
    pub(crate) fn repeated(&self) -> Vec<ConfigMistake> {
        let told = |span: std::ops::Range<usize>| {
            let entry = self.text.get(span.clone()).unwrap_or_default();
            let message = format!("{entry} is in the list twice: was another one meant?");
            ConfigMistake::at(&self.path, &self.text, span, message)
        };
        key_position::repeated(&self.text).into_iter().map(told).collect()
    }

    fn name_of(&self, file: &InstanceSection) -> &str {
        let found = self.file.instances.iter().find(|(_, own)| std::ptr::eq(*own, file));
        found.map_or("main", |(name, _)| name)
    }

    /// What the log lets through.
    pub fn log_filter(&self) -> Result<Targets, ConfigMistake> {
        let level = &self.file.log.level;
        logging::filter(level.get_ref()).map_err(|error| self.mistake(level, error.to_string()))
    }

    /// A path in the file is meant relative to the file.
    fn beside(&self, path: &Path) -> PathBuf {
        self.path.parent().map_or_else(|| path.to_owned(), |folder| folder.join(path))
    }
}

/// Those whose port the system does not choose.
fn with_port(addresses: &[SocketAddr]) -> Vec<String> {
    addresses.iter().filter(|address| address.port() != 0).map(ToString::to_string).collect()
}

/// `; did you mean "..."?` for the most similar of `known`, if one is similar at all.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    // A beginning of a word is as near as can be: cert, for certificate.
    let distance = |name: &str| match word.len() >= 3 && name.starts_with(word) {
        true => 1,
        false => strsim::damerau_levenshtein(word, name),
    };
    match known.into_iter().map(|name| (distance(name), name)).min() {
        Some((distance, name)) if distance <= 1 + name.len() / 3 => format!("; did you mean {name:?}?"),
        _ => String::new(),
    }
}
