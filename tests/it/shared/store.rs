//! The connection: up, down, slow, full, read-only, with a wrong password, with another key.

use std::time::{Duration, Instant};

use super::{RedisServer, config, has_metric, is_down, is_up};
use crate::harness::{Proxy, eventually, request};

fn sharing(server: &RedisServer) -> Proxy {
    Proxy::start("host = \"sandbox\"", "", &config(server))
}

/// What readiness says.
fn ready(proxy: &Proxy) -> (u16, String) {
    let said = request(proxy.admin, "GET", "/readyz", "", b"");
    (said.status, String::from_utf8_lossy(&said.body).into_owned())
}

#[test]
fn replicas_know_of_each_other_and_forget_who_has_gone() {
    let Some(server) = RedisServer::start() else { return };
    let (first, second) = (sharing(&server), sharing(&server));
    for proxy in [&first, &second] {
        eventually("both are known", || has_metric(proxy, "ninjaone_proxy_shared_replicas 2"));
    }
    drop(second);
    eventually("the other is forgotten", || has_metric(&first, "ninjaone_proxy_shared_replicas 1"));
}

#[test]
fn a_store_that_is_stopped_paused_full_or_read_only_is_down_and_comes_back() {
    let Some(mut server) = RedisServer::start() else { return };
    let proxy = sharing(&server);
    eventually("it is up", || is_up(&proxy));
    eventually("it is ready", || ready(&proxy).0 == 200);

    let read = || {
        let begun = Instant::now();
        assert_eq!(proxy.get("/v2/organizations").status, 200);
        assert!(begun.elapsed() < Duration::from_secs(5), "no request waits for the store");
    };
    let goes_down = |what: &str| {
        eventually(what, || is_down(&proxy));
        read();
        let (status, text) = ready(&proxy);
        assert!(status == 200 && text.contains("\"degraded\":true") && text.contains("\"up\":false"), "{what}: {text}");
    };
    let comes_back = |what: &str| {
        let begun = Instant::now();
        eventually(what, || is_up(&proxy));
        assert!(begun.elapsed() < Duration::from_secs(10), "{what}: {:?}", begun.elapsed());
        read();
    };
    server.stop();
    goes_down("stopped");
    server.start_again();
    comes_back("started again");
    server.pause();
    goes_down("paused");
    server.resume();
    comes_back("resumed");
    server.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    goes_down("full");
    server.cli(&["CONFIG", "SET", "maxmemory", "0"]);
    comes_back("with room again");
    server.cli(&["REPLICAOF", "127.0.0.1", "1"]);
    goes_down("read-only");
    server.cli(&["REPLICAOF", "NO", "ONE"]);
    comes_back("a primary again");
}

#[test]
fn a_store_that_refuses_the_password_is_down_and_the_proxy_serves() {
    let Some(server) = RedisServer::with(&["--requirepass", "right"]) else { return };
    for (password, comes_up) in [("wrong", false), ("right", true)] {
        std::fs::write(server.folder().join("password"), password).expect("a file");
        let path = server.folder().join("password");
        let rest = format!("{}password = {{ file = {path:?} }}\n", config(&server));
        let proxy = Proxy::start("host = \"sandbox\"", "", &rest);
        eventually("it is known", || is_up(&proxy) || is_down(&proxy));
        assert_eq!((is_up(&proxy), proxy.get("/v2/organizations").status), (comes_up, 200));
    }
}

#[test]
fn a_store_over_tls_is_used_under_its_own_name_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    let certificate = certificate.self_signed(&key).expect("a certificate");
    let (cert, secret) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert, certificate.pem()).expect("a file");
    std::fs::write(&secret, key.serialize_pem()).expect("a file");
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
    let (cert, secret, port) = (cert.display().to_string(), secret.display().to_string(), port.to_string());
    let options =
        ["--tls-port", &port, "--tls-cert-file", &cert, "--tls-key-file", &secret, "--tls-auth-clients", "no"];
    let Some(server) = RedisServer::with(&options) else { return };
    for (host, comes_up) in [("localhost", true), ("127.0.0.1", false)] {
        let rest = config(&server).replace(&server.url(), &format!("rediss://{host}:{port}/0"));
        let proxy = Proxy::start("host = \"sandbox\"", "", &format!("{rest}ca-file = {cert:?}\n"));
        eventually("it is known", || is_up(&proxy) || is_down(&proxy));
        let (_, said) = ready(&proxy);
        assert!(
            is_up(&proxy) == comes_up && (comes_up || said.contains("the TLS handshake with 127.0.0.1:")),
            "{host}: {said}"
        );
        assert_eq!(proxy.get("/v2/organizations").status, 200);
    }
}
