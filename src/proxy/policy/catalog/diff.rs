//! What a document of NinjaOne has other than a catalogue.

use std::collections::BTreeSet;

use super::openapi::{Declared, Document, Skipped};
use super::words::Words;
use super::{Catalog, Operation, ParameterType, TemplateSegment};

/// The version that the built-in catalogue gives what no document declares yet.
const LATER: &str = "later";

/// The differences between a document and a catalogue, each list sorted by group.
#[derive(Debug)]
pub struct Difference<'a> {
    /// What the catalogue lacks, as it would be classified.
    pub added: Vec<Operation>,
    /// What the document lacks.
    pub removed: Vec<&'a Operation>,
    /// What the document lacks and need not have: the catalogue knows it from newer sources.
    pub later: Vec<&'a Operation>,
    /// What both have, and how the document differs.
    pub changed: Vec<(&'a Operation, Vec<String>)>,
    /// What the document has and the proxy cannot use.
    pub skipped: Vec<Skipped>,
}

impl<'a> Difference<'a> {
    /// Compares.
    pub fn between(document: &Document, catalog: &'a Catalog) -> Self {
        let mut known = BTreeSet::new();
        let mut changed = Vec::new();
        for declared in &document.operations {
            let Some(own) = catalog.counterpart(declared) else { continue };
            known.insert((own.method.as_str(), own.template.as_str()));
            let changes = changes(own, declared);
            if !changes.is_empty() {
                changed.push((own, changes));
            }
        }
        let missing = |own: &&Operation| !known.contains(&(own.method.as_str(), own.template.as_str()));
        let (mut later, mut removed): (Vec<_>, Vec<_>) =
            catalog.operations().iter().filter(missing).partition(|own| own.document == LATER);
        let (mut added, shadowing) = catalog.admissible(document.added(catalog));
        added.sort_by_key(|own| own.group.name);
        removed.sort_by_key(|own| own.group.name);
        later.sort_by_key(|own| own.group.name);
        changed.sort_by_key(|(own, _)| own.group.name);
        let skipped = document.skipped.iter().cloned().chain(shadowing).collect();
        Self { added, removed, later, changed, skipped }
    }
}

fn changes(own: &Operation, declared: &Declared) -> Vec<String> {
    let pairs = own.segments.iter().zip(&declared.segments);
    let mut changes: Vec<String> = pairs.filter_map(|(own, declared)| change(own, declared)).collect();
    if let Some(scope) = declared.scope.filter(|scope| *scope != own.scope) {
        changes.push(format!("scope {} became {scope}", own.scope));
    }
    changes
}

fn change(own: &TemplateSegment, declared: &TemplateSegment) -> Option<String> {
    let (TemplateSegment::Parameter(name, own), TemplateSegment::Parameter(_, declared)) = (own, declared) else {
        return None;
    };
    if let (ParameterType::OneOf(own), ParameterType::OneOf(declared)) = (own, declared) {
        let without = |one: &Words, other: &Words, what: &str| {
            let words: Vec<_> = one.iter().filter(|word| !other.has(word)).map(String::as_str).collect();
            if words.is_empty() { None } else { Some(format!("{what} {}", words.join(", "))) }
        };
        let (gained, lost) = (without(declared, own, "gained"), without(own, declared, "lost"));
        let both: Vec<_> = gained.into_iter().chain(lost).collect();
        return if both.is_empty() { None } else { Some(format!("{{{name}}} {}", both.join(" and "))) };
    }
    (own != declared).then(|| format!("{{{name}}} was {own} and became {declared}"))
}
