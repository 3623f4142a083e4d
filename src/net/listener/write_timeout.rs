//! The socket of a caller that must go on reading: a write that makes no progress for too long ends the connection.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::buffers::{Buffers, Reservation};
use crate::base::clock::timer::Timer;

/// What TLS and the parser hold of a connection that cannot write, in bytes: counted while it cannot.
const HELD: u64 = 64 * 1024;

/// A stream, with a limit on each wait for its far end to take more.
pub(super) struct WriteTimeout<S> {
    stream: S,
    wait: Duration,
    buffers: Arc<Buffers>,
    blocked: Option<Box<Blocked>>,
}

/// A write that waits.
struct Blocked {
    timer: Timer,
    #[expect(dead_code, reason = "kept until the write is done")]
    held: Reservation,
}

impl<S> WriteTimeout<S> {
    pub(super) fn new(stream: S, wait: Duration, buffers: &Arc<Buffers>) -> Self {
        Self { stream, wait, buffers: Arc::clone(buffers), blocked: None }
    }

    /// What a write came to, or that it has waited for too long.
    fn judge<T>(&mut self, polled: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.blocked = None;
            return polled;
        }
        let Self { wait, buffers, blocked, .. } = self;
        let blocked = blocked.get_or_insert_with(|| {
            let mut timer = Timer::default();
            timer.set(Instant::now() + *wait);
            Box::new(Blocked { timer, held: buffers.take(HELD) })
        });
        ready!(blocked.timer.poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the far end does not read")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteTimeout<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteTimeout<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.judge(polled, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.judge(polled, cx)
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
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const WAIT: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn a_write_may_wait_as_long_as_it_moves_now_and_then() {
        let (near, mut far) = tokio::io::duplex(1024);
        let buffers = Arc::new(Buffers::new(1 << 20));
        let mut near = WriteTimeout::new(near, WAIT, &buffers);
        let begun = Instant::now();
        let reader = async {
            let mut read = 0;
            for _ in 0..8 {
                tokio::time::sleep(WAIT - Duration::from_secs(1)).await;
                read += far.read(&mut [0; 512]).await.expect("data");
                assert!(buffers.used() <= HELD);
            }
            read
        };
        let (written, read) = tokio::join!(near.write_all(&[0; 8 * 1024]), reader);
        assert_eq!((written.expect_err("an end").kind(), read), (io::ErrorKind::TimedOut, 4096));
        assert_eq!(begun.elapsed(), 8 * (WAIT - Duration::from_secs(1)) + WAIT);
        assert_eq!(buffers.used(), HELD);
        drop(near);
        assert_eq!(buffers.used(), 0);
    }
}
