//! Which fields of answers and bodies name an organization or a device: one table for all operations.
//!
//! Organizations and devices are looked for at every depth. Other kinds are found only where a word next to the id says
//! its kind, as in `entityType` and `entityId`; a location or a person that a row names otherwise belongs to the same
//! organization as the row, and the row's key says which.
//!
//! A text under `organization`, `client`, `device` or `node` is a name, as in `organizationName`: it names nothing that
//! a server looks up. The same text written as an id is not read at all.

use std::sync::LazyLock;

use rustc_hash::FxHashMap;

use crate::proxy::policy::catalog::EntityKind;
use EntityKind::{Device, Organization};
use FieldRole::{Id, Ids, PairId, Thing, Word};

/// The id of something at NinjaOne: a number, or the 128 bits of a UUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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

/// What a field says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldRole {
    /// The id of one thing.
    Id(EntityKind),
    /// The ids of several.
    Ids(EntityKind),
    /// One thing or several: each an object with its `id`, or the id.
    Thing(EntityKind),
    /// The id, or the ids, of what the words of this pair name.
    PairId(PairName),
    /// What an id next to it names.
    Word(WordName),
}

/// An id, and the words that say what it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PairName {
    /// `id`, of an object with a `type`.
    Own,
    /// `entityId`
    Entity,
    /// `entityIds`
    Entities,
    /// `relEntityId`
    Related,
    /// `sourceEntityId`
    Source,
    /// `targetEntityId`
    Target,
    /// `licenseeId`
    Licensee,
}

/// A field with such a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WordName {
    /// `type`
    Type,
    /// `scope`
    Scope,
    /// `entityType`
    Entity,
    /// `relEntityType`
    Related,
    /// `sourceEntityType`
    Source,
    /// `targetEntityType`
    Target,
    /// `licenseeType`
    Licensee,
}

/// The fields, at most 64.
const FIELDS: [(&str, FieldRole); 45] = [
    ("organizationId", Id(Organization)),
    ("orgId", Id(Organization)),
    ("clientId", Id(Organization)),
    ("licenseeOrganizationId", Id(Organization)),
    ("destinationOrganizationId", Id(Organization)),
    ("sourceOrganizationId", Id(Organization)),
    ("targetOrganizationId", Id(Organization)),
    ("parentOrganizationId", Id(Organization)),
    ("organizationIds", Ids(Organization)),
    ("orgIds", Ids(Organization)),
    ("clientIds", Ids(Organization)),
    ("organization", Thing(Organization)),
    ("organizations", Thing(Organization)),
    ("org", Thing(Organization)),
    ("client", Thing(Organization)),
    ("clients", Thing(Organization)),
    ("deviceId", Id(Device)),
    ("nodeId", Id(Device)),
    ("parentDeviceId", Id(Device)),
    ("parentNodeId", Id(Device)),
    ("sourceDeviceId", Id(Device)),
    ("targetDeviceId", Id(Device)),
    ("deviceIds", Ids(Device)),
    ("nodeIds", Ids(Device)),
    ("assignedDeviceIds", Ids(Device)),
    ("accessibleDeviceIds", Ids(Device)),
    ("device", Thing(Device)),
    ("devices", Thing(Device)),
    ("node", Thing(Device)),
    ("nodes", Thing(Device)),
    ("parentDevice", Thing(Device)),
    ("id", PairId(PairName::Own)),
    ("entityId", PairId(PairName::Entity)),
    ("entityIds", PairId(PairName::Entities)),
    ("relEntityId", PairId(PairName::Related)),
    ("sourceEntityId", PairId(PairName::Source)),
    ("targetEntityId", PairId(PairName::Target)),
    ("licenseeId", PairId(PairName::Licensee)),
    ("type", Word(WordName::Type)),
    ("scope", Word(WordName::Scope)),
    ("entityType", Word(WordName::Entity)),
    ("relEntityType", Word(WordName::Related)),
    ("sourceEntityType", Word(WordName::Source)),
    ("targetEntityType", Word(WordName::Target)),
    ("licenseeType", Word(WordName::Licensee)),
];

/// NinjaOne's words for what belongs to no organization, or to the thing that it is attached to.
const OTHER_WORDS: [&str; 9] =
    ["NODE_ROLE", "SYSTEM", "TECHNICIAN", "ATTACHMENT", "CREDENTIAL", "SECURE", "SOFTWARE_LICENSE", "POLICY", "VALUE"];

/// A field of the table.
#[derive(Debug, Clone, Copy)]
pub struct ReferenceField {
    /// Its name as NinjaOne writes it.
    pub name: &'static str,
    /// What it says.
    pub role: FieldRole,
    /// Its place in the table, as a bit: whether it is there twice takes one word for each object.
    pub bit: u64,
}

impl ReferenceField {
    /// The field of this name, compared exactly.
    pub fn of(name: &str) -> Option<&'static Self> {
        static BY_NAME: LazyLock<FxHashMap<&'static str, ReferenceField>> =
            LazyLock::new(|| ReferenceField::all().map(|field| (field.name, field)).collect());
        BY_NAME.get(name)
    }

    /// The whole table.
    pub fn all() -> impl Iterator<Item = Self> {
        FIELDS.iter().enumerate().map(|(place, (name, role))| Self { name, role: *role, bit: 1 << place })
    }
}

/// What a word next to an id says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EntityWord {
    /// There is none.
    #[default]
    Absent,
    /// The id names one of these.
    Kind(EntityKind),
    /// The id names what belongs to no organization.
    Other,
    /// Not one of the words that are known, or not a text.
    Unknown,
}

impl EntityWord {
    /// Reads a word as NinjaOne writes it.
    pub fn of(word: &str) -> Self {
        match EntityKind::of_entity_type(word) {
            Some(kind) => Self::Kind(kind),
            None if OTHER_WORDS.contains(&word) => Self::Other,
            None => Self::Unknown,
        }
    }
}

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

impl EntityKind {
    /// Whether its ids are UUIDs; else they are numbers.
    pub fn has_uuid(self) -> bool {
        matches!(self, Self::EndUserUid | Self::Alert)
    }
}
