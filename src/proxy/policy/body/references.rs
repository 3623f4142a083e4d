//! What a body names: by the fields of the [table](crate::proxy::policy::references), and at the places that the catalog
//! knows.
//!
//! Names are compared without case, `_` and `-`, since a server may take them so. A value that some reader makes an id of
//! (`"12"`, 12.0, `[12]`) is not one here, and the body is refused.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::alike;
use super::pointer::{Pointer, PointerError, Step};
use super::{JsonBody, Node};
use crate::proxy::policy::catalog::EntityKind;
use crate::proxy::policy::references::{
    EntityId, EntityWord, FieldRole, PairName, PairedId, Pairs, ReferenceField, UnreadablePair,
};

/// Why it cannot be said what a body names. It shows no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyFenceError {
    /// A text, a fraction, a negative number, or something else that is not an id.
    #[error("{place} in the body must be {wanted}, and it is something else")]
    NotId {
        /// The field or the pointer, quoted.
        place: String,
        /// What an id is there.
        wanted: &'static str,
    },
    /// The word that says what an id names is missing, or not known.
    #[error(
        "nothing in the body says what {field:?} names: send its type next to it, such as \"NODE\" or \"ORGANIZATION\""
    )]
    NoWord {
        /// The field of the id.
        field: &'static str,
    },
    /// Some readers take another value for an object or an array.
    #[error("the body has a value on the way to {pointer:?} that is not the object or array that leads there")]
    NotContainer {
        /// The pointer.
        pointer: String,
    },
    /// The catalog has a pointer that leads nowhere.
    #[error(transparent)]
    Pointer(#[from] PointerError),
}

/// All that a body names by the fields of the table, at any depth.
pub fn references_of_body(body: &JsonBody) -> Result<Vec<(EntityKind, EntityId)>, BodyFenceError> {
    let mut found = Found(Vec::new());
    found.walk(&body.root)?;
    Ok(found.0)
}

/// What a body names at a place: a JSON Pointer (RFC 6901), in which `*` is each element of an array. Nothing if nothing
/// is there, or null.
pub fn named_at(body: &JsonBody, pointer: &str, kind: EntityKind) -> Result<Vec<EntityId>, BodyFenceError> {
    let place = || format!("the value at {pointer:?}");
    nodes_at(body, pointer)?.into_iter().map(|node| node.id(kind).ok_or_else(|| not_id(place(), kind))).collect()
}

/// How many values a body has at a place, null apart.
pub fn count_at(body: &JsonBody, pointer: &str) -> Result<usize, BodyFenceError> {
    nodes_at(body, pointer).map(|nodes| nodes.len())
}

fn nodes_at<'a>(body: &'a JsonBody, pointer: &str) -> Result<Vec<&'a Node>, BodyFenceError> {
    let parsed = Pointer::parse(pointer)?;
    let mut nodes = Vec::new();
    match body.root.collect(parsed.steps(), &mut nodes) {
        true => Ok(nodes),
        false => Err(BodyFenceError::NotContainer { pointer: pointer.to_owned() }),
    }
}

fn not_id(place: String, kind: EntityKind) -> BodyFenceError {
    let wanted = if kind.has_uuid() { "a UUID" } else { "an integer from 1 to 9007199254740991 in digits" };
    BodyFenceError::NotId { place, wanted }
}

/// The field of the table that some reader may take this name for.
fn field(name: &str) -> Option<&'static ReferenceField> {
    static BY_FOLDED_NAME: LazyLock<HashMap<String, ReferenceField>> =
        LazyLock::new(|| ReferenceField::all().map(|field| (alike::folded(field.name).collect(), field)).collect());
    BY_FOLDED_NAME.get(&alike::folded(name).collect::<String>())
}

/// What has been found.
struct Found(Vec<(EntityKind, EntityId)>);

