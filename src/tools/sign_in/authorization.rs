//! The authorization request, and what an instance says to it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use form_urlencoded::Serializer;
use http::header::{ACCEPT, LOCATION, USER_AGENT};
use http::uri::{InvalidUri, PathAndQuery};
use http::{Method, Request, StatusCode, Uri};
use subtle::ConstantTimeEq;
use tokio::time::timeout;

use crate::base::plain;
use crate::base::secret::Secret;
use crate::net::dial::connect::Connector;
use crate::net::dial::exchange::ExchangeError;
use crate::observe::logging::ErrorChain;
use crate::proxy::policy::catalog::ScopeSet;
use crate::proxy::response::CONSOLE;

/// The longest page that is read.
const MAX_PAGE: usize = 1 << 20;
/// The longest description of an error that is shown.
const MAX_DESCRIPTION: usize = 200;

/// An authorization request, with what only this process knows of it.
pub struct Authorization {
    /// Scheme and host of the instance.
    origin: String,
    /// Path and query of the request.
    target: PathAndQuery,
    redirect_uri: String,
    state: Secret,
    verifier: Secret,
}

/// Why an instance shows no page for signing in, or has sent the browser back without a code.
#[derive(Debug, thiserror::Error)]
pub enum AuthorizeError {
    /// There is no randomness.
    #[error("the system gives no random bytes")]
    Randomness,
    /// It cannot be asked.
    #[error(
        "the instance cannot be asked for its sign-in page: {}; check host, or run ninjaone-proxy doctor",
        ErrorChain(.0)
    )]
    Exchange(#[from] ExchangeError),
    /// It says nothing.
    #[error(
        "the instance has not answered the request for its sign-in page within {0:?}: run the command again; if it stays, raise timeouts.token, or run ninjaone-proxy doctor"
    )]
    Timeout(Duration),
    /// 404.
    #[error(
        "the instance does not know the client id for a sign-in (404): check host (the region) and client-id; an app of the platform API Services cannot sign a person in, make one of the platform Native in {CONSOLE}"
    )]
    Unknown,
    /// Another status than that of a page or a redirect.
    #[error("the instance answered the request for its sign-in page with {0}: {advice}", advice = status_advice(.0.as_u16()))]
    Status(StatusCode),
    /// A redirect that leads nowhere.
    #[error(
        "the instance answered the request for its sign-in page with {0}, and does not say where that is: check host and token-path"
    )]
    NoLocation(StatusCode),
    /// RFC 6749 section 4.1.2.1, in the address of the browser or of a redirect.
    #[error(
        "the sign-in was refused{}{}; {}",
        coded(code),
        described(description),
        advice(code, description, redirect_uri)
    )]
    Refused {
        /// The error code.
        code: String,
        /// What the server says about it.
        description: String,
        /// What was asked for.
        redirect_uri: String,
    },
    /// The path of the sign-in page, or what goes into the query, is not for an address.
    #[error("the address of the sign-in page cannot be built: check token-path and client-id")]
    Address(#[from] InvalidUri),
    /// There is neither a code nor an error.
    #[error("the browser came back without a code: run the command again")]
    NoCode,
}

/// What to do where there is no page.
fn status_advice(status: u16) -> &'static str {
    match status {
        400 => "check client-id, redirect and scopes of the user",
        403 => "check host, and whether NinjaOne or a firewall on the way refuses the address of this machine",
        429 | 500..=599 => "run the command again in some minutes",
        _ => "check host and token-path",
    }
}

fn coded(code: &str) -> String {
    if code.is_empty() { " without an error code".to_owned() } else { format!(": {code}") }
}

fn described(description: &str) -> String {
    if description.is_empty() { String::new() } else { format!(" ({description})") }
}

/// What to do about an error of the authorization endpoint.
fn advice(code: &str, description: &str, redirect_uri: &str) -> String {
    match code {
        _ if description.to_ascii_lowercase().contains("redirect") => format!(
            "in {CONSOLE}, register the redirect URI {redirect_uri} to the byte, or http://127.0.0.1 for an app of the platform Native; a change may take up to an hour"
        ),
        "unauthorized_client" | "unsupported_response_type" => {
            format!("in {CONSOLE}, allow the grant types Authorization Code and Refresh Token for the app")
        }
        "invalid_scope" => format!(
            "in {CONSOLE}, tick the scopes of the user for the app (offline_access too, where it is listed), or take them out of scopes"
        ),
        "access_denied" => "the person did not agree, or may not: run the command again, and choose Allow".to_owned(),
        "server_error" | "temporarily_unavailable" => "try again in some minutes".to_owned(),
        _ => format!("compare the app in {CONSOLE} with the configuration, and run the command again"),
    }
}

/// The authorization endpoint of an instance.
pub struct AuthorizeEndpoint<'a> {
    /// The way to it.
    pub connector: &'a Connector,
    /// Scheme and host, as a browser has them.
    pub origin: String,
    /// Its path.
    pub path: String,
}

