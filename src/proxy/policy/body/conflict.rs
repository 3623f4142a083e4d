//! Conditions that no body meets together.

use super::conditions::Condition;
use super::pattern::{BodyPattern, PatternError};
use super::pointer::{Pointer, PointerError, Step};

/// Why conditions on a body are not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyConditionError {
    /// There are none.
    #[error("there is no condition: give at least one, such as {{ \"/id\" = 12 }}, or leave out body")]
    None,
    /// Not a pointer.
    #[error("{pointer:?} leads nowhere: {error}")]
    Pointer {
        /// As written.
        pointer: String,
        /// Why not.
        error: PointerError,
    },
    /// Not a value that can be wanted.
    #[error("the condition on {pointer:?} is never met: {error}")]
    Pattern {
        /// As written.
        pointer: String,
        /// Why not.
        error: PatternError,
    },
    /// Two conditions of which each excludes the other.
    #[error("the conditions on {first:?} and {second:?} are never met together: {clash}")]
    Clash {
        /// The pointer of the one.
        first: String,
        /// The pointer of the other.
        second: String,
        /// Why not.
        clash: Clash,
    },
    /// The body itself cannot be absent.
    #[error("the condition on \"\" is never met: \"\" is the whole body, and a request without one is not judged")]
    NoBody,
}

/// Why two conditions exclude each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Clash {
    /// Two spellings of one place.
    #[error("some readers take them for the same place, so a body that has both is not judged; keep one")]
    SamePlace,
    /// A scalar with something in it.
    #[error("the first wants a text, an integer or a boolean, which has nothing inside; keep one")]
    InsideScalar,
    /// Something in what is absent.
    #[error("the second is inside of what the first wants absent; keep one")]
    InsideAbsent,
    /// The same value as object and as array.
    #[error("digits are the index of an array, and anything else is a key of an object: the same value is not both")]
    ObjectAndArray,
    /// An element after one that is absent.
    #[error("an array that lacks the one element lacks the later ones as well")]
    LaterElement,
    /// An array that is present, and empty.
    #[error("an array without a first element is empty, and an empty one is not present")]
    EmptyArray,
}

impl BodyConditionError {
    /// The pointer of the condition to change, as it was given.
    pub fn pointer(&self) -> Option<&str> {
        match self {
            Self::None => None,
            Self::NoBody => Some(""),
            Self::Pointer { pointer, .. } | Self::Pattern { pointer, .. } => Some(pointer),
            Self::Clash { second, .. } => Some(second),
        }
    }
}

/// Whether there is a body that meets them all.
pub(super) fn check(all: &[Condition]) -> Result<(), BodyConditionError> {
    if all.is_empty() {
        return Err(BodyConditionError::None);
    }
    if all.iter().any(|one| one.pointer.steps().is_empty() && one.pattern == BodyPattern::Absent) {
        return Err(BodyConditionError::NoBody);
    }
    for (place, one) in all.iter().enumerate() {
        for other in all.iter().skip(place + 1) {
            // The one that is further up, or no further down, comes first.
            let is_deeper = one.pointer.steps().len() > other.pointer.steps().len();
            let (first, second) = if is_deeper { (other, one) } else { (one, other) };
            if let Some(clash) = clash(first, second) {
                let name = |pointer: &Pointer| pointer.as_str().to_owned();
                let (first, second) = (name(&first.pointer), name(&second.pointer));
                return Err(BodyConditionError::Clash { first, second, clash });
            }
        }
    }
    Ok(())
}

fn clash(first: &Condition, second: &Condition) -> Option<Clash> {
    let (upper, lower) = (first.pointer.steps(), second.pointer.steps());
    let needed = [first, second].iter().any(|condition| condition.pattern != BodyPattern::Absent);
    for (place, (one, other)) in upper.iter().zip(lower).enumerate() {
        if one == other {
            continue;
        }
        let ends = |condition: &Condition| {
            condition.pattern == BodyPattern::Absent && condition.pointer.steps().len() == place + 1
        };
        return match (one, other) {
            (Step::Index(_), Step::Key(_)) | (Step::Key(_), Step::Index(_)) => Some(Clash::ObjectAndArray),
            (Step::Index(one), Step::Index(other)) => {
                let (earlier, later) = if one < other { (first, second) } else { (second, first) };
                let is_missed = ends(earlier) && later.pattern != BodyPattern::Absent;
                is_missed.then_some(Clash::LaterElement)
            }
            (Step::Key(_), Step::Key(_)) => (needed && one.is_alike(other)).then_some(Clash::SamePlace),
        };
    }
    inside(first, second)
}

