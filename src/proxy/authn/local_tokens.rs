//! The local token endpoint: tokens for clients that insist on fetching one, good on this listener only.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::Uri;
use http::header::{AUTHORIZATION, HeaderMap};
use ring::hmac;
use zeroize::Zeroizing;

use super::callers::{CallerMark, CallerProofs, MARK_BYTES};
use super::key_hint::KeyHint;
use crate::base::clock::Moment;
use crate::base::clock::lifetime::Lifetime;
use crate::base::clock::steady_wall::{SteadyWall, wall_millis};

/// What a token says of itself, so that one is recognized where it must not be.
pub(super) const TOKEN_MARK: &str = "npt_";
/// The token of a listener without callers: it opens nothing anywhere.
pub(super) const PLACEHOLDER: &str = "ninjaone-proxy-placeholder-that-opens-nothing";
/// How long a local token is good.
pub const LIFETIME: Duration = Duration::from_secs(3600);
/// How far the clocks of replicas may be apart.
const SKEW: Duration = Duration::from_secs(60);
/// Caller and expiry, before the seal.
const CLAIMS: usize = MARK_BYTES + 8;

/// Makes and knows the local tokens of one listener. Nothing is kept of any: a token holds its caller and its expiry,
/// sealed with a key that ends with the process, or with one that all replicas have.
#[derive(Debug)]
pub struct LocalTokens {
    /// The first seals; each opens.
    keys: Vec<hmac::Key>,
    validity: Validity,
}

/// What expiries are told by, and for how long a token is its caller's.
#[derive(Debug)]
enum Validity {
    /// In this process: the wall clock may be set back, and a caller that comes back gets another mark.
    Process(Lifetime, Mutex<TokenCaller>),
    /// At all replicas, which agree on the wall clock and on the configuration only.
    Replicas(Arc<SteadyWall>),
}

/// The callers of the configuration in force.
#[derive(Debug, Default)]
struct TokenCaller {
    /// How many were ever enrolled.
    count: u64,
    /// By what they were configured as.
    marks: HashMap<CallerMark, CallerMark>,
}

/// What local tokens say of each caller of a configuration, in its order.
#[derive(Debug, Clone)]
pub struct CallerMarks(pub(super) Vec<CallerMark>);

/// A path that clients go to for tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OAuthPath {
    /// `/ws/oauth/token` or `/oauth/token`.
    Token,
    /// `/ws/oauth/authorize` or `/oauth/authorize`, where a person would sign in.
    Authorize,
}

/// A token request (RFC 6749 section 4.4.2), however it was written.
#[derive(Debug, Default)]
pub struct TokenRequest {
    grant_type: Option<String>,
    pub(super) id: Option<String>,
    pub(super) secret: Option<Zeroizing<String>>,
    scope: Option<String>,
}

impl OAuthPath {
    /// The door that a request knocks at. Repeated slashes are those of base URLs that end in one.
    pub fn at(uri: &Uri) -> Option<Self> {
        // Nearly every request is for another path, as its end tells.
        let end = uri.path().trim_end_matches('/');
        if !end.ends_with("/token") && !end.ends_with("/authorize") {
            return None;
        }
        let mut segments = uri.path().split('/').filter(|segment| !segment.is_empty());
        let first = segments.next()?;
        let oauth = if first == "ws" { segments.next()? } else { first };
        let last = segments.next().filter(|_| oauth == "oauth")?;
        match (last, segments.next()) {
            ("token", None) => Some(Self::Token),
            ("authorize", None) => Some(Self::Authorize),
            _ => None,
        }
    }
}

