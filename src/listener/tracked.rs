//! The body of an answer, and with it the knowledge that its request is being served.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// A body that keeps `_serving` to its end.
pub(super) struct Tracked<B, G> {
    body: B,
    _serving: G,
}

impl<B, G> Tracked<B, G> {
    pub(super) fn new(body: B, serving: G) -> Self {
        Self { body, _serving: serving }
    }
}

impl<B: Body<Data = Bytes> + Unpin, G: Unpin> Body for Tracked<B, G> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
