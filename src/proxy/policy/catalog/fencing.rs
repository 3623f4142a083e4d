//! How each operation is kept inside a fence of organizations: `fencing.tsv`, read line by line.

mod class;
mod reading;
mod words;

use std::collections::HashMap;

use super::operation::{Operation, OperationName};
pub use class::FenceClass;
use reading::parse_line;

/// The built-in data, one operation a line; the columns are explained at its top.
const FENCING: &str = include_str!("fencing.tsv");

/// What an id names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EntityKind {
    /// By its number.
    Organization,
    /// By its number.
    Location,
    /// By its number.
    Device,
    /// By its number.
    EndUser,
    /// An end user, by its UUID.
    EndUserUid,
    /// By its number.
    Contact,
    /// By its number.
    Ticket,
    /// By its UUID.
    Alert,
    /// A document of an organization, by its number.
    Document,
    /// A checklist of an organization, by its number.
    Checklist,
    /// An article of an organization's knowledge base, by its number.
    Article,
}

/// How an operation is kept inside a fence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fencing {
    /// What is checked; `None`: the operation is tenant-wide, and closed under a fence unless a rule opens it by name.
    pub rules: Option<FenceRules>,
    /// Why.
    pub reason: String,
}

/// What is checked of a request before it is sent, and of its answer before that is passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FenceRules {
    /// All of these must hold.
    pub request: Vec<RequestCheck>,
    /// What may pass of an answer of success.
    pub answer: AnswerCheck,
}

/// One check of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestCheck {
    /// This parameter of the path names something inside.
    Path {
        /// What it names.
        kind: EntityKind,
        /// The parameter's name.
        parameter: String,
    },
    /// Two parameters of the path name something inside: its kind, in NinjaOne's words, and its id.
    PathEntity {
        /// The parameter with the kind.
        word: String,
        /// The parameter with the id.
        id: String,
    },
    /// The device filter `df` gets a clause that asks for the organizations inside.
    DeviceFilter,
    /// This parameter of the query names something inside.
    Query {
        /// What it names.
        kind: EntityKind,
        /// The parameter's name.
        name: String,
        /// Whether it must be there.
        presence: Presence,
    },
    /// This place of the JSON body names something inside.
    Body {
        /// What it names.
        kind: EntityKind,
        /// A JSON Pointer (RFC 6901), in which `*` is each element of an array.
        pointer: String,
        /// Whether it must be there.
        presence: Presence,
    },
    /// This place of the JSON body must not be there: it names something, and no list tells whose that is.
    BodyWithout {
        /// A JSON Pointer, as in [`RequestCheck::Body`].
        pointer: String,
    },
}

/// Whether a value must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Without it the request is refused; behind a `*`, without it in any element. An empty array names nothing.
    Required,
    /// Without it the operation says nothing about any organization, or the path does already.
    Optional,
    /// Only in a query: without it the proxy writes the organizations inside, separated by commas.
    Added,
}

/// What may pass of an answer of success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnswerCheck {
    /// Nothing but status and headers.
    Empty,
    /// All of it, and it need not be JSON: what the request names is inside, and the answer is about nothing else.
    Opaque,
    /// One JSON value, if it is inside; an answer without a body passes.
    Object {
        /// The field that says whose it is; without it the request does.
        key: Option<RowKey>,
    },
    /// The rows that are inside.
    Rows {
        /// The field of the array; empty: the answer is the array.
        at: String,
        /// The field that says whose a row is; without it the request does.
        key: Option<RowKey>,
        /// How the list is paged.
        paging: Option<Paging>,
    },
}

impl AnswerCheck {
    /// The field that says whose a row or the object is.
    pub fn key(&self) -> Option<&RowKey> {
        match self {
            Self::Empty | Self::Opaque => None,
            Self::Object { key } | Self::Rows { key, .. } => key.as_ref(),
        }
    }
}

/// The field of a row that says whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowKey {
    /// What it names.
    pub kind: EntityKind,
    /// Its name; empty: the row itself is the id.
    pub field: String,
}

/// How a list is paged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paging {
    /// `after` is the id of the last row seen.
    After,
    /// `cursor` is the name that the answer gives.
    Cursor,
    /// `olderThan` is the id of the last row seen, or `newerThan` where the list goes forward.
    Older,
}

