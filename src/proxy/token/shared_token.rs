//! One access token for all replicas: who has the lease asks for it, and the others read it from the shared store.
//!
//! A token of the machine is not exclusive, so each replica asks for one of its own while the store is down. Nobody waits
//! in a line for the lease: who does not get it reads again, until a token is there or the lease is free.

mod slot;
mod stored;

use std::time::Duration;

use ring::digest::{SHA256, digest};
use ring::hmac;
use tokio::time::{Instant, sleep};

use super::RENEWED;
use super::credentials::CredentialPair;
use super::endpoint::{Endpoint, TokenAnswer};
use super::token_error::TokenError;
use super::user_grant::NoSharedGrant;
use crate::base::clock::{Clock, Moment};
use crate::observe::logging::ErrorChain;
use crate::proxy::policy::catalog::ScopeSet;
use crate::shared::SharedStore;
use crate::shared::sealing::hex;
pub(super) use slot::Lease;
use slot::{Found, Slot};
use stored::StoredToken;

/// How soon is read again what another replica asks for.
const AGAIN: Duration = Duration::from_millis(50);
/// How much longer than a token request takes that is waited for.
const PATIENCE: Duration = Duration::from_secs(4);
/// The longest that a failure is shared: a little more than the longest wait after one.
const LONGEST_FAILURE: Duration = Duration::from_secs(130);
/// What the right to a token is proven by: see [`StoredToken::right`].
const RIGHT: &str = "token-right";

/// The hash of an access token.
pub(super) type TokenDigest = [u8; 32];

/// The token of these scopes, as all replicas have it.
pub(super) struct SharedToken<'a> {
    endpoint: &'a Endpoint,
    scopes: ScopeSet,
    slot: Slot,
    clock: Clock,
}

/// What this process has of the token.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct OwnToken {
    /// The newest that it had: another one is wanted.
    pub(super) last: Option<TokenDigest>,
    /// Whether requests can wait no longer: then one is taken that is renewed soon.
    pub(super) is_missing: bool,
}

/// How a flight ended.
pub(super) enum FlightEnd {
    /// The token endpoint was asked. With the lease, if that is to be ended with the failure.
    Asked { answer: Result<TokenAnswer, TokenError>, asked: Moment, version: u64, lease: Option<Lease> },
    /// The token is another replica's, and was asked for so long before.
    Taken { answer: TokenAnswer, read: Moment, age: Duration, version: u64 },
    /// Another replica has failed, and nobody asks for so long.
    Shared { error: TokenError, wait: Duration, version: u64 },
}

/// The hash of a token, by which it is known again.
pub(super) fn token_digest(authorization: &[u8]) -> TokenDigest {
    digest(&SHA256, authorization).as_ref().first_chunk().copied().unwrap_or_default()
}

impl<'a> SharedToken<'a> {
    /// That of these scopes in this store.
    pub(super) fn new(store: &SharedStore, endpoint: &'a Endpoint, scopes: ScopeSet, clock: Clock) -> Self {
        let (address, scoped) = (endpoint.address(), scopes.to_string());
        let id = endpoint.credentials().newest().0.id.expose();
        let user = endpoint.user().map_or("", |user| user.user());
        let slot = Slot::new(store.clone(), &[&address, endpoint.path(), id.as_str(), user, &scoped]);
        Self { endpoint, scopes, slot, clock }
    }

    /// Takes the token that is there, or asks for one.
    pub(super) async fn fetch(&self, own: OwnToken) -> FlightEnd {
        let sign_in = match self.endpoint.user() {
            None => None,
            Some(user) => match user.shared_sign_in().await {
                Ok(sign_in) => Some(sign_in),
                Err(error) => return self.failed(error),
            },
        };
        let version = self.endpoint.version();
        let give_up = Instant::now() + self.endpoint.timeout() + PATIENCE;
        let mut wanted = false;
        loop {
            let read = (self.clock)();
            let look = match self.slot.look(wanted).await {
                Ok(look) => look,
                Err(error) => return self.ask_without(error).await,
            };
            let right = self.right(sign_in.as_deref());
            if let Some((token, age)) = look.token.and_then(|found| self.usable(&found, &right, own)) {
                if let Some(lease) = look.lease {
                    lease.release().await;
                }
                return self.take(token, (read, age), version).await;
            }
            if let Some((error, wait)) = look.failure.and_then(|found| self.failure(&found, &right)) {
                if let Some(lease) = look.lease {
                    lease.release().await;
                }
                return FlightEnd::Shared { error, wait, version };
            }
            if let Some(lease) = look.lease {
                return self.ask(lease, sign_in).await;
            }
            if wanted {
                if Instant::now() >= give_up {
                    return self.ask_without(NoSharedGrant::Busy).await;
                }
                sleep(AGAIN.mul_f64(0.75 + fastrand::f64() / 2.0)).await;
            }
            wanted = true;
        }
    }

    /// Stores this one, which is of this process, where there is none.
    pub(super) async fn offer(&self, answer: TokenAnswer, age: Duration) {
        let lives = answer.lifetime.saturating_sub(age);
        let sign_in = self.endpoint.user().and_then(|user| user.sign_in());
        let offered = match self.sealed(&answer, sign_in.as_deref()) {
            Some(sealed) => self.slot.offer(&sealed, lives).await,
            None => return,
        };
        match offered {
            Ok(true) => tracing::debug!(scopes = %self.scopes, "token put into the shared store"),
            Ok(false) => {}
            Err(error) => tracing::debug!(error = %ErrorChain(&error), "token not put into the shared store"),
        }
    }

