//! Listeners: sockets, limits, timers and drain around a closure; nothing here knows what is served.

mod wire;

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};
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
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use crate::shutdown::Shutdown;
use wire::{Serving, Track, Wire};

/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 4096;
/// The first wait after a failed accept, such as EMFILE; it doubles up to [`MAX_ACCEPT_BACKOFF`].
const FIRST_ACCEPT_BACKOFF: Duration = Duration::from_millis(50);
const MAX_ACCEPT_BACKOFF: Duration = Duration::from_secs(5);
/// The least that hyper takes as the limit of a head.
const MIN_HEAD: usize = 8192;

/// The far end of an accepted connection: the proof that a request came through a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    address: SocketAddr,
    fragment: bool,
}

impl Peer {
    /// The address of the far end.
    pub fn address(self) -> SocketAddr {
        self.address
    }

    /// Whether a request line on the connection had a fragment, which hyper does not show.
    pub fn sent_fragment(self) -> bool {
        self.fragment
    }

    #[cfg(test)]
    pub(crate) fn loopback() -> Self {
        Self { address: SocketAddr::from(([127, 0, 0, 1], 0)), fragment: false }
    }
}

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

/// Binds `address` once for each of `count` workers.
///
/// On Linux each worker gets a queue of its own (`SO_REUSEPORT`), elsewhere they share one. A first bind without
/// sharing finds out whether somebody else, another proxy included, has the port.
pub fn bind(address: SocketAddr, count: usize) -> io::Result<Vec<std::net::TcpListener>> {
    if address.port() != 0 {
        drop(open(address, false)?);
    }
    let first = open(address, true)?;
    let bound = first.local_addr()?;
    let mut listeners = vec![first];
    while listeners.len() < count {
        listeners.push(sibling(&listeners, bound)?);
    }
    for listener in &listeners {
        Socket::from(listener.try_clone()?).listen(BACKLOG)?;
    }
    Ok(listeners)
}

#[cfg(target_os = "linux")]
fn sibling(_: &[std::net::TcpListener], bound: SocketAddr) -> io::Result<std::net::TcpListener> {
    open(bound, true)
}

#[cfg(not(target_os = "linux"))]
fn sibling(siblings: &[std::net::TcpListener], _: SocketAddr) -> io::Result<std::net::TcpListener> {
    siblings.first().ok_or(io::ErrorKind::NotFound)?.try_clone()
}

/// A bound socket that does not listen yet.
fn open(address: SocketAddr, shared: bool) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // On Windows SO_REUSEADDR would let another process take the port over.
    #[cfg(not(windows))]
    socket.set_reuse_address(true)?;
    #[cfg(target_os = "linux")]
    socket.set_reuse_port(shared)?;
    #[cfg(not(target_os = "linux"))]
    let _ = shared;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Serves HTTP/1.1 and 1.0 on a bound socket until `shutdown`, then for at most the drain time.
///
/// Runs on a current-thread runtime; `handle` is called once for each request, in order on each connection.
pub async fn serve<H, F, B>(
    listener: std::net::TcpListener,
    limits: &Limits,
    shutdown: Shutdown,
    handle: H,
) -> io::Result<()>
where
    H: Fn(Peer, Request<Incoming>) -> F + 'static,
    F: Future<Output = Response<B>> + 'static,
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let listener = TcpListener::from_std(listener)?;
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
                    let answer = handle(Peer { fragment: track.had_fragment(), ..peer }, request);
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

/// A connection, and a slot for it. One connection beyond the limit waits here, further ones in the kernel: a slot
/// taken before the connection would be kept from the other workers.
async fn accept(
    listener: &TcpListener,
    connections: &Arc<Semaphore>,
) -> io::Result<(TcpStream, Peer, Option<OwnedSemaphorePermit>)> {
    let (stream, address) = listener.accept().await?;
    // Fails only for a caller who has left already.
    let _ = stream.set_nodelay(true);
    // An error says that the semaphore is closed, which nobody does.
    let slot = Arc::clone(connections).acquire_owned().await.ok();
    Ok((stream, Peer { address: unmapped(address), fragment: false }, slot))
}

/// The IPv4 address behind an IPv4-mapped IPv6 one.
fn unmapped(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V6(ip) => SocketAddr::new(ip.to_canonical(), address.port()),
        IpAddr::V4(_) => address,
    }
}
