//! The ids of things at NinjaOne, and which of their spellings are ids.

use crate::proxy::policy::catalog::EntityKind;

/// The id of something at NinjaOne: a number, or the 128 bits of a UUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntityId(pub u128);

impl EntityId {
    /// Reads decimal digits, or a UUID (8-4-4-4-12 hexadecimal digits).
    pub fn parse(text: &str) -> Option<Self> {
        if !text.is_empty() && text.len() <= 19 && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().ok().map(Self);
        }
        Self::parse_uuid(text)
    }

    /// Reads a UUID (8-4-4-4-12 hexadecimal digits).
    pub fn parse_uuid(text: &str) -> Option<Self> {
        let is_dash = |at: usize| matches!(at, 8 | 13 | 18 | 23);
        let is_uuid = text.len() == 36
            && text
                .bytes()
                .enumerate()
                .all(|(at, byte)| if is_dash(at) { byte == b'-' } else { byte.is_ascii_hexdigit() });
        is_uuid.then(|| u128::from_str_radix(&text.replace('-', ""), 16).ok().map(Self))?
    }

    /// An id that is written as a number: from 1 to 2^53 - 1, where every reader sees the same.
    pub fn of_number(number: u64) -> Option<Self> {
        (1..1 << 53).contains(&number).then_some(Self(number.into()))
    }
}

impl EntityKind {
    /// Whether its ids are UUIDs; else they are numbers.
    pub fn has_uuid(self) -> bool {
        matches!(self, Self::EndUserUid | Self::Alert)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_number_that_every_reader_sees_alike() {
        for (number, is_id) in [(0, false), (1, true), ((1 << 53) - 1, true), (1 << 53, false), (u64::MAX, false)] {
            assert_eq!(EntityId::of_number(number).is_some(), is_id, "{number}");
        }
        assert_eq!(EntityId::parse("12"), Some(EntityId(12)));
        assert_eq!(EntityId::parse_uuid("12"), None);
        for text in ["", "-1", "+1", "1.0", "12345678901234567890", "a0000000-0000-4000-8000-00000000000g"] {
            assert_eq!(EntityId::parse(text), None, "{text}");
        }
    }
}
