//! Records that could not be written yet, and the count of those that were lost meanwhile.

use std::collections::VecDeque;

use prometheus::IntCounter;

use super::super::entry::{Entry, Event};

/// The most records that are kept in memory while writing fails.
pub(super) const MAX_BACKLOG: usize = 10_000;

/// Records that are written as soon as that is possible, the oldest first.
#[derive(Debug)]
pub(super) struct Backlog {
    entries: VecDeque<Entry>,
    /// Records that there was no room for, since the last line that says how many were lost.
    lost: u64,
    counter: IntCounter,
}

impl Backlog {
    pub(super) fn new(first: Entry, counter: IntCounter) -> Self {
        Self { entries: [first].into(), lost: 0, counter }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many records are not written, those that were lost included.
    pub(super) fn unwritten(&self) -> u64 {
        self.entries.len() as u64 + self.lost
    }

    /// Keeps a record, or counts it as lost if there is no room.
    pub(super) fn push(&mut self, entry: Entry) {
        // The line that tells of lost records takes their place in the order.
        if self.lost > 0 && self.entries.len() + 1 < MAX_BACKLOG {
            self.push_gap();
        }
        if self.lost == 0 && self.entries.len() < MAX_BACKLOG {
            self.entries.push_back(entry);
        } else {
            self.lost += 1;
            self.counter.inc();
        }
    }

    /// Puts back what was taken out of the file after a failure, whatever the room.
    pub(super) fn put_back(&mut self, entries: impl IntoIterator<Item = Entry>) {
        self.entries.extend(entries);
    }

    /// The next records to write, at most `count`; the line that tells of lost records comes last of all.
    pub(super) fn next(&mut self, count: usize) -> impl ExactSizeIterator<Item = &Entry> {
        if self.entries.is_empty() && self.lost > 0 {
            self.push_gap();
        }
        self.entries.range(..self.entries.len().min(count))
    }

    /// The first `count` records are written.
    pub(super) fn remove(&mut self, count: usize) {
        self.entries.drain(..count);
    }

    fn push_gap(&mut self) {
        let lost = std::mem::take(&mut self.lost);
        self.entries.push_back(Entry::now(Event::Gap { lost }));
    }
}