impl Authorization {
    /// A request of this app for these scopes and a refresh token.
    pub fn new(
        endpoint: &AuthorizeEndpoint<'_>,
        client_id: &str,
        redirect_uri: &str,
        scopes: ScopeSet,
    ) -> Result<Self, AuthorizeError> {
        let (state, verifier) = (random()?, random()?);
        let challenge = ring::digest::digest(&ring::digest::SHA256, verifier.expose().as_bytes());
        let mut target = Serializer::for_suffix(format!("{}?", endpoint.path), endpoint.path.len() + 1);
        target
            .append_pair("response_type", "code")
            .append_pair("client_id", client_id)
            .append_pair("redirect_uri", redirect_uri)
            .append_pair("scope", &format!("{scopes} offline_access"))
            .append_pair("state", &state.expose())
            .append_pair("code_challenge", &URL_SAFE_NO_PAD.encode(challenge))
            .append_pair("code_challenge_method", "S256");
        let target = PathAndQuery::try_from(target.finish())?;
        Ok(Self { origin: endpoint.origin.clone(), target, redirect_uri: redirect_uri.to_owned(), state, verifier })
    }

    /// What the browser opens.
    pub fn address(&self) -> String {
        format!("{}{}", self.origin, self.target)
    }

    /// Where the browser comes back to.
    pub fn redirect_uri(&self) -> &str {
        &self.redirect_uri
    }

    /// The code verifier.
    pub fn verifier(&self) -> &Secret {
        &self.verifier
    }

    /// Asks for the page without a browser, and follows no redirect: what is set up wrong is told before one opens.
    /// A server that says nothing within `time` is not waited for.
    pub async fn preflight(&self, connector: &Connector, time: Duration) -> Result<(), AuthorizeError> {
        let mut request = Request::new(Bytes::new());
        *request.method_mut() = Method::GET;
        *request.uri_mut() = Uri::from(self.target.clone());
        request.headers_mut().insert(ACCEPT, http::HeaderValue::from_static("text/html"));
        let own = http::HeaderValue::from_static(concat!("ninjaone-proxy/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().insert(USER_AGENT, own);
        let exchange = timeout(time, connector.exchange(request, MAX_PAGE)).await;
        let head = exchange.map_err(|_| AuthorizeError::Timeout(time))??.head;
        match head.status {
            StatusCode::NOT_FOUND => Err(AuthorizeError::Unknown),
            status if status.is_redirection() => {
                let location = head.headers.get(LOCATION).ok_or(AuthorizeError::NoLocation(status))?;
                let location = String::from_utf8_lossy(location.as_bytes());
                let query = location.split_once('?').map_or("", |(_, query)| query);
                self.refusal(query).map_or(Ok(()), Err)
            }
            status if status.is_success() || status == StatusCode::UNAUTHORIZED => Ok(()),
            status => Err(AuthorizeError::Status(status)),
        }
    }

    /// What the query of the redirect URI brings: a code, or why there is none. `None` if it is not of this request.
    pub fn read(&self, query: &str) -> Option<Result<Secret, AuthorizeError>> {
        let mut states = values(query, "state");
        let state = states.next().filter(|_| states.next().is_none())?;
        let own = self.state.expose();
        if !bool::from(own.as_bytes().ct_eq(state.as_bytes())) {
            return None;
        }
        if let Some(refusal) = self.refusal(query) {
            return Some(Err(refusal));
        }
        let mut codes = values(query, "code");
        let code = codes.next().filter(|code| !code.is_empty() && codes.next().is_none());
        Some(code.map(Secret::new).ok_or(AuthorizeError::NoCode))
    }

    fn refusal(&self, query: &str) -> Option<AuthorizeError> {
        // A server says what it likes: only what a terminal shows as it is.
        let shown = |text: String| plain::lines(&text).replace('\n', " ").chars().take(MAX_DESCRIPTION).collect();
        let code = values(query, "error").next()?;
        let description = values(query, "error_description").next().unwrap_or_default();
        let redirect_uri = self.redirect_uri.clone();
        Some(AuthorizeError::Refused { code: shown(code), description: shown(description), redirect_uri })
    }
}

fn values<'a>(query: &'a str, name: &'a str) -> impl Iterator<Item = String> + 'a {
    form_urlencoded::parse(query.as_bytes()).filter(move |(own, _)| own == name).map(|(_, value)| value.into_owned())
}

/// 256 bits (RFC 7636 section 4.1 asks for as much).
fn random() -> Result<Secret, AuthorizeError> {
    let mut bytes = zeroize::Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bytes).map_err(|_| AuthorizeError::Randomness)?;
    Ok(Secret::new(URL_SAFE_NO_PAD.encode(*bytes)))
}

#[cfg(test)]
mod tests {
    use http::uri::Authority;

