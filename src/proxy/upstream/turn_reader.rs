//! Reads of a task that asks for more several times in one of its turns, as hyper does on an HTTP/1.1 connection.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};

use crate::net::pass_writes::pass_writes;

/// A stream that is asked for nothing more in a turn once nothing was there: the task is woken when more comes, and that
/// is its next turn.
pub(super) struct TurnReader<S> {
    stream: S,
    turn: Turn,
}

/// A turn of the task.
#[derive(Clone, Default)]
pub(super) struct Turn {
    is_dry: Rc<Cell<bool>>,
}

impl Turn {
    /// The next one begins: to be called each time the task is polled.
    pub(super) fn begin(&self) {
        self.is_dry.set(false);
    }
}

impl<S> TurnReader<S> {
    pub(super) fn new(stream: S) -> (Self, Turn) {
        let turn = Turn::default();
        (Self { stream, turn: turn.clone() }, turn)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TurnReader<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.turn.is_dry.get() {
            return Poll::Pending;
        }
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.turn.is_dry.set(polled.is_pending());
        polled
    }
}

pass_writes!(TurnReader);

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncWriteExt;

    use super::*;

    /// Counts how often it is asked in vain.
    struct Counted<S>(S, usize);

    impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
        fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            let polled = Pin::new(&mut self.0).poll_read(cx, buffer);
            self.1 += usize::from(polled.is_pending());
            polled
        }
    }

    /// Asks three times a turn, and reads all that comes; in how many turns, and how often the stream had nothing.
    async fn read_all(near: tokio::io::DuplexStream) -> (Vec<u8>, usize, usize) {
        let (mut reader, turn) = TurnReader::new(Counted(near, 0));
        let (mut read, mut turns) = (Vec::new(), 0);
        poll_fn(|cx| {
            turn.begin();
            turns += 1;
            for _ in 0..3 {
                let mut piece = [0; 4];
                let mut piece = ReadBuf::new(&mut piece);
                match Pin::new(&mut reader).poll_read(cx, &mut piece).map(|read| read.expect("an open stream")) {
                    Poll::Ready(()) if piece.filled().is_empty() => return Poll::Ready(()),
                    Poll::Ready(()) => read.extend_from_slice(piece.filled()),
                    Poll::Pending => {}
                }
            }
            Poll::Pending
        })
        .await;
        (read, turns, reader.stream.1)
    }

    #[tokio::test]
    async fn turn_asks_once_for_what_is_not_there_and_reads_all_that_comes() {
        let (near, mut far) = tokio::io::duplex(64);
        let writer = async {
            for piece in ["a", "bc", "def"] {
                far.write_all(piece.as_bytes()).await.expect("an open stream");
                tokio::task::yield_now().await;
            }
            drop(far);
        };
        let ((read, turns, in_vain), ()) = tokio::join!(read_all(near), writer);
        assert_eq!(read, b"abcdef");
        assert_eq!(in_vain, turns - 1, "once in each turn but the last");
    }
}
