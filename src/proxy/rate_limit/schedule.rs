//! When the next request may go up: arithmetic over a time that is handed in.

use std::num::NonZeroU32;
use std::time::Duration;

/// So many requests at once, and one more each `interval`; a token bucket, kept as the instant at which it is full
/// again (the "virtual scheduling" of the generic cell rate algorithm).
#[derive(Debug, Clone)]
pub struct Bucket {
    interval: Duration,
    burst: NonZeroU32,
    /// Among how many it is shared.
    parts: NonZeroU32,
    full: Duration,
}

impl Bucket {
    /// A full bucket: `per_second` is more than 0.
    pub fn new(per_second: f64, burst: NonZeroU32) -> Self {
        // Rounded up, so that it is never faster than asked; what is too large for the type becomes its maximum.
        let interval = Duration::from_nanos((1e9 / per_second).ceil() as u64);
        Self { interval, burst, parts: NonZeroU32::MIN, full: Duration::ZERO }
    }

    /// The time between two requests in the long run.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// How many may go at once.
    pub fn burst(&self) -> NonZeroU32 {
        self.burst
    }

    /// How far ahead of `full` a request may go.
    fn tolerance(&self) -> Duration {
        let burst = (self.burst.get() / self.parts).max(1);
        self.interval.saturating_mul(self.parts.get()).saturating_mul(burst - 1)
    }

    fn ready(&self) -> Duration {
        self.full.saturating_sub(self.tolerance())
    }

    fn take(&mut self, now: Duration) {
        self.full = self.full.max(now).saturating_add(self.interval.saturating_mul(self.parts.get()));
    }
}

/// The limits of one instance. All times are counted from one and the same instant.
#[derive(Debug)]
pub struct Schedule {
    bucket: Option<Bucket>,
    /// The end of the last cool-down.
    calm: Duration,
}

impl Schedule {
    /// Nothing has gone up yet; without a bucket only cool-downs hold requests back.
    pub fn new(bucket: Option<Bucket>) -> Self {
        Self { bucket, calm: Duration::ZERO }
    }

    /// The bucket, if there is one.
    pub fn bucket(&self) -> Option<&Bucket> {
        self.bucket.as_ref()
    }

    /// The bucket is one of so many, which share its rate and its burst: an `n`th of both, and at least one at once. It is
    /// never faster than an `n`th.
    pub fn share(&mut self, parts: NonZeroU32) {
        if let Some(bucket) = &mut self.bucket {
            bucket.parts = parts;
        }
    }

    /// The bucket has one left at most: what was used until now was not taken from it.
    pub fn drain(&mut self, now: Duration) {
        if let Some(bucket) = &mut self.bucket {
            bucket.full = bucket.full.max(now.saturating_add(bucket.tolerance()));
        }
    }

    /// When the next request may go up. It may become later, never earlier, as long as the bucket's share is the same.
    pub fn ready(&self) -> Duration {
        self.bucket.as_ref().map_or(Duration::ZERO, Bucket::ready).max(self.calm)
    }

    /// A request goes up, not before [`Schedule::ready`].
    pub fn take(&mut self, now: Duration) {
        if let Some(bucket) = &mut self.bucket {
            bucket.take(now);
        }
    }

    /// A request goes up, or hears when that will be possible.
    pub fn try_take(&mut self, now: Duration) -> Result<(), Duration> {
        let ready = self.ready();
        if ready > now {
            return Err(ready);
        }
        self.take(now);
        Ok(())
    }

    /// Nothing goes up for `pause`. Whether this begins a cool-down, rather than prolongs one.
    pub fn cool(&mut self, now: Duration, pause: Duration) -> bool {
        let begins = !self.is_cooling(now) && !pause.is_zero();
        self.calm = self.calm.max(now.saturating_add(pause));
        begins
    }

    /// The end of the last cool-down.
    pub fn calm(&self) -> Duration {
        self.calm
    }

    /// What is left of a cool-down.
    pub fn calm_in(&self, now: Duration) -> Duration {
        self.calm.saturating_sub(now)
    }

