//! The configuration as written: every key with its default.

use std::collections::BTreeMap;
use std::num::{NonZeroU16, NonZeroU32};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::host::InstanceHost;
use super::units::{Pause, Period, Size};
use super::value::{
    Address, AdminAddress, ClientId, ClientSecret, InstanceAddress, LocalCaChoice, Mode, Permissions, ProbeAddress,
    ProxyChoice, Reference,
};
use crate::net::listener::ListenAddress;
use crate::net::tls::server::CallerCertificates as Demand;
use crate::observe::audit_log::{Durability, OnFailure};
use crate::proxy::policy::catalog::Scope;
use crate::proxy::token::endpoint::ClientAuthMethod;

/// The whole file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct ConfigFile {
    /// An OpenAPI document of NinjaOne with operations that are not built in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub catalog_file: Option<Spanned<PathBuf>>,
    /// NinjaOne tenants by name.
    pub instances: BTreeMap<String, InstanceSection>,
    /// Local ports by name.
    pub listeners: BTreeMap<String, ListenerSection>,
    /// Waiting times.
    pub timeouts: TimeoutsSection,
    /// What callers may cost.
    pub limits: LimitsSection,
    /// The listener for health and metrics.
    pub admin: AdminSection,
    /// The listener for probes and metrics over a network.
    pub probes: ProbesSection,
    /// The log on standard error.
    pub log: LogSection,
    /// The record of operations used.
    pub learn: LearnSection,
    /// The record of writes and refusals.
    pub audit: AuditSection,
    /// Where traces go.
    pub traces: TracesSection,
    /// The process itself.
    pub process: ProcessSection,
}

/// A NinjaOne tenant's API host, and the credentials for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct InstanceSection {
    /// Where it is.
    pub host: Spanned<InstanceHost>,
    /// Its addresses, instead of those that DNS has for its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub addresses: Option<Spanned<Vec<InstanceAddress>>>,
    /// The path of its token endpoint.
    pub token_path: Spanned<String>,
    /// The id of the API client app.
    pub client_id: Spanned<ClientId>,
    /// The secret of the API client app.
    pub client_secret: Spanned<ClientSecret>,
    /// How the token endpoint is given both.
    pub client_auth: ClientAuthMethod,
    /// PEM file of trust anchors in addition to the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<Spanned<PathBuf>>,
    /// PEM file of the certificate that the instance is shown if it asks for one, and those that lead to a root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Spanned<PathBuf>>,
    /// PEM file of that certificate's private key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Spanned<PathBuf>>,
    /// The HTTP proxy on the way; without it the environment may name one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<Spanned<ProxyChoice>>,
    /// How fast requests go to it; without it as they come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<RateSection>,
}

/// How fast requests go to an instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct RateSection {
    /// In the long run; none: unlimited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<Spanned<f64>>,
    /// At once; none: as in a second, rounded up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<Spanned<NonZeroU32>>,
    /// At a time; none: unlimited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrent: Option<NonZeroU32>,
    /// The longest that a request is held back.
    pub wait: Period,
    /// The longest `Retry-After` with which a read is sent again after a 429; 0: it never is.
    pub retry_after_max: Pause,
}

/// A local port, and what may be done through it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct ListenerSection {
    /// Where it listens.
    pub address: Spanned<Address>,
    /// Whether its rules are enforced, as without it, or only observed; or the permissions of a Unix socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Spanned<Mode>>,
    /// The permissions of a Unix socket; 0600 without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permissions: Option<Spanned<Permissions>>,
    /// The group of a Unix socket, by name or number; without it the system gives one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<Spanned<String>>,
    /// TLS; clear text without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Spanned<TlsChoice>>,
    /// The instance's name; optional while there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<Spanned<String>>,
    /// The names that callers may use in addition to localhost, 127.0.0.1 and `[::1]`.
    pub names: Vec<Spanned<String>>,
    /// The ceiling.
    pub scopes: Spanned<Vec<Spanned<String>>>,
    /// The groups that are open; empty: every group of the scopes.
    pub groups: Vec<Spanned<String>>,
    /// Single operations on top.
    pub allow: Vec<Spanned<String>>,
    /// What is closed in any case.
    pub deny: Vec<Spanned<String>>,
    /// The web pages of other origins that may use it.
    pub allowed_origins: Vec<Spanned<String>>,
    /// Whether callers may send their keys in clear text over a network.
    pub cleartext: bool,
    /// Who may call, by name; none: everybody who reaches it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub callers: BTreeMap<String, Spanned<CallerSection>>,
}

