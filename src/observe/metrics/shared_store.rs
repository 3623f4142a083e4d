//! What is counted of the shared store. Without one there is no series.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::{IntCounterVec, IntGaugeVec};

use super::Families;

/// The least time between two lines of the log on values that are ignored, in seconds.
const PERIOD: u64 = 60;

/// The series of the shared store.
#[derive(Debug, Clone)]
pub struct StoreSeries {
    up: IntGaugeVec,
    replicas: IntGaugeVec,
    requests: IntCounterVec,
    failures: IntCounterVec,
    ignored: IntCounterVec,
    told: Arc<AtomicU64>,
}

impl StoreSeries {
    pub(super) fn register(families: &Families<'_>) -> Result<Self, prometheus::Error> {
        Ok(Self {
            up: families.gauge("ninjaone_proxy_shared_store_up", "1 if the shared store answers; else 0.", &[])?,
            replicas: families.gauge("ninjaone_proxy_shared_replicas", "Replicas that the shared store knows.", &[])?,
            requests: families.counter(
                "ninjaone_proxy_shared_store_requests_total",
                "Requests to the shared store.",
                &[],
            )?,
            failures: families.counter(
                "ninjaone_proxy_shared_store_failures_total",
                "What the shared store was to do and did not, by reason; down: it was not asked.",
                &["reason"],
            )?,
            ignored: families.counter(
                "ninjaone_proxy_shared_store_ignored_values_total",
                "Values in the shared store that were not sealed by a replica, or were changed.",
                &[],
            )?,
            told: Arc::default(),
        })
    }

    /// There is one, which has not answered yet; it can fail for these reasons.
    pub fn begin(&self, reasons: &[&str]) {
        self.up(false);
        self.replicas(1);
        self.requests.with_label_values::<&str>(&[]).inc_by(0);
        self.ignored.with_label_values::<&str>(&[]).inc_by(0);
        for reason in reasons {
            self.failures.with_label_values(&[*reason]).inc_by(0);
        }
    }

    /// It is up, or down.
    pub fn up(&self, up: bool) {
        self.up.with_label_values::<&str>(&[]).set(i64::from(up));
    }

    /// There are so many replicas.
    pub fn replicas(&self, count: u32) {
        self.replicas.with_label_values::<&str>(&[]).set(i64::from(count));
    }

    /// It is asked something.
    pub fn request(&self) {
        self.requests.with_label_values::<&str>(&[]).inc();
    }

    /// It did not do what it was to.
    pub fn failure(&self, reason: &'static str) {
        self.failures.with_label_values(&[reason]).inc();
    }

    /// A value was ignored. Whether that is worth a line in the log.
    pub fn ignored(&self) -> bool {
        self.ignored.with_label_values::<&str>(&[]).inc();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let told = self.told.load(Ordering::Relaxed);
        let due = now.saturating_sub(told) >= PERIOD;
        due && self.told.compare_exchange(told, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}
