//! What a request needs one of, as a shared store has to know it.

use super::kind::QuotaKind;
use super::limit::QuotaLimit;
use super::listener_quotas::QuotaHolder;

/// A quota that a request needs one of.
#[derive(Debug, Clone)]
pub(super) struct Needed {
    pub(super) holder: QuotaHolder,
    pub(super) kind: QuotaKind,
    pub(super) limit: QuotaLimit,
    /// The most that the caller can use of it, if that is less than all.
    pub(super) ceiling: u32,
    /// Who it is; `None`: everybody.
    pub(super) caller: Option<String>,
}
