//! What is written down of requests: access log, metrics, traces, recent refusals, usage.

pub mod access_log;
pub mod audit_log;
pub mod logging;
pub mod metrics;
pub mod notices;
pub mod refusals;
pub mod support_id;
pub mod trace_context;
pub mod traces;
pub mod usage;
