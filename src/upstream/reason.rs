//! Why NinjaOne says 401 or 403: it uses 401 for a dead token and for a missing privilege alike.

use std::io::Read;

use flate2::read::MultiGzDecoder;
use http::header::{CONTENT_ENCODING, HeaderMap};
use serde::Deserialize;

/// How much of a compressed body is looked at once it is unpacked, in octets.
const MAX_UNPACKED: u64 = 64 * 1024;

/// What the body of a 401 or 403 says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The token is not accepted: nothing of the request was processed.
    NotAuthenticated,
    /// The token is good, and the API client app lacks a privilege.
    InsufficientPrivileges,
    /// The token is good, and has no user: client credentials never have one.
    UserContextRequired,
    /// Nothing that we can read.
    Unknown,
}

impl Reason {
    /// Reads the beginning of a body that came with these headers.
    pub fn read(headers: &HeaderMap, body: &[u8]) -> Self {
        match headers.get(CONTENT_ENCODING).map(|coding| coding.as_bytes().to_ascii_lowercase()) {
            None => Self::of(body),
            Some(coding) if coding == b"gzip" => Self::of(&unpacked(body)),
            Some(_) => Self::Unknown,
        }
    }

    fn of(body: &[u8]) -> Self {
        let holds = |word: &[u8]| body.windows(word.len()).any(|window| window == word);
        // Never renewed: so these words count wherever they stand, in a body of any form, cut off or not.
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
    let text = std::str::from_utf8(body).ok()?;
    serde_json::from_str(text).ok().map(|Told { error }| error)
}

/// NinjaOne's OAuth errors.
#[derive(Deserialize)]
struct Told {
    error: String,
}

/// As much of it as there is.
fn unpacked(body: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    // A body that is cut off or damaged is read up to there.
    let _ = MultiGzDecoder::new(body).take(MAX_UNPACKED).read_to_end(&mut text);
    text
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
        Reason::read(&[(CONTENT_ENCODING, HeaderValue::from_static(coding))].into_iter().collect(), body)
    }

    #[test]
    fn reason_proves_that_nothing_was_processed_only_by_a_whole_error_body() {
        let plain = |body: &str| Reason::read(&HeaderMap::new(), body.as_bytes());
        assert_eq!(plain(DEAD), Reason::NotAuthenticated);
        for other in ["", "not_authenticated", r#"{"error":"not_authenticated""#, r#"{"message":"not_authenticated"}"#]
        {
            assert_eq!(plain(other), Reason::Unknown, "{other}");
        }
        assert_eq!(plain(LACKS), Reason::InsufficientPrivileges);
        assert_eq!(plain("<p>user_context_required"), Reason::UserContextRequired);
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
