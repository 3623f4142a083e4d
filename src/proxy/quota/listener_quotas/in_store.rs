//! What quotas that are counted in a shared store need of those that are counted here.

use std::time::Duration;

use super::{CallerPlace, ListenerQuotas, QuotaHolder, SELF, nanos};
use crate::proxy::quota::kind::QuotaKinds;
use crate::proxy::quota::needed::Needed;

impl ListenerQuotas {
    /// The quotas that apply to a request of these kinds, a caller's own first.
    pub(in crate::proxy::quota) fn needed(&self, CallerPlace(place): CallerPlace, kinds: QuotaKinds) -> Vec<Needed> {
        let caller = self.callers.get(place).and_then(|caller| caller.name.clone());
        let needed = |holder, kind, limit, ceiling| Needed { holder, kind, limit, ceiling, caller: caller.clone() };
        let own = self.callers.get(place).into_iter().flat_map(|caller| caller.own.iter());
        let own = own.map(|(kind, quota)| needed(QuotaHolder::Caller, kind, quota.limit(), quota.ceiling(SELF)));
        let shared = self.shared.iter();
        let shared =
            shared.map(|(kind, quota)| needed(QuotaHolder::Listener, kind, quota.limit(), quota.ceiling(place)));
        own.chain(shared).filter(|needed| kinds.contains(needed.kind)).collect()
    }

    /// A request was let through by the store: it is counted here too.
    pub(in crate::proxy::quota) fn note(&mut self, now: Duration, CallerPlace(place): CallerPlace, kinds: QuotaKinds) {
        let now = nanos(now);
        self.forget(now, place);
        let asked = self.shared.iter_mut().filter(|(kind, _)| kinds.contains(*kind));
        asked.for_each(|(_, quota)| quota.ask(place, now));
        self.take(now, place, kinds);
    }

    /// Of each limit only a part is for this process: so many replicas have one each.
    pub(in crate::proxy::quota) fn share(&mut self, parts: u32) {
        if self.parts != parts {
            self.set_parts(parts);
        }
    }

    pub(super) fn set_parts(&mut self, parts: u32) {
        self.parts = parts;
        let own = self.callers.iter_mut().flat_map(|caller| caller.own.iter_mut());
        own.chain(self.shared.iter_mut()).for_each(|(_, quota)| quota.parts = parts);
    }

    /// The place of the caller of this name.
    pub(in crate::proxy::quota) fn place_of(&self, name: Option<&str>) -> Option<CallerPlace> {
        self.find(name).map(|(place, _)| CallerPlace(place))
    }
}
