//! NinjaOne's OpenAPI document, as far as the proxy cares: methods, path templates, parameter types, tags and scopes.

mod reader;

use std::collections::HashSet;

use http::Method;
use serde_json::Value;

use super::super::path::MalformedTarget;
use super::yaml::{self, YamlError};
use super::{Scope, TemplateSegment};
use reader::{Reader, base, shown};

/// The largest document, in bytes; NinjaOne's has about 520 KiB.
pub const MAX_DOCUMENT: u64 = 64 << 20;

/// The most operations: each is a row of every policy and a label of metrics.
const MAX_OPERATIONS: usize = 10_000;

/// A document that was read.
#[derive(Debug)]
pub struct Document {
    /// Its version, such as `2.0.9-draft`.
    pub version: String,
    /// The operations below `/v2/`, sorted by path.
    pub operations: Vec<Declared>,
    /// What cannot be used.
    pub skipped: Vec<Skipped>,
    /// How many operations are not below `/v2/`.
    pub outside: usize,
}

/// An operation as a document declares it.
#[derive(Debug, Clone)]
pub struct Declared {
    /// The request method.
    pub method: Method,
    /// The segments of the path after the leading slash.
    pub segments: Vec<TemplateSegment>,
    /// The scope that its own `security` names.
    pub scope: Option<Scope>,
    /// Its tags.
    pub tags: Vec<String>,
    /// Its `operationId`; empty without one.
    pub id: String,
}

/// An operation that is left out.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{operation} is left out: {cause}")]
pub struct Skipped {
    /// Its method and path; its path alone if that cannot be used.
    pub operation: String,
    /// Why.
    pub cause: SkipReason,
}

/// Why an operation is left out.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SkipReason {
    /// A path that no request can have.
    #[error(transparent)]
    Path(#[from] MalformedTarget),
    /// A path that is not a template.
    #[error("{0}")]
    Template(&'static str),
    /// `$ref` to another file, to nothing, or in a circle.
    #[error("the reference {0:?} leads nowhere in the document")]
    Reference(String),
    /// Something other than `key: value`.
    #[error("its {0} is not a {1}")]
    Kind(&'static str, &'static str),
    /// An enumeration of no words, or of a word that no segment can be.
    #[error("the parameter {0} is one of words that cannot be in a path")]
    Words(String),
    /// A key that may be a method of a later OpenAPI.
    #[error("{0:?} is not a method that the proxy knows")]
    Method(String),
    /// The same template with the same method, maybe with other names.
    #[error("the document has it twice")]
    Twice,
    /// A request that is judged as another operation today would be judged as this one.
    #[error("it would take requests from {0}")]
    Shadows(String),
    /// The catalogue cannot hold it.
    #[error("{0}")]
    Catalog(&'static str),
}

/// Why a text is not a document.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// It is too long.
    #[error("it is larger than {} MiB", MAX_DOCUMENT >> 20)]
    TooLarge,
    /// It begins with `{`, and is not JSON.
    #[error("it begins with {{ and is not JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// It is not YAML.
    #[error("it is not YAML: {0}")]
    Yaml(#[from] YamlError),
    /// Its root is a word or a list.
    #[error("it is not an OpenAPI document: it is not a mapping of keys to values")]
    NoMapping,
    /// It declares nothing.
    #[error("it is not an OpenAPI document: it has no paths")]
    NoPaths,
    /// It declares too much.
    #[error("it has more than {MAX_OPERATIONS} operations")]
    TooMany,
}

impl Document {
    /// Reads a document, in JSON if it begins with `{`, else in YAML.
    pub fn parse(text: &str) -> Result<Self, DocumentError> {
        if text.len() as u64 > MAX_DOCUMENT {
            return Err(DocumentError::TooLarge);
        }
        let text = text.trim_start_matches('\u{feff}');
        let root = if text.trim_start().starts_with('{') { serde_json::from_str(text)? } else { yaml::parse(text)? };
        let members = root.as_object().ok_or(DocumentError::NoMapping)?;
        let paths = members.get("paths").and_then(Value::as_object).filter(|paths| !paths.is_empty());
        let version = root.pointer("/info/version").map(shown).unwrap_or_default();
        let version = if version.is_empty() { "no version".to_owned() } else { version };
        let document = Self { version, operations: Vec::new(), skipped: Vec::new(), outside: 0 };
        let mut reader = Reader { root: &root, base: base(&root), document, seen: HashSet::new() };
        for (path, item) in paths.ok_or(DocumentError::NoPaths)? {
            reader.path(path, item);
            let Self { operations, skipped, outside, .. } = &reader.document;
            if operations.len() + skipped.len() + outside > MAX_OPERATIONS {
                return Err(DocumentError::TooMany);
            }
        }
        Ok(reader.document)
    }
}

impl Declared {
    /// The template without types, such as `/v2/device/{id}`.
    pub fn template(&self) -> String {
        self.segments.iter().map(|segment| format!("/{segment}")).collect()
    }
}

/// A template without the names and types of its parameters: what makes two operations the same.
pub(super) fn shape(segments: &[TemplateSegment]) -> String {
    let segment = |segment: &TemplateSegment| match segment {
        TemplateSegment::Literal(text) => format!("/{text}"),
        TemplateSegment::Parameter(..) => "/{}".to_owned(),
    };
    segments.iter().map(segment).collect()
}
