//! The callers of a listener, and how each proves who it is: by a key, by its user on this machine, by a certificate.

mod caller_index;

use std::sync::Arc;
use std::time::Duration;

use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use tokio::time::Instant;

use super::key::KeyHash;
use super::local_tokens::CallerMarks;
use super::throttle::{SharedThrottle, Throttle};
use caller_index::CallerIndex;

/// A place in the roster of a listener; the only one of a listener without callers is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallerId(pub u16);

impl CallerId {
    const ANONYMOUS: Self = Self(0);

    /// The position in the list.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// The bytes of a [`CallerMark`].
pub(super) const MARK_BYTES: usize = 16;

/// What a local token says of its caller: a digest of its name and all its proofs. Places in the roster change with the
/// configuration; and who has lost a key must not go on with a token that was given for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct CallerMark(pub(super) [u8; MARK_BYTES]);

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

impl CallerMark {
    /// Each part comes with its length or count, so that no two entries are written in the same way.
    pub(super) fn of(CallerProofs { name, key, uids, gids, certificate }: &CallerProofs) -> Self {
        let mut text = Vec::with_capacity(128);
        text.extend_from_slice(&(name.len() as u64).to_be_bytes());
        text.extend_from_slice(name.as_bytes());
        for hash in [key, certificate] {
            text.push(u8::from(hash.is_some()));
            text.extend_from_slice(&hash.map_or([0; SHA256_OUTPUT_LEN], KeyHash::bytes));
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
        let mut mark = [0; MARK_BYTES];
        mark.iter_mut().zip(digest(&SHA256, text).as_ref()).for_each(|(byte, digested)| *byte = *digested);
        Self(mark)
    }
}

/// Who may call a listener. `C` is what each of them has there.
#[derive(Debug)]
pub enum Callers<C = ()> {
    /// Callers are not told apart: everybody who reaches the listener is this one.
    Anonymous(C),
    /// Each proves who it is.
    Known(KnownCallers<C>),
}

/// The callers of a listener that are told apart.
#[derive(Debug)]
pub struct KnownCallers<C> {
    /// By id.
    entries: Vec<KnownCaller<C>>,
    index: Box<CallerIndex>,
    throttle: Throttle,
}

#[derive(Debug)]
struct KnownCaller<C> {
    name: String,
    mark: CallerMark,
    context: C,
}

/// Whose request it is.
#[derive(Debug)]
pub struct ProofIdentity<'a, C> {
    /// Its number among the callers.
    pub id: CallerId,
    /// Its name; the anonymous caller has none.
    pub name: Option<&'a str>,
    /// What it has on this listener.
    pub context: &'a C,
    mark: Option<CallerMark>,
}

impl<C> Clone for ProofIdentity<'_, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C> Copy for ProofIdentity<'_, C> {}

impl<C> ProofIdentity<'_, C> {
    /// What a connection that it has opened remembers of it.
    pub fn proof(&self) -> Option<[u8; MARK_BYTES]> {
        self.mark.map(|mark| mark.0)
    }

    /// What a local token says of it; the anonymous caller's says nothing.
    pub(super) fn mark(&self) -> Option<CallerMark> {
        self.mark
    }
}

impl Callers {
    /// The callers in the order of their ids, of a configuration that is never replaced by another.
    pub fn new(entries: Vec<CallerProofs>) -> Self {
        if entries.is_empty() {
            return Self::Anonymous(());
        }
        let marks = CallerMarks(entries.iter().map(CallerMark::of).collect());
        Self::Known(KnownCallers::new(entries.into_iter().map(|entry| (entry, ())), marks))
    }
}

impl<C> Callers<C> {
    /// Whether callers need not prove anything, because they are not told apart.
    pub fn is_anonymous(&self) -> bool {
        match self {
            Self::Anonymous(_) => true,
            Self::Known(_) => false,
        }
    }

    /// The caller with this number.
    pub fn get(&self, id: CallerId) -> Option<ProofIdentity<'_, C>> {
        match self {
            Self::Anonymous(context) => (id == CallerId::ANONYMOUS).then(|| ProofIdentity::anonymous(context)),
            Self::Known(known) => known.get(id),
        }
    }
}

impl<'a, C> ProofIdentity<'a, C> {
    pub(super) fn anonymous(context: &'a C) -> Self {
        Self { id: CallerId::ANONYMOUS, name: None, context, mark: None }
    }
}

impl<C> KnownCallers<C> {
    /// The callers in the order of their ids, with what their issuer's tokens say of each.
    pub fn new(entries: impl IntoIterator<Item = (CallerProofs, C)>, CallerMarks(marks): CallerMarks) -> Self {
        let mut known = Self { entries: Vec::new(), index: Box::default(), throttle: Throttle::default() };
        for (((proofs, context), mark), id) in entries.into_iter().zip(marks).zip(0..=u16::MAX) {
            known.index.add(CallerId(id), &proofs, mark);
            known.entries.push(KnownCaller { name: proofs.name, mark, context });
        }
        known
    }

