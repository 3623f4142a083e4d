//! The table of faulty upstreams: what each costs the caller, how often the request arrived, and who is served after it.

mod rows;
mod server;

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::harness::{Proxy, Reply, Scripted, Then, connect, eventually};
use crate::metrics::connections;
use crate::reload::metric;
use crate::replies;
use server::Server;

/// What a row is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Family {
    Head,
    Length,
    Coding,
    Body,
    Surplus,
    Informational,
    Silence,
    Once,
    Certificate,
    Handshake,
    Frames,
}

/// What the faulty request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
}

impl Method {
    /// Method, path and body; the paths are operations of the catalogue.
    fn parts(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Get => ("GET", "/v2/devices", ""),
            Self::Head => ("HEAD", "/v2/devices", ""),
            Self::Post => ("POST", "/v2/organizations", "{}"),
            Self::Put => ("PUT", "/v2/tag/7", "{}"),
            Self::Patch => ("PATCH", "/v2/organization/1", "{}"),
            Self::Delete => ("DELETE", "/v2/tag/7", ""),
        }
    }
}

/// What the upstream speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    /// HTTP/1.1 in clear text.
    Clear,
    /// HTTP/1.1 over TLS.
    Tls,
    /// HTTP/2 over TLS: the script is for the first connection, frame by frame.
    Http2,
    /// Bytes in the place of a handshake.
    Raw,
    /// TLS with a certificate that must not be trusted.
    OtherName,
    CommonName,
    Expired,
    Early,
    UnknownCa,
}

/// One thing that the upstream does.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Send(&'static [u8]),
    /// Many times the same bytes.
    Flood(&'static [u8], usize),
    /// Byte by byte, each after so many milliseconds.
    Drip(&'static [u8], u64),
    Wait(u64),
    Close,
    /// The end of TLS, and of the connection.
    CloseNotify,
    Reset,
    /// Nothing more, until the caller has its answer.
    Hang,
    /// A frame of HTTP/2 on the request's stream: type, flags, payload.
    Frame(u8, u8, &'static [u8]),
    /// GOAWAY: the last stream, counted from the request's, and the error code.
    GoAway(i32, u8),
}

/// What the caller gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expect {
    /// A problem of the proxy's own: status and code.
    Refused(u16, &'static str),
    /// An answer with this status whose body visibly breaks off.
    Broken(u16),
    /// A whole answer.
    Whole(u16, &'static [u8]),
}

/// One faulty upstream.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) family: Family,
    pub(crate) about: &'static str,
    /// RFC and section.
    pub(crate) rfc: &'static str,
    pub(crate) over: Over,
    pub(crate) method: Method,
    /// The connection has served a good request before.
    pub(crate) warm: bool,
    /// What comes on it after that, before the faulty request.
    pub(crate) idle: Vec<Step>,
    /// What comes with the handshake; over HTTP/2 the payload of its SETTINGS.
    pub(crate) greeting: &'static [u8],
    /// What comes in the place of the first answer; what arrives again gets a good one.
    pub(crate) script: Vec<Step>,
    pub(crate) expect: Expect,
    /// How often the request arrives.
    pub(crate) arrived: usize,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {} ({:?}, {:?}, RFC {})", self.family, self.about, self.method, self.over, self.rfc)
    }
}

/// A ServerHello of TLS 1.1 (RFC 4346 section 7.4.1.3): version 3.2, a random of zeros, no session, one suite.
pub(crate) const TLS_1_1: &[u8] = b"\x16\x03\x02\x00\x2a\x02\x00\x00\x26\x03\x02\
    \0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x00\xc0\x13\x00";

const TIMEOUTS: &str = "[timeouts]\nupstream = \"4s\"\nconnect = \"4s\"";
const SCOPES: &str = "scopes = [\"monitoring\", \"management\"]";
/// The healthy request, and its answer.
pub(crate) const HEALTHY: (&str, &[u8]) = ("/v2/groups", b"[\"healthy\"]");

/// A caller's connection, which is opened again when it broke.
struct Caller<'a> {
    proxy: &'a Proxy,
    stream: Option<TcpStream>,
}

