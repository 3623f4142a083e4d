//! The token endpoint: one request of the client credentials grant (RFC 6749 section 4.4).

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use form_urlencoded::{Serializer, byte_serialize};
use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT,
};
use http::uri::PathAndQuery;
use http::{Method, Request, StatusCode, Uri};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::credentials::{CredentialPair, Credentials};
use super::token_error::TokenError;
use crate::net::body::coding::without_mark;
use crate::net::dial::connect::Connector;
use crate::proxy::headers::loops::{self, LoopMark};
use crate::proxy::policy::catalog::ScopeSet;

/// The longest answer that is read; a real one has about 1 KiB.
const MAX_ANSWER: usize = 64 * 1024;
/// What a token is taken to live if the answer does not say, or says nonsense.
const ASSUMED_LIFETIME: Duration = Duration::from_secs(60);
/// What a token is believed to live at least, so that no answer makes us ask without pause, and at most.
const LIFETIMES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(24 * 3600));

/// How the client authenticates (RFC 6749 section 2.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientAuthMethod {
    /// By `client_id` and `client_secret` in the form.
    Form,
    /// By HTTP Basic.
    Basic,
}

/// Where and as whom tokens are asked for.
pub struct Endpoint {
    connector: Connector,
    path: PathAndQuery,
    auth: ClientAuthMethod,
    credentials: Arc<Credentials>,
    timeout: Duration,
    mark: Option<LoopMark>,
}

/// A usable answer: an access token as a ready `Authorization` value, and how long it lives from the request on.
#[derive(Debug)]
pub struct TokenAnswer {
    /// `Bearer ...`, marked as sensitive.
    pub authorization: HeaderValue,
    /// From the moment of the request.
    pub lifetime: Duration,
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

/// Without the connector, which holds a proxy's password, and the credentials.
impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").field("address", &self.address()).field("path", &self.path).finish_non_exhaustive()
    }
}

impl Endpoint {
    /// An endpoint at this path, on the way of all other requests; a request may take `timeout`.
    pub fn new(
        connector: Connector,
        path: PathAndQuery,
        auth: ClientAuthMethod,
        credentials: Arc<Credentials>,
        timeout: Duration,
    ) -> Self {
        Self { connector, path, auth, credentials, timeout, mark: None }
    }

    /// The same, with the mark of this process in each request.
    #[must_use]
    pub fn marked(self, mark: LoopMark) -> Self {
        Self { mark: Some(mark), ..self }
    }

