//! One quota: a limit, and the callers who share it fairly.
//!
//! Exact: a sliding log of times, so that no window of its length, wherever it begins, has more than the limit. Fair: of
//! those who asked within the window each has the same share. Who is below it gets in while there is room. Who has used
//! it gets what the others have not used of theirs, less what is kept for them. A caller alone has all.

use super::limit::QuotaLimit;
use super::sums::Sums;
use super::use_log::{Nanos, UseLog};

const SECOND: Nanos = 1_000_000_000;

/// A limit, and what each of those who share it used.
#[derive(Debug)]
pub(super) struct SharedQuota {
    limit: QuotaLimit,
    /// Only this part of the limit is for this process: so many replicas have one each.
    pub(super) parts: u32,
    users: Vec<UseLog>,
    /// Of what the users did up to the last time at which something was forgotten, asked or taken.
    sums: Sums,
}

/// How a quota stands for one of those who share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    /// What all of them used.
    pub(super) used: u32,
    /// What this one used.
    pub(super) own: u32,
    /// How many of them asked within the window, this one among them.
    pub(super) active: u32,
    /// What this one can take now.
    pub(super) remaining: u32,
}

impl SharedQuota {
    pub(super) fn new(limit: QuotaLimit, users: usize) -> Self {
        let mut quota = Self { limit, parts: 1, users: Vec::new(), sums: Sums::default() };
        quota.configure(limit, users);
        quota
    }

    /// So many within a time.
    pub(super) fn limit(&self) -> QuotaLimit {
        self.limit
    }

    /// So many share this limit from now on; nobody leaves.
    pub(super) fn configure(&mut self, limit: QuotaLimit, users: usize) {
        self.limit = limit;
        self.users.resize_with(users.max(self.users.len()), UseLog::default);
        self.add_up();
    }

    /// The most that one of them can use in a window, if that is less than anybody can.
    pub(super) fn set_ceiling(&mut self, user: usize, ceiling: Option<u32>) {
        if let Some(log) = self.users.get_mut(user) {
            log.ceiling = ceiling.unwrap_or(u32::MAX);
        }
    }

    /// One of them is not there any more: nothing is kept for it. What it used is still used.
    pub(super) fn leave(&mut self, user: usize) {
        if let Some(log) = self.users.get_mut(user) {
            log.leave();
        }
    }

    /// To be done after ceilings were set, or somebody left.
    pub(super) fn add_up(&mut self) {
        let last = self.sums.at();
        self.sums = Sums::of(&self.users, self.limit, last);
        self.forget(last);
    }

    /// The most that one of them can use in a window.
    pub(super) fn ceiling(&self, user: usize) -> u32 {
        self.users.get(user).map_or(u32::MAX, |log| log.ceiling)
    }

    pub(super) fn forget(&mut self, now: Nanos) {
        let window = self.window();
        self.sums.forget(&mut self.users, window, now);
    }

    /// One of them wants one.
    pub(super) fn ask(&mut self, user: usize, now: Nanos) {
        if let Some((log, number)) = self.users.get_mut(user).zip(u32::try_from(user).ok()) {
            self.sums.ask(number, log, now);
        }
    }

    /// One of them takes one. Whether it may is to be asked before.
    pub(super) fn take(&mut self, user: usize, now: Nanos) {
        if let Some((log, number)) = self.users.get_mut(user).zip(u32::try_from(user).ok()) {
            self.sums.take(number, log, now);
        }
    }

    /// What all of them used.
    pub(super) fn used(&self, at: Nanos) -> u32 {
        self.users.iter().map(|log| log.used(self.window(), at)).fold(0, u32::saturating_add)
    }

    /// How it stands for one of them, now or, if nobody takes or asks until then, later. At the time of the last
    /// [`SharedQuota::forget`] this costs the same however many they are.
    pub(super) fn standing(&self, user: usize, at: Nanos) -> Standing {
        if self.sums.are_of(at) { self.standing_now(user, at) } else { self.standing_at(user, at) }
    }

