//! Health over the command line and the network: `health`, `wait` and the probe listener.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use crate::harness::{Ninja, Proxy, answer, eventually, read_head, request, run_binary};

/// Runs a command with the configuration of a proxy whose admin listener is at `admin`.
fn run(admin: impl std::fmt::Display, arguments: &[&str]) -> (i32, String) {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("config.toml"), format!("[admin]\naddress = \"{admin}\"")).expect("a file");
    let (code, output, errors) = run_binary(folder.path(), arguments, &[]);
    assert_eq!(output, "", "nothing on standard output");
    (code, errors)
}

/// An admin listener that answers the first requests, each on a connection of its own, with these.
fn scripted(answers: Vec<String>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().expect("a connection");
            let head = read_head(&mut stream).expect("a request");
            assert!(
                head.starts_with("GET /readyz HTTP/1.1\r\n") && head.contains(&format!("host: {address}")),
                "{head}"
            );
            stream.write_all(answer.as_bytes()).expect("an answer");
        }
    });
    address
}

#[test]
fn health_and_wait_are_0_for_a_proxy_that_has_its_token() {
    let proxy = Proxy::sandboxed("");
    for arguments in [&["wait", "--timeout", "20s"][..], &["health"], &["health", "--ready"]] {
        assert_eq!(run(proxy.admin, arguments), (0, String::new()), "{arguments:?}");
    }
}

