//! The entry of a person's grant in the shared store, and what this process knows of it.
//!
//! The newest entry that was ever seen stays in memory: what the store has lost is written again from there, and what it has
//! that is older is not used.

use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::Script;
use tokio::time::Instant;

use super::grant_entry::{Generation, GrantEntry, Step};
use super::grant_file::{GrantOwner, StoredGrant};
use crate::shared::{SharedStore, StoreError};

/// How long an entry is kept that nobody changes: NinjaOne forgets a refresh token that is not used for 30 days.
const KEPT: Duration = Duration::from_secs(40 * 24 * 3600);
/// How long the store may take.
const WITHIN: Duration = Duration::from_secs(1);
/// How long the replica that began to use a token has, after its lease has ended, to say what came of it. Each looks at the
/// store every 5 s.
const DOUBT: Duration = Duration::from_secs(8);
/// How often a sign-in is tried that meets another change.
const TRIES: usize = 5;

static READ: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local found = redis.pcall('HMGET', KEYS[1], 'sign-in', 'step', 'entry')
         if found.err then return {false, false, false} end
         return found",
    )
});
/// Writes what is later than what is there; or is in the place of a value that no replica has written.
static PUT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local found = redis.pcall('HMGET', KEYS[1], 'sign-in', 'step', 'entry')
         if found.err then redis.call('DEL', KEYS[1]); found = {false, false, false} end
         local sign_in, step = tonumber(found[1] or ''), tonumber(found[2] or '')
         local own_sign_in, own_step = tonumber(ARGV[1]), tonumber(ARGV[2])
         local later = not sign_in or not step or sign_in < own_sign_in or (sign_in == own_sign_in and step < own_step)
         if not later and found[3] ~= ARGV[5] then return 0 end
         redis.call('HSET', KEYS[1], 'sign-in', ARGV[1], 'step', ARGV[2], 'entry', ARGV[3])
         redis.call('PEXPIRE', KEYS[1], ARGV[4])
         return 1",
    )
});
/// Writes what follows the one that must be there: of two who try, one does.
static FOLLOW: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local found = redis.call('HMGET', KEYS[1], 'sign-in', 'step')
         if found[1] ~= ARGV[5] or found[2] ~= ARGV[6] then return 0 end
         redis.call('HSET', KEYS[1], 'sign-in', ARGV[1], 'step', ARGV[2], 'entry', ARGV[3])
         redis.call('PEXPIRE', KEYS[1], ARGV[4])
         return 1",
    )
});

/// Where replicas share a person's grant.
#[derive(Debug)]
pub struct SharedGrant {
    store: SharedStore,
    owner: GrantOwner,
    key: String,
    known: Mutex<Known>,
}

/// What this process knows.
#[derive(Debug, Default)]
struct Known {
    /// The newest entry, sealed.
    newest: Option<(Generation, Vec<u8>)>,
    /// Since when a replica that began to use the token is silent.
    doubt: Option<(Generation, Instant)>,
}

/// What is in the store.
#[derive(Default)]
struct Stored {
    entry: Option<GrantEntry>,
    /// What no replica has written.
    foreign: Vec<u8>,
}

impl SharedGrant {
    /// That of this owner.
    pub fn new(store: SharedStore, owner: GrantOwner) -> Self {
        let key = store.key("grant", &[&owner.host, &owner.client_id, &owner.user]);
        Self { store, owner, key, known: Mutex::default() }
    }

    /// The store.
    pub fn store(&self) -> &SharedStore {
        &self.store
    }

    /// The newest entry that there is, in the store or in memory. What only this process has is written.
    pub async fn read(&self) -> Result<Option<GrantEntry>, StoreError> {
        let stored = self.stored().await?;
        let own = self.known().newest.clone();
        let is_newer = |own: &Generation| stored.entry.as_ref().is_none_or(|entry| entry.generation < *own);
        match own.filter(|(generation, _)| is_newer(generation)) {
            None => Ok(stored.entry),
            Some((generation, sealed)) => {
                if self.put_sealed(generation, &sealed, &stored.foreign).await? {
                    tracing::info!(user = self.owner.user, "the sign-in is written to the shared store again");
                }
                Ok(self.opened(&sealed))
            }
        }
    }

