//! A JSON Pointer (RFC 6901) that says by its own text what is an object and what an array.

use std::fmt;

use super::alike;
use super::reader::MAX_DEPTH;

/// A place in a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pointer {
    text: String,
    steps: Vec<Step>,
}

/// One level down.
///
/// RFC 6901 lets the document decide whether `0` is an index or a key. But then the sender would decide, and some readers
/// take an object for an array of one, or an array of pairs for an object. So digits are an index, and anything else is a
/// key; a key of digits cannot be named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

/// Why a text is not such a pointer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PointerError {
    /// Such as `id`.
    #[error("a JSON Pointer begins with \"/\": write {0:?}")]
    NoSlash(String),
    /// A `~` that escapes nothing.
    #[error("in a JSON Pointer \"~\" is written \"~0\", and \"/\" in a key \"~1\"")]
    Tilde,
    /// Such as `01`.
    #[error("an index has no leading zero: write {0:?}")]
    LeadingZero(String),
    /// `-`, the element after the last one.
    #[error("\"-\" is the element after the last one, which no body has")]
    AfterLast,
    /// More elements than a body has.
    #[error("no body has an element {0}")]
    IndexTooLarge(String),
    /// More levels than a body may have.
    #[error("it is more than {MAX_DEPTH} levels deep, and no body is judged that is")]
    TooDeep,
    /// It names a key that is not accepted.
    #[error("no body is judged that has a NUL in a key")]
    Nul,
}

impl Pointer {
    pub(super) fn parse(text: &str) -> Result<Self, PointerError> {
        let steps = match text.strip_prefix('/') {
            None if text.is_empty() => Vec::new(),
            None => return Err(PointerError::NoSlash(format!("/{text}"))),
            Some(rest) => rest.split('/').map(Step::parse).collect::<Result<_, _>>()?,
        };
        if steps.len() > MAX_DEPTH {
            return Err(PointerError::TooDeep);
        }
        Ok(Self { text: text.to_owned(), steps })
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    pub(super) fn steps(&self) -> &[Step] {
        &self.steps
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)
    }
}

impl Step {
    fn parse(token: &str) -> Result<Self, PointerError> {
        if !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_digit()) {
            return match token.trim_start_matches('0') {
                _ if token == "0" => Ok(Self::Index(0)),
                significant if significant.len() == token.len() => {
                    // An element takes at least two bytes, and a gigabyte is no body to judge.
                    let index = token.parse::<u32>().ok().filter(|index| *index < 1 << 30);
                    let index = index.and_then(|index| usize::try_from(index).ok());
                    index.map(Self::Index).ok_or_else(|| PointerError::IndexTooLarge(token.to_owned()))
                }
                "" => Err(PointerError::LeadingZero("0".to_owned())),
                significant => Err(PointerError::LeadingZero(significant.to_owned())),
            };
        }
        if token == "-" {
            return Err(PointerError::AfterLast);
        }
        if token.contains('\0') {
            return Err(PointerError::Nul);
        }
        let mut pieces = token.split('~');
        let mut key = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            let (letter, rest) = match (piece.strip_prefix('0'), piece.strip_prefix('1')) {
                (Some(rest), _) => ('~', rest),
                (None, Some(rest)) => ('/', rest),
                (None, None) => return Err(PointerError::Tilde),
            };
            key.push(letter);
            key.push_str(rest);
        }
        Ok(Self::Key(key))
    }

    /// Whether some reader takes them for the same.
    pub(super) fn is_alike(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Key(one), Self::Key(other)) => alike::are_alike(one, other),
            (Self::Index(one), Self::Index(other)) => one == other,
            (Self::Key(_), Self::Index(_)) | (Self::Index(_), Self::Key(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_is_keys_and_indices() {
        let steps = |text: &str| Pointer::parse(text).expect(text).steps;
        let key = |name: &str| Step::Key(name.to_owned());
        assert_eq!(steps(""), []);
        assert_eq!(steps("/"), [key("")]);
        assert_eq!(steps("/a/0/b/10"), [key("a"), Step::Index(0), key("b"), Step::Index(10)]);
        assert_eq!(steps("/a~1b/m~0n/~01/ /1a/+1"), ["a/b", "m~n", "~1", " ", "1a", "+1"].map(key));
    }

    #[test]
    fn what_leads_nowhere_is_refused() {
        use PointerError::{AfterLast, IndexTooLarge, LeadingZero, NoSlash, Nul, Tilde, TooDeep};
        for (text, error) in [
            ("id", NoSlash("/id".to_owned())),
            ("#/id", NoSlash("/#/id".to_owned())),
            ("/a~", Tilde),
            ("/a~2", Tilde),
            ("/~/0", Tilde),
            ("/a/01", LeadingZero("1".to_owned())),
            ("/a/00", LeadingZero("0".to_owned())),
            ("/a/-", AfterLast),
            ("/a/4294967296", IndexTooLarge("4294967296".to_owned())),
            ("/a/99999999999999999999999999", IndexTooLarge("99999999999999999999999999".to_owned())),
            ("/a\0", Nul),
            (&"/a".repeat(65), TooDeep),
        ] {
            assert_eq!(Pointer::parse(text), Err(error), "{text}");
        }
        assert!(Pointer::parse(&"/a".repeat(64)).is_ok());
    }
}
