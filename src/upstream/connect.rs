//! One new connection to an instance: name, TCP, TLS, and the HTTP version that ALPN chose.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::uri::Authority;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::body::Upload;

/// The HTTP/2 window of one stream, and of a connection: bulk bodies must not wait for the round trip.
const STREAM_WINDOW: u32 = 2 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;

/// How to reach an instance.
#[derive(Clone)]
pub struct Connector {
    authority: Authority,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    patience: Duration,
}

/// What an HTTP connection is spoken through.
#[derive(Debug)]
pub(super) enum Sender {
    /// One exchange at a time.
    Http1(http1::SendRequest<Upload>),
    /// Many at once.
    Http2(http2::SendRequest<Upload>),
}

/// Why there is no connection. No octet of the request was sent.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name has no address.
    #[error("the name of the instance cannot be resolved")]
    Resolve(#[source] io::Error),
    /// No TCP connection.
    #[error("the instance cannot be reached")]
    Connect(#[source] io::Error),
    /// No TLS: an untrusted, expired or foreign certificate, or no common version.
    #[error("the TLS handshake with the instance failed")]
    Tls(#[source] io::Error),
    /// Not within the time for connecting.
    #[error("the connection to the instance took too long")]
    Timeout,
    /// The HTTP connection could not be begun.
    #[error("the HTTP connection to the instance could not be begun")]
    Http(#[source] hyper::Error),
}

/// Why an authority is no instance.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no host name or IP address")]
pub struct BadHost(String);

impl Connector {
    /// A connector to `authority` by TLS, or in clear text without it; a connection may take `patience`.
    pub fn new(
        authority: Authority,
        tls: Option<Arc<rustls::ClientConfig>>,
        patience: Duration,
    ) -> Result<Self, BadHost> {
        let host = bare_host(&authority);
        let tls = match tls {
            None => None,
            Some(config) => {
                let name = ServerName::try_from(host.to_owned()).map_err(|_| BadHost(host.to_owned()))?;
                Some((TlsConnector::from(config), name))
            }
        };
        let port = authority.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
        Ok(Self { authority, port, tls, patience })
    }

    /// The instance's host, with its port if it is not the default one: the value of `Host`.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Whether connections are encrypted.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// How long a connection may take.
    pub fn patience(&self) -> Duration {
        self.patience
    }

    pub(super) async fn connect(&self) -> Result<Sender, ConnectError> {
        timeout(self.patience, self.dial()).await.unwrap_or(Err(ConnectError::Timeout))
    }

    async fn dial(&self) -> Result<Sender, ConnectError> {
        let addresses = tokio::net::lookup_host((bare_host(&self.authority), self.port));
        let addresses: Vec<_> = addresses.await.map_err(ConnectError::Resolve)?.collect();
        let stream = TcpStream::connect(&*addresses).await.map_err(ConnectError::Connect)?;
        stream.set_nodelay(true).map_err(ConnectError::Connect)?;
        let Some((connector, name)) = &self.tls else { return begin_http1(stream).await };
        let stream = connector.connect(name.clone(), stream).await.map_err(ConnectError::Tls)?;
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            return begin_http2(stream).await;
        }
        begin_http1(stream).await
    }
}

/// The host without the brackets of an IPv6 address.
fn bare_host(authority: &Authority) -> &str {
    let host = authority.host();
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

async fn begin_http1<I>(io: I) -> Result<Sender, ConnectError>
where
    I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(io)).await.map_err(ConnectError::Http)?;
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "upstream connection ended");
        }
    });
    Ok(Sender::Http1(sender))
}

async fn begin_http2<I>(io: I) -> Result<Sender, ConnectError>
where
    I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + 'static,
{
    let (sender, connection) = http2::Builder::new(LocalExecutor)
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .handshake(TokioIo::new(io))
        .await
        .map_err(ConnectError::Http)?;
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "upstream connection ended");
        }
    });
    Ok(Sender::Http2(sender))
}

/// Runs hyper's tasks on the worker that owns the connection.
#[derive(Clone)]
struct LocalExecutor;

impl<F> hyper::rt::Executor<F> for LocalExecutor
where
    F: Future<Output = ()> + 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
