//! The grant of a person who has signed in: a refresh token that is kept in a file or the shared store, and what is made
//! of it.
//!
//! Several processes may use one file: replicas, a running proxy and a command. Each renewal holds the file's lock from
//! before it reads the token until the next one is written, so that a server that rotates tokens never sees one twice.
//! Replicas on several machines share a store instead, see `shared_renewal`.

pub mod grant_entry;
pub mod grant_file;
pub mod grant_place;
pub mod shared_grant;
mod shared_renewal;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use http::StatusCode;

use super::endpoint::{Endpoint, GrantRequest, TokenAnswer};
use super::token_error::TokenError;
use crate::base::file::Stamp;
use crate::observe::logging::ErrorChain;
use crate::shared::{SharedStore, StoreError};
use grant_file::{GrantFile, GrantFileError, LockedGrantFile, StoredGrant};
use shared_grant::SharedGrant;

/// A person's grant, as one process sees it.
#[derive(Debug)]
pub struct UserGrant {
    file: GrantFile,
    /// The command line that signs the person in.
    login: String,
    seen: Mutex<SeenGrant>,
    /// One renewal of this process at a time; held to its end.
    renewing: tokio::sync::Mutex<()>,
    /// Where replicas share it, rather than the file.
    shared: Option<SharedGrant>,
}

/// What was last read or written.
#[derive(Debug, Default)]
struct SeenGrant {
    stamp: Option<Stamp>,
    status: Option<GrantStatus>,
    /// Counts the sign-ins and sign-outs.
    version: u64,
    /// A grant that could not be written.
    unsaved: Option<StoredGrant>,
}

/// What is known of a person's grant: what readiness, metrics and the status page tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantStatus {
    sign_in: String,
    /// When it was last renewed.
    pub renewed: SystemTime,
    /// When NinjaOne ended it.
    pub ended: Option<SystemTime>,
}

/// A person must sign in.
#[derive(Debug, Clone)]
pub struct SignInNeeded {
    /// The user's name in the configuration.
    pub user: String,
    /// The command line that signs in.
    pub login: String,
    /// Why.
    pub reason: SignInReason,
}

/// Why a sign-in that replicas share is not renewed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NoSharedGrant {
    /// The store does not do what it is asked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store may have lost what a replica wrote, and that is written again within seconds.
    #[error("the shared store has just come back, or was replaced: the sign-in is renewed in some seconds")]
    Unsettled,
    /// Another replica renews it.
    #[error("another replica renews it, and is not done")]
    Busy,
}

/// Why a person must sign in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignInReason {
    /// Nobody has, or has signed out again.
    Never,
    /// NinjaOne has ended the grant.
    Ended,
    /// A replica ended in the middle of a renewal.
    Torn,
    /// The file cannot be used.
    File(String),
}

impl fmt::Display for SignInNeeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = &self.user;
        match &self.reason {
            SignInReason::Never => write!(f, "the user {user} has not signed in"),
            SignInReason::Ended => write!(f, "NinjaOne has ended the sign-in of the user {user}"),
            SignInReason::Torn => {
                write!(f, "a replica ended while it renewed the sign-in of the user {user}, which is lost by that")
            }
            SignInReason::File(why) => write!(f, "the sign-in of the user {user} cannot be used: {why}"),
        }
    }
}

impl GrantStatus {
    fn of(grant: &StoredGrant) -> Self {
        Self { sign_in: grant.sign_in.clone(), renewed: grant.renewed, ended: grant.ended }
    }
}

impl UserGrant {
    /// That in this file; `login` is the command line that signs the person in.
    pub fn new(file: GrantFile, login: String) -> Self {
        Self { file, login, seen: Mutex::default(), renewing: tokio::sync::Mutex::default(), shared: None }
    }

    /// The same, in this store rather than the file.
    #[must_use]
    pub fn shared_in(self, store: Option<SharedStore>) -> Self {
        let shared = store.map(|store| SharedGrant::new(store, self.file.owner().clone()));
        Self { shared, ..self }
    }

    /// The user's name in the configuration.
    pub fn user(&self) -> &str {
        &self.file.owner().user
    }

    /// The command line that signs the person in.
    pub fn login(&self) -> &str {
        &self.login
    }

    /// Whose tokens are given: differs with each sign-in.
    pub(super) fn sign_in(&self) -> Option<String> {
        self.seen().status.as_ref().map(|status| status.sign_in.clone())
    }

    /// The file in which it is kept, or would be without a shared store.
    pub fn file(&self) -> &GrantFile {
        &self.file
    }

    /// Counts up with each sign-in and sign-out that is noticed, whichever process made it.
    pub fn version(&self) -> u64 {
        self.seen().version
    }

    /// What is known of it; `None` if nobody has signed in.
    pub fn status(&self) -> Option<GrantStatus> {
        self.seen().status.clone()
    }