impl Caller<'_> {
    fn ask(&mut self, method: &str, path: &str, body: &str) -> Reply {
        let proxy = self.proxy;
        let stream = self.stream.get_or_insert_with(|| connect(proxy.address));
        let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{length}\r\n{body}");
        stream.write_all(request.as_bytes()).expect("a request");
        let reply = Reply::read(stream, method == "HEAD");
        if !reply.whole || reply.head.is_empty() || reply.header("connection") == "close" {
            self.stream = None;
        }
        reply
    }

    fn is_healthy(&mut self) -> Result<(), String> {
        let reply = self.ask("GET", HEALTHY.0, "");
        let good = reply.status == 200 && reply.body == HEALTHY.1;
        if good { Ok(()) } else { Err(format!("a healthy request got {reply:?}")) }
    }
}

/// However a connection failed, it is not counted any more once nobody uses it.
fn all_end(mut proxy: Proxy) -> Result<(), String> {
    proxy.reconfigure(SCOPES, "[timeouts]\nconnect = \"3s\"")?;
    let count = || ["http/1.1", "h2"].map(|protocol| connections(proxy.admin, protocol));
    eventually("no connection is counted", || count() == [0.0, 0.0]);
    Ok(())
}

impl Row {
    fn settings(&self) -> &'static [u8] {
        if self.over == Over::Http2 { self.greeting } else { b"" }
    }

    /// Holds the proxy against the row.
    fn run(&self) -> Result<(), String> {
        let server = Server::start(self.clone());
        let proxy = Proxy::start(&server.instance(), SCOPES, TIMEOUTS);
        // One connection of the caller's stays with one worker, and so with one pool.
        let mut caller = Caller { proxy: &proxy, stream: None };
        if self.warm {
            caller.is_healthy()?;
        }
        if !self.idle.is_empty() {
            eventually("the idle connection's fault", || server.has_idled());
        }
        let (method, path, body) = self.method.parts();
        let begun = Instant::now();
        let reply = caller.ask(method, path, body);
        let took = begun.elapsed();
        server.heal();
        self.judge(&reply)?;
        if self.family == Family::Surplus && self.arrived > 0 {
            // What comes only after the next request has gone up cannot be told from its answer, by anybody.
            eventually("the script ends", || server.has_played());
        }
        if took > Duration::from_secs(16) {
            return Err(format!("it took {took:?}"));
        }
        let arrived = server.arrived();
        if arrived != self.arrived {
            return Err(format!("it arrived {arrived} times, not {}", self.arrived));
        }
        caller.is_healthy()?;
        for _ in 0..2 {
            Caller { proxy: &proxy, stream: None }.is_healthy()?;
        }
        match server.arrived() {
            again if again == arrived => all_end(proxy),
            again => Err(format!("it arrived again later: {again} times")),
        }
    }

    fn judge(&self, reply: &Reply) -> Result<(), String> {
        let evil = format!("{}{}", reply.head, String::from_utf8_lossy(&reply.body)).to_ascii_lowercase();
        if evil.contains("evil") && !matches!(self.expect, Expect::Broken(_)) {
            return Err(format!("what must not be passed on was: {reply:?}"));
        }
        let good = match self.expect {
            // The answer to HEAD has no problem in its body.
            Expect::Refused(status, code) if self.method == Method::Head => {
                reply.status == status && reply.header("proxy-status").ends_with(&format!("details=\"{code}\""))
            }
            Expect::Refused(status, code) => reply.status == status && reply.whole && reply.code() == code,
            // On Windows, a reset discards the head that came before it.
            Expect::Broken(status) => {
                let lost = cfg!(windows) && reply.status == 502 && reply.whole && reply.code() == "upstream-broken";
                lost || (reply.status == status && !reply.whole)
            }
            Expect::Whole(status, body) => {
                let body = if self.method == Method::Head { b"" } else { body };
                reply.status == status && reply.whole && reply.body == body
            }
        };
        if good { Ok(()) } else { Err(format!("expected {:?}, got {reply:?}", self.expect)) }
    }
}

