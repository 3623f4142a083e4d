//! What a client asks of the authorize endpoint, checked in the order of RFC 6749 section 4.1.2.1.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};

use super::redirect;
use crate::proxy::policy::catalog::ScopeSet;
use crate::sandbox::query::QueryParameters;
use crate::sandbox::{Options, token};

/// The scope that asks for a refresh token; it opens no operation.
const OFFLINE_ACCESS: &str = "offline_access";
/// The longest query; a sign-in that is open keeps parts of it.
const MAX_QUERY: usize = 8192;

/// A request that a person may be asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::sandbox) struct AuthorizeRequest {
    pub(super) redirect_uri: String,
    pub(super) state: Option<String>,
    pub(super) scopes: PersonScopes,
    /// By PKCE, method S256.
    pub(super) challenge: Option<String>,
}

/// Why nobody is asked.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum AuthorizeRefusal {
    /// Said at once: there is nowhere to redirect to.
    UnknownClient,
    /// Shown to the person: the redirect URI cannot be trusted.
    Shown { error: &'static str, description: &'static str },
    /// Told to the client at its redirect URI.
    Told { redirect_uri: String, state: Option<String>, error: &'static str, description: &'static str },
}

impl AuthorizeRequest {
    pub(super) fn check(options: &Options, query: &str) -> Result<Self, AuthorizeRefusal> {
        let is_app_for_people = options.native || !options.redirect_uris.is_empty();
        let parsed = QueryParameters::parse(query);
        if parsed.get("client_id") != Some(&options.client_id) || !is_app_for_people {
            return Err(AuthorizeRefusal::UnknownClient);
        }
        let shown = |error, description| Err(AuthorizeRefusal::Shown { error, description });
        if query.len() > MAX_QUERY {
            return shown("invalid_request", "The request is too long");
        }
        if parsed.is_repeated("client_id") || parsed.is_repeated("redirect_uri") {
            return shown("invalid_request", "A parameter is repeated");
        }
        let redirect_uri = parsed.get("redirect_uri").unwrap_or_default();
        if !redirect::is_registered(options, redirect_uri) {
            return shown("unauthorized_client", "Invalid redirect_uri");
        }
        Self::check_details(options, &parsed, redirect_uri).map_err(|(error, description)| {
            let state = parsed.get("state").filter(|_| !parsed.is_repeated("state")).map(str::to_owned);
            AuthorizeRefusal::Told { redirect_uri: redirect_uri.to_owned(), state, error, description }
        })
    }

    fn check_details(
        options: &Options,
        query: &QueryParameters,
        redirect_uri: &str,
    ) -> Result<Self, (&'static str, &'static str)> {
        if query.has_repeated() {
            return Err(("invalid_request", "A parameter is repeated"));
        }
        match query.get("response_type") {
            Some("code") => {}
            Some(_) => return Err(("unsupported_response_type", "The response_type must be code")),
            None => return Err(("invalid_request", "The response_type is missing")),
        }
        let scopes = PersonScopes::parse(query.get("scope").unwrap_or_default(), options.scopes);
        let mut scopes = scopes.ok_or(("invalid_scope", "Requested scope is not granted"))?;
        scopes.offline &= options.offline_access;
        let challenge = match (query.get("code_challenge"), query.get("code_challenge_method")) {
            (None, None) => None,
            (Some(challenge), Some("S256")) if is_challenge(challenge) => Some(challenge.to_owned()),
            (Some(_), Some("S256")) => return Err(("invalid_request", "The code_challenge is not one of S256")),
            (None, Some(_)) => return Err(("invalid_request", "The code_challenge is missing")),
            // A method that is not named is plain (RFC 7636 section 4.3).
            (Some(_), _) => return Err(("invalid_request", "The code_challenge_method must be S256")),
        };
        let state = query.get("state").map(str::to_owned);
        Ok(Self { redirect_uri: redirect_uri.to_owned(), state, scopes, challenge })
    }

    /// Whether this is the verifier of the challenge. Without a challenge there must be none: else somebody took it out
    /// of the request on its way.
    pub(super) fn is_proven_by(&self, verifier: Option<&str>) -> bool {
        match (&self.challenge, verifier) {
            (None, None) => true,
            (Some(challenge), Some(verifier)) => is_verifier(verifier) && challenge_of(verifier) == *challenge,
            _ => false,
        }
    }
}

fn is_challenge(text: &str) -> bool {
    URL_SAFE_NO_PAD.decode(text).is_ok_and(|hash| hash.len() == 32)
}

/// RFC 7636 section 4.1.
fn is_verifier(text: &str) -> bool {
    let is_unreserved = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    (43..=128).contains(&text.len()) && text.bytes().all(is_unreserved)
}

pub(super) fn challenge_of(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()))
}

/// Scopes for a person's token: at least one of the API, and maybe a refresh token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PersonScopes {
    pub(super) api: ScopeSet,
    pub(super) offline: bool,
}

