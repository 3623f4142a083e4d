//! The shared store as the proxy starts with it.

use std::io;
use std::time::Duration;

use crate::observe::metrics::Metrics;
use crate::shared::{SharedStore, StoreConfig};

/// How long the start waits for the store.
const STORE_TIME: Duration = Duration::from_secs(2);

/// Connects to the store, if there is one. One that is down holds nobody up for long: it is used from when it is up.
pub(super) async fn open(config: Option<&StoreConfig>, metrics: &Metrics) -> io::Result<Option<SharedStore>> {
    let Some(config) = config else { return Ok(None) };
    let store = SharedStore::start(config.clone(), metrics.shared_store()).map_err(io::Error::other)?;
    store.wait_up(STORE_TIME).await;
    Ok(Some(store))
}
