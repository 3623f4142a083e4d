//! Callers that do not read, or break the rules of HTTP/2: what they may cost, and how it comes back.

use std::future::poll_fn;
use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use http::{Request, Response};

use crate::encrypted::{Authority, localhost};
use crate::harness::{Asked, PATIENCE, Proxy, Reply, Scripted, Then, answer, connect, eventually, request};

/// An instance whose answers have no end.
fn endless() -> Scripted {
    Scripted::start(|asked| {
        let Asked { stream, head, .. } = asked;
        if head.contains("/v2/organizations") {
            let _ = stream.write_all(answer("200 OK", "[]").as_bytes());
            return Then::Continue;
        }
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\n");
        let piece = [b' '; 1 << 16];
        while stream.write_all(&piece).is_ok() {}
        Then::Close
    })
}

fn ask(proxy: &Proxy, path: &str) -> TcpStream {
    let mut stream = connect(proxy.address);
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("a request");
    stream
}

#[test]
fn answers_that_nobody_reads_take_the_buffers_and_no_more_and_give_them_back() {
    let server = endless();
    let rest = "[limits]\nbuffers = \"4MiB\"\n[timeouts]\nclient = \"6s\"";
    let proxy = Proxy::start(&server.instance(), "", rest);
    let callers: Vec<_> = (0..30).map(|_| ask(&proxy, "/v2/devices")).collect();
    eventually("all have been answered", || {
        let metrics = request(proxy.admin, "GET", "/metrics", "", b"").body;
        String::from_utf8_lossy(&metrics).contains("code=\"buffers-full\"")
    });
    let small = proxy.get("/v2/organizations");
    assert_eq!((small.status, &*small.body), (200, &b"[]"[..]), "small answers still pass");
    eventually("those that do not read are ended", || {
        let mut stream = ask(&proxy, "/v2/devices");
        let mut head = [0; 12];
        std::io::Read::read_exact(&mut stream, &mut head).is_ok() && head.ends_with(b"200")
    });
    drop(callers);
}

#[test]
fn callers_that_do_not_read_give_their_connections_back() {
    let server = endless();
    let rest = "[limits]\nconnections = 2\n[timeouts]\nclient = \"1s\"";
    let proxy = Proxy::start(&server.instance(), "", rest);
    let _hogs = [ask(&proxy, "/v2/devices"), ask(&proxy, "/v2/devices")];
    eventually("both are served", || server.api_requests() == 2);
    assert_eq!(Reply::read(&mut ask(&proxy, "/v2/organizations"), false).status, 200);
}

/// A connection of a caller over HTTP/2 that offers each answer a window of this size.
async fn http_2(proxy: &Proxy, authority: &Authority, window: u32) -> SendRequest<Bytes> {
    let mut config = authority.client(None);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = tokio::net::TcpStream::connect(proxy.address).await.expect("a connection");
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = connector.connect(localhost(), stream).await.expect("a handshake");
    let mut builder = h2::client::Builder::new();
    let handshake = builder.initial_window_size(window).handshake::<_, Bytes>(stream);
    let (sender, connection) = handshake.await.expect("HTTP/2");
    tokio::spawn(connection);
    sender
}

fn get(path: &str) -> http::request::Builder {
    Request::get(format!("https://localhost{path}"))
}

/// Sends a request without a body.
async fn send(sender: &SendRequest<Bytes>, request: http::request::Builder) -> ResponseFuture {
    let mut sender = sender.clone().ready().await.expect("a stream");
    sender.send_request(request.body(()).expect("a request"), true).expect("a request").0
}

async fn status(answer: ResponseFuture) -> u16 {
    tokio::time::timeout(PATIENCE, answer).await.expect("in time").map_or(0, |answer| answer.status().as_u16())
}

fn within<F: Future>(work: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(work)
}

