//! A limit for wrong keys: some are answered at once, then one a second.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

/// How many wrong keys are answered at once, and the time after which one more is.
const WRONG_KEYS: (u32, Duration) = (20, Duration::from_secs(1));

/// Wrong keys are answered for a while, and then a few at a time: a caller that tries many gets 429, others do not
/// notice, and nothing is kept of any of them.
#[derive(Debug, Default)]
pub struct Throttle(Cell<Option<Instant>>);

impl Throttle {
    /// Whether one more wrong key is answered as such; otherwise how long to wait.
    pub fn take(&self, now: Instant) -> Result<(), Duration> {
        let (burst, period) = WRONG_KEYS;
        let from = self.0.get().unwrap_or(now).max(now);
        let wait = (from + period).saturating_duration_since(now + period * burst);
        if wait.is_zero() {
            self.0.set(Some(from + period));
            return Ok(());
        }
        Err(wait)
    }
}
