//! The quotas of a listener and of its callers, and who used how much of them; pure, times are handed in.

mod in_store;

use std::collections::HashMap;
use std::time::Duration;

use super::kind::{ByKind, QuotaKind, QuotaKinds};
use super::limit::QuotaLimit;
use super::shared_quota::{SharedQuota, Standing, after, earliest};
use super::use_log::Nanos;

/// The quotas of a listener and of its callers, as configured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QuotaConfig {
    /// What all callers of the listener have together.
    pub listener: ByKind<QuotaLimit>,
    /// Each caller, and what it has of its own; none where callers are not told apart.
    pub callers: Vec<(String, ByKind<QuotaLimit>)>,
}

/// Whose quota it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum QuotaHolder {
    /// One caller's.
    Caller,
    /// That of all callers of the listener.
    Listener,
}

/// A quota as it stands for a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaStatus {
    /// Whose it is.
    pub holder: QuotaHolder,
    /// What it counts.
    pub kind: QuotaKind,
    /// So many within a time.
    pub limit: QuotaLimit,
    /// How many of it were used.
    pub used: u32,
    /// How many this caller used.
    pub own: u32,
    /// How many callers asked within its window.
    pub active: u32,
    /// How many this caller can take now.
    pub remaining: u32,
    /// In how many seconds it can take more; `None` if nothing is used.
    pub more_in: Option<u32>,
}

/// A quota that applies has nothing left for the caller. Nothing was taken from any.
#[derive(Debug, thiserror::Error)]
#[error("a quota is used up")]
pub struct QuotaExceeded {
    /// All that apply to the request, those that are used up among them.
    pub quotas: Vec<QuotaStatus>,
    /// In how many seconds the request passes, if nobody else asks until then.
    pub retry_after: u32,
    /// The shared store is down: each limit is only this replica's part of it.
    pub alone: bool,
}

/// How much of a quota is used, for metrics and the status page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaUsage {
    /// The caller whose own it is; `None`: the listener's.
    pub caller: Option<String>,
    /// What it counts.
    pub kind: QuotaKind,
    /// So many within a time.
    pub limit: QuotaLimit,
    /// How many of it were used.
    pub used: u32,
}

/// The place of a caller among those that a listener has had, which it keeps over reloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallerPlace(usize);

/// Who used how much of which quota.
#[derive(Debug, Default)]
pub struct ListenerQuotas {
    shared: ByKind<SharedQuota>,
    /// Nobody is taken out: what a caller used before it went is still used.
    callers: Vec<CallerQuotas>,
    /// Where each is.
    places: HashMap<Option<String>, usize>,
    /// How many replicas have a part of each limit; 0: nobody has said so yet.
    parts: u32,
}

#[derive(Debug, Default)]
struct CallerQuotas {
    /// `None`: everybody who reaches a listener without callers.
    name: Option<String>,
    own: ByKind<SharedQuota>,
}

/// The only one who uses a caller's own quota.
const SELF: usize = 0;

impl QuotaConfig {
    /// Whether there is no quota at all.
    pub fn is_empty(&self) -> bool {
        self.listener.is_empty() && self.callers.iter().all(|(_, own)| own.is_empty())
    }
}

impl ListenerQuotas {
    /// These quotas hold from now on. What was used of a quota that stays, with whatever limit, is still used; a longer
    /// window begins with what the shorter one had.
    pub fn configure(&mut self, config: &QuotaConfig) {
        let everybody = (None, &ByKind::default());
        let named = config.callers.iter().map(|(name, own)| (Some(name.as_str()), own));
        let wanted: Vec<_> = named.chain(config.callers.is_empty().then_some(everybody)).collect();
        for (name, _) in &wanted {
            let name = name.map(str::to_owned);
            self.places.entry(name.clone()).or_insert_with(|| {
                self.callers.push(CallerQuotas { name, own: ByKind::default() });
                self.callers.len() - 1
            });
        }
        let wanted: HashMap<_, _> = wanted.into_iter().collect();
        limited(&mut self.shared, &config.listener, self.callers.len());
        for (place, CallerQuotas { name, own }) in self.callers.iter_mut().enumerate() {
            let limits = wanted.get(&name.as_deref()).copied();
            limited(own, limits.unwrap_or(&ByKind::default()), SELF + 1);
            for (kind, quota) in self.shared.iter_mut() {
                match limits {
                    Some(_) => {
                        quota.set_ceiling(place, own.get(kind).map(|own| own.limit().most_within(quota.limit())));
                    }
                    None => quota.leave(place),
                }
            }
        }
        self.shared.iter_mut().for_each(|(_, quota)| quota.add_up());
        self.set_parts(self.parts.max(1));
    }