#[test]
fn a_proxy_without_a_token_is_alive_and_not_ready_and_wait_says_why() {
    let ninja = Ninja::start(|_| ());
    let proxy = Proxy::with_secret("a wrong one", &ninja.instance(), "", "");
    eventually("the token is refused", || {
        String::from_utf8_lossy(&request(proxy.admin, "GET", "/readyz", "", b"").body).contains("refused")
    });
    assert_eq!(run(proxy.admin, &["health"]), (0, String::new()));
    let begun = Instant::now();
    for (arguments, said) in [
        (&["health", "--ready"][..], "ninjaone-proxy: the proxy at "),
        (&["wait", "--timeout", "700ms"], "ninjaone-proxy: not ready within 700ms: the proxy at "),
    ] {
        let (code, errors) = run(proxy.admin, arguments);
        assert!(code == 1 && errors.starts_with(said), "{errors}");
        assert!(
            errors.contains("is not ready: no token for instances.main (monitoring): ") && errors.contains("refused"),
            "{errors}"
        );
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
fn wait_waits_until_the_token_stands() {
    let not_yet = answer("503 Service Unavailable", r#"{"ready":false,"draining":false,"tokens":[]}"#);
    let admin = scripted(vec![not_yet.clone(), String::new(), not_yet, answer("200 OK", "{}")]);
    assert_eq!(run(admin, &["wait"]), (0, String::new()));
}

#[test]
fn health_is_1_where_nobody_answers_or_somebody_else() {
    let closed = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let (code, errors) = run(closed, &["health"]);
    let begin = format!("ninjaone-proxy: {closed} (admin.address of config.toml) does not answer: ");
    assert!(code == 1 && errors.starts_with(&begin), "{errors}");
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("an address");
    let (code, errors) = run(address, &["health", "--timeout", "200ms"]);
    let silence = format!("ninjaone-proxy: {address} (admin.address of config.toml) does not answer within 200ms\n");
    assert_eq!((code, errors), (1, silence));
    let (code, errors) = run(address, &["wait", "--timeout", "200ms"]);
    assert!(code == 1 && errors.contains("not ready within 200ms") && errors.contains("does not answer"), "{errors}");
    let other = scripted(vec![answer("404 Not Found", "")]);
    let (code, errors) = run(other, &["health", "--ready"]);
    assert!(code == 1 && errors.contains("it is not the admin or probe listener of a ninjaone-proxy"), "{errors}");
}

#[test]
fn health_with_nobody_to_ask_and_wrong_arguments_are_64() {
    for (admin, said) in [("none", "there is no listener to ask"), ("127.0.0.1:0", "only the log of the running proxy")]
    {
        for command in ["health", "wait"] {
            let (code, errors) = run(admin, &[command]);
            assert!(code == 64 && errors.contains(said), "{errors}");
        }
    }
    let (code, errors) = run("127.0.0.1:9", &["wait", "--timeout", "soon"]);
    assert!(code == 64 && errors.contains("such as \"30s\""), "{errors}");
    let (code, errors) = run("127.0.0.1:9", &["health", "--admin", "9180"]);
    assert!(code == 64 && errors.contains("write IP:PORT"), "{errors}");
}

#[test]
fn health_asks_the_address_that_it_is_given_and_no_file() {
    let proxy = Proxy::sandboxed("");
    let admin = proxy.admin.to_string();
    for arguments in [&["health", "--admin", &admin][..], &["wait", "--admin", &format!("http://{admin}")]] {
        assert_eq!(run("none", arguments), (0, String::new()), "{arguments:?}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let asked = |value: &str| run_binary(folder.path(), &["health"], &[("NINJAONE_PROXY_ADMIN", value)]);
    assert_eq!(asked(&admin).0, 0);
    let (code, _, errors) = asked("nonsense");
    assert!(code == 64 && errors.contains("NINJAONE_PROXY_ADMIN: \"nonsense\" is not an address"), "{errors}");
}

/// What people do to the file of a running proxy, and what is left of it.
const ACCIDENTS: [fn(&str) -> String; 7] = [
    |text| format!("{text}\nx"),
    |text| format!("]\n{text}"),
    |text| format!("{text}[listeners.local.callers.a]\nkey = \"no hash\"\n"),
    |text| text.replace("[listeners.local]", "[listener.local]"),
    |text| text.replace("[listeners.local]", "[listeners.local]\nallow = [\"GET /v2/x\",\n"),
    |text| format!("{text}[instances.main]\nhost = \"eu\"\nclient-secret = {{ file = \"none\" }}\n"),
    |text| text.replace('\n', "\r\n") + "\u{0}\"\"\"",
];

#[test]
fn health_says_that_a_proxy_serves_whatever_became_of_its_file() {
    let mut proxy = Proxy::sandboxed("");
    for (number, accident) in ACCIDENTS.iter().enumerate() {
        let text = |admin: SocketAddr| {
            format!("[listeners.local]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"{admin}\"\n")
        };
        let taken = proxy.rewrite(&accident(&text("127.0.0.1:0".parse().expect("an address"))));
        assert!(taken.is_err(), "{number}: the proxy keeps the configuration before");
        let text = text(proxy.admin);
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("config.toml"), accident(&text)).expect("a file");
        for arguments in [&["health"][..], &["health", "--ready"], &["wait", "--timeout", "5s"]] {
            let (code, _, errors) = run_binary(folder.path(), arguments, &[]);
            assert_eq!((code, errors.as_str()), (0, ""), "{number}: {arguments:?}");
        }
        assert_eq!(run_binary(folder.path(), &["check"], &[]).0, 78, "{number}: it is a mistake");
    }
}

#[test]
fn health_asks_the_probe_listener_where_there_is_no_admin_listener() {
    let proxy = Proxy::start("host = \"sandbox\"", "", "[probes]\naddress = \"127.0.0.1:0\"");
    let probes = proxy.probes.expect("a probe listener");
    let folder = tempfile::tempdir().expect("a folder");
    let text = format!("[admin]\naddress = \"none\"\n[probes]\naddress = \"0.0.0.0:{}\"\n", probes.port());
    std::fs::write(folder.path().join("config.toml"), text).expect("a file");
    for arguments in [&["health"][..], &["wait"]] {
        assert_eq!(run_binary(folder.path(), arguments, &[]).0, 0, "{arguments:?}");
    }
}

#[test]
fn probes_tell_what_the_admin_listener_tells_but_no_reasons() {
    let ninja = Ninja::start(|_| ());
    let mut proxy = Proxy::with_secret("a wrong one", &ninja.instance(), "", "[probes]\naddress = \"0.0.0.0:0\"");
    let port = proxy.probes.expect("a probe listener").port();
    let probes = SocketAddr::from(([127, 0, 0, 1], port));
    let get = |path: &str| request(probes, "GET", path, "", b"");
    assert_eq!(get("/livez").body, b"alive\n");
    let unready = get("/readyz");
    assert_eq!((unready.status, unready.body.as_slice()), (503, &b"not ready\n"[..]));
    assert!(String::from_utf8_lossy(&get("/metrics").body).contains("ninjaone_proxy_build_info{"));
    assert_eq!((get("/").status, get("/v2/devices").status), (404, 404));
    assert_eq!(request(probes, "POST", "/livez", "", b"").status, 405);
    for (host, status) in [("10.1.2.3:9181", 200), ("ninja.evil.example", 421)] {
        let mut stream = crate::harness::connect(probes);
        let head = format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("a request");
        assert_eq!(crate::harness::Reply::read(&mut stream, false).status, status, "{host}");
    }
    proxy.replace_secret(crate::watch::SECRET);
    eventually("it is ready", || get("/readyz").status == 200);
    assert_eq!(get("/readyz").body, b"ready\n");
    // Taken away by a reload.
    proxy.reconfigure("", "").expect("a reload");
    eventually("it is gone", || std::net::TcpStream::connect(probes).is_err());
}