/// One is above the other, or both are at the same place.
fn inside(first: &Condition, second: &Condition) -> Option<Clash> {
    let depth = first.pointer.steps().len();
    let below = second.pointer.steps().get(depth..).unwrap_or_default();
    match &first.pattern {
        _ if below.is_empty() => Some(Clash::SamePlace),
        BodyPattern::Exactly(_) | BodyPattern::AnyOf(_) | BodyPattern::Prefix(_) => Some(Clash::InsideScalar),
        BodyPattern::Absent => (second.pattern != BodyPattern::Absent).then_some(Clash::InsideAbsent),
        BodyPattern::Present => {
            let is_first = second.pattern == BodyPattern::Absent && below == [Step::Index(0)];
            is_first.then_some(Clash::EmptyArray)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::proxy::policy::body::BodyConditions;

    fn new(toml: &str) -> Result<BodyConditions, BodyConditionError> {
        let pairs: BTreeMap<String, BodyPattern> = toml::from_str(toml).expect("patterns");
        BodyConditions::new(pairs.into_iter().collect())
    }

    const ABSENT: &str = "{ present = false }";
    const PRESENT: &str = "{ present = true }";

    #[test]
    fn conditions_that_no_body_meets_together_are_refused() {
        use Clash::{EmptyArray, InsideAbsent, InsideScalar, LaterElement, ObjectAndArray, SamePlace};
        for (one, first, other, second, clash) in [
            ("/a", ABSENT, "/a/b", "1", InsideAbsent),
            ("/a", ABSENT, "/a/b/c", PRESENT, InsideAbsent),
            ("/a", "1", "/a/b", PRESENT, InsideScalar),
            ("/a", "[1, 2]", "/a/b", "1", InsideScalar),
            ("/a", "{ prefix = \"x\" }", "/a/0", "1", InsideScalar),
            ("/a", "1", "/a/b", ABSENT, InsideScalar),
            ("", "1", "/a", ABSENT, InsideScalar),
            ("/a", "1", "/A", "1", SamePlace),
            ("/a", "1", "/A", ABSENT, SamePlace),
            ("/runAs", "1", "/run_as", ABSENT, SamePlace),
            ("/a/b", "1", "/A/c", "1", SamePlace),
            ("/A", ABSENT, "/a/b", "1", SamePlace),
            ("/a/b", "1", "/a/0", "1", ObjectAndArray),
            ("/a/b", ABSENT, "/a/0", "1", ObjectAndArray),
            ("/a/b", ABSENT, "/a/0", ABSENT, ObjectAndArray),
            ("/a/b/c", ABSENT, "/a/0", ABSENT, ObjectAndArray),
            ("/a/0", ABSENT, "/a/1", "1", LaterElement),
            ("/a/9", ABSENT, "/a/10/x", "1", LaterElement),
            ("/a", PRESENT, "/a/0", ABSENT, EmptyArray),
        ] {
            let refused = new(&format!("{one:?} = {first}\n{other:?} = {second}"));
            let Err(BodyConditionError::Clash { clash: found, .. }) = &refused else {
                panic!("{one} {other}: {refused:?}")
            };
            assert_eq!(*found, clash, "{one} {other}");
        }
        assert_eq!(new(""), Err(BodyConditionError::None));
        assert_eq!(new("\"\" = { present = false }"), Err(BodyConditionError::NoBody));
        let twice = vec![("/a".to_owned(), BodyPattern::Present), ("/a".to_owned(), BodyPattern::Present)];
        let twice = BodyConditions::new(twice).expect_err("twice");
        assert_eq!(twice.pointer(), Some("/a"));
    }

    #[test]
    fn conditions_that_some_body_meets_are_accepted() {
        for (one, first, other, second) in [
            ("/a", PRESENT, "/a/b", "1"),
            ("/a", PRESENT, "/a/b", ABSENT),
            ("/a", PRESENT, "/a/1", ABSENT),
            ("/a", ABSENT, "/a/b", ABSENT),
            ("/a", ABSENT, "/A", ABSENT),
            ("/a/0", "1", "/a/1", ABSENT),
            ("/a/0/x", ABSENT, "/a/1", "1"),
            ("/a/b", "1", "/c/0", "1"),
            ("/a/b", "1", "/ab", "1"),
            ("", PRESENT, "/a", "1"),
        ] {
            let made = new(&format!("{one:?} = {first}\n{other:?} = {second}"));
            assert!(made.is_ok(), "{one} {other}: {made:?}");
        }
    }

    #[test]
    fn a_mistake_names_the_pointer_to_change_and_the_cure() {
        for (toml, pointer, message) in [
            ("id = 1", "id", "\"id\" leads nowhere: a JSON Pointer begins with \"/\": write \"/id\""),
            ("\"/a\" = 1\n\"/a/b\" = 2", "/a/b", "the conditions on \"/a\" and \"/a/b\" are never met together: "),
            ("\"/ids/-\" = 1", "/ids/-", "\"-\" is the element after the last one"),
        ] {
            let error = new(toml).expect_err(toml);
            assert_eq!(error.pointer(), Some(pointer));
            assert!(error.to_string().contains(message), "{error}");
        }
        let empty = BodyConditions::new(vec![("/a".to_owned(), BodyPattern::AnyOf(Vec::new()))]).expect_err("empty");
        assert!(empty.to_string().contains("{ present = false }"), "{empty}");
    }
}
