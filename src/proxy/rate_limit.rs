//! How fast requests go up to an instance, first come, first served; obeys Retry-After of its 429 answers.

mod limits;
mod permits;
pub mod schedule;
mod shared_pace;

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use prometheus::IntCounter;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::proxy::token::endpoint::retry_after;
use crate::shared::SharedStore;
pub use limits::{Limit, RateLimited, RateLimits};
use permits::Next;
use schedule::{Bucket, Schedule};
use shared_pace::{Reserved, SharedPace};

/// The cool-down after a 429 that does not say how long.
const DEFAULT_PAUSE: Duration = Duration::from_secs(1);
/// The longest cool-down.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// The way in to one instance, shared by all workers.
///
/// A request that waits is in the queue of a semaphore: of `slots` first, if there are such, and then of `turn`, which the
/// foremost holds while it sleeps until the schedule lets it go. Both queues are in order of arrival. Who leaves is
/// taken out of them and has taken nothing from the schedule, so that those behind move up.
///
/// Where replicas share a store, the schedule is there, and each replica has some permits of it, see `shared_pace.rs`. While
/// the store is down, each has its part of the rate. The slots are always those of this process.
#[derive(Debug)]
pub struct RateLimiter {
    instance: String,
    wait: Duration,
    retry_after_max: Duration,
    interval: Duration,
    /// What the times of the schedule are counted from.
    origin: Instant,
    schedule: Mutex<Schedule>,
    /// Where replicas share the rate.
    shared: Option<Arc<SharedPace>>,
    slots: Option<Arc<Semaphore>>,
    turn: Semaphore,
    waiting: AtomicU32,
    waits: IntCounter,
}

/// One of the requests that may be under way at a time, until it is dropped.
#[derive(Debug)]
pub struct RateSlot {
    _permit: Option<OwnedSemaphorePermit>,
}

/// Why a request does not go up now.
enum Hold {
    /// It is too early.
    Until(Duration),
    /// There is no permit of the shared rate.
    NoPermit,
}

/// A request that waits, counted until it is dropped.
struct QueuedRequest<'a>(&'a RateLimiter);

impl<'a> QueuedRequest<'a> {
    fn begin(gate: &'a RateLimiter) -> Self {
        gate.waits.inc();
        gate.waiting.fetch_add(1, Ordering::Relaxed);
        Self(gate)
    }
}

