//! The body of an answer, and with it the knowledge that its request is being served.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::buffers::{CountedBytes, Outgoing};
use super::flush::{Flush, Wait};

/// A body that keeps `_serving` to its end, and breaks only when all that came before is written out; its data is
/// counted until it is written.
pub(super) struct Tracked<B: Body, G> {
    body: B,
    flush: Rc<Flush>,
    outgoing: Rc<Outgoing>,
    /// Boxed, so that it may be of any type.
    broken: Option<(Box<B::Error>, Wait)>,
    _serving: G,
}

impl<B: Body, G> Tracked<B, G> {
    pub(super) fn new(body: B, flush: Rc<Flush>, outgoing: Rc<Outgoing>, serving: G) -> Self {
        Self { body, flush, outgoing, broken: None, _serving: serving }
    }
}

impl<B: Body<Data = Bytes> + Unpin, G: Unpin> Body for Tracked<B, G> {
    type Data = CountedBytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<CountedBytes>, B::Error>>> {
        let Self { body, flush, outgoing, broken, .. } = &mut *self;
        if broken.is_none() {
            match ready!(Pin::new(body).poll_frame(cx)) {
                Some(Err(error)) => *broken = Some((Box::new(error), flush.begin())),
                Some(Ok(frame)) => return Poll::Ready(Some(Ok(frame.map_data(|data| outgoing.piece(data))))),
                None => return Poll::Ready(None),
            }
        }
        if let Some((_, wait)) = broken {
            ready!(flush.poll(wait, cx));
        }
        Poll::Ready(broken.take().map(|(error, _)| Err(*error)))
    }

    fn is_end_stream(&self) -> bool {
        self.broken.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