/// A caller of a listener: how it proves who it is, and what it may do of what the listener opens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct CallerSection {
    /// The hash of its key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Spanned<String>>,
    /// The SHA-256 fingerprint of its client certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Spanned<String>>,
    /// Its user ids, on a Unix socket.
    pub uids: Vec<u32>,
    /// Its group ids, on a Unix socket.
    pub gids: Vec<u32>,
    /// Its ceiling; none: the listener's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Spanned<Vec<Spanned<String>>>>,
    /// The groups that are open; empty: every group of the scopes.
    pub groups: Vec<Spanned<String>>,
    /// Single operations on top.
    pub allow: Vec<Spanned<String>>,
    /// What is closed in any case.
    pub deny: Vec<Spanned<String>>,
}

/// Where a listener's certificate comes from.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum TlsChoice {
    /// `"local-ca"`.
    LocalCa(LocalCaChoice),
    /// Files.
    Files(TlsSection),
}

/// TLS on a listener.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TlsSection {
    /// PEM file of its certificate and those that lead to a root.
    pub certificate: Spanned<PathBuf>,
    /// PEM file of the certificate's private key.
    pub key: Spanned<PathBuf>,
    /// PEM file of who vouches for callers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<Spanned<PathBuf>>,
    /// Whether callers must show a certificate; `required` without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_auth: Option<Spanned<Demand>>,
}

/// Waiting times.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct TimeoutsSection {
    /// Reading a request's head, and each wait for more of its body.
    pub client: Period,
    /// To the instance, TLS handshake included.
    pub connect: Period,
    /// Until the head of the answer, and each wait for more of its body.
    pub upstream: Period,
    /// One token request.
    pub token: Period,
    /// In-flight requests after SIGTERM.
    pub drain: Period,
}

/// What callers may cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct LimitsSection {
    /// The head of a request.
    pub head: Spanned<Size>,
    /// The header fields of a request.
    pub headers: Spanned<NonZeroU16>,
    /// The body of a request.
    pub body: Size,
    /// Connections to a listener at a time.
    pub connections: NonZeroU32,
    /// The memory for messages on their way, all connections together.
    pub buffers: Spanned<Size>,
}

/// The listener for health and metrics.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct AdminSection {
    /// Where it listens.
    pub address: AdminAddress,
}

/// The listener for probes and metrics over a network.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct ProbesSection {
    /// Where it listens.
    pub address: ProbeAddress,
}

/// The log on standard error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct LogSection {
    /// `error`, `warn`, `info`, `debug` or `trace`, or such a level for single modules: `info,hyper=debug`.
    pub level: Spanned<String>,
    /// How lines look.
    pub format: LogFormat,
}

/// The record of operations used through listeners that only observe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct LearnSection {
    /// Where it is kept; without it in the folder that the environment gives for state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
}

/// The audit log: every write and every refusal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct AuditSection {
    /// Whether there is one; without this key there is where `file` says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Where it is kept, if not in the folder for state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<Spanned<PathBuf>>,
    /// When it is put aside and the next file is begun.
    pub max_size: Spanned<Size>,
    /// When it is written to the disk.
    pub sync: Durability,
    /// What becomes of writes while it cannot be written.
    pub on_failure: OnFailure,
}

/// Traces for a collector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct TracesSection {
    /// Where it takes them by OTLP over HTTP; without it nothing is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Spanned<String>>,
    /// The part of the traces begun here that is recorded.
    pub sample: Spanned<f64>,
}

