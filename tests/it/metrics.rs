//! What `/metrics` tells: each series moves with what it counts, and comes down with it.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Mutex, mpsc};
use std::thread::sleep;
use std::time::{Duration, Instant};

use ninjaone_proxy::proxy::authn::key::KeyHash;

use crate::harness::{Ninja, Proxy, Reply, Scripted, Then, answer, connect, eventually, request};
use crate::reload::metric;
use crate::tls::{GOOD, Secure};

const BOTH: &str = "scopes = [\"monitoring\", \"management\"]";

/// The open connections to the instance `main`.
pub(crate) fn connections(admin: SocketAddr, protocol: &str) -> f64 {
    metric(admin, &format!("ninjaone_proxy_upstream_connections{{instance=\"main\",protocol=\"{protocol}\"}}"))
}

fn opened(admin: SocketAddr, protocol: &str) -> f64 {
    let name = "ninjaone_proxy_upstream_connections_opened_total";
    metric(admin, &format!("{name}{{instance=\"main\",protocol=\"{protocol}\"}}"))
}

fn replays(proxy: &Proxy, reason: &str) -> f64 {
    metric(proxy.admin, &format!("ninjaone_proxy_replays_total{{instance=\"main\",reason=\"{reason}\"}}"))
}

fn becomes(proxy: &Proxy, series: &str, value: f64) {
    eventually(&format!("{series} {value}"), || metric(proxy.admin, series) == value);
}

fn shows(admin: SocketAddr, part: &str) -> bool {
    String::from_utf8_lossy(&request(admin, "GET", "/metrics", "", b"").body).contains(part)
}

#[test]
fn bytes_of_bodies_are_counted_in_both_directions() {
    let proxy = Proxy::sandboxed(BOTH);
    let [up, down] =
        ["request", "response"].map(|way| format!("ninjaone_proxy_{way}_bytes_total{{listener=\"local\"}}"));
    let body = b"{\"name\":\"a\"}";
    let mut answers = proxy.send("POST", "/v2/organizations", "", body).body.len();
    answers += proxy.get("/v2/attachment/7?size=300000").body.len();
    answers += proxy.get("/v2/nope").body.len();
    assert!(answers > 300_000);
    becomes(&proxy, &down, answers as f64);
    becomes(&proxy, &up, body.len() as f64);
    // In chunks, and by HEAD, and what is read of a token request.
    let mut stream = connect(proxy.address);
    let head =
        "POST /v2/organizations HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n";
    stream.write_all(format!("{head}\r\n3\r\n{{\"n\r\n9\r\name\":\"b\"}}\r\n0\r\n\r\n").as_bytes()).expect("a request");
    answers += Reply::read(&mut stream, false).body.len();
    assert_eq!(proxy.send("HEAD", "/v2/organizations", "", b"").status, 200);
    let form = b"grant_type=client_credentials";
    let kind = "Content-Type: application/x-www-form-urlencoded\r\n";
    answers += proxy.send("POST", "/ws/oauth/token", kind, form).body.len();
    becomes(&proxy, &down, answers as f64);
    becomes(&proxy, &up, (2 * body.len() + form.len()) as f64);
}

