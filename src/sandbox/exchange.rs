//! One request and its answer: which of the doors it knocks at, who may pass, and what goes back.

mod response;

use std::io;
use std::time::{Duration, SystemTime};

use http::header::{CACHE_CONTROL, CONTENT_TYPE, DATE, HOST, SERVER};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Incoming};
use serde_json::Value;

use super::download::SandboxBody;
use super::leak::LeakMode;
use super::query::QueryParameters;
use super::question::{self, KnownIds, SandboxRequest};
use super::refusal::SandboxRefusal;
use super::token::SandboxGrant;
use super::{SandboxState, changes, control, document, sign_in, token};
use crate::proxy::policy::catalog::{Operation, Scope};
use crate::proxy::policy::path::{Segments, Target};
pub(super) use response::empty_response;
pub(super) use response::json_response;
use response::{refused, refused_with, response, without_body};

/// The largest JSON body that is read into memory.
const MAX_JSON: usize = 1 << 20;
/// The longest `delay` that a request can order.
const MAX_DELAY: Duration = Duration::from_secs(30);

const REQUEST_ID: HeaderName = HeaderName::from_static("x-nj-request-id");
const MARK: HeaderName = HeaderName::from_static("x-sandbox");

/// Answers a request that came over a connection of this scheme. An error closes the connection without an answer.
pub(super) async fn exchange(
    house: &SandboxState,
    scheme: &'static str,
    request: Request<Incoming>,
) -> io::Result<Response<SandboxBody>> {
    let id = house.requests.add(1) + 1;
    let head = *request.method() == Method::HEAD;
    let outcome = match request.uri().path() {
        "/ws/oauth/token" | "/oauth/token" => token_door(house, request).await,
        path if sign_in::owns(path) => sign_in::door(house, scheme, request).await,
        path if path.starts_with("/sandbox/") => control::door(house, &request),
        // As at NinjaOne, it needs no token.
        "/apidocs/NinjaRMM-API-v2.json" if matches!(*request.method(), Method::GET | Method::HEAD) => {
            Ok(json_response(StatusCode::OK, &document::of(&house.catalog)))
        }
        _ => api_door(house, scheme, request).await,
    };
    let mut response = match outcome {
        Err(SandboxRefusal::NoAnswer) => return Err(io::ErrorKind::ConnectionAborted.into()),
        outcome => outcome.unwrap_or_else(|refusal| refused(&refusal, id)),
    };
    let headers = response.headers_mut();
    headers.insert(SERVER, HeaderValue::from_static("ninjaone-sandbox"));
    headers.insert(MARK, HeaderValue::from_static("ninjaone-proxy; invented data"));
    if let Ok(id) = HeaderValue::from_str(&format!("sandbox-{id:08}")) {
        headers.insert(REQUEST_ID, id);
    }
    if house.options.date_ahead != 0 {
        insert_date(headers, house.options.date_ahead);
    }
    Ok(if head { without_body(response) } else { response })
}

/// hyper adds the machine's own time only where there is no `Date` yet.
fn insert_date(headers: &mut HeaderMap, ahead: i64) {
    let shift = Duration::from_secs(ahead.unsigned_abs());
    let now = SystemTime::now();
    let shown = if ahead < 0 { now.checked_sub(shift) } else { now.checked_add(shift) };
    if let Some(date) = shown.and_then(|time| HeaderValue::try_from(httpdate::fmt_http_date(time)).ok()) {
        headers.insert(DATE, date);
    }
}

