//! Tokens: one grant for each instance and scope set, fetched once for all who wait, renewed ahead of its expiry.
//!
//! moka holds the grants and joins all who ask at the same time into one flight. Its clock is not ours, so a grant
//! carries its own expiry; and a flight runs in a task of its own, so that no caller who leaves can cancel it.

mod bearer;
pub mod credentials;
pub mod endpoint;
mod flight_counts;
mod flight_log;
mod shared_token;
mod state;
mod token_error;
pub mod user_grant;

use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until, timeout};

use crate::base::clock::{Clock, Moment};
use crate::base::panic_guard;
use crate::proxy::policy::catalog::ScopeSet;
use crate::shared::{SharedStore, StoreState};
pub use bearer::{Bearer, TokenSource};
use endpoint::Endpoint;
pub use flight_counts::FlightCounts;
use shared_token::{FlightEnd, OwnToken, SharedToken};
use state::{FlightReason, Grant, KeyState};
pub use token_error::TokenError;
use user_grant::UserGrant;

/// How often clocks and credentials are looked at: no timer counts the time that a machine sleeps.
const STEP: Duration = Duration::from_secs(5);
/// The parts of a token's lifetime between which it is renewed.
pub(crate) const RENEWED: (f64, f64) = (0.75, 0.90);

/// All grants of one instance.
#[derive(Debug)]
pub struct Tokens {
    cache: Cache<ScopeSet, Arc<KeyState>>,
    endpoint: Endpoint,
    /// The longest that a caller waits for a flight.
    token_timeout: Duration,
    /// Where flights run: they must outlive the worker that asked first.
    runtime: Handle,
    clock: Clock,
    counts: Arc<FlightCounts>,
    /// The command line that finds out why there is no token.
    doctor: String,
}

/// A grant that is renewed until this is dropped.
#[derive(Debug)]
pub struct KeptGrant(AbortHandle);

impl Drop for KeptGrant {
    fn drop(&mut self) {
        self.0.abort();
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
    /// The flight did not end within the time that a caller waits.
    #[error("no token in time")]
    Timeout,
}

/// The state of a key's token: what readiness and metrics tell.
#[derive(Debug, Clone)]
pub struct KeyStatus {
    /// The time to expiry, if there is a usable grant.
    pub expires_in: Option<Duration>,
    /// The time since it was asked for, if there is a usable grant.
    pub age: Option<Duration>,
    /// The last failure, if no success came after it.
    pub failure: Option<Arc<TokenError>>,
}

impl Tokens {
    /// Grants from this endpoint; flights run on the current runtime, callers wait up to `token_timeout`.
    /// `doctor` is the command line that finds out why there are none.
    pub fn new(
        endpoint: Endpoint,
        counts: Arc<FlightCounts>,
        token_timeout: Duration,
        clock: Clock,
        doctor: String,
    ) -> Arc<Self> {
        // There are no more sets of scopes than that.
        let cache = Cache::new(1024);
        Arc::new(Self { cache, endpoint, token_timeout, runtime: Handle::current(), clock, counts, doctor })
    }

    /// The person whose tokens these are; `None`: the machine's own.
    pub fn user(&self) -> Option<&Arc<UserGrant>> {
        self.endpoint.user()
    }

    /// The command line that finds out why there is no token.
    pub fn doctor(&self) -> &str {
        &self.doctor
    }

    /// Takes over the grants of `old`, which are good here too: same instance, same credentials.
    pub async fn inherit(&self, old: &Self) {
        let version = self.endpoint.version();
        for (scopes, state) in &old.cache {
            if let Some(state) = state.inherited(version) {
                self.cache.insert(*scopes, Arc::new(state)).await;
            }
        }
    }

    /// Fetches a grant of these scopes and renews it from now on, for as long as the runtime lives.
    pub fn keep(self: &Arc<Self>, scopes: ScopeSet) -> KeptGrant {
        let tokens = Arc::clone(self);
        let mut store = self.endpoint.store().map(SharedStore::subscribe);
        let mut publish = false;
        let keeping = self.runtime.spawn(async move {
            loop {
                tokens.endpoint.look().await;
                if publish {
                    tokens.publish(scopes).await;
                }
                let step = Instant::now() + STEP;
                // In a task of its own: when this loop is ended, an answer under way may hold the only token that is good
                // from then on. And a loop that a panic ends would renew nothing any more, and nobody would see it.
                let own = Arc::clone(&tokens);
                let flight = async move { panic_guard::around(own.flight(scopes, FlightReason::Keeper)).await };
                let next = match tokens.runtime.spawn(flight).await {
                    Ok(Ok(state)) => state.next_unasked.monotonic.min(step),
                    Ok(Err(panicked)) => {
                        tracing::error!(%scopes, error = %panicked, "a token request panicked");
                        step
                    }
                    // The runtime ends.
                    Err(_) => return,
                };
                publish = tokio::select! {
                    () = sleep_until(next) => false,
                    () = changed(store.as_mut()) => true,
                };
            }
        });
        KeptGrant(keeping.abort_handle())
    }

