//! The configuration as written: every key with its default.

mod allow;
mod approvals;
mod instance;
mod listener;
mod listener_tls;
mod quota;
mod shared;
mod user;

use std::collections::BTreeMap;
use std::num::{NonZeroU16, NonZeroU32};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::units::{Period, Size};
use super::value::{AdminAddress, ProbeAddress};
use crate::net::listener::ListenAddress;
use crate::observe::audit_log::{Durability, OnFailure};
pub use allow::{AllowEntry, AllowSection, Moment};
pub use approvals::{ApprovalsSection, ApproverSection};
pub use instance::{InstanceSection, RateSection};
pub use listener::{CallerSection, ListenerSection, WritesChoice};
pub use listener_tls::{TlsChoice, TlsSection};
pub use quota::QuotaSection;
pub use shared::SharedSection;
pub use user::{UserFor, UserSection};

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
    /// Who approves requests.
    pub approvals: ApprovalsSection,
    /// What replicas share.
    pub shared: SharedSection,
    /// The record of operations used.
    pub learn: LearnSection,
    /// The record of writes and refusals.
    pub audit: AuditSection,
    /// Where traces go.
    pub traces: TracesSection,
    /// The process itself.
    pub process: ProcessSection,
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
    /// How old the lists may be that tell what belongs to an organization.
    pub directory: Period,
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
    /// The body of a request that a rule judges.
    pub judged_body: Spanned<Size>,
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
            approvals: ApprovalsSection::default(),
            shared: SharedSection::default(),
            learn: LearnSection::default(),
            audit: AuditSection::default(),
            traces: TracesSection::default(),
            process: ProcessSection::default(),
        }
    }
}

impl Default for TimeoutsSection {
    fn default() -> Self {
        Self {
            client: seconds(30),
            connect: seconds(5),
            upstream: seconds(60),
            token: seconds(10),
            drain: seconds(25),
            directory: seconds(60),
        }
    }
}

impl Default for LimitsSection {
    fn default() -> Self {
        Self {
            head: unplaced(Size(64 << 10)),
            headers: unplaced(HEADERS),
            body: Size(u64::MAX),
            judged_body: unplaced(Size(64 << 10)),
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