    /// The same, whose wrong keys all replicas count together, if `shared` is given.
    #[must_use]
    pub fn throttled_by(self, shared: Option<Arc<SharedThrottle>>) -> Self {
        Self { throttle: Throttle::sharing(shared), ..self }
    }

    /// The caller that a local token says this of.
    pub(super) fn of_mark(&self, mark: CallerMark) -> Option<ProofIdentity<'_, C>> {
        self.get(self.index.of_mark(mark)?)
    }

    /// Whose key this is.
    pub(super) fn of_key(&self, key: &[u8]) -> Option<ProofIdentity<'_, C>> {
        self.get(self.index.of_key(KeyHash::of(key))?)
    }

    /// Who runs as this user on this machine.
    pub(super) fn of_user(&self, uid: u32, gid: u32) -> Option<ProofIdentity<'_, C>> {
        self.get(self.index.of_user(uid, gid)?)
    }

    /// Whose certificate has this fingerprint.
    pub(super) fn of_certificate(&self, fingerprint: KeyHash) -> Option<ProofIdentity<'_, C>> {
        self.get(self.index.of_certificate(fingerprint)?)
    }

    fn get(&self, id: CallerId) -> Option<ProofIdentity<'_, C>> {
        let KnownCaller { name, mark, context } = self.entries.get(id.index())?;
        Some(ProofIdentity { id, name: Some(name), context, mark: Some(*mark) })
    }

    /// Whether one more wrong key is answered as such; otherwise how long to wait.
    pub(super) fn tolerates(&self, now: Instant) -> Result<(), Duration> {
        self.throttle.take(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proofs() -> Vec<CallerProofs> {
        let key = |text: &str| Some(KeyHash::of(text.as_bytes()));
        vec![
            CallerProofs { name: "reports".into(), key: key("one"), uids: vec![1000], ..CallerProofs::default() },
            CallerProofs {
                name: "desk".into(),
                key: key("two"),
                gids: vec![7],
                certificate: key("der"),
                ..CallerProofs::default()
            },
        ]
    }

    fn known(entries: Vec<CallerProofs>) -> KnownCallers<()> {
        let marks = CallerMarks(entries.iter().map(CallerMark::of).collect());
        KnownCallers::new(entries.into_iter().map(|entry| (entry, ())), marks)
    }

    fn id(found: Option<ProofIdentity<'_, ()>>) -> Option<CallerId> {
        found.map(|found| found.id)
    }

    #[test]
    fn callers_are_known_by_key_user_group_and_certificate() {
        let callers = known(proofs());
        assert_eq!((id(callers.of_key(b"one")), id(callers.of_key(b"two"))), (Some(CallerId(0)), Some(CallerId(1))));
        for wrong in ["", "on", "onee", "One", "sha256:"] {
            assert_eq!(id(callers.of_key(wrong.as_bytes())), None, "{wrong}");
        }
        let of_user = |uid, gid| id(callers.of_user(uid, gid));
        assert_eq!((of_user(1000, 1000), of_user(0, 7)), (Some(CallerId(0)), Some(CallerId(1))));
        assert_eq!((of_user(0, 0), of_user(7, 1000)), (None, None));
        assert_eq!(id(callers.of_certificate(KeyHash::of(b"der"))), Some(CallerId(1)));
        assert_eq!(id(callers.of_certificate(KeyHash::of(b"two"))), None, "a key's hash is not a fingerprint");
    }

    #[test]
    fn caller_marks_stay_with_a_caller_that_moves_and_not_with_one_whose_proofs_change() {
        let (old, entries) = (known(proofs()), proofs());
        let mark = old.get(CallerId(1)).and_then(|found| found.mark()).expect("a mark");
        let newcomer = CallerProofs { name: "a".into(), ..CallerProofs::default() };
        let later = known([vec![newcomer], entries.clone()].concat());
        assert_eq!((id(old.of_mark(mark)), id(later.of_mark(mark))), (Some(CallerId(1)), Some(CallerId(2))));
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
            assert_eq!(id(known(entries).of_mark(mark)), None, "change {number}");
        }
    }

    #[test]
    fn callers_tolerate_wrong_keys_for_a_while_and_then_one_a_second() {
        let (callers, start) = (known(proofs()), Instant::now());
        let tolerated = |now| (0..100).filter(|_| callers.tolerates(now).is_ok()).count();
        assert_eq!(tolerated(start), 20);
        assert!(callers.tolerates(start).is_err_and(|wait| wait <= Duration::from_secs(1) && !wait.is_zero()));
        assert_eq!(tolerated(start + Duration::from_secs(3)), 3);
        assert_eq!(tolerated(start + Duration::from_secs(3600)), 20);
    }
}