    /// Reads the file again if it has changed, and writes what could not be written before. Blocks.
    pub fn look(&self) {
        if self.shared.is_some() {
            return;
        }
        let (unsaved, stamp) = (self.seen().unsaved.clone(), Stamp::of(self.file.path()));
        if let Some(grant) = unsaved {
            let saved = self.file.lock().and_then(|locked| self.save(&locked, grant));
            if saved.is_ok() {
                tracing::info!(user = self.user(), "the sign-in could be written to its file again");
            }
        } else if self.seen().stamp != stamp {
            // Where it cannot be read, the next renewal says so.
            let found = self.file.read().ok().flatten();
            self.seen().notice(found.as_ref(), stamp);
        }
    }

    /// Ends when no renewal is under way. A process that ends in one may lose the grant.
    pub async fn settle(&self) {
        drop(self.renewing.lock().await);
    }

    /// Uses the refresh token. To be run in a task of its own, which nobody cancels: the answer may hold the only token that
    /// is good from now on.
    pub(super) async fn renew(self: &Arc<Self>, endpoint: &Endpoint) -> Result<TokenAnswer, TokenError> {
        let _one = self.renewing.lock().await;
        if let Some(shared) = &self.shared {
            return self.renew_shared(shared, endpoint).await;
        }
        let (locked, grant) = self.blocking(|own| own.begin()).await?;
        let (answer, _) = endpoint.request_by(GrantRequest::RefreshToken(&grant.refresh_token)).await;
        match answer {
            Ok(mut answer) => {
                let next = grant.renewed(answer.refresh_token.take());
                // What cannot be written is used all the same, and said.
                self.keep(locked, next).await?;
                Ok(answer)
            }
            Err(error) if is_over(&error) => {
                let ended = StoredGrant { ended: Some(SystemTime::now()), ..grant };
                self.keep(locked, ended).await?;
                Err(self.needed(SignInReason::Ended))
            }
            Err(error) => Err(error),
        }
    }

    async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, TokenError> + Send + 'static,
    ) -> Result<T, TokenError> {
        let own = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || work(&own)).await;
        done.map_err(|_| TokenError::Unusable("the proxy ends"))?
    }

    /// The grant that may be used, with the lock.
    fn begin(&self) -> Result<(LockedGrantFile, StoredGrant), TokenError> {
        let unusable = |error: GrantFileError| self.needed(SignInReason::File(ErrorChain(&error).to_string()));
        // Nothing is made, not even a lock, as long as nobody has signed in: files come whole.
        if Stamp::of(self.file.path()).is_none() {
            self.seen().notice(None, None);
            return Err(self.needed(SignInReason::Never));
        }
        let locked = self.file.lock().map_err(unusable)?;
        let stamp = Stamp::of(self.file.path());
        let found = locked.read().map_err(unusable)?;
        let unsaved = self.seen().unsaved.clone();
        // What could not be written is newer, unless the person has signed in again, or out.
        let newer = unsaved.filter(|unsaved| found.as_ref().is_some_and(|found| found.sign_in == unsaved.sign_in));
        let grant = newer.or(found);
        self.seen().notice(grant.as_ref(), stamp);
        match grant {
            None => Err(self.needed(SignInReason::Never)),
            Some(grant) if grant.ended.is_some() => Err(self.needed(SignInReason::Ended)),
            Some(grant) => Ok((locked, grant)),
        }
    }

    async fn keep(self: &Arc<Self>, locked: LockedGrantFile, grant: StoredGrant) -> Result<(), TokenError> {
        let save = move |own: &Self| {
            if let Err(error) = own.save(&locked, grant) {
                tracing::error!(
                    user = own.user(), error = %ErrorChain(&error),
                    "the renewed sign-in cannot be written to its file: it is used, and lost when the proxy ends"
                );
            }
            Ok(())
        };
        self.blocking(save).await
    }

    fn save(&self, locked: &LockedGrantFile, grant: StoredGrant) -> Result<(), GrantFileError> {
        let written = locked.write(&grant);
        let mut seen = self.seen();
        seen.notice(Some(&grant), Stamp::of(self.file.path()));
        seen.unsaved = written.is_err().then_some(grant);
        written
    }

    fn needed(&self, reason: SignInReason) -> TokenError {
        let (user, login) = (self.user().to_owned(), self.login.clone());
        TokenError::SignInNeeded(Box::new(SignInNeeded { user, login, reason }))
    }

    fn seen(&self) -> MutexGuard<'_, SeenGrant> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// RFC 6749 section 5.2: only this says that the grant is over.
fn is_over(error: &TokenError) -> bool {
    matches!(
        error,
        TokenError::Refused { status: StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED, code, .. } if code == "invalid_grant"
    )
}

impl SeenGrant {
    fn notice(&mut self, found: Option<&StoredGrant>, stamp: Option<Stamp>) {
        let status = found.map(GrantStatus::of);
        let sign_in = |status: &Option<GrantStatus>| status.as_ref().map(|status| status.sign_in.clone());
        if sign_in(&self.status) != sign_in(&status) {
            self.version += 1;
            self.unsaved = None;
        }
        (self.status, self.stamp) = (status, stamp);
    }
}
