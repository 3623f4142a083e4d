//! The filter of answers: of a list, the rows that are inside; of a single value, whether it is.
//!
//! A row passes byte for byte, once serde_json has read it whole and all that it refers to is inside. Of the frame around
//! the rows only the cursor is kept: totals and counts tell of what is outside. It takes the memory of one row.

mod cursor;
mod error;
mod judge;
mod page;
mod scan;
mod value;

pub use cursor::Cursor;
pub use error::{RowError, Unreadable, UnreadableReason};
pub use page::PageFilter;

use crate::proxy::fence::Inside;
use crate::proxy::policy::catalog::RowKey;
use judge::Verdict;
use scan::{MAX_DEPTH, Scan, TooDeep};

/// Where the rows are, and whose they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowsCheck {
    /// The field of the array; empty: the answer is the array.
    pub at: String,
    /// The field that says whose a row is; without it only the references in a row are judged.
    pub key: Option<RowKey>,
}

/// What a page may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageLimits {
    /// How long a row, or another member of the answer, may be, in bytes.
    pub row_bytes: usize,
    /// How many rows may be written.
    pub max_rows: Option<u64>,
    /// How many rows have been written before, of earlier pages in the same frame.
    pub rows_before: u64,
}

/// What a page was.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PageEnd {
    /// All rows; each of them is in one of the next four.
    pub seen: u64,
    /// Those that were written.
    pub kept: u64,
    /// Those that are inside, and were not written because the page was full.
    pub withheld: u64,
    /// Those that name something outside.
    pub outside: u64,
    /// Those that name something in a way that cannot be read, and nothing outside.
    pub unreadable: u64,
    /// Why the first of the unreadable rows is one.
    pub first_unreadable: Option<Unreadable>,
    /// The `id` of the last row, whether it was kept or not; `None` if that row has no number there.
    pub last_id: Option<u64>,
    /// The `id` of the last row that was written.
    pub last_kept_id: Option<u64>,
    /// Where the list goes on, if the answer says so.
    pub cursor: Option<Cursor>,
    /// Whether as many rows were written as may be.
    pub is_full: bool,
}

/// Whether all that a single value refers to is inside, and its key, if it needs one. Its arrays are looked into.
pub fn judge_object(bytes: &[u8], key: Option<&RowKey>, inside: &impl Inside) -> Result<bool, RowError> {
    let blanks = bytes.iter().take_while(|byte| is_blank(**byte)).count();
    let value = bytes.get(blanks..).unwrap_or_default();
    if value.is_empty() {
        return Err(RowError::Incomplete { bytes: count(bytes.len()) });
    }
    let at = count(blanks) + 1;
    Scan::default().advance(value).map_err(|TooDeep| RowError::TooDeep { at, limit: MAX_DEPTH })?;
    let judgment = judge::judge(value, key, inside).ok_or(RowError::Malformed { at })?;
    Ok(judgment.verdict == Verdict::Inside)
}

/// Whether it is one of the four blanks of JSON (RFC 8259 section 2).
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// A length as the places in messages have it.
fn count(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
