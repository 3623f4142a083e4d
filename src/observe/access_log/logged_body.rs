//! The body of an answer, which counts what is sent and ends the record of its request.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::RequestLog;
use crate::base::panic_guard::{self, Panicked};

/// A body that keeps its request's record to its end.
#[derive(Debug)]
pub struct LoggedBody<B> {
    body: B,
    log: Box<RequestLog>,
}

impl<B: Body> LoggedBody<B> {
    /// `log` is written when this body is dropped.
    pub fn new(body: B, mut log: Box<RequestLog>) -> Self {
        log.complete = body.is_end_stream();
        Self { body, log }
    }
}

impl<B: Body<Data = Bytes, Error: From<Panicked>> + Unpin> Body for LoggedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        // The sender of an answer ends with its first error, so a body that panicked is not polled again.
        let polled = panic_guard::within(|| Pin::new(&mut self.body).poll_frame(cx)).unwrap_or_else(|panicked| {
            self.log.log_panic(&panicked);
            Poll::Ready(Some(Err(panicked.into())))
        });
        let polled = ready!(polled);
        match &polled {
            Some(Ok(frame)) => {
                self.log.sent += frame.data_ref().map_or(0, Bytes::len) as u64;
                self.log.complete = self.body.is_end_stream();
            }
            Some(Err(_)) => {}
            None => self.log.complete = true,
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
