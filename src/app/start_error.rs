//! Why the proxy does not start, or does not take a configuration.

use std::io;

use crate::base::state::StateFolderError;
use crate::config::mistake::ConfigMistake;
use crate::config::{EndpointError, SiteError};
use crate::net::listener::{BindError, ListenAddress};
use crate::net::tls::TlsError;
use crate::net::tls::server::ServerError;
use crate::observe::audit_log::LogFileError;
use crate::observe::notices::NoticesError;
use crate::observe::traces::TracesError;
use crate::proxy::uses::UseError;
use crate::sandbox::SandboxError;

/// Why the proxy does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An instance leads to a listener of the proxy itself.
    #[error(transparent)]
    SelfCall(#[from] ConfigMistake),
    /// An address cannot be bound.
    #[error("{what} cannot listen on {address}{hint}")]
    Bind {
        /// Which listener.
        what: String,
        /// Its address.
        address: ListenAddress,
        /// Why.
        source: BindError,
        /// What to do next.
        hint: String,
    },
    /// A listener's certificate or key cannot be used.
    #[error("listener {0}")]
    Identity(String, #[source] ServerError),
    /// The audit log cannot be opened.
    #[error(transparent)]
    Audit(#[from] LogFileError),
    /// The uses of a rule cannot be counted.
    #[error("the rules with max-uses cannot be counted")]
    Uses(#[from] UseError),
    /// There is no folder to count them in.
    #[error(transparent)]
    State(#[from] StateFolderError),
    /// Spans cannot be sent.
    #[error("the collector of traces cannot be used")]
    Traces(#[from] TracesError),
    /// Notices of requests that wait cannot be sent.
    #[error("approvals.notify cannot be used")]
    Notices(#[from] NoticesError),
    /// There is no TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The host of an instance cannot be used.
    #[error("instance {0}")]
    Way(String, #[source] SiteError),
    /// The token endpoint of an instance cannot be used.
    #[error("instance {0}")]
    Endpoint(String, #[source] EndpointError),
    /// The sandbox cannot be started.
    #[error("the sandbox cannot be started")]
    Sandbox(#[from] SandboxError),
    /// A part that the system must give.
    #[error("the proxy cannot be started")]
    System(#[from] io::Error),
    /// A series was registered twice: a mistake in the program.
    #[error("the metrics cannot be set up")]
    Metrics(#[from] prometheus::Error),
}
