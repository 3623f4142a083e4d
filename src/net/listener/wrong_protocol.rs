//! Callers that speak TLS to a clear-text port, or clear text to a TLS port: told what to change, where they can read it,
//! and in the log.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;

use super::{ListenerLabel, Peer};
use crate::base::warn_limit::WarnLimit;
use crate::net::pass_writes::pass_writes;

/// The first byte of every TLS connection: a record of the handshake (RFC 8446 section 5.1).
pub(super) const TLS_HANDSHAKE: u8 = 0x16;

/// How long the caller may take to read the answer, and how much of its request is read then, in bytes.
const LINGER: Duration = Duration::from_millis(500);
const LINGER_BYTES: u64 = 64 * 1024;

/// The answer to HTTP in clear text; nothing of the request is judged.
const USE_HTTPS: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncache-control: no-store\r\n\
    connection: close\r\ncontent-length: 79\r\n\r\n\
    This port of ninjaone-proxy speaks TLS: write https:// in the place of http://\n";

/// Mix-ups of a listener, which the log tells of once a minute.
#[derive(Debug, Default)]
pub(super) struct Mixups {
    listener: Arc<ListenerLabel>,
    warnings: WarnLimit,
}

impl Mixups {
    pub(super) fn new(listener: Arc<ListenerLabel>) -> Self {
        Self { listener, warnings: WarnLimit::default() }
    }

    /// TLS came to a clear-text port.
    pub(super) fn tls_in_clear(&self, peer: &Peer) {
        self.log(
            "tls-in-clear",
            peer,
            "a caller speaks TLS to this port, which is plain HTTP: write http:// in its address, or give the listener tls",
        );
    }

    /// HTTP in clear text came to a TLS port: answers it.
    pub(super) async fn clear_in_tls<S: AsyncRead + AsyncWrite + Unpin>(&self, mut stream: S, peer: &Peer) {
        self.log(
            "clear-in-tls",
            peer,
            "a caller speaks plain HTTP to this port, which is TLS: write https:// in its address",
        );
        let answered = async {
            stream.write_all(USE_HTTPS).await?;
            stream.shutdown().await?;
            // A connection that is closed with bytes unread is reset, and its answer is lost.
            tokio::io::copy(&mut (&mut stream).take(LINGER_BYTES), &mut tokio::io::sink()).await
        };
        // A caller that does not read it has left.
        let _ = timeout(LINGER, answered).await;
    }

    fn log(&self, kind: &'static str, peer: &Peer, advice: &str) {
        if let Some(left_out) = self.warnings.due(kind) {
            let ListenerLabel { name, address } = &*self.listener;
            tracing::warn!(listener = %name, %address, %peer, left_out, "{advice}");
        }
    }
}

/// A stream whose beginning was read already, and is read once more.
pub(super) struct PeekedStream<S> {
    stream: S,
    beginning: Bytes,
}

impl<S: AsyncRead + AsyncWrite + Unpin> PeekedStream<S> {
    /// With what was read of it.
    pub(super) fn new(stream: S, beginning: Bytes) -> Self {
        Self { stream, beginning }
    }

    /// Waits for the first byte. Whether the method of a request begins there; not where the far end closes.
    pub(super) async fn is_clear_text(&mut self) -> io::Result<bool> {
        if self.beginning.is_empty() {
            let mut first = [0];
            let read = self.stream.read(&mut first).await?;
            self.beginning = Bytes::copy_from_slice(first.get(..read).unwrap_or_default());
        }
        Ok(self.beginning.first().is_some_and(u8::is_ascii_uppercase))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for PeekedStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buffer.remaining() > 0 && !self.beginning.is_empty() {
            let most = self.beginning.len().min(buffer.remaining());
            buffer.put_slice(&self.beginning.split_to(most));
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

pass_writes!(PeekedStream);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_says_its_own_length() {
        let text = std::str::from_utf8(USE_HTTPS).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        assert!(head.ends_with(&format!("content-length: {}", body.len())), "{}", body.len());
    }

    #[tokio::test]
    async fn the_beginning_is_looked_at_and_read_once() {
        for (before, sent, clear) in [
            (&b""[..], &b"GET / HTTP/1.1"[..], true),
            (b"", b"\x16\x03\x01", false),
            (b"", b"", false),
            (b"GE", b"T / HTTP/1.1", true),
            (b"\x16\x03", b"\x01", false),
            (b"\x16\x03\x01", b"", false),
        ] {
            let (near, mut far) = tokio::io::duplex(64);
            far.write_all(sent).await.expect("room");
            drop(far);
            let mut opened = PeekedStream::new(near, Bytes::from_static(before));
            assert_eq!(opened.is_clear_text().await.expect("a stream"), clear);
            let mut read = Vec::new();
            opened.read_to_end(&mut read).await.expect("an end");
            assert_eq!(read, [before, sent].concat());
        }
    }
}
