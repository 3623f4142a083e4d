//! A listener that stands in for servers: CONNECT, TLS by the local CA, and what comes through it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Stdio;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ninjaone_proxy::proxy::authn::key::KeyHash;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::doors::Running;
use crate::harness::{Proxy, Reply, connect, eventually, request};

pub(crate) const NAME: &str = "eu.ninjarmm.com";
type Inside = StreamOwned<ClientConnection, TcpStream>;

/// A process that stands in for [`NAME`], in front of its sandbox.
pub(crate) struct StandIn {
    running: Running,
    pub(crate) address: SocketAddr,
}

impl StandIn {
    /// `listener` is TOML for its listener and for tables after it.
    pub(crate) fn start(listener: &str) -> Self {
        let config = format!(
            "[admin]\naddress = \"127.0.0.1:0\"\n[listeners.local]\naddress = \"127.0.0.1:0\"\nintercept = [\"{NAME}\"]\n{listener}\n"
        );
        let running = Running::start(&config, "STATE_DIRECTORY=\"$PWD/state\" exec \"$0\"", Stdio::null());
        let address = told(&running.log(), " listening listener=local");
        Self { running, address }
    }

    /// The same for what takes a proxy.
    pub(crate) fn proxy(&self) -> Proxy {
        let log = self.running.log();
        Proxy::of_process(self.address, told(&log, "admin listening"), told(&log, "SANDBOX"))
    }

    /// What is answered to a CONNECT, and the connection.
    fn connect(&self, target: &str, fields: &str) -> (Reply, TcpStream) {
        let mut stream = connect(self.address);
        write!(stream, "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{fields}\r\n").expect("a head");
        (Reply::read(&mut stream, true), stream)
    }

    fn tls(&self, protocols: &[&str]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        let file = self.running.folder.path().join("state/ca.pem");
        roots.add(CertificateDer::from_pem_file(file).expect("a certificate")).expect("a root");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut client = client.expect("versions").with_root_certificates(roots).with_no_client_auth();
        client.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(client)
    }

    /// A connection inside a CONNECT, with TLS for `server`.
    fn inside(&self, fields: &str, server: &'static str) -> Inside {
        let (reply, stream) = self.connect(&format!("{NAME}:443"), fields);
        assert_eq!(reply.status, 200, "{reply:?}");
        let server = ServerName::try_from(server).expect("a name");
        let session = ClientConnection::new(self.tls(&["http/1.1"]), server).expect("a session");
        StreamOwned::new(session, stream)
    }
}

/// The address in the line of a log that has this text.
fn told(log: &str, text: &str) -> SocketAddr {
    let line = log.lines().find(|line| line.contains(text)).expect("a line");
    let (_, rest) = line.split_once(" address=http").and_then(|(_, rest)| rest.split_once("://")).expect("an address");
    rest.split(' ').next().and_then(|text| text.parse().ok()).expect("an address")
}

fn ask(stream: &mut (impl Read + Write), method: &str, target: &str, host: &str, fields: &str) -> Reply {
    write!(stream, "{method} {target} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n").expect("a head");
    Reply::read(stream, method == "HEAD")
}

/// The statuses of the answers to reads of these targets, over one connection of HTTP/2 with TLS for [`NAME`].
fn http2(stream: TcpStream, client: Arc<ClientConfig>, targets: &[&str]) -> Vec<u16> {
    tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
        stream.set_nonblocking(true).expect("a setting");
        let stream = tokio::net::TcpStream::from_std(stream).expect("a stream");
        let server = ServerName::try_from(NAME).expect("a name");
        let stream = tokio_rustls::TlsConnector::from(client).connect(server, stream).await.expect("TLS");
        let (mut send, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        tokio::spawn(connection);
        let mut statuses = Vec::new();
        for target in targets {
            let get = http::Request::get(*target).body(()).expect("a request");
            let answer = send.send_request(get, true).expect("sent").0.await.expect("an answer");
            statuses.push(answer.status().as_u16());
        }
        statuses
    })
}

fn basic(name: &str, key: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{name}:{key}")))
}

fn caller(name: &str, key: &str) -> String {
    format!("[listeners.local.callers.{name}]\nkey = \"{}\"\n", KeyHash::of(key.as_bytes()))
}

