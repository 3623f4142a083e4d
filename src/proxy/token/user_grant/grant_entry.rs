//! A person's grant as replicas share it: what is sealed, and how one entry follows another.
//!
//! Each change counts up, so that nobody mistakes an older entry for a newer one: not a replica that was paused, and not a
//! store whose primary was replaced by a copy that lacks the last writes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::grant_file::{GrantOwner, MAX_TIME, StoredGrant};
use crate::base::secret::Secret;

/// The form of an entry.
const FORMAT: u32 = 1;

/// The place of an entry among all that there were: the time of the sign-in or sign-out in milliseconds, and the changes
/// since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation {
    /// Later with each sign-in and sign-out.
    pub sign_in: u64,
    /// Counts the changes of this sign-in.
    pub step: u64,
}

/// A person's grant, and what replicas must know of it.
#[derive(Debug, Clone)]
pub struct GrantEntry {
    /// Which of all entries it is.
    pub generation: Generation,
    /// `None`: the person has signed out.
    pub grant: Option<StoredGrant>,
    /// Whether the server gave another refresh token when the last one was used; `None` before the first use.
    pub rotates: Option<bool>,
    /// The replica that uses the refresh token: until it says what came of that, nobody else knows whether it is good.
    pub intent: Option<String>,
    /// A replica ended while it used the token of a server that rotates.
    pub is_torn: bool,
}

/// What is to be done with an entry by who holds the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Nobody has signed in.
    SignIn,
    /// The grant is over.
    Ended,
    /// The same, because a replica ended while it renewed the grant.
    Torn,
    /// The token can be used.
    Renew,
    /// Another replica began to use it, and holds the lease no more: whether it is good is not known.
    Doubt,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Content {
    format: u32,
    user: String,
    host: String,
    client_id: String,
    generation: [u64; 2],
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rotates: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    intent: Option<String>,
    is_torn: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    grant: Option<GrantContent>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct GrantContent {
    sign_in: String,
    scopes: String,
    signed_in: u64,
    renewed: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ended: Option<u64>,
    refresh_token: Zeroizing<String>,
}

impl Generation {
    /// That of a sign-in or sign-out now, after this one.
    pub(super) fn next_sign_in(before: Option<Self>) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let least = before.map_or(0, |before| before.sign_in + 1);
        // Lua's numbers are exact up to there.
        let now = u64::try_from(now).unwrap_or(0).min(1 << 52);
        Self { sign_in: now.max(least), step: 0 }
    }

    fn later(self, steps: u64) -> Self {
        Self { step: self.step + steps, ..self }
    }
}

impl GrantEntry {
    /// That of a person who has just signed in, or out.
    pub(super) fn changed_hands(before: Option<&Self>, grant: Option<StoredGrant>) -> Self {
        let generation = Generation::next_sign_in(before.map(|before| before.generation));
        let rotates = before.and_then(|before| before.rotates);
        Self { generation, grant, rotates, intent: None, is_torn: false }
    }

    /// What is to be done.
    pub(super) fn step(&self) -> Step {
        match &self.grant {
            None => Step::SignIn,
            Some(_) if self.is_torn => Step::Torn,
            Some(grant) if grant.ended.is_some() => Step::Ended,
            Some(_) if self.intent.is_some() && self.rotates == Some(true) => Step::Doubt,
            Some(_) => Step::Renew,
        }
    }

    /// This replica uses the token from now on.
    pub(super) fn intended(&self, replica: &str) -> Self {
        let generation = self.generation.later(1);
        Self { generation, intent: Some(replica.to_owned()), ..self.clone() }
    }

    /// Nobody knows what came of it, and nobody uses the token again. What the replica says that used it, if it was only
    /// cut off, is later than this.
    pub(super) fn torn(&self) -> Self {
        let grant = self.grant.clone().map(|grant| StoredGrant { ended: Some(SystemTime::now()), ..grant });
        Self { generation: self.generation.later(1), grant, intent: None, is_torn: true, ..self.clone() }
    }

    /// What came of an intent: the grant as it is now.
    pub(super) fn concluded(&self, grant: StoredGrant, rotates: Option<bool>) -> Self {
        let rotates = rotates.or(self.rotates);
        Self { generation: self.generation.later(2), grant: Some(grant), rotates, intent: None, is_torn: false }
    }

    /// As bytes that are sealed next, and overwritten after that.
    pub(super) fn written(&self, owner: &GrantOwner) -> Option<Zeroizing<Vec<u8>>> {
        let GrantOwner { user, host, client_id } = owner.clone();
        let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let grant = self.grant.as_ref().map(|grant| GrantContent {
            sign_in: grant.sign_in.clone(),
            scopes: grant.scopes.clone(),
            signed_in: seconds(grant.signed_in),
            renewed: seconds(grant.renewed),
            ended: grant.ended.map(seconds),
            refresh_token: grant.refresh_token.expose(),
        });
        let Generation { sign_in, step } = self.generation;
        let room = grant.as_ref().map_or(0, |grant| grant.refresh_token.len() * 6 + grant.scopes.len() * 6) + 4096;
        let content = Content {
            format: FORMAT,
            user,
            host,
            client_id,
            generation: [sign_in, step],
            rotates: self.rotates,
            intent: self.intent.clone(),
            is_torn: self.is_torn,
            grant,
        };
        // Room for all of it at once, so that no outgrown piece of the token is left in memory.
        let mut bytes = Zeroizing::new(Vec::with_capacity(room));
        serde_json::to_writer(&mut *bytes, &content).ok()?;
        Some(bytes)
    }

