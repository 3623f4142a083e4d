//! Refusals where the instance cannot be asked, does not answer, or answers what cannot be passed on.

use std::io;

use super::RefusalContext;
use super::authn::upload_refusal;
use super::problem::Refusal;
use super::refusal_table::RefusalKind;
use crate::net::dial::DialError;
use crate::net::dial::connect::{self, ConnectError, Step};
use crate::net::dial::proxy::ProxyError;
use crate::net::tls::server_verifier::{TlsProblem, in_words};
use crate::proxy::headers::loops::LoopError;
use crate::proxy::rate_limit::{Limit, RateLimited};
use crate::proxy::upstream::UpstreamError;
use crate::proxy::upstream::head::MalformedAnswer;

pub(super) fn refusal(fault: &UpstreamError, scene: &RefusalContext<'_>) -> Refusal {
    let instance = scene.instance;
    match fault {
        UpstreamError::Connect(error) => connect_refusal(error, instance),
        UpstreamError::Timeout => Refusal::new(
            RefusalKind::AnswerTimeout,
            format!("{instance} did not answer in time (timeouts.upstream).{}", write_warning(scene)),
        ),
        UpstreamError::Broken(_) => Refusal::new(
            RefusalKind::ExchangeBroken,
            format!("{instance} broke the connection off before its answer.{}", write_warning(scene)),
        ),
        UpstreamError::Malformed(malformed) => Refusal::new(
            malformed_kind(malformed),
            format!("{instance} gave an answer that cannot be passed on: {malformed}.{}", write_warning(scene)),
        ),
        UpstreamError::Upload(cut) => upload_refusal(*cut),
    }
}

pub(super) fn rate_refusal(late: RateLimited, scene: &RefusalContext<'_>) -> Refusal {
    let instance = scene.instance;
    let (kind, detail) = match late.limit {
        Limit::Pace => (
            RefusalKind::PaceLimited,
            format!("The limit of requests to {instance} is reached (requests-per-second, burst)."),
        ),
        Limit::Concurrent => (
            RefusalKind::ConcurrencyLimited,
            format!("As many requests to {instance} are already under way as are allowed (concurrent)."),
        ),
        Limit::CoolDown => {
            (RefusalKind::CoolingDown, format!("{instance} answered another request with 429 and asks for a pause."))
        }
    };
    let detail = format!(
        "{detail} This request would have to wait longer than wait allows, so it was not sent: try again after the time in Retry-After."
    );
    Refusal::new(kind, detail).after(late.retry_after)
}

pub(super) fn loop_refusal(error: LoopError, instance: &str) -> Refusal {
    let came = match error {
        LoopError::Own => {
            "The proxy sent this request to NinjaOne, and it came back to the proxy itself, where it ends"
        }
        LoopError::TooMany => "The request has passed too many proxies like this one, so it goes no further",
    };
    let detail = format!(
        "{came}: on the proxy's machine, {instance} leads to one of the proxy's own listeners, or to another proxy that leads back. In the instance's table, write the host of NinjaOne; or, where a hosts file or DNS sends that name to the proxy on purpose, NinjaOne's own addresses: addresses = [\"IP\"]. \"ninjaone-proxy doctor\" says where it leads."
    );
    Refusal::new(RefusalKind::LoopDetected, detail)
}

fn malformed_kind(malformed: &MalformedAnswer) -> RefusalKind {
    match malformed {
        MalformedAnswer::Upgrade => RefusalKind::AnswerUpgrades,
        MalformedAnswer::Coding | MalformedAnswer::Doubled => RefusalKind::AnswerCoding,
        MalformedAnswer::Syntax(_)
        | MalformedAnswer::Status(_)
        | MalformedAnswer::Length
        | MalformedAnswer::Informational => RefusalKind::AnswerMalformed,
    }
}

fn connect_refusal(error: &ConnectError, instance: &str) -> Refusal {
    match error {
        ConnectError::Dial(error) => dial_refusal(error, instance),
        ConnectError::Tls(source) => match error.tls() {
            Some(reason) => untrusted_refusal(instance, reason),
            None => tls_refusal(instance, &connect::in_words(source), "Check host, proxy, network and firewall."),
        },
        ConnectError::Http(_) => Refusal::new(
            RefusalKind::NotHttp,
            format!("{instance} did not speak HTTP on a new connection. Check host and port."),
        ),
        ConnectError::Timeout(Step::Name) => Refusal::new(
            RefusalKind::NameTimeout,
            format!("The name of {instance} was not resolved in time (timeouts.connect). Check the machine's DNS."),
        ),
        ConnectError::Timeout(step) => Refusal::new(
            RefusalKind::ConnectionTimeout,
            format!("There was no connection to {instance} in time (timeouts.connect): {step} did not end."),
        ),
    }
}

pub(super) fn dial_refusal(error: &DialError, instance: &str) -> Refusal {
    match error {
        DialError::Resolve(name, _) => Refusal::new(
            RefusalKind::NameUnknown,
            format!("The name {name} cannot be resolved. Check host, and the machine's DNS."),
        ),
        DialError::Connect(source) => Refusal::new(
            RefusalKind::ConnectionRefused,
            format!("Cannot connect: {} Check host, proxy, network and firewall.", unreachable(instance, source)),
        ),
        DialError::Proxy(proxy, cause) => {
            let hint = match cause {
                ProxyError::Refused(407) => " It wants other credentials: proxy = \"http://USER:PASSWORD@HOST:PORT\".",
                ProxyError::Refused(_) | ProxyError::Io(_) | ProxyError::NoHttp | ProxyError::Early => "",
            };
            let detail = format!("The proxy {proxy} does not connect to {instance}: {cause}.{hint}");
            Refusal::new(RefusalKind::ProxyRefused, detail)
        }
    }
}

/// Why there is no TCP connection.
pub(super) fn unreachable(instance: &str, source: &io::Error) -> String {
    let kind = source.kind();
    if kind == io::ErrorKind::ConnectionRefused {
        format!("nothing listens at {instance} (connection refused).")
    } else if kind == io::ErrorKind::TimedOut {
        format!("{instance} does not answer (timed out).")
    } else if matches!(kind, io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable) {
        format!("there is no route to {instance} (network unreachable).")
    } else {
        format!("{instance} cannot be reached ({source}).")
    }
}

pub(super) fn untrusted_refusal(instance: &str, reason: &rustls::Error) -> Refusal {
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
    tls_refusal(instance, &in_words(reason), advice)
}

fn tls_refusal(instance: &str, reason: &str, advice: &str) -> Refusal {
    let detail = format!("The TLS handshake with {instance} failed ({reason}); nothing was sent. {advice}");
    Refusal::new(RefusalKind::InstanceUntrusted, detail.trim_end())
}

pub(super) fn write_warning(scene: &RefusalContext<'_>) -> &'static str {
    match scene.method {
        "GET" | "HEAD" => "",
        _ => {
            " NinjaOne may have done the write anyway, so the proxy does not repeat it: check before you send it again."
        }
    }
}
