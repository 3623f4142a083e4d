//! Quotas, counted from the whole history anew for each question: the measure of the real ones.

use std::time::Duration;

use http::Method;
use ninjaone_proxy::proxy::quota::{ByKind, ListenerQuotas, QuotaConfig, QuotaKinds, QuotaLimit, QuotaUnit};

const NANOS: u128 = 1_000_000_000;
const UNITS: [QuotaUnit; 4] = [QuotaUnit::Second, QuotaUnit::Minute, QuotaUnit::Hour, QuotaUnit::Day];

/// A limit: so many, in so many nanoseconds.
type Limit = Option<(u128, u128)>;

/// A script as bytes, of which there are always more.
struct Bytes<'a>(std::slice::Iter<'a, u8>);

/// A request of the past.
struct Event {
    at: u128,
    caller: usize,
    kinds: [bool; 3],
    /// It asked for its share of the listener's quotas.
    asked: bool,
    passed: bool,
}

/// What the quotas are, and all that ever happened.
struct Chronicle {
    listener: [Limit; 3],
    callers: Vec<[Limit; 3]>,
    events: Vec<Event>,
}

/// How many requests passed and were refused, and why, so that a test knows that it met what it is about.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) passed: usize,
    pub(crate) full: usize,
    pub(crate) kept_for_others: usize,
    pub(crate) own: usize,
}

impl Bytes<'_> {
    fn next(&mut self) -> Option<u128> {
        self.0.next().map(|byte| u128::from(*byte))
    }

    fn limits(&mut self) -> Option<[Limit; 3]> {
        let mut limits = [None; 3];
        for limit in &mut limits {
            let byte = self.next()?;
            let window = [1, 60, 3600, 86_400][(byte % 4) as usize] * NANOS;
            // Small numbers are the interesting ones, and 0 is none.
            *limit = Some(((byte >> 2) % 16, window)).filter(|(count, _)| *count > 0);
        }
        Some(limits)
    }
}

impl Chronicle {
    fn within(&self, window: u128, now: u128) -> impl Iterator<Item = &Event> {
        self.events.iter().filter(move |event| event.at + window > now)
    }

    fn used(&self, kind: usize, caller: usize, window: u128, now: u128) -> u128 {
        let own = self.within(window, now).filter(|event| event.passed && event.caller == caller && event.kinds[kind]);
        own.count() as u128
    }

    fn has_asked(&self, kind: usize, caller: usize, window: u128, now: u128) -> bool {
        self.within(window, now).any(|event| event.asked && event.caller == caller && event.kinds[kind])
    }

    /// Whether the caller's own quotas have one of each kind left.
    fn own_allows(&self, caller: usize, kinds: [bool; 3], now: u128) -> bool {
        (0..3).filter(|kind| kinds[*kind]).all(|kind| match self.callers[caller][kind] {
            None => true,
            Some((count, window)) => self.used(kind, caller, window, now) < count,
        })
    }

    /// Whether a quota of the listener has one left for the caller, by the words of its documentation.
    fn listener_allows(&self, kind: usize, caller: usize, now: u128) -> Result<(), &'static str> {
        let Some((count, window)) = self.listener[kind] else { return Ok(()) };
        let used: Vec<u128> = (0..self.callers.len()).map(|one| self.used(kind, one, window, now)).collect();
        if used.iter().sum::<u128>() >= count {
            return Err("full");
        }
        // Those who asked within the window, and this one, who asks now.
        let asking: Vec<usize> =
            (0..used.len()).filter(|one| *one == caller || self.has_asked(kind, *one, window, now)).collect();
        let share = (count / asking.len() as u128).max(1);
        if used[caller] < share {
            return Ok(());
        }
        let theirs = |one: usize| match self.callers[one][kind] {
            None => share,
            // No more than its own quota lets it use in that time.
            Some((own, own_window)) => share.min(own * window.div_ceil(own_window)),
        };
        let kept: u128 =
            asking.iter().filter(|one| **one != caller).map(|one| theirs(*one).saturating_sub(used[*one])).sum();
        if used.iter().sum::<u128>() + kept < count { Ok(()) } else { Err("kept for others") }
    }

    /// No window of any quota's length has more than the quota allows, wherever it begins.
    fn check_windows(&self) {
        let passed = |kind: usize| self.events.iter().filter(move |event| event.passed && event.kinds[kind]);
        for kind in 0..3 {
            let mut held = vec![(self.listener[kind], None)];
            held.extend(self.callers.iter().enumerate().map(|(caller, own)| (own[kind], Some(caller))));
            for (limit, whose) in held {
                let Some((count, window)) = limit else { continue };
                let times: Vec<u128> = passed(kind)
                    .filter(|event| whose.is_none_or(|caller| caller == event.caller))
                    .map(|event| event.at)
                    .collect();
                for first in &times {
                    let inside = times.iter().filter(|time| (*first..first + window).contains(time)).count() as u128;
                    assert!(inside <= count, "{inside} in a window for {count}");
                }
            }
        }
    }
}

