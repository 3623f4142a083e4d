//! Where an instance is, and how it is spoken to: name, TCP, TLS, and one HTTP exchange.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{HeaderValue, USER_AGENT};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::recording_verifier::RecordingVerifier;
use crate::config::sections::TimeoutsSection;
use crate::config::{InstanceSite, SiteError};
use crate::net::dial::DialError;
use crate::net::dial::exchange::{CollectedAnswer, ExchangeError};
use crate::net::tls::{TlsError, Trust};

/// No answer that is read here is longer.
const MAX_BODY: usize = 1 << 20;

/// An instance's server, and how long to wait for it.
#[derive(Debug)]
pub(super) struct InstanceServer {
    /// The instance's name in the configuration.
    pub(super) instance: String,
    pub(super) site: InstanceSite,
    pub(super) timeouts: TimeoutsSection,
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum InstanceServerError {
    #[error("no answer in time")]
    Timeout,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("it is not a host name or IP address")]
    Name(#[from] rustls::pki_types::InvalidDnsNameError),
    #[error(transparent)]
    Way(#[from] SiteError),
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    #[error("the request cannot be made")]
    Request(#[from] http::Error),
}

impl InstanceServer {
    /// The host without the brackets of an IPv6 address.
    pub(super) fn host(&self) -> &str {
        self.site.authority.host().trim_matches(['[', ']'])
    }

    pub(super) fn port(&self) -> u16 {
        self.site.authority.port_u16().unwrap_or(if self.site.trust.is_some() { 443 } else { 80 })
    }

    /// What to do if it sends requests back to the proxy that they come from.
    pub(super) fn loop_fix(&self) -> String {
        let Self { instance, site, .. } = self;
        format!(
            "{} sends requests back to this proxy: set host in [instances.{instance}] to NinjaOne's host",
            site.authority
        )
    }

    /// The addresses that TCP goes to: the instance's, or those of the proxy on the way.
    pub(super) async fn resolve(&self) -> Result<Vec<SocketAddr>, InstanceServerError> {
        let route = self.site.route();
        Ok(timeout(self.timeouts.connect.0, route.resolve()).await.map_err(|_| InstanceServerError::Timeout)??)
    }

    /// A connection that the instance is at the other end of, and where TCP itself goes.
    pub(super) async fn dial(&self, addresses: &[SocketAddr]) -> Result<(TcpStream, SocketAddr), InstanceServerError> {
        let route = self.site.route();
        let dialled = async {
            let mut stream = route.connect(addresses).await?;
            route.tunnel(&mut stream).await?;
            Ok::<_, DialError>(stream)
        };
        let stream = timeout(self.timeouts.connect.0, dialled).await.map_err(|_| InstanceServerError::Timeout)??;
        let address = stream.peer_addr()?;
        Ok((stream, address))
    }

    pub(super) async fn handshake(
        &self,
        trust: &Trust,
        judge: Arc<RecordingVerifier>,
        alpn: &[&[u8]],
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, InstanceServerError> {
        let name = ServerName::try_from(self.host().to_owned())?;
        let connector = TlsConnector::from(Arc::new(trust.judged_config(judge, alpn)?));
        Ok(timeout(self.timeouts.connect.0, connector.connect(name, stream))
            .await
            .map_err(|_| InstanceServerError::Timeout)??)
    }

    /// One request on a connection of its own, which the proxy's own connector makes.
    pub(super) async fn exchange(
        &self,
        request: http::request::Builder,
    ) -> Result<CollectedAnswer, InstanceServerError> {
        let agent = HeaderValue::from_static(concat!("ninjaone-proxy/", env!("CARGO_PKG_VERSION")));
        let request = request.header(USER_AGENT, agent).body(Bytes::new())?;
        let connector = self.site.connector(self.timeouts.connect.0)?;
        let exchange = timeout(self.timeouts.upstream.0, connector.exchange(request, MAX_BODY));
        Ok(exchange.await.map_err(|_| InstanceServerError::Timeout)??)
    }
}
