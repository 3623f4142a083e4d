//! One connection: its handshake, then HTTP/1.1 or HTTP/2 within the limits, until it or the process ends.

use std::cell::Cell;
use std::convert::Infallible;
use std::error::Error;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::Watcher;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, interval_at, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::flush::{Flush, Watched};
use super::tracked::Tracked;
use super::wire::{Track, Wire};
use super::{Limits, Peer};
use crate::shutdown::Shutdown;
use crate::tls::certificate::Certificate;
use crate::tls::server::Identity;

/// The least that hyper takes as the limit of a head.
const MIN_HEAD: usize = 8192;
/// The requests of an HTTP/2 connection at a time.
const STREAMS: u32 = 256;
/// How often an HTTP/2 connection is asked whether it lives, and how long it may take to say so.
const PING: Duration = Duration::from_secs(30);
const PONG: Duration = Duration::from_secs(20);

/// How all connections of a listener are served.
pub(super) struct Host<H, R> {
    pub(super) http1: http1::Builder,
    pub(super) http2: http2::Builder<Local>,
    pub(super) tls: Option<Identity>,
    pub(super) limits: Limits,
    pub(super) shutdown: Shutdown,
    pub(super) handle: H,
    pub(super) refuse: R,
}

/// Runs what hyper spawns on this worker.
#[derive(Debug, Clone, Copy)]
pub(super) struct Local;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

impl<H, R, F, B> Host<H, R>
where
    H: Fn(Peer, Request<Incoming>) -> F + 'static,
    R: Fn(Peer, StatusCode) -> Vec<u8> + 'static,
    F: Future<Output = Response<B>> + 'static,
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    pub(super) fn new(tls: Option<Identity>, limits: &Limits, shutdown: Shutdown, handle: H, refuse: R) -> Self {
        Self { http1: http1(limits), http2: http2(limits), tls, limits: limits.clone(), shutdown, handle, refuse }
    }

    /// Serves a connection to its end, and notes in `usage` when it serves a request over HTTP/1. The drain waits as long
    /// as `watcher` is there.
    pub(super) async fn serve<S>(self: Rc<Self>, stream: S, peer: Peer, usage: Option<Rc<Usage>>, watcher: Watcher)
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let Some(tls) = &self.tls else { return self.http1(stream, peer, usage, watcher).await };
        let shaken = tokio::select! {
            biased;
            () = self.shutdown.clone().begun() => return,
            shaken = shake_hands(tls, stream, self.limits.head_time) => shaken,
        };
        let stream = match shaken {
            Ok(stream) => stream,
            Err(error) => return tracing::debug!(%peer, %error, "TLS handshake failed"),
        };
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
        let track = Track::new();
        let (host, far) = (Rc::clone(&self), peer.clone());
        let head_time = self.limits.head_time;
        let wire = Wire::new(stream, Rc::clone(&track), head_time, move |status| (host.refuse)(far.clone(), status));
        let host = Rc::clone(&self);
        let service = service_fn(move |request| {
            let (serving, fault) = track.serve();
            let serving = (serving, usage.as_ref().map(Using::begin));
            // Boxed: hyper keeps room for the future of a request in every connection, also at rest.
            let answer = Box::pin((host.handle)(peer.clone().with_fault(fault), request));
            let track = Rc::clone(&track);
            async move {
                let mut answer = answer.await;
                if track.is_over() {
                    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(answer.map(|body| Tracked::new(body, Rc::clone(track.flush()), serving)))
            }
        });
        if let Err(error) = watcher.watch(self.http1.serve_connection(TokioIo::new(wire), service)).await {
            tracing::debug!(%error, "connection ended");
        }
    }

    /// hyper waits for ever for the first octet and between requests, so a connection that nobody uses is ended here.
    async fn http2<S>(self: Rc<Self>, stream: S, peer: Peer, _watcher: Watcher)
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let (host, usage, flush) = (Rc::clone(&self), Rc::new(Usage::default()), Rc::new(Flush::default()));
        let (used, flushed) = (Rc::clone(&usage), Rc::clone(&flush));
        let service = service_fn(move |request| {
            let (using, flush) = (Using::begin(&used), Rc::clone(&flushed));
            let answer = (host.handle)(peer.clone(), request);
            async move { Ok::<_, Infallible>(answer.await.map(|body| Tracked::new(body, flush, using))) }
        });
        let stream = TokioIo::new(Watched::new(stream, Rc::clone(&flush)));
        let mut connection = pin!(self.http2.serve_connection(stream, service));
        let mut stop = pin!(self.shutdown.clone().begun());
        let mut tick = interval_at(Instant::now() + self.limits.head_time, self.limits.head_time);
        let (mut stopping, mut idle) = (false, 0);
        loop {
            tokio::select! {
                ended = poll_fn(|cx| flush.drive(connection.as_mut(), cx)) => {
                    return ended.unwrap_or_else(|error| tracing::debug!(%error, "connection ended"));
                }
                () = &mut stop, if !stopping => {
                    stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
                _ = tick.tick() => {
                    idle = if usage.since_last_look() { 0 } else { idle + 1 };
                    match idle {
                        0 => {}
                        1 => connection.as_mut().graceful_shutdown(),
                        _ => return tracing::debug!("idle connection ended"),
                    }
                }
            }
        }
    }
}

/// Whether a connection is used.
#[derive(Debug, Default)]
pub(super) struct Usage {
    requests: Cell<usize>,
    recent: Cell<bool>,
}

impl Usage {
    /// Whether a request is being served.
    pub(super) fn is_in_use(&self) -> bool {
        self.requests.get() > 0
    }

    /// Whether a request was there since the last look.
    fn since_last_look(&self) -> bool {
        self.recent.replace(false) || self.requests.get() > 0
    }
}

/// Kept as long as a request's answer.
#[derive(Debug)]
pub(super) struct Using(Rc<Usage>);

impl Using {
    pub(super) fn begin(usage: &Rc<Usage>) -> Self {
        usage.requests.set(usage.requests.get() + 1);
        usage.recent.set(true);
        Self(Rc::clone(usage))
    }
}

impl Drop for Using {
    fn drop(&mut self) {
        self.0.requests.set(self.0.requests.get().saturating_sub(1));
        self.0.recent.set(true);
    }
}

async fn shake_hands<S>(tls: &Identity, stream: S, limit: Duration) -> io::Result<TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    timeout(limit, TlsAcceptor::from(tls.current()).accept(stream)).await?
}

/// All limits of a connection, set in one place; the time for a head is the wire's.
fn http1(limits: &Limits) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.header_read_timeout(None)
        .max_buf_size(limits.head_size.max(MIN_HEAD))
        .max_headers(limits.header_count)
        .half_close(false);
    // Not pipeline_flush: with it hyper takes the whole of an answer that its caller does not read into memory.
    http
}

fn http2(limits: &Limits) -> http2::Builder<Local> {
    let mut http = http2::Builder::new(Local);
    http.timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(u32::try_from(limits.head_size).unwrap_or(u32::MAX))
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG);
    http
}
