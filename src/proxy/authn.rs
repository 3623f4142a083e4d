//! The guard: who may speak to a listener at all.
//!
//! First the perimeter: a web page that the user visits can make the browser send requests to a local port, under a
//! name of its own (DNS rebinding) or across sites. The first shows in `Host`, the second in `WebOrigin` and
//! `Sec-Fetch-Site`. Then, where callers are configured, each proves who it is.

mod authn_error;
pub mod browser;
mod caller;
pub mod callers;
pub mod host_name;
pub mod key;
pub mod key_hint;
pub mod local_tokens;
mod perimeter;
mod presented_proof;
mod stand_in;
pub mod throttle;

use std::sync::Arc;

use http::header::{FORWARDED, HeaderMap, HeaderName, HeaderValue, VIA};
use http::request::Parts;
use http::{Method, Uri};
use tokio::time::Instant;

use crate::base::clock::Moment;
use crate::net::fields;
use crate::net::listener::head::FramingError;
use crate::net::listener::{Intercepted, Peer};
pub use authn_error::AuthnError;
use browser::{AllowedOrigins, FetchMetadata, WebOrigin};
pub use caller::{APPROVALS_PATH, Authenticated, Caller, Destination, GrantedToken, Unauthenticated};
use callers::{CallerMark, Callers, KnownCallers, ProofIdentity};
use key::KeyHash;
use key_hint::KeyHint;
use local_tokens::{LocalTokens, OAuthPath, TokenRequest};
pub use perimeter::is_called_by_address;
use perimeter::{check_codings, head_size, is_authority, only_host};
use presented_proof::PresentedProof;

/// The names under which anybody on this machine may call.
const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];
/// What an intermediary adds to requests that it passes on.
static RELAYED: [HeaderName; 3] = [HeaderName::from_static("x-forwarded-for"), FORWARDED, VIA];

/// The gate of one listener.
#[derive(Debug)]
pub struct Authn<C = ()> {
    /// The scheme of targets in absolute form.
    scheme: &'static str,
    /// Every accepted value of `Host`, lower case.
    authorities: Vec<String>,
    pages: AllowedOrigins,
    callers: Callers<C>,
    issuer: Arc<LocalTokens>,
    /// The largest head in bytes.
    head_size: usize,
    /// The servers that the listener stands in for.
    intercept: Vec<String>,
    port: Option<u16>,
}

/// What a guard is made of.
#[derive(Debug)]
pub struct AuthnConfig<C = ()> {
    /// The names in addition to localhost, 127.0.0.1 and `[::1]` that callers may use.
    pub names: Vec<String>,
    /// The listener's port; `None` without one.
    pub port: Option<u16>,
    /// Whether the listener speaks TLS.
    pub tls: bool,
    /// The pages of other origins that may use the listener.
    pub origins: Vec<WebOrigin>,
    /// Who may call.
    pub callers: Callers<C>,
    /// Makes and knows the listener's local tokens.
    pub issuer: Arc<LocalTokens>,
    /// The largest head of a request, in bytes.
    pub head_size: usize,
    /// The names of servers that the listener stands in for, lower case.
    pub intercept: Vec<String>,
}

impl<C> Authn<C> {
    /// A gate that answers to the local names and to the orders', each with the port or without one.
    /// A name that has a port of its own is taken as it is.
    pub fn new(config: AuthnConfig<C>) -> Self {
        let AuthnConfig { names, port, tls, origins, callers, issuer, head_size, intercept } = config;
        let names = || LOCAL_NAMES.into_iter().chain(names.iter().map(String::as_str));
        let with_port = |name: String| port.map(|port| format!("{name}:{port}")).into_iter().chain([name]);
        let authorities: Vec<String> = names().map(str::to_ascii_lowercase).flat_map(with_port).collect();
        let scheme = if tls { "https" } else { "http" };
        let pages = AllowedOrigins::new(scheme, names(), port, origins);
        Self { scheme, authorities, pages, callers, issuer, head_size, intercept, port }
    }

    /// The callers.
    pub fn callers(&self) -> &Callers<C> {
        &self.callers
    }

