//! The bytes of one connection to an instance, below TLS: what was sent of a request, and what came unasked.

use std::cell::{Cell, RefCell};
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

/// What may come on an HTTP/1.1 connection until the head of the answer is known, in bytes. hyper reads informational
/// answers without a pause and without an end; with their shortest form this takes it some milliseconds. It must be
/// more than the longest head and what hyper reads of a body before it is asked for: about 400 KiB.
pub(super) const MAX_UNANSWERED: usize = 1 << 20;

/// The informational answers to one request, at most. Over HTTP/1.1 their bytes are counted only.
pub(super) const MAX_INFORMATIONAL: usize = 1024;

/// What is read of an HTTP/2 connection before the exchanges on it have their turn, in bytes. h2 keeps what they have not
/// taken yet, and a few bytes can be a head with many fields.
const MAX_TURN: usize = 64 * 1024;

/// What is read of a bulk body at a time, in bytes: TLS asks for 4 KiB, and would make sixteen calls of one.
const BULK_READ: usize = 64 * 1024;

/// The first bytes of a connection, see [`ConnectionTrack::listen`].
const BEGINNING: u64 = 16 * 1024;

/// What a connection and the exchanges on it know of each other.
#[derive(Debug, Default)]
pub(super) struct ConnectionTrack {
    written: Cell<u64>,
    heard: Cell<u64>,
    /// The socket is to be looked at before the next byte is written.
    look: Cell<bool>,
    /// What may still come before the head of the answer.
    left: Cell<Option<usize>>,
    /// What may still be read in this turn, if the connection has turns.
    turn: Cell<Option<usize>>,
    /// Who wants to know that something came.
    listener: RefCell<Option<Waker>>,
    /// The task of an HTTP/1.1 connection.
    task: RefCell<Option<AbortHandle>>,
}

/// Where an exchange began.
#[derive(Debug, Clone, Copy)]
pub(super) struct ExchangeStart {
    written: u64,
    heard: u64,
}

impl ConnectionTrack {
    /// Where the exchange begins that comes next.
    pub(super) fn mark(&self) -> ExchangeStart {
        ExchangeStart { written: self.written.get(), heard: self.heard.get() }
    }

    /// The next exchange is the only one. With `look`, nothing may have come before its first byte is written.
    pub(super) fn begin(&self, look: bool) {
        self.look.set(look);
        self.left.set(Some(MAX_UNANSWERED));
    }

    /// The head of the answer came.
    pub(super) fn answered(&self) {
        self.left.set(None);
    }

    /// This task moves what is on the connection.
    pub(super) fn moved_by(&self, task: AbortHandle) {
        self.task.replace(Some(task));
    }

    /// Ends the connection, whatever it is waiting for, if nobody shares it.
    pub(super) fn cut_off(&self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }

    /// The task of an HTTP/2 connection has its turn.
    pub(super) fn begin_turn(&self) {
        self.turn.set(Some(MAX_TURN));
    }

    /// Has this task polled again when something comes, as long as only the beginning of a connection has come: there a
    /// server says how many streams it allows, and hyper does not tell.
    pub(super) fn listen(&self, cx: &Context<'_>) {
        if self.heard.get() < BEGINNING {
            self.listener.replace(Some(cx.waker().clone()));
        }
    }

    /// Whether nothing was written since then.
    pub(super) fn unsent(&self, since: ExchangeStart) -> bool {
        self.written.get() == since.written
    }

    /// Whether nothing came since then.
    pub(super) fn unheard(&self, since: ExchangeStart) -> bool {
        self.heard.get() == since.heard
    }
}

/// More came before the head of an answer than is taken.
#[derive(Debug, thiserror::Error)]
#[error("too much came before the head of the answer")]
pub(super) struct TooManyInformational;

/// The socket, watched.
pub(super) struct WatchedSocket {
    stream: TcpStream,
    track: Rc<ConnectionTrack>,
    ahead: Ahead,
}

/// What was read of a bulk body before it was asked for.
#[derive(Default)]
struct Ahead {
    /// The last read took all that there was room for: there is more.
    more: bool,
    bytes: Vec<u8>,
    /// How many of them were given.
    given: usize,
}

