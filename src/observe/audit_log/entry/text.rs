//! Text of callers in a line of the audit log.

use serde::Serialize;

/// What a text of a caller's may take of a line, in bytes.
const MAX_TEXT: usize = 1024;

/// Text of somebody else's, cut to a length that leaves room for the rest of the line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Text(pub(super) String);

impl Text {
    /// Cuts what is longer than 1024 bytes, and ends it with `…`.
    pub fn new(text: &str) -> Self {
        if text.len() <= MAX_TEXT {
            return Self(text.to_owned());
        }
        let end = text.char_indices().map(|(start, _)| start).take_while(|start| *start <= MAX_TEXT).last();
        Self(format!("{}…", end.and_then(|end| text.get(..end)).unwrap_or_default()))
    }

    /// What is left of it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