    /// The listed page that a request comes from, which may read the answer.
    pub fn reader(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        self.pages.listed(headers)
    }

    /// Lets a request through the perimeter, or says why not.
    pub fn admit(&self, peer: Peer, head: &Parts) -> Result<Unauthenticated, AuthnError> {
        match peer.fault() {
            Some(FramingError::Fragment) => return Err(AuthnError::Fragment),
            Some(FramingError::LineFeed) => return Err(AuthnError::LineFeed),
            Some(FramingError::Framing | FramingError::Unseen) => return Err(AuthnError::Framing),
            Some(FramingError::TooManyFields) => return Err(AuthnError::LargeHead),
            None => {}
        }
        let destination = self.examine(peer.intercepted(), head)?;
        Ok(Unauthenticated { peer: self.stand_in_peer(peer, head)?, destination })
    }

    /// What [`Authn::admit`] says, without a peer: where the request goes.
    pub fn preview(&self, head: &Parts) -> Result<Destination, AuthnError> {
        self.examine(None, head)
    }

    /// Where a request goes, if it may go there; `intercepted` is what it came through.
    pub fn examine(&self, intercepted: Option<&Intercepted>, head: &Parts) -> Result<Destination, AuthnError> {
        if head_size(head) > self.head_size {
            return Err(AuthnError::LargeHead);
        }
        check_codings(&head.headers)?;
        let (connects, stands_in) = (head.method == Method::CONNECT, self.check_stand_in(intercepted, head)?);
        if !connects && !stands_in {
            self.check_hosts(head)?;
        }
        let asks = browser::is_preflight(&head.method, &head.headers);
        match self.pages.mark(&head.headers, !connects && !stands_in) {
            FetchMetadata::Foreign(mark) => return Err(AuthnError::CrossOrigin(mark)),
            FetchMetadata::None if asks => return Err(AuthnError::CrossOrigin("a preflight".to_owned())),
            FetchMetadata::None | FetchMetadata::Listed(_) => {}
        }
        let relayed = || RELAYED.iter().find(|name| fields::has(&head.headers, name)).cloned();
        match relayed().filter(|_| self.callers.is_anonymous()) {
            Some(name) => Err(AuthnError::Relayed(name)),
            None if connects => Ok(Destination::Connect),
            None if asks => Ok(Destination::Preflight),
            None if !stands_in && self.is_proxy_config(head) => Ok(Destination::ProxyConfig),
            None if head.uri.path().starts_with(APPROVALS_PATH) => Ok(Destination::Approvals),
            None => Ok(OAuthPath::at(&head.uri).map_or(Destination::Api, Destination::OAuth)),
        }
    }

