//! The limits of request bodies: bytes, time between pieces, memory.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use http_body::{Body, SizeHint};

use crate::net::listener::{Buffers, BuffersFull, RequestBody, Reservation};
use crate::proxy::upstream::AnswerBody;

/// What a body may hold between its connections, in bytes: the window of a stream, or what is read ahead, and the
/// piece that is passed on.
const HELD: u64 = 128 * 1024;

/// What is taken of a caller's body, and of the memory for bodies.
#[derive(Debug, Clone)]
pub struct BodyLimits {
    /// For each wait for more of it.
    pub wait: Duration,
    /// The most bytes.
    pub limit: u64,
    /// The most bytes of one that a rule judges.
    pub judged: u64,
    /// The memory for all of them, in either direction.
    pub buffers: Arc<Buffers>,
}

impl BodyLimits {
    /// Memory for a body, unless it is used up; none for one that is empty.
    pub(super) fn room(&self, size: &SizeHint) -> Result<Option<Reservation>, BuffersFull> {
        let most = size.upper().unwrap_or(HELD).min(HELD);
        (most > 0).then(|| self.buffers.reserve(most)).transpose()
    }

    /// Memory for a body of which up to `limit` bytes are held.
    pub(super) fn reserve(&self, body: &RequestBody, limit: u64) -> Result<Option<Reservation>, BuffersFull> {
        let most = body.size_hint().upper().unwrap_or(limit).min(limit);
        (most > 0).then(|| self.buffers.reserve(most)).transpose()
    }

    /// Memory for an answer; one to a write is there, and cannot be asked for again.
    pub(super) fn room_for(&self, method: &Method, body: &AnswerBody) -> Result<Option<Reservation>, BuffersFull> {
        match self.room(&body.size_hint()) {
            Err(BuffersFull) if !method.is_safe() => Ok(Some(self.buffers.take(HELD))),
            room => room,
        }
    }
}
