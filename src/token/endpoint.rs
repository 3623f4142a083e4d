//! The token endpoint: one request of the client credentials grant (RFC 6749 section 4.4).

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::header::{ACCEPT, HeaderValue, RETRY_AFTER};
use reqwest::Url;
use serde::Deserialize;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::policy::catalog::ScopeSet;
use crate::secret::Secret;

/// The longest answer that is read; a real one has about 1 KiB.
const MAX_ANSWER: usize = 64 * 1024;
/// What a token is taken to live if the answer does not say, or says nonsense.
const ASSUMED_LIFETIME: Duration = Duration::from_secs(60);
/// What a token is believed to live at most.
const MAX_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// Where and as whom tokens are asked for.
#[derive(Debug)]
pub struct Endpoint {
    client: reqwest::Client,
    url: Url,
    client_id: String,
    client_secret: Secret,
}

/// A usable answer: an access token as a ready `Authorization` value, and how long it lives from the request on.
#[derive(Debug)]
pub struct Answer {
    /// `Bearer ...`, marked as sensitive.
    pub authorization: HeaderValue,
    /// From the moment of the request.
    pub lifetime: Duration,
}

/// Why there is no token. No text of the answer but the error code is kept: it may hold what must not be logged.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// No connection, or a broken answer.
    #[error("the token endpoint cannot be reached")]
    Unreachable(#[source] reqwest::Error),
    /// No TLS: an untrusted, expired or foreign certificate, or no common version.
    #[error("the TLS handshake with the token endpoint failed: {0}")]
    Untrusted(rustls::Error),
    /// The name has no address.
    #[error("the name of the token endpoint cannot be resolved")]
    NameUnknown(#[source] reqwest::Error),
    /// No answer in time.
    #[error("the token endpoint did not answer in time")]
    Timeout,
    /// 404 "Client app not exist": the wrong region, or the wrong client id.
    #[error("the instance does not know the client id")]
    UnknownClient,
    /// `invalid_client` or `unauthorized_client`.
    #[error("the token endpoint refused the client id or secret")]
    InvalidClient,
    /// `invalid_scope`: the API client app is not granted a scope of the listener.
    #[error("the API client app is not granted all of the scopes asked for")]
    InvalidScope,
    /// Another refusal.
    #[error("the token endpoint answered {status} {code:?}")]
    Refused {
        /// The status of the answer.
        status: StatusCode,
        /// The error code, if the answer has one.
        code: String,
        /// Seconds from `Retry-After`.
        retry_after: Option<u64>,
    },
    /// 200 without a usable token.
    #[error("the token endpoint's answer is no usable grant: {0}")]
    Unusable(&'static str),
}

impl TokenError {
    /// Whether trying again soon is useless: somebody must change the configuration or the API client app.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::UnknownClient | Self::InvalidClient | Self::InvalidScope => true,
            Self::Unreachable(_) | Self::Untrusted(_) | Self::NameUnknown(_) => false,
            Self::Timeout | Self::Refused { .. } | Self::Unusable(_) => false,
        }
    }

    /// What the endpoint itself asks us to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => retry_after.map(Duration::from_secs),
            Self::UnknownClient | Self::InvalidClient | Self::InvalidScope => None,
            Self::Unreachable(_) | Self::Untrusted(_) | Self::NameUnknown(_) => None,
            Self::Timeout | Self::Unusable(_) => None,
        }
    }
}

/// RFC 6749 section 5.1. Numbers are read leniently, see [`lifetime`].
#[derive(Deserialize)]
struct GrantBody {
    access_token: String,
    token_type: String,
    #[serde(default)]
    expires_in: Value,
}

/// RFC 6749 section 5.2, or NinjaOne's own form.
#[derive(Deserialize, Default)]
struct ErrorBody {
    error: Option<String>,
    #[serde(rename = "resultCode")]
    result_code: Option<String>,
}

