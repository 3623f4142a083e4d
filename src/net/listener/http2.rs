//! One HTTP/2 connection of a caller, spoken by h2 itself.
//!
//! hyper's server would take a piece of every stream's answer into memory whatever the caller reads, wait for a window
//! for ever, and send no 100. Here a stream holds what its caller's windows let go out, and little else.

use std::error::Error;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Ping, PingPong, Reason, RecvStream, SendStream};
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, EXPECT, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::spawn_local;
use tokio::time::{Instant, Interval, interval_at, timeout};

use super::buffers::{CountedBytes, Outgoing};
use super::connection::ConnectionServer;
use super::flush::{Flush, Watched};
use super::head::FramingError;
use super::idle::{Usage, Using};
use super::request_body::{Expectation, Http2RequestBody, RequestBody};
use super::{ConnectionLimits, Peer};
use crate::base::clock::timer::Timer;

/// The requests of a connection at a time.
const STREAMS: u32 = 100;
/// What a caller may send of the bodies of one request, and of all, before they are taken, in bytes.
const STREAM_WINDOW: u32 = 128 * 1024;
const CONNECTION_WINDOW: u32 = 512 * 1024;
/// What of one answer may wait for the socket, and how much is offered to a window at a time, in bytes.
const SEND_BUFFER: usize = 64 * 1024;
const OFFER: usize = 32 * 1024;
/// The resets that a caller may provoke by frames that break the rules of a stream, each of which may have cost a
/// request; then the connection is ended. Also those of requests beyond [`STREAMS`], which a caller may send before it
/// has read of that limit.
const RESETS: usize = 100;
/// How often a connection is asked whether it lives, and how long it may take to say so.
const PING: Duration = Duration::from_secs(30);
const PONG: Duration = Duration::from_secs(20);

/// All limits of a connection.
pub(super) fn builder(limits: &ConnectionLimits) -> Builder {
    let mut http = Builder::new();
    http.max_concurrent_streams(STREAMS)
        .max_header_list_size(u32::try_from(limits.head_size).unwrap_or(u32::MAX))
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_local_error_reset_streams(Some(RESETS));
    http
}

/// Serves a connection to its end.
pub(super) async fn serve<S, H, R, F, B>(host: Rc<ConnectionServer<H, R>>, stream: S, peer: Peer)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    H: Fn(Peer, Request<RequestBody>) -> F + 'static,
    R: 'static,
    F: Future<Output = Response<B>> + 'static,
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let (wait, flush) = (host.limits.head_time, Rc::<Flush>::default());
    let handshake = host.http2.handshake::<_, CountedBytes>(Watched::new(stream, Rc::clone(&flush)));
    let connection = match timeout(wait, handshake).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return tracing::debug!(%peer, %error, "HTTP/2 preface refused"),
        Err(_) => return tracing::debug!(%peer, "no HTTP/2 preface in time"),
    };
    let (outgoing, usage) = (Outgoing::new(&host.limits.buffers), Rc::new(Usage::default()));
    let most = host.limits.header_count;
    let accepted = |(request, respond): (Request<RecvStream>, SendResponse<CountedBytes>)| {
        let (outgoing, flush) = (Rc::clone(&outgoing), Rc::clone(&flush));
        let exchange = RequestStream { usage: Using::begin(&usage), outgoing, flush, wait };
        let (request, expected) = take(request);
        let peer = peer.clone().with_fault(fault(request.headers(), most));
        let is_head = *request.method() == Method::HEAD;
        let answer = (host.handle)(peer, request);
        spawn_local(async move {
            // Boxed: it is large, and moved once.
            let mut answer = Box::pin(answer);
            exchange.run(answer.as_mut(), respond, expected, is_head).await;
        });
    };
    let mut driven = pin!(drive(connection, host.shutdown.clone().begun(), &usage, wait, accepted));
    if let Err(error) = poll_fn(|cx| flush.drive(driven.as_mut(), cx)).await {
        tracing::debug!(%peer, %error, "connection ended");
    }
}

/// The request as its handler takes it, and what its caller waits for before it sends the body.
fn take(request: Request<RecvStream>) -> (Request<RequestBody>, Option<Rc<Expectation>>) {
    let (head, stream) = request.into_parts();
    let field = |name| head.headers.get(name).map(HeaderValue::as_bytes);
    let expects = field(EXPECT).is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue"));
    let expected = (expects && !stream.is_end_stream()).then(Rc::<Expectation>::default);
    let length = field(CONTENT_LENGTH).and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
    let body = Http2RequestBody::new(stream, length, expected.clone());
    (Request::from_parts(head, RequestBody::Http2(body)), expected)
}

