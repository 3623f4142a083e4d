//! From an operation and what the request says to an answer of the declared shape.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::download::Download;
use super::filter::DeviceFilter;
use super::fleet::{self, Kind, Subject};
use super::paging::{self, Cursor};
use super::query::Query;
use super::refusal::Refusal;
use super::shape::{self, Invention, Outline, Shapes};
use crate::policy::catalog::{Operation, ParameterType, TemplateSegment};
use crate::policy::path::Segments;

/// The console's address; nothing answers there.
const CONSOLE: &str = "https://sandbox.ninjarmm.example";
/// Where signed URLs lead; nothing answers there.
const FILES: &str = "https://files.example.com";

/// What goes back.
#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    Json(u16, Value),
    Empty(u16),
    Redirect(String),
    Download(Download),
}

/// A request that may have an answer.
pub(super) struct Question<'a> {
    pub(super) operation: &'a Operation,
    /// The values of the template's parameters.
    pub(super) parameters: Vec<(&'a str, String)>,
    pub(super) query: &'a Query,
    /// The body if it was JSON and is of use, else null.
    pub(super) body: Value,
    /// Scheme and authority under which the caller sees the sandbox.
    pub(super) origin: &'a str,
}

/// The parameters of a template with their values in a path.
pub(super) fn parameters<'a>(operation: &'a Operation, path: &Segments<'_>) -> Vec<(&'a str, String)> {
    let pairs = operation.segments.iter().zip(path.as_slice());
    let parameter = |(part, segment): (&'a TemplateSegment, &crate::policy::path::Segment<'_>)| match part {
        TemplateSegment::Literal(_) => None,
        TemplateSegment::Parameter(name, _) => Some((name.as_str(), segment.decoded().to_owned())),
    };
    pairs.filter_map(parameter).collect()
}

