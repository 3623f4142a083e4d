//! What a request asks of an operation: its parameters, the things they name, and the filters.

use std::collections::BTreeSet;

use http::Method;
use serde_json::{Value, json};

use super::changes;
use super::filter::DeviceFilter;
use super::fleet::{self, IdList, InventedThing};
use super::homes::Fleet;
use super::leak::{Leak, LeakMode};
use super::paging::Cursors;
use super::query::QueryParameters;
use super::refusal::SandboxRefusal;
use super::shape;
use super::simulated_answer::stand_in;
use crate::proxy::policy::catalog::{Operation, ParameterType, TemplateSegment};
use crate::proxy::policy::path::{Segment, Segments};

/// A request that may have an answer.
pub(super) struct SandboxRequest<'a> {
    pub(super) operation: &'a Operation,
    /// The values of the template's parameters.
    pub(super) parameters: Vec<(&'a str, String)>,
    pub(super) query: &'a QueryParameters,
    /// The body if it was JSON and is of use, else null.
    pub(super) body: Value,
    /// Scheme and authority under which the caller sees the sandbox.
    pub(super) origin: &'a str,
    /// Where the readers of reports are.
    pub(super) cursors: &'a Cursors,
    pub(super) ids: KnownIds,
    pub(super) fleet: &'a Fleet,
    /// What goes wrong with the answer.
    pub(super) leak: &'a Leak,
}

/// What ids in paths name something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KnownIds {
    /// Those of the invented fleet.
    Fleet,
    /// All: what the fleet lacks, something of it stands for.
    All,
}

/// The parameters of a template with their values in a path.
pub(super) fn parameters<'a>(operation: &'a Operation, path: &Segments<'_>) -> Vec<(&'a str, String)> {
    let pairs = operation.segments.iter().zip(path.iter());
    let parameter = |(part, segment): (&'a TemplateSegment, Segment<'_>)| match part {
        TemplateSegment::Literal(_) => None,
        TemplateSegment::Parameter(name, _) => Some((name.as_str(), segment.decoded().into_owned())),
    };
    pairs.filter_map(parameter).collect()
}

