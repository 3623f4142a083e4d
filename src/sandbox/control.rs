//! What tests ask of the sandbox itself; a proxy never forwards these paths.

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::json;

use super::SandboxState;
use super::download::SandboxBody;
use super::exchange::{empty_response, json_response};
use super::query::QueryParameters;
use super::refusal::SandboxRefusal;

pub(super) fn door(house: &SandboxState, request: &Request<Incoming>) -> Result<Response<SandboxBody>, SandboxRefusal> {
    let query = || QueryParameters::parse(request.uri().query().unwrap_or_default());
    let answer = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/sandbox/counts") => json!(house.tally.counts()),
        (&Method::GET | &Method::HEAD, "/sandbox/last-request") => house.record.shown(),
        (&Method::GET | &Method::HEAD, "/sandbox/changed") => house.changes.shown(),
        (&Method::POST, path) => return order(house, path, &query()),
        (&Method::DELETE, "/sandbox/changed") => {
            house.changes.clear();
            return Ok(empty_response(StatusCode::NO_CONTENT));
        }
        _ => return Err(SandboxRefusal::NoSuchPath),
    };
    Ok(json_response(StatusCode::OK, &answer))
}

fn order(house: &SandboxState, path: &str, query: &QueryParameters) -> Result<Response<SandboxBody>, SandboxRefusal> {
    match path {
        "/sandbox/revoke" => house.tokens.revoke(),
        "/sandbox/fault" => house.sign_in.order_fault(query)?,
        "/sandbox/end-grants" => house.end_grants(),
        "/sandbox/leak" => house.leaks.order(query)?,
        "/sandbox/move" => house.fleet.move_device(query)?,
        _ => return Err(SandboxRefusal::NoSuchPath),
    }
    Ok(empty_response(StatusCode::NO_CONTENT))
}
