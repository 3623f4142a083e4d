//! TLS to the instance: private CAs, HTTP/2, and certificates that must not be trusted.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ninjaone_proxy::sandbox::{Options, Sandbox, SandboxProtocol};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;

use crate::harness::{Ninja, Proxy, Reply, connect, run_binary};
use crate::watch::SECRET;

/// A sandbox behind TLS, with a CA made for it.
pub(crate) struct Secure {
    pub(crate) address: SocketAddr,
    pub(crate) ca_file: PathBuf,
    pub(crate) sandbox: Sandbox,
    _folder: TempDir,
    _runtime: tokio::runtime::Runtime,
}

/// What the server's certificate is like.
pub(crate) struct Leaf {
    pub(crate) names: &'static [&'static str],
    /// Negative: it has ended.
    pub(crate) ends_in_days: Option<i64>,
}

pub(crate) const GOOD: Leaf = Leaf { names: &["localhost", "127.0.0.1"], ends_in_days: None };

impl Leaf {
    fn parameters(&self) -> CertificateParams {
        let names: Vec<String> = self.names.iter().map(|&name| name.to_owned()).collect();
        let mut parameters = CertificateParams::new(names).expect("parameters");
        if let Some(days) = self.ends_in_days {
            let (now, time) = (SystemTime::now(), Duration::from_secs(days.unsigned_abs() * 24 * 3600));
            parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
            parameters.not_after = if days < 0 { now - time } else { now + time }.into();
        }
        parameters
    }
}

impl Secure {
    pub(crate) fn start(leaf: &Leaf, alpn: &[&[u8]]) -> Self {
        Self::asking(leaf, alpn, false)
    }

    /// With `asks` it wants a certificate of its clients, and there is one in `client.pem` and `client-key.pem`.
    pub(crate) fn asking(leaf: &Leaf, alpn: &[&[u8]], asks: bool) -> Self {
        let mut ca = CertificateParams::new(Vec::<String>::new()).expect("parameters");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().expect("a key")).expect("a CA");
        let key = KeyPair::generate().expect("a key");
        let certificate = leaf.parameters().signed_by(&key, &ca).expect("a certificate");
        Self::with(&ca, certificate.der().clone(), &key, alpn, asks)
    }

    /// Its certificate is of nobody else, and marked as that of a CA, as `openssl req -x509` makes it.
    pub(crate) fn self_signed(leaf: &Leaf) -> Self {
        let mut parameters = leaf.parameters();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let own = CertifiedIssuer::self_signed(parameters, KeyPair::generate().expect("a key")).expect("a certificate");
        let key = KeyPair::try_from(own.key().serialize_der()).expect("a key");
        Self::with(&own, own.der().clone(), &key, &[b"h2", b"http/1.1"], false)
    }

    fn with(
        ca: &CertifiedIssuer<'static, KeyPair>,
        certificate: CertificateDer<'static>,
        key: &KeyPair,
        alpn: &[&[u8]],
        asks: bool,
    ) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let ca_file = folder.path().join("ca.pem");
        std::fs::write(&ca_file, ca.pem()).expect("a file");

        let client_key = KeyPair::generate().expect("a key");
        let client = CertificateParams::new(vec!["client".to_owned()]).expect("parameters");
        let client = client.signed_by(&client_key, ca).expect("a certificate");
        std::fs::write(folder.path().join("client.pem"), client.pem()).expect("a file");
        std::fs::write(folder.path().join("client-key.pem"), client_key.serialize_pem()).expect("a file");

        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_client_cert_verifier(verifier(ca, asks))
            .with_single_cert(vec![certificate], key)
            .expect("a certificate and its key");
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        let sandbox = Sandbox::new(Options::with_secret(SECRET)).expect("a sandbox");
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let listener = runtime.block_on(tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).expect("a port");
        let address = listener.local_addr().expect("an address");
        runtime.spawn(accept(listener, TlsAcceptor::from(Arc::new(config)), sandbox.clone()));
        Self { address, ca_file, sandbox, _folder: folder, _runtime: runtime }
    }

    /// A file beside the CA's.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.ca_file.with_file_name(name)
    }

    pub(crate) fn proxy(&self, host: &str) -> Proxy {
        let instance = format!("host = \"https://{host}:{}\"\nca-file = {:?}", self.address.port(), self.ca_file);
        Proxy::start(&instance, "scopes = [\"monitoring\", \"management\"]", "")
    }
}

