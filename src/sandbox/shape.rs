//! The shapes of answers, read from a compact notation of our own, and values invented to fill them.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::fleet::{self, Kind, Subject};

const SHAPES: &str = include_str!("shapes.txt");
const WORDS: &str = include_str!("words.txt");
/// No shape nests deeper; a mistake in the data must not overflow the stack.
const MAX_DEPTH: usize = 12;

/// The lines of both data files by their first words; nothing is parsed before it is asked for.
pub(super) struct Shapes {
    lines: HashMap<&'static str, &'static str>,
    words: HashMap<&'static str, &'static str>,
}

/// What an operation answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outline<'a> {
    /// The status of success.
    pub(super) status: u16,
    /// The kind of the body; empty for an empty body.
    pub(super) kind: &'a str,
    /// How the list is paged; empty if it is not.
    pub(super) paging: &'a str,
}

impl Shapes {
    pub(super) fn built_in() -> Self {
        let lines = content(SHAPES).filter_map(|line| match line.split_once(' ')? {
            ("GET" | "POST" | "PUT" | "PATCH" | "DELETE", rest) => {
                let end = line.len() - rest.len() + rest.find(' ')?;
                Some((line.get(..end)?, line.get(end + 1..)?))
            }
            shape => Some(shape),
        });
        Self { lines: lines.collect(), words: content(WORDS).filter_map(|line| line.split_once(' ')).collect() }
    }

    /// What `METHOD TEMPLATE` answers; `None` if no line says it.
    pub(super) fn outline(&self, operation: &str) -> Option<Outline<'static>> {
        let mut columns = self.lines.get(operation)?.split(' ').map(|column| if column == "-" { "" } else { column });
        Some(Outline { status: columns.next()?.parse().ok()?, kind: columns.next()?, paging: columns.next()? })
    }

    /// The fields of a shape with their kinds, or the words of a named enumeration.
    fn definition(&self, name: &str) -> Option<&'static str> {
        self.lines.get(name).copied()
    }

    /// The kind of the elements of a list field.
    pub(super) fn element(&self, shape: &str, field: &str) -> Option<&'static str> {
        let fields = self.definition(shape)?.split(' ').filter_map(|field| field.split_once(':'));
        let kind = fields.into_iter().find(|(name, _)| *name == field)?.1;
        kind.strip_prefix('[')?.strip_suffix(']')
    }

    /// One of the words for a field of a shape.
    fn word(&self, shape: &str, field: &str, subject: &Subject) -> Option<String> {
        let words = self.words.get(format!("{shape}.{field}").as_str()).or_else(|| self.words.get(field))?;
        Some(choose(words, field, subject).replace("{n}", &subject.id.to_string()))
    }
}

