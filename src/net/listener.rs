//! Listeners: sockets, limits, timers and drain around a closure; nothing here knows what is served.

mod accept;
mod address;
mod bind;
mod bind_error;
mod buffers;
mod chunks;
mod connection;
mod flush;
pub mod head;
mod http1;
mod http2;
mod idle;
#[cfg(unix)]
mod inherited;
mod linger;
mod peer;
mod port_owner;
mod request_body;
mod slots;
mod tcp;
mod timed_socket;
mod tracked;
mod tunnel;
#[cfg(unix)]
mod unix;
mod write_timeout;
mod wrong_protocol;

use std::error::Error;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
#[cfg(unix)]
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::{JoinSet, yield_now};
use tokio::time::{sleep, timeout};

use crate::base::same::both_or_neither;
use crate::net::shutdown::{self, Shutdown, Trigger};
use crate::net::tls::server::Identity;
use accept::{Accept, accept};
pub use address::{Bound, ListenAddress, SocketFile};
pub use bind::{BoundSockets, Hold, Inheritance, ListeningSocket, group};
pub use bind_error::BindError;
pub use buffers::{Buffers, BuffersFull, Reservation};
use connection::ConnectionServer;
pub use peer::{Intercepted, Peer, User};
pub use port_owner::occupant;
pub use request_body::RequestBody;
pub use slots::Slots;
use slots::{ConnectionSlot, OpenConnections};
pub use tunnel::Tunnel;

/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 4096;
/// The first wait after a failed accept, such as EMFILE; it doubles up to [`MAX_ACCEPT_BACKOFF`].
const FIRST_ACCEPT_BACKOFF: Duration = Duration::from_millis(50);
const MAX_ACCEPT_BACKOFF: Duration = Duration::from_secs(5);
/// How long those who were in the queue at the end have for the beginning of a request.
const LATE: Duration = Duration::from_millis(50);

/// What a connection may cost.
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
    /// For reading the head of a request, and for each wait until the caller takes more of an answer.
    pub head_time: Duration,
    /// The bytes of a head that are taken into memory, roughly; at least 8192.
    pub head_size: usize,
    /// The most header fields of a request.
    pub header_count: usize,
    /// For requests in flight once shutdown has begun.
    pub drain: Duration,
    /// The most connections at a time.
    pub connections: Slots,
    /// The memory of all connections of all listeners.
    pub buffers: Arc<Buffers>,
}

/// A listener as the log names it.
#[derive(Debug, Clone, Default)]
pub struct ListenerLabel {
    /// Its name in the configuration.
    pub name: String,
    /// Where it was bound.
    pub address: String,
}

/// How connections are served from the moment on at which they are accepted.
#[derive(Debug, Clone)]
pub struct ConnectionConfig {
    /// What the log calls the listener.
    pub listener: Arc<ListenerLabel>,
    /// Without it in clear text.
    pub tls: Option<Identity>,
    /// As which it ends CONNECT to the names that it intercepts.
    pub interception: Option<Identity>,
    /// The slots for connections are those of the first terms, to the end.
    pub limits: ConnectionLimits,
}

/// Serves HTTP/1.1 and 1.0, over TLS also HTTP/2, on a bound socket until `shutdown`, then for at most the drain time.
///
/// The terms may change meanwhile: connections keep those that they began with, but other TLS ends the ones that have
/// none, or an older one, as a shutdown does.
///
/// Runs on a current-thread runtime; `handle` is called once for each request, over HTTP/1 in order on each connection.
/// `refuse` makes the whole answer, byte for byte, to a head that the parser refuses.
pub async fn serve<H, R, F, B>(
    socket: ListeningSocket,
    terms: watch::Receiver<ConnectionConfig>,
    shutdown: Shutdown,
    handle: H,
    refuse: R,
) -> io::Result<()>
where
    H: Fn(Peer, Request<RequestBody>) -> F + Clone + 'static,
    R: Fn(Peer, StatusCode) -> Vec<u8> + Clone + 'static,
    F: Future<Output = Response<B>> + 'static,
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let invite = move |terms: &ConnectionConfig| ConnectionGroup::new(terms, &handle, &refuse);
    match socket {
        ListeningSocket::Tcp(listener) => accept_loop(TcpListener::from_std(listener)?, terms, shutdown, invite).await,
        #[cfg(unix)]
        ListeningSocket::Unix(listener) => {
            accept_loop(UnixListener::from_std(listener)?, terms, shutdown, invite).await
        }
    }
    Ok(())
}

/// Connections that are ended together.
struct ConnectionGroup<H, R> {
    host: Rc<ConnectionServer<H, R>>,
    end: Trigger,
    graceful: GracefulShutdown,
}

