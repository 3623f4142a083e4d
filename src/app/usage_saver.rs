//! The record of operations used: counters for each observing listener and caller, saved while the proxy runs.

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::config::ListenerConfig;
use crate::observe::logging::ErrorChain;
use crate::observe::usage::{UsageCounters, UsageStore};
use crate::proxy::policy::Policy;

/// How often it is saved.
const PERIOD: Duration = Duration::from_secs(5);

/// The counters of a configuration, by listener and caller.
pub(super) struct ListenerUsage {
    store: Arc<UsageStore>,
    /// The name of a listener, and the counters of each of its callers, or one for all.
    counters: Vec<(String, Vec<Arc<UsageCounters>>)>,
}

impl ListenerUsage {
    /// Counters for all listeners that only observe their rules; those of `old` where they can be used.
    pub(super) fn new(file: PathBuf, listeners: &[Arc<ListenerConfig>], old: Option<&Arc<UsageStore>>) -> Self {
        let store = match old.filter(|old| old.file() == file) {
            Some(old) => Arc::clone(old),
            None => Arc::new(UsageStore::new(file)),
        };
        let observing = listeners.iter().filter(|listener| listener.policy.observes());
        let counters = observing.map(|listener| (listener.name.clone(), counters(&store, listener))).collect();
        Self { store, counters }
    }

    /// The counters of a listener's caller, by its number, if its use is recorded.
    pub(super) fn counters(&self, listener: &str, caller: usize) -> Option<Arc<UsageCounters>> {
        let (_, counters) = self.counters.iter().find(|(name, _)| name == listener)?;
        counters.get(caller).cloned()
    }
}

/// Saves what is recorded, also what a configuration before this one recorded.
#[derive(Default)]
pub(super) struct UsageSaver {
    current: Option<Arc<UsageStore>>,
    /// All that may have something to save.
    stores: Vec<Weak<UsageStore>>,
}

impl UsageSaver {
    /// Where use is recorded now.
    pub(super) fn current(&self) -> Option<&Arc<UsageStore>> {
        self.current.as_ref()
    }

    /// Use is recorded by these counters from now on.
    pub(super) fn replace(&mut self, usage: Option<&ListenerUsage>) {
        let new = usage.map(|usage| Arc::clone(&usage.store));
        if let Some(new) = &new
            && !self.current.as_ref().is_some_and(|old| Arc::ptr_eq(old, new))
        {
            keep(Arc::clone(new));
            self.stores.retain(|store| store.strong_count() > 0);
            self.stores.push(Arc::downgrade(new));
        }
        self.current = new;
    }

    /// Saves everything for the last time.
    pub(super) async fn finish(&self) {
        for store in self.stores.iter().filter_map(Weak::upgrade) {
            save(&store, false).await;
        }
    }
}

/// Saves from time to time, on the current thread's local runtime, until nobody records any more.
fn keep(store: Arc<UsageStore>) {
    tracing::info!(file = %store.file().display(), "operations used are recorded");
    tokio::task::spawn_local(async move {
        let mut failing = false;
        while Arc::strong_count(&store) > 1 || !store.is_closed() {
            tokio::time::sleep(PERIOD).await;
            failing = !save(&store, failing).await;
        }
    });
}

/// Saves what was counted; says whether it could. What cannot be saved is kept, which the log says once.
async fn save(store: &Arc<UsageStore>, said: bool) -> bool {
    let saving = Arc::clone(store);
    let saved = tokio::task::spawn_blocking(move || saving.save()).await;
    if let Ok(Err(error)) = &saved
        && !said
    {
        tracing::warn!(error = %ErrorChain(error), "the operations used cannot be recorded; they are kept for the next time");
    }
    matches!(saved, Ok(Ok(())))
}

fn counters(store: &UsageStore, listener: &ListenerConfig) -> Vec<Arc<UsageCounters>> {
    let of_caller = |caller, policy: &Policy| store.page(&listener.name, caller, names(policy));
    match listener.callers.as_slice() {
        [] => vec![of_caller(None, &listener.policy)],
        callers => callers.iter().map(|caller| of_caller(Some(caller.entry.name.as_str()), &caller.policy)).collect(),
    }
}

/// The operations of the catalogue, then the rules for what it lacks.
fn names(policy: &Policy) -> Vec<String> {
    let operations =
        policy.catalog().iter().filter_map(|(id, _)| policy.catalog().name(id)).map(|name| name.to_string());
    operations.chain(policy.rules().allow.iter().map(ToString::to_string)).collect()
}
