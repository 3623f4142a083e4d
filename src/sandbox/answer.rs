//! From a question to an answer of the declared shape.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::download::SizedBody;
use super::filter::DeviceFilter;
use super::fleet::{self, IdList, InventedThing};
use super::invention::{self, Invention};
use super::leak::LeakMode;
use super::marks;
use super::paging;
use super::question::{SandboxRequest, parts};
use super::refusal::SandboxRefusal;
use super::shape::{Outline, Shapes};

/// The console's address; nothing answers there.
const CONSOLE: &str = "https://sandbox.ninjarmm.example";
/// Where signed URLs lead; nothing answers there.
const FILES: &str = "https://files.example.com";

/// What goes back.
#[derive(Debug, PartialEq)]
pub(super) enum SandboxAnswer {
    Json(u16, Value),
    Empty(u16),
    Redirect(String),
    Download(SizedBody),
}

impl SandboxRequest<'_> {
    /// The answer, or why there is none.
    pub(super) fn answer(&self, shapes: &Shapes) -> Result<SandboxAnswer, SandboxRefusal> {
        let name = format!("{} {}", self.operation.method, self.operation.template);
        let outline = shapes.outline(&name).ok_or(SandboxRefusal::NoSuchPath)?;
        let anchor = self.anchor()?;
        let invention = Invention { shapes, pins: self.pins(), leak: self.leak };
        Ok(match outline.kind {
            "" => SandboxAnswer::Empty(outline.status),
            "bytes" => self.download(anchor),
            "url" => SandboxAnswer::Json(outline.status, json!(self.signed_url(anchor))),
            "DeviceLink" => self.dashboard(&invention, anchor),
            kind => SandboxAnswer::Json(outline.status, self.body(kind, &outline, &invention, anchor)?),
        })
    }

    fn body(
        &self,
        kind: &str,
        outline: &Outline<'_>,
        invention: &Invention<'_>,
        anchor: Option<InventedThing<'_>>,
    ) -> Result<Value, SandboxRefusal> {
        if let Some(element) = kind.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            return Ok(self.list(element, outline, invention, anchor));
        }
        Ok(match kind {
            "M" => {
                let subject = anchor.unwrap_or(self.fleet.thing(IdList::Row, 1));
                // Those of the whole tenant are nobody's.
                invention::custom_fields(&subject, anchor.is_some() && self.leak.has(LeakMode::Marks))
            }
            "ActivitiesResponse" | "NodeActivitiesResponse" => self.activities(invention, anchor),
            "DeviceSearchResults" => self.search(invention),
            "SupportPaginationResponse" => self.custom_field_page(invention),
            "TicketDashboardPublicApiDTO" => self.board(invention),
            report if outline.paging == "cursor" => self.report(report, invention)?,
            object => {
                let subject = self.subject(object, anchor);
                invention.of(detailed(object, &subject), subject)
            }
        })
    }

    fn list(
        &self,
        element: &str,
        outline: &Outline<'_>,
        invention: &Invention<'_>,
        anchor: Option<InventedThing<'_>>,
    ) -> Value {
        let members = self.members(element, anchor);
        let members = match outline.paging {
            "after" => paging::after(members, self.query, "after"),
            "anchor" => paging::after(members, self.query, "anchorId"),
            "anchor-natural" => paging::after(members, self.query, "anchorNaturalId"),
            _ => members,
        };
        let show = |subject: InventedThing<'_>| match element {
            "i" => json!(subject.id),
            "s" => json!(format!("assetNote{}", subject.id)),
            _ => invention.of(detailed(element, &subject), subject),
        };
        members.into_iter().map(show).collect()
    }

    fn activities(&self, invention: &Invention<'_>, anchor: Option<InventedThing<'_>>) -> Value {
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

    /// A page of a ticket board: its size and start are in the body.
    fn board(&self, invention: &Invention<'_>) -> Value {
        let number = |name: &str| self.body.get(name).and_then(Value::as_u64);
        let last = number("lastCursorId").unwrap_or(0);
        let size = number("pageSize").unwrap_or(100) as usize;
        let tickets = self.fleet.things(IdList::Row).filter(|ticket| u64::from(ticket.id) > last).take(size);
        let rows: Vec<_> = tickets.map(|ticket| invention.of("TicketDTO", ticket)).collect();
        let mut metadata = invention.of("TicketMetadata", self.fleet.thing(IdList::Row, 1));
        if let Some(fields) = metadata.as_object_mut() {
            let newest = rows.last().and_then(|row| row.get("id")).cloned();
            fields.insert("lastCursorId".to_owned(), newest.unwrap_or(json!(last)));
        }
        json!({ "data": rows, "metadata": metadata })
    }

    fn report(&self, name: &str, invention: &Invention<'_>) -> Result<Value, SandboxRefusal> {
        let page = self.cursors.next(self.query, now()).ok_or(SandboxRefusal::UnknownCursor)?;
        let row = invention.shapes.element(name, "results").ok_or(SandboxRefusal::NoSuchPath)?;
        let filter = DeviceFilter::parse(&page.filter);
        let is_in =
            |one: &InventedThing<'_>| self.leak.has(LeakMode::Ignore) || filter.admits(one) || self.leak.mixes_in(one);
        let devices = self.fleet.things(IdList::Device).filter(is_in);
        let whole = IdList::of(row) == IdList::Device;
        let rows = devices.flat_map(|device| if whole { vec![device] } else { parts(self.fleet, row, device.id) });
        let (subjects, cursor) = page.cut(rows.collect());
        let results: Value = subjects.into_iter().map(|subject| invention.of(row, subject)).collect();
        Ok(json!({ "cursor": cursor, "results": results }))
    }

    fn dashboard(&self, invention: &Invention<'_>, anchor: Option<InventedThing<'_>>) -> SandboxAnswer {
        let device = anchor.map_or(1, |device| device.device);
        let url = self.marked(format!("{CONSOLE}/#/deviceDashboard/{device}/overview"), anchor);
        if self.query.is_true("redirect") {
            return SandboxAnswer::Redirect(url);
        }
        let mut link = invention.of("DeviceLink", self.fleet.thing(IdList::Device, device));
        if let Some(fields) = link.as_object_mut() {
            fields.insert("url".to_owned(), json!(url));
        }
        SandboxAnswer::Json(200, link)
    }

    fn download(&self, anchor: Option<InventedThing<'_>>) -> SandboxAnswer {
        match self.query.get("redirect") {
            Some("true") => SandboxAnswer::Redirect(self.signed_url(anchor)),
            Some("self") => {
                let id = self.parameters.first().map_or("1", |(_, id)| id.as_str());
                SandboxAnswer::Redirect(format!("{}/v2/attachment/{id}", self.origin))
            }
            _ => SandboxAnswer::Download(SizedBody::new(self.query.number("size"), self.query.is_true("chunked"))),
        }
    }

    fn marked(&self, url: String, anchor: Option<InventedThing<'_>>) -> String {
        let owner = anchor.filter(|_| self.leak.has(LeakMode::Marks));
        owner.map_or_else(|| url.clone(), |owner| marks::text(&url, owner.organization))
    }

    /// A URL that would work without a token if there were anything behind it.
    fn signed_url(&self, anchor: Option<InventedThing<'_>>) -> String {
        let ids: Vec<_> = self.parameters.iter().map(|(_, value)| value.as_str()).collect();
        let path = ids.join("/");
        let signature = fleet::mix(&path, 0);
        self.marked(format!("{FILES}/{path}?expires=1800000000&signature={signature:016x}"), anchor)
    }
}

/// A device is shown with all that its class has.
fn detailed<'a>(shape: &'a str, subject: &InventedThing<'_>) -> &'a str {
    if shape == "Device" { subject.device_shape() } else { shape }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
