//! Rates, quotas, uses and wrong keys that replicas share: as many as there may be, at all replicas together.

mod measure;
mod scripts;
mod uses;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use ninjaone_proxy::proxy::authn::key::KeyHash;

use super::{RedisServer, config, has_metric, is_down, is_up};
use crate::harness::{Asked, Proxy, Reply, Scripted, Then, answer, eventually, read_body, request};
use crate::reload::metric;

const MANY: &str = "scopes = [\"monitoring\", \"management\"]";

/// An instance that notes when it was asked.
fn noting() -> (Scripted, Arc<Mutex<Vec<Instant>>>) {
    let times = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&times);
    let server = Scripted::start(move |mut asked| {
        note.lock().expect("a lock").push(Instant::now());
        asked.answer(&answer("200 OK", "[]"));
        Then::Continue
    });
    (server, times)
}

fn plain() -> Scripted {
    Scripted::start(|mut asked: Asked<'_>| {
        read_body(&asked.head, asked.stream);
        asked.answer(&answer("200 OK", "[]"));
        Then::Continue
    })
}

/// So many replicas before `instance`, which know of each other.
fn replicas<const N: usize>(instance: &str, listener: &str, rest: &str) -> [Proxy; N] {
    let proxies = std::array::from_fn(|_| Proxy::start(instance, listener, rest));
    let line = format!("ninjaone_proxy_shared_replicas {N}");
    for proxy in &proxies {
        eventually("all are known", || has_metric(proxy, &line));
    }
    proxies
}

/// What came of a try at which the store was never too late for a replica, and which did not last into another second; or of
/// the last of some. A replica decides by itself when the store is late, and what it has taken for requests that wait is lost
/// at the end of a slot, which of a quota for a minute lasts a second: what is exact otherwise is not then.
fn in_time<const N: usize, T>(attempt: impl Fn() -> Option<([Proxy; N], u64, T)>) -> Option<([Proxy; N], T)> {
    const LATE: &str = "ninjaone_proxy_shared_store_failures_total{reason=\"slow\"}";
    let is_late = |proxy: &Proxy| metric(proxy.admin, LATE) > 0.0;
    let exact = |(proxies, seconds, _): &([Proxy; N], u64, T)| *seconds == 0 && !proxies.iter().any(is_late);
    let tried = (0..7).map_while(|_| attempt()).find(exact).or_else(attempt);
    tried.map(|(proxies, _, came)| (proxies, came))
}

/// The clock of the machine, in seconds.
fn second() -> u64 {
    std::time::SystemTime::UNIX_EPOCH.elapsed().expect("a time").as_secs()
}

/// Waits for the next second.
fn next_second() -> u64 {
    let now = second();
    while second() == now {
        thread::sleep(Duration::from_millis(2));
    }
    now + 1
}

/// How many scripts the server has run.
fn scripts_run(server: &RedisServer) -> usize {
    let stats = server.cli(&["INFO", "commandstats"]);
    let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls=")).unwrap_or("0,");
    line.split(',').next().and_then(|calls| calls.parse().ok()).expect("a number")
}

/// Asks `total` times, by so many threads, at each of them in turn; how many got which answer.
fn ask_all(proxies: &[Proxy], total: usize, method: &str, path: &str, headers: &str) -> BTreeMap<String, usize> {
    let (next, answers) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= total {
                        return;
                    }
                    let address = proxies[number % proxies.len()].address;
                    let reply = request(address, method, path, headers, b"");
                    let said = if reply.status == 200 { "200".to_owned() } else { reply.code() };
                    *answers.lock().expect("a lock").entry(said).or_insert(0) += 1;
                }
            });
        }
    });
    answers.into_inner().expect("a lock")
}

