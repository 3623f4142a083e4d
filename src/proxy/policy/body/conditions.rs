//! The conditions of one rule on the body, and the judgement by them: what is not surely met is not met.
//!
//! A value of another type than the rule names is never equal, whatever a reader would make of it (Jackson takes `"12"`
//! and 12.9 for 12, 1 for true, `[12]` for 12; org.json takes the lower half of a long). What a reader makes of the very
//! value that the rule names is that value, so equality needs no more than that. "Present" and "absent" do:
//!
//! - null is neither: to some readers it is nothing, to others a value.
//! - "Present" is not met by what a reader may turn into null: blank texts, the text `null`, an empty array, or an array
//!   of one such value.
//! - "Absent" is met only if the value above is surely the object (or the array) that the pointer says, or is absent
//!   itself. An array in place of an object may be its fields in order (`JsonFormat.Shape.ARRAY`), its pairs (Gson), or the
//!   object itself (`UNWRAP_SINGLE_VALUE_ARRAYS`); any single value in place of an array may be its element; a text or
//!   number may be what a constructor makes an object of; null may become an object of defaults.
//! - A key that is only [alike](super::alike) is neither the one that is named nor a sign that this is absent.

use std::fmt;

use super::alike::are_alike;
use super::conflict::{self, BodyConditionError};
use super::pattern::{BodyPattern, Quoted, Scalar};
use super::pointer::{Pointer, Step};
use super::{JsonBody, Node};

/// What a rule wants of the body: all of it, and at least one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyConditions {
    /// By the text of the pointer.
    all: Vec<Condition>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) pointer: Pointer,
    pub(super) pattern: BodyPattern,
}

/// What a body lacks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{wanted}, and {found}")]
pub struct UnmetCondition {
    /// Where, as a JSON Pointer.
    pub pointer: String,
    /// The condition in words.
    pub wanted: String,
    /// What is there instead.
    pub found: Found,
}

/// What is in a body in place of what is wanted: never its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// A key that some readers take for the one that is wanted.
    AlikeKey,
    /// `null`.
    Null,
    /// A boolean.
    Boolean,
    /// An integer.
    Integer,
    /// A number that readers read differently.
    DoubtfulNumber,
    /// A text.
    Text,
    /// A text that readers may take for null.
    Blank,
    /// An array.
    Array,
    /// An object.
    Object,
    /// A value further up that some readers turn into something else.
    NotContainer,
}

impl BodyConditions {
    /// The conditions: a JSON Pointer and what is wanted there, each. There is a body that meets them all.
    pub fn new(pairs: Vec<(String, BodyPattern)>) -> Result<Self, BodyConditionError> {
        let mut all = Vec::with_capacity(pairs.len());
        for (text, pattern) in pairs {
            let pointer = match Pointer::parse(&text) {
                Ok(pointer) => pointer,
                Err(error) => return Err(BodyConditionError::Pointer { pointer: text, error }),
            };
            pattern.check().map_err(|error| BodyConditionError::Pattern { pointer: text, error })?;
            all.push(Condition { pointer, pattern: pattern.canonical() });
        }
        all.sort_by(|one, other| one.pointer.as_str().cmp(other.pointer.as_str()));
        conflict::check(&all)?;
        Ok(Self { all })
    }

    /// Whether the body surely meets them all; if not, the first that it does not.
    pub fn judge(&self, body: &JsonBody) -> Result<(), UnmetCondition> {
        self.all.iter().try_for_each(|condition| {
            condition.judge(&body.root).map_err(|found| {
                let (pointer, wanted) = (condition.pointer.as_str().to_owned(), condition.wanted());
                UnmetCondition { pointer, wanted, found }
            })
        })
    }
}

/// One text for all spellings of the same conditions.
impl fmt::Display for BodyConditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "{ ";
        for Condition { pointer, pattern } in &self.all {
            write!(f, "{separator}{} = {pattern}", Quoted(pointer.as_str()))?;
            separator = ", ";
        }
        f.write_str(" }")
    }
}

impl Condition {
    fn judge(&self, root: &Node) -> Result<(), Found> {
        let mut node = root;
        for step in self.pointer.steps() {
            node = match node.step(step) {
                Ok(node) => node,
                Err(Found::Nothing) if self.pattern == BodyPattern::Absent => return Ok(()),
                Err(found) => return Err(found),
            };
        }
        let is_met = match &self.pattern {
            BodyPattern::Exactly(scalar) => node.is(scalar),
            BodyPattern::AnyOf(scalars) => scalars.iter().any(|scalar| node.is(scalar)),
            BodyPattern::Present => node.is_present(),
            BodyPattern::Absent => false,
            BodyPattern::Prefix(prefix) => matches!(node, Node::Text(text) if text.starts_with(prefix.as_str())),
        };
        is_met.then_some(()).ok_or_else(|| node.kind())
    }

