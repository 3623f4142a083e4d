//! The callers of a listener, and how each proves who it is: by a key, by its user on this machine, by a certificate.

use std::cell::Cell;
use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use subtle::ConstantTimeEq;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::key_hint::KeyHint;
use super::local_tokens::CallerMarks;

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// What every key begins with, so that one is recognized where it must not be.
const KEY_MARK: &str = "npk_";
/// The random bytes of a key.
const KEY_OCTETS: usize = 32;
/// Keys that are tried before others.
const GUESSED: [&str; 24] = [
    "", "12345678", "123456", "1234", "abc123", "admin", "api-key", "apikey", "changeme", "default", "dummy",
    "example", "key", "letmein", "ninjaone", "none", "null", "npk_", "password", "qwerty", "root", "secret", "test",
    "token",
];
/// How many wrong keys are answered at once, and the time after which one more is.
const WRONG_KEYS: (u32, Duration) = (20, Duration::from_secs(1));

/// A place in the roster of a listener; the only one of a listener without callers is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallerId(pub u16);

/// The bytes of a [`CallerMark`].
pub(super) const MARK_OCTETS: usize = 16;

/// What a local token says of its caller: a digest of its name and all its proofs. Places in the roster change with the
/// configuration; and who has lost a key must not go on with a token that was given for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct CallerMark(pub(super) [u8; MARK_OCTETS]);

/// The SHA-256 of a key: what the configuration holds. It cannot be turned back, a key has 256 random bits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyHash([u8; SHA256_OUTPUT_LEN]);

/// A key that was just made.
pub struct NewKey(Zeroizing<String>);

/// Why a text is no hash of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "it is no hash of a key: \"ninjaone-proxy key new NAME\" makes a key and the line for this file, which begins with sha256:"
)]
pub struct BadKeyHash;

/// A caller as configured: each of the proofs is enough.
#[derive(Debug, Clone, Default)]
pub struct CallerProofs {
    /// The caller's name.
    pub name: String,
    /// Of its key.
    pub key: Option<KeyHash>,
    /// User ids, on a Unix socket.
    pub uids: Vec<u32>,
    /// Group ids, on a Unix socket.
    pub gids: Vec<u32>,
    /// SHA-256 fingerprint of its client certificate.
    pub certificate: Option<KeyHash>,
}

/// All callers of a listener.
#[derive(Debug)]
pub struct Callers {
    entries: Vec<CallerProofs>,
    /// By [`CallerId`].
    marks: Vec<CallerMark>,
    throttle: Throttle,
}

/// What a request presents as proof.
#[derive(Debug)]
pub(super) enum PresentedProof {
    /// Nothing.
    Nothing,
    /// One key or local token.
    Key(Zeroizing<Vec<u8>>),
    /// Something that cannot be read, or several things: what is wrong with it.
    Unreadable(KeyHint),
}

impl KeyHash {
    /// The hash of a key, or of a certificate in DER.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hash = [0; SHA256_OUTPUT_LEN];
        hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
        Self(hash)
    }

    /// Whether it is that of one of the first keys that somebody tries for a caller of this name.
    pub fn is_guessed(self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        let is = |text: &str| Self::of(text.as_bytes()) == self;
        // A hash of a line has the line feed in it.
        GUESSED.into_iter().chain([&*name]).any(|word| is(word) || is(&word.to_uppercase()) || is(&format!("{word}\n")))
    }

    /// The hash that was made elsewhere: a certificate's fingerprint.
    pub fn of_fingerprint(fingerprint: [u8; SHA256_OUTPUT_LEN]) -> Self {
        Self(fingerprint)
    }

    /// Reads `sha256:` and 64 hexadecimal digits.
    pub fn parse(text: &str) -> Result<Self, BadKeyHash> {
        let digits = text.strip_prefix("sha256:").filter(|digits| digits.len() == 2 * SHA256_OUTPUT_LEN);
        let digits = digits.ok_or(BadKeyHash)?.as_bytes();
        let mut hash = [0; SHA256_OUTPUT_LEN];
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| BadKeyHash)?;
            if pair.starts_with('+') {
                return Err(BadKeyHash);
            }
            *byte = u8::from_str_radix(pair, 16).map_err(|_| BadKeyHash)?;
        }
        Ok(Self(hash))
    }
}

