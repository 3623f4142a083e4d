//! The quotas of a listener as all replicas share them, in the store: fair among callers, whichever replica they call.
//!
//! A request takes what this process has taken ahead, and asks the store only if that is used up. While the store is down
//! the quotas are those of this replica alone, a part of each limit.

mod ask;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::kind::{QuotaKind, QuotaKinds};
use super::listener_quotas::{CallerPlace, QuotaExceeded, QuotaHolder, QuotaStatus};
use super::needed::Needed;
use super::taken_ahead::{TakenAhead, Told};
use super::tracker::QuotaTracker;
use super::use_log::Nanos;
use crate::shared::{SharedStore, StoreError};

/// A quota that is closed is asked for again after so long, also if it opens later: a limit may have been raised.
const LOOK: Nanos = 1_000_000_000;
/// While the store is down, a refused caller may try again after so many seconds: it may be back.
pub(super) const BACK: u32 = 5;

type Place = (CallerPlace, QuotaHolder, QuotaKind);

/// What this process has of the quotas in the store.
#[derive(Debug)]
pub(super) struct StoreQuotas {
    store: SharedStore,
    listener: String,
    ahead: Mutex<BTreeMap<Place, TakenAhead>>,
    /// One asks the store at a time: those behind see what it has told.
    turn: Semaphore,
}

/// What came of asking the store.
enum Asked {
    Taken,
    Closed,
}

/// Requests that wait for the store, counted until it is dropped.
struct Waiting<'a>(&'a StoreQuotas, Vec<Place>);

impl<'a> Waiting<'a> {
    fn begin(quotas: &'a StoreQuotas, places: Vec<Place>) -> Self {
        let mut ahead = quotas.ahead();
        places.iter().for_each(|place| ahead.entry(*place).or_default().waiting += 1);
        drop(ahead);
        Self(quotas, places)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut ahead = self.0.ahead();
        for place in &self.1 {
            let entry = ahead.entry(*place).or_default();
            entry.waiting = entry.waiting.saturating_sub(1);
        }
    }
}

impl StoreQuotas {
    /// Those of the listener of this name.
    pub(super) fn new(store: SharedStore, listener: &str) -> Self {
        Self { store, listener: listener.to_owned(), ahead: Mutex::default(), turn: Semaphore::new(1) }
    }

    /// Takes one of each quota that applies to a request of these kinds, or none of any.
    pub(super) async fn charge(
        &self,
        tracker: &QuotaTracker,
        place: CallerPlace,
        kinds: QuotaKinds,
    ) -> Result<(), QuotaExceeded> {
        if !self.is_up() {
            return self.charge_alone(tracker, place, kinds);
        }
        let needed = tracker.needed(place, kinds);
        if let Some(taken) = self.take_here(tracker, place, &needed) {
            return self.settle(taken, tracker, place, kinds);
        }
        let waiting = Waiting::begin(self, places(place, &needed));
        let taken = {
            let turn = timeout(self.store.deadline(), self.turn.acquire()).await;
            // Dropped before the turn: the next one takes none for this request.
            let _waiting = waiting;
            // Another one may have taken enough for all who wait.
            match (self.take_here(tracker, place, &needed), &turn) {
                (Some(taken), _) => Ok(taken),
                (None, Ok(_)) => self.ask(tracker, place, &needed).await,
                (None, Err(_)) => Err(StoreError::Slow),
            }
        };
        match taken {
            Ok(taken) => self.settle(taken, tracker, place, kinds),
            Err(_) => self.charge_alone(tracker, place, kinds),
        }
    }

    /// Whether each quota that applies has one left, as far as is known.
    pub(super) fn check(
        &self,
        tracker: &QuotaTracker,
        place: CallerPlace,
        kinds: QuotaKinds,
    ) -> Result<(), QuotaExceeded> {
        if !self.is_up() {
            return tracker.alone(self.replicas(), |quotas, now| quotas.check(now, place, kinds)).map_err(soon);
        }
        let needed = tracker.needed(place, kinds);
        let now = tracker.nanos();
        let closed = {
            let mut ahead = self.ahead();
            let is_closed = |need: &Needed| ahead.entry(key(place, need)).or_default().is_closed(now);
            needed.iter().any(is_closed)
        };
        if closed { Err(self.exceeded(tracker, place, kinds)) } else { Ok(()) }
    }

    /// The quotas that apply, as the store last told, or as they stand here where it told nothing of late.
    pub(super) fn status(&self, tracker: &QuotaTracker, place: CallerPlace, kinds: QuotaKinds) -> Vec<QuotaStatus> {
        let parts = if self.is_up() { 1 } else { self.replicas() };
        let here = tracker.alone(parts, |quotas, now| quotas.status(now, place, kinds));
        if self.is_up() { self.as_told(tracker, place, here) } else { here }
    }

