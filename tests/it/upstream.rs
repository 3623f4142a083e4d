//! The way to NinjaOne: reused connections, and no write twice.

use std::collections::HashSet;
use std::io::Write;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::Duration;

use crate::harness::{Proxy, Reply, Scripted, Then, answer, connect, eventually, read_body, request};

const WRITE: &str = "scopes = [\"monitoring\", \"management\"]";

#[test]
fn requests_one_after_another_share_a_connection() {
    let ports = Arc::new(Mutex::new(HashSet::new()));
    let seen = Arc::clone(&ports);
    let server = Scripted::start(move |mut asked| {
        seen.lock().expect("a lock").insert(asked.stream.peer_addr().expect("an address").port());
        asked.answer(&answer("200 OK", "[]"));
        Then::Continue
    });
    let proxy = Proxy::start(&server.instance(), "", "");
    for _ in 0..30 {
        assert_eq!(proxy.get("/v2/groups").status, 200);
    }
    let workers = std::thread::available_parallelism().expect("a count").get();
    let connections = ports.lock().expect("a lock").len();
    assert!(connections <= workers, "{connections} connections for 30 requests");
}

#[test]
fn reads_survive_connections_that_die_between_requests() {
    let server = Scripted::start(|mut asked| {
        asked.answer(&answer("200 OK", "[]"));
        // Closes without a word, sometimes at once and sometimes when the next request is on its way.
        sleep(Duration::from_millis((asked.number % 3) as u64));
        Then::Close
    });
    let proxy = Proxy::start(&server.instance(), "", "");
    for number in 0..100 {
        assert_eq!(proxy.get("/v2/groups").status, 200, "request {number}");
    }
}

#[test]
fn a_write_that_may_have_arrived_is_not_sent_again() {
    for then_reset in [false, true] {
        let server = Scripted::start(move |mut asked| {
            if asked.head.starts_with("GET") {
                asked.answer(&answer("200 OK", "[]"));
                return Then::Continue;
            }
            // Unread bytes make the close a reset.
            if !then_reset {
                read_body(&asked.head.clone(), asked.stream);
            }
            Then::Close
        });
        let proxy = Proxy::start(&server.instance(), WRITE, "");
        let mut writes = 0;
        for method in ["POST", "PUT", "PATCH", "DELETE"] {
            let path = if method == "POST" { "/v2/organizations" } else { "/v2/tag/7" };
            let path = if method == "PATCH" { "/v2/organization/1" } else { path };
            assert_eq!(proxy.get("/v2/groups").status, 200, "a connection is there to be reused");
            let before = server.api_requests();
            let reply = proxy.send(method, path, "", b"{}");
            assert_eq!((reply.status, reply.code().as_str()), (502, "upstream-broken"), "{method}");
            writes += server.api_requests() - before;
        }
        assert_eq!(writes, 4, "each write arrived once");
    }
}

#[test]
fn a_read_that_moves_a_cursor_is_not_sent_again_and_another_one_is() {
    let cursors = ["cursor=a", "pageSize=5&%63ursor=a", "a=b;cursor=c", "cursor=a&cursor=b"];
    let server = Scripted::start(|mut asked| {
        // Each report fails once, in its own way, and would give a page then.
        match asked.head.split(['/', '?']).nth(3) {
            Some("disks") => return Then::Close,
            Some("volumes") => asked.answer("HTTP/1.1 429 X\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n"),
            Some("software") => asked.answer(&answer("401 Unauthorized", "{}")),
            _ => asked.answer(&answer("200 OK", "[]")),
        }
        Then::Continue
    });
    let proxy = Proxy::start(&server.instance(), WRITE, "[instances.main.rate]\nretry-after-max = \"1s\"");
    // One connection of the caller's stays with one worker, and so with one pool.
    let mut stream = connect(proxy.address);
    let mut ask = |path: String| {
        let before = server.api_requests();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).expect("a request");
        (Reply::read(&mut stream, false).status, server.api_requests() - before)
    };
    for (report, status) in [("disks", 502), ("volumes", 429), ("software", 401)] {
        for query in cursors {
            assert_eq!(ask("/v2/groups".to_owned()), (200, 1), "a connection is there to be reused");
            assert_eq!(ask(format!("/v2/queries/{report}?{query}")), (status, 1), "{report} {query}");
        }
        assert_eq!(ask("/v2/groups".to_owned()), (200, 1), "a connection is there to be reused");
        assert_eq!(ask(format!("/v2/queries/{report}?pageSize=5")), (status, 2), "{report}");
    }
}

