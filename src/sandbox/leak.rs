//! Answers that go wrong on order: what a client that keeps organizations apart must expect of NinjaOne.

mod spoil;

use std::sync::{Arc, Mutex, PoisonError};

use http::{Response, StatusCode};
use serde_json::Value;

use super::download::SandboxBody;
use super::fleet::{IdList, InventedThing, ORGANIZATIONS};
use super::homes::Fleet;
use super::marks;
use super::query::QueryParameters;
use super::refusal::SandboxRefusal;
use crate::proxy::policy::catalog::Operation;

/// A way in which an answer goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LeakMode {
    /// Filters in the query are ignored.
    Ignore,
    /// What a filter leaves out is mixed in.
    Mix,
    /// Every other row names something of another organization in a place of its own.
    Nested,
    /// What the path names is answered as if it named something of another organization.
    Object,
    /// Errors name something of every organization.
    Errors,
    /// Answers are compressed although nobody asked for that.
    Compressed,
    /// All that belongs to an organization can be recognized, see [`marks`].
    Marks,
    /// Every other row lacks the fields that say whose it is.
    Missing,
    /// They are null.
    Null,
    /// They are text.
    Text,
    /// They are numbers with a fraction.
    Float,
    /// They are there twice.
    Duplicate,
    /// A row has 10 MB.
    Huge,
    /// The answer ends within a row.
    Cut,
    /// The answer is in UTF-16.
    Utf16,
    /// The answer is a web page.
    Html,
    /// The answer begins with a byte order mark.
    Bom,
}

impl LeakMode {
    const ALL: [(&'static str, Self); 17] = [
        ("ignore", Self::Ignore),
        ("mix", Self::Mix),
        ("nested", Self::Nested),
        ("object", Self::Object),
        ("errors", Self::Errors),
        ("compressed", Self::Compressed),
        ("marks", Self::Marks),
        ("missing", Self::Missing),
        ("null", Self::Null),
        ("text", Self::Text),
        ("float", Self::Float),
        ("duplicate", Self::Duplicate),
        ("huge", Self::Huge),
        ("cut", Self::Cut),
        ("utf16", Self::Utf16),
        ("html", Self::Html),
        ("bom", Self::Bom),
    ];
}

/// What goes wrong.
#[derive(Debug, Clone, Default)]
pub(super) struct Leak {
    modes: Vec<LeakMode>,
    /// At which templates; at all if there are none.
    at: Vec<String>,
    status: Option<StatusCode>,
}

/// The order in force.
#[derive(Debug, Default)]
pub(super) struct Leaks(Mutex<Arc<Leak>>);

impl Leaks {
    /// Takes an order (`mode`, words with commas; `at`, templates with commas; `status`), which replaces the one before.
    pub(super) fn order(&self, query: &QueryParameters) -> Result<(), SandboxRefusal> {
        let words = |name| query.get(name).unwrap_or_default().split(',').filter(|word| !word.is_empty());
        let mode = |word: &str| LeakMode::ALL.iter().find(|(own, _)| *own == word).map(|(_, mode)| *mode);
        let modes = words("mode").map(mode).collect::<Option<_>>().ok_or(SandboxRefusal::BadRequest)?;
        let at = words("at").map(str::to_owned).collect();
        let status = query.get("status").map(|text| StatusCode::from_bytes(text.as_bytes())).transpose();
        let status = status.map_err(|_| SandboxRefusal::BadRequest)?;
        if status.is_some_and(|status| status.is_informational()) {
            return Err(SandboxRefusal::BadRequest);
        }
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(Leak { modes, at, status });
        Ok(())
    }

    /// What goes wrong anywhere.
    pub(super) fn everywhere(&self) -> Arc<Leak> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What goes wrong at this operation; marks are everywhere.
    pub(super) fn at(&self, operation: &Operation) -> Leak {
        let order = self.everywhere();
        let is_here = |template: &String| operation.template == *template;
        if order.at.is_empty() || order.at.iter().any(is_here) {
            return Leak::clone(&order);
        }
        let marks = order.modes.iter().copied().filter(|mode| *mode == LeakMode::Marks);
        Leak { modes: marks.collect(), ..Leak::default() }
    }
}

impl Leak {
    /// Nothing goes wrong.
    pub(super) const NONE: Self = Self { modes: Vec::new(), at: Vec::new(), status: None };

