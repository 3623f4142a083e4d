//! How long something has been, by a measure that never goes back: time asleep is included, and so is a step of the wall clock
//! forward; a step back takes nothing away.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use super::Moment;

/// Smaller differences between the clocks are not taken down: a clock that is being slewed must not cost a write a call.
const COARSE: i64 = 1000;

/// The age of something since its start.
#[derive(Debug)]
pub struct Lifetime {
    start: Moment,
    /// How far the wall clock was ahead of the monotonic one when that was taken down last, in milliseconds.
    ahead: AtomicI64,
    /// All that the wall clock ever gained on the monotonic one, in milliseconds.
    gained: AtomicI64,
}

impl Lifetime {
    /// Begins at this moment.
    pub fn new(start: Moment) -> Self {
        Self { start, ahead: AtomicI64::new(0), gained: AtomicI64::new(0) }
    }

    /// The age at this moment: never less than what was told before of an earlier one. Takes no lock: where two threads
    /// see a step of the wall clock at once it may count twice, which makes things end sooner and never later.
    pub fn age(&self, now: Moment) -> Duration {
        let monotonic = now.monotonic.saturating_duration_since(self.start.monotonic);
        let wall = match now.wall.duration_since(self.start.wall) {
            Ok(later) => millis(later),
            Err(earlier) => -millis(earlier.duration()),
        };
        let ahead = wall.saturating_sub(millis(monotonic));
        if ahead.abs_diff(self.ahead.load(Ordering::Relaxed)) >= COARSE.unsigned_abs() {
            let before = self.ahead.swap(ahead, Ordering::AcqRel);
            self.gained.fetch_add(ahead.saturating_sub(before).max(0), Ordering::AcqRel);
        }
        monotonic.saturating_add(Duration::from_millis(self.gained.load(Ordering::Acquire).unsigned_abs()))
    }
}

pub(super) fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn lifetime_counts_time_sleep_and_steps_forward_and_no_step_back() {
        let start = Moment::now();
        let life = Lifetime::new(start);
        assert_eq!(life.age(start), Duration::ZERO);
        assert_eq!(life.age(start + HOUR), HOUR);
        let slept = Moment { wall: start.wall + 3 * HOUR, ..start + HOUR };
        assert_eq!(life.age(slept), 3 * HOUR, "two hours of sleep");
        let set_back = Moment { wall: start.wall - 20 * HOUR, ..start + HOUR };
        assert_eq!(life.age(set_back), 3 * HOUR, "dead is dead");
        assert_eq!(life.age(set_back + HOUR), 4 * HOUR, "and it goes on from there");
        let set_right = Moment { wall: start.wall + 4 * HOUR, ..start + 2 * HOUR };
        assert!(life.age(set_right) >= 4 * HOUR);
    }

    proptest! {
        /// What is asked for after an age has passed at least that age, whatever the wall clock does; and what the wall
        /// clock does not do makes nothing older.
        #[test]
        fn lifetime_never_goes_back(steps in prop::collection::vec((0..100_000_u64, -1_000_000..1_000_000_i64), 1..50)) {
            let start = Moment::now();
            let (life, mut now, mut last, mut most) = (Lifetime::new(start), start, Duration::ZERO, Duration::ZERO);
            for (passed, jump) in steps {
                now = now + Duration::from_millis(passed);
                let span = Duration::from_millis(jump.unsigned_abs());
                now.wall = if jump < 0 { now.wall - span } else { now.wall + span };
                most += Duration::from_millis(passed) + if jump < 0 { Duration::ZERO } else { span };
                let age = life.age(now);
                prop_assert!(age >= last + Duration::from_millis(passed), "{:?} after {:?}", age, last);
                prop_assert!(age <= most + Duration::from_millis(1000 * 50), "{:?} of {:?}", age, most);
                last = age;
            }
        }
    }
}
