//! Tokens: one grant for each instance and scope set, fetched once for all who wait, renewed ahead of its expiry.
//!
//! moka holds the grants and joins all who ask at the same time into one flight. Its clock is not ours, so a grant
//! carries its own expiry; and a flight runs in a task of its own, so that no caller who leaves can cancel it.

pub mod endpoint;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use http::HeaderValue;
use moka::future::Cache;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep_until, timeout};

use crate::policy::catalog::ScopeSet;
use crate::policy::{InstanceId, Permit};
use crate::telemetry::Causes;
use endpoint::{Answer, Endpoint, TokenError};

/// The first wait after a failure; it doubles up to [`MAX_BACKOFF`].
const FIRST_BACKOFF: Duration = Duration::from_millis(500);
/// The longest wait after failures that may pass by themselves.
const MAX_BACKOFF: Duration = Duration::from_secs(8);
/// The wait after a failure that somebody must mend.
const PERMANENT_BACKOFF: Duration = Duration::from_secs(30);
/// The longest `Retry-After` that is believed.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(120);

/// What a grant is for.
pub type Key = (InstanceId, ScopeSet);

/// All grants of the process.
#[derive(Debug)]
pub struct Tokens {
    cache: Cache<Key, Arc<State>>,
    endpoints: Vec<Endpoint>,
    /// The longest that a caller waits for a flight.
    patience: Duration,
    /// Where flights run: they must outlive the worker that asked first.
    runtime: Handle,
    requests: AtomicU64,
    failures: AtomicU64,
}

/// What is known for one key; replaced as a whole, never changed.
#[derive(Debug)]
struct State {
    grant: Option<Arc<Grant>>,
    failure: Option<Arc<TokenError>>,
    /// How many flights failed in a row.
    failed: u32,
    /// Before this, no new flight starts (unless the grant is revoked).
    next: Instant,
}

/// An access token and its own clock.
#[derive(Debug)]
struct Grant {
    authorization: HeaderValue,
    /// From here on a new one is fetched, while this one is still used.
    refresh: Instant,
    /// From here on it is not used.
    expiry: Instant,
    revoked: AtomicBool,
}

impl Grant {
    fn is_usable(&self, now: Instant) -> bool {
        now < self.expiry && !self.revoked.load(Ordering::Relaxed)
    }
}

impl State {
    fn usable(&self, now: Instant) -> Option<&Arc<Grant>> {
        self.grant.as_ref().filter(|grant| grant.is_usable(now))
    }

    /// Whether a flight is to start. After a failure nobody starts one before its time, however many wait.
    fn is_due(&self, now: Instant) -> bool {
        now >= self.next || self.grant.as_ref().is_some_and(|grant| grant.revoked.load(Ordering::Relaxed))
    }
}

/// The proof that a request may be sent: a token that has not expired.
#[derive(Debug, Clone)]
pub struct Bearer(Rc<Held>);

impl Bearer {
    /// The value of `Authorization`.
    pub fn authorization(&self) -> HeaderValue {
        self.0.authorization.clone()
    }

    /// NinjaOne does not take it any more: nobody shall use it again.
    pub fn revoke(&self) {
        self.0.grant.revoked.store(true, Ordering::Relaxed);
    }
}

/// Why there is no bearer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NoToken {
    /// The token endpoint failed, and is not asked again before `retry_after`.
    #[error("no token: {cause}")]
    Failed {
        /// What happened.
        cause: Arc<TokenError>,
        /// When asking again makes sense.
        retry_after: Duration,
    },
    /// The flight did not end within the caller's patience.
    #[error("no token in time")]
    Timeout,
}

/// How a key's token stands: what readiness and metrics tell.
#[derive(Debug, Clone)]
pub struct Status {
    /// The time to expiry, if there is a usable grant.
    pub expires_in: Option<Duration>,
    /// The last failure, if no success came after it.
    pub failure: Option<Arc<TokenError>>,
}

