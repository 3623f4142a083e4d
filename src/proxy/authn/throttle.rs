//! A limit for wrong keys: some are answered at once, then one a second.

mod shared_throttle;

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

pub use shared_throttle::SharedThrottle;

/// How many wrong keys are answered at once, and the time after which one more is.
const WRONG_KEYS: (u32, Duration) = (20, Duration::from_secs(1));

/// Wrong keys are answered for a while, and then a few at a time: a caller that tries many gets 429, others do not
/// notice, and nothing is kept of any of them.
#[derive(Debug, Default)]
pub struct Throttle {
    full: Cell<Option<Instant>>,
    /// Where replicas share it.
    shared: Option<Arc<SharedThrottle>>,
}

impl Throttle {
    /// Wrong keys are counted there too, if it is given.
    pub fn sharing(shared: Option<Arc<SharedThrottle>>) -> Self {
        Self { full: Cell::default(), shared }
    }

    /// Whether one more wrong key is answered as such; otherwise how long to wait.
    pub fn take(&self, now: Instant) -> Result<(), Duration> {
        let (burst, period) = WRONG_KEYS;
        let closed = self.shared.as_ref().map_or(Duration::ZERO, |shared| shared.closed_for(now));
        if !closed.is_zero() {
            return Err(closed);
        }
        let from = self.full.get().unwrap_or(now).max(now);
        let wait = (from + period).saturating_duration_since(now + period * burst);
        if wait.is_zero() {
            self.full.set(Some(from + period));
            if let Some(shared) = &self.shared {
                shared.count();
            }
            return Ok(());
        }
        Err(wait)
    }
}