    /// Whether there is a cool-down.
    pub fn is_cooling(&self, now: Duration) -> bool {
        now < self.calm
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// When those who came at these times go up, one after the other, as early as they may.
    fn run(schedule: &mut Schedule, arrivals: &[Duration]) -> Vec<Duration> {
        let mut now = Duration::ZERO;
        let start = |arrival: &Duration| {
            now = now.max(*arrival).max(schedule.ready());
            schedule.take(now);
            now
        };
        arrivals.iter().map(start).collect()
    }

    fn arrivals() -> impl Strategy<Value = Vec<Duration>> {
        let gap = prop_oneof![Just(0), 0..1_000_000u64, 0..2_000_000_000u64];
        prop::collection::vec(gap, 1..60).prop_map(|gaps| {
            let sum = |sum: &mut u64, gap| {
                *sum += gap;
                Some(Duration::from_nanos(*sum))
            };
            gaps.into_iter().scan(0, sum).collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn schedule_lets_no_window_have_more_than_burst_and_rate_and_nobody_waits_longer_than_that_takes(
            arrivals in arrivals(),
            per_second in 0.2..2000.0f64,
            burst in 1..20u32,
        ) {
            let bucket = Bucket::new(per_second, NonZeroU32::new(burst).expect("not 0"));
            let interval = bucket.interval();
            let starts = run(&mut Schedule::new(Some(bucket)), &arrivals);
            for (last, start) in starts.iter().enumerate() {
                let mut earliest = arrivals[last];
                for (first, begin) in starts.iter().enumerate().take(last) {
                    let count = u32::try_from(last - first).expect("small") + 1;
                    let allowed = f64::from(burst) + per_second * (*start - *begin).as_secs_f64();
                    prop_assert!(f64::from(count) <= allowed + 1e-6, "{count} within {:?}", *start - *begin);
                    // The window is full until then.
                    earliest = earliest.max(*begin + interval * count.saturating_sub(burst));
                }
                prop_assert_eq!(*start, earliest, "the request {}", last);
            }
        }

        #[test]
        fn schedule_lets_nothing_go_up_in_a_cool_down_and_goes_on_after_it(
            arrivals in arrivals(),
            at in 0..2_000_000_000u64,
            pause in 0..3_000_000_000u64,
        ) {
            let (at, pause) = (Duration::from_nanos(at), Duration::from_nanos(pause));
            let (before, after): (Vec<_>, Vec<_>) = arrivals.into_iter().partition(|arrival| *arrival < at);
            let mut schedule = Schedule::new(None);
            prop_assert_eq!(&run(&mut schedule, &before), &before, "nothing holds them back");
            prop_assert_eq!(schedule.cool(at, pause), !pause.is_zero());
            prop_assert!(!schedule.cool(at, pause / 2), "it is prolonged at most, and never shortened");
            for (start, arrival) in run(&mut schedule, &after).into_iter().zip(after) {
                prop_assert_eq!(start, arrival.max(at + pause));
            }
        }
    }

    #[test]
    fn schedule_that_is_shared_has_its_part_of_rate_and_burst_and_begins_with_one_at_most() {
        let millis = Duration::from_millis;
        let mut schedule = Schedule::new(Some(Bucket::new(100.0, NonZeroU32::new(12).expect("not 0"))));
        schedule.share(NonZeroU32::new(5).expect("not 0"));
        schedule.drain(millis(1000));
        let at_once =
            |schedule: &mut Schedule, now: Duration| (0..100).take_while(|_| schedule.try_take(now).is_ok()).count();
        assert_eq!(at_once(&mut schedule, millis(1000)), 1);
        assert_eq!(at_once(&mut schedule, millis(1049)), 0);
        assert_eq!(at_once(&mut schedule, millis(1050)), 1);
        schedule.drain(millis(1050));
        assert_eq!(at_once(&mut schedule, millis(1099)), 0, "that it was drained gives nothing");
        assert_eq!(at_once(&mut schedule, millis(9000)), 2, "a fifth of 12");
        schedule.share(NonZeroU32::new(20).expect("not 0"));
        assert_eq!(at_once(&mut schedule, millis(20_000)), 1, "at least one");
    }

    #[test]
    fn schedule_bears_the_slowest_and_the_fastest_rate() {
        for (per_second, burst) in [(f64::MIN_POSITIVE, u32::MAX), (1e-9, 1), (1e6, u32::MAX), (f64::MAX, 1)] {
            let mut schedule = Schedule::new(Some(Bucket::new(per_second, NonZeroU32::new(burst).expect("not 0"))));
            assert_eq!(schedule.ready(), Duration::ZERO);
            schedule.take(Duration::from_secs(1));
            schedule.take(schedule.ready());
        }
    }
}
