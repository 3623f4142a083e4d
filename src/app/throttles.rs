//! The wrong keys of each listener that replicas count together; goes on over reloads.

use std::sync::Arc;

use crate::config::ListenerConfig;
use crate::proxy::authn::throttle::SharedThrottle;
use crate::shared::SharedStore;

/// By the names of the listeners.
#[derive(Default)]
pub(super) struct Throttles(Vec<(String, Arc<SharedThrottle>)>);

impl Throttles {
    /// The throttle of each of these listeners, where replicas share a store.
    pub(super) fn replace(
        &mut self,
        listeners: &[Arc<ListenerConfig>],
        store: Option<&SharedStore>,
    ) -> Vec<Option<Arc<SharedThrottle>>> {
        let Some(store) = store else { return vec![None; listeners.len()] };
        let throttle = |listener: &Arc<ListenerConfig>| {
            let old = self.0.iter().find(|(name, _)| *name == listener.name);
            let new = || SharedThrottle::start(store.clone(), &listener.name);
            (listener.name.clone(), old.map_or_else(new, |(_, throttle)| Arc::clone(throttle)))
        };
        self.0 = listeners.iter().map(throttle).collect();
        self.0.iter().map(|(_, throttle)| Some(Arc::clone(throttle))).collect()
    }
}