impl Question<'_> {
    /// The answer, or why there is none.
    pub(super) fn answer(&self, shapes: &Shapes) -> Result<Answer, Refusal> {
        let name = format!("{} {}", self.operation.method, self.operation.template);
        let outline = shapes.outline(&name).ok_or(Refusal::NoSuchPath)?;
        let anchor = self.anchor()?;
        let invention = Invention { shapes, pins: self.pins() };
        Ok(match outline.kind {
            "" => Answer::Empty(outline.status),
            "bytes" => self.download(),
            "url" => Answer::Json(outline.status, json!(self.signed_url())),
            "DeviceLink" => self.dashboard(&invention, anchor),
            kind => Answer::Json(outline.status, self.body(kind, &outline, &invention, anchor)?),
        })
    }

    fn body(
        &self,
        kind: &str,
        outline: &Outline<'_>,
        invention: &Invention<'_>,
        anchor: Option<Subject>,
    ) -> Result<Value, Refusal> {
        if let Some(element) = kind.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            return Ok(self.list(element, outline, invention, anchor));
        }
        Ok(match kind {
            "M" => shape::custom_fields(&anchor.unwrap_or(Subject::new(Kind::Row, 1))),
            "ActivitiesResponse" | "NodeActivitiesResponse" => self.activities(invention, anchor),
            "DeviceSearchResults" => self.search(invention),
            "SupportPaginationResponse" => self.custom_field_page(invention),
            "TicketDashboardPublicApiDTO" => self.board(invention),
            report if outline.paging == "cursor" => self.report(report, invention)?,
            object => invention.of(object, self.subject(object, anchor)),
        })
    }

    /// What the request is about: the thing that the first parameters name. It must exist.
    fn anchor(&self) -> Result<Option<Subject>, Refusal> {
        let template = self.operation.template.as_str();
        if let Some(location) = self.parameter("locationId").or_else(|| self.parameter("location_id")) {
            let organization = self.parameter("id").and_then(|id| existing(Kind::Organization, id));
            let location = existing(Kind::Location, location);
            let matching = organization.zip(location).filter(|(o, l)| o.id == l.organization);
            return matching.map(|(_, location)| Some(location)).ok_or(Refusal::NotFound);
        }
        if let Some(condition) = self.parameter("condition_id") {
            let mut rows = Kind::Row.ids().filter(|id| fleet::uid("id", *id) == condition);
            return rows.next().map(|id| Some(Subject::new(Kind::Row, id))).ok_or(Refusal::NotFound);
        }
        let Some((name, value)) = self.parameters.first() else { return Ok(None) };
        let kind = match template {
            t if t.starts_with("/v2/device/{") || t.contains("{nodeId}") => Kind::Device,
            t if t.starts_with("/v2/organization/{") => Kind::Organization,
            t if t.starts_with("/v2/user/end-user/{") => Kind::EndUser,
            t if t.starts_with("/v2/user/technician/{") => Kind::Technician,
            t if t.starts_with("/v2/policies/{") => Kind::Policy,
            _ if name.to_ascii_lowercase().ends_with("id") && self.is_number(name) => Kind::Row,
            _ => return Ok(None),
        };
        existing(kind, value).map(Some).ok_or(Refusal::NotFound)
    }

    fn is_number(&self, name: &str) -> bool {
        let is_it = |part: &TemplateSegment| matches!(part, TemplateSegment::Parameter(other, ParameterType::Integer) if other == name);
        // An id beside an entity type counts in that entity's list, whichever it is.
        !name.contains("ntityId") && self.operation.segments.iter().any(is_it)
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(other, _)| *other == name).map(|(_, value)| value.as_str())
    }

    /// Fields that the path decides.
    fn pins(&self) -> Vec<(&str, Value)> {
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
        if let Some(text) = self.query.get("q") {
            pins.push(("query", json!(text)));
        }
        pins
    }

    /// The thing that an object of this shape shows.
    fn subject(&self, shape: &str, anchor: Option<Subject>) -> Subject {
        let kind = Kind::of(shape);
        match anchor {
            Some(anchor) if anchor.kind == kind => anchor,
            Some(anchor) => anchor.within(shape),
            None => Subject::new(kind, kind.ids().next().unwrap_or(1)),
        }
    }

    fn list(&self, element: &str, outline: &Outline<'_>, invention: &Invention<'_>, anchor: Option<Subject>) -> Value {
        let members = self.members(element, anchor);
        let members = match outline.paging {
            "after" => paging::after(members, self.query, "after"),
            "anchor" => paging::after(members, self.query, "anchorId"),
            "anchor-natural" => paging::after(members, self.query, "anchorNaturalId"),
            _ => members,
        };
        let detailed = element == "Device";
        let show = |subject: Subject| match element {
            "i" => json!(subject.id),
            "s" => json!(format!("assetNote{}", subject.id)),
            _ if detailed => invention.of(subject.device_shape(), subject),
            _ => invention.of(element, subject),
        };
        members.into_iter().map(show).collect()
    }

    fn members(&self, element: &str, anchor: Option<Subject>) -> Vec<Subject> {
        let kind = if element == "i" { Kind::Device } else { Kind::of(element) };
        if kind == Kind::Part
            && let Some(device) = anchor
        {
            return parts(element, device.device);
        }
        let all = kind.ids().map(|id| Subject::new(kind, id));
        let related = all.filter(|one| match anchor {
            Some(Subject { kind: Kind::Organization, id, .. }) => one.organization == id,
            Some(Subject { kind: Kind::Device, id, .. }) => one.device == id,
            Some(Subject { id, .. }) if element == "i" => one.id % 3 == id % 3,
            _ => true,
        });
        let mut members: Vec<_> = related.filter(|one| self.selects(one)).collect();
        if self.parameter("entityId").or_else(|| self.parameter("relEntityId")).is_some() {
            members.truncate(3);
        }
        members
    }

    /// Whether the filters in the query let a member of a list pass.
    fn selects(&self, one: &Subject) -> bool {
        let of_type = match one.kind {
            Kind::EndUser => "END_USER",
            Kind::Technician => "TECHNICIAN",
            _ => "",
        };
        let wanted = self.query.get("userType").unwrap_or(of_type);
        let end_users_only = self.operation.template.ends_with("/end-users");
        let filter = self.query.get("df").or_else(|| self.query.get("of")).unwrap_or_default();
        (of_type.is_empty() || wanted == of_type)
            && (one.kind != Kind::Technician || !end_users_only)
            && DeviceFilter::parse(filter).admits(one)
    }

    fn activities(&self, invention: &Invention<'_>, anchor: Option<Subject>) -> Value {
        let members = self.members("Activity", anchor);
        let last = members.last().map(|newest| newest.id);
        let page = paging::back_in_time(members, self.query);
        let rows: Value = page.into_iter().map(|one| invention.of("Activity", one)).collect();
        let mut answer = json!({ "lastActivityId": fleet::ACTIVITIES, "activities": rows });
        if let (Some(fields), Some(_)) = (answer.as_object_mut(), anchor) {
            fields.insert("lastNodeActivityId".to_owned(), json!(last));
        }
        answer
    }

    fn search(&self, invention: &Invention<'_>) -> Value {
        let text = self.query.get("q").unwrap_or_default().to_ascii_lowercase();
        let limit = self.query.number("limit").unwrap_or(100) as usize;
        let devices = self.members("Device", None).into_iter().map(|one| invention.of("DeviceSearchMatch", one));
        let matching = devices.filter(|device| {
            device.get("displayName").and_then(Value::as_str).is_some_and(|name| name.contains(&text))
        });
        let devices: Value = matching.take(limit).collect();
        json!({ "query": text, "devices": devices })
    }

    fn custom_field_page(&self, invention: &Invention<'_>) -> Value {
        let size = self.query.number("pageSize").unwrap_or(500).max(1) as usize;
        let page = self.query.number("cursorName").unwrap_or(0) as usize;
        let members = self.members("AttributePublicApiDTO", None).into_iter();
        let rows = members.skip(page.saturating_mul(size)).take(size);
        let rows: Vec<_> = rows.map(|one| invention.of("AttributePublicApiDTO", one)).collect();
        json!({ "page": page, "pageSize": size, "count": rows.len(), "results": rows })
    }

    /// A page of a ticket board: its size and start stand in the body.
    fn board(&self, invention: &Invention<'_>) -> Value {
        let number = |name: &str| self.body.get(name).and_then(Value::as_u64);
        let last = number("lastCursorId").unwrap_or(0);
        let size = number("pageSize").unwrap_or(100) as usize;
        let tickets = Kind::Row.ids().filter(|id| u64::from(*id) > last).take(size);
        let rows: Vec<_> = tickets.map(|id| invention.of("TicketDTO", Subject::new(Kind::Row, id))).collect();
        let mut metadata = invention.of("TicketMetadata", Subject::new(Kind::Row, 1));
        if let Some(fields) = metadata.as_object_mut() {
            let newest = rows.last().and_then(|row| row.get("id")).cloned();
            fields.insert("lastCursorId".to_owned(), newest.unwrap_or(json!(last)));
        }
        json!({ "data": rows, "metadata": metadata })
    }

    fn report(&self, name: &str, invention: &Invention<'_>) -> Result<Value, Refusal> {
        let cursor = Cursor::of(self.query).ok_or(Refusal::UnknownCursor)?;
        let row = invention.shapes.element(name, "results").ok_or(Refusal::NoSuchPath)?;
        let filter = DeviceFilter::parse(&cursor.filter);
        let devices = Kind::Device.ids().map(|id| Subject::new(Kind::Device, id)).filter(|one| filter.admits(one));
        let rows = devices.flat_map(|device| match Kind::of(row) {
            Kind::Device => vec![device],
            _ => parts(row, device.id),
        });
        let (page, cursor) = cursor.cut(rows.collect(), now());
        let results: Value = page.into_iter().map(|subject| invention.of(row, subject)).collect();
        Ok(json!({ "cursor": cursor, "results": results }))
    }

    fn dashboard(&self, invention: &Invention<'_>, anchor: Option<Subject>) -> Answer {
        let device = anchor.map_or(1, |device| device.device);
        let url = format!("{CONSOLE}/#/deviceDashboard/{device}/overview");
        if self.query.is_true("redirect") {
            return Answer::Redirect(url);
        }
        let mut link = invention.of("DeviceLink", Subject::new(Kind::Device, device));
        if let Some(fields) = link.as_object_mut() {
            fields.insert("url".to_owned(), json!(url));
        }
        Answer::Json(200, link)
    }

    fn download(&self) -> Answer {
        match self.query.get("redirect") {
            Some("true") => Answer::Redirect(self.signed_url()),
            Some("self") => {
                let id = self.parameters.first().map_or("1", |(_, id)| id.as_str());
                Answer::Redirect(format!("{}/v2/attachment/{id}", self.origin))
            }
            _ => Answer::Download(Download::new(self.query.number("size"), self.query.is_true("chunked"))),
        }
    }

    /// A URL that would work without a token if there were anything behind it.
    fn signed_url(&self) -> String {
        let ids: Vec<_> = self.parameters.iter().map(|(_, value)| value.as_str()).collect();
        let path = ids.join("/");
        let signature = fleet::mix(&path, 0);
        format!("{FILES}/{path}?expires=1800000000&signature={signature:016x}")
    }
}

/// The rows that a report or a list has for one device. A switch has no disks and no software.
fn parts(shape: &str, device: u32) -> Vec<Subject> {
    let agent = Subject::new(Kind::Device, device).device_shape() == "AgentDevice";
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
    (0..count).map(|n| Subject::part(device, n)).collect()
}

fn existing(kind: Kind, id: &str) -> Option<Subject> {
    let id = id.parse().ok()?;
    kind.ids().any(|other| other == id).then(|| Subject::new(kind, id))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
