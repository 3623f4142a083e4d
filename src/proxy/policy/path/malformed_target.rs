//! Why a request target cannot be judged.

use super::super::catalog::OperationId;
use super::MAX_SEGMENTS;

/// Why a request target cannot be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedTarget {
    /// Authority-form or asterisk-form.
    #[error("the request target is not a path")]
    NotAPath,
    /// A character that RFC 3986 does not allow in a path, or that servers read differently.
    #[error("the path has a character that is not allowed there: {0:?}")]
    Character(char),
    /// `%` without two hexadecimal digits.
    #[error("the path has a % that is not followed by two hexadecimal digits")]
    BrokenEncoding,
    /// An encoded character that changes the path's meaning if it is decoded.
    #[error("the path has an encoded character that servers read differently")]
    EncodedCharacter,
    /// Encoded bytes that are not UTF-8 (overlong forms included).
    #[error("the path has encoded bytes that are not UTF-8")]
    NotUtf8,
    /// `//`, or a slash at the end.
    #[error("the path has an empty segment (a doubled slash, or a slash at its end)")]
    EmptySegment,
    /// `.`, `..`, encoded or not.
    #[error("the path has a dot segment")]
    DotSegment,
    /// An encoded character where the catalogue has a fixed word, a number or a uid.
    #[error("the path has an encoded character in the place of a fixed word, a number or a uid")]
    EncodedSegment,
    /// A number with leading zeros, a sign or the digits of another script.
    #[error(
        "the path has a number that is not written in its shortest form, in ASCII digits without leading zeros or +"
    )]
    Number,
    /// A UUID with capital letters.
    #[error("the path has a UUID that is not in lower case")]
    Uid,
    /// A segment that a server may trim.
    #[error("the path has a segment that begins or ends with a space")]
    Blank,
    /// What a lenient server may read as the path of a known operation.
    #[error("the path may be read as that of a known operation, but is spelled otherwise")]
    Spelling {
        /// One of the operations of that path.
        operation: OperationId,
        /// The first segment that differs, from 0.
        depth: u8,
    },
    /// More than 16 segments.
    #[error("the path has more than {MAX_SEGMENTS} segments")]
    TooDeep,
    /// A character in the query that no URI can have.
    #[error("the query has a character that is not allowed there: {0:?}")]
    QueryCharacter(char),
}
