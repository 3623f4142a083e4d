//! Why an answer cannot be filtered, and why a row cannot be read: places and names of fields, never what is there.

use std::fmt;

/// Why an answer, or one value of it, cannot be filtered. Positions are in bytes, from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// It is not the JSON that the catalog says: an HTML page, UTF-16, a byte order mark, an object in place of an array.
    #[error("{wanted} must be at byte {at}")]
    Unexpected {
        /// Where.
        at: u64,
        /// What the catalog, or JSON, has there.
        wanted: &'static str,
    },
    /// A row, or another member of the answer, is not a value of JSON in UTF-8.
    #[error("the value that begins at byte {at} is not JSON in UTF-8")]
    Malformed {
        /// Where it begins.
        at: u64,
    },
    /// Objects and arrays in one another.
    #[error("the value that begins at byte {at} is nested more than {limit} levels deep")]
    TooDeep {
        /// Where it begins.
        at: u64,
        /// How deep it may be.
        limit: u32,
    },
    /// A row, or another member of the answer, is longer than the limit.
    #[error("the value that begins at byte {at} is longer than {limit} bytes")]
    TooLarge {
        /// Where it begins.
        at: u64,
        /// How long it may be.
        limit: usize,
    },
    /// It ends too early, or there is nothing.
    #[error("it ends after {bytes} bytes, before the JSON value is complete")]
    Incomplete {
        /// How long it is.
        bytes: u64,
    },
    /// Text after the value.
    #[error("it goes on after the JSON value, at byte {at}")]
    TrailingData {
        /// Where.
        at: u64,
    },
    /// The array of the rows is there twice.
    #[error("it has the array of the rows twice, the second time at byte {at}")]
    RowsTwice {
        /// Where the second name begins.
        at: u64,
    },
    /// The array of the rows is not there.
    #[error("it has no array of rows")]
    NoRows,
    /// The cursor has no name that can be used, or is there twice.
    #[error("its cursor, at byte {at}, cannot be read")]
    Cursor {
        /// Where it begins.
        at: u64,
    },
}

/// Why a row was dropped that is valid JSON and names nothing outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// What is wrong.
    pub reason: UnreadableReason,
    /// With which field; empty: the row itself.
    pub field: String,
}

/// What is wrong with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnreadableReason {
    /// The row lacks the field that says whose it is.
    NoKey,
    /// It is not an id: a text, a fraction, a negative number, a boolean, null where an id must be.
    NotId,
    /// It is in one object twice.
    Twice,
    /// No word next to it says what it names.
    NoWord,
    /// A thing lacks it.
    NoId,
}

/// Such as `"deviceId" is not an id`.
impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reason, field } = self;
        match reason {
            UnreadableReason::NoKey => write!(f, "{field:?} is missing"),
            UnreadableReason::NotId if field.is_empty() => f.write_str("a row is not an id"),
            UnreadableReason::NotId => write!(f, "{field:?} is not an id"),
            UnreadableReason::Twice => write!(f, "{field:?} is in one object twice"),
            UnreadableReason::NoWord => write!(f, "no word next to {field:?} says what it names"),
            UnreadableReason::NoId => f.write_str("an organization or a device has no id"),
        }
    }
}