    /// The host and port that are asked, for the log.
    pub fn address(&self) -> String {
        let (authority, is_tls) = (self.connector.authority(), self.connector.is_tls());
        format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 }))
    }

    /// Counts up with each new pair of credentials.
    pub fn version(&self) -> u64 {
        self.credentials.version()
    }

    /// Reads the credentials again if their files have changed.
    pub async fn look(&self) {
        self.look_for(false).await;
    }

    async fn look_for(&self, anew: bool) {
        let credentials = Arc::clone(&self.credentials);
        // Fails only when the runtime ends.
        let _ = tokio::task::spawn_blocking(move || credentials.look(anew)).await;
    }

    /// Asks for a token of these scopes: once, or with older or just changed credentials too if those are refused.
    /// Also tells the version of the credentials that were tried.
    pub async fn request(&self, scopes: ScopeSet) -> (Result<TokenAnswer, TokenError>, u64) {
        let tried = self.version();
        let answer = self.request_with_each(scopes).await;
        if answer.as_ref().is_err_and(TokenError::is_about_client) {
            self.look_for(true).await;
            let found = self.version();
            if found != tried {
                return (self.request_with_each(scopes).await, found);
            }
        }
        (answer, tried)
    }

    /// The first failure counts: it is that of the newest credentials.
    async fn request_with_each(&self, scopes: ScopeSet) -> Result<TokenAnswer, TokenError> {
        let mut refusal = None;
        for pair in self.credentials.pairs() {
            match self.request_as(&pair, scopes).await {
                Ok(answer) => {
                    self.credentials.accepted(&pair);
                    return Ok(answer);
                }
                Err(error) if error.is_about_client() => refusal = refusal.or(Some(error)),
                Err(error) => return Err(error),
            }
        }
        Err(refusal.unwrap_or(TokenError::InvalidClient))
    }

    async fn request_as(&self, pair: &CredentialPair, scopes: ScopeSet) -> Result<TokenAnswer, TokenError> {
        let exchange = self.connector.exchange(self.ask(pair, scopes), MAX_ANSWER);
        let reply = timeout(self.timeout, exchange).await.map_err(|_| TokenError::Timeout)??;
        let retry_after = reply.head.headers.get(RETRY_AFTER).and_then(retry_after);
        TokenAnswer::read(reply.head.status, retry_after, &reply.body)
    }

    fn ask(&self, pair: &CredentialPair, scopes: ScopeSet) -> Request<Bytes> {
        let mut request = Request::new(Bytes::from_owner(form(self.auth, pair, scopes)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::from(self.path.clone());
        let fields = [
            (ACCEPT, "application/json"),
            (ACCEPT_ENCODING, "identity"),
            (CONTENT_TYPE, "application/x-www-form-urlencoded"),
            (USER_AGENT, concat!("ninjaone-proxy/", env!("CARGO_PKG_VERSION"))),
        ];
        let fields = fields.into_iter().map(|(name, value)| (name, HeaderValue::from_static(value)));
        let authorization = (self.auth == ClientAuthMethod::Basic).then(|| (AUTHORIZATION, basic(pair)));
        let mark = self.mark.as_ref().map(|mark| (loops::FIELD, mark.value().clone()));
        *request.headers_mut() = fields.chain(authorization).chain(mark).collect::<HeaderMap>();
        request
    }
}

impl TokenAnswer {
    /// Reads what a token endpoint answers: a usable grant or a failure.
    pub fn read(status: StatusCode, retry_after: Option<Duration>, body: &[u8]) -> Result<Self, TokenError> {
        let body = without_mark(body);
        // RFC 6749 says 200. Some servers say 201, and a proxy that changes answers says 203 (RFC 9110 section 15.3.4).
        if matches!(status.as_u16(), 200 | 201 | 203) { grant(body) } else { Err(refused(status, retry_after, body)) }
    }
}

/// The request's body, in memory that is overwritten when it is dropped and never outgrown.
fn form(auth: ClientAuthMethod, pair: &CredentialPair, scopes: ScopeSet) -> Zeroizing<String> {
    let (id, secret) = (pair.id.expose(), pair.secret.expose());
    let mut form = Zeroizing::new(String::with_capacity(3 * (id.len() + secret.len()) + 256));
    let mut fields = Serializer::new(&mut *form);
    fields.append_pair("grant_type", "client_credentials").append_pair("scope", &scopes.to_string());
    if auth == ClientAuthMethod::Form {
        fields.append_pair("client_id", &id).append_pair("client_secret", &secret);
    }
    form
}

/// Both parts are form-encoded inside of the Basic scheme (RFC 6749 section 2.3.1).
fn basic(pair: &CredentialPair) -> HeaderValue {
    let (id, secret) = (pair.id.expose(), pair.secret.expose());
    let mut parts = Zeroizing::new(String::with_capacity(3 * (id.len() + secret.len()) + 1));
    parts.extend(byte_serialize(id.as_bytes()));
    parts.push(':');
    parts.extend(byte_serialize(secret.as_bytes()));
    let mut value = Zeroizing::new(String::with_capacity(parts.len() * 4 / 3 + 16));
    value.push_str("Basic ");
    STANDARD.encode_string(parts.as_bytes(), &mut value);
    // Base64 is always a header value.
    let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(value)).unwrap_or(HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
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
    Ok(TokenAnswer { authorization, lifetime: lifetime(&grant.expires_in) })
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

    fn pair() -> CredentialPair {
        let secret = |text: &str| crate::base::secret::Secret::new(text.to_owned());
        CredentialPair { id: secret("an id:1"), secret: secret("s&c=r+t%/\u{e9}") }
    }

    #[test]
    fn endpoint_encodes_credentials_in_the_form_once() {
        let scopes: ScopeSet = [crate::proxy::policy::catalog::Scope::Monitoring].into_iter().collect();
        let encoded = form(ClientAuthMethod::Form, &pair(), scopes);
        assert_eq!(
            encoded.as_str(),
            "grant_type=client_credentials&scope=monitoring&client_id=an+id%3A1&client_secret=s%26c%3Dr%2Bt%25%2F%C3%A9"
        );
        let bare = form(ClientAuthMethod::Basic, &pair(), scopes);
        assert_eq!(bare.as_str(), "grant_type=client_credentials&scope=monitoring");
    }

    #[test]
    fn endpoint_encodes_credentials_for_basic_as_a_form_inside_of_base64() {
        let value = basic(&pair());
        let encoded = value.to_str().expect("text").strip_prefix("Basic ").expect("the scheme");
        let decoded = STANDARD.decode(encoded).expect("base64");
        assert_eq!(decoded, b"an+id%3A1:s%26c%3Dr%2Bt%25%2F%C3%A9");
        assert!(value.is_sensitive());
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
