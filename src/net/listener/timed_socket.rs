//! The socket of a caller with its time-outs (head, idle) and what hyper's parser hides; lingering close.
//!
//! hyper does not tell all of a head (see [`super::head`]), answers a malformed one with an empty body, and closes a
//! connection while bytes are still coming, which resets it and loses the answer.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::flush::Flush;
use super::head::{FramingError, Heads};
use crate::base::clock::timer::Timer;

/// How long a closed connection is still read, after the last byte that came, so that the caller can read the answer; a
/// caller that is in the midst of a body often reads only once it has written all of it.
const LINGER: Duration = Duration::from_millis(500);
const LINGER_IN_BODY: Duration = Duration::from_secs(2);
/// How much is read then at most, in bytes: the largest upload that NinjaOne documents has 200 MB.
const LINGER_BYTES: usize = 256 << 20;

/// What hyper is doing with the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It reads a head. What it writes now, it writes of its own accord.
    Head,
    /// A request is being served.
    Serving,
    /// The answer's body has ended, and may not be written out yet.
    Ending,
}

/// What the connection and the requests on it know of each other.
#[derive(Debug)]
pub(super) struct CallerConnectionState {
    phase: Cell<Phase>,
    heads: RefCell<Heads>,
    flush: Rc<Flush>,
    first_byte: Cell<Option<u8>>,
}

/// Kept as long as a request's answer.
#[derive(Debug)]
pub(super) struct Serving(Rc<CallerConnectionState>);

impl CallerConnectionState {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self {
            phase: Cell::new(Phase::Head),
            heads: RefCell::default(),
            flush: Rc::default(),
            first_byte: Cell::default(),
        })
    }

    /// That of the connection, once it has come.
    pub(super) fn first_byte(&self) -> Option<u8> {
        self.first_byte.get()
    }

    /// A request's head was read whole; what is wrong with it.
    pub(super) fn serve(self: &Rc<Self>) -> (Serving, Option<FramingError>) {
        self.phase.set(Phase::Serving);
        (Serving(Rc::clone(self)), self.heads.borrow_mut().parsed())
    }

    /// Tells when everything is written out.
    pub(super) fn flush(&self) -> &Rc<Flush> {
        &self.flush
    }

    /// Whether nothing more may be served on this connection.
    pub(super) fn is_over(&self) -> bool {
        self.heads.borrow().is_over()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.phase.set(Phase::Ending);
    }
}

/// The connection between hyper and the socket.
pub(super) struct TimedSocket<S, R> {
    stream: S,
    track: Rc<CallerConnectionState>,
    /// For the wait for a head, and for reading it from its first byte on.
    head_time: Duration,
    /// Set while a head is awaited, and anew once it has begun.
    timer: Timer,
    /// The head has begun, and the timer is set for that.
    begun: bool,
    /// The answer to a head that hyper refuses.
    refuse: R,
    /// What goes out instead of hyper's own refusal.
    pending: Vec<u8>,
    linger: Option<Linger>,
}

/// The end of a connection: nothing more is written, and what comes is thrown away.
struct Linger {
    /// When it ends, whatever comes.
    end: Instant,
    /// Each wait for more.
    wait: Duration,
    timer: Timer,
    left: usize,
}

impl Linger {
    fn new(wait: Duration, most: Duration) -> Self {
        let mut linger = Self { end: Instant::now() + most, wait, timer: Timer::default(), left: LINGER_BYTES };
        linger.moved(0);
        linger
    }

    fn moved(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub(bytes);
        self.timer.set(self.end.min(Instant::now() + self.wait));
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, R: Fn(StatusCode) -> Vec<u8>> TimedSocket<S, R> {
    pub(super) fn new(stream: S, track: Rc<CallerConnectionState>, head_time: Duration, refuse: R) -> Self {
        let (timer, pending) = (Timer::default(), Vec::new());
        Self { stream, track, head_time, timer, begun: false, refuse, pending, linger: None }
    }

    /// The stream, for another protocol than HTTP.
    pub(super) fn into_inner(self) -> S {
        self.stream
    }

    /// Whether a head has been awaited for too long. hyper's own timer is a new one for every request.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.track.phase.get() != Phase::Head {
            self.timer.clear();
            self.begun = false;
        } else if !self.timer.is_set() || (!self.begun && self.track.heads.borrow().is_in_head()) {
            self.begun = self.track.heads.borrow().is_in_head();
            self.timer.set(Instant::now() + self.head_time);
        }
        self.timer.poll(cx)
    }

    /// hyper's own refusal becomes ours.
    fn replace(&mut self, bytes: &[u8]) -> bool {
        if self.track.phase.get() != Phase::Head {
            return false;
        }
        let Some(status) = refused_status(bytes) else { return false };
        self.pending = (self.refuse)(status);
        true
    }

    fn poll_pending(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.pending.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.pending))?;
            self.pending.drain(..written.min(self.pending.len()));
        }
        Poll::Ready(Ok(()))
    }
}

/// The status of an answer that hyper gives by itself: 4xx, closing, and without a body.
fn refused_status(bytes: &[u8]) -> Option<StatusCode> {
    let code = bytes.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
    let text = std::str::from_utf8(bytes).ok()?;
    let whole = text.ends_with("\r\n\r\n") && text.contains("\r\nconnection: close\r\ncontent-length: 0\r\n");
    StatusCode::from_bytes(code).ok().filter(|status| whole && status.is_client_error())
}

impl<S: AsyncRead + AsyncWrite + Unpin, R: Fn(StatusCode) -> Vec<u8> + Unpin> AsyncRead for TimedSocket<S, R> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.track.heads.borrow().is_broken() {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        let before = buffer.filled().len();
        if Pin::new(&mut self.stream).poll_read(cx, buffer)?.is_pending() {
            ready!(self.poll_late(cx));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        if self.track.first_byte.get().is_none() {
            self.track.first_byte.set(buffer.filled().get(before).copied());
        }
        let passes = self.track.heads.borrow_mut().watch(buffer.filled().get(before..).unwrap_or_default());
        buffer.set_filled(before + passes);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, R: Fn(StatusCode) -> Vec<u8> + Unpin> AsyncWrite for TimedSocket<S, R> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.replace(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [only] = slices
            && self.replace(only)
        {
            return Poll::Ready(Ok(only.len()));
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_pending(cx))?;
        // hyper flushes when its own buffer is empty, and reads the next head after that.
        if self.track.phase.get() == Phase::Ending {
            self.track.phase.set(Phase::Head);
            self.timer.clear();
            self.begun = false;
            // The next read finds out.
            let _ = self.poll_late(cx);
        }
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.track.flush.done();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_pending(cx))?;
        let in_body = self.track.heads.borrow().is_in_body();
        let Self { stream, linger, head_time, .. } = &mut *self;
        if linger.is_none() {
            ready!(Pin::new(&mut *stream).poll_shutdown(cx))?;
        }
        let wait = if in_body { LINGER_IN_BODY } else { LINGER };
        let linger = linger.get_or_insert_with(|| Linger::new(wait, *head_time));
        let mut waste = [0; 16 * 1024];
        while linger.left > 0 && linger.timer.poll(cx).is_pending() {
            let mut buffer = ReadBuf::new(&mut waste);
            ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer))?;
            match buffer.filled().len() {
                0 => break,
                bytes => linger.moved(bytes),
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_knows_hypers_own_refusals() {
        let own = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\ndate: x\r\n\r\n";
        assert_eq!(refused_status(own), Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
        for other in [
            &b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"[..],
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            b"x",
            b"",
        ] {
            assert_eq!(refused_status(other), None);
        }
    }
}