impl Ahead {
    fn is_empty(&self) -> bool {
        self.given == self.bytes.len()
    }

    /// Reads as much as there is, into room that is kept while that is much.
    fn poll_fill(&mut self, stream: &mut TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.bytes.clear();
        self.given = 0;
        self.bytes.reserve_exact(BULK_READ);
        let read = pin!(stream.read_buf(&mut self.bytes));
        read.poll(cx).map_ok(drop)
    }

    fn give(&mut self, buffer: &mut ReadBuf<'_>) {
        let bytes = self.bytes.get(self.given..).unwrap_or_default();
        let (given, _) = bytes.split_at(bytes.len().min(buffer.remaining()));
        buffer.put_slice(given);
        self.given += given.len();
        if self.is_empty() {
            self.more = self.bytes.len() * 2 > BULK_READ;
            if !self.more {
                (self.bytes, self.given) = (Vec::new(), 0);
            }
        }
    }
}

impl WatchedSocket {
    pub(super) fn new(stream: TcpStream, track: Rc<ConnectionTrack>) -> Self {
        Self { stream, track, ahead: Ahead::default() }
    }

    /// Whether the server has closed the connection, or said something before it was asked: that would be read as the
    /// answer to this request. The runtime may not know yet what the system knows, so the system is asked.
    fn check(&mut self) -> io::Result<()> {
        if !self.track.look.replace(false) {
            return Ok(());
        }
        if !self.ahead.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "bytes came before the request"));
        }
        self.ahead = Ahead::default();
        match SockRef::from(&self.stream).peek(&mut [MaybeUninit::uninit()]) {
            Ok(0) => Err(io::ErrorKind::ConnectionAborted.into()),
            Ok(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "bytes came before the request")),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn wrote(&self, bytes: usize) -> usize {
        self.track.written.set(self.track.written.get() + bytes as u64);
        bytes
    }

    fn heard(&self, bytes: usize) -> io::Result<()> {
        self.track.heard.set(self.track.heard.get() + bytes as u64);
        if let Some(listener) = self.track.listener.take() {
            listener.wake();
        }
        if let Some(turn) = self.track.turn.get() {
            self.track.turn.set(Some(turn.saturating_sub(bytes)));
        }
        let Some(left) = self.track.left.get() else { return Ok(()) };
        let too_much = || io::Error::new(io::ErrorKind::InvalidData, TooManyInformational);
        self.track.left.set(Some(left.checked_sub(bytes).ok_or_else(too_much)?));
        Ok(())
    }
}

impl AsyncRead for WatchedSocket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.track.turn.get() == Some(0) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let Self { stream, ahead, .. } = &mut *self;
        if ahead.is_empty() && ahead.more {
            ready!(ahead.poll_fill(stream, cx))?;
        }
        if ahead.is_empty() && !ahead.more {
            ready!(Pin::new(stream).poll_read(cx, buffer))?;
            ahead.more = buffer.remaining() == 0;
        } else {
            ahead.give(buffer);
        }
        Poll::Ready(self.heard(buffer.filled().len().saturating_sub(before)))
    }
}

