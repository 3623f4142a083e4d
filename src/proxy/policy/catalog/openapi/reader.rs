//! Reads the operations of a document, one path after the other.

use std::collections::{HashMap, HashSet};

use http::Method;
use serde_json::{Map, Value};

use super::super::super::path::{MAX_WORD, Segments, fold};
use super::super::{ParameterType, Scope, TemplateSegment};
use super::{Declared, Document, SkipReason, Skipped, shape};

/// The longest chain of references.
const MAX_REFERENCES: usize = 16;

/// The longest word that is shown: a version, a tag, a name.
const MAX_SHOWN: usize = 200;

/// The path of the first server's URL, which comes before each path.
pub(super) fn base(root: &Value) -> String {
    let url = root.pointer("/servers/0/url").or_else(|| root.get("basePath")).and_then(Value::as_str);
    let url = url.unwrap_or_default();
    let path = match url.split_once("://") {
        Some((_, rest)) => rest.find('/').and_then(|slash| rest.get(slash..)).unwrap_or_default(),
        None => url,
    };
    path.trim_end_matches('/').to_owned()
}

pub(super) struct Reader<'a> {
    pub(super) root: &'a Value,
    pub(super) base: String,
    pub(super) document: Document,
    /// Methods with shapes.
    pub(super) seen: HashSet<(Method, String)>,
}

impl<'a> Reader<'a> {
    pub(super) fn path(&mut self, path: &str, item: &'a Value) {
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
            // Swagger 2 writes the type next to the name.
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

/// The scope that `security` asks for. Where several are named, the higher one, but `control` only if it is alone:
/// documents list all three where any will do.
fn scope_of(security: &Value) -> Result<Option<Scope>, SkipReason> {
    let alternatives = security.as_array().ok_or(SkipReason::Kind("security", "list"))?;
    let named = alternatives.iter().filter_map(Value::as_object).flat_map(Map::values).filter_map(Value::as_array);
    let scopes: Vec<Scope> = named.flatten().filter_map(Value::as_str).filter_map(Scope::parse).collect();
    Ok([Scope::Management, Scope::Monitoring, Scope::Control].into_iter().find(|scope| scopes.contains(scope)))
}

/// A value of the document for people and logs: on one line, not too long.
pub(super) fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| short(&value.to_string()), short)
}

fn short(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(MAX_SHOWN).collect()
}
