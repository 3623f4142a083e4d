//! The memory that messages take on their way through the proxy, counted for all connections together, with a limit.
//!
//! What is counted is what a peer can make the proxy hold: bytes that were handed to a connection and are not written
//! yet, and what a large body may hold between here and the instance. Small things of a fixed number, such as a
//! connection's own state, are not: `limits.connections` bounds those.

use std::cell::{Cell, RefCell};
use std::io::IoSlice;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};

/// Reservations up to this size have a part of the memory to themselves, once the rest is used up.
const SMALL: u64 = 16 * 1024;
/// One part in so many is kept for small reservations.
const RESERVE: u64 = 8;
/// The most bytes that one connection holds and has not written; further data waits where it comes from.
const CONNECTION: u64 = 256 * 1024;

/// The memory of all connections, of which parts are reserved.
#[derive(Debug)]
pub struct Buffers {
    limit: AtomicU64,
    used: AtomicU64,
    /// What small reservations use of the part that is kept for them.
    used_by_small: AtomicU64,
}

/// The memory is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the memory for messages in transit is used up")]
pub struct BuffersFull;

/// A part of the memory; dropping it gives it back.
#[derive(Debug)]
pub struct Reservation {
    buffers: Arc<Buffers>,
    bytes: u64,
    /// It is a part of what is kept for small ones.
    of_reserve: bool,
}

impl Buffers {
    /// At most `limit` bytes.
    pub fn new(limit: u64) -> Self {
        Self { limit: AtomicU64::new(limit), used: AtomicU64::new(0), used_by_small: AtomicU64::new(0) }
    }

