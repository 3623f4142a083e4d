//! NinjaOne's answer, relayed.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, LOCATION, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;

use super::problem::PROXY_STATUS;
use crate::net::body::BodyError;
use crate::net::fields::{self, FieldLines};
use crate::proxy::headers;
use crate::proxy::policy::TokenHolder;
use crate::proxy::upstream::{AnswerBody, Reason, UpstreamAnswer};

/// NinjaOne's answer, cleaned, marked as relayed, with a `Location` at the instance turned to the caller's `origin`.
/// `holder` is whose token the request had.
pub fn relay(
    answer: UpstreamAnswer,
    relayed: &HeaderValue,
    holder: TokenHolder,
    localize: impl FnOnce(&HeaderValue) -> Option<HeaderValue>,
) -> Response<ResponseBody> {
    let UpstreamAnswer { mut head, body, reason, .. } = answer;
    headers::clean_response(&mut head.headers);
    head.headers
        .append(PROXY_STATUS, reason.and_then(|reason| explained(relayed, reason, holder)).unwrap_or(relayed.clone()));
    let location = fields::lines(&head.headers, &LOCATION).next().and_then(localize);
    if let Some(location) = location {
        head.headers.insert(LOCATION, location);
    }
    if !is_json(&head.headers) {
        head.headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox; default-src 'none'"));
        head.headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    }
    // The caller's connection has a version of its own.
    head.version = http::Version::HTTP_11;
    Response::from_parts(head, ResponseBody::Relayed(body))
}

/// Anything else may be a page that somebody stored in NinjaOne: in a browser it would be a page of this proxy's, whose
/// scripts may call it.
fn is_json(headers: &HeaderMap) -> bool {
    let FieldLines::One(kind) = fields::only(headers, &CONTENT_TYPE) else { return false };
    let kind = kind.as_bytes().split(|&byte| byte == b';').next().unwrap_or_default();
    kind.trim_ascii().eq_ignore_ascii_case(b"application/json")
}

/// `Proxy-Status` that says what can be done about NinjaOne's 401, 403 or 404.
fn explained(relayed: &HeaderValue, reason: Reason, holder: TokenHolder) -> Option<HeaderValue> {
    let details = match reason {
        Reason::InsufficientPrivileges | Reason::UserContextRequired | Reason::Unknown
            if holder == TokenHolder::User =>
        {
            "user-role: NinjaOne refused the token of the person who has signed in; see that person's role, and the scopes of the API client app, in NinjaOne"
        }
        Reason::NotAuthenticated => {
            "not_authenticated: NinjaOne refused the token; the next request gets a new one, unless that was refused too"
        }
        Reason::InsufficientPrivileges => {
            "insufficient_privileges: the API client app may not do this; see its scopes in NinjaOne"
        }
        Reason::UserContextRequired => {
            "user_context_required: NinjaOne wants a signed-in user, and client credentials have none; sign a person in (ninjaone-proxy login NAME), and write user = NAME into the listener"
        }
        Reason::RouteUnknown => {
            "route-unknown: this instance does not have the operation, although others may; doctor --catalog lists what it lacks"
        }
        Reason::EntityUnknown => "entity-unknown: the instance has the operation, but not what the request names",
        Reason::Unknown => return None,
    };
    HeaderValue::try_from(format!("{}; details=\"{details}\"", relayed.to_str().ok()?)).ok()
}

/// The body of an answer to the caller.
pub enum ResponseBody {
    /// Ours.
    Own(Full<Bytes>),
    /// NinjaOne's, in transit.
    Relayed(Box<AnswerBody>),
    /// What a fence lets pass of NinjaOne's.
    Filtered(Pin<Box<dyn Body<Data = Bytes, Error = BodyError>>>),
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Own(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            Self::Relayed(body) => Pin::new(body).poll_frame(cx),
            Self::Filtered(body) => body.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(body) => body.is_end_stream(),
            Self::Relayed(body) => body.is_end_stream(),
            Self::Filtered(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(body) => body.size_hint(),
            Self::Relayed(body) => body.size_hint(),
            Self::Filtered(body) => body.size_hint(),
        }
    }
}