#[test]
fn requests_are_counted_by_caller_where_there_are_callers() {
    let callers = ["desk", "reports"].map(|name| {
        let hash = KeyHash::of(format!("{name}-key").as_bytes());
        format!("[listeners.local.callers.{name}]\nkey = \"{hash}\"\nscopes = [\"monitoring\"]\n")
    });
    let proxy = Proxy::sandboxed(&format!("{BOTH}\n{}", callers.concat()));
    for (key, method, status) in
        [("desk-key", "GET", 200), ("desk-key", "GET", 200), ("desk-key", "DELETE", 403), ("reports-key", "GET", 200)]
    {
        let path = if method == "GET" { "/v2/groups" } else { "/v2/tag/1" };
        assert_eq!(proxy.send(method, path, &format!("X-Api-Key: {key}\r\n"), b"").status, status);
    }
    assert_eq!(proxy.send("GET", "/v2/groups", "X-Api-Key: wrong\r\n", b"").status, 401);
    let of = |caller: &str, class: &str| {
        let labels = format!("caller=\"{caller}\",listener=\"local\",status_class=\"{class}\"");
        format!("ninjaone_proxy_caller_requests_total{{{labels}}}")
    };
    for (caller, class, count) in [("desk", "2xx", 2.0), ("desk", "4xx", 1.0), ("reports", "2xx", 1.0)] {
        becomes(&proxy, &of(caller, class), count);
    }
    let refused = "ninjaone_proxy_caller_refusals_total{caller=\"desk\",code=\"scope-missing\",listener=\"local\"}";
    becomes(&proxy, refused, 1.0);
    let text = String::from_utf8(request(proxy.admin, "GET", "/metrics", "", b"").body).expect("text");
    let lines = text.lines().filter(|line| line.starts_with("ninjaone_proxy_caller_requests_total{"));
    assert_eq!(lines.count(), 3, "who is not known is no caller: {text}");
    let open = Proxy::sandboxed("");
    assert_eq!(open.get("/v2/groups").status, 200);
    assert!(!shows(open.admin, "ninjaone_proxy_caller_requests_total{"));
}

#[test]
fn refusals_of_the_policy_are_counted_by_what_decided() {
    let proxy = Proxy::sandboxed("deny = [\"GET /v2/device/{id}/**\"]");
    for (method, path, code) in [
        ("GET", "/v2/device/7/disks", "rule-denied"),
        ("GET", "/v2/device/8/disks", "rule-denied"),
        ("POST", "/v2/organizations", "scope-missing"),
        ("GET", "/v2/automation/scripts", "group-not-open"),
        ("GET", "/v2/queries/custom-fields?showSecureValues=true", "secure-values-not-open"),
        ("GET", "/v2/nope", "operation-unknown"),
        ("DELETE", "/v2/devices", "method-not-allowed"),
        ("GET", "/v2/device/7/../8", "target-malformed"),
    ] {
        assert_eq!(proxy.send(method, path, "", b"").code(), code);
    }
    for (rule, count) in [
        ("GET /v2/device/{id}/**", 2.0),
        ("scope:management", 1.0),
        ("group:scripts", 1.0),
        ("group:secure-values", 1.0),
        ("none", 2.0),
    ] {
        becomes(&proxy, &format!("ninjaone_proxy_rule_refusals_total{{listener=\"local\",rule=\"{rule}\"}}"), count);
    }
    let text = String::from_utf8(request(proxy.admin, "GET", "/metrics", "", b"").body).expect("text");
    let lines = text.lines().filter(|line| line.starts_with("ninjaone_proxy_rule_refusals_total{"));
    assert_eq!(lines.count(), 5, "a target that cannot be judged no rule refuses: {text}");
}

#[test]
fn a_token_shows_its_age_and_its_time_to_expiry_as_long_as_it_is_there() {
    const OF: &str = "{instance=\"main\",scopes=\"monitoring\"}";
    let ninja = Ninja::start(|_| ());
    let proxy = Proxy::start(&ninja.instance(), "", "");
    assert_eq!(proxy.get("/v2/groups").status, 200);
    let read = |name: &str| metric(proxy.admin, &format!("ninjaone_proxy_token_{name}_seconds{OF}"));
    eventually("a second", || read("age") >= 1.0);
    let (age, expiry) = (read("age"), read("expiry"));
    assert!((3590.0..=3595.0).contains(&(age + expiry)), "an hour, and five seconds less: {age} + {expiry}");
    let server =
        Scripted::with_tokens(|_| answer("401 Unauthorized", "{\"error\":\"invalid_client\"}"), |_| Then::Close);
    let proxy = Proxy::start(&server.instance(), "", "");
    assert_eq!(proxy.get("/v2/groups").status, 503);
    assert!(shows(proxy.admin, &format!("ninjaone_proxy_token_expiry_seconds{OF} 0\n")));
    assert!(!shows(proxy.admin, "ninjaone_proxy_token_age_seconds{"), "no token has no age");
}

