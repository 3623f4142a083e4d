//! Who may come in, compared letter by letter: the measure of the real guard.

use std::sync::Arc;

use http::header::{HOST, ORIGIN};
use http::{HeaderValue, Request};
use ninjaone_proxy::net::listener::Intercepted;
use ninjaone_proxy::proxy::authn::browser::WebOrigin;
use ninjaone_proxy::proxy::authn::callers::Callers;
use ninjaone_proxy::proxy::authn::local_tokens::LocalTokens;
use ninjaone_proxy::proxy::authn::{Authn, AuthnConfig, AuthnError, Destination, is_called_by_address};

/// A guard of port 8080 that also answers to `proxy.internal`, and lets one page in.
pub(crate) fn guard() -> Authn {
    Authn::new(AuthnConfig {
        names: vec!["proxy.internal".to_owned()],
        port: Some(8080),
        tls: false,
        origins: vec![WebOrigin::parse("https://grafana.example").expect("an origin")],
        callers: Callers::new(Vec::new()),
        issuer: Arc::new(LocalTokens::new().expect("a key")),
        head_size: 1 << 20,
        intercept: vec![SERVER.to_owned()],
    })
}

/// The server that the guard's listener stands in for.
const SERVER: &str = "eu.ninjarmm.com";

/// The only hosts that are ours, in lower case.
const HOSTS: [&str; 8] = [
    "localhost",
    "localhost:8080",
    "127.0.0.1",
    "127.0.0.1:8080",
    "[::1]",
    "[::1]:8080",
    "proxy.internal",
    "proxy.internal:8080",
];

/// Asks the guard about a request with this `Host`, and perhaps an `WebOrigin`; fails where its answer is not the plain
/// one. Values that no header can hold are not asked about.
pub(crate) fn agree(guard: &Authn, host: &[u8], origin: Option<&[u8]>) {
    let Ok(host_value) = HeaderValue::from_bytes(host) else { return };
    let mut request = Request::new(());
    request.headers_mut().insert(HOST, host_value);
    if let Some(origin) = origin {
        let Ok(value) = HeaderValue::from_bytes(origin) else { return };
        request.headers_mut().insert(ORIGIN, value);
    }
    let ours = HOSTS.iter().any(|own| own.as_bytes() == host.to_ascii_lowercase());
    let page = origin.is_none_or(|origin| {
        let own = HOSTS.iter().filter(|host| host.ends_with(":8080"));
        origin == b"https://grafana.example" || own.into_iter().any(|own| origin == format!("http://{own}").as_bytes())
    });
    let answer = guard.preview(&request.into_parts().0);
    let plain = match &answer {
        Ok(Destination::Api) => ours && page,
        Ok(
            Destination::Preflight
            | Destination::OAuth(_)
            | Destination::Approvals
            | Destination::Connect
            | Destination::ProxyConfig,
        ) => false,
        Err(AuthnError::UnknownHost(_) | AuthnError::BadHost(_)) => !ours,
        Err(AuthnError::CrossOrigin(_)) => ours && !page,
        Err(_) => false,
    };
    assert!(
        plain,
        "Host {:?} Origin {:?}: {answer:?}",
        String::from_utf8_lossy(host),
        origin.map(String::from_utf8_lossy)
    );
}

/// Asks the guard about a request that came through a CONNECT to [`SERVER`]: with this server name in the handshake, this
/// `Host`, and this scheme and authority in the target. It passes if each that is there says the server and nothing else.
/// Without CONNECT it passes, as a request for that server, if target and `Host` do so.
pub(crate) fn agree_inside(guard: &Authn, name: Option<&str>, host: &[u8], target: Option<(&str, &str)>) {
    let Ok(host_value) = HeaderValue::from_bytes(host) else { return };
    let uri = target
        .map_or_else(|| "/v2/groups".to_owned(), |(scheme, authority)| format!("{scheme}://{authority}/v2/groups"));
    let Ok(uri) = uri.parse::<http::Uri>() else { return };
    let mut request = Request::new(());
    *request.uri_mut() = uri.clone();
    request.headers_mut().insert(HOST, host_value);
    let (head, ()) = request.into_parts();
    // Letter by letter, with the port of HTTPS or without one.
    let says = |text: &[u8], port: &str| {
        let text = text.to_ascii_lowercase();
        text == SERVER.as_bytes() || text == format!("{SERVER}{port}").as_bytes()
    };
    let passes = |answer: &Result<Destination, AuthnError>| matches!(answer, Ok(Destination::Api));
    let other_name = name.filter(|name| *name != SERVER).map(Into::into);
    let inside = Intercepted { name: SERVER.into(), proof: None, other_name };
    let answer = guard.examine(Some(&inside), &head);
    let of_target = target
        .is_none_or(|(scheme, authority)| scheme.eq_ignore_ascii_case("https") && says(authority.as_bytes(), ":443"));
    let expected = name.is_none_or(|name| name == SERVER) && says(host, ":443") && of_target;
    assert_eq!(passes(&answer), expected, "{name:?} {:?} {target:?}: {answer:?}", String::from_utf8_lossy(host));
    let Some((scheme, authority)) = target else { return };
    let port = if scheme.eq_ignore_ascii_case("https") { ":443" } else { ":80" };
    let answer = guard.preview(&head);
    let stands_in =
        matches!(&*scheme.to_ascii_lowercase(), "http" | "https") && authority.split(':').next() == Some(SERVER);
    if stands_in {
        let expected = says(authority.as_bytes(), port) && says(host, port);
        assert_eq!(passes(&answer), expected, "{:?} {target:?}: {answer:?}", String::from_utf8_lossy(host));
    } else if passes(&answer) {
        let ours = HOSTS.iter().any(|own| authority.eq_ignore_ascii_case(own));
        assert!(ours && scheme.eq_ignore_ascii_case("http"), "{target:?}: {answer:?}");
    }
}

/// Asks whether a request with this `Host` names its place by address; fails where it does so by anything that could
/// be the name of somebody's domain, which has letters and no brackets.
pub(crate) fn nobodys_domain(host: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(host) else { return };
    let mut request = Request::new(());
    request.headers_mut().insert(HOST, value);
    if is_called_by_address(&request.into_parts().0) {
        let host = host.to_ascii_lowercase();
        let plain = match &host[..] {
            [b'[', inner @ ..] => inner.iter().all(|byte| byte.is_ascii_hexdigit() || b":.]".contains(byte)),
            name => {
                let name = name.strip_prefix(b"localhost").unwrap_or(name);
                name.iter().all(|byte| byte.is_ascii_digit() || b".:".contains(byte))
            }
        };
        assert!(plain, "{:?} is taken for an address", String::from_utf8_lossy(&host));
    }
}
