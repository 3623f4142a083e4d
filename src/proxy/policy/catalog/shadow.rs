//! Two templates that one path may fit: which of the two it is found under.

use std::cmp::Ordering;

use super::{ParameterType, TemplateSegment};

/// Whether some path fits both templates and is found under `new`, so that `known` would lose it. Two templates that
/// differ in names only lose each other nothing: they are one place.
pub(super) fn takes_from(new: &[TemplateSegment], known: &[TemplateSegment]) -> bool {
    let mut order = new.iter().zip(known).map(|(new, known)| precedence(new, known));
    overlap(new, known) && order.find(|order| order.is_ne()) == Some(Ordering::Less)
}

/// Whether some path fits both templates.
pub(super) fn overlap(one: &[TemplateSegment], other: &[TemplateSegment]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| meet(one, other))
}

/// Whether both templates are the same place of the tree.
pub(super) fn same_place(one: &[TemplateSegment], other: &[TemplateSegment]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| precedence(one, other).is_eq())
}

/// Whether both templates are the same but for the names and types of their parameters.
pub(super) fn same_shape(one: &[TemplateSegment], other: &[TemplateSegment]) -> bool {
    use TemplateSegment::{Literal, Parameter};
    let same = |pair: (&TemplateSegment, &TemplateSegment)| match pair {
        (Literal(one), Literal(other)) => one == other,
        (Parameter(..), Parameter(..)) => true,
        (Literal(_), Parameter(..)) | (Parameter(..), Literal(_)) => false,
    };
    one.len() == other.len() && one.iter().zip(other).all(same)
}

/// In the order in which the catalogue's tree tries them.
fn precedence(one: &TemplateSegment, other: &TemplateSegment) -> Ordering {
    use TemplateSegment::{Literal, Parameter};
    match (one, other) {
        (Literal(one), Literal(other)) => one.cmp(other),
        (Literal(_), Parameter(..)) => Ordering::Less,
        (Parameter(..), Literal(_)) => Ordering::Greater,
        (Parameter(_, one), Parameter(_, other)) => one.cmp(other),
    }
}

/// Whether some segment fits both.
fn meet(one: &TemplateSegment, other: &TemplateSegment) -> bool {
    use TemplateSegment::{Literal, Parameter};
    match (one, other) {
        (Literal(one), Literal(other)) => one == other,
        (Literal(word), Parameter(_, kind)) | (Parameter(_, kind), Literal(word)) => kind.admits(word),
        (Parameter(_, one), Parameter(_, other)) => share(one, other),
    }
}

fn share(one: &ParameterType, other: &ParameterType) -> bool {
    use ParameterType::{Integer, Name, OneOf, Uid};
    match (one, other) {
        // The shorter list is looked up in the longer one.
        (OneOf(short), OneOf(long)) | (OneOf(long), OneOf(short)) if short.len() <= long.len() => {
            short.iter().any(|word| long.has(word))
        }
        (OneOf(words), kind) | (kind, OneOf(words)) => words.iter().any(|word| kind.admits(word)),
        (Name, _) | (_, Name) | (Integer, Integer) | (Uid, Uid) => true,
        (Integer, Uid) | (Uid, Integer) => false,
    }
}
