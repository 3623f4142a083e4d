//! Permits of an instance's rate that the shared store has handed to this replica; pure, times are handed in.

use std::collections::VecDeque;
use std::time::Duration;

/// A permit may be used so long after its time, and is lost then. Longer: more may go up at once than the rate and the
/// burst say. Shorter: more of those that were taken ahead are lost.
pub(super) const GRACE: Duration = Duration::from_millis(250);
/// Permits of so much time are taken ahead at most: other replicas wait for that long.
const AHEAD: Duration = Duration::from_millis(100);

/// Permits that were handed out at once: one each interval.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reservation {
    /// When the store was asked, and when its answer came. The store handed them out in between.
    pub(super) asked: Duration,
    pub(super) received: Duration,
    /// The time of the first, in microseconds after that; in the past for those that had not been used.
    pub(super) first: i64,
    /// None goes before this, in microseconds after that: there is a cool-down.
    pub(super) calm: i64,
    /// In microseconds.
    pub(super) interval: i64,
    pub(super) count: u32,
}

/// What there is for a request that wants to go up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// A permit, which is used now.
    Now,
    /// A permit for later.
    At(Duration),
    /// Nothing.
    Nothing,
}

/// The permits of this replica.
#[derive(Debug)]
pub(super) struct Permits {
    grace: Duration,
    /// The most that are asked for at once.
    most: u32,
    /// At most two: the second is asked for when less than half of the first is left.
    held: VecDeque<(Reservation, Used)>,
    /// How many were asked for last, and could be used.
    last: u32,
    recent: Recent,
}

/// What became of a reservation's permits so far.
#[derive(Debug, Clone, Copy, Default)]
struct Used {
    /// Those that were used or lost.
    gone: u32,
    used: u32,
}

/// How many permits were used of late.
#[derive(Debug, Default)]
struct Recent {
    since: Duration,
    now: u32,
    before: u32,
}

impl Reservation {
    /// The time of one of them, after the store handed them out.
    fn time(&self, number: u32) -> Duration {
        let time = self.first.saturating_add(self.interval.saturating_mul(number.into())).max(self.calm);
        Duration::from_micros(u64::try_from(time).unwrap_or_default())
    }

    /// The store's clock and ours are compared by an answer that took a while: it is used too late rather than too early,
    /// and ends too early rather than too late.
    fn ready(&self, number: u32) -> Duration {
        self.received.saturating_add(self.time(number))
    }

    fn end(&self, number: u32, grace: Duration) -> Duration {
        self.asked.saturating_add(self.time(number)).saturating_add(grace)
    }
}

impl Recent {
    fn turn(&mut self, now: Duration) {
        let since = now.saturating_sub(self.since);
        if since >= GRACE {
            self.before = if since < GRACE * 2 { self.now } else { 0 };
            (self.since, self.now) = (now, 0);
        }
    }
}

impl Permits {
    /// None yet. `interval` is the time between two; an answer of the store may take `deadline`.
    pub(super) fn new(interval: Duration, deadline: Duration) -> Self {
        let most = AHEAD.as_nanos().checked_div(interval.as_nanos()).unwrap_or(1);
        Self {
            grace: GRACE + deadline,
            most: u32::try_from(most).unwrap_or(u32::MAX).max(1),
            held: VecDeque::new(),
            last: 0,
            recent: Recent::default(),
        }
    }

    /// The most that are asked for at once.
    pub(super) fn most(&self) -> u32 {
        self.most
    }

    /// Uses a permit, if there is one whose time has come.
    pub(super) fn take(&mut self, now: Duration) -> Next {
        let next = self.next(now);
        if next == Next::Now
            && let Some((_, used)) = self.held.front_mut()
        {
            used.gone += 1;
            used.used += 1;
            self.recent.turn(now);
            self.recent.now += 1;
        }
        next
    }

    /// What there is. Those whose time is over are lost.
    pub(super) fn next(&mut self, now: Duration) -> Next {
        while let Some((reservation, used)) = self.held.front_mut() {
            while used.gone < reservation.count && reservation.end(used.gone, self.grace) < now {
                used.gone += 1;
            }
            if used.gone < reservation.count {
                let ready = reservation.ready(used.gone);
                return if ready <= now { Next::Now } else { Next::At(ready) };
            }
            // Of those of which some were lost, fewer are asked for.
            if used.used < reservation.count {
                self.last = used.used.max(1);
            }
            self.held.pop_front();
        }
        Next::Nothing
    }

    /// Whether it is time to ask for more, before all are used: not if only single ones are asked for.
    pub(super) fn runs_low(&self) -> bool {
        match self.held.front() {
            Some((reservation, used)) if self.held.len() == 1 => {
                reservation.count > 1 && (reservation.count - used.gone) * 2 < reservation.count
            }
            Some(_) | None => false,
        }
    }

    /// How many to ask for: twice as many as last time, but not more than were used of late or are waited for.
    pub(super) fn wanted(&mut self, now: Duration, waiting: u32) -> u32 {
        self.recent.turn(now);
        let demand = self.recent.now.max(self.recent.before).saturating_add(waiting);
        self.last = self.last.saturating_mul(2).min(demand).clamp(1, self.most);
        self.last
    }

