//! The tokens as readiness, metrics and the page see them.

use std::sync::Arc;
use std::time::SystemTime;

use crate::observe::logging::ErrorChain;
use crate::observe::metrics::{TokenStatus, UserStatus};
use crate::proxy::policy::catalog::ScopeSet;
use crate::proxy::token::TokenError;
use crate::proxy::token::Tokens;
use crate::proxy::token::user_grant::UserGrant;
use crate::tools::admin::{TokenState, UserState};
use crate::tools::doctor;

/// A grant that is kept.
#[derive(Clone)]
pub(in crate::app) struct ShownGrant {
    pub(in crate::app) instance: String,
    pub(in crate::app) tokens: Arc<Tokens>,
    pub(in crate::app) scopes: ScopeSet,
    /// The names of the listeners that need it.
    pub(in crate::app) listeners: Vec<String>,
}

impl ShownGrant {
    /// As readiness, metrics, and the page show it.
    pub(super) async fn read(self) -> TokenState {
        let Self { instance, tokens, scopes, listeners } = self;
        let status = tokens.status(scopes).await;
        TokenState {
            instance,
            scopes: scopes.to_string(),
            expires_in: status.expires_in,
            age: status.age,
            problem: status.failure.as_ref().map(|failure| failure.to_string()),
            causes: status.failure.as_ref().map(|failure| ErrorChain(&**failure).to_string()),
            user: tokens.user().map(|grant| user_state(grant)),
            remedy: status.failure.map(|failure| remedy(&failure, scopes, &listeners, tokens.doctor())),
        }
    }
}

/// The tokens of the machine as gauges, and the sign-ins of persons.
pub(super) fn gauges(tokens: &[TokenState]) -> (Vec<TokenStatus>, Vec<UserStatus>) {
    let (mut machine, mut users) = (Vec::new(), Vec::new());
    for TokenState { instance, scopes, expires_in, age, user, .. } in tokens {
        let (instance, expires_in) = (instance.clone(), expires_in.unwrap_or_default());
        match user {
            Some(UserState { name, renewed }) => {
                users.push(UserStatus { instance, user: name.clone(), renewed: *renewed });
            }
            None => machine.push(TokenStatus { instance, scopes: scopes.clone(), expires_in, age: *age }),
        }
    }
    (machine, users)
}

fn user_state(grant: &UserGrant) -> UserState {
    let renewed = grant.status().filter(|status| status.ended.is_none()).map(|status| status.renewed);
    let renewed = renewed.map(|renewed| SystemTime::now().duration_since(renewed).unwrap_or_default());
    UserState { name: grant.user().to_owned(), renewed }
}

/// What an administrator can do when a token cannot be fetched.
fn remedy(error: &TokenError, scopes: ScopeSet, listeners: &[String], doctor: &str) -> String {
    match error {
        TokenError::Exchange(_) => {
            format!("run: {doctor} (it tries name, network, proxy and certificate one by one)")
        }
        TokenError::SignInNeeded(_)
        | TokenError::UnknownClient
        | TokenError::InvalidClient
        | TokenError::InvalidScope
        | TokenError::Refused { .. }
        | TokenError::Unusable(_)
        | TokenError::OfReplica(_)
        | TokenError::NoStore(_)
        | TokenError::Timeout => {
            let listeners = listeners.iter().map(|name| format!("[listeners.{name}]")).collect::<Vec<_>>().join(", ");
            doctor::fix(error, scopes, &listeners)
        }
    }
}
