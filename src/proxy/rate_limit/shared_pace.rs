//! The rate of an instance as all replicas share it: one bucket in the store, of which each replica reserves some permits
//! at a time, in order of arrival.
//!
//! A replica has at most one reservation under way, and asks for more when less than half of one is left. So a busy replica
//! gets its next permits after those that the others have asked for meanwhile, and does not starve a quiet one.

use std::num::NonZeroU32;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::Script;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::MAX_PAUSE;
use super::permits::{Next, Permits, Reservation};
use super::schedule::Bucket;
use crate::shared::SharedStore;

static RESERVE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("reserve.lua")));

/// Begins or prolongs a cool-down, by so many microseconds from now on.
static COOL: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local calm = math.min(tonumber(redis.call('HGET', KEYS[1], 'calm') or '') or 0, now + 60000000)
calm = math.max(calm, now + tonumber(ARGV[1]))
redis.call('HSET', KEYS[1], 'calm', string.format('%.0f', calm))
local left = math.max(redis.call('PTTL', KEYS[1]), math.ceil((calm - now) / 1000) + 60000)
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', left))
return 1
",
    )
});

/// The longest time that is told to the store, in microseconds: with it, sums are still whole numbers there.
const LONGEST: u64 = 1_000_000_000_000_000;

/// What came of asking the store.
#[derive(Debug)]
pub(super) enum Reserved {
    /// There may be permits now.
    Some,
    /// The first would come too late.
    TooLate,
    /// The store did not answer, or not as asked.
    Failed,
}

/// The permits of this replica, and where they come from.
#[derive(Debug)]
pub(super) struct SharedPace {
    store: SharedStore,
    key: String,
    /// What the times are counted from.
    origin: Instant,
    /// In microseconds.
    interval: u64,
    tolerance: u64,
    /// How far ahead the bucket can be, in microseconds.
    ahead: u64,
    state: Mutex<State>,
    /// A reservation that was under way has ended.
    ended: Notify,
}

#[derive(Debug)]
struct State {
    permits: Permits,
    asking: bool,
    /// No new permit is for an earlier time than this.
    not_before: Duration,
    /// The cool-down of the others.
    calm: Duration,
    /// The last requests went up without the store.
    alone: bool,
}

/// Says that no reservation is under way any more, also if the task that made it was dropped.
struct Asking(Arc<SharedPace>);

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.state().asking = false;
        self.0.ended.notify_one();
    }
}

impl SharedPace {
    /// For the instance of this name and host; requests wait for `wait` at most. Times are counted from `origin`.
    pub(super) fn new(
        store: SharedStore,
        instance: [&str; 2],
        bucket: &Bucket,
        wait: Duration,
        origin: Instant,
    ) -> Self {
        let micros = |time: Duration| u64::try_from(time.as_nanos().div_ceil(1000)).unwrap_or(LONGEST).min(LONGEST);
        let interval = micros(bucket.interval()).max(1);
        let permits = Permits::new(Duration::from_micros(interval), store.deadline());
        // Rounded down, so that no more go at once than may.
        let tolerance = u64::from(bucket.burst().get() - 1).saturating_mul(interval).min(LONGEST);
        let longest = tolerance + micros(wait + MAX_PAUSE) + interval.saturating_mul(permits.most().into());
        Self {
            key: store.key("pace", &instance),
            store,
            origin,
            interval,
            tolerance,
            ahead: longest.min(LONGEST),
            state: Mutex::new(State {
                permits,
                asking: false,
                not_before: Duration::ZERO,
                calm: Duration::ZERO,
                alone: false,
            }),
            ended: Notify::new(),
        }
    }

    /// Whether the store is asked; and by how many replicas, as far as is known.
    pub(super) fn is_up(&self) -> bool {
        self.store.state().up
    }

    /// The last known number of replicas.
    pub(super) fn replicas(&self) -> NonZeroU32 {
        NonZeroU32::new(self.store.state().replicas).unwrap_or(NonZeroU32::MIN)
    }

    /// A request goes up without the store: whether it is the first one.
    pub(super) fn begins_alone(&self) -> bool {
        !std::mem::replace(&mut self.state().alone, true)
    }

    /// Uses a permit, if there is one; asks for more if few are left, where so many requests wait.
    pub(super) fn take(self: &Arc<Self>, now: Duration, waiting: u32) -> Next {
        let mut state = self.state();
        let next = state.permits.take(now);
        let low = next == Next::Now && state.permits.runs_low();
        drop(state);
        if low {
            // Nobody waits for it: who wants one of them does so later.
            drop(self.ask(waiting, MAX_PAUSE));
        }
        next
    }

    /// When the next one can go at the earliest, as far as is known.
    pub(super) fn ready(&self, now: Duration) -> Duration {
        let mut state = self.state();
        match state.permits.next(now) {
            Next::Now => now,
            Next::At(ready) => ready,
            Next::Nothing => state.not_before,
        }
    }

    /// The end of the cool-down, as the store last told it.
    pub(super) fn calm(&self) -> Duration {
        self.state().calm
    }

    /// Asks for permits of which the first goes within `bound`, or waits for those that were asked for.
    pub(super) async fn reserve(self: &Arc<Self>, waiting: u32, bound: Duration) -> Reserved {
        match self.ask(waiting, bound) {
            Some(asked) => asked.await.unwrap_or(Reserved::Failed),
            None => {
                self.ended.notified().await;
                Reserved::Some
            }
        }
    }

    /// Holds the requests of all replicas back for so long.
    pub(super) fn cool(self: &Arc<Self>, pause: Duration) {
        let this = Arc::clone(self);
        // If that fails, the others learn it from their own answers.
        tokio::spawn(async move {
            let pause = pause.as_micros().to_string();
            this.store.run::<u8>(&COOL, &[&this.key], &[pause.as_bytes()], this.store.deadline()).await
        });
    }

    /// By a task of its own: a caller that leaves does not lose what was reserved for those behind.
    fn ask(self: &Arc<Self>, waiting: u32, bound: Duration) -> Option<JoinHandle<Reserved>> {
        let mut state = self.state();
        if std::mem::replace(&mut state.asking, true) {
            return None;
        }
        let count = state.permits.wanted(self.now(), waiting);
        drop(state);
        let asking = Asking(Arc::clone(self));
        Some(tokio::spawn(async move { asking.0.reserve_now(count, bound).await }))
    }

    async fn reserve_now(&self, count: u32, bound: Duration) -> Reserved {
        let bound = u64::try_from(bound.as_micros()).unwrap_or(LONGEST).min(LONGEST);
        let numbers = [self.interval, self.tolerance, count.into(), bound, self.ahead].map(|number| number.to_string());
        let arguments: Vec<_> = numbers.iter().map(String::as_bytes).collect();
        let asked = self.now();
        let answer = self.store.run(&RESERVE, &[&self.key], &arguments, self.store.deadline()).await;
        let Ok((count, first, calm)): Result<(u32, i64, i64), _> = answer else { return Reserved::Failed };
        let received = self.now();
        let mut state = self.state();
        let after =
            |time: Duration, micros: i64| time + Duration::from_micros(u64::try_from(micros).unwrap_or_default());
        if calm > 0 {
            state.calm = after(received, calm);
        }
        if count == 0 {
            state.not_before = after(asked, first);
            return Reserved::TooLate;
        }
        let interval = i64::try_from(self.interval).unwrap_or(i64::MAX);
        state.alone = false;
        state.permits.add(Reservation { asked, received, first, calm, interval, count });
        Reserved::Some
    }

    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