    pub(super) fn has(&self, mode: LeakMode) -> bool {
        self.modes.contains(&mode)
    }

    /// The status that every answer has.
    pub(super) fn ordered_status(&self) -> Option<StatusCode> {
        self.status
    }

    /// What is answered about where the path names `thing`.
    pub(super) fn swap<'a>(&self, thing: InventedThing<'a>) -> InventedThing<'a> {
        let is_foreign = |other: &InventedThing<'_>| other.organization != thing.organization;
        let other = thing.fleet.things(thing.kind).filter(is_foreign);
        let other = other.min_by_key(|other| (other.id <= thing.id, other.id));
        other.filter(|_| self.has(LeakMode::Object)).unwrap_or(thing)
    }

    /// Whether a member that the filters leave out is in the list all the same.
    pub(super) fn mixes_in(&self, member: &InventedThing<'_>) -> bool {
        self.has(LeakMode::Mix) && is_every_other(member.id)
    }

    /// Adds the reference to something of another organization.
    pub(super) fn nest(&self, row: &mut Value, subject: &InventedThing<'_>) {
        if self.has(LeakMode::Nested) && is_every_other(subject.id) {
            spoil::nest(row, subject, self.has(LeakMode::Marks));
        }
    }

    /// An answer of success.
    pub(super) fn response(&self, status: StatusCode, value: Value) -> Response<SandboxBody> {
        spoil::response(self, status, value)
    }

    /// The body of an error.
    pub(super) fn error(&self, body: &mut Value, fleet: &Fleet) {
        let Some(fields) = body.as_object_mut().filter(|_| self.has(LeakMode::Errors)) else { return };
        let message = self.names(fleet);
        for field in ["errorMessage", "error_description"] {
            fields.insert(field.to_owned(), Value::from(message.as_str()));
        }
    }

    /// The names of all organizations, and of a device of each.
    fn names(&self, fleet: &Fleet) -> String {
        let text = |thing: InventedThing<'_>, field| {
            let name = thing.fact("", field).and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default();
            if self.has(LeakMode::Marks) { marks::text(&name, thing.organization) } else { name }
        };
        let organizations = 1..=ORGANIZATIONS;
        let names = organizations.map(|id| {
            let device = fleet.things(IdList::Device).find(|device| device.organization == id);
            let name = text(fleet.thing(IdList::Organization, id), "name");
            let device = device.map(|device| text(device, "displayName")).unwrap_or_default();
            format!("Device {device} of {name} (organization {id}) is locked")
        });
        names.collect::<Vec<_>>().join("; ")
    }
}

/// About half of the ids of each organization.
fn is_every_other(id: u32) -> bool {
    (id + id / 10).is_multiple_of(2)
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::proxy::policy::catalog::Catalog;

    #[test]
    fn an_order_replaces_the_one_before_and_an_unknown_word_is_refused() {
        let leaks = Leaks::default();
        let catalog = Catalog::built_in().expect("built in");
        let organizations = catalog.find(&Method::GET, "/v2/organizations").expect("known").clone();
        let order = |text: &str| leaks.order(&QueryParameters::parse(text));
        assert_eq!(order("mode=ignore,marks&at=/v2/devices"), Ok(()));
        assert!(!leaks.at(&organizations).has(LeakMode::Ignore) && leaks.at(&organizations).has(LeakMode::Marks));
        assert_eq!(order("mode=html"), Ok(()));
        assert!(leaks.at(&organizations).has(LeakMode::Html) && !leaks.at(&organizations).has(LeakMode::Marks));
        assert_eq!(order("mode=nonsense"), Err(SandboxRefusal::BadRequest));
        assert_eq!(order("mode=html&status=100"), Err(SandboxRefusal::BadRequest));
        assert_eq!(order(""), Ok(()));
        assert!(!leaks.at(&organizations).has(LeakMode::Html));
    }

    #[test]
    fn the_thing_that_is_answered_about_is_of_another_organization() {
        let fleet = Fleet::new();
        let leak = Leak { modes: vec![LeakMode::Object], ..Leak::default() };
        for kind in [IdList::Organization, IdList::Location, IdList::Device, IdList::EndUser, IdList::Row] {
            for thing in fleet.things(kind) {
                assert_ne!(leak.swap(thing).organization, thing.organization);
                assert_eq!(Leak::NONE.swap(thing), thing);
            }
        }
    }
}