#[test]
fn a_tool_with_the_host_written_in_is_answered_inside_connect_and_its_secret_goes_nowhere() {
    let proxy = StandIn::start("");
    let mut inside = proxy.inside("", NAME);
    let form = "grant_type=client_credentials&client_id=x&client_secret=its-own-secret&scope=monitoring";
    write!(
        inside,
        "POST /ws/oauth/token HTTP/1.1\r\nHost: {NAME}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n\r\n{form}",
        form.len()
    )
    .expect("a request");
    let token = Reply::read(&mut inside, false).json()["access_token"].as_str().expect("a token").to_owned();
    let bearer = format!("Authorization: Bearer {token}\r\n");
    for host in [NAME, "eu.ninjarmm.com:443"] {
        let reply = ask(&mut inside, "GET", "/v2/organizations", host, &bearer);
        assert_eq!((reply.status, reply.json().is_array()), (200, true), "{host}");
    }
    assert_eq!(ask(&mut inside, "POST", "/v2/organizations", NAME, "Content-Length: 0\r\n").code(), "scope-missing");
    let log = proxy.running.log();
    assert!(!log.contains("its-own-secret"));
    assert!(log.contains("which vouches for localhost, 127.0.0.1, ::1, eu.ninjarmm.com, each runtime"), "{log}");
    // The port itself is served as before.
    assert_eq!(request(proxy.address, "GET", "/v2/organizations", "", b"").status, 200);
}

#[test]
fn http_2_is_spoken_inside_connect() {
    let proxy = StandIn::start("");
    let (reply, stream) = proxy.connect(&format!("{NAME}:443"), "");
    assert_eq!(reply.status, 200);
    let targets = [&format!("https://{NAME}/v2/organizations"), "https://ca.ninjarmm.com/v2/organizations"];
    assert_eq!(http2(stream, proxy.tls(&["h2"]), &targets), [200, 421]);
}

#[test]
fn a_request_inside_connect_is_for_the_server_that_connect_names() {
    let proxy = StandIn::start("");
    for (host, target, code) in [
        ("ca.ninjarmm.com", "/v2/groups", "server-mismatch"),
        ("localhost", "/v2/groups", "server-mismatch"),
        ("eu.ninjarmm.com:8443", "/v2/groups", "server-mismatch"),
        ("eu.ninjarmm.com.", "/v2/groups", "server-mismatch"),
        ("u@eu.ninjarmm.com", "/v2/groups", "host-malformed"),
        (NAME, "http://eu.ninjarmm.com/v2/groups", "server-mismatch"),
        (NAME, "https://ca.ninjarmm.com/v2/groups", "server-mismatch"),
    ] {
        let reply = ask(&mut proxy.inside("", NAME), "GET", target, host, "");
        assert_eq!(reply.code(), code, "{host} {target}");
    }
    let mut inside = proxy.inside("", NAME);
    write!(inside, "CONNECT {NAME}:443 HTTP/1.1\r\nHost: {NAME}:443\r\n\r\n").expect("a head");
    assert_eq!(Reply::read(&mut inside, false).code(), "connect-nested");
    // The certificate is for localhost too, but CONNECT was not.
    let reply = ask(&mut proxy.inside("", "localhost"), "GET", "/v2/groups", "localhost", "");
    assert_eq!(reply.code(), "server-mismatch");
}

#[test]
fn what_is_no_tls_inside_connect_is_told_or_ended_and_nothing_is_forwarded() {
    let proxy = StandIn::start("");
    let target = format!("{NAME}:443");
    let (_, mut clear) = proxy.connect(&target, "");
    write!(clear, "GET /v2/groups HTTP/1.1\r\nHost: {NAME}\r\n\r\n").expect("a head");
    let told = Reply::read(&mut clear, false);
    assert!(told.status == 400 && String::from_utf8_lossy(&told.body).contains("speaks TLS"), "{told:?}");
    for bytes in [&b"\x16\x03\x01\x02\x00\x01\x00\x01"[..], b"\x00\x01\x02", b""] {
        let (_, mut stream) = proxy.connect(&target, "");
        stream.write_all(bytes).expect("bytes");
        // The proxy may have reset the connection before this end.
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut rest = Vec::new();
        // Closed, by an alert or without.
        let _ = stream.read_to_end(&mut rest);
        assert!(rest.len() < 16, "{rest:?}");
    }
    // A handshake that does not go on ends with the time for a head; others are served meanwhile.
    let (_, _half) = proxy.connect(&target, "");
    assert_eq!(ask(&mut proxy.inside("", NAME), "GET", "/v2/groups", NAME, "").status, 200);
}

