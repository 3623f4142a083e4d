//! An invented NinjaOne instance behind TLS: grants one token, and answers what asks with it, in three sizes.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{cipher_suite, default_provider};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

/// The organization that its devices belong to.
pub(crate) const ORGANIZATION: u64 = 5;
/// A list with alerts of its devices, and as many of others.
pub(crate) const ALERTS: &str = "/v2/alerts";
pub(crate) const HTTP1: &[u8] = b"http/1.1";
pub(crate) const HTTP2: &[u8] = b"h2";
/// The only `Authorization` that is let in.
pub(crate) const AUTHORIZED: &str = "Bearer load-token";
const TOKEN: &[u8] = br#"{"access_token":"load-token","token_type":"Bearer","expires_in":3600,"scope":"monitoring"}"#;
/// Streams at a time on an HTTP/2 connection, as load balancers allow.
const STREAMS: u32 = 128;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Size {
    /// 1 KiB of JSON.
    Small,
    /// 100 KiB.
    #[value(name = "100k")]
    Medium,
    /// 10 MiB.
    #[value(name = "10m")]
    Large,
}

impl Size {
    const ALL: [Self; 3] = [Self::Small, Self::Medium, Self::Large];

    /// The size in which the instance answers a target.
    pub(crate) fn of(target: &str) -> Self {
        Self::ALL.into_iter().find(|size| size.target() == target).unwrap_or(Self::Small)
    }

    /// An operation of the catalogue that is answered in this size.
    pub(crate) fn target(self) -> &'static str {
        match self {
            Self::Small => "/v2/organizations",
            Self::Medium => "/v2/devices-detailed",
            Self::Large => "/v2/queries/software",
        }
    }

    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::Small => 1 << 10,
            Self::Medium => 100 << 10,
            Self::Large => 10 << 20,
        }
    }
}

/// A running instance.
pub(crate) struct Instance {
    pub(crate) address: SocketAddr,
    /// The certificate of the CA that vouches for it, as PEM and DER.
    pub(crate) ca: (String, CertificateDer<'static>),
    accepted: Arc<AtomicUsize>,
    _runtime: tokio::runtime::Runtime,
}

impl Instance {
    /// Starts it on a thread of its own; it offers HTTP/2 too unless `only_http1`.
    pub(crate) fn start(only_http1: bool) -> Result<Self> {
        Self::offering(if only_http1 { &[HTTP1] } else { &[HTTP2, HTTP1] })
    }

    /// The same with these protocols, by the names that TLS has for them.
    pub(crate) fn offering(protocols: &[&[u8]]) -> Result<Self> {
        let mut ca = CertificateParams::new(Vec::<String>::new())?;
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate()?)?;
        let tls = TlsAcceptor::from(Arc::new(tls(&ca, protocols)?));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = runtime.block_on(tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let address = listener.local_addr()?;
        let accepted = Arc::new(AtomicUsize::new(0));
        let (count, answers) = (Arc::clone(&accepted), Arc::new(Answers::new()));
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                let _ = stream.set_nodelay(true);
                tokio::spawn(serve(stream, tls.clone(), Arc::clone(&answers)));
            }
        });
        Ok(Self { address, ca: (ca.pem(), ca.der().clone()), accepted, _runtime: runtime })
    }

    /// How many connections came so far.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }
}

/// TLS 1.3 with AES-128 first, as large load balancers prefer it.
fn tls(ca: &CertifiedIssuer<'static, KeyPair>, protocols: &[&[u8]]) -> Result<ServerConfig> {
    let key = KeyPair::generate()?;
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let certificate = CertificateParams::new(names)?.signed_by(&key, ca)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let suites = vec![cipher_suite::TLS13_AES_128_GCM_SHA256, cipher_suite::TLS13_AES_256_GCM_SHA384];
    let provider = CryptoProvider { cipher_suites: suites, ..default_provider() };
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .context("the instance's certificate")?;
    config.ignore_client_order = true;
    // Whether a connection finds a ticket of another one depends on the moment, and a whole handshake costs as much as
    // dozens of requests.
    config.send_tls13_tickets = 0;
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(config)
}

