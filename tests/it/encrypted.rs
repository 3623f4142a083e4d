//! TLS on listeners: both versions of HTTP, renewed certificates, certificates of callers, and who does not speak it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};
#[cfg(unix)]
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tempfile::TempDir;

#[cfg(unix)]
use crate::doors::Running;
use crate::harness::{Proxy, Reply, Scripted, Then, connect, eventually};

type Stream = StreamOwned<ClientConnection, TcpStream>;

/// A CA of the test's own.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut ca = CertificateParams::new(Vec::<String>::new()).expect("parameters");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(ca, KeyPair::generate().expect("a key")).expect("a CA");
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).expect("a file");
        Self { issuer, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn leaf(&self, name: &str, days: i64) -> (CertificateDer<'static>, KeyPair, String) {
        let mut parameters = CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let (now, time) = (SystemTime::now(), Duration::from_secs(days.unsigned_abs() * 24 * 3600));
        parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
        parameters.not_after = if days < 0 { now - time } else { now + time }.into();
        let key = KeyPair::generate().expect("a key");
        let certificate = parameters.signed_by(&key, &self.issuer).expect("a certificate");
        (certificate.der().clone(), key, certificate.pem())
    }

    /// Writes a certificate for the listener and its key, one after the other.
    pub(crate) fn write_identity(&self, name: &str) -> CertificateDer<'static> {
        let (der, key, pem) = self.leaf(name, 30);
        replace(&self.path("cert.pem"), &pem);
        replace(&self.path("key.pem"), &key.serialize_pem());
        der
    }

    /// A proxy behind TLS; `more` is TOML for the table `tls`, `rest` for other tables.
    pub(crate) fn proxy(&self, more: &str, rest: &str) -> Proxy {
        self.write_identity("first");
        Proxy::start("host = \"sandbox\"", &self.listener(more), rest)
    }

    pub(crate) fn listener(&self, more: &str) -> String {
        let (certificate, key) = (self.path("cert.pem"), self.path("key.pem"));
        format!(
            "scopes = [\"monitoring\", \"management\"]\n\
             [listeners.local.tls]\ncertificate = {certificate:?}\nkey = {key:?}\n{more}\n"
        )
    }

    pub(crate) fn client(&self, shown: Option<(CertificateDer<'static>, KeyPair)>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).expect("a root");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots);
        match shown {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
                builder.with_client_auth_cert(vec![certificate], key).expect("a certificate and its key")
            }
        }
    }
}

/// As tools do that renew certificates.
fn replace(path: &Path, text: &str) {
    let next = path.with_extension("next");
    std::fs::write(&next, text).expect("a file");
    std::fs::rename(next, path).expect("a replaced file");
}

pub(crate) fn localhost() -> ServerName<'static> {
    ServerName::try_from("localhost").expect("a name")
}

fn tls(address: SocketAddr, config: ClientConfig) -> Stream {
    let session = ClientConnection::new(Arc::new(config), localhost()).expect("a session");
    StreamOwned::new(session, connect(address))
}

/// The status of an answer; 0 if none came.
fn get(stream: &mut Stream, path: &str) -> u16 {
    let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    match stream.write_all(head.as_bytes()).and_then(|()| stream.flush()) {
        Ok(()) => Reply::read(stream, false).status,
        Err(_) => 0,
    }
}

/// Status and body of a request over HTTP/2.
fn over_http_2(
    address: SocketAddr,
    mut config: ClientConfig,
    request: http::Request<Full<&'static [u8]>>,
) -> (u16, usize) {
    config.alpn_protocols = vec![b"h2".to_vec()];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(address).await.expect("a connection");
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let stream = connector.connect(localhost(), stream).await.expect("a handshake");
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2");
        tokio::spawn(connection);
        let answer = sender.send_request(request).await.expect("an answer");
        let status = answer.status().as_u16();
        (status, answer.into_body().collect().await.expect("a body").to_bytes().len())
    })
}

