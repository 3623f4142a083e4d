//! What a token endpoint answers: a usable grant (RFC 6749 section 5.1) or a failure (section 5.2).

use std::time::{Duration, SystemTime};

use http::StatusCode;
use http::header::HeaderValue;
use serde::Deserialize;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::base::secret::Secret;
use crate::net::body::coding::without_mark;
use crate::proxy::token::TokenError;

/// What a token is taken to live if the answer does not say, or says nonsense.
const ASSUMED_LIFETIME: Duration = Duration::from_secs(60);
/// What a token is believed to live at least, so that no answer makes us ask without pause, and at most.
const LIFETIMES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(24 * 3600));

/// A usable answer: an access token as a ready `Authorization` value, and how long it lives from the request on.
#[derive(Debug)]
pub struct TokenAnswer {
    /// `Bearer ...`, marked as sensitive.
    pub authorization: HeaderValue,
    /// From the moment of the request.
    pub lifetime: Duration,
    /// What renews it, of a person's grant.
    pub refresh_token: Option<Secret>,
    /// The scopes that were granted, if the server says them.
    pub scope: Option<String>,
}

/// RFC 6749 section 5.1. Numbers are read leniently, see [`lifetime`].
#[derive(Deserialize)]
struct GrantBody {
    access_token: String,
    token_type: String,
    #[serde(default)]
    expires_in: Value,
    refresh_token: Option<Zeroizing<String>>,
    scope: Option<String>,
}

/// RFC 6749 section 5.2, or NinjaOne's own form.
#[derive(Deserialize, Default)]
struct ErrorBody {
    error: Option<String>,
    #[serde(rename = "resultCode")]
    result_code: Option<String>,
}

impl TokenAnswer {
    /// The access token alone: nothing that renews it is copied.
    pub(in crate::proxy::token) fn access_alone(&self) -> Self {
        let Self { authorization, lifetime, scope, .. } = self;
        Self { authorization: authorization.clone(), lifetime: *lifetime, refresh_token: None, scope: scope.clone() }
    }

    /// Reads what a token endpoint answers: a usable grant or a failure.
    pub fn read(status: StatusCode, retry_after: Option<Duration>, body: &[u8]) -> Result<Self, TokenError> {
        let body = without_mark(body);
        // RFC 6749 says 200. Some servers say 201, and a proxy that changes answers says 203 (RFC 9110 section 15.3.4).
        if matches!(status.as_u16(), 200 | 201 | 203) { grant(body) } else { Err(refused(status, retry_after, body)) }
    }
}

/// Seconds, or a date (RFC 9110 section 10.2.3).
pub fn retry_after(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    let seconds = || text.parse().ok().map(Duration::from_secs);
    let until = || httpdate::parse_http_date(text).ok()?.duration_since(SystemTime::now()).ok();
    seconds().or_else(until)
}

fn grant(body: &[u8]) -> Result<TokenAnswer, TokenError> {
    // serde would read the fields from an array too, and look into no member that it does not know.
    let text = std::str::from_utf8(body).ok().filter(|text| text.trim_start().starts_with('{'));
    let grant = text.and_then(|text| serde_json::from_str(text).ok());
    let grant: GrantBody = grant.ok_or(TokenError::Unusable("it is not the JSON of a grant"))?;
    let token = Zeroizing::new(grant.access_token);
    if !grant.token_type.eq_ignore_ascii_case("bearer") {
        return Err(TokenError::Unusable("its token_type is not Bearer"));
    }
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(TokenError::Unusable("its access_token is empty or has characters that no token has"));
    }
    let value = Zeroizing::new(format!("Bearer {}", token.as_str()));
    let mut authorization = HeaderValue::from_str(&value)
        .map_err(|_| TokenError::Unusable("its access_token has characters that no header can have"))?;
    authorization.set_sensitive(true);
    let refresh_token = grant.refresh_token.filter(|token| !token.is_empty());
    // RFC 6749 appendix A.17.
    if refresh_token.as_ref().is_some_and(|token| !token.bytes().all(|byte| matches!(byte, b' '..=b'~'))) {
        return Err(TokenError::Unusable("its refresh_token has characters that no token has"));
    }
    Ok(TokenAnswer {
        authorization,
        lifetime: lifetime(&grant.expires_in),
        refresh_token: refresh_token.map(|token| Secret::new(token.to_string())),
        scope: grant.scope,
    })
}

