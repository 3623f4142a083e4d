//! How fast requests go up: a limited rate, a bounded wait, and an instance that throttles.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use crate::harness::{Asked, PATIENCE, Proxy, Reply, Scripted, Then, answer, connect, eventually, request};

const WRITE: &str = "scopes = [\"monitoring\", \"management\"]";

/// A proxy before `server`; `rate` is TOML for the table of that name.
fn limited(server: &Scripted, listener: &str, rate: &str) -> Proxy {
    // The table comes last, so that the harness's keys stay those of the instance.
    Proxy::start(&server.instance(), listener, &format!("[instances.main.rate]\n{rate}"))
}

fn throttled(retry_after: &str) -> String {
    format!("HTTP/1.1 429 Too Many Requests\r\n{retry_after}Content-Length: 6\r\n\r\n<html>")
}

/// A server that throttles the first request, and no other.
fn throttling_once(retry_after: &'static str) -> Scripted {
    Scripted::start(move |mut asked: Asked<'_>| {
        let text = if asked.number == 0 { throttled(retry_after) } else { answer("200 OK", "[]") };
        let head = text.find("\r\n\r\n").map_or(text.len(), |end| end + 4);
        asked.answer(if asked.head.starts_with("HEAD") { &text[..head] } else { &text });
        Then::Continue
    })
}

/// How many requests the proxy has held back.
fn waits(proxy: &Proxy) -> usize {
    let metrics = request(proxy.admin, "GET", "/metrics", "", b"");
    let metrics = String::from_utf8(metrics.body).expect("text");
    let line =
        metrics.lines().find_map(|line| line.strip_prefix("ninjaone_proxy_rate_waits_total{instance=\"main\"} "));
    line.expect("a counter").parse().expect("a number")
}

fn at_once(count: usize, address: std::net::SocketAddr) -> Vec<Reply> {
    let ask = move || request(address, "GET", "/v2/groups", "", b"");
    let callers: Vec<_> = (0..count).map(|_| thread::spawn(ask)).collect();
    callers.into_iter().map(|caller| caller.join().expect("a reply")).collect()
}

fn is_refused(reply: &Reply, error: &str) {
    assert_eq!((reply.status, reply.code().as_str()), (429, "rate-limited"), "{reply:?}");
    assert!(reply.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds >= 1), "{reply:?}");
    assert_eq!(reply.header("proxy-status"), format!("ninjaone-proxy; error={error}; details=\"rate-limited\""));
}

#[test]
fn requests_that_come_at_once_go_up_at_the_configured_rate() {
    let times = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&times);
    let server = Scripted::start(move |mut asked| {
        note.lock().expect("a lock").push(Instant::now());
        asked.answer(&answer("200 OK", "[]"));
        Then::Continue
    });
    let proxy = limited(&server, "", "requests-per-second = 20\nburst = 5");
    let begun = Instant::now();
    assert!(at_once(50, proxy.address).iter().all(|reply| reply.status == 200));
    assert!(begun.elapsed() >= Duration::from_millis(2240), "45 after the first 5: {:?}", begun.elapsed());
    let times = times.lock().expect("a lock");
    assert_eq!(times.len(), 50);
    for (first, begin) in times.iter().enumerate() {
        for (last, end) in times.iter().enumerate().skip(first) {
            // A machine under load may be late with some, which then come closer to the next.
            let allowed = 5.0 + 20.0 * (end.saturating_duration_since(*begin).as_secs_f64() + 0.5);
            assert!((last - first) as f64 + 1.0 <= allowed, "{first} to {last}: {:?}", *end - *begin);
        }
    }
    // 45 as a rule; one that comes while another worker asks for a moment waits for that moment too.
    assert!((1..=49).contains(&waits(&proxy)), "{}", waits(&proxy));
}

#[test]
fn a_turn_that_does_not_come_within_the_bound_is_429_with_retry_after() {
    let server = Scripted::start(|mut asked| {
        asked.answer(&answer("200 OK", "[]"));
        Then::Continue
    });
    let proxy = limited(&server, "", "requests-per-second = 0.1\nwait = \"100ms\"");
    assert_eq!(proxy.get("/v2/groups").status, 200);
    let late = proxy.get("/v2/groups");
    is_refused(&late, "http_request_denied");
    assert!((1..=10).contains(&late.header("retry-after").parse::<u32>().expect("a number")));
    assert_eq!(server.api_requests(), 1);
    // What is refused anyway takes no turn, and is not held back.
    assert_eq!(proxy.send("POST", "/v2/organizations", "", b"{}").code(), "scope-missing");
}

