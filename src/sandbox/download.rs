//! Bodies of answers: short ones from memory, long ones from one static chunk, again and again.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

/// What a long body repeats.
static CHUNK: [u8; 64 * 1024] = filled();
/// The largest size that can be asked for: 4 GiB.
const MAX_SIZE: u64 = 4 << 30;
/// The size when none is asked for.
const DEFAULT_SIZE: u64 = 20_480;

/// The body of an answer.
#[derive(Debug)]
pub(super) enum SandboxBody {
    /// These bytes, once.
    Whole(Option<Bytes>),
    /// So many bytes of the chunk.
    Repeated(SizedBody),
}

/// A body of `left` more bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SizedBody {
    left: u64,
    /// Whether the length is sent ahead.
    told: bool,
}

impl SizedBody {
    pub(super) fn new(size: Option<u64>, chunked: bool) -> Self {
        Self { left: size.unwrap_or(DEFAULT_SIZE).min(MAX_SIZE), told: !chunked }
    }
}

impl SandboxBody {
    pub(super) fn empty() -> Self {
        Self::Whole(None)
    }

    /// The length if it is sent ahead.
    pub(super) fn length(&self) -> Option<u64> {
        match self {
            Self::Whole(bytes) => Some(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Repeated(download) => download.told.then_some(download.left),
        }
    }
}

impl http_body::Body for SandboxBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = match self.get_mut() {
            Self::Whole(bytes) => bytes.take().filter(|bytes| !bytes.is_empty()),
            Self::Repeated(SizedBody { left: 0, .. }) => None,
            Self::Repeated(download) => {
                let size = download.left.min(CHUNK.len() as u64);
                download.left -= size;
                Some(Bytes::from_static(&CHUNK).slice(..size as usize))
            }
        };
        Poll::Ready(data.map(|data| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Self::Repeated(download) => download.left == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.length().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// Bytes that compress badly enough and differ from their neighbours.
#[allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a constant: an index out of bounds fails the build"
)]
const fn filled() -> [u8; 64 * 1024] {
    let mut chunk = [0; 64 * 1024];
    let mut state: u32 = 1;
    let mut i = 0;
    while i < chunk.len() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        chunk[i] = (state >> 24) as u8;
        i += 1;
    }
    chunk
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn download_gives_exactly_the_bytes_asked_for() {
        for size in [0, 1, 65_536, 65_537, 1_000_000] {
            let content = SandboxBody::Repeated(SizedBody::new(Some(size), false));
            assert_eq!(content.length(), Some(size));
            let bytes = content.collect().await.expect("infallible").to_bytes();
            assert_eq!(bytes.len() as u64, size);
        }
    }

    #[test]
    fn download_is_bounded_and_hides_its_length_when_chunked() {
        assert_eq!(SizedBody::new(Some(u64::MAX), false).left, MAX_SIZE);
        assert_eq!(SandboxBody::Repeated(SizedBody::new(Some(5), true)).length(), None);
        assert_eq!(SandboxBody::Repeated(SizedBody::new(None, false)).length(), Some(DEFAULT_SIZE));
    }
}
