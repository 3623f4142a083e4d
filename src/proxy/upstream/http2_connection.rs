//! HTTP/2 to an instance: many exchanges on one connection, spoken by h2 itself.
//!
//! hyper's client would put a queue, a channel and a task between every request and h2; here a request's own task speaks
//! to the connection's.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Connection, ResponseFuture, SendRequest};
use h2::{Ping, PingPong, Reason, RecvStream, SendStream};
use http::header::{CONTENT_LENGTH, HeaderMap, HeaderValue};
use http::uri::Authority;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::watched_socket::{ConnectionTrack, ExchangeStart, MAX_INFORMATIONAL, MAX_UNANSWERED};
use crate::net::body::{BodyError, Upload};
use crate::net::dial::protocol::{self, ExchangeBreak};
use crate::observe::metrics::traffic::{Protocol, Traffic};

/// The window of one stream, in bytes: what a caller that does not read may hold. Bulk bodies, which must not wait for
/// the round trip, go over HTTP/1.1 where the instance has it.
const STREAM_WINDOW: u32 = 64 * 1024;
/// The window of a connection: of as many streams as it has, so that those that nobody reads do not hold up others.
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// What is buffered for one stream that the server does not read, in bytes.
const SEND_BUFFER: usize = 256 * 1024;
/// The streams that a server allows before it has said how many; no server says this number.
const UNKNOWN: usize = 0x7fff_fff7;
/// The silent looks after which a connection is asked whether it lives, and after which it is dead.
const QUIET: u32 = 2;
const DEAD: u32 = 3;

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

/// Begins the conversation on a connection that ALPN chose for it. A round trip may take no longer than `patience`, or
/// the connection is dead: one that is silent for twice that time is asked.
pub(super) async fn begin<I>(
    io: I,
    patience: Duration,
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
    let pulse = connection.ping_pong().map(|pings| KeepAlive::new(pings, patience, Rc::clone(&track)));
    let driven = Rc::clone(&state);
    let open = traffic.open(Protocol::Http2);
    spawn_local(async move {
        let _open = open;
        drive(connection, unwanted, pulse, (&driven, &track)).await;
        driven.end();
    });
    Ok(Http2Connection { sender, state, _wanted })
}

/// Moves what is on a connection until it ends, a turn at a time, and tells how many streams the server allows.
async fn drive<I>(
    mut connection: Connection<I, Bytes>,
    mut unwanted: oneshot::Receiver<()>,
    mut pulse: Option<KeepAlive>,
    (state, track): (&ConnectionState, &ConnectionTrack),
) where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let mut wanted = true;
    let ended = poll_fn(|cx| {
        // Polled so that this is polled again when nobody wants the connection any more.
        wanted = wanted && Pin::new(&mut unwanted).poll(cx).is_pending();
        if pulse.as_mut().is_some_and(|pulse| pulse.poll(cx).is_ready()) {
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

/// Finds out whether a connection lives.
struct KeepAlive {
    pings: PingPong,
    look: Interval,
    track: Rc<ConnectionTrack>,
    mark: ExchangeStart,
    silent: u32,
}

impl KeepAlive {
    fn new(pings: PingPong, patience: Duration, track: Rc<ConnectionTrack>) -> Self {
        let mut look = interval_at(Instant::now() + patience, patience);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mark = track.mark();
        Self { pings, look, track, mark, silent: 0 }
    }

    /// Ends when it is dead.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.look.poll_tick(cx).is_ready() {
            self.silent = if self.track.unheard(self.mark) { self.silent + 1 } else { 0 };
            self.mark = self.track.mark();
            match self.silent {
                QUIET => {
                    // One that cannot be asked is broken, which shows elsewhere.
                    let _ = self.pings.send_ping(Ping::opaque());
                }
                DEAD.. => return Poll::Ready(()),
                _ => {}
            }
        }
        // An answer has been heard already; taken here so that another question can be asked.
        let _ = self.pings.poll_pong(cx);
        Poll::Pending
    }
}

/// A request that got no answer.
pub(super) struct Failed {
    pub(super) error: h2::Error,
    /// The request, if nothing of it was taken.
    pub(super) request: Option<Box<Request<Upload>>>,
}

/// One exchange, until the head of the answer comes.
pub(super) struct Http2Exchange {
    answer: ResponseFuture,
    informational: Informational,
    going_up: Option<UploadTask>,
}

/// The informational answers to a request (RFC 9110 section 15.2). None is passed on.
#[derive(Debug, Default)]
struct Informational {
    count: usize,
    bytes: usize,
}

impl Informational {
    /// One more; fails if there are too many.
    fn add(&mut self, fields: &HeaderMap) -> Result<(), ExchangeBreak> {
        self.count += 1;
        // As RFC 9113 section 6.5.2 counts.
        self.bytes += fields.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum::<usize>();
        let fits = self.count <= MAX_INFORMATIONAL && self.bytes <= MAX_UNANSWERED;
        if fits { Ok(()) } else { Err(ExchangeBreak::Informational) }
    }
}

impl Http2Connection {
    /// Begins an exchange.
    pub(super) fn send(&self, request: Request<Upload>, authority: &Authority) -> Result<Http2Exchange, Failed> {
        let mut sender = self.sender.clone();
        // A new handle never waits; what it would wait for is a stream of its own to be opened.
        if let Poll::Ready(Err(error)) = sender.poll_ready(&mut Context::from_waker(Waker::noop())) {
            return Err(Failed { error, request: Some(Box::new(request)) });
        }
        let (request, upload) = absolute(request, authority);
        let ended = upload.is_end_stream();
        let (answer, stream) = sender.send_request(request, ended).map_err(|error| Failed { error, request: None })?;
        let going_up = (!ended).then(|| UploadTask(Some(spawn_local(send_up(upload, stream)).abort_handle())));
        Ok(Http2Exchange { answer, informational: Informational::default(), going_up })
    }
}

impl Future for Http2Exchange {
    type Output = Result<Response<Http2Body>, ExchangeBreak>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // h2 would keep all that come together, and throw them away uncounted.
        while let Some(told) = ready!(self.answer.poll_informational(cx)) {
            self.informational.add(told?.headers())?;
        }
        let answer = ready!(Pin::new(&mut self.answer).poll(cx))?;
        // What the server still wants of the request goes up by itself.
        if let Some(going_up) = self.going_up.take() {
            going_up.leave();
        }
        Poll::Ready(Ok(Http2Body::new(answer)))
    }
}