#[test]
fn a_connection_is_not_used_when_the_instance_may_be_closing_it() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let ports = Arc::clone(&seen);
    let server = Scripted::start(move |mut asked| {
        ports.lock().expect("a lock").push(asked.stream.peer_addr().expect("an address").port());
        let announced = ["max=5", "timeout=60, max=5", "timeout=60, max=0", "timeout=1", ""][asked.number % 5];
        asked.answer(&answer(&format!("200 OK\r\nKeep-Alive: {announced}"), "[]"));
        Then::Continue
    });
    let proxy = Proxy::start(&server.instance(), "", "");
    let mut stream = connect(proxy.address);
    for _ in 0..5 {
        stream.write_all(b"GET /v2/groups HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("a request");
        let reply = Reply::read(&mut stream, false);
        assert_eq!((reply.status, reply.header("keep-alive")), (200, ""));
    }
    let ports = seen.lock().expect("a lock").clone();
    let same: Vec<_> = ports.windows(2).map(|pair| pair[0] == pair[1]).collect();
    assert_eq!(same, [true, true, false, false], "{ports:?}");
}

#[test]
fn an_instance_that_cannot_be_reached_is_502() {
    // A port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
    let proxy = Proxy::start(&format!("host = \"http://127.0.0.1:{port}\""), "", "");
    assert_eq!(proxy.get("/v2/groups").code(), "token-unavailable", "not even a token");
}

#[test]
fn an_answer_that_is_no_http_is_502_and_never_relayed() {
    for garbage in
        ["garbage\r\n\r\n", "HTTP/1.1 abc OK\r\n\r\n", "HTTP/1.1 200 OK\r\nBad Header: x\r\n\r\n", "\0\0\0\0"]
    {
        let server = Scripted::start(move |mut asked| {
            asked.answer(garbage);
            Then::Close
        });
        let proxy = Proxy::start(&server.instance(), "", "");
        let reply = proxy.get("/v2/groups");
        assert_eq!((reply.status, reply.code().as_str()), (502, "upstream-malformed"), "{garbage:?}");
        assert!(!String::from_utf8_lossy(&reply.body).contains("garbage"));
    }
}

#[test]
fn a_hanging_request_does_not_hold_up_others() {
    let server = Scripted::start(|mut asked| {
        if asked.head.contains("/v2/locations") {
            sleep(Duration::from_secs(12));
        }
        asked.answer(&answer("200 OK", "[]"));
        Then::Continue
    });
    let proxy = Arc::new(Proxy::start(&server.instance(), "", ""));
    let hanging: Vec<_> = (0..100)
        .map(|_| {
            let proxy = Arc::clone(&proxy);
            std::thread::spawn(move || proxy.get("/v2/locations").status)
        })
        .collect();
    eventually("all hang", || server.api_requests() >= 100);
    let begun = std::time::Instant::now();
    for _ in 0..20 {
        assert_eq!(proxy.get("/v2/groups").status, 200);
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    for caller in hanging {
        assert_eq!(caller.join().expect("a status"), 200);
    }
}

#[test]
fn an_answer_with_a_thousand_fields_is_relayed_also_of_a_write() {
    let many = "X-One: 1\r\n".repeat(1000);
    let server = Scripted::start(move |mut asked| {
        asked.answer(&answer(&format!("200 OK\r\n{}", many.trim_end()), "[]"));
        Then::Continue
    });
    let proxy = Proxy::start(&server.instance(), "scopes = [\"monitoring\", \"management\"]", "");
    for (method, path) in [("GET", "/v2/groups"), ("POST", "/v2/organizations")] {
        let reply = request(proxy.address, method, path, "Content-Type: application/json\r\n", b"{}");
        assert_eq!((reply.status, reply.all("x-one").len()), (200, 1000), "{method}");
    }
    assert_eq!(server.api_requests(), 2);
}
