//! Connections: keep-alive, pipelining, limits, drain.

use std::io::{Read, Write};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::harness::{Proxy, Reply, Scripted, Then, answer, connect, eventually, request};

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

#[test]
fn a_connection_serves_many_requests_and_pipelined_ones_in_order() {
    let proxy = Proxy::sandboxed("");
    let mut stream = connect(proxy.address);
    let mut requests = String::new();
    for id in 1..=20 {
        requests += &get(&format!("/v2/device/{id}"));
        requests += &get("/v2/nothing");
    }
    stream.write_all(requests.as_bytes()).expect("requests");
    for id in 1..=20 {
        let device = Reply::read(&mut stream, false);
        assert_eq!((device.status, device.json()["id"].as_i64()), (200, Some(id)));
        assert_eq!(Reply::read(&mut stream, false).status, 404);
    }
}

#[test]
fn a_connection_on_which_nothing_is_asked_for_a_while_is_served_on_and_ends_with_the_process() {
    /// Longer than the memory of such a connection is kept.
    const REST: Duration = Duration::from_millis(1300);
    let mut proxy = Proxy::sandboxed("");
    let mut stream = connect(proxy.address);
    sleep(REST);
    let body = "GET /v2/groups HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\n{}\n";
    for (before, request) in [("", get("/v2/groups")), ("\r\n", get("/v2/devices")), ("", body.to_owned())] {
        stream.write_all(before.as_bytes()).expect("an empty line");
        sleep(REST);
        let (first, rest) = request.split_at(7);
        stream.write_all(first.as_bytes()).expect("a part");
        sleep(REST);
        stream.write_all(format!("{rest}{}", get("/v2/nothing")).as_bytes()).expect("the rest, and one more");
        assert_eq!(Reply::read(&mut stream, false).status, 200);
        assert_eq!(Reply::read(&mut stream, false).status, 404);
    }
    sleep(REST);
    let ended = proxy.shut_down();
    assert_eq!(stream.read(&mut [0; 1]).expect("an end"), 0);
    ended.join().expect("a clean end");
}

#[test]
fn http_1_0_is_answered_and_closed() {
    let proxy = Proxy::sandboxed("");
    let mut stream = connect(proxy.address);
    stream.write_all(b"GET /v2/organizations HTTP/1.0\r\n\r\n").expect("a request");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer and an end");
    assert!(text.starts_with("HTTP/1.0 200 OK\r\n") && text.ends_with(']'), "{text}");
    let mut stream = connect(proxy.address);
    stream.write_all(b"GET /v2/attachment/7?size=5&chunked=true HTTP/1.0\r\n\r\n").expect("a request");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("an answer and an end");
    let text: String = bytes.into_iter().map(|byte| if byte.is_ascii() { char::from(byte) } else { '?' }).collect();
    assert!(!text.to_ascii_lowercase().contains("chunked"), "{text}");
    assert_eq!(text.split_once("\r\n\r\n").map(|(_, body)| body.len()), Some(5));
}

