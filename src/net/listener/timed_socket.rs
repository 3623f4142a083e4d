//! The socket of a caller with its time-outs (head, idle) and what hyper's parser hides; lingering close.
//!
//! hyper does not tell all of a head (see [`super::head`]), answers a malformed one with an empty body, and closes a
//! connection while bytes are still coming, which resets it and loses the answer.

use std::cell::{Cell, RefCell};
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::flush::Flush;
use super::head::{FramingError, Heads};
use super::linger::Linger;
use crate::base::clock::timer::Timer;

/// How long nothing is asked on a connection until it is at rest.
const REST: Duration = Duration::from_secs(1);
/// How much is read at once on a connection at rest, and while a request is served, in bytes.
const FIRST_PIECE: usize = 2 * 1024;
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
    /// Nothing is asked, and has not been for a while: hyper need not be there, which holds far more than the socket.
    at_rest: Cell<bool>,
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
            at_rest: Cell::new(true),
        })
    }

    /// Whether nothing has come since the last request, or at all, for a while.
    pub(super) fn is_at_rest(&self) -> bool {
        self.at_rest.get()
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
    /// Set while a head is awaited, and anew once it has begun: first to when the connection is at rest.
    timer: Timer,
    /// When the wait for a head ends.
    late: Option<Instant>,
    /// The head has begun, and the timer is set for that.
    begun: bool,
    /// What was read at rest or ahead of its time, and is read once more.
    beginning: Bytes,
    /// The answer to a head that hyper refuses.
    refuse: R,
    /// What goes out instead of hyper's own refusal.
    pending: Vec<u8>,
    linger: Option<Linger>,
}

impl<S: AsyncRead + AsyncWrite + Unpin, R: Fn(StatusCode) -> Vec<u8> + Unpin> TimedSocket<S, R> {
    pub(super) fn new(stream: S, track: Rc<CallerConnectionState>, head_time: Duration, refuse: R) -> Self {
        let (timer, beginning, pending) = (Timer::default(), Bytes::new(), Vec::new());
        let (late, begun, linger) = (None, false, None);
        Self { stream, track, head_time, timer, late, begun, beginning, refuse, pending, linger }
    }

    /// Ends when a head begins on a connection at rest; `false` if the connection ends instead.
    pub(super) fn poll_begun(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut piece = [const { MaybeUninit::uninit() }; FIRST_PIECE];
        let mut piece = ReadBuf::uninit(&mut piece);
        ready!(Pin::new(&mut *self).poll_read(cx, &mut piece))?;
        self.track.at_rest.set(false);
        self.beginning = Bytes::copy_from_slice(piece.filled());
        Poll::Ready(Ok(!self.beginning.is_empty()))
    }

    /// The stream, for another protocol than HTTP, and what was read of it after `read`, which hyper has.
    pub(super) fn into_inner(self, read: Bytes) -> (S, Bytes) {
        let read = if read.is_empty() { self.beginning } else { [read, self.beginning].concat().into() };
        (self.stream, read)
    }