    /// The place of a caller; `None` if no quota applies to it.
    pub fn place(&self, name: Option<&str>) -> Option<CallerPlace> {
        let (place, caller) = self.find(name)?;
        (!self.shared.is_empty() || !caller.own.is_empty()).then_some(CallerPlace(place))
    }

    /// Takes one of each quota that applies to a request of these kinds, or none of any.
    pub fn charge(&mut self, now: Duration, caller: CallerPlace, kinds: QuotaKinds) -> Result<(), QuotaExceeded> {
        let (now, CallerPlace(place)) = (nanos(now), caller);
        self.forget(now, place);
        let own = |holder| holder == QuotaHolder::Caller;
        let is_full = |quota: &Applicable<'_>| quota.standing(now).remaining == 0;
        // Whom its own quota stops does not ask for its share of the listener's, which would be kept for it in vain.
        if !self.applicable(place, kinds).any(|quota| own(quota.holder) && is_full(&quota)) {
            let asked = self.shared.iter_mut().filter(|(kind, _)| kinds.contains(*kind));
            asked.for_each(|(_, quota)| quota.ask(place, now));
        }
        self.passes(now, place, kinds)?;
        self.take(now, place, kinds);
        Ok(())
    }

    fn take(&mut self, now: Nanos, place: usize, kinds: QuotaKinds) {
        let own = self.callers.get_mut(place).map(|caller| (&mut caller.own, SELF));
        for (quotas, user) in own.into_iter().chain([(&mut self.shared, place)]) {
            let taken = quotas.iter_mut().filter(|(kind, _)| kinds.contains(*kind));
            taken.for_each(|(_, quota)| quota.take(user, now));
        }
    }

    /// Whether each quota that applies to a request of these kinds has one left for a caller. Takes none.
    pub fn check(
        &mut self,
        now: Duration,
        CallerPlace(place): CallerPlace,
        kinds: QuotaKinds,
    ) -> Result<(), QuotaExceeded> {
        let now = nanos(now);
        self.forget(now, place);
        self.passes(now, place, kinds)
    }

    /// The quotas that apply to a request of these kinds, as they stand for a caller.
    pub fn status(&mut self, now: Duration, CallerPlace(place): CallerPlace, kinds: QuotaKinds) -> Vec<QuotaStatus> {
        let now = nanos(now);
        self.forget(now, place);
        self.applicable(place, kinds).map(|quota| quota.status(now)).collect()
    }

    /// How much is used of each quota that is configured.
    pub fn usage(&self, now: Duration) -> Vec<QuotaUsage> {
        let now = nanos(now);
        let told = |caller: Option<&String>, kind, quota: &SharedQuota| QuotaUsage {
            caller: caller.cloned(),
            kind,
            limit: quota.limit(),
            used: quota.used(now),
        };
        let shared = self.shared.iter().map(|(kind, quota)| told(None, kind, quota));
        let own = self
            .callers
            .iter()
            .flat_map(|caller| caller.own.iter().map(move |(kind, quota)| told(caller.name.as_ref(), kind, quota)));
        shared.chain(own).collect()
    }

    fn find(&self, name: Option<&str>) -> Option<(usize, &CallerQuotas)> {
        let place = *self.places.get(&name.map(str::to_owned))?;
        Some((place, self.callers.get(place)?))
    }

    fn forget(&mut self, now: Nanos, place: usize) {
        let own = self.callers.get_mut(place).map(|caller| &mut caller.own);
        for quotas in own.into_iter().chain([&mut self.shared]) {
            quotas.iter_mut().for_each(|(_, quota)| quota.forget(now));
        }
    }

