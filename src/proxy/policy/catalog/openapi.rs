//! NinjaOne's OpenAPI document, as far as the proxy cares: methods, path templates, parameter types, tags and scopes.

use std::collections::{HashMap, HashSet};

use http::Method;
use serde_json::{Map, Value};

use super::super::path::{MAX_WORD, MalformedTarget, Segments, fold};
use super::yaml::{self, YamlError};
use super::{ParameterType, Scope, TemplateSegment};

/// The largest document, in bytes; NinjaOne's has about 520 KiB.
pub const MAX_DOCUMENT: u64 = 64 << 20;

/// The most operations: each is a row of every policy and a label of metrics.
const MAX_OPERATIONS: usize = 10_000;

/// The longest chain of references.
const MAX_REFERENCES: usize = 16;

/// The longest word that is shown: a version, a tag, a name.
const MAX_SHOWN: usize = 200;

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
    /// A path that is no template.
    #[error("{0}")]
    Template(&'static str),
    /// `$ref` to another file, to nothing, or in a circle.
    #[error("the reference {0:?} leads nowhere in the document")]
    Reference(String),
    /// Something other than `key: value`.
    #[error("its {0} is no {1}")]
    Kind(&'static str, &'static str),
    /// An enumeration of no words, or of a word that no segment can be.
    #[error("the parameter {0} is one of words that cannot stand in a path")]
    Words(String),
    /// A key that may be a method of a later OpenAPI.
    #[error("{0:?} is no method that the proxy knows")]
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

/// Why a text is no document.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// It is too long.
    #[error("it is larger than {} MiB", MAX_DOCUMENT >> 20)]
    TooLarge,
    /// It begins with `{`, and is no JSON.
    #[error("it begins with {{ and is no JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// It is no YAML.
    #[error("it is no YAML: {0}")]
    Yaml(#[from] YamlError),
    /// Its root is a word or a list.
    #[error("it is no OpenAPI document: it is no mapping of keys to values")]
    NoMapping,
    /// It declares nothing.
    #[error("it is no OpenAPI document: it has no paths")]
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

/// The path of the first server's URL, which stands before each path.
fn base(root: &Value) -> String {
    let url = root.pointer("/servers/0/url").or_else(|| root.get("basePath")).and_then(Value::as_str);
    let url = url.unwrap_or_default();
    let path = match url.split_once("://") {
        Some((_, rest)) => rest.find('/').and_then(|slash| rest.get(slash..)).unwrap_or_default(),
        None => url,
    };
    path.trim_end_matches('/').to_owned()
}

struct Reader<'a> {
    root: &'a Value,
    base: String,
    document: Document,
    /// Methods with shapes.
    seen: HashSet<(Method, String)>,
}

impl<'a> Reader<'a> {
    fn path(&mut self, path: &str, item: &'a Value) {
        let item = match self.resolve(item).and_then(|item| mapping(item, "path")) {
            Ok(item) => item,
            Err(cause) => return self.skip(None, path, cause),
        };
        let based = format!("{}{path}", self.base);
        let Some(path) = [path, &based].into_iter().map(fold).find(|path| path.starts_with("/v2/")) else {
            self.document.outside += item.keys().filter(|key| matches!(role(key), Role::Method(_))).count();
            return;
        };
        for (key, operation) in item {
            let method = match role(key) {
                Role::Method(method) => method,
                Role::Nothing => continue,
                Role::Unknown => {
                    self.skip(None, path, SkipReason::Method(short(key)));
                    continue;
                }
            };
            match self.operation(path, item, &method, operation) {
                Ok(declared) => self.document.operations.push(declared),
                Err(cause) => self.skip(Some(&method), path, cause),
            }
        }
    }

    fn skip(&mut self, method: Option<&Method>, path: &str, cause: SkipReason) {
        let path: String = path.escape_debug().take(MAX_SHOWN).collect();
        let operation = method.map_or_else(|| path.clone(), |method| format!("{method} {path}"));
        self.document.skipped.push(Skipped { operation, cause });
    }

    fn operation(
        &mut self,
        path: &str,
        item: &'a Map<String, Value>,
        method: &Method,
        operation: &'a Value,
    ) -> Result<Declared, SkipReason> {
        let operation = mapping(self.resolve(operation)?, "operation")?;
        let types = self.types([item, operation])?;
        let segments = template(path, &types)?;
        if !self.seen.insert((method.clone(), shape(&segments))) {
            return Err(SkipReason::Twice);
        }
        let scope = operation.get("security").map(scope_of).transpose()?.flatten();
        let tags = operation.get("tags").and_then(Value::as_array).into_iter().flatten().map(shown).collect();
        let id = operation.get("operationId").map(shown).unwrap_or_default();
        Ok(Declared { method: method.clone(), segments, scope, tags, id })
    }

    /// The types of the path's parameters by name; an operation's win over its path's.
    fn types(&self, of: [&'a Map<String, Value>; 2]) -> Result<HashMap<&'a str, ParameterType>, SkipReason> {
        let mut types = HashMap::new();
        for parameters in of.into_iter().filter_map(|holder| holder.get("parameters")) {
            for parameter in parameters.as_array().ok_or(SkipReason::Kind("parameters", "list"))? {
                let parameter = mapping(self.resolve(parameter)?, "parameter")?;
                if parameter.get("in").and_then(Value::as_str) == Some("path")
                    && let Some(name) = parameter.get("name").and_then(Value::as_str)
                {
                    types.insert(name, self.parameter_type(name, parameter)?);
                }
            }
        }
        Ok(types)
    }

    fn parameter_type(&self, name: &str, parameter: &'a Map<String, Value>) -> Result<ParameterType, SkipReason> {
        let schema = match parameter.get("schema") {
            Some(schema) => mapping(self.resolve(schema)?, "schema")?,
            // Swagger 2 writes the type beside the name.
            None => parameter,
        };
        let kinds: Vec<&str> = match schema.get("type") {
            Some(Value::Array(kinds)) => {
                kinds.iter().filter_map(Value::as_str).filter(|kind| *kind != "null").collect()
            }
            kind => kind.and_then(Value::as_str).into_iter().collect(),
        };
        Ok(match (kinds.as_slice(), schema.get("enum").and_then(Value::as_array)) {
            (["integer"], _) => ParameterType::Integer,
            ([] | ["string"], Some(words)) => words_of(name, words)?,
            ([] | ["string"], None) if schema.get("format").and_then(Value::as_str) == Some("uuid") => {
                ParameterType::Uid
            }
            ([..], _) => ParameterType::Name,
        })
    }

    /// What a `$ref` within the document means.
    fn resolve(&self, value: &'a Value) -> Result<&'a Value, SkipReason> {
        let mut value = value;
        for _ in 0..MAX_REFERENCES {
            let Some(reference) = value.get("$ref") else { return Ok(value) };
            let nowhere = || SkipReason::Reference(shown(reference));
            let pointer = reference.as_str().and_then(|text| text.strip_prefix('#')).ok_or_else(nowhere)?;
            value = self.root.pointer(pointer).ok_or_else(nowhere)?;
        }
        Err(SkipReason::Reference(value.get("$ref").map(shown).unwrap_or_default()))
    }
}

fn mapping<'a>(value: &'a Value, what: &'static str) -> Result<&'a Map<String, Value>, SkipReason> {
    value.as_object().ok_or(SkipReason::Kind(what, "mapping"))
}

/// What a key of a path item is.
enum Role {
    Method(Method),
    Nothing,
    Unknown,
}

fn role(key: &str) -> Role {
    match key.to_ascii_lowercase().as_str() {
        "get" => Role::Method(Method::GET),
        "post" => Role::Method(Method::POST),
        "put" => Role::Method(Method::PUT),
        "patch" => Role::Method(Method::PATCH),
        "delete" => Role::Method(Method::DELETE),
        // HEAD follows GET; the other two are nothing that NinjaOne offers.
        "head" | "options" | "trace" => Role::Nothing,
        "$ref" | "summary" | "description" | "servers" | "parameters" => Role::Nothing,
        extension if extension.starts_with("x-") => Role::Nothing,
        _ => Role::Unknown,
    }
}

/// The segments of a path below `/v2/`, each parameter with its type.
fn template(path: &str, types: &HashMap<&str, ParameterType>) -> Result<Vec<TemplateSegment>, SkipReason> {
    let segments = path.split('/').skip(1).map(|text| segment(text, types)).collect::<Result<Vec<_>, _>>()?;
    let example = |segment: &TemplateSegment| match segment {
        TemplateSegment::Literal(text) => format!("/{text}"),
        TemplateSegment::Parameter(..) => "/1".to_owned(),
    };
    Segments::parse(&segments.iter().map(example).collect::<String>())?;
    Ok(segments)
}

fn segment(text: &str, types: &HashMap<&str, ParameterType>) -> Result<TemplateSegment, SkipReason> {
    let Some(name) = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) else {
        return match text {
            _ if text.contains(['{', '}']) => Err(SkipReason::Template("a parameter is only a part of a segment")),
            // What is empty is refused by name, with the other paths that no request can have.
            _ if text.is_empty() || is_plain(text) => Ok(TemplateSegment::Literal(text.to_owned())),
            _ => Err(SkipReason::Template(
                "a segment is too long, or has other characters than letters, digits and -._~",
            )),
        };
    };
    if !is_plain(name) {
        return Err(SkipReason::Template(
            "the name of a parameter is too long, or has other characters than letters, digits and -._~",
        ));
    }
    let kind = types.get(name).cloned().unwrap_or(ParameterType::Name);
    Ok(TemplateSegment::Parameter(name.to_owned(), kind))
}

/// A word that logs, metrics and rules can show as it is.
fn is_plain(word: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    !word.is_empty() && word.len() <= MAX_WORD && word.bytes().all(plain)
}

fn words_of(name: &str, words: &[Value]) -> Result<ParameterType, SkipReason> {
    let mut list = Vec::new();
    for word in words.iter().filter(|word| !word.is_null()) {
        let word = match word {
            Value::String(word) => word.clone(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => word.to_string(),
        };
        if Segments::parse(&format!("/{word}")).is_err() || !is_plain(&word) {
            return Err(SkipReason::Words(short(name)));
        }
        list.push(word);
    }
    if list.is_empty() {
        Err(SkipReason::Words(short(name)))
    } else {
        Ok(ParameterType::OneOf(list.into_iter().collect()))
    }
}

/// The scope that `security` asks for. Where several are named, the higher one, but `control` only if it stands alone:
/// documents list all three where any will do.
fn scope_of(security: &Value) -> Result<Option<Scope>, SkipReason> {
    let alternatives = security.as_array().ok_or(SkipReason::Kind("security", "list"))?;
    let named = alternatives.iter().filter_map(Value::as_object).flat_map(Map::values).filter_map(Value::as_array);
    let scopes: Vec<Scope> = named.flatten().filter_map(Value::as_str).filter_map(Scope::parse).collect();
    Ok([Scope::Management, Scope::Monitoring, Scope::Control].into_iter().find(|scope| scopes.contains(scope)))
}

/// A value of the document for people and logs: on one line, not too long.
fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| short(&value.to_string()), short)
}

fn short(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(MAX_SHOWN).collect()
}