#[test]
fn what_follows_a_connect_that_is_refused_is_no_request() {
    let proxy = StandIn::start("");
    let admin = proxy.proxy().admin;
    for (address, target) in [
        (proxy.address, "ca.ninjarmm.com:443"),
        (proxy.address, "EU.ninjarmm.com:443"),
        (proxy.address, "eu.ninjarmm.com:8443"),
        (admin, "eu.ninjarmm.com:443"),
        (admin, "localhost:443"),
    ] {
        let mut stream = connect(address);
        let next = "GET /v2/groups HTTP/1.1\r\nHost: localhost\r\n\r\n";
        write!(stream, "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n{next}").expect("two heads");
        let refused = Reply::read(&mut stream, false);
        assert!(refused.status >= 400 && refused.header("connection") == "close", "{target}: {refused:?}");
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).expect("an end");
        assert_eq!(String::from_utf8_lossy(&rest), "", "{target}");
    }
    assert_eq!(proxy.proxy().count("api_requests"), 0);
    eventually("a warning", || {
        let log = proxy.running.log();
        let told = log.lines().find(|line| line.contains("CONNECT refused")).unwrap_or_default();
        told.contains("server=\"ca.ninjarmm.com:443\"") && told.contains("add \"ca.ninjarmm.com\" to intercept")
    });
}

#[test]
fn the_bytes_of_the_handshake_may_come_with_connect() {
    let proxy = StandIn::start("");
    let server = ServerName::try_from(NAME).expect("a name");
    let mut session = ClientConnection::new(proxy.tls(&[]), server).expect("a session");
    let mut first = format!("CONNECT {NAME}:443 HTTP/1.1\r\nHost: {NAME}:443\r\n\r\n").into_bytes();
    session.write_tls(&mut first).expect("a hello");
    let mut stream = connect(proxy.address);
    stream.write_all(&first).expect("bytes");
    assert_eq!(Reply::read(&mut stream, true).status, 200);
    let mut inside = StreamOwned::new(session, stream);
    assert_eq!(ask(&mut inside, "GET", "/v2/groups", NAME, "").status, 200);
}

#[test]
fn a_listener_with_tls_may_have_the_name_of_the_server_as_its_own() {
    let proxy = StandIn::start(&format!("tls = \"local-ca\"\nnames = [\"{NAME}\"]"));
    let server = || ServerName::try_from(NAME).expect("a name");
    let host = format!("{NAME}:{}", proxy.address.port());
    for host in [NAME, &host] {
        let session = ClientConnection::new(proxy.tls(&[]), server()).expect("a session");
        let mut stream = StreamOwned::new(session, connect(proxy.address));
        assert_eq!(ask(&mut stream, "GET", "/v2/groups", host, "").status, 200, "{host}");
    }
    let status = http2(connect(proxy.address), proxy.tls(&["h2"]), &[&format!("https://{host}/v2/groups")]);
    assert_eq!(status, [200]);
    // CONNECT comes through TLS, and has TLS inside.
    let localhost = ServerName::try_from("localhost").expect("a name");
    let session = ClientConnection::new(proxy.tls(&[]), localhost).expect("a session");
    let mut outer = StreamOwned::new(session, connect(proxy.address));
    write!(outer, "CONNECT {NAME}:443 HTTP/1.1\r\nHost: {NAME}:443\r\n\r\n").expect("a head");
    assert_eq!(Reply::read(&mut outer, true).status, 200);
    let session = ClientConnection::new(proxy.tls(&[]), server()).expect("a session");
    let mut inside = StreamOwned::new(session, outer);
    assert_eq!(ask(&mut inside, "GET", "/v2/groups", NAME, "").status, 200);
}