/// What HTTP/1.1 refuses in a head, and h2 lets pass.
fn fault(headers: &HeaderMap, most: usize) -> Option<FramingError> {
    if headers.len() > most {
        return Some(FramingError::TooManyFields);
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    (lengths.next().is_some() && lengths.next().is_some()).then_some(FramingError::Framing)
}

/// Moves what is on a connection, and hands over each request, until the connection ends.
async fn drive<S>(
    mut connection: Connection<S, CountedBytes>,
    stop: impl Future<Output = ()>,
    usage: &Usage,
    wait: Duration,
    mut accepted: impl FnMut((Request<RecvStream>, SendResponse<CountedBytes>)),
) -> Result<(), h2::Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut stop, mut stopping) = (pin!(stop), false);
    let mut idle = IdleTimer { look: interval_at(Instant::now() + wait, wait), silent: 0 };
    let mut pulse = connection.ping_pong().map(CallerKeepAlive::new);
    poll_fn(|cx| {
        if !stopping && stop.as_mut().poll(cx).is_ready() {
            stopping = true;
            connection.graceful_shutdown();
        }
        while let Poll::Ready(looks) = idle.poll(cx, usage) {
            match looks {
                0 => {}
                1 => connection.graceful_shutdown(),
                _ => return Poll::Ready(Ok(())),
            }
        }
        if pulse.as_mut().is_some_and(|pulse| pulse.poll(cx).is_ready()) {
            return Poll::Ready(Ok(()));
        }
        loop {
            match ready!(connection.poll_accept(cx)) {
                Some(request) => accepted(request?),
                None => return Poll::Ready(Ok(())),
            }
        }
    })
    .await
}

/// Nobody ends a connection between requests, so one that nobody uses is ended here.
struct IdleTimer {
    look: Interval,
    /// The looks in a row at which there was no request since the one before.
    silent: u32,
}

impl IdleTimer {
    fn poll(&mut self, cx: &mut Context<'_>, usage: &Usage) -> Poll<u32> {
        ready!(self.look.poll_tick(cx));
        self.silent = if usage.since_last_look() { 0 } else { self.silent + 1 };
        Poll::Ready(self.silent)
    }
}

/// Finds out whether the far end lives.
struct CallerKeepAlive {
    pings: PingPong,
    timer: Timer,
    asked: bool,
}

impl CallerKeepAlive {
    fn new(pings: PingPong) -> Self {
        let mut timer = Timer::default();
        timer.set(Instant::now() + PING);
        Self { pings, timer, asked: false }
    }

    /// Ends when it is dead.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.asked && self.pings.poll_pong(cx).is_ready() {
            self.asked = false;
            self.timer.set(Instant::now() + PING);
        }
        while self.timer.poll(cx).is_ready() {
            if self.asked {
                return Poll::Ready(());
            }
            // One that cannot be asked is broken, which shows elsewhere.
            let _ = self.pings.send_ping(Ping::opaque());
            self.asked = true;
            self.timer.set(Instant::now() + PONG);
            let _ = self.pings.poll_pong(cx);
        }
        Poll::Pending
    }
}

/// One request and its answer.
struct RequestStream {
    #[expect(dead_code, reason = "kept to its end")]
    usage: Using,
    outgoing: Rc<Outgoing>,
    flush: Rc<Flush>,
    /// How long the caller may take none of an answer that it could have.
    wait: Duration,
}

impl RequestStream {
    async fn run<F, B>(
        self,
        mut answer: Pin<&mut F>,
        mut respond: SendResponse<CountedBytes>,
        mut expected: Option<Rc<Expectation>>,
        is_head: bool,
    ) where
        F: Future<Output = Response<B>>,
        B: Body<Data = Bytes> + Unpin,
    {
        let response = poll_fn(|cx| {
            if let Poll::Ready(response) = answer.as_mut().poll(cx) {
                return Poll::Ready(Some(response));
            }
            if expected.as_ref().is_some_and(|expected| expected.poll_wanted(cx).is_ready()) {
                expected = None;
                let _ = respond.send_informational(proceed());
            }
            respond.poll_reset(cx).map(|_| None)
        });
        let Some(response) = response.await else { return };
        let (head, mut body) = prepare(response);
        let ended = is_head || body.is_end_stream();
        let Ok(mut stream) = respond.send_response(head, ended) else { return };
        if !ended && let Err(reason) = self.send(&mut body, &mut stream).await {
            stream.send_reset(reason);
        }
    }

