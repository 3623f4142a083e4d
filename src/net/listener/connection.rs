//! One connection: its handshake, then HTTP/1.1 or HTTP/2 within the limits, until it or the process ends.

use std::cell::Cell;
use std::convert::Infallible;
use std::error::Error;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1::{self, Parts};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::Watcher;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::buffers::Outgoing;
use super::idle::{Usage, Using};
use super::request_body::RequestBody;
use super::timed_socket::{CallerConnectionState, TimedSocket};
use super::tracked::Tracked;
use super::tunnel::{Tunnel, Upgraded};
use super::write_timeout::WriteTimeout;
use super::wrong_protocol::{Mixups, PeekedStream, TLS_HANDSHAKE};
use super::{ConnectionConfig, ConnectionLimits, Peer, http2};
use crate::net::shutdown::Shutdown;
use crate::net::tls::certificate::Certificate;
use crate::net::tls::server::Identity;

/// The least that hyper takes as the limit of a head.
const MIN_HEAD: usize = 8192;
/// The most fields of a head that hyper takes unless it is told otherwise.
const HYPER_FIELDS: usize = 100;
/// What TLS may hold of what a caller does not read, in bytes.
const TLS_BUFFER: usize = 32 * 1024;

/// How all connections of a listener are served.
pub(super) struct ConnectionServer<H, R> {
    pub(super) http1: http1::Builder,
    pub(super) http2: h2::server::Builder,
    pub(super) tls: Option<Identity>,
    /// As which it ends CONNECT.
    pub(super) interception: Option<Identity>,
    pub(super) limits: ConnectionLimits,
    pub(super) shutdown: Shutdown,
    pub(super) handle: H,
    pub(super) refuse: R,
    mixups: Mixups,
}

impl<H, R, F, B> ConnectionServer<H, R>
where
    H: Fn(Peer, Request<RequestBody>) -> F + 'static,
    R: Fn(Peer, StatusCode) -> Vec<u8> + 'static,
    F: Future<Output = Response<B>> + 'static,
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    pub(super) fn new(
        ConnectionConfig { listener, tls, interception, limits }: &ConnectionConfig,
        shutdown: Shutdown,
        handle: H,
        refuse: R,
    ) -> Self {
        Self {
            http1: http1(limits),
            http2: http2::builder(limits),
            tls: tls.clone(),
            interception: interception.clone(),
            limits: limits.clone(),
            shutdown,
            handle,
            refuse,
            mixups: Mixups::new(Arc::clone(listener)),
        }
    }

    /// Serves a connection to its end, and notes in `usage` when it serves a request over HTTP/1. The drain waits as long
    /// as `_watcher` is there.
    pub(super) async fn serve<S>(self: Rc<Self>, stream: S, peer: Peer, usage: Option<Rc<Usage>>, _watcher: Watcher)
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let stream = WriteTimeout::new(stream, self.limits.head_time, &self.limits.buffers);
        let (server, far, used) = (Rc::clone(&self), peer.clone(), usage.clone());
        match &self.tls {
            None => {
                if let Some(upgraded) = Rc::clone(&self).http1(stream, peer, usage).await {
                    Box::pin(server.tunnel(upgraded, far, used)).await;
                }
            }
            Some(tls) => {
                let stream = PeekedStream::new(stream, Bytes::new());
                if let Some(upgraded) = Rc::clone(&self).encrypted(tls, stream, peer, usage).await {
                    Box::pin(server.tunnel(upgraded, far, used)).await;
                }
            }
        }
    }

    /// Serves a connection over TLS; what it is if that is to be another protocol.
    pub(super) async fn encrypted<S>(
        self: Rc<Self>,
        tls: &Identity,
        stream: PeekedStream<S>,
        peer: Peer,
        usage: Option<Rc<Usage>>,
    ) -> Option<Upgraded<TlsStream<PeekedStream<S>>>>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let shaken = tokio::select! {
            biased;
            () = self.shutdown.clone().begun() => return None,
            shaken = shake_hands(tls, stream, self.limits.head_time) => shaken,
        };
        let mut stream = match shaken {
            Ok(Shaken::Tls(stream)) => *stream,
            Ok(Shaken::ClearText(stream)) => {
                self.mixups.clear_in_tls(stream, &peer).await;
                return None;
            }
            Err(error) => {
                tracing::debug!(%peer, %error, "TLS handshake failed");
                return None;
            }
        };
        stream.get_mut().1.set_buffer_limit(Some(TLS_BUFFER));
        let (_, session) = stream.get_ref();
        let peer = match peer.intercepted() {
            Some(_) => peer.over_inner_tls(session.server_name()),
            None => {
                let certificate = session.peer_certificates().and_then(|chain| chain.first());
                peer.over_tls(certificate.map(|der| Arc::new(Certificate::verified(der))))
            }
        };
        if session.alpn_protocol() == Some(b"h2") {
            http2::serve(self, stream, peer).await;
            return None;
        }
        self.http1(stream, peer, usage).await
    }

    /// Serves HTTP/1; what the connection is if it is to be of another protocol then.
    async fn http1<S>(self: Rc<Self>, stream: S, peer: Peer, usage: Option<Rc<Usage>>) -> Option<Upgraded<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let (track, outgoing) = (CallerConnectionState::new(), Outgoing::new(&self.limits.buffers));
        let (host, far) = (Rc::clone(&self), peer.clone());
        let head_time = self.limits.head_time;
        let wire =
            TimedSocket::new(stream, Rc::clone(&track), head_time, move |status| (host.refuse)(far.clone(), status));
        let host = Rc::clone(&self);
        let (opened, far) = (Rc::clone(&track), peer.clone());
        let upgrade = Rc::<Cell<Option<Tunnel>>>::default();
        let agreed = Rc::clone(&upgrade);
        let service = service_fn(move |request: Request<Incoming>| {
            let (serving, fault) = track.serve();
            let serving = (serving, usage.as_ref().map(Using::begin));
            let connects = *request.method() == Method::CONNECT;
            let request = request.map(RequestBody::Http1);
            Answering {
                // Boxed: hyper keeps room for the future of a request in every connection, also at rest.
                answer: Box::pin((host.handle)(peer.clone().with_fault(fault), request)),
                track: Rc::clone(&track),
                outgoing: Rc::clone(&outgoing),
                upgrade: Rc::clone(&agreed),
                connects,
                serving: Some(serving),
            }
        });
        let mut connection = self.http1.serve_connection(TokioIo::new(wire), service);
        let (mut stop, mut stopping) = (pin!(self.shutdown.clone().begun()), false);
        let served = poll_fn(|cx| {
            if !stopping && stop.as_mut().poll(cx).is_ready() {
                stopping = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
            connection.poll_without_shutdown(cx)
        });
        let served = served.await;
        let Parts { io, read_buf, .. } = connection.into_parts();
        let mut wire = io.into_inner();
        if opened.first_byte() == Some(TLS_HANDSHAKE) && !far.is_tls() {
            self.mixups.tls_in_clear(&far);
        }
        match (served, upgrade.take()) {
            (Ok(()), Some(tunnel)) => return Some(Upgraded { stream: wire.into_inner(), read: read_buf, tunnel }),
            // A far end that is gone already needs no end.
            (Ok(()), None) => drop(wire.shutdown().await),
            (Err(error), _) => tracing::debug!(%error, "connection ended"),
        }
        None
    }
}