    /// How much is used of a quota, as the store last told.
    pub(super) fn used(
        &self,
        tracker: &QuotaTracker,
        (holder, kind): (QuotaHolder, QuotaKind),
        place: Option<CallerPlace>,
    ) -> Option<u32> {
        let now = tracker.nanos();
        let told = |(at, entry): (&Place, &TakenAhead)| {
            let same = at.1 == holder && at.2 == kind && (holder == QuotaHolder::Listener || Some(at.0) == place);
            (same && now < entry.told.until).then_some(entry.told)
        };
        // Of several callers that share it, the latest answer.
        self.ahead().iter().filter_map(told).max_by_key(|told| told.until).map(|told| told.used)
    }

    fn is_up(&self) -> bool {
        self.store.state().up
    }

    fn replicas(&self) -> u32 {
        self.store.state().replicas.max(1)
    }

    /// Uses what was taken ahead, or says that nothing is to be had; `None`: the store is to be asked.
    fn take_here(&self, tracker: &QuotaTracker, place: CallerPlace, needed: &[Needed]) -> Option<Asked> {
        let mut ahead = self.ahead();
        let now = tracker.nanos();
        if needed.iter().any(|need| ahead.entry(key(place, need)).or_default().is_closed(now)) {
            return Some(Asked::Closed);
        }
        if needed.iter().all(|need| ahead.entry(key(place, need)).or_default().left(now) > 0) {
            for need in needed {
                ahead.entry(key(place, need)).or_default().take(now);
            }
            return Some(Asked::Taken);
        }
        None
    }

    /// What was used here is known here too: for the time in which the store is down.
    fn settle(
        &self,
        asked: Asked,
        tracker: &QuotaTracker,
        place: CallerPlace,
        kinds: QuotaKinds,
    ) -> Result<(), QuotaExceeded> {
        match asked {
            Asked::Taken => {
                tracker.alone(1, |quotas, now| quotas.note(now, place, kinds));
                Ok(())
            }
            Asked::Closed => Err(self.exceeded(tracker, place, kinds)),
        }
    }

    /// By this replica's part of each limit.
    fn charge_alone(&self, tracker: &QuotaTracker, place: CallerPlace, kinds: QuotaKinds) -> Result<(), QuotaExceeded> {
        tracker.alone(self.replicas(), |quotas, now| quotas.charge(now, place, kinds)).map_err(soon)?;
        let needed = tracker.needed(place, kinds);
        let mut ahead = self.ahead();
        needed.iter().for_each(|need| ahead.entry(key(place, need)).or_default().untold += 1);
        Ok(())
    }

    fn exceeded(&self, tracker: &QuotaTracker, place: CallerPlace, kinds: QuotaKinds) -> QuotaExceeded {
        let here = tracker.alone(1, |quotas, now| quotas.status(now, place, kinds));
        let quotas = self.as_told(tracker, place, here);
        let closed = quotas.iter().filter(|quota| quota.remaining == 0);
        let retry_after = closed.filter_map(|quota| quota.more_in).max().unwrap_or(1).max(1);
        QuotaExceeded { quotas, retry_after, alone: false }
    }

    fn as_told(&self, tracker: &QuotaTracker, place: CallerPlace, mut quotas: Vec<QuotaStatus>) -> Vec<QuotaStatus> {
        let now = tracker.nanos();
        let mut ahead = self.ahead();
        for quota in &mut quotas {
            let Some(entry) = ahead.get_mut(&(place, quota.holder, quota.kind)) else { continue };
            let left = entry.left(now);
            let Told { used, own, active, remaining, more_at, closed_until, until } = entry.told;
            if now >= until {
                continue;
            }
            (quota.used, quota.own, quota.active) =
                (used.saturating_sub(left), own.saturating_sub(left), active.max(1));
            quota.remaining = if now < closed_until { 0 } else { remaining.saturating_add(left) };
            let at = if quota.remaining == 0 { closed_until.max(more_at) } else { more_at };
            quota.more_in = (at > now).then(|| seconds(at - now));
        }
        quotas
    }

    fn ahead(&self) -> MutexGuard<'_, BTreeMap<Place, TakenAhead>> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn places(place: CallerPlace, needed: &[Needed]) -> Vec<Place> {
    needed.iter().map(|need| key(place, need)).collect()
}

fn key(place: CallerPlace, need: &Needed) -> Place {
    (place, need.holder, need.kind)
}

fn seconds(nanos: Nanos) -> u32 {
    u32::try_from(nanos.div_ceil(1_000_000_000)).unwrap_or(u32::MAX)
}

/// A refusal without the store: it may be back soon.
fn soon(exceeded: QuotaExceeded) -> QuotaExceeded {
    QuotaExceeded { retry_after: exceeded.retry_after.min(BACK), alone: true, ..exceeded }
}
