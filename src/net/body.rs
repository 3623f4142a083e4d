//! Bodies that are passed on as they come: never collected, cut off when a peer stops moving.

pub mod coding;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http::Version;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use crate::base::clock::timer::Timer;
use crate::base::panic_guard::Panicked;
use crate::net::listener::RequestBody;

/// How much of a request's body is kept, until the head of the answer, to be sent again if it must be; in bytes.
const MAX_KEPT: u64 = 64 * 1024;

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

/// All of a small body: at most `limit` bytes, each wait for more at most `wait`.
pub async fn read_small(
    body: RequestBody,
    version: Version,
    wait: Duration,
    limit: usize,
) -> Result<Vec<u8>, BodyError> {
    let mut transit = TimedBody::new(body, version, wait);
    let mut read = Vec::new();
    while let Some(data) = std::future::poll_fn(|cx| transit.poll_data(cx)).await {
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

/// The body of a request on its way up.
#[derive(Debug, Default)]
pub enum Upload {
    /// No body.
    #[default]
    Empty,
    /// A body in transit.
    Stream(UploadAttempt),
}

/// A body on its way up on one connection. If that fails early, what it has taken goes up again on the next leg,
/// followed by what is still to come.
#[derive(Debug)]
pub struct UploadAttempt {
    progress: Rc<Progress>,
    again: VecDeque<Bytes>,
    number: u32,
}

/// How far an upload has come, shared with the one who waits for the answer.
#[derive(Debug)]
pub struct Progress {
    /// None once it is abandoned.
    transit: RefCell<Option<TimedBody>>,
    ended: Cell<bool>,
    /// Who sends it, and wants to know when it is abandoned.
    sender: RefCell<Option<Waker>>,
    moved: Cell<Instant>,
    /// Counted for those, too, who outlast the body.
    bytes: Rc<Cell<u64>>,
    limit: u64,
    cut: Cell<Option<BodyError>>,
    /// What came so far, while it is little: the pieces are shared, not copied.
    kept: RefCell<Option<Vec<Bytes>>>,
    /// The leg that may take bytes; an earlier one must not take any from it.
    leg: Cell<u32>,
}

impl Progress {
    /// When bytes last went up.
    pub fn moved(&self) -> Instant {
        self.moved.get()
    }

    /// The count of bytes that came so far. It does not hold the body.
    pub fn count(&self) -> Rc<Cell<u64>> {
        Rc::clone(&self.bytes)
    }

    /// Whether all of it has been taken, or it broke.
    pub fn is_over(&self) -> bool {
        self.ended.get() || self.transit.borrow().is_none()
    }

    /// Nobody wants the rest of it: it breaks off, and the caller's side is let go.
    pub fn abandon(&self) {
        self.transit.replace(None);
        if let Some(sender) = self.sender.take() {
            sender.wake();
        }
    }

    /// Ends when it is abandoned. One may ask.
    pub fn poll_abandoned(&self, cx: &Context<'_>) -> Poll<()> {
        if self.transit.borrow().is_none() {
            return Poll::Ready(());
        }
        match &mut *self.sender.borrow_mut() {
            Some(known) => known.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Why the upload ended too soon, if it did: the caller's fault, not the instance's.
    pub fn cut(&self) -> Option<BodyError> {
        self.cut.get()
    }

    /// The whole body for another connection, if little of it came so far. The one before breaks off.
    pub fn retry(self: &Rc<Self>) -> Option<Upload> {
        let again = self.kept.borrow().as_ref()?.iter().cloned().collect();
        self.leg.set(self.leg.get() + 1);
        Some(Upload::Stream(UploadAttempt { progress: Rc::clone(self), again, number: self.leg.get() }))
    }

    fn poll_data(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        let mut transit = self.transit.borrow_mut();
        let Some(transit) = transit.as_mut() else { return Poll::Ready(Some(Err(BodyError::Broken))) };
        let polled = ready!(transit.poll_data(cx)).map(|data| {
            let data = data?;
            self.advance(&data).map(|()| data)
        });
        match &polled {
            Some(Ok(_)) => self.ended.set(transit.is_end_stream()),
            Some(Err(cut)) => {
                self.ended.set(true);
                self.cut.set(Some(*cut));
            }
            None => self.ended.set(true),
        }
        Poll::Ready(polled)
    }

    fn advance(&self, data: &Bytes) -> Result<(), BodyError> {
        self.moved.set(Instant::now());
        self.bytes.set(self.bytes.get().saturating_add(data.len() as u64));
        let mut kept = self.kept.borrow_mut();
        if self.bytes.get() > MAX_KEPT {
            *kept = None;
        } else if let Some(kept) = &mut *kept {
            kept.push(data.clone());
        }
        if self.bytes.get() > self.limit { Err(BodyError::TooLarge) } else { Ok(()) }
    }
}

impl Upload {
    /// The body of a request: at most `limit` bytes, each wait for more at most `wait`.
    ///
    /// Fails with [`BodyError::TooLarge`] for a body that says so beforehand.
    pub fn new(body: RequestBody, version: Version, wait: Duration, limit: u64) -> Result<Self, BodyError> {
        if body.is_end_stream() {
            return Ok(Self::Empty);
        }
        if body.size_hint().lower() > limit {
            return Err(BodyError::TooLarge);
        }
        let (transit, kept) = (Some(TimedBody::new(body, version, wait)), RefCell::new(Some(Vec::new())));
        let (transit, ended, sender) = (RefCell::new(transit), Cell::new(false), RefCell::default());
        let (moved, bytes) = (Cell::new(Instant::now()), Rc::default());
        let (cut, leg) = (Cell::new(None), Cell::new(0));
        let progress = Rc::new(Progress { transit, ended, sender, moved, bytes, limit, cut, kept, leg });
        Ok(Self::Stream(UploadAttempt { progress, again: VecDeque::new(), number: 0 }))
    }

    /// What the one who waits for the answer may watch.
    pub fn progress(&self) -> Option<Rc<Progress>> {
        match self {
            Self::Empty => None,
            Self::Stream(leg) => Some(Rc::clone(&leg.progress)),
        }
    }
}

impl UploadAttempt {
    fn is_over(&self) -> bool {
        self.number != self.progress.leg.get()
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        if self.is_over() {
            return Poll::Ready(Some(Err(BodyError::Broken)));
        }
        match self.again.pop_front() {
            Some(data) => Poll::Ready(Some(Ok(data))),
            None => self.progress.poll_data(cx),
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Stream(leg) => leg.poll_data(cx).map_ok(Frame::data),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Stream(leg) => {
                let ended = |transit: &Option<TimedBody>| transit.as_ref().is_some_and(TimedBody::is_end_stream);
                !leg.is_over() && leg.again.is_empty() && ended(&leg.progress.transit.borrow())
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        let Self::Stream(leg) = self else { return SizeHint::with_exact(0) };
        let again: u64 = leg.again.iter().map(|data| data.len() as u64).sum();
        let rest = leg.progress.transit.borrow().as_ref().map(TimedBody::size_hint).unwrap_or_default();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + again);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + again);
        }
        hint
    }
}
