//! One new connection to a server: name, TCP, TLS, and the HTTP version that ALPN chose.

use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use http::uri::Authority;
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::protocol::ExchangeBreak;
use super::{DialError, Route};
use crate::net::tls::server_verifier;

/// How to reach a server: the one way out, for API requests and for token requests.
#[derive(Clone)]
pub struct Connector {
    authority: Authority,
    route: Route,
    tls: Option<TlsSettings>,
    connect_timeout: Duration,
}

/// How to speak TLS to a server.
#[derive(Clone)]
struct TlsSettings {
    /// Offers HTTP/1.1 only.
    http1: TlsConnector,
    /// Offers both, HTTP/2 first.
    http2: TlsConnector,
    name: ServerName<'static>,
}

/// What a connection may speak; in clear text it is HTTP/1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offer {
    /// HTTP/1.1, or HTTP/2 to a server that has nothing else.
    Http1,
    /// HTTP/2, or HTTP/1.1 to a server that has nothing else.
    Http2,
}

/// A connection that HTTP can begin on.
pub(crate) enum Connection<I> {
    /// In clear text, which is HTTP/1.1.
    Clear(I),
    /// Over TLS, where HTTP/1.1 was chosen, or nothing.
    Http1(TlsStream<I>),
    /// Over TLS, where HTTP/2 was chosen.
    Http2(TlsStream<I>),
}

/// Why there is no connection. No byte of the request was sent.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No TCP connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// No TLS: an untrusted, expired or foreign certificate, or no common version.
    #[error("the TLS handshake with the instance failed: {}", in_words(.0))]
    Tls(io::Error),
    /// Not within the time for connecting.
    #[error("the connection to the instance took too long: {0} did not end in time")]
    Timeout(Step),
    /// The HTTP connection could not be begun.
    #[error("the HTTP connection to the instance could not be begun")]
    Http(#[source] ExchangeBreak),
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
    /// The beginning of HTTP.
    Http,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Turn => "the wait for a connection",
            Self::Name => "the look-up of its name",
            Self::Tcp => "the TCP connection",
            Self::Proxy => "the proxy's answer",
            Self::Tls => "the TLS handshake",
            Self::Http => "the beginning of HTTP",
        })
    }
}

impl Step {
    /// What this step brings, if it ends before the deadline.
    pub(crate) async fn before<T, E>(
        self,
        deadline: Instant,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, ConnectError>
    where
        ConnectError: From<E>,
    {
        Ok(timeout_at(deadline, work).await.map_err(|_| ConnectError::Timeout(self))??)
    }
}

/// Why an authority cannot be an instance.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a host name or IP address")]
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
                Some(TlsSettings { http1: offer(&[b"http/1.1"]), http2: offer(&[b"h2", b"http/1.1"]), name })
            }
        };
        Ok(Self { authority, route, tls, connect_timeout: patience })
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
        self.connect_timeout
    }

    /// A connection over what `wrap` makes of the socket, or the step that did not end before `deadline`.
    pub(crate) async fn connect<I>(
        &self,
        offer: Offer,
        deadline: Instant,
        wrap: impl Fn(TcpStream) -> I,
    ) -> Result<Connection<I>, ConnectError>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        match self.connect_once(offer, deadline, &wrap).await {
            Err(error) if offer == Offer::Http1 && error.is_no_common_protocol() => {
                self.connect_once(Offer::Http2, deadline, &wrap).await
            }
            connected => connected,
        }
    }

    async fn connect_once<I>(
        &self,
        offer: Offer,
        deadline: Instant,
        wrap: &impl Fn(TcpStream) -> I,
    ) -> Result<Connection<I>, ConnectError>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let addresses = Step::Name.before(deadline, self.route.resolve()).await?;
        let mut stream = Step::Tcp.before(deadline, self.route.connect(&addresses)).await?;
        notice_death(&stream, self.connect_timeout);
        Step::Proxy.before(deadline, self.route.tunnel(&mut stream)).await?;
        let stream = wrap(stream);
        let Some(TlsSettings { http1, http2, name }) = &self.tls else { return Ok(Connection::Clear(stream)) };
        let connector = if offer == Offer::Http1 { http1 } else { http2 };
        let shaken = async { connector.connect(name.clone(), stream).await.map_err(ConnectError::Tls) };
        let stream = Step::Tls.before(deadline, shaken).await?;
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok(if is_http2 { Connection::Http2(stream) } else { Connection::Http1(stream) })
    }
}

impl ConnectError {
    /// rustls's error, if TLS itself failed, and not the connection below it.
    pub fn tls(&self) -> Option<&rustls::Error> {
        if let Self::Tls(error) = self { tls_in(error) } else { None }
    }

    /// The server speaks nothing of what was offered (RFC 7301 section 3.2).
    fn is_no_common_protocol(&self) -> bool {
        let alert = rustls::Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol);
        self.tls() == Some(&alert)
    }
}

/// What a handshake failed of, in words.
pub fn in_words(error: &io::Error) -> String {
    match tls_in(error) {
        Some(error) => server_verifier::in_words(error),
        // The text of rustls has an address in it.
        None if error.kind() == io::ErrorKind::UnexpectedEof => "the other side closed the connection".to_owned(),
        None => error.to_string(),
    }
}

/// rustls's error, which comes wrapped in one or more of `std::io`, whose sources skip what they wrap.
pub(crate) fn tls_in(error: &io::Error) -> Option<&rustls::Error> {
    let inner = error.get_ref()?;
    inner.downcast_ref().or_else(|| inner.downcast_ref().and_then(tls_in))
}

/// A far end that has vanished says nothing. Bytes that nobody acknowledges for twice the time for connecting end the
/// connection, and so do questions that nobody answers; where the system cannot do that, the answer is late.
pub(crate) fn notice_death(stream: &TcpStream, patience: Duration) {
    let socket = SockRef::from(stream);
    let _ = socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(patience * 2).with_interval(patience));
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "fuchsia"))]
    let _ = socket.set_tcp_user_timeout(Some(patience * 2));
}
