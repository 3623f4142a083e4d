//! The operation catalogue: what NinjaOne's API offers, as data, compiled into a tree of path segments.

pub mod classify;
pub mod diff;
mod near;
pub mod nearest;
pub mod openapi;
mod shadow;
pub mod words;
mod yaml;

use std::collections::HashMap;
use std::fmt;

use http::Method;
use rustc_hash::FxBuildHasher;

use super::group::Group;
use super::path::{MAX_WORD, MalformedTarget, Segment, Segments};
use super::rule::METHODS;
use super::spelling::lowered;
use openapi::{Document, SkipReason, Skipped};
use words::Words;

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

/// One operation: a method on a path template, and what is known about it.
#[derive(Debug, Clone)]
pub struct Operation {
    /// The request method, never `HEAD` (which follows `GET`).
    pub method: Method,
    /// The path template without types, such as `/v2/device/{id}/disks`: what logs and metrics show.
    pub template: String,
    /// The template's segments after the leading slash.
    pub segments: Vec<TemplateSegment>,
    /// The scope that NinjaOne asks for.
    pub scope: Scope,
    /// The group that an administrator opens or closes as one.
    pub group: &'static Group,
    /// What harm a wrong call can do.
    pub risk: Risk,
    /// Whether a second, equal request leaves NinjaOne in the same state as one.
    pub idempotent: bool,
    /// Whether client credentials are known to be refused with `user_context_required`.
    pub user_context: bool,
    /// The OpenAPI version that declares it.
    pub document: String,
    /// Why it has its group and risk, if nobody but the proxy gave it these; `None` for a built-in one.
    pub reason: Option<String>,
}

impl Operation {
    /// A path that the operation has, with invented values.
    pub fn example(&self) -> String {
        let value = |segment: &TemplateSegment| match segment {
            TemplateSegment::Literal(text) => text.clone(),
            TemplateSegment::Parameter(_, ParameterType::Integer) => "17".to_owned(),
            TemplateSegment::Parameter(_, ParameterType::Uid) => "3f2c8a9e-0000-4000-8000-00000000abcd".to_owned(),
            TemplateSegment::Parameter(_, ParameterType::OneOf(words)) => words.first().cloned().unwrap_or_default(),
            TemplateSegment::Parameter(_, ParameterType::Name) => "someName".to_owned(),
        };
        self.segments.iter().map(|segment| format!("/{}", value(segment))).collect()
    }
}

/// An operation's method and template, for people.
#[derive(Debug, Clone, Copy)]
pub struct OperationName<'a>(pub &'a Operation);

impl fmt::Display for OperationName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0.method, self.0.template)
    }
}

/// A place in [`Catalog::operations`]; valid for the catalogue that gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OperationId(u32);

impl OperationId {
    /// The position in [`Catalog::operations`], from 0.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A segment of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplateSegment {
    /// Matches itself.
    Literal(String),
    /// `{name}`: matches what its type admits.
    Parameter(String, ParameterType),
}

/// What a path parameter admits, as NinjaOne's document declares it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ParameterType {
    /// Decimal digits without leading zeros, up to 2^53 - 1.
    Integer,
    /// A UUID: 8-4-4-4-12 hexadecimal digits, in lower case.
    Uid,
    /// One of these words, case-sensitive.
    OneOf(Words),
    /// Any segment that [`super::path`] lets pass.
    Name,
}

/// As in `catalog.tsv`.
impl fmt::Display for ParameterType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer => f.write_str("integer"),
            Self::Uid => f.write_str("uid"),
            Self::Name => f.write_str("name"),
            Self::OneOf(words) => f.write_str(&words.join("|")),
        }
    }
}

impl ParameterType {
    /// What a value must be, for people.
    pub fn wanted(&self) -> String {
        match self {
            Self::Integer => "a number".to_owned(),
            Self::Uid => "a UUID".to_owned(),
            Self::OneOf(words) if words.len() > MAX_SHOWN => {
                let first = words.iter().take(MAX_SHOWN).map(String::as_str).collect::<Vec<_>>();
                format!("one of {} and {} more words", first.join(", "), words.len() - MAX_SHOWN)
            }
            Self::OneOf(words) => format!("one of {}", words.join(", ")),
            Self::Name => "a name".to_owned(),
        }
    }
}