impl Endpoint {
    /// An endpoint that is spoken to with this TLS configuration; a request may take `timeout`.
    pub fn new(
        url: Url,
        client_id: String,
        client_secret: Secret,
        tls: Arc<rustls::ClientConfig>,
        timeout: Duration,
    ) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(Arc::unwrap_or_clone(tls))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("ninjaone-proxy/", env!("CARGO_PKG_VERSION")))
            .timeout(timeout)
            .pool_max_idle_per_host(1)
            .build()?;
        Ok(Self { client, url, client_id, client_secret })
    }

    /// Asks once for a token of these scopes.
    pub async fn request(&self, scopes: ScopeSet) -> Result<Answer, TokenError> {
        let scope = scopes.to_string();
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", &self.client_id),
            ("client_secret", self.client_secret.expose()),
            ("scope", &scope),
        ];
        let request = self.client.post(self.url.clone()).header(ACCEPT, "application/json").form(&form);
        let response = request.send().await.map_err(transport)?;
        let status = response.status();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let body = read(response).await?;
        if status == StatusCode::OK { grant(&body) } else { Err(refused(status, retry_after, &body)) }
    }
}

/// What kind of failure stands behind reqwest's.
fn transport(error: reqwest::Error) -> TokenError {
    if error.is_timeout() {
        return TokenError::Timeout;
    }
    let error = error.without_url();
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(cause) = source {
        let tls = cause.downcast_ref().and_then(in_io).or_else(|| cause.downcast_ref());
        if let Some(tls) = tls {
            return TokenError::Untrusted(rustls::Error::clone(tls));
        }
        if error.is_connect() && cause.to_string() == "dns error" {
            return TokenError::NameUnknown(error);
        }
        source = cause.source();
    }
    TokenError::Unreachable(error)
}

/// rustls's error, which comes wrapped in one or more of `std::io`, whose sources skip what they wrap.
fn in_io(error: &std::io::Error) -> Option<&rustls::Error> {
    let inner = error.get_ref()?;
    inner.downcast_ref().or_else(|| inner.downcast_ref().and_then(in_io))
}

async fn read(mut response: reqwest::Response) -> Result<Zeroizing<Vec<u8>>, TokenError> {
    let mut body = Zeroizing::new(Vec::with_capacity(4096));
    while let Some(chunk) = response.chunk().await.map_err(transport)? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(TokenError::Unusable("it is larger than 64 KiB"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn grant(body: &[u8]) -> Result<Answer, TokenError> {
    let grant: GrantBody =
        serde_json::from_slice(body).map_err(|_| TokenError::Unusable("it is not the JSON of a grant"))?;
    let token = Secret::new(grant.access_token);
    if !grant.token_type.eq_ignore_ascii_case("bearer") {
        return Err(TokenError::Unusable("its token_type is not Bearer"));
    }
    if token.expose().is_empty() || !token.expose().bytes().all(|octet| octet.is_ascii_graphic()) {
        return Err(TokenError::Unusable("its access_token is empty or has characters that no token has"));
    }
    let value = Zeroizing::new(format!("Bearer {}", token.expose()));
    let mut authorization = HeaderValue::from_str(&value)
        .map_err(|_| TokenError::Unusable("its access_token has characters that no header can have"))?;
    authorization.set_sensitive(true);
    Ok(Answer { authorization, lifetime: lifetime(&grant.expires_in) })
}

/// `expires_in` as a number or a numeric string; anything else, and what is not positive, is not believed.
fn lifetime(expires_in: &Value) -> Duration {
    let seconds = expires_in.as_f64().or_else(|| expires_in.as_str()?.trim().parse().ok());
    match seconds {
        Some(seconds) if seconds > 0.0 => {
            Duration::try_from_secs_f64(seconds).unwrap_or(MAX_LIFETIME).min(MAX_LIFETIME)
        }
        _ => ASSUMED_LIFETIME,
    }
}

fn refused(status: StatusCode, retry_after: Option<u64>, body: &[u8]) -> TokenError {
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
        ] {
            assert!(matches!(grant(body.as_bytes()), Err(TokenError::Unusable(_))), "{body}");
        }
    }

    #[test]
    fn endpoint_names_the_refusals_that_a_person_must_mend() {
        let kind = |body: &str| refused(StatusCode::BAD_REQUEST, Some(7), body.as_bytes());
        assert!(matches!(kind(r#"{"error":"invalid_scope"}"#), TokenError::InvalidScope));
        assert!(matches!(kind(r#"{"error":"invalid_client"}"#), TokenError::InvalidClient));
        assert!(matches!(kind(r#"{"resultCode":"Client app not exist"}"#), TokenError::UnknownClient));
        let other = kind("<html>");
        assert_eq!(other.retry_after(), Some(Duration::from_secs(7)));
        assert!(!other.is_permanent());
    }
}
