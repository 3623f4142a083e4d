//! Short tokens under load for minutes: no caller notices a renewal, and NinjaOne sees no expired token.
//!
//! Slow: `.ci/sign-in` runs it, for as many minutes as it is told.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::stand::{Stand, config};
use crate::harness::{Ninja, Reply, connect, eventually, request};

const CALLERS: u64 = 8;
/// Between two requests of a caller.
const PAUSE: Duration = Duration::from_millis(20);
const TOKEN_LIFETIME: Duration = Duration::from_secs(2);
/// The proxy does not use a token in the last 100 ms of such a lifetime; a request is on its way over two processes.
const STALL: Duration = Duration::from_millis(40);

#[test]
#[ignore = "slow: .ci/sign-in runs it"]
fn short_tokens_are_renewed_under_load_and_no_caller_notices() {
    let minutes: f64 = std::env::var("SIGN_IN_SOAK_MINUTES").map_or(10.0, |text| text.parse().expect("minutes"));
    let ninja = Ninja::start(|options| options.token_lifetime = TOKEN_LIFETIME);
    let text = config(&ninja.instance(), "", "", "info,access=off");
    let mut stand = Stand::with(ninja, &text);
    stand.sign_in();
    let [local, _] = stand.run();
    let pid = stand.running.as_ref().expect("a process").id();
    eventually("both tokens", || {
        request(local, "GET", "/v2/organizations", "", b"").status == 200 && stand.ticket(local).status == 200
    });
    let (before, memory) = (stand.ninja.counts(), resident(pid));
    let stalls = AtomicU64::new(0);
    let answers = Mutex::new(BTreeMap::<(&str, u16), u64>::new());
    let end = Instant::now() + Duration::from_secs_f64(minutes * 60.0);
    thread::scope(|scope| {
        scope.spawn(|| {
            while Instant::now() < end {
                let begun = Instant::now();
                thread::sleep(Duration::from_millis(1));
                stalls.fetch_add(u64::from(begun.elapsed() > STALL), Ordering::Relaxed);
            }
        });
        for caller in 0..CALLERS {
            let answers = &answers;
            scope.spawn(move || {
                for ((what, status), count) in call(local, caller, end) {
                    *answers.lock().expect("no panic").entry((what, status)).or_default() += count;
                }
            });
        }
    });
    let (after, answers) = (stand.ninja.counts(), answers.into_inner().expect("no panic"));
    let (renewals, tokens) = (after.refreshes - before.refreshes, after.token_requests - before.token_requests);
    println!(
        "{minutes} minutes, answers {answers:?}, requests of NinjaOne {}",
        after.api_requests - before.api_requests
    );
    println!("renewals of the person's token {renewals}, of the machine's {}", tokens - renewals);
    let (refused, stalls) = (after.unauthorized - before.unauthorized, stalls.load(Ordering::Relaxed));
    println!("refused tokens {refused}, stalls of the machine {stalls}, reuses {}", after.reuses);
    println!("memory {memory} kB at the start, {} kB at the end", resident(pid));
    assert_eq!(answers.keys().map(|(_, status)| *status).collect::<Vec<_>>(), [200, 200], "{answers:?}");
    // An expired token would be refused. One that is sent in time expires on its way only if the machine stands still.
    assert!(refused <= stalls * CALLERS, "{refused} of {stalls} stalls");
    assert_eq!(after.reuses, 0);
    // Each is renewed before 90 percent of its lifetime are over.
    let least = (minutes * 60.0 / TOKEN_LIFETIME.as_secs_f64()) as u64;
    assert!(renewals > least && tokens - renewals > least, "{least}");
}

/// The answers to one caller, on one connection.
fn call(local: SocketAddr, caller: u64, end: Instant) -> BTreeMap<(&'static str, u16), u64> {
    let mut answers = BTreeMap::new();
    let mut stream = connect(local);
    let mut next = Instant::now() + PAUSE.mul_f64(caller as f64 / CALLERS as f64);
    for number in caller.. {
        thread::sleep(next.saturating_duration_since(Instant::now()));
        // Late ones are not made up for.
        next = (next + PAUSE).max(Instant::now());
        let (what, head, body) = if number % 2 == 0 {
            ("machine", "GET /v2/organizations HTTP/1.1\r\nHost: localhost\r\n\r\n", "")
        } else {
            let head = "POST /v2/ticketing/ticket HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n";
            ("person", head, "{}")
        };
        stream.write_all(format!("{head}{body}").as_bytes()).expect("a request goes out");
        let reply = Reply::read(&mut stream, false);
        assert!(reply.whole, "{reply:?}");
        if reply.status != 200 {
            println!("{what}: {reply:?}");
        }
        *answers.entry((what, reply.status)).or_default() += 1;
        if reply.header("connection") == "close" {
            stream = connect(local);
        }
        if Instant::now() >= end {
            break;
        }
    }
    answers
}

/// The memory of a process, in kB.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