#[test]
fn each_row_of_the_table_of_faulty_upstreams_holds() {
    let rows = rows::all();
    let only = std::env::var("FAULT").unwrap_or_default();
    let rows: Vec<Row> = rows.into_iter().filter(|row| row.to_string().contains(&only)).collect();
    let (next, failures, begun) = (AtomicUsize::new(0), Mutex::new(Vec::new()), Instant::now());
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                while let Some(row) = rows.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = std::panic::catch_unwind(|| row.run()).unwrap_or(Err("it panicked".to_owned()));
                    if let Err(reason) = outcome {
                        failures.lock().expect("a lock").push(format!("{row}\n    {reason}"));
                    }
                }
            });
        }
    });
    let mut counts = BTreeMap::<Family, usize>::new();
    rows.iter().for_each(|row| *counts.entry(row.family).or_default() += 1);
    println!("{} rows in {:?}: {counts:?}", rows.len(), begun.elapsed());
    let failures = failures.into_inner().expect("a lock");
    assert!(failures.is_empty(), "{} rows do not hold:\n{}", failures.len(), failures.join("\n"));
    assert!(!only.is_empty() || rows.len() >= 200, "{} rows", rows.len());
}

/// An upstream over HTTP/2 whose first connection answers nothing any more, PING included.
fn dead(method: Method, greeting: &'static [u8]) -> Row {
    let (family, script, expect) = (Family::Silence, vec![Step::Hang], Expect::Whole(200, rows::BODY));
    let (about, rfc, over, idle) = ("dead", "9113-6.7", Over::Http2, vec![]);
    Row { family, about, rfc, over, method, warm: true, idle, greeting, script, expect, arrived: 2 }
}

#[test]
fn a_dead_connection_of_http_2_is_noticed_long_before_the_answer_is_late() {
    for (method, arrived, status) in [(Method::Get, 2, 200), (Method::Post, 1, 502)] {
        let server = Server::start(dead(method, b""));
        let timeouts = "[timeouts]\nupstream = \"19s\"\nconnect = \"2s\"";
        let proxy = Proxy::start(&server.instance(), SCOPES, timeouts);
        let mut caller = Caller { proxy: &proxy, stream: None };
        assert_eq!(caller.is_healthy(), Ok(()));
        let begun = Instant::now();
        let (name, path, body) = method.parts();
        let reply = caller.ask(name, path, body);
        let took = begun.elapsed();
        server.heal();
        assert_eq!((reply.status, server.arrived()), (status, arrived), "{reply:?}");
        assert!(took < Duration::from_secs(16), "{took:?}");
    }
}

#[test]
fn a_request_does_not_wait_for_the_streams_that_a_server_allows() {
    // SETTINGS_MAX_CONCURRENT_STREAMS is 1 (RFC 9113 section 6.5.2), and the one stream hangs.
    let server = Server::start(dead(Method::Get, b"\0\x03\0\0\0\x01"));
    let proxy = Proxy::start(&server.instance(), SCOPES, "[timeouts]\nupstream = \"19s\"");
    let mut caller = Caller { proxy: &proxy, stream: None };
    assert_eq!(caller.is_healthy(), Ok(()));
    let begun = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| caller.ask("GET", "/v2/devices", ""));
        eventually("the request hangs", || server.arrived() == 1);
        for _ in 0..20 {
            assert_eq!(Caller { proxy: &proxy, stream: None }.ask("GET", "/v2/devices", "").status, 200);
        }
        assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
        server.heal();
    });
}

/// Uploads a large body, which is answered at once, and of which nothing more is taken.
fn upload_that_nobody_takes(instance: &str) {
    let timeouts = "[timeouts]\nupstream = \"3s\"\nconnect = \"19s\"";
    let mut proxy = Proxy::start(instance, SCOPES, timeouts);
    let mut stream = connect(proxy.address);
    let head = format!("POST /v2/organizations HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", 1u64 << 30);
    stream.write_all(head.as_bytes()).expect("a head");
    let mut caller = stream.try_clone().expect("a socket");
    let writer = thread::spawn(move || {
        while caller.write_all(&[b' '; 65_536]).is_ok() {}
        Instant::now()
    });
    assert_eq!(Reply::read(&mut stream, false).status, 413);
    let begun = Instant::now();
    let late = || metric(proxy.admin, "ninjaone_proxy_upstream_late_uploads{instance=\"main\"}");
    eventually("it is counted", || late() > 0.0);
    let took = writer.join().expect("no panic").saturating_duration_since(begun);
    assert!(took < Duration::from_secs(16), "{took:?}");
    eventually("it is counted no more", || late() == 0.0);
    let begun = Instant::now();
    proxy.shut_down().join().expect("an end");
    assert!(begun.elapsed() < Duration::from_secs(16), "{:?}", begun.elapsed());
}

