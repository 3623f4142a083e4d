//! The operation catalogue: what NinjaOne's API offers, as data, compiled into a tree of path segments.

pub mod classify;
pub mod diff;
mod fencing;
mod near;
pub mod nearest;
pub mod openapi;
mod operation;
mod scope;
mod shadow;
mod tree;
pub mod words;
mod yaml;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use http::Method;
use rustc_hash::FxBuildHasher;

use super::path::{MAX_WORD, MalformedTarget, Segment, Segments};
use super::rule::METHODS;
use super::spelling::lowered;
use fencing::FencingTable;
pub use fencing::{AnswerCheck, EntityKind, FenceClass, FenceRules, Fencing, Paging, Presence, RequestCheck, RowKey};
use openapi::{Document, SkipReason, Skipped};
use operation::parse_operation;
pub use operation::{Operation, OperationId, OperationName, ParameterType, TemplateSegment};
pub use scope::{Risk, Scope, ScopeSet};
use tree::Node;
pub use tree::{MethodSet, PathOperations};

/// The built-in operations, one a line; the columns are explained at its top.
const BUILT_IN: &str = include_str!("catalog.tsv");

/// Every known operation, and the tree that finds one by its path.
#[derive(Debug)]
pub struct Catalog {
    operations: Vec<Operation>,
    /// The fixed words of all templates, numbered: the few that there are stay in the processor's cache.
    words: HashMap<Box<str>, u32, FxBuildHasher>,
    /// The same in lower case, each with those that are this word in any case.
    lowered: HashMap<Box<str>, Vec<NumberedWord>, FxBuildHasher>,
    /// Where a fixed word leads from a node.
    steps: HashMap<(u32, u32), u32, FxBuildHasher>,
    nodes: Vec<Node>,
    newer: Option<Newer>,
    /// Made when they are first asked for.
    names: OnceLock<Arc<[String]>>,
}

/// A fixed word and its number in [`Catalog::words`].
type NumberedWord = (Box<str>, u32);

/// What a newer document brought to a catalogue.
#[derive(Debug)]
pub struct Newer {
    /// The document's version.
    pub version: String,
    /// How many operations it declares below `/v2/`, those that are left out too.
    pub declared: usize,
    /// How many it declares elsewhere.
    pub outside: usize,
    /// What is left out.
    pub skipped: Vec<Skipped>,
}

/// A line of catalogue data that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("catalogue line {line}: {problem}")]
pub struct CatalogError {
    /// The line, from 1.
    line: usize,
    problem: &'static str,
}

impl Catalog {
    /// The catalogue that comes with the proxy.
    pub fn built_in() -> Result<Self, CatalogError> {
        let mut catalog = Self::parse(BUILT_IN)?;
        let table = FencingTable::built_in().map_err(|(line, problem)| CatalogError { line, problem })?;
        for operation in &mut catalog.operations {
            operation.fencing = table.of(operation);
        }
        Ok(catalog)
    }

