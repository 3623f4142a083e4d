//! What the stages around the policy cost a request, in time and in memory: `cargo bench --bench stages`.

#![allow(clippy::expect_used, reason = "a measurement that cannot go on shall end there and say why")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::pin::pin;
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use divan::{AllocProfiler, Bencher, black_box};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, Uri};
use http_body_util::Full;
use ninjaone_proxy::base::clock::Moment;
use ninjaone_proxy::base::secret::Secret;
use ninjaone_proxy::base::secret::source::SecretSource;
use ninjaone_proxy::net::dial::Route;
use ninjaone_proxy::net::dial::connect::Connector;
use ninjaone_proxy::net::listener::{self, ConnectionConfig, ConnectionLimits, ListeningSocket, Peer, Slots};
use ninjaone_proxy::net::shutdown;
use ninjaone_proxy::proxy::authn::callers::{CallerProofs, Callers};
use ninjaone_proxy::proxy::authn::key::KeyHash;
use ninjaone_proxy::proxy::authn::local_tokens::{LocalTokens, TokenRequest};
use ninjaone_proxy::proxy::authn::{Authn, AuthnConfig, Caller};
use ninjaone_proxy::proxy::headers;
use ninjaone_proxy::proxy::policy::catalog::{Catalog, Scope};
use ninjaone_proxy::proxy::policy::{Groups, InstanceId, Judgment, Policy, Rules};
use ninjaone_proxy::proxy::token::credentials::Credentials;
use ninjaone_proxy::proxy::token::endpoint::{ClientAuthMethod, Endpoint};
use ninjaone_proxy::proxy::token::{TokenSource, Tokens};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Semaphore, watch};

#[global_allocator]
static MEMORY: AllocProfiler = AllocProfiler::system();

const PATIENCE: Duration = Duration::from_secs(10);

/// As `curl` asks, with what libraries add.
const REQUEST: [(&str, &str); 6] = [
    ("host", "localhost:8080"),
    ("user-agent", "python-requests/2.32.3"),
    ("accept-encoding", "gzip, deflate"),
    ("accept", "application/json"),
    ("connection", "keep-alive"),
    ("authorization", "Bearer what-the-tool-was-set-to"),
];

/// As a browser asks from a page of its own origin.
const BROWSER: [(&str, &str); 12] = [
    ("host", "localhost:8080"),
    ("connection", "keep-alive"),
    ("sec-ch-ua-platform", "\"Linux\""),
    (
        "user-agent",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
    ),
    ("accept", "*/*"),
    ("sec-fetch-site", "same-origin"),
    ("sec-fetch-mode", "cors"),
    ("sec-fetch-dest", "empty"),
    ("referer", "http://localhost:8080/v2/devices"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("accept-language", "en-GB,en;q=0.9"),
    ("cookie", "theme=dark; session=0123456789abcdef"),
];

/// As an instance behind a load balancer answers.
const RESPONSE: [(&str, &str); 12] = [
    ("date", "Sun, 22 Nov 2026 00:39:38 GMT"),
    ("content-type", "application/json"),
    ("content-length", "1024"),
    ("connection", "keep-alive"),
    ("set-cookie", "AWSALB=0123456789abcdef; Expires=Sun, 29 Nov 2026 00:39:38 GMT; Path=/"),
    ("set-cookie", "AWSALBCORS=0123456789abcdef; Expires=Sun, 29 Nov 2026 00:39:38 GMT; Path=/; SameSite=None; Secure"),
    ("cache-control", "no-cache, no-store, max-age=0, must-revalidate"),
    ("strict-transport-security", "max-age=31536000; includeSubDomains"),
    ("x-content-type-options", "nosniff"),
    ("access-control-allow-origin", "*"),
    ("vary", "Origin"),
    ("server", "nginx"),
];

fn main() {
    divan::main();
}

/// Perimeter and caller, where nobody has to prove who he is.
#[divan::bench]
fn guard_without_callers(bencher: Bencher) {
    admit(bencher, &guard(0), &head(&REQUEST));
}

#[divan::bench]
fn guard_of_a_browser(bencher: Bencher) {
    admit(bencher, &guard(0), &head(&BROWSER));
}

/// The key is that of the last of so many callers.
#[divan::bench(args = [1, 10, 100, 1000])]
fn guard_with_key(bencher: Bencher, callers: usize) {
    let key = key(callers - 1);
    let mut lines = REQUEST;
    lines[5] = ("x-api-key", &key);
    admit(bencher, &guard(callers), &head(&lines));
}

/// The same by a token of the local token endpoint.
#[divan::bench(args = [1, 10, 100, 1000])]
fn guard_with_local_token(bencher: Bencher, callers: usize) {
    let guard = guard(callers);
    let visitor = guard.admit(peer(), &head(&REQUEST)).expect("a visitor");
    let last = callers - 1;
    let form = format!("grant_type=client_credentials&client_id={last}&client_secret={}", key(last));
    let asked = TokenRequest::read(&HeaderMap::new(), &Uri::from_static("/ws/oauth/token"), form.as_bytes());
    let token = guard.grant_token(&visitor, &asked).expect("a token").token;
    let bearer = format!("Bearer {token}");
    let mut lines = REQUEST;
    lines[5] = ("authorization", &bearer);
    admit(bencher, &guard, &head(&lines));
}

#[divan::bench]
fn clean_request(bencher: Bencher) {
    clean(bencher, &REQUEST, headers::clean_request);
}

#[divan::bench]
fn clean_request_of_a_browser(bencher: Bencher) {
    clean(bencher, &BROWSER, headers::clean_request);
}

#[divan::bench]
fn clean_response(bencher: Bencher) {
    clean(bencher, &RESPONSE, headers::clean_response);
}

/// The bearer of the request before, which stands.
#[divan::bench]
fn token_at_hand(bencher: Bencher) {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let tokens = {
        let _inside = runtime.enter();
        Tokens::new(endpoint(), Arc::default(), PATIENCE, Moment::now, String::new())
    };
    let source = TokenSource::new(tokens);
    let rules = Rules {
        scopes: [Scope::Monitoring].into_iter().collect(),
        groups: Groups::Ordinary,
        allow: Vec::new(),
        deny: Vec::new(),
        organizations: None,
    };
    let catalog = Arc::new(Catalog::built_in().expect("a catalogue"));
    let policy = Policy::new(catalog, InstanceId(0), rules).expect("a policy");
    let caller = enter(&guard(0), peer(), &head(&REQUEST));
    let judgment = policy.judge(caller, &Method::GET, &Uri::from_static("/v2/devices")).expect("a permit");
    let Judgment::Permitted(permit) = judgment else { panic!("there are no conditions") };
    runtime.block_on(source.bearer(&permit)).expect("a token");
    bencher.bench_local(|| {
        let bearer = pin!(source.bearer(black_box(&permit)));
        match bearer.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(bearer) => bearer.expect("a token").authorization(),
            Poll::Pending => panic!("the bearer is not at hand"),
        }
    });
}

