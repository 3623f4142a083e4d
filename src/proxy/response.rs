//! Answers to the caller: NinjaOne's, relayed, or our own refusal; the only table from cause to status.

mod policy;

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ALLOW, CACHE_CONTROL,
    CONNECTION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, RETRY_AFTER, VARY,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, Method, Response, StatusCode, Uri};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use serde::Serialize;

use crate::base::panic_guard::Panicked;
use crate::net::body::BodyError;
use crate::net::dial::DialError;
use crate::net::dial::connect::{ConnectError, Step};
use crate::net::dial::exchange::ExchangeError;
use crate::net::dial::proxy::ProxyError;
use crate::net::listener::BuffersFull;
use crate::net::tls::server_verifier::{TlsProblem, in_words};
use crate::observe::access_log::Fault;
use crate::observe::audit_log::Unrecorded;
use crate::observe::logging::ErrorChain;
use crate::proxy::authn::AuthnError;
use crate::proxy::headers;
use crate::proxy::headers::loops::LoopError;
use crate::proxy::policy::catalog::{OperationId, OperationName};
use crate::proxy::policy::{Policy, PolicyRefusal};
use crate::proxy::rate_limit::{Limit, RateLimited};
use crate::proxy::token::NoToken;
use crate::proxy::token::endpoint::TokenError;
use crate::proxy::upstream::head;
use crate::proxy::upstream::{AnswerBody, Reason, UpstreamAnswer, UpstreamError};
pub use policy::code;

/// RFC 9209.
pub const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");
const REQUEST_LOCAL_NETWORK: HeaderName = HeaderName::from_static("access-control-request-private-network");
const ALLOW_LOCAL_NETWORK: HeaderName = HeaderName::from_static("access-control-allow-private-network");
/// How a caller may say who he is.
const CHALLENGE: &str = "Bearer realm=\"ninjaone-proxy\", Basic realm=\"ninjaone-proxy\", charset=\"UTF-8\"";
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Where a person grants scopes and finds ids.
pub(crate) const CONSOLE: &str = "Administration > Apps > API > Client App IDs";

