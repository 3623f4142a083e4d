//! What sharing a rate costs and how it is divided: numbers to read, of five processes with skewed load.
//!
//! Slow: `.ci/shared-limits` runs it, for as many seconds as it is told.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{RedisServer, noting, scripts_run};
use crate::doors::Running;
use crate::harness::{Scripted, request};
use crate::watch::SECRET;

/// The binary before `server`, with this rate, and `[shared]` if it is given.
fn start(server: &Scripted, rate: &str, shared: &str) -> (Running, SocketAddr) {
    let config = format!(
        "[instances.main]\n{}\nclient-id = \"sandbox\"\nclient-secret = {{ env = \"NINJA_SECRET\" }}\n\
         [instances.main.rate]\n{rate}\n[admin]\naddress = \"none\"\n[log]\nformat = \"json\"\nlevel = \"info,access=off\"\n\
         [listeners.local]\naddress = \"127.0.0.1:0\"\n{shared}",
        server.instance()
    );
    let shell = format!("NINJA_SECRET={SECRET} exec \"$0\"");
    let running = Running::start(&config, &shell, Stdio::null());
    let at = running.address();
    assert_eq!(request(at, "GET", "/v2/groups", "", b"").status, 200);
    (running, at)
}

/// With the deadline that holds by default.
fn shared(store: &RedisServer) -> String {
    super::config(store).replace("timeout = \"1s\"", "timeout = \"20ms\"")
}

/// The smallest, the middle one, the 99th of 100, and the largest.
fn spread<T: Copy + Ord>(mut all: Vec<T>) -> Option<(T, T, T, T)> {
    all.sort_unstable();
    let at = |part: usize| all.get((all.len() * part / 100).min(all.len().saturating_sub(1))).copied();
    Some((at(0)?, at(50)?, at(99)?, at(100)?))
}

/// Asks at `address` until it is over, each time `pause` after the last; the times and statuses.
fn caller(address: SocketAddr, pause: Duration, over: &AtomicBool, seen: &Mutex<Vec<(Duration, u16)>>) {
    while !over.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let status = request(address, "GET", "/v2/groups", "", b"").status;
        seen.lock().expect("a lock").push((begun.elapsed(), status));
        thread::sleep(pause);
    }
}

#[test]
#[ignore = "slow: .ci/shared-limits runs it"]
fn a_rate_of_100_a_second_over_five_replicas_with_skewed_load() {
    let seconds: u64 = std::env::var("SHARED_SECONDS").map_or(60, |text| text.parse().expect("seconds"));
    let Some(store) = RedisServer::start() else { return };
    let (server, times) = noting();
    let rate = "requests-per-second = 100\nburst = 10\nwait = \"10s\"";
    let running: Vec<_> = (0..5).map(|_| start(&server, rate, &shared(&store))).collect();
    thread::sleep(Duration::from_secs(4));
    // The heartbeats alone.
    let idle = scripts_run(&store);
    thread::sleep(Duration::from_secs(5));
    let beats = (scripts_run(&store) - idle) as f64 / 5.0;
    times.lock().expect("a lock").clear();
    let (before, begun, over) = (scripts_run(&store), Instant::now(), AtomicBool::new(false));
    // Callers at each, and how long each of them pauses.
    let load = [(40, 0), (20, 0), (4, 100), (1, 100), (1, 500)];
    let seen = [const { Mutex::new(Vec::new()) }; 5];
    thread::scope(|scope| {
        for ((address, (callers, pause)), seen) in running.iter().map(|(_, at)| *at).zip(load).zip(&seen) {
            for _ in 0..callers {
                let over = &over;
                scope.spawn(move || caller(address, Duration::from_millis(pause), over, seen));
            }
        }
        thread::sleep(Duration::from_secs(seconds));
        over.store(true, Ordering::Relaxed);
    });
    let took = begun.elapsed().as_secs_f64();
    let scripts = (scripts_run(&store) - before) as f64 - beats * took;
    let times = times.lock().expect("a lock");
    let mut each = vec![0u32; seconds as usize];
    for at in times.iter() {
        if let Some(count) = each.get_mut(at.saturating_duration_since(begun).as_secs() as usize) {
            *count += 1;
        }
    }
    println!("sent {} in {took:.1} s; a second, min median p99 max: {:?}", times.len(), spread(each));
    let most = |window: f64| {
        let count = |first: usize| {
            times.iter().skip(first).take_while(|at| (**at - times[first]).as_secs_f64() <= window).count()
        };
        (0..times.len()).map(count).max()
    };
    println!("the most in any 1 s: {:?}, in any 100 ms: {:?}", most(1.0), most(0.1));
    println!("round trips for each request: {:.3}", scripts / times.len() as f64);
    for (place, (seen, (callers, pause))) in seen.iter().zip(load).enumerate() {
        let seen = seen.lock().expect("a lock");
        let sent = seen.iter().filter(|(_, status)| *status == 200).count();
        let waits = spread(seen.iter().map(|(took, _)| took.as_millis()).collect());
        println!(
            "replica {place}: {callers} callers, pause {pause} ms: sent {:.1}/s, refused {}, ms min p50 p99 max {waits:?}",
            sent as f64 / took,
            seen.len() - sent
        );
    }
}

#[test]
#[ignore = "slow: .ci/shared-limits runs it"]
fn what_a_shared_rate_adds_to_a_request_that_is_not_held_back() {
    let Some(store) = RedisServer::start() else { return };
    let (server, _) = noting();
    let rate = "requests-per-second = 2000\nburst = 200\nwait = \"10s\"";
    for (name, shared) in
        [("alone", String::new()), ("shared", shared(&store)), ("alone", String::new()), ("shared", shared(&store))]
    {
        let (_running, address) = start(&server, rate, &shared);
        thread::sleep(Duration::from_secs(4));
        for pause in [50, 5] {
            let (before, over, seen) = (scripts_run(&store), AtomicBool::new(false), Mutex::new(Vec::new()));
            thread::scope(|scope| {
                scope.spawn(|| caller(address, Duration::from_millis(pause), &over, &seen));
                thread::sleep(Duration::from_secs(8));
                over.store(true, Ordering::Relaxed);
            });
            let seen = seen.into_inner().expect("a lock");
            let (count, scripts) = (seen.len(), scripts_run(&store) - before);
            let took = spread(seen.into_iter().map(|(took, _)| took.as_micros()).collect());
            println!("{name}, pause {pause} ms: {count} requests, {scripts} scripts, us min p50 p99 max {took:?}");
        }
    }
}
