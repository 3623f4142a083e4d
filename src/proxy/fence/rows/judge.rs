//! One value of an answer: serde_json reads it whole, and what it refers to is judged on the way.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::error::UnreadableReason;
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
struct Judge<'a, I> {
    key: Option<&'a RowKey>,
    inside: &'a I,
    is_outside: bool,
    unreadable: Option<(UnreadableReason, Option<&'static str>)>,
    id: Option<u64>,
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
    fn check_number(&mut self, kind: EntityKind, number: u64, field: &'static str) {
        match EntityId::of_number(number) {
            Some(id) => self.check(kind, id),
            None => self.refuse(UnreadableReason::NotId, Some(field)),
        }
    }

    /// Keeps the first reason; no field is the field of the key.
    fn refuse(&mut self, reason: UnreadableReason, field: Option<&'static str>) {
        self.unreadable.get_or_insert((reason, field));
    }

    fn set_key(&mut self, key: &RowKey, found: &Found) {
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
    fn take(&mut self, field: &ReferenceField, found: Found, object: &mut ObjectState) {
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
    fn close(&mut self, object: &ObjectState, thing: Option<EntityKind>) {
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
struct ObjectState {
    /// The bits of the fields of the table that it has.
    seen: u64,
    /// The number in its `id`.
    own: Option<u64>,
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

/// A value that has been read, as far as it can be an id or a word.
enum Found {
    Null,
    /// In digits only.
    Number(u64),
    Text(Text),
    /// Ids in an array, for a pair.
    Several(Vec<EntityId>),
    /// Any other array; its elements have been judged.
    List,
    /// Its members have been judged.
    Object,
    /// A boolean, a negative number, or one with a fraction or an exponent.
    Other,
}

#[derive(Clone, Copy, Default)]
struct Text {
    word: EntityWord,
    uuid: Option<EntityId>,
    /// Whether it is an id as a text.
    is_id: bool,
}

impl Text {
    fn of(text: &str) -> Self {
        let is_id = EntityId::parse(text.trim()).is_some();
        Self { word: EntityWord::of(text), uuid: EntityId::parse_uuid(text), is_id }
    }
}

impl Found {
    fn number(&self) -> Option<u64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Null | Self::Text(_) | Self::Several(_) | Self::List | Self::Object | Self::Other => None,
        }
    }

    /// The id of this kind that it is.
    fn id(&self, kind: EntityKind) -> Option<EntityId> {
        match self {
            Self::Number(number) if !kind.has_uuid() => EntityId::of_number(*number),
            Self::Text(text) if kind.has_uuid() => text.uuid,
            Self::Null
            | Self::Number(_)
            | Self::Text(_)
            | Self::Several(_)
            | Self::List
            | Self::Object
            | Self::Other => None,
        }
    }
}

/// What a value is looked at for; all that is in it is judged in any case.
#[derive(Clone, Copy)]
enum Want {
    Nothing,
    Scalar,
    /// Each element is an id.
    Ids(EntityKind, &'static str),
    /// The object, or each element, is a thing.
    Thing(EntityKind, &'static str),
    /// The ids of a pair.
    Entities,
}

impl Want {
    fn of(member: Member) -> Self {
        match member.field.map(|field| (field.role, field.name)) {
            Some((FieldRole::Ids(kind), name)) => Self::Ids(kind, name),
            Some((FieldRole::Thing(kind), name)) => Self::Thing(kind, name),
            Some((FieldRole::PairId(PairName::Entities), _)) => Self::Entities,
            Some((FieldRole::Id(_) | FieldRole::PairId(_) | FieldRole::Word(_), _)) => Self::Scalar,
            None if member.is_key => Self::Scalar,
            None => Self::Nothing,
        }
    }

    fn element(self) -> Self {
        match self {
            Self::Nothing | Self::Scalar => Self::Nothing,
            Self::Ids(..) | Self::Entities => Self::Scalar,
            Self::Thing(..) => self,
        }
    }
}

/// The name of a member.
#[derive(Clone, Copy)]
struct Member {
    field: Option<&'static ReferenceField>,
    is_key: bool,
}

/// Reads the name of a member; escapes are decoded by then.
struct MemberSeed<'a>(Option<&'a RowKey>);

impl<'de> DeserializeSeed<'de> for MemberSeed<'_> {
    type Value = Member;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Member, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for MemberSeed<'_> {
    type Value = Member;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Member, E> {
        let is_key = self.0.is_some_and(|key| key.field == name);
        Ok(Member { field: ReferenceField::of(name), is_key })
    }
}

/// Reads a value.
struct ValueSeed<'a, 'k, I> {
    judge: &'a mut Judge<'k, I>,
    want: Want,
    /// Whether it is the value that is judged, and not one in it.
    is_row: bool,
}

impl<'de, I: Inside> DeserializeSeed<'de> for ValueSeed<'_, '_, I> {
    type Value = Found;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Found, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, I: Inside> Visitor<'de> for ValueSeed<'_, '_, I> {
    type Value = Found;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Found, E> {
        Ok(Found::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Found, E> {
        Ok(Found::Other)
    }

    fn visit_u64<E>(self, number: u64) -> Result<Found, E> {
        Ok(Found::Number(number))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Found, E> {
        Ok(Found::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Found, E> {
        Ok(Found::Other)
    }

    fn visit_str<E>(self, text: &str) -> Result<Found, E> {
        Ok(Found::Text(match self.want {
            Want::Nothing => Text::default(),
            Want::Scalar | Want::Ids(..) | Want::Thing(..) | Want::Entities => Text::of(text),
        }))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Found, A::Error> {
        let Self { judge, want, .. } = self;
        let mut entities = Vec::new();
        let mut is_readable = true;
        let element = want.element();
        while let Some(found) =
            elements.next_element_seed(ValueSeed { judge: &mut *judge, want: element, is_row: false })?
        {
            match (want, found) {
                (Want::Nothing | Want::Scalar, _) | (Want::Ids(..) | Want::Thing(..) | Want::Entities, Found::Null) => {
                }
                (Want::Thing(..), Found::Object | Found::List | Found::Text(Text { is_id: false, .. })) => {}
                (Want::Ids(kind, name) | Want::Thing(kind, name), Found::Number(number)) => {
                    judge.check_number(kind, number, name);
                }
                (Want::Ids(_, name) | Want::Thing(_, name), _) => {
                    judge.refuse(UnreadableReason::NotId, Some(name));
                }
                (Want::Entities, found) => match found.number().and_then(EntityId::of_number) {
                    Some(id) => entities.push(id),
                    None => is_readable = false,
                },
            }
        }
        Ok(match want {
            Want::Entities if is_readable => Found::Several(entities),
            Want::Nothing | Want::Scalar | Want::Ids(..) | Want::Thing(..) | Want::Entities => Found::List,
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Found, A::Error> {
        let Self { judge, want, is_row } = self;
        let key = judge.key.filter(|_| is_row);
        let mut object = ObjectState::default();
        while let Some(member) = members.next_key_seed(MemberSeed(key))? {
            let want = Want::of(member);
            let found = members.next_value_seed(ValueSeed { judge: &mut *judge, want, is_row: false })?;
            if let Some(key) = key.filter(|_| member.is_key) {
                judge.set_key(key, &found);
            }
            if let Some(field) = member.field {
                judge.take(field, found, &mut object);
            }
        }
        if is_row {
            judge.id = object.own;
        }
        let thing = match want {
            Want::Thing(kind, _) => Some(kind),
            Want::Nothing | Want::Scalar | Want::Ids(..) | Want::Entities => None,
        };
        judge.close(&object, thing);
        Ok(Found::Object)
    }
}
