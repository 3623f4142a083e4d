//! The quotas as metrics and the page see them.

use std::sync::Arc;

use crate::observe::metrics::QuotaGauge;
use crate::proxy::quota::{QuotaTracker, QuotaUsage};
use crate::tools::admin::view::QuotaView;

/// By the names of the listeners.
type Trackers = [(String, Arc<QuotaTracker>)];

/// As gauges.
pub(super) fn gauges(trackers: &Trackers) -> Vec<QuotaGauge> {
    let gauge = |(listener, QuotaUsage { caller, kind, limit, used }): (&String, QuotaUsage)| QuotaGauge {
        listener: listener.clone(),
        caller: caller.unwrap_or_default(),
        quota: kind.as_str(),
        used,
        limit: limit.count(),
    };
    usage(trackers).map(gauge).collect()
}

/// As rows of the page.
pub(super) fn views(trackers: &Trackers) -> Vec<QuotaView> {
    let view = |(listener, QuotaUsage { caller, kind, limit, used }): (&String, QuotaUsage)| QuotaView {
        listener: listener.clone(),
        caller,
        kind: kind.as_str(),
        used: used.into(),
        count: limit.count().into(),
        limit: limit.to_string(),
    };
    usage(trackers).map(view).collect()
}

fn usage(trackers: &Trackers) -> impl Iterator<Item = (&String, QuotaUsage)> {
    trackers.iter().flat_map(|(name, tracker)| tracker.usage().into_iter().map(move |usage| (name, usage)))
}
