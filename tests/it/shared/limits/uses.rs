//! `max-uses` over replicas: exactly as many, over kills of replicas and losses of the store.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::{RedisServer, config, plain};
use crate::doors::Running;
use crate::harness::{Scripted, eventually, request};
use crate::watch::SECRET;

const RUN: &str = "/v2/device/1/script/run";

/// The binary before `server`, with a rule that opens `max` requests; its state is in `state`.
fn start(server: &Scripted, store: &RedisServer, state: &Path, max: usize) -> (Running, SocketAddr) {
    let config = format!(
        "[instances.main]\n{}\nclient-id = \"sandbox\"\nclient-secret = {{ env = \"NINJA_SECRET\" }}\n\
         [admin]\naddress = \"none\"\n[log]\nformat = \"json\"\n[listeners.local]\naddress = \"127.0.0.1:0\"\n\
         scopes = [\"monitoring\", \"management\"]\n\
         allow = [{{ rule = \"POST /v2/device/{{id}}/script/run\", max-uses = {max} }}]\n{}",
        server.instance(),
        config(store)
    );
    let shell = format!("STATE_DIRECTORY={} NINJA_SECRET={SECRET} exec \"$0\"", state.display());
    let running = Running::start(&config, &shell, Stdio::null());
    let address = running.address();
    (running, address)
}

/// What became of a request: its status and code; nothing where the process was killed meanwhile.
fn try_one(address: SocketAddr) -> Option<(u16, String)> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    let head = format!("POST {RUN} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{{}}");
    stream.write_all(head.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    let body = answer.split_once("\r\n\r\n")?.1;
    let problem: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    Some((status, problem["code"].as_str().unwrap_or_default().to_owned()))
}

fn code(address: SocketAddr) -> String {
    let reply = request(address, "POST", RUN, "", b"{}");
    if reply.status == 200 { "200".to_owned() } else { reply.code() }
}

/// Asks all of them at once, `each` times each by 10 threads; how many got 200.
fn ask_all(addresses: &[SocketAddr], each: usize) -> usize {
    let sent = AtomicUsize::new(0);
    thread::scope(|scope| {
        for address in addresses {
            for _ in 0..10 {
                scope.spawn(|| {
                    for _ in 0..each {
                        let said = try_one(*address);
                        sent.fetch_add(usize::from(said.is_some_and(|(status, _)| status == 200)), Ordering::SeqCst);
                    }
                });
            }
        }
    });
    sent.into_inner()
}

/// Until the store has settled: the rule is used up then, or opens some.
fn settled(address: SocketAddr) -> String {
    let mut said = String::new();
    eventually("the store has settled", || {
        said = code(address);
        said != "uses-store-down"
    });
    said
}

#[test]
fn replicas_send_exactly_as_many_requests_as_a_rule_opens_whatever_is_killed() {
    let Some(mut store) = RedisServer::start() else { return };
    let (server, max) = (plain(), 20);
    let states = [0; 3].map(|_| tempfile::tempdir().expect("a folder"));
    let mut running: Vec<_> = states.iter().map(|state| start(&server, &store, state.path(), max)).collect();
    let addresses: Vec<_> = running.iter().map(|(_, address)| *address).collect();
    // The store is new: nobody knows yet whether it has lost something.
    addresses.iter().for_each(|address| eventually("it has settled", || is_settled(*address)));
    let before = server.api_requests();
    assert_eq!(before + ask_all(&addresses, 4), max, "120 asked at once");
    assert_eq!(server.api_requests(), max);
    addresses.iter().for_each(|address| assert_eq!(code(*address), "rule-used-up"));
    // All is taken from the store, which goes on.
    store.cli(&["FLUSHALL"]);
    for _ in 0..20 {
        assert_eq!(addresses.iter().filter(|address| code(**address) == "200").count(), 0);
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(settled(addresses[0]), "rule-used-up");
    // A replica and the store end at once, and both forget; the replica's folder does not.
    running[0].0.kill();
    store.stop();
    assert_eq!(code(addresses[1]), "rule-used-up", "it remembers");
    store.start_again();
    assert_eq!(settled(addresses[1]), "rule-used-up");
    let (_again, address) = start(&server, &store, states[0].path(), max + 1);
    assert_eq!(settled(address), "200", "a higher number opens the rest");
    assert_eq!(settled(address), "rule-used-up");
    assert_eq!(server.api_requests(), max + 1);
}

/// Asks once; whether the store lets uses be taken.
fn is_settled(address: SocketAddr) -> bool {
    code(address) != "uses-store-down"
}

#[test]
fn uses_are_closed_while_the_store_is_down_and_what_was_counted_before_counts() {
    let Some(mut store) = RedisServer::start() else { return };
    let (server, state) = (plain(), tempfile::tempdir().expect("a folder"));
    let (running, address) = start(&server, &store, state.path(), 3);
    assert_eq!(settled(address), "200");
    store.stop();
    eventually("it is down", || code(address) == "uses-store-down");
    let refused = request(address, "POST", RUN, "", b"{}");
    assert_eq!((refused.status, refused.header("retry-after")), (503, "1"), "{refused:?}");
    assert!(refused.json()["detail"].as_str().is_some_and(|detail| detail.contains("shared store")), "{refused:?}");
    drop(running);
    // Another replica knows nothing of the use; the folder of the first one does.
    store.start_again();
    let other = tempfile::tempdir().expect("a folder");
    let (_first, address) = start(&server, &store, state.path(), 3);
    assert_eq!(settled(address), "200");
    let (_second, other) = start(&server, &store, other.path(), 3);
    assert_eq!(settled(other), "200");
    assert_eq!((settled(other), settled(address)), ("rule-used-up".to_owned(), "rule-used-up".to_owned()));
    assert_eq!(server.api_requests(), 3);
}

#[test]
fn kills_of_replicas_and_of_the_store_never_give_a_use() {
    let rounds = std::env::var("SHARED_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let (mut lost, mut most) = (0, 0);
    for round in 0..rounds {
        // In half of the rounds it forgets all.
        let Some(mut store) = RedisServer::with(if round % 2 == 0 { &[] } else { &["--appendonly", "yes"] }) else {
            return;
        };
        let (server, max) = (plain(), 100);
        let states = [0; 5].map(|_| tempfile::tempdir().expect("a folder"));
        let mut running: Vec<_> = states.iter().map(|state| start(&server, &store, state.path(), max)).collect();
        let addresses: Vec<_> = running.iter().map(|(_, address)| *address).collect();
        addresses.iter().for_each(|address| eventually("it has settled", || is_settled(*address)));
        thread::scope(|scope| {
            let asking = scope.spawn(|| ask_all(&addresses, 20));
            thread::sleep(Duration::from_millis(fastrand::u64(..150)));
            for victim in [fastrand::usize(..5), fastrand::usize(..5)] {
                running[victim].0.kill();
                if fastrand::bool() {
                    store.start_again();
                }
                running[victim] = start(&server, &store, states[victim].path(), max);
            }
            asking.join().expect("a count");
        });
        let addresses: Vec<_> = running.iter().map(|(_, address)| *address).collect();
        eventually("all are used", || {
            ask_all(&addresses, 2);
            code(addresses[0]) == "rule-used-up"
        });
        let sent = server.api_requests();
        assert!(sent <= max, "{sent} of {max} were sent in round {round}");
        (lost, most) = (lost + max - sent, most.max(max - sent));
    }
    println!("{rounds} rounds, {lost} uses lost, at most {most} in a round, none given");
}