impl Tokens {
    /// Grants from these endpoints, by [`InstanceId`]; flights run on `runtime`, callers wait up to `patience`.
    pub fn new(endpoints: Vec<Endpoint>, patience: Duration, runtime: Handle) -> Arc<Self> {
        let cache = Cache::new(1024);
        let (requests, failures) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Self { cache, endpoints, patience, runtime, requests, failures })
    }

    /// Fetches a grant for `key` and renews it from now on, for as long as the runtime lives.
    pub fn keep(self: &Arc<Self>, key: Key) {
        let tokens = Arc::clone(self);
        self.runtime.spawn(async move {
            loop {
                let state = tokens.flight(key).await;
                sleep_until(state.next).await;
            }
        });
    }

    /// How the token of `key` stands.
    pub async fn status(&self, key: Key) -> Status {
        let state = self.cache.get(&key).await;
        let now = Instant::now();
        let grant = state.as_ref().and_then(|state| state.usable(now));
        let expires_in = grant.map(|grant| grant.expiry - now);
        Status { expires_in, failure: state.as_ref().and_then(|state| state.failure.clone()) }
    }

    /// Token requests made, and how many of them gave no grant.
    pub fn counts(&self) -> (u64, u64) {
        (self.requests.load(Ordering::Relaxed), self.failures.load(Ordering::Relaxed))
    }

    /// The usable grant of `key`, after a flight if there is none.
    async fn grant(self: &Arc<Self>, key: Key) -> Result<Arc<Grant>, NoToken> {
        if let Some(state) = self.cache.get(&key).await
            && let Some(grant) = state.usable(Instant::now())
        {
            return Ok(Arc::clone(grant));
        }
        let tokens = Arc::clone(self);
        let flight = self.runtime.spawn(async move { tokens.flight(key).await });
        let Ok(Ok(state)) = timeout(self.patience, flight).await else { return Err(NoToken::Timeout) };
        let now = Instant::now();
        match (state.usable(now), &state.failure) {
            (Some(grant), _) => Ok(Arc::clone(grant)),
            (None, Some(cause)) => Err(NoToken::Failed {
                cause: Arc::clone(cause),
                retry_after: state.next.saturating_duration_since(now),
            }),
            // Revoked again between the flight's end and now.
            (None, None) => Err(NoToken::Timeout),
        }
    }

    /// Joins the flight of `key`, or starts one if it is due. To be run in a task of its own.
    async fn flight(&self, key: Key) -> Arc<State> {
        let due = |state: &Arc<State>| state.is_due(Instant::now());
        self.cache.entry(key).or_insert_with_if(self.fetch(key), due).await.into_value()
    }

    async fn fetch(&self, key: Key) -> Arc<State> {
        let previous = self.cache.get(&key).await;
        let asked = Instant::now();
        self.requests.fetch_add(1, Ordering::Relaxed);
        let (InstanceId(instance), scopes) = key;
        let result = match self.endpoints.get(usize::from(instance)) {
            Some(endpoint) => endpoint.request(scopes).await,
            None => Err(TokenError::UnknownClient),
        };
        Arc::new(match result {
            Ok(answer) => granted(answer, asked),
            Err(error) => self.failed(error, previous.as_deref()),
        })
    }

    /// A grant that still lives stays in use.
    fn failed(&self, error: TokenError, previous: Option<&State>) -> State {
        self.failures.fetch_add(1, Ordering::Relaxed);
        let failed = previous.map_or(0, |state| state.failed);
        let wait = backoff(&error, failed);
        if failed == 0 || !error.is_permanent() {
            tracing::warn!(error = %Causes(&error), retry_in = ?wait, "token request failed");
        }
        let now = Instant::now();
        let grant = previous.and_then(|state| state.usable(now)).cloned();
        State { grant, failure: Some(Arc::new(error)), failed: failed.saturating_add(1), next: now + wait }
    }
}

fn granted(answer: Answer, asked: Instant) -> State {
    let Answer { authorization, lifetime } = answer;
    // Never used up to the last moment: it must still be valid when it arrives.
    let margin = (lifetime / 20).min(Duration::from_secs(5));
    let refresh = asked + lifetime.mul_f64(jitter(0.75, 0.90));
    tracing::info!(lifetime = ?lifetime, "token granted");
    let grant = Grant { authorization, refresh, expiry: asked + lifetime - margin, revoked: AtomicBool::new(false) };
    State { grant: Some(Arc::new(grant)), failure: None, failed: 0, next: refresh }
}

fn backoff(error: &TokenError, failed: u32) -> Duration {
    let wait = match error.retry_after() {
        Some(wait) => wait.clamp(FIRST_BACKOFF, MAX_RETRY_AFTER),
        None if error.is_permanent() => PERMANENT_BACKOFF,
        None => FIRST_BACKOFF.saturating_mul(1 << failed.min(16)).min(MAX_BACKOFF),
    };
    wait.mul_f64(jitter(0.75, 1.0))
}

fn jitter(from: f64, to: f64) -> f64 {
    from + fastrand::f64() * (to - from)
}

/// A worker's own copy of a grant: no count or header is shared between cores on the way of a request.
#[derive(Debug)]
struct Held {
    key: Key,
    authorization: HeaderValue,
    grant: Arc<Grant>,
}

/// Where one worker gets the bearers of one listener.
#[derive(Debug)]
pub struct Source {
    tokens: Arc<Tokens>,
    held: RefCell<Option<Bearer>>,
}

impl Source {
    /// A source that draws on `tokens`.
    pub fn new(tokens: Arc<Tokens>) -> Self {
        Self { tokens, held: RefCell::new(None) }
    }

    /// A bearer for a permitted request: the one at hand, or the current grant, or the one that a flight brings.
    pub async fn bearer(&self, permit: &Permit) -> Result<Bearer, NoToken> {
        let key = (permit.instance(), permit.scopes());
        if let Some(bearer) = self.at_hand(key) {
            return Ok(bearer);
        }
        let grant = self.tokens.grant(key).await?;
        let mut authorization =
            HeaderValue::from_bytes(grant.authorization.as_bytes()).map_err(|_| NoToken::Timeout)?;
        authorization.set_sensitive(true);
        let bearer = Bearer(Rc::new(Held { key, authorization, grant }));
        self.held.replace(Some(bearer.clone()));
        Ok(bearer)
    }

    /// The bearer of the last request, until it is time to look for a newer one.
    fn at_hand(&self, key: Key) -> Option<Bearer> {
        let held = self.held.borrow();
        let bearer = held.as_ref()?;
        let now = Instant::now();
        let Held { key: own, grant, .. } = &*bearer.0;
        (*own == key && now < grant.refresh && grant.is_usable(now)).then(|| bearer.clone())
    }
}