fn request(method: &str, url: &str, body: &'static [u8]) -> http::Request<Full<&'static [u8]>> {
    http::Request::builder()
        .method(method)
        .uri(url)
        .header("content-type", "multipart/form-data; boundary=b")
        .body(Full::new(body))
        .expect("a request")
}

#[test]
fn http_1_is_served_over_tls() {
    let authority = Authority::new();
    let proxy = authority.proxy("", "");
    let mut stream = tls(proxy.address, authority.client(None));
    for _ in 0..3 {
        assert_eq!(get(&mut stream, "/v2/organizations"), 200);
    }
    assert_eq!(get(&mut stream, "/v2/device/7/../8"), 400);
}

#[test]
fn other_tls_that_comes_with_a_reload_ends_the_connections_that_began_without_it() {
    let authority = Authority::new();
    authority.write_identity("first");
    let mut proxy = Proxy::sandboxed("");
    let mut clear = connect(proxy.address);
    clear.write_all(b"GET /v2/organizations HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("a request");
    assert_eq!(Reply::read(&mut clear, false).status, 200);
    proxy.reconfigure(&authority.listener(""), "").expect("a reload");
    assert_eq!(clear.read(&mut [0]).expect("an end"), 0);
    let mut stream = tls(proxy.address, authority.client(None));
    assert_eq!(get(&mut stream, "/v2/organizations"), 200);
    let denying = format!("deny = [\"GET /v2/organizations\"]\n{}", authority.listener(""));
    proxy.reconfigure(&denying, "").expect("a reload");
    assert_eq!((get(&mut stream, "/v2/organizations"), get(&mut stream, "/v2/devices")), (403, 200), "the same TLS");
    let judged = format!("client-ca = {:?}", authority.path("ca.pem"));
    proxy.reconfigure(&authority.listener(&judged), "").expect("a reload");
    assert_eq!(stream.read(&mut [0]).unwrap_or_default(), 0, "callers without a certificate are not served any more");
}

#[test]
fn http_2_is_served_over_tls_and_checks_the_authority() {
    let authority = Authority::new();
    let proxy = authority.proxy("", "");
    let own = format!("https://localhost:{}", proxy.address.port());
    let ask = |request| over_http_2(proxy.address, authority.client(None), request);
    let (status, bytes) = ask(request("GET", &format!("{own}/v2/attachment/7?size=3000000"), b""));
    assert_eq!((status, bytes), (200, 3_000_000));
    static BODY: [u8; 2 << 20] = [b'x'; 2 << 20];
    assert!(ask(request("POST", &format!("{own}/v2/attachments/temp/upload"), &BODY)).0 < 300);
    assert_eq!(proxy.count("bytes_uploaded"), 2 << 20);
    assert_eq!(ask(request("GET", "https://evil.example/v2/organizations", b"")).0, 421);
    assert_eq!(ask(request("GET", "http://localhost/v2/organizations", b"")).0, 421, "another scheme");
    assert_eq!(ask(request("GET", &format!("{own}/v2/no-such-thing"), b"")).0, 404);
}

/// Statuses of requests over one HTTP/2 connection, one after the other; 0 for a stream that ends without an answer.
async fn statuses_over_http_2(address: SocketAddr, mut config: ClientConfig, paths: &[&str]) -> Vec<(u16, bool)> {
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = tokio::net::TcpStream::connect(address).await.expect("a connection");
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = connector.connect(localhost(), stream).await.expect("a handshake");
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2");
    tokio::spawn(connection);
    let mut statuses = Vec::new();
    for path in paths {
        statuses.push(match sender.send_request(request("GET", &format!("https://localhost{path}"), b"")).await {
            Ok(answer) => (answer.status().as_u16(), answer.into_body().collect().await.is_ok()),
            Err(_) => (0, false),
        });
    }
    statuses
}

#[test]
fn the_head_of_an_answer_arrives_over_both_versions_though_its_body_breaks_at_once() {
    let authority = Authority::new();
    authority.write_identity("first");
    let server = Scripted::start(|mut asked| {
        let text = match asked.head.split(' ').nth(1) {
            Some("/v2/devices") => "200 OK\r\nContent-Length: 100\r\n\r\n",
            Some("/v2/locations") => "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            _ => "403 Forbidden\r\nContent-Length: 100\r\n\r\nNot yo",
        };
        asked.answer(&format!("HTTP/1.1 {text}"));
        Then::Close
    });
    let proxy = Proxy::start(&server.instance(), &authority.listener(""), "");
    let paths = ["/v2/devices", "/v2/locations", "/v2/groups"].repeat(10);
    let expected = [(200, false), (200, false), (403, false)].repeat(10);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let over_http_2 = runtime.block_on(statuses_over_http_2(proxy.address, authority.client(None), &paths));
    assert_eq!(over_http_2, expected);
    let over_http_1 = paths.iter().map(|path| {
        let mut stream = tls(proxy.address, authority.client(None));
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("a request");
        let reply = Reply::read(&mut stream, false);
        (reply.status, reply.whole)
    });
    assert_eq!(over_http_1.collect::<Vec<_>>(), expected);
}

#[test]
fn a_location_at_the_instance_becomes_https() {
    let authority = Authority::new();
    authority.write_identity("first");
    let server = Scripted::start(|mut asked| {
        let host = asked.lines()["host"][0].clone();
        asked.answer(&format!("HTTP/1.1 302 Found\r\nLocation: http://{host}/v2/x\r\nContent-Length: 0\r\n\r\n"));
        Then::Continue
    });
    let proxy = Proxy::start(&server.instance(), &authority.listener(""), "");
    let mut stream = tls(proxy.address, authority.client(None));
    stream.write_all(b"GET /v2/organizations HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("a request");
    assert_eq!(Reply::read(&mut stream, false).header("location"), "https://localhost/v2/x");
}

#[test]
fn callers_show_a_valid_certificate_of_the_client_ca_where_it_is_required() {
    let (authority, foreign) = (Authority::new(), Authority::new());
    let proxy = authority.proxy(&format!("client-ca = {:?}", authority.path("ca.pem")), "");
    let show = |issuer: &Authority, days: i64| {
        let (certificate, key, _) = issuer.leaf("backup", days);
        get(&mut tls(proxy.address, authority.client(Some((certificate, key)))), "/v2/groups")
    };
    assert_eq!(show(&authority, 30), 200);
    assert_eq!(show(&authority, -1), 0, "expired");
    assert_eq!(show(&foreign, 30), 0, "foreign");
    assert_eq!(get(&mut tls(proxy.address, authority.client(None)), "/v2/groups"), 0, "none");
    assert_eq!(show(&authority, 30), 200, "still");
}

#[test]
fn callers_may_show_no_certificate_where_it_is_optional_but_no_bad_one() {
    let (authority, foreign) = (Authority::new(), Authority::new());
    let more = format!("client-ca = {:?}\nclient-auth = \"optional\"", authority.path("ca.pem"));
    let proxy = authority.proxy(&more, "");
    assert_eq!(get(&mut tls(proxy.address, authority.client(None)), "/v2/groups"), 200);
    let (certificate, key, _) = foreign.leaf("backup", 30);
    assert_eq!(get(&mut tls(proxy.address, authority.client(Some((certificate, key)))), "/v2/groups"), 0);
}

#[test]
fn clear_text_at_a_tls_port_is_told_what_to_write_and_harms_nobody() {
    let authority = Authority::new();
    let proxy = authority.proxy("", "");
    let mut good = tls(proxy.address, authority.client(None));
    assert_eq!(get(&mut good, "/v2/groups"), 200);
    for request in
        ["GET /v2/devices HTTP/1.1\r\nHost: localhost\r\n\r\n", "POST /v2/x HTTP/1.1\r\nContent-Length: 9\r\n\r\n", "G"]
    {
        let mut stream = connect(proxy.address);
        stream.write_all(request.as_bytes()).expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
        assert!(
            answer.contains("\r\nconnection: close\r\n") && answer.contains("write https:// in the place"),
            "{answer}"
        );
    }
    // What is neither gets no such answer.
    let mut stream = connect(proxy.address);
    stream.write_all(b"\x00\x01nonsense").expect("nonsense");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/"), "{answer:?}");
    assert_eq!(get(&mut good, "/v2/groups"), 200);
    assert_eq!(get(&mut tls(proxy.address, authority.client(None)), "/v2/groups"), 200);
}

#[test]
fn slow_handshakes_and_idle_connections_are_cut_off_while_others_are_served() {
    let authority = Authority::new();
    let proxy = authority.proxy("", "[timeouts]\nclient = \"4s\"");
    let begun = Instant::now();
    let mut slow: Vec<TcpStream> = (0..20).map(|_| connect(proxy.address)).collect();
    slow.iter_mut().for_each(|stream| stream.write_all(&[22, 3, 1]).expect("a part of a record"));
    let mut config = authority.client(None);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let mut idle = tls(proxy.address, config);
    idle.write_all(b"PRI * HTTP/2.0\r\n").expect("a part of the preface");
    assert_eq!(get(&mut tls(proxy.address, authority.client(None)), "/v2/groups"), 200);
    assert!(begun.elapsed() < Duration::from_secs(4), "served meanwhile: {:?}", begun.elapsed());
    let mut rest = Vec::new();
    slow.iter_mut().for_each(|stream| drop(stream.read_to_end(&mut rest)));
    drop(idle.read_to_end(&mut rest));
    assert!(begun.elapsed() < Duration::from_secs(16), "{:?}", begun.elapsed());
}

#[test]
fn a_replaced_certificate_is_used_for_new_handshakes_and_a_broken_one_is_not() {
    let authority = Authority::new();
    let proxy = authority.proxy("", "");
    let shown = || {
        let mut stream = tls(proxy.address, authority.client(None));
        assert_eq!(get(&mut stream, "/v2/groups"), 200);
        stream.conn.peer_certificates().expect("a certificate")[0].clone().into_owned()
    };
    let mut old = tls(proxy.address, authority.client(None));
    assert_eq!(get(&mut old, "/v2/groups"), 200);
    let first = shown();
    let second = authority.write_identity("second");
    assert_ne!(first, second);
    eventually("the new certificate is shown", || shown() == second);
    assert_eq!(get(&mut old, "/v2/groups"), 200, "the old connection goes on");
    replace(&authority.path("cert.pem"), "-----BEGIN CERTIFICATE-----\nbroken\n-----END CERTIFICATE-----\n");
    std::thread::sleep(Duration::from_millis(5500));
    assert_eq!(shown(), second, "the last good one stays");
}

#[test]
fn a_caller_is_known_by_its_certificate() {
    let authority = Authority::new();
    let (known, known_key, _) = authority.leaf("backup", 30);
    let (other, other_key, _) = authority.leaf("other", 30);
    let digest = ring::digest::digest(&ring::digest::SHA256, &known);
    let fingerprint: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let more = format!(
        "client-ca = {:?}\n[listeners.local.callers.backup]\ncertificate = \"sha256:{fingerprint}\"",
        authority.path("ca.pem")
    );
    let proxy = authority.proxy(&more, "");
    assert_eq!(get(&mut tls(proxy.address, authority.client(Some((known, known_key)))), "/v2/groups"), 200);
    assert_eq!(get(&mut tls(proxy.address, authority.client(Some((other, other_key)))), "/v2/groups"), 401);
}

#[cfg(unix)]
#[test]
fn the_local_ca_is_made_once_and_vouches_for_this_machine() {
    let config = "[listeners.local]\naddress = \"127.0.0.1:0\"\ntls = \"local-ca\"\n[admin]\naddress = \"none\"\n";
    let state = tempfile::tempdir().expect("a folder");
    let shell = format!("STATE_DIRECTORY={}/made exec \"$0\"", state.path().display());
    let ca_file = state.path().join("made/ca.pem");
    let start = || {
        let running = Running::start(config, &shell, std::process::Stdio::null());
        let log = running.log();
        let folder = ca_file.parent().expect("a folder").display();
        assert!(log.contains(&format!("STATE_DIRECTORY={folder} ")) && log.contains("ninjaone-proxy trust\n"), "{log}");
        let (_, rest) = log.split_once("address=https://").expect("an address");
        let address: SocketAddr = rest.split(' ').next().and_then(|text| text.parse().ok()).expect("an address");
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&ca_file).expect("a certificate")).expect("a root");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let client = Arc::new(client.expect("versions").with_root_certificates(roots).with_no_client_auth());
        for name in ["localhost", "127.0.0.1", "::1"] {
            let name = ServerName::try_from(name).expect("a name");
            let session = ClientConnection::new(Arc::clone(&client), name).expect("a session");
            assert_eq!(get(&mut StreamOwned::new(session, connect(address)), "/v2/groups"), 200);
        }
        std::fs::read(&ca_file).expect("a file")
    };
    assert_eq!(start(), start(), "the second start finds it");
}
