//! Floods of HTTP/2 frames, and an instance that comes and goes: each costs the one who sends it, and nobody else.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustls::{ClientConnection, StreamOwned};

use crate::encrypted::{Authority, localhost};
use crate::harness::{Proxy, Reply, Scripted, Then, answer, connect, read_body};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// More streams than the buffers of the system take while the proxy gets no time to read: 30 MB of frames.
const STREAMS: u32 = 300_000;
/// RFC 9113 section 7.
const ENHANCE_YOUR_CALM: u32 = 11;

/// How a connection ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The proxy sent GOAWAY with this error code.
    GoAway(u32),
    /// It was closed without one.
    Closed,
}

/// A connection over TLS on which frames are written by hand.
struct Frames(StreamOwned<ClientConnection, TcpStream>);

impl Frames {
    fn open(proxy: &Proxy, authority: &Authority) -> Self {
        let mut config = authority.client(None);
        config.alpn_protocols = vec![b"h2".to_vec()];
        let session = ClientConnection::new(Arc::new(config), localhost()).expect("a session");
        let mut frames = Self(StreamOwned::new(session, connect(proxy.address)));
        frames.0.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").expect("a preface");
        assert!(frames.send(SETTINGS, 0, 0, &[]));
        frames
    }

    /// Whether the frame could be written.
    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        let length = u32::try_from(payload.len()).expect("a length").to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags];
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend_from_slice(payload);
        self.0.write_all(&frame).and_then(|()| self.0.flush()).is_ok()
    }

    /// The next frame: its kind, stream and payload.
    fn read(&mut self) -> Option<(u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & (u32::MAX >> 1);
        let mut payload = vec![0; length];
        self.0.read_exact(&mut payload).ok()?;
        Some((head[3], stream, payload))
    }

    /// Reads until the proxy ends the connection.
    fn end(&mut self) -> End {
        let mut end = End::Closed;
        while let Some((kind, _, payload)) = self.read() {
            if kind == GOAWAY {
                end = End::GoAway(u32::from_be_bytes(payload[4..8].try_into().expect("a code")));
            }
        }
        end
    }
}

/// A field that is not indexed (RFC 7541 section 6.2.2).
fn literal(name: &str, value: &str) -> Vec<u8> {
    let mut field = vec![0];
    for text in [name, value] {
        field.push(u8::try_from(text.len()).ok().filter(|length| *length < 127).expect("a short text"));
        field.extend_from_slice(text.as_bytes());
    }
    field
}

fn get(path: &str) -> Vec<u8> {
    [(":method", "GET"), (":scheme", "https"), (":path", path), (":authority", "localhost")]
        .iter()
        .flat_map(|(name, value)| literal(name, value))
        .collect()
}

