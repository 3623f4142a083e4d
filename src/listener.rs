//! Listeners: sockets, limits, timers and drain around a closure; nothing here knows what is served.

mod accept;
#[cfg(unix)]
mod inherited;
mod peer;
mod place;
mod tcp;
#[cfg(unix)]
mod unix;
mod wire;

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
#[cfg(unix)]
use tokio::net::UnixListener;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::shutdown::Shutdown;
use accept::{Accept, accept};
pub use peer::{Peer, User};
pub use place::{BindError, Bound, Hold, Inheritance, Opened, Place, Socket, SocketFile, group};
use wire::{Serving, Track, Wire};

/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 4096;
/// The first wait after a failed accept, such as EMFILE; it doubles up to [`MAX_ACCEPT_BACKOFF`].
const FIRST_ACCEPT_BACKOFF: Duration = Duration::from_millis(50);
const MAX_ACCEPT_BACKOFF: Duration = Duration::from_secs(5);
/// The least that hyper takes as the limit of a head.
const MIN_HEAD: usize = 8192;

/// What a connection may cost.
#[derive(Debug, Clone)]
pub struct Limits {
    /// For reading the head of a request.
    pub head_time: Duration,
    /// The octets of a head that are taken into memory, roughly; at least 8192.
    pub head_size: usize,
    /// The most header fields of a request.
    pub header_count: usize,
    /// For requests in flight once shutdown has begun.
    pub drain: Duration,
    /// The most connections at a time, shared by all workers of a listener.
    pub connections: Arc<Semaphore>,
    /// The whole answer to a head that is malformed or too large.
    pub refuse: fn(StatusCode) -> Vec<u8>,
}

/// Serves HTTP/1.1 and 1.0 on a bound socket until `shutdown`, then for at most the drain time.
///
/// Runs on a current-thread runtime; `handle` is called once for each request, in order on each connection.
pub async fn serve<H, F, B>(socket: Socket, limits: &Limits, shutdown: Shutdown, handle: H) -> io::Result<()>
where
    H: Fn(Peer, Request<Incoming>) -> F + 'static,
    F: Future<Output = Response<B>> + 'static,
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    match socket {
        Socket::Tcp(listener) => attend(TcpListener::from_std(listener)?, limits, shutdown, handle).await,
        #[cfg(unix)]
        Socket::Unix(listener) => attend(UnixListener::from_std(listener)?, limits, shutdown, handle).await,
    }
}

async fn attend<A, H, F, B>(listener: A, limits: &Limits, shutdown: Shutdown, handle: H) -> io::Result<()>
where
    A: Accept,
    H: Fn(Peer, Request<Incoming>) -> F + 'static,
    F: Future<Output = Response<B>> + 'static,
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let http = http(limits);
    let handle = Rc::new(handle);
    let graceful = GracefulShutdown::new();
    let mut stop = pin!(shutdown.begun());
    let mut backoff = FIRST_ACCEPT_BACKOFF;
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stop => break,
            accepted = accept(&listener, &limits.connections) => accepted,
        };
        match accepted {
            Ok((stream, peer, slot)) => {
                backoff = FIRST_ACCEPT_BACKOFF;
                let track = Track::new();
                let wire = Wire::new(stream, Rc::clone(&track), limits.refuse);
                let handle = Rc::clone(&handle);
                let service = service_fn(move |request| {
                    let serving = track.serve();
                    let answer = handle(peer.clone().with_fragment(track.had_fragment()), request);
                    async move { Ok::<_, Infallible>(answer.await.map(|body| Tracked { body, _serving: serving })) }
                });
                let connection = graceful.watch(http.serve_connection(TokioIo::new(wire), service));
                tokio::task::spawn_local(async move {
                    if let Err(error) = connection.await {
                        tracing::debug!(%error, "connection ended");
                    }
                    drop(slot);
                });
            }
            // The caller left before it was accepted: nothing is wrong here.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(%error, retry_in = ?backoff, "connection cannot be accepted");
                sleep(backoff).await;
                backoff = (backoff * 2).min(MAX_ACCEPT_BACKOFF);
            }
        }
    }
    drop(listener);
    if timeout(limits.drain, graceful.shutdown()).await.is_err() {
        tracing::warn!(after = ?limits.drain, "requests cut off at the end of the drain time");
    }
    Ok(())
}

/// All timers and limits of a connection, set in one place: hyper ignores a time without a timer.
fn http(limits: &Limits) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.head_time)
        .max_buf_size(limits.head_size.max(MIN_HEAD))
        .max_headers(limits.header_count)
        .half_close(false);
    // Not pipeline_flush: with it hyper takes the whole of an answer that its caller does not read into memory.
    http
}

/// The body of an answer, and the knowledge that its request is being served.
struct Tracked<B> {
    body: B,
    _serving: Serving,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Tracked<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
