//! The token as callers feel it: one fetch for all, never expired, renewed once when revoked.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use ninjaone_proxy::proxy::policy::catalog::Scope;
use socket2::{Domain, Socket, Type};

use crate::harness::{Ninja, Proxy, Reply, Scripted, Then, answer, connect, eventually, grant, request};
use crate::watch::SCRIPTED_TOKEN;

const WRITE: &str = "scopes = [\"monitoring\", \"management\"]";

#[test]
fn callers_at_a_cold_start_wait_for_one_token_request() {
    let ninja = Ninja::start(|options| options.token_delay = Duration::from_millis(500));
    let proxy = Proxy::start(&ninja.instance(), "", "");
    let mut streams: Vec<_> = (0..200).map(|_| connect(proxy.address)).collect();
    for stream in &mut streams {
        stream.write_all(b"GET /v2/groups HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("a request");
    }
    for stream in &mut streams {
        assert_eq!(Reply::read(stream, false).status, 200);
    }
    assert_eq!(ninja.counts().token_requests, 1);
}

#[test]
fn the_callers_who_leave_take_no_token_request_with_them() {
    let ninja = Ninja::start(|options| options.token_delay = Duration::from_millis(600));
    let proxy = Proxy::start(&ninja.instance(), "", "");
    for _ in 0..20 {
        let mut stream = connect(proxy.address);
        stream.write_all(b"GET /v2/groups HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("a request");
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(proxy.get("/v2/groups").status, 200);
    assert_eq!(ninja.counts().token_requests, 1);
}

#[test]
fn the_scope_asked_for_is_exactly_the_listeners() {
    let ninja = Ninja::start(|options| options.scopes = [Scope::Monitoring].into_iter().collect());
    let reads = Proxy::start(&ninja.instance(), "", "");
    assert_eq!(reads.get("/v2/groups").status, 200);
    let writes = Proxy::start(&ninja.instance(), WRITE, "");
    let refused = writes.get("/v2/groups");
    assert_eq!((refused.status, refused.code().as_str()), (503, "token-scope-refused"));
    assert!(!refused.header("retry-after").is_empty());
    assert_eq!(request(writes.admin, "GET", "/readyz", "", b"").status, 503);
}

#[test]
fn each_set_of_scopes_has_a_token_of_its_own() {
    let (said, heard) = std::sync::mpsc::channel();
    let said = std::sync::Mutex::new(said);
    let server = Scripted::start(move |mut asked| {
        let token = asked.lines()["authorization"].join(",");
        said.lock().expect("a lock").send(token).expect("a test that listens");
        asked.answer(&answer("200 OK", "[]"));
        Then::Continue
    });
    let more = "[listeners.writer]\naddress = \"127.0.0.1:0\"\nscopes = [\"management\", \"monitoring\"]\n\
                [listeners.again]\naddress = \"127.0.0.1:0\"\nscopes = [\"monitoring\"]";
    let proxy = Proxy::start(&server.instance(), "", more);
    let mut tokens = Vec::new();
    for listener in ["local", "again", "writer"] {
        assert_eq!(request(proxy.listeners[listener], "GET", "/v2/groups", "", b"").status, 200);
        tokens.push(heard.recv().expect("a token"));
    }
    assert_eq!(tokens[0], tokens[1], "the same scopes share a token");
    assert_ne!(tokens[0], tokens[2]);
    assert_eq!(server.token_requests(), 2);
}

#[test]
fn wrong_credentials_are_told_apart() {
    let unknown = Ninja::start(|options| options.client_id = "another".to_owned());
    let proxy = Proxy::start(&unknown.instance(), "", "");
    assert_eq!(proxy.get("/v2/groups").code(), "token-client-unknown");
    let wrong = Ninja::start(|options| options.client_secret = "another".to_owned());
    let proxy = Proxy::start(&wrong.instance(), "", "");
    assert_eq!(proxy.get("/v2/groups").code(), "token-client-refused");
    assert_eq!(wrong.counts().api_requests, 0);
}

#[test]
fn tokens_are_renewed_ahead_of_their_expiry() {
    let ninja = Ninja::start(|options| options.token_lifetime = Duration::from_secs(4));
    let proxy = Proxy::start(&ninja.instance(), "", "");
    let begun = std::time::Instant::now();
    let mut served = 0;
    while begun.elapsed() < Duration::from_secs(8) {
        assert_eq!(proxy.get("/v2/groups").status, 200);
        served += 1;
        thread::sleep(Duration::from_millis(10));
    }
    let counts = ninja.counts();
    assert!(
        served > 5 && (3..=5).contains(&counts.token_requests),
        "{served} served, {} tokens",
        counts.token_requests
    );
    assert_eq!(counts.unauthorized, 0, "no expired token was sent");
}

#[test]
fn an_expired_token_is_not_sent_when_no_new_one_can_be_had() {
    let down = Arc::new(AtomicBool::new(false));
    let is_down = Arc::clone(&down);
    let server = Scripted::with_tokens(
        move |number| {
            if is_down.load(Ordering::SeqCst) {
                return answer("503 Service Unavailable", "");
            }
            answer(
                "200 OK",
                &format!(r#"{{"access_token":"{SCRIPTED_TOKEN}{number}","token_type":"Bearer","expires_in":1}}"#),
            )
        },
        |mut asked| {
            asked.answer(&answer("200 OK", "[]"));
            Then::Continue
        },
    );
    let proxy = Proxy::start(&server.instance(), "", "");
    assert_eq!(proxy.get("/v2/groups").status, 200);
    down.store(true, Ordering::SeqCst);
    thread::sleep(Duration::from_millis(1100));
    let api_requests = server.api_requests();
    for _ in 0..20 {
        let refused = proxy.get("/v2/groups");
        assert_eq!((refused.status, refused.code().as_str()), (503, "token-unavailable"));
        assert!(refused.header("retry-after").parse::<u64>().expect("seconds") >= 1);
    }
    assert_eq!(server.api_requests(), api_requests, "nothing was sent without a token");
    let asked = server.token_requests();
    assert!(asked < 10, "the token endpoint is not hammered: {asked} requests");
    down.store(false, Ordering::SeqCst);
    eventually("recovery", || proxy.get("/v2/groups").status == 200);
}

#[test]
fn an_answer_that_is_no_grant_is_503_and_no_request_goes_up() {
    for reply in [
        answer("200 OK", ""),
        answer("200 OK", "<html>busy</html>"),
        answer("200 OK", r#"{"access_token":"x y","token_type":"Bearer"}"#),
        answer("302 Found\r\nLocation: http://127.0.0.1:1/", ""),
        answer("500 Internal Server Error", r#"{"error":"x"}"#),
        "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{".to_owned(),
        "garbage".to_owned(),
    ] {
        let copy = reply.clone();
        let server = Scripted::with_tokens(move |_| copy.clone(), |_| Then::Close);
        let proxy = Proxy::start(&server.instance(), "", "[timeouts]\ntoken = \"500ms\"");
        let refused = proxy.get("/v2/groups");
        assert_eq!(refused.status, 503, "{reply}");
        assert_eq!(server.api_requests(), 0, "{reply}");
    }
}

#[test]
fn a_token_endpoint_that_hangs_costs_the_token_time() {
    let server = Scripted::with_tokens(
        |number| {
            if number == 0 {
                thread::sleep(Duration::from_secs(8));
            }
            grant("late")
        },
        |mut asked| {
            asked.answer(&answer("200 OK", "[]"));
            Then::Continue
        },
    );
    let proxy = Proxy::start(&server.instance(), "", "[timeouts]\ntoken = \"400ms\"");
    let begun = std::time::Instant::now();
    let refused = proxy.get("/v2/groups");
    assert_eq!(refused.status, 503);
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    eventually("recovery", || proxy.get("/v2/groups").status == 200);
}

/// An address that does not answer: its queue is full, so that the system drops what comes.
fn blackhole() -> (SocketAddr, Vec<Socket>) {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a port");
    listener.listen(0).expect("a listener");
    let address = listener.local_addr().expect("an address").as_socket().expect("an IP address");
    let mut sockets = vec![listener];
    for _ in 0..4 {
        let filler = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        filler.set_nonblocking(true).expect("a setting");
        let _ = filler.connect(&address.into());
        sockets.push(filler);
    }
    (address, sockets)
}

#[test]
fn a_token_request_has_the_time_for_connecting_that_api_requests_have() {
    let (dead, _sockets) = blackhole();
    let times = "[timeouts]\nconnect = \"300ms\"\ntoken = \"60s\"";
    let proxy = Proxy::start(&format!("host = \"http://{dead}\""), "", times);
    let refused = proxy.get("/v2/groups");
    assert_eq!((refused.status, refused.code().as_str()), (503, "token-unavailable"));
    let detail = refused.json()["detail"].as_str().expect("a sentence").to_owned();
    assert!(detail.contains("the TCP connection did not end in time"), "{detail}");
}

/// Only Linux has more than one address of the machine itself without being set up for it.
#[cfg(target_os = "linux")]
#[test]
fn a_token_request_goes_to_the_next_address_as_api_requests_do() {
    let (dead, _sockets) = blackhole();
    let place = std::net::TcpListener::bind((Ipv4Addr::new(127, 0, 0, 2), dead.port())).expect("the same port");
    let tokens = |mut asked: crate::harness::Asked<'_>| {
        asked.answer(&grant(SCRIPTED_TOKEN));
        Then::Continue
    };
    let _server = Scripted::on(place, tokens, |mut asked| {
        asked.answer(&answer("200 OK", "[]"));
        Then::Continue
    });
    let instance = format!("host = \"http://localhost:{}\"\naddresses = [\"127.0.0.1\", \"127.0.0.2\"]", dead.port());
    let proxy = Proxy::start(&instance, "", "[timeouts]\nconnect = \"30s\"\ntoken = \"60s\"");
    assert_eq!(proxy.get("/v2/groups").status, 200);
}

#[test]
fn the_proxy_starts_while_the_instance_is_down_and_serves_once_it_is_up() {
    let place = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = place.local_addr().expect("an address");
    drop(place);
    let proxy = Proxy::start(&format!("host = \"http://{address}\""), "", "");
    let early = proxy.get("/v2/devices");
    assert_eq!((early.status, early.code().as_str()), (503, "token-unavailable"));
    assert!(early.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds >= 1), "{early:?}");
    let readiness = || crate::harness::request(proxy.admin, "GET", "/readyz", "", b"").status;
    assert_eq!(readiness(), 503);
    let place = std::net::TcpListener::bind(address).expect("the same port");
    let tokens = |mut asked: crate::harness::Asked<'_>| {
        asked.answer(&crate::harness::grant(crate::watch::SCRIPTED_TOKEN));
        Then::Continue
    };
    let _server = Scripted::on(place, tokens, |mut asked| {
        asked.answer(&answer("200 OK", "[]"));
        Then::Continue
    });
    eventually("it serves", || proxy.get("/v2/devices").status == 200);
    assert_eq!(readiness(), 200);
}