    /// Shares a failure, which is tried again after this time.
    pub(super) async fn share(&self, lease: Lease, error: &TokenError, wait: Duration) {
        let sign_in = self.endpoint.user().and_then(|user| user.sign_in());
        let right = self.right(sign_in.as_deref()).into_iter().next();
        let written = right.and_then(|right| stored::failure_written(error, &right));
        let sealed = written.and_then(|bytes| self.slot.store().seal(self.slot.failure_key(), &bytes).ok());
        match sealed {
            // Where this fails each tries for itself.
            Some(sealed) => drop(lease.end_with_failure(&sealed, wait).await),
            None => lease.release().await,
        }
    }

    async fn ask(&self, lease: Lease, sign_in: Option<String>) -> FlightEnd {
        let asked = (self.clock)();
        let (answer, version) = lease.hold(self.endpoint.request(self.scopes)).await;
        let lease = match &answer {
            Err(_) => Some(lease),
            Ok(answer) => {
                self.store(lease, answer, (self.clock)().since(asked), sign_in.as_deref()).await;
                None
            }
        };
        FlightEnd::Asked { answer, asked, version, lease }
    }

    async fn store(&self, lease: Lease, answer: &TokenAnswer, age: Duration, sign_in: Option<&str>) {
        let Some(sealed) = self.sealed(answer, sign_in) else { return lease.release().await };
        match lease.end_with_token(&sealed, answer.lifetime.saturating_sub(age)).await {
            Ok(true) => {}
            Ok(false) => tracing::debug!(scopes = %self.scopes, "another replica has a newer token"),
            Err(error) => tracing::debug!(error = %ErrorChain(&error), "token not put into the shared store"),
        }
    }

    /// What is done without the store, or without the lease: a person's grant is not renewed.
    async fn ask_without(&self, why: impl Into<NoSharedGrant>) -> FlightEnd {
        if self.endpoint.user().is_some() {
            return self.failed(TokenError::NoStore(why.into()));
        }
        let asked = (self.clock)();
        let (answer, version) = self.endpoint.request(self.scopes).await;
        if let Ok(answer) = &answer {
            // Ends at once while the store is down.
            self.offer(answer.access_alone(), (self.clock)().since(asked)).await;
        }
        FlightEnd::Asked { answer, asked, version, lease: None }
    }

    fn failed(&self, error: TokenError) -> FlightEnd {
        let (asked, version) = ((self.clock)(), self.endpoint.version());
        FlightEnd::Asked { answer: Err(error), asked, version, lease: None }
    }

    async fn take(&self, token: StoredToken, (read, age): (Moment, Duration), version: u64) -> FlightEnd {
        let StoredToken { authorization, lifetime, scope, accepted, .. } = token;
        if accepted {
            // They were accepted of another replica: the older ones of this process are not needed any more.
            let credentials = self.endpoint.credentials();
            credentials.accepted(&credentials.newest().0);
        }
        if let Some(user) = self.endpoint.user() {
            // What came of the renewal: this process may be the only one that knows it when the store is replaced.
            user.look_shared().await;
        }
        let answer = TokenAnswer { authorization, lifetime, refresh_token: None, scope };
        FlightEnd::Taken { answer, read, age, version }
    }

    /// The token that is there, and its age, if it is one that this process wants.
    fn usable(&self, found: &Found, right: &[String], own: OwnToken) -> Option<(StoredToken, Duration)> {
        let opened = self.slot.store().open(self.slot.token_key(), &found.sealed)?;
        let token = StoredToken::read(&opened).filter(|token| right.contains(&token.right))?;
        // By the store's clock alone: those of the replicas differ.
        let age = token.lifetime.saturating_sub(found.left);
        let until = if own.is_missing { RENEWED.1 } else { RENEWED.0 };
        let is_young = age < token.lifetime.mul_f64(until);
        (is_young && own.last != Some(token_digest(token.authorization.as_bytes()))).then_some((token, age))
    }

    fn failure(&self, found: &Found, right: &[String]) -> Option<(TokenError, Duration)> {
        let opened = self.slot.store().open(self.slot.failure_key(), &found.sealed)?;
        let error = right.iter().find_map(|right| stored::failure_read(&opened, right))?;
        // No replica stores one for longer: somebody else made it last.
        let wait = found.left.min(LONGEST_FAILURE);
        Some((error, wait + AGAIN.mul_f64(fastrand::f64())))
    }

    fn sealed(&self, answer: &TokenAnswer, sign_in: Option<&str>) -> Option<Vec<u8>> {
        let token = StoredToken {
            authorization: answer.authorization.clone(),
            lifetime: answer.lifetime,
            scope: answer.scope.clone(),
            right: self.right(sign_in).into_iter().next()?,
            accepted: self.endpoint.credentials().newest().1,
        };
        self.slot.store().seal(self.slot.token_key(), &token.written()?).ok()
    }

    /// By what right this process asks, as each of the sealing keys says it: who reads a token learns no secret by which it
    /// was given, and who has other credentials does not use it.
    /// A person's token goes with the sign-in.
    fn right(&self, sign_in: Option<&str>) -> Vec<String> {
        if self.endpoint.user().is_some() {
            return sign_in.map(str::to_owned).into_iter().collect();
        }
        let keys = self.slot.store().mac_keys(RIGHT);
        let (pair, _) = self.endpoint.credentials().newest();
        keys.iter().map(|key| right_of(key, &pair)).collect()
    }
}

fn right_of(key: &hmac::Key, pair: &CredentialPair) -> String {
    let mut context = hmac::Context::with_key(key);
    for part in [Some(&pair.id), pair.secret.as_ref()] {
        let part = part.map(|secret| secret.expose());
        context.update(&[u8::from(part.is_some())]);
        let text = part.as_ref().map_or("", |text| text.as_str());
        context.update(&(text.len() as u64).to_be_bytes());
        context.update(text.as_bytes());
    }
    hex(context.sign().as_ref())
}
