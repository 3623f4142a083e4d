//! How a sandbox is started: its client, and how long what it issues is good.

use std::time::Duration;

use crate::base::secret::Secret;
use crate::proxy::policy::catalog::{Scope, ScopeSet};
use crate::proxy::token::credentials::Credentials;

/// How the sandbox is started. It has no `Debug`: it holds the client secret.
#[derive(Clone)]
pub struct Options {
    /// The only client id that the token endpoint knows.
    pub client_id: String,
    /// The client's secret.
    pub client_secret: String,
    /// The scopes that the client may ask for.
    pub scopes: ScopeSet,
    /// How long a token is good; `expires_in` tells it in whole seconds.
    pub token_lifetime: Duration,
    /// For how long after that a token is still taken: a clock that is not exact.
    pub token_grace: Duration,
    /// The wait before each answer of the token endpoint.
    pub token_delay: Duration,
    /// By how many seconds the clock of its `Date` is ahead of the machine's; negative: behind.
    pub date_ahead: i64,
    /// Whether the client is a Native app, which may send a person back to `http://127.0.0.1`, to any port.
    pub native: bool,
    /// Where a Web app may send a person back to: these URLs, to the byte. With none, and not native, it is an app for
    /// machines only, and nobody can sign in.
    pub redirect_uris: Vec<String>,
    /// Whether the client may have refresh tokens.
    pub offline_access: bool,
    /// How long an authorization code is good.
    pub code_lifetime: Duration,
    /// How long a refresh token is good.
    pub refresh_lifetime: Duration,
    /// Whether each refresh gives a new refresh token and ends the old one.
    pub rotate_refresh_tokens: bool,
}

impl Default for Options {
    /// The client `sandbox` with the secret `sandbox-secret`: no secret at all, since nothing here is real.
    fn default() -> Self {
        Self::with_secret("sandbox-secret")
    }
}

impl Options {
    /// The client, as the proxy's token requests name it.
    pub fn credentials(&self) -> Credentials {
        let [id, secret] = [&self.client_id, &self.client_secret].map(|text| Secret::new(text.clone()));
        Credentials::given(id, secret)
    }

    /// The client `sandbox`, a Native app with all scopes, tokens for an hour, refresh tokens for 30 days, and no delay.
    pub fn with_secret(client_secret: impl Into<String>) -> Self {
        Self {
            client_id: "sandbox".to_owned(),
            client_secret: client_secret.into(),
            scopes: Scope::ALL.into_iter().collect(),
            token_lifetime: Duration::from_secs(3600),
            token_grace: Duration::ZERO,
            token_delay: Duration::ZERO,
            date_ahead: 0,
            native: true,
            redirect_uris: Vec::new(),
            offline_access: true,
            code_lifetime: Duration::from_secs(60),
            refresh_lifetime: Duration::from_secs(30 * 24 * 3600),
            rotate_refresh_tokens: true,
        }
    }
}
