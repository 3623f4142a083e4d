//! The admin and the probe listener answer however many connections others hold open.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::harness::{Proxy, Reply, connect, read_head};

/// Less than the listeners give an idle connection.
const SOON: Duration = Duration::from_secs(4);

fn ask(address: SocketAddr, request: &str) -> Reply {
    let mut stream = connect(address);
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
    stream.write_all(request.as_bytes()).expect("a request goes out");
    Reply::read(&mut stream, false)
}

/// Connections that ask nothing, and that never end their head.
fn hold(address: SocketAddr) -> Vec<TcpStream> {
    let mut held: Vec<_> = (0..300).map(|_| connect(address)).collect();
    for stream in held.iter_mut().step_by(2) {
        // It may have lost its place already.
        let _ = stream.write_all(b"GET /livez HTTP/1.1\r\nHost: 127.");
    }
    held
}

#[test]
fn held_connections_give_way_to_a_probe_the_oldest_first() {
    let proxy = Proxy::start("host = \"sandbox\"", "", "[probes]\naddress = \"127.0.0.1:0\"");
    let mut page = connect(proxy.admin);
    page.write_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("a request goes out");
    assert!(read_head(&mut page).is_some_and(|head| head.starts_with("HTTP/1.1 200")));
    for address in [proxy.admin, proxy.probes.expect("a probe listener")] {
        let mut held = hold(address);
        for _ in 0..3 {
            let reply = ask(address, "GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
            assert_eq!(reply.status, 200, "{reply:?}");
        }
        let first = held.first_mut().expect("one");
        first.set_read_timeout(Some(SOON)).expect("a timeout");
        let ended = first.read(&mut [0; 64]);
        assert!(!ended.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock), "the oldest was ended");
    }
    let mut events = Vec::new();
    while events.windows(2).filter(|pair| pair == b"\n\n").count() < 3 {
        let mut bytes = [0; 4096];
        let read = page.read(&mut bytes).expect("an open page is in use, and keeps its place");
        assert!(read > 0, "an open page is in use, and keeps its place");
        events.extend_from_slice(&bytes[..read]);
    }
}

#[test]
fn probes_are_answered_over_http_1_0_without_a_host() {
    let proxy = Proxy::start("host = \"sandbox\"", "", "[probes]\naddress = \"127.0.0.1:0\"");
    for address in [proxy.admin, proxy.probes.expect("a probe listener")] {
        assert_eq!(ask(address, "GET /livez HTTP/1.0\r\n\r\n").status, 200);
        assert_ne!(ask(address, "GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n").status, 200);
        assert_ne!(ask(address, "GET /livez HTTP/1.0\r\nHost: evil.example\r\n\r\n").status, 200);
    }
}
