//! What is known of one token, and what follows from it at a given moment: pure rules, replaced as a whole.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use tokio::time::Instant;

use super::RENEWED;
use super::endpoint::TokenAnswer;
use super::shared_token::{TokenDigest, token_digest};
use super::token_error::TokenError;
use crate::base::clock::Moment;

/// The first wait after a failure; it doubles up to [`MAX_BACKOFF`].
const FIRST_BACKOFF: Duration = Duration::from_millis(500);
/// The longest wait after failures that may pass by themselves.
const MAX_BACKOFF: Duration = Duration::from_secs(8);
/// The wait after a failure that lasts until a person does something: as long as callers ask, who are served soon after
/// that, and as long as nobody does.
const PERMANENT_BACKOFF: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(30));
/// The failures from which on the wait is the longest, and each line in the log tells of twice as many.
const SETTLED: u32 = 8;
/// The longest `Retry-After` that is believed.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(120);
/// How many refused tokens are renewed at once, and the time in which one more may be.
const RENEWALS: (u32, Duration) = (10, Duration::from_secs(10));

/// What is known for one key.
#[derive(Debug)]
pub(super) struct KeyState {
    grant: Option<Arc<Grant>>,
    /// The last failure, if no success came after it.
    pub(super) failure: Option<Arc<TokenError>>,
    /// How many flights failed in a row.
    failed: u32,
    /// Before this, no caller starts a new flight, unless the grant is refused or the credentials have changed.
    pub(super) next: Moment,
    /// Before this, none starts without a caller.
    pub(super) next_unasked: Moment,
    /// The credentials' version.
    version: u64,
    /// The newest token that there was, where replicas share them: it may be in the store yet.
    last: Option<TokenDigest>,
    renewals: Arc<Renewals>,
}

/// Who wants a flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FlightReason {
    /// A request waits for the token.
    Caller,
    /// A token is kept ready.
    Keeper,
}

/// An access token, with its own clock.
#[derive(Debug)]
pub(super) struct Grant {
    pub(super) authorization: HeaderValue,
    /// When it was asked for, or read where another replica had asked for it so long before.
    asked: Moment,
    aged: Duration,
    /// From the moment when it was asked for.
    lifetime: Duration,
    /// From here on a new one is fetched, while this one is still used.
    refresh: Moment,
    /// From here on it is not used.
    expiry: Moment,
    /// NinjaOne refused it.
    refused: AtomicBool,
    /// There is a newer one.
    replaced: AtomicBool,
    renewals: Arc<Renewals>,
}

/// How often refused tokens are renewed: a NinjaOne that refuses every token must not be flooded with requests for more.
#[derive(Debug)]
struct Renewals(Mutex<Option<Instant>>);

impl Renewals {
    /// Whether one more is in order; it is counted then.
    fn take(&self, now: Instant) -> bool {
        let mut paid_until = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (burst, period) = RENEWALS;
        let from = paid_until.unwrap_or(now).max(now);
        let in_order = from < now + period * burst;
        if in_order {
            *paid_until = Some(from + period);
        }
        in_order
    }
}

impl Grant {
    /// Whether a request may carry it.
    pub(super) fn is_usable(&self, now: Moment) -> bool {
        !now.has_reached(self.expiry) && !self.refused.load(Ordering::Relaxed)
    }

    /// Whether it is usable and no newer one is there or due.
    pub(super) fn is_fresh(&self, now: Moment) -> bool {
        !now.has_reached(self.refresh) && !self.replaced.load(Ordering::Relaxed) && self.is_usable(now)
    }

    /// The time since it was asked for.
    pub(super) fn age(&self, now: Moment) -> Duration {
        now.since(self.asked) + self.aged
    }

    /// As it was answered.
    pub(super) fn answer(&self) -> TokenAnswer {
        let Self { authorization, lifetime, .. } = self;
        TokenAnswer { authorization: authorization.clone(), lifetime: *lifetime, refresh_token: None, scope: None }
    }