async fn token_door(house: &SandboxState, request: Request<Incoming>) -> Result<Response<SandboxBody>, SandboxRefusal> {
    house.tally.token_requests.add(1);
    if request.method() != Method::POST {
        return Err(SandboxRefusal::NoSuchMethod("POST".to_owned()));
    }
    let (parts, body) = request.into_parts();
    let form = drain(body, Keep::Text, |_| ()).await?;
    tokio::time::sleep(house.options.token_delay).await;
    house.sign_in.token_fault()?;
    let form = QueryParameters::parse(&String::from_utf8_lossy(&form));
    let granted = token::grant(house, &parts.headers, &form);
    let mut response = match granted {
        Ok(grant) => {
            house.tally.grants.add(1);
            json_response(StatusCode::OK, &grant)
        }
        Err(refusal) => refused(&refusal, house.tally.counts().token_requests),
    };
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

async fn api_door(
    house: &SandboxState,
    scheme: &str,
    request: Request<Incoming>,
) -> Result<Response<SandboxBody>, SandboxRefusal> {
    let (parts, body) = request.into_parts();
    let target = Target::canonical(&parts.uri).map_err(|_| SandboxRefusal::BadRequest)?;
    if !target.path().starts_with("/v2/") {
        return Err(SandboxRefusal::NoSuchPath);
    }
    house.tally.api_requests.add(1);
    let user = token::bearer(&parts.headers).ok().and_then(|token| house.tokens.find(token)?.person);
    house.record.keep(&parts, user.as_ref().map(|consent| consent.user.as_str()));
    let outcome = api_answer(house, scheme, &parts, &target, body).await;
    if outcome.as_ref().is_err_and(|refusal| refusal.status() == StatusCode::UNAUTHORIZED) {
        house.tally.unauthorized.add(1);
    }
    outcome.or_else(|refusal| leaky_refusal(house, refusal))
}

async fn api_answer(
    house: &SandboxState,
    scheme: &str,
    parts: &Parts,
    target: &Target<'_>,
    body: Incoming,
) -> Result<Response<SandboxBody>, SandboxRefusal> {
    let grant = house.tokens.find(token::bearer(&parts.headers)?).ok_or(SandboxRefusal::NotAuthenticated)?;
    let segments = target.segments().map_err(|_| SandboxRefusal::NoSuchPath)?;
    let operation = find(house, &parts.method, &segments)?;
    authorize(operation, &grant)?;
    if operation.method != Method::GET {
        house.tally.writes.add(u64::from(operation.scope != Scope::Monitoring));
    }
    let is_board = operation.template.ends_with("/run");
    let body = receive(house, parts, body, is_board).await?;
    let query = QueryParameters::parse(parts.uri.query().unwrap_or_default());
    let fleet = house.fleet.now();
    let leak = house.leaks.at(operation);
    let parameters = question::parameters(operation, &segments);
    if operation.method != Method::GET && operation.scope != Scope::Monitoring {
        house.changes.record(operation, changes::named(&fleet, operation, &parameters, query.pairs(), &body));
    }
    tokio::time::sleep(delay(&query)).await;
    if let Some(status) = ordered_status(&query).or(leak.ordered_status()) {
        return Err(SandboxRefusal::Ordered(status));
    }
    let origin = format!("{scheme}://{}", authority(parts));
    let cursors = &house.cursors;
    let ids = KnownIds::Fleet;
    let (query, origin, fleet) = (&query, origin.as_str(), &*fleet);
    let question = SandboxRequest { operation, parameters, query, body, origin, cursors, ids, fleet, leak: &leak };
    question.answer(&house.shapes).map(|answer| response(answer, &leak))
}

fn find<'a>(house: &'a SandboxState, method: &Method, path: &Segments<'_>) -> Result<&'a Operation, SandboxRefusal> {
    let method = if *method == Method::HEAD { &Method::GET } else { method };
    let here = house.catalog.at(path).map_err(|_| SandboxRefusal::NoSuchPath)?;
    if here.is_empty() {
        return Err(SandboxRefusal::NoSuchPath);
    }
    let operation = here.of(method).and_then(|id| house.catalog.get(id));
    operation.ok_or_else(|| SandboxRefusal::NoSuchMethod(here.methods().to_string()))
}

fn authorize(operation: &Operation, grant: &SandboxGrant) -> Result<(), SandboxRefusal> {
    if !grant.scopes.contains(operation.scope) {
        return Err(SandboxRefusal::InsufficientPrivileges);
    }
    if operation.user_context && grant.person.is_none() {
        return Err(SandboxRefusal::UserContextRequired);
    }
    Ok(())
}

/// Tells too much, if that is ordered.
fn leaky_refusal(house: &SandboxState, refusal: SandboxRefusal) -> Result<Response<SandboxBody>, SandboxRefusal> {
    let leak = house.leaks.everywhere();
    if !leak.has(LeakMode::Errors) || matches!(refusal, SandboxRefusal::NoAnswer) {
        return Err(refusal);
    }
    let mut body = refusal.body(0);
    leak.error(&mut body, &house.fleet.now());
    Ok(refused_with(&refusal, &body))
}

/// Takes the request's body in. JSON says something, and so does the text of a small form; only the run of a ticket board
/// cannot do without.
async fn receive(house: &SandboxState, parts: &Parts, body: Incoming, is_board: bool) -> Result<Value, SandboxRefusal> {
    let keep = if is_board { Keep::Text } else { Keep::Start };
    let text = drain(body, keep, |size| _ = house.tally.bytes_uploaded.add(size)).await?;
    let kind = parts.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    if kind.to_ascii_lowercase().starts_with(b"multipart/") {
        house.tally.uploads.add(1);
        return Ok(changes::form_fields(&String::from_utf8_lossy(&text)));
    }
    Ok(serde_json::from_slice(&text).unwrap_or(Value::Null))
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// All, or it is refused.
    Text,
    /// As much as a text may have, and nothing of what is longer.
    Start,
}

/// Reads a body to its end. What is not kept is counted and gone, whatever its size.
pub(super) async fn drain(mut body: Incoming, keep: Keep, count: impl Fn(u64)) -> Result<Vec<u8>, SandboxRefusal> {
    let (mut text, mut is_too_large) = (Vec::new(), false);
    if body.is_end_stream() {
        return Ok(text);
    }
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| SandboxRefusal::BadRequest)?;
        let Some(data) = frame.data_ref() else { continue };
        count(data.len() as u64);
        if !is_too_large && text.len() + data.len() <= MAX_JSON {
            text.extend_from_slice(data);
        } else if keep == Keep::Text {
            return Err(SandboxRefusal::TooLarge);
        } else {
            is_too_large = true;
            text = Vec::new();
        }
    }
    Ok(text)
}

fn delay(query: &QueryParameters) -> Duration {
    query.number("delay").map_or(Duration::ZERO, Duration::from_millis).min(MAX_DELAY)
}

/// `status=NNN` orders a status; patches have a `status` too, but theirs are words.
fn ordered_status(query: &QueryParameters) -> Option<StatusCode> {
    let text = query.get("status").filter(|text| text.len() == 3)?;
    StatusCode::from_bytes(text.as_bytes()).ok().filter(|status| !status.is_informational())
}

fn authority(parts: &Parts) -> String {
    let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
    parts.uri.authority().map(|authority| authority.as_str()).or(host).unwrap_or("localhost").to_owned()
}