impl PersonScopes {
    /// The scopes of a text, if the API's are all granted.
    pub(super) fn parse(text: &str, granted: ScopeSet) -> Option<Self> {
        let (offline, api): (Vec<_>, Vec<_>) = text.split_ascii_whitespace().partition(|word| *word == OFFLINE_ACCESS);
        let api = token::scopes(granted, &api.join(" ")).ok()?;
        Some(Self { api, offline: !offline.is_empty() })
    }

    pub(super) fn names(self) -> impl Iterator<Item = &'static str> {
        self.api.iter().map(|scope| scope.as_str()).chain(self.offline.then_some(OFFLINE_ACCESS))
    }
}

impl fmt::Display for PersonScopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().collect::<Vec<_>>().join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::policy::catalog::Scope;

    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
    const URI: &str = "http://127.0.0.1:7000/";

    fn check(query: &str) -> Result<AuthorizeRequest, AuthorizeRefusal> {
        let scopes = [Scope::Monitoring, Scope::Management].into_iter().collect();
        AuthorizeRequest::check(&Options { scopes, ..Options::default() }, query)
    }

    fn good() -> String {
        format!(
            "client_id=sandbox&redirect_uri={URI}&response_type=code&scope=offline_access+monitoring&state=s%20&\
             code_challenge={CHALLENGE}&code_challenge_method=S256"
        )
    }

    #[test]
    fn good_request_is_taken_whole() {
        let request = check(&good()).expect("good");
        assert_eq!((request.redirect_uri.as_str(), request.state.as_deref()), (URI, Some("s ")));
        assert_eq!(request.scopes.to_string(), "monitoring offline_access");
        assert_eq!(request.challenge.as_deref(), Some(CHALLENGE));
        // Refresh tokens that the app may not have are left out, as NinjaOne does it.
        let options = Options { offline_access: false, ..Options::default() };
        let request = AuthorizeRequest::check(&options, &good()).expect("good");
        assert_eq!(request.scopes.to_string(), "monitoring");
    }

    #[test]
    fn unknown_client_and_app_without_people_are_told_nothing() {
        for query in ["", "client_id=other", &good().replace("client_id=sandbox", "client_id=Sandbox")] {
            assert_eq!(check(query), Err(AuthorizeRefusal::UnknownClient), "{query}");
        }
        let machine = Options { native: false, ..Options::default() };
        assert_eq!(AuthorizeRequest::check(&machine, &good()), Err(AuthorizeRefusal::UnknownClient));
    }

    #[test]
    fn redirect_uri_that_cannot_be_trusted_is_never_used() {
        for (query, error) in [
            (good().replace("127.0.0.1", "localhost"), "unauthorized_client"),
            (good().replace("redirect_uri", "x"), "unauthorized_client"),
            (format!("{}&redirect_uri={URI}", good()), "invalid_request"),
            (format!("{}&client_id=sandbox", good()), "invalid_request"),
            (format!("{}&x={}", good(), "x".repeat(MAX_QUERY)), "invalid_request"),
        ] {
            assert!(
                matches!(check(&query), Err(AuthorizeRefusal::Shown { error: told, .. }) if told == error),
                "{query}"
            );
        }
    }

    #[test]
    fn other_mistakes_are_told_to_the_client_with_its_state() {
        let told = |query: &str| match check(query) {
            Err(AuthorizeRefusal::Told { redirect_uri, state, error, .. }) => {
                assert_eq!(redirect_uri, URI, "{query}");
                (error, state)
            }
            other => panic!("{query}: {other:?}"),
        };
        for (from, to, error) in [
            ("response_type=code&", "", "invalid_request"),
            ("response_type=code", "response_type=token", "unsupported_response_type"),
            ("scope=offline_access+monitoring&", "", "invalid_scope"),
            ("+monitoring", "", "invalid_scope"),
            ("+monitoring", "+control", "invalid_scope"),
            ("+monitoring", "+monitoring+unknown", "invalid_scope"),
            ("=S256", "=plain", "invalid_request"),
            ("&code_challenge_method=S256", "", "invalid_request"),
            (&format!("code_challenge={CHALLENGE}&"), "", "invalid_request"),
            (CHALLENGE, "short", "invalid_request"),
            ("=code&", "=code&response_type=code&", "invalid_request"),
        ] {
            assert_eq!(told(&good().replace(from, to)), (error, Some("s ".to_owned())), "{from} -> {to}");
        }
        assert_eq!(told(&format!("{}&state=other", good())), ("invalid_request", None));
    }

    #[test]
    fn verifier_is_that_of_rfc_7636() {
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let mut request = check(&good()).expect("good");
        assert!(request.is_proven_by(Some(verifier)));
        assert!(!request.is_proven_by(Some(&verifier.replace("dBj", "dbj"))));
        assert!(!request.is_proven_by(None));
        request.challenge = None;
        assert!(request.is_proven_by(None));
        assert!(!request.is_proven_by(Some(verifier)));
        for (text, is_good) in [
            ("a".repeat(42), false),
            ("~".repeat(43), true),
            ("a".repeat(128), true),
            ("a".repeat(129), false),
            ("+".repeat(43), false),
        ] {
            request.challenge = Some(challenge_of(&text));
            assert_eq!(request.is_proven_by(Some(&text)), is_good, "{text}");
        }
    }
}
