//! The token endpoint: one request of a grant (RFC 6749 sections 4.1.3, 4.4 and 6).

mod answer;
mod request;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT,
};
use http::uri::PathAndQuery;
use http::{Method, Request, Uri};
use tokio::time::timeout;

use super::credentials::{CredentialPair, Credentials};
use super::token_error::TokenError;
use super::user_grant::UserGrant;
use crate::net::dial::connect::Connector;
use crate::proxy::headers::loops::{self, LoopMark};
use crate::proxy::policy::catalog::ScopeSet;
use crate::shared::SharedStore;
pub use answer::{TokenAnswer, retry_after};
pub use request::{ClientAuthMethod, GrantRequest};

/// The longest answer that is read; a real one has about 1 KiB.
const MAX_ANSWER: usize = 64 * 1024;
/// The least time for the renewal of a person's grant.
const RENEWAL_TIME: Duration = Duration::from_secs(30);
/// Where and as whom tokens are asked for.
pub struct Endpoint {
    connector: Connector,
    path: PathAndQuery,
    auth: ClientAuthMethod,
    credentials: Arc<Credentials>,
    timeout: Duration,
    mark: Option<LoopMark>,
    /// The person whose tokens these are; `None`: they are the machine's.
    user: Option<Arc<UserGrant>>,
    /// Where replicas share them.
    store: Option<SharedStore>,
}

/// Without the connector, which holds a proxy's password, and the credentials.
impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").field("address", &self.address()).field("path", &self.path).finish_non_exhaustive()
    }
}

impl Endpoint {
    /// An endpoint at this path, on the way of all other requests; a request may take `timeout`.
    pub fn new(
        connector: Connector,
        path: PathAndQuery,
        auth: ClientAuthMethod,
        credentials: Arc<Credentials>,
        timeout: Duration,
    ) -> Self {
        Self { connector, path, auth, credentials, timeout, mark: None, user: None, store: None }
    }

    /// The same, with the mark of this process in each request.
    #[must_use]
    pub fn marked(self, mark: LoopMark) -> Self {
        Self { mark: Some(mark), ..self }
    }

    /// The same, for the tokens of a person. A renewal that is cut off may lose the grant, so it gets more time.
    #[must_use]
    pub fn of_user(self, user: Arc<UserGrant>) -> Self {
        Self { timeout: self.timeout.max(RENEWAL_TIME), user: Some(user), ..self }
    }

    /// The same, with tokens that all replicas share.
    #[must_use]
    pub fn shared_in(self, store: Option<SharedStore>) -> Self {
        Self { store, ..self }
    }

    /// Where replicas share the tokens.
    pub(super) fn store(&self) -> Option<&SharedStore> {
        self.store.as_ref()
    }

    /// The path that is asked.
    pub(super) fn path(&self) -> &str {
        self.path.as_str()
    }

    /// The credentials, of which those in use, and newer ones that are tried first.
    pub(super) fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// The person whose tokens these are.
    pub fn user(&self) -> Option<&Arc<UserGrant>> {
        self.user.as_ref()
    }

    /// How long a request may take.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The host and port that are asked, for the log.
    pub fn address(&self) -> String {
        let (authority, is_tls) = (self.connector.authority(), self.connector.is_tls());
        format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 }))
    }

    /// Counts up with each new pair of credentials, and with each sign-in.
    pub fn version(&self) -> u64 {
        self.credentials.version() + self.user.as_ref().map_or(0, |user| user.version())
    }

    /// Reads the credentials and the grant again if their files have changed.
    pub async fn look(&self) {
        self.look_for(false).await;
    }

    async fn look_for(&self, anew: bool) {
        let (credentials, user) = (Arc::clone(&self.credentials), self.user.clone());
        let look = move || {
            credentials.look(anew);
            user.iter().for_each(|user| user.look());
        };
        // Fails only when the runtime ends.
        let _ = tokio::task::spawn_blocking(look).await;
        if let Some(user) = &self.user {
            user.look_shared().await;
        }
    }

    /// Asks for a token of these scopes, or for that of the person: once, or with older or just changed credentials too if
    /// those are refused. Also tells the version of the credentials that were tried.
    pub async fn request(&self, scopes: ScopeSet) -> (Result<TokenAnswer, TokenError>, u64) {
        match &self.user {
            None => self.request_by(GrantRequest::ClientCredentials(scopes)).await,
            Some(user) => {
                let answer = user.renew(self).await;
                // A sign-in that was found on the way is the one that was tried.
                (answer, self.version())
            }
        }
    }

    /// Asks for a token with this grant, with older or just changed credentials too if those are refused.
    pub async fn request_by(&self, grant: GrantRequest<'_>) -> (Result<TokenAnswer, TokenError>, u64) {
        let tried = self.version();
        let answer = self.request_with_each(grant).await;
        if answer.as_ref().is_err_and(TokenError::is_about_client) {
            self.look_for(true).await;
            let found = self.version();
            if found != tried {
                return (self.request_with_each(grant).await, found);
            }
        }
        (answer, tried)
    }

    /// The first failure counts: it is that of the newest credentials.
    async fn request_with_each(&self, grant: GrantRequest<'_>) -> Result<TokenAnswer, TokenError> {
        let mut refusal = None;
        for pair in self.credentials.pairs() {
            match self.request_as(&pair, grant).await {
                Ok(answer) => {
                    self.credentials.accepted(&pair);
                    return Ok(answer);
                }
                Err(error) if error.is_about_client() => refusal = refusal.or(Some(error)),
                Err(error) => return Err(error),
            }
        }
        Err(refusal.unwrap_or(TokenError::InvalidClient))
    }

    async fn request_as(&self, pair: &CredentialPair, grant: GrantRequest<'_>) -> Result<TokenAnswer, TokenError> {
        let exchange = self.connector.exchange(self.ask(pair, grant), MAX_ANSWER);
        let reply = timeout(self.timeout, exchange).await.map_err(|_| TokenError::Timeout)??;
        let retry_after = reply.head.headers.get(RETRY_AFTER).and_then(retry_after);
        TokenAnswer::read(reply.head.status, retry_after, &reply.body)
    }

    fn ask(&self, pair: &CredentialPair, grant: GrantRequest<'_>) -> Request<Bytes> {
        let mut request = Request::new(Bytes::from_owner(request::form(self.auth, pair, grant)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::from(self.path.clone());
        let fields = [
            (ACCEPT, "application/json"),
            (ACCEPT_ENCODING, "identity"),
            (CONTENT_TYPE, "application/x-www-form-urlencoded"),
            (USER_AGENT, concat!("ninjaone-proxy/", env!("CARGO_PKG_VERSION"))),
        ];
        let fields = fields.into_iter().map(|(name, value)| (name, HeaderValue::from_static(value)));
        let secret = pair.secret.as_ref().filter(|_| self.auth == ClientAuthMethod::Basic);
        let authorization = secret.map(|secret| (AUTHORIZATION, request::basic(&pair.id, secret)));
        let mark = self.mark.as_ref().map(|mark| (loops::FIELD.clone(), mark.value().clone()));
        *request.headers_mut() = fields.chain(authorization).chain(mark).collect::<HeaderMap>();
        request
    }
}