fn admit(bencher: Bencher, guard: &Authn, head: &Parts) {
    let peer = peer();
    bencher.bench_local(|| enter(guard, peer.clone(), black_box(head)));
}

fn enter(guard: &Authn, peer: Peer, head: &Parts) -> Caller {
    let visitor = guard.admit(peer, head).expect("a visitor");
    guard.authenticate(visitor, &head.headers).expect("a caller").caller
}

fn clean(bencher: Bencher, lines: &[(&str, &str)], clean: fn(&mut HeaderMap)) {
    let headers = head(lines).headers;
    let count = headers.len();
    bencher.with_inputs(|| headers.clone()).bench_local_values(|mut headers| {
        clean(black_box(&mut headers));
        assert!(headers.len() < count);
        headers
    });
}

fn head(lines: &[(&str, &str)]) -> Parts {
    let (mut head, ()) = Request::new(()).into_parts();
    head.uri = Uri::from_static("/v2/devices?pageSize=100");
    for (name, value) in lines {
        let name: HeaderName = name.parse().expect("a name");
        head.headers.append(name, HeaderValue::from_str(value).expect("a value"));
    }
    head
}

fn key(caller: usize) -> String {
    format!("npk_0123456789abcdefghijklmnopqrstuvwxyzABCDEF-{caller}")
}

fn guard(callers: usize) -> Authn {
    let entry = |caller: usize| CallerProofs {
        name: caller.to_string(),
        key: Some(KeyHash::of(key(caller).as_bytes())),
        ..CallerProofs::default()
    };
    Authn::new(AuthnConfig {
        names: Vec::new(),
        port: Some(8080),
        tls: false,
        origins: Vec::new(),
        callers: Callers::new((0..callers).map(entry).collect()),
        issuer: Arc::new(LocalTokens::new().expect("a key")),
        head_size: 64 << 10,
        intercept: Vec::new(),
    })
}

/// Where a real request came from: only a listener can say that.
fn peer() -> Peer {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    socket.set_nonblocking(true).expect("a socket");
    let address = socket.local_addr().expect("an address");
    let (say, hear) = mpsc::channel();
    let (trigger, shutdown) = shutdown::channel();
    let listening = thread::spawn(move || {
        let limits = ConnectionLimits {
            head_time: PATIENCE,
            head_size: 64 << 10,
            header_count: 100,
            drain: PATIENCE,
            connections: Slots::Waiting(Arc::new(Semaphore::new(1))),
            buffers: Arc::new(listener::Buffers::new(1 << 20)),
        };
        let handle = move |peer: Peer, _| {
            say.send(peer).expect("somebody who listens");
            async { Response::new(Full::new(Bytes::new())) }
        };
        let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
        let (_keep, terms) =
            watch::channel(ConnectionConfig { listener: Arc::default(), tls: None, interception: None, limits });
        let served = listener::serve(ListeningSocket::Tcp(socket), terms, shutdown, handle, |_, _| Vec::new());
        runtime.expect("a runtime").block_on(served).expect("an end");
    });
    exchange(address, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    trigger.shut_down();
    listening.join().expect("an end");
    hear.recv_timeout(PATIENCE).expect("a peer")
}

fn exchange(address: SocketAddr, request: &str) {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.write_all(request.as_bytes()).expect("a request goes out");
    stream.read_to_end(&mut Vec::new()).expect("an answer");
}

/// A token endpoint in clear text that answers once.
fn endpoint() -> Endpoint {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("an address");
    thread::spawn(move || {
        let (mut stream, _) = socket.accept().expect("a connection");
        let _ = stream.read(&mut [0; 4096]);
        let grant = r#"{"access_token":"t","token_type":"Bearer","expires_in":3600}"#;
        let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", grant.len());
        stream.write_all((head + grant).as_bytes()).expect("an answer goes out");
        let _ = stream.read(&mut [0; 4096]);
    });
    let given = || SecretSource::Given(Secret::new("bench".to_owned()));
    let credentials = Arc::new(Credentials::read(given(), given()).expect("credentials"));
    let route = Route::new(address.ip().to_string(), address.port(), None);
    let authority = address.to_string().parse().expect("an authority");
    let connector = Connector::new(authority, None, route, PATIENCE).expect("a connector");
    let path = "/ws/oauth/token".parse().expect("a path");
    Endpoint::new(connector, path, ClientAuthMethod::Form, credentials, PATIENCE)
}
