//! One new connection to an instance: name, TCP, TLS, and the HTTP version that ALPN chose.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use http::uri::Authority;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use super::http2;
use super::wire::{Track, Wire};
use crate::body::Upload;
use crate::dial::{DialError, Route};
use crate::metrics::traffic::{Protocol, Traffic};

/// The longest head of an answer, and with that what hyper reads at a time, in octets.
const MAX_HEAD: usize = 64 * 1024;
const READ_BUFFER: usize = 128 * 1024;

/// How to reach an instance.
#[derive(Clone)]
pub struct Connector {
    authority: Authority,
    route: Route,
    tls: Option<Tls>,
    patience: Duration,
}

/// How to speak TLS to an instance.
#[derive(Clone)]
struct Tls {
    /// Offers HTTP/1.1 only.
    http1: TlsConnector,
    /// Offers both, HTTP/2 first.
    http2: TlsConnector,
    name: ServerName<'static>,
}

/// What a connection may speak; in clear text it is HTTP/1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offer {
    /// HTTP/1.1, or HTTP/2 to a server that has nothing else.
    Http1,
    /// HTTP/2, or HTTP/1.1 to a server that has nothing else.
    Http2,
}

/// A new connection.
pub(super) struct Opened {
    pub(super) sender: Sender,
    pub(super) track: Rc<Track>,
}

/// What an HTTP connection is spoken through.
#[derive(Debug)]
pub(super) enum Sender {
    /// One exchange at a time.
    Http1(http1::SendRequest<Upload>),
    /// Many at once.
    Http2(http2::Client),
}

/// Why there is no connection. No octet of the request was sent.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No TCP connection.
    #[error("the instance cannot be reached")]
    Dial(#[from] DialError),
    /// No TLS: an untrusted, expired or foreign certificate, or no common version.
    #[error("the TLS handshake with the instance failed")]
    Tls(#[source] io::Error),
    /// Not within the time for connecting.
    #[error("the connection to the instance took too long: {0} did not end in time")]
    Timeout(Step),
    /// The HTTP connection could not be begun.
    #[error("the HTTP connection to the instance could not be begun")]
    Http(#[source] super::Break),
}

/// What a connection is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Another connection that was being opened, and may be shared.
    Turn,
    /// Looking up the name.
    Name,
    /// TCP.
    Tcp,
    /// Having an HTTP proxy connect us.
    Proxy,
    /// TLS.
    Tls,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Turn => "the wait for a connection",
            Self::Name => "the look-up of its name",
            Self::Tcp => "the TCP connection",
            Self::Proxy => "the proxy's answer",
            Self::Tls => "the TLS handshake",
        })
    }
}

/// Why an authority is no instance.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no host name or IP address")]
pub struct BadHost(String);

impl Connector {
    /// A connector to `authority` by TLS, or in clear text without it, that goes this way; a connection may take
    /// `patience`. What `tls` offers by ALPN is set here.
    pub fn new(
        authority: Authority,
        tls: Option<Arc<rustls::ClientConfig>>,
        route: Route,
        patience: Duration,
    ) -> Result<Self, BadHost> {
        let host = authority.host().trim_matches(['[', ']']);
        let tls = match tls {
            None => None,
            Some(config) => {
                let name = ServerName::try_from(host.to_owned()).map_err(|_| BadHost(host.to_owned()))?;
                let offer = |protocols: &[&[u8]]| {
                    let mut config = rustls::ClientConfig::clone(&config);
                    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
                    TlsConnector::from(Arc::new(config))
                };
                Some(Tls { http1: offer(&[b"http/1.1"]), http2: offer(&[b"h2", b"http/1.1"]), name })
            }
        };
        Ok(Self { authority, route, tls, patience })
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

    /// A connection, counted as `traffic` as long as it is open, or the step that did not end before `deadline`.
    pub(super) async fn connect(
        &self,
        offer: Offer,
        deadline: Instant,
        traffic: &Traffic,
    ) -> Result<Opened, ConnectError> {
        let step = Cell::new(Step::Name);
        let opened = async {
            match self.dial(offer, &step, traffic).await {
                Err(error) if offer == Offer::Http1 && error.is_no_common_protocol() => {
                    step.set(Step::Name);
                    self.dial(Offer::Http2, &step, traffic).await
                }
                opened => opened,
            }
        };
        timeout_at(deadline, opened).await.unwrap_or_else(|_| Err(ConnectError::Timeout(step.get())))
    }

    async fn dial(&self, offer: Offer, step: &Cell<Step>, traffic: &Traffic) -> Result<Opened, ConnectError> {
        let addresses = self.route.resolve().await?;
        step.set(Step::Tcp);
        let mut stream = self.route.connect(&addresses).await?;
        notice_death(&stream, self.patience);
        step.set(Step::Proxy);
        self.route.tunnel(&mut stream).await?;
        step.set(Step::Tls);
        let track = Rc::<Track>::default();
        let stream = Wire::new(stream, Rc::clone(&track));
        let sender = match &self.tls {
            None => begin_http1(stream, traffic).await?,
            Some(Tls { http1, http2, name }) => {
                let connector = if offer == Offer::Http1 { http1 } else { http2 };
                let stream = connector.connect(name.clone(), stream).await.map_err(ConnectError::Tls)?;
                if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                    let begun = http2::begin(stream, MAX_HEAD as u32, self.patience, Rc::clone(&track), traffic);
                    Sender::Http2(begun.await.map_err(|error| ConnectError::Http(error.into()))?)
                } else {
                    begin_http1(stream, traffic).await?
                }
            }
        };
        Ok(Opened { sender, track })
    }
}

impl ConnectError {
    /// The server speaks nothing of what was offered (RFC 7301 section 3.2).
    fn is_no_common_protocol(&self) -> bool {
        let Self::Tls(error) = self else { return false };
        let tls = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
        matches!(tls, Some(rustls::Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol)))
    }
}

/// A far end that has vanished says nothing. Octets that nobody acknowledges for twice the time for connecting end the
/// connection, and so do questions that nobody answers; where the system cannot do that, the answer is late.
fn notice_death(stream: &TcpStream, patience: Duration) {
    let socket = SockRef::from(stream);
    let _ = socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(patience * 2).with_interval(patience));
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "fuchsia"))]
    let _ = socket.set_tcp_user_timeout(Some(patience * 2));
}

async fn begin_http1<I>(io: I, traffic: &Traffic) -> Result<Sender, ConnectError>
where
    I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + 'static,
{
    let mut builder = http1::Builder::new();
    builder.max_header_size(MAX_HEAD).max_buf_size(READ_BUFFER);
    let (sender, connection) =
        builder.handshake(TokioIo::new(io)).await.map_err(|error| ConnectError::Http(error.into()))?;
    let open = traffic.open(Protocol::Http1);
    tokio::task::spawn_local(async move {
        let _open = open;
        if let Err(error) = connection.await {
            tracing::debug!(%error, "upstream connection ended");
        }
    });
    Ok(Sender::Http1(sender))
}
