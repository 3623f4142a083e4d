//! What the workers serve, made from a configuration.

use std::sync::Arc;
use std::time::Duration;

use super::instances::UpstreamConfig;
use super::usage_saver::ListenerUsage;
use super::users::UserRuntime;
use crate::config::ListenerConfig;
use crate::net::listener::{ConnectionConfig, ListeningSocket};
use crate::net::own_addresses::OwnAddresses;
use crate::net::shutdown::Shutdown;
use crate::observe::audit_log::AuditLog;
use crate::observe::metrics::Metrics;
use crate::observe::refusals::RecentRefusals;
use crate::observe::traces::Traces;
use crate::proxy::BodyLimits;
use crate::proxy::approval::Approvals;
use crate::proxy::authn::local_tokens::{CallerMarks, LocalTokens};
use crate::proxy::authn::throttle::SharedThrottle;
use crate::proxy::fence::directory::Directory;
use crate::proxy::quota::QuotaTracker;
use crate::proxy::rate_limit::RateLimiter;
use crate::proxy::token::Tokens;
use crate::proxy::uses::UseCounters;

/// A bound listener, and what a worker needs to serve it.
pub(super) struct ListenerSpec {
    /// The number of the bound listener.
    pub(super) id: u64,
    pub(super) listener: Arc<ListenerConfig>,
    pub(super) port: u16,
    pub(super) connections: ConnectionConfig,
    /// When it ends.
    pub(super) stopped: Shutdown,
    pub(super) issuer: Arc<LocalTokens>,
    /// Of the listener's callers.
    pub(super) marks: CallerMarks,
    /// What is used of its quotas and of its callers', if there are any: shared by all workers.
    pub(super) quotas: Option<Arc<QuotaTracker>>,
    /// Where replicas count its wrong keys together.
    pub(super) throttle: Option<Arc<SharedThrottle>>,
}

/// What all workers serve, until they are given another one; each makes its own connections and counters from it.
pub(super) struct RuntimeConfig {
    pub(super) listeners: Vec<ListenerSpec>,
    /// These five by [`InstanceId`](crate::proxy::policy::InstanceId).
    pub(super) upstreams: Vec<Arc<UpstreamConfig>>,
    /// The one thing on the way of a request that workers share, where a rate is limited.
    pub(super) rate_limiters: Vec<Option<Arc<RateLimiter>>>,
    pub(super) tokens: Vec<Arc<Tokens>>,
    pub(super) directories: Vec<Directory>,
    /// The persons of each instance.
    pub(super) users: Vec<Vec<UserRuntime>>,
    pub(super) metrics: Metrics,
    pub(super) audit_log: AuditLog,
    pub(super) approvals: Approvals,
    pub(super) traces: Option<Traces>,
    pub(super) refusals: RecentRefusals,
    pub(super) body_limits: BodyLimits,
    pub(super) usage: Option<ListenerUsage>,
    pub(super) uses: UseCounters,
    /// Where the proxy itself listens.
    pub(super) own: Arc<OwnAddresses>,
    /// How long a connection to another server may take.
    pub(super) connect_timeout: Duration,
}

/// New sockets for one worker, by the numbers of the bound listeners.
pub(super) type Sockets = Vec<(u64, ListeningSocket)>;
