//! Answers without a sandbox: to a request that a proxy only tries, for things that only a real tenant has.

use std::sync::LazyLock;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use http::uri::PathAndQuery;
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::answer::SandboxAnswer;
use super::fleet::{IdList, InventedThing};
use super::homes::Fleet;
use super::leak::Leak;
use super::paging::Cursors;
use super::query::QueryParameters;
use super::question::{self, KnownIds, SandboxRequest};
use super::shape::Shapes;
use crate::proxy::policy::catalog::Operation;
use crate::proxy::policy::path::Segments;

/// Where the tenant would be.
const ORIGIN: &str = "https://sandbox.ninjarmm.example";
/// How long an invented file is, in bytes.
const FILE: usize = 20_480;

/// The first request that is tried reads them.
static SHAPES: LazyLock<Shapes> = LazyLock::new(Shapes::built_in);
/// Where the rule puts all.
static FLEET: Fleet = Fleet::new();

/// An invented answer to a request for an operation, of the shape that it declares; `None` if that is not known. All that
/// the path names is taken to exist. A report ends after its first page.
pub fn simulated_answer(operation: &Operation, target: &PathAndQuery, body: &[u8]) -> Option<Response<Bytes>> {
    let path = Segments::parse(target.path()).ok()?;
    let mut query = QueryParameters::parse(target.query().unwrap_or_default());
    // It is the tenant's, or was invented and is forgotten.
    let is_later_page = query.remove("cursor");
    let parameters = question::parameters(operation, &path);
    let request = SandboxRequest {
        operation,
        parameters,
        query: &query,
        body: serde_json::from_slice(body).unwrap_or(Value::Null),
        origin: ORIGIN,
        cursors: &Cursors::default(),
        ids: KnownIds::All,
        fleet: &FLEET,
        leak: &Leak::NONE,
    };
    let mut answer = request.answer(&SHAPES).ok()?;
    if let SandboxAnswer::Json(_, value) = &mut answer {
        if is_later_page && let Some(results) = value.get_mut("results") {
            *results = json!([]);
        }
        name_as_in_path(value, &request);
    }
    response(answer)
}

/// The path names something that the invented fleet does not have: the answer names it so too.
fn name_as_in_path(answer: &mut Value, request: &SandboxRequest<'_>) {
    let Some((_, Ok(number))) = request.parameters.first().map(|(name, id)| (name, id.parse::<u64>())) else { return };
    let stand_in = request.anchor().ok().flatten();
    if let Some(id) = answer.get_mut("id")
        && stand_in.is_some_and(|thing| *id == json!(thing.id))
    {
        *id = json!(number);
    }
}

/// What stands for a thing of this kind that only the tenant has.
pub(super) fn stand_in<'a>(fleet: &'a Fleet, kind: IdList, id: &str) -> Option<InventedThing<'a>> {
    let count = kind.ids().count();
    let place = id.parse::<u64>().ok().and_then(|id| usize::try_from(id.checked_rem(count as u64)?).ok());
    kind.ids().nth(place.unwrap_or(0)).map(|id| fleet.thing(kind, id))
}

