//! The sign-in of a person: authorization code with PKCE (RFC 6749 section 4.1, RFC 7636, RFC 8252).
//!
//! The order is that of a person's needs: what can be told without a browser is told before one opens; the port that the
//! browser comes back to is bound before the address is shown; the grant that is there stays until the new one is whole.

pub mod authorization;
pub mod browser;
pub mod callback;
pub(crate) mod places;

use std::time::Duration;

use http::StatusCode;
use tokio::time::timeout;

use self::authorization::{Authorization, AuthorizeEndpoint, AuthorizeError};
use self::callback::{Callback, CallbackListener, SignInOutcome};
use crate::base::secret::Secret;
use crate::config::UserConfig;
use crate::observe::logging::ErrorChain;
use crate::proxy::response::CONSOLE;
use crate::proxy::token::TokenError;
use crate::proxy::token::endpoint::{Endpoint, GrantRequest};
use crate::proxy::token::user_grant::grant_file::StoredGrant;
use crate::proxy::token::user_grant::grant_place::{GrantPlace, GrantPlaceError};

/// Why nobody is signed in now who was not before.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// The instance would not show a page for signing in, or has sent the browser back with an error.
    #[error(transparent)]
    Authorize(#[from] AuthorizeError),
    /// The person did not come back in time.
    #[error("nobody has signed in within {0:?}: run the command again, and sign in while it waits")]
    Late(Duration),
    /// What the person pasted, or a closed standard input.
    #[error("{0}")]
    Pasted(String),
    /// There is no code that can be exchanged for tokens.
    #[error("the sign-in ended well, but brought no token: {}; {}", ErrorChain(.0), token_advice(.0))]
    Token(#[from] TokenError),
    /// The grant is not one that lasts.
    #[error(
        "NinjaOne gave a token that ends within the hour, and none to renew it: in {CONSOLE}, allow the grant type Refresh Token for the app, tick the scope offline_access if it is listed, and run the command again"
    )]
    NoRefreshToken,
    /// It cannot be kept.
    #[error(transparent)]
    Place(#[from] GrantPlaceError),
}

/// What passes by itself.
const BUSY: &str = "run the command again in some minutes";

/// What to do where the code was not exchanged.
fn token_advice(error: &TokenError) -> String {
    match error {
        TokenError::InvalidClient => format!(
            "look at the app in {CONSOLE}: an app of the platform Web needs client-secret, and the grant type Authorization Code must be allowed"
        ),
        TokenError::UnknownClient => "check host (the region) and client-id".to_owned(),
        TokenError::InvalidScope => format!("tick the scopes of the user among those of the app in {CONSOLE}"),
        TokenError::Refused { status: StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED, code, .. }
            if code == "invalid_grant" =>
        {
            "the code was used before, or is older than a minute: run the command again".to_owned()
        }
        TokenError::Refused { code, .. } if code == "unsupported_grant_type" => {
            format!("in {CONSOLE}, allow the grant types Authorization Code and Refresh Token for the app")
        }
        TokenError::Refused { retry_after: Some(wait), .. } => {
            format!("run the command again after {} s", wait.as_secs())
        }
        TokenError::Refused { status: StatusCode::TOO_MANY_REQUESTS, .. } => BUSY.to_owned(),
        TokenError::Refused { status, .. } if status.is_server_error() => BUSY.to_owned(),
        TokenError::Refused { .. } => {
            format!("check host and token-path, compare the app in {CONSOLE}, and run the command again")
        }
        TokenError::Unusable(_) => {
            "check host and token-path: what answers there is not the token endpoint of NinjaOne".to_owned()
        }
        TokenError::Timeout => "run the command again; if it stays, raise timeouts.token".to_owned(),
        TokenError::Exchange(_) => "run the command again; if it stays, run ninjaone-proxy doctor".to_owned(),
        TokenError::SignInNeeded(_) | TokenError::OfReplica(_) | TokenError::NoStore(_) => {
            "run the command again".to_owned()
        }
    }
}

/// A sign-in that waits for the browser.
pub struct PendingSignIn<'a> {
    authorization: Authorization,
    endpoint: &'a Endpoint,
    user: &'a UserConfig,
    place: &'a GrantPlace,
    /// `None`: the port is taken, and the person pastes the address.
    listener: Option<CallbackListener>,
}

impl<'a> PendingSignIn<'a> {
    /// Asks the instance whether it would show a page for signing in, and the system whether a grant can be kept. Opens
    /// nothing.
    pub async fn begin(
        endpoint: &'a Endpoint,
        page: &AuthorizeEndpoint<'_>,
        (user, place): (&'a UserConfig, &'a GrantPlace),
        listener: Option<CallbackListener>,
    ) -> Result<Self, SignInError> {
        place.try_writing().await?;
        let port = listener.as_ref().map_or(user.redirect.port(), CallbackListener::port);
        let redirect_uri = user.redirect.uri(if port == 0 { callback::PASTED_PORT } else { port });
        let authorization = Authorization::new(page, &user.credentials.id(), &redirect_uri, user.scopes)?;
        authorization.preflight(page.connector, endpoint.timeout()).await?;
        Ok(Self { authorization, endpoint, user, place, listener })
    }

    /// The address that the person must open.
    pub fn address(&self) -> String {
        self.authorization.address()
    }

    /// Waits for the browser, or for the address that the person pastes, exchanges the code, and keeps the grant.
    pub async fn finish(
        self,
        pasted: impl AsyncFnOnce(&Authorization) -> Result<Callback, SignInError>,
        time: Duration,
    ) -> Result<StoredGrant, SignInError> {
        let Self { authorization, endpoint, user, place, listener } = self;
        let came = async {
            match listener {
                Some(listener) => tokio::select! {
                    came = listener.wait(&authorization) => Ok(came),
                    pasted = pasted(&authorization) => pasted,
                },
                None => pasted(&authorization).await,
            }
        };
        let callback = timeout(time, came).await.map_err(|_| SignInError::Late(time))??;
        let Callback { result, reply } = callback;
        let signed_in = match result {
            Ok(code) => exchange(endpoint, (user, place), &authorization, &code).await,
            Err(error) => Err(error.into()),
        };
        if let Some(reply) = reply {
            let failed = |error: &SignInError| SignInOutcome::Failed(error.to_string());
            reply.send(signed_in.as_ref().err().map_or(SignInOutcome::SignedIn, failed)).await;
        }
        signed_in
    }
}

async fn exchange(
    endpoint: &Endpoint,
    (user, place): (&UserConfig, &GrantPlace),
    authorization: &Authorization,
    code: &Secret,
) -> Result<StoredGrant, SignInError> {
    let request = GrantRequest::AuthorizationCode {
        code,
        redirect_uri: authorization.redirect_uri(),
        verifier: authorization.verifier(),
    };
    let answer = endpoint.request_by(request).await.0?;
    let refresh_token = answer.refresh_token.ok_or(SignInError::NoRefreshToken)?;
    let scopes = answer.scope.unwrap_or_else(|| user.scopes.to_string());
    let grant = StoredGrant::new(refresh_token, scopes);
    place.write(&grant).await?;
    Ok(grant)
}
