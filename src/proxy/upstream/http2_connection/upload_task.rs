//! The body of a request on its way up an HTTP/2 stream, as the server takes it.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::Body;
use tokio::task::{AbortHandle, spawn_local};

use crate::net::body::{BodyError, Upload};

/// A body on its way up; it stops when this is dropped.
pub(super) struct UploadTask(Option<AbortHandle>);

impl UploadTask {
    pub(super) fn spawn(upload: Upload, stream: SendStream<Bytes>) -> Self {
        Self(Some(spawn_local(send_up(upload, stream)).abort_handle()))
    }

    /// It goes on by itself.
    pub(super) fn leave(mut self) {
        self.0 = None;
    }
}

impl Drop for UploadTask {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

/// Sends a body as the server takes it, until it ends, or the server wants no more. One that breaks off ends the stream.
async fn send_up(mut upload: Upload, mut stream: SendStream<Bytes>) {
    let progress = upload.progress();
    let is_abandoned = |cx: &Context<'_>| progress.as_ref().is_some_and(|all| all.poll_abandoned(cx).is_ready());
    loop {
        let frame = poll_fn(|cx| match stream.poll_reset(cx) {
            Poll::Ready(_) => Poll::Ready(None),
            Poll::Pending if is_abandoned(cx) => Poll::Ready(Some(Some(Err(BodyError::Broken)))),
            Poll::Pending => Pin::new(&mut upload).poll_frame(cx).map(Some),
        });
        let sent = match frame.await {
            None => return,
            Some(None) => return drop(stream.send_data(Bytes::new(), true)),
            Some(Some(Err(_))) => return stream.send_reset(Reason::CANCEL),
            Some(Some(Ok(frame))) => {
                let (data, is_last) = (frame.into_data().unwrap_or_default(), upload.is_end_stream());
                send_piece(&mut stream, data, is_last, is_abandoned).await && !is_last
            }
        };
        if !sent {
            return;
        }
    }
}

/// Sends a piece when there is room for a part of it; false if the server wants no more, or the body is abandoned.
async fn send_piece(
    stream: &mut SendStream<Bytes>,
    data: Bytes,
    is_last: bool,
    is_abandoned: impl Fn(&Context<'_>) -> bool,
) -> bool {
    if !data.is_empty() {
        // Not for all of it: a stream that waits must not keep others from what room there is.
        stream.reserve_capacity(1);
        while stream.capacity() == 0 {
            let room = poll_fn(|cx| match stream.poll_capacity(cx) {
                Poll::Pending if is_abandoned(cx) => Poll::Ready(None),
                room @ (Poll::Ready(_) | Poll::Pending) => room,
            });
            match room.await {
                Some(Ok(_)) => {}
                Some(Err(_)) => return false,
                None => {
                    // Nothing happens to a stream that is over.
                    stream.send_reset(Reason::CANCEL);
                    return false;
                }
            }
        }
    }
    stream.send_data(data, is_last).is_ok()
}
