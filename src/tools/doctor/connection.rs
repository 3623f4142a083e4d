//! The way to an instance, step by step, each with what it may break on: name, TCP, TLS, and the clock at its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::{Method, Request, StatusCode};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::certificate::{CertificateFacts, SOON};
use super::instance_server::{InstanceServer, InstanceServerError};
use super::read::said;
use super::recording_verifier::{PresentedChain, RecordingVerifier};
use super::reporter::Reporter;
use super::{clock, milliseconds};
use crate::config::self_call::SelfCall;
use crate::net::dial::connect;
use crate::net::dial::exchange::{CollectedAnswer, ExchangeError};
use crate::net::own_addresses::OwnAddresses;
use crate::net::tls::Trust;
use crate::net::tls::server_verifier::TlsProblem;
use crate::observe::logging::ErrorChain;

/// Goes the way; which check failed, if the instance cannot be spoken to. Nothing is sent to a listener of the proxy
/// itself, which would send it on.
pub(super) async fn examine(
    place: &InstanceServer,
    (instance, own): (&str, &OwnAddresses),
    reporter: &Reporter,
) -> Result<(), &'static str> {
    let Some(addresses) = name(place, reporter).await else {
        reporter.skip(&["tcp", "tls", "clock"], "dns failed");
        return Err("dns failed");
    };
    if let Some(SelfCall { what, fix }) = SelfCall::find(own, (instance, &place.site), &addresses) {
        reporter.fail("loop", what, fix);
        reporter.skip(&["tcp", "tls", "clock"], "the instance is this proxy itself");
        return Err("the instance is this proxy itself");
    }
    let Some(stream) = tcp(place, &addresses, reporter).await else {
        reporter.skip(&["tls", "clock"], "tcp failed");
        return Err("tcp failed");
    };
    let answer = match &place.site.trust {
        Some(trust) if tls(place, trust, stream, reporter).await => Some(HeadAnswer::ask(place, reporter).await),
        Some(_) => None,
        None => clear_text(place, reporter).await,
    };
    let Some(answer) = answer else {
        reporter.skip(&["clock"], "tls failed");
        return Err("tls failed");
    };
    examine_clock(place, answer, reporter);
    Ok(())
}

async fn name(place: &InstanceServer, reporter: &Reporter) -> Option<Vec<SocketAddr>> {
    reporter.begin("dns");
    let (route, begun) = (place.site.route(), Instant::now());
    let host = route.next_hop().0;
    match place.resolve().await {
        Ok(addresses) if !addresses.is_empty() => {
            let on_the_way = route.proxy().map_or_else(String::new, |proxy| format!("; it is the proxy {proxy}"));
            let took = milliseconds(begun.elapsed());
            reporter.ok("dns", format!("{host} has {} ({took}){on_the_way}", listed(&addresses)));
            Some(addresses)
        }
        outcome => {
            let detail = match outcome {
                Ok(_) => format!("the name {host} has no address"),
                // It says the name itself.
                Err(error @ InstanceServerError::Dial(_)) => ErrorChain(&error).to_string(),
                Err(error) => format!("the name {host} cannot be resolved: {}", ErrorChain(&error)),
            };
            let fix = "check host (a region: us, us2, eu, oc, ca, fed; or the name of a branded tenant), and the \
                        machine's DNS";
            reporter.fail("dns", detail, fix);
            None
        }
    }
}

fn listed(addresses: &[SocketAddr]) -> String {
    let texts: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
    let noun = if texts.len() == 1 { "address" } else { "addresses" };
    format!("{} {noun}: {}", texts.len(), texts.join(", "))
}

async fn tcp(place: &InstanceServer, addresses: &[SocketAddr], reporter: &Reporter) -> Option<TcpStream> {
    reporter.begin("tcp");
    let begun = Instant::now();
    match place.dial(addresses).await {
        Ok((stream, address)) => {
            reporter.ok("tcp", format!("connected to {address} ({})", milliseconds(begun.elapsed())));
            Some(stream)
        }
        Err(error) => {
            let (host, port) = (place.host(), place.port());
            let fix = match place.site.proxy.as_deref() {
                Some(proxy) => {
                    format!("check that the HTTP proxy {proxy} may connect to {host}:{port} (the key proxy)")
                }
                None => format!(
                    "check host and port, and open outgoing TCP to {host}:{port} in the firewall, or give the HTTP \
                     proxy of this network as proxy (timeouts.connect says how long it tries)"
                ),
            };
            reporter.fail("tcp", format!("no connection to {host} port {port}: {}", ErrorChain(&error)), fix);
            None
        }
    }
}

/// Whether the server can be trusted.
async fn tls(place: &InstanceServer, trust: &Trust, stream: TcpStream, reporter: &Reporter) -> bool {
    reporter.begin("tls");
    let (outcome, presented) = handshake(place, trust, stream).await;
    match outcome {
        Ok(stream) => trusted(&stream, presented.and_then(|presented| presented.leaf).as_ref(), trust, reporter),
        Err(error) => {
            let complaint = presented.and_then(|seen| seen.complaint(place.host(), &trust.to_string()));
            let (detail, fix) = complaint.unwrap_or_else(|| no_tls(place, &error));
            reporter.fail("tls", detail, fix);
            return false;
        }
    }
    true
}

