//! Which caller a proof is of: a look-up costs the same however many callers there are.

use std::collections::HashMap;

use rustc_hash::FxHashMap;

use super::{CallerId, CallerMark, CallerProofs};
use crate::proxy::authn::key::KeyHash;

/// The ids of the callers of a listener, by their proofs.
#[derive(Debug, Default)]
pub(super) struct CallerIndex {
    // The time of a look-up tells nothing of a stored hash: where it looks is told by SipHash with random bytes of this
    // process, so that a sender cannot choose what its key is compared with, and hashes are compared in constant time.
    keys: HashMap<KeyHash, CallerId>,
    certificates: HashMap<KeyHash, CallerId>,
    // The system tells users and groups, and marks come out of what this proxy has sealed: nobody chooses them.
    uids: FxHashMap<u32, CallerId>,
    gids: FxHashMap<u32, CallerId>,
    marks: FxHashMap<CallerMark, CallerId>,
}

impl CallerIndex {
    /// Adds a caller. The configuration refuses proofs that two callers have; otherwise the first has them, and of keys
    /// the last.
    pub(super) fn add(&mut self, id: CallerId, proofs: &CallerProofs, mark: CallerMark) {
        let CallerProofs { name: _, key, uids, gids, certificate } = proofs;
        if let Some(key) = key {
            self.keys.insert(*key, id);
        }
        if let Some(certificate) = certificate {
            self.certificates.entry(*certificate).or_insert(id);
        }
        for (of_ids, ids) in [(&mut self.uids, uids), (&mut self.gids, gids)] {
            for number in ids {
                of_ids.entry(*number).or_insert(id);
            }
        }
        self.marks.entry(mark).or_insert(id);
    }

    /// Whose key has this hash.
    pub(super) fn of_key(&self, hash: KeyHash) -> Option<CallerId> {
        self.keys.get(&hash).copied()
    }

    /// Whose certificate has this fingerprint.
    pub(super) fn of_certificate(&self, fingerprint: KeyHash) -> Option<CallerId> {
        self.certificates.get(&fingerprint).copied()
    }

    /// Who runs as this user, or else in this group.
    pub(super) fn of_user(&self, uid: u32, gid: u32) -> Option<CallerId> {
        self.uids.get(&uid).or_else(|| self.gids.get(&gid)).copied()
    }

    /// Of whom a local token says this.
    pub(super) fn of_mark(&self, mark: CallerMark) -> Option<CallerId> {
        self.marks.get(&mark).copied()
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    use super::super::MARK_BYTES;
    use super::*;

    /// Of few values, so that callers often have the same.
    fn hash() -> impl Strategy<Value = KeyHash> {
        (0..12u8).prop_map(|number| KeyHash::of(&[number]))
    }

    fn proofs() -> impl Strategy<Value = CallerProofs> {
        let ids = || vec(0..12u32, 0..3);
        let all = ("[a-c]", option::of(hash()), option::of(hash()), ids(), ids());
        all.prop_map(|(name, key, certificate, uids, gids)| CallerProofs { name, key, uids, gids, certificate })
    }

    /// The callers of whom this holds, by looking at one after the other.
    fn all_of<T>(callers: &[T], holds: impl Fn(&T) -> bool) -> Vec<CallerId> {
        (0..).zip(callers).filter(|(_, caller)| holds(caller)).map(|(id, _)| CallerId(id)).collect()
    }

    proptest! {
        #[test]
        fn caller_index_finds_whom_a_comparison_with_one_after_the_other_finds(callers in vec(proofs(), 0..24)) {
            let marks: Vec<_> = callers.iter().map(CallerMark::of).collect();
            let mut index = CallerIndex::default();
            for ((id, caller), mark) in (0..).zip(&callers).zip(&marks) {
                index.add(CallerId(id), caller, *mark);
            }
            for number in 0..14u8 {
                let hash = KeyHash::of(&[number]);
                let keys = all_of(&callers, |caller| caller.key.is_some_and(|key| key.bytes() == hash.bytes()));
                prop_assert_eq!(index.of_key(hash), keys.last().copied());
                let has = |caller: &CallerProofs| caller.certificate.is_some_and(|own| own.bytes() == hash.bytes());
                prop_assert_eq!(index.of_certificate(hash), all_of(&callers, has).first().copied());
                let uid = u32::from(number);
                let of_uid = all_of(&callers, |caller| caller.uids.contains(&uid));
                for gid in 0..14 {
                    let of_gid = all_of(&callers, |caller| caller.gids.contains(&gid));
                    prop_assert_eq!(index.of_user(uid, gid), of_uid.first().or(of_gid.first()).copied());
                }
            }
            for mark in &marks {
                prop_assert_eq!(index.of_mark(*mark), all_of(&marks, |own| own == mark).first().copied());
            }
            prop_assert_eq!(index.of_mark(CallerMark([0; MARK_BYTES])), None);
        }

        #[test]
        fn caller_index_takes_a_key_for_no_other_that_differs_in_a_bit(
            keys in vec(any::<[u8; 8]>(), 1..50),
            place in any::<prop::sample::Index>(),
            bit in 0..64usize,
        ) {
            let mut index = CallerIndex::default();
            for (id, key) in (0..).zip(&keys) {
                let caller = CallerProofs { key: Some(KeyHash::of(key)), ..CallerProofs::default() };
                index.add(CallerId(id), &caller, CallerMark::of(&caller));
            }
            let mut wrong = *place.get(&keys);
            wrong[bit / 8] ^= 1 << (bit % 8);
            let expected = all_of(&keys, |key| *key == wrong).last().copied();
            prop_assert_eq!(index.of_key(KeyHash::of(&wrong)), expected);
        }
    }
}