impl LocalTokens {
    /// An issuer with a key of its own. Fails if the system gives no randomness.
    pub fn new() -> Result<Self, getrandom::Error> {
        let mut bytes = Zeroizing::new([0; 32]);
        getrandom::fill(bytes.as_mut_slice())?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, bytes.as_slice());
        Ok(Self { keys: vec![key], validity: Validity::Process(Lifetime::new(Moment::now()), Mutex::default()) })
    }

    /// An issuer whose tokens are good wherever the same keys are, also after a restart. The first key seals, each opens.
    /// All issuers of a process share the clock, so that no token comes back to life when a listener does.
    pub fn shared(keys: Vec<hmac::Key>, clock: Arc<SteadyWall>) -> Self {
        Self { keys, validity: Validity::Replicas(clock) }
    }

    /// These are the callers from now on. One that was there before, as it is now, keeps its mark. Any other gets a new
    /// one, also if it was there once: tokens of a caller that was removed or changed stay dead when it comes back. With
    /// shared keys the configuration alone makes the mark, since no replica knows what another had before.
    pub fn enroll<'a>(&self, callers: impl IntoIterator<Item = &'a CallerProofs>) -> CallerMarks {
        let enrolled = match &self.validity {
            Validity::Process(_, enrolled) => enrolled,
            Validity::Replicas(_) => return CallerMarks(callers.into_iter().map(CallerMark::of).collect()),
        };
        let mut enrolled = enrolled.lock().unwrap_or_else(PoisonError::into_inner);
        let TokenCaller { mut count, marks: before } = std::mem::take(&mut *enrolled);
        let mut marks = HashMap::new();
        let all = callers.into_iter().map(|caller| {
            let configured = CallerMark::of(caller);
            let mark = before.get(&configured).copied().unwrap_or_else(|| {
                count += 1;
                configured.of_turn(count)
            });
            *marks.entry(configured).or_insert(mark)
        });
        let all = CallerMarks(all.collect());
        *enrolled = TokenCaller { count, marks };
        all
    }

    /// A token for this caller, from `now` on. `None` only without a key.
    pub(super) fn issue(&self, CallerMark(caller): CallerMark, now: Moment) -> Option<String> {
        let mut token = Vec::with_capacity(CLAIMS + 32);
        token.extend_from_slice(&caller);
        token.extend_from_slice(&self.validity.next_expiry(now).to_be_bytes());
        let seal = hmac::sign(self.keys.first()?, &token);
        token.extend_from_slice(seal.as_ref());
        Some(format!("{TOKEN_MARK}{}", URL_SAFE_NO_PAD.encode(token)))
    }

    /// A token that opens nothing, for a listener that asks nobody who he is.
    pub(super) fn placeholder() -> String {
        PLACEHOLDER.to_owned()
    }

    /// The mark of whose token this is, if it is one of ours and still good.
    pub(super) fn caller(&self, token: &[u8], now: Moment) -> Option<CallerMark> {
        let (caller, expiry) = self.claims(token)?;
        self.validity.is_before(now, expiry).then_some(caller)
    }

    /// What is wrong with a token that is not a caller's.
    pub(super) fn hint(&self, token: &[u8], now: Moment) -> KeyHint {
        match self.claims(token) {
            None => KeyHint::UnknownToken,
            Some((_, expiry)) if !self.validity.is_before(now, expiry) => KeyHint::ExpiredToken,
            Some(_) => KeyHint::RevokedToken,
        }
    }

    /// Whose token this is and when it ends, if it is one of ours.
    fn claims(&self, token: &[u8]) -> Option<(CallerMark, u64)> {
        let encoded = token.strip_prefix(TOKEN_MARK.as_bytes())?;
        let token = URL_SAFE_NO_PAD.decode(encoded).ok()?;
        let (claims, seal) = token.split_at_checked(CLAIMS)?;
        self.keys.iter().find(|key| hmac::verify(key, claims, seal).is_ok())?;
        let (caller, expiry) = claims.split_at_checked(MARK_BYTES)?;
        let expiry = u64::from_be_bytes(expiry.try_into().ok()?);
        Some((CallerMark(caller.try_into().ok()?), expiry))
    }
}

