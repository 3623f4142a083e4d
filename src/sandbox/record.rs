//! The head of the last request to the API, as it arrived, without its token.

use std::sync::{Mutex, MutexGuard, PoisonError};

use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, Uri, Version};
use serde_json::{Value, json};

/// Remembers one request.
#[derive(Default)]
pub(super) struct LastRequest(Mutex<Option<RecordedHead>>);

struct RecordedHead {
    method: Method,
    target: Uri,
    version: Version,
    headers: HeaderMap,
    user: Option<String>,
}

impl LastRequest {
    /// `user`: whose token it has, if it is a person's.
    pub(super) fn keep(&self, parts: &Parts, user: Option<&str>) {
        let head = RecordedHead {
            method: parts.method.clone(),
            target: parts.uri.clone(),
            version: parts.version,
            headers: redacted(&parts.headers),
            user: user.map(str::to_owned),
        };
        *self.lock() = Some(head);
    }

    /// Method, target, version, the list of headers, and the user of the token; null before the first request.
    pub(super) fn shown(&self) -> Value {
        let Some(head) = &*self.lock() else { return Value::Null };
        let header = |(name, value): (&http::HeaderName, &HeaderValue)| json!({ "name": name.as_str(), "value": String::from_utf8_lossy(value.as_bytes()) });
        json!({
            "method": head.method.as_str(),
            "target": head.target.to_string(),
            "version": format!("{:?}", head.version),
            "headers": head.headers.iter().map(header).collect::<Vec<_>>(),
            "user": head.user,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Option<RecordedHead>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Schemes that may be shown; anything else before the first space could be a secret.
const SCHEMES: [&str; 4] = ["Bearer", "Basic", "Digest", "NJ"];

/// Of each Authorization value only the scheme and the length of the rest stay.
fn redacted(headers: &HeaderMap) -> HeaderMap {
    let hide = |value: &HeaderValue| {
        let text = String::from_utf8_lossy(value.as_bytes());
        let shown = match text.split_once(' ') {
            Some((scheme, rest)) if SCHEMES.iter().any(|known| known.eq_ignore_ascii_case(scheme)) => {
                format!("{scheme} ({} characters)", rest.chars().count())
            }
            _ => format!("({} characters)", text.chars().count()),
        };
        HeaderValue::from_str(&shown).unwrap_or(HeaderValue::from_static("(unreadable)"))
    };
    let pairs = headers.iter().map(|(name, value)| {
        let value = if name == AUTHORIZATION { hide(value) } else { value.clone() };
        (name.clone(), value)
    });
    let mut copy = HeaderMap::with_capacity(headers.len());
    pairs.for_each(|(name, value)| {
        copy.append(name, value);
    });
    copy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_shows_all_headers_and_no_token() {
        let request = http::Request::get("/api/v2/devices?df=org%3D1+x")
            .header("x-two", "a")
            .header("x-two", "b")
            .header("authorization", "Bearer topsecret")
            .body(())
            .expect("legal");
        let record = LastRequest::default();
        assert_eq!(record.shown(), Value::Null);
        record.keep(&request.into_parts().0, None);
        let shown = record.shown();
        assert_eq!(shown.pointer("/target"), Some(&json!("/api/v2/devices?df=org%3D1+x")));
        assert_eq!(shown.pointer("/headers/1/value"), Some(&json!("b")));
        assert_eq!(shown.pointer("/headers/2/value"), Some(&json!("Bearer (9 characters)")));
        assert!(!shown.to_string().contains("topsecret"));
    }
}
