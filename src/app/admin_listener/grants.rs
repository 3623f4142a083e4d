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
    /// As the page shows it, and as the metrics do: a token of the machine, or the sign-in of a person.
    pub(super) async fn read(self) -> (TokenState, Result<TokenStatus, UserStatus>) {
        let Self { instance, tokens, scopes, listeners } = self;
        let status = tokens.status(scopes).await;
        let user = tokens.user().map(|grant| user_state(grant));
        let instance_name = instance.clone();
        let reading = match &user {
            Some(UserState { name, renewed }) => {
                Err(UserStatus { instance: instance_name, user: name.clone(), renewed: *renewed })
            }
            None => Ok(TokenStatus {
                instance: instance_name,
                scopes: scopes.to_string(),
                expires_in: status.expires_in.unwrap_or_default(),
                age: status.age,
            }),
        };
        let state = TokenState {
            instance,
            scopes: scopes.to_string(),
            expires_in: status.expires_in,
            problem: status.failure.as_ref().map(|failure| failure.to_string()),
            causes: status.failure.as_ref().map(|failure| ErrorChain(&**failure).to_string()),
            user,
            remedy: status.failure.map(|failure| remedy(&failure, scopes, &listeners, tokens.doctor())),
        };
        (state, reading)
    }
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
        | TokenError::Timeout => {
            let listeners = listeners.iter().map(|name| format!("[listeners.{name}]")).collect::<Vec<_>>().join(", ");
            doctor::fix(error, scopes, &listeners)
        }
    }
}