impl Validity {
    /// Until when a token is good that is issued now, in milliseconds.
    fn next_expiry(&self, now: Moment) -> u64 {
        match self {
            Self::Process(life, _) => millis(life.age(now) + LIFETIME),
            // By the clock that the other replicas have too. Where it was set back so far that the token would be dead here, it
            // is good here only.
            Self::Replicas(clock) => {
                let (wall, steady) = (wall_millis(now).unsigned_abs(), clock.millis(now));
                let common = wall.saturating_add(millis(LIFETIME / 2)) > steady;
                (if common { wall } else { steady }).saturating_add(millis(LIFETIME))
            }
        }
    }

    /// Whether a token with this expiry is good. No replica issues one that is good for longer than an hour: a clock that
    /// was ahead has, or somebody who had the key.
    fn is_before(&self, now: Moment, expiry: u64) -> bool {
        match self {
            Self::Process(life, _) => millis(life.age(now)) < expiry,
            Self::Replicas(clock) => {
                let now = clock.millis(now);
                now < expiry && expiry <= now.saturating_add(millis(LIFETIME + SKEW))
            }
        }
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

impl TokenRequest {
    /// Reads credentials from HTTP Basic, the form, or the query, in this order, and the rest from form or query.
    pub fn read(headers: &HeaderMap, uri: &Uri, body: &[u8]) -> Self {
        let mut request = Self::default();
        request.take_pairs(body);
        request.take_pairs(uri.query().unwrap_or_default().as_bytes());
        if let Some((id, secret)) = headers.get(AUTHORIZATION).and_then(|value| basic(value.as_bytes())) {
            (request.id, request.secret) = (Some(id), Some(secret));
        }
        request
    }

    /// What is there already stays.
    fn take_pairs(&mut self, text: &[u8]) {
        for (name, value) in form_urlencoded::parse(text) {
            match name.as_ref() {
                "grant_type" => drop(self.grant_type.get_or_insert_with(|| value.into_owned())),
                "client_id" => drop(self.id.get_or_insert_with(|| value.into_owned())),
                "client_secret" => drop(self.secret.get_or_insert_with(|| Zeroizing::new(value.into_owned()))),
                "scope" => drop(self.scope.get_or_insert_with(|| value.into_owned())),
                _ => {}
            }
        }
    }

    /// Whether this is a way to a token that can be gone here: clients that want to renew one may, too.
    pub fn is_supported(&self) -> bool {
        matches!(self.grant_type.as_deref(), None | Some("client_credentials" | "refresh_token"))
    }

    /// The scopes asked for, as written; what opens is decided by the listener's rules alone.
    pub fn scope(&self) -> Option<&str> {
        self.scope.as_deref()
    }
}

/// Both parts may be form-encoded inside of the Basic scheme (RFC 6749 section 2.3.1).
fn basic(value: &[u8]) -> Option<(String, Zeroizing<String>)> {
    let (scheme, encoded) = value.split_at_checked(6)?;
    let encoded = scheme.eq_ignore_ascii_case(b"Basic ").then_some(encoded.trim_ascii())?;
    let text = Zeroizing::new(String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?);
    let (id, secret) = text.split_once(':')?;
    let decoded = |part: &str| {
        let pair = Zeroizing::new(format!("={}", part.replace('&', "%26")));
        form_urlencoded::parse(pair.as_bytes()).next().map(|(_, value)| value.into_owned()).unwrap_or_default()
    };
    Some((decoded(id), Zeroizing::new(decoded(secret))))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn door(path: &str) -> Option<OAuthPath> {
        OAuthPath::at(&path.parse().expect("a target"))
    }

    #[test]
    fn issuer_door_is_found_below_ws_or_not_and_nowhere_else() {
        for path in ["/ws/oauth/token", "/oauth/token", "//ws/oauth/token", "/oauth/token/", "http://x/oauth/token?a=b"]
        {
            assert_eq!(door(path), Some(OAuthPath::Token), "{path}");
        }
        assert_eq!(door("/ws/oauth/authorize?response_type=code"), Some(OAuthPath::Authorize));
        for path in [
            "/",
            "/ws",
            "/ws/oauth",
            "/token",
            "/v2/oauth/token",
            "/ws/ws/oauth/token",
            "/oauth/token/x",
            "/oauth/tokens",
        ] {
            assert_eq!(door(path), None, "{path}");
        }
    }

    #[test]
    fn issuer_token_is_good_for_its_caller_for_an_hour_on_its_listener() {
        let (issuer, other) = (LocalTokens::new().expect("a key"), LocalTokens::new().expect("a key"));
        let now = Moment::now();
        let caller = CallerMark([7; MARK_BYTES]);
        let token = issuer.issue(caller, now).expect("a token");
        assert!(token.starts_with(TOKEN_MARK));
        assert_eq!(issuer.caller(token.as_bytes(), now), Some(caller));
        assert_eq!(issuer.caller(token.as_bytes(), now + (LIFETIME - Duration::from_secs(1))), Some(caller));
        assert_eq!(other.caller(token.as_bytes(), now), None);
        assert_eq!(other.hint(token.as_bytes(), now), KeyHint::UnknownToken);
        assert_eq!(issuer.hint(token.as_bytes(), now), KeyHint::RevokedToken);
        assert_eq!(issuer.hint(token.as_bytes(), now + LIFETIME), KeyHint::ExpiredToken);
        for index in 0..token.len() {
            let mut forged = token.clone().into_bytes();
            forged[index] = if forged[index] == b'A' { b'B' } else { b'A' };
            assert_eq!(issuer.caller(&forged, now), None, "byte {index}");
        }
        for wrong in ["", "npt_", "npt_AAAA", PLACEHOLDER, token.trim_start_matches("npt_")] {
            assert_eq!(issuer.caller(wrong.as_bytes(), now), None, "{wrong}");
        }
        assert_eq!(issuer.caller(token.as_bytes(), now + LIFETIME), None);
    }

    #[test]
    fn issuer_token_stays_dead_when_the_wall_clock_is_set_back() {
        let caller = CallerMark([7; MARK_BYTES]);
        let hour = LIFETIME + Duration::from_secs(1);
        let alive = |later: fn(Moment, Duration) -> Moment| {
            let (issuer, now) = (LocalTokens::new().expect("a key"), Moment::now());
            let token = issuer.issue(caller, now).expect("a token");
            let at = |now| issuer.caller(token.as_bytes(), now).is_some();
            [at(now), at(later(now, hour)), at(Moment { wall: now.wall - 24 * hour, ..later(now, hour) })]
        };
        let awake = |now: Moment, hour| now + hour;
        assert_eq!(alive(awake), [true, false, false], "time passed, then the clock is set back");
        let asleep = |now: Moment, hour| Moment { wall: now.wall + hour, ..now };
        assert_eq!(alive(asleep), [true, false, false], "it slept, then the clock is set back");
        let (issuer, now) = (LocalTokens::new().expect("a key"), Moment::now());
        let token = issuer.issue(caller, now).expect("a token");
        let set_back = Moment { wall: now.wall - 24 * hour, ..now };
        assert_eq!(issuer.caller(token.as_bytes(), set_back), Some(caller), "none of its time has passed");
        assert_eq!(issuer.caller(token.as_bytes(), set_back + LIFETIME), None);
    }

    #[test]
    fn issuer_marks_stay_with_callers_that_stay_and_never_come_back() {
        let issuer = LocalTokens::new().expect("a key");
        let entry =
            |name: &str, uid: u32| CallerProofs { name: name.to_owned(), uids: vec![uid], ..CallerProofs::default() };
        let enroll = |entries: &[CallerProofs]| issuer.enroll(entries).0;
        let first = enroll(&[entry("a", 1), entry("b", 2)]);
        assert_ne!(first[0], first[1]);
        assert_eq!(enroll(&[entry("b", 2), entry("a", 1)]), [first[1], first[0]], "their places do not matter");
        let changed = enroll(&[entry("a", 3), entry("b", 2)]);
        assert!(changed[0] != first[0] && changed[1] == first[1], "another proof");
        let back = enroll(&[entry("a", 1), entry("b", 2)]);
        assert!(!first.contains(&back[0]) && back[0] != changed[0] && back[1] == first[1], "as it was before");
        assert_eq!(enroll(&[]), []);
        let all = enroll(&[entry("a", 1), entry("b", 2)]);
        assert!(all.iter().all(|mark| !first.contains(mark) && !back.contains(mark)), "all were removed");
    }

    fn keys(texts: &[&str]) -> Vec<hmac::Key> {
        texts.iter().map(|text| hmac::Key::new(hmac::HMAC_SHA256, text.as_bytes())).collect()
    }

    /// One of several replicas, started now.
    fn replica(texts: &[&str], now: Moment) -> LocalTokens {
        LocalTokens::shared(keys(texts), Arc::new(SteadyWall::new(now)))
    }

    #[test]
    fn issuer_with_shared_keys_takes_the_tokens_of_all_replicas_before_and_after_a_restart() {
        let now = Moment::now();
        let caller = CallerMark([7; MARK_BYTES]);
        let (one, other) = (replica(&["a"], now), replica(&["a"], now));
        let token = one.issue(caller, now).expect("a token");
        let later = |span| Moment { monotonic: now.monotonic, wall: now.wall + span };
        for span in [Duration::ZERO, LIFETIME - Duration::from_secs(1)] {
            assert_eq!(other.caller(token.as_bytes(), now + span), Some(caller));
            // Started again: its monotonic clock tells nothing of before.
            assert_eq!(replica(&["a"], later(span)).caller(token.as_bytes(), later(span)), Some(caller));
        }
        assert_eq!(other.caller(token.as_bytes(), now + LIFETIME), None);
        assert_eq!(other.hint(token.as_bytes(), now + LIFETIME), KeyHint::ExpiredToken);
        assert_eq!(replica(&["a"], later(LIFETIME)).caller(token.as_bytes(), later(LIFETIME)), None);
        assert_eq!(replica(&["b"], now).caller(token.as_bytes(), now), None, "another key");
        assert_eq!(LocalTokens::new().expect("a key").caller(token.as_bytes(), now), None, "a key of its own");
        let own = LocalTokens::new().expect("a key").issue(caller, now).expect("a token");
        assert_eq!(one.caller(own.as_bytes(), now), None);
    }

    #[test]
    fn issuer_keys_are_rotated_without_a_pause() {
        let now = Moment::now();
        let caller = CallerMark([7; MARK_BYTES]);
        let steps = [&["old"][..], &["old", "new"], &["new", "old"], &["new"]].map(|keys| replica(keys, now));
        for pair in steps.windows(2) {
            for (issuer, other) in [(&pair[0], &pair[1]), (&pair[1], &pair[0])] {
                let token = issuer.issue(caller, now).expect("a token");
                assert_eq!(other.caller(token.as_bytes(), now), Some(caller), "{issuer:?} {other:?}");
            }
        }
        let token = steps[0].issue(caller, now).expect("a token");
        assert_eq!(steps[3].caller(token.as_bytes(), now), None);
    }

    #[test]
    fn issuer_with_shared_keys_believes_no_expiry_that_no_replica_gives() {
        let now = Moment::now();
        let caller = CallerMark([7; MARK_BYTES]);
        let issuer = replica(&["a"], now);
        let ahead = |span| {
            let there = Moment { wall: now.wall + span, ..now };
            let token = replica(&["a"], there).issue(caller, there).expect("a token");
            issuer.caller(token.as_bytes(), now).is_some()
        };
        assert!(ahead(Duration::ZERO) && ahead(SKEW), "clocks differ a little");
        assert!(!ahead(SKEW + Duration::from_secs(1)) && !ahead(24 * LIFETIME));
    }

    #[test]
    fn issuer_with_shared_keys_revives_nothing_when_the_wall_clock_is_set_back() {
        let (start, caller) = (Moment::now(), CallerMark([7; MARK_BYTES]));
        let clock = Arc::new(SteadyWall::new(start));
        let issuer = || LocalTokens::shared(keys(&["a"]), Arc::clone(&clock));
        let token = issuer().issue(caller, start).expect("a token");
        let slept = Moment { wall: start.wall + LIFETIME, ..start };
        assert_eq!(issuer().caller(token.as_bytes(), slept), None);
        for hours in [1, 2, 24] {
            let set_back = Moment { wall: slept.wall - LIFETIME * hours, ..slept };
            // A listener that was removed and comes back has a new issuer.
            assert_eq!(issuer().caller(token.as_bytes(), set_back), None);
            let fresh = issuer().issue(caller, set_back).expect("a token");
            assert_eq!(issuer().caller(fresh.as_bytes(), set_back), Some(caller), "callers are served all the same");
            assert_eq!(issuer().caller(fresh.as_bytes(), set_back + LIFETIME), None);
        }
    }

    #[test]
    fn issuer_marks_with_shared_keys_are_those_of_the_configuration() {
        let (now, entry) = (Moment::now(), |name: &str, uid| CallerProofs {
            name: name.to_owned(),
            uids: vec![uid],
            ..CallerProofs::default()
        });
        let (one, other) = (replica(&["a"], now), replica(&["a"], now));
        let first = one.enroll(&[entry("a", 1), entry("b", 2)]).0;
        assert_ne!(first[0], first[1]);
        assert_eq!(other.enroll(&[entry("b", 2), entry("a", 1)]).0, [first[1], first[0]]);
        let changed = one.enroll(&[entry("a", 3)]).0;
        assert!(!first.contains(&changed[0]));
        assert_eq!(one.enroll(&[entry("a", 1)]).0, [first[0]], "who comes back as before has the tokens as before");
    }

    fn read(
        authorization: Option<&str>,
        target: &str,
        body: &str,
    ) -> (Option<String>, Option<String>, Option<String>, bool) {
        let lines = authorization.map(|value| (AUTHORIZATION, HeaderValue::from_str(value).expect("a value")));
        let headers = lines.into_iter().collect();
        let request = TokenRequest::read(&headers, &target.parse().expect("a target"), body.as_bytes());
        let supported = request.is_supported();
        (request.id, request.secret.map(|secret| secret.to_string()), request.scope, supported)
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn issuer_reads_credentials_from_form_basic_or_query() {
        let form = "grant_type=client_credentials&client_id=a+b&client_secret=c%26d&scope=monitoring+offline_access";
        let whole = (some("a b"), some("c&d"), some("monitoring offline_access"), true);
        assert_eq!(read(None, "/oauth/token", form), whole);
        assert_eq!(read(None, &format!("/oauth/token?{form}"), ""), whole);
        let basic = format!("Basic {}", STANDARD.encode("a+b:c%26d"));
        let rest = "grant_type=client_credentials&scope=monitoring+offline_access";
        assert_eq!(read(Some(&basic), "/oauth/token", rest), whole);
        assert_eq!(read(Some(&basic), "/oauth/token", &form.replace("a+b", "x")), whole);
        assert_eq!(read(None, "/oauth/token", ""), (None, None, None, true));
        assert!(!read(None, "/oauth/token", "grant_type=authorization_code&code=1").3);
        assert_eq!(read(Some("Basic !"), "/oauth/token", "client_id=a").0, some("a"));
    }
}
