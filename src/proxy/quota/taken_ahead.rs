//! What a replica has taken ahead of a quota that all replicas share, and what the store last told of it; pure, times are
//! handed in.

use super::limit::QuotaLimit;
use super::use_log::Nanos;

/// Below this nothing is taken ahead: others would notice what is lost.
const LARGE: u32 = 100;
/// At most this part of a limit is taken ahead.
const PART: u32 = 200;
/// A day has slots of 24 minutes: what is taken ahead is kept from others for so long, and few want as many.
const LONG: u32 = 86_400;

/// How a quota stood for a caller when the store last told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) used: u32,
    pub(super) own: u32,
    pub(super) active: u32,
    pub(super) remaining: u32,
    /// When the oldest use is not counted any more; 0: none is used.
    pub(super) more_at: Nanos,
    /// Nothing is to be had before that.
    pub(super) closed_until: Nanos,
    /// Until then it is told.
    pub(super) until: Nanos,
}

/// One caller's part of one quota, in this process.
#[derive(Debug, Default)]
pub(super) struct TakenAhead {
    left: u32,
    /// The end of the slot that they were taken in: they are lost then.
    ends: Nanos,
    /// How many were taken ahead last.
    last: u32,
    /// Requests that wait for an answer of the store.
    pub(super) waiting: u32,
    /// Used while the store was down, and not told yet.
    pub(super) untold: u32,
    pub(super) told: Told,
}

impl TakenAhead {
    /// Uses one, if there is one.
    pub(super) fn take(&mut self, now: Nanos) -> bool {
        let there = self.left(now) > 0;
        self.left -= u32::from(there);
        there
    }

    /// One that was taken is not used.
    pub(super) fn give_back(&mut self) {
        self.left = self.left.saturating_add(1);
    }

    /// How many there are.
    pub(super) fn left(&mut self, now: Nanos) -> u32 {
        if now >= self.ends && self.left > 0 {
            // Fewer are taken the next time.
            self.last = self.last.saturating_sub(self.left);
            self.left = 0;
        }
        self.left
    }

    /// Whether nothing is to be had, as far as is known.
    pub(super) fn is_closed(&self, now: Nanos) -> bool {
        now < self.told.closed_until
    }

    /// How many to take: one for each that waits, and some ahead of a quota that is large enough.
    pub(super) fn wanted(&mut self, limit: QuotaLimit, now: Nanos) -> u32 {
        self.left(now);
        let most = if limit.count() < LARGE || limit.seconds() >= LONG { 1 } else { (limit.count() / PART).max(1) };
        self.last = self.last.saturating_mul(2).clamp(1, most);
        self.last.max(self.waiting)
    }

    /// So many were taken, to be used before `ends`.
    pub(super) fn add(&mut self, count: u32, now: Nanos, ends: Nanos) {
        self.left = self.left(now).saturating_add(count);
        self.ends = ends;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(text: &str) -> QuotaLimit {
        text.parse().expect("a limit")
    }

    #[test]
    fn what_is_taken_ahead_ends_with_its_slot() {
        let mut ahead = TakenAhead::default();
        assert!(!ahead.take(0));
        ahead.add(2, 0, 10);
        assert!(ahead.take(9));
        assert!(!ahead.take(10), "the other one is lost");
        ahead.add(1, 10, 20);
        assert!(ahead.take(10) && !ahead.take(10));
        ahead.give_back();
        assert!(ahead.take(19));
    }

    #[test]
    fn more_is_taken_ahead_while_it_is_used_and_nothing_of_small_quotas() {
        let mut ahead = TakenAhead::default();
        let wanted: Vec<_> = (0..6).map(|_| ahead.wanted(limit("2000/min"), 0)).collect();
        assert_eq!(wanted, [1, 2, 4, 8, 10, 10]);
        ahead.add(10, 0, 10);
        assert!(ahead.take(5));
        assert_eq!(ahead.wanted(limit("2000/min"), 11), 2, "9 of 10 were lost");
        for small in ["99/min", "5/s", "100000/day"] {
            ahead.waiting = 0;
            assert_eq!(ahead.wanted(limit(small), 20), 1, "{small}");
            ahead.waiting = 7;
            assert_eq!(ahead.wanted(limit(small), 20), 7, "{small}");
        }
    }
}
