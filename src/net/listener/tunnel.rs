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
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::Peer;
use super::connection::ConnectionServer;
use super::idle::{Usage, Using};
use super::peer::Intercepted;
use super::request_body::RequestBody;
use super::wrong_protocol::PeekedStream;
use crate::net::shutdown::Shutdown;

/// What is read at once in each direction, in bytes: at first, and once that was full.
const SMALL_PIECE: usize = 2 * 1024;
const PIECE: usize = 16 * 1024;
/// How long a tunnel may be silent; once one direction has ended; and once the process is to end.
const SILENCE: Duration = Duration::from_secs(600);
const HALF_SILENCE: Duration = Duration::from_secs(60);
const LAST_SILENCE: Duration = Duration::from_secs(1);
/// How long a tunnel that is never silent goes on once the process is to end.
const LAST: Duration = Duration::from_secs(5);

/// What becomes of a connection whose CONNECT is answered with 200; it is in the extensions of that answer.
#[derive(Debug, Clone)]
pub enum Tunnel {
    /// It ends here, as the server that CONNECT names.
    Intercept(Intercepted),
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
                if let Err(error) = relay(stream, far, &self.shutdown).await {
                    tracing::debug!(%peer, %error, "tunnel ended");
                }
            }
        }
    }
}

/// How a tunnel goes on.
struct Progress {
    /// When bytes moved last.
    moved: Cell<Instant>,
    /// One direction has ended.
    half_closed: Cell<bool>,
}

/// Passes bytes on in both directions, until both have ended, one has failed, or nothing moves any more.
async fn relay(near: impl Duplex, mut far: TcpStream, shutdown: &Shutdown) -> io::Result<()> {
    let progress = Progress { moved: Cell::new(Instant::now()), half_closed: Cell::new(false) };
    let ended = {
        let (near_read, near_write) = tokio::io::split(near);
        let (far_read, far_write) = far.split();
        let both =
            async { tokio::try_join!(copy(near_read, far_write, &progress), copy(far_read, near_write, &progress)) };
        tokio::select! {
            ended = both => ended.map(drop),
            () = silent(&progress, shutdown) => Err(io::ErrorKind::TimedOut.into()),
        }
    };
    if ended.is_err() {
        // What was cut off must not look as if it had come to its end.
        let _ = SockRef::from(&far).set_linger(Some(Duration::ZERO));
    }
    ended
}

/// Passes bytes on in one direction. A tunnel at rest has little memory; one that is full once has more from then on.
async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    progress: &Progress,
) -> io::Result<()> {
    let mut piece = vec![0; SMALL_PIECE];
    loop {
        let read = from.read(&mut piece).await?;
        progress.moved.set(Instant::now());
        if read == 0 {
            progress.half_closed.set(true);
            return to.shutdown().await;
        }
        to.write_all(piece.get(..read).unwrap_or_default()).await?;
        progress.moved.set(Instant::now());
        if read == SMALL_PIECE {
            piece.resize(PIECE, 0);
        }
    }
}

/// Ends when nothing has moved for too long, or the process has been waiting for it for too long.
async fn silent(progress: &Progress, shutdown: &Shutdown) {
    let mut last = None;
    loop {
        let now = Instant::now();
        let (begun, half) = (shutdown.has_begun(), progress.half_closed.get());
        let limit = if begun {
            LAST_SILENCE
        } else if half {
            HALF_SILENCE
        } else {
            SILENCE
        };
        let mut end = progress.moved.get() + limit;
        if begun {
            end = end.min(*last.get_or_insert(now + LAST));
        }
        if now >= end {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep_until(end.min(now + HALF_SILENCE)) => {}
            () = shutdown.clone().begun(), if !begun => {}
        }
    }
}