impl Drop for QueuedRequest<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl RateLimiter {
    /// The way in to `instance` (for the log); `waits` counts the requests that are held back.
    pub fn new(instance: String, limits: &RateLimits, waits: IntCounter) -> Self {
        let RateLimits { pace, concurrent, wait, retry_after_max } = *limits;
        let bucket = pace.map(|(per_second, burst)| Bucket::new(per_second, burst));
        let slots = |count: NonZeroU32| {
            let count = usize::try_from(count.get()).unwrap_or(Semaphore::MAX_PERMITS);
            Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS)))
        };
        Self {
            instance,
            wait,
            retry_after_max,
            interval: bucket.as_ref().map_or(Duration::ZERO, Bucket::interval),
            origin: Instant::now(),
            schedule: Mutex::new(Schedule::new(bucket)),
            shared: None,
            slots: concurrent.map(slots),
            turn: Semaphore::new(1),
            waiting: AtomicU32::new(0),
            waits,
        }
    }

    /// The same, whose rate is that of all replicas which ask this store for the same instance and `host`.
    #[must_use]
    pub fn sharing(self, store: Option<SharedStore>, host: &str) -> Self {
        let shared = store.zip(self.schedule().bucket()).map(|(store, bucket)| {
            Arc::new(SharedPace::new(store, [&self.instance, host], bucket, self.wait, self.origin))
        });
        Self { shared, ..self }
    }

    /// Takes the place of `old`: its cool-down goes on.
    pub fn after(self, old: &Self) -> Self {
        let pause = old.schedule().calm_in(old.now());
        self.schedule().cool(self.now(), pause);
        self
    }

    /// Waits for a slot and a turn, in line and within the bound. Dropping the future leaves the line.
    pub async fn enter(&self) -> Result<RateSlot, RateLimited> {
        if let Some(slot) = self.free_slot().filter(|_| self.pass()) {
            return Ok(slot);
        }
        let queued = QueuedRequest::begin(self);
        let deadline = Instant::now() + self.wait;
        self.check(deadline)?;
        let slot = timeout_at(deadline, self.slot()).await.map_err(|_| self.late(Limit::Concurrent))?;
        self.turn_by(deadline, queued).await.map(|()| slot)
    }

    /// The same for a request that has its slot and goes up once more, after it was told to wait for `pause`.
    pub async fn enter_again(&self, pause: Duration) -> Result<(), RateLimited> {
        if self.pass() {
            return Ok(());
        }
        self.turn_by(Instant::now() + pause + self.wait, QueuedRequest::begin(self)).await
    }

    /// Takes note of an answer: a 429 begins a cool-down. Returns for how long the instance wants to be left alone, if
    /// a read may be sent again after that.
    pub fn note_answer(&self, status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
        if status != StatusCode::TOO_MANY_REQUESTS {
            return None;
        }
        let told = headers.get(RETRY_AFTER).and_then(retry_after).unwrap_or(DEFAULT_PAUSE);
        let pause = told.min(MAX_PAUSE);
        if self.schedule().cool(self.now(), pause) {
            let (instance, seconds) = (self.instance.as_str(), pause.as_secs());
            tracing::warn!(instance, seconds, "the instance throttles: requests to it are held back");
        }
        if let Some(shared) = &self.shared {
            shared.cool(pause);
        }
        (!self.retry_after_max.is_zero() && told <= self.retry_after_max).then_some(pause)
    }

    fn free_slot(&self) -> Option<RateSlot> {
        let Some(slots) = &self.slots else { return Some(RateSlot { _permit: None }) };
        Arc::clone(slots).try_acquire_owned().ok().map(|permit| RateSlot { _permit: Some(permit) })
    }

    /// Goes up now, if nobody waits and the schedule has no objection.
    fn pass(&self) -> bool {
        // A semaphore with a queue has no permit for those who did not queue.
        self.turn.try_acquire().is_ok_and(|_turn| self.take().is_ok())
    }

    async fn slot(&self) -> RateSlot {
        match &self.slots {
            // It is never closed.
            Some(slots) => RateSlot { _permit: Arc::clone(slots).acquire_owned().await.ok() },
            None => RateSlot { _permit: None },
        }
    }

    async fn turn_by(&self, deadline: Instant, queued: QueuedRequest<'_>) -> Result<(), RateLimited> {
        self.check(deadline)?;
        timeout_at(deadline, self.take_turn(deadline, queued)).await.unwrap_or_else(|_| Err(self.late(Limit::Pace)))
    }

    async fn take_turn(&self, deadline: Instant, queued: QueuedRequest<'_>) -> Result<(), RateLimited> {
        let _turn = self.turn.acquire().await;
        // Dropped before the turn: the next one takes no permit for this request.
        let _queued = queued;
        // A cool-down may begin while the foremost sleeps.
        while let Err(hold) = self.take() {
            self.check(deadline)?;
            let ready = match (hold, &self.shared) {
                (Hold::Until(ready), _) => ready,
                (Hold::NoPermit, Some(shared)) => {
                    let bound = deadline.saturating_duration_since(Instant::now());
                    match shared.reserve(self.waiting.load(Ordering::Relaxed), bound).await {
                        Reserved::Some | Reserved::TooLate => continue,
                        // It is asked again by the next one, or not, if it is down.
                        Reserved::Failed => match self.take_share(shared) {
                            Ok(()) => return Ok(()),
                            Err(ready) => ready,
                        },
                    }
                }
                (Hold::NoPermit, None) => return Err(self.late(Limit::Pace)),
            };
            self.check(deadline)?;
            sleep_until(self.origin + ready).await;
        }
        Ok(())
    }

    /// A request that would have to wait longer than it may is refused at once.
    fn check(&self, deadline: Instant) -> Result<(), RateLimited> {
        let ready = self.ready();
        if ready > deadline.saturating_duration_since(self.origin) { Err(self.late(Limit::Pace)) } else { Ok(()) }
    }

    /// When the next request may go up, as far as is known.
    fn ready(&self) -> Duration {
        let (now, schedule) = (self.now(), self.schedule());
        match self.shared.as_ref().filter(|shared| shared.is_up()) {
            Some(shared) => schedule.calm().max(shared.ready(now)),
            None => schedule.ready(),
        }
    }

    /// Goes up, or says why not.
    fn take(&self) -> Result<(), Hold> {
        let Some(shared) = &self.shared else { return self.schedule().try_take(self.now()).map_err(Hold::Until) };
        if !shared.is_up() {
            return self.take_share(shared).map_err(Hold::Until);
        }
        let now = self.now();
        let mut schedule = self.schedule();
        let calm = shared.calm();
        if calm > schedule.calm() {
            schedule.cool(now, calm.saturating_sub(now));
        }
        if schedule.is_cooling(now) {
            return Err(Hold::Until(schedule.calm()));
        }
        drop(schedule);
        match shared.take(now, self.waiting.load(Ordering::Relaxed)) {
            Next::Now => Ok(()),
            Next::At(ready) => Err(Hold::Until(ready)),
            Next::Nothing => Err(Hold::NoPermit),
        }
    }

    /// Goes up by this replica's part of the rate, without the store.
    fn take_share(&self, shared: &SharedPace) -> Result<(), Duration> {
        let (mut schedule, now) = (self.schedule(), self.now());
        schedule.share(shared.replicas());
        // Permits of the store were used before, and those that are held may be used after.
        if shared.begins_alone() {
            schedule.drain(now);
        }
        schedule.try_take(now)
    }

    fn late(&self, limit: Limit) -> RateLimited {
        let (now, ready) = (self.now(), self.ready());
        let limit = if self.schedule().is_cooling(now) { Limit::CoolDown } else { limit };
        // Those who wait go first, this one not among them.
        let ahead = self.waiting.load(Ordering::Relaxed).saturating_sub(1);
        let queue = self.interval.saturating_mul(ahead);
        RateLimited { limit, retry_after: ready.saturating_sub(now).saturating_add(queue) }
    }

    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    fn schedule(&self) -> MutexGuard<'_, Schedule> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use http::HeaderValue;
    use tokio::time::sleep;

    use super::*;

    const LIMITS: RateLimits = RateLimits {
        pace: Some((10.0, NonZeroU32::MIN)),
        concurrent: None,
        wait: Duration::from_secs(10),
        retry_after_max: Duration::ZERO,
    };

    fn gate(limits: RateLimits) -> RateLimiter {
        RateLimiter::new("main".to_owned(), &limits, IntCounter::new("waits", "waits").expect("a counter"))
    }

    fn throttled(retry_after: &str) -> HeaderMap {
        HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_str(retry_after).expect("a value"))])
    }

    fn millis(since: Instant) -> u128 {
        since.elapsed().as_millis()
    }

    #[tokio::test(start_paused = true)]
    async fn gate_lets_go_up_in_order_of_arrival_and_who_leaves_costs_nothing() {
        let (gate, begun, order) = (gate(LIMITS), Instant::now(), RefCell::new(Vec::new()));
        let caller = |number| {
            let (gate, order) = (&gate, &order);
            async move {
                gate.enter().await.expect("a turn");
                order.borrow_mut().push((number, millis(begun)));
            }
        };
        // The second and the foremost of the waiting leave.
        let leaving = |number| {
            let caller = caller(number);
            async move { assert!(timeout_at(begun + Duration::from_millis(50), caller).await.is_err()) }
        };
        tokio::join!(caller(0), leaving(1), leaving(2), caller(3), caller(4));
        let order = order.into_inner();
        assert_eq!(order.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [0, 3, 4]);
        for ((_, at), due) in order.iter().zip([0, 100, 200]) {
            assert!((due..due + 5).contains(at), "{order:?}");
        }
        assert_eq!((gate.waits.get(), gate.waiting.load(Ordering::Relaxed)), (4, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn gate_refuses_those_whose_turn_does_not_come_within_the_bound() {
        let (gate, begun) = (gate(RateLimits { wait: Duration::from_millis(250), ..LIMITS }), Instant::now());
        let caller = || async { (gate.enter().await.map(drop), millis(begun)) };
        let (a, b, c, d, e) = tokio::join!(caller(), caller(), caller(), caller(), caller());
        assert!([a, b, c].iter().all(|(went, _)| went.is_ok()), "at 0, 100 and 200 ms");
        for (went, at) in [d, e] {
            assert_eq!(went.map_err(|late| late.limit), Err(Limit::Pace));
            assert!((200..260).contains(&at), "not before it is certain, not after the bound: {at}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn gate_keeps_a_slot_until_it_is_dropped_and_gives_it_to_the_next_in_line() {
        let gate = gate(RateLimits { pace: None, concurrent: NonZeroU32::new(2), ..LIMITS });
        let (first, _second) = (gate.enter().await.expect("a slot"), gate.enter().await.expect("a slot"));
        let begun = Instant::now();
        let release = async {
            sleep(Duration::from_secs(3)).await;
            drop(first);
        };
        let (third, fourth, ()) = tokio::join!(gate.enter(), gate.enter(), release);
        assert!(third.is_ok());
        assert_eq!(fourth.map(drop).map_err(|late| late.limit), Err(Limit::Concurrent));
        assert!((10_000..10_010).contains(&millis(begun)), "the whole bound");
    }

    #[tokio::test(start_paused = true)]
    async fn gate_holds_back_until_the_end_of_a_cool_down_also_if_it_is_prolonged() {
        let (gate, begun) = (gate(RateLimits { pace: None, ..LIMITS }), Instant::now());
        let heed = |after| gate.note_answer(StatusCode::TOO_MANY_REQUESTS, &throttled(after));
        assert_eq!(gate.note_answer(StatusCode::SERVICE_UNAVAILABLE, &throttled("5")), None, "only a 429 counts");
        gate.enter().await.expect("nothing holds it back");
        assert_eq!(heed("2"), None);
        let prolong = async {
            sleep(Duration::from_secs(1)).await;
            heed("4");
        };
        let (went, ()) = tokio::join!(gate.enter(), prolong);
        assert!(went.is_ok() && (5000..5010).contains(&millis(begun)), "{}", millis(begun));
        heed("7000");
        let late = gate.enter().await.expect_err("too long");
        assert_eq!((late.limit, late.retry_after), (Limit::CoolDown, MAX_PAUSE), "and at once");
        assert!(millis(begun) < 5010);
    }

    #[tokio::test(start_paused = true)]
    async fn gate_in_the_place_of_another_goes_on_with_its_cool_down() {
        let limits = RateLimits { pace: None, ..LIMITS };
        let old = gate(limits.clone());
        sleep(Duration::from_secs(7)).await;
        old.note_answer(StatusCode::TOO_MANY_REQUESTS, &throttled("3"));
        sleep(Duration::from_secs(1)).await;
        let (new, begun) = (gate(limits).after(&old), Instant::now());
        new.enter().await.expect("a turn");
        assert!((2000..2010).contains(&millis(begun)), "{}", millis(begun));
    }

    #[tokio::test(start_paused = true)]
    async fn gate_lets_a_read_go_again_after_a_short_retry_after_only() {
        let gate = gate(RateLimits { pace: None, retry_after_max: Duration::from_secs(2), ..LIMITS });
        let heed = |headers: &HeaderMap| gate.note_answer(StatusCode::TOO_MANY_REQUESTS, headers);
        assert_eq!(heed(&throttled("3")), None);
        assert_eq!(heed(&HeaderMap::new()), Some(DEFAULT_PAUSE));
        assert_eq!(heed(&throttled("2")), Some(Duration::from_secs(2)));
        let begun = Instant::now();
        assert!(gate.enter_again(Duration::from_secs(2)).await.is_ok());
        assert!((3000..3010).contains(&millis(begun)), "the longer cool-down counts");
    }
}
