//! Persons who have signed in, as the workers use them.

use std::sync::Arc;

use super::StartError;
use crate::config::UserConfig;
use crate::proxy::policy::catalog::ScopeSet;
use crate::proxy::token::credentials::Credentials;
use crate::proxy::token::user_grant::UserGrant;
use crate::proxy::token::{TokenSource, Tokens};
use crate::shared::SharedStore;

/// A person, and the tokens of that person's grant.
#[derive(Clone)]
pub(super) struct UserRuntime {
    pub(super) name: Arc<str>,
    pub(super) scopes: ScopeSet,
    pub(super) tokens: Arc<Tokens>,
    credentials: Arc<Credentials>,
}

impl UserRuntime {
    /// What is made of a person, with the tokens that `old` has if nothing of it has changed.
    pub(super) fn next(
        UserConfig { name, scopes, credentials, file, login, .. }: UserConfig,
        old: &[Self],
        store: Option<&SharedStore>,
        tokens: impl FnOnce(&Arc<Credentials>, UserGrant) -> Result<Arc<Tokens>, StartError>,
    ) -> Result<Self, StartError> {
        let same = |old: &&Self| {
            let file_is_same = || old.tokens.user().is_some_and(|grant| *grant.file() == file);
            *old.name == *name && old.credentials.is_from_same(&credentials) && file_is_same()
        };
        let tokens = match old.iter().find(same) {
            Some(old) => Arc::clone(&old.tokens),
            None => tokens(&credentials, UserGrant::new(file, login).shared_in(store.cloned()))?,
        };
        Ok(Self { name: name.into(), scopes, tokens, credentials })
    }

    /// Where a worker gets this person's tokens.
    pub(super) fn source(&self) -> TokenSource {
        TokenSource::of_user(Arc::clone(&self.tokens), self.scopes)
    }

    /// Ends when no renewal is under way: one that is cut off may lose the grant.
    pub(super) async fn settle(&self) {
        if let Some(grant) = self.tokens.user() {
            grant.settle().await;
        }
    }
}
