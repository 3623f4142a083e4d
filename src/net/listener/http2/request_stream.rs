//! One stream: waits for the answer to a request, and sends it as fast as the caller takes it.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, HeaderValue};
use http::{Response, StatusCode};
use http_body::Body;
use tokio::time::Instant;

use super::super::buffers::{CountedBytes, Outgoing};
use super::super::flush::Flush;
use super::super::idle::Using;
use super::super::request_body::Expectation;
use crate::base::clock::timer::Timer;

/// How much of an answer is offered to the windows of a caller at a time, in bytes.
const OFFER: usize = 32 * 1024;

/// One request and its answer.
pub(super) struct RequestStream {
    #[expect(dead_code, reason = "kept to its end")]
    pub(super) usage: Using,
    pub(super) outgoing: Rc<Outgoing>,
    pub(super) flush: Rc<Flush>,
    /// How long the caller may take none of an answer that it could have.
    pub(super) wait: Duration,
}

impl RequestStream {
    /// Waits for the answer, and sends it.
    pub(super) async fn run<F, B>(
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
                let _ = respond.send_informational(continue_response());
            }
            respond.poll_reset(cx).map(|_| None)
        });
        let Some(response) = response.await else { return };
        let (head, mut body) = split(response);
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
        poll_fn(|cx| if stream.poll_reset(cx).is_ready() { Poll::Ready(()) } else { self.flush.poll(&wait, cx) }).await;
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
fn continue_response() -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::CONTINUE;
    response
}

/// The head of an answer as HTTP/2 has it, and its body.
fn split<B: Body>(response: Response<B>) -> (Response<()>, B) {
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