    fn applicable(&self, place: usize, kinds: QuotaKinds) -> impl Iterator<Item = Applicable<'_>> {
        let own = self.callers.get(place).into_iter().flat_map(move |caller| {
            let own = kinds.iter().filter_map(|kind| Some((kind, caller.own.get(kind)?)));
            own.map(|(kind, quota)| Applicable { holder: QuotaHolder::Caller, kind, quota, user: SELF })
        });
        let shared = kinds.iter().filter_map(|kind| Some((kind, self.shared.get(kind)?)));
        let shared =
            shared.map(move |(kind, quota)| Applicable { holder: QuotaHolder::Listener, kind, quota, user: place });
        own.chain(shared)
    }

    fn passes(&self, now: Nanos, place: usize, kinds: QuotaKinds) -> Result<(), QuotaExceeded> {
        let is_open = |quota: Applicable<'_>| quota.standing(now).remaining > 0;
        if self.applicable(place, kinds).all(is_open) { Ok(()) } else { Err(self.exceeded(now, place, kinds)) }
    }

    fn exceeded(&self, now: Nanos, place: usize, kinds: QuotaKinds) -> QuotaExceeded {
        let mut quotas: Vec<_> = self.applicable(place, kinds).map(|quota| quota.status(now)).collect();
        let longest = quotas.iter().map(|quota| quota.limit.seconds()).max().unwrap_or_default();
        let passes = |seconds| {
            let at = after(now, seconds);
            self.applicable(place, kinds).all(|quota| quota.standing(at).remaining > 0)
        };
        let retry_after = earliest(longest, passes);
        for quota in quotas.iter_mut().filter(|quota| quota.remaining == 0) {
            quota.more_in = quota.more_in.map(|seconds| seconds.min(retry_after));
        }
        QuotaExceeded { quotas, retry_after, alone: false }
    }
}

/// Gives quotas these limits; what was used of those that stay is still used.
fn limited(quotas: &mut ByKind<SharedQuota>, limits: &ByKind<QuotaLimit>, users: usize) {
    for kind in QuotaKind::ALL {
        let quota = quotas.get_mut(kind);
        match (limits.get(kind), &mut *quota) {
            (None, _) => *quota = None,
            (Some(limit), Some(quota)) => quota.configure(*limit, users),
            (Some(limit), None) => *quota = Some(SharedQuota::new(*limit, users)),
        }
    }
}

/// A quota that a request needs one of.
struct Applicable<'a> {
    holder: QuotaHolder,
    kind: QuotaKind,
    quota: &'a SharedQuota,
    user: usize,
}

impl Applicable<'_> {
    fn standing(&self, at: Nanos) -> Standing {
        self.quota.standing(self.user, at)
    }

    fn status(&self, now: Nanos) -> QuotaStatus {
        let Self { holder, kind, quota, user } = *self;
        let Standing { used, own, active, remaining } = self.standing(now);
        let more_in = if remaining == 0 { Some(quota.opens_in(user, now)) } else { quota.next_end(now) };
        QuotaStatus { holder, kind, limit: quota.limit(), used, own, active, remaining, more_in }
    }
}

