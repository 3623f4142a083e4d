//! Where an instance is, and how it is spoken to: name, TCP, TLS, and one HTTP exchange.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{HOST, HeaderValue, USER_AGENT};
use http::response::Parts;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::witness::Witness;
use crate::config::Site;
use crate::config::file::Timeouts;
use crate::dial::DialError;
use crate::tls::{TlsError, Trust};

/// No answer that is read here is longer.
const MAX_BODY: usize = 1 << 20;

/// An instance's server, and how long to wait for it.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) site: Site,
    pub(super) timeouts: Timeouts,
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum PlaceError {
    #[error("no answer in time")]
    Timeout,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("the judge of certificates cannot be made")]
    Judge(#[from] rustls::client::VerifierBuilderError),
    #[error("it is no host name or IP address")]
    Name(#[from] rustls::pki_types::InvalidDnsNameError),
    #[error("it did not speak HTTP")]
    Http(#[from] hyper::Error),
    #[error("the request cannot be made")]
    Request(#[from] http::Error),
    #[error("the body cannot be read")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Place {
    /// The host without the brackets of an IPv6 address.
    pub(super) fn host(&self) -> &str {
        self.site.authority.host().trim_matches(['[', ']'])
    }

    pub(super) fn port(&self) -> u16 {
        self.site.authority.port_u16().unwrap_or(if self.site.trust.is_some() { 443 } else { 80 })
    }

    /// The addresses that TCP goes to: the instance's, or those of the proxy on the way.
    pub(super) async fn resolve(&self) -> Result<Vec<SocketAddr>, PlaceError> {
        let route = self.site.route();
        Ok(timeout(self.timeouts.connect.0, route.resolve()).await.map_err(|_| PlaceError::Timeout)??)
    }

    /// A connection that the instance is at the other end of, and where TCP itself goes.
    pub(super) async fn dial(&self, addresses: &[SocketAddr]) -> Result<(TcpStream, SocketAddr), PlaceError> {
        let route = self.site.route();
        let dialled = async {
            let mut stream = route.connect(addresses).await?;
            route.tunnel(&mut stream).await?;
            Ok::<_, DialError>(stream)
        };
        let stream = timeout(self.timeouts.connect.0, dialled).await.map_err(|_| PlaceError::Timeout)??;
        let address = stream.peer_addr()?;
        Ok((stream, address))
    }

    pub(super) async fn handshake(
        &self,
        trust: &Trust,
        judge: Arc<Witness>,
        alpn: &[&[u8]],
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, PlaceError> {
        let name = ServerName::try_from(self.host().to_owned())?;
        let connector = TlsConnector::from(Arc::new(trust.judged_config(judge, alpn)?));
        Ok(timeout(self.timeouts.connect.0, connector.connect(name, stream))
            .await
            .map_err(|_| PlaceError::Timeout)??)
    }

    /// One request over HTTP/1.1 on a connection of its own.
    pub(super) async fn exchange(&self, request: http::request::Builder) -> Result<(Parts, Bytes), PlaceError> {
        let host = HeaderValue::try_from(self.site.authority.as_str()).map_err(http::Error::from)?;
        let agent = HeaderValue::from_static(concat!("ninjaone-proxy/", env!("CARGO_PKG_VERSION")));
        let request = request.header(HOST, host).header(USER_AGENT, agent).body(Empty::new())?;
        let (stream, _) = self.dial(&self.resolve().await?).await?;
        let answer = match &self.site.trust {
            None => timeout(self.timeouts.upstream.0, speak(stream, request)).await,
            Some(trust) => {
                let judge = Arc::new(Witness::new(trust.judge()?));
                let stream = self.handshake(trust, judge, &[b"http/1.1"], stream).await?;
                timeout(self.timeouts.upstream.0, speak(stream, request)).await
            }
        };
        answer.map_err(|_| PlaceError::Timeout)?
    }
}

/// The head and the body of the answer. The connection is driven here, and ends here.
async fn speak<I>(io: I, request: Request<Empty<Bytes>>) -> Result<(Parts, Bytes), PlaceError>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await?;
    let answered = async {
        let (head, body) = sender.send_request(request).await.map(Response::into_parts)?;
        let body = Limited::new(body, MAX_BODY).collect().await.map_err(PlaceError::Body)?;
        Ok((head, body.to_bytes()))
    };
    tokio::select! {
        answer = answered => answer,
        // An end without an error comes after the answer, if one came.
        Err(error) = connection => Err(error.into()),
    }
}
