//! What verifying an audit log finds: what was done to it, where, and what else is worth knowing.

use std::fmt;

use super::super::chain::ChainHead;

/// A line of a file, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileLine {
    /// The file's name.
    pub file: String,
    /// The line in it.
    pub line: u64,
}

impl fmt::Display for FileLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// Something that was done to the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Tampering {
    /// Lines are not as they were written.
    #[error("{place}: changed: {} not as written", lines(*.from, *.to))]
    Changed {
        /// The first.
        place: FileLine,
        /// The number of the first.
        from: u64,
        /// The number of the last.
        to: u64,
    },
    /// Lines are not there.
    #[error("{place}: removed: {} missing before this line", lines(*.from, *.to))]
    Removed {
        /// What comes after them.
        place: FileLine,
        /// The number of the first.
        from: u64,
        /// The number of the last.
        to: u64,
    },
    /// A line comes after lines that were written after it.
    #[error("{place}: reordered: line {seq} comes after line {after}")]
    Reordered {
        /// The line.
        place: FileLine,
        /// Its number.
        seq: u64,
        /// The line that it comes after.
        after: u64,
    },
    /// A line is there twice, or another one with its number.
    #[error("{place}: repeated: there is a line {seq} before")]
    Repeated {
        /// The line.
        place: FileLine,
        /// Its number.
        seq: u64,
    },
    /// A line is whole, but not the one that the next line was written after.
    #[error("{place}: replaced: line {seq} is not the one that was written")]
    Replaced {
        /// Where that shows.
        place: FileLine,
        /// The number of the line that was replaced.
        seq: u64,
    },
    /// What no process wrote.
    #[error("{place}: inserted: {bytes} bytes that do not form a line of the log")]
    Inserted {
        /// Where.
        place: FileLine,
        /// How many.
        bytes: u64,
    },
    /// Torn bytes of which a line tells are not there, or are others.
    #[error("{place}: changed: the torn bytes that this line tells of are not there as they were")]
    TornChanged {
        /// The line.
        place: FileLine,
    },
    /// The end is not there.
    #[error("{file}: cut: {} missing at the end", lines(*.from, *.to))]
    Cut {
        /// The last file.
        file: String,
        /// The number of the first that is missing.
        from: u64,
        /// The number of the last that was written.
        to: u64,
    },
    /// The last line had a line feed.
    #[error("{place}: cut: the line feed of the last line is missing")]
    FeedCut {
        /// The last line.
        place: FileLine,
    },
    /// There is no head file, or it cannot be read.
    #[error(
        "{0}: missing: without it nothing tells whether lines are cut off at the end; give a head that was kept elsewhere (--known)"
    )]
    NoHead(String),
    /// The head file names a line that there cannot be.
    #[error(
        "{0}: changed: it names line 0, and no process writes it before the first line is safe; give a head that was kept elsewhere (--known)"
    )]
    HeadOfNothing(String),
    /// There was no head file when a process began.
    #[error(
        "{place}: the head file was missing when this line was written: whether lines are cut off before it cannot be told; give a head that was kept elsewhere (--known)"
    )]
    Headless {
        /// The line.
        place: FileLine,
    },
}

fn lines(from: u64, to: u64) -> String {
    if from == to { format!("line {from} is") } else { format!("lines {from} to {to} are") }
}

/// Something that is worth knowing, and nobody's doing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyNote {
    /// A process was killed in the midst of a line; the next one says so.
    #[error("{place}: a torn line of {bytes} bytes: a process ended in the midst of it, and the next one took it down")]
    Torn {
        /// Where.
        place: FileLine,
        /// How many bytes.
        bytes: u64,
    },
    /// The log ends in the midst of a line.
    #[error("{place}: a torn line of {bytes} bytes at the end: a process ended in the midst of it, or is writing it")]
    TornEnd {
        /// Where.
        place: FileLine,
        /// How many bytes.
        bytes: u64,
    },
    /// A process ended without saying so.
    #[error("{place}: the process before this line was killed or crashed")]
    Abrupt {
        /// The line with which the next began.
        place: FileLine,
    },
    /// Records were lost while the file could not be written.
    #[error("{place}: {lost} records are lost: the log could not be written")]
    Lost {
        /// The line that tells.
        place: FileLine,
        /// How many.
        lost: u64,
    },
    /// Writes whose outcome is not recorded.
    #[error("writes without an outcome: {count}, the last of them {last}; they may have been done")]
    Unanswered {
        /// How many.
        count: usize,
        /// The id of a request.
        last: String,
    },
    /// Lines that the head file does not know yet.
    #[error("{0} lines are newer than the head file: normal while the proxy is running, or after a kill")]
    Newer(u64),
}

/// What became of the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// How many files there are.
    pub files: usize,
    /// How many lines are as they were written.
    pub lines: u64,
    /// Number and time of the first of them.
    pub first: Option<(u64, String)>,
    /// Number and time of the last of them.
    pub last: Option<(u64, String)>,
    /// Where the chain is.
    pub head: Option<ChainHead>,
    /// What was done to it; empty if it is whole.
    pub findings: Vec<Tampering>,
    /// How many more there are.
    pub more: u64,
    /// What is worth knowing.
    pub notes: Vec<VerifyNote>,
}
