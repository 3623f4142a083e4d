//! The renewal of a grant that replicas share: one of them uses the refresh token, and says so before.
//!
//! A server that rotates tokens must never see one twice. So what a replica is about to use is written first, and copied to
//! the servers that may take the store's place; and nobody renews while the store may lack what another replica wrote.

use std::sync::Arc;
use std::time::SystemTime;

use super::grant_entry::{GrantEntry, Step};
use super::grant_file::StoredGrant;
use super::shared_grant::SharedGrant;
use super::{NoSharedGrant, SignInReason, UserGrant, is_over};
use crate::observe::logging::ErrorChain;
use crate::proxy::token::endpoint::{Endpoint, GrantRequest, TokenAnswer};
use crate::proxy::token::token_error::TokenError;
use crate::shared::StoreError;

impl From<StoreError> for TokenError {
    fn from(error: StoreError) -> Self {
        Self::NoStore(error.into())
    }
}

impl UserGrant {
    /// Reads the entry, if replicas share the grant, and writes what only this process has.
    pub(in crate::proxy::token) async fn look_shared(&self) {
        if let Some(shared) = &self.shared {
            // Where it cannot be read, the next renewal says so.
            let _ = self.find(shared).await;
        }
    }

    /// Of a grant that replicas share, the sign-in by which tokens are given now.
    pub(in crate::proxy::token) async fn shared_sign_in(&self) -> Result<String, TokenError> {
        let shared = self.shared.as_ref().ok_or(StoreError::Down)?;
        let entry = self.find(shared).await?;
        self.usable(entry.as_ref()).map(|grant| grant.sign_in.clone())
    }

    async fn find(&self, shared: &SharedGrant) -> Result<Option<GrantEntry>, StoreError> {
        let entry = shared.read().await?;
        self.notice(entry.as_ref());
        Ok(entry)
    }

    fn notice(&self, entry: Option<&GrantEntry>) {
        self.seen().notice(entry.and_then(|entry| entry.grant.as_ref()), None);
    }

    fn usable<'e>(&self, entry: Option<&'e GrantEntry>) -> Result<&'e StoredGrant, TokenError> {
        let Some(entry) = entry else { return Err(self.needed(SignInReason::Never)) };
        match (entry.step(), &entry.grant) {
            (Step::Renew | Step::Doubt, Some(grant)) => Ok(grant),
            (Step::Torn, _) => Err(self.needed(SignInReason::Torn)),
            (Step::Ended, _) => Err(self.needed(SignInReason::Ended)),
            (Step::SignIn, _) | (_, None) => Err(self.needed(SignInReason::Never)),
        }
    }

    /// Uses the refresh token. To be run by who holds the lease, in a task of its own.
    pub(super) async fn renew_shared(
        self: &Arc<Self>,
        shared: &SharedGrant,
        endpoint: &Endpoint,
    ) -> Result<TokenAnswer, TokenError> {
        let state = shared.store().state();
        if !state.settled {
            let why = if state.up { NoSharedGrant::Unsettled } else { StoreError::Down.into() };
            return Err(TokenError::NoStore(why));
        }
        let found = self.find(shared).await?;
        let grant = self.usable(found.as_ref())?.clone();
        let Some(entry) = found else { return Err(self.needed(SignInReason::Never)) };
        if entry.step() == Step::Doubt {
            if !shared.is_beyond_doubt(&entry) {
                return Err(TokenError::NoStore(NoSharedGrant::Busy));
            }
            tracing::error!(
                user = self.user(),
                run = self.login(),
                "a replica ended while it renewed the sign-in, and the token that it was given is lost: sign in again, by the command in the field run"
            );
            let torn = entry.torn();
            shared.put(&torn).await?;
            self.notice(Some(&torn));
            return Err(self.needed(SignInReason::Torn));
        }
        let intended = entry.intended(shared.store().replica());
        if !shared.follow(&entry, &intended).await? {
            return Err(TokenError::NoStore(NoSharedGrant::Busy));
        }
        if let Err(error) = shared.store().wait_for_copies().await {
            self.conclude(shared, &intended.concluded(grant, None)).await;
            return Err(error.into());
        }
        let (answer, _) = endpoint.request_by(GrantRequest::RefreshToken(&grant.refresh_token)).await;
        match answer {
            Ok(mut answer) => {
                let given = answer.refresh_token.take();
                let rotates = given.as_ref().is_some_and(|given| !given.is_same(&grant.refresh_token));
                let next = intended.concluded(grant.renewed(given), Some(rotates));
                // What cannot be written is used all the same, and said.
                self.conclude(shared, &next).await;
                Ok(answer)
            }
            Err(error) if is_over(&error) => {
                let ended = StoredGrant { ended: Some(SystemTime::now()), ..grant };
                self.conclude(shared, &intended.concluded(ended, None)).await;
                Err(self.needed(SignInReason::Ended))
            }
            Err(error) => {
                self.conclude(shared, &intended.concluded(grant, None)).await;
                Err(error)
            }
        }
    }

    /// Writes what came of a renewal. Until that succeeds it is in memory, and tried again at each look.
    async fn conclude(&self, shared: &SharedGrant, entry: &GrantEntry) {
        match shared.put(entry).await {
            Ok(true) => self.notice(Some(entry)),
            Ok(false) => {
                tracing::warn!(user = self.user(), "somebody has signed in or out while the sign-in was renewed");
            }
            Err(error) => {
                self.notice(Some(entry));
                tracing::error!(
                    user = self.user(), error = %ErrorChain(&error),
                    "the renewed sign-in cannot be written to the shared store: it is kept in memory until it can, and lost if the proxy ends before"
                );
            }
        }
    }
}
