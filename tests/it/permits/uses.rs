//! `max-uses`: never more requests are sent than a rule allows, also over kills of the process.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::{RUN, SCOPES};
use crate::doors::Running;
use crate::harness::{Scripted, Then, answer, connect, read_body, request};
use crate::watch::SECRET;

/// How many processes are killed without a number in the environment variable `PERMIT_KILLS`; two in a round.
const KILLS: usize = 12;
const CALLERS: usize = 200;

fn instance() -> Scripted {
    Scripted::start(|mut asked| {
        read_body(&asked.head, asked.stream);
        asked.answer(&answer("200 OK", "{}"));
        Then::Continue
    })
}

/// The binary in front of `server`, with a rule that opens `max` requests; its state is in `state`.
fn start(server: &Scripted, state: &std::path::Path, max: usize) -> (Running, SocketAddr) {
    start_with("", server, state, max)
}

/// The same with more for the listener.
fn start_with(more: &str, server: &Scripted, state: &std::path::Path, max: usize) -> (Running, SocketAddr) {
    let config = format!(
        "[instances.main]\n{}\nclient-id = \"sandbox\"\nclient-secret = {{ env = \"NINJA_SECRET\" }}\n\
         [admin]\naddress = \"none\"\n[log]\nformat = \"json\"\n[listeners.local]\naddress = \"127.0.0.1:0\"\n{SCOPES}\n{more}\n\
         allow = [{{ rule = \"POST /v2/device/{{id}}/script/run\", max-uses = {max} }}]\n",
        server.instance()
    );
    let shell = format!("STATE_DIRECTORY={} NINJA_SECRET={SECRET} exec \"$0\"", state.display());
    let running = Running::start(&config, &shell, Stdio::null());
    let address = running.address();
    (running, address)
}

/// Asks `CALLERS` times at once; how many got 200, and how many were told that the rule is used up.
fn ask_all(address: SocketAddr) -> (usize, usize) {
    let (sent, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| {
                let reply = request(address, "POST", RUN, "", b"{}");
                match reply.status {
                    200 => sent.fetch_add(1, Ordering::SeqCst),
                    _ => {
                        assert_eq!(reply.code(), "rule-used-up");
                        refused.fetch_add(1, Ordering::SeqCst)
                    }
                };
            });
        }
    });
    (sent.into_inner(), refused.into_inner())
}

#[test]
fn exactly_as_many_requests_are_sent_as_a_rule_opens_to_many_at_once() {
    let (server, state) = (instance(), tempfile::tempdir().expect("a folder"));
    let (running, address) = start(&server, state.path(), 50);
    assert_eq!(ask_all(address), (50, CALLERS - 50));
    assert_eq!(server.api_requests(), 50);
    drop(running);
    let (_running, address) = start(&server, state.path(), 50);
    let refused = request(address, "POST", RUN, "", b"{}");
    assert_eq!(refused.code(), "rule-used-up", "a restart forgets nothing");
    assert!(refused.json()["detail"].as_str().expect("a detail").contains("raise max-uses"), "{refused:?}");
    let (_running, address) = start(&server, state.path(), 51);
    assert_eq!(request(address, "POST", RUN, "", b"{}").status, 200, "a higher number opens the rest");
    assert_eq!(server.api_requests(), 51);
}

#[test]
fn requests_that_get_no_token_cost_no_use() {
    let (server, state) = (instance(), tempfile::tempdir().expect("a folder"));
    let refusing = Scripted::with_tokens(
        |_| answer("401 Unauthorized", "{\"error\":\"invalid_client\"}"),
        |_| panic!("nothing is sent without a token"),
    );
    let (_running, address) = start(&refusing, state.path(), 1);
    assert_eq!(request(address, "POST", RUN, "", b"{}").status, 503);
    let (_running, address) = start(&server, state.path(), 1);
    assert_eq!(request(address, "POST", RUN, "", b"{}").status, 200);
}

#[test]
fn requests_that_a_quota_stops_cost_no_use() {
    let (server, state) = (instance(), tempfile::tempdir().expect("a folder"));
    let (running, address) = start_with("quota = { critical = \"1/day\" }", &server, state.path(), 2);
    assert_eq!(request(address, "POST", RUN, "", b"{}").status, 200);
    for _ in 0..5 {
        assert_eq!(request(address, "POST", RUN, "", b"{}").code(), "quota-exceeded");
    }
    drop(running);
    let (_running, address) = start(&server, state.path(), 2);
    assert_eq!(request(address, "POST", RUN, "", b"{}").status, 200, "one use is left");
    assert_eq!(request(address, "POST", RUN, "", b"{}").code(), "rule-used-up");
}

#[test]
fn kills_lose_uses_and_never_give_one() {
    let kills: usize = std::env::var("PERMIT_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(KILLS);
    let rounds = kills / 2;
    let (mut lost, mut most) = (0, 0);
    for round in 0..rounds {
        let (server, state) = (instance(), tempfile::tempdir().expect("a folder"));
        let max = 20 + round % 30;
        // Killed in the midst of it, twice; then all that is left is used.
        for _ in 0..2 {
            let (mut running, address) = start(&server, state.path(), max);
            thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(move || {
                        for _ in 0..10 {
                            let Ok(mut stream) = std::net::TcpStream::connect(address) else { return };
                            let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
                            let head = format!("POST {RUN} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{{}}");
                            let mut answer = Vec::new();
                            let _ = std::io::Write::write_all(&mut stream, head.as_bytes());
                            let _ = std::io::Read::read_to_end(&mut stream, &mut answer);
                        }
                    });
                }
                thread::sleep(Duration::from_micros(fastrand::u64(..20_000)));
                running.kill();
            });
        }
        let (_running, address) = start(&server, state.path(), max);
        let _ = connect(address);
        while request(address, "POST", RUN, "", b"{}").status == 200 {}
        let sent = server.api_requests();
        assert!(sent <= max, "{sent} of {max} were sent");
        lost += max - sent;
        most = most.max(max - sent);
    }
    println!(
        "{rounds} rounds, {} kills: never more than allowed, {lost} uses lost, at most {most} in a round",
        2 * rounds
    );
}
