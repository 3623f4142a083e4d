//! Which fields of answers and bodies name an organization or a device: one table for all operations.
//!
//! Organizations and devices are looked for at every depth. Other kinds are found only where a word next to the id says
//! its kind, as in `entityType` and `entityId`; a location or a person that a row names otherwise belongs to the same
//! organization as the row, and the row's key says which.
//!
//! A text under `organization`, `client`, `device` or `node` is a name, as in `organizationName`: it names nothing that
//! a server looks up. The same text written as an id is not read at all.

mod entity_id;
mod pairs;

use std::sync::LazyLock;

use rustc_hash::FxHashMap;

use crate::proxy::policy::catalog::EntityKind;
use EntityKind::{Device, Organization};
use FieldRole::{Id, Ids, PairId, Thing, Word};
pub use entity_id::EntityId;
pub use pairs::{PairedId, Pairs, UnreadablePair};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_is_found_by_its_name_and_has_a_bit_of_its_own() {
        let mut bits = 0;
        for field in ReferenceField::all() {
            assert_eq!(bits & field.bit, 0, "{}", field.name);
            bits |= field.bit;
            assert_eq!(
                ReferenceField::of(field.name).map(|found| (found.name, found.bit)),
                Some((field.name, field.bit))
            );
        }
        assert_eq!(bits.count_ones() as usize, FIELDS.len());
        assert!(ReferenceField::of("OrganizationId").is_none());
    }
}
