//! What becomes of a connection whose CONNECT is answered with 200: it ends here, as the server that it names, or its bytes
//! are passed on.

use std::cell::Cell;
use std::error::Error;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::Peer;
use super::connection::ConnectionServer;
use super::idle::{Usage, Using};
use super::peer::Intercepted;
use super::request_body::RequestBody;
use super::wrong_protocol::PeekedStream;
use crate::net::shutdown::Shutdown;

/// What is read at once in each direction, in bytes.
const PIECE: usize = 16 * 1024;
/// How long a tunnel may be silent, and how long once the process is to end.
const SILENCE: Duration = Duration::from_secs(600);
const LAST_SILENCE: Duration = Duration::from_secs(1);

/// What becomes of a connection whose CONNECT is answered with 200; it is in the extensions of that answer.
#[derive(Debug, Clone)]
pub enum Tunnel {
    /// It ends here, as the server that CONNECT names.
    Intercept(Arc<Intercepted>),
    /// Its bytes are passed on.
    Relay(Arc<TcpStream>),
}

/// A connection that HTTP is done with.
pub(super) struct Upgraded<S> {
    pub(super) stream: S,
    /// What was read after the request.
    pub(super) read: Bytes,
    pub(super) tunnel: Tunnel,
}

/// Both directions of a connection, whatever is below it.
trait Duplex: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Duplex for S {}

impl<H, R, F, B> ConnectionServer<H, R>
where
    H: Fn(Peer, Request<RequestBody>) -> F + 'static,
    R: Fn(Peer, StatusCode) -> Vec<u8> + 'static,
    F: Future<Output = Response<B>> + 'static,
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    /// Serves a tunnel to its end.
    pub(super) async fn tunnel<S>(self: Rc<Self>, upgraded: Upgraded<S>, peer: Peer, usage: Option<Rc<Usage>>)
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let Upgraded { stream, read, tunnel } = upgraded;
        // One type for all that is below, so that what serves the requests inside exists once.
        let stream: Box<dyn Duplex> = Box::new(stream);
        let stream = PeekedStream::new(stream, read);
        match tunnel {
            Tunnel::Intercept(intercepted) => {
                let Some(identity) = &self.interception else { return };
                let peer = peer.through(intercepted);
                // CONNECT in CONNECT is refused, so nothing comes of it.
                let _ = Rc::clone(&self).encrypted(identity, stream, peer, usage).await;
            }
            Tunnel::Relay(far) => {
                let Some(far) = Arc::into_inner(far) else { return };
                let _using = usage.as_ref().map(Using::begin);
                let _held = self.limits.buffers.take(2 * PIECE as u64);
                if let Err(error) = relay(stream, far, &self.shutdown).await {
                    tracing::debug!(%peer, %error, "tunnel ended");
                }
            }
        }
    }
}

/// Passes bytes on in both directions, until both have ended, or nothing moves any more.
async fn relay(near: impl Duplex, mut far: TcpStream, shutdown: &Shutdown) -> io::Result<()> {
    let moved = Cell::new(Instant::now());
    let (near_read, near_write) = tokio::io::split(near);
    let (far_read, far_write) = far.split();
    let both = async {
        let (up, down) = tokio::join!(copy(near_read, far_write, &moved), copy(far_read, near_write, &moved));
        up.and(down)
    };
    tokio::select! {
        ended = both => ended,
        () = silent(&moved, shutdown) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Passes bytes on in one direction, and says when.
async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    moved: &Cell<Instant>,
) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let read = from.read(&mut piece).await?;
        moved.set(Instant::now());
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(piece.get(..read).unwrap_or_default()).await?;
        moved.set(Instant::now());
    }
}

/// Ends when nothing has moved for too long.
async fn silent(moved: &Cell<Instant>, shutdown: &Shutdown) {
    loop {
        let limit = if shutdown.has_begun() { LAST_SILENCE } else { SILENCE };
        let end = moved.get() + limit;
        if Instant::now() >= end {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep_until(end) => {}
            () = shutdown.clone().begun(), if !shutdown.has_begun() => sleep(LAST_SILENCE).await,
        }
    }
}
