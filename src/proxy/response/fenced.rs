//! Answers to callers that are kept to organizations.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::Full;

use super::problem::{PROXY_STATUS, Refusal};
use super::refusal_table::RefusalKind;
use super::relay::ResponseBody;
use super::upstream::write_warning;
use super::{CONSOLE, RefusalContext};
use crate::proxy::fence::FenceError;
use crate::proxy::upstream::Reason;

/// What a fence lets pass of an answer of NinjaOne's; `relayed` marks it.
pub fn enclosed(
    status: StatusCode,
    headers: HeaderMap,
    relayed: &HeaderValue,
    body: Option<ResponseBody>,
) -> Response<ResponseBody> {
    let is_empty = body.is_none();
    let mut response = Response::new(body.unwrap_or_else(|| whole(Bytes::new())));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response.headers_mut().append(PROXY_STATUS, relayed.clone());
    if is_empty {
        response.headers_mut().remove(CONTENT_TYPE);
    }
    response
}

/// A body that is there as a whole.
pub fn whole(body: Bytes) -> ResponseBody {
    ResponseBody::Own(Full::new(body))
}

pub(super) fn refusal(error: &FenceError, scene: &RefusalContext<'_>) -> Refusal {
    let who =
        scene.caller.map_or_else(|| format!("the listener {}", scene.listener), |name| format!("the caller {name}"));
    let instance = scene.instance;
    match error {
        FenceError::Outside => Refusal::new(
            RefusalKind::NotInside,
            format!(
                "The request names something that is not there, or is not in the organizations that {who} is kept to. Check the ids."
            ),
        ),
        FenceError::QueryUnclear(name) => unclear(&format!(
            "write the parameter {name} of the query once, as ids with commas between them, such as {name}=5"
        )),
        FenceError::QueryMissing(name) => unclear(&format!("add the parameter {name} to the query, such as {name}=5")),
        FenceError::Unjudged => unclear("only the body of the answer tells whose it is: send GET, not HEAD"),
        FenceError::BodyUnreadable(why) => unclear(&format!(
            "{why}; send plain JSON (RFC 8259) in UTF-8 with Content-Type: application/json, not compressed, each key once"
        )),
        FenceError::BodyUnclear(_) | FenceError::BodyMissing(_) | FenceError::BodyUnwanted(_) => {
            unclear(&error.to_string())
        }
        FenceError::BodyTooLarge(limit) => Refusal::new(
            RefusalKind::BodyTooLargeToJudge,
            format!(
                "The body has more than {limit} bytes, so nobody can tell whose data it changes. Send a smaller body, or raise judged-body in [limits]."
            ),
        ),
        FenceError::Lookup(_) => Refusal::new(
            RefusalKind::DirectoryUnavailable,
            format!(
                "{instance} could not be asked what belongs to the organizations that {who} is kept to, so the request was not sent. The proxy's log says why, under this request id. Try again after the time in Retry-After."
            ),
        ),
        FenceError::Refused { status, reason, retry_after } => refused((*status, *reason), retry_after.as_ref(), scene),
        FenceError::Failed(_)
        | FenceError::Unfit(_)
        | FenceError::AnswerOutside
        | FenceError::Encoded
        | FenceError::Broken
        | FenceError::Endless => Refusal::new(
            RefusalKind::AnswerWithheld,
            format!(
                "{instance} answered in a way in which nobody can tell whose data it is, so nothing of it was passed on. The proxy's log says why, under this request id.{}",
                write_warning(scene)
            ),
        ),
    }
}

fn unclear(what: &str) -> Refusal {
    let detail = format!("The request does not say clearly whose data it is about, so it was not sent: {what}.");
    Refusal::new(RefusalKind::OrganizationUnclear, detail)
}

/// NinjaOne's refusal, in words that tell nothing of what is outside.
fn refused(
    (status, reason): (StatusCode, Option<Reason>),
    retry_after: Option<&HeaderValue>,
    scene: &RefusalContext<'_>,
) -> Refusal {
    let detail = format!(
        "{} answered this request with {status}. Its message is kept back, since it could tell of other organizations.{}",
        scene.instance,
        reason.and_then(|reason| remedy(reason, scene.listener)).unwrap_or_default(),
    );
    let wait = retry_after.and_then(|wait| wait.to_str().ok()?.parse().ok()).map(Duration::from_secs);
    let is_error = status.is_client_error() || status.is_server_error();
    let refusal =
        Refusal { status: Some(status).filter(|_| is_error), ..Refusal::new(RefusalKind::MessageWithheld, detail) };
    match wait {
        Some(wait) => refusal.after(wait),
        None => refusal,
    }
}

/// What can be done, where NinjaOne says it in a word.
fn remedy(reason: Reason, listener: &str) -> Option<String> {
    match reason {
        Reason::UserContextRequired => Some(format!(
            " The operation needs a signed-in person (user_context_required): run \"ninjaone-proxy login NAME\", and write user = \"NAME\" into [listeners.{listener}]."
        )),
        Reason::InsufficientPrivileges => Some(format!(
            " The API client app, or the person, may not do this (insufficient_privileges): see the scopes in NinjaOne ({CONSOLE})."
        )),
        Reason::NotAuthenticated | Reason::RouteUnknown | Reason::EntityUnknown | Reason::Unknown => None,
    }
}