#[test]
fn an_absolute_target_of_the_server_is_as_inside_connect() {
    let proxy = StandIn::start("");
    for (target, host, status) in [
        ("http://eu.ninjarmm.com/v2/groups", NAME, 200),
        ("http://eu.ninjarmm.com:80/v2/groups", NAME, 200),
        ("https://eu.ninjarmm.com/v2/groups", NAME, 200),
        ("https://eu.ninjarmm.com:443/v2/groups", "eu.ninjarmm.com:443", 200),
        ("http://eu.ninjarmm.com/v2/groups", "localhost", 421),
        ("http://localhost/v2/groups", NAME, 421),
        ("http://ca.ninjarmm.com/v2/groups", "ca.ninjarmm.com", 421),
        ("http://eu.ninjarmm.com:8080/v2/groups", "eu.ninjarmm.com:8080", 421),
        ("ftp://eu.ninjarmm.com/v2/groups", NAME, 421),
        ("/v2/groups", NAME, 421),
    ] {
        assert_eq!(ask(&mut connect(proxy.address), "GET", target, host, "").status, status, "{target} {host}");
    }
    let page = "Referer: http://evil.example/\r\n";
    let target = "http://eu.ninjarmm.com/v2/groups";
    assert_eq!(ask(&mut connect(proxy.address), "GET", target, NAME, page).code(), "page-not-allowed");
}

#[test]
fn no_web_page_uses_the_server_that_a_listener_stands_in_for() {
    let proxy = StandIn::start("allowed-origins = [\"https://grafana.example\"]");
    for (fields, status) in [
        ("Sec-Fetch-Site: none\r\n", 200),
        ("Origin: https://grafana.example\r\nSec-Fetch-Site: cross-site\r\n", 200),
        ("Sec-Fetch-Site: same-origin\r\n", 403),
        ("Sec-Fetch-Site: same-site\r\n", 403),
        ("Sec-Fetch-Site: cross-site\r\n", 403),
        ("Origin: https://eu.ninjarmm.com\r\n", 403),
        ("Origin: null\r\n", 403),
        ("Origin: http://localhost\r\n", 403),
        ("Via: 1.1 other\r\n", 403),
    ] {
        let reply = ask(&mut proxy.inside("", NAME), "GET", "/v2/groups", NAME, fields);
        assert_eq!(reply.status, status, "{fields}");
    }
    // A page cannot send CONNECT; what says that it is from one is refused all the same.
    for fields in ["Origin: https://evil.example\r\n", "Sec-Fetch-Site: cross-site\r\n", "Via: 1.1 other\r\n"] {
        let (reply, _) = proxy.connect(&format!("{NAME}:443"), fields);
        assert_eq!(reply.status, 403, "{fields}");
    }
}

#[test]
fn connect_proves_who_calls_by_proxy_authorization_and_a_proof_ends_with_its_caller() {
    let two = format!("{}{}", caller("one", "key-one"), caller("two", "key-two"));
    let proxy = StandIn::start(&format!("tunnel = [\"192.0.2.7\"]\n{two}"));
    let target = format!("{NAME}:443");
    let proof = |name: &str, key: &str| format!("Proxy-Authorization: {}\r\n", basic(name, key));
    for (fields, status) in [
        (proof("one", "key-one"), 200),
        (proof("", "key-one"), 200),
        (proof("two", "key-one"), 407),
        (proof("one", "wrong"), 407),
        ("Proxy-Authorization: Bearer key-one\r\n".to_owned(), 200),
        ("Proxy-Authorization: nonsense\r\n".to_owned(), 407),
        (format!("{}{}", proof("one", "key-one"), proof("one", "key-one")), 407),
    ] {
        let (reply, _) = proxy.connect(&target, &fields);
        assert_eq!(reply.status, status, "{fields}");
        assert_eq!(reply.header("proxy-authenticate").contains("Basic"), status == 407, "{reply:?}");
    }
    // Inside, the tool's own secret and token are not looked at: CONNECT has said who it is.
    let mut inside = proxy.inside(&proof("one", "key-one"), NAME);
    let own = "Authorization: Bearer of-the-tool\r\n";
    assert_eq!(ask(&mut inside, "GET", "/v2/groups", NAME, own).status, 200);
    assert_eq!(ask(&mut inside, "GET", "/v2/groups", NAME, "").status, 200);
    // Without a proof of CONNECT the request proves it.
    let mut bare = proxy.inside("", NAME);
    assert_eq!(ask(&mut bare, "GET", "/v2/groups", NAME, own).code(), "key-wrong");
    assert_eq!(ask(&mut bare, "GET", "/v2/groups", NAME, "X-Api-Key: key-two\r\n").status, 200);
    let mut stream = connect(proxy.address);
    let absolute = "http://eu.ninjarmm.com/v2/groups";
    assert_eq!(ask(&mut stream, "GET", absolute, NAME, &format!("{}{own}", proof("one", "key-one"))).status, 200);
    assert_eq!(ask(&mut stream, "GET", absolute, NAME, &proof("one", "wrong")).status, 407);
    // A tunnel needs one.
    assert_eq!(proxy.connect("192.0.2.7:443", "").0.status, 407);
    let file = proxy.running.folder.path().join("config.toml");
    let text = std::fs::read_to_string(&file).expect("a file").replace(&caller("one", "key-one"), "");
    std::fs::write(&file, text).expect("a file");
    eventually("the caller is gone", || ask(&mut inside, "GET", "/v2/groups", NAME, "").status == 401);
}

