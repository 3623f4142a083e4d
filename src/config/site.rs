//! A server that an instance is at, and the ways there: for tokens, and for everything else.

use std::sync::Arc;
use std::time::Duration;

use http::uri::Authority;

use crate::dial::Route;
use crate::dial::proxy::Proxy;
use crate::tls::{TlsError, Trust};
use crate::token::credentials::Credentials;
use crate::token::endpoint::{ClientAuth, Endpoint};

/// A server, and whom we are there.
#[derive(Debug)]
pub struct Origin {
    /// The server.
    pub site: Site,
    /// The API client app's id and secret.
    pub credentials: Arc<Credentials>,
}

/// A server that an instance is at.
#[derive(Debug)]
pub struct Site {
    /// Its host and port.
    pub authority: Authority,
    /// Whom to trust over TLS; `None` for clear text on loopback.
    pub trust: Option<Trust>,
    /// The HTTP proxy on the way.
    pub proxy: Option<Arc<Proxy>>,
}

/// Why no token endpoint can be spoken to.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// Host and path make no URL.
    #[error("{0} is no URL of a token endpoint: check host and token-path")]
    Url(String),
    /// There is no TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// There is no HTTP client.
    #[error("the client of the token endpoint cannot be made")]
    Client(#[from] reqwest::Error),
}

impl Site {
    /// Whether it is the same server, reached and trusted in the same way.
    pub fn is_same(&self, other: &Self) -> bool {
        let trusted = match (&self.trust, &other.trust) {
            (None, None) => true,
            (Some(own), Some(other)) => own.is_same(other),
            (Some(_), None) | (None, Some(_)) => false,
        };
        let passed = match (&self.proxy, &other.proxy) {
            (None, None) => true,
            (Some(own), Some(other)) => own.is_same(other),
            (Some(_), None) | (None, Some(_)) => false,
        };
        self.authority == other.authority && trusted && passed
    }

    /// The token endpoint at this path; a request may take `timeout`.
    pub fn endpoint(
        &self,
        path: &str,
        auth: ClientAuth,
        credentials: Arc<Credentials>,
        timeout: Duration,
    ) -> Result<Endpoint, EndpointError> {
        let scheme = if self.trust.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}{path}", self.authority);
        let url = url.parse().map_err(|_| EndpointError::Url(url))?;
        let tls = self.trust.clone().unwrap_or_else(Trust::nobody).client_config(&[b"http/1.1"])?;
        Ok(Endpoint::new(url, auth, credentials, tls, self.proxy.as_deref(), timeout)?)
    }

    /// The way there.
    pub fn route(&self) -> Route {
        let port = self.authority.port_u16().unwrap_or(if self.trust.is_some() { 443 } else { 80 });
        Route::new(self.authority.host().trim_matches(['[', ']']).to_owned(), port, self.proxy.clone())
    }
}