#[test]
fn a_stream_whose_caller_opens_no_window_is_reset_and_gives_its_slot_back() {
    let (authority, server) = (Authority::new(), endless());
    authority.write_identity("first");
    let rest = "[timeouts]\nclient = \"1s\"\n[instances.main.rate]\nconcurrent = 1";
    let proxy = Proxy::start(&server.instance(), &authority.listener(""), rest);
    within(async {
        let sender = http_2(&proxy, &authority, 10).await;
        let hog = send(&sender, get("/v2/devices")).await.await.expect("a head");
        let mut hog: h2::RecvStream = hog.into_body();
        // It waits for the slot meanwhile.
        let other = send(&sender, get("/v2/organizations")).await;
        let mut read = 0;
        let ended = loop {
            match hog.data().await {
                Some(Ok(data)) => read += data.len(),
                Some(Err(error)) => break error.reason(),
                None => break None,
            }
        };
        assert_eq!((ended, read), (Some(h2::Reason::CANCEL), 10));
        assert_eq!(status(other).await, 200);
    });
}

#[test]
fn a_stream_that_moves_slowly_goes_on() {
    let (authority, server) = (Authority::new(), endless());
    authority.write_identity("first");
    let proxy = Proxy::start(&server.instance(), &authority.listener(""), "[timeouts]\nclient = \"2s\"");
    within(async {
        let sender = http_2(&proxy, &authority, 10).await;
        let answer: Response<h2::RecvStream> = send(&sender, get("/v2/devices")).await.await.expect("a head");
        let (mut body, begun) = (answer.into_body(), Instant::now());
        while begun.elapsed() < Duration::from_secs(5) {
            let data = body.data().await.expect("more").expect("no reset");
            tokio::time::sleep(Duration::from_millis(200)).await;
            body.flow_control().release_capacity(data.len()).expect("a window");
        }
    });
}

#[test]
fn a_head_over_http_2_has_the_limits_of_one_over_http_1() {
    let authority = Authority::new();
    let proxy = authority.proxy("", "[limits]\nheaders = 20");
    within(async {
        let sender = http_2(&proxy, &authority, 65_535).await;
        let with = |count: usize| (0..count).fold(get("/v2/organizations"), |r, n| r.header(format!("x-{n}"), "1"));
        for (fields, expected) in [(20, 200), (21, 431), (304, 431)] {
            assert_eq!(status(send(&sender, with(fields)).await).await, expected, "{fields} fields");
        }
        let doubled = get("/v2/organizations").method("POST").header("content-length", "2");
        let mut ready = sender.clone().ready().await.expect("a stream");
        let request = doubled.header("content-length", "2").body(()).expect("a request");
        let (answer, mut body) = ready.send_request(request, false).expect("a request");
        body.send_data(Bytes::from_static(b"{}"), true).expect("a body");
        assert_eq!(status(answer).await, 400);
        assert_eq!(status(send(&sender, get("/v2/organizations")).await).await, 200, "the connection goes on");
    });
    assert_eq!(proxy.count("api_requests"), 2);
}

#[test]
fn expect_over_http_2_gets_an_interim_answer_when_the_body_is_wanted_or_a_final_one() {
    let authority = Authority::new();
    let proxy = authority.proxy("", "");
    within(async {
        let sender = http_2(&proxy, &authority, 65_535).await;
        for (path, expected) in [("/v2/organizations", 201), ("/v2/nothing", 404)] {
            let request = get(path).method("POST").header("expect", "100-Continue").header("content-length", "12");
            let mut ready = sender.clone().ready().await.expect("a stream");
            let request = request.body(()).expect("a request");
            let (mut answer, mut body) = ready.send_request(request, false).expect("a request");
            if expected < 300 {
                let interim = tokio::time::timeout(PATIENCE, poll_fn(|cx| answer.poll_informational(cx)));
                let interim = interim.await.expect("in time").expect("one").expect("an interim answer");
                assert_eq!(interim.status(), 100);
                body.send_data(Bytes::from_static(b"{\"name\":\"x\"}"), true).expect("a body");
            }
            assert!([expected, 200].contains(&status(answer).await), "{path}");
        }
    });
}