/// The fencing of all built-in operations, by `METHOD TEMPLATE`.
pub(super) struct FencingTable<'a>(HashMap<&'a str, Fencing>);

impl FencingTable<'static> {
    pub(super) fn built_in() -> Result<Self, (usize, &'static str)> {
        FencingTable::parse(FENCING)
    }
}

impl<'a> FencingTable<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, (usize, &'static str)> {
        let mut table = HashMap::new();
        for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            let (operation, fencing) = parse_line(line).map_err(|problem| (i + 1, problem))?;
            if table.insert(operation, fencing).is_some() {
                return Err((i + 1, "an operation is there twice"));
            }
        }
        Ok(Self(table))
    }

    /// Tenant-wide, where nothing is known.
    pub(super) fn of(&self, operation: &Operation) -> Fencing {
        self.0.get(OperationName(operation).to_string().as_str()).cloned().unwrap_or_default()
    }
}

impl Default for Fencing {
    fn default() -> Self {
        Self { rules: None, reason: "nobody has looked at whose its data is".to_owned() }
    }
}

impl EntityKind {
    const ALL: [(&'static str, Self); 11] = [
        ("organization", Self::Organization),
        ("location", Self::Location),
        ("device", Self::Device),
        ("end-user", Self::EndUser),
        ("end-user-uid", Self::EndUserUid),
        ("contact", Self::Contact),
        ("ticket", Self::Ticket),
        ("alert", Self::Alert),
        ("document", Self::Document),
        ("checklist", Self::Checklist),
        ("article", Self::Article),
    ];

    pub(super) fn parse(word: &str) -> Result<Self, &'static str> {
        Self::ALL.iter().find(|(own, _)| *own == word).map(|(_, kind)| *kind).ok_or("unknown kind of entity")
    }