    pub(super) fn add(&mut self, reservation: Reservation) {
        self.held.push_back((reservation, Used::default()));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// What the script in `shared_pace.rs` does, in microseconds of its own clock.
    #[derive(Default)]
    struct Store {
        full: i64,
        calm: i64,
    }

    impl Store {
        /// The time of the first, and the end of the cool-down, after `now`.
        fn reserve(&mut self, now: i64, (interval, tolerance, count): (i64, i64, u32)) -> (i64, i64) {
            let from = now.max(self.calm);
            let full = self.full.max(from);
            self.full = full + interval * i64::from(count);
            (full - tolerance - now, self.calm.max(now) - now)
        }
    }

    fn permits() -> Permits {
        Permits::new(millis(10), millis(20))
    }

    fn reservation(at: Duration, first: i64, count: u32) -> Reservation {
        Reservation { asked: at, received: at + millis(1), first, calm: 0, interval: 10_000, count }
    }

    #[test]
    fn permits_are_used_in_their_time_and_lost_after_it() {
        let mut permits = permits();
        assert_eq!(permits.take(millis(5)), Next::Nothing);
        permits.add(reservation(millis(5), 20_000, 3));
        assert_eq!(permits.take(millis(20)), Next::At(millis(26)), "counted from the answer");
        assert_eq!(permits.take(millis(26)), Next::Now);
        assert_eq!(permits.take(millis(26)), Next::At(millis(36)));
        assert_eq!(permits.take(millis(5 + 30 + 270)), Next::Now, "to the end of its time, counted from the question");
        assert_eq!(permits.take(millis(5 + 40 + 271)), Next::Nothing, "the last one is lost");
    }

    #[test]
    fn more_permits_are_asked_for_while_they_are_used_and_fewer_when_some_were_lost() {
        let mut permits = permits();
        let mut now = millis(0);
        for wanted in [1, 2, 4, 8, 10, 10] {
            assert_eq!(permits.wanted(now, 30), wanted, "at most 100 ms of the rate");
            permits.add(reservation(now, -200_000, wanted));
            now += millis(1);
            for number in 0..wanted {
                assert_eq!(permits.runs_low(), wanted > 1 && (wanted - number) * 2 < wanted);
                assert_eq!(permits.take(now), Next::Now);
            }
        }
        permits.add(reservation(now, 0, 10));
        now += millis(1);
        assert!((0..1).all(|_| permits.take(now) == Next::Now));
        now += millis(600);
        assert_eq!(permits.take(now), Next::Nothing);
        assert_eq!(permits.wanted(now, 30), 2);
        now += millis(600);
        assert_eq!(permits.wanted(now, 0), 1, "idle");
    }

    #[test]
    fn no_permits_are_asked_for_that_nobody_wants() {
        let mut permits = permits();
        permits.last = 10;
        assert_eq!(permits.wanted(millis(0), 3), 3);
        assert_eq!(permits.wanted(millis(0), 0), 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

        /// Replicas whose clocks began at different times, and whose answers take a while, with requests that come as they
        /// like. The oracle only counts what went up, in the time of the store.
        #[test]
        fn replicas_together_never_send_more_than_burst_and_rate_in_the_time_and_the_grace(
            burst in 1..20u32,
            interval in 500..40_000i64,
            requests in prop::collection::vec((0..4usize, prop_oneof![Just(0), 0..3_000i64, 0..400_000i64], 0..20_000i64), 1..300),
            pause in (0..100usize, 0..500_000i64),
        ) {
            let deadline = Duration::from_millis(20);
            let every = Duration::from_micros(interval as u64);
            let mut replicas: Vec<_> = (0..4i64).map(|number| (number * 777_777, Permits::new(every, deadline))).collect();
            let tolerance = interval * i64::from(burst - 1);
            let (mut store, mut now, mut sent) = (Store::default(), 1_000_000i64, Vec::new());
            for (number, (replica, gap, latency)) in requests.into_iter().enumerate() {
                now += gap;
                if number == pause.0 {
                    store.calm = now + pause.1;
                }
                let (origin, permits) = &mut replicas[replica];
                let local = |time: i64| Duration::from_micros((time + *origin) as u64);
                match permits.take(local(now)) {
                    Next::Now => sent.push(now),
                    // It leaves; the permits go on.
                    Next::At(_) => {}
                    Next::Nothing => {
                        let count = permits.wanted(local(now), 7);
                        let handed = now + latency / 2;
                        let (first, calm) = store.reserve(handed, (interval, tolerance, count));
                        let (asked, received) = (local(now), local(now + latency));
                        permits.add(Reservation { asked, received, first, calm, interval, count });
                        if permits.take(received) == Next::Now {
                            sent.push(now + latency);
                        }
                    }
                }
            }
            sent.sort_unstable();
            let grace = (GRACE + deadline).as_micros() as i64;
            for (first, begin) in sent.iter().enumerate() {
                for (last, end) in sent.iter().enumerate().skip(first) {
                    let count = (last - first + 1) as i64;
                    let allowed = i64::from(burst) + (end - begin + grace) / interval + 1;
                    prop_assert!(count <= allowed, "{count} within {} us, {allowed} allowed", end - begin);
                }
            }
        }
    }
}
