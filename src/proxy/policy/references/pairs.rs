//! Ids whose kind a word next to them says, as `entityType` says it of `entityId`.

use super::EntityKind::{self, Device, Organization};
use super::{EntityId, EntityWord, PairName, WordName};

/// What the field of an id has, in one object.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PairedId {
    /// No field, or null.
    #[default]
    Absent,
    /// One id.
    One(EntityId),
    /// Those that were [added](Pairs::add_entity).
    Several,
    /// Something else.
    Unreadable,
}

/// Why the id of a pair cannot be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnreadablePair {
    /// It is not an id.
    NotId(&'static str),
    /// No word says what it names.
    NoWord(&'static str),
}

/// The pairs of one object, while its members are read in any order.
#[derive(Debug, Default)]
pub struct Pairs {
    words: [EntityWord; 7],
    ids: [PairedId; 7],
    entities: Vec<EntityId>,
}

impl Pairs {
    /// Takes a word.
    pub fn set_word(&mut self, name: WordName, word: EntityWord) {
        if let Some(slot) = self.words.get_mut(name as usize) {
            *slot = word;
        }
    }

    /// Takes what the field of an id has.
    pub fn set_id(&mut self, name: PairName, id: PairedId) {
        if let Some(slot) = self.ids.get_mut(name as usize) {
            *slot = id;
        }
    }

    /// Takes one of several ids, in `entityIds`.
    pub fn add_entity(&mut self, id: EntityId) {
        self.entities.push(id);
    }

    /// Gives what the ids name, and then the first that cannot be judged as an error.
    pub fn each(&self, mut found: impl FnMut(EntityKind, EntityId)) -> Result<(), UnreadablePair> {
        let mut result = Ok(());
        for (pair, id) in PAIRS.iter().zip(&self.ids).filter(|(_, id)| **id != PairedId::Absent) {
            result = result.and(self.judge(pair, id, &mut found));
        }
        result
    }

    fn judge(
        &self,
        pair: &Pair,
        id: &PairedId,
        found: &mut impl FnMut(EntityKind, EntityId),
    ) -> Result<(), UnreadablePair> {
        let words = || pair.words.iter().filter_map(|name| self.words.get(*name as usize));
        let kinds = || words().filter_map(|word| pair.kind(*word));
        let has_meaning = words().any(|word| matches!(word, EntityWord::Kind(_) | EntityWord::Other));
        if pair.needs_word && !has_meaning {
            return Err(UnreadablePair::NoWord(pair.field));
        }
        let ids = match id {
            PairedId::Unreadable if kinds().next().is_some() => return Err(UnreadablePair::NotId(pair.field)),
            PairedId::Absent | PairedId::Unreadable => &[],
            PairedId::One(id) => std::slice::from_ref(id),
            PairedId::Several => self.entities.as_slice(),
        };
        kinds().for_each(|kind| ids.iter().for_each(|id| found(kind, *id)));
        Ok(())
    }
}

/// The field of an id, and those of the words that say what it names.
struct Pair {
    field: &'static str,
    words: &'static [WordName],
    /// Whether the id is nothing without a word: an `id` is, it is the object's own.
    needs_word: bool,
    /// Whether other kinds than organizations and devices are meant: `type` is used for much else.
    any_kind: bool,
}

/// By the number of their [`PairName`].
const PAIRS: [Pair; 7] = [
    Pair { field: "id", words: &[WordName::Type], needs_word: false, any_kind: false },
    Pair {
        field: "entityId",
        words: &[WordName::Entity, WordName::Scope, WordName::Type],
        needs_word: true,
        any_kind: true,
    },
    Pair { field: "entityIds", words: &[WordName::Entity, WordName::Type], needs_word: true, any_kind: true },
    Pair { field: "relEntityId", words: &[WordName::Related], needs_word: true, any_kind: true },
    Pair { field: "sourceEntityId", words: &[WordName::Source], needs_word: true, any_kind: true },
    Pair { field: "targetEntityId", words: &[WordName::Target], needs_word: true, any_kind: true },
    Pair { field: "licenseeId", words: &[WordName::Licensee], needs_word: false, any_kind: true },
];

impl Pair {
    fn kind(&self, word: EntityWord) -> Option<EntityKind> {
        match word {
            EntityWord::Kind(kind) => Some(kind).filter(|kind| self.any_kind || matches!(kind, Organization | Device)),
            EntityWord::Absent | EntityWord::Other | EntityWord::Unknown => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{FieldRole, ReferenceField};
    use super::*;

    #[test]
    fn each_pair_is_at_the_number_of_its_name() {
        for field in ReferenceField::all() {
            if let FieldRole::PairId(name) = field.role {
                assert_eq!(PAIRS[name as usize].field, field.name);
            }
        }
    }
}
