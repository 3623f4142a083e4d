//! A refusal as the caller gets it: a problem of RFC 9457, and the fields that go with it.

use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, PROXY_AUTHENTICATE, RETRY_AFTER,
    WWW_AUTHENTICATE,
};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

use super::rate_limit_fields::{policy_name, tell_quotas};
use super::refusal_table::{ExtraField, RefusalKind, RefusalRow};
use crate::proxy::policy::catalog::MethodSet;
use crate::proxy::quota::QuotaStatus;

/// RFC 9209.
pub(super) const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// How callers may prove who they are.
const CHALLENGE: &str = "Bearer realm=\"ninjaone-proxy\", Basic realm=\"ninjaone-proxy\", charset=\"UTF-8\"";

/// One refusal: its row, and what depends on the request.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) kind: RefusalKind,
    pub(super) detail: String,
    /// When another request can do better, if that is known.
    pub(super) wait: Option<Duration>,
    /// The methods that the path has.
    pub(super) methods: Option<MethodSet>,
    /// The status, where that is NinjaOne's.
    pub(super) status: Option<StatusCode>,
    /// The quotas that apply to the request, if that is about one.
    pub(super) quotas: Vec<QuotaStatus>,
}

impl Refusal {
    pub(super) fn new(kind: RefusalKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), wait: None, methods: None, status: None, quotas: Vec::new() }
    }

    /// It may be tried again after so long.
    pub(super) fn after(self, wait: Duration) -> Self {
        Self { wait: Some(wait), ..self }
    }

    fn field(&self) -> Option<(HeaderName, HeaderValue)> {
        match self.kind.row().field {
            ExtraField::Nothing => None,
            ExtraField::Challenge => Some((WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE))),
            ExtraField::ProxyChallenge => Some((PROXY_AUTHENTICATE, HeaderValue::from_static(CHALLENGE))),
            ExtraField::BearerChallenge => {
                Some((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"ninjaone-proxy\"")))
            }
            ExtraField::AllowDecision => Some((ALLOW, HeaderValue::from_static("GET, HEAD, POST"))),
            ExtraField::AllowRead => Some((ALLOW, HeaderValue::from_static("GET, HEAD"))),
            ExtraField::AllowPost => Some((ALLOW, HeaderValue::from_static("POST"))),
            ExtraField::AllowMethods => Some((ALLOW, HeaderValue::try_from(self.methods?.to_string()).ok()?)),
            ExtraField::RetryAfter => Some((RETRY_AFTER, whole_seconds(self.wait?))),
            ExtraField::RetrySoon => Some((RETRY_AFTER, HeaderValue::from(1))),
        }
    }

    /// The whole answer. A client that asked for a token gets the members of RFC 6749 too.
    pub(super) fn response(&self, request: RequestContext<'_>) -> Response<Full<Bytes>> {
        let row = self.kind.row();
        let mut response = Response::new(Full::from(self.problem(request)));
        *response.status_mut() = self.status.unwrap_or(row.status);
        let headers = response.headers_mut();
        let kind = if request.wants_token { "application/json" } else { "application/problem+json" };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        insert(headers, PROXY_STATUS, HeaderValue::try_from(proxy_status(&row)).ok());
        insert(headers, REQUEST_ID, request.id.and_then(|id| HeaderValue::try_from(id).ok()));
        if let Some((name, value)) = self.field() {
            headers.insert(name, value);
        }
        tell_quotas(headers, &self.quotas);
        if row.closes {
            // Over HTTP/2 it is left out.
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// The whole answer to a head that the parser refuses, byte for byte: its own head and its body.
    pub(super) fn bytes(&self, request_id: Option<&str>) -> [Vec<u8>; 2] {
        let row = self.kind.row();
        let body = self.problem(RequestContext { id: request_id, ..RequestContext::default() });
        let id = request_id.map_or_else(String::new, |id| format!("x-request-id: {id}\r\n"));
        let head = format!(
            "HTTP/1.1 {} {}\r\ncontent-type: application/problem+json\r\ncache-control: no-store\r\nproxy-status: {}\r\n{id}\
             connection: close\r\ncontent-length: {}\r\n\r\n",
            row.status.as_u16(),
            row.status.canonical_reason().unwrap_or("Error"),
            proxy_status(&row),
            body.len()
        );
        [head.into_bytes(), body]
    }

    fn problem(&self, request: RequestContext<'_>) -> Vec<u8> {
        let RefusalRow { status, code, oauth, .. } = self.kind.row();
        let status = self.status.unwrap_or(status);
        let problem = Problem {
            r#type: format!("urn:ninjaone-proxy:problem:{code}"),
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: &self.detail,
            code,
            request_id: request.id,
            operation: request.operation,
            result_code: code,
            error_message: &self.detail,
            violated_policies: self.quotas.iter().filter(|quota| quota.remaining == 0).map(policy_name).collect(),
            error: request.wants_token.then_some(oauth),
            error_description: request.wants_token.then_some(&self.detail),
        };
        let mut body = serde_json::to_vec(&problem).unwrap_or_default();
        body.push(b'\n');
        body
    }
}

/// What a problem tells of its request.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RequestContext<'a> {
    pub(super) id: Option<&'a str>,
    pub(super) operation: Option<&'a str>,
    pub(super) wants_token: bool,
}

/// RFC 9457, and the two members by which tools print NinjaOne's own errors.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Problem<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    operation: Option<&'a str>,
    result_code: &'a str,
    error_message: &'a str,
    /// The names in `RateLimit-Policy` of the quotas that are used up, as the draft of these fields has it.
    #[serde(skip_serializing_if = "Vec::is_empty", rename = "violated-policies")]
    violated_policies: Vec<&'static str>,
    /// RFC 6749 section 5.2, where a token was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none", rename = "error_description")]
    error_description: Option<&'a str>,
}

fn proxy_status(row: &RefusalRow) -> String {
    format!("ninjaone-proxy; error={}; details=\"{}\"", row.error, row.code)
}

fn whole_seconds(wait: Duration) -> HeaderValue {
    HeaderValue::from(wait.as_secs_f64().ceil().max(1.0) as u64)
}

pub(super) fn insert(headers: &mut HeaderMap, name: HeaderName, value: Option<HeaderValue>) {
    if let Some(value) = value {
        headers.insert(name, value);
    }
}