    /// The state of the token of these scopes.
    pub async fn status(&self, scopes: ScopeSet) -> KeyStatus {
        let state = self.cache.get(&scopes).await;
        let (state, now) = (state.as_deref(), (self.clock)());
        let expires_in = state.and_then(|state| state.expires_in(now));
        let age = state.and_then(|state| state.age(now));
        KeyStatus { expires_in, age, failure: state.and_then(|state| state.failure.clone()) }
    }

    /// The usable grant of these scopes, after a flight if there is none.
    async fn grant(self: &Arc<Self>, scopes: ScopeSet) -> Result<Arc<Grant>, NoToken> {
        if let Some(state) = self.cache.get(&scopes).await {
            let now = (self.clock)();
            if let Some(grant) = state.usable(now) {
                return Ok(Arc::clone(grant));
            }
            if !state.is_due(now, self.endpoint.version(), FlightReason::Caller) {
                return Err(no_token(&state, now));
            }
        }
        let tokens = Arc::clone(self);
        let flight = self.runtime.spawn(async move { tokens.flight(scopes, FlightReason::Caller).await });
        let Ok(Ok(state)) = timeout(self.token_timeout, flight).await else { return Err(NoToken::Timeout) };
        let now = (self.clock)();
        state.usable(now).cloned().ok_or_else(|| no_token(&state, now))
    }

    /// Joins the flight for these scopes, or starts one if it is due. To be run in a task of its own.
    async fn flight(&self, scopes: ScopeSet, asker: FlightReason) -> Arc<KeyState> {
        let due = |state: &Arc<KeyState>| state.is_due((self.clock)(), self.endpoint.version(), asker);
        // Boxed: it is large, and the cache keeps room for it twice.
        self.cache.entry(scopes).or_insert_with_if(Box::pin(self.fetch(scopes)), due).await.into_value()
    }

    async fn fetch(&self, scopes: ScopeSet) -> Arc<KeyState> {
        let previous = self.cache.get(&scopes).await;
        let previous = previous.as_deref();
        let shared = self.shared(scopes);
        let end = match &shared {
            None => {
                let asked = (self.clock)();
                let (answer, version) = self.endpoint.request(scopes).await;
                FlightEnd::Asked { answer, asked, version, lease: None }
            }
            Some(shared) => {
                let is_missing = previous.and_then(|state| state.usable((self.clock)())).is_none();
                shared.fetch(OwnToken { last: previous.and_then(KeyState::last), is_missing }).await
            }
        };
        let is_taken = matches!(end, FlightEnd::Taken { .. });
        let mut state = self.ended(end, shared.as_ref(), previous).await;
        if shared.is_some() {
            state = state.remembering(previous.and_then(KeyState::last));
        }
        self.log_change(scopes, &state, previous, is_taken);
        Arc::new(state)
    }

    /// The state after a flight. A failure is shared with the other replicas.
    async fn ended(&self, end: FlightEnd, shared: Option<&SharedToken<'_>>, previous: Option<&KeyState>) -> KeyState {
        match end {
            FlightEnd::Asked { answer: Ok(answer), asked, version, .. } => {
                self.counts.count(true);
                KeyState::granted(answer, asked, version, previous)
            }
            FlightEnd::Asked { answer: Err(error), asked, version, lease } => {
                if error.was_asked() {
                    self.counts.count(false);
                }
                let now = (self.clock)();
                let state = KeyState::failed(error, (asked, now), version, previous);
                if let (Some(shared), Some(lease), Some(error)) = (shared, lease, &state.failure) {
                    shared.share(lease, error, now.until(state.next)).await;
                }
                state
            }
            FlightEnd::Taken { answer, read, age, version } => KeyState::taken(answer, (read, age), version, previous),
            FlightEnd::Shared { error, wait, version } => {
                KeyState::failed_elsewhere(error, ((self.clock)(), wait), version, previous)
            }
        }
    }

    /// The token of these scopes as replicas share it, if they do.
    fn shared(&self, scopes: ScopeSet) -> Option<SharedToken<'_>> {
        self.endpoint.store().map(|store| SharedToken::new(store, &self.endpoint, scopes, self.clock))
    }