    /// Finds out who sent a request: by a key or local token, else by the user or certificate at the other end.
    pub fn authenticate(
        &self,
        visitor: Unauthenticated,
        headers: &HeaderMap,
    ) -> Result<Authenticated<'_, C>, AuthnError> {
        let ProofIdentity { id, context, .. } =
            self.identify(Some(&visitor.peer), headers).map_err(|error| self.throttled(error))?;
        Ok(Authenticated { caller: Caller { peer: visitor.peer, id }, context })
    }

    /// Whose request it is; wrong keys are not counted.
    pub fn identify(&self, peer: Option<&Peer>, headers: &HeaderMap) -> Result<ProofIdentity<'_, C>, AuthnError> {
        let known = match &self.callers {
            Callers::Anonymous(context) => return Ok(ProofIdentity::anonymous(context)),
            Callers::Known(known) => known,
        };
        self.identify_by(known, &PresentedProof::read(headers), peer)
    }

    /// Whose proof this is, or else whose peer.
    fn identify_by<'a>(
        &self,
        known: &'a KnownCallers<C>,
        presented: &PresentedProof,
        peer: Option<&Peer>,
    ) -> Result<ProofIdentity<'a, C>, AuthnError> {
        let by_key = match presented {
            PresentedProof::Key { key, .. } => self.of_key(known, key),
            PresentedProof::Nothing | PresentedProof::Unreadable(_) => None,
        };
        let is_named = |found: &ProofIdentity<'_, C>| match presented {
            PresentedProof::Key { name: Some(name), .. } => found.name == Some(name),
            PresentedProof::Key { name: None, .. } | PresentedProof::Nothing | PresentedProof::Unreadable(_) => true,
        };
        let identity = by_key.filter(is_named).or_else(|| of_peer(known, peer?));
        match (identity, presented) {
            (Some(identity), _) => Ok(identity),
            (None, PresentedProof::Nothing) => Err(AuthnError::NoKey),
            (None, PresentedProof::Key { .. }) if by_key.is_some() => Err(AuthnError::WrongKey(KeyHint::OtherName)),
            (None, PresentedProof::Key { key, .. }) => Err(AuthnError::WrongKey(self.hint(key))),
            (None, PresentedProof::Unreadable(hint)) => Err(AuthnError::WrongKey(*hint)),
        }
    }

    fn of_key<'a>(&self, known: &'a KnownCallers<C>, key: &[u8]) -> Option<ProofIdentity<'a, C>> {
        match self.issuer.caller(key, Moment::now()) {
            // Of a caller that is gone, or whose proofs have changed since.
            Some(mark) => known.of_mark(mark),
            None => known.of_key(key),
        }
    }

    /// What is wrong with a key that is nobody's.
    fn hint(&self, key: &[u8]) -> KeyHint {
        let hint = KeyHint::of(key);
        if hint == KeyHint::UnknownToken { self.issuer.hint(key, Moment::now()) } else { hint }
    }

    /// Counts a wrong key. Where there were too many of late, nobody learns what is wrong with it.
    fn throttled(&self, error: AuthnError) -> AuthnError {
        match &self.callers {
            Callers::Known(known) if matches!(error, AuthnError::WrongKey(_)) => {
                known.tolerates(Instant::now()).map_or_else(AuthnError::Throttled, |()| error)
            }
            Callers::Known(_) | Callers::Anonymous(_) => error,
        }
    }

    /// A local token for a token request: bound to its caller, or worthless where there are none.
    pub fn grant_token(
        &self,
        visitor: &Unauthenticated,
        request: &TokenRequest,
    ) -> Result<GrantedToken<'_, C>, AuthnError> {
        if !request.is_supported() {
            return Err(AuthnError::OtherGrant);
        }
        let known = match &self.callers {
            Callers::Anonymous(context) => return Ok(GrantedToken { context, token: LocalTokens::placeholder() }),
            Callers::Known(known) => known,
        };
        let by_key = request.secret.as_ref().and_then(|key| known.of_key(key.as_bytes()));
        let named = by_key.filter(|found| request.id.as_deref().is_none_or(|name| found.name == Some(name)));
        let identity = named.or_else(|| of_peer(known, &visitor.peer));
        let issue = |found: ProofIdentity<'_, C>| self.issuer.issue(found.mark()?, Moment::now());
        match identity.and_then(|found| Some((found.context, issue(found)?))) {
            Some((context, token)) => Ok(GrantedToken { context, token }),
            None if by_key.is_some() => Err(self.throttled(AuthnError::WrongKey(KeyHint::OtherName))),
            None => match &request.secret {
                Some(key) => Err(self.throttled(AuthnError::WrongKey(self.hint(key.as_bytes())))),
                None => Err(AuthnError::NoKey),
            },
        }
    }

    fn check_hosts(&self, head: &Parts) -> Result<(), AuthnError> {
        only_host(head)?.map_or(Ok(()), |host| self.check(host.as_bytes()))?;
        self.check_absolute(&head.uri)
    }

    fn check_absolute(&self, uri: &Uri) -> Result<(), AuthnError> {
        let Some(authority) = uri.authority() else { return Ok(()) };
        match uri.scheme_str() {
            None => self.check(authority.as_str().as_bytes()),
            Some(scheme) if scheme == self.scheme => self.check(authority.as_str().as_bytes()),
            Some(_) => Err(AuthnError::UnknownHost(uri.to_string())),
        }
    }

    fn is_own(&self, host: &[u8]) -> bool {
        self.authorities.iter().any(|own| own.as_bytes().eq_ignore_ascii_case(host))
    }

    fn check(&self, host: &[u8]) -> Result<(), AuthnError> {
        if self.is_own(host) {
            return Ok(());
        }
        let name = String::from_utf8_lossy(host).into_owned();
        Err(if is_authority(host) { AuthnError::UnknownHost(name) } else { AuthnError::BadHost(name) })
    }
}