    /// Sends a body as the caller takes it. Fails with what the stream is to be reset with.
    async fn send<B>(&self, body: &mut B, stream: &mut SendStream<CountedBytes>) -> Result<(), Reason>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        loop {
            let frame = poll_fn(|cx| {
                if stream.poll_reset(cx).is_ready() {
                    return Poll::Ready(Some(Err(Reason::CANCEL)));
                }
                ready!(self.outgoing.poll_room(cx));
                Pin::new(&mut *body).poll_frame(cx).map_err(|_| Reason::INTERNAL_ERROR)
            });
            let (data, is_last) = match frame.await {
                None => (Bytes::new(), true),
                // Trailers go no further.
                Some(Ok(frame)) => (frame.into_data().unwrap_or_default(), body.is_end_stream()),
                Some(Err(reason)) => {
                    self.flushed(stream).await;
                    return Err(reason);
                }
            };
            self.send_data(data, is_last, stream).await?;
            if is_last {
                return Ok(());
            }
        }
    }

    /// Waits until everything is written out, or the caller leaves: a reset throws away what is not.
    async fn flushed(&self, stream: &mut SendStream<CountedBytes>) {
        let wait = self.flush.begin();
        let left = |cx: &mut Context<'_>| stream.poll_reset(cx).is_ready();
        let mut left = left;
        poll_fn(|cx| if left(cx) { Poll::Ready(()) } else { self.flush.poll(&wait, cx) }).await;
    }

    /// Sends data in pieces for which the caller has room. What is handed to h2 waits for the socket alone.
    async fn send_data(
        &self,
        mut data: Bytes,
        is_last: bool,
        stream: &mut SendStream<CountedBytes>,
    ) -> Result<(), Reason> {
        if data.is_empty() && is_last {
            return stream.send_data(self.outgoing.piece(data), true).map_err(|_| Reason::CANCEL);
        }
        let mut timer = Timer::default();
        while !data.is_empty() {
            // With the data at hand, not before: what is reserved is kept from other streams.
            stream.reserve_capacity(data.len().min(OFFER));
            let room = if stream.capacity() > 0 { stream.capacity() } else { self.room(stream, &mut timer).await? };
            let piece = data.split_to(room.min(data.len()));
            let is_last = is_last && data.is_empty();
            stream.send_data(self.outgoing.piece(piece), is_last).map_err(|_| Reason::CANCEL)?;
        }
        Ok(())
    }

    /// Waits until the caller has room for some of it.
    async fn room(&self, stream: &mut SendStream<CountedBytes>, timer: &mut Timer) -> Result<usize, Reason> {
        timer.set(Instant::now() + self.wait);
        poll_fn(|cx| {
            if stream.poll_reset(cx).is_ready() || timer.poll(cx).is_ready() {
                return Poll::Ready(Err(Reason::CANCEL));
            }
            loop {
                match ready!(stream.poll_capacity(cx)) {
                    Some(Ok(0)) => {}
                    Some(Ok(room)) => return Poll::Ready(Ok(room)),
                    Some(Err(_)) | None => return Poll::Ready(Err(Reason::CANCEL)),
                }
            }
        })
        .await
    }
}

/// The interim answer that has a caller send its body.
fn proceed() -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::CONTINUE;
    response
}

/// The head of an answer as HTTP/2 has it.
fn prepare<B: Body>(response: Response<B>) -> (Response<()>, B) {
    let (mut head, body) = response.into_parts();
    head.headers.remove(CONNECTION);
    if let Some(length) = body.size_hint().exact().filter(|_| !head.headers.contains_key(CONTENT_LENGTH))
        && (length > 0 || !body.is_end_stream())
    {
        head.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    if !head.headers.contains_key(DATE)
        && let Ok(date) = HeaderValue::try_from(httpdate::fmt_http_date(SystemTime::now()))
    {
        head.headers.insert(DATE, date);
    }
    (Response::from_parts(head, ()), body)
}
