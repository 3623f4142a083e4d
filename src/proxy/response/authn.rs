//! Refusals of requests that authn does not let in, or whose head or body cannot be read.

use http::StatusCode;

use super::RefusalContext;
use super::problem::Refusal;
use super::refusal_table::RefusalKind;
use crate::net::body::BodyError;
use crate::proxy::authn::AuthnError;
use crate::proxy::authn::key_hint::KeyHint;

/// The row of an error.
pub(super) fn kind(error: &AuthnError) -> RefusalKind {
    match error {
        AuthnError::NoHost => RefusalKind::HostMissing,
        AuthnError::ManyHosts => RefusalKind::HostRepeated,
        AuthnError::BadHost(_) => RefusalKind::HostMalformed,
        AuthnError::LineFeed => RefusalKind::HeadMalformed,
        AuthnError::Framing => RefusalKind::FramingAmbiguous,
        AuthnError::LargeHead => RefusalKind::HeadTooLarge,
        AuthnError::Fragment => RefusalKind::TargetFragment,
        AuthnError::UnknownHost(_) => RefusalKind::HostNotOurs,
        AuthnError::CrossOrigin(_) => RefusalKind::PageNotAllowed,
        AuthnError::Relayed(_) => RefusalKind::Relayed,
        AuthnError::NoKey => RefusalKind::KeyMissing,
        AuthnError::WrongKey(_) => RefusalKind::KeyWrong,
        AuthnError::Throttled(_) => RefusalKind::KeyThrottled,
        AuthnError::OtherGrant => RefusalKind::GrantUnsupported,
        AuthnError::SignIn => RefusalKind::SignInUnsupported,
        AuthnError::NotPost => RefusalKind::TokenNotPost,
        AuthnError::NestedConnect => RefusalKind::ConnectNested,
        AuthnError::OtherServer { .. } => RefusalKind::ServerMismatch,
        AuthnError::NoProxyKey => RefusalKind::ProxyKeyMissing,
        AuthnError::WrongProxyKey(_) => RefusalKind::ProxyKeyWrong,
    }
}

pub(super) fn refusal(error: &AuthnError, scene: &RefusalContext<'_>) -> Refusal {
    let listener = scene.listener;
    let refusal = |detail: String| Refusal::new(kind(error), detail);
    match error {
        AuthnError::NoHost => refusal("An HTTP/1.1 request must have a Host field (RFC 9112 section 3.2).".into()),
        AuthnError::ManyHosts => refusal("A request must have one Host field (RFC 9112 section 3.2).".into()),
        AuthnError::BadHost(_) => refusal(
            "Host, or the authority of the target, must be a name or an address, and perhaps a colon and a port (RFC 9110 section 7.2).".into(),
        ),
        AuthnError::LineFeed => refusal(
            "A line of the request's head ends in a line feed alone: lines end in CR LF (RFC 9112 section 2.2).".into(),
        ),
        AuthnError::Framing => refusal(
            "Servers could disagree on where the request ends: it must have one Content-Length, or else \"Transfer-Encoding: chunked\" once and no other coding (RFC 9112 section 6.3).".into(),
        ),
        AuthnError::LargeHead => head_refusal(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
        AuthnError::Fragment => refusal(
            "A request target must not have a fragment (# and what follows, RFC 9112 section 3.2): leave it out, or write %23 in the query.".into(),
        ),
        AuthnError::UnknownHost(host) => refusal(format!(
            "This proxy answers requests for localhost, 127.0.0.1 and [::1] only, not for {host:?}. To let callers use that name, add it to names in [listeners.{listener}]."
        )),
        AuthnError::CrossOrigin(mark) => refusal(format!(
            "A web page of another origin made the browser send this request ({mark}). If that page is yours, add its origin to allowed-origins in [listeners.{listener}]."
        )),
        AuthnError::Relayed(name) => refusal(format!(
            "Another proxy passed this request on (it has {name}), so who sent it is unknown. Call this port directly, or give the listener callers with keys: [listeners.{listener}.callers.NAME]."
        )),
        AuthnError::NoKey => refusal(format!(
            "The listener {listener} has callers: send a caller's key as \"Authorization: Bearer KEY\" or \"X-Api-Key: KEY\", or fetch a token with the caller's name and key as client id and secret. \"ninjaone-proxy key new NAME\" makes a key."
        )),
        AuthnError::WrongKey(hint @ KeyHint::OtherName) => refusal(hint.advice().to_owned()),
        AuthnError::WrongKey(hint) => refusal(format!(
            "The key or token is not that of a caller of the listener {listener}. {}",
            hint.advice()
        )),
        AuthnError::Throttled(wait) => refusal(format!(
            "Too many wrong keys came to the listener {listener}. Correct keys are still accepted."
        ))
        .after(*wait),
        AuthnError::OtherGrant => refusal(
            "This proxy's token endpoint supports only the grant types client_credentials and refresh_token.".into(),
        ),
        AuthnError::SignIn => refusal(
            "This proxy has no sign-in: it has its own access to NinjaOne. Set the tool to client credentials (any id and secret, or a caller's name and key), or turn its sign-in off.".into(),
        ),
        AuthnError::NestedConnect => refusal(
            "CONNECT is taken over HTTP/1.1 only, and not inside another CONNECT: call this port itself with it.".into(),
        ),
        AuthnError::OtherServer { outside, inside } => refusal(format!(
            "The request is for two servers: CONNECT or the target says {outside:?}, and the TLS handshake or Host says {inside:?}. Both must be the same."
        )),
        AuthnError::NoProxyKey => refusal(format!(
            "The listener {listener} has callers: give the caller's name and key in the address of the proxy, such as HTTPS_PROXY=http://NAME:KEY@HOST:PORT. \"ninjaone-proxy key new NAME\" makes a key."
        )),
        AuthnError::WrongProxyKey(hint) => refusal(format!(
            "The key in the address of the proxy (Proxy-Authorization) is not that of a caller of the listener {listener}. {}",
            hint.advice()
        )),
        AuthnError::NotPost => refusal("Ask for a token with POST (RFC 6749 section 3.2).".into()),
    }
}

/// Of a head that the parser refuses with this status.
pub(super) fn head_refusal(status: StatusCode) -> Refusal {
    let (kind, detail) = if status == StatusCode::URI_TOO_LONG {
        (RefusalKind::TargetTooLong, "The request target is too long (limits.head, at most 64 KiB).")
    } else if status == StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE {
        (
            RefusalKind::HeadTooLarge,
            "The request's head is larger than limits.head, or has more fields than limits.headers.",
        )
    } else {
        (
            RefusalKind::HeadMalformed,
            "The request is not valid HTTP/1.1 or HTTP/1.0, or its target or a field is malformed (RFC 9112). In a query, percent-encode < > and \".",
        )
    };
    Refusal::new(kind, detail)
}

pub(super) fn upload_refusal(cut: BodyError) -> Refusal {
    let (kind, detail) = match cut {
        BodyError::Stalled => (RefusalKind::BodyStalled, "The request's body stopped arriving (timeouts.client)."),
        BodyError::TooLarge => (RefusalKind::BodyTooLarge, "The request's body is larger than limits.body."),
        BodyError::Broken => (RefusalKind::BodyBroken, "The request's body broke off or is malformed."),
    };
    Refusal::new(kind, detail)
}