    /// NinjaOne refused it: nobody uses it again. False if too many were refused of late: then it stays in use.
    pub(super) fn refuse(&self, now: Moment) -> bool {
        let renewed = self.refused.load(Ordering::Relaxed) || self.replaced.load(Ordering::Relaxed);
        if renewed || self.renewals.take(now.monotonic) {
            self.refused.store(true, Ordering::Relaxed);
            return true;
        }
        false
    }
}

impl KeyState {
    /// After an answer to a request that was made at `asked` with credentials of this version.
    pub(super) fn granted(answer: TokenAnswer, asked: Moment, version: u64, previous: Option<&Self>) -> Self {
        Self::taken(answer, (asked, Duration::ZERO), version, previous)
    }

    /// With a token of another replica that was read at this moment, and is so old.
    pub(super) fn taken(
        answer: TokenAnswer,
        (asked, aged): (Moment, Duration),
        version: u64,
        previous: Option<&Self>,
    ) -> Self {
        let TokenAnswer { authorization, lifetime, .. } = answer;
        // Never used up to the last moment: it must still be valid when it arrives.
        let margin = (lifetime / 20).min(Duration::from_secs(5));
        let refresh = asked + lifetime.mul_f64(jitter(RENEWED.0, RENEWED.1)).saturating_sub(aged);
        let renewals = Self::renewals(previous);
        let (refused, replaced) = (AtomicBool::new(false), AtomicBool::new(false));
        let expiry = asked + (lifetime - margin).saturating_sub(aged);
        let renewed = Arc::clone(&renewals);
        let grant =
            Grant { authorization, asked, aged, lifetime, refresh, expiry, refused, replaced, renewals: renewed };
        if let Some(old) = previous.and_then(|state| state.grant.as_ref()) {
            old.replaced.store(true, Ordering::Relaxed);
        }
        let (grant, next_unasked) = (Some(Arc::new(grant)), refresh);
        Self { grant, failure: None, failed: 0, next: refresh, next_unasked, version, last: None, renewals }
    }

    /// After a failure of a request that was made at `asked`. A grant that is still usable stays in use.
    pub(super) fn failed(
        error: TokenError,
        (asked, now): (Moment, Moment),
        version: u64,
        previous: Option<&Self>,
    ) -> Self {
        let failed = previous.map_or(0, |state| state.failed);
        // A request that hung was a wait already, but not one that the server asked for.
        let (waited, least) = (asked.until(now), FIRST_BACKOFF.mul_f64(jitter(0.75, 1.0)).max(asked_for(&error)));
        let waits = backoff(&error, failed).map(|wait| wait.saturating_sub(waited).max(least));
        Self::failed_for(error, (now, waits), version, previous)
    }

    /// After a failure of another replica that all share for this time.
    pub(super) fn failed_elsewhere(
        error: TokenError,
        (now, wait): (Moment, Duration),
        version: u64,
        previous: Option<&Self>,
    ) -> Self {
        let [_, unasked] = backoff(&error, previous.map_or(0, |state| state.failed));
        let waits = [wait, if error.is_permanent() { unasked.max(wait) } else { wait }];
        Self::failed_for(error, (now, waits), version, previous)
    }

    fn failed_for(
        error: TokenError,
        (now, waits): (Moment, [Duration; 2]),
        version: u64,
        previous: Option<&Self>,
    ) -> Self {
        let [next, next_unasked] = waits.map(|wait| now + wait);
        let failed = previous.map_or(0, |state| state.failed);
        let mut grant = previous.and_then(|state| state.usable(now)).cloned();
        if error.ends_grant()
            && let Some(ended) = grant.take()
        {
            ended.refused.store(true, Ordering::Relaxed);
        }
        let renewals = Self::renewals(previous);
        let (failure, failed) = (Some(Arc::new(error)), failed.saturating_add(1));
        Self { grant, failure, failed, next, next_unasked, version, last: None, renewals }
    }

    /// The same, and this was the newest token before.
    pub(super) fn remembering(self, last: Option<TokenDigest>) -> Self {
        Self { last, ..self }
    }

