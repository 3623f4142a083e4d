//! What the sandbox has counted since it began.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

/// A copy of all counters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
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
}

/// The counters.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) connections: Counter,
    pub(super) token_requests: Counter,
    pub(super) grants: Counter,
    pub(super) api_requests: Counter,
    pub(super) unauthorized: Counter,
    pub(super) writes: Counter,
    pub(super) uploads: Counter,
    pub(super) bytes_uploaded: Counter,
}

impl Tally {
    pub(super) fn counts(&self) -> Counts {
        Counts {
            connections: self.connections.get(),
            token_requests: self.token_requests.get(),
            grants: self.grants.get(),
            api_requests: self.api_requests.get(),
            unauthorized: self.unauthorized.get(),
            writes: self.writes.get(),
            uploads: self.uploads.get(),
            bytes_uploaded: self.bytes_uploaded.get(),
        }
    }
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    /// Adds `amount` and returns the value before.
    pub(super) fn add(&self, amount: u64) -> u64 {
        self.0.fetch_add(amount, Ordering::Relaxed)
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