/// The first answer of a server without TLS; `None` if that is a wish for TLS.
async fn clear_text(place: &InstanceServer, reporter: &Reporter) -> Option<HeadAnswer> {
    let answer = HeadAnswer::ask(place, reporter).await;
    reporter.begin("tls");
    if let Some(said) = answer.wish_for_tls(place).await {
        let authority = &place.site.authority;
        let fix = format!("write host = \"https://{authority}\"");
        reporter.fail("tls", format!("{authority} answered plain HTTP with 400{said}"), fix);
        return None;
    }
    reporter.ok("tls", "none: clear text, which is accepted on loopback only");
    Some(answer)
}

/// A handshake as the proxy does it, and the certificates that it brought.
async fn handshake(
    place: &InstanceServer,
    trust: &Trust,
    stream: TcpStream,
) -> (Result<TlsStream<TcpStream>, InstanceServerError>, Option<PresentedChain>) {
    let witness = match trust.judge() {
        Ok(judge) => Arc::new(RecordingVerifier::new(judge)),
        Err(error) => return (Err(error.into()), None),
    };
    let outcome = place.handshake(trust, Arc::clone(&witness), &[b"h2", b"http/1.1"], stream).await;
    (outcome, witness.take())
}

fn trusted(stream: &TlsStream<TcpStream>, leaf: Option<&CertificateFacts>, trust: &Trust, reporter: &Reporter) {
    let (_, session) = stream.get_ref();
    let version = session.protocol_version().and_then(|version| version.as_str()).unwrap_or("TLS").replace('_', ".");
    let alpn = session.alpn_protocol().map_or("no ALPN".into(), String::from_utf8_lossy);
    let leaf_text = leaf.map_or_else(|| "a certificate that cannot be read".to_owned(), CertificateFacts::to_string);
    let detail = format!("{version}, {alpn}; {leaf_text}; trusted are {trust}");
    match leaf {
        Some(leaf) if leaf.days_left < SOON => {
            reporter.warn("tls", detail, "renew the server's certificate: after its end the proxy does not connect");
        }
        Some(_) | None if !trust.complaints().is_empty() => reporter.warn(
            "tls",
            format!("{detail}; not all roots of this system could be read: {}", trust.complaints().join("; ")),
            "repair or remove what cannot be read, or set SSL_CERT_FILE to a file that can",
        ),
        Some(_) | None => reporter.ok("tls", detail),
    }
}

fn no_tls(place: &InstanceServer, error: &InstanceServerError) -> (String, String) {
    let (host, port) = (place.host(), place.port());
    let io = if let InstanceServerError::Io(error) = error { Some(error) } else { None };
    let fix = match io.and_then(connect::tls_in).map(TlsProblem::of) {
        Some(TlsProblem::NoTls) => format!(
            "give the port of {host} that speaks TLS as part of host (without one it is 443); plain HTTP (http://) is \
             accepted on this machine only"
        ),
        Some(TlsProblem::Alert) => format!(
            "see why {host} refuses the connection: if it asks for a certificate, give certificate and key; it must speak \
             TLS 1.2 or 1.3"
        ),
        Some(TlsProblem::UnknownIssuer | TlsProblem::IsCa | TlsProblem::Certificate | TlsProblem::Other) | None => {
            format!("check that {host} speaks TLS 1.2 or 1.3 on port {port}, and that no firewall cuts it off")
        }
    };
    let why = io.map_or_else(|| ErrorChain(error).to_string(), connect::in_words);
    (format!("the handshake with {host} port {port} failed: {why}"), fix)
}

/// What came to `HEAD /`, and when.
struct HeadAnswer {
    outcome: Result<CollectedAnswer, InstanceServerError>,
    sent: SystemTime,
    took: Duration,
}

impl HeadAnswer {
    async fn ask(place: &InstanceServer, reporter: &Reporter) -> Self {
        reporter.begin("clock");
        let (sent, begun) = (SystemTime::now(), Instant::now());
        let outcome = place.exchange(Request::builder().method(Method::HEAD).uri("/")).await;
        Self { outcome, sent, took: begun.elapsed() }
    }

    /// What a server that refuses clear text says of TLS, which only the body of another answer tells.
    async fn wish_for_tls(&self, place: &InstanceServer) -> Option<String> {
        let refused = |answer: &CollectedAnswer| answer.head.status == StatusCode::BAD_REQUEST;
        self.outcome.as_ref().ok().filter(|answer| refused(answer))?;
        let answer = place.exchange(Request::builder().uri("/")).await.ok().filter(refused)?;
        let text = String::from_utf8_lossy(&answer.body).to_ascii_lowercase();
        (text.contains("https") || text.contains("tls")).then(|| said(&answer.head, &answer.body))
    }
}

fn examine_clock(place: &InstanceServer, HeadAnswer { outcome, sent, took }: HeadAnswer, reporter: &Reporter) {
    match outcome {
        Ok(reply) => clock::examine(&reply.head.headers, sent, took, reporter),
        Err(error) => {
            let detail = format!("HEAD / got no answer that tells the time: {}", ErrorChain(&error));
            let is_broken = matches!(error, InstanceServerError::Exchange(ExchangeError::Broken(_)));
            let fix = if matches!(error, InstanceServerError::Exchange(ExchangeError::IsTls)) {
                "write host with https:// instead of http://"
            } else if is_broken && place.site.trust.is_none() {
                "check host: if that port speaks TLS, write https:// instead of http://"
            } else {
                "check that host is NinjaOne's API, and no other service"
            };
            reporter.warn("clock", detail, fix);
        }
    }
}
