//! Quotas: how many requests, writes and critical operations go through a listener, and from a caller, within a time.

mod kind;
mod limit;
mod listener_quotas;
mod needed;
mod shared_quota;
mod store_quotas;
mod sums;
mod taken_ahead;
mod tracker;
mod use_log;

pub use kind::{ByKind, QuotaKind, QuotaKinds};
pub use limit::{MAX_COUNT, QuotaLimit, QuotaLimitError, QuotaUnit};
pub use listener_quotas::{
    CallerPlace, ListenerQuotas, QuotaConfig, QuotaExceeded, QuotaHolder, QuotaStatus, QuotaUsage,
};
pub use tracker::{CallerQuota, QuotaTracker};

use crate::proxy::policy::Permit;
use crate::proxy::policy::catalog::Catalog;

/// The proof that one of each quota that applies was taken for a request.
#[derive(Debug)]
pub struct QuotaCharge(());

/// The proof that a permitted request is within the quotas that apply to it, of which it has taken one each.
#[derive(Debug)]
pub struct WithinQuota(Permit);

impl QuotaCharge {
    /// Takes one of each quota that applies to a request, or none of any. Without a quota there is nothing to take.
    pub async fn take(quota: Option<&CallerQuota>, permit: &Permit, catalog: &Catalog) -> Result<Self, QuotaExceeded> {
        if let Some(quota) = quota {
            quota.charge(kinds(permit, catalog)).await?;
        }
        Ok(Self(()))
    }
}

impl WithinQuota {
    /// The permit of a request for which that was taken.
    pub fn new(permit: Permit, _: QuotaCharge) -> Self {
        Self(permit)
    }

    /// The permit, for those who tell of it.
    pub fn permit(&self) -> &Permit {
        &self.0
    }

    /// The permit.
    pub fn into_permit(self) -> Permit {
        self.0
    }
}

/// The kinds that a permitted request is of.
pub fn kinds(permit: &Permit, catalog: &Catalog) -> QuotaKinds {
    QuotaKinds::of(permit.method(), permit.operation().and_then(|id| catalog.get(id)))
}
