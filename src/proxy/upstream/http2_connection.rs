//! HTTP/2 to an instance: many exchanges on one connection, spoken by h2 itself.
//!
//! hyper's client would put a queue, a channel and a task between every request and h2; here a request's own task speaks
//! to the connection's.

mod exchange;
mod keep_alive;
mod upload_task;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Connection, SendRequest};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::task::spawn_local;

use super::watched_socket::ConnectionTrack;
use crate::net::dial::protocol;
use crate::observe::metrics::traffic::{Protocol, Traffic};
pub(super) use exchange::{Failed, Http2Body};
use keep_alive::KeepAlive;

/// The window of one stream, in bytes: what a caller that does not read may hold. Bulk bodies, which must not wait for
/// the round trip, go over HTTP/1.1 where the instance has it.
const STREAM_WINDOW: u32 = 64 * 1024;
/// The window of a connection: of as many streams as it has, so that those that nobody reads do not hold up others.
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// What is buffered for one stream that the server does not read, in bytes.
const SEND_BUFFER: usize = 256 * 1024;
/// The streams that a server allows before it has said how many; no server says this number.
const UNKNOWN: usize = 0x7fff_fff7;
/// A connection to send requests on. It ends when this is gone, and the exchanges on it are.
#[derive(Debug)]
pub(super) struct Http2Connection {
    sender: SendRequest<Bytes>,
    state: Rc<ConnectionState>,
    /// h2 does not notice by itself that nobody wants the connection any more.
    _wanted: oneshot::Sender<()>,
}

/// What its task knows of a connection.
#[derive(Debug)]
struct ConnectionState {
    /// The streams that the server allows, as far as it is known.
    streams: Cell<usize>,
    ended: Cell<bool>,
    /// Who wants to know how many streams the server allows.
    waiting: RefCell<Option<Waker>>,
}

impl ConnectionState {
    fn set_streams(&self, streams: usize) {
        if self.streams.replace(streams) != streams {
            self.wake();
        }
    }

    fn end(&self) {
        self.ended.set(true);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waiting) = self.waiting.take() {
            waiting.wake();
        }
    }
}

impl Http2Connection {
    /// The streams that the server allows; 1 as long as it has not said.
    pub(super) fn streams(&self) -> usize {
        self.allowed().unwrap_or(1)
    }

    /// The streams that the server allows, if it has said how many.
    pub(super) fn allowed(&self) -> Option<usize> {
        Some(self.state.streams.get()).filter(|streams| *streams != UNKNOWN)
    }

    /// Ends when the server has said how many streams it allows, or the connection has ended. One may ask.
    pub(super) fn settled(&self) -> impl Future<Output = ()> + 'static {
        let state = Rc::clone(&self.state);
        poll_fn(move |cx| {
            if state.streams.get() != UNKNOWN || state.ended.get() {
                return Poll::Ready(());
            }
            state.waiting.replace(Some(cx.waker().clone()));
            Poll::Pending
        })
    }

    /// Whether the connection has ended.
    pub(super) fn is_closed(&self) -> bool {
        self.state.ended.get()
    }
}

/// Begins the conversation on a connection that ALPN chose for it. A round trip may take no longer than `ping_interval`, or
/// the connection is dead: one that is silent for twice that time is asked.
pub(super) async fn begin<I>(
    io: I,
    ping_interval: Duration,
    track: Rc<ConnectionTrack>,
    traffic: &Traffic,
) -> Result<Http2Connection, h2::Error>
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let (sender, mut connection) = protocol::http2()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .initial_max_send_streams(UNKNOWN)
        .handshake(io)
        .await?;
    let (streams, ended) = (Cell::new(connection.max_concurrent_send_streams()), Cell::new(false));
    let state = Rc::new(ConnectionState { streams, ended, waiting: RefCell::default() });
    let (_wanted, unwanted) = oneshot::channel();
    let keep_alive = connection.ping_pong().map(|pings| KeepAlive::new(pings, ping_interval, Rc::clone(&track)));
    let driven = Rc::clone(&state);
    let open = traffic.open(Protocol::Http2);
    spawn_local(async move {
        let _open = open;
        drive(connection, unwanted, keep_alive, (&driven, &track)).await;
        driven.end();
    });
    Ok(Http2Connection { sender, state, _wanted })
}

/// Moves what is on a connection until it ends, a turn at a time, and tells how many streams the server allows.
async fn drive<I>(
    mut connection: Connection<I, Bytes>,
    mut unwanted: oneshot::Receiver<()>,
    mut keep_alive: Option<KeepAlive>,
    (state, track): (&ConnectionState, &ConnectionTrack),
) where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let mut wanted = true;
    let ended = poll_fn(|cx| {
        // Polled so that this is polled again when nobody wants the connection any more.
        wanted = wanted && Pin::new(&mut unwanted).poll(cx).is_pending();
        if keep_alive.as_mut().is_some_and(|keep_alive| keep_alive.poll(cx).is_ready()) {
            tracing::debug!("upstream connection is dead");
            return Poll::Ready(Ok(()));
        }
        track.begin_turn();
        let polled = Pin::new(&mut connection).poll(cx);
        state.set_streams(connection.max_concurrent_send_streams());
        track.listen(cx);
        polled
    });
    if let Err(error) = ended.await {
        tracing::debug!(%error, "upstream connection ended");
    }
}
