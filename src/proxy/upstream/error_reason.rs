//! Why NinjaOne says 401, 403 or 404: it uses 401 for a dead token and for a missing privilege alike, and 404 for what
//! is not there and for an operation that this instance does not have.

use http::StatusCode;
use http::header::{CONTENT_ENCODING, HeaderMap};
use serde::Deserialize;

use crate::net::body::coding;

/// How much of a compressed body is looked at once it is unpacked, in bytes.
const MAX_UNPACKED: usize = 64 * 1024;

/// What the body of a 401, 403 or 404 says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The token is not accepted: nothing of the request was processed.
    NotAuthenticated,
    /// The token is good, and the API client app lacks a privilege.
    InsufficientPrivileges,
    /// The token is good, and has no user: client credentials never have one.
    UserContextRequired,
    /// This instance has no such operation: instances differ.
    RouteUnknown,
    /// The instance has the operation, but not what the request names.
    EntityUnknown,
    /// Nothing that we can read.
    Unknown,
}

impl Reason {
    /// Reads the beginning of a body that came with this status and these headers.
    pub fn read(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let of = if status == StatusCode::NOT_FOUND { Self::of_not_found } else { Self::of_refusal };
        if headers.contains_key(CONTENT_ENCODING) {
            of(&coding::beginning(headers, body, MAX_UNPACKED))
        } else {
            of(body)
        }
    }

    /// The name in the log; none if it is unknown.
    pub fn as_str(self) -> Option<&'static str> {
        match self {
            Self::NotAuthenticated => Some("not_authenticated"),
            Self::InsufficientPrivileges => Some("insufficient_privileges"),
            Self::UserContextRequired => Some("user_context_required"),
            Self::RouteUnknown => Some("route-unknown"),
            Self::EntityUnknown => Some("entity-unknown"),
            Self::Unknown => None,
        }
    }

    /// Its web server says of a path without an operation what it says of nothing else.
    fn of_not_found(body: &[u8]) -> Self {
        let Some(FailureBody { result_code, error_message }) = object(body) else { return Self::Unknown };
        if result_code != "FAILURE" {
            Self::EntityUnknown
        } else if error_message.as_str() == Some("HTTP 404 Not Found") {
            Self::RouteUnknown
        } else {
            Self::Unknown
        }
    }

    fn of_refusal(body: &[u8]) -> Self {
        let holds = |word: &[u8]| body.windows(word.len()).any(|window| window == word);
        // Never renewed: so these words apply wherever they are in a body of any form, cut off or not.
        if holds(b"insufficient_privileges") {
            Self::InsufficientPrivileges
        } else if holds(b"user_context_required") {
            Self::UserContextRequired
        } else if told(body).is_some_and(|error| error == "not_authenticated") {
            Self::NotAuthenticated
        } else {
            Self::Unknown
        }
    }
}

/// The error that a whole body names. serde would look into no member that it does not know.
fn told(body: &[u8]) -> Option<String> {
    object(body).map(|OAuthErrorBody { error }| error)
}

/// A whole object of JSON. serde would read an array as well, member by member.
fn object<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Option<T> {
    let text =
        std::str::from_utf8(coding::without_mark(body)).ok().filter(|text| text.trim_start().starts_with('{'))?;
    serde_json::from_str(text).ok()
}

/// The errors of NinjaOne's operations.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FailureBody {
    result_code: String,
    /// A text, or an object with another code.
    #[serde(default)]
    error_message: serde_json::Value,
}

/// NinjaOne's OAuth errors.
#[derive(Deserialize)]
struct OAuthErrorBody {
    error: String,
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use http::HeaderValue;

    use super::*;

    const DEAD: &str = r#"{"error":"not_authenticated","error_description":"Invalid credentials","error_code":10}"#;
    const LACKS: &str = r#"{"error":"insufficient_privileges","error_code":4}"#;

    fn packed(text: &str) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text.as_bytes()).expect("packed");
        encoder.finish().expect("packed")
    }

    fn read(coding: &'static str, body: &[u8]) -> Reason {
        let headers = [(CONTENT_ENCODING, HeaderValue::from_static(coding))].into_iter().collect();
        Reason::read(StatusCode::UNAUTHORIZED, &headers, body)
    }

    #[test]
    fn reason_proves_that_nothing_was_processed_only_by_a_whole_error_body() {
        let plain = |body: &str| Reason::read(StatusCode::UNAUTHORIZED, &HeaderMap::new(), body.as_bytes());
        assert_eq!(plain(DEAD), Reason::NotAuthenticated);
        for other in [
            "",
            r#"["not_authenticated"]"#,
            "not_authenticated",
            r#"{"error":"not_authenticated""#,
            r#"{"message":"not_authenticated"}"#,
        ] {
            assert_eq!(plain(other), Reason::Unknown, "{other}");
        }
        assert_eq!(plain(LACKS), Reason::InsufficientPrivileges);
        assert_eq!(plain("<p>user_context_required"), Reason::UserContextRequired);
    }

    #[test]
    fn reason_tells_an_operation_that_is_not_there_from_an_entity_that_is_not() {
        let of = |body: &str| Reason::read(StatusCode::NOT_FOUND, &HeaderMap::new(), body.as_bytes());
        let route = r#"{"resultCode":"FAILURE","errorMessage":"HTTP 404 Not Found","incidentId":"x"}"#;
        assert_eq!(of(route), Reason::RouteUnknown);
        for entity in [
            r#"{"resultCode":"DEVICE_NOT_FOUND","errorMessage":"HTTP 404 Not Found"}"#,
            r#"{"resultCode":"NODE_NOT_FOUND","errorMessage":{"code":"node_not_found","params":{}}}"#,
            r#"{"resultCode":"Client app not exist"}"#,
        ] {
            assert_eq!(of(entity), Reason::EntityUnknown, "{entity}");
        }
        for other in
            ["", "[]", r#"{"resultCode":"FAILURE","errorMessage":"x"}"#, "<html>", &route[..40], r#"{"error":"x"}"#]
        {
            assert_eq!(of(other), Reason::Unknown, "{other}");
        }
        assert_eq!(Reason::read(StatusCode::FORBIDDEN, &HeaderMap::new(), route.as_bytes()), Reason::Unknown);
    }

    #[test]
    fn reason_is_read_through_gzip_also_if_it_is_cut_off() {
        assert_eq!(read("gzip", &packed(DEAD)), Reason::NotAuthenticated);
        let long = packed(&format!("{LACKS}{}", "x y z ".repeat(10_000)));
        assert_eq!(read("GZIP", &long[..long.len() / 2]), Reason::InsufficientPrivileges);
        assert_eq!(read("gzip", DEAD.as_bytes()), Reason::Unknown);
        assert_eq!(read("br", DEAD.as_bytes()), Reason::Unknown);
    }
}