    use super::*;
    use crate::net::dial::Route;
    use crate::proxy::policy::catalog::Scope;
    use crate::tools::sign_in::callback::Callback;

    fn request() -> Authorization {
        let scopes = [Scope::Monitoring, Scope::Management].into_iter().collect();
        let route = Route::new("eu.ninjarmm.com".to_owned(), 443, None);
        let authority = Authority::from_static("eu.ninjarmm.com");
        let connector = Connector::new(authority, None, route, Duration::from_secs(1)).expect("a connector");
        let (origin, path) = ("https://eu.ninjarmm.com".to_owned(), "/ws/oauth/authorize".to_owned());
        let endpoint = AuthorizeEndpoint { connector: &connector, origin, path };
        Authorization::new(&endpoint, "an id", "http://127.0.0.1:7", scopes).expect("randomness")
    }

    #[test]
    fn authorization_has_a_challenge_that_is_the_hash_of_the_verifier() {
        let request = request();
        let address = request.address();
        let (head, query) = address.split_once('?').expect("a query");
        assert_eq!(head, "https://eu.ninjarmm.com/ws/oauth/authorize");
        let value = |name| values(query, name).next().expect(name);
        assert_eq!(value("scope"), "monitoring management offline_access");
        assert_eq!((value("response_type"), value("code_challenge_method")), ("code".to_owned(), "S256".to_owned()));
        assert_eq!((value("client_id"), value("redirect_uri")), ("an id".to_owned(), "http://127.0.0.1:7".to_owned()));
        let verifier = request.verifier().expose();
        assert_eq!(verifier.len(), 43);
        let hash = ring::digest::digest(&ring::digest::SHA256, verifier.as_bytes());
        assert_eq!(value("code_challenge"), URL_SAFE_NO_PAD.encode(hash));
        assert!(!address.contains(&**verifier) && !address.contains("secret"));
    }

    #[test]
    fn only_the_exact_state_is_of_the_request() {
        let request = request();
        let state = request.state.expose();
        let read = |query: &str| request.read(query);
        let code = read(&format!("code=a%2Bb&state={}", *state)).expect("of the request").expect("a code");
        assert_eq!(*code.expose(), "a+b");
        for query in [
            "code=a".to_owned(),
            "code=a&state=".to_owned(),
            format!("code=a&state={}x", *state),
            format!("code=a&state={}", &state[1..]),
            format!("code=a&state={}", state.to_lowercase()),
            format!("code=a&state={0}&state={0}", *state),
            format!("code=a&State={}", *state),
        ] {
            assert!(read(&query).is_none(), "{query}");
        }
        for query in ["", "code=&", "code=a&code=b&"] {
            let read = read(&format!("{query}state={}", *state));
            assert!(matches!(read, Some(Err(AuthorizeError::NoCode))), "{query}");
        }
    }

    #[test]
    fn the_address_to_open_is_not_where_a_browser_ended() {
        let request = request();
        let pasted = |text: &str| Callback::pasted(text, &request).is_some();
        assert!(!pasted(&request.address()) && !pasted(&format!(" {}\n", request.address())));
        assert!(pasted(&format!("{}?state={}", request.redirect_uri(), *request.state.expose())));
    }

    #[tokio::test]
    async fn a_silent_instance_is_not_waited_for() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = silent.local_addr().expect("an address");
        let route = Route::new(address.ip().to_string(), address.port(), None);
        let authority = address.to_string().parse().expect("an authority");
        let connector = Connector::new(authority, None, route, Duration::from_secs(5)).expect("a connector");
        let error = request().preflight(&connector, Duration::from_millis(20)).await.expect_err("no answer");
        assert!(matches!(error, AuthorizeError::Timeout(_)), "{error}");
    }

    #[test]
    fn errors_of_the_authorization_endpoint_say_what_to_do() {
        let request = request();
        let state = request.state.expose();
        for (query, said) in [
            ("error=access_denied", "choose Allow"),
            (
                "error=unauthorized_client&error_description=Invalid redirect_uri",
                "register the redirect URI http://127.0.0.1:7",
            ),
            ("error=unauthorized_client", "allow the grant types Authorization Code and Refresh Token"),
            ("error=invalid_scope&error_description=nope", "(nope); in Administration"),
            ("error=unsupported_response_type", "allow the grant types Authorization Code and Refresh Token"),
            ("error=", "refused without an error code; compare the app"),
            ("error=temporarily_unavailable", "try again in some minutes"),
            ("error=x%1b%5b31m&error_description=a%0Ab", "compare the app"),
        ] {
            let error =
                request.read(&format!("{query}&state={}", *state)).expect("of the request").expect_err("no code");
            let error = error.to_string();
            assert!(error.contains(said) && !error.contains(['\u{1b}', '\n']), "{error}");
        }
    }
}