    /// The newest token that there was.
    pub(super) fn last(&self) -> Option<TokenDigest> {
        let own = self.grant.as_ref().map(|grant| token_digest(grant.authorization.as_bytes()));
        own.or(self.last)
    }

    /// The same grant, if there is one, for credentials of another version that are as good.
    pub(super) fn inherited(&self, version: u64) -> Option<Self> {
        let grant = Some(Arc::clone(self.grant.as_ref()?));
        let renewals = Arc::clone(&self.renewals);
        let Self { next, next_unasked, .. } = *self;
        Some(Self { grant, failure: None, failed: 0, next, next_unasked, version, last: self.last, renewals })
    }

    fn renewals(previous: Option<&Self>) -> Arc<Renewals> {
        previous.map_or_else(|| Arc::new(Renewals(Mutex::new(None))), |state| Arc::clone(&state.renewals))
    }

    /// The grant that requests may carry.
    pub(super) fn usable(&self, now: Moment) -> Option<&Arc<Grant>> {
        self.grant.as_ref().filter(|grant| grant.is_usable(now))
    }

    /// The time to the expiry of the usable grant.
    pub(super) fn expires_in(&self, now: Moment) -> Option<Duration> {
        self.usable(now).map(|grant| now.until(grant.expiry))
    }

    /// The age of the usable grant.
    pub(super) fn age(&self, now: Moment) -> Option<Duration> {
        self.usable(now).map(|grant| grant.age(now))
    }

    /// Whether it is of these credentials and this sign-in.
    pub(super) fn is_of(&self, version: u64) -> bool {
        self.version == version
    }

    /// Whether a flight is to start. After a failure nobody starts one before its time, however many wait.
    pub(super) fn is_due(&self, now: Moment, version: u64, asker: FlightReason) -> bool {
        let next = match asker {
            FlightReason::Caller => self.next,
            FlightReason::Keeper => self.next_unasked,
        };
        let refused = || self.grant.as_ref().is_some_and(|grant| grant.refused.load(Ordering::Relaxed));
        now.has_reached(next) || self.version != version || refused()
    }

    /// Whether this failure is worth a line in the log: the first of its kind, and then more and more rarely, not before
    /// half a minute.
    pub(super) fn is_news(&self, previous: Option<&Self>) -> bool {
        let Some(error) = &self.failure else { return true };
        let before = previous.and_then(|state| state.failure.as_ref());
        let repeated = before.is_some_and(|before| before.is_like(error));
        !repeated || (!error.is_permanent() && self.failed >= SETTLED && self.failed.is_power_of_two())
    }
}

/// The waits while callers ask, and while nobody does.
fn backoff(error: &TokenError, failed: u32) -> [Duration; 2] {
    if error.is_permanent() {
        let (asked, unasked) = PERMANENT_BACKOFF;
        return [asked.mul_f64(jitter(1.0, 1.2)), unasked.mul_f64(jitter(0.75, 1.0))];
    }
    let wait = FIRST_BACKOFF.saturating_mul(1 << failed.min(16)).min(MAX_BACKOFF);
    [wait.mul_f64(jitter(0.75, 1.0)); 2]
}

/// `Retry-After`, and some more, so that not all who were turned away come back at once.
fn asked_for(error: &TokenError) -> Duration {
    let wait = error.retry_after().unwrap_or_default().min(MAX_RETRY_AFTER);
    wait.mul_f64(jitter(1.0, 1.1)).min(MAX_RETRY_AFTER)
}

