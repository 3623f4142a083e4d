//! What a request names, and the target that asks for what is inside.

use http::uri::PathAndQuery;

use super::EntityId;
use super::fence_error::FenceError;
use crate::proxy::policy::Organizations;
use crate::proxy::policy::body::{JsonBody, count_at, named_at, references_of_body};
use crate::proxy::policy::catalog::{
    AnswerCheck, EntityKind, FenceRules, Operation, Presence, RequestCheck, TemplateSegment,
};
use crate::proxy::policy::path::Segments;
use crate::proxy::policy::query::Query;
use crate::proxy::policy::references::{FieldRole, ReferenceField};

/// The parameter of the device filter.
const DEVICE_FILTER: &str = "df";

/// Something that a request names.
pub type Named = (EntityKind, EntityId);

/// All that path and query name. Each must be inside.
pub fn named(operation: &Operation, rules: &FenceRules, target: &PathAndQuery) -> Result<Vec<Named>, FenceError> {
    let path = Segments::parse(target.path()).map_err(|_| FenceError::Outside)?;
    let query = Query::new(target.query());
    let mut named = Vec::new();
    for check in &rules.request {
        match check {
            RequestCheck::Path { kind, parameter } => {
                let value = value(operation, &path, parameter);
                named.push((*kind, value.as_deref().and_then(id).ok_or(FenceError::Outside)?));
            }
            RequestCheck::PathEntity { word, id: parameter } => {
                let kind = value(operation, &path, word).and_then(|word| EntityKind::of_entity_type(&word));
                let id = value(operation, &path, parameter).as_deref().and_then(id);
                named.push(kind.zip(id).ok_or(FenceError::Outside)?);
            }
            RequestCheck::Query { kind, name, presence } => {
                let ids = query_ids(query, name)?;
                if ids.is_empty() && *presence == Presence::Required {
                    return Err(FenceError::QueryMissing(name.clone()));
                }
                named.extend(ids.into_iter().map(|id| (*kind, id)));
            }
            RequestCheck::DeviceFilter | RequestCheck::Body { .. } | RequestCheck::BodyWithout { .. } => {}
        }
    }
    named.extend(named_in_query(query)?);
    Ok(distinct(named))
}

/// Each once, in order.
fn distinct(mut named: Vec<Named>) -> Vec<Named> {
    named.sort_unstable();
    named.dedup();
    named
}

/// What parameters name that are called as a reference is, be they declared or not: a server may know more of them than
/// the catalog.
fn named_in_query(query: Query<'_>) -> Result<Vec<Named>, FenceError> {
    let mut named = Vec::new();
    for field in ReferenceField::all() {
        match field.role {
            FieldRole::Id(kind) | FieldRole::Ids(kind) => {
                named.extend(query_ids(query, field.name)?.into_iter().map(|id| (kind, id)));
            }
            FieldRole::Thing(_) | FieldRole::PairId(_) | FieldRole::Word(_) => {}
        }
    }
    Ok(named)
}

/// All that a JSON body names: where the operation has it, and wherever else a field of the name is. Each must be inside.
pub fn named_in_body(rules: &FenceRules, body: &JsonBody) -> Result<Vec<Named>, FenceError> {
    let mut named = references_of_body(body)?;
    for check in &rules.request {
        match check {
            RequestCheck::Body { kind, pointer, presence } => {
                let ids = named_at(body, pointer, *kind)?;
                if *presence == Presence::Required && ids.len() < least_at(body, pointer)? {
                    return Err(FenceError::BodyMissing(pointer.clone()));
                }
                named.extend(ids.into_iter().map(|id| (*kind, id)));
            }
            RequestCheck::BodyWithout { pointer } => {
                if count_at(body, pointer)? > 0 {
                    return Err(FenceError::BodyUnwanted(pointer.clone()));
                }
            }
            RequestCheck::Path { .. }
            | RequestCheck::PathEntity { .. }
            | RequestCheck::DeviceFilter
            | RequestCheck::Query { .. } => {}
        }
    }
    Ok(distinct(named))
}

/// How many ids must be at a place: one in each element of the last array on the way, of which there may be none.
fn least_at(body: &JsonBody, pointer: &str) -> Result<usize, FenceError> {
    match pointer.rsplit_once("/*") {
        None => Ok(1),
        Some((array, "")) if count_at(body, array)? == 0 => Ok(1),
        Some((_, "")) => Ok(0),
        Some((array, _)) => Ok(count_at(body, &format!("{array}/*"))?),
    }
}

/// Whether an answer without a body tells nothing: what the path names was looked up, or the answer is not one object.
pub fn may_leave_out_body(rules: &FenceRules) -> bool {
    let is_of_path =
        |check: &RequestCheck| matches!(check, RequestCheck::Path { .. } | RequestCheck::PathEntity { .. });
    !matches!(rules.answer, AnswerCheck::Object { .. }) || rules.request.iter().any(is_of_path)
}

