//! The body of a request, as it comes over either version of HTTP.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use h2::RecvStream;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

/// The body of a request; nothing of it is read before it is asked for.
#[derive(Debug)]
pub enum RequestBody {
    /// Over HTTP/1.1 or HTTP/1.0.
    Http1(Incoming),
    /// Over HTTP/2.
    Http2(Http2RequestBody),
    /// One of these of which a part was read before.
    Begun(BegunBody),
}

/// What was read of a body, and what is still to come.
#[derive(Debug)]
pub struct BegunBody {
    read: Option<Bytes>,
    rest: Option<Box<RequestBody>>,
}

impl RequestBody {
    /// A body of which `read` was read before; `rest` is what is still to come, if there may be more.
    pub fn begun(read: Bytes, rest: Option<Self>) -> Self {
        Self::Begun(BegunBody { read: Some(read).filter(|read| !read.is_empty()), rest: rest.map(Box::new) })
    }
}

/// The body of a request over HTTP/2.
#[derive(Debug)]
pub struct Http2RequestBody {
    stream: RecvStream,
    /// What is to come, where the caller has said it.
    left: Option<u64>,
    /// Where the caller waits until it is asked for.
    expected: Option<Rc<Expectation>>,
}

/// `Expect: 100-continue` (RFC 9110 section 10.1.1), until the body is asked for.
#[derive(Debug, Default)]
pub(super) struct Expectation {
    wanted: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Expectation {
    /// Ends when the body is wanted.
    pub(super) fn poll_wanted(&self, cx: &Context<'_>) -> Poll<()> {
        if self.wanted.get() {
            return Poll::Ready(());
        }
        self.waker.replace(Some(cx.waker().clone()));
        Poll::Pending
    }

    fn want(&self) {
        self.wanted.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Http2RequestBody {
    pub(super) fn new(stream: RecvStream, length: Option<u64>, expected: Option<Rc<Expectation>>) -> Self {
        let left = if stream.is_end_stream() { Some(0) } else { length };
        Self { stream, left, expected }
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, h2::Error>>> {
        let polled = self.stream.poll_data(cx);
        if polled.is_pending()
            && let Some(expected) = self.expected.take()
        {
            expected.want();
        }
        let Some(data) = ready!(polled).transpose()? else {
            // Only what is taken has come to its end. They go no further.
            let _ = ready!(self.stream.poll_trailers(cx))?;
            return Poll::Ready(None);
        };
        // A stream that is over has no window.
        let _ = self.stream.flow_control().release_capacity(data.len());
        self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
        Poll::Ready(Some(Ok(data)))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match &mut *self {
            Self::Http1(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Self::Http2(body) => body.poll_data(cx).map_ok(Frame::data).map_err(Into::into),
            Self::Begun(BegunBody { read, rest }) => match (read.take(), rest) {
                (Some(read), _) => Poll::Ready(Some(Ok(Frame::data(read)))),
                (None, Some(rest)) => Pin::new(&mut **rest).poll_frame(cx),
                (None, None) => Poll::Ready(None),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(body) => body.stream.is_end_stream(),
            Self::Begun(BegunBody { read, rest }) => {
                read.is_none() && rest.as_ref().is_none_or(|rest| rest.is_end_stream())
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(body) => body.size_hint(),
            Self::Http2(Http2RequestBody { left, .. }) => left.map_or_else(SizeHint::default, SizeHint::with_exact),
            Self::Begun(BegunBody { read, rest }) => {
                let read = read.as_ref().map_or(0, |read| read.len() as u64);
                let mut hint = rest.as_ref().map_or(SizeHint::with_exact(0), |rest| rest.size_hint());
                if let Some(upper) = hint.upper() {
                    hint.set_upper(upper.saturating_add(read));
                }
                hint.set_lower(hint.lower().saturating_add(read));
                hint
            }
        }
    }
}