    /// Fails when the caller leaves while its request is served. hyper could see to that, but takes 8 KB anew to read
    /// into each time, as the fields of the head still hold its buffer.
    fn watch(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let is_serving = self.track.phase.get() == Phase::Serving;
        let is_read_whole = is_serving && self.beginning.is_empty() && self.track.heads.borrow().is_between_heads();
        if is_read_whole && self.poll_begun(cx)? == Poll::Ready(false) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// Whether a head has been awaited for too long. hyper's own timer is a new one for every request.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.track.phase.get() != Phase::Head {
            self.timer.clear();
            self.begun = false;
        } else if !self.timer.is_set() || (!self.begun && self.track.heads.borrow().is_in_head()) {
            self.begun = self.track.heads.borrow().is_in_head();
            let (now, rests) = (Instant::now(), self.begun || self.track.at_rest.get());
            self.timer.set(now + if rests { self.head_time } else { self.head_time.min(REST) });
            self.late = Some(now + self.head_time);
        }
        ready!(self.timer.poll(cx));
        // It runs out twice: when the connection is at rest, and when it ends.
        match self.late.take_if(|late| *late > Instant::now()) {
            None => Poll::Ready(()),
            Some(late) => {
                self.track.at_rest.set(self.track.heads.borrow().is_between_heads());
                self.timer.set(late);
                self.timer.poll(cx)
            }
        }
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
        if !self.beginning.is_empty() && buffer.remaining() > 0 {
            let most = self.beginning.len().min(buffer.remaining());
            buffer.put_slice(&self.beginning.split_to(most));
            return Poll::Ready(Ok(()));
        }
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
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if written.is_pending() {
            self.watch(cx)?;
        }
        written
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
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        if written.is_pending() {
            self.watch(cx)?;
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_pending(cx))?;
        self.watch(cx)?;
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
        let linger = linger.get_or_insert_with(|| Linger::new(in_body, *head_time));
        linger.poll(stream, cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    /// A request is being served, of whose connection this is the near and the far end.
    async fn being_served() -> (TimedSocket<DuplexStream, fn(StatusCode) -> Vec<u8>>, DuplexStream, Serving) {
        const HEAD: &[u8] = b"GET / HTTP/1.1\r\n\r\n";
        let (near, mut far) = duplex(64);
        let track = CallerConnectionState::new();
        let mut wire = TimedSocket::new(near, Rc::clone(&track), REST, (|_| Vec::new()) as fn(StatusCode) -> Vec<u8>);
        far.write_all(HEAD).await.expect("a head");
        wire.read_exact(&mut [0; HEAD.len()]).await.expect("a head");
        let (serving, fault) = track.serve();
        assert_eq!(fault, None);
        (wire, far, serving)
    }

    #[tokio::test]
    async fn wire_notices_that_the_caller_leaves_while_its_request_is_served() {
        let (mut wire, far, _serving) = being_served().await;
        poll_fn(|cx| Pin::new(&mut wire).poll_flush(cx)).await.expect("the caller is there");
        drop(far);
        let error = poll_fn(|cx| Pin::new(&mut wire).poll_flush(cx)).await.expect_err("an end");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);

        // One that does not read, and will write no more.
        let (mut wire, mut far, _serving) = being_served().await;
        wire.write_all(&[b'x'; 64]).await.expect("room");
        let mut blocked = Box::pin(wire.write(b"x"));
        assert!(poll_fn(|cx| Poll::Ready(blocked.as_mut().poll(cx).is_pending())).await);
        far.shutdown().await.expect("an end");
        let written = tokio::time::timeout(REST * 30, blocked).await.expect("it is noticed");
        assert_eq!(written.expect_err("an end").kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn wire_loses_nothing_that_comes_while_a_request_is_served() {
        let (mut wire, mut far, serving) = being_served().await;
        for piece in [&b"GET /second"[..], b" HTTP/1.1\r\n\r\nGET /third"] {
            far.write_all(piece).await.expect("a piece");
            poll_fn(|cx| Pin::new(&mut wire).poll_flush(cx)).await.expect("the caller is there");
        }
        drop(serving);
        let mut read = [0; 34];
        let (first, rest) = read.split_at_mut(4);
        wire.read_exact(first).await.expect("a part");
        wire.read_exact(rest).await.expect("the rest");
        assert_eq!(&read, b"GET /second HTTP/1.1\r\n\r\nGET /third");

        let (mut wire, mut far, _serving) = being_served().await;
        far.write_all(b" of another").await.expect("bytes");
        poll_fn(|cx| Pin::new(&mut wire).poll_flush(cx)).await.expect("the caller is there");
        far.write_all(b" protocol").await.expect("bytes");
        let (mut stream, read) = wire.into_inner(Bytes::from_static(b"bytes"));
        let mut rest = [0; 9];
        stream.read_exact(&mut rest).await.expect("the rest");
        assert_eq!((&read[..], &rest), (&b"bytes of another"[..], b" protocol"));
    }

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