fn response(answer: SandboxAnswer) -> Option<Response<Bytes>> {
    let with = |status, body: Bytes, field: Option<(_, HeaderValue)>| {
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::from_u16(status).ok()?;
        response.headers_mut().extend(field);
        Some(response)
    };
    match answer {
        SandboxAnswer::Json(status, value) => {
            let json = HeaderValue::from_static("application/json");
            with(status, Bytes::from(value.to_string()), Some((CONTENT_TYPE, json)))
        }
        SandboxAnswer::Empty(status) => with(status, Bytes::new(), None),
        SandboxAnswer::Redirect(location) => {
            with(302, Bytes::new(), Some((LOCATION, HeaderValue::from_str(&location).ok()?)))
        }
        SandboxAnswer::Download(_) => {
            let kind = HeaderValue::from_static("application/octet-stream");
            with(200, Bytes::from_static(&[b'x'; FILE]), Some((CONTENT_TYPE, kind)))
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::proxy::policy::catalog::{Catalog, ParameterType, TemplateSegment};
    use crate::sandbox::shape::Outline;

    /// A path with ids that the fleet does not have.
    fn foreign(operation: &Operation) -> PathAndQuery {
        let part = |segment: &TemplateSegment| match segment {
            TemplateSegment::Literal(text) => text.clone(),
            TemplateSegment::Parameter(_, ParameterType::Uid) => "3f2c8a9e-0000-4000-8000-00000000abcd".to_owned(),
            TemplateSegment::Parameter(_, ParameterType::OneOf(words)) => words[0].clone(),
            TemplateSegment::Parameter(_, ParameterType::Integer) => "4711".to_owned(),
            TemplateSegment::Parameter(_, ParameterType::Name) => "myField".to_owned(),
        };
        let path: String = operation.segments.iter().map(|segment| format!("/{}", part(segment))).collect();
        path.parse().expect("a path")
    }

    /// Whether a value is of a kind, by the letter of `shapes.txt`.
    fn is_of(kind: &str, value: &Value) -> Result<(), String> {
        let is = |fits: bool| fits.then_some(()).ok_or_else(|| format!("{value} is not {kind}"));
        if let Some(element) = kind.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            return value.as_array().ok_or("not a list")?.iter().try_for_each(|value| is_of(element, value));
        }
        if let Some(words) = kind.strip_prefix('=') {
            return is(value.as_str().is_some_and(|value| words.split('|').any(|word| word == value)));
        }
        match kind {
            "s" | "d" | "u" => is(value.is_string()),
            "i" => is(value.is_u64()),
            "n" | "t" => is(value.is_number()),
            "b" => is(value.is_boolean()),
            "o" | "m" | "M" => is(!value.is_null()),
            "url" => is(value.as_str().is_some_and(|url| url.starts_with("https://"))),
            name => {
                let definition = SHAPES.definition(name).ok_or_else(|| format!("{name} is not defined"))?;
                if definition.starts_with('=') {
                    return is_of(definition, value);
                }
                let fields: Vec<_> = definition.split(' ').filter_map(|field| field.split_once(':')).collect();
                let object = value.as_object().ok_or_else(|| format!("{name} is {value}"))?;
                let known = |key: &String| fields.iter().any(|(field, _)| field == key);
                if let Some(unknown) = object.keys().find(|key| !known(key)) {
                    return Err(format!("{name} has no {unknown}"));
                }
                fields.iter().try_for_each(|(field, kind)| match object.get(*field) {
                    None => Err(format!("{name} lacks {field}")),
                    Some(value) => is_of(kind, value).map_err(|error| format!("{name}.{field}: {error}")),
                })
            }
        }
    }

    #[test]
    fn every_operation_has_an_answer_of_its_shape_for_things_that_only_a_tenant_has() {
        let catalog = Catalog::built_in().expect("good");
        let (mut writes, mut bodies, mut wrong) = (0, 0, Vec::new());
        for operation in catalog.operations() {
            let name = format!("{} {}", operation.method, operation.template);
            let Outline { status, kind, .. } = SHAPES.outline(&name).expect("a shape");
            let answer = simulated_answer(operation, &foreign(operation), b"{}").expect("an answer");
            assert_eq!(answer.status(), status, "{name}");
            writes += usize::from(operation.method != Method::GET);
            assert_eq!(kind.is_empty(), answer.body().is_empty(), "{name}");
            if answer.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == "application/json") {
                let value: Value = serde_json::from_slice(answer.body()).expect("JSON");
                // A device has all that its class has.
                let kind = if kind.trim_matches(['[', ']']) == "Device" { "o" } else { kind };
                wrong.extend(is_of(kind, &value).err().map(|error| format!("{name}: {error}")));
                bodies += 1;
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert!(writes == 164 && bodies >= 200, "{writes} {bodies}");
    }

    #[test]
    fn an_answer_names_what_the_path_names() {
        let catalog = Catalog::built_in().expect("good");
        let answer = |method: Method, target: &str| {
            let target: PathAndQuery = target.parse().expect("a target");
            let operation = catalog.find(&method, target.path()).expect("known");
            let body = simulated_answer(operation, &target, b"").expect("an answer").into_body();
            serde_json::from_slice::<Value>(&body).expect("JSON")
        };
        assert_eq!(answer(Method::GET, "/v2/device/4711")["id"], 4711);
        assert_eq!(answer(Method::GET, "/v2/device/4711/alerts")[0]["deviceId"], 4711);
        assert_eq!(answer(Method::GET, "/v2/device/7")["id"], 7);
        assert_eq!(answer(Method::PUT, "/v2/ticketing/ticket/98765")["id"], 98765);
    }

    #[test]
    fn a_report_ends_after_its_first_page() {
        let catalog = Catalog::built_in().expect("good");
        let operation = catalog.find(&Method::GET, "/v2/queries/disks").expect("known");
        let rows = |target: &'static str| {
            let answer = simulated_answer(operation, &PathAndQuery::from_static(target), b"").expect("an answer");
            let value: Value = serde_json::from_slice(answer.body()).expect("JSON");
            value["results"].as_array().expect("rows").len()
        };
        assert_eq!(rows("/v2/queries/disks?pageSize=5"), 5);
        assert_eq!(rows("/v2/queries/disks?pageSize=5&cursor=anything"), 0);
    }
}
