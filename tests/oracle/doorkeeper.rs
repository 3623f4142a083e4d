//! Who may come in, compared letter by letter: the measure of the real guard.

use std::sync::Arc;

use http::header::{HOST, ORIGIN};
use http::{HeaderValue, Request};
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
        intercept: Vec::new(),
    })
}

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
