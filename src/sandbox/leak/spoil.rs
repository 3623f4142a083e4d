//! Rows and bytes that no client should believe.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use serde_json::{Map, Value, json};

use super::{Leak, LeakMode};
use crate::sandbox::download::SandboxBody;
use crate::sandbox::fleet::{IdList, InventedThing, ORGANIZATIONS};
use crate::sandbox::marks;

/// Fields that say whose a row is, or which row it is.
const KEYS: [&str; 10] = [
    "organizationId",
    "clientId",
    "deviceId",
    "nodeId",
    "licenseeOrganizationId",
    "licenseeId",
    "locationId",
    "entityId",
    "id",
    "uid",
];
/// Fields of an answer that hold its rows.
const LISTS: [&str; 5] = ["results", "activities", "devices", "data", "tags"];
/// How long a row gets, in bytes.
const HUGE: usize = 10_000_000;
/// What a second field of the same name has before its name until the answer is text: one sorts before all names, one
/// after all.
const SECOND: [&str; 2] = ["\u{1}", "\u{7f}"];

/// Adds a reference to something of the next organization, in one of six forms.
pub(super) fn nest(row: &mut Value, subject: &InventedThing<'_>, marked: bool) {
    let Some(fields) = row.as_object_mut() else { return };
    let organization = subject.fleet.thing(IdList::Organization, 1 + subject.organization % ORGANIZATIONS);
    let mut devices = subject.fleet.things(IdList::Device);
    let Some(device) = devices.find(|device| device.organization == organization.id) else { return };
    let text = |thing: &InventedThing<'_>, field| match thing.fact("", field) {
        Some(Value::String(name)) if marked => marks::text(&name, thing.organization),
        Some(Value::String(name)) => name,
        _ => String::new(),
    };
    let (name, device_name) = (text(&organization, "name"), text(&device, "displayName"));
    let (organization, device) = (organization.id, device.id);
    let (field, value) = match subject.id / 2 % 6 {
        0 => ("references", json!({ "organization": { "id": organization, "name": name } })),
        1 => ("device", json!({ "id": device, "displayName": device_name, "organizationId": organization })),
        2 => ("linkedTo", json!({ "clientId": organization, "clientName": name })),
        3 => ("related", json!([{ "entityType": "NODE", "entityId": device, "name": device_name }])),
        4 => ("seenWith", json!({ "deviceIds": [device], "names": [device_name] })),
        _ => ("history", json!([{ "was": { "nodeId": device, "nodeName": device_name } }])),
    };
    fields.insert(field.to_owned(), value);
}

/// The answer, with what was ordered done to its rows and its bytes.
pub(super) fn response(leak: &Leak, status: StatusCode, mut value: Value) -> Response<SandboxBody> {
    for (i, row) in rows(&mut value).into_iter().enumerate() {
        spoil_row(leak, i, row);
    }
    let mut text = value.to_string();
    if leak.has(LeakMode::Duplicate) {
        text = text.replace("\"\\u0001", "\"").replace("\"\u{7f}", "\"");
    }
    let mut kind = "application/json";
    if leak.has(LeakMode::Html) {
        kind = "text/html";
        // Angle brackets in invented texts do no harm here.
        text = format!("<!DOCTYPE html><title>Maintenance</title><pre>{text}</pre>");
    }
    let mut response = Response::new(SandboxBody::empty());
    let bytes = encoded(leak, &text, response.headers_mut());
    *response.body_mut() = SandboxBody::Whole(Some(Bytes::from(bytes)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// The rows of an answer; an object is its only row.
fn rows(answer: &mut Value) -> Vec<&mut Value> {
    let list = LISTS.into_iter().find(|field| answer.get(field).is_some_and(Value::is_array));
    match (answer, list) {
        (Value::Array(rows), _) => rows.iter_mut().collect(),
        (answer, Some(field)) => answer.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten().collect(),
        (answer, None) => vec![answer],
    }
}

fn spoil_row(leak: &Leak, i: usize, row: &mut Value) {
    if i == 1 && leak.has(LeakMode::Huge) {
        grow(row);
    }
    let Some(fields) = row.as_object_mut().filter(|_| i.is_multiple_of(2)) else { return };
    if leak.has(LeakMode::Missing) {
        fields.retain(|name, _| !KEYS.contains(&name.as_str()));
    }
    for (_, value) in fields.iter_mut().filter(|(name, _)| KEYS.contains(&name.as_str())) {
        if leak.has(LeakMode::Null) {
            *value = Value::Null;
        } else if leak.has(LeakMode::Text)
            && let Some(number) = value.as_u64()
        {
            *value = json!(number.to_string());
        } else if leak.has(LeakMode::Float)
            && let Some(number) = value.as_f64()
        {
            *value = json!(number + if i.is_multiple_of(4) { 0.0 } else { 0.25 });
        }
    }
    if leak.has(LeakMode::Duplicate) {
        duplicate(fields, if i.is_multiple_of(4) { SECOND[0] } else { SECOND[1] });
    }
}

/// Adds each number that says whose the row is a second time, with another value.
fn duplicate(fields: &mut Map<String, Value>, before: &str) {
    let numbers = fields.iter().filter(|(name, _)| KEYS.contains(&name.as_str()));
    let numbers = numbers.filter_map(|(name, value)| Some((name, value.as_u64()?)));
    // Organization 1 and device 1 belong together.
    let second = numbers.map(|(name, number)| (format!("{before}{name}"), json!(if number == 1 { 2 } else { 1 })));
    let second: Vec<_> = second.collect();
    fields.extend(second);
}

fn grow(row: &mut Value) {
    let text = json!("x".repeat(HUGE));
    match row.as_object_mut() {
        Some(fields) => _ = fields.insert("huge".to_owned(), text),
        None => *row = text,
    }
}

fn encoded(leak: &Leak, text: &str, headers: &mut http::HeaderMap) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    if leak.has(LeakMode::Cut) {
        bytes.truncate(bytes.len() * 2 / 3);
    }
    if leak.has(LeakMode::Bom) {
        bytes.splice(..0, *b"\xef\xbb\xbf");
    }
    if leak.has(LeakMode::Utf16) {
        bytes = std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    }
    if leak.has(LeakMode::Compressed)
        && let Some(packed) = gzip(&bytes)
    {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        bytes = packed;
    }
    bytes
}

fn gzip(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).ok()?;
    encoder.finish().ok()
}
