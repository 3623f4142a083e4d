//! What is used of the quotas of each listener; goes on over reloads, while the listener has a quota.

use std::sync::Arc;

use crate::config::ListenerConfig;
use crate::proxy::quota::QuotaTracker;
use crate::shared::SharedStore;

/// The trackers of the listeners that have a quota, by name.
#[derive(Default)]
pub(super) struct Quotas(Vec<(String, Arc<QuotaTracker>)>);

impl Quotas {
    /// The quotas of these listeners hold from now on. Returns the tracker of each that has one.
    /// Replicas that share a store share them.
    pub(super) fn replace(
        &mut self,
        listeners: &[Arc<ListenerConfig>],
        store: Option<&SharedStore>,
    ) -> Vec<Option<Arc<QuotaTracker>>> {
        let tracker = |listener: &Arc<ListenerConfig>| {
            let quotas = Some(listener.quotas()).filter(|quotas| !quotas.is_empty())?;
            let old = self.0.iter().find(|(name, _)| *name == listener.name);
            let new = || Arc::new(QuotaTracker::new(store.cloned(), &listener.name));
            let tracker = old.map_or_else(new, |(_, tracker)| Arc::clone(tracker));
            tracker.configure(&quotas);
            Some(tracker)
        };
        let trackers: Vec<_> = listeners.iter().map(tracker).collect();
        let named = listeners.iter().zip(&trackers);
        self.0 = named.filter_map(|(listener, tracker)| Some((listener.name.clone(), tracker.clone()?))).collect();
        trackers
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<(String, Arc<QuotaTracker>)> {
        self.0.clone()
    }
}