/// Why a request got no answer of NinjaOne's.
#[derive(Debug, thiserror::Error)]
pub enum Rejection {
    /// It has been here before.
    #[error(transparent)]
    Loop(#[from] LoopError),
    /// The guard did not let it in.
    #[error(transparent)]
    Guard(#[from] AuthnError),
    /// The guard granted no local token.
    #[error(transparent)]
    Grant(AuthnError),
    /// The policy did not permit it.
    #[error(transparent)]
    Policy(#[from] PolicyRefusal),
    /// It is a write, and cannot be recorded.
    #[error(transparent)]
    Audit(#[from] Unrecorded),
    /// There is no token.
    #[error(transparent)]
    Token(#[from] NoToken),
    /// Its turn did not come in time.
    #[error(transparent)]
    Rate(#[from] RateLimited),
    /// NinjaOne could not be asked, or its answer could not be used.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// Too much waits for callers who do not read.
    #[error(transparent)]
    Buffers(#[from] BuffersFull),
    /// A mistake in the proxy ended it.
    #[error(transparent)]
    Panic(#[from] Panicked),
}

/// What a refusal may tell about the place where it happened.
#[derive(Debug, Clone, Copy)]
pub struct RefusalContext<'a> {
    /// The listener's name.
    pub listener: &'a str,
    /// The caller's name, once it is known; `None` also where callers are not told apart.
    pub caller: Option<&'a str>,
    /// The scopes of the caller or else of the listener, separated by spaces.
    pub scopes: &'a str,
    /// The instance's host.
    pub instance: &'a str,
    /// The request's method.
    pub method: &'a str,
    /// The request's path, as it came.
    pub path: &'a str,
    /// The id of the request in the log.
    pub request_id: &'a str,
    /// The operation, once it is known.
    pub operation: Option<OperationName<'a>>,
    /// What the policy was asked, once the caller is known.
    pub judged: Option<JudgedBy<'a>>,
}

/// A request and the policy that judges it.
#[derive(Debug, Clone, Copy)]
pub struct JudgedBy<'a> {
    /// The policy of the caller, or else of the listener.
    pub policy: &'a Policy,
    /// The request's method.
    pub method: &'a Method,
    /// The request's target, as it came.
    pub uri: &'a Uri,
}

/// One row of the table: what the caller is told.
struct RefusalRow {
    status: StatusCode,
    /// Stable, for programs.
    code: &'static str,
    blame: Fault,
    /// The error type of RFC 9209 section 2.3.
    error: &'static str,
    detail: String,
}

fn row(status: StatusCode, code: &'static str, blame: Fault, error: &'static str, detail: String) -> RefusalRow {
    RefusalRow { status, code, blame, error, detail }
}

impl Rejection {
    /// The operation of the catalogue that the policy refuses.
    pub fn operation(&self) -> Option<OperationId> {
        match self {
            Self::Policy(refusal) => refusal.operation(),
            Self::Loop(_) | Self::Guard(_) | Self::Grant(_) | Self::Audit(_) | Self::Token(_) => None,
            Self::Rate(_) | Self::Upstream(_) | Self::Buffers(_) | Self::Panic(_) => None,
        }
    }

    fn row(&self, scene: &RefusalContext<'_>) -> RefusalRow {
        match self {
            Self::Loop(error) => loop_row(*error, scene.instance),
            Self::Guard(intruder) | Self::Grant(intruder) => guard_row(intruder, scene),
            Self::Policy(refusal) => policy::row_of(refusal, scene),
            Self::Audit(_) => audit_row(),
            Self::Token(no_token) => token_row(no_token, scene),
            Self::Rate(late) => late_row(*late, scene),
            Self::Upstream(fault) => upstream_row(fault, scene),
            Self::Buffers(_) => buffers_row(),
            Self::Panic(_) => panic_row(scene),
        }
    }

    /// The field that this status must or may have beside the problem.
    fn field(&self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Self::Policy(PolicyRefusal::MethodNotAllowed { allowed }) => {
                Some((ALLOW, HeaderValue::try_from(allowed.to_string()).ok()?))
            }
            Self::Token(NoToken::Failed { retry_after, .. }) => Some((RETRY_AFTER, whole_seconds(*retry_after))),
            Self::Audit(_) | Self::Buffers(_) | Self::Token(NoToken::Timeout) => {
                Some((RETRY_AFTER, HeaderValue::from(1)))
            }
            Self::Rate(late) => Some((RETRY_AFTER, whole_seconds(late.retry_after))),
            Self::Guard(intruder) | Self::Grant(intruder) => guard_field(intruder),
            Self::Loop(_) | Self::Policy(_) | Self::Upstream(_) | Self::Panic(_) => None,
        }
    }
}

fn whole_seconds(wait: Duration) -> HeaderValue {
    HeaderValue::from(wait.as_secs_f64().ceil().max(1.0) as u64)
}

/// RFC 9209 section 2.3.32 has the error, RFC 5842 section 7.2 the status.
fn loop_row(error: LoopError, instance: &str) -> RefusalRow {
    let came = match error {
        LoopError::Own => {
            "The proxy sent this request to NinjaOne, and it came back to the proxy itself, where it ends"
        }
        LoopError::TooMany => "The request has passed too many proxies like this one, so it goes no further",
    };
    let detail = format!(
        "{came}: on the proxy's machine, {instance} leads to one of the proxy's own listeners, or to another proxy that leads back. In the instance's table, write the host of NinjaOne; or, where a hosts file or DNS sends that name to the proxy on purpose, NinjaOne's own addresses: addresses = [\"IP\"]. \"ninjaone-proxy doctor\" says where it leads."
    );
    row(StatusCode::LOOP_DETECTED, "loop-detected", Fault::Proxy, "proxy_loop_detected", detail)
}

/// The refusal of a request that has been here before, on a listener that serves no instance.
pub fn refuse_loop(error: LoopError) -> Response<Full<Bytes>> {
    let row = loop_row(error, "an instance");
    let mut response = Response::new(Full::from(problem(&row, None, None, None)));
    *response.status_mut() = row.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    insert(headers, PROXY_STATUS, HeaderValue::try_from(proxy_status(&row)).ok());
    response
}

fn guard_field(intruder: &AuthnError) -> Option<(HeaderName, HeaderValue)> {
    match intruder {
        AuthnError::NoKey | AuthnError::WrongKey(_) => Some((WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE))),
        AuthnError::Throttled(wait) => Some((RETRY_AFTER, whole_seconds(*wait))),
        AuthnError::NotPost => Some((ALLOW, HeaderValue::from_static("POST"))),
        AuthnError::LargeHead | AuthnError::NoHost | AuthnError::ManyHosts | AuthnError::BadHost(_) => None,
        AuthnError::Fragment | AuthnError::LineFeed | AuthnError::Framing => None,
        AuthnError::UnknownHost(_) | AuthnError::CrossOrigin(_) | AuthnError::Relayed(_) => None,
        AuthnError::OtherGrant | AuthnError::SignIn => None,
    }
}

fn guard_row(intruder: &AuthnError, scene: &RefusalContext<'_>) -> RefusalRow {
    let listener = scene.listener;
    let bad =
        |code, detail: &str| row(StatusCode::BAD_REQUEST, code, Fault::Caller, "http_request_error", detail.to_owned());
    let refused = |status, code, detail| row(status, code, Fault::Caller, "http_request_denied", detail);
    match intruder {
        AuthnError::NoHost => bad("host-missing", "An HTTP/1.1 request must have a Host field (RFC 9112 section 3.2)."),
        AuthnError::ManyHosts => bad("host-repeated", "A request must have one Host field (RFC 9112 section 3.2)."),
        AuthnError::BadHost(_) => bad(
            "host-malformed",
            "Host, or the authority of the target, must be a name or an address, and perhaps a colon and a port (RFC 9110 section 7.2).",
        ),
        AuthnError::LineFeed => bad(
            "request-malformed",
            "A line of the request's head ends in a line feed alone: lines end in CR LF (RFC 9112 section 2.2).",
        ),
        AuthnError::Framing => bad(
            "framing-ambiguous",
            "Servers could disagree on where the request ends: it must have one Content-Length, or else \"Transfer-Encoding: chunked\" once and no other coding (RFC 9112 section 6.3).",
        ),
        AuthnError::LargeHead => head_row(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
        AuthnError::Fragment => bad(
            "target-malformed",
            "A request target must not have a fragment (# and what follows, RFC 9112 section 3.2): leave it out, or write %23 in the query.",
        ),
        AuthnError::UnknownHost(host) => refused(
            StatusCode::MISDIRECTED_REQUEST,
            "host-not-ours",
            format!(
                "This proxy answers requests for localhost, 127.0.0.1 and [::1] only, not for {host:?}. If callers shall use that name, add it to names in [listeners.{listener}]."
            ),
        ),
        AuthnError::CrossOrigin(mark) => refused(
            StatusCode::FORBIDDEN,
            "page-not-allowed",
            format!(
                "A web page of another origin made the browser send this request ({mark}). If that page is yours, add its origin to allowed-origins in [listeners.{listener}]."
            ),
        ),
        AuthnError::Relayed(name) => refused(
            StatusCode::FORBIDDEN,
            "relayed",
            format!(
                "The request was passed on by another proxy (it has {name}), and nobody can tell for whom. Call this port directly, or give the listener callers with keys: [listeners.{listener}.callers.NAME]."
            ),
        ),
        AuthnError::NoKey => refused(
            StatusCode::UNAUTHORIZED,
            "key-missing",
            format!("The listener {listener} has callers: send a caller's key as \"Authorization: Bearer KEY\" or \"X-Api-Key: KEY\", or fetch a token with the caller's name and key as client id and secret. \"ninjaone-proxy key new NAME\" makes a key."),
        ),
        AuthnError::WrongKey(hint) => refused(
            StatusCode::UNAUTHORIZED,
            "key-wrong",
            format!("The key or token is not that of a caller of the listener {listener}. {}", hint.advice()),
        ),
        AuthnError::Throttled(_) => refused(
            StatusCode::TOO_MANY_REQUESTS,
            "key-throttled",
            format!("Too many wrong keys came to the listener {listener}. Right ones are not held up."),
        ),
        AuthnError::OtherGrant => refused(
            StatusCode::BAD_REQUEST,
            "grant-unsupported",
            "This proxy's token endpoint knows the grant types client_credentials and refresh_token only.".to_owned(),
        ),
        AuthnError::SignIn => refused(
            StatusCode::FORBIDDEN,
            "sign-in-unsupported",
            "Nobody signs in here: the proxy has its own access to NinjaOne. Set the tool to client credentials (any id and secret, or those of a caller), or leave its sign-in out.".to_owned(),
        ),
        AuthnError::NotPost => refused(
            StatusCode::METHOD_NOT_ALLOWED,
            "method-not-allowed",
            "A token is asked for by POST (RFC 6749 section 3.2).".to_owned(),
        ),
    }
}

fn head_row(status: StatusCode) -> RefusalRow {
    let (code, detail) = if status == StatusCode::URI_TOO_LONG {
        ("target-too-long", "The request target is too long (limits.head, at most 64 KiB).")
    } else if status == StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE {
        ("head-too-large", "The request's head is larger than limits.head, or has more fields than limits.headers.")
    } else {
        (
            "request-malformed",
            "The request is no HTTP/1.1 or HTTP/1.0 request, or has a target or a field that is malformed (RFC 9112); in a query, < > and \" must be percent-encoded.",
        )
    };
    row(status, code, Fault::Caller, "http_request_error", detail.to_owned())
}

fn audit_row() -> RefusalRow {
    let detail = "The write was not sent: the audit log cannot be written, and what is not recorded must not happen (on-failure in [audit]). Its disk is full or fails; see the proxy's log. Reads go on, and writes too as soon as there is room.";
    row(StatusCode::SERVICE_UNAVAILABLE, "audit-unavailable", Fault::Proxy, "proxy_internal_error", detail.to_owned())
}

fn buffers_row() -> RefusalRow {
    let detail = "The memory for messages on their way (limits.buffers) is used up: too many callers do not read their answers, or too many large ones are on their way at once. Try again after the time in Retry-After. Callers that do not read are ended after timeouts.client.";
    row(StatusCode::SERVICE_UNAVAILABLE, "buffers-full", Fault::Proxy, "proxy_internal_error", detail.to_owned())
}

fn token_row(no_token: &NoToken, scene: &RefusalContext<'_>) -> RefusalRow {
    let unavailable =
        |code, blame, detail| row(StatusCode::SERVICE_UNAVAILABLE, code, blame, "proxy_internal_error", detail);
    let mend = |code, what: &str| {
        let row = unavailable(code, Fault::Proxy, format!("There is no token for {}: {what}", scene.instance));
        RefusalRow { error: "proxy_configuration_error", ..row }
    };
    let NoToken::Failed { cause, .. } = no_token else {
        return unavailable(
            "token-timeout",
            Fault::Upstream,
            "There is no token yet: the token endpoint is slow. Try again.".into(),
        );
    };
    match &**cause {
        TokenError::UnknownClient => mend(
            "token-client-unknown",
            &format!("NinjaOne does not know the client id there. Check host (the region) and client-id ({CONSOLE})."),
        ),
        TokenError::InvalidClient => mend(
            "token-client-refused",
            &format!(
                "NinjaOne refused the client id or secret. Check them ({CONSOLE}; a secret is shown once, and regenerating it ends the old one)."
            ),
        ),
        TokenError::InvalidScope => mend(
            "token-scope-refused",
            &format!(
                "the API client app lacks one of the scopes {}. Grant them in NinjaOne ({CONSOLE}), or take them out of scopes in [listeners.{}].",
                scene.scopes, scene.listener
            ),
        ),
        TokenError::Exchange(ExchangeError::Connect(ConnectError::Dial(error))) if error.is_lasting() => {
            dial_row(error, scene.instance)
        }
        TokenError::Exchange(error) => match error.tls() {
            Some(reason) => untrusted_row(scene.instance, reason),
            None => no_token_row(cause, scene.instance),
        },
        TokenError::Refused { status: StatusCode::LOOP_DETECTED, .. } => loop_row(LoopError::Own, scene.instance),
        TokenError::Timeout | TokenError::Refused { .. } | TokenError::Unusable(_) => {
            no_token_row(cause, scene.instance)
        }
    }
}

fn no_token_row(cause: &TokenError, instance: &str) -> RefusalRow {
    let cause = ErrorChain(cause);
    let detail = format!(
        "There is no token for {instance}: {cause}. It is asked for again without you; try again after the time in Retry-After."
    );
    row(StatusCode::SERVICE_UNAVAILABLE, "token-unavailable", Fault::Upstream, "proxy_internal_error", detail)
}

fn upstream_row(fault: &UpstreamError, scene: &RefusalContext<'_>) -> RefusalRow {
    let instance = scene.instance;
    let broken = |code, error, detail| row(StatusCode::BAD_GATEWAY, code, Fault::Upstream, error, detail);
    match fault {
        UpstreamError::Connect(error) => connect_row(error, instance),
        UpstreamError::Timeout => row(
            StatusCode::GATEWAY_TIMEOUT,
            "upstream-timeout",
            Fault::Upstream,
            "http_response_timeout",
            format!("{instance} did not answer in time (timeouts.upstream).{}", write_warning(scene)),
        ),
        UpstreamError::Broken(_) => broken(
            "upstream-broken",
            "connection_terminated",
            format!("{instance} broke the exchange off before its answer.{}", write_warning(scene)),
        ),
        UpstreamError::Malformed(malformed) => broken(
            "upstream-malformed",
            malformed_error(malformed),
            format!("{instance} answered what cannot be passed on: {malformed}.{}", write_warning(scene)),
        ),
        UpstreamError::Upload(cut) => upload_row(*cut),
    }
}

fn late_row(late: RateLimited, scene: &RefusalContext<'_>) -> RefusalRow {
    let instance = scene.instance;
    let (blame, error, detail) = match late.limit {
        Limit::Pace => (
            Fault::Proxy,
            "http_request_denied",
            format!("More requests came for {instance} than may go there (requests-per-second, burst)."),
        ),
        Limit::Concurrent => (
            Fault::Proxy,
            "connection_limit_reached",
            format!("As many requests are under way to {instance} as may be at a time (concurrent)."),
        ),
        Limit::CoolDown => (
            Fault::Upstream,
            "http_request_denied",
            format!("{instance} answered another request with 429 and wants to be left alone for a while."),
        ),
    };
    let detail = format!(
        "{detail} The request's turn does not come within wait, so it was not sent: try again after the time in Retry-After."
    );
    row(StatusCode::TOO_MANY_REQUESTS, "rate-limited", blame, error, detail)
}

/// RFC 9209 section 2.3.
fn malformed_error(malformed: &head::MalformedAnswer) -> &'static str {
    match malformed {
        head::MalformedAnswer::Upgrade => "http_upgrade_failed",
        head::MalformedAnswer::Coding | head::MalformedAnswer::Doubled => "http_response_transfer_coding",
        head::MalformedAnswer::Syntax(_) | head::MalformedAnswer::Status(_) | head::MalformedAnswer::Length => {
            "http_protocol_error"
        }
        head::MalformedAnswer::Informational => "http_protocol_error",
    }
}

fn connect_row(error: &ConnectError, instance: &str) -> RefusalRow {
    let broken = |code, error, detail| row(StatusCode::BAD_GATEWAY, code, Fault::Upstream, error, detail);
    let late = |code, error, detail| row(StatusCode::GATEWAY_TIMEOUT, code, Fault::Upstream, error, detail);
    match error {
        ConnectError::Dial(error) => dial_row(error, instance),
        ConnectError::Tls(source) => match error.tls() {
            Some(reason) => untrusted_row(instance, reason),
            None => tls_row(instance, &source.to_string(), "Check host, proxy, network and firewall."),
        },
        ConnectError::Http(_) => broken(
            "upstream-broken",
            "http_protocol_error",
            format!("{instance} did not speak HTTP on a new connection."),
        ),
        ConnectError::Timeout(Step::Name) => late(
            "instance-name-unknown",
            "dns_timeout",
            format!("The name of {instance} was not resolved in time (timeouts.connect). Check the machine's DNS."),
        ),
        ConnectError::Timeout(step) => late(
            "instance-unreachable",
            "connection_timeout",
            format!("There was no connection to {instance} in time (timeouts.connect): {step} did not end."),
        ),
    }
}

fn dial_row(error: &DialError, instance: &str) -> RefusalRow {
    match error {
        DialError::Resolve(name, _) => name_unknown_row(name),
        DialError::Connect(source) => row(
            StatusCode::BAD_GATEWAY,
            "instance-unreachable",
            Fault::Upstream,
            "connection_refused",
            format!("{instance} cannot be reached ({source}). Check host, proxy, network and firewall."),
        ),
        DialError::Proxy(proxy, cause) => proxy_row(instance, proxy, cause),
    }
}

fn proxy_row(instance: &str, proxy: &str, cause: &ProxyError) -> RefusalRow {
    let wants_credentials = matches!(cause, ProxyError::Refused(407));
    let hint =
        if wants_credentials { " It wants other credentials: proxy = \"http://USER:PASSWORD@HOST:PORT\"." } else { "" };
    let detail = format!("The proxy {proxy} does not connect to {instance}: {cause}.{hint}");
    row(StatusCode::BAD_GATEWAY, "proxy-refused", Fault::Upstream, "destination_unavailable", detail)
}

fn name_unknown_row(instance: &str) -> RefusalRow {
    let detail = format!("The name {instance} cannot be resolved. Check host, and the machine's DNS.");
    row(StatusCode::BAD_GATEWAY, "instance-name-unknown", Fault::Upstream, "dns_error", detail)
}

fn untrusted_row(instance: &str, reason: &rustls::Error) -> RefusalRow {
    let advice = match TlsProblem::of(reason) {
        TlsProblem::UnknownIssuer => {
            "If it has a private CA, or a proxy on the way inspects TLS, give that CA's certificate as ca-file."
        }
        // It has said itself what to do.
        TlsProblem::IsCa => "",
        TlsProblem::Certificate => "Check host, this machine's clock, and the certificate of the instance.",
        TlsProblem::NoTls => "Check the port of host: it must be one that speaks TLS.",
        TlsProblem::Alert => "If it asks for a certificate, give certificate and key.",
        TlsProblem::Other => "Check host: it must be a server that speaks TLS 1.2 or 1.3.",
    };
    tls_row(instance, &in_words(reason), advice)
}

fn tls_row(instance: &str, reason: &str, advice: &str) -> RefusalRow {
    let detail = format!("The TLS handshake with {instance} failed ({reason}); nothing was sent. {advice}");
    let detail = detail.trim_end().to_owned();
    row(StatusCode::BAD_GATEWAY, "instance-untrusted", Fault::Upstream, "tls_certificate_error", detail)
}

fn write_warning(scene: &RefusalContext<'_>) -> &'static str {
    match scene.method {
        "GET" | "HEAD" => "",
        _ => " The write may have been done all the same, so it is not repeated: look before you send it again.",
    }
}

fn panic_row(scene: &RefusalContext<'_>) -> RefusalRow {
    let detail = format!(
        "A mistake in the proxy ended this request; others are not harmed. Its log has the place, under this request id: please report it.{}",
        write_warning(scene)
    );
    row(StatusCode::INTERNAL_SERVER_ERROR, "internal-error", Fault::Proxy, "proxy_internal_error", detail)
}

fn upload_row(cut: BodyError) -> RefusalRow {
    let (status, code, detail) = match cut {
        BodyError::Stalled => {
            (StatusCode::REQUEST_TIMEOUT, "body-stalled", "The request's body stopped coming (timeouts.client).")
        }
        BodyError::TooLarge => {
            (StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", "The request's body is larger than limits.body.")
        }
        BodyError::Broken => (StatusCode::BAD_REQUEST, "body-broken", "The request's body broke off or is malformed."),
    };
    row(status, code, Fault::Caller, "http_request_error", detail.to_owned())
}

/// RFC 9457, and the two members by which tools print NinjaOne's own errors.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Problem<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    operation: Option<String>,
    result_code: &'a str,
    error_message: &'a str,
    /// RFC 6749 section 5.2, where a token was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none", rename = "error_description")]
    error_description: Option<&'a str>,
}

/// What the audit record takes down of a refusal.
pub struct RefusalSummary {
    /// The stable code.
    pub code: &'static str,
    /// Whose fault it is.
    pub blame: Fault,
    /// What the caller is told.
    pub detail: String,
}

/// Our own answer to a request that gets none of NinjaOne's.
pub fn refuse(rejection: &Rejection, scene: &RefusalContext<'_>) -> (Response<ResponseBody>, RefusalSummary) {
    let row = rejection.row(scene);
    let oauth = match rejection {
        Rejection::Grant(intruder) => Some(oauth_error(intruder)),
        Rejection::Loop(_) | Rejection::Guard(_) | Rejection::Policy(_) | Rejection::Token(_) => None,
        Rejection::Rate(_) | Rejection::Upstream(_) | Rejection::Audit(_) => None,
        Rejection::Buffers(_) | Rejection::Panic(_) => None,
    };
    let operation = scene.operation.map(|name| name.to_string());
    let body = problem(&row, Some(scene.request_id), operation, oauth);
    let mut response = Response::new(ResponseBody::Own(Full::from(body)));
    *response.status_mut() = row.status;
    let headers = response.headers_mut();
    let kind = if oauth.is_some() { "application/json" } else { "application/problem+json" };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    insert(headers, PROXY_STATUS, HeaderValue::try_from(proxy_status(&row)).ok());
    insert(headers, REQUEST_ID, HeaderValue::try_from(scene.request_id).ok());
    if let Some((name, value)) = rejection.field() {
        headers.insert(name, value);
    }
    if matches!(rejection, Rejection::Guard(intruder) if intruder.is_malformed()) {
        // Over HTTP/2 it is left out.
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    (response, RefusalSummary { code: row.code, blame: row.blame, detail: row.detail })
}

/// What OAuth clients understand of a refused token request.
fn oauth_error(intruder: &AuthnError) -> &'static str {
    match intruder {
        AuthnError::NoKey | AuthnError::WrongKey(_) => "invalid_client",
        AuthnError::Throttled(_) => "temporarily_unavailable",
        AuthnError::OtherGrant => "unsupported_grant_type",
        AuthnError::LargeHead | AuthnError::NoHost | AuthnError::ManyHosts | AuthnError::BadHost(_) => {
            "invalid_request"
        }
        AuthnError::Fragment | AuthnError::LineFeed | AuthnError::Framing => "invalid_request",
        AuthnError::UnknownHost(_) | AuthnError::CrossOrigin(_) | AuthnError::Relayed(_) => "invalid_request",
        AuthnError::SignIn | AuthnError::NotPost => "invalid_request",
    }
}

fn problem(row: &RefusalRow, request_id: Option<&str>, operation: Option<String>, oauth: Option<&str>) -> Vec<u8> {
    let problem = Problem {
        r#type: format!("urn:ninjaone-proxy:problem:{}", row.code),
        title: row.status.canonical_reason().unwrap_or("Error"),
        status: row.status.as_u16(),
        detail: &row.detail,
        code: row.code,
        request_id,
        operation,
        result_code: row.code,
        error_message: &row.detail,
        error: oauth,
        error_description: oauth.map(|_| row.detail.as_str()),
    };
    let mut body = serde_json::to_vec(&problem).unwrap_or_default();
    body.push(b'\n');
    body
}

fn proxy_status(row: &RefusalRow) -> String {
    format!("ninjaone-proxy; error={}; details=\"{}\"", row.error, row.code)
}

/// The answer to a head that the parser refuses, byte for byte: its own head and its body.
pub fn refuse_head(status: StatusCode, request_id: Option<&str>) -> ([Vec<u8>; 2], RefusalSummary) {
    let row = head_row(status);
    let body = problem(&row, request_id, None, None);
    let id = request_id.map_or_else(String::new, |id| format!("x-request-id: {id}\r\n"));
    let head = format!(
        "HTTP/1.1 {} {}\r\ncontent-type: application/problem+json\r\ncache-control: no-store\r\nproxy-status: {}\r\n{id}\
         connection: close\r\ncontent-length: {}\r\n\r\n",
        status.as_u16(),
        status.canonical_reason().unwrap_or("Error"),
        proxy_status(&row),
        body.len()
    );
    ([head.into_bytes(), body], RefusalSummary { code: row.code, blame: row.blame, detail: row.detail })
}

/// What [`refuse`] would say: status, code and detail.
pub fn dry_run(rejection: &Rejection, scene: &RefusalContext<'_>) -> (StatusCode, &'static str, String) {
    let row = rejection.row(scene);
    (row.status, row.code, row.detail)
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: Option<HeaderValue>) {
    if let Some(value) = value {
        headers.insert(name, value);
    }
}

/// The answer to a token request: a local token, good for `lifetime` (RFC 6749 section 5.1).
pub fn granted(token: &str, lifetime: Duration, scope: &str) -> Response<ResponseBody> {
    let grant = serde_json::json!({
        "access_token": token, "token_type": "Bearer", "expires_in": lifetime.as_secs(), "scope": scope,
    });
    let mut response = Response::new(ResponseBody::Own(Full::from(format!("{grant}\n"))));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The answer to a listed page that asks in advance: the methods there are, and the fields that it wants to send.
pub fn preflight(asked: &HeaderMap) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::Own(Full::default()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE"));
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    insert(headers, ACCESS_CONTROL_ALLOW_HEADERS, asked.get(ACCESS_CONTROL_REQUEST_HEADERS).cloned());
    if asked.contains_key(REQUEST_LOCAL_NETWORK) {
        headers.insert(ALLOW_LOCAL_NETWORK, HeaderValue::from_static("true"));
    }
    response
}

/// Lets a listed page read an answer (Fetch standard, section 3.2). Credentials of the browser's are not allowed.
pub fn share(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("*"));
    headers.append(VARY, HeaderValue::from_static("Origin"));
}

/// NinjaOne's answer, cleaned, marked as relayed, with a `Location` at the instance turned to the caller's `origin`.
pub fn relay(
    answer: UpstreamAnswer,
    relayed: &HeaderValue,
    localize: impl FnOnce(&HeaderValue) -> Option<HeaderValue>,
) -> Response<ResponseBody> {
    let UpstreamAnswer { mut head, body, reason, .. } = answer;
    headers::clean_response(&mut head.headers);
    head.headers.append(PROXY_STATUS, reason.and_then(|reason| explained(relayed, reason)).unwrap_or(relayed.clone()));
    if let Some(location) = head.headers.get(LOCATION).and_then(localize) {
        head.headers.insert(LOCATION, location);
    }
    if !is_json(&head.headers) {
        head.headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox; default-src 'none'"));
        head.headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    }
    // The caller's connection has a version of its own.
    head.version = http::Version::HTTP_11;
    Response::from_parts(head, ResponseBody::Relayed(body))
}

/// Anything else may be a page that somebody stored in NinjaOne: in a browser it would be a page of this proxy's, whose
/// scripts may call it.
fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let kind = kind.split(|&byte| byte == b';').next().unwrap_or_default();
    headers.get_all(CONTENT_TYPE).iter().count() == 1 && kind.trim_ascii().eq_ignore_ascii_case(b"application/json")
}

/// `Proxy-Status` that says what can be done about NinjaOne's 401, 403 or 404.
fn explained(relayed: &HeaderValue, reason: Reason) -> Option<HeaderValue> {
    let details = match reason {
        Reason::NotAuthenticated => {
            "not_authenticated: NinjaOne refused the token; the next request gets a new one, unless that was refused too"
        }
        Reason::InsufficientPrivileges => {
            "insufficient_privileges: the API client app may not do this; see its scopes in NinjaOne"
        }
        Reason::UserContextRequired => {
            "user_context_required: NinjaOne wants a signed-in user, and client credentials have none; no configuration of this proxy can change that"
        }
        Reason::RouteUnknown => {
            "route-unknown: this instance does not have the operation, although others may; doctor --catalog lists what it lacks"
        }
        Reason::EntityUnknown => "entity-unknown: the instance has the operation, but not what the request names",
        Reason::Unknown => return None,
    };
    HeaderValue::try_from(format!("{}; details=\"{details}\"", relayed.to_str().ok()?)).ok()
}

/// The body of an answer to the caller.
pub enum ResponseBody {
    /// Ours.
    Own(Full<Bytes>),
    /// NinjaOne's, in transit.
    Relayed(Box<AnswerBody>),
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Own(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            Self::Relayed(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(body) => body.is_end_stream(),
            Self::Relayed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(body) => body.size_hint(),
            Self::Relayed(body) => body.size_hint(),
        }
    }
}
