//! Values invented to fill a shape, the same ones every time.

use serde_json::{Map, Value, json};

use super::fleet::{self, IdList, InventedThing};
use super::leak::{Leak, LeakMode};
use super::marks;
use super::shape::{Shapes, aspect};
use crate::proxy::fence::EntityId;

/// No shape nests deeper; a mistake in the data must not overflow the stack.
const MAX_DEPTH: usize = 12;

/// Values for shapes. What the request's path says about a field goes before all that is invented.
pub(super) struct Invention<'a> {
    pub(super) shapes: &'a Shapes,
    /// Field names with their values, from the path.
    pub(super) pins: Vec<(&'a str, Value)>,
    pub(super) leak: &'a Leak,
}

impl Invention<'_> {
    /// A value of `kind` for the subject.
    pub(super) fn of(&self, kind: &str, subject: InventedThing<'_>) -> Value {
        let is_marked = self.leak.has(LeakMode::Marks) && marks::is_owned(kind, &subject);
        let mut value = self.value(kind, &ValuePath { shape: "", field: "", depth: 0, is_marked }, subject);
        self.leak.nest(&mut value, &subject);
        value
    }

    fn value(&self, kind: &str, place: &ValuePath<'_>, subject: InventedThing<'_>) -> Value {
        if let Some(words) = kind.strip_prefix('=') {
            return self.known(place, &subject).unwrap_or_else(|| json!(enumerated(words, place.field, &subject)));
        }
        if let Some(element) = kind.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            return self.known(place, &subject).unwrap_or_else(|| self.list(element, place, subject));
        }
        match self.shapes.definition(kind) {
            Some(words) if words.starts_with('=') => self.value(words, place, subject),
            Some(fields) => self.object(kind, fields, place, subject),
            None if place.is_marked && self.pin(place).is_none() => self.marked(kind, place, &subject),
            None => self.plain(kind, place, &subject).0,
        }
    }

    /// A value that is neither an object nor a list, and whether it is known, not invented.
    fn plain(&self, kind: &str, place: &ValuePath<'_>, subject: &InventedThing<'_>) -> (Value, bool) {
        match self.known(place, subject) {
            // Some ids are numbers in one shape and text or a UUID in another.
            Some(Value::Number(_)) if kind == "u" || kind == "s" => (json!(fleet::uid(place.field, subject.id)), true),
            Some(value) => (value, true),
            None => (self.scalar(kind, place, subject), false),
        }
    }

    /// The same, so that its organization can be recognized.
    fn marked(&self, kind: &str, place: &ValuePath<'_>, subject: &InventedThing<'_>) -> Value {
        let organization = subject.organization;
        match (self.plain(kind, place, subject), kind) {
            ((Value::String(text), _), "u" | "s") if EntityId::parse(&text).is_some_and(|_| text.len() == 36) => {
                json!(marks::uid(&text, subject))
            }
            ((Value::String(text), _), "s") => json!(marks::text(&text, organization)),
            ((Value::Number(number), false), "i") if !is_id(place.field) => {
                json!(number.as_u64().map(|number| marks::number(number, organization)))
            }
            ((Value::Number(number), false), "n") => {
                json!(number.as_f64().map(|number| marks::fraction(number, organization)))
            }
            ((_, _), "M") => custom_fields(subject, true),
            ((_, false), "o" | "m") => json!({ "text": marks::text("Invented text", organization) }),
            ((value, _), _) => value,
        }
    }

    /// What the path or the fleet says.
    fn known(&self, place: &ValuePath<'_>, subject: &InventedThing<'_>) -> Option<Value> {
        self.pin(place).cloned().or_else(|| subject.fact(place.aspect(), place.field))
    }

    /// What the path says.
    fn pin(&self, place: &ValuePath<'_>) -> Option<&Value> {
        self.pins.iter().find(|(field, _)| *field == place.field).map(|(_, value)| value)
    }

    fn object(&self, name: &str, fields: &str, place: &ValuePath<'_>, subject: InventedThing<'_>) -> Value {
        if place.depth > MAX_DEPTH {
            return json!({});
        }
        let subject = if place.depth == 0 { subject } else { subject.within(name) };
        let is_marked = place.is_marked && marks::is_owned(name, &subject);
        let fields = fields.split(' ').filter_map(|field| field.split_once(':'));
        let object: Map<_, _> = fields
            .map(|(field, kind)| {
                let inner = ValuePath { shape: name, field, depth: place.depth + 1, is_marked };
                (field.to_owned(), self.value(kind, &inner, subject))
            })
            .collect();
        Value::Object(object)
    }

    fn list(&self, element: &str, place: &ValuePath<'_>, subject: InventedThing<'_>) -> Value {
        let subjects: Vec<_> = if IdList::of(element) == IdList::Location {
            let all = subject.fleet.things(IdList::Location);
            all.filter(|location| location.organization == subject.organization).collect()
        } else if element == "NodeRolePolicyAssignment" {
            IdList::Role.ids().map(|id| InventedThing { id, ..subject.element(0) }).collect()
        } else {
            (0..2).map(|n| subject.element(n)).collect()
        };
        let inner = ValuePath { depth: place.depth.max(1), ..*place };
        let mut values: Vec<_> = subjects.into_iter().map(|one| self.value(element, &inner, one)).collect();
        values.dedup();
        Value::Array(values)
    }

    fn scalar(&self, kind: &str, place: &ValuePath<'_>, subject: &InventedThing<'_>) -> Value {
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
            "M" => custom_fields(subject, false),
            _ => json!({}),
        }
    }
}