#[test]
fn no_more_requests_are_under_way_than_are_configured() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (under_way, peak) = (Arc::clone(&now), Arc::clone(&most));
    let server = Scripted::start(move |mut asked| {
        peak.fetch_max(under_way.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        asked.answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[");
        // To the end of the body, not only to that of the head.
        sleep(Duration::from_millis(30));
        under_way.fetch_sub(1, Ordering::SeqCst);
        asked.answer("]");
        Then::Continue
    });
    let proxy = limited(&server, "", "concurrent = 2");
    assert!(at_once(16, proxy.address).iter().all(|reply| reply.status == 200));
    assert_eq!((most.load(Ordering::SeqCst), server.api_requests()), (2, 16));
}

#[test]
fn who_leaves_the_line_gives_his_place_to_those_behind() {
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let server = Scripted::start(move |mut asked| {
        if asked.number == 0 {
            let _ = released.lock().expect("a lock").recv_timeout(PATIENCE);
        }
        asked.answer(&answer("200 OK", "[]"));
        Then::Continue
    });
    // The first has the only slot, and the only turn of the next second.
    let proxy = limited(&server, "", "concurrent = 1\nrequests-per-second = 1\nwait = \"20s\"");
    let ask = |address| thread::spawn(move || request(address, "GET", "/v2/groups", "", b"").status);
    let first = ask(proxy.address);
    eventually("the first is under way", || server.api_requests() == 1);
    let leaving: Vec<_> = (0..8)
        .map(|_| {
            let mut stream = connect(proxy.address);
            stream.write_all(b"GET /v2/locations HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("a head goes out");
            stream
        })
        .collect();
    eventually("8 wait", || waits(&proxy) == 8);
    let last = ask(proxy.address);
    eventually("9 wait", || waits(&proxy) == 9);
    drop(leaving);
    let in_flight = || {
        let metrics = request(proxy.admin, "GET", "/metrics", "", b"").body;
        String::from_utf8_lossy(&metrics).contains("ninjaone_proxy_requests_in_flight{listener=\"local\"} 2\n")
    };
    eventually("8 have left", in_flight);
    let begun = Instant::now();
    release.send(()).expect("a server that listens");
    assert_eq!((first.join().expect("a status"), last.join().expect("a status")), (200, 200));
    assert!(begun.elapsed() < Duration::from_secs(5), "not a second for each that left: {:?}", begun.elapsed());
    assert_eq!(server.api_requests(), 2);
    assert_eq!(proxy.get("/v2/groups").status, 200, "the slot is free again");
}

#[test]
fn no_slot_within_the_bound_is_429() {
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let server = Scripted::start(move |mut asked| {
        let _ = released.lock().expect("a lock").recv_timeout(PATIENCE);
        asked.answer(&answer("200 OK", "[]"));
        Then::Continue
    });
    let proxy = limited(&server, "", "concurrent = 1\nwait = \"50ms\"");
    let address = proxy.address;
    let first = thread::spawn(move || request(address, "GET", "/v2/groups", "", b"").status);
    eventually("the first is under way", || server.api_requests() == 1);
    is_refused(&proxy.get("/v2/groups"), "connection_limit_reached");
    release.send(()).expect("a server that listens");
    assert_eq!(first.join().expect("a status"), 200);
}

#[test]
fn after_a_429_of_the_instance_the_others_wait_until_it_is_over() {
    let server = throttling_once("Retry-After: 1\r\n");
    let proxy = limited(&server, "", "");
    let begun = Instant::now();
    let first = proxy.get("/v2/groups");
    assert_eq!((first.status, first.header("retry-after"), first.body.as_slice()), (429, "1", &b"<html>"[..]));
    assert_eq!(first.all("proxy-status"), [format!("ninjaone-proxy; next-hop=\"{}\"", server.address)]);
    assert!(at_once(4, proxy.address).iter().all(|reply| reply.status == 200));
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(server.api_requests(), 5);
    assert!((1..=4).contains(&waits(&proxy)), "{}", waits(&proxy));
}

#[test]
fn a_cool_down_beyond_the_bound_is_429_at_once_and_ends() {
    let server = throttling_once("");
    let proxy = limited(&server, "", "wait = \"10ms\"");
    assert_eq!(proxy.get("/v2/groups").header("retry-after"), "", "relayed as it is");
    is_refused(&proxy.get("/v2/groups"), "http_request_denied");
    assert_eq!(server.api_requests(), 1, "it did not go up");
    eventually("the cool-down ends", || proxy.get("/v2/groups").status == 200);
    assert_eq!(server.api_requests(), 2);
}

#[test]
fn a_read_is_sent_again_after_a_short_retry_after_and_a_write_never() {
    const SHORT: &str = "Retry-After: 1\r\n";
    for (method, retry_after, rate, status, requests) in [
        ("GET", SHORT, "retry-after-max = \"1s\"\nwait = \"1ms\"", 200, 2),
        ("HEAD", "Retry-After: 0\r\n", "retry-after-max = \"1s\"", 200, 2),
        ("GET", "Retry-After: 2\r\n", "retry-after-max = \"1s\"", 429, 1),
        ("GET", SHORT, "retry-after-max = \"0s\"", 429, 1),
        ("PUT", "Retry-After: 0\r\n", "retry-after-max = \"1s\"", 429, 1),
        ("DELETE", "Retry-After: 0\r\n", "retry-after-max = \"1s\"", 429, 1),
    ] {
        let server = throttling_once(retry_after);
        let proxy = limited(&server, WRITE, rate);
        let path = if matches!(method, "GET" | "HEAD") { "/v2/groups" } else { "/v2/tag/7" };
        let reply = proxy.send(method, path, "", b"");
        assert_eq!((reply.status, server.api_requests()), (status, requests), "{method} {retry_after} {rate}");
    }
}

#[test]
fn a_read_that_is_throttled_twice_is_relayed() {
    let server = Scripted::start(|mut asked| {
        asked.answer(&throttled("Retry-After: 0\r\n"));
        Then::Continue
    });
    let proxy = limited(&server, "", "retry-after-max = \"1s\"");
    let reply = proxy.get("/v2/groups");
    assert_eq!((reply.status, reply.body.as_slice(), server.api_requests()), (429, &b"<html>"[..], 2));
}
