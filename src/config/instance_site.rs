//! A server that an instance is at, and the ways there: for tokens, and for everything else.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::uri::Authority;

use crate::base::same::both_or_neither;
use crate::net::dial::Route;
use crate::net::dial::connect::{BadHost, Connector};
use crate::net::dial::proxy::HttpProxy;
use crate::net::tls::{TlsError, Trust};
use crate::proxy::token::credentials::Credentials;
use crate::proxy::token::endpoint::{ClientAuthMethod, Endpoint};

/// A server, and whom we are there.
#[derive(Debug)]
pub struct ServerConfig {
    /// The server.
    pub site: InstanceSite,
    /// The API client app's id and secret.
    pub credentials: Arc<Credentials>,
}

/// A server that an instance is at.
#[derive(Debug)]
pub struct InstanceSite {
    /// Its host and port.
    pub authority: Authority,
    /// Whom to trust over TLS; `None` for clear text on loopback.
    pub trust: Option<Trust>,
    /// The HTTP proxy on the way.
    pub proxy: Option<Arc<HttpProxy>>,
    /// Where to connect instead of asking DNS; empty: DNS is asked.
    pub addresses: Vec<IpAddr>,
}

/// Why no token endpoint can be spoken to.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The path is not one.
    #[error("{0:?} is not the path of a token endpoint: check token-path")]
    Path(String),
    /// There is no way to the host.
    #[error(transparent)]
    Way(#[from] SiteError),
}

/// Why there is no way to a server.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// The host cannot be the name of a server.
    #[error(transparent)]
    Host(#[from] BadHost),
    /// There is no TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl InstanceSite {
    /// Whether it is the same server, reached and trusted in the same way.
    pub fn is_same(&self, other: &Self) -> bool {
        self.authority == other.authority
            && self.addresses == other.addresses
            && both_or_neither(self.trust.as_ref(), other.trust.as_ref(), |own, other| own.is_same(other))
            && both_or_neither(self.proxy.as_ref(), other.proxy.as_ref(), |own, other| own.is_same(other))
    }

    /// The token endpoint at this path; a connection may take the first of the times, a request the second.
    pub fn endpoint(
        &self,
        path: &str,
        auth: ClientAuthMethod,
        credentials: Arc<Credentials>,
        (connect, request): (Duration, Duration),
    ) -> Result<Endpoint, EndpointError> {
        let path = path.parse().map_err(|_| EndpointError::Path(path.to_owned()))?;
        let connector = self.connector(connect)?;
        Ok(Endpoint::new(connector, path, auth, credentials, request))
    }

    /// What makes connections there, each within `connect`.
    pub fn connector(&self, connect: Duration) -> Result<Connector, SiteError> {
        let tls = self.trust.as_ref().map(|trust| trust.client_config(&[])).transpose()?;
        Ok(Connector::new(self.authority.clone(), tls, self.route(), connect)?)
    }

    /// The way there.
    pub fn route(&self) -> Route {
        let port = self.authority.port_u16().unwrap_or(if self.trust.is_some() { 443 } else { 80 });
        let host = self.authority.host().trim_matches(['[', ']']).to_owned();
        Route::new(host, port, self.proxy.clone()).at(&self.addresses)
    }
}