/// The first place of a body that must name something.
pub fn needed_in_body(rules: &FenceRules) -> Option<&str> {
    rules.request.iter().find_map(|check| match check {
        RequestCheck::Body { pointer, presence: Presence::Required, .. } => Some(pointer.as_str()),
        RequestCheck::Body { .. }
        | RequestCheck::BodyWithout { .. }
        | RequestCheck::Path { .. }
        | RequestCheck::PathEntity { .. }
        | RequestCheck::DeviceFilter
        | RequestCheck::Query { .. } => None,
    })
}

/// The target that asks for the organizations inside only; `None` if it does already, as far as it can.
pub fn narrowed(rules: &FenceRules, target: &PathAndQuery, organizations: &Organizations) -> Option<PathAndQuery> {
    let ids = organizations.ids().iter().map(u64::to_string).collect::<Vec<_>>().join(",");
    let mut narrowed = None;
    for check in &rules.request {
        let query = Query::new(narrowed.as_ref().map_or(target.query(), PathAndQuery::query));
        let (name, value) = match check {
            RequestCheck::DeviceFilter => (DEVICE_FILTER, device_filter(query, &ids)?),
            RequestCheck::Query { name, presence: Presence::Added, .. } if !query.may_have(name, None) => {
                (name.as_str(), ids.clone())
            }
            RequestCheck::Path { .. }
            | RequestCheck::PathEntity { .. }
            | RequestCheck::Query { .. }
            | RequestCheck::Body { .. }
            | RequestCheck::BodyWithout { .. } => continue,
        };
        narrowed = with_value(target.path(), query, name, &value).or(narrowed);
    }
    narrowed
}

/// The same target with one value of a parameter.
pub fn with_parameter(target: &PathAndQuery, name: &str, value: &str) -> Option<PathAndQuery> {
    with_value(target.path(), Query::new(target.query()), name, value)
}

fn with_value(path: &str, query: Query<'_>, name: &str, value: &str) -> Option<PathAndQuery> {
    format!("{path}?{}", query.with_value(name, value)).parse().ok()
}

/// The caller's filter, and the clause for the organizations in front of it. `None` if it has several, which servers
/// could read differently: then only the rows are checked.
fn device_filter(query: Query<'_>, ids: &str) -> Option<String> {
    let clause = format!("org%20in%20({ids})");
    match query.may_have(DEVICE_FILTER, None) {
        false => Some(clause),
        true => query.written(DEVICE_FILTER).map(|own| match own.as_str() {
            "" => clause,
            own => format!("{clause}%20AND%20{own}"),
        }),
    }
}

fn query_ids(query: Query<'_>, name: &str) -> Result<Vec<EntityId>, FenceError> {
    let unclear = || FenceError::QueryUnclear(name.to_owned());
    let values = query.values(name).map_err(|_| unclear())?;
    let ids = values.iter().flat_map(|value| value.split(',')).map(|text| id(text).ok_or_else(unclear));
    ids.collect()
}

/// The value of a parameter of the path.
fn value(operation: &Operation, path: &Segments<'_>, parameter: &str) -> Option<String> {
    let is_it = |segment: &TemplateSegment| match segment {
        TemplateSegment::Parameter(name, _) => name == parameter,
        TemplateSegment::Literal(_) => false,
    };
    let depth = operation.segments.iter().position(is_it)?;
    Some(path.get(depth)?.decoded().into_owned())
}