/// `expires_in` as a number or a numeric string; anything else, and what is under a second, is not believed.
fn lifetime(expires_in: &Value) -> Duration {
    let seconds = expires_in.as_f64().or_else(|| expires_in.as_str()?.trim().parse().ok());
    match seconds {
        Some(seconds) if seconds >= LIFETIMES.0.as_secs_f64() => {
            Duration::try_from_secs_f64(seconds).unwrap_or(LIFETIMES.1).min(LIFETIMES.1)
        }
        _ => ASSUMED_LIFETIME,
    }
}

fn refused(status: StatusCode, retry_after: Option<Duration>, body: &[u8]) -> TokenError {
    let body: ErrorBody = serde_json::from_slice(body).unwrap_or_default();
    let code = body.error.or(body.result_code).unwrap_or_default();
    match code.as_str() {
        "invalid_client" | "unauthorized_client" => TokenError::InvalidClient,
        "invalid_scope" => TokenError::InvalidScope,
        "Client app not exist" => TokenError::UnknownClient,
        _ => {
            let printable = code.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(60).collect();
            TokenError::Refused { status, code: printable, retry_after }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn endpoint_reads_expires_in_leniently() {
        for (value, seconds) in [
            (json!(3600), 3600),
            (json!("3600"), 3600),
            (json!(2.0), 2),
            (json!(1e300), 86400),
            (json!(0), 60),
            (json!(0.001), 60),
            (json!(-5), 60),
            (json!("soon"), 60),
            (json!("NaN"), 60),
            (json!(null), 60),
            (json!([1]), 60),
        ] {
            assert_eq!(lifetime(&value), Duration::from_secs(seconds), "{value}");
        }
    }

    #[test]
    fn endpoint_takes_a_good_grant_and_marks_it_sensitive() {
        let answer = grant(br#"{"access_token":"a-b.c_d","token_type":"bearer","expires_in":5}"#).expect("a grant");
        assert_eq!(answer.authorization.as_bytes(), b"Bearer a-b.c_d");
        assert!(!format!("{answer:?}").contains("a-b.c_d"));
    }

    #[test]
    fn endpoint_takes_no_answer_that_is_not_a_grant() {
        for body in [
            "",
            "{}",
            "<html>busy</html>",
            r#"{"access_token":"a","token_type":"bearer""#,
            r#"{"access_token":"","token_type":"bearer"}"#,
            r#"{"access_token":"a","token_type":"mac"}"#,
            r#"{"access_token":"a"}"#,
            r#"{"access_token":"a\r\nX: y","token_type":"bearer"}"#,
            r#"{"access_token":"a b","token_type":"bearer"}"#,
            r#"{"access_token":null,"token_type":"bearer"}"#,
            r#"{"access_token":"a","token_type":"bearer","refresh_token":"a\nb"}"#,
            r#"{"access_token":"a","token_type":"bearer","refresh_token":["a"]}"#,
            r#"["a","bearer",60]"#,
        ] {
            assert!(matches!(grant(body.as_bytes()), Err(TokenError::Unusable(_))), "{body}");
        }
        let no_text = b"{\"access_token\":\"a\",\"token_type\":\"bearer\",\"scope\":\"\xff\"}";
        assert!(matches!(grant(no_text), Err(TokenError::Unusable(_))));
    }

    #[test]
    fn endpoint_names_the_refusals_that_a_person_must_mend() {
        let kind = |body: &str| refused(StatusCode::BAD_REQUEST, Some(Duration::from_secs(7)), body.as_bytes());
        assert!(matches!(kind(r#"{"error":"invalid_scope"}"#), TokenError::InvalidScope));
        assert!(matches!(kind(r#"{"error":"invalid_client"}"#), TokenError::InvalidClient));
        assert!(matches!(kind(r#"{"resultCode":"Client app not exist"}"#), TokenError::UnknownClient));
        let other = kind("<html>");
        assert_eq!(other.retry_after(), Some(Duration::from_secs(7)));
        assert!(!other.is_permanent() && !other.is_about_client());
    }

    #[test]
    fn endpoint_reads_retry_after_as_seconds_or_date() {
        let read = |text: &str| retry_after(&HeaderValue::from_str(text).expect("a value"));
        assert_eq!(read(" 7 "), Some(Duration::from_secs(7)));
        let soon = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(100));
        assert!(read(&soon).is_some_and(|wait| (98..=100).contains(&wait.as_secs())));
        for nonsense in ["soon", "-1", "1.5", "", "Thu, 01 Jan 1970 00:00:00 GMT"] {
            assert_eq!(read(nonsense), None, "{nonsense}");
        }
    }
}