#[test]
fn replicas_share_a_rate_and_a_busy_one_leaves_the_others_their_part() {
    let Some(store) = RedisServer::start() else { return };
    let (server, times) = noting();
    let rate = "[instances.main.rate]\nrequests-per-second = 40\nburst = 4\nwait = \"10s\"";
    let proxies: [Proxy; 3] = replicas(&server.instance(), "", &format!("{rate}\n{}", config(&store)));
    let (before, begun) = (scripts_run(&store), Instant::now());
    let (over, sent) = (AtomicBool::new(false), [const { AtomicUsize::new(0) }; 3]);
    // One caller at the last replica, two at the second, and many at the first.
    thread::scope(|scope| {
        for place in [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2] {
            let (over, sent, address) = (&over, &sent[place], proxies[place].address);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    assert_eq!(request(address, "GET", "/v2/groups", "", b"").status, 200);
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        thread::sleep(Duration::from_secs(5));
        over.store(true, Ordering::Relaxed);
    });
    let (seconds, times) = (begun.elapsed().as_secs_f64(), times.lock().expect("a lock"));
    for (first, begin) in times.iter().enumerate() {
        for (last, end) in times.iter().enumerate().skip(first) {
            // What is reserved may be used 250 ms and the time-out later; and a machine under load may be late with some.
            let allowed = 4.0 + 40.0 * (end.saturating_duration_since(*begin).as_secs_f64() + 0.25 + 1.0 + 0.5);
            assert!((last - first) as f64 + 1.0 <= allowed, "{first} to {last}: {:?}", *end - *begin);
        }
    }
    let sent = sent.map(AtomicUsize::into_inner);
    assert!(times.len() as f64 >= 40.0 * seconds * 0.5, "half of it is used at least: {} in {seconds} s", times.len());
    assert!(sent[1] >= 5 && sent[2] >= 3, "nobody is left out: {sent:?}");
    // The replicas' heartbeats are among them: two a second each.
    let scripts = scripts_run(&store) - before;
    assert!(scripts < times.len() + 3 * 3 * 8, "{scripts} scripts for {} requests", times.len());
}

#[test]
fn a_429_holds_all_replicas_back() {
    let Some(store) = RedisServer::start() else { return };
    let server = Scripted::start(|mut asked: Asked<'_>| {
        let throttled = "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 3\r\nContent-Length: 0\r\n\r\n";
        let text = if asked.number == 0 { throttled.to_owned() } else { answer("200 OK", "[]") };
        asked.answer(&text);
        Then::Continue
    });
    let rate = "[instances.main.rate]\nrequests-per-second = 100\nburst = 10\nwait = \"10s\"";
    let proxies: [Proxy; 2] = replicas(&server.instance(), "", &format!("{rate}\n{}", config(&store)));
    assert_eq!(proxies[0].get("/v2/groups").status, 429);
    let begun = Instant::now();
    thread::sleep(Duration::from_millis(100));
    assert_eq!(proxies[1].get("/v2/groups").status, 200);
    assert!(begun.elapsed() > Duration::from_secs(2), "the other one knows of it: {:?}", begun.elapsed());
}

#[test]
fn a_replica_without_the_store_has_its_part_of_a_rate() {
    let Some(mut store) = RedisServer::start() else { return };
    let (server, times) = noting();
    let rate = "[instances.main.rate]\nrequests-per-second = 20\nburst = 2\nwait = \"20s\"";
    let proxies: [Proxy; 2] = replicas(&server.instance(), "", &format!("{rate}\n{}", config(&store)));
    store.stop();
    proxies.iter().for_each(|proxy| eventually("it is down", || is_down(proxy)));
    let begun = Instant::now();
    assert_eq!(ask_all(&proxies, 40, "GET", "/v2/groups", ""), BTreeMap::from([("200".to_owned(), 40)]));
    let took = begun.elapsed();
    assert!(took > Duration::from_millis(1400), "10 a second each: {took:?}");
    store.start_again();
    proxies.iter().for_each(|proxy| eventually("it is back", || is_up(proxy)));
    let before = scripts_run(&store);
    assert_eq!(ask_all(&proxies, 10, "GET", "/v2/groups", ""), BTreeMap::from([("200".to_owned(), 10)]));
    assert!(scripts_run(&store) > before);
    assert_eq!(times.lock().expect("a lock").len(), 50);
}

#[test]
fn replicas_share_a_quota() {
    let listener = format!("{MANY}\nquota = {{ requests = \"50/min\", writes = \"7/day\" }}");
    let shared = in_time(|| {
        let (store, server) = (RedisServer::start()?, plain());
        let proxies: [Proxy; 3] = replicas(&server.instance(), &listener, &config(&store));
        let writes = ask_all(&proxies, 20, "POST", "/v2/organizations", "");
        let begun = next_second();
        let reads = ask_all(&proxies, 90, "GET", "/v2/groups", "");
        Some((proxies, second() - begun, (store, server, writes, reads)))
    });
    let Some((proxies, (_store, server, writes, reads))) = shared else { return };
    assert_eq!(writes, BTreeMap::from([("200".to_owned(), 7), ("quota-exceeded".to_owned(), 13)]));
    assert_eq!(reads, BTreeMap::from([("200".to_owned(), 43), ("quota-exceeded".to_owned(), 47)]));
    assert_eq!(server.api_requests(), 50);
    let refused = proxies[0].get("/v2/groups");
    assert!((1..=62).contains(&refused.header("retry-after").parse::<u32>().expect("a number")), "{refused:?}");
    assert!(refused.header("ratelimit").starts_with("\"requests\";r=0;t="), "{refused:?}");
    let used = "ninjaone_proxy_quota_used{caller=\"\",listener=\"local\",quota=\"requests\"} 50";
    eventually("the metric", || has_metric(&proxies[0], used));
}