fn verifier(ca: &CertifiedIssuer<'static, KeyPair>, asks: bool) -> Arc<dyn ClientCertVerifier> {
    if !asks {
        return WebPkiClientVerifier::no_client_auth();
    }
    let mut roots = RootCertStore::empty();
    roots.add(ca.der().clone()).expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().expect("a verifier")
}

async fn accept(listener: tokio::net::TcpListener, acceptor: TlsAcceptor, sandbox: Sandbox) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, sandbox) = (acceptor.clone(), sandbox.clone());
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let protocol = match stream.get_ref().1.alpn_protocol() {
                Some(b"h2") => SandboxProtocol::Http2,
                _ => SandboxProtocol::Http1,
            };
            sandbox.serve_connection(stream, protocol).await;
        });
    }
}

#[test]
fn a_private_ca_is_trusted_through_ca_file_over_http_1_and_http_2() {
    for (alpn, busy, version) in [
        (&[b"http/1.1" as &[u8]][..], false, "HTTP/1.1"),
        (&[b"http/1.1"], true, "HTTP/1.1"),
        (&[b"h2", b"http/1.1"], false, "HTTP/1.1"),
        (&[b"h2", b"http/1.1"], true, "HTTP/2.0"),
        // It refuses an offer without HTTP/2: tokens and API requests go on to that.
        (&[b"h2"], false, "HTTP/2.0"),
        (&[], true, "HTTP/1.1"),
    ] {
        let secure = Secure::start(&GOOD, alpn);
        let proxy = secure.proxy("localhost");
        let others = busy.then(|| Others::begin(&proxy));
        assert_eq!(proxy.get("//v2/organizations?pageSize=2").json().as_array().map(Vec::len), Some(2));
        let body = vec![b'x'; 2 << 20];
        // Of unknown length: a bulk body would have a connection of its own.
        let mut stream = connect(proxy.address);
        let head = "POST /v2/attachments/temp/upload HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\
            Content-Type: multipart/form-data; boundary=b\r\n\r\n";
        write!(stream, "{head}{:x}\r\n", body.len()).expect("an open connection");
        stream.write_all(&body).and_then(|()| stream.write_all(b"\r\n0\r\n\r\n")).expect("an open connection");
        let upload = Reply::read(&mut stream, false);
        assert!(upload.status < 300, "{version}: {upload:?}");
        assert_eq!(secure.sandbox.counts().bytes_uploaded, 2 << 20);
        let download = proxy.get("/v2/attachment/7?size=5000000");
        assert_eq!((download.body.len(), download.whole), (5_000_000, true), "{version}");
        secure.sandbox.revoke_tokens();
        assert_eq!(proxy.get("/v2/groups").status, 200, "renewed over {version}");
        assert_eq!(secure.sandbox.last_request()["version"], version, "busy: {busy}");
        drop(others);
    }
}

/// Requests of others that take long, so many that every worker is busy.
struct Others {
    _streams: Vec<TcpStream>,
}

