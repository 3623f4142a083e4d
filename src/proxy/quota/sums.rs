//! What those who share a quota used of it and may still want, added up as they ask and take: a question costs the same
//! however many they are.

use std::collections::{BTreeSet, VecDeque};

use super::limit::QuotaLimit;
use super::use_log::{Nanos, UseLog, room_for};

/// The sums over the logs of a quota, as they are at one time.
#[derive(Debug, Default)]
pub(super) struct Sums {
    at: Nanos,
    /// Who took each that is within the window, the oldest first.
    takers: VecDeque<u32>,
    /// Who asked within the window, by when that was.
    active: BTreeSet<(Nanos, u32)>,
    tally: Tally,
}

/// How many of the active have used so many, and can use so many in a window: by numbers that are a share only where many
/// are active. Where few are, they are asked one after the other, so that either way takes about as many steps as the
/// square root of the limit at most.
#[derive(Debug, Default)]
struct Tally {
    used: Vec<u32>,
    ceilings: Vec<u32>,
}

impl Sums {
    /// Of these logs, whatever was added up before; at the time of the last [`Sums::forget`], which is to follow.
    pub(super) fn of(logs: &[UseLog], limit: QuotaLimit, at: Nanos) -> Self {
        let size = if logs.len() > 1 { limit.count().isqrt() as usize + 1 } else { 0 };
        let tally = Tally { used: vec![0; size], ceilings: vec![0; size] };
        let mut sums = Self { at, takers: VecDeque::new(), active: BTreeSet::new(), tally };
        let mut taken = Vec::new();
        for (user, log) in (0..).zip(logs) {
            taken.extend(log.times().map(|time| (time, user)));
            sums.add(log.asked(), user, log);
        }
        taken.sort_unstable();
        sums.takers = taken.into_iter().map(|(_, user)| user).collect();
        sums
    }

    /// Of which time they are.
    pub(super) fn at(&self) -> Nanos {
        self.at
    }

    /// Whether they are of this time.
    pub(super) fn are_of(&self, at: Nanos) -> bool {
        self.at == at
    }

    /// What all used.
    pub(super) fn used(&self) -> u32 {
        u32::try_from(self.takers.len()).unwrap_or(u32::MAX)
    }

    /// How many asked.
    pub(super) fn active(&self) -> u32 {
        u32::try_from(self.active.len()).unwrap_or(u32::MAX)
    }

    /// Who took the oldest that is not forgotten.
    pub(super) fn oldest(&self) -> Option<usize> {
        self.takers.front().map(|user| *user as usize)
    }

    /// What is kept for all who asked, if each has this share.
    pub(super) fn kept(&self, share: u32, logs: &[UseLog]) -> u32 {
        self.tally.kept(share).unwrap_or_else(|| {
            let active = self.active.iter().filter_map(|(_, user)| logs.get(*user as usize));
            active.map(|log| log.wanted(share)).fold(0, u32::saturating_add)
        })
    }

    /// Forgets what the window has left, in the logs too.
    pub(super) fn forget(&mut self, logs: &mut [UseLog], window: Nanos, now: Nanos) {
        while let Some(user) = self.takers.front().copied() {
            let Some(log) = logs.get_mut(user as usize) else { break };
            let before = log.count();
            if !log.drop_oldest(window, now) {
                break;
            }
            self.takers.pop_front();
            if self.has(user, log) {
                self.tally.change(before, log);
            }
        }
        if let Some(room) = room_for(self.takers.len(), self.takers.capacity()) {
            self.takers.shrink_to(room);
        }
        while let Some((asked, user)) = self.active.first().copied() {
            let Some(log) = logs.get(user as usize).filter(|log| !log.has_asked(window, now)) else { break };
            self.remove(Some(asked), user, log);
        }
        self.at = now;
    }

    /// One asks.
    pub(super) fn ask(&mut self, user: u32, log: &mut UseLog, now: Nanos) {
        self.remove(log.asked(), user, log);
        log.ask(now);
        self.add(Some(now), user, log);
    }

    /// One takes.
    pub(super) fn take(&mut self, user: u32, log: &mut UseLog, now: Nanos) {
        let before = log.count();
        log.take(now);
        self.takers.push_back(user);
        if self.has(user, log) {
            self.tally.change(before, log);
        }
    }

    fn has(&self, user: u32, log: &UseLog) -> bool {
        log.asked().is_some_and(|asked| self.active.contains(&(asked, user)))
    }

    fn add(&mut self, asked: Option<Nanos>, user: u32, log: &UseLog) {
        if asked.is_some_and(|asked| self.active.insert((asked, user))) {
            self.tally.add(log);
        }
    }

    fn remove(&mut self, asked: Option<Nanos>, user: u32, log: &UseLog) {
        if asked.is_some_and(|asked| self.active.remove(&(asked, user))) {
            self.tally.remove(log);
        }
    }
}

impl Tally {
    fn add(&mut self, log: &UseLog) {
        for (counts, number) in [(&mut self.used, log.count().min(log.ceiling)), (&mut self.ceilings, log.ceiling)] {
            if let Some(count) = counts.get_mut(number as usize) {
                *count += 1;
            }
        }
    }

    fn remove(&mut self, log: &UseLog) {
        for (counts, number) in [(&mut self.used, log.count().min(log.ceiling)), (&mut self.ceilings, log.ceiling)] {
            if let Some(count) = counts.get_mut(number as usize) {
                *count = count.saturating_sub(1);
            }
        }
    }

    /// One that had used so many has used another number.
    fn change(&mut self, before: u32, log: &UseLog) {
        if let Some(count) = self.used.get_mut(before.min(log.ceiling) as usize) {
            *count = count.saturating_sub(1);
        }
        if let Some(count) = self.used.get_mut(log.count().min(log.ceiling) as usize) {
            *count += 1;
        }
    }

    /// What is kept, if a share is among the small numbers: the shares, less what was used of them, and less what is above
    /// ceilings.
    fn kept(&self, share: u32) -> Option<u32> {
        let up_to = usize::try_from(share).ok().filter(|share| *share <= self.used.len())?;
        let below = |counts: &[u32]| -> u64 {
            let numbers = (0..).zip(counts.iter().take(up_to));
            numbers.map(|(number, count)| u64::from(*count) * u64::from(share - number)).sum()
        };
        let kept = below(&self.used).saturating_sub(below(&self.ceilings));
        Some(u32::try_from(kept).unwrap_or(u32::MAX))
    }
}
