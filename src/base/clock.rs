//! Two clocks that are read together: the monotonic one stops while a laptop sleeps, the wall clock may be set.

pub mod lifetime;
pub mod steady_wall;
pub mod timer;
pub mod utc;

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// A point in time on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// On the monotonic clock.
    pub monotonic: Instant,
    /// On the wall clock.
    pub wall: SystemTime,
}

impl Moment {
    /// This moment.
    pub fn now() -> Self {
        Self { monotonic: Instant::now(), wall: SystemTime::now() }
    }

    /// Whether one of the clocks has come to `deadline`: a sleep shows on the wall clock only, and a wall clock that
    /// was set back must not prolong anything.
    pub fn has_reached(self, deadline: Self) -> bool {
        self.monotonic >= deadline.monotonic || self.wall >= deadline.wall
    }

    /// The time that is left until `deadline`, by the clock that reaches it first.
    pub fn until(self, deadline: Self) -> Duration {
        let wall = deadline.wall.duration_since(self.wall).unwrap_or_default();
        deadline.monotonic.saturating_duration_since(self.monotonic).min(wall)
    }

    /// The time since `start`, by the clock on which more of it has passed.
    pub fn since(self, start: Self) -> Duration {
        let wall = self.wall.duration_since(start.wall).unwrap_or_default();
        self.monotonic.saturating_duration_since(start.monotonic).max(wall)
    }
}

impl std::ops::Add<Duration> for Moment {
    type Output = Self;

    /// The moment that is later by `span`; the wall clock stays where it is if it cannot go that far.
    fn add(self, span: Duration) -> Self {
        Self { monotonic: self.monotonic + span, wall: self.wall.checked_add(span).unwrap_or(self.wall) }
    }
}

/// What tells the moment: the system, or a test.
pub type Clock = fn() -> Moment;

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn moment_is_reached_by_either_clock() {
        let start = Moment::now();
        let deadline = start + HOUR;
        let asleep = Moment { wall: start.wall + HOUR, ..start };
        let set_back = Moment { monotonic: start.monotonic + HOUR, wall: start.wall - HOUR };
        assert!(!start.has_reached(deadline) && asleep.has_reached(deadline) && set_back.has_reached(deadline));
        assert!((start + HOUR).has_reached(deadline));
    }

    #[test]
    fn moment_counts_down_by_the_clock_that_comes_first() {
        let start = Moment::now();
        let deadline = start + HOUR;
        assert_eq!(start.until(deadline), HOUR);
        assert_eq!(Moment { wall: start.wall + HOUR / 2, ..start }.until(deadline), HOUR / 2);
        assert_eq!(Moment { wall: start.wall - HOUR, ..start }.until(deadline), HOUR);
        assert_eq!((deadline + HOUR).until(deadline), Duration::ZERO);
    }

    #[test]
    fn moment_counts_up_by_the_clock_that_goes_ahead() {
        let start = Moment::now();
        assert_eq!((start + HOUR).since(start), HOUR);
        assert_eq!(Moment { wall: start.wall + 8 * HOUR, ..start + HOUR }.since(start), 8 * HOUR, "the machine slept");
        assert_eq!(Moment { wall: start.wall - HOUR, ..start + HOUR }.since(start), HOUR, "the clock was set back");
        assert_eq!(start.since(start + HOUR), Duration::ZERO);
    }
}