fn limits(of: [Limit; 3]) -> ByKind<QuotaLimit> {
    let [requests, writes, critical] = of.map(|limit| {
        let (count, window) = limit?;
        let unit = UNITS.into_iter().find(|unit| u128::from(unit.seconds()) * NANOS == window)?;
        QuotaLimit::new(count as u32, unit)
    });
    ByKind { requests, writes, critical }
}

fn name(caller: usize) -> String {
    format!("caller-{caller}")
}

/// Plays a script: quotas first, then three bytes for each request: whose, of which kind, how long after the last.
/// Fails where the real quotas decide otherwise, or say a time at which they would not let the request pass.
pub(crate) fn agree(script: &[u8]) -> Seen {
    let mut bytes = Bytes(script.iter());
    let mut seen = Seen::default();
    let mut read = || {
        let (listener, count) = (bytes.limits()?, 1 + bytes.next()? % 4);
        let callers = (0..count).map(|_| bytes.limits()).collect::<Option<Vec<_>>>()?;
        Some((listener, callers))
    };
    let Some((listener, callers)) = read() else { return seen };
    let named = callers.iter().enumerate().map(|(caller, own)| (name(caller), limits(*own))).collect();
    let mut real = ListenerQuotas::default();
    real.configure(&QuotaConfig { listener: limits(listener), callers: named });
    let mut past = Chronicle { listener, callers, events: Vec::new() };
    let mut now = 0;
    // The measure takes its time: it counts everything each time.
    while let (Some(whose), Some(kind), Some(later), true) =
        (bytes.next(), bytes.next(), bytes.next(), past.events.len() < 100)
    {
        // Steps of a part of a window, to its very end, and one nanosecond before and after that.
        let step = [0, 1, 30 * NANOS, 60 * NANOS, NANOS, 3600 * NANOS, NANOS - 1, 86_400 * NANOS][(later % 8) as usize];
        now += step / (1 + later / 8 % 4);
        let caller = (whose % past.callers.len() as u128) as usize;
        let (method, kinds) =
            if kind % 2 == 0 { (Method::GET, [true, false, false]) } else { (Method::POST, [true, true, true]) };
        let asked = past.own_allows(caller, kinds, now);
        let verdicts: Vec<_> =
            (0..3).filter(|kind| kinds[*kind]).map(|kind| past.listener_allows(kind, caller, now)).collect();
        let refused = verdicts.iter().find_map(|verdict| verdict.err());
        let passes = asked && refused.is_none();
        match (asked, refused) {
            (false, _) => seen.own += 1,
            (true, Some("full")) => seen.full += 1,
            (true, Some(_)) => seen.kept_for_others += 1,
            (true, None) => seen.passed += 1,
        }
        let place = real.place(Some(&name(caller)));
        let kinds_of = QuotaKinds::of(&method, None);
        let judged = place.map(|place| real.charge(Duration::from_nanos(now as u64), place, kinds_of));
        past.events.push(Event { at: now, caller, kinds, asked, passed: passes });
        // Without a place nothing applies to the caller.
        let passed = judged.as_ref().is_none_or(Result::is_ok);
        assert_eq!(passed, passes, "{caller} at {now}: {refused:?} {judged:?}");
        let Some(Err(exceeded)) = judged else { continue };
        assert!(exceeded.retry_after >= 1 && exceeded.quotas.iter().any(|quota| quota.remaining == 0));
        // If nobody asks until then, it passes then.
        let then = now + u128::from(exceeded.retry_after) * NANOS;
        let mut there = (0..3).filter(|kind| kinds[*kind]);
        let there = there.all(|kind| past.listener_allows(kind, caller, then).is_ok());
        assert!(past.own_allows(caller, kinds, then) && there, "{caller} at {now}: {exceeded:?}");
    }
    past.check_windows();
    seen
}
