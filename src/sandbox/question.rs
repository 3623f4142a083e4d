//! What a request asks of an operation: its parameters, the things they name, and the filters.

use serde_json::{Value, json};

use super::filter::DeviceFilter;
use super::fleet::{self, IdList, InventedThing};
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

impl SandboxRequest<'_> {
    /// What the request is about: the thing that the first parameters name. It must exist.
    pub(super) fn anchor(&self) -> Result<Option<InventedThing>, SandboxRefusal> {
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
            let mut rows = IdList::Row.ids().filter(is_it);
            return rows.next().map(|id| Some(InventedThing::new(IdList::Row, id))).ok_or(SandboxRefusal::NotFound);
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

    fn find(&self, kind: IdList, id: &str) -> Option<InventedThing> {
        match self.ids {
            KnownIds::Fleet => existing(kind, id),
            KnownIds::All => existing(kind, id).or_else(|| stand_in(kind, id)),
        }
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
        let named = self.parameters.iter().filter(|(name, _)| *name != "id");
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
    pub(super) fn subject(&self, shape: &str, anchor: Option<InventedThing>) -> InventedThing {
        let kind = IdList::of(shape);
        match anchor {
            Some(anchor) if anchor.kind == kind => anchor,
            Some(anchor) => anchor.within(shape),
            None => InventedThing::new(kind, kind.ids().next().unwrap_or(1)),
        }
    }

    pub(super) fn members(&self, element: &str, anchor: Option<InventedThing>) -> Vec<InventedThing> {
        let kind = if element == "i" { IdList::Device } else { IdList::of(element) };
        if kind == IdList::Part
            && let Some(device) = anchor
        {
            return parts(element, device.device);
        }
        let all = kind.ids().map(|id| InventedThing::new(kind, id));
        let related = all.filter(|one| match anchor {
            Some(InventedThing { kind: IdList::Organization, id, .. }) => one.organization == id,
            Some(InventedThing { kind: IdList::Device, id, .. }) => one.device == id,
            Some(InventedThing { id, .. }) if element == "i" => one.id % 3 == id % 3,
            _ => true,
        });
        let mut members: Vec<_> = related.filter(|one| self.selects(one)).collect();
        if self.parameter("entityId").or_else(|| self.parameter("relEntityId")).is_some() {
            members.truncate(3);
        }
        members
    }

    /// Whether the filters in the query let a member of a list pass.
    fn selects(&self, one: &InventedThing) -> bool {
        let of_type = one.kind.user_type();
        let wanted = self.query.get("userType").unwrap_or(of_type);
        let end_users_only = self.operation.template.ends_with("/end-users");
        let filter = self.query.get("df").or_else(|| self.query.get("of")).unwrap_or_default();
        (of_type.is_empty() || wanted == of_type)
            && (one.kind != IdList::Technician || !end_users_only)
            && DeviceFilter::parse(filter).admits(one)
    }
}

/// The rows that a report or a list has for one device. A switch has no disks and no software.
pub(super) fn parts(shape: &str, device: u32) -> Vec<InventedThing> {
    let agent = InventedThing::new(IdList::Device, device).device_shape() == "AgentDevice";
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
    (0..count).map(|n| InventedThing::part(device, n)).collect()
}

fn existing(kind: IdList, id: &str) -> Option<InventedThing> {
    let id = id.parse().ok()?;
    kind.ids().any(|other| other == id).then(|| InventedThing::new(kind, id))
}
