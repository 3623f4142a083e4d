//! When a caller took from a quota, and when it last asked: arithmetic over times that are handed in.

use std::collections::VecDeque;

/// A time: nanoseconds since the tracker of a listener began.
pub(super) type Nanos = u64;

/// The room that a log keeps although it has fewer times.
const SPARE: usize = 16;

/// One caller's part of one quota.
#[derive(Debug)]
pub(super) struct UseLog {
    /// When it took one, the oldest first; those that the window has left may still be there.
    taken: VecDeque<Nanos>,
    /// When it last asked for one, and got it or not.
    asked: Option<Nanos>,
    /// The most that the caller can use in a window, since it has a quota of its own too.
    pub(super) ceiling: u32,
}

impl Default for UseLog {
    fn default() -> Self {
        Self { taken: VecDeque::new(), asked: None, ceiling: u32::MAX }
    }
}

/// Whether the window that ends at `now` has this time in it.
fn is_within(time: Nanos, window: Nanos, now: Nanos) -> bool {
    time.saturating_add(window) > now
}

/// The room to keep for so many times, where there is far too much.
pub(super) fn room_for(length: usize, capacity: usize) -> Option<usize> {
    let room = length.max(SPARE);
    (capacity > 4 * room).then_some(2 * room)
}

impl UseLog {
    pub(super) fn ask(&mut self, now: Nanos) {
        self.asked = Some(now);
    }

    /// The caller will not ask again.
    pub(super) fn leave(&mut self) {
        self.asked = None;
    }

    pub(super) fn take(&mut self, now: Nanos) {
        self.taken.push_back(now);
    }

    /// Forgets the oldest, and memory that is not needed, if the window has left it.
    pub(super) fn drop_oldest(&mut self, window: Nanos, now: Nanos) -> bool {
        let has_left = self.taken.front().is_some_and(|time| !is_within(*time, window, now));
        if has_left {
            self.taken.pop_front();
            if let Some(room) = room_for(self.taken.len(), self.taken.capacity()) {
                self.taken.shrink_to(room);
            }
        }
        has_left
    }

    /// How many are not forgotten.
    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.taken.len()).unwrap_or(u32::MAX)
    }

    /// When these were taken.
    pub(super) fn times(&self) -> impl Iterator<Item = Nanos> {
        self.taken.iter().copied()
    }

    /// When it last asked.
    pub(super) fn asked(&self) -> Option<Nanos> {
        self.asked
    }

    /// What it has not used of its share, or of what it can use in a window.
    pub(super) fn wanted(&self, share: u32) -> u32 {
        share.min(self.ceiling).saturating_sub(self.count())
    }

    /// How many it took within the window that ends at `at`.
    pub(super) fn used(&self, window: Nanos, at: Nanos) -> u32 {
        let left = self.taken.partition_point(|time| !is_within(*time, window, at));
        u32::try_from(self.taken.len() - left).unwrap_or(u32::MAX)
    }

    /// Whether it asked within that window.
    pub(super) fn has_asked(&self, window: Nanos, at: Nanos) -> bool {
        self.asked.is_some_and(|time| is_within(time, window, at))
    }

    /// When the window leaves the oldest of those that it has at `at`.
    pub(super) fn next_end(&self, window: Nanos, at: Nanos) -> Option<Nanos> {
        let left = self.taken.partition_point(|time| !is_within(*time, window, at));
        self.taken.get(left).map(|time| time.saturating_add(window))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_counts_what_the_window_has_and_forgets_what_it_has_left() {
        let mut log = UseLog::default();
        for time in [10, 20, 20, 35] {
            log.take(time);
        }
        // The window is open at its beginning: what was 30 ago is out.
        assert_eq!([35, 39, 40, 49, 50, 65].map(|at| log.used(30, at)), [4, 4, 3, 3, 1, 0]);
        assert_eq!([35, 40, 50, 65].map(|at| log.next_end(30, at)), [Some(40), Some(50), Some(65), None]);
        while log.drop_oldest(30, 50) {}
        assert_eq!((log.taken.len(), log.used(30, 50)), (1, 1));
    }

    #[test]
    fn log_gives_the_memory_of_a_burst_back() {
        let mut log = UseLog::default();
        for time in 0..100_000 {
            log.take(time);
        }
        let full = log.taken.capacity() * size_of::<Nanos>();
        assert!((800_000..=1 << 20).contains(&full), "{full} bytes");
        while log.drop_oldest(10, 100_000) {}
        assert!(log.taken.capacity() <= 4 * SPARE, "{}", log.taken.capacity());
    }

    #[test]
    fn log_knows_who_asked_lately() {
        let mut log = UseLog::default();
        assert!(!log.has_asked(30, 0));
        log.ask(5);
        assert!(log.has_asked(30, 34) && !log.has_asked(30, 35));
    }
}
