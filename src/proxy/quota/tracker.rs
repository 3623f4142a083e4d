//! The quotas of one listener, shared by all workers: one lock, held for some additions.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::kind::QuotaKinds;
use super::listener_quotas::{
    CallerPlace, ListenerQuotas, QuotaConfig, QuotaExceeded, QuotaHolder, QuotaStatus, QuotaUsage,
};
use super::needed::Needed;
use super::store_quotas::StoreQuotas;
use super::use_log::Nanos;
use crate::shared::SharedStore;

/// Counts what is used of the quotas of a listener and its callers. It stays while the listener has a quota, whatever
/// else a reload changes.
#[derive(Debug)]
pub struct QuotaTracker {
    /// What the times are counted from. The clock stops while the machine sleeps, so that no window is ever too short.
    origin: Instant,
    quotas: Mutex<ListenerQuotas>,
    /// Where replicas share them.
    store: Option<StoreQuotas>,
}

/// The quotas that apply to one caller, or to everybody where callers are not told apart.
#[derive(Debug, Clone)]
pub struct CallerQuota {
    tracker: Arc<QuotaTracker>,
    place: CallerPlace,
}

impl Default for QuotaTracker {
    fn default() -> Self {
        Self { origin: Instant::now(), quotas: Mutex::default(), store: None }
    }
}

impl QuotaTracker {
    /// For the listener of this name, whose quotas are those of all replicas which ask this store.
    pub fn new(store: Option<SharedStore>, listener: &str) -> Self {
        Self { store: store.map(|store| StoreQuotas::new(store, listener)), ..Self::default() }
    }

    /// These quotas hold from now on, for requests that a worker serves with the configuration before this one too.
    pub fn configure(&self, config: &QuotaConfig) {
        self.quotas().configure(config);
    }

    /// What applies to a caller, if anything does; `None` for the name of everybody.
    pub fn caller(self: &Arc<Self>, name: Option<&str>) -> Option<CallerQuota> {
        let place = self.quotas().place(name)?;
        Some(CallerQuota { tracker: Arc::clone(self), place })
    }

    /// How much is used of each quota.
    pub fn usage(&self) -> Vec<QuotaUsage> {
        let mut usage = {
            let quotas = self.quotas();
            quotas.usage(self.now())
        };
        if let Some(store) = &self.store {
            for quota in &mut usage {
                let place = self.quotas().place_of(quota.caller.as_deref());
                let holder = quota.caller.as_ref().map_or(QuotaHolder::Listener, |_| QuotaHolder::Caller);
                let told = store.used(self, (holder, quota.kind), place);
                quota.used = told.map_or(quota.used, |told| told.max(quota.used));
            }
        }
        usage
    }

    /// Does this with the quotas of this replica, which has one of so many parts of each limit.
    pub(super) fn alone<T>(&self, parts: u32, what: impl FnOnce(&mut ListenerQuotas, Duration) -> T) -> T {
        let mut quotas = self.quotas();
        quotas.share(parts);
        what(&mut quotas, self.now())
    }

    /// The quotas that apply to a request.
    pub(super) fn needed(&self, place: CallerPlace, kinds: QuotaKinds) -> Vec<Needed> {
        self.quotas().needed(place, kinds)
    }

    pub(super) fn nanos(&self) -> Nanos {
        Nanos::try_from(self.now().as_nanos()).unwrap_or(Nanos::MAX)
    }

    /// To be asked with the lock held: then times go up.
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    fn quotas(&self) -> MutexGuard<'_, ListenerQuotas> {
        self.quotas.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CallerQuota {
    /// Takes one of each quota that applies to a request of these kinds, or none of any. Only where replicas share them, and
    /// nothing was taken ahead, is there something to wait for.
    pub async fn charge(&self, kinds: QuotaKinds) -> Result<(), QuotaExceeded> {
        if let Some(store) = &self.tracker.store {
            return Box::pin(store.charge(&self.tracker, self.place, kinds)).await;
        }
        self.charge_here(kinds)
    }

    fn charge_here(&self, kinds: QuotaKinds) -> Result<(), QuotaExceeded> {
        let mut quotas = self.tracker.quotas();
        quotas.charge(self.tracker.now(), self.place, kinds)
    }

    /// Whether each quota that applies to a request of these kinds has one left. Takes none.
    pub fn check(&self, kinds: QuotaKinds) -> Result<(), QuotaExceeded> {
        if let Some(store) = &self.tracker.store {
            return store.check(&self.tracker, self.place, kinds);
        }
        let mut quotas = self.tracker.quotas();
        quotas.check(self.tracker.now(), self.place, kinds)
    }

    /// The quotas that apply to a request of these kinds, as they stand for this caller.
    pub fn status(&self, kinds: QuotaKinds) -> Vec<QuotaStatus> {
        if let Some(store) = &self.tracker.store {
            return store.status(&self.tracker, self.place, kinds);
        }
        let mut quotas = self.tracker.quotas();
        quotas.status(self.tracker.now(), self.place, kinds)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;

    use http::Method;
    use tokio::time::advance;

    use super::super::kind::ByKind;
    use super::*;

    fn tracker(requests: &str) -> Arc<QuotaTracker> {
        let tracker = Arc::new(QuotaTracker::default());
        let listener = ByKind { requests: requests.parse().ok(), ..ByKind::default() };
        tracker.configure(&QuotaConfig { listener, callers: Vec::new() });
        tracker
    }

    #[test]
    fn tracker_gives_out_exactly_the_limit_to_many_threads() {
        let (tracker, taken) = (tracker("500/day"), AtomicU32::new(0));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let quota = tracker.caller(None).expect("a quota");
                    for _ in 0..200 {
                        if quota.charge_here(QuotaKinds::of(&Method::GET, None)).is_ok() {
                            taken.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!((taken.into_inner(), tracker.usage()[0].used), (500, 500));
    }

    #[tokio::test(start_paused = true)]
    async fn tracker_counts_by_the_clock() {
        let tracker = tracker("2/min");
        let (quota, kinds) = (tracker.caller(None).expect("a quota"), QuotaKinds::of(&Method::GET, None));
        assert!(quota.check(kinds).is_ok() && quota.charge_here(kinds).is_ok(), "to check takes none");
        advance(Duration::from_secs(40)).await;
        assert!(quota.charge_here(kinds).is_ok());
        for refused in [quota.check(kinds), quota.charge_here(kinds)] {
            assert_eq!(refused.map_err(|exceeded| exceeded.retry_after), Err(20));
        }
        advance(Duration::from_secs(20)).await;
        assert!(quota.charge_here(kinds).is_ok() && quota.charge_here(kinds).is_err());
        let status = quota.status(kinds);
        assert_eq!((status[0].remaining, status[0].more_in), (0, Some(40)));
    }

    #[test]
    fn tracker_has_nothing_for_a_caller_without_a_quota() {
        let tracker = Arc::new(QuotaTracker::default());
        assert!(tracker.caller(None).is_none());
        let own = ByKind { writes: "1/s".parse().ok(), ..ByKind::default() };
        let callers = vec![("a".to_owned(), own), ("b".to_owned(), ByKind::default())];
        tracker.configure(&QuotaConfig { listener: ByKind::default(), callers });
        assert!(tracker.caller(Some("a")).is_some());
        assert!([Some("b"), Some("c"), None].into_iter().all(|name| tracker.caller(name).is_none()));
    }
}