#[test]
fn a_request_needs_one_host_and_ours() {
    let proxy = Proxy::sandboxed("names = [\"proxy.internal\"]");
    for (hosts, status, code) in [
        ("Host: evil.example\r\n", 421, "host-not-ours"),
        ("Host: localhost.evil.example\r\n", 421, "host-not-ours"),
        ("Host: localhost\r\nHost: localhost\r\n", 400, "host-repeated"),
        ("", 400, "host-missing"),
    ] {
        let mut stream = connect(proxy.address);
        stream.write_all(format!("GET /v2/devices HTTP/1.1\r\n{hosts}\r\n").as_bytes()).expect("a request");
        let reply = Reply::read(&mut stream, false);
        assert_eq!((reply.status, reply.code().as_str()), (status, code));
    }
    let port = proxy.address.port();
    for host in ["localhost", "127.0.0.1", "[::1]", "proxy.internal", &format!("localhost:{port}")] {
        let mut stream = connect(proxy.address);
        stream.write_all(format!("GET /v2/groups HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).expect("a request");
        assert_eq!(Reply::read(&mut stream, false).status, 200, "{host}");
    }
    assert_eq!(proxy.count("api_requests"), 5);
}

#[test]
fn a_head_that_does_not_come_is_cut_off_after_the_client_time() {
    let proxy = Proxy::start("host = \"sandbox\"", "", "[timeouts]\nclient = \"300ms\"");
    let mut stream = connect(proxy.address);
    stream.write_all(b"GET /v2/devices HTTP/1.1\r\nHost: loc").expect("a part");
    let begun = Instant::now();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn heads_too_large_or_malformed_are_refused_and_service_goes_on() {
    let proxy = Proxy::sandboxed("");
    let long = "x".repeat(100_000);
    let many = "X-Field: 1\r\n".repeat(200);
    for (request, statuses) in [
        (format!("GET /v2/devices HTTP/1.1\r\nHost: localhost\r\nX-Long: {long}\r\n\r\n"), &[431][..]),
        (format!("GET /v2/devices?q={long} HTTP/1.1\r\nHost: localhost\r\n\r\n"), &[414, 431]),
        (format!("GET /v2/devices HTTP/1.1\r\nHost: localhost\r\n{many}\r\n"), &[431]),
        ("GET /v2/devices HTTP/1.1\r\nHost : localhost\r\n\r\n".to_owned(), &[400]),
        ("GET /v2/devices HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n".to_owned(), &[400]),
        ("\u{1}\u{2}\u{3}\r\n\r\n".to_owned(), &[400]),
    ] {
        let mut stream = connect(proxy.address);
        let _ = stream.write_all(request.as_bytes());
        let reply = Reply::read(&mut stream, false);
        assert!(statuses.contains(&reply.status), "{} for {:.60}", reply.status, request);
        assert!(["head-too-large", "target-too-long", "request-malformed"].contains(&reply.code().as_str()));
    }
    let line = "x".repeat(8000);
    assert_eq!(proxy.get(&format!("/v2/devices?pageSize=1&q={line}")).status, 200, "long lines are fine");
}

#[test]
fn connections_over_the_limit_wait_for_a_free_place() {
    let proxy = Proxy::start("host = \"sandbox\"", "", "[limits]\nconnections = 2");
    let mut first = connect(proxy.address);
    let mut second = connect(proxy.address);
    for stream in [&mut first, &mut second] {
        stream.write_all(get("/v2/groups").as_bytes()).expect("a request");
        assert_eq!(Reply::read(stream, false).status, 200);
    }
    let mut third = connect(proxy.address);
    third.write_all(get("/v2/groups").as_bytes()).expect("a request");
    third.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
    assert!(third.read(&mut [0; 1]).is_err(), "the third is not served yet");
    drop(first);
    third.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    assert_eq!(Reply::read(&mut third, false).status, 200);
}

#[test]
fn shutdown_finishes_what_is_in_flight_and_takes_nothing_new() {
    let server = Scripted::start(|mut asked| {
        sleep(Duration::from_millis(2500));
        asked.answer(&answer("200 OK", "[]"));
        Then::Continue
    });
    let mut proxy = Proxy::start(&server.instance(), "", "");
    let mut idle = connect(proxy.address);
    let mut busy = connect(proxy.address);
    busy.write_all(get("/v2/devices").as_bytes()).expect("a request");
    eventually("the request arrives", || server.api_requests() == 1);
    let (address, admin) = (proxy.address, proxy.admin);
    let ended = proxy.shut_down();
    eventually("readiness ends", || request(admin, "GET", "/readyz", "", b"").status == 503);
    eventually("the listener closes", || std::net::TcpStream::connect(address).is_err());
    assert_eq!(Reply::read(&mut busy, false).status, 200, "in flight is finished");
    assert_eq!(idle.read(&mut [0; 1]).expect("an end"), 0, "idle is closed");
    ended.join().expect("a clean end");
}

#[test]
fn shutdown_finishes_what_the_sandbox_is_answering() {
    let mut proxy = Proxy::sandboxed("");
    let mut busy = connect(proxy.address);
    busy.write_all(get("/v2/organizations?delay=1500").as_bytes()).expect("a request");
    eventually("the request arrives", || proxy.count("api_requests") == 1);
    let ended = proxy.shut_down();
    assert_eq!(Reply::read(&mut busy, false).status, 200);
    ended.join().expect("a clean end");
}

#[test]
fn the_admin_listener_tells_health_and_counts() {
    let proxy = Proxy::sandboxed("");
    eventually("ready", || request(proxy.admin, "GET", "/readyz", "", b"").status == 200);
    assert_eq!(request(proxy.admin, "GET", "/livez", "", b"").status, 200);
    assert_eq!(proxy.get("/v2/device/7").status, 200);
    assert_eq!(proxy.get("/v2/device/7/../8").status, 400);
    let metrics = request(proxy.admin, "GET", "/metrics", "", b"");
    let text = String::from_utf8(metrics.body).expect("text");
    for line in [
        "ninjaone_proxy_requests_total{listener=\"local\",operation=\"GET /v2/device/{id}\",status_class=\"2xx\"} 1",
        "ninjaone_proxy_refusals_total{blame=\"caller\",code=\"target-malformed\",listener=\"local\"} 1",
        "ninjaone_proxy_requests_in_flight{listener=\"local\"} 0",
        "ninjaone_proxy_token_requests_total{result=\"granted\"} 1",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
    }
    let mut stream = connect(proxy.admin);
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n").expect("a request");
    assert_eq!(Reply::read(&mut stream, false).status, 421);
}

#[test]
fn the_count_of_requests_in_flight_returns_to_zero_when_callers_leave() {
    let server = Scripted::start(|_| {
        sleep(Duration::from_millis(300));
        Then::Close
    });
    let proxy = Proxy::start(&server.instance(), "", "");
    for _ in 0..10 {
        let mut stream = connect(proxy.address);
        stream.write_all(get("/v2/devices").as_bytes()).expect("a request");
    }
    eventually("nothing is in flight", || {
        let text = String::from_utf8(request(proxy.admin, "GET", "/metrics", "", b"").body).expect("text");
        text.contains("requests_in_flight{listener=\"local\"} 0")
            && text.contains("duration_seconds_count{listener=\"local\"} 10")
    });
}

#[test]
fn a_head_has_its_own_time_from_its_first_byte() {
    let proxy = Proxy::start("host = \"sandbox\"", "", "[timeouts]\nclient = \"6s\"");
    let mut stream = connect(proxy.address);
    stream.write_all(get("/v2/groups").as_bytes()).expect("a request");
    assert_eq!(Reply::read(&mut stream, false).status, 200);
    let request = get("/v2/groups");
    let (first, second) = request.split_at(20);
    sleep(Duration::from_millis(3500));
    stream.write_all(first.as_bytes()).expect("a part");
    sleep(Duration::from_millis(3500));
    stream.write_all(second.as_bytes()).expect("the rest");
    assert_eq!(Reply::read(&mut stream, false).status, 200, "7 s after the last answer");
    let begun = Instant::now();
    stream.write_all(first.as_bytes()).expect("a part");
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert!(rest.is_empty() && begun.elapsed() < Duration::from_secs(16), "{:?}", begun.elapsed());
}

#[test]
fn a_refused_upload_is_read_until_its_caller_has_written_all_of_it() {
    let proxy = Proxy::sandboxed("");
    let head =
        |length| format!("POST /v2/organizations HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n");
    // Much at once, and little at a time for longer than a closed connection is else read.
    for (pieces, size, pause) in [(24, 1 << 20, 0), (12, 1 << 16, 100)] {
        let mut stream = connect(proxy.address);
        stream.write_all(head(pieces * size).as_bytes()).expect("a head");
        for _ in 0..pieces {
            stream.write_all(&vec![b'x'; size]).expect("no reset");
            sleep(Duration::from_millis(pause));
        }
        assert_eq!(Reply::read(&mut stream, false).code(), "scope-missing");
    }
}