/// Where in an answer a value is.
struct ValuePath<'a> {
    shape: &'a str,
    field: &'a str,
    depth: usize,
    is_marked: bool,
}

impl ValuePath<'_> {
    fn aspect(&self) -> &str {
        aspect(self.shape)
    }
}

/// A word of an enumeration. The entity types name what the ids next to them belong to: the first word does.
fn enumerated(words: &str, field: &str, subject: &InventedThing<'_>) -> String {
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

/// Epoch seconds with a fraction, as NinjaOne writes them: what begins lies before what is last seen, and what
/// ends lies ahead.
fn time(field: &str, noise: u64) -> f64 {
    let name = field.to_ascii_lowercase();
    let is = |words: &[&str]| words.iter().any(|word| name.contains(word));
    let base = match () {
        () if is(&["end", "expir", "due"]) => 1_800_000_000,
        () if is(&["creat", "start", "begin", "manufact"]) => 1_740_000_000,
        () => 1_755_000_000,
    };
    (base + noise % 10_000_000) as f64 + (noise % 1000) as f64 / 1000.0
}

/// Whether a field holds ids, whatever its name.
fn is_id(field: &str) -> bool {
    let name = field.to_ascii_lowercase();
    name.ends_with("id")
        || name.ends_with("ids")
        || matches!(field, "org" | "templates" | "channels" | "fields" | "technicianTagged")
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

fn text(field: &str, subject: &InventedThing<'_>) -> String {
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
pub(super) fn custom_fields(subject: &InventedThing<'_>, is_marked: bool) -> Value {
    let note = format!("Invented note {}", subject.id);
    let note = if is_marked { marks::text(&note, subject.organization) } else { note };
    json!({
        "assetNote1": { "text": note, "html": format!("<p>{note}</p>") },
        "billedTo": { "entityId": subject.organization, "type": "CLIENT" },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::homes::Fleet;

    static FLEET: Fleet = Fleet::new();

    #[test]
    fn invention_is_the_same_every_time_and_fills_every_shape() {
        let shapes = Shapes::built_in();
        let invention = Invention { shapes: &shapes, pins: Vec::new(), leak: &Leak::NONE };
        let mut visited = 0;
        for name in shapes.names() {
            let value = invention.of(name, FLEET.thing(IdList::of(name), 2));
            assert_eq!(value, invention.of(name, FLEET.thing(IdList::of(name), 2)));
            assert!(value.as_object().is_some_and(|object| !object.is_empty()), "{name}");
            visited += 1;
        }
        assert!(visited > 200, "{visited}");
    }

    #[test]
    fn invention_puts_what_the_path_says_before_all_else() {
        let shapes = Shapes::built_in();
        let invention = Invention { shapes: &shapes, pins: vec![("organizationId", json!(3))], leak: &Leak::NONE };
        let document = invention.of("ClientDocumentWithAttributeValuesPublicApiDTO", FLEET.thing(IdList::Row, 1));
        assert_eq!(document.pointer("/organizationId"), Some(&json!(3)));
    }

    #[test]
    fn invented_text_is_spaced() {
        assert_eq!(spaced("conditionName"), "Condition name");
    }
}
