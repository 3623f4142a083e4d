//! The local token endpoint, for clients that insist on one.

use std::cell::Cell;
use std::rc::Rc;

use http::request::Parts;
use http::{Method, Response};
use zeroize::Zeroizing;

use super::Proxy;
use super::response::{self, Rejection, ResponseBody};
use crate::net::body;
use crate::net::listener::RequestBody;
use crate::observe::access_log::RequestLog;
use crate::proxy::authn::local_tokens::{self, OAuthPath, TokenRequest};
use crate::proxy::authn::{AuthnError, Unauthenticated};
use crate::proxy::upstream::UpstreamError;

/// The longest token request, in bytes.
const MAX_FORM: usize = 16 * 1024;

impl Proxy {
    /// Answers a token request. Nothing of it goes to NinjaOne.
    pub(super) async fn grant(
        &self,
        path: OAuthPath,
        visitor: &Unauthenticated,
        head: &Parts,
        body: RequestBody,
        log: &mut RequestLog,
    ) -> Result<Response<ResponseBody>, Rejection> {
        match path {
            OAuthPath::Authorize => return Err(AuthnError::SignIn.into()),
            OAuthPath::Token if head.method != Method::POST => return Err(Rejection::Grant(AuthnError::NotPost)),
            OAuthPath::Token => {}
        }
        let wait = self.body_limits.wait;
        let form = body::read_small(body, head.version, wait, MAX_FORM).await.map_err(UpstreamError::Upload)?;
        log.count_received(Rc::new(Cell::new(form.len() as u64)));
        let request = TokenRequest::read(&head.headers, &head.uri, &Zeroizing::new(form));
        let granted = self.authn.grant_token(visitor, &request).map_err(Rejection::Grant)?;
        let scope = request.scope().unwrap_or(&granted.context.scopes);
        Ok(response::granted(&granted.token, local_tokens::LIFETIME, scope))
    }
}