/// How many words of an enumeration are shown to people.
const MAX_SHOWN: usize = 20;

/// An OAuth scope of NinjaOne.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// Reads.
    Monitoring,
    /// Writes.
    Management,
    /// Remote control; no documented operation needs it by itself.
    Control,
}

impl Scope {
    /// All scopes, in NinjaOne's order.
    pub const ALL: [Self; 3] = [Self::Monitoring, Self::Management, Self::Control];

    /// The scope's name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Monitoring => "monitoring",
            Self::Management => "management",
            Self::Control => "control",
        }
    }

    /// The scope of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == name)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A set of scopes, small enough to copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ScopeSet(u8);

impl ScopeSet {
    /// Whether `scope` is in the set.
    pub fn contains(self, scope: Scope) -> bool {
        self.0 & (1 << scope as u8) != 0
    }

    /// The scopes in the set, in NinjaOne's order.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.contains(*scope))
    }
}

impl FromIterator<Scope> for ScopeSet {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |set, scope| set | 1 << scope as u8))
    }
}

/// The scope string of RFC 6749 section 3.3: names separated by spaces.
impl fmt::Display for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, scope) in self.iter().enumerate() {
            if i > 0 {
                f.write_str(" ")?;
            }
            f.write_str(scope.as_str())?;
        }
        Ok(())
    }
}

/// What harm a wrong call can do, from a read of names to code run on a fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Risk {
    /// Reads of inventory.
    Low,
    /// Reads of people and settings, harmless writes.
    Medium,
    /// Writes that are hard to undo.
    High,
    /// Code execution, privileges, exfiltration, loss of data.
    Critical,
}

impl Risk {
    /// All risks, from low to critical.
    pub const ALL: [Self; 4] = [Self::Low, Self::Medium, Self::High, Self::Critical];

    /// The risk of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|risk| risk.as_str() == name)
    }

    /// The risk's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Risk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A line of catalogue data that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("catalogue line {line}: {problem}")]
pub struct CatalogError {
    /// The line, from 1.
    line: usize,
    problem: &'static str,
}

/// A place in the tree: what but a fixed word may come next, and the operations that end here. However many operations
/// there are, a step takes two looks into tables. Their hash has no secret key: callers choose what is looked up, not
/// what is in them.
#[derive(Debug, Default)]
struct Node {
    /// The first of the parameters, beside the rest, for most places have one.
    parameter: Option<(ParameterType, u32)>,
    others: Vec<(ParameterType, u32)>,
    place: PathOperations,
}

impl Node {
    /// Where a parameter of this type leads; `new` if it led nowhere before.
    fn parameter(&mut self, kind: &ParameterType, new: u32) -> u32 {
        let known = self.parameter.iter().chain(&self.others).find(|(own, _)| own == kind);
        if let Some((_, next)) = known {
            return *next;
        }
        let mut all: Vec<_> = self.parameter.take().into_iter().chain(std::mem::take(&mut self.others)).collect();
        all.push((kind.clone(), new));
        // The narrowest type is tried first.
        all.sort();
        let mut all = all.into_iter();
        (self.parameter, self.others) = (all.next(), all.collect());
        new
    }
}

/// The operations of one path, by method in the order of [`METHODS`].
#[derive(Debug, Clone, Copy, Default)]
pub struct PathOperations([Option<OperationId>; METHODS.len()]);

impl PathOperations {
    /// The operation of a method.
    pub fn of(&self, method: &Method) -> Option<OperationId> {
        METHODS.iter().zip(&self.0).find(|(own, _)| *own == method).and_then(|(_, id)| *id)
    }

    /// One of the operations, if there is any.
    pub fn first(&self) -> Option<OperationId> {
        self.0.iter().copied().flatten().next()
    }