    /// In words, for whoever sent the body.
    fn wanted(&self) -> String {
        let Self { pointer, pattern } = self;
        let place = if pointer.steps().is_empty() {
            "the body".to_owned()
        } else {
            format!("the value at {pointer} in the body")
        };
        match pattern {
            BodyPattern::Exactly(scalar) => format!("{place} must be {scalar}"),
            BodyPattern::AnyOf(_) => format!("{place} must be one of {pattern}"),
            BodyPattern::Present => format!("{place} must be present"),
            BodyPattern::Absent => format!("{place} must be absent"),
            BodyPattern::Prefix(prefix) => format!("{place} must be a text that begins with {}", Quoted(prefix)),
        }
    }
}

impl Node {
    /// One level down. `Found::Nothing` only if no reader finds anything there.
    fn step(&self, step: &Step) -> Result<&Self, Found> {
        match (self, step) {
            (Self::Object(members), Step::Key(key)) => {
                let found = members.iter().find(|(own, _)| own == key).map(|(_, value)| value);
                let is_alike = || members.iter().any(|(own, _)| are_alike(own, key));
                found.ok_or_else(|| if is_alike() { Found::AlikeKey } else { Found::Nothing })
            }
            (Self::Array(elements), Step::Index(index)) => elements.get(*index).ok_or(Found::Nothing),
            (Self::Object(_), Step::Index(_)) | (Self::Array(_), Step::Key(_)) => Err(Found::NotContainer),
            (Self::Null | Self::Boolean(_) | Self::Integer(_) | Self::Number | Self::Text(_), _) => {
                Err(Found::NotContainer)
            }
        }
    }

    /// Whether it is this value, in the same type.
    fn is(&self, scalar: &Scalar) -> bool {
        match (self, scalar) {
            (Self::Boolean(own), Scalar::Boolean(wanted)) => own == wanted,
            (Self::Integer(own), Scalar::Integer(wanted)) => own == wanted,
            (Self::Text(own), Scalar::Text(wanted)) => own == wanted,
            (
                Self::Null
                | Self::Boolean(_)
                | Self::Integer(_)
                | Self::Number
                | Self::Text(_)
                | Self::Array(_)
                | Self::Object(_),
                _,
            ) => false,
        }
    }

    /// Whether no reader takes it for null.
    fn is_present(&self) -> bool {
        match self {
            Self::Null => false,
            Self::Boolean(_) | Self::Integer(_) | Self::Number | Self::Object(_) => true,
            Self::Text(text) => !is_blank(text),
            Self::Array(elements) => match elements.as_slice() {
                [] => false,
                [one] => one.is_present(),
                [..] => true,
            },
        }
    }

    fn kind(&self) -> Found {
        match self {
            Self::Null => Found::Null,
            Self::Boolean(_) => Found::Boolean,
            Self::Integer(_) => Found::Integer,
            Self::Number => Found::DoubtfulNumber,
            Self::Text(text) if is_blank(text) => Found::Blank,
            Self::Text(_) => Found::Text,
            Self::Array(_) => Found::Array,
            Self::Object(_) => Found::Object,
        }
    }
}

/// Java's `trim` takes all control characters for blanks, and its `isBlank` those of Unicode.
fn is_blank(text: &str) -> bool {
    let trimmed = text.trim_matches(|letter: char| letter <= ' ' || letter.is_whitespace());
    matches!(trimmed, "" | "null")
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "there is none",
            Self::AlikeKey => "the body has the key in another spelling",
            Self::Null => "it is null",
            Self::Boolean => "it is another boolean or a boolean in place of something else",
            Self::Integer => "it is another integer or an integer in place of something else",
            Self::DoubtfulNumber => {
                "it is a number that readers read differently: write an integer in digits only, up to 9007199254740991"
            }
            Self::Text => "it is another text or a text in place of something else",
            Self::Blank => "it is a text that some readers take for null",
            Self::Array => "it is an array",
            Self::Object => "it is an object",
            Self::NotContainer => "a value further up is not the object or array that the pointer says",
        })
    }
}
