//! The shared store: whether it can be used, by connecting as a replica does.

use std::time::Duration;

use super::reporter::Reporter;
use crate::config::Config;
use crate::observe::metrics::Metrics;
use crate::shared::SharedStore;

/// How long it may take.
const LONGEST: Duration = Duration::from_secs(5);
const CHECK: &str = "shared store";
const FIX: &str = "correct url, username, password or ca-file of [shared], or look at the store; replicas serve without it, each with its share";

/// Tries the store of a configuration, if it has one.
pub(super) async fn examine(config: &Config, reporter: &Reporter) {
    let store = match config.shared() {
        Ok(shared) => shared.store,
        Err(mistake) => return reporter.fail(CHECK, mistake.to_string(), "correct this"),
    };
    let Some(store) = store else { return };
    reporter.begin(CHECK);
    let series = match Metrics::new() {
        Ok(metrics) => metrics.shared_store(),
        Err(error) => return reporter.fail(CHECK, error.to_string(), FIX),
    };
    let store = match SharedStore::start(store, series) {
        Ok(store) => store,
        Err(error) => return reporter.fail(CHECK, error.to_string(), FIX),
    };
    if store.wait_up(LONGEST).await {
        let others = store.state().replicas.saturating_sub(1);
        store.leave().await;
        return reporter.ok(CHECK, format!("{} answers; replicas that run: {others}", store.address()));
    }
    let why = store.fault().unwrap_or_else(|| "it did not answer".to_owned());
    reporter.fail(CHECK, format!("{}: {why}", store.address()), FIX);
}
