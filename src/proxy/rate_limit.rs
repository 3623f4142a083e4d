//! How fast requests go up to an instance, first come, first served; obeys Retry-After of its 429 answers.

pub mod schedule;

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
use schedule::{Bucket, Schedule};

/// The cool-down after a 429 that does not say how long.
const DEFAULT_PAUSE: Duration = Duration::from_secs(1);
/// The longest cool-down.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// What the configuration says of one instance.
#[derive(Debug, Clone, PartialEq)]
pub struct RateLimits {
    /// Requests a second in the long run, more than 0, and at once.
    pub pace: Option<(f64, NonZeroU32)>,
    /// Requests whose answers have not ended.
    pub concurrent: Option<NonZeroU32>,
    /// The longest that a request is held back.
    pub wait: Duration,
    /// The longest `Retry-After` with which a read is sent again; 0: it never is.
    pub retry_after_max: Duration,
}

/// What holds a request back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// So many requests a second.
    Pace,
    /// So many at a time.
    Concurrent,
    /// The instance has answered 429 and wants to be left alone.
    CoolDown,
}

/// The turn of a request would not come, or did not come, in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the request's turn does not come in time ({limit:?})")]
pub struct RateLimited {
    /// What held it back.
    pub limit: Limit,
    /// When it may be worth another try.
    pub retry_after: Duration,
}

/// The way in to one instance, shared by all workers.
///
/// A request that waits is in the queue of a semaphore: of `slots` first, if there are such, and then of `turn`, which the
/// foremost holds while it sleeps until the schedule lets it go. Both queues are in order of arrival. Who leaves is
/// taken out of them and has taken nothing from the schedule, so that those behind move up.
#[derive(Debug)]
pub struct RateLimiter {
    instance: String,
    wait: Duration,
    retry_after_max: Duration,
    interval: Duration,
    /// What the times of the schedule are counted from.
    origin: Instant,
    schedule: Mutex<Schedule>,
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
            slots: concurrent.map(slots),
            turn: Semaphore::new(1),
            waiting: AtomicU32::new(0),
            waits,
        }
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
        let _waiting = QueuedRequest::begin(self);
        let deadline = Instant::now() + self.wait;
        self.check(deadline)?;
        let slot = timeout_at(deadline, self.slot()).await.map_err(|_| self.late(Limit::Concurrent))?;
        self.turn_by(deadline).await.map(|()| slot)
    }

    /// The same for a request that has its slot and goes up once more, after it was told to wait for `pause`.
    pub async fn enter_again(&self, pause: Duration) -> Result<(), RateLimited> {
        if self.pass() {
            return Ok(());
        }
        let _waiting = QueuedRequest::begin(self);
        self.turn_by(Instant::now() + pause + self.wait).await
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

    async fn turn_by(&self, deadline: Instant) -> Result<(), RateLimited> {
        self.check(deadline)?;
        timeout_at(deadline, self.take_turn(deadline)).await.unwrap_or_else(|_| Err(self.late(Limit::Pace)))
    }

    async fn take_turn(&self, deadline: Instant) -> Result<(), RateLimited> {
        let _turn = self.turn.acquire().await;
        // A cool-down may begin while the foremost sleeps.
        while let Err(ready) = self.take() {
            self.check(deadline)?;
            sleep_until(self.origin + ready).await;
        }
        Ok(())
    }

    /// A request that would have to wait longer than it may is refused at once.
    fn check(&self, deadline: Instant) -> Result<(), RateLimited> {
        let ready = self.schedule().ready();
        if ready > deadline.saturating_duration_since(self.origin) { Err(self.late(Limit::Pace)) } else { Ok(()) }
    }

    /// Goes up, or says when that will be possible.
    fn take(&self) -> Result<(), Duration> {
        let mut schedule = self.schedule();
        let (now, ready) = (self.now(), schedule.ready());
        if ready > now {
            return Err(ready);
        }
        schedule.take(now);
        Ok(())
    }

    fn late(&self, limit: Limit) -> RateLimited {
        let (now, schedule) = (self.now(), self.schedule());
        let limit = if schedule.is_cooling(now) { Limit::CoolDown } else { limit };
        // Those who wait go first, this one not among them.
        let ahead = self.waiting.load(Ordering::Relaxed).saturating_sub(1);
        let queue = self.interval.saturating_mul(ahead);
        RateLimited { limit, retry_after: schedule.ready().saturating_sub(now).saturating_add(queue) }
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
