//! One value of an answer: serde_json reads it whole, and what it refers to is judged on the way.

use serde::de::DeserializeSeed;

use super::error::UnreadableReason;
use super::value::{Found, Text, ValueSeed, Want};
use crate::proxy::fence::{EntityId, Inside};
use crate::proxy::policy::catalog::{EntityKind, RowKey};
use crate::proxy::policy::references::{
    EntityWord, FieldRole, PairName, PairedId, Pairs, ReferenceField, UnreadablePair,
};

/// What became of one value.
#[derive(Debug)]
pub(super) struct Judgment {
    pub(super) verdict: Verdict,
    /// The number in its `id`, or the value itself if it is the id.
    pub(super) id: Option<u64>,
}

/// Whether a value may pass.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Inside,
    Outside,
    /// The field; `None` is that of the key.
    Unreadable(UnreadableReason, Option<&'static str>),
}

/// Judges a value by its key, if it needs one, and by all references in it. `None` if it is not one whole value of JSON in
/// UTF-8.
pub(super) fn judge(value: &[u8], key: Option<&RowKey>, inside: &impl Inside) -> Option<Judgment> {
    // First, since serde_json does not look at the UTF-8 of what it skips.
    let text = std::str::from_utf8(value).ok()?;
    let mut judge = Judge { key, inside, is_outside: false, unreadable: None, id: None, key_value: KeyValue::Missing };
    let mut reader = serde_json::Deserializer::from_str(text);
    let want = if key.is_some_and(|key| key.field.is_empty()) { Want::Scalar } else { Want::Nothing };
    let found = ValueSeed { judge: &mut judge, want, is_row: true }.deserialize(&mut reader).ok()?;
    reader.end().ok()?;
    Some(judge.finish(&found))
}

/// What is known of a value so far.
pub(super) struct Judge<'a, I> {
    pub(super) key: Option<&'a RowKey>,
    inside: &'a I,
    is_outside: bool,
    unreadable: Option<(UnreadableReason, Option<&'static str>)>,
    pub(super) id: Option<u64>,
    key_value: KeyValue,
}

/// What is in the field of the key.
enum KeyValue {
    Missing,
    Id(EntityId),
    NotId,
    Twice,
}

impl<I: Inside> Judge<'_, I> {
    fn check(&mut self, kind: EntityKind, id: EntityId) {
        self.is_outside |= !self.inside.contains(kind, id);
    }

    /// Checks an id that is written as a number.
    pub(super) fn check_number(&mut self, kind: EntityKind, number: u64, field: &'static str) {
        match EntityId::of_number(number) {
            Some(id) => self.check(kind, id),
            None => self.refuse(UnreadableReason::NotId, Some(field)),
        }
    }

    /// Keeps the first reason; no field is the field of the key.
    pub(super) fn refuse(&mut self, reason: UnreadableReason, field: Option<&'static str>) {
        self.unreadable.get_or_insert((reason, field));
    }

    pub(super) fn set_key(&mut self, key: &RowKey, found: &Found) {
        self.key_value = match self.key_value {
            KeyValue::Missing => found.id(key.kind).map_or(KeyValue::NotId, KeyValue::Id),
            KeyValue::Id(_) | KeyValue::NotId | KeyValue::Twice => KeyValue::Twice,
        };
    }

    fn finish(mut self, found: &Found) -> Judgment {
        if let Some(key) = self.key {
            if key.field.is_empty() {
                self.set_key(key, found);
                self.id = found.number();
            }
            match self.key_value {
                KeyValue::Id(id) => self.check(key.kind, id),
                KeyValue::Missing => self.refuse(UnreadableReason::NoKey, None),
                KeyValue::NotId => self.refuse(UnreadableReason::NotId, None),
                KeyValue::Twice => self.refuse(UnreadableReason::Twice, None),
            }
        }
        Judgment { verdict: self.verdict(), id: self.id }
    }

    fn verdict(&self) -> Verdict {
        match self.unreadable {
            _ if self.is_outside => Verdict::Outside,
            None => Verdict::Inside,
            Some((reason, field)) => Verdict::Unreadable(reason, field),
        }
    }

    /// What a field of the table says, once its value has been read.
    pub(super) fn take(&mut self, field: &ReferenceField, found: Found, object: &mut ObjectState) {
        if object.seen & field.bit != 0 {
            self.refuse(UnreadableReason::Twice, Some(field.name));
        }
        object.seen |= field.bit;
        match (field.role, found) {
            (FieldRole::Id(_) | FieldRole::Ids(_) | FieldRole::Thing(_), Found::Null)
            | (FieldRole::Ids(_) | FieldRole::Thing(_), Found::List)
            | (FieldRole::Thing(_), Found::Object | Found::Text(Text { is_id: false, .. })) => {}
            (FieldRole::Id(kind) | FieldRole::Ids(kind) | FieldRole::Thing(kind), Found::Number(number)) => {
                self.check_number(kind, number, field.name);
            }
            (FieldRole::Id(_) | FieldRole::Ids(_) | FieldRole::Thing(_), _) => {
                self.refuse(UnreadableReason::NotId, Some(field.name));
            }
            (FieldRole::PairId(name), found) => object.set_id(name, found),
            (FieldRole::Word(name), Found::Text(text)) => object.pairs.set_word(name, text.word),
            (FieldRole::Word(_), Found::Null) => {}
            (FieldRole::Word(name), _) => object.pairs.set_word(name, EntityWord::Unknown),
        }
    }

    /// An object is at its end; if it is a thing itself, its `id` says which.
    pub(super) fn close(&mut self, object: &ObjectState, thing: Option<EntityKind>) {
        if let Some(kind) = thing {
            match object.own {
                Some(number) => self.check_number(kind, number, "id"),
                None => self.refuse(UnreadableReason::NoId, Some("id")),
            }
        }
        match object.pairs.each(|kind, id| self.check(kind, id)) {
            Ok(()) => {}
            Err(UnreadablePair::NotId(field)) => self.refuse(UnreadableReason::NotId, Some(field)),
            Err(UnreadablePair::NoWord(field)) => self.refuse(UnreadableReason::NoWord, Some(field)),
        }
    }
}

/// What is known of one object while its members are read.
#[derive(Default)]
pub(super) struct ObjectState {
    /// The bits of the fields of the table that it has.
    seen: u64,
    /// The number in its `id`.
    pub(super) own: Option<u64>,
    pairs: Pairs,
}

impl ObjectState {
    fn set_id(&mut self, name: PairName, found: Found) {
        if name == PairName::Own {
            self.own = found.number();
        }
        let id = match found {
            Found::Null => PairedId::Absent,
            Found::Number(number) => EntityId::of_number(number).map_or(PairedId::Unreadable, PairedId::One),
            Found::Several(ids) => {
                ids.into_iter().for_each(|id| self.pairs.add_entity(id));
                PairedId::Several
            }
            Found::Text(_) | Found::List | Found::Object | Found::Other => PairedId::Unreadable,
        };
        self.pairs.set_id(name, id);
    }
}
