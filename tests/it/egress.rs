//! The way out: through an HTTP proxy, with certificates that the instance asks for, and past what does not answer.

use std::io::{Read, Write, copy};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Proxy, eventually, read_head, run_binary};
use crate::tls::{GOOD, Leaf, Secure};
use crate::watch::SECRET;

const PASSWORD: &str = "p%40ss-of-the-proxy";
/// Base64 of `user:p@ss-of-the-proxy`.
const BASIC: &str = "Proxy-Authorization: Basic dXNlcjpwQHNzLW9mLXRoZS1wcm94eQ==";
/// A name that only the HTTP proxy can reach.
const ELSEWHERE: &str = "instance.invalid";

/// An HTTP proxy.
struct Relay {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Relay {
    /// Connects everybody to `to`, or answers the text.
    fn start(to: Result<SocketAddr, &'static str>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let heads = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&heads);
        thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                let kept = Arc::clone(&kept);
                thread::spawn(move || {
                    let Some(head) = read_head(&mut stream) else { return };
                    kept.lock().expect("a lock").push(head);
                    match to {
                        Ok(to) => join(stream, to),
                        Err(text) => {
                            let _ = stream.write_all(text.as_bytes());
                            // The proxy closes; what is unread would make our own close a reset.
                            let _ = stream.read(&mut [0; 1024]);
                        }
                    }
                });
            }
        });
        Self { address, heads }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("a lock").clone()
    }
}

fn join(mut stream: TcpStream, to: SocketAddr) {
    let there = TcpStream::connect(to).expect("a connection");
    stream.write_all(b"HTTP/1.1 200 Connection established\r\nVia: relay\r\n\r\n").expect("an answer");
    let (mut from, mut into) = (stream.try_clone().expect("a socket"), there.try_clone().expect("a socket"));
    thread::spawn(move || {
        let _ = copy(&mut from, &mut into);
        let _ = into.shutdown(Shutdown::Write);
    });
    let (mut from, mut into) = (there, stream);
    let _ = copy(&mut from, &mut into);
    let _ = into.shutdown(Shutdown::Write);
}

fn elsewhere() -> Secure {
    Secure::start(&Leaf { names: &[ELSEWHERE], ends_in_days: None }, &[b"h2", b"http/1.1"])
}

fn instance(secure: &Secure, proxy: &str) -> String {
    format!("host = \"https://{ELSEWHERE}:8443\"\nca-file = {:?}\nproxy = \"{proxy}\"", secure.ca_file)
}

#[test]
fn tokens_and_requests_go_through_the_proxy_of_the_instance_with_its_credentials() {
    let secure = elsewhere();
    let relay = Relay::start(Ok(secure.address));
    let proxy = Proxy::start(&instance(&secure, &format!("http://user:{PASSWORD}@{}", relay.address)), "", "");
    assert_eq!(proxy.get("/v2/groups").status, 200);
    let heads = relay.heads();
    assert!(heads.len() >= 2, "{heads:?}");
    for head in &heads {
        assert!(head.starts_with(&format!("CONNECT {ELSEWHERE}:8443 HTTP/1.1\r\n")), "{head}");
        assert!(head.to_ascii_lowercase().contains(&BASIC.to_ascii_lowercase()), "{head}");
        assert!(!head.contains("Bearer") && !head.contains(SECRET), "{head}");
    }
    let counts = secure.sandbox.counts();
    assert_eq!((counts.token_requests, counts.api_requests), (1, 1));
}

#[test]
fn a_proxy_that_refuses_or_is_no_proxy_is_told_apart() {
    let secure = elsewhere();
    for answer in [
        "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 502 Bad Gateway\r\n\r\n",
        "garbage\r\n\r\n",
    ] {
        let relay = Relay::start(Err(answer));
        let proxy = Proxy::start(&instance(&secure, &format!("http://{}", relay.address)), "", "");
        let refused = proxy.get("/v2/groups");
        assert_eq!((refused.status, refused.code().as_str()), (502, "proxy-refused"), "{answer}: {refused:?}");
        let detail = refused.json()["detail"].to_string();
        assert_eq!(detail.contains("credentials"), answer.contains("407"), "{detail}");
    }
    assert_eq!(secure.sandbox.counts().token_requests, 0);
}