fn content(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// Always the same word of a list for the same field of the same thing; neighbours differ.
fn choose(words: &'static str, field: &str, subject: &Subject) -> &'static str {
    let count = words.split('|').count() as u64;
    let n = (u64::from(subject.id) + fleet::mix(field, 0) % count) % count;
    words.split('|').nth(n as usize).unwrap_or(words)
}

/// Values for shapes. What the request's path says about a field goes before all that is invented.
pub(super) struct Invention<'a> {
    pub(super) shapes: &'a Shapes,
    /// Field names with their values, from the path.
    pub(super) pins: Vec<(&'a str, Value)>,
}

impl Invention<'_> {
    /// A value of `kind` for the subject.
    pub(super) fn of(&self, kind: &str, subject: Subject) -> Value {
        self.value(kind, &Place { shape: "", field: "", depth: 0 }, subject)
    }

    fn value(&self, kind: &str, place: &Place<'_>, subject: Subject) -> Value {
        if let Some(words) = kind.strip_prefix('=') {
            return self.known(place, &subject).unwrap_or_else(|| json!(enumerated(words, place.field, &subject)));
        }
        if let Some(element) = kind.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            return self.known(place, &subject).unwrap_or_else(|| self.list(element, place, subject));
        }
        match self.shapes.definition(kind) {
            Some(words) if words.starts_with('=') => self.value(words, place, subject),
            Some(fields) => self.object(kind, fields, place, subject),
            None => match self.known(place, &subject) {
                // Some ids are numbers in one shape and text or a UUID in another.
                Some(Value::Number(_)) if kind == "u" || kind == "s" => json!(fleet::uid(place.field, subject.id)),
                Some(value) => value,
                None => self.scalar(kind, place, &subject),
            },
        }
    }

    /// What the path or the fleet says.
    fn known(&self, place: &Place<'_>, subject: &Subject) -> Option<Value> {
        let pin = self.pins.iter().find(|(field, _)| *field == place.field);
        pin.map(|(_, value)| value.clone()).or_else(|| subject.fact(place.aspect(), place.field))
    }

    fn object(&self, name: &str, fields: &str, place: &Place<'_>, subject: Subject) -> Value {
        if place.depth > MAX_DEPTH {
            return json!({});
        }
        let subject = if place.depth == 0 { subject } else { subject.within(name) };
        let fields = fields.split(' ').filter_map(|field| field.split_once(':'));
        let object: Map<_, _> = fields
            .map(|(field, kind)| {
                let inner = Place { shape: name, field, depth: place.depth + 1 };
                (field.to_owned(), self.value(kind, &inner, subject))
            })
            .collect();
        Value::Object(object)
    }

    fn list(&self, element: &str, place: &Place<'_>, subject: Subject) -> Value {
        let subjects: Vec<_> = match Kind::of(element) {
            Kind::Location => Kind::Location
                .ids()
                .map(|id| Subject::new(Kind::Location, id))
                .filter(|location| location.organization == subject.organization)
                .collect(),
            _ if element == "NodeRolePolicyAssignment" => {
                Kind::Role.ids().map(|id| Subject { id, ..subject.element(0) }).collect()
            }
            _ => (0..2).map(|n| subject.element(n)).collect(),
        };
        let inner = Place { depth: place.depth.max(1), ..*place };
        let mut values: Vec<_> = subjects.into_iter().map(|one| self.value(element, &inner, one)).collect();
        values.dedup();
        Value::Array(values)
    }

    fn scalar(&self, kind: &str, place: &Place<'_>, subject: &Subject) -> Value {
        let noise = fleet::mix(place.field, subject.id);
        let word = || self.shapes.word(place.aspect(), place.field, subject);
        match kind {
            "b" => json!(flag(place.field, noise)),
            "u" => json!(fleet::uid(place.field, subject.id)),
            "t" => json!(time(place.field, noise)),
            "d" => json!(format!("2025-{:02}-{:02}T08:30:00Z", 1 + noise % 9, 1 + noise % 28)),
            "i" => json!(word().and_then(|word| word.parse().ok()).unwrap_or_else(|| integer(place.field, noise))),
            "n" => json!(word().and_then(|word| word.parse().ok()).unwrap_or_else(|| (noise % 1000) as f64 / 10.0)),
            "s" => json!(word().unwrap_or_else(|| text(place.field, subject))),
            "M" => custom_fields(subject),
            _ => json!({}),
        }
    }
}

/// Where in an answer a value stands.
struct Place<'a> {
    shape: &'a str,
    field: &'a str,
    depth: usize,
}

impl Place<'_> {
    fn aspect(&self) -> &str {
        aspect(self.shape)
    }
}

/// A shape's name without the mark of a report's row: `DeviceVolume` shows the volume.
pub(super) fn aspect(shape: &str) -> &str {
    match shape.strip_prefix("Device") {
        None | Some("" | "HealthSummary" | "SearchMatch") => shape,
        Some("NetworkInterfaces") => "NetworkInterface",
        Some(aspect) => aspect,
    }
}

/// A word of an enumeration. The entity types name what the ids beside them count: the first word does.
fn enumerated(words: &str, field: &str, subject: &Subject) -> String {
    let fixed = matches!(field, "entityType" | "relEntityType" | "scope" | "definitionScope" | "nodeClass");
    let count = if fixed { 1 } else { words.split('|').count() as u64 };
    let n = (u64::from(subject.id) + fleet::mix(field, 0)) % count;
    words.split('|').nth(n as usize).unwrap_or(words).to_owned()
}

fn flag(field: &str, noise: u64) -> bool {
    match field {
        "enabled" | "active" | "shared" | "publicEntry" | "permitted" | "smartCapable" => true,
        "archived" | "isArchived" | "deleted" | "expired" | "system" | "mustChangePw" | "scimUser" | "folder"
        | "isFolder" | "inherited" | "overridden" | "virtualMachine" | "isNinjaArticle" => false,
        _ => noise.is_multiple_of(2),
    }
}