    /// The word of `fencing.tsv`.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind)| *kind == self).map_or("", |(word, _)| word)
    }

    /// What NinjaOne's word for a kind of entity names, of those that can belong to an organization.
    pub fn of_entity_type(word: &str) -> Option<Self> {
        Some(match word {
            "ORGANIZATION" | "CLIENT" => Self::Organization,
            "LOCATION" | "CLIENT_LOCATION" => Self::Location,
            "NODE" | "DEVICE" => Self::Device,
            "END_USER" => Self::EndUser,
            "CONTACT" => Self::Contact,
            "DOCUMENT" | "CLIENT_DOCUMENT" => Self::Document,
            "CHECKLIST" | "CLIENT_CHECKLIST" => Self::Checklist,
            "KB_DOCUMENT" => Self::Article,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use http::Method;

    use super::super::{Catalog, TemplateSegment};
    use super::*;

    /// What the shapes of the sandbox say of the answers: facts of NinjaOne's API that owe nothing to `fencing.tsv`.
    const SHAPES: &str = include_str!("../../../sandbox/shapes.txt");

    fn catalog() -> Catalog {
        Catalog::built_in().expect("good")
    }

    fn rules(operation: &Operation) -> Option<&FenceRules> {
        operation.fencing.rules.as_ref()
    }

    fn problem(line: &str) -> Option<(usize, &'static str)> {
        FencingTable::parse(line).err()
    }

    #[test]
    fn each_operation_has_a_line_with_a_reason_and_nothing_else_has_one() {
        let catalog = catalog();
        let known: HashSet<_> =
            catalog.operations().iter().map(|operation| OperationName(operation).to_string()).collect();
        let table = FencingTable::built_in().expect("good");
        assert_eq!(catalog.operations().len(), 315);
        for name in table.0.keys() {
            assert!(known.contains(*name), "{name} is not in the catalog");
        }
        for name in &known {
            let fencing = table.0.get(name.as_str()).unwrap_or_else(|| panic!("{name} has no line"));
            assert!(fencing.reason.split(' ').count() >= 4, "{name}: {}", fencing.reason);
        }
    }

    #[test]
    fn an_operation_without_a_line_is_closed() {
        let table = FencingTable::parse("").expect("an empty table");
        assert_eq!(table.of(&catalog().operations()[0]).rules, None);
    }

    #[test]
    fn a_line_that_says_something_else_is_refused() {
        for (line, wanted) in [
            ("GET /v2/a", "fewer than 4 columns"),
            ("GET /v2/a\tclosed\tempty\twhy", "what is closed has no answer"),
            ("GET /v2/a\tpath:dragon:id\tempty\twhy", "unknown kind of entity"),
            ("GET /v2/a\tquery:device:id:perhaps\tempty\twhy", "required, optional or added"),
            ("GET /v2/a\tbody:device:/id:added\tempty\twhy", "nothing is added to a body"),
            ("GET /v2/a\tdf\trows+sideways\twhy", "unknown paging"),
            ("GET /v2/a\tdf\tall\twhy", "unknown check of an answer"),
            ("GET /v2/a\tnear\tempty\twhy", "unknown check of a request"),
        ] {
            assert_eq!(problem(line), Some((1, wanted)), "{line}");
        }
        assert_eq!(
            problem("GET /v2/a\tdf\trows\twhy\nGET /v2/a\tdf\trows\twhy"),
            Some((2, "an operation is there twice"))
        );
    }

    fn parameters(operation: &Operation) -> HashSet<&str> {
        let name = |segment| match segment {
            &TemplateSegment::Literal(_) => None,
            TemplateSegment::Parameter(name, _) => Some(name.as_str()),
        };
        operation.segments.iter().filter_map(name).collect()
    }

    /// The parameters of the path that are checked, with what they name; a pair of type and id has no kind.
    fn checked(rules: &FenceRules) -> HashMap<&str, Option<EntityKind>> {
        let mut checked = HashMap::new();
        for check in &rules.request {
            match check {
                RequestCheck::Path { kind, parameter } => {
                    checked.insert(parameter.as_str(), Some(*kind));
                }
                RequestCheck::PathEntity { word, id } => {
                    checked.extend([(word.as_str(), None), (id.as_str(), None)]);
                }
                RequestCheck::DeviceFilter
                | RequestCheck::Query { .. }
                | RequestCheck::Body { .. }
                | RequestCheck::BodyWithout { .. } => {}
            }
        }
        checked
    }

    #[test]
    fn a_check_of_the_path_names_a_parameter_that_is_there() {
        for operation in catalog().operations() {
            let own = parameters(operation);
            for name in rules(operation).map(checked).unwrap_or_default().into_keys() {
                assert!(own.contains(name), "{}: {name}", OperationName(operation));
            }
        }
    }

    /// What a parameter names by its own name and the fixed word in front of it, written down apart from the data.
    fn names(word: &str, parameter: &str) -> Names {
        use EntityKind::{
            Alert, Article, Checklist, Contact, Device, Document, EndUser, EndUserUid, Location, Organization, Ticket,
        };
        match (word, parameter) {
            ("organization", "id" | "organizationId") => Names::Inside(Organization),
            ("device", "id") | (_, "nodeId") => Names::Inside(Device),
            (_, "locationId" | "location_id") => Names::Inside(Location),
            ("end-user", "id") => Names::Inside(EndUser),
            (_, "ownerUid") => Names::Inside(EndUserUid),
            ("contact", "id") => Names::Inside(Contact),
            ("ticket", "id" | "ticketId") => Names::Inside(Ticket),
            ("alert", "uid") => Names::Inside(Alert),
            (_, "clientDocumentId") => Names::Inside(Document),
            (_, "checklistId") => Names::Inside(Checklist),
            (_, "articleId") => Names::Inside(Article),
            (_, "entityType" | "entityId" | "relEntityType" | "relEntityId" | "relatedEntityType") => Names::Pair,
            // Tags are given to devices only, so far.
            (_, "assetId") => Names::Inside(Device),
            // What the answer alone judges.
            ("folder", "folderId") | ("group", "id") => Names::Read,
            // How something is done, or a name on the one device.
            (_, "mode" | "serviceId" | "installer_type" | "assetType") => Names::Nothing,
            // A template for what gets made in the organization of the path.
            ("template", "documentTemplateId") => Names::Nothing,
            _ => Names::Tenant,
        }
    }

    #[derive(Debug, PartialEq)]
    enum Names {
        Inside(EntityKind),
        Pair,
        Read,
        Nothing,
        Tenant,
    }

    #[test]
    fn what_a_path_names_is_checked_or_the_operation_is_closed() {
        let mut visited = 0;
        for operation in catalog().operations() {
            let Some(rules) = rules(operation) else { continue };
            let (checked, mut word) = (checked(rules), "");
            for segment in &operation.segments {
                let name = match segment {
                    TemplateSegment::Literal(literal) => {
                        word = literal;
                        continue;
                    }
                    TemplateSegment::Parameter(name, _) => name.as_str(),
                };
                visited += 1;
                let found = checked.get(name);
                let right = match names(word, name) {
                    Names::Inside(kind) => found == Some(&Some(kind)),
                    Names::Pair => found == Some(&None),
                    Names::Read => operation.method == Method::GET && rules.answer.key().is_some(),
                    Names::Nothing => found.is_none(),
                    Names::Tenant => false,
                };
                assert!(right, "{}: {{{name}}} is {:?}", OperationName(operation), names(word, name));
            }
        }
        assert!(visited >= 90, "{visited}");
    }

    #[test]
    fn an_open_operation_says_in_its_request_or_its_answer_whose_it_is() {
        for operation in catalog().operations() {
            let Some(rules) = rules(operation) else { continue };
            let says = |check: &RequestCheck| match check {
                RequestCheck::Path { .. } | RequestCheck::PathEntity { .. } => true,
                RequestCheck::Query { presence, .. } | RequestCheck::Body { presence, .. } => {
                    *presence == Presence::Required
                }
                RequestCheck::DeviceFilter | RequestCheck::BodyWithout { .. } => false,
            };
            let in_request = rules.request.iter().any(says);
            assert!(in_request || rules.answer.key().is_some(), "{}", OperationName(operation));
            // An answer cannot take back a change, nor tell whose something was that no key names.
            let name = OperationName(operation);
            assert!(in_request || operation.method == Method::GET, "{name}: a change that its request does not bound");
        }
    }

    #[test]
    fn only_reads_are_filtered_and_only_writes_have_a_body() {
        for operation in catalog().operations() {
            let (name, is_read) = (OperationName(operation), operation.method == Method::GET);
            for check in rules(operation).map(|rules| rules.request.as_slice()).unwrap_or_default() {
                let fits = match check {
                    RequestCheck::DeviceFilter | RequestCheck::Query { .. } => is_read,
                    RequestCheck::Body { .. } | RequestCheck::BodyWithout { .. } => {
                        !is_read && operation.method != Method::DELETE
                    }
                    RequestCheck::Path { .. } | RequestCheck::PathEntity { .. } => true,
                };
                assert!(fits, "{name}: {check:?}");
            }
        }
    }

    #[test]
    fn pointers_into_a_body_are_json_pointers() {
        for operation in catalog().operations() {
            for check in rules(operation).map(|rules| rules.request.as_slice()).unwrap_or_default() {
                if let RequestCheck::Body { pointer, .. } | RequestCheck::BodyWithout { pointer } = check {
                    let steps = pointer.strip_prefix('/').expect("it starts with /");
                    assert!(steps.split('/').all(|step| !step.is_empty()), "{}: {pointer}", OperationName(operation));
                }
            }
        }
    }

    /// The shape of an answer: the fields of an object by name, or what a list is of.
    struct Shapes {
        fields: HashMap<&'static str, HashMap<&'static str, &'static str>>,
        answers: HashMap<String, (&'static str, &'static str, &'static str)>,
    }

    fn shapes() -> Shapes {
        let (mut fields, mut answers) = (HashMap::new(), HashMap::new());
        for line in SHAPES.lines().filter(|line| !line.starts_with('#')) {
            let words: Vec<_> = line.split(' ').collect();
            match *words.as_slice() {
                [method, template, status, kind, paging] if template.starts_with('/') => {
                    answers.insert(format!("{method} {template}"), (status, kind, paging));
                }
                [name, ref rest @ ..] => {
                    fields.insert(name, rest.iter().filter_map(|field| field.split_once(':')).collect());
                }
                [] => {}
            }
        }
        Shapes { fields, answers }
    }

    impl Shapes {
        fn has(&self, kind: &str, field: &str) -> bool {
            field.is_empty() && kind == "i" || self.fields.get(kind).is_some_and(|own| own.contains_key(field))
        }

        /// What the rows of an answer are, if it has a list there.
        fn row(&self, kind: &'static str, at: &str) -> Option<&'static str> {
            let list = if at.is_empty() { kind } else { self.fields.get(kind)?.get(at)? };
            list.strip_prefix('[')?.strip_suffix(']')
        }
    }

    #[test]
    fn the_key_of_a_row_or_object_is_a_field_that_it_has() {
        let (shapes, catalog) = (shapes(), catalog());
        let mut visited = 0;
        for operation in catalog.operations() {
            let (name, Some(rules)) = (OperationName(operation).to_string(), rules(operation)) else { continue };
            let (_, kind, _) = shapes.answers[&name];
            match &rules.answer {
                AnswerCheck::Rows { at, key, .. } => {
                    let row = shapes.row(kind, at).unwrap_or_else(|| panic!("{name}: {kind} has no list {at:?}"));
                    assert!(key.as_ref().is_none_or(|key| shapes.has(row, &key.field)), "{name}: {row} {key:?}");
                    visited += 1;
                }
                AnswerCheck::Object { key } => {
                    assert!(key.as_ref().is_none_or(|key| shapes.has(kind, &key.field)), "{name}: {kind} {key:?}");
                    visited += 1;
                }
                AnswerCheck::Empty | AnswerCheck::Opaque => {}
            }
        }
        assert!(visited >= 90, "{visited}");
    }

    #[test]
    fn rows_that_name_their_device_or_organization_are_checked_by_it() {
        let (shapes, catalog) = (shapes(), catalog());
        for operation in catalog.operations() {
            let (name, Some(rules)) = (OperationName(operation).to_string(), rules(operation)) else { continue };
            let (_, kind, _) = shapes.answers[&name];
            let inner = match &rules.answer {
                AnswerCheck::Rows { at, key: None, .. } => shapes.row(kind, at).unwrap_or_default(),
                AnswerCheck::Object { key: None } => kind,
                AnswerCheck::Rows { .. } | AnswerCheck::Object { .. } | AnswerCheck::Empty | AnswerCheck::Opaque => {
                    continue;
                }
            };
            for field in ["organizationId", "clientId", "deviceId", "nodeId"] {
                assert!(!shapes.has(inner, field), "{name}: {inner} has {field}, and no key");
            }
        }
    }

    #[test]
    fn paging_is_that_of_the_list() {
        let (shapes, catalog) = (shapes(), catalog());
        for operation in catalog.operations() {
            let (name, Some(rules)) = (OperationName(operation).to_string(), rules(operation)) else { continue };
            let wanted = match shapes.answers[&name].2 {
                "after" => Some(Paging::After),
                "cursor" => Some(Paging::Cursor),
                "older" => Some(Paging::Older),
                _ => None,
            };
            let found = match rules.answer {
                AnswerCheck::Rows { paging, .. } => paging,
                AnswerCheck::Empty | AnswerCheck::Opaque | AnswerCheck::Object { .. } => None,
            };
            assert_eq!(found, wanted, "{name}");
        }
    }

    #[test]
    fn an_answer_without_a_body_is_empty() {
        let (shapes, catalog) = (shapes(), catalog());
        for operation in catalog.operations() {
            let (name, Some(rules)) = (OperationName(operation).to_string(), rules(operation)) else { continue };
            let (_, kind, _) = shapes.answers[&name];
            let may_be_empty = matches!(rules.answer, AnswerCheck::Empty | AnswerCheck::Opaque);
            assert!(kind != "-" || may_be_empty, "{name}: {:?}", rules.answer);
        }
    }

    #[test]
    fn an_opaque_answer_needs_a_request_that_names_something_inside() {
        for operation in catalog().operations() {
            let Some(rules) = rules(operation).filter(|rules| rules.answer == AnswerCheck::Opaque) else { continue };
            let names = |check: &RequestCheck| match check {
                RequestCheck::Path { .. } | RequestCheck::PathEntity { .. } => true,
                RequestCheck::Body { pointer, presence, .. } => {
                    *presence == Presence::Required && !pointer.contains('*')
                }
                RequestCheck::DeviceFilter | RequestCheck::Query { .. } | RequestCheck::BodyWithout { .. } => false,
            };
            assert!(rules.request.iter().any(names), "{}", OperationName(operation));
        }
    }

    #[test]
    fn the_words_of_a_kind_are_read_back() {
        for (word, kind) in EntityKind::ALL {
            assert_eq!(EntityKind::parse(word), Ok(kind));
            assert_eq!(kind.as_str(), word);
        }
    }
}