#[test]
fn an_upload_that_was_answered_and_that_nobody_takes_holds_neither_its_caller_nor_the_end() {
    // HEADERS with END_HEADERS and END_STREAM; there is room for 64 KiB of the body, and never more.
    let over_http_2 = vec![Step::Frame(1, 0x5, b"\x08\x03413"), Step::Hang];
    let server = Server::start(Row { warm: false, script: over_http_2, ..dead(Method::Post, b"") });
    upload_that_nobody_takes(&server.instance());
    server.heal();
    let (heal, healed) = std::sync::mpsc::channel::<()>();
    let healed = Mutex::new(healed);
    let over_http_1 = Scripted::start(move |mut asked| {
        asked.answer("HTTP/1.1 413 X\r\nContent-Length: 2\r\n\r\n{}");
        let _ = healed.lock().expect("a lock").recv();
        Then::Close
    });
    upload_that_nobody_takes(&over_http_1.instance());
    drop(heal);
}

#[test]
fn an_instance_that_allows_one_stream_at_a_time_serves_many_callers() {
    let served = Arc::new(AtomicUsize::new(0));
    let proxy = Proxy::start(&server::with_streams(1, Arc::clone(&served)), SCOPES, "");
    let begin = Barrier::new(30);
    thread::scope(|scope| {
        for _ in 0..30 {
            scope.spawn(|| {
                begin.wait();
                for _ in 0..3 {
                    let reply = proxy.get("/v2/devices");
                    assert_eq!(reply.status, 200, "{reply:?}");
                }
            });
        }
    });
    assert_eq!(served.load(Ordering::SeqCst), 90, "each request was served once");
}

/// The bytes of the rows that are spoken over HTTP/1.1.
fn bytes(row: &Row) -> Vec<u8> {
    let sent = row.script.iter().flat_map(|step| match step {
        Step::Send(bytes) | Step::Drip(bytes, _) => vec![*bytes],
        Step::Flood(bytes, times) => vec![*bytes; (*times).min(200)],
        Step::Frame(..) | Step::GoAway(..) | Step::Wait(_) => vec![],
        Step::Close | Step::CloseNotify | Step::Reset | Step::Hang => vec![],
    });
    sent.flatten().copied().collect()
}

#[test]
fn what_is_taken_for_an_answer_is_the_one_that_is_written_there() {
    let seeds: Vec<Vec<u8>> = {
        let rows = rows::all();
        rows.iter().filter(|row| row.over != Over::Http2).map(bytes).filter(|bytes| !bytes.is_empty()).collect()
    };
    let taken = seeds.iter().filter(|bytes| replies::hold(bytes)).count();
    assert!(taken > 20 && taken < seeds.len() / 2, "{taken} of {} are answers", seeds.len());
    // A row, cut, with a few bytes changed and another row's bytes after it.
    let change = (any::<prop::sample::Index>(), prop::sample::select(b"\r\n :;,+-0159aftxCT\0\t\xff".to_vec()));
    let row = || prop::sample::select(seeds.clone());
    let mutated = (row(), row(), any::<prop::sample::Index>(), prop::collection::vec(change, 0..4)).prop_map(
        |(mut bytes, other, cut, changes)| {
            for (place, byte) in changes {
                let place = place.index(bytes.len().max(1));
                bytes.splice(place..=place, [byte]);
            }
            bytes.truncate(cut.index(bytes.len() + 1).max(bytes.len() / 2));
            bytes.extend(other);
            bytes
        },
    );
    TestRunner::new(Config { cases: 2000, failure_persistence: None, ..Config::default() })
        .run(&mutated, |bytes| {
            replies::hold(&bytes);
            Ok(())
        })
        .expect("no answer that is not there");
}
