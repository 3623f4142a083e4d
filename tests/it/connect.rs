//! What CONNECT may reach: only what is listed, and never this machine or its network by a name.

#[cfg(target_os = "linux")]
mod ssrf;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener};
use std::time::Duration;

use http::Version;
use ninjaone_proxy::proxy::connect::ConnectTargets;
use proptest::prelude::*;

use crate::connects::{self, Asked};
use crate::harness::{PATIENCE, Proxy, Reply, connect, run_binary};

#[test]
fn a_server_that_is_intercepted_or_is_the_proxy_itself_is_a_mistake_in_tunnel() {
    let folder = tempfile::tempdir().expect("a folder");
    let both = "[listeners.local]\nintercept = [\"eu.ninjarmm.com\"]\ntunnel = [\"eu.ninjarmm.com:443\"]\n";
    std::fs::write(folder.path().join("config.toml"), both).expect("a file");
    let (code, _, said) = run_binary(folder.path(), &["check"], &[]);
    assert_eq!(code, 78, "{said}");
    assert!(said.contains("config.toml:3:") && said.contains("is in intercept too"), "{said}");

    let mut proxy = Proxy::sandboxed("");
    for (port, listener) in [(proxy.address.port(), "listeners.local"), (proxy.admin.port(), "admin")] {
        let said = proxy.reconfigure(&format!("tunnel = [\"127.0.0.1:{port}\"]"), "").expect_err("a mistake");
        assert!(said.contains("listeners.local.tunnel"), "{said}");
        assert!(said.contains(&format!("leads to where {listener} of this proxy listens")), "{said}");
    }
}

#[test]
fn a_tunnel_passes_bytes_on_in_both_directions_to_their_end() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let server = listener.local_addr().expect("an address");
    // Answers with what it gets, once it has all of it.
    let echo = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut all = Vec::new();
        stream.read_to_end(&mut all).expect("an end");
        stream.write_all(&all).expect("an answer");
        all.len()
    });
    let proxy = Proxy::sandboxed(&format!("tunnel = [\"{server}\"]"));
    let mut stream = connect(proxy.address);
    // The first bytes come with the request itself.
    write!(stream, "CONNECT {server} HTTP/1.1\r\nHost: {server}\r\n\r\nhello ").expect("a request");
    assert_eq!(Reply::read(&mut stream, true).status, 200);
    let more: Vec<u8> = (0..1_000_000_u32).map(|number| (number % 251) as u8).collect();
    stream.write_all(&more).expect("bytes");
    stream.shutdown(Shutdown::Write).expect("an end");
    let mut back = Vec::new();
    stream.read_to_end(&mut back).expect("an end");
    assert_eq!(echo.join().expect("an echo"), 1_000_006);
    assert!(back.starts_with(b"hello ") && back[6..] == more, "{} bytes came back", back.len());
}

#[test]
fn a_tunnel_ends_as_soon_as_one_side_is_reset() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let server = listener.local_addr().expect("an address");
    let proxy = Proxy::sandboxed(&format!("tunnel = [\"{server}\"]"));
    for near_is_reset in [true, false] {
        let mut near = connect(proxy.address);
        write!(near, "CONNECT {server} HTTP/1.1\r\nHost: {server}\r\n\r\n").expect("a request");
        assert_eq!(Reply::read(&mut near, true).status, 200);
        let (far, _) = listener.accept().expect("a connection");
        far.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let (reset, mut other) = if near_is_reset { (near, far) } else { (far, near) };
        socket2::SockRef::from(&reset).set_linger(Some(Duration::ZERO)).expect("a setting");
        drop(reset);
        match other.read(&mut [0]) {
            Ok(0) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            other => panic!("near is reset: {near_is_reset}: {other:?}"),
        }
    }
}

/// Targets and Hosts, nearly those that are listed.
fn authorities() -> impl Strategy<Value = String> {
    let host = prop_oneof![
        6 => prop::sample::select(vec![
            "eu.ninjarmm.com", "files.example.com", "xn--bcher-kva.example", "10.0.0.5", "192.0.2.7", "[2001:db8::7]",
            "EU.ninjarmm.com", "eu.ninjarmm.com.", "eu.ninjarmm", "xeu.ninjarmm.com", "eu.ninjarmm.com.evil.example",
            "files.example.com:443@evil.example", "user@files.example.com", "0x0a.0.0.5", "10.5", "167772165", "012.0.0.5",
            "[::ffff:10.0.0.5]", "[2001:DB8::7]", "[2001:db8:0::7]", "2001:db8::7", "[2001:db8::7", "localhost", "127.0.0.1",
            "192.0.2.7.", "b%c3%bccher.example", "*.example.com", "files.example.com,evil.example",
        ]).prop_map(str::to_owned),
        1 => "[ -~]{0,12}",
        1 => "[a-z0-9.:@\\[\\]-]{0,16}",
    ];
    let port = prop_oneof![
        6 => prop::sample::select(vec![":443", ":8443", ":22", "", ":80", ":8080"]),
        1 => prop::sample::select(vec![":", ":0", ":0443", ":+443", ":443 ", ":65979", ":443:443", ":443/", ":443#"]),
    ];
    let before = prop_oneof![12 => Just(""), 1 => Just("https://"), 1 => Just("/"), 1 => Just(" ")];
    (before, host, port).prop_map(|(before, host, port)| format!("{before}{host}{port}"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 30_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn connect_reaches_what_a_list_of_texts_says_and_nothing_else(
        target in authorities(),
        other in authorities(),
        hosts in prop::sample::select(vec!["", "t", "t", "t", "t", "n", "n", "o", "tt", "to"]),
        version in prop::sample::select(vec![Version::HTTP_11, Version::HTTP_11, Version::HTTP_10, Version::HTTP_2]),
        length in prop::sample::select(vec![None, None, None, Some("0"), Some("1"), Some("00"), Some("")]),
    ) {
        thread_local!(static TARGETS: ConnectTargets = connects::targets());
        let name = target.rsplit_once(':').map_or(&*target, |(name, _)| name);
        let value = |kind| match kind {
            't' => target.as_bytes(),
            'n' => name.as_bytes(),
            _ => other.as_bytes(),
        };
        let hosts: Vec<&[u8]> = hosts.chars().map(value).collect();
        let length = length.map(str::as_bytes);
        TARGETS.with(|targets| connects::agree(targets, &Asked { version, target: target.as_bytes(), hosts: &hosts, length }));
    }
}
