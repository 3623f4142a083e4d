//! How many token requests there were.

use std::sync::atomic::{AtomicU64, Ordering};

/// The flights of the process, to all instances.
#[derive(Debug, Default)]
pub struct FlightCounts {
    granted: AtomicU64,
    failed: AtomicU64,
}

impl FlightCounts {
    pub(super) fn count(&self, is_granted: bool) {
        let counter = if is_granted { &self.granted } else { &self.failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Flights that ended with a grant, and those that ended without one.
    pub fn read(&self) -> (u64, u64) {
        (self.granted.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }
}
