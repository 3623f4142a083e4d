//! The answer to a request that was not sent.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, Response};
use http_body_util::Full;

use super::problem::{PROXY_STATUS, Refusal};
use super::refusal_table::RefusalKind;
use super::relay::ResponseBody;

/// RFC 7240 section 3.
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// An invented answer, marked so that nobody takes it for NinjaOne's.
pub fn simulated(invented: Response<Bytes>) -> Response<ResponseBody> {
    let mut response = invented.map(|body| ResponseBody::Own(Full::new(body)));
    mark(response.headers_mut());
    response
}

/// The refusal of a request that is not to be sent, and to which no answer can be invented.
pub(super) fn refusal() -> Refusal {
    let detail = "Nothing was sent: this is a dry run. The request passed all checks, but the built-in catalog does not have its operation, so nobody knows what an answer looks like. Operations of the catalog are listed by ninjaone-proxy routes --all.";
    Refusal::new(RefusalKind::DryRunUnknown, detail)
}

fn mark(headers: &mut HeaderMap) {
    headers.insert(PREFERENCE_APPLIED, HeaderValue::from_static("dry-run"));
    headers.insert(PROXY_STATUS, HeaderValue::from_static("ninjaone-proxy; details=\"dry-run\""));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if headers.get(CONTENT_TYPE).is_some_and(|kind| kind != "application/json") {
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    }
}