    fn standing_now(&self, user: usize, now: Nanos) -> Standing {
        let log = self.users.get(user);
        let is_active = log.is_some_and(|log| log.has_asked(self.window(), now));
        let active = self.sums.active().saturating_sub(u32::from(is_active)).saturating_add(1);
        let (share, own) = (self.share(active), log.map_or(0, UseLog::count));
        let kept = self.sums.kept(share, &self.users);
        let kept = kept.saturating_sub(log.filter(|_| is_active).map_or(0, |log| log.wanted(share)));
        self.standing_of(share, Standing { used: self.sums.used(), own, active, remaining: 0 }, kept)
    }

    fn standing_at(&self, user: usize, at: Nanos) -> Standing {
        let window = self.window();
        let others = || self.users.iter().enumerate().filter(|(place, _)| *place != user).map(|(_, log)| log);
        let others_active = others().filter(|log| log.has_asked(window, at)).count();
        let active = u32::try_from(others_active).unwrap_or(u32::MAX).saturating_add(1);
        let share = self.share(active);
        let own = self.users.get(user).map_or(0, |log| log.used(window, at));
        let (mut used, mut kept) = (own, 0u32);
        for log in others() {
            let theirs = log.used(window, at);
            used = used.saturating_add(theirs);
            if log.has_asked(window, at) {
                kept = kept.saturating_add(share.min(log.ceiling).saturating_sub(theirs));
            }
        }
        self.standing_of(share, Standing { used, own, active, remaining: 0 }, kept)
    }

    /// Where there are more callers than the limit has room for, nobody gets a second before the others had a first.
    fn share(&self, active: u32) -> u32 {
        (self.part() / active).max(1)
    }

    fn standing_of(&self, share: u32, standing: Standing, kept: u32) -> Standing {
        let room = self.part().saturating_sub(standing.used);
        let remaining = share.saturating_sub(standing.own).min(room).max(room.saturating_sub(kept));
        Standing { remaining, ..standing }
    }

    /// What this process has of the limit.
    fn part(&self) -> u32 {
        self.limit.count() / self.parts.max(1)
    }

    /// In how many seconds one of them can take one, if nobody asks until then; 0 if it can now.
    pub(super) fn opens_in(&self, user: usize, now: Nanos) -> u32 {
        earliest(self.limit.seconds(), |seconds| self.standing(user, after(now, seconds)).remaining > 0)
    }

    /// In how many seconds the oldest that was taken is not counted any more; `None` if nothing is used.
    pub(super) fn next_end(&self, now: Nanos) -> Option<u32> {
        let end_of = |log: &UseLog| log.next_end(self.window(), now);
        let end = match self.sums.oldest().filter(|_| self.sums.are_of(now)) {
            Some(oldest) => self.users.get(oldest).and_then(end_of)?,
            None => self.users.iter().filter_map(end_of).min()?,
        };
        u32::try_from(end.saturating_sub(now).div_ceil(SECOND)).ok()
    }

    fn window(&self) -> Nanos {
        Nanos::from(self.limit.seconds()) * SECOND
    }
}

/// The time so many seconds later.
pub(super) fn after(now: Nanos, seconds: u32) -> Nanos {
    now.saturating_add(Nanos::from(seconds) * SECOND)
}

