//! The proxy's own answers other than refusals: a local token, and what browsers ask for.

use std::time::Duration;

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, CACHE_CONTROL, CONTENT_TYPE,
    HeaderName, HeaderValue, VARY,
};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::Full;

use super::problem::insert;
use super::relay::ResponseBody;
use crate::net::listener::Tunnel;

const REQUEST_LOCAL_NETWORK: HeaderName = HeaderName::from_static("access-control-request-private-network");
const ALLOW_LOCAL_NETWORK: HeaderName = HeaderName::from_static("access-control-allow-private-network");

/// The answer to a token request: a local token, good for `lifetime` (RFC 6749 section 5.1).
pub fn granted(token: &str, lifetime: Duration, scope: &str) -> Response<ResponseBody> {
    let grant = serde_json::json!({
        "access_token": token, "token_type": "Bearer", "expires_in": lifetime.as_secs(), "scope": scope,
    });
    let mut response = Response::new(ResponseBody::Own(Full::from(format!("{grant}\n"))));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The answer to a listed page that asks in advance: the methods there are, and the fields that it wants to send.
pub fn preflight(asked: &HeaderMap) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::Own(Full::default()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE"));
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    insert(headers, ACCESS_CONTROL_ALLOW_HEADERS, asked.get(ACCESS_CONTROL_REQUEST_HEADERS).cloned());
    if asked.contains_key(REQUEST_LOCAL_NETWORK) {
        headers.insert(ALLOW_LOCAL_NETWORK, HeaderValue::from_static("true"));
    }
    response
}

/// The answer to a CONNECT that may go on (RFC 9110 section 9.3.6).
pub fn connected(tunnel: Tunnel) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::Own(Full::default()));
    response.extensions_mut().insert(tunnel);
    response
}

/// A proxy auto-configuration: these names go through the proxy at `place`, all others to their servers. By TLS only: in
/// clear text browsers do not say which page a request is from.
pub fn proxy_config(names: &[String], place: &str) -> Response<ResponseBody> {
    let (names, place) = (serde_json::json!(names), serde_json::json!(place));
    let text = format!(
        "function FindProxyForURL(url, host) {{\n  var ours = url.slice(0, 6) === \"https:\" && {names}.indexOf(host.toLowerCase()) >= 0;\n  return ours ? {place} : \"DIRECT\";\n}}\n"
    );
    let mut response = Response::new(ResponseBody::Own(Full::from(text)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ns-proxy-autoconfig"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Lets a listed page read an answer (Fetch standard, section 3.2). Credentials of the browser's are not allowed.
pub fn share(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("*"));
    headers.append(VARY, HeaderValue::from_static("Origin"));
}
