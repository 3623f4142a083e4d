//! How the store is, as one process knows it.

use std::time::Duration;

/// The time that all replicas have, after the store may have lost something, to publish again what they know.
pub const SETTLE: Duration = Duration::from_secs(3);

/// How the store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreState {
    /// It answers.
    pub up: bool,
    /// It answers, and has lost nothing within [`SETTLE`].
    pub settled: bool,
    /// Counts up each time that the store may have lost something: another server, a restart, a store that was emptied.
    pub switches: u64,
    /// How many replicas there are, as far as is known; at least 1.
    pub replicas: u32,
}

impl Default for StoreState {
    fn default() -> Self {
        Self { up: false, settled: false, switches: 0, replicas: 1 }
    }
}
