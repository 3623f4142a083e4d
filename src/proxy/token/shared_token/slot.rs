//! The place of one token in the shared store: the token, the failure of who asked for it last, and the lease of who asks.
//!
//! Who asks holds a lease, which ends by itself when its holder does. It has a number that counts up: what a holder brings
//! whose lease has ended, and that another holder was given since, is not stored.

use std::sync::LazyLock;
use std::time::Duration;

use redis::Script;
use tokio::time::sleep;

use crate::shared::{SharedStore, StoreError};

/// How long a lease lasts that nobody renews, and how often it is renewed.
const LEASE: Duration = Duration::from_secs(3);
const RENEWED: Duration = Duration::from_secs(1);
/// How long the numbers of leases are remembered: longer than any token lives.
const NUMBERED: Duration = Duration::from_secs(2 * 24 * 3600);
/// How long the store may take. A flight waits longer for the token endpoint.
const WITHIN: Duration = Duration::from_secs(1);

/// What is there; and the lease, if it is wanted and free. A lease without an end, or one that ends later than any, is of
/// somebody else, and so is a number that is none.
static LOOK: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local function get(key) local value = redis.pcall('GET', key); if type(value) == 'string' then return value end return false end
         local own, left = 0, redis.call('PTTL', KEYS[3])
         local free = left < 0 or left > tonumber(ARGV[2])
         if free and ARGV[1] == '1' then
           own = redis.pcall('INCR', KEYS[4])
           if type(own) ~= 'number' then own = 1; redis.call('SET', KEYS[4], own) end
           redis.call('PEXPIRE', KEYS[4], ARGV[3])
           redis.call('SET', KEYS[3], own, 'PX', ARGV[2])
         end
         return {own, get(KEYS[1]), redis.call('PTTL', KEYS[1]), get(KEYS[2]), redis.call('PTTL', KEYS[2])}",
    )
});
/// One more while.
static RENEW: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.pcall('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
         return 0",
    )
});
/// The end of a lease, with what it brought: a token, a failure, or nothing.
static END: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local newest, stored = redis.pcall('GET', KEYS[4]), 0
         if ARGV[2] ~= '0' and (type(newest) ~= 'string' or newest == ARGV[1]) then
           redis.call('SET', KEYS[tonumber(ARGV[2])], ARGV[3], 'PX', ARGV[4])
           if ARGV[2] == '1' then redis.call('DEL', KEYS[2]) end
           stored = 1
         end
         if redis.pcall('GET', KEYS[3]) == ARGV[1] then redis.call('DEL', KEYS[3]) end
         return stored",
    )
});
/// A token, where there is none.
static OFFER: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
         redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
         return 1",
    )
});

/// The place of one token.
#[derive(Debug, Clone)]
pub(in crate::proxy::token) struct Slot {
    store: SharedStore,
    token: String,
    failure: String,
    lease: String,
    number: String,
}

/// What is there.
#[derive(Debug)]
pub(super) struct Look {
    /// The lease that this look has taken.
    pub(super) lease: Option<Lease>,
    pub(super) token: Option<Found>,
    pub(super) failure: Option<Found>,
}

/// A sealed value, and how long it is there yet.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) sealed: Vec<u8>,
    pub(super) left: Duration,
}

/// The right to ask for the token, while it is renewed.
#[derive(Debug, Clone)]
pub(in crate::proxy::token) struct Lease {
    slot: Slot,
    number: u64,
}

impl Slot {
    /// Of the token that these parts name.
    pub(super) fn new(store: SharedStore, parts: &[&str]) -> Self {
        let [token, failure, lease, number] =
            ["token", "token-failure", "token-lease", "token-number"].map(|kind| store.key(kind, parts));
        Self { store, token, failure, lease, number }
    }

    pub(super) fn store(&self) -> &SharedStore {
        &self.store
    }

    /// The name of the token's entry, to which its seal is bound.
    pub(super) fn token_key(&self) -> &str {
        &self.token
    }

    /// The same for the failure.
    pub(super) fn failure_key(&self) -> &str {
        &self.failure
    }

    fn keys(&self) -> [&str; 4] {
        [&self.token, &self.failure, &self.lease, &self.number]
    }

    /// What is there, and the lease if it is `wanted` and free.
    pub(super) async fn look(&self, wanted: bool) -> Result<Look, StoreError> {
        let [lease, numbered] = [LEASE, NUMBERED].map(millis);
        let arguments: [&[u8]; 3] = [if wanted { b"1" } else { b"0" }, lease.as_bytes(), numbered.as_bytes()];
        type Answer = (u64, Option<Vec<u8>>, i64, Option<Vec<u8>>, i64);
        let (number, token, token_left, failure, failure_left): Answer =
            self.store.run(&LOOK, &self.keys(), &arguments, WITHIN).await?;
        let found = |sealed: Option<Vec<u8>>, left: i64| {
            // What has no end was not written by us.
            let left = u64::try_from(left).ok().filter(|left| *left > 0).map(Duration::from_millis)?;
            Some(Found { sealed: sealed?, left })
        };
        let lease = (number > 0).then(|| Lease { slot: self.clone(), number });
        Ok(Look { lease, token: found(token, token_left), failure: found(failure, failure_left) })
    }

    /// Stores a token where there is none: after the store was away, or has lost it.
    pub(super) async fn offer(&self, sealed: &[u8], lives: Duration) -> Result<bool, StoreError> {
        let lives = millis(lives);
        let stored: u64 = self.store.run(&OFFER, &[&self.token], &[sealed, lives.as_bytes()], WITHIN).await?;
        Ok(stored > 0)
    }
}

impl Lease {
    /// Does this, and renews the lease meanwhile.
    pub(super) async fn hold<T>(&self, work: impl Future<Output = T>) -> T {
        let renewed = async {
            loop {
                sleep(RENEWED).await;
                let (number, lease) = (self.number.to_string(), millis(LEASE));
                let arguments: [&[u8]; 2] = [number.as_bytes(), lease.as_bytes()];
                // A lease that is lost, or cannot be renewed, ends nothing: the answer that is under way is used all the same.
                let _: Result<u64, _> = self.slot.store.run(&RENEW, &[&self.slot.lease], &arguments, WITHIN).await;
            }
        };
        tokio::select! {
            done = work => done,
            never = renewed => never,
        }
    }

    /// Ends it with a token that lives this long yet; whether that is stored.
    pub(super) async fn end_with_token(self, sealed: &[u8], lives: Duration) -> Result<bool, StoreError> {
        self.end(b"1", sealed, lives).await
    }

    /// Ends it with a failure that the others share for this time.
    pub(super) async fn end_with_failure(self, sealed: &[u8], lasts: Duration) -> Result<bool, StoreError> {
        self.end(b"2", sealed, lasts).await
    }

    /// Ends it.
    pub(super) async fn release(self) {
        // Where this fails it ends by itself.
        let _ = self.end(b"0", b"", Duration::from_millis(1)).await;
    }

    async fn end(self, what: &[u8], sealed: &[u8], lives: Duration) -> Result<bool, StoreError> {
        let (number, lives) = (self.number.to_string(), millis(lives));
        let arguments: [&[u8]; 4] = [number.as_bytes(), what, sealed, lives.as_bytes()];
        let stored: u64 = self.slot.store.run(&END, &self.slot.keys(), &arguments, WITHIN).await?;
        Ok(stored > 0)
    }
}

/// As an argument; never 0, which the store refuses.
fn millis(span: Duration) -> String {
    span.as_millis().max(1).to_string()
}