/// The caller that CONNECT was of, or whose user or certificate is at the other end.
fn of_peer<'a, C>(known: &'a KnownCallers<C>, peer: &Peer) -> Option<ProofIdentity<'a, C>> {
    if let Some(proof) = peer.intercepted().and_then(|intercepted| intercepted.proof) {
        // Of a caller that is gone, or whose proofs have changed since: nobody.
        return known.of_mark(CallerMark(proof));
    }
    let of_user = peer.user().and_then(|user| known.of_user(user.uid, user.gid));
    of_user.or_else(|| known.of_certificate(KeyHash::of_fingerprint(peer.certificate()?.fingerprint())))
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use http::header::HOST;
    use http::{Method, Request, Version};
    use proptest::prelude::*;

    use super::callers::{CallerId, CallerProofs};
    use super::*;

    fn admit(target: &str, version: Version, hosts: &[&str]) -> Result<(), AuthnError> {
        let mut request = Request::builder().uri(target).version(version);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        let (head, ()) = request.body(()).expect("a request").into_parts();
        guard(&[]).admit(Peer::loopback(), &head).map(|_| ())
    }

    /// A guard with these callers, whose keys are their names and `-key`.
    fn guard(callers: &[&str]) -> Authn {
        guard_over(false, callers)
    }

    fn guard_over(tls: bool, callers: &[&str]) -> Authn {
        let entry = |name: &&str| CallerProofs {
            name: (*name).to_owned(),
            key: Some(KeyHash::of(format!("{name}-key").as_bytes())),
            ..CallerProofs::default()
        };
        Authn::new(AuthnConfig {
            names: vec!["Proxy.internal".to_owned()],
            port: Some(8080),
            tls,
            origins: vec![WebOrigin::parse("https://grafana.example").expect("an origin")],
            callers: Callers::new(callers.iter().map(entry).collect()),
            issuer: Arc::new(LocalTokens::new().expect("a key")),
            head_size: 1000,
            intercept: vec!["eu.ninjarmm.com".to_owned()],
        })
    }

    fn parts(method: Method, lines: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method(method).uri("/v2/devices").header(HOST, "localhost");
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request").into_parts().0
    }

    fn pass(guard: &Authn, method: Method, lines: &[(&str, &str)]) -> Result<Unauthenticated, AuthnError> {
        guard.admit(Peer::loopback(), &parts(method, lines))
    }

    #[test]
    fn guard_refuses_what_a_page_of_another_origin_sends() {
        let guard = guard(&[]);
        for lines in [
            &[("origin", "https://evil.example")][..],
            &[("origin", "null")],
            &[("sec-fetch-site", "cross-site")],
            &[("origin", "https://evil.example"), ("access-control-request-method", "GET")],
        ] {
            for method in [Method::GET, Method::POST, Method::OPTIONS] {
                assert!(matches!(pass(&guard, method, lines), Err(AuthnError::CrossOrigin(_))), "{lines:?}");
            }
        }
        let asks = [("access-control-request-method", "GET")];
        assert!(matches!(pass(&guard, Method::OPTIONS, &asks), Err(AuthnError::CrossOrigin(_))), "from any caller");
    }

    #[test]
    fn guard_lets_a_listed_page_ask_and_call_and_read() {
        let guard = guard(&[]);
        let page = [("origin", "https://grafana.example"), ("sec-fetch-site", "cross-site")];
        assert!(pass(&guard, Method::GET, &page).is_ok_and(|visitor| visitor.destination() == Destination::Api));
        let asks = [page[0], page[1], ("access-control-request-method", "GET")];
        assert!(
            pass(&guard, Method::OPTIONS, &asks).is_ok_and(|visitor| visitor.destination() == Destination::Preflight)
        );
        assert_eq!(guard.reader(&parts(Method::GET, &page).headers), Some(HeaderValue::from_static(page[0].1)));
        let other = [("origin", "https://evil.example")];
        assert_eq!(guard.reader(&parts(Method::GET, &other).headers), None);
    }

    #[test]
    fn guard_refuses_relayed_requests_where_nobody_proves_who_he_is() {
        for name in ["X-Forwarded-For", "Forwarded", "Via"] {
            let lines = [(name, "1.1 somewhere")];
            assert!(matches!(pass(&guard(&[]), Method::GET, &lines), Err(AuthnError::Relayed(_))), "{name}");
            assert!(pass(&guard(&["reports"]), Method::GET, &lines).is_ok(), "{name}");
        }
    }

    fn identify(guard: &Authn, lines: &[(&str, &str)]) -> Result<CallerId, AuthnError> {
        let head = parts(Method::GET, lines);
        let visitor = guard.admit(Peer::loopback(), &head)?;
        guard.authenticate(visitor, &head.headers).map(|found| found.caller.id())
    }

    #[test]
    fn guard_asks_nobody_who_he_is_without_callers() {
        let guard = guard(&[]);
        for lines in [&[][..], &[("authorization", "Bearer whatever")], &[("x-api-key", "x")]] {
            assert_eq!(identify(&guard, lines), Ok(CallerId(0)));
        }
    }

    #[test]
    fn guard_knows_callers_by_key_and_by_the_tokens_that_it_grants_for_it() {
        let guard = guard(&["reports", "desk"]);
        assert_eq!(identify(&guard, &[("x-api-key", "desk-key")]), Ok(CallerId(1)));
        assert_eq!(identify(&guard, &[("authorization", "Bearer reports-key")]), Ok(CallerId(0)));
        assert_eq!(identify(&guard, &[]), Err(AuthnError::NoKey));
        let hash = KeyHash::of(b"reports-key").to_string();
        for (name, value, hint) in [
            ("authorization", "Bearer x", KeyHint::Unmarked),
            ("authorization", "Bearer npk_x", KeyHint::Length),
            ("authorization", &format!("Bearer npk_{}", "x".repeat(43)), KeyHint::Unknown),
            ("authorization", &format!("Bearer {}", &hash["sha256:".len()..]), KeyHint::Hash),
            ("authorization", "Basic ZGVzazpyZXBvcnRzLWtleQ==", KeyHint::OtherName),
            ("x-api-key", "Bearer reports-key", KeyHint::SchemeInKey),
            ("authorization", "reports-key", KeyHint::NoScheme),
            ("authorization", &hash, KeyHint::Hash),
            ("authorization", &format!("Bearer {hash}"), KeyHint::Hash),
            ("authorization", "Digest x", KeyHint::OtherScheme),
            ("authorization", "Bearer ", KeyHint::Empty),
            ("authorization", "Bearer", KeyHint::Empty),
            ("authorization", "npt_AAAA", KeyHint::NoScheme),
            ("x-api-key", &hash, KeyHint::Hash),
            ("x-api-key", "", KeyHint::Empty),
            ("x-api-key", "\"reports-key\"", KeyHint::Quoted),
            ("x-api-key", "npt_AAAA", KeyHint::UnknownToken),
        ] {
            assert_eq!(identify(&guard, &[(name, value)]), Err(AuthnError::WrongKey(hint)), "{name}: {value}");
        }
        let visitor = || pass(&guard, Method::POST, &[]).expect("a visitor");
        let grant = |form: &str| {
            let request = TokenRequest::read(&HeaderMap::new(), &Uri::from_static("/oauth/token"), form.as_bytes());
            guard.grant_token(&visitor(), &request).map(|granted| granted.token)
        };
        let token = grant("client_id=desk&client_secret=desk-key&scope=anything").expect("a token");
        assert_eq!(identify(&guard, &[("authorization", &format!("Bearer {token}"))]), Ok(CallerId(1)));
        assert_eq!(grant("client_id=reports&client_secret=desk-key"), Err(AuthnError::WrongKey(KeyHint::OtherName)));
        assert_eq!(grant("client_id=reports&client_secret=x"), Err(AuthnError::WrongKey(KeyHint::Unmarked)));
        assert_eq!(grant("client_id=desk"), Err(AuthnError::NoKey));
        assert_eq!(grant("grant_type=password"), Err(AuthnError::OtherGrant));
    }

    proptest! {
        #[test]
        fn guard_knows_whom_a_comparison_with_each_key_knows(
            count in 1..40usize,
            caller in 0..50usize,
            other in 0..50usize,
            end in "(-key|-ke|-keyx|)",
        ) {
            let names: Vec<String> = (0..count).map(|number| format!("c{number}")).collect();
            let guard = guard(&names.iter().map(String::as_str).collect::<Vec<_>>());
            let key = format!("c{caller}{end}");
            // Each key is its caller's name and this.
            let own = names.iter().position(|name| format!("{name}-key") == key);
            let known = own.and_then(|own| u16::try_from(own).ok()).map(CallerId);
            let wrong = || AuthnError::WrongKey(KeyHint::of(key.as_bytes()));
            for (name, value) in [("x-api-key", key.clone()), ("authorization", format!("Bearer {key}"))] {
                prop_assert_eq!(identify(&guard, &[(name, &value)]), known.ok_or_else(wrong));
            }
            let basic = format!("Basic {}", STANDARD.encode(format!("c{other}:{key}")));
            let named = match known {
                Some(known) if known.index() == other => Ok(known),
                Some(_) => Err(AuthnError::WrongKey(KeyHint::OtherName)),
                None => Err(wrong()),
            };
            prop_assert_eq!(identify(&guard, &[("authorization", &basic)]), named);
        }
    }

    #[test]
    fn guard_judges_right_keys_however_many_wrong_ones_there_were() {
        let guard = guard(&["reports"]);
        let wrong = || identify(&guard, &[("x-api-key", "wrong")]);
        let throttled = (0..100).filter(|_| matches!(wrong(), Err(AuthnError::Throttled(_)))).count();
        assert!((75..=80).contains(&throttled), "{throttled}");
        assert_eq!(identify(&guard, &[("x-api-key", "reports-key")]), Ok(CallerId(0)));
    }

    #[test]
    fn guard_admits_the_local_and_the_configured_names_with_our_port_or_none() {
        for host in
            ["localhost", "LOCALHOST:8080", "127.0.0.1", "127.0.0.1:8080", "[::1]", "[::1]:8080", "proxy.internal"]
        {
            assert_eq!(admit("/", Version::HTTP_11, &[host]), Ok(()), "{host}");
        }
    }

    #[test]
    fn guard_refuses_every_other_name() {
        for host in [
            "evil.example",
            "localhost.evil.example",
            "localhost:8081",
            "localhost:",
            "localhost.",
            "127.0.0.1.nip.io",
            "127.1",
            "0.0.0.0:8080",
            "[::1]:80",
            "[fe80::1]",
        ] {
            assert_eq!(admit("/", Version::HTTP_11, &[host]), Err(AuthnError::UnknownHost(host.to_owned())), "{host}");
        }
        for host in [
            "",
            ":8080",
            "::1",
            "[]",
            "[::1",
            "[::1]x",
            "user@localhost",
            "localhost,evil.example",
            "localhost/",
            "local host",
            "localhost:8080:8080",
            "localhost:http",
            "%6cocalhost",
            "loc\u{e4}lhost",
        ] {
            assert_eq!(admit("/", Version::HTTP_11, &[host]), Err(AuthnError::BadHost(host.to_owned())), "{host}");
        }
    }

    #[test]
    fn guard_takes_no_transfer_coding_but_chunked() {
        let pass = |lines: &[(&str, &str)]| pass(&guard(&[]), Method::POST, lines).map(|_| ());
        let coding = |coding| ("transfer-encoding", coding);
        assert_eq!(pass(&[coding("Chunked")]), Ok(()));
        for list in ["gzip, chunked", "chunked, chunked", "chunked;x=1", "identity", "", "\"chunked\"", "chunked,"] {
            assert_eq!(pass(&[coding(list)]), Err(AuthnError::Framing), "{list}");
        }
        assert_eq!(pass(&[coding("chunked"), coding("chunked")]), Err(AuthnError::Framing));
    }

    #[test]
    fn guard_wants_exactly_one_host_in_http_1_1() {
        assert_eq!(admit("/", Version::HTTP_11, &[]), Err(AuthnError::NoHost));
        assert_eq!(admit("http://localhost/", Version::HTTP_11, &[]), Err(AuthnError::NoHost));
        assert_eq!(admit("/", Version::HTTP_10, &[]), Ok(()));
        assert_eq!(admit("/", Version::HTTP_11, &["localhost", "localhost"]), Err(AuthnError::ManyHosts));
    }

    #[test]
    fn guard_takes_absolute_form_for_our_own_authority_only() {
        assert_eq!(admit("http://localhost:8080/v2/devices", Version::HTTP_11, &["localhost:8080"]), Ok(()));
        for target in ["http://eu.ninjarmm.com/v2/devices", "https://localhost:8080/", "http://localhost@evil.example/"]
        {
            assert!(admit(target, Version::HTTP_11, &["localhost"]).is_err(), "{target}");
        }
        assert!(admit("http://localhost/v2/devices", Version::HTTP_11, &["evil.example"]).is_err());
    }

    #[test]
    fn guard_takes_the_authority_of_http_2_over_tls_in_the_place_of_host() {
        let admit = |target: &str| {
            let request = Request::builder().uri(target).version(Version::HTTP_2).body(()).expect("a request");
            guard_over(true, &[]).admit(Peer::loopback().secured(), &request.into_parts().0).map(|_| ())
        };
        assert_eq!(admit("https://localhost:8080/v2/devices"), Ok(()));
        assert_eq!(admit("/v2/devices"), Err(AuthnError::NoHost));
        for target in ["https://evil.example/", "http://localhost:8080/", "https://localhost:8081/"] {
            assert!(matches!(admit(target), Err(AuthnError::UnknownHost(_))), "{target}");
        }
    }

    #[test]
    fn guard_refuses_a_head_over_the_limit() {
        let query = "x".repeat(1000 - "GET /? HTTP/1.1\r\nHost: localhost\r\n\r\n".len());
        assert_eq!(admit(&format!("/?{query}"), Version::HTTP_11, &["localhost"]), Ok(()));
        assert_eq!(admit(&format!("/?{query}x"), Version::HTTP_11, &["localhost"]), Err(AuthnError::LargeHead));
    }

    #[test]
    fn probes_are_called_by_address_or_localhost_and_by_no_other_name() {
        let called = |target: &str, hosts: &[&str]| {
            let request = hosts.iter().fold(Request::get(target), |request, host| request.header(HOST, *host));
            is_called_by_address(&request.body(()).expect("a request").into_parts().0)
        };
        for ours in ["10.1.2.3:9181", "10.1.2.3", "[fd00::1]:9181", "[::1]", "localhost:9181", "LocalHost"] {
            assert!(called("/livez", &[ours]), "{ours}");
        }
        let foreign =
            ["evil.example", "evil.example:9181", "10.1.2.3.evil.example", "", "u@10.1.2.3", "localhost.evil"];
        let unreadable = ["[::1", "::1", "[10.1.2.3]", "10.1.2.3:", "10.1.2.3:99999", "10.1.2.3:+80", "0x7f.1", ":80"];
        for foreign in foreign.into_iter().chain(unreadable) {
            assert!(!called("/livez", &[foreign]), "{foreign}");
        }
        for hosts in [&[][..], &["10.1.2.3", "10.1.2.3"], &["10.1.2.3", "evil.example"]] {
            assert!(!called("/livez", hosts), "{hosts:?}");
        }
        assert!(called("http://10.1.2.3/livez", &["10.1.2.3"]));
        let old = |target: &str, host: Option<&str>| {
            let request = host.into_iter().fold(Request::get(target), |request, host| request.header(HOST, host));
            let request = request.version(Version::HTTP_10);
            is_called_by_address(&request.body(()).expect("a request").into_parts().0)
        };
        assert!(old("/livez", None) && old("/livez", Some("10.1.2.3")), "HTTP/1.0 needs no Host");
        assert!(!old("/livez", Some("evil.example")) && !old("http://evil.example/livez", None));
        assert!(!called("http://evil.example/livez", &["10.1.2.3"]));
    }
}