fn jitter(from: f64, to: f64) -> f64 {
    from + fastrand::f64() * (to - from)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn granted(asked: Moment, previous: Option<&KeyState>) -> KeyState {
        let authorization = HeaderValue::from_static("Bearer x");
        KeyState::granted(
            TokenAnswer { authorization, lifetime: HOUR, refresh_token: None, scope: None },
            asked,
            0,
            previous,
        )
    }

    fn failed(error: TokenError, now: Moment, previous: Option<&KeyState>) -> KeyState {
        KeyState::failed(error, (now, now), 0, previous)
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn state_is_renewed_between_75_and_90_percent_of_the_lifetime() {
        let start = Moment::now();
        let mut spread = std::collections::HashSet::new();
        for _ in 0..200 {
            let state = granted(start, None);
            assert!(
                !state.is_due(start + HOUR.mul_f64(0.7499), 0, FlightReason::Caller)
                    && state.is_due(start + HOUR.mul_f64(0.9), 0, FlightReason::Caller)
            );
            spread.insert(start.until(state.next).as_secs());
            assert!(state.usable(start + HOUR.mul_f64(0.99)).is_some(), "in use while it is renewed");
            assert!(state.usable(start + HOUR - seconds(5)).is_none(), "not up to the last moment");
        }
        assert!(spread.len() > 50, "the proxies of a fleet do not ask all at once");
    }

    impl std::ops::Sub<Duration> for Moment {
        type Output = Self;
        fn sub(self, span: Duration) -> Self {
            Self { monotonic: self.monotonic - span, wall: self.wall - span }
        }
    }

    #[test]
    fn state_after_a_sleep_has_expired_although_the_monotonic_clock_stood_still() {
        let start = Moment::now() + HOUR;
        let state = granted(start, None);
        let resumed = Moment { monotonic: start.monotonic + seconds(1), wall: start.wall + 8 * HOUR };
        assert!(state.usable(resumed).is_none() && state.is_due(resumed, 0, FlightReason::Caller));
        let renewed = granted(resumed, Some(&state));
        assert!(
            renewed.usable(resumed + seconds(60)).is_some()
                && !renewed.is_due(resumed + seconds(60), 0, FlightReason::Caller)
        );
    }

    #[test]
    fn state_is_not_prolonged_by_a_wall_clock_that_is_set_back_nor_lost_for_long_by_one_set_forward() {
        let start = Moment::now() + 2 * HOUR;
        let state = granted(start, None);
        let set_back = Moment { monotonic: start.monotonic + HOUR, wall: start.wall - HOUR };
        assert!(state.usable(set_back).is_none() && state.is_due(set_back, 0, FlightReason::Caller));
        let set_forward = Moment { wall: start.wall + 100_000 * HOUR, ..start };
        assert!(state.usable(set_forward).is_none() && state.is_due(set_forward, 0, FlightReason::Caller));
        let renewed = granted(set_forward, Some(&state));
        assert!(!renewed.is_due(set_forward + seconds(1), 0, FlightReason::Caller), "one renewal is enough");
    }

    #[test]
    fn state_after_failures_waits_twice_as_long_each_time_up_to_8_seconds() {
        let mut now = Moment::now();
        let mut state = None;
        for most in [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0] {
            let next = failed(TokenError::Timeout, now, state.as_ref());
            let wait = now.until(next.next).as_secs_f64();
            assert!((most * 0.74..=most).contains(&wait), "{wait} of {most}");
            assert!(!next.is_due(now + now.until(next.next).mul_f64(0.99), 0, FlightReason::Caller));
            now = next.next;
            assert!(next.is_due(now, 0, FlightReason::Caller));
            state = Some(next);
        }
    }

    #[test]
    fn state_after_a_request_that_hung_does_not_wait_for_that_time_again() {
        let asked = Moment::now();
        let mut state = failed(TokenError::Timeout, asked, None);
        for _ in 0..6 {
            state = failed(TokenError::Timeout, asked, Some(&state));
        }
        let now = asked + seconds(10);
        let next = KeyState::failed(TokenError::Timeout, (asked, now), 0, Some(&state));
        assert!(now.until(next.next) <= FIRST_BACKOFF);
    }

    #[test]
    fn state_after_a_lasting_failure_waits_5_seconds_for_callers_and_30_without_them() {
        let mut now = Moment::now();
        let mut state = None;
        for error in [|| TokenError::InvalidScope, || TokenError::InvalidClient, || TokenError::UnknownClient] {
            let next = failed(error(), now, state.as_ref());
            let waits = [next.next, next.next_unasked].map(|next| now.until(next).as_secs_f64());
            assert!((5.0..=6.0).contains(&waits[0]) && (22.0..=30.0).contains(&waits[1]), "{waits:?}");
            let due = |after, asker| next.is_due(now + Duration::from_secs_f64(after), 0, asker);
            assert!(!due(4.9, FlightReason::Caller) && due(6.1, FlightReason::Caller));
            assert!(!due(22.4, FlightReason::Keeper) && due(30.1, FlightReason::Keeper));
            now = next.next;
            state = Some(next);
        }
    }

    #[test]
    fn state_keeps_retry_after_within_bounds_for_callers_and_without_them() {
        let now = Moment::now();
        let wait = |error| {
            let KeyState { next, next_unasked, .. } = failed(error, now, None);
            assert!(now.until(next) <= now.until(next_unasked));
            now.until(next).as_secs_f64()
        };
        let refused = |wait| TokenError::Refused {
            status: http::StatusCode::TOO_MANY_REQUESTS,
            code: String::new(),
            retry_after: Some(seconds(wait)),
        };
        assert!((20.0..=22.0).contains(&wait(refused(20))));
        assert_eq!(wait(refused(99_999)), 120.0);
        assert!(wait(refused(0)) <= 0.5);
    }

    #[test]
    fn state_keeps_a_usable_grant_through_failures_and_changed_credentials_are_tried_at_once() {
        let start = Moment::now();
        let state = failed(TokenError::InvalidClient, start + seconds(3000), Some(&granted(start, None)));
        assert!(state.usable(start + seconds(3001)).is_some() && state.usable(start + HOUR).is_none());
        assert!(
            !state.is_due(start + seconds(3001), 0, FlightReason::Caller)
                && state.is_due(start + seconds(3001), 1, FlightReason::Caller)
        );
    }

    #[test]
    fn state_renews_refused_grants_but_not_in_a_storm() {
        let mut now = Moment::now();
        let mut state = granted(now, None);
        for _ in 0..RENEWALS.0 {
            let grant = Arc::clone(state.usable(now).expect("a grant"));
            assert!(grant.refuse(now) && grant.refuse(now), "all who share it may wait for the next");
            assert!(state.usable(now).is_none() && state.is_due(now, 0, FlightReason::Caller));
            state = granted(now, Some(&state));
            assert!(grant.refuse(now), "one that is replaced already costs nothing");
        }
        let grant = Arc::clone(state.usable(now).expect("a grant"));
        assert!(
            !grant.refuse(now) && state.usable(now).is_some() && !state.is_due(now, 0, FlightReason::Caller),
            "it stays in use"
        );
        now = now + RENEWALS.1;
        assert!(grant.refuse(now), "one more after a while");
        state = granted(now, Some(&state));
        assert!(!state.usable(now).expect("a grant").refuse(now));
    }

    #[test]
    fn state_tells_the_worker_who_holds_a_grant_that_a_newer_one_is_there() {
        let start = Moment::now();
        let first = granted(start, None);
        let grant = Arc::clone(first.usable(start).expect("a grant"));
        assert!(grant.is_fresh(start));
        let _second = granted(start, Some(&first));
        assert!(!grant.is_fresh(start) && grant.is_usable(start));
    }

    #[test]
    fn state_is_told_once_if_it_lasts_and_now_and_then_if_it_may_pass() {
        let now = Moment::now();
        let mut state = granted(now, None);
        let mut told = |error: fn() -> TokenError, times: usize| {
            let mut news = 0;
            for _ in 0..times {
                let next = failed(error(), now, Some(&state));
                news += usize::from(next.is_news(Some(&state)));
                state = next;
            }
            news
        };
        assert_eq!(told(|| TokenError::InvalidScope, 20), 1);
        assert_eq!(told(|| TokenError::InvalidClient, 20), 1);
        assert!((2..6).contains(&told(|| TokenError::Timeout, 100)));
    }
}
