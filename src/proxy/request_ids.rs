//! The ids of requests, and the mark of the process.

use std::cell::Cell;

use crate::observe::access_log::RequestId;
use crate::proxy::headers::loops::LoopMark;

/// Gives each request of one worker an id of its own, on all listeners and over reloads, and the mark of the process.
pub struct RequestIds {
    worker: u32,
    count: Cell<u32>,
    pub(super) mark: LoopMark,
}

impl RequestIds {
    /// `worker` makes them differ between workers and runs; `mark` is the same for all workers of a process.
    pub fn new(worker: u32, mark: &LoopMark) -> Self {
        Self { worker, count: Cell::new(0), mark: mark.unshared() }
    }

    pub(super) fn next(&self) -> RequestId {
        let count = self.count.get();
        self.count.set(count.wrapping_add(1));
        RequestId(self.worker, count)
    }
}