async fn serve(stream: tokio::net::TcpStream, tls: TlsAcceptor, answers: Arc<Answers>) {
    let Ok(stream) = tls.accept(stream).await else { return };
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(HTTP2);
    let stream = TokioIo::new(stream);
    let service = service_fn(move |request: Request<Incoming>| {
        let answers = Arc::clone(&answers);
        async move {
            let (head, body) = request.into_parts();
            // A connection whose request is not read to its end cannot be used again.
            let _ = body.collect().await;
            Ok::<_, Infallible>(answers.answer(&head))
        }
    });
    // A connection that breaks shows in the client, which counts answers.
    if is_http2 {
        let mut http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ = http2.max_concurrent_streams(STREAMS).serve_connection(stream, service).await;
    } else {
        let _ = hyper::server::conn::http1::Builder::new().serve_connection(stream, service).await;
    }
}

/// The bodies that it sends.
struct Answers {
    small: Bytes,
    medium: Bytes,
    large: Bytes,
    /// Those of [`ORGANIZATION`], whichever is asked for.
    devices: Bytes,
    alerts: Bytes,
}

impl Answers {
    fn new() -> Self {
        let [small, medium, large] = Size::ALL.map(|size| organizations(size.bytes()));
        let device = |id| format!(r#"{{"id":{id},"organizationId":{ORGANIZATION},"systemName":"Device {id}"}}"#);
        // Of every second device, so of a device that no list has.
        let alert =
            |id| format!(r#"{{"uid":"{id:08}-0000-4000-8000-000000000000","deviceId":{id},"message":"Alert"}}"#);
        let devices = list(Size::Small.bytes(), (2..).step_by(2).map(device));
        let alerts = list(Size::Small.bytes(), (1..).map(alert));
        Self { small, medium, large, devices, alerts }
    }

    fn body_of(&self, uri: &Uri) -> Bytes {
        match uri.path() {
            ALERTS => self.alerts.clone(),
            path if path.ends_with("/devices") && path.starts_with("/v2/organization/") => match uri.query() {
                // The pages after the first.
                Some(query) if query.contains("after=") => Bytes::from_static(b"[]"),
                Some(_) | None => self.devices.clone(),
            },
            path => self.body(Size::of(path)).clone(),
        }
    }

    fn body(&self, size: Size) -> &Bytes {
        match size {
            Size::Small => &self.small,
            Size::Medium => &self.medium,
            Size::Large => &self.large,
        }
    }

    fn answer(&self, request: &Parts) -> Response<Full<Bytes>> {
        if request.method == Method::POST && request.uri.path() == "/ws/oauth/token" {
            return response(StatusCode::OK, Bytes::from_static(TOKEN));
        }
        if request.headers.get(AUTHORIZATION).is_none_or(|value| value != AUTHORIZED) {
            return response(StatusCode::UNAUTHORIZED, Bytes::from_static(br#"{"error":"not_authenticated"}"#));
        }
        response(StatusCode::OK, self.body_of(&request.uri))
    }
}

fn response(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, value) in [
        ("cache-control", "no-cache, no-store, max-age=0, must-revalidate"),
        ("strict-transport-security", "max-age=31536000; includeSubDomains"),
        ("x-content-type-options", "nosniff"),
        ("vary", "Origin"),
        ("server", "invented"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// A list of organizations of exactly this length.
fn organizations(bytes: usize) -> Bytes {
    let row = |id| format!(r#"{{"id":{id},"name":"Organization {id}","nodeApprovalMode":"AUTOMATIC"}}"#);
    list(bytes, (1..).map(row))
}

/// As many of these rows as there is room for in a list of exactly this length.
fn list(bytes: usize, rows: impl Iterator<Item = String>) -> Bytes {
    let mut text = String::with_capacity(bytes);
    for row in rows {
        // A bracket or comma before each, and a bracket at the end.
        if text.len() + row.len() + 2 > bytes {
            break;
        }
        text.push(if text.is_empty() { '[' } else { ',' });
        text.push_str(&row);
    }
    while text.len() < bytes - 1 {
        text.push(' ');
    }
    text.push(']');
    Bytes::from(text)
}
