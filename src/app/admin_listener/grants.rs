//! The tokens as readiness, metrics and the page see them.

use std::sync::Arc;

use crate::observe::logging::ErrorChain;
use crate::observe::metrics::TokenStatus;
use crate::proxy::policy::catalog::ScopeSet;
use crate::proxy::token::TokenError;
use crate::proxy::token::Tokens;
use crate::tools::admin::TokenState;
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
    pub(super) async fn read(self) -> (TokenState, TokenStatus) {
        let Self { instance, tokens, scopes, listeners } = self;
        let status = tokens.status(scopes).await;
        let reading = TokenStatus {
            instance: instance.clone(),
            scopes: scopes.to_string(),
            expires_in: status.expires_in.unwrap_or_default(),
            age: status.age,
        };
        let state = TokenState {
            instance,
            scopes: scopes.to_string(),
            expires_in: status.expires_in,
            problem: status.failure.as_ref().map(|failure| failure.to_string()),
            causes: status.failure.as_ref().map(|failure| ErrorChain(&**failure).to_string()),
            remedy: status.failure.map(|failure| remedy(&failure, scopes, &listeners, tokens.doctor())),
        };
        (state, reading)
    }
}

/// What an administrator can do when a token cannot be fetched.
fn remedy(error: &TokenError, scopes: ScopeSet, listeners: &[String], doctor: &str) -> String {
    match error {
        TokenError::Exchange(_) => {
            format!("run: {doctor} (it tries name, network, proxy and certificate one by one)")
        }
        TokenError::UnknownClient
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
