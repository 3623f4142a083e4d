//! The store as the other rooms use it: asked while it is up, and not waited for while it is down.

mod keeper;

use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{FromRedisValue, Script};
use ring::digest::{SHA256, digest};
use ring::hmac;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout, timeout_at};
use zeroize::Zeroizing;

use super::sealing::{NotSealed, hex};
use super::state::StoreState;
use super::store_config::StoreConfig;
use super::store_error::StoreError;
use crate::observe::metrics::shared_store::StoreSeries;

/// After so many answers in a row that were not there in time, the store is down.
const SLOW: u32 = 3;
/// How long the copies of the store may take for what must not be lost.
const COPY_TIME: Duration = Duration::from_millis(50);

/// The store. Clones share it.
#[derive(Debug, Clone)]
pub struct SharedStore(Arc<Store>);

#[derive(Debug)]
struct Store {
    config: StoreConfig,
    series: StoreSeries,
    /// This process among the others.
    replica: String,
    /// While the store is up, and while it is asked whether it is again.
    commands: RwLock<Option<MultiplexedConnection>>,
    /// Answers in a row that were not there in time.
    slow: AtomicU32,
    /// How many servers copy what is written.
    copies: AtomicU32,
    state: watch::Sender<StoreState>,
    /// Why it is down.
    fault: Mutex<Option<String>>,
    /// Tells the keeper that something is wrong.
    trouble: Notify,
}

impl SharedStore {
    /// Begins to connect to the store, and keeps the connection for as long as the runtime lives.
    pub fn start(config: StoreConfig, series: StoreSeries) -> Result<Self, getrandom::Error> {
        let mut id = [0; 8];
        getrandom::fill(&mut id)?;
        series.begin(&StoreError::REASONS);
        let store = Self(Arc::new(Store {
            config,
            series,
            replica: hex(&id),
            commands: RwLock::default(),
            slow: AtomicU32::new(0),
            copies: AtomicU32::new(0),
            state: watch::Sender::default(),
            fault: Mutex::default(),
            trouble: Notify::new(),
        }));
        tokio::spawn(keeper::keep(store.clone()));
        Ok(store)
    }

    /// Waits until it is up, but no longer than that. Whether it is.
    pub async fn wait_up(&self, longest: Duration) -> bool {
        let mut state = self.subscribe();
        let up = timeout(longest, state.wait_for(|state| state.up)).await;
        up.is_ok_and(|up| up.is_ok())
    }

    /// The name of an entry, which tells nothing of what it is made of.
    pub fn key(&self, kind: &'static str, parts: &[&str]) -> String {
        let mut text = Vec::new();
        for part in parts {
            text.extend_from_slice(&(part.len() as u64).to_be_bytes());
            text.extend_from_slice(part.as_bytes());
        }
        let digest = digest(&SHA256, &text);
        let short = digest.as_ref().first_chunk::<16>().map(|bytes| hex(bytes)).unwrap_or_default();
        format!("{}:{kind}:{short}", self.0.config.prefix)
    }

