//! One HTTP/2 connection of a caller, spoken by h2 itself.
//!
//! hyper's server would take a piece of every stream's answer into memory whatever the caller reads, wait for a window
//! for ever, and send no 100. Here a stream holds what its caller's windows let go out, and little else.

mod liveness;
mod request_stream;

use std::error::Error;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::{Builder, Connection, SendResponse};
use http::header::{CONTENT_LENGTH, EXPECT, HeaderMap, HeaderValue};
use http::{Method, Request, Response};
use http_body::Body;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::buffers::{CountedBytes, Outgoing};
use super::connection::ConnectionServer;
use super::flush::{Flush, Watched};
use super::head::FramingError;
use super::idle::{Usage, Using};
use super::request_body::{Expectation, Http2RequestBody, RequestBody};
use super::{ConnectionLimits, Peer};
use crate::net::fields::{self, FieldLines};
use liveness::{CallerKeepAlive, IdleTimer};
use request_stream::RequestStream;

/// The requests of a connection at a time.
const STREAMS: u32 = 100;
/// What a caller may send of the bodies of one request, and of all, before they are taken, in bytes.
const STREAM_WINDOW: u32 = 128 * 1024;
const CONNECTION_WINDOW: u32 = 512 * 1024;
/// What of one answer may wait for the socket, in bytes.
const SEND_BUFFER: usize = 64 * 1024;
/// The resets that a caller may provoke by frames that break the rules of a stream, each of which may have cost a
/// request; then the connection is ended. Also those of requests beyond [`STREAMS`], which a caller may send before it
/// has read of that limit.
const RESETS: usize = 100;

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
pub(super) async fn serve<S, H, R, F, B>(server: Rc<ConnectionServer<H, R>>, stream: S, peer: Peer)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    H: Fn(Peer, Request<RequestBody>) -> F + 'static,
    R: 'static,
    F: Future<Output = Response<B>> + 'static,
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let (wait, flush) = (server.limits.head_time, Rc::<Flush>::default());
    let handshake = server.http2.handshake::<_, CountedBytes>(Watched::new(stream, Rc::clone(&flush)));
    let connection = match timeout(wait, handshake).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return tracing::debug!(%peer, %error, "HTTP/2 preface refused"),
        Err(_) => return tracing::debug!(%peer, "no HTTP/2 preface in time"),
    };
    let (outgoing, usage) = (Outgoing::new(&server.limits.buffers), Rc::new(Usage::default()));
    let most = server.limits.header_count;
    let accepted = |(request, respond): (Request<RecvStream>, SendResponse<CountedBytes>)| {
        let (outgoing, flush) = (Rc::clone(&outgoing), Rc::clone(&flush));
        let exchange = RequestStream { usage: Using::begin(&usage), outgoing, flush, wait };
        let (request, expected) = take(request);
        let peer = peer.clone().with_fault(fault(request.headers(), most));
        let is_head = *request.method() == Method::HEAD;
        // Boxed here: it is large, and the task would keep room for it twice.
        let mut answer = Box::pin((server.handle)(peer, request));
        spawn_local(async move {
            exchange.run(answer.as_mut(), respond, expected, is_head).await;
        });
    };
    let mut driven = pin!(drive(connection, server.shutdown.clone().begun(), &usage, wait, accepted));
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
    (fields::only(headers, &CONTENT_LENGTH) == FieldLines::Many).then_some(FramingError::Framing)
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
    let mut idle = IdleTimer::new(wait);
    let mut keep_alive = connection.ping_pong().map(CallerKeepAlive::new);
    poll_fn(|cx| {
        if !stopping && stop.as_mut().poll(cx).is_ready() {
            stopping = true;
            connection.graceful_shutdown();
        }
        while let Poll::Ready(idle_periods) = idle.poll(cx, usage) {
            match idle_periods {
                0 => {}
                1 => connection.graceful_shutdown(),
                _ => return Poll::Ready(Ok(())),
            }
        }
        if keep_alive.as_mut().is_some_and(|keep_alive| keep_alive.poll(cx).is_ready()) {
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