    /// Stores the token that is in use where there is none: the store was away when it was granted, or has lost it.
    async fn publish(&self, scopes: ScopeSet) {
        let Some(shared) = self.shared(scopes) else { return };
        let now = (self.clock)();
        let state = self.cache.get(&scopes).await;
        let own = state.as_deref().filter(|state| state.is_of(self.endpoint.version()));
        if let Some(grant) = own.and_then(|state| state.usable(now)) {
            shared.offer(grant.answer(), grant.age(now)).await;
        }
    }
}

/// Ends when the store is up, and something has changed: it was away, or may have lost what was in it.
async fn changed(store: Option<&mut watch::Receiver<StoreState>>) {
    let Some(store) = store else { return std::future::pending().await };
    loop {
        if store.changed().await.is_err() {
            return std::future::pending().await;
        }
        if store.borrow_and_update().up {
            return;
        }
    }
}

fn no_token(state: &KeyState, now: Moment) -> NoToken {
    match &state.failure {
        Some(cause) => NoToken::Failed { cause: Arc::clone(cause), retry_after: now.until(state.next) },
        // Refused between the flight's end and now.
        None => NoToken::Timeout,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;
    use std::time::SystemTime;

    use http::uri::PathAndQuery;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::credentials::Credentials;
    use super::endpoint::ClientAuthMethod;
    use super::*;
    use crate::base::secret::Secret;
    use crate::base::secret::source::SecretSource;
    use crate::net::dial::Route;
    use crate::net::dial::connect::Connector;
    use crate::proxy::policy::catalog::Scope;

    const HOUR: i64 = 3600;

    thread_local! {
        /// How far the wall clock is ahead of the system's, in seconds.
        static WALL_AHEAD: Cell<i64> = const { Cell::new(0) };
        /// The clock panics, and counts that.
        static BROKEN: Cell<Option<u32>> = const { Cell::new(None) };
    }

    fn clock() -> Moment {
        if let Some(panics) = BROKEN.get() {
            BROKEN.set(Some(panics + 1));
            panic!("asked for: a broken clock");
        }
        let ahead = WALL_AHEAD.get();
        let wall = SystemTime::now();
        let span = Duration::from_secs(ahead.unsigned_abs());
        Moment { wall: if ahead < 0 { wall - span } else { wall + span }, ..Moment::now() }
    }

    /// Answers token requests with one token after another; without `good`, with 503; with `refuses`, that the scope is not
    /// granted.
    struct TestIssuer {
        tokens: Arc<Tokens>,
        asked: Rc<Cell<u32>>,
        good: Rc<Cell<bool>>,
        refuses: Rc<Cell<bool>>,
    }

    impl TestIssuer {
        async fn start() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let address = listener.local_addr().expect("an address");
            let (asked, good) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(true)));
            let refuses = Rc::new(Cell::new(false));
            let (count, is_good, has_refused) = (Rc::clone(&asked), Rc::clone(&good), Rc::clone(&refuses));
            tokio::task::spawn_local(async move {
                loop {
                    let (mut stream, _) = listener.accept().await.expect("a connection");
                    let _ = stream.read(&mut [0; 4096]).await;
                    count.set(count.get() + 1);
                    let body =
                        format!(r#"{{"access_token":"t{}","token_type":"Bearer","expires_in":3600}}"#, count.get());
                    let status = if is_good.get() { "200 OK" } else { "503 Busy" };
                    let refusal = r#"{"error":"invalid_scope"}"#.to_owned();
                    let (status, body) = if has_refused.get() { ("400 Bad", refusal) } else { (status, body) };
                    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
            });
            let given = || SecretSource::Given(Secret::new("x".to_owned()));
            let credentials = Arc::new(Credentials::read(given(), given()).expect("credentials"));
            let token_timeout = Duration::from_secs(5);
            let route = Route::new(address.ip().to_string(), address.port(), None);
            let authority = address.to_string().parse().expect("an authority");
            let connector = Connector::new(authority, None, route, token_timeout).expect("a connector");
            let path = PathAndQuery::from_static("/token");
            let endpoint = Endpoint::new(connector, path, ClientAuthMethod::Form, credentials, token_timeout);
            Self {
                tokens: Tokens::new(endpoint, Arc::default(), token_timeout, clock, "doctor".to_owned()),
                asked,
                good,
                refuses,
            }
        }
    }

    fn scopes() -> ScopeSet {
        [Scope::Monitoring].into_iter().collect()
    }

    async fn token(source: &TokenSource) -> Result<String, NoToken> {
        let bearer = source.bearer_of(scopes()).await?;
        Ok(bearer.authorization().to_str().expect("text").to_owned())
    }

    #[tokio::test(flavor = "local")]
    async fn token_survives_sleep_and_clock_jumps() {
        let issuer = TestIssuer::start().await;
        let source = TokenSource::new(Arc::clone(&issuer.tokens));
        for _ in 0..3 {
            assert_eq!(token(&source).await.expect("a token"), "Bearer t1");
        }
        // The machine slept for eight hours: the monotonic clock stood still.
        WALL_AHEAD.set(8 * HOUR);
        for _ in 0..3 {
            assert_eq!(token(&source).await.expect("a token"), "Bearer t2");
        }
        // The wall clock is set back by a day, and forth again: the token is as old as it was.
        for ahead in [-24 * HOUR, 8 * HOUR] {
            WALL_AHEAD.set(ahead);
            assert_eq!(token(&source).await.expect("a token"), "Bearer t2");
        }
        assert_eq!(issuer.asked.get(), 2);
        // It is set forward by years while no token can be had: the one that seems expired is not sent.
        issuer.good.set(false);
        WALL_AHEAD.set(50_000 * HOUR);
        assert!(matches!(token(&source).await, Err(NoToken::Failed { .. })));
        issuer.good.set(true);
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert_eq!(token(&source).await.expect("a token"), "Bearer t4");
        assert_eq!(issuer.asked.get(), 4);
    }

    #[tokio::test(flavor = "local")]
    async fn token_that_slept_is_fetched_once_for_all_who_ask() {
        let issuer = TestIssuer::start().await;
        let source = Rc::new(TokenSource::new(Arc::clone(&issuer.tokens)));
        assert_eq!(token(&source).await.expect("a token"), "Bearer t1");
        WALL_AHEAD.set(8 * HOUR);
        let callers: Vec<_> = (0..50)
            .map(|_| {
                let source = Rc::clone(&source);
                tokio::task::spawn_local(async move { token(&source).await })
            })
            .collect();
        for caller in callers {
            assert_eq!(caller.await.expect("an end").expect("a token"), "Bearer t2");
        }
        assert_eq!(issuer.asked.get(), 2);
    }

    async fn advance(span: Duration) {
        tokio::time::pause();
        tokio::time::advance(span).await;
        tokio::time::resume();
    }

    #[tokio::test(flavor = "local")]
    async fn token_that_is_refused_for_good_is_asked_for_again_after_5_seconds_if_callers_ask() {
        let issuer = TestIssuer::start().await;
        issuer.refuses.set(true);
        let source = TokenSource::new(Arc::clone(&issuer.tokens));
        let wait = |outcome: Result<String, NoToken>| match outcome {
            Err(NoToken::Failed { retry_after, .. }) => retry_after.as_secs_f64(),
            other => panic!("{other:?}"),
        };
        assert!((4.5..=6.0).contains(&wait(token(&source).await)));
        for _ in 0..20 {
            assert!((4.0..=6.0).contains(&wait(token(&source).await)));
        }
        assert_eq!(issuer.asked.get(), 1);
        // Nobody asks: it is left alone for longer.
        advance(Duration::from_secs(7)).await;
        issuer.tokens.flight(scopes(), FlightReason::Keeper).await;
        assert_eq!(issuer.asked.get(), 1);
        assert!((4.5..=6.0).contains(&wait(token(&source).await)));
        assert_eq!(issuer.asked.get(), 2);
        // Somebody grants the scope: who comes back when he was told is served.
        issuer.refuses.set(false);
        advance(Duration::from_secs(6)).await;
        assert_eq!(token(&source).await.expect("a token"), "Bearer t3");
    }

    #[tokio::test(flavor = "local")]
    async fn token_that_is_refused_for_good_is_asked_for_without_callers_twice_a_minute() {
        let issuer = TestIssuer::start().await;
        issuer.refuses.set(true);
        issuer.tokens.flight(scopes(), FlightReason::Keeper).await;
        for (after, asked) in [(20, 1), (11, 2), (20, 2), (11, 3)] {
            advance(Duration::from_secs(after)).await;
            issuer.tokens.flight(scopes(), FlightReason::Keeper).await;
            assert_eq!(issuer.asked.get(), asked, "{after} s later");
        }
    }

    #[tokio::test(flavor = "local")]
    async fn token_is_renewed_also_after_a_request_for_it_panicked() {
        async fn until(holds: impl Fn() -> bool) {
            while !holds() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        let issuer = TestIssuer::start().await;
        BROKEN.set(Some(0));
        let _kept = issuer.tokens.keep(scopes());
        timeout(STEP, until(|| BROKEN.get() == Some(1))).await.expect("a panic");
        BROKEN.set(None);
        tokio::time::pause();
        tokio::time::advance(STEP * 2).await;
        tokio::time::resume();
        timeout(STEP, until(|| issuer.asked.get() == 1)).await.expect("a request");
    }
}
