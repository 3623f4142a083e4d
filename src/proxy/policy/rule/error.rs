//! Why a text is not a rule.

use super::super::group::Group;
use super::super::path::MAX_SEGMENTS;

/// Why a text is not a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// Not two words.
    #[error(
        "a rule is a method, a space and a path, such as \"GET /v2/user/**\", or a group, such as \"group:tickets\" or \"GET group:tickets\""
    )]
    Form,
    /// An unknown method.
    #[error("unknown method {0:?}: valid methods are GET (HEAD follows it), POST, PUT, PATCH, DELETE, or * for all")]
    Method(String),
    /// The path is not below `/v2/`.
    #[error("the path must begin with /v2/ (requests to /api/v2/ and /ws/api/v2/ are judged as /v2/)")]
    Prefix,
    /// `**` before the end, `a*b`, `{}`, or a character that no accepted path has.
    #[error(
        "bad path segment {0:?}: a segment is a fixed word, {{name}} for a value, * for any one segment, or ** at the end for the rest"
    )]
    Segment(String),
    /// A literal that no accepted request has, since it has a plainer spelling.
    #[error(
        "{segment:?} never matches: requests must have {}",
        plain.as_ref().map_or_else(
            || "numbers in ASCII digits, UUIDs in lower case, and no space at the ends of a segment".to_owned(),
            |plain| format!("{plain:?} instead"),
        )
    )]
    Spelling {
        /// As written.
        segment: String,
        /// As it must be written, if that is known.
        plain: Option<String>,
    },
    /// More segments than an accepted path has.
    #[error("the path has more than {MAX_SEGMENTS} segments, which no accepted request has")]
    TooDeep,
    /// A group that there is not.
    #[error("unknown group {name:?}: valid groups are {}", Group::names().join(", "))]
    Group {
        /// What was written.
        name: String,
    },
    /// A condition that is none.
    #[error(
        "bad condition {0:?}: after ? come conditions, joined by &: NAME (it is there), NAME=VALUE, or !NAME (it is not there), percent-encoded"
    )]
    Condition(String),
    /// Conditions that no query can fulfil.
    #[error("the conditions on {0:?} contradict each other: no request can match")]
    Contradiction(String),
}

impl RuleError {
    /// The name that no group has.
    pub fn unknown_group(&self) -> Option<&str> {
        if let Self::Group { name } = self { Some(name) } else { None }
    }
}
