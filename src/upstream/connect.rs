//! One new connection to an instance: name, TCP, TLS, and the HTTP version that ALPN chose.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use http::uri::Authority;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use super::wire::{Track, Wire};
use crate::body::Upload;
use crate::dial::{DialError, Route};

/// The HTTP/2 window of one stream, and of a connection: bulk bodies must not wait for the round trip.
const STREAM_WINDOW: u32 = 2 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;

/// The longest head of an answer, and with that what hyper reads at a time, in octets.
const MAX_HEAD: usize = 64 * 1024;
const READ_BUFFER: usize = 128 * 1024;

/// How to reach an instance.
#[derive(Clone)]
pub struct Connector {
    authority: Authority,
    route: Route,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    patience: Duration,
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
    /// Many at once: as many as the cell says, once the server has said it.
    Http2(http2::SendRequest<Upload>, Rc<Cell<usize>>),
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
    Http(#[source] hyper::Error),
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
    /// `patience`.
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
                Some((TlsConnector::from(config), name))
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

    /// A connection, or the step that did not end before `deadline`.
    pub(super) async fn connect(&self, deadline: Instant) -> Result<Opened, ConnectError> {
        let step = Cell::new(Step::Name);
        timeout_at(deadline, self.dial(&step)).await.unwrap_or_else(|_| Err(ConnectError::Timeout(step.get())))
    }

    async fn dial(&self, step: &Cell<Step>) -> Result<Opened, ConnectError> {
        let addresses = self.route.resolve().await?;
        step.set(Step::Tcp);
        let mut stream = self.route.connect(&addresses).await?;
        step.set(Step::Proxy);
        self.route.tunnel(&mut stream).await?;
        step.set(Step::Tls);
        let track = Rc::<Track>::default();
        let stream = Wire::new(stream, Rc::clone(&track));
        let sender = match &self.tls {
            None => begin_http1(stream).await?,
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), stream).await.map_err(ConnectError::Tls)?;
                if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                    begin_http2(stream, self.patience, Rc::clone(&track)).await?
                } else {
                    begin_http1(stream).await?
                }
            }
        };
        Ok(Opened { sender, track })
    }
}

async fn begin_http1<I>(io: I) -> Result<Sender, ConnectError>
where
    I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + 'static,
{
    let mut builder = http1::Builder::new();
    builder.max_header_size(MAX_HEAD).max_buf_size(READ_BUFFER);
    let (sender, connection) = builder.handshake(TokioIo::new(io)).await.map_err(ConnectError::Http)?;
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "upstream connection ended");
        }
    });
    Ok(Sender::Http1(sender))
}

/// A round trip may take no longer than a whole connection, or the connection is dead: one that is silent for twice
/// that time is asked.
async fn begin_http2<I>(io: I, patience: Duration, track: Rc<Track>) -> Result<Sender, ConnectError>
where
    I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + 'static,
{
    let (sender, connection) = http2::Builder::new(LocalExecutor)
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(MAX_HEAD as u32)
        .keep_alive_interval(patience * 2)
        .keep_alive_timeout(patience)
        .keep_alive_while_idle(true)
        .handshake(TokioIo::new(io))
        .await
        .map_err(ConnectError::Http)?;
    let streams = Rc::new(Cell::new(connection.current_max_send_streams()));
    let told = Rc::clone(&streams);
    tokio::task::spawn_local(async move {
        let mut connection = std::pin::pin!(connection);
        let ended = std::future::poll_fn(|cx| {
            let polled = connection.as_mut().poll(cx);
            told.set(connection.current_max_send_streams());
            track.listen(cx);
            polled
        });
        if let Err(error) = ended.await {
            tracing::debug!(%error, "upstream connection ended");
        }
    });
    Ok(Sender::Http2(sender, streams))
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