/// Somebody else on the same listener is served.
fn others_are_served(proxy: &Proxy, authority: &Authority) {
    let session = ClientConnection::new(Arc::new(authority.client(None)), localhost()).expect("a session");
    let mut stream = StreamOwned::new(session, connect(proxy.address));
    stream.write_all(b"GET /v2/organizations HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("a request");
    assert_eq!(Reply::read(&mut stream, false).status, 200);
}

/// A listener with TLS, in front of the sandbox.
fn proxy() -> (Proxy, Authority) {
    let authority = Authority::new();
    (authority.proxy("", ""), authority)
}

#[test]
fn streams_that_are_reset_at_once_end_their_connection() {
    let (proxy, authority) = proxy();
    let mut frames = Frames::open(&proxy, &authority);
    let request = get("/v2/devices");
    let sent = (0..STREAMS)
        .map(|number| number * 2 + 1)
        .take_while(|stream| {
            frames.send(HEADERS, END_HEADERS | END_STREAM, *stream, &request)
                && frames.send(RST_STREAM, 0, *stream, &8u32.to_be_bytes())
        })
        .count();
    assert!(sent < STREAMS as usize, "the proxy took {sent} of them");
    others_are_served(&proxy, &authority);
    let asked = proxy.count("api_requests");
    assert!(asked < 1000, "{asked} of {sent} reset requests went up");
}

#[test]
fn streams_that_the_proxy_must_reset_end_their_connection() {
    let (proxy, authority) = proxy();
    let mut frames = Frames::open(&proxy, &authority);
    // The request is left open, then the window overflows (RFC 9113 section 6.9.1): the proxy resets the stream.
    let (request, overflow) = (get("/v2/devices"), (u32::MAX >> 1).to_be_bytes());
    let sent = (0..STREAMS)
        .map(|number| number * 2 + 1)
        .take_while(|stream| {
            frames.send(HEADERS, END_HEADERS, *stream, &request) && frames.send(WINDOW_UPDATE, 0, *stream, &overflow)
        })
        .count();
    assert!(sent < STREAMS as usize, "the proxy took {sent} of them");
    others_are_served(&proxy, &authority);
}

#[test]
fn a_head_that_goes_on_and_on_ends_its_connection() {
    let (proxy, authority) = proxy();
    let mut frames = Frames::open(&proxy, &authority);
    assert!(frames.send(HEADERS, END_STREAM, 1, &get("/v2/devices")));
    let piece: Vec<u8> = std::iter::repeat_with(|| literal("x-flood", &"f".repeat(100))).take(140).flatten().collect();
    let sent = (0..4096).take_while(|_| frames.send(CONTINUATION, 0, 1, &piece)).count();
    assert!(sent < 4096, "the proxy took {} MiB of a head", (sent * piece.len()) >> 20);
    assert!(matches!(frames.end(), End::GoAway(ENHANCE_YOUR_CALM) | End::Closed));
    others_are_served(&proxy, &authority);
    assert_eq!(proxy.count("api_requests"), 1, "only that of the other caller");
}

#[test]
fn empty_pieces_of_a_head_end_its_connection() {
    let (proxy, authority) = proxy();
    let mut frames = Frames::open(&proxy, &authority);
    assert!(frames.send(HEADERS, END_STREAM, 1, &get("/v2/devices")));
    let sent = (0..1_000_000).take_while(|_| frames.send(CONTINUATION, 0, 1, &[])).count();
    assert!(sent < 1_000_000, "the proxy took {sent} of them");
    others_are_served(&proxy, &authority);
}

#[test]
fn a_head_that_grows_when_it_is_unpacked_is_refused() {
    let (proxy, authority) = proxy();
    let mut frames = Frames::open(&proxy, &authority);
    // One field of 3 KB goes into the dynamic table (RFC 7541 section 6.2.1), and is then named 8000 times by one byte.
    let mut head = get("/v2/devices");
    head.extend_from_slice(&[0x40, 6]);
    head.extend_from_slice(b"x-bomb");
    // A length of 3000, in the prefix of 7 bits and two bytes.
    head.extend_from_slice(&[0x7f, 0xb9, 0x16]);
    head.extend_from_slice(&[b'b'; 3000]);
    head.extend(std::iter::repeat_n(0x80 | 62, 8000));
    assert!(frames.send(HEADERS, END_HEADERS | END_STREAM, 1, &head));
    let mut status = None;
    while let Some((kind, stream, payload)) = frames.read() {
        match (kind, stream) {
            // 431 is no entry of the static table: the answer's first field is a literal `:status`.
            (HEADERS, 1) => status = Some(payload.windows(3).any(|digits| digits == b"431") || payload[0] != 0x88),
            (RST_STREAM, 1) | (GOAWAY, 0) => status = Some(true),
            _ => continue,
        }
        break;
    }
    assert_eq!(status, Some(true), "it is refused");
    others_are_served(&proxy, &authority);
    assert_eq!(proxy.count("api_requests"), 1, "only that of the other caller");
}

#[test]
fn floods_of_frames_that_want_an_answer_wait_for_their_reader() {
    for (kind, payload) in [(SETTINGS, &[][..]), (PING, &[7; 8])] {
        let (proxy, authority) = proxy();
        let mut frames = Frames::open(&proxy, &authority);
        let mut ended = false;
        for _ in 0..20 {
            ended = ended || !(0..500).all(|_| frames.send(kind, 0, 0, payload));
            others_are_served(&proxy, &authority);
        }
        // Either all were answered, or the connection was ended for it.
        let mut acknowledged = 0;
        while !ended && acknowledged < 10_000 {
            match frames.read() {
                Some((found, 0, _)) if found == kind => acknowledged += 1,
                Some((GOAWAY, ..)) | None => ended = true,
                Some(_) => {}
            }
        }
        assert!(ended || acknowledged == 10_000, "{acknowledged} frames of kind {kind} were answered");
    }
}

#[test]
fn data_of_no_length_ends_its_connection_or_is_taken_at_no_cost() {
    let (proxy, authority) = proxy();
    let mut frames = Frames::open(&proxy, &authority);
    assert!(frames.send(HEADERS, END_HEADERS, 1, &get("/v2/organizations")));
    for _ in 0..20 {
        if !(0..1000).all(|_| frames.send(DATA, 0, 1, &[])) {
            break;
        }
        others_are_served(&proxy, &authority);
    }
}

#[test]
fn an_instance_that_comes_and_goes_gets_no_write_twice() {
    let seen: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
    let (count, writes) = (AtomicUsize::new(0), Arc::clone(&seen));
    let server = Scripted::start(move |mut asked| {
        let body = read_body(&asked.head, asked.stream);
        let body = String::from_utf8_lossy(&body);
        if let Some(id) = body.strip_prefix("{\"id\":\"").and_then(|rest| rest.split('"').next()) {
            *writes.lock().expect("no panic").entry(id.to_owned()).or_default() += 1;
        }
        // It goes in the midst of an exchange, after it, or not.
        let number = count.fetch_add(1, Ordering::Relaxed);
        match number.wrapping_mul(2_654_435_761) >> 16 & 7 {
            0 => Then::Close,
            1 => {
                let _ = asked.stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[");
                Then::Close
            }
            2 => {
                asked.answer(&answer("200 OK", "[]"));
                Then::Close
            }
            _ => {
                asked.answer(&answer("200 OK", "[]"));
                Then::Continue
            }
        }
    });
    let proxy = Proxy::start(&server.instance(), "scopes = [\"monitoring\", \"management\"]", "");
    let begun = Instant::now();
    let (mut sent, mut statuses) = (0, HashMap::<u16, usize>::new());
    while sent < 600 && begun.elapsed() < Duration::from_secs(60) {
        let reply = if sent % 2 == 0 {
            proxy.get("/v2/organizations")
        } else {
            let body = format!("{{\"id\":\"w{sent}\"}}");
            proxy.send("POST", "/v2/organizations", "content-type: application/json\r\n", body.as_bytes())
        };
        assert!(reply.status != 200 || !reply.whole || reply.body == b"[]", "a wrong answer: {:?}", reply.body);
        *statuses.entry(reply.status).or_default() += 1;
        sent += 1;
    }
    assert!(statuses.keys().all(|status| [200, 502].contains(status)), "{statuses:?}");
    assert!(statuses[&200] > sent / 2 && statuses.get(&502).is_some_and(|broken| *broken > 10), "{statuses:?}");
    let seen = seen.lock().expect("no panic");
    assert!(seen.len() > 200 && seen.values().all(|times| *times == 1), "a write arrived twice: {seen:?}");
}
