//! The quotas that apply to a request.

use http::Method;

use crate::config::policy_target::PolicyTarget;
use crate::proxy::policy::catalog::Operation;
use crate::proxy::quota::{ByKind, QuotaKind, QuotaKinds, QuotaLimit};

/// A quota that a request needs one of.
#[derive(Debug, Clone, Copy)]
pub(super) struct AppliedQuota {
    /// Whether it is the listener's, for all its callers; else the caller's own.
    pub(super) of_listener: bool,
    pub(super) kind: QuotaKind,
    pub(super) limit: QuotaLimit,
}

/// Those of the caller, then those of the listener, that apply to a request for an operation.
pub(super) fn applicable(
    subject: &PolicyTarget<'_>,
    method: &Method,
    operation: Option<&Operation>,
) -> Vec<AppliedQuota> {
    let kinds = QuotaKinds::of(method, operation);
    let of = |limits: &ByKind<QuotaLimit>, of_listener| -> Vec<AppliedQuota> {
        let applied = limits.iter().filter(|(kind, _)| kinds.contains(*kind));
        applied.map(|(kind, limit)| AppliedQuota { of_listener, kind, limit: *limit }).collect()
    };
    let own = subject.caller.map(|caller| of(&caller.quota, false)).unwrap_or_default();
    own.into_iter().chain(of(&subject.listener.quota, true)).collect()
}
