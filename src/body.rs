//! Bodies that are passed on as they come: never collected, cut off when a peer stops moving.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

/// The longest request body that is kept, until the head of the answer, to be sent again if it must be; in octets.
const MAX_KEPT: u64 = 64 * 1024;

/// Why a body ended too soon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Nothing came for the allowed time.
    Stalled,
    /// More came than is allowed.
    TooLarge,
    /// The connection broke, or the framing did.
    Broken,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stalled => "the body stopped coming",
            Self::TooLarge => "the body is larger than allowed",
            Self::Broken => "the body broke off",
        })
    }
}

impl std::error::Error for Cut {}

/// The data of a message in transit: frames as they come, trailers left out, with a limit on each wait.
#[derive(Debug)]
pub struct Transit {
    inner: Incoming,
    wait: Duration,
    /// Made at the first wait, so that a body that is there already costs no timer.
    timer: Option<Pin<Box<Sleep>>>,
    waiting: bool,
}

impl Transit {
    /// Passes `inner` on; each wait for more of it may take `wait`.
    pub fn new(inner: Incoming, wait: Duration) -> Self {
        Self { inner, wait, timer: None, waiting: false }
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        loop {
            match Pin::new(&mut self.inner).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.waiting = false;
                    // Trailers would become headers of the other side in some readers' eyes (RFC 9110 section 6.5.1).
                    if let Ok(data) = frame.into_data() {
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Some(Err(Cut::Broken))),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => {
                    ready!(self.poll_timer(cx));
                    return Poll::Ready(Some(Err(Cut::Stalled)));
                }
            }
        }
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.wait)));
        if !self.waiting {
            timer.as_mut().reset(Instant::now() + self.wait);
            self.waiting = true;
        }
        timer.as_mut().poll(cx)
    }
}

impl Body for Transit {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
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
#[derive(Debug)]
pub enum Upload {
    /// No body.
    Empty,
    /// A body in transit, and what the sender of the request may know of it.
    Stream(Transit, Rc<Progress>),
    /// A small body that went up before.
    Kept(VecDeque<Bytes>),
}

/// How far an upload has come, shared with the one who waits for the answer.
#[derive(Debug)]
pub struct Progress {
    moved: Cell<Instant>,
    octets: Cell<u64>,
    limit: u64,
    cut: Cell<Option<Cut>>,
    /// What went up, while it is small: the pieces are shared, not copied.
    kept: RefCell<Option<Vec<Bytes>>>,
    ended: Cell<bool>,
}

impl Progress {
    /// When octets last went up.
    pub fn moved(&self) -> Instant {
        self.moved.get()
    }

    /// Why the upload ended too soon, if it did: the caller's fault, not the instance's.
    pub fn cut(&self) -> Option<Cut> {
        self.cut.get()
    }

    /// Whether the body is small so far.
    pub fn keeps(&self) -> bool {
        self.kept.borrow().is_some()
    }

    /// The whole body once more, if it has gone up to its end and was small.
    pub fn again(&self) -> Option<Upload> {
        let kept = self.kept.borrow();
        let pieces = kept.as_ref().filter(|_| self.ended.get())?;
        Some(Upload::Kept(pieces.iter().cloned().collect()))
    }

    fn advance(&self, data: &Bytes) -> Result<(), Cut> {
        self.moved.set(Instant::now());
        self.octets.set(self.octets.get().saturating_add(data.len() as u64));
        let mut kept = self.kept.borrow_mut();
        if self.octets.get() > MAX_KEPT {
            *kept = None;
        } else if let Some(kept) = &mut *kept {
            kept.push(data.clone());
        }
        if self.octets.get() > self.limit { Err(Cut::TooLarge) } else { Ok(()) }
    }
}

impl Upload {
    /// The body of a request: at most `limit` octets, each wait for more at most `wait`.
    ///
    /// Fails with [`Cut::TooLarge`] for a body that says so beforehand.
    pub fn new(body: Incoming, wait: Duration, limit: u64) -> Result<Self, Cut> {
        if body.is_end_stream() {
            return Ok(Self::Empty);
        }
        if body.size_hint().lower() > limit {
            return Err(Cut::TooLarge);
        }
        let moved = Cell::new(Instant::now());
        let kept = RefCell::new((body.size_hint().lower() <= MAX_KEPT).then(Vec::new));
        let (octets, cut, ended) = (Cell::new(0), Cell::new(None), Cell::new(false));
        let progress = Progress { moved, octets, limit, cut, kept, ended };
        Ok(Self::Stream(Transit::new(body, wait), Rc::new(progress)))
    }

    /// What the one who waits for the answer may watch.
    pub fn progress(&self) -> Option<Rc<Progress>> {
        match self {
            Self::Empty | Self::Kept(_) => None,
            Self::Stream(_, progress) => Some(Rc::clone(progress)),
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let (transit, progress) = match &mut *self {
            Self::Empty => return Poll::Ready(None),
            Self::Kept(pieces) => return Poll::Ready(pieces.pop_front().map(|data| Ok(Frame::data(data)))),
            Self::Stream(transit, progress) => (transit, progress),
        };
        let polled = ready!(transit.poll_data(cx)).map(|data| {
            let data = data?;
            progress.advance(&data).map(|()| data)
        });
        match &polled {
            Some(Err(cut)) => progress.cut.set(Some(*cut)),
            // hyper does not ask again once it knows that the end has come.
            Some(Ok(_)) => progress.ended.set(transit.is_end_stream()),
            None => progress.ended.set(true),
        }
        Poll::Ready(polled.map(|data| data.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Stream(transit, _) => transit.is_end_stream(),
            Self::Kept(pieces) => pieces.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Stream(transit, _) => transit.size_hint(),
            Self::Kept(pieces) => SizeHint::with_exact(pieces.iter().map(|data| data.len() as u64).sum()),
        }
    }
}
