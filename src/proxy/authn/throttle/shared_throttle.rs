//! Wrong keys as all replicas count them, in the store: a caller that tries many gets no more by trying them at several.
//!
//! Nothing waits for the store: a wrong key that this process answers is counted there afterwards, and if there were too many
//! at all replicas together, this one answers no more for a while.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use redis::Script;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::WRONG_KEYS;
use crate::shared::SharedStore;

/// Counts wrong keys by the store's clock, in microseconds. ARGV: how many; how many are answered at once; the time after
/// which one more is. Returns how long it is until one more is answered.
static COUNT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local period = tonumber(ARGV[3])
local most = now + tonumber(ARGV[2]) * period
local full = math.max(math.min(tonumber(redis.call('GET', KEYS[1]) or '') or 0, most), now)
full = math.min(full + tonumber(ARGV[1]) * period, most)
redis.call('SET', KEYS[1], string.format('%.0f', full), 'PX', string.format('%.0f', math.ceil((full - now) / 1000) + 1000))
return math.max(full + period - most, 0)
",
    )
});

/// After a failure: what was counted meanwhile goes with the next.
const AGAIN: Duration = Duration::from_secs(1);

/// The wrong keys of one listener, in all replicas.
#[derive(Debug)]
pub struct SharedThrottle {
    origin: Instant,
    /// Those that were not told yet.
    untold: AtomicU32,
    /// In milliseconds from the origin: none is answered before that.
    closed_until: AtomicU64,
    wake: Arc<Notify>,
}

impl SharedThrottle {
    /// For the listener of this name. Counts in the store until the result is dropped, on the current runtime.
    pub fn start(store: SharedStore, listener: &str) -> Arc<Self> {
        let wake = Arc::new(Notify::new());
        let this = Arc::new(Self {
            origin: Instant::now(),
            untold: AtomicU32::new(0),
            closed_until: AtomicU64::new(0),
            wake: Arc::clone(&wake),
        });
        let (weak, key) = (Arc::downgrade(&this), store.key("wrong-keys", &[listener]));
        tokio::spawn(async move {
            loop {
                wake.notified().await;
                let Some(this) = weak.upgrade() else { return };
                let failed = !this.tell(&store, &key).await;
                drop(this);
                if failed {
                    sleep(AGAIN).await;
                }
            }
        });
        this
    }

    /// How long it is until a wrong key is answered again.
    pub(super) fn closed_for(&self, now: Instant) -> Duration {
        let until = self.origin + Duration::from_millis(self.closed_until.load(Ordering::Relaxed));
        until.saturating_duration_since(now)
    }

    /// A wrong key was answered.
    pub(super) fn count(&self) {
        self.untold.fetch_add(1, Ordering::Relaxed);
        self.wake.notify_one();
    }

    async fn tell(&self, store: &SharedStore, key: &str) -> bool {
        let (burst, period) = WRONG_KEYS;
        let count = self.untold.swap(0, Ordering::Relaxed).min(burst);
        let numbers = [count.to_string(), burst.to_string(), period.as_micros().to_string()];
        let numbers: Vec<_> = numbers.iter().map(String::as_bytes).collect();
        match store.run::<u64>(&COUNT, &[key], &numbers, store.deadline()).await {
            Ok(closed) => {
                let closed =
                    if closed == 0 { 0 } else { self.origin.elapsed().as_millis() as u64 + closed.div_ceil(1000) };
                self.closed_until.store(closed, Ordering::Relaxed);
                true
            }
            Err(_) => false,
        }
    }
}

impl Drop for SharedThrottle {
    fn drop(&mut self) {
        self.wake.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::authn::throttle::Throttle;

    #[tokio::test(start_paused = true)]
    async fn wrong_keys_are_counted_that_were_answered_and_none_is_answered_while_there_were_too_many_elsewhere() {
        let shared = Arc::new(SharedThrottle {
            origin: Instant::now(),
            untold: AtomicU32::new(0),
            closed_until: AtomicU64::new(0),
            wake: Arc::default(),
        });
        let throttle = Throttle::sharing(Some(Arc::clone(&shared)));
        let answered = || (0..100).filter(|_| throttle.take(Instant::now()).is_ok()).count();
        assert_eq!((answered(), shared.untold.load(Ordering::Relaxed)), (20, 20), "its own limit holds too");
        tokio::time::advance(Duration::from_secs(30)).await;
        shared.closed_until.store(31_500, Ordering::Relaxed);
        assert_eq!(throttle.take(Instant::now()), Err(Duration::from_millis(1500)));
        tokio::time::advance(Duration::from_millis(1500)).await;
        assert_eq!(answered(), 20);
    }
}