    async fn stored(&self) -> Result<Stored, StoreError> {
        type Answer = (Option<Vec<u8>>, Option<Vec<u8>>, Option<Vec<u8>>);
        let (sign_in, step, sealed): Answer = self.store.run(&READ, &[&self.key], &[], WITHIN).await?;
        let Some(sealed) = sealed else { return Ok(Stored::default()) };
        let number = |text: Option<Vec<u8>>| std::str::from_utf8(&text?).ok()?.parse().ok();
        let generation = number(sign_in).zip(number(step)).map(|(sign_in, step)| Generation { sign_in, step });
        // What is said beside the seal must be what is in it.
        match self.opened(&sealed).filter(|entry| Some(entry.generation) == generation) {
            None => Ok(Stored { entry: None, foreign: sealed }),
            Some(entry) => {
                self.learn(entry.generation, &sealed);
                Ok(Stored { entry: Some(entry), foreign: Vec::new() })
            }
        }
    }

    /// Whether the replica that began to use this entry's token has been silent for too long.
    pub(super) fn is_beyond_doubt(&self, entry: &GrantEntry) -> bool {
        let (mut known, now) = (self.known(), Instant::now());
        let before = known.doubt.filter(|(generation, _)| *generation == entry.generation);
        let (_, since) = *known.doubt.insert(before.unwrap_or((entry.generation, now)));
        now.saturating_duration_since(since) >= DOUBT
    }

    /// Writes what follows an entry that nobody else may follow; whether it does.
    pub(super) async fn follow(&self, entry: &GrantEntry, next: &GrantEntry) -> Result<bool, StoreError> {
        let sealed = self.sealed(next)?;
        let Generation { sign_in, step } = entry.generation;
        let numbers = numbers(next.generation);
        let ([sign_in, step], kept) = ([sign_in, step].map(|number| number.to_string()), KEPT.as_millis().to_string());
        let [own_sign_in, own_step] = &numbers;
        let arguments: [&[u8]; 6] = [
            own_sign_in.as_bytes(),
            own_step.as_bytes(),
            &sealed,
            kept.as_bytes(),
            sign_in.as_bytes(),
            step.as_bytes(),
        ];
        let followed: u64 = self.store.run(&FOLLOW, &[&self.key], &arguments, WITHIN).await?;
        if followed > 0 {
            self.learn(next.generation, &sealed);
        }
        Ok(followed > 0)
    }

    /// Writes an entry, which is in memory from now on whether it can be written or not. `false`: there is a later one.
    pub(super) async fn put(&self, entry: &GrantEntry) -> Result<bool, StoreError> {
        let sealed = self.sealed(entry)?;
        self.learn(entry.generation, &sealed);
        let written = self.put_sealed(entry.generation, &sealed, &[]).await?;
        // The copies must have it before the next renewal, not before this answer is used.
        let _ = self.store.wait_for_copies().await;
        Ok(written)
    }

    async fn put_sealed(&self, generation: Generation, sealed: &[u8], foreign: &[u8]) -> Result<bool, StoreError> {
        let ([sign_in, step], kept) = (numbers(generation), KEPT.as_millis().to_string());
        let arguments: [&[u8]; 5] = [sign_in.as_bytes(), step.as_bytes(), sealed, kept.as_bytes(), foreign];
        let written: u64 = self.store.run(&PUT, &[&self.key], &arguments, WITHIN).await?;
        Ok(written > 0)
    }

    /// A person has signed in or, without a grant, out: later than all that was before. Whether somebody was signed in.
    pub async fn change_hands(&self, grant: Option<StoredGrant>) -> Result<bool, StoreError> {
        for _ in 0..TRIES {
            let stored = self.stored().await?;
            let was_signed_in = stored.entry.as_ref().is_some_and(|entry| entry.step() != Step::SignIn);
            if grant.is_none() && !was_signed_in && stored.foreign.is_empty() {
                return Ok(false);
            }
            let next = GrantEntry::changed_hands(stored.entry.as_ref(), grant.clone());
            let sealed = self.sealed(&next)?;
            if self.put_sealed(next.generation, &sealed, &stored.foreign).await? {
                self.learn(next.generation, &sealed);
                self.store.wait_for_copies().await?;
                return Ok(was_signed_in);
            }
        }
        Err(StoreError::Refused("others change the sign-in all the time".to_owned()))
    }

    fn sealed(&self, entry: &GrantEntry) -> Result<Vec<u8>, StoreError> {
        let bytes = entry.written(&self.owner).ok_or(StoreError::Unexpected)?;
        self.store.seal(&self.key, &bytes)
    }

    fn opened(&self, sealed: &[u8]) -> Option<GrantEntry> {
        GrantEntry::read(&self.store.open(&self.key, sealed)?, &self.owner)
    }

    fn learn(&self, generation: Generation, sealed: &[u8]) {
        let mut known = self.known();
        if known.newest.as_ref().is_none_or(|(newest, _)| *newest < generation) {
            known.newest = Some((generation, sealed.to_owned()));
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn numbers(Generation { sign_in, step }: Generation) -> [String; 2] {
    [sign_in, step].map(|number| number.to_string())
}