    /// What was written, if it is this owner's.
    pub(super) fn read(bytes: &[u8], owner: &GrantOwner) -> Option<Self> {
        let content: Content = serde_json::from_slice(bytes).ok()?;
        let Content { format, user, host, client_id, generation: [sign_in, step], rotates, intent, is_torn, grant } =
            content;
        if format != FORMAT || (GrantOwner { user, host, client_id }) != *owner {
            return None;
        }
        let at = |seconds: u64| (seconds <= MAX_TIME).then(|| UNIX_EPOCH + Duration::from_secs(seconds));
        let read = |content: GrantContent| {
            let ended = match content.ended {
                Some(ended) => Some(at(ended)?),
                None => None,
            };
            Some(StoredGrant {
                sign_in: content.sign_in,
                scopes: content.scopes,
                signed_in: at(content.signed_in)?,
                renewed: at(content.renewed)?,
                ended,
                refresh_token: Secret::new(content.refresh_token.to_string()),
            })
        };
        let grant = match grant {
            Some(grant) => Some(read(grant)?),
            None => None,
        };
        Some(Self { generation: Generation { sign_in, step }, grant, rotates, intent, is_torn })
    }
}

#[cfg(test)]
mod model;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn owner() -> GrantOwner {
        let [user, host, client_id] = ["technician", "eu.ninjarmm.com", "a/b"].map(str::to_owned);
        GrantOwner { user, host, client_id }
    }

    fn grant(token: &str) -> StoredGrant {
        StoredGrant::new(Secret::new(token.to_owned()), "monitoring offline_access".to_owned())
    }

    #[test]
    fn grant_entries_are_read_as_they_were_written_and_by_their_owner_only() {
        let entry = GrantEntry { rotates: Some(true), ..GrantEntry::changed_hands(None, Some(grant("one"))) };
        let entry = entry.intended("0123456789abcdef");
        let bytes = entry.written(&owner()).expect("bytes");
        let read = GrantEntry::read(&bytes, &owner()).expect("an entry");
        assert_eq!((read.generation, read.rotates, read.intent), (entry.generation, Some(true), entry.intent));
        assert_eq!(*read.grant.expect("a grant").refresh_token.expose(), "one");
        assert!(GrantEntry::read(&bytes, &GrantOwner { user: "other".to_owned(), ..owner() }).is_none());
        let out = GrantEntry::changed_hands(None, None);
        let read = GrantEntry::read(&out.written(&owner()).expect("bytes"), &owner()).expect("an entry");
        assert!(read.grant.is_none() && read.step() == Step::SignIn);
        let text = String::from_utf8(bytes.to_vec()).expect("text");
        for (from, to) in [("\"format\":1", "\"format\":2"), ("\"renewed\":", "\"renewed\":999999999"), ("}", "")] {
            let changed = text.replace(from, to);
            assert!(changed != text && GrantEntry::read(changed.as_bytes(), &owner()).is_none(), "{changed}");
        }
    }

    #[test]
    fn a_token_that_another_replica_began_to_use_is_used_again_only_if_the_server_does_not_rotate() {
        let first = GrantEntry::changed_hands(None, Some(grant("one")));
        assert_eq!((first.step(), first.intended("a").step()), (Step::Renew, Step::Renew), "not known to rotate");
        let renewed = |rotates| first.intended("a").concluded(grant("two"), Some(rotates));
        assert_eq!((renewed(true).step(), renewed(true).intended("a").step()), (Step::Renew, Step::Doubt));
        assert_eq!(renewed(false).intended("a").step(), Step::Renew);
        assert_eq!(renewed(true).intended("a").torn().step(), Step::Torn);
    }

    #[test]
    fn what_a_replica_that_was_cut_off_says_in_the_end_is_later_than_the_verdict_on_it() {
        let entry = GrantEntry::changed_hands(None, Some(grant("one")));
        let intended = entry.intended("a");
        let (verdict, result) = (intended.torn(), intended.concluded(grant("two"), Some(true)));
        assert!(entry.generation < intended.generation && intended.generation < verdict.generation);
        assert!(verdict.generation < result.generation);
        // And a sign-in is later than all.
        let again = GrantEntry::changed_hands(Some(&entry), Some(grant("three")));
        assert!(result.generation < again.generation && again.rotates.is_none());
        assert_eq!(GrantEntry::changed_hands(Some(&result), None).rotates, Some(true), "it is the same server");
    }

    proptest! {
        /// Also where the clock of the machine on which somebody signed in was ahead.
        #[test]
        fn sign_ins_are_later_than_what_was_before(sign_in in 0..(1_u64 << 52), step in 0..1000_u64) {
            let before = Generation { sign_in, step };
            prop_assert!(before < Generation::next_sign_in(Some(before)));
        }
    }
}
