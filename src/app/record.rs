//! The record of operations used: a page for each observing listener and caller, saved while the proxy runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Listener;
use crate::policy::Policy;
use crate::telemetry::Causes;
use crate::usage::{Ledger, Page};

/// How often it is saved.
const PERIOD: Duration = Duration::from_secs(5);

/// The pages, by listener and caller.
pub(super) struct Recorder {
    ledger: Arc<Ledger>,
    /// The name of the listener, and a page for each of its entrances.
    pages: Vec<(String, Vec<Arc<Page>>)>,
}

impl Recorder {
    /// Pages for all listeners that only observe their rules.
    pub(super) fn new(file: PathBuf, listeners: &[Arc<Listener>]) -> Self {
        let observing = listeners.iter().filter(|listener| listener.policy.observes());
        let pages: Vec<_> = observing.map(|listener| (listener.name.clone(), pages(listener))).collect();
        let all = pages.iter().flat_map(|(_, pages)| pages.iter().cloned()).collect();
        Self { ledger: Arc::new(Ledger::new(file, all)), pages }
    }

    /// The page of a listener's entrance, if its use is recorded.
    pub(super) fn page(&self, listener: &str, entrance: usize) -> Option<Arc<Page>> {
        let (_, pages) = self.pages.iter().find(|(name, _)| name == listener)?;
        pages.get(entrance).cloned()
    }

    /// Saves from time to time, on the current thread's local runtime.
    pub(super) fn keep(&self) -> Arc<Ledger> {
        tracing::info!(file = %self.ledger.file().display(), "operations used are recorded");
        let ledger = Arc::clone(&self.ledger);
        tokio::task::spawn_local(async move {
            let mut failing = false;
            loop {
                tokio::time::sleep(PERIOD).await;
                failing = !save(&ledger, failing).await;
            }
        });
        Arc::clone(&self.ledger)
    }
}

/// Saves what was counted; says whether it could. What cannot be saved is kept, which the log says once.
pub(super) async fn save(ledger: &Arc<Ledger>, said: bool) -> bool {
    let saving = Arc::clone(ledger);
    let saved = tokio::task::spawn_blocking(move || saving.save()).await;
    if let Ok(Err(error)) = &saved
        && !said
    {
        tracing::warn!(error = %Causes(error), "the operations used cannot be recorded; they are kept for the next time");
    }
    matches!(saved, Ok(Ok(())))
}

fn pages(listener: &Listener) -> Vec<Arc<Page>> {
    let page = |caller, policy: &Policy| Page::new(&listener.name, caller, names(policy));
    match listener.callers.as_slice() {
        [] => vec![page(None, &listener.policy)],
        callers => callers.iter().map(|caller| page(Some(caller.entry.name.as_str()), &caller.policy)).collect(),
    }
}

/// The operations of the catalogue, then the rules that stand for what it lacks.
fn names(policy: &Policy) -> Vec<String> {
    let operations =
        policy.catalog().iter().filter_map(|(id, _)| policy.catalog().name(id)).map(|name| name.to_string());
    operations.chain(policy.rules().allow.iter().map(ToString::to_string)).collect()
}