/// The answer to a request over HTTP/1, on its way.
struct Answering<F, G> {
    answer: Pin<Box<F>>,
    track: Rc<CallerConnectionState>,
    outgoing: Rc<Outgoing>,
    /// What the connection becomes after it.
    upgrade: Rc<Cell<Option<Tunnel>>>,
    /// It is the answer to a CONNECT.
    connects: bool,
    serving: Option<G>,
}

impl<F, B, G> Future for Answering<F, G>
where
    F: Future<Output = Response<B>>,
    B: Body<Data = Bytes> + Unpin,
    G: Unpin,
{
    type Output = Result<Response<Tracked<B, Option<G>>>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut answer = ready!(self.answer.as_mut().poll(cx));
        let tunnel = answer.extensions_mut().remove::<Tunnel>();
        // What follows a CONNECT is of another protocol, and may have been sent already: it is no request.
        if self.track.is_over() || (self.connects && tunnel.is_none()) {
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if tunnel.is_some() {
            self.upgrade.set(tunnel);
        }
        let (flush, outgoing, serving) =
            (Rc::clone(self.track.flush()), Rc::clone(&self.outgoing), self.serving.take());
        Poll::Ready(Ok(answer.map(|body| Tracked::new(body, flush, outgoing, serving))))
    }
}

/// How a connection to a TLS port begins.
enum Shaken<S> {
    Tls(Box<TlsStream<PeekedStream<S>>>),
    /// Without TLS.
    ClearText(PeekedStream<S>),
}

async fn shake_hands<S>(tls: &Identity, mut stream: PeekedStream<S>, limit: Duration) -> io::Result<Shaken<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let shaken = async {
        if stream.is_clear_text().await? {
            return Ok(Shaken::ClearText(stream));
        }
        let stream = TlsAcceptor::from(tls.current()).accept(stream).await?;
        Ok(Shaken::Tls(Box::new(stream)))
    };
    timeout(limit, shaken).await?
}

/// All limits of a connection, set in one place; the time for a head is the wire's.
fn http1(limits: &ConnectionLimits) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.header_read_timeout(None).max_buf_size(limits.head_size.max(MIN_HEAD)).half_close(false);
    // hyper has room for so many at hand; for another number it makes room with each head.
    if limits.header_count != HYPER_FIELDS {
        http.max_headers(limits.header_count);
    }
    // Not pipeline_flush: with it hyper takes the whole of an answer that its caller does not read into memory.
    http
}