/// The request as HTTP/2 addresses it, and its body.
fn absolute(request: Request<Upload>, authority: &Authority) -> (Request<()>, Upload) {
    let (mut head, upload) = request.into_parts();
    protocol::address_http2(&mut head, authority);
    if let Some(length) = upload.size_hint().exact().filter(|length| *length > 0) {
        head.headers.entry(CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(length));
    }
    (Request::from_parts(head, ()), upload)
}

/// A body on its way up; it stops when this is dropped.
struct UploadTask(Option<AbortHandle>);

impl UploadTask {
    /// It goes on by itself.
    fn leave(mut self) {
        self.0 = None;
    }
}

impl Drop for UploadTask {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

/// Sends a body as the server takes it, until it ends, or the server wants no more. One that breaks off ends the stream.
async fn send_up(mut upload: Upload, mut stream: SendStream<Bytes>) {
    let progress = upload.progress();
    let is_abandoned = |cx: &Context<'_>| progress.as_ref().is_some_and(|all| all.poll_abandoned(cx).is_ready());
    loop {
        let frame = poll_fn(|cx| match stream.poll_reset(cx) {
            Poll::Ready(_) => Poll::Ready(None),
            Poll::Pending if is_abandoned(cx) => Poll::Ready(Some(Some(Err(BodyError::Broken)))),
            Poll::Pending => Pin::new(&mut upload).poll_frame(cx).map(Some),
        });
        let sent = match frame.await {
            None => return,
            Some(None) => return drop(stream.send_data(Bytes::new(), true)),
            Some(Some(Err(_))) => return stream.send_reset(Reason::CANCEL),
            Some(Some(Ok(frame))) => {
                let (data, is_last) = (frame.into_data().unwrap_or_default(), upload.is_end_stream());
                send_piece(&mut stream, data, is_last, is_abandoned).await && !is_last
            }
        };
        if !sent {
            return;
        }
    }
}

/// Sends a piece when there is room for a part of it; false if the server wants no more, or the body is abandoned.
async fn send_piece(
    stream: &mut SendStream<Bytes>,
    data: Bytes,
    is_last: bool,
    is_abandoned: impl Fn(&Context<'_>) -> bool,
) -> bool {
    if !data.is_empty() {
        // Not for all of it: a stream that waits must not keep others from what room there is.
        stream.reserve_capacity(1);
        while stream.capacity() == 0 {
            let room = poll_fn(|cx| match stream.poll_capacity(cx) {
                Poll::Pending if is_abandoned(cx) => Poll::Ready(None),
                room @ (Poll::Ready(_) | Poll::Pending) => room,
            });
            match room.await {
                Some(Ok(_)) => {}
                Some(Err(_)) => return false,
                None => {
                    // Nothing happens to a stream that is over.
                    stream.send_reset(Reason::CANCEL);
                    return false;
                }
            }
        }
    }
    stream.send_data(data, is_last).is_ok()
}

/// The body of an answer.
#[derive(Debug)]
pub(super) struct Http2Body {
    stream: RecvStream,
    /// What is to come, where the server has said it.
    left: Option<u64>,
    ended: bool,
}

impl Http2Body {
    fn new(answer: Response<RecvStream>) -> Response<Self> {
        let (head, stream) = answer.into_parts();
        let length = head.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let ended = stream.is_end_stream();
        Response::from_parts(head, Self { stream, left: if ended { Some(0) } else { length }, ended })
    }
}

impl Body for Http2Body {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        let this = &mut *self;
        match ready!(this.stream.poll_data(cx)) {
            Some(Ok(data)) => {
                // A stream that is over has no window.
                let _ = this.stream.flow_control().release_capacity(data.len());
                this.left = this.left.map(|left| left.saturating_sub(data.len() as u64));
                this.ended = this.stream.is_end_stream();
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            // The server wants no more of the request (RFC 9113 section 8.1); whether the answer is whole shows its length.
            Some(Err(error)) if error.reason() == Some(Reason::NO_ERROR) => Poll::Ready(None),
            Some(Err(error)) => Poll::Ready(Some(Err(error))),
            None => {
                // Only what is taken has come to its end. They go no further.
                let _ = ready!(this.stream.poll_trailers(cx));
                this.ended = this.stream.is_end_stream();
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