    /// Whether no operation has this path.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// The methods of the operations, and `HEAD`, which follows `GET`.
    pub fn methods(&self) -> MethodSet {
        let has = |method: &Method| self.of(if method == Method::HEAD { &Method::GET } else { method }).is_some();
        MethodSet(ALLOWED.iter().enumerate().fold(0, |set, (i, method)| set | u8::from(has(method)) << i))
    }
}

/// The methods that an operation may have, and `HEAD`.
const ALLOWED: [Method; 6] = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

/// A set of methods, small enough to copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MethodSet(u8);

/// The value of `Allow` (RFC 9110 section 10.2.1).
impl fmt::Display for MethodSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (_, method) in ALLOWED.iter().enumerate().filter(|(i, _)| self.0 & (1 << i) != 0) {
            write!(f, "{separator}{method}")?;
            separator = ", ";
        }
        Ok(())
    }
}

impl Catalog {
    /// The catalogue that comes with the proxy.
    pub fn built_in() -> Result<Self, CatalogError> {
        Self::parse(BUILT_IN)
    }

    /// Reads a catalogue in the format of `catalog.tsv`.
    pub fn parse(text: &str) -> Result<Self, CatalogError> {
        let (words, lowered, steps) = Default::default();
        let mut catalog =
            Self { operations: Vec::new(), words, lowered, steps, nodes: vec![Node::default()], newer: None };
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
            return Err("this method and path stand here twice");
        }
        *place = Some(id);
        self.operations.push(operation);
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

fn parse_operation(line: &str) -> Result<Operation, &'static str> {
    let mut columns = line.split('\t');
    let mut column = || columns.next().ok_or("fewer than 8 columns");
    let method = Method::from_bytes(column()?.as_bytes()).map_err(|_| "no method")?;
    let segments = parse_template(column()?)?;
    let scope = Scope::parse(column()?).ok_or("unknown scope")?;
    let group = Group::find(column()?).ok_or("unknown group")?;
    let risk = Risk::parse(column()?).ok_or("unknown risk")?;
    let idempotent = match column()? {
        "yes" => true,
        "no" => false,
        _ => return Err("idempotent is yes or no"),
    };
    let user_context = match column()? {
        "yes" => true,
        "unknown" => false,
        _ => return Err("user context is yes or unknown"),
    };
    let document = column()?.to_owned();
    let template = segments.iter().map(|segment| format!("/{segment}")).collect();
    Ok(Operation { method, template, segments, scope, group, risk, idempotent, user_context, document, reason: None })
}

fn parse_template(template: &str) -> Result<Vec<TemplateSegment>, &'static str> {
    let path = template.strip_prefix('/').ok_or("a template starts with /")?;
    path.split('/')
        .map(|segment| {
            let Some(parameter) = segment.strip_prefix('{').and_then(|s| s.strip_suffix('}')) else {
                return Ok(TemplateSegment::Literal(segment.to_owned()));
            };
            let (name, kind) = parameter.split_once(':').ok_or("a parameter is {name:type}")?;
            let kind = match kind {
                "integer" => ParameterType::Integer,
                "uid" => ParameterType::Uid,
                "name" => ParameterType::Name,
                words => ParameterType::OneOf(words.split('|').map(str::to_owned).collect::<Words>()),
            };
            Ok(TemplateSegment::Parameter(name.to_owned(), kind))
        })
        .collect()
}

impl TemplateSegment {
    fn longest_word(&self) -> usize {
        match self {
            Self::Literal(text) => text.len(),
            Self::Parameter(_, ParameterType::OneOf(words)) => words.iter().map(String::len).max().unwrap_or_default(),
            Self::Parameter(_, ParameterType::Integer | ParameterType::Uid | ParameterType::Name) => 0,
        }
    }
}

impl TemplateSegment {
    /// What a path must have there, for people.
    pub fn wanted(&self) -> String {
        match self {
            Self::Literal(word) => format!("{word:?}"),
            Self::Parameter(_, kind) => kind.wanted(),
        }
    }
}

impl fmt::Display for TemplateSegment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(text) => f.write_str(text),
            Self::Parameter(name, _) => write!(f, "{{{name}}}"),
        }
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
