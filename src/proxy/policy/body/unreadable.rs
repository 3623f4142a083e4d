//! Why a body cannot be judged, in words for the one who sent it.

/// Why a body cannot be judged. It names keys, never values; positions are in bytes, from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnreadableBody {
    /// The type is not given.
    #[error("the request has no Content-Type: send \"Content-Type: application/json\"")]
    NoType,
    /// The type is given twice.
    #[error("the request has more than one Content-Type: send one")]
    TypeRepeated,
    /// The type is another one, or malformed.
    #[error("the Content-Type is not application/json (or application/...+json)")]
    NotJson,
    /// The type has a parameter whose meaning is not known here.
    #[error("the Content-Type has a parameter other than charset: send \"Content-Type: application/json\"")]
    Parameter,
    /// Another charset.
    #[error("the charset of the Content-Type is not utf-8: send the body in UTF-8")]
    Charset,
    /// Compressed, for example.
    #[error("the body has a Content-Encoding: send it without compression")]
    Encoded,
    /// Nothing, or blanks.
    #[error("the body is empty")]
    Empty,
    /// Not UTF-8.
    #[error("the body is not valid UTF-8 at byte {at}")]
    NotUtf8 {
        /// Where.
        at: usize,
    },
    /// Some readers skip it, others do not.
    #[error("the body begins with a byte order mark: send UTF-8 without one")]
    ByteOrderMark,
    /// In UTF-16 and UTF-32, every second byte is one.
    #[error("the body has a NUL at byte {at}: send UTF-8, and no NUL in strings")]
    Nul {
        /// Where.
        at: usize,
    },
    /// It stops before the value is complete.
    #[error("the body ends before the JSON value is complete")]
    Incomplete,
    /// Not JSON.
    #[error("the body is not JSON at byte {at}: {wanted} must be there")]
    Syntax {
        /// Where.
        at: usize,
        /// What JSON has there.
        wanted: &'static str,
    },
    /// Some readers skip them.
    #[error("the body has a comment at byte {at}, and JSON has none")]
    Comment {
        /// Where.
        at: usize,
    },
    /// Some readers skip it, others find null after it.
    #[error("the body has a comma with nothing after it at byte {at}")]
    TrailingComma {
        /// Where.
        at: usize,
    },
    /// Some readers look at the first value only.
    #[error("the body goes on after the JSON value, at byte {at}")]
    TrailingData {
        /// Where.
        at: usize,
    },
    /// Not a number of JSON.
    #[error("the body has a number that is not one of JSON at byte {at}, such as 01, .5, +1, 1. or NaN")]
    Number {
        /// Where.
        at: usize,
    },
    /// In a string, and not escaped.
    #[error("the body has a control character in a string at byte {at}: escape it")]
    ControlCharacter {
        /// Where.
        at: usize,
    },
    /// An escape that JSON does not have.
    #[error("the body has an escape that is not one of JSON at byte {at}")]
    Escape {
        /// Where.
        at: usize,
    },
    /// Half of a pair.
    #[error("the body has one half of a surrogate pair at byte {at}: no character is written so")]
    LoneSurrogate {
        /// Where.
        at: usize,
    },
    /// Objects and arrays in one another.
    #[error("the body is nested more than {limit} levels deep at byte {at}")]
    TooDeep {
        /// Where.
        at: usize,
        /// How deep it may be.
        limit: usize,
    },
    /// A duplicate key.
    #[error(
        "the body has the key {key} twice in one object, the second time at byte {at}: readers differ in which one they take"
    )]
    KeyTwice {
        /// The key, quoted and shortened.
        key: String,
        /// Where the second one is.
        at: usize,
    },
    /// A duplicate key to some readers.
    #[error(
        "the body has the keys {first} and {second} in one object, the second at byte {at}: some readers take them for the same key"
    )]
    KeysAlike {
        /// The first, quoted and shortened.
        first: String,
        /// The second, quoted and shortened.
        second: String,
        /// Where the second one is.
        at: usize,
    },
}
