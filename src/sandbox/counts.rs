//! What the sandbox has counted since it began.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

/// A copy of all counters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CountSnapshot {
    /// Connections that were accepted or handed in.
    pub connections: u64,
    /// Requests to the token endpoint.
    pub token_requests: u64,
    /// Tokens that were issued.
    pub grants: u64,
    /// Requests below `/v2`, whatever the answer.
    pub api_requests: u64,
    /// Requests below `/v2` that were answered with 401.
    pub unauthorized: u64,
    /// Requests with a method other than `GET` and `HEAD` that passed authorization: the ones that would have
    /// changed something.
    pub writes: u64,
    /// Multipart bodies that were received to their end.
    pub uploads: u64,
    /// Bytes of all request bodies below `/v2`, also of those that broke off.
    pub bytes_uploaded: u64,
    /// Persons who signed in, whatever they decided then.
    pub sign_ins: u64,
    /// Authorization codes that were exchanged for tokens.
    pub codes_used: u64,
    /// Refresh tokens that were exchanged for tokens.
    pub refreshes: u64,
    /// Codes and refresh tokens that came a second time, each of which ended what a person had allowed.
    pub reuses: u64,
}

/// The counters.
#[derive(Debug, Default)]
pub(super) struct SandboxCounts {
    pub(super) connections: GrowingCounter,
    pub(super) token_requests: GrowingCounter,
    pub(super) grants: GrowingCounter,
    pub(super) api_requests: GrowingCounter,
    pub(super) unauthorized: GrowingCounter,
    pub(super) writes: GrowingCounter,
    pub(super) uploads: GrowingCounter,
    pub(super) bytes_uploaded: GrowingCounter,
    pub(super) sign_ins: GrowingCounter,
    pub(super) codes_used: GrowingCounter,
    pub(super) refreshes: GrowingCounter,
    pub(super) reuses: GrowingCounter,
}

impl SandboxCounts {
    pub(super) fn counts(&self) -> CountSnapshot {
        CountSnapshot {
            connections: self.connections.get(),
            token_requests: self.token_requests.get(),
            grants: self.grants.get(),
            api_requests: self.api_requests.get(),
            unauthorized: self.unauthorized.get(),
            writes: self.writes.get(),
            uploads: self.uploads.get(),
            bytes_uploaded: self.bytes_uploaded.get(),
            sign_ins: self.sign_ins.get(),
            codes_used: self.codes_used.get(),
            refreshes: self.refreshes.get(),
            reuses: self.reuses.get(),
        }
    }
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(super) struct GrowingCounter(AtomicU64);

impl GrowingCounter {
    /// Adds `amount` and returns the value before.
    pub(super) fn add(&self, amount: u64) -> u64 {
        self.0.fetch_add(amount, Ordering::Relaxed)
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
