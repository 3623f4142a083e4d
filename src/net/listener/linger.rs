//! Lingering close: a closed connection is still read for a while, so that its caller can read the answer.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Instant;

use crate::base::clock::timer::Timer;

/// How long a closed connection is still read, after the last byte that came, so that the caller can read the answer; a
/// caller that is in the midst of a body often reads only once it has written all of it.
const LINGER: Duration = Duration::from_millis(500);
const LINGER_IN_BODY: Duration = Duration::from_secs(2);
/// How much is read then at most, in bytes: the largest upload that NinjaOne documents has 200 MB.
const LINGER_BYTES: usize = 256 << 20;

/// The end of a connection: nothing more is written, and what comes is thrown away.
pub(super) struct Linger {
    /// When it ends, whatever comes.
    end: Instant,
    /// Each wait for more.
    wait: Duration,
    timer: Timer,
    left: usize,
}

impl Linger {
    /// At most so long; `in_body` if the connection is closed in the midst of a request's body.
    pub(super) fn new(in_body: bool, most: Duration) -> Self {
        let wait = if in_body { LINGER_IN_BODY } else { LINGER };
        let mut linger = Self { end: Instant::now() + most, wait, timer: Timer::default(), left: LINGER_BYTES };
        linger.moved(0);
        linger
    }

    fn moved(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub(bytes);
        self.timer.set(self.end.min(Instant::now() + self.wait));
    }

    /// Ends once the far end has closed too, or it was waited for long enough.
    pub(super) fn poll<S>(&mut self, stream: &mut S, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        S: AsyncRead + Unpin,
    {
        let mut waste = [0; 16 * 1024];
        while self.left > 0 && self.timer.poll(cx).is_pending() {
            let mut buffer = ReadBuf::new(&mut waste);
            ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer))?;
            match buffer.filled().len() {
                0 => break,
                bytes => self.moved(bytes),
            }
        }
        Poll::Ready(Ok(()))
    }
}
