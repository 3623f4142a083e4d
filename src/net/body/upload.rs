//! The body of a request on its way upstream: counted, limited, and kept while small so that it can be sent again.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http::Version;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use super::{BodyError, TimedBody};
use crate::net::listener::RequestBody;

/// How much of a request's body is kept until the head of the answer comes, so that it can be sent again; in bytes.
const MAX_KEPT: u64 = 64 * 1024;

/// The body of a request on its way up.
#[derive(Debug, Default)]
pub enum Upload {
    /// No body.
    #[default]
    Empty,
    /// A body in transit.
    Stream(UploadAttempt),
}

/// A body on its way up on one connection. If that fails early, what it has taken goes up again on the next attempt,
/// followed by what is still to come.
#[derive(Debug)]
pub struct UploadAttempt {
    progress: Rc<Progress>,
    /// What an earlier attempt has taken, and this one sends first.
    replay: VecDeque<Bytes>,
    number: u32,
}

/// How far an upload has come, shared with the one who waits for the answer.
#[derive(Debug)]
pub struct Progress {
    /// `None` once it is abandoned.
    body: RefCell<Option<TimedBody>>,
    ended: Cell<bool>,
    /// The task that sends it, to be woken when it is abandoned.
    sender: RefCell<Option<Waker>>,
    moved: Cell<Instant>,
    /// Shared with the record of the request, which outlives the body.
    bytes: Rc<Cell<u64>>,
    limit: u64,
    cut: Cell<Option<BodyError>>,
    /// What came so far, while it is little: the pieces are shared, not copied.
    kept: RefCell<Option<Vec<Bytes>>>,
    /// The attempt that may take bytes; an earlier one must not take any from it.
    attempt: Cell<u32>,
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
        self.ended.get() || self.body.borrow().is_none()
    }

    /// Nobody wants the rest of it: it breaks off, and the caller's side is let go.
    pub fn abandon(&self) {
        self.body.replace(None);
        if let Some(sender) = self.sender.take() {
            sender.wake();
        }
    }

    /// Ready once it is abandoned. Only the last task that polls is woken.
    pub fn poll_abandoned(&self, cx: &Context<'_>) -> Poll<()> {
        if self.body.borrow().is_none() {
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
        let replay = self.kept.borrow().as_ref()?.iter().cloned().collect();
        self.attempt.set(self.attempt.get() + 1);
        Some(Upload::Stream(UploadAttempt { progress: Rc::clone(self), replay, number: self.attempt.get() }))
    }

    fn poll_data(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        let mut body = self.body.borrow_mut();
        let Some(body) = body.as_mut() else { return Poll::Ready(Some(Err(BodyError::Broken))) };
        let polled = ready!(body.poll_data(cx)).map(|data| {
            let data = data?;
            self.advance(&data).map(|()| data)
        });
        match &polled {
            Some(Ok(_)) => self.ended.set(body.is_end_stream()),
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
        let progress = Rc::new(Progress {
            body: RefCell::new(Some(TimedBody::new(body, version, wait))),
            ended: Cell::new(false),
            sender: RefCell::default(),
            moved: Cell::new(Instant::now()),
            bytes: Rc::default(),
            limit,
            cut: Cell::new(None),
            kept: RefCell::new(Some(Vec::new())),
            attempt: Cell::new(0),
        });
        Ok(Self::Stream(UploadAttempt { progress, replay: VecDeque::new(), number: 0 }))
    }

    /// What the one who waits for the answer may watch.
    pub fn progress(&self) -> Option<Rc<Progress>> {
        match self {
            Self::Empty => None,
            Self::Stream(attempt) => Some(Rc::clone(&attempt.progress)),
        }
    }
}

impl UploadAttempt {
    fn is_over(&self) -> bool {
        self.number != self.progress.attempt.get()
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        if self.is_over() {
            return Poll::Ready(Some(Err(BodyError::Broken)));
        }
        match self.replay.pop_front() {
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
            Self::Stream(attempt) => attempt.poll_data(cx).map_ok(Frame::data),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Stream(attempt) => {
                let ended = |body: &Option<TimedBody>| body.as_ref().is_some_and(TimedBody::is_end_stream);
                !attempt.is_over() && attempt.replay.is_empty() && ended(&attempt.progress.body.borrow())
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        let Self::Stream(attempt) = self else { return SizeHint::with_exact(0) };
        let replay: u64 = attempt.replay.iter().map(|data| data.len() as u64).sum();
        let rest = attempt.progress.body.borrow().as_ref().map(TimedBody::size_hint).unwrap_or_default();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + replay);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + replay);
        }
        hint
    }
}