    /// Reads a catalogue in the format of `catalog.tsv`.
    pub fn parse(text: &str) -> Result<Self, CatalogError> {
        let (words, lowered, steps, names) = Default::default();
        let (operations, nodes) = (Vec::new(), vec![Node::default()]);
        let mut catalog = Self { operations, words, lowered, steps, nodes, newer: None, names };
        for (i, line) in text.lines().enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let error = |problem| CatalogError { line: i + 1, problem };
            let operation = parse_operation(line).map_err(error)?;
            catalog.add(operation).map_err(error)?;
        }
        Ok(catalog)
    }

    /// This catalogue, and what a newer document has beyond it. No request that was known is judged otherwise.
    pub fn with(self, document: &Document) -> Self {
        let added = document.added(&self);
        let (catalog, skipped) = self.extended(added);
        let skipped: Vec<_> = document.skipped.iter().cloned().chain(skipped).collect();
        let (version, outside) = (document.version.clone(), document.outside);
        let newer = Newer { version, declared: document.operations.len() + document.skipped.len(), outside, skipped };
        Self { newer: Some(newer), ..catalog }
    }

    /// This catalogue with these operations, and those of them that it cannot have.
    pub fn extended(mut self, operations: Vec<Operation>) -> (Self, Vec<Skipped>) {
        let (admissible, mut skipped) = self.admissible(operations);
        for operation in admissible {
            let name = OperationName(&operation).to_string();
            if let Err(problem) = self.add(operation) {
                skipped.push(Skipped { operation: name, cause: SkipReason::Catalog(problem) });
            }
        }
        (self, skipped)
    }

    /// Those of the operations that take no request from one that is here, and the others. The tree prefers a literal
    /// to a parameter, and a number to a name: without this, a newer operation in an open group could become what a
    /// request for a closed one is judged as, or hide it.
    fn admissible(&self, operations: Vec<Operation>) -> (Vec<Operation>, Vec<Skipped>) {
        let (mut fine, mut skipped) = (Vec::new(), Vec::new());
        for operation in operations {
            let robbed = self.operations.iter().find(|own| shadow::takes_from(&operation.segments, &own.segments));
            match robbed {
                None => fine.push(operation),
                Some(own) => skipped.push(Skipped {
                    operation: OperationName(&operation).to_string(),
                    cause: SkipReason::Shadows(OperationName(own).to_string()),
                }),
            }
        }
        (fine, skipped)
    }

    /// What a newer document brought, if there was one; its operations have a [`Operation::reason`].
    pub fn newer(&self) -> Option<&Newer> {
        self.newer.as_ref()
    }

    /// All operations, sorted as in the data file; newer ones follow.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// The operation at this place; `None` only for an id of another catalogue.
    pub fn get(&self, id: OperationId) -> Option<&Operation> {
        self.operations.get(id.index())
    }

    /// The name of the operation at this place, for people: `GET /v2/device/{id}`.
    pub fn name(&self, id: OperationId) -> Option<OperationName<'_>> {
        self.get(id).map(OperationName)
    }

    /// The names of all operations, by place, for all who need them: each listener and each caller does.
    pub fn names(&self) -> &Arc<[String]> {
        self.names
            .get_or_init(|| self.operations.iter().map(|operation| OperationName(operation).to_string()).collect())
    }

    /// All operations with their ids.
    pub fn iter(&self) -> impl Iterator<Item = (OperationId, &Operation)> {
        (0..).map(OperationId).zip(&self.operations)
    }

    /// The operations of a path; an empty place for an unknown one.
    ///
    /// A literal wins over a parameter. An encoded literal, number, uid or word is refused: servers differ
    /// in whether they decode before they route. So is what may be read as another spelling of a known path.
    pub fn at(&self, path: &Segments<'_>) -> Result<PathOperations, MalformedTarget> {
        match self.walk(0, path, 0)? {
            Some(node) => Ok(node.place),
            None => self.refuse_other_spelling(path).map(|()| PathOperations::default()),
        }
    }

    /// The operation of a method and a canonical path, such as `/v2/device/7/disks`.
    pub fn find(&self, method: &Method, path: &str) -> Option<&Operation> {
        let segments = Segments::parse(path).ok()?;
        self.get(self.at(&segments).ok()?.of(method)?)
    }

    /// The node that the path leads to from here, if operations end there.
    fn walk(&self, node: u32, path: &Segments<'_>, depth: usize) -> Result<Option<&Node>, MalformedTarget> {
        let Some(segment) = path.get(depth) else {
            return Ok(self.nodes.get(node as usize).filter(|node| !node.place.is_empty()));
        };
        match segment.unencoded() {
            Ok(raw) => self.branch(node, segment, Some(raw).filter(|raw| raw.len() <= MAX_WORD), path, depth),
            Err(_) => self.walk_decoded(node, segment, path, depth),
        }
    }

    /// The same from a segment with encoded characters on. Apart, as the others need no room.
    #[cold]
    fn walk_decoded(
        &self,
        node: u32,
        segment: Segment<'_>,
        path: &Segments<'_>,
        depth: usize,
    ) -> Result<Option<&Node>, MalformedTarget> {
        self.branch(node, segment, segment.short(&mut [0; MAX_WORD]), path, depth)
    }

    /// The same from a segment on that is this, decoded; `None` if it is longer than a word.
    fn branch(
        &self,
        number: u32,
        segment: Segment<'_>,
        decoded: Option<&str>,
        path: &Segments<'_>,
        depth: usize,
    ) -> Result<Option<&Node>, MalformedTarget> {
        let step = |word: &str| self.steps.get(&(number, *self.words.get(word)?));
        if let Some(next) = decoded.and_then(step)
            && let Some(found) = self.walk(*next, path, depth + 1)?
        {
            return segment.unencoded().map(|_| Some(found));
        }
        let Some(node) = self.nodes.get(number as usize) else { return Ok(None) };
        for (kind, next) in node.parameter.iter().chain(&node.others) {
            // Only a name can be longer than a word.
            if decoded.map_or(*kind == ParameterType::Name, |decoded| kind.admits(decoded))
                && let Some(found) = self.walk(*next, path, depth + 1)?
            {
                if *kind == ParameterType::Name {
                    self.refuse_other_word(number, segment, path, depth)?;
                } else {
                    segment.unencoded()?;
                }
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Adds an operation.
    pub(super) fn add(&mut self, operation: Operation) -> Result<(), &'static str> {
        let mut at = 0;
        for segment in &operation.segments {
            if segment.longest_word() > MAX_WORD {
                return Err("a fixed word is too long");
            }
            at = self.step(at, segment).ok_or("too many operations")?;
        }
        let id = OperationId(u32::try_from(self.operations.len()).map_err(|_| "too many operations")?);
        let Some(node) = self.nodes.get_mut(at as usize) else { return Err("broken tree") };
        let own = METHODS.iter().position(|method| *method == operation.method);
        let place = own.and_then(|own| node.place.0.get_mut(own)).ok_or("no method of an operation")?;
        if place.is_some() {
            return Err("this method and path are here twice");
        }
        *place = Some(id);
        self.operations.push(operation);
        self.names = OnceLock::new();
        Ok(())
    }

    /// The node after a segment, made if need be.
    fn step(&mut self, at: u32, segment: &TemplateSegment) -> Option<u32> {
        let new = u32::try_from(self.nodes.len()).ok()?;
        let next = match segment {
            TemplateSegment::Literal(text) => {
                let number = u32::try_from(self.words.len()).ok()?;
                let word = *self.words.entry(text.as_str().into()).or_insert(number);
                if word == number {
                    self.lowered.entry(lowered(text).into()).or_default().push((text.as_str().into(), number));
                }
                *self.steps.entry((at, word)).or_insert(new)
            }
            TemplateSegment::Parameter(_, kind) => self.nodes.get_mut(at as usize)?.parameter(kind, new),
        };
        if next == new {
            self.nodes.push(Node::default());
        }
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn built_in() -> Catalog {
        Catalog::built_in().expect("the built-in catalogue is good")
    }

    #[test]
    fn catalog_holds_310_operations_of_the_document_and_5_others() {
        let mut counts = BTreeMap::new();
        for operation in built_in().operations() {
            *counts.entry((operation.document.clone(), operation.scope)).or_insert(0) += 1;
        }
        let count = |document: &str, scope| counts.get(&(document.to_owned(), scope)).copied();
        assert_eq!(count("2.0.9-draft", Scope::Monitoring), Some(148));
        assert_eq!(count("2.0.9-draft", Scope::Management), Some(162));
        assert_eq!(count("2.0.5-draft", Scope::Monitoring), Some(1));
        assert_eq!(count("later", Scope::Monitoring), Some(3));
        assert_eq!(count("later", Scope::Management), Some(1));
        assert_eq!(built_in().operations().len(), 315);
    }

    #[test]
    fn catalog_finds_every_operation_by_an_example_of_its_own_template() {
        let catalog = built_in();
        let mut visited = 0;
        for operation in catalog.operations() {
            let path = operation.example();
            let found = catalog.find(&operation.method, &path).map(|o| o.template.as_str());
            assert_eq!(found, Some(operation.template.as_str()), "{path}");
            visited += 1;
        }
        assert_eq!(visited, 315);
    }

    #[test]
    fn catalog_takes_no_word_for_a_device_and_no_word_outside_an_enumeration() {
        let catalog = built_in();
        assert!(catalog.find(&Method::GET, "/v2/device/7").is_some());
        assert!(catalog.find(&Method::GET, "/v2/device/abc").is_none());
        assert!(catalog.find(&Method::GET, "/v2/device/-7").is_none());
        assert!(catalog.find(&Method::GET, "/v2/device/12345678901234567890").is_none());
        assert!(catalog.find(&Method::POST, "/v2/device/7/reboot/NORMAL").is_some());
        assert!(catalog.find(&Method::POST, "/v2/device/7/reboot/normal").is_none());
        assert!(catalog.find(&Method::DELETE, "/v2/alert/3f2c8a9e-0000-4000-8000-00000000abcd").is_some());
        assert!(catalog.find(&Method::DELETE, "/v2/alert/3f2c8a9e-0000-4000-8000-00000000abc").is_none());
    }

    #[test]
    fn catalog_prefers_a_literal_to_a_parameter() {
        let catalog = Catalog::parse(
            "GET\t/v2/a/{x:name}\tmonitoring\tqueries\tlow\tyes\tunknown\tt\nGET\t/v2/a/b\tmanagement\tqueries\tlow\tyes\tunknown\tt\n",
        )
        .expect("good");
        assert_eq!(catalog.find(&Method::GET, "/v2/a/b").map(|o| o.scope), Some(Scope::Management));
        assert_eq!(catalog.find(&Method::GET, "/v2/a/c").map(|o| o.scope), Some(Scope::Monitoring));
    }

    #[test]
    fn catalog_keeps_the_first_of_two_operations_with_one_method_and_path() {
        let mut catalog = built_in();
        let second = catalog.find(&Method::DELETE, "/v2/tag/7").expect("known").clone();
        assert!(catalog.add(Operation { scope: Scope::Monitoring, ..second }).is_err());
        assert_eq!(catalog.find(&Method::DELETE, "/v2/tag/7").map(|own| own.scope), Some(Scope::Management));
    }

    #[test]
    fn catalog_refuses_an_encoded_literal_number_and_word() {
        let catalog = built_in();
        for path in ["/v2/%64evices", "/v2/device/1%32", "/v2/device/7/reboot/NORMA%4C"] {
            let segments = Segments::parse(path).expect("legal path");
            assert!(matches!(catalog.at(&segments), Err(MalformedTarget::EncodedSegment)), "{path}");
        }
    }

    #[test]
    fn catalog_lines_with_mistakes_are_refused_with_their_number() {
        for line in [
            "GET",
            "GET\t/v2/x\treading\tqueries\tlow\tyes\tunknown\tt",
            "GET\t/v2/{x}\tmonitoring\tqueries\tlow\tyes\tunknown\tt",
        ] {
            let error = Catalog::parse(&format!("# note\n{line}\n")).expect_err("bad line");
            assert!(error.to_string().starts_with("catalogue line 2: "), "{error}");
        }
    }
}
