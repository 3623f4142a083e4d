//! The wall clock as machines agree on it, which within one process never goes back and never stands still.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::UNIX_EPOCH;

use tokio::time::Instant;

use super::Moment;
use super::lifetime::millis;

/// The wall clock of this process: a step forward is followed, a step back is not.
#[derive(Debug)]
pub struct SteadyWall {
    start: Instant,
    /// The most that the wall clock ever was ahead of the monotonic one, in milliseconds.
    ahead: AtomicI64,
}

impl SteadyWall {
    /// Begins at this moment.
    pub fn new(start: Moment) -> Self {
        Self { start: start.monotonic, ahead: AtomicI64::new(wall_millis(start)) }
    }

    /// The time since 1970 in milliseconds: never less than what was read before, plus what has passed since. Takes no
    /// lock, and writes only when the wall clock has stepped forward.
    pub fn millis(&self, now: Moment) -> u64 {
        let passed = millis(now.monotonic.saturating_duration_since(self.start));
        let ahead = wall_millis(now).saturating_sub(passed);
        let most = self.ahead.load(Ordering::Relaxed);
        let most = if ahead > most { self.ahead.fetch_max(ahead, Ordering::AcqRel).max(ahead) } else { most };
        passed.saturating_add(most).unsigned_abs()
    }
}

/// The wall clock itself, in milliseconds since 1970.
pub fn wall_millis(now: Moment) -> i64 {
    now.wall.duration_since(UNIX_EPOCH).map_or(0, millis)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn steady_wall_follows_steps_forward_and_no_step_back() {
        let start = Moment::now();
        let (clock, begun) = (SteadyWall::new(start), wall_millis(start).unsigned_abs());
        let hours = |moment| (clock.millis(moment) - begun) / 3_600_000;
        assert_eq!((hours(start), hours(start + HOUR)), (0, 1));
        assert_eq!(hours(Moment { wall: start.wall + 3 * HOUR, ..start + HOUR }), 3, "it slept");
        assert_eq!(hours(Moment { wall: start.wall - 20 * HOUR, ..start + HOUR }), 3, "it was set back");
        assert_eq!(hours(Moment { wall: start.wall - 19 * HOUR, ..start + 2 * HOUR }), 4, "and time passes");
        assert_eq!(hours(Moment { wall: start.wall + 3 * HOUR, ..start + 2 * HOUR }), 4, "it was set right");
    }

    proptest! {
        /// It is the latest that the wall clock ever said, plus what has passed since that was said.
        #[test]
        fn steady_wall_is_the_latest_that_was_said_and_what_has_passed(
            steps in prop::collection::vec((0..100_000_u64, -1_000_000..1_000_000_i64), 1..50)
        ) {
            let start = Moment::now();
            let clock = SteadyWall::new(start);
            let (mut now, mut told) = (start, vec![(Duration::ZERO, wall_millis(start))]);
            for (passed, jump) in steps {
                now = now + Duration::from_millis(passed);
                let span = Duration::from_millis(jump.unsigned_abs());
                now.wall = if jump < 0 { now.wall - span } else { now.wall + span };
                let age = now.monotonic - start.monotonic;
                told.push((age, wall_millis(now)));
                let latest = told.iter().map(|(at, wall)| wall + (age - *at).as_millis() as i64).max();
                prop_assert_eq!(Some(clock.millis(now) as i64), latest);
            }
        }
    }
}