impl CallerMark {
    /// Each part is told with its length or count, so that no two entries are written in the same way.
    pub(super) fn of(CallerProofs { name, key, uids, gids, certificate }: &CallerProofs) -> Self {
        let mut text = Vec::with_capacity(128);
        text.extend_from_slice(&(name.len() as u64).to_be_bytes());
        text.extend_from_slice(name.as_bytes());
        for hash in [key, certificate] {
            text.push(u8::from(hash.is_some()));
            text.extend_from_slice(&hash.map_or([0; SHA256_OUTPUT_LEN], |KeyHash(hash)| hash));
        }
        for ids in [uids, gids] {
            text.extend_from_slice(&(ids.len() as u64).to_be_bytes());
            ids.iter().for_each(|id| text.extend_from_slice(&id.to_be_bytes()));
        }
        Self::digested(&text)
    }

    /// Of a caller that is configured like this, from the time on when it was enrolled as number `count`.
    pub(super) fn of_turn(self, count: u64) -> Self {
        Self::digested(&[&self.0[..], &count.to_be_bytes()].concat())
    }

    fn digested(text: &[u8]) -> Self {
        let mut mark = [0; MARK_OCTETS];
        mark.iter_mut().zip(digest(&SHA256, text).as_ref()).for_each(|(byte, digested)| *byte = *digested);
        Self(mark)
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl NewKey {
    /// Makes a key. Fails if the system gives no randomness.
    pub fn make() -> Result<Self, getrandom::Error> {
        let mut bytes = Zeroizing::new([0; KEY_OCTETS]);
        getrandom::fill(bytes.as_mut_slice())?;
        let mut key = Zeroizing::new(String::with_capacity(64));
        key.push_str(KEY_MARK);
        URL_SAFE_NO_PAD.encode_string(bytes.as_slice(), &mut key);
        Ok(Self(key))
    }

    /// The key itself: for the one line that shows it to the person who asked for it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What the configuration needs to know of it.
    pub fn hash(&self) -> KeyHash {
        KeyHash::of(self.0.as_bytes())
    }
}

impl Callers {
    /// The callers in the order of their ids, of a configuration that is never replaced by another.
    pub fn new(entries: Vec<CallerProofs>) -> Self {
        let marks = CallerMarks(entries.iter().map(CallerMark::of).collect());
        Self::enrolled(entries, marks)
    }

    /// The callers in the order of their ids, with what their issuer's tokens say of each.
    pub fn enrolled(entries: Vec<CallerProofs>, CallerMarks(marks): CallerMarks) -> Self {
        Self { entries, marks, throttle: Throttle(Cell::new(None)) }
    }

    /// Whether callers need not prove anything, because there are none to be told apart.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The name of a caller.
    pub fn name(&self, CallerId(id): CallerId) -> Option<&str> {
        self.entries.get(usize::from(id)).map(|entry| entry.name.as_str())
    }

    /// The caller with this name.
    pub fn named(&self, name: &str) -> Option<CallerId> {
        self.find(|entry| entry.name == name)
    }

    /// What a local token says of this caller.
    pub(super) fn mark(&self, CallerId(id): CallerId) -> Option<CallerMark> {
        self.marks.get(usize::from(id)).copied()
    }

    /// The caller that a local token says this of.
    pub(super) fn of_mark(&self, mark: CallerMark) -> Option<CallerId> {
        self.marks.iter().zip(0..).find(|(own, _)| **own == mark).map(|(_, id)| CallerId(id))
    }

    /// Whose key this is. All hashes are compared, each in constant time.
    pub(super) fn of_key(&self, key: &[u8]) -> Option<CallerId> {
        let hash = KeyHash::of(key);
        let same = |entry: &CallerProofs| entry.key.is_some_and(|own| own.0.ct_eq(&hash.0).into());
        self.entries
            .iter()
            .zip(0..)
            .fold(None, |found, (entry, id)| if same(entry) { Some(CallerId(id)) } else { found })
    }

    /// Who runs as this user on this machine.
    pub(super) fn of_user(&self, uid: u32, gid: u32) -> Option<CallerId> {
        self.find(|entry| entry.uids.contains(&uid)).or_else(|| self.find(|entry| entry.gids.contains(&gid)))
    }

    /// Whose certificate has this fingerprint.
    pub(super) fn of_certificate(&self, fingerprint: KeyHash) -> Option<CallerId> {
        self.find(|entry| entry.certificate == Some(fingerprint))
    }

    fn find(&self, is: impl Fn(&CallerProofs) -> bool) -> Option<CallerId> {
        self.entries.iter().zip(0..).find(|(entry, _)| is(entry)).map(|(_, id)| CallerId(id))
    }

    /// Whether one more wrong key is answered as such; otherwise how long to wait.
    pub(super) fn tolerates(&self, now: Instant) -> Result<(), Duration> {
        self.throttle.take(now)
    }
}

/// Wrong keys are answered for a while, and then a few at a time: whoever tries many is told to wait, others are not
/// touched, and nothing is kept of any of them.
#[derive(Debug)]
struct Throttle(Cell<Option<Instant>>);

impl Throttle {
    fn take(&self, now: Instant) -> Result<(), Duration> {
        let (burst, period) = WRONG_KEYS;
        let from = self.0.get().unwrap_or(now).max(now);
        let wait = (from + period).saturating_duration_since(now + period * burst);
        if wait.is_zero() {
            self.0.set(Some(from + period));
            return Ok(());
        }
        Err(wait)
    }
}

impl PresentedProof {
    /// What is presented by `X-Api-Key`, or else by `Authorization`.
    pub(super) fn read(headers: &HeaderMap) -> Self {
        match (only(headers, &X_API_KEY), only(headers, &AUTHORIZATION)) {
            (SingleCaller::One(key), _) => Self::Key(Zeroizing::new(key.as_bytes().trim_ascii().to_vec())),
            (SingleCaller::None, SingleCaller::One(value)) => Self::of_authorization(value.as_bytes()),
            (SingleCaller::None, SingleCaller::None) => Self::Nothing,
            (SingleCaller::Many, _) | (SingleCaller::None, SingleCaller::Many) => Self::Unreadable(KeyHint::Several),
        }
    }

    fn of_authorization(value: &[u8]) -> Self {
        let Some(space) = value.iter().position(|&byte| byte == b' ') else {
            return Self::Unreadable(KeyHint::without_scheme(value));
        };
        let (scheme, rest) = value.split_at(space);
        let rest = rest.trim_ascii();
        if scheme.eq_ignore_ascii_case(b"Bearer") {
            return Self::Key(Zeroizing::new(rest.to_vec()));
        }
        match scheme.eq_ignore_ascii_case(b"Basic").then(|| password(rest)).flatten() {
            Some(password) => Self::Key(password),
            None => Self::Unreadable(KeyHint::OtherScheme),
        }
    }
}

/// The password of HTTP Basic; any user name goes with it.
fn password(encoded: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let pair = Zeroizing::new(STANDARD.decode(encoded).ok()?);
    let colon = pair.iter().position(|&byte| byte == b':')?;
    pair.get(colon + 1..).map(|password| Zeroizing::new(password.to_vec()))
}

enum SingleCaller<'a> {
    None,
    One(&'a HeaderValue),
    Many,
}

fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> SingleCaller<'a> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => SingleCaller::None,
        (Some(value), None) => SingleCaller::One(value),
        (Some(_), Some(_)) => SingleCaller::Many,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roster() -> Callers {
        let key = |text: &str| Some(KeyHash::of(text.as_bytes()));
        Callers::new(vec![
            CallerProofs { name: "reports".into(), key: key("one"), uids: vec![1000], ..CallerProofs::default() },
            CallerProofs {
                name: "desk".into(),
                key: key("two"),
                gids: vec![7],
                certificate: key("der"),
                ..CallerProofs::default()
            },
        ])
    }

    #[test]
    fn roster_knows_callers_by_key_user_group_and_certificate() {
        let roster = roster();
        assert_eq!((roster.of_key(b"one"), roster.of_key(b"two")), (Some(CallerId(0)), Some(CallerId(1))));
        for wrong in ["", "on", "onee", "One", "sha256:"] {
            assert_eq!(roster.of_key(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!((roster.of_user(1000, 1000), roster.of_user(0, 7)), (Some(CallerId(0)), Some(CallerId(1))));
        assert_eq!((roster.of_user(0, 0), roster.of_user(7, 1000)), (None, None));
        assert_eq!(roster.of_certificate(KeyHash::of(b"der")), Some(CallerId(1)));
        assert_eq!(roster.of_certificate(KeyHash::of(b"two")), None, "a key's hash is no fingerprint");
    }

    #[test]
    fn roster_mark_stays_with_a_caller_that_moves_and_not_with_one_whose_proofs_change() {
        let (old, entries) = (roster(), roster().entries);
        let mark = old.mark(CallerId(1)).expect("a mark");
        let newcomer = CallerProofs { name: "a".into(), ..CallerProofs::default() };
        let later = Callers::new([vec![newcomer], entries.clone()].concat());
        assert_eq!((old.of_mark(mark), later.of_mark(mark)), (Some(CallerId(1)), Some(CallerId(2))));
        let changes: [fn(&mut CallerProofs); 5] = [
            |entry| entry.name.push('x'),
            |entry| entry.key = None,
            |entry| entry.certificate = entry.key,
            |entry| entry.uids = std::mem::take(&mut entry.gids),
            |entry| entry.gids.push(8),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let mut entries = entries.clone();
            change(&mut entries[1]);
            assert_eq!(Callers::new(entries).of_mark(mark), None, "change {number}");
        }
    }

    #[test]
    fn roster_key_hash_is_read_as_it_is_printed() {
        let hash = KeyHash::of(b"one");
        assert_eq!(KeyHash::parse(&hash.to_string()), Ok(hash));
        let short = hash.to_string().replace("sha256:", "sha256:0");
        for bad in
            ["", "one", "sha256:", "sha256:12", &hash.to_string()[7..], &short, &format!("sha256:{}", "+1".repeat(32))]
        {
            assert_eq!(KeyHash::parse(bad), Err(BadKeyHash), "{bad}");
        }
    }

    #[test]
    fn roster_knows_the_hashes_of_keys_that_are_tried_first() {
        for key in ["", "password", "PASSWORD", "changeme", "changeme\n", "reports", "REPORTS"] {
            assert!(KeyHash::of(key.as_bytes()).is_guessed("Reports"), "{key:?}");
        }
        let made = NewKey::make().expect("a key").hash();
        assert!(!made.is_guessed("reports") && !KeyHash::of(b"reports-key").is_guessed("reports"));
    }

    #[test]
    fn roster_new_keys_differ_and_fit_their_hash() {
        let (one, other) = (NewKey::make().expect("a key"), NewKey::make().expect("a key"));
        assert!(one.expose().starts_with(KEY_MARK) && one.expose().len() == 4 + 43 && one.expose() != other.expose());
        assert_eq!(one.hash(), KeyHash::of(one.expose().as_bytes()));
    }

    fn presented(lines: &[(HeaderName, &str)]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name, HeaderValue::from_str(value).expect("a value"));
        }
        match PresentedProof::read(&headers) {
            PresentedProof::Key(key) => Some(String::from_utf8(key.to_vec()).expect("text")),
            PresentedProof::Nothing => Some("nothing".to_owned()),
            PresentedProof::Unreadable(_) => None,
        }
    }

    #[test]
    fn roster_reads_a_key_from_bearer_basic_or_x_api_key() {
        let basic = format!("basic {}", STANDARD.encode("anybody:a:b"));
        let said = |name: HeaderName, value: &str| presented(&[(name, value)]);
        assert_eq!(said(AUTHORIZATION, "Bearer one").as_deref(), Some("one"));
        assert_eq!(said(AUTHORIZATION, "bearer   one ").as_deref(), Some("one"));
        assert_eq!(said(AUTHORIZATION, &basic).as_deref(), Some("a:b"));
        assert_eq!(said(X_API_KEY, "one").as_deref(), Some("one"));
        assert_eq!(presented(&[(X_API_KEY, "one"), (AUTHORIZATION, "Bearer two")]).as_deref(), Some("one"));
        assert_eq!(presented(&[]).as_deref(), Some("nothing"));
        for bad in ["one", "Digest x", "Basic !!", "Basic ", &format!("Basic {}", STANDARD.encode("no colon"))] {
            assert_eq!(said(AUTHORIZATION, bad), None, "{bad}");
        }
        assert_eq!(presented(&[(AUTHORIZATION, "Bearer one"), (AUTHORIZATION, "Bearer one")]), None);
        assert_eq!(presented(&[(X_API_KEY, "one"), (X_API_KEY, "two")]), None);
    }

    #[test]
    fn roster_tolerates_wrong_keys_for_a_while_and_then_one_a_second() {
        let (roster, start) = (roster(), Instant::now());
        let tolerated = |now| (0..100).filter(|_| roster.tolerates(now).is_ok()).count();
        assert_eq!(tolerated(start), 20);
        assert!(roster.tolerates(start).is_err_and(|wait| wait <= Duration::from_secs(1) && !wait.is_zero()));
        assert_eq!(tolerated(start + Duration::from_secs(3)), 3);
        assert_eq!(tolerated(start + Duration::from_secs(3600)), 20);
    }
}