fn nanos(time: Duration) -> Nanos {
    Nanos::try_from(time.as_nanos()).unwrap_or(Nanos::MAX)
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn limits(texts: [&str; 3]) -> ByKind<QuotaLimit> {
        let [requests, writes, critical] = texts.map(|text| text.parse().ok());
        ByKind { requests, writes, critical }
    }

    fn config(listener: [&str; 3], callers: &[(&str, [&str; 3])]) -> QuotaConfig {
        let callers = callers.iter().map(|(name, own)| ((*name).to_owned(), limits(*own))).collect();
        QuotaConfig { listener: limits(listener), callers }
    }

    fn read() -> QuotaKinds {
        // Nobody knows the operation, and a read of that kind is no more than a request.
        QuotaKinds::of(&Method::GET, None)
    }

    fn critical() -> QuotaKinds {
        QuotaKinds::of(&Method::POST, None)
    }

    fn count(quotas: &mut ListenerQuotas, now: Duration, name: Option<&str>, kinds: QuotaKinds) -> usize {
        let place = quotas.place(name).expect("a place");
        (0..1000).take_while(|_| quotas.charge(now, place, kinds).is_ok()).count()
    }

    #[test]
    fn quotas_take_one_of_each_that_applies_or_none() {
        let mut quotas = ListenerQuotas::default();
        quotas.configure(&config(["9/min", "5/min", "3/day"], &[("tool", ["7/min", "4/h", ""]), ("other", [""; 3])]));
        let place = quotas.place(Some("tool")).expect("a place");
        for _ in 0..3 {
            quotas.charge(Duration::ZERO, place, critical()).expect("all have room");
        }
        let refused = quotas.charge(Duration::ZERO, place, critical()).expect_err("3/day");
        let shown: Vec<_> =
            refused.quotas.iter().map(|quota| (quota.holder, quota.kind, quota.used, quota.remaining)).collect();
        use QuotaHolder::{Caller, Listener};
        use QuotaKind::{Critical, Requests, Writes};
        let wanted = [
            (Caller, Requests, 3, 4),
            (Caller, Writes, 3, 1),
            (Listener, Requests, 3, 6),
            (Listener, Writes, 3, 2),
            (Listener, Critical, 3, 0),
        ];
        assert_eq!((shown.as_slice(), refused.retry_after), (&wanted[..], 86_400));
        assert_eq!(count(&mut quotas, Duration::ZERO, Some("tool"), read()), 4, "7/min of its own");
        assert_eq!(count(&mut quotas, Duration::ZERO, Some("other"), read()), 2, "9/min of all");
        let used: Vec<_> =
            quotas.usage(MINUTE / 2).into_iter().map(|usage| (usage.caller, usage.kind, usage.used)).collect();
        let tool = Some("tool".to_owned());
        let wanted = [
            (None, Requests, 9),
            (None, Writes, 3),
            (None, Critical, 3),
            (tool.clone(), Requests, 7),
            (tool, Writes, 3),
        ];
        assert_eq!(used, wanted);
    }

    #[test]
    fn quotas_of_a_caller_that_its_own_stops_are_not_kept_from_the_others() {
        let mut quotas = ListenerQuotas::default();
        quotas.configure(&config(["100/min", "", ""], &[("slow", ["1/h", "", ""]), ("fast", [""; 3])]));
        assert_eq!(count(&mut quotas, Duration::ZERO, Some("slow"), read()), 1);
        let slow = quotas.place(Some("slow")).expect("a place");
        for second in 60..120 {
            let refused = quotas.charge(Duration::from_secs(second), slow, read()).expect_err("one in an hour");
            assert_eq!((refused.retry_after, refused.quotas[0].holder), (3600 - second as u32, QuotaHolder::Caller));
        }
        assert_eq!(count(&mut quotas, 2 * MINUTE, Some("fast"), read()), 100);
    }

    #[test]
    fn quotas_go_on_over_a_change_of_limits_and_callers() {
        let mut quotas = ListenerQuotas::default();
        let before = config(["10/min", "", ""], &[("a", ["6/min", "", ""]), ("b", [""; 3])]);
        quotas.configure(&before);
        assert_eq!((count(&mut quotas, Duration::ZERO, Some("a"), read()), quotas.place(None)), (6, None));
        quotas.configure(&before);
        assert_eq!(count(&mut quotas, MINUTE / 2, Some("a"), read()), 0, "the same again");
        // Another order, another limit, a longer window, and a new caller.
        quotas.configure(&config(["20/h", "", ""], &[("c", [""; 3]), ("b", ["2/s", "", ""]), ("a", ["7/h", "", ""])]));
        assert_eq!(count(&mut quotas, MINUTE, Some("a"), read()), 1, "6 of 7 were used, an hour has not passed");
        assert_eq!(count(&mut quotas, MINUTE, Some("b"), read()), 2);
        // A caller that goes has used what it used, and needs no share any more.
        quotas.configure(&config(["20/h", "", ""], &[("c", [""; 3])]));
        assert_eq!(count(&mut quotas, MINUTE, Some("c"), read()), 11, "7 of a, 2 of b");
        assert_eq!(quotas.usage(MINUTE).len(), 1);
        quotas.configure(&config(["", "", ""], &[("c", [""; 3])]));
        assert_eq!((quotas.place(Some("c")), quotas.usage(MINUTE)), (None, Vec::new()));
    }

    #[test]
    fn quotas_of_a_listener_without_callers_are_of_all_who_reach_it() {
        let mut quotas = ListenerQuotas::default();
        quotas.configure(&config(["3/s", "", ""], &[]));
        assert_eq!(count(&mut quotas, Duration::ZERO, None, read()), 3);
        let place = quotas.place(None).expect("a place");
        let refused = quotas.charge(Duration::from_millis(400), place, read()).expect_err("used up");
        assert_eq!((refused.retry_after, refused.quotas[0].more_in), (1, Some(1)));
        assert_eq!(count(&mut quotas, Duration::from_secs(1), None, read()), 3);
    }

    #[test]
    fn quotas_say_when_a_request_passes_that_several_refuse() {
        let mut quotas = ListenerQuotas::default();
        quotas.configure(&config(["2/min", "1/h", ""], &[]));
        let place = quotas.place(None).expect("a place");
        quotas.charge(Duration::ZERO, place, critical()).expect("room");
        quotas.charge(MINUTE / 2, place, read()).expect("room");
        let refused = quotas.charge(MINUTE / 2, place, critical()).expect_err("both are full");
        let more_in: Vec<_> = refused.quotas.iter().map(|quota| quota.more_in).collect();
        assert_eq!((refused.retry_after, more_in), (3570, vec![Some(30), Some(3570)]));
        assert!(quotas.charge(MINUTE / 2 + Duration::from_secs(3570), place, critical()).is_ok());
    }
}