impl<'a> SandboxRequest<'a> {
    /// What the request is about: the thing that the first parameters name. It must exist.
    pub(super) fn anchor(&self) -> Result<Option<InventedThing<'a>>, SandboxRefusal> {
        Ok(self.named_by_path()?.map(|thing| self.leak.swap(thing)))
    }

    fn named_by_path(&self) -> Result<Option<InventedThing<'a>>, SandboxRefusal> {
        let template = self.operation.template.as_str();
        if let Some(location) = self.parameter("locationId").or_else(|| self.parameter("location_id")) {
            let organization = self.parameter("id").and_then(|id| self.find(IdList::Organization, id));
            let location = self.find(IdList::Location, location);
            let belongs = |organization: u32, location: u32| self.ids == KnownIds::All || organization == location;
            let matching = organization.zip(location).filter(|(o, l)| belongs(o.id, l.organization));
            return matching.map(|(_, location)| Some(location)).ok_or(SandboxRefusal::NotFound);
        }
        if let Some(condition) = self.parameter("condition_id") {
            let is_it = |id: &u32| self.ids == KnownIds::All || fleet::uid("id", *id).eq_ignore_ascii_case(condition);
            let mut rows = self.fleet.ids(IdList::Row).filter(is_it);
            return rows.next().map(|id| Some(self.fleet.thing(IdList::Row, id))).ok_or(SandboxRefusal::NotFound);
        }
        if let Some(document) = self.parameter("clientDocumentId")
            && let Some(organization) = self.parameter("organizationId")
        {
            let document = self.find(IdList::Row, document).ok_or(SandboxRefusal::NotFound)?;
            // Another organization's is shown as the first one of this organization.
            if document.organization.to_string() == organization {
                return Ok(Some(document));
            }
        }
        if let Some((kind, id)) = self.entity() {
            return self.find(kind, id).map(Some).ok_or(SandboxRefusal::NotFound);
        }
        let Some((name, value)) = self.parameters.first() else { return Ok(None) };
        let kind = match template {
            t if t.starts_with("/v2/device/{") || t.contains("{nodeId}") => IdList::Device,
            t if t.starts_with("/v2/organization/{") => IdList::Organization,
            t if t.starts_with("/v2/user/end-user/{") => IdList::EndUser,
            t if t.starts_with("/v2/user/technician/{") => IdList::Technician,
            t if t.starts_with("/v2/policies/{") => IdList::Policy,
            _ if name.to_ascii_lowercase().ends_with("id") && self.is_number(name) => IdList::Row,
            _ => return Ok(None),
        };
        self.find(kind, value).map(Some).ok_or(SandboxRefusal::NotFound)
    }

    fn find(&self, kind: IdList, id: &str) -> Option<InventedThing<'a>> {
        let known = existing(self.fleet, kind, id);
        known.or_else(|| stand_in(self.fleet, kind, id).filter(|_| self.ids == KnownIds::All))
    }

    /// What the path names by its type and its id.
    fn entity(&self) -> Option<(IdList, &str)> {
        let word = self.parameter("entityType").or_else(|| self.parameter("relEntityType"))?;
        let id = self.parameter("entityId").or_else(|| self.parameter("relEntityId"))?;
        Some((changes::kind_of_word(word), id))
    }

    fn is_number(&self, name: &str) -> bool {
        let is_it = |part: &TemplateSegment| matches!(part, TemplateSegment::Parameter(other, ParameterType::Integer) if other == name);
        // An id next to an entity type belongs to that entity's list, whichever it is.
        !name.contains("ntityId") && self.operation.segments.iter().any(is_it)
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(other, _)| *other == name).map(|(_, value)| value.as_str())
    }

    /// Fields that the path decides.
    pub(super) fn pins(&self) -> Vec<(&str, Value)> {
        // What is of another organization does not say that it is of this one.
        let is_lost = self.leak.has(LeakMode::Mix) || self.leak.has(LeakMode::Object);
        let is_told = |name: &str| name != "id" && !(is_lost && changes::kind_of_field(name).is_some());
        let named = self.parameters.iter().filter(|(name, _)| is_told(name));
        let mut pins: Vec<_> = named
            .map(|(name, value)| {
                let field = match *name {
                    "relatedEntityType" => "relEntityType",
                    "location_id" => "locationId",
                    "fieldName" => "name",
                    other => other,
                };
                (field, value.parse::<u64>().map_or_else(|_| json!(value), |number| json!(number)))
            })
            .collect();
        pins.extend(self.named_things());
        // Whatever the type, something has this id.
        for (type_field, id_field) in [("entityType", "entityId"), ("relEntityType", "relEntityId")] {
            let kind = pins.iter().find(|(field, _)| *field == type_field).map(|(_, kind)| kind.clone());
            if let Some(kind) = kind
                && pins.iter().all(|(field, _)| *field != id_field)
            {
                let first = if kind == "END_USER" { fleet::FIRST_END_USER } else { 1 };
                pins.push((id_field, json!(first)));
            }
        }
        pins
    }

    /// How the things that a stand-in has belong to what the path names.
    fn named_things(&self) -> impl Iterator<Item = (&str, Value)> {
        let fields: &[_] = match self.operation.template.as_str() {
            _ if self.ids == KnownIds::Fleet => &[],
            t if t.starts_with("/v2/device/{id}") => &["deviceId", "nodeId"],
            t if t.starts_with("/v2/organization/{id}") => &["organizationId", "clientId"],
            _ => &[],
        };
        let number = self.parameter("id").and_then(|id| id.parse::<u64>().ok());
        number.into_iter().flat_map(|number| fields.iter().map(move |field| (*field, json!(number))))
    }

    /// The thing that an object of this shape shows.
    pub(super) fn subject(&self, shape: &str, anchor: Option<InventedThing<'a>>) -> InventedThing<'a> {
        let kind = IdList::of(shape);
        let first_of = |organization: u32| self.fleet.things(kind).find(|one| one.organization == organization);
        match anchor {
            Some(anchor) if anchor.kind == kind => anchor,
            // What belongs to the whole organization.
            Some(anchor) if anchor.kind == IdList::Organization && kind == IdList::Row => {
                first_of(anchor.id).unwrap_or(anchor.within(shape))
            }
            Some(anchor) => anchor.within(shape),
            None => {
                let named = self.named_organizations();
                let first = self.fleet.thing(kind, kind.ids().next().unwrap_or(1));
                named.first().and_then(|organization| first_of(*organization)).unwrap_or(first)
            }
        }
    }

    /// The organizations that the query or, of a write, the body names.
    fn named_organizations(&self) -> BTreeSet<u32> {
        let names = ["organizationIds", "organizationId", "clientId"];
        let query =
            names.into_iter().find_map(|name| self.query.get(name)).filter(|_| !self.leak.has(LeakMode::Ignore));
        let query = query.map(|value| ("organizationId".to_owned(), value.to_owned()));
        let body = if self.operation.method == Method::GET { &Value::Null } else { &self.body };
        changes::named(self.fleet, self.operation, &[], query.as_slice(), body)
    }

    pub(super) fn members(&self, element: &str, anchor: Option<InventedThing<'a>>) -> Vec<InventedThing<'a>> {
        let kind = if element == "i" { IdList::Device } else { IdList::of(element) };
        if kind == IdList::Part
            && let Some(device) = anchor
        {
            return parts(self.fleet, element, device.device);
        }
        if let Some(owner) =
            anchor.filter(|owner| self.entity().is_some() || owner.kind == IdList::Row && element != "i")
        {
            let InventedThing { device, location, organization, .. } = owner;
            let own = self.fleet.things(kind).map(|one| InventedThing { device, location, organization, ..one });
            // Something is related to each entity, but not everything.
            return own
                .take(if owner.kind == IdList::Row && self.entity().is_none() { usize::MAX } else { 3 })
                .collect();
        }
        let named = self.named_organizations();
        let is_related = |one: &InventedThing<'_>| match anchor {
            Some(InventedThing { kind: IdList::Organization, id, .. }) => one.organization == id,
            Some(InventedThing { kind: IdList::Device, id, .. }) => one.device == id,
            Some(InventedThing { id, .. }) if element == "i" => one.id % 3 == id % 3,
            _ => named.is_empty() || named.contains(&one.organization),
        };
        let is_member = |one: &InventedThing<'_>| is_related(one) && self.selects(one) || self.leak.mixes_in(one);
        self.fleet.things(kind).filter(is_member).collect()
    }

    /// Whether the filters in the query let a member of a list pass.
    fn selects(&self, one: &InventedThing<'_>) -> bool {
        let of_type = one.kind.user_type();
        let wanted = self.query.get("userType").unwrap_or(of_type);
        let end_users_only = self.operation.template.ends_with("/end-users");
        let filter = self.query.get("df").or_else(|| self.query.get("of")).unwrap_or_default();
        (of_type.is_empty() || wanted == of_type)
            && (one.kind != IdList::Technician || !end_users_only)
            && (self.leak.has(LeakMode::Ignore) || DeviceFilter::parse(filter).admits(one))
    }
}

/// The rows that a report or a list has for one device. A switch has no disks and no software.
pub(super) fn parts<'a>(fleet: &'a Fleet, shape: &str, device: u32) -> Vec<InventedThing<'a>> {
    let agent = fleet.thing(IdList::Device, device).device_shape() == "AgentDevice";
    let count = match shape::aspect(shape) {
        "HealthSummary"
        | "DeviceHealthSummary"
        | "NodeAttributes"
        | "NodeAttributesDetailed"
        | "ScopedAttributes"
        | "ScopedAttributesDetailed"
        | "PolicyOverrides" => 1,
        _ if !agent => 0,
        "ComputerSystem" | "OperatingSystem" | "LoggedOnUser" | "AntivirusStatus" => 1,
        "Application" => 5,
        _ => 2,
    };
    (0..count).map(|n| InventedThing::part(fleet, device, n)).collect()
}

fn existing<'a>(fleet: &'a Fleet, kind: IdList, id: &str) -> Option<InventedThing<'a>> {
    let id = id.parse().ok()?;
    fleet.ids(kind).any(|other| other == id).then(|| fleet.thing(kind, id))
}
