//! How each operation is kept inside a fence of organizations: `fencing.tsv`, read line by line.

use std::collections::HashMap;

use super::operation::{Operation, OperationName};

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
}

/// Whether a value must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Without it the request is refused.
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
    /// One JSON value, if it is inside.
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

    fn parse(word: &str) -> Result<Self, &'static str> {
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
            "LOCATION" => Self::Location,
            "NODE" | "DEVICE" => Self::Device,
            "END_USER" => Self::EndUser,
            "CONTACT" => Self::Contact,
            "DOCUMENT" => Self::Document,
            "CHECKLIST" => Self::Checklist,
            "KB_DOCUMENT" => Self::Article,
            _ => return None,
        })
    }
}

fn parse_line(line: &str) -> Result<(&str, Fencing), &'static str> {
    let mut columns = line.split('\t');
    let mut column = || columns.next().filter(|text| !text.is_empty()).ok_or("fewer than 4 columns");
    let (operation, request, answer, reason) = (column()?, column()?, column()?, column()?.to_owned());
    let rules = match request {
        "closed" if answer == "-" => None,
        "closed" => return Err("what is closed has no answer"),
        _ => Some(FenceRules { request: parse_request(request)?, answer: parse_answer(answer)? }),
    };
    Ok((operation, Fencing { rules, reason }))
}

fn parse_request(text: &str) -> Result<Vec<RequestCheck>, &'static str> {
    if text == "-" {
        return Ok(Vec::new());
    }
    text.split(',').map(parse_check).collect()
}

fn parse_check(text: &str) -> Result<RequestCheck, &'static str> {
    let parts: Vec<_> = text.split(':').collect();
    Ok(match *parts.as_slice() {
        ["df"] => RequestCheck::DeviceFilter,
        ["path", kind, parameter] => {
            RequestCheck::Path { kind: EntityKind::parse(kind)?, parameter: parameter.to_owned() }
        }
        ["path-entity", word, id] => RequestCheck::PathEntity { word: word.to_owned(), id: id.to_owned() },
        ["query", kind, name, presence] => RequestCheck::Query {
            kind: EntityKind::parse(kind)?,
            name: name.to_owned(),
            presence: Presence::parse(presence)?,
        },
        ["body", kind, pointer, presence] => RequestCheck::Body {
            kind: EntityKind::parse(kind)?,
            pointer: pointer.to_owned(),
            presence: Some(Presence::parse(presence)?)
                .filter(|presence| *presence != Presence::Added)
                .ok_or("nothing is added to a body")?,
        },
        _ => return Err("unknown check of a request"),
    })
}

impl Presence {
    fn parse(word: &str) -> Result<Self, &'static str> {
        match word {
            "required" => Ok(Self::Required),
            "optional" => Ok(Self::Optional),
            "added" => Ok(Self::Added),
            _ => Err("required, optional or added"),
        }
    }
}

impl RowKey {
    fn parse(kind: &str, field: &str) -> Result<Self, &'static str> {
        Ok(Self { kind: EntityKind::parse(kind)?, field: field.to_owned() })
    }
}

fn parse_answer(text: &str) -> Result<AnswerCheck, &'static str> {
    let (text, paging) = match text.split_once('+') {
        None => (text, None),
        Some((text, "after")) => (text, Some(Paging::After)),
        Some((text, "cursor")) => (text, Some(Paging::Cursor)),
        Some((text, "older")) => (text, Some(Paging::Older)),
        Some(_) => return Err("unknown paging"),
    };
    let (text, at) = text.split_once('@').unwrap_or((text, ""));
    let parts: Vec<_> = text.split(':').collect();
    let at = at.to_owned();
    Ok(match *parts.as_slice() {
        ["empty"] => AnswerCheck::Empty,
        ["opaque"] => AnswerCheck::Opaque,
        ["object"] => AnswerCheck::Object { key: None },
        ["object", kind, field] => AnswerCheck::Object { key: Some(RowKey::parse(kind, field)?) },
        ["rows"] => AnswerCheck::Rows { at, key: None, paging },
        ["rows", kind, field] => AnswerCheck::Rows { at, key: Some(RowKey::parse(kind, field)?), paging },
        _ => return Err("unknown check of an answer"),
    })
}
