//! One operation of the catalogue.

use std::fmt;

use http::Method;

use super::super::group::Group;
use super::words::Words;
use super::{Fencing, Risk, Scope};

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
    /// How it is kept inside a fence of organizations.
    pub fencing: Fencing,
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

/// A place in [`super::Catalog::operations`]; valid for the catalogue that gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OperationId(pub(super) u32);

impl OperationId {
    /// The position in [`super::Catalog::operations`], from 0.
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
    /// Any segment that [`super::super::path`] lets pass.
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

pub(super) fn parse_operation(line: &str) -> Result<Operation, &'static str> {
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
    Ok(Operation {
        method,
        template,
        segments,
        scope,
        group,
        risk,
        idempotent,
        user_context,
        document,
        fencing: Fencing::default(),
        reason: None,
    })
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
    pub(super) fn longest_word(&self) -> usize {
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