/// Epoch seconds with a fraction, as NinjaOne writes them: 2025, and later for what ends.
fn time(field: &str, noise: u64) -> f64 {
    let ends = ["end", "expir", "due"].iter().any(|word| field.to_ascii_lowercase().contains(word));
    let base = if ends { 1_800_000_000 } else { 1_750_000_000 };
    (base + noise % 10_000_000) as f64 + (noise % 1000) as f64 / 1000.0
}

fn integer(field: &str, noise: u64) -> u64 {
    let name = field.to_ascii_lowercase();
    if name.ends_with("userid") || name.ends_with("contactid") || name == "techniciantagged" {
        return 1 + noise % u64::from(fleet::TECHNICIANS);
    }
    if name.ends_with("ids") || name.ends_with("id") {
        return 1 + noise % u64::from(fleet::ORGANIZATIONS);
    }
    if name.ends_with("size") || name.contains("bytes") {
        return noise % 1_000_000_000_000;
    }
    if name.ends_with("date") {
        return 1_750_000_000_000 + noise % 10_000_000_000;
    }
    noise % 10
}

fn text(field: &str, subject: &Subject) -> String {
    let (id, host) = (subject.id, 1 + subject.device % 250);
    let name = field.to_ascii_lowercase();
    if name.ends_with("email") || name == "emails" || name == "naturalid" {
        format!("contact{id}@example.org")
    } else if name.contains("phone") {
        format!("+1-202-555-01{:02}", id % 100)
    } else if name == "url" {
        format!("https://files.example.com/{id}")
    } else if name == "publicip" {
        format!("203.0.113.{host}")
    } else if name.contains("ipaddress") {
        format!("192.0.2.{host}")
    } else if name.contains("macaddress") {
        // The range that RFC 7042 sets aside for documents.
        format!("00:00:5E:00:53:{host:02X}")
    } else {
        format!("{} {id}", spaced(field))
    }
}

/// `conditionName` as `Condition name`.
fn spaced(field: &str) -> String {
    let mut words = String::with_capacity(field.len() + 4);
    for (i, character) in field.chars().enumerate() {
        match character {
            first if i == 0 => words.push(first.to_ascii_uppercase()),
            upper if upper.is_ascii_uppercase() => words.extend([' ', upper.to_ascii_lowercase()]),
            other => words.push(other),
        }
    }
    words
}

/// Values of custom fields that are objects in NinjaOne too: a formatted text and a choice of an organization.
pub(super) fn custom_fields(subject: &Subject) -> Value {
    let note = format!("Invented note {}", subject.id);
    json!({
        "assetNote1": { "text": note, "html": format!("<p>{note}</p>") },
        "billedTo": { "entityId": subject.organization, "type": "CLIENT" },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_name_only_kinds_that_exist() {
        let shapes = Shapes::built_in();
        let mut visited = 0;
        for line in content(SHAPES) {
            for column in line.split(' ').skip(1).filter(|column| !column.starts_with('/')) {
                let kind = column.rsplit_once(':').map_or(column, |(_, kind)| kind).trim_matches(['[', ']']);
                if kind.chars().next().is_some_and(|c| c.is_ascii_uppercase()) && kind != "M" {
                    assert!(shapes.definition(kind).is_some(), "{kind}");
                    visited += 1;
                }
            }
        }
        assert!(visited > 400, "{visited}");
    }

    #[test]
    fn invention_is_the_same_every_time_and_fills_every_shape() {
        let shapes = Shapes::built_in();
        let invention = Invention { shapes: &shapes, pins: Vec::new() };
        let mut visited = 0;
        for line in content(SHAPES) {
            let Some((name, _)) = line.split_once(' ').filter(|(_, rest)| rest.contains(':')) else { continue };
            let value = invention.of(name, Subject::new(Kind::of(name), 2));
            assert_eq!(value, invention.of(name, Subject::new(Kind::of(name), 2)));
            assert!(value.as_object().is_some_and(|object| !object.is_empty()), "{name}");
            visited += 1;
        }
        assert!(visited > 200, "{visited}");
    }

    #[test]
    fn invention_puts_what_the_path_says_before_all_else() {
        let shapes = Shapes::built_in();
        let invention = Invention { shapes: &shapes, pins: vec![("organizationId", json!(3))] };
        let document = invention.of("ClientDocumentWithAttributeValuesPublicApiDTO", Subject::new(Kind::Row, 1));
        assert_eq!(document.pointer("/organizationId"), Some(&json!(3)));
    }

    #[test]
    fn invented_text_is_spaced() {
        assert_eq!(spaced("conditionName"), "Condition name");
    }
}