/// The process itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct ProcessSection {
    /// Whether the system may write the memory, which holds the secrets, to a file, and debuggers may look at it.
    pub core_dumps: bool,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The default of `limits.headers`.
const HEADERS: NonZeroU16 = NonZeroU16::new(100).unwrap();
/// The default of `limits.connections`.
const CONNECTIONS: NonZeroU32 = NonZeroU32::new(10_000).unwrap();

fn unplaced<T>(value: T) -> Spanned<T> {
    Spanned::new(0..0, value)
}

fn seconds(seconds: u64) -> Period {
    Period(Duration::from_secs(seconds))
}

impl Default for ConfigFile {
    fn default() -> Self {
        Self {
            catalog_file: None,
            instances: BTreeMap::from([("main".to_owned(), InstanceSection::default())]),
            listeners: BTreeMap::from([("local".to_owned(), ListenerSection::default())]),
            timeouts: TimeoutsSection::default(),
            limits: LimitsSection::default(),
            admin: AdminSection::default(),
            probes: ProbesSection::default(),
            log: LogSection::default(),
            learn: LearnSection::default(),
            audit: AuditSection::default(),
            traces: TracesSection::default(),
            process: ProcessSection::default(),
        }
    }
}

impl Default for InstanceSection {
    fn default() -> Self {
        let variable = |name: &str| Reference::Env(name.to_owned());
        Self {
            host: unplaced(InstanceHost::Sandbox),
            addresses: None,
            token_path: unplaced("/ws/oauth/token".to_owned()),
            client_id: unplaced(ClientId::Reference(variable("NINJAONE_CLIENT_ID"))),
            client_secret: unplaced(ClientSecret(variable("NINJAONE_CLIENT_SECRET"))),
            client_auth: ClientAuthMethod::Form,
            ca_file: None,
            certificate: None,
            key: None,
            proxy: None,
            rate: None,
        }
    }
}

impl Default for RateSection {
    fn default() -> Self {
        Self {
            requests_per_second: None,
            burst: None,
            concurrent: None,
            wait: seconds(10),
            retry_after_max: Pause(Duration::ZERO),
        }
    }
}

impl Default for ListenerSection {
    fn default() -> Self {
        Self {
            address: unplaced(Address::Localhost(8080)),
            mode: None,
            permissions: None,
            group: None,
            tls: None,
            instance: None,
            names: Vec::new(),
            scopes: unplaced(vec![unplaced(Scope::Monitoring.as_str().to_owned())]),
            groups: Vec::new(),
            allow: Vec::new(),
            deny: Vec::new(),
            allowed_origins: Vec::new(),
            cleartext: false,
            callers: BTreeMap::new(),
        }
    }
}

impl Default for TimeoutsSection {
    fn default() -> Self {
        Self { client: seconds(30), connect: seconds(5), upstream: seconds(60), token: seconds(10), drain: seconds(25) }
    }
}

impl Default for LimitsSection {
    fn default() -> Self {
        Self {
            head: unplaced(Size(64 << 10)),
            headers: unplaced(HEADERS),
            body: Size(u64::MAX),
            connections: CONNECTIONS,
            buffers: unplaced(Size(128 << 20)),
        }
    }
}

impl Default for AdminSection {
    fn default() -> Self {
        Self { address: AdminAddress(Some(ListenAddress::Localhost(9180))) }
    }
}

impl Default for AuditSection {
    fn default() -> Self {
        Self {
            enabled: None,
            file: None,
            max_size: unplaced(Size(64 << 20)),
            sync: Durability::Write,
            on_failure: OnFailure::Refuse,
        }
    }
}

impl Default for TracesSection {
    fn default() -> Self {
        Self { endpoint: None, sample: unplaced(1.0) }
    }
}

impl Default for LogSection {
    fn default() -> Self {
        Self { level: unplaced("info".to_owned()), format: LogFormat::Text }
    }
}