/// A number of seconds at which a condition holds that holds at `last`: the first, unless it ceases to hold in between.
pub(super) fn earliest(last: u32, holds: impl Fn(u32) -> bool) -> u32 {
    if holds(0) {
        return 0;
    }
    let (mut not_yet, mut surely) = (0, last);
    while surely - not_yet > 1 {
        let middle = not_yet + (surely - not_yet) / 2;
        if holds(middle) { surely = middle } else { not_yet = middle }
    }
    surely
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::limit::QuotaUnit;
    use super::*;

    fn quota(count: u32, users: usize) -> SharedQuota {
        SharedQuota::new(QuotaLimit::new(count, QuotaUnit::Minute).expect("a limit"), users)
    }

    /// Asks, and takes if it may.
    fn ask(quota: &mut SharedQuota, user: usize, second: u32) -> bool {
        let now = after(0, second);
        quota.forget(now);
        quota.ask(user, now);
        let may = quota.standing(user, now).remaining > 0;
        if may {
            quota.take(user, now);
        }
        may
    }

    /// How many of so many get in.
    fn burst(quota: &mut SharedQuota, user: usize, second: u32, count: u32) -> u32 {
        (0..count).filter(|_| ask(quota, user, second)).count() as u32
    }

    #[test]
    fn quota_gives_a_caller_alone_all_of_it_and_again_as_the_window_moves() {
        let mut quota = quota(10, 3);
        assert_eq!(burst(&mut quota, 1, 0, 4), 4);
        assert_eq!(burst(&mut quota, 1, 30, 20), 6);
        assert_eq!((quota.opens_in(1, after(0, 30)), quota.next_end(after(0, 30))), (30, Some(30)));
        assert_eq!(burst(&mut quota, 1, 59, 20), 0, "the window has them all");
        assert_eq!(burst(&mut quota, 1, 60, 20), 4, "those of the beginning are out");
        assert_eq!(burst(&mut quota, 1, 89, 20), 0);
        assert_eq!(burst(&mut quota, 1, 90, 20), 6, "no double burst at a boundary");
    }

    #[test]
    fn quota_keeps_for_the_others_what_they_have_not_used_of_their_shares() {
        let mut quota = quota(30, 3);
        assert!(ask(&mut quota, 1, 0) && ask(&mut quota, 2, 0));
        assert_eq!(burst(&mut quota, 0, 1, 100), 10, "a third: the others asked, and may want theirs");
        assert_eq!((burst(&mut quota, 1, 2, 100), burst(&mut quota, 2, 2, 100)), (9, 9), "with the first 10 each");
    }

    #[test]
    fn quota_gives_what_comes_free_to_those_below_their_shares_first() {
        let mut quota = quota(10, 2);
        assert_eq!(burst(&mut quota, 0, 0, 6), 6);
        assert_eq!(burst(&mut quota, 0, 20, 6), 4);
        assert!(!ask(&mut quota, 1, 30), "no room: a caller alone may use all");
        assert_eq!(quota.opens_in(1, after(0, 30)), 30);
        assert_eq!((burst(&mut quota, 0, 60, 6), burst(&mut quota, 1, 60, 6)), (1, 5), "half for each");
        // At 80 the others of the first leave the window: it has 1 then, and takes its half.
        assert_eq!((quota.standing(0, after(0, 61)).remaining, quota.opens_in(0, after(0, 61))), (0, 19));
        assert_eq!(burst(&mut quota, 0, 80, 9), 4);
    }

    #[test]
    fn quota_keeps_nothing_for_those_who_have_not_asked_within_the_window() {
        let mut quota = quota(10, 2);
        assert!(ask(&mut quota, 1, 0));
        assert_eq!(burst(&mut quota, 0, 1, 20), 5);
        assert_eq!(burst(&mut quota, 0, 59, 20), 0);
        assert_eq!(burst(&mut quota, 0, 60, 20), 5, "the other is gone");
    }

    #[test]
    fn quota_keeps_no_more_for_a_caller_than_its_own_quota_lets_it_use() {
        let mut quota = quota(60, 2);
        quota.set_ceiling(1, Some(10));
        quota.add_up();
        assert!(ask(&mut quota, 1, 0));
        assert_eq!(burst(&mut quota, 0, 1, 100), 50);
        assert_eq!(burst(&mut quota, 1, 2, 9), 9);
    }

    #[test]
    fn quota_for_fewer_than_ask_gives_nobody_a_second_before_the_others_had_a_first() {
        let mut quota = quota(3, 5);
        assert!(ask(&mut quota, 0, 0) && ask(&mut quota, 1, 1));
        assert_eq!(burst(&mut quota, 0, 2, 5), 1, "the third is nobody's who asked");
        for other in 2..5 {
            assert!(!ask(&mut quota, other, 3), "no room");
        }
        assert!(!ask(&mut quota, 0, 60), "one is free, but three wait who had none");
        assert!(ask(&mut quota, 2, 60));
    }

    #[test]
    fn quota_that_became_smaller_counts_what_was_taken_before() {
        let mut quota = quota(10, 1);
        assert_eq!(burst(&mut quota, 0, 0, 10), 10);
        quota.configure(QuotaLimit::new(4, QuotaUnit::Minute).expect("a limit"), 1);
        assert_eq!((quota.used(after(0, 1)), quota.standing(0, after(0, 1)).remaining), (10, 0));
        assert_eq!(burst(&mut quota, 0, 60, 10), 4);
        quota.configure(QuotaLimit::new(9, QuotaUnit::Minute).expect("a limit"), 1);
        assert_eq!(burst(&mut quota, 0, 61, 10), 5);
    }

    #[test]
    fn the_earliest_second_is_found_by_halves() {
        for first in 0..=100 {
            assert_eq!(earliest(100, |second| second >= first), first);
        }
    }

    /// What may happen to a quota.
    #[derive(Debug, Clone)]
    enum Event {
        /// A user asks after so many milliseconds, and takes if it may, or in any case.
        Ask(usize, u64, bool),
        Ceiling(usize, Option<u32>),
        Leave(usize),
        Configure(u32, QuotaUnit, usize),
    }

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let user = || 0..9usize;
        let unit = prop_oneof![Just(QuotaUnit::Second), Just(QuotaUnit::Minute)];
        let event = prop_oneof![
            40 => (user(), 0..900u64, prop::bool::weighted(0.05)).prop_map(|(user, after, any)| Event::Ask(user, after, any)),
            1 => (user(), prop::option::of(0..9u32)).prop_map(|(user, ceiling)| Event::Ceiling(user, ceiling)),
            1 => user().prop_map(Event::Leave),
            1 => (1..60u32, unit, 1..9usize).prop_map(|(count, unit, users)| Event::Configure(count, unit, users)),
        ];
        vec(event, 1..200)
    }

    proptest! {
        #[test]
        fn quota_stands_as_a_walk_over_all_logs_finds_it(count in 1..60u32, users in 1..9usize, events in events()) {
            let mut quota = quota(count, users);
            let mut now = 0;
            for event in events {
                match event {
                    Event::Ask(user, after, any) => {
                        now += after * 1_000_000;
                        quota.forget(now);
                        quota.ask(user, now);
                        if any || quota.standing(user, now).remaining > 0 {
                            quota.take(user, now);
                        }
                    }
                    Event::Ceiling(user, ceiling) => {
                        quota.set_ceiling(user, ceiling);
                        quota.add_up();
                    }
                    Event::Leave(user) => {
                        quota.leave(user);
                        quota.add_up();
                    }
                    Event::Configure(count, unit, users) => {
                        quota.configure(QuotaLimit::new(count, unit).expect("a limit"), users);
                    }
                }
                prop_assert!(quota.sums.are_of(now));
                prop_assert_eq!(quota.sums.used(), quota.used(now));
                for user in 0..quota.users.len() + 1 {
                    for parts in [1, 3] {
                        quota.parts = parts;
                        prop_assert_eq!(quota.standing_now(user, now), quota.standing_at(user, now));
                    }
                    quota.parts = 1;
                }
                let ends = quota.users.iter().filter_map(|log| log.next_end(quota.window(), now));
                let next = ends.min().map(|end| u32::try_from((end - now).div_ceil(SECOND)).expect("seconds"));
                prop_assert_eq!(quota.next_end(now), next);
            }
        }
    }
}