impl<H, R, F, B> ConnectionGroup<H, R>
where
    H: Fn(Peer, Request<RequestBody>) -> F + Clone + 'static,
    R: Fn(Peer, StatusCode) -> Vec<u8> + Clone + 'static,
    F: Future<Output = Response<B>> + 'static,
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    fn new(config: &ConnectionConfig, handle: &H, refuse: &R) -> Self {
        let (end, ended) = shutdown::channel();
        let host = Rc::new(ConnectionServer::new(config, ended, handle.clone(), refuse.clone()));
        Self { host, end, graceful: GracefulShutdown::new() }
    }

    fn spawn_connection<S>(&self, stream: S, peer: Peer, slot: ConnectionSlot)
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        // Boxed: what holds it keeps room for it twice.
        let conversation = Box::pin(Rc::clone(&self.host).serve(stream, peer, slot.usage(), self.graceful.watcher()));
        tokio::task::spawn_local(slot.hold(conversation));
    }

    /// Whether its connections may go on together with new ones of this configuration.
    fn goes_with(&self, ConnectionConfig { tls, interception, .. }: &ConnectionConfig) -> bool {
        let same = |own: Option<&Identity>, other| both_or_neither(own, other, |own, other| own.is_same(other));
        same(self.host.tls.as_ref(), tls.as_ref()) && same(self.host.interception.as_ref(), interception.as_ref())
    }

    /// New connections are served on these terms, and ended together with those that there are.
    fn join(&mut self, config: &ConnectionConfig) {
        let ConnectionServer { shutdown, handle, refuse, .. } = &*self.host;
        let (shutdown, handle, refuse) = (shutdown.clone(), handle.clone(), refuse.clone());
        self.host = Rc::new(ConnectionServer::new(config, shutdown, handle, refuse));
    }

    /// Lets requests in flight end, within the drain time.
    async fn end(self) {
        self.end.shut_down();
        let drain = self.host.limits.drain;
        if timeout(drain, self.graceful.shutdown()).await.is_err() {
            tracing::warn!(after = ?drain, "requests cut off at the end of the drain time");
        }
    }
}

async fn accept_loop<A, H, R, F, B>(
    listener: A,
    mut terms: watch::Receiver<ConnectionConfig>,
    shutdown: Shutdown,
    invite: impl Fn(&ConnectionConfig) -> ConnectionGroup<H, R>,
) where
    A: Accept,
    H: Fn(Peer, Request<RequestBody>) -> F + Clone + 'static,
    R: Fn(Peer, StatusCode) -> Vec<u8> + Clone + 'static,
    F: Future<Output = Response<B>> + 'static,
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let mut party = invite(&terms.borrow_and_update());
    let connections = OpenConnections::new(&party.host.limits.connections);
    let mut leaving = JoinSet::new();
    let mut stop = pin!(shutdown.begun());
    let mut backoff = FIRST_ACCEPT_BACKOFF;
    let mut late = false;
    {
        // Kept over changes of the terms: it may have accepted a connection that waits for its slot.
        let mut next = pin!(accept(&listener, &connections));
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut stop => break,
                () = changed(&mut terms) => {
                    let terms = terms.borrow_and_update();
                    if party.goes_with(&terms) {
                        party.join(&terms);
                    } else {
                        leaving.spawn_local(std::mem::replace(&mut party, invite(&terms)).end());
                    }
                    continue;
                }
                accepted = &mut next => accepted,
            };
            next.set(accept(&listener, &connections));
            match accepted {
                Ok((stream, peer, slot)) => {
                    backoff = FIRST_ACCEPT_BACKOFF;
                    party.spawn_connection(stream, peer, slot);
                    connections.after_you().await;
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
        let last = invite(&terms.borrow());
        leaving.spawn_local(std::mem::replace(&mut party, last).end());
        // Who has connected already is heard: to close the queue is to reset those in it. The runtime learns of them when
        // it looks next.
        yield_now().await;
        let mut nobody = Context::from_waker(Waker::noop());
        while let Poll::Ready(Ok((stream, peer, slot))) = next.as_mut().poll(&mut nobody) {
            next.set(accept(&listener, &connections));
            party.spawn_connection(stream, peer, slot);
            late = true;
        }
    }
    // Nothing may be waited for between the last look and this.
    drop(listener);
    if late {
        sleep(LATE).await;
    }
    party.end().await;
    while leaving.join_next().await.is_some() {}
}

/// Ends when the terms have changed; never once nobody can change them.
async fn changed(terms: &mut watch::Receiver<ConnectionConfig>) {
    if terms.changed().await.is_err() {
        std::future::pending().await
    }
}
