//! The record of operations used: a page for each observing listener and caller, saved while the proxy runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::config::ListenerConfig;
use crate::observe::logging::ErrorChain;
use crate::observe::usage::{UsageCounters, UsageStore};
use crate::proxy::policy::Policy;

/// How often it is saved.
const PERIOD: Duration = Duration::from_secs(5);

/// The pages, by listener and caller.
pub(super) struct UsageSaver {
    pub(super) ledger: Arc<UsageStore>,
    /// The name of the listener, and a page for each of its entrances.
    pages: Vec<(String, Vec<Arc<UsageCounters>>)>,
}

impl UsageSaver {
    /// Pages for all listeners that only observe their rules; those of `old` where they can be used.
    pub(super) fn new(file: PathBuf, listeners: &[Arc<ListenerConfig>], old: Option<&Arc<UsageStore>>) -> Self {
        let ledger = match old.filter(|old| old.file() == file) {
            Some(old) => Arc::clone(old),
            None => Arc::new(UsageStore::new(file)),
        };
        let observing = listeners.iter().filter(|listener| listener.policy.observes());
        let pages = observing.map(|listener| (listener.name.clone(), pages(&ledger, listener))).collect();
        Self { ledger, pages }
    }

    /// The page of a listener's entrance, if its use is recorded.
    pub(super) fn page(&self, listener: &str, entrance: usize) -> Option<Arc<UsageCounters>> {
        let (_, pages) = self.pages.iter().find(|(name, _)| name == listener)?;
        pages.get(entrance).cloned()
    }
}

/// Saves from time to time, on the current thread's local runtime, until nobody records any more.
pub(super) fn keep(ledger: Arc<UsageStore>) {
    tracing::info!(file = %ledger.file().display(), "operations used are recorded");
    tokio::task::spawn_local(async move {
        let mut failing = false;
        while Arc::strong_count(&ledger) > 1 || !ledger.is_closed() {
            tokio::time::sleep(PERIOD).await;
            failing = !save(&ledger, failing).await;
        }
    });
}

/// Saves what was counted; says whether it could. What cannot be saved is kept, which the log says once.
pub(super) async fn save(ledger: &Arc<UsageStore>, said: bool) -> bool {
    let saving = Arc::clone(ledger);
    let saved = tokio::task::spawn_blocking(move || saving.save()).await;
    if let Ok(Err(error)) = &saved
        && !said
    {
        tracing::warn!(error = %ErrorChain(error), "the operations used cannot be recorded; they are kept for the next time");
    }
    matches!(saved, Ok(Ok(())))
}

fn pages(ledger: &UsageStore, listener: &ListenerConfig) -> Vec<Arc<UsageCounters>> {
    let page = |caller, policy: &Policy| ledger.page(&listener.name, caller, names(policy));
    match listener.callers.as_slice() {
        [] => vec![page(None, &listener.policy)],
        callers => callers.iter().map(|caller| page(Some(caller.entry.name.as_str()), &caller.policy)).collect(),
    }
}

/// The operations of the catalogue, then the rules for what it lacks.
fn names(policy: &Policy) -> Vec<String> {
    let operations =
        policy.catalog().iter().filter_map(|(id, _)| policy.catalog().name(id)).map(|name| name.to_string());
    operations.chain(policy.rules().allow.iter().map(ToString::to_string)).collect()
}