impl Found {
    fn walk(&mut self, node: &Node) -> Result<(), BodyFenceError> {
        match node {
            Node::Object(members) => self.object(members).map(|_| ()),
            Node::Array(elements) => elements.iter().try_for_each(|element| self.walk(element)),
            Node::Null | Node::Boolean(_) | Node::Integer(_) | Node::Number | Node::Text(_) => Ok(()),
        }
    }

    /// Walks through an object; gives what is in its `id`.
    fn object<'a>(&mut self, members: &'a [(String, Node)]) -> Result<Option<&'a Node>, BodyFenceError> {
        let (mut pairs, mut own) = (Pairs::default(), None);
        for (name, value) in members {
            let Some(field) = field(name) else {
                self.walk(value)?;
                continue;
            };
            match field.role {
                FieldRole::Id(kind) => self.id(value, kind, field)?,
                FieldRole::Ids(kind) => self.ids(value, kind, field)?,
                FieldRole::Thing(kind) => self.thing(value, kind, field)?,
                FieldRole::Word(name) => pairs.set_word(name, value.word()),
                FieldRole::PairId(name) => {
                    own = if name == PairName::Own { Some(value) } else { own };
                    set_paired(&mut pairs, name, value);
                    self.walk(value)?;
                }
            }
        }
        pairs.each(|kind, id| self.0.push((kind, id))).map_err(|unreadable| match unreadable {
            UnreadablePair::NotId(field) => not_id(format!("{field:?}"), EntityKind::Device),
            UnreadablePair::NoWord(field) => BodyFenceError::NoWord { field },
        })?;
        Ok(own)
    }

    fn id(&mut self, node: &Node, kind: EntityKind, field: &ReferenceField) -> Result<(), BodyFenceError> {
        if *node != Node::Null {
            let id = node.id(kind).ok_or_else(|| not_id(format!("{:?}", field.name), kind))?;
            self.0.push((kind, id));
        }
        Ok(())
    }

    fn ids(&mut self, node: &Node, kind: EntityKind, field: &ReferenceField) -> Result<(), BodyFenceError> {
        match node {
            Node::Array(elements) => elements.iter().try_for_each(|element| self.id(element, kind, field)),
            Node::Null | Node::Boolean(_) | Node::Integer(_) | Node::Number | Node::Text(_) | Node::Object(_) => {
                self.id(node, kind, field)
            }
        }
    }

    fn thing(&mut self, node: &Node, kind: EntityKind, field: &ReferenceField) -> Result<(), BodyFenceError> {
        match node {
            Node::Array(elements) => elements.iter().try_for_each(|element| self.thing(element, kind, field)),
            Node::Object(members) => {
                let own = self.object(members)?;
                let id = own.and_then(|own| own.id(kind));
                self.0.push((kind, id.ok_or_else(|| not_id(format!("\"id\" in {:?}", field.name), kind))?));
                Ok(())
            }
            Node::Text(text) if EntityId::parse(text.trim()).is_none() => Ok(()),
            Node::Null | Node::Boolean(_) | Node::Integer(_) | Node::Number | Node::Text(_) => {
                self.id(node, kind, field)
            }
        }
    }
}

/// Takes the id of a pair, or its ids.
fn set_paired(pairs: &mut Pairs, name: PairName, node: &Node) {
    let one = |node: &Node| node.id(EntityKind::Device);
    let id = match node {
        Node::Null => PairedId::Absent,
        Node::Array(elements) if name == PairName::Entities => {
            let ids: Option<Vec<_>> = elements.iter().filter(|element| **element != Node::Null).map(one).collect();
            ids.map_or(PairedId::Unreadable, |ids| {
                ids.into_iter().for_each(|id| pairs.add_entity(id));
                PairedId::Several
            })
        }
        Node::Boolean(_) | Node::Integer(_) | Node::Number | Node::Text(_) | Node::Array(_) | Node::Object(_) => {
            one(node).map_or(PairedId::Unreadable, PairedId::One)
        }
    };
    pairs.set_id(name, id);
}