#[test]
fn what_is_sent_again_is_counted_by_its_reason_and_answers_429_are_counted() {
    let ninja = Ninja::start(|_| ());
    let proxy = Proxy::start(&ninja.instance(), BOTH, "");
    assert_eq!(proxy.get("/v2/groups").status, 200);
    assert!(shows(proxy.admin, "ninjaone_proxy_replays_total{instance=\"main\",reason=\"token-refused\"} 0\n"));
    ninja.sandbox.revoke_tokens();
    assert_eq!(proxy.get("/v2/groups").status, 200);
    assert_eq!(replays(&proxy, "token-refused"), 1.0);

    let server = Scripted::start(|mut asked| {
        let busy = "429 Too Many Requests\r\nRetry-After: 0";
        match asked.number {
            1 | 3 => asked.answer(&answer(busy, "[]")),
            // The connection ends, and with it a request that arrived on it.
            5 => return Then::Close,
            _ => asked.answer(&answer("200 OK", "[]")),
        }
        Then::Continue
    });
    let proxy = Proxy::start(&server.instance(), "", "[instances.main.rate]\nretry-after-max = \"1s\"");
    let mut stream = connect(proxy.address);
    for _ in 0..4 {
        stream.write_all(b"GET /v2/groups HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("a request");
        assert_eq!(Reply::read(&mut stream, false).status, 200);
    }
    assert_eq!(server.api_requests(), 7);
    assert_eq!(["throttled", "connection-lost", "token-refused"].map(|why| replays(&proxy, why)), [2.0, 1.0, 0.0]);
    assert_eq!(metric(proxy.admin, "ninjaone_proxy_upstream_throttled_total{instance=\"main\"}"), 2.0);
    let answers = metric(proxy.admin, "ninjaone_proxy_upstream_duration_seconds_count{instance=\"main\"}");
    assert_eq!(answers, 6.0, "one got no answer");
}

#[test]
fn the_time_to_the_head_of_an_answer_is_the_instances_alone() {
    let (release, rest) = mpsc::channel();
    let rest = Mutex::new(rest);
    let server = Scripted::start(move |mut asked| {
        sleep(Duration::from_millis(120));
        asked.answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[");
        rest.lock().expect("a lock").recv().expect("the test goes on");
        asked.answer("]");
        Then::Continue
    });
    let proxy = Proxy::start(&server.instance(), "", "");
    let (address, begun) = (proxy.address, Instant::now());
    let caller = std::thread::spawn(move || request(address, "GET", "/v2/groups", "", b""));
    let head = || metric(proxy.admin, "ninjaone_proxy_upstream_duration_seconds_sum{instance=\"main\"}");
    eventually("the head", || head() > 0.0);
    let (head, most) = (head(), begun.elapsed().as_secs_f64());
    sleep(Duration::from_millis(300));
    release.send(()).expect("the instance goes on");
    assert_eq!(caller.join().expect("an answer").body, b"[]");
    let whole = "ninjaone_proxy_request_duration_seconds_sum{listener=\"local\"}";
    eventually("the end", || metric(proxy.admin, whole) > 0.0);
    let whole = metric(proxy.admin, whole);
    assert!((0.12..most).contains(&head) && whole >= head + 0.3, "{head} of {whole}, at most {most}");
}

#[test]
fn open_connections_are_counted_until_they_close() {
    let server = Scripted::start(|mut asked| {
        asked.answer(&answer("200 OK", "[]"));
        if asked.head.contains("/v2/users") { Then::Close } else { Then::Continue }
    });
    let mut proxy = Proxy::start(&server.instance(), "allow = [\"GET /v2/users\"]", "");
    let admin = proxy.admin;
    assert!(shows(admin, "ninjaone_proxy_upstream_connections{instance=\"main\",protocol=\"h2\"} 0\n"));
    for round in 1..=3 {
        assert_eq!(proxy.get("/v2/groups").status, 200);
        assert!(connections(admin, "http/1.1") >= 1.0, "it rests");
        proxy
            .reconfigure("allow = [\"GET /v2/users\"]", &format!("[timeouts]\nconnect = \"{round}s\""))
            .expect("taken");
        eventually("a way that is not used any more has no connections", || connections(admin, "http/1.1") == 0.0);
        assert!(opened(admin, "http/1.1") >= f64::from(round), "counters do not go backwards");
    }
    let before = opened(admin, "http/1.1");
    for _ in 0..5 {
        assert_eq!(proxy.get("/v2/users").status, 200);
    }
    eventually("the instance closes them", || connections(admin, "http/1.1") == 0.0);
    assert_eq!(opened(admin, "http/1.1") - before, 5.0);
}

#[test]
fn open_connections_of_http_2_are_counted_until_they_close() {
    let secure = Secure::start(&GOOD, &[b"h2", b"http/1.1"]);
    let mut proxy = secure.proxy("localhost");
    let address = proxy.address;
    let callers: Vec<_> = (0..64)
        .map(|_| std::thread::spawn(move || request(address, "GET", "/v2/organizations?delay=200", "", b"").status))
        .collect();
    assert!(callers.into_iter().all(|caller| caller.join().expect("a status") == 200));
    let admin = proxy.admin;
    assert!(connections(admin, "h2") >= 1.0 && connections(admin, "http/1.1") >= 1.0);
    proxy.reconfigure(BOTH, "[timeouts]\nconnect = \"3s\"").expect("taken");
    eventually("all are closed", || ["h2", "http/1.1"].map(|protocol| connections(admin, protocol)) == [0.0, 0.0]);
    assert!(opened(admin, "h2") >= 1.0);
}

#[test]
fn after_a_reload_no_gauge_tells_of_what_is_gone() {
    let server = Scripted::start(|mut asked| {
        sleep(Duration::from_millis(if asked.head.contains("slow") { 600 } else { 0 }));
        asked.answer(&answer("200 OK", "[]"));
        Then::Continue
    });
    let other = format!(
        "[instances.other]\n{}\nclient-id = \"x\"\nclient-secret = {{ file = \"secret\" }}\n\
         [listeners.side]\naddress = \"127.0.0.1:0\"\ninstance = \"other\"",
        server.instance()
    );
    let main = "instance = \"main\"";
    let mut proxy = Proxy::start(&server.instance(), main, &other);
    let side = proxy.listeners["side"];
    let busy = "ninjaone_proxy_requests_in_flight{listener=\"side\"}";
    let open = "ninjaone_proxy_upstream_connections{instance=\"other\",protocol=\"http/1.1\"}";
    let slow = std::thread::spawn(move || request(side, "GET", "/v2/groups?slow", "", b"").status);
    becomes(&proxy, busy, 1.0);
    becomes(&proxy, open, 1.0);
    assert!(shows(proxy.admin, "ninjaone_proxy_token_expiry_seconds{instance=\"other\""));
    proxy.reconfigure(main, "").expect("taken");
    assert!(!shows(proxy.admin, "_seconds{instance=\"other\",scopes"), "its token is not renewed any more");
    assert_eq!([metric(proxy.admin, busy), metric(proxy.admin, open)], [1.0, 1.0], "a request is still under way");
    assert_eq!(slow.join().expect("a status"), 200);
    becomes(&proxy, busy, 0.0);
    becomes(&proxy, open, 0.0);
    let count = "ninjaone_proxy_requests_total{listener=\"side\",operation=\"GET /v2/groups\",status_class=\"2xx\"}";
    assert_eq!(metric(proxy.admin, count), 1.0, "counters stay");
}

#[cfg(target_os = "linux")]
#[test]
fn the_process_is_shown_under_the_usual_names() {
    let proxy = Proxy::sandboxed("");
    let read = |name: &str| metric(proxy.admin, &format!("process_{name}"));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a time").as_secs_f64();
    assert!((now - 60.0..=now).contains(&read("start_time_seconds")));
    let (spent, files) = (read("cpu_seconds_total"), read("open_fds"));
    assert!(spent > 0.0 && files > 3.0 && files < read("max_fds"), "{spent} {files}");
    assert!(read("resident_memory_bytes") > 1e6 && read("virtual_memory_bytes") > read("resident_memory_bytes"));
    assert!(read("threads") >= 2.0 && read("cpu_seconds_total") >= spent);
}
