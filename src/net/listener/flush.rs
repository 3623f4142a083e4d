//! Tells a body that breaks when all that came before its break is written out.
//!
//! hyper and h2 throw away what is not written yet of an answer whose body fails, its head included. The caller would
//! see a connection or a stream that ends without an answer, take it for a stale one, and send the request again.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What a connection and the bodies on it know of what is written.
#[derive(Debug, Default)]
pub(super) struct Flush {
    /// Bodies that wait until everything is written out.
    waiting: RefCell<Vec<Waker>>,
    /// How often it was since somebody first waited.
    times: Cell<u64>,
    /// The socket takes no more for now.
    blocked: Cell<bool>,
    /// The task of a connection that many bodies share.
    connection: RefCell<Option<Waker>>,
}

/// A wait for everything to be written out.
#[derive(Debug)]
pub(super) struct Wait(u64);

impl Flush {
    /// Begins a wait.
    pub(super) fn begin(&self) -> Wait {
        Wait(self.times.get())
    }

    /// Ends when everything has been written out since the wait began.
    pub(super) fn poll(&self, wait: &Wait, cx: &Context<'_>) -> Poll<()> {
        if self.times.get() != wait.0 {
            return Poll::Ready(());
        }
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.iter().any(|other| other.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
        if let Some(connection) = &*self.connection.borrow() {
            connection.wake_by_ref();
        }
        Poll::Pending
    }

    /// Everything is written out.
    pub(super) fn done(&self) {
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.is_empty() {
            self.times.set(self.times.get() + 1);
            waiting.drain(..).for_each(Waker::wake);
        }
    }

    /// Polls a connection whose bodies have tasks of their own, and which writes all that it can each time.
    pub(super) fn drive<F: Future>(&self, connection: Pin<&mut F>, cx: &mut Context<'_>) -> Poll<F::Output> {
        match &mut *self.connection.borrow_mut() {
            Some(known) => known.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        let polled = connection.poll(cx);
        if !self.blocked.get() {
            self.done();
        }
        polled
    }
}

/// A socket that tells when it takes no more.
pub(super) struct Watched<S> {
    stream: S,
    flush: Rc<Flush>,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, flush: Rc<Flush>) -> Self {
        Self { stream, flush }
    }

    fn seen<T>(&self, polled: Poll<T>) -> Poll<T> {
        self.flush.blocked.set(polled.is_pending());
        polled
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.seen(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.seen(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        self.seen(polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn a_wait_ends_once_the_connection_wrote_everything_and_not_while_its_socket_is_full() {
        let flush = Rc::<Flush>::default();
        let (near, mut far) = tokio::io::duplex(4);
        let mut socket = Watched::new(near, Rc::clone(&flush));
        let mut cx = Context::from_waker(Waker::noop());
        let wait = flush.begin();
        assert!(flush.poll(&wait, &cx).is_pending());
        {
            let mut connection = pin!(socket.write_all(b"a head"));
            assert!(flush.drive(connection.as_mut(), &mut cx).is_pending());
            assert!(flush.poll(&wait, &cx).is_pending(), "two bytes are not written");
            tokio::io::AsyncReadExt::read_exact(&mut far, &mut [0; 4]).await.expect("the first bytes");
            assert!(flush.drive(connection, &mut cx).is_ready());
        }
        assert!(flush.poll(&wait, &cx).is_ready());
        assert!(flush.poll(&flush.begin(), &cx).is_pending(), "what comes later is written later");
    }
}