    /// Sets another limit; what is reserved stays reserved.
    pub fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// The bytes that are in use.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// A part of the memory, unless it is used up.
    pub fn reserve(self: &Arc<Self>, bytes: u64) -> Result<Reservation, BuffersFull> {
        let limit = self.limit.load(Ordering::Relaxed);
        let reserve = limit / RESERVE;
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        // Dropped, it is given back.
        let mut reservation = Reservation { buffers: Arc::clone(self), bytes, of_reserve: false };
        if before.saturating_add(bytes) <= limit - reserve {
            return Ok(reservation);
        }
        if bytes > SMALL {
            return Err(BuffersFull);
        }
        // What is on its way of large messages may go beyond the limit, and must not take this part from small ones.
        reservation.of_reserve = true;
        let before = self.used_by_small.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) <= reserve { Ok(reservation) } else { Err(BuffersFull) }
    }

    /// A part of the memory also if it is used up: for what is there already.
    pub fn take(self: &Arc<Self>, bytes: u64) -> Reservation {
        self.add(bytes);
        Reservation { buffers: Arc::clone(self), bytes, of_reserve: false }
    }

    fn add(&self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Reservation {
    /// Gives back all but `bytes`, if that is less.
    pub fn shrink_to(&mut self, bytes: u64) {
        let surplus = self.bytes.saturating_sub(bytes);
        self.bytes -= surplus;
        self.buffers.give_back(surplus);
        if self.of_reserve {
            self.buffers.used_by_small.fetch_sub(surplus, Ordering::Relaxed);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.buffers.give_back(self.bytes);
        if self.of_reserve {
            self.buffers.used_by_small.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}

/// What was handed to one connection, and is not written yet.
#[derive(Debug)]
pub(super) struct Outgoing {
    buffers: Arc<Buffers>,
    bytes: Cell<u64>,
    /// Those who wait until less of it is left.
    waiting: RefCell<Vec<Waker>>,
}

impl Outgoing {
    pub(super) fn new(buffers: &Arc<Buffers>) -> Rc<Self> {
        Rc::new(Self { buffers: Arc::clone(buffers), bytes: Cell::new(0), waiting: RefCell::default() })
    }

    /// Ends when the connection may be given more. This cannot lock up: what is counted here waits for nothing but
    /// the socket.
    pub(super) fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        if self.bytes.get() < CONNECTION {
            return Poll::Ready(());
        }
        self.waiting.borrow_mut().push(cx.waker().clone());
        Poll::Pending
    }

    /// Counts a piece of a body until it is written, or dropped.
    pub(super) fn piece(self: &Rc<Self>, bytes: Bytes) -> CountedBytes {
        let counted = bytes.len() as u64;
        self.buffers.add(counted);
        self.bytes.set(self.bytes.get() + counted);
        CountedBytes { bytes, counted: Counted { outgoing: Rc::clone(self), bytes: counted } }
    }
}

/// A piece of a body on its way out.
#[derive(Debug)]
pub(super) struct CountedBytes {
    bytes: Bytes,
    #[expect(dead_code, reason = "dropped with the bytes")]
    counted: Counted,
}

#[derive(Debug)]
struct Counted {
    outgoing: Rc<Outgoing>,
    bytes: u64,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let Self { outgoing, bytes } = self;
        outgoing.buffers.give_back(*bytes);
        let left = outgoing.bytes.get().saturating_sub(*bytes);
        outgoing.bytes.set(left);
        // Not at each byte of room: all who wait are woken.
        if left <= CONNECTION / 2 && !outgoing.waiting.borrow().is_empty() {
            outgoing.waiting.take().into_iter().for_each(Waker::wake);
        }
    }
}

impl Buf for CountedBytes {
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.bytes.chunks_vectored(slices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_reserved_up_to_the_limit_and_given_back() {
        let buffers = Arc::new(Buffers::new(1 << 20));
        let first = buffers.reserve(500_000).expect("room");
        assert!(buffers.reserve(500_000).is_err(), "an eighth is kept for small ones");
        let small: Vec<_> = std::iter::from_fn(|| buffers.reserve(SMALL).ok()).collect();
        let reserve = (1 << 20) / RESERVE;
        assert_eq!(small.len() as u64, ((1 << 20) - reserve - 500_000) / SMALL + reserve / SMALL);
        let taken = buffers.take(1 << 20);
        assert_eq!(buffers.used(), 500_000 + small.len() as u64 * SMALL + (1 << 20));
        drop((small, taken, first));
        assert_eq!(buffers.used(), 0);
        let mut large = buffers.reserve(500_000).expect("room");
        large.shrink_to(600_000);
        assert_eq!(buffers.used(), 500_000);
        large.shrink_to(7);
        assert_eq!(buffers.used(), 7);
        drop(large);
        assert_eq!(buffers.used(), 0);
        buffers.set_limit(100);
        assert!(buffers.reserve(89).is_err() && buffers.reserve(88).is_ok());
    }

    #[test]
    fn small_ones_have_their_part_however_much_is_on_its_way() {
        let buffers = Arc::new(Buffers::new(1 << 20));
        let beyond = buffers.take(10 << 20);
        let small: Vec<_> = std::iter::from_fn(|| buffers.reserve(SMALL).ok()).collect();
        assert_eq!(small.len() as u64, (1 << 20) / RESERVE / SMALL);
        drop(small);
        assert!(buffers.reserve(SMALL).is_ok(), "given back");
        drop(beyond);
        assert!(buffers.reserve(500_000).is_ok());
    }

    #[test]
    fn a_connection_has_no_room_until_half_of_it_is_written() {
        let buffers = Arc::new(Buffers::new(1));
        let outgoing = Outgoing::new(&buffers);
        let cx = Context::from_waker(Waker::noop());
        let piece = || outgoing.piece(Bytes::from(vec![0; CONNECTION as usize / 4]));
        let mut pieces = Vec::new();
        while outgoing.poll_room(&cx).is_ready() {
            pieces.push(piece());
        }
        assert_eq!((pieces.len(), buffers.used()), (4, CONNECTION));
        assert_eq!(outgoing.waiting.borrow().len(), 1);
        pieces[0].advance(CONNECTION as usize / 4 - 1);
        pieces.pop();
        assert_eq!(outgoing.waiting.borrow().len(), 1, "more than half is left");
        pieces.pop();
        assert!(outgoing.waiting.borrow().is_empty() && outgoing.poll_room(&cx).is_ready());
        drop(pieces);
        assert_eq!((buffers.used(), outgoing.bytes.get()), (0, 0));
    }
}
