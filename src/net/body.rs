//! Bodies that are passed on as they come: never collected, cut off when a peer stops moving.

pub mod coding;
mod upload;

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Version;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use crate::base::clock::timer::Timer;
use crate::base::panic_guard::Panicked;
use crate::net::listener::RequestBody;

pub use upload::{Progress, Upload};

/// Why a body ended too soon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyError {
    /// Nothing came for the allowed time.
    Stalled,
    /// More came than is allowed.
    TooLarge,
    /// The connection broke, or the framing did.
    Broken,
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stalled => "the body stopped coming",
            Self::TooLarge => "the body is larger than allowed",
            Self::Broken => "the body broke off",
        })
    }
}

impl std::error::Error for BodyError {}

impl From<Panicked> for BodyError {
    fn from(_: Panicked) -> Self {
        Self::Broken
    }
}

/// The data of a message in transit: frames as they come, trailers left out, with a limit on each wait.
#[derive(Debug)]
pub struct TimedBody<B = RequestBody> {
    inner: B,
    /// Whether its end must be looked at, see [`TimedBody::ending`].
    http2: bool,
    wait: Duration,
    /// Set while more is awaited.
    timer: Timer,
}

impl<B: Body<Data = Bytes> + Unpin> TimedBody<B> {
    /// Passes `inner` on, the body of a message of this HTTP version; each wait for more of it may take `wait`.
    pub fn new(inner: B, version: Version, wait: Duration) -> Self {
        Self { inner, http2: version == Version::HTTP_2, wait, timer: Timer::default() }
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        loop {
            match Pin::new(&mut self.inner).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.timer.clear();
                    // Trailers would become headers of the other side in some readers' eyes (RFC 9110 section 6.5.1).
                    if let Ok(data) = frame.into_data() {
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Some(Err(BodyError::Broken))),
                Poll::Ready(None) => return Poll::Ready(self.ending()),
                Poll::Pending => {
                    ready!(self.poll_timer(cx));
                    return Poll::Ready(Some(Err(BodyError::Stalled)));
                }
            }
        }
    }

    /// A stream seems to have ended well also if it was reset with `NO_ERROR`, or left behind a GOAWAY: so half an
    /// answer would be a whole one. It has ended when END_STREAM came (RFC 9113 section 8.1), or all of its length.
    fn ending(&self) -> Option<Result<Bytes, BodyError>> {
        let whole = !self.http2 || self.inner.is_end_stream() || self.inner.size_hint().exact() == Some(0);
        (!whole).then_some(Err(BodyError::Broken))
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.timer.is_set() {
            self.timer.set(Instant::now() + self.wait);
        }
        self.timer.poll(cx)
    }
}

/// What was read of a body.
#[derive(Debug)]
pub struct ReadBody {
    /// What came.
    pub read: Bytes,
    /// The rest, if there is more than was to be read.
    pub rest: Option<RequestBody>,
}

/// A body up to `limit` bytes, or a little more than that of one that is larger; each wait for more takes at most `wait`.
pub async fn read_up_to(
    body: RequestBody,
    version: Version,
    wait: Duration,
    limit: usize,
) -> Result<ReadBody, BodyError> {
    let mut body = TimedBody::new(body, version, wait);
    let mut read = BytesMut::new();
    while let Some(data) = std::future::poll_fn(|cx| body.poll_data(cx)).await {
        read.extend_from_slice(&data?);
        if read.len() > limit {
            return Ok(ReadBody { read: read.freeze(), rest: Some(body.inner) });
        }
    }
    Ok(ReadBody { read: read.freeze(), rest: None })
}

/// All of a small body: at most `limit` bytes, each wait for more at most `wait`.
pub async fn read_small(
    body: RequestBody,
    version: Version,
    wait: Duration,
    limit: usize,
) -> Result<Vec<u8>, BodyError> {
    let mut body = TimedBody::new(body, version, wait);
    let mut read = Vec::new();
    while let Some(data) = std::future::poll_fn(|cx| body.poll_data(cx)).await {
        read.extend_from_slice(&data?);
        if read.len() > limit {
            return Err(BodyError::TooLarge);
        }
    }
    Ok(read)
}

impl<B: Body<Data = Bytes> + Unpin> Body for TimedBody<B> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.poll_data(cx).map_ok(Frame::data)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
