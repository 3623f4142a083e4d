//! The fence: what a caller with `organizations` sees of answers, and what its requests may name.
//!
//! Pure and synchronous but for the [`directory`], which knows what belongs to the organizations inside. Whatever is not
//! known to be inside is outside.

use crate::proxy::policy::catalog::EntityKind;

/// The id of something at NinjaOne: a number, or the 128 bits of a UUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EntityId(pub u128);

impl EntityId {
    /// Reads decimal digits, or a UUID (8-4-4-4-12 hexadecimal digits).
    pub fn parse(text: &str) -> Option<Self> {
        if !text.is_empty() && text.len() <= 19 && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().ok().map(Self);
        }
        let is_dash = |at: usize| matches!(at, 8 | 13 | 18 | 23);
        let is_uuid = text.len() == 36
            && text
                .bytes()
                .enumerate()
                .all(|(at, byte)| if is_dash(at) { byte == b'-' } else { byte.is_ascii_hexdigit() });
        is_uuid.then(|| u128::from_str_radix(&text.replace('-', ""), 16).ok().map(Self))?
    }
}

/// What is inside.
pub trait Inside {
    /// Whether this is known to belong to an organization inside.
    fn contains(&self, kind: EntityKind, id: EntityId) -> bool;
}