impl AsyncWrite for WatchedSocket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        Poll::Ready(Ok(self.wrote(written)))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, slices))?;
        Poll::Ready(Ok(self.wrote(written)))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{Ipv4Addr, TcpListener};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// A wire, and its far end, which is not the runtime's.
    fn pair() -> (WatchedSocket, Rc<ConnectionTrack>, std::net::TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let near = std::net::TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
        near.set_nonblocking(true).expect("a setting");
        let track = Rc::<ConnectionTrack>::default();
        let near = TcpStream::from_std(near).expect("a socket");
        (WatchedSocket::new(near, Rc::clone(&track)), track, listener.accept().expect("a connection").0)
    }

    #[tokio::test]
    async fn wire_writes_nothing_of_a_request_where_the_server_closed_or_spoke_first() {
        for speaks in [false, true] {
            let (mut wire, track, mut far) = pair();
            // The socket is known to be writable, and nothing else: what comes now the runtime has not heard of.
            wire.write_all(b"first").await.expect("an open connection");
            if speaks {
                far.write_all(b"unasked").expect("an open connection");
            } else {
                drop(far);
            }
            track.begin(true);
            let begun = track.mark();
            assert!(wire.write_all(b"second").await.is_err(), "speaks: {speaks}");
            assert!(track.unsent(begun));
        }
    }

    #[tokio::test]
    async fn wire_reads_much_at_a_time_where_there_is_much_and_loses_nothing() {
        let (mut wire, track, mut far) = pair();
        let sent: Vec<u8> = (0..1_000_003_u32).map(|number| (number % 251) as u8).collect();
        let (all, mut read) = (sent.clone(), Vec::new());
        let writer = std::thread::spawn(move || far.write_all(&all).map(|()| far));
        let mut piece = [0; 4096];
        let mut most = 0;
        while read.len() < sent.len() {
            let bytes = wire.read(&mut piece).await.expect("an open connection");
            read.extend_from_slice(piece.get(..bytes).expect("no more than fits"));
            most = most.max(wire.ahead.bytes.len() - wire.ahead.given);
        }
        assert!(read == sent && most > 4096, "{most}");
        let mut far = writer.join().expect("no panic").expect("an open connection");
        // What is left of it is bytes before the request.
        far.write_all(&sent[..3 * 4096]).expect("an open connection");
        wire.ahead.more = true;
        wire.read_exact(&mut piece[..10]).await.expect("an open connection");
        track.begin(true);
        assert!(wire.write_all(b"second").await.is_err());
        drop(far);
        let mut rest = Vec::new();
        wire.read_to_end(&mut rest).await.expect("an end");
        assert_eq!(rest, sent[10..3 * 4096]);
    }

    #[tokio::test]
    async fn wire_counts_what_is_sent_and_heard_and_looks_once_a_request() {
        let (mut wire, track, mut far) = pair();
        track.begin(true);
        let begun = track.mark();
        assert!(track.unsent(begun) && track.unheard(begun));
        wire.write_all(b"ask").await.expect("an open connection");
        far.write_all(b"answer").expect("an open connection");
        assert_eq!(wire.read(&mut [0; 64]).await.expect("an answer"), 6);
        far.write_all(b"more").expect("an open connection");
        wire.write_all(b"the rest of the body").await.expect("an answer may come early");
        assert!(!track.unsent(begun) && !track.unheard(begun));
    }

    #[tokio::test]
    async fn wire_of_a_connection_with_turns_gives_so_much_a_turn_and_all_in_the_end() {
        let (mut wire, track, mut far) = pair();
        let all = 3 * MAX_TURN;
        let writer = std::thread::spawn(move || far.write_all(&vec![b'x'; all]).map(|()| far));
        let (mut heard, mut buffer) = (0, vec![0; 4096]);
        while heard < all {
            track.begin_turn();
            let mut turn = 0;
            std::future::poll_fn(|cx| {
                let mut buffer = ReadBuf::new(&mut buffer);
                while let Poll::Ready(read) = Pin::new(&mut wire).poll_read(cx, &mut buffer) {
                    read.expect("an open connection");
                    turn += buffer.filled().len();
                    buffer.clear();
                }
                if turn > 0 { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            assert!(turn < MAX_TURN + 4096, "{turn}");
            heard += turn;
        }
        assert_eq!(heard, all);
        drop(writer.join().expect("no panic").expect("an open connection"));
    }

    #[tokio::test]
    async fn wire_hears_no_more_than_a_limit_before_the_head_of_an_answer() {
        let (mut wire, track, mut far) = pair();
        track.begin(true);
        let writer = std::thread::spawn(move || while far.write_all(&[b'x'; 4096]).is_ok() {});
        let (mut heard, mut buffer) = (0, vec![0; 64 * 1024]);
        while let Ok(bytes) = wire.read(&mut buffer).await {
            heard += bytes;
        }
        assert!(heard <= MAX_UNANSWERED, "{heard}");
        track.answered();
        assert!(wire.read(&mut buffer).await.is_ok(), "a body has no such limit");
        drop(wire);
        writer.join().expect("an end");
    }
}
