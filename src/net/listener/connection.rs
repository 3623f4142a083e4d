//! One connection: its handshake, then HTTP/1.1 or HTTP/2 within the limits, until it or the process ends.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::Watcher;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::buffers::Outgoing;
use super::idle::{Usage, Using};
use super::request_body::RequestBody;
use super::timed_socket::{CallerConnectionState, TimedSocket};
use super::tracked::Tracked;
use super::write_timeout::WriteTimeout;
use super::wrong_protocol::{Mixups, PeekedStream, TLS_HANDSHAKE};
use super::{ConnectionConfig, ConnectionLimits, Peer, http2};
use crate::net::shutdown::Shutdown;
use crate::net::tls::certificate::Certificate;
use crate::net::tls::server::Identity;

/// The least that hyper takes as the limit of a head.
const MIN_HEAD: usize = 8192;
/// What TLS may hold of what a caller does not read, in bytes.
const TLS_BUFFER: usize = 32 * 1024;

/// How all connections of a listener are served.
pub(super) struct ConnectionServer<H, R> {
    pub(super) http1: http1::Builder,
    pub(super) http2: h2::server::Builder,
    pub(super) tls: Option<Identity>,
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
        ConnectionConfig { listener, tls, limits }: &ConnectionConfig,
        shutdown: Shutdown,
        handle: H,
        refuse: R,
    ) -> Self {
        Self {
            http1: http1(limits),
            http2: http2::builder(limits),
            tls: tls.clone(),
            limits: limits.clone(),
            shutdown,
            handle,
            refuse,
            mixups: Mixups::new(Arc::clone(listener)),
        }
    }

    /// Serves a connection to its end, and notes in `usage` when it serves a request over HTTP/1. The drain waits as long
    /// as `watcher` is there.
    pub(super) async fn serve<S>(self: Rc<Self>, stream: S, peer: Peer, usage: Option<Rc<Usage>>, watcher: Watcher)
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let stream = WriteTimeout::new(stream, self.limits.head_time, &self.limits.buffers);
        let Some(tls) = &self.tls else { return self.http1(stream, peer, usage, watcher).await };
        let shaken = tokio::select! {
            biased;
            () = self.shutdown.clone().begun() => return,
            shaken = shake_hands(tls, stream, self.limits.head_time) => shaken,
        };
        let mut stream = match shaken {
            Ok(Shaken::Tls(stream)) => *stream,
            Ok(Shaken::ClearText(stream)) => return self.mixups.clear_in_tls(stream, &peer).await,
            Err(error) => return tracing::debug!(%peer, %error, "TLS handshake failed"),
        };
        stream.get_mut().1.set_buffer_limit(Some(TLS_BUFFER));
        let (_, session) = stream.get_ref();
        let certificate = session.peer_certificates().and_then(|chain| chain.first());
        let peer = peer.over_tls(certificate.map(|der| Arc::new(Certificate::verified(der))));
        if session.alpn_protocol() == Some(b"h2") {
            self.http2(stream, peer, watcher).await;
        } else {
            self.http1(stream, peer, usage, watcher).await;
        }
    }

    async fn http1<S>(self: Rc<Self>, stream: S, peer: Peer, usage: Option<Rc<Usage>>, watcher: Watcher)
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
        let service = service_fn(move |request: Request<Incoming>| {
            let (serving, fault) = track.serve();
            let serving = (serving, usage.as_ref().map(Using::begin));
            // Boxed: hyper keeps room for the future of a request in every connection, also at rest.
            let request = request.map(RequestBody::Http1);
            let answer = Box::pin((host.handle)(peer.clone().with_fault(fault), request));
            let (track, outgoing) = (Rc::clone(&track), Rc::clone(&outgoing));
            async move {
                let mut answer = answer.await;
                if track.is_over() {
                    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(answer.map(|body| Tracked::new(body, Rc::clone(track.flush()), outgoing, serving)))
            }
        });
        let served = watcher.watch(self.http1.serve_connection(TokioIo::new(wire), service)).await;
        if opened.first_byte() == Some(TLS_HANDSHAKE) && self.tls.is_none() {
            self.mixups.tls_in_clear(&far);
        }
        if let Err(error) = served {
            tracing::debug!(%error, "connection ended");
        }
    }

    async fn http2<S>(self: Rc<Self>, stream: S, peer: Peer, _watcher: Watcher)
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        http2::serve(self, stream, peer).await;
    }
}

/// How a connection to a TLS port begins.
enum Shaken<S> {
    Tls(Box<TlsStream<PeekedStream<S>>>),
    /// Without TLS.
    ClearText(PeekedStream<S>),
}

async fn shake_hands<S>(tls: &Identity, stream: S, limit: Duration) -> io::Result<Shaken<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let shaken = async {
        let opened = PeekedStream::new(stream).await?;
        if opened.is_clear_text() {
            return Ok(Shaken::ClearText(opened));
        }
        let stream = TlsAcceptor::from(tls.current()).accept(opened).await?;
        Ok(Shaken::Tls(Box::new(stream)))
    };
    timeout(limit, shaken).await?
}

/// All limits of a connection, set in one place; the time for a head is the wire's.
fn http1(limits: &ConnectionLimits) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.header_read_timeout(None)
        .max_buf_size(limits.head_size.max(MIN_HEAD))
        .max_headers(limits.header_count)
        .half_close(false);
    // Not pipeline_flush: with it hyper takes the whole of an answer that its caller does not read into memory.
    http
}
