//! Whether a request is only tried: it goes the whole way up to where it would be sent.

use http::{HeaderMap, Method};

use super::permit::is_write;
use crate::proxy::headers::prefer::{self, DryRunPreference};

/// A request is only tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DryRun {
    asks_approvers: bool,
}

impl DryRun {
    /// Whether a request is one: it says so itself, or it is a write of a caller whose writes are not sent.
    pub fn of(method: &Method, headers: &HeaderMap, tries_writes: bool) -> Option<Self> {
        let preference = prefer::dry_run(headers);
        let is_tried = preference.is_some() || (tries_writes && is_write(method));
        is_tried.then_some(Self { asks_approvers: preference == Some(DryRunPreference::WithApproval) })
    }

    /// Whether those are asked who must approve the request itself.
    pub fn asks_approvers(self) -> bool {
        self.asks_approvers
    }
}
