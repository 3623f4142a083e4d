//! Listeners: sockets, limits, timers and drain around a closure; nothing here knows what is served.

mod accept;
mod chunks;
mod conversation;
pub mod head;
#[cfg(unix)]
mod inherited;
mod peer;
mod place;
mod tcp;
mod tracked;
#[cfg(unix)]
mod unix;
mod wire;

use std::error::Error;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body;
use hyper::body::Incoming;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
#[cfg(unix)]
use tokio::net::UnixListener;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::shutdown::Shutdown;
use crate::tls::server::Identity;
use accept::{Accept, accept};
use conversation::Host;
pub use peer::{Peer, User};
pub use place::{BindError, Bound, Hold, Inheritance, Opened, Place, Socket, SocketFile, group};

/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 4096;
/// The first wait after a failed accept, such as EMFILE; it doubles up to [`MAX_ACCEPT_BACKOFF`].
const FIRST_ACCEPT_BACKOFF: Duration = Duration::from_millis(50);
const MAX_ACCEPT_BACKOFF: Duration = Duration::from_secs(5);

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
}

/// Serves HTTP/1.1 and 1.0, over TLS also HTTP/2, on a bound socket until `shutdown`, then for at most the drain time.
///
/// Runs on a current-thread runtime; `handle` is called once for each request, over HTTP/1 in order on each connection.
/// `refuse` makes the whole answer, octet for octet, to a head that the parser refuses.
pub async fn serve<H, R, F, B>(
    socket: Socket,
    tls: Option<Identity>,
    limits: &Limits,
    shutdown: Shutdown,
    handle: H,
    refuse: R,
) -> io::Result<()>
where
    H: Fn(Peer, Request<Incoming>) -> F + 'static,
    R: Fn(Peer, StatusCode) -> Vec<u8> + 'static,
    F: Future<Output = Response<B>> + 'static,
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let host = Rc::new(Host::new(tls, limits, shutdown, handle, refuse));
    match socket {
        Socket::Tcp(listener) => attend(TcpListener::from_std(listener)?, host).await,
        #[cfg(unix)]
        Socket::Unix(listener) => attend(UnixListener::from_std(listener)?, host).await,
    }
    Ok(())
}

async fn attend<A, H, R, F, B>(listener: A, host: Rc<Host<H, R>>)
where
    A: Accept,
    H: Fn(Peer, Request<Incoming>) -> F + 'static,
    R: Fn(Peer, StatusCode) -> Vec<u8> + 'static,
    F: Future<Output = Response<B>> + 'static,
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let graceful = GracefulShutdown::new();
    let mut stop = pin!(host.shutdown.clone().begun());
    let mut backoff = FIRST_ACCEPT_BACKOFF;
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stop => break,
            accepted = accept(&listener, &host.limits.connections) => accepted,
        };
        match accepted {
            Ok((stream, peer, slot)) => {
                backoff = FIRST_ACCEPT_BACKOFF;
                let conversation = Rc::clone(&host).serve(stream, peer, graceful.watcher());
                tokio::task::spawn_local(async move {
                    conversation.await;
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
    if timeout(host.limits.drain, graceful.shutdown()).await.is_err() {
        tracing::warn!(after = ?host.limits.drain, "requests cut off at the end of the drain time");
    }
}