#[test]
fn callers_of_different_replicas_share_a_quota_fairly() {
    let keys = format!("quota = {{ requests = \"40/min\" }}\n{}", callers(&["busy", "quiet"]));
    let shared = in_time(|| {
        let (store, server) = (RedisServer::start()?, plain());
        let proxies: [Proxy; 2] = replicas(&server.instance(), &keys, &config(&store));
        let ask = |place: usize, name: &str, times: usize| {
            (0..times).filter(|_| proxies[place].send("GET", "/v2/groups", &key_of(name), b"").status == 200).count()
        };
        let answered = [ask(1, "quiet", 1), ask(0, "busy", 60), ask(1, "quiet", 60)];
        Some((proxies, 0, answered))
    });
    let Some((_, answered)) = shared else { return };
    assert_eq!(answered, [1, 20, 19], "half is kept for the other, which asked at another replica");
}

/// The header with the key of a caller.
fn key_of(name: &str) -> String {
    format!("X-Api-Key: {name}-key-of-a-test\r\n")
}

/// TOML for callers.
fn callers(names: &[&str]) -> String {
    let table = |name: &&str| {
        let key = KeyHash::of(format!("{name}-key-of-a-test").as_bytes());
        format!("[listeners.local.callers.{name}]\nkey = \"{key}\"\n")
    };
    names.iter().map(table).collect()
}

#[test]
fn a_replica_without_the_store_has_its_part_of_a_quota_and_tells_it_when_the_store_is_back() {
    let Some(mut store) = RedisServer::start() else { return };
    let server = plain();
    let quota = "quota = { requests = \"30/h\", critical = \"2/day\" }";
    let listener = format!("{MANY}\n{quota}\nallow = [\"POST /v2/device/{{id}}/script/run\"]");
    let proxies: [Proxy; 3] = replicas(&server.instance(), &listener, &config(&store));
    store.stop();
    proxies.iter().for_each(|proxy| eventually("it is down", || is_down(proxy)));
    let reads = ask_all(&proxies, 60, "GET", "/v2/groups", "");
    assert_eq!(reads, BTreeMap::from([("200".to_owned(), 30), ("quota-exceeded".to_owned(), 30)]));
    let says_down =
        |reply: &Reply| reply.json()["detail"].as_str().expect("a detail").contains("The shared store is down");
    let refused = proxies[0].get("/v2/groups");
    assert!(says_down(&refused), "{refused:?}");
    let critical = proxies[1].send("POST", "/v2/device/1/script/run", "", b"{}");
    assert_eq!(critical.code(), "quota-exceeded", "none of 2 for each of 3");
    store.start_again();
    proxies.iter().for_each(|proxy| eventually("it is back", || is_up(proxy)));
    // Each tells what it let through when it asks, or the next time if the store is slow: then nothing is left for any.
    eventually("all have told", || {
        let asked: Vec<_> = proxies.iter().map(|proxy| proxy.get("/v2/groups")).collect();
        asked.iter().all(|reply| reply.status == 429 && !says_down(reply))
    });
    let sent = server.api_requests();
    assert!(sent < 30 + 10, "{sent}: if one had not told, the others would have had its 10");
}

#[test]
fn wrong_keys_are_counted_at_all_replicas_together() {
    let Some(store) = RedisServer::start() else { return };
    let proxies: [Proxy; 2] = replicas("host = \"sandbox\"", &callers(&["desk"]), &config(&store));
    let wrong = |proxy: &Proxy| proxy.send("GET", "/v2/groups", "X-Api-Key: wrong\r\n", b"").code();
    // Each worker has a throttle of its own, as without a store.
    let answered = (0..100).filter(|_| wrong(&proxies[0]) == "key-wrong").count();
    assert!(answered >= 20, "{answered}");
    let mut answered = 0;
    for _ in 0..20 {
        answered += usize::from(wrong(&proxies[1]) == "key-wrong");
        thread::sleep(Duration::from_millis(20));
    }
    assert!((1..=6).contains(&answered), "the other one hears that there were too many: {answered}");
    assert_eq!(proxies[1].send("GET", "/v2/organizations", &key_of("desk"), b"").status, 200, "others do not notice");
}
