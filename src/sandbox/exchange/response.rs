//! Answers as HTTP has them.

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LOCATION, RETRY_AFTER};
use http::{Response, StatusCode};
use serde_json::Value;

use crate::sandbox::answer::SandboxAnswer;
use crate::sandbox::download::SandboxBody;
use crate::sandbox::leak::Leak;
use crate::sandbox::refusal::SandboxRefusal;

/// HTTP/2 would send the body in answer to `HEAD` too.
pub(super) fn without_body(response: Response<SandboxBody>) -> Response<SandboxBody> {
    let bare = matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let length = response.body().length().filter(|_| !bare);
    let mut response = response.map(|_| SandboxBody::empty());
    if let Some(length) = length {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    response
}

pub(super) fn response(answer: SandboxAnswer, leak: &Leak) -> Response<SandboxBody> {
    match answer {
        SandboxAnswer::Json(status, value) => leak.response(status_code(status), value),
        SandboxAnswer::Empty(status) => empty_response(status_code(status)),
        SandboxAnswer::Redirect(location) => {
            let mut response = empty_response(StatusCode::FOUND);
            if let Ok(location) = HeaderValue::from_str(&location) {
                response.headers_mut().insert(LOCATION, location);
            }
            response
        }
        SandboxAnswer::Download(download) => {
            let mut response = Response::new(SandboxBody::Repeated(download));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
            response
        }
    }
}

fn status_code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::OK)
}

pub(super) fn refused(refusal: &SandboxRefusal, id: u64) -> Response<SandboxBody> {
    refused_with(refusal, &refusal.body(id))
}

/// With a body that tells something else.
pub(super) fn refused_with(refusal: &SandboxRefusal, body: &Value) -> Response<SandboxBody> {
    let status = refusal.status();
    let mut response = json_response(status, body);
    if let SandboxRefusal::NoSuchMethod(methods) = refusal
        && let Ok(methods) = HeaderValue::from_str(methods)
    {
        response.headers_mut().insert(ALLOW, methods);
    }
    match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        // Neither may have a body.
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => *response.body_mut() = SandboxBody::empty(),
        _ => {}
    }
    response
}

pub(in crate::sandbox) fn json_response(status: StatusCode, value: &Value) -> Response<SandboxBody> {
    let mut response = Response::new(SandboxBody::Whole(Some(Bytes::from(value.to_string()))));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

pub(in crate::sandbox) fn empty_response(status: StatusCode) -> Response<SandboxBody> {
    let mut response = Response::new(SandboxBody::empty());
    *response.status_mut() = status;
    response
}