impl Others {
    fn begin(proxy: &Proxy) -> Self {
        let workers = std::thread::available_parallelism().expect("a count").get();
        let ask = |_| {
            let mut stream = connect(proxy.address);
            write!(stream, "GET /v2/organizations?delay=60000 HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("a request");
            stream
        };
        let others = Self { _streams: (0..32 * workers).map(ask).collect() };
        std::thread::sleep(Duration::from_millis(500));
        others
    }
}

#[test]
fn a_bulk_answer_has_a_connection_of_its_own_and_so_have_few_callers() {
    let secure = Secure::start(&GOOD, &[b"h2", b"http/1.1"]);
    let proxy = secure.proxy("localhost");
    // One connection: what a worker knows it has from its own callers.
    let mut stream = connect(proxy.address);
    let mut version = |path: &str| {
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("an open connection");
        assert_eq!(Reply::read(&mut stream, false).status, 200);
        secure.sandbox.last_request()["version"].as_str().map(str::to_owned).unwrap_or_default()
    };
    let (bulk, small) = ("/v2/attachment/7?size=100000", "/v2/groups");
    assert_eq!([version(small), version(bulk)], ["HTTP/1.1", "HTTP/1.1"], "nobody else is there");
    let others = Others::begin(&proxy);
    assert_eq!([version(small), version(bulk)], ["HTTP/2.0", "HTTP/1.1"], "its answer was bulk the last time");
    assert_eq!(version("/v2/attachment/7?size=10"), "HTTP/1.1");
    assert_eq!(version(bulk), "HTTP/2.0", "its answer was small the last time");
    drop(others);
    let mut calls = (0..200).map(|_| version(small));
    assert!(calls.any(|version| version == "HTTP/1.1"), "few are there again");
}

#[test]
fn callers_at_once_share_http_2_connections() {
    let secure = Secure::start(&GOOD, &[b"h2", b"http/1.1"]);
    let proxy = Arc::new(secure.proxy("localhost"));
    let callers: Vec<_> = (0..100)
        .map(|_| {
            let proxy = Arc::clone(&proxy);
            std::thread::spawn(move || proxy.get("/v2/organizations?delay=200").status)
        })
        .collect();
    for caller in callers {
        assert_eq!(caller.join().expect("a status"), 200);
    }
    // Of each worker eight over HTTP/1.1 for the first few, and one for 64 exchanges; and one of the token.
    let workers = std::thread::available_parallelism().expect("a count").get() as u64;
    let connections = secure.sandbox.counts().connections;
    assert!(connections <= 10 * workers + 1, "{connections} connections for 100 callers");
}

#[test]
fn an_ip_address_is_checked_against_the_certificate_too() {
    let secure = Secure::start(&GOOD, &[b"http/1.1"]);
    assert_eq!(secure.proxy("127.0.0.1").get("/v2/groups").status, 200);
}

#[test]
fn a_certificate_that_is_foreign_expired_or_unknown_gets_no_credentials() {
    let foreign = Leaf { names: &["other.example"], ends_in_days: None };
    let expired = Leaf { names: GOOD.names, ends_in_days: Some(-30) };
    for (leaf, ca, why, reason) in [
        (foreign, true, "foreign", "not valid for name"),
        (expired, true, "expired", "certificate expired"),
        (GOOD, false, "unknown CA", "not issued by a CA that is trusted here"),
    ] {
        let secure = Secure::start(&leaf, &[b"http/1.1"]);
        let proxy = if ca {
            secure.proxy("localhost")
        } else {
            Proxy::start(&format!("host = \"https://localhost:{}\"", secure.address.port()), "", "")
        };
        let refused = proxy.get("/v2/groups");
        assert_eq!((refused.status, refused.code().as_str()), (502, "instance-untrusted"), "{why}");
        let detail = refused.json()["detail"].as_str().expect("a sentence").to_owned();
        assert!(detail.contains(reason), "{detail}");
        let counts = secure.sandbox.counts();
        assert_eq!((counts.token_requests, counts.api_requests), (0, 0), "{why}");
    }
}

#[test]
fn a_name_without_an_address_is_told_apart() {
    let proxy = Proxy::start("host = \"https://no-such-host.invalid\"\nproxy = \"none\"", "", "");
    let refused = proxy.get("/v2/groups");
    assert_eq!((refused.status, refused.code().as_str()), (502, "instance-name-unknown"));
}

/// Runs a command on the configuration of an instance at `https://localhost:PORT`, with these variables.
fn run(port: u16, more: &str, command: &str, environment: &[(&str, &str)]) -> (i32, String) {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("secret"), SECRET).expect("a file");
    let text = format!(
        "[instances.main]\nhost = \"https://localhost:{port}\"\nclient-id = \"sandbox\"\n\
         client-secret = {{ file = \"secret\" }}\n{more}\n"
    );
    std::fs::write(folder.path().join("config.toml"), text).expect("a file");
    // Whatever the machine's own are.
    let empty = ["SSL_CERT_FILE", "SSL_CERT_DIR"].map(|name| (name, ""));
    let environment: Vec<_> = empty.iter().chain(environment).copied().collect();
    let (code, output, errors) = run_binary(folder.path(), &[command], &environment);
    (code, output + &errors)
}

