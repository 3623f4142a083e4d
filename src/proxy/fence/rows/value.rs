//! Reads a value by serde_json, and shows the judge what it needs of it; nothing is copied but ids.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::error::UnreadableReason;
use super::judge::{Judge, ObjectState};
use crate::proxy::fence::{EntityId, Inside};
use crate::proxy::policy::catalog::{EntityKind, RowKey};
use crate::proxy::policy::references::{EntityWord, FieldRole, PairName, ReferenceField};

/// A value that has been read, as far as it can be an id or a word.
pub(super) enum Found {
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
pub(super) struct Text {
    pub(super) word: EntityWord,
    pub(super) uuid: Option<EntityId>,
    /// Whether it is an id as a text.
    pub(super) is_id: bool,
}

impl Text {
    fn of(text: &str) -> Self {
        let is_id = EntityId::parse(text.trim()).is_some();
        Self { word: EntityWord::of(text), uuid: EntityId::parse_uuid(text), is_id }
    }
}

impl Found {
    pub(super) fn number(&self) -> Option<u64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Null | Self::Text(_) | Self::Several(_) | Self::List | Self::Object | Self::Other => None,
        }
    }

    /// The id of this kind that it is.
    pub(super) fn id(&self, kind: EntityKind) -> Option<EntityId> {
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
pub(super) enum Want {
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
            Self::Nothing | Self::Scalar | Self::Ids(..) | Self::Entities => Self::Nothing,
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
pub(super) struct ValueSeed<'a, 'k, I> {
    pub(super) judge: &'a mut Judge<'k, I>,
    pub(super) want: Want,
    /// Whether it is the value that is judged, and not one in it.
    pub(super) is_row: bool,
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