    /// Runs a script, which may take so long. While the store is down nothing is sent, and this ends at once.
    pub async fn run<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[&str],
        arguments: &[&[u8]],
        within: Duration,
    ) -> Result<T, StoreError> {
        let Some(mut commands) = self.commands() else { return self.failed(StoreError::Down) };
        let mut call = script.prepare_invoke();
        for key in keys {
            call.key(*key);
        }
        for argument in arguments {
            call.arg(*argument);
        }
        self.answer(call.invoke_async(&mut commands), within).await
    }

    /// Waits until the servers that copy the store have what this process has written, each of them, or for as long as it
    /// is worth. Whether they have.
    pub async fn wait_for_copies(&self) -> Result<bool, StoreError> {
        let copies = self.0.copies.load(Ordering::Relaxed);
        if copies == 0 {
            return Ok(true);
        }
        let Some(mut commands) = self.commands() else { return self.failed(StoreError::Down) };
        let mut wait = redis::cmd("WAIT");
        wait.arg(copies).arg(COPY_TIME.as_millis() as u64);
        let reached: u32 = self.answer(wait.query_async(&mut commands), COPY_TIME * 4).await?;
        Ok(reached >= copies)
    }

    async fn answer<T>(
        &self,
        asked: impl Future<Output = redis::RedisResult<T>>,
        within: Duration,
    ) -> Result<T, StoreError> {
        self.0.series.request();
        let begun = Instant::now();
        let answer = timeout_at(begun + within, asked).await;
        let answer = answer.map_or(Err(StoreError::Slow), |answer| answer.map_err(StoreError::from));
        match answer {
            Ok(answer) => {
                self.0.slow.store(0, Ordering::Relaxed);
                Ok(answer)
            }
            Err(error) => self.failed(error),
        }
    }

    fn failed<T>(&self, error: StoreError) -> Result<T, StoreError> {
        self.0.series.failure(error.reason());
        let slow = error == StoreError::Slow && self.0.slow.fetch_add(1, Ordering::Relaxed) + 1 < SLOW;
        if error.is_about_store() && !slow {
            self.lose();
            self.0.trouble.notify_one();
        }
        Err(error)
    }

    /// Nobody asks it any more, until the keeper says that it is up again.
    fn lose(&self) {
        self.0.commands.write().unwrap_or_else(PoisonError::into_inner).take();
        self.0.state.send_if_modified(|state| {
            let was_up = state.up;
            (state.up, state.settled) = (false, false);
            was_up
        });
        self.0.series.up(false);
    }

    fn commands(&self) -> Option<MultiplexedConnection> {
        self.0.commands.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How long an answer may take that a request waits for.
    pub fn deadline(&self) -> Duration {
        self.0.config.timeout
    }

    /// Seals the value of an entry.
    pub fn seal(&self, key: &str, plain: &[u8]) -> Result<Vec<u8>, StoreError> {
        self.0.config.keys.seal(key, plain).map_err(|_| StoreError::Unsealed)
    }

    /// Opens the value of an entry; `None` if it was not sealed by a replica, or was changed, or is that of another entry:
    /// it counts as absent.
    pub fn open(&self, key: &str, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        match self.0.config.keys.open(key, sealed) {
            Ok(plain) => Some(plain),
            Err(not_sealed) => {
                self.ignore(key, &not_sealed);
                None
            }
        }
    }

    /// Whether a value was sealed with a key that is not among ours: by a replica that has another file.
    pub fn is_of_other_key(&self, key: &str, sealed: &[u8]) -> bool {
        matches!(self.0.config.keys.open(key, sealed), Err(NotSealed::OtherKey(_)))
    }

    fn ignore(&self, key: &str, why: &NotSealed) {
        // Somebody who can write to the store could fill the log.
        if self.0.series.ignored() {
            tracing::warn!(
                key, error = %why,
                "a value in the shared store is ignored: something else than a replica of this proxy has written it, or a replica with another sealing key"
            );
        }
    }

    /// Keys for signatures of this purpose, the same at all replicas: the first signs, each verifies.
    pub fn mac_keys(&self, purpose: &str) -> Vec<hmac::Key> {
        self.0.config.keys.mac_keys(purpose)
    }

    /// How it is.
    pub fn state(&self) -> StoreState {
        *self.0.state.borrow()
    }

    /// Hears of each change of that.
    pub fn subscribe(&self) -> watch::Receiver<StoreState> {
        self.0.state.subscribe()
    }

    /// This process among the replicas: 16 hexadecimal digits.
    pub fn replica(&self) -> &str {
        &self.0.replica
    }

    /// This process ends: the others need not wait to notice.
    pub async fn leave(&self) {
        let Some(mut commands) = self.commands() else { return };
        let member = keeper::member(self).to_string();
        let mut remove = redis::cmd("ZREM");
        remove.arg(self.key("replicas", &[])).arg(member);
        // What cannot be said is noticed later.
        let _ = self.answer(remove.query_async::<u32>(&mut commands), self.deadline()).await;
    }

    /// Why it is down, if it is.
    pub fn fault(&self) -> Option<String> {
        let fault = self.0.fault.lock().unwrap_or_else(PoisonError::into_inner).clone();
        fault.filter(|_| !self.state().up)
    }

    /// Where it is, for people.
    pub fn address(&self) -> String {
        self.0.config.address.to_string()
    }
}