impl Node {
    /// The id of this kind that every reader takes it for.
    fn id(&self, kind: EntityKind) -> Option<EntityId> {
        match self {
            Self::Integer(number) if !kind.has_uuid() => EntityId::of_number(u64::try_from(*number).ok()?),
            Self::Text(text) if kind.has_uuid() => EntityId::parse_uuid(text),
            Self::Null
            | Self::Boolean(_)
            | Self::Integer(_)
            | Self::Number
            | Self::Text(_)
            | Self::Array(_)
            | Self::Object(_) => None,
        }
    }

    /// The word that it is. Jackson trims names of enums, takes them in any case if it is told to, and takes numbers.
    fn word(&self) -> EntityWord {
        match self {
            Self::Null => EntityWord::Absent,
            Self::Text(text) => EntityWord::of(&text.trim().to_uppercase()),
            Self::Boolean(_) | Self::Integer(_) | Self::Number | Self::Array(_) | Self::Object(_) => {
                EntityWord::Unknown
            }
        }
    }

    /// Collects what is at a place, but null; whether all values on the way are what the steps say, or null.
    fn collect<'a>(&'a self, steps: &[Step], found: &mut Vec<&'a Self>) -> bool {
        let Some((step, rest)) = steps.split_first() else {
            found.extend(Some(self).filter(|node| **node != Self::Null));
            return true;
        };
        match (self, step) {
            (Self::Null, _) => true,
            (Self::Array(elements), Step::Key(star)) if star == "*" => {
                elements.iter().all(|element| element.collect(rest, found))
            }
            (Self::Array(elements), Step::Index(index)) => {
                elements.get(*index).is_none_or(|element| element.collect(rest, found))
            }
            (Self::Object(members), Step::Key(key)) if key != "*" => {
                let member = members.iter().find(|(own, _)| alike::are_alike(own, key));
                member.is_none_or(|(_, value)| value.collect(rest, found))
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::CONTENT_TYPE;

    use super::*;

    fn read(body: &str) -> JsonBody {
        let headers = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        JsonBody::read(&headers.into_iter().collect(), body.as_bytes()).expect(body)
    }

    /// What a body names, in words, or why that cannot be said.
    fn named(body: &str) -> String {
        match references_of_body(&read(body)) {
            Ok(found) => found
                .iter()
                .map(|(kind, EntityId(id))| format!("{} {id}", kind.as_str()))
                .collect::<Vec<_>>()
                .join(", "),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_body_names_organizations_and_devices_at_any_depth_and_in_any_case() {
        for (body, found) in [
            (r#"{"name":"a","id":1}"#, ""),
            (r#"{"organizationId":5,"locationId":9}"#, "organization 5"),
            (r#"{"ORGANIZATION_ID":5}"#, "organization 5"),
            (r#"{"organization-\u0131d":5}"#, "organization 5"),
            (r#"{"organization\u0049d":5}"#, "organization 5"),
            (r#"{"a":[{"b":[[{"nodeId":50}]]}],"DeviceIds":[51,null]}"#, "device 50, device 51"),
            (r#"{"deviceIds":52,"orgId":null}"#, "device 52"),
            (r#"[{"clientId":5},{"clientId":6}]"#, "organization 5, organization 6"),
            (r#"{"organization":{"name":"a","deviceId":50,"ID":5}}"#, "device 50, organization 5"),
            (r#"{"devices":[{"id":50},51],"client":"ACME"}"#, "device 50, device 51"),
            (r#"{"entityId":50,"entityType":"NODE"}"#, "device 50"),
            (r#"{"entity_id":50,"EntityType":" node "}"#, "device 50"),
            (r#"{"entityId":9,"type":"LOCATION"}"#, "location 9"),
            (r#"{"entityIds":[50,51],"type":"NODE"}"#, "device 50, device 51"),
            (r#"{"id":50,"type":"device"}"#, "device 50"),
            (r#"{"entityId":9,"entityType":"NODE_ROLE"}"#, ""),
            (r#""organizationId""#, ""),
        ] {
            assert_eq!(named(body), found, "{body}");
        }
    }

    #[test]
    fn what_a_reader_could_make_an_id_of_is_refused() {
        let integer = "in the body must be an integer from 1 to 9007199254740991 in digits, and it is something else";
        for body in [
            r#"{"organizationId":"5"}"#,
            r#"{"organizationId":""}"#,
            r#"{"organizationId":5.0}"#,
            r#"{"organizationId":5e0}"#,
            r#"{"organizationId":-5}"#,
            r#"{"organizationId":0}"#,
            r#"{"organizationId":true}"#,
            r#"{"organizationId":[5]}"#,
            r#"{"organizationId":{"id":5}}"#,
            r#"{"organizationId":9007199254740992}"#,
            r#"{"deviceIds":[50,"51"]}"#,
            r#"{"deviceIds":"50,51"}"#,
            r#"{"deviceIds":[[50]]}"#,
            r#"{"device":"50"}"#,
            r#"{"device":{"name":"a"}}"#,
            r#"{"device":{"id":"50"}}"#,
            r#"{"entityId":"50","entityType":"NODE"}"#,
            r#"{"entityIds":[50,"51"],"entityType":"NODE"}"#,
            r#"{"id":"50","type":"DEVICE"}"#,
        ] {
            let error = named(body);
            assert!(error.ends_with(integer) && !error.contains("51"), "{body}: {error}");
        }
        for body in [r#"{"entityId":50}"#, r#"{"entityId":50,"entityType":0}"#, r#"{"relEntityId":50,"type":"NODE"}"#] {
            let error = named(body);
            assert!(error.contains("send its type next to it"), "{body}: {error}");
        }
    }

    #[test]
    fn a_place_of_the_catalog_gives_the_ids_that_are_there() {
        let number = |body: &str, pointer: &str| {
            let found = named_at(&read(body), pointer, EntityKind::Location);
            found.map(|ids| ids.into_iter().map(|EntityId(id)| id).collect::<Vec<_>>())
        };
        for (body, pointer, ids) in [
            (r#"{"a":9}"#, "/a", vec![9]),
            (r#"{"A":9}"#, "/a", vec![9]),
            ("{}", "/a", vec![]),
            (r#"{"a":null}"#, "/a", vec![]),
            (r#"{"a":null}"#, "/a/b/*", vec![]),
            (r#"{"a":{"b":[{"c":1},{"c":2},{},null]}}"#, "/a/b/*/c", vec![1, 2]),
            ("[3,4]", "/*", vec![3, 4]),
            ("[[3],[4]]", "/*/0", vec![3, 4]),
            ("[3,4]", "/1", vec![4]),
            ("7", "", vec![7]),
        ] {
            assert_eq!(number(body, pointer), Ok(ids), "{body} {pointer}");
        }
        for (body, pointer) in [
            (r#"{"a":"9"}"#, "/a"),
            (r#"{"a":9.0}"#, "/a"),
            (r#"{"a":[9]}"#, "/a"),
            (r#"{"a":{"0":9}}"#, "/a/*"),
            (r#"{"a":9}"#, "/a/*"),
            (r#"{"a":[{"b":9}]}"#, "/a/b"),
            (r#"[{"a":9}]"#, "/a"),
            (r#"{"a":[1,"2"]}"#, "/a/*"),
            (r#"{"a":9}"#, "a"),
        ] {
            assert!(number(body, pointer).is_err(), "{body} {pointer}");
        }
    }

    #[test]
    fn a_place_can_have_uuids() {
        let read_at = |body: &str| named_at(&read(body), "/uid", EntityKind::EndUserUid);
        let uuid = "a0000000-0000-4000-8000-000000000001";
        assert_eq!(read_at(&format!("{{\"uid\":\"{uuid}\"}}")), Ok(Vec::from_iter(EntityId::parse(uuid))));
        let error = read_at(r#"{"uid":"secret"}"#).expect_err("no UUID").to_string();
        assert_eq!(error, "the value at \"/uid\" in the body must be a UUID, and it is something else");
        assert!(read_at(r#"{"uid":5}"#).is_err());
    }
}