/// An id as all servers read it: digits without a zero in front, or a UUID.
fn id(text: &str) -> Option<EntityId> {
    EntityId::parse(text).filter(|_| !text.starts_with('0') || text.contains('-'))
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::proxy::policy::catalog::Catalog;
    use crate::proxy::policy::path::Segments;

    fn of<T>(method: &str, target: &str, look: impl FnOnce(&Operation, &FenceRules, &PathAndQuery) -> T) -> T {
        let catalog = Catalog::built_in().expect("good");
        let target: PathAndQuery = target.parse().expect("a target");
        let method = method.parse().expect("a method");
        let id = catalog.at(&Segments::parse(target.path()).expect("a path")).expect("a place").of(&method);
        let operation = id.and_then(|id| catalog.get(id)).expect("an operation");
        look(operation, operation.fencing.rules.as_ref().expect("rules"), &target)
    }

    fn names(method: &str, target: &str) -> Result<Vec<(&'static str, u128)>, FenceError> {
        let named = of(method, target, named)?;
        Ok(named.into_iter().map(|(kind, EntityId(id))| (kind.as_str(), id)).collect())
    }

    fn body(method: &str, target: &str, text: &str) -> Result<Vec<(&'static str, u128)>, FenceError> {
        let json = [(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"))];
        let json = JsonBody::read(&HeaderMap::from_iter(json), text.as_bytes()).expect("readable");
        let named = of(method, target, |_, rules, _| named_in_body(rules, &json))?;
        Ok(named.into_iter().map(|(kind, EntityId(id))| (kind.as_str(), id)).collect())
    }

    #[test]
    fn a_request_names_what_its_path_and_query_name() {
        assert_eq!(names("GET", "/v2/device/7/disks").expect("clear"), [("device", 7)]);
        let location = names("GET", "/v2/organization/5/location/3/custom-fields").expect("clear");
        assert_eq!(location, [("organization", 5), ("location", 3)]);
        assert_eq!(names("GET", "/v2/organization/5/locations/backup/usage").expect("clear"), [("organization", 5)]);
        let other = "/v2/organization/x/locations/backup/usage";
        assert!(matches!(names("GET", other), Err(FenceError::Outside)), "{other}");
        let articles = |query: &str| names("GET", &format!("/v2/knowledgebase/organization/articles{query}"));
        assert_eq!(articles("?organizationIds=5,7").expect("clear"), [("organization", 5), ("organization", 7)]);
        // A parameter that the operation does not declare.
        let undeclared = names("POST", "/v2/device/7/patch/os/scan?deviceId=8&clientId=9&x=1").expect("clear");
        assert_eq!(undeclared, [("organization", 9), ("device", 7), ("device", 8)]);
        for query in [
            "?organizationIds=5;organizationIds=9",
            "?organizationIds=5+9",
            "?organizationIds=5,x",
            "?organizationIds=",
        ] {
            assert!(matches!(articles(query), Err(FenceError::QueryUnclear(_))), "{query}");
        }
    }

    #[test]
    fn a_head_is_judged_where_the_answer_alone_tells_whose_it_is() {
        let may = |target: &str| of("GET", target, |_, rules, _| may_leave_out_body(rules));
        assert!(may("/v2/device/7") && may("/v2/organizations") && may("/v2/ticketing/ticket/7"));
        assert!(!may("/v2/knowledgebase/folder/7") && !may("/v2/knowledgebase/folder"));
    }

    #[test]
    fn a_request_that_names_one_thing_often_names_it_once() {
        let many = format!("[{}1]", "1,".repeat(20_000));
        let devices = body("POST", "/v2/devices/approval/APPROVE", &format!(r#"{{"devices":{many}}}"#));
        assert_eq!(devices.expect("clear"), [("device", 1)]);
    }

    #[test]
    fn a_list_is_asked_for_what_is_inside_in_front_of_what_the_caller_asks_for() {
        let organizations = Organizations::new([7, 5]).expect("some");
        let narrowed = |target: &str| {
            let narrowed = of("GET", target, |_, rules, target| narrowed(rules, target, &organizations));
            narrowed.map(|target| target.to_string())
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(narrowed("/v2/devices"), some("/v2/devices?df=org%20in%20(5,7)"));
        assert_eq!(
            narrowed("/v2/devices?pageSize=3&df=class%20in%20(MAC)&after=2"),
            some("/v2/devices?pageSize=3&after=2&df=org%20in%20(5,7)%20AND%20class%20in%20(MAC)")
        );
        assert_eq!(narrowed("/v2/devices?df=org=9&DF=online"), None, "servers differ in which of two they take");
        assert_eq!(narrowed("/v2/organizations"), None);
    }

    #[test]
    fn a_body_names_what_the_operation_has_there_and_what_any_field_names() {
        let ticket = body("POST", "/v2/ticketing/ticket", r#"{"clientId":5,"x":[{"deviceId":7}]}"#).expect("clear");
        assert!(ticket.contains(&("organization", 5)) && ticket.contains(&("device", 7)), "{ticket:?}");
        let missing = body("POST", "/v2/ticketing/ticket", r#"{"subject":"x"}"#);
        assert!(matches!(missing, Err(FenceError::BodyMissing(_))), "{missing:?}");
        let approved = |text| body("POST", "/v2/devices/approval/APPROVE", text);
        let devices = approved(r#"{"devices":[7,8]}"#).expect("clear");
        assert!(devices.contains(&("device", 7)) && devices.contains(&("device", 8)), "{devices:?}");
        assert!(matches!(approved(r#"{"devices":null}"#), Err(FenceError::BodyMissing(_))));
        assert!(matches!(approved(r#"{"devices":["7"]}"#), Err(FenceError::BodyUnclear(_))));
        let checklist = |text| body("POST", "/v2/organization/checklists", text);
        assert!(checklist(r#"[{"organizationId":5},{"organizationId":7}]"#).is_ok());
        assert!(matches!(checklist(r#"[{"organizationId":5},{"name":"x"}]"#), Err(FenceError::BodyMissing(_))));
        let task = checklist(r#"[{"organizationId":5,"tasks":[{"id":3}]}]"#);
        assert!(matches!(task, Err(FenceError::BodyUnwanted(_))), "{task:?}");
    }
}