#[test]
fn a_variable_for_roots_that_leads_nowhere_is_an_error_and_an_empty_one_is_none() {
    let secure = Secure::start(&GOOD, &[b"h2", b"http/1.1"]);
    let port = secure.address.port();
    let (ca, folder) = (secure.ca_file.display().to_string(), secure.file("").display().to_string());
    let (key, ca_of_config) = (secure.file("client-key.pem").display().to_string(), format!("ca-file = {ca:?}"));
    for (variable, value, problem) in [
        ("SSL_CERT_FILE", "/no/such/file", "which cannot be read"),
        ("SSL_CERT_FILE", folder.as_str(), "which is a folder"),
        ("SSL_CERT_FILE", key.as_str(), "which holds no certificate"),
        ("SSL_CERT_DIR", "/no/such/folder", "which cannot be read as a folder"),
    ] {
        for more in ["", ca_of_config.as_str()] {
            for (command, code) in [("check", 78), ("run", 78), ("doctor", 1)] {
                let (ended, told) = run(port, more, command, &[(variable, value)]);
                let named = told.contains(&format!("{variable} is set to \"{value}\"")) && told.contains(problem);
                assert!(ended == code && named, "{command} with {variable}={value}: {ended} {told}");
            }
        }
    }
    let (code, told) = run(port, "", "check", &[]);
    assert_eq!(code, 0, "{told}");
    let (code, told) = run(port, "", "doctor", &[("SSL_CERT_FILE", &ca)]);
    assert!(code == 0 && told.contains("1 roots of SSL_CERT_FILE"), "{told}");
}

#[test]
fn a_self_signed_certificate_of_a_ca_is_trusted_if_it_is_the_ca_file_and_nothing_else_for_it() {
    let ca = Leaf { names: GOOD.names, ends_in_days: None };
    let own = Secure::self_signed(&ca);
    assert_eq!(own.proxy("localhost").get("/v2/groups").status, 200);
    assert_eq!(own.proxy("127.0.0.1").get("/v2/groups").status, 200);
    let (code, told) = run(own.address.port(), &format!("ca-file = {:?}", own.ca_file), "doctor", &[]);
    assert!(code == 0, "{told}");
    // The same names, another key.
    let other = Secure::self_signed(&ca);
    let instance = format!("host = \"https://localhost:{}\"\nca-file = {:?}", other.address.port(), own.ca_file);
    let refused = Proxy::start(&instance, "", "").get("/v2/groups");
    assert_eq!((refused.status, refused.code().as_str()), (502, "instance-untrusted"));
    let detail = refused.json()["detail"].as_str().expect("a sentence").to_owned();
    assert!(detail.contains("give exactly this certificate as ca-file") && !detail.contains("Error("), "{detail}");
    let (code, told) = run(other.address.port(), &format!("ca-file = {:?}", own.ca_file), "doctor", &[]);
    assert!(code == 1 && told.contains("give exactly this certificate, in PEM form, as ca-file"), "{told}");
    for (leaf, reason) in [
        (Leaf { names: &["other.example"], ends_in_days: None }, "not valid for name"),
        (Leaf { names: GOOD.names, ends_in_days: Some(-30) }, "certificate expired"),
    ] {
        let refused = Secure::self_signed(&leaf).proxy("localhost").get("/v2/groups");
        assert_eq!((refused.status, refused.code().as_str()), (502, "instance-untrusted"), "{reason}");
        assert!(refused.json()["detail"].as_str().is_some_and(|detail| detail.contains(reason)), "{refused:?}");
    }
    assert_eq!(other.sandbox.counts().token_requests, 0);
}

#[test]
fn tls_at_a_plain_port_and_clear_text_at_a_port_of_tls_are_told_by_doctor_and_answers() {
    let plain = Ninja::start(|_| ());
    let (code, told) = run(plain.address.port(), "", "doctor", &[]);
    assert!(code == 1 && told.contains("does not speak TLS") && told.contains("plain HTTP (http://)"), "{told}");
    let instance = format!("host = \"https://localhost:{}\"", plain.address.port());
    let detail = Proxy::start(&instance, "", "").get("/v2/groups").json()["detail"].to_string();
    assert!(detail.contains("does not speak TLS") && detail.contains("Check the port of host"), "{detail}");

    let secure = Secure::start(&GOOD, &[b"http/1.1"]);
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("secret"), SECRET).expect("a file");
    let host = format!("host = \"http://{}\"", secure.address);
    let text = format!("[instances.main]\n{host}\nclient-id = \"sandbox\"\nclient-secret = {{ file = \"secret\" }}\n");
    std::fs::write(folder.path().join("config.toml"), text).expect("a file");
    let (code, told, _) = run_binary(folder.path(), &["doctor"], &[]);
    assert!(code == 1 && told.matches("write host with https:// instead of http://").count() == 2, "{told}");
    let refused = Proxy::start(&host, "", "").get("/v2/groups");
    assert_eq!((refused.status, refused.code().as_str()), (503, "token-unavailable"));
    let detail = refused.json()["detail"].to_string();
    assert!(detail.contains("speaks TLS") && detail.contains("write host with https://"), "{detail}");
}