#[test]
fn the_proxy_configuration_names_the_servers_and_the_listener_as_it_was_called() {
    let proxy = StandIn::start("");
    let port = proxy.address.port();
    for host in [format!("localhost:{port}"), format!("127.0.0.1:{port}"), "localhost".to_owned()] {
        let reply = ask(&mut connect(proxy.address), "GET", "/proxy.pac", &host, "");
        assert_eq!((reply.status, reply.header("content-type")), (200, "application/x-ns-proxy-autoconfig"));
        let text = String::from_utf8(reply.body).expect("text");
        let name = host.split(':').next().expect("a name");
        assert!(text.contains(&format!("\"PROXY {name}:{port}\"")) && text.contains("[\"eu.ninjarmm.com\"]"), "{text}");
    }
    let mut inside = proxy.inside("", NAME);
    assert_eq!(ask(&mut inside, "GET", "/proxy.pac", NAME, "").status, 404, "it is the listener's, not the server's");
}

#[test]
fn a_caller_reaches_no_more_servers_than_its_own_lists_have() {
    let proof = |name: &str| format!("Proxy-Authorization: {}\r\n", basic(name, &format!("key-{name}")));
    let callers = format!(
        "tunnel = [\"127.0.0.1:9\", \"192.0.2.7\"]\n{}intercept = []\ntunnel = [\"127.0.0.1:9\", \"192.0.2.7:443\"]\n{}tunnel = []\n{}",
        caller("none", "key-none"),
        caller("some", "key-some"),
        caller("all", "key-all"),
    );
    let proxy = StandIn::start(&callers);
    let status = |target: &str, name: &str| proxy.connect(target, &proof(name)).0.status;
    let target = format!("{NAME}:443");
    assert_eq!(["none", "some", "all"].map(|name| status(&target, name)), [403, 200, 200]);
    // Nobody listens there: who may reach it is told so.
    assert_eq!(["none", "some", "all"].map(|name| status("127.0.0.1:9", name)), [502, 403, 502]);
    let mut inside = proxy.inside("", NAME);
    let own = |name: &str| format!("X-Api-Key: key-{name}\r\n");
    assert_eq!(ask(&mut inside, "GET", "/v2/groups", NAME, &own("none")).code(), "connect-not-listed");
    assert_eq!(ask(&mut inside, "GET", "/v2/groups", NAME, &own("some")).status, 200);
    assert_eq!(request(proxy.address, "GET", "/v2/groups", &own("none"), b"").status, 200);
    let file = proxy.running.folder.path().join("config.toml");
    let text = std::fs::read_to_string(&file).expect("a file");
    let wrong = text.replace("intercept = []", "intercept = [\"ca.ninjarmm.com\"]");
    std::fs::write(&file, wrong).expect("a file");
    eventually("the mistake is told", || proxy.running.log().contains("is not in intercept of the listener"));
}