#[test]
fn the_proxy_of_the_environment_counts_unless_the_host_is_excepted() {
    let secure = elsewhere();
    let relay = Relay::start(Ok(secure.address));
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("secret"), SECRET).expect("a file");
    let text = format!(
        "[instances.main]\nhost = \"https://{ELSEWHERE}\"\nca-file = {:?}\nclient-id = \"sandbox\"\n\
         client-secret = {{ file = \"secret\" }}\n",
        secure.ca_file
    );
    std::fs::write(folder.path().join("config.toml"), text).expect("a file");
    let url = format!("http://user:{PASSWORD}@{}", relay.address);
    let doctor = |variables: &[(&str, &str)]| run_binary(folder.path(), &["doctor"], variables);

    // On Windows both spellings are one variable, and the last of them counts.
    let (_, output, _) = doctor(&[("HTTPS_PROXY", &url), ("no_proxy", ""), ("NO_PROXY", "other.example")]);
    for check in ["dns", "tcp", "tls", "read"] {
        assert!(output.lines().any(|line| line.starts_with("ok ") && line.contains(check)), "{check}: {output}");
    }
    assert!(output.contains(&format!("http://***@{}", relay.address)) && !output.contains("ss-of-the"), "{output}");
    assert!(relay.heads().iter().all(|head| head.starts_with(&format!("CONNECT {ELSEWHERE}:443 "))));

    let before = relay.heads().len();
    let (_, output, _) = doctor(&[("HTTPS_PROXY", &url), ("no_proxy", ""), ("NO_PROXY", ELSEWHERE)]);
    assert!(output.contains("cannot be resolved"), "{output}");
    assert_eq!(relay.heads().len(), before);
}

#[test]
fn a_password_in_the_configuration_is_not_printed() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("secret"), SECRET).expect("a file");
    let check = |host: &str, proxy: &str| {
        let text = format!(
            "[instances.main]\nhost = \"{host}\"\nclient-id = \"sandbox\"\nclient-secret = {{ file = \"secret\" }}\nproxy = {proxy}\n"
        );
        std::fs::write(folder.path().join("config.toml"), text).expect("a file");
        let (code, output, errors) = run_binary(folder.path(), &["check"], &[]);
        assert!(!format!("{output}{errors}").contains("hunter2"), "{output}{errors}");
        (code, output + &errors)
    };
    let (code, output) = check("eu", "\"http://user:hunter2@proxy.example:3128\"");
    assert!(code == 0 && output.contains("proxy = \"http://***@proxy.example:3128\""), "{output}");
    assert_eq!(check("eu", "\"none\"").0, 0);
    for (host, bad) in [
        ("eu", "\"https://user:hunter2@proxy.example\""),
        ("eu", "\"http://user:hunter2@\""),
        ("eu", "{ file = \"missing\" }"),
        ("http://127.0.0.1:1", "\"http://user:hunter2@proxy.example\""),
    ] {
        let (code, output) = check(host, bad);
        assert!(code != 0 && output.contains("instances.main.proxy"), "{bad}: {output}");
    }
}

#[test]
fn an_instance_that_asks_for_a_certificate_is_shown_it() {
    let secure = Secure::asking(&GOOD, &[b"h2", b"http/1.1"], true);
    let host = format!("host = \"https://localhost:{}\"\nca-file = {:?}", secure.address.port(), secure.ca_file);
    let (certificate, key) = (secure.file("client.pem"), secure.file("client-key.pem"));
    let proxy = Proxy::start(&format!("{host}\ncertificate = {certificate:?}\nkey = {key:?}"), "", "");
    assert_eq!(proxy.get("/v2/groups").status, 200);
    let before = secure.sandbox.counts().token_requests;
    let proxy = Proxy::start(&host, "", "");
    let refused = proxy.get("/v2/groups");
    if cfg!(windows) {
        // Where a reset discards what came before it, the alert that says so among it.
        assert!([502, 503].contains(&refused.status), "{refused:?}");
    } else {
        assert_eq!((refused.status, refused.code().as_str()), (502, "instance-untrusted"));
    }
    assert_eq!(secure.sandbox.counts().token_requests, before, "without one there is no request");
}

#[test]
fn a_hundred_hung_requests_over_http_2_do_not_slow_healthy_ones() {
    let secure = Secure::start(&GOOD, &[b"h2", b"http/1.1"]);
    let instance = format!("host = \"https://localhost:{}\"\nca-file = {:?}", secure.address.port(), secure.ca_file);
    let proxy = Arc::new(Proxy::start(&instance, "", ""));
    let hung: Vec<_> = (0..100)
        .map(|_| {
            let proxy = Arc::clone(&proxy);
            thread::spawn(move || proxy.get("/v2/groups?delay=12000").status)
        })
        .collect();
    eventually("all hang", || secure.sandbox.counts().api_requests >= 100);
    let begun = Instant::now();
    let mut slowest = Duration::ZERO;
    for _ in 0..40 {
        let asked = Instant::now();
        assert_eq!(proxy.get("/v2/groups").status, 200);
        slowest = slowest.max(asked.elapsed());
    }
    println!("40 healthy requests beside 100 hung ones: {:?}, the slowest {slowest:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    for caller in hung {
        assert_eq!(caller.join().expect("a status"), 200);
    }
}
