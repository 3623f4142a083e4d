//! Approvals that replicas share: asked for at one, decided at another, used once among all.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::{RedisServer, config};
use crate::approvals::ends::steps;
use crate::approvals::stand::{BODY, Sent, Stand, TARGET, approvals, counted, decide_at, lines, listener};
use crate::doors::Running;
use crate::harness::{Reply, Scripted, eventually, request};

/// Proxies in front of one server, with one store.
struct Replicas {
    redis: RedisServer,
    server: Arc<Scripted>,
    sent: Sent,
    proxies: Vec<Stand>,
}

impl Replicas {
    /// `None` where there is no store to test with.
    fn start(count: usize, settings: &str) -> Option<Self> {
        Self::with(count, settings, |_| String::new())
    }

    /// The same with more TOML for each.
    fn with(count: usize, settings: &str, more: impl Fn(usize) -> String) -> Option<Self> {
        let redis = RedisServer::start()?;
        let (server, sent) = counted();
        let one =
            |number: usize| Stand::before(&server, &sent, settings, &format!("{}\n{}", more(number), config(&redis)));
        let proxies = (0..count).map(one).collect();
        Some(Self { redis, server, sent, proxies })
    }

    fn count_sent(&self) -> usize {
        self.sent.lock().expect("a list").len()
    }

    /// Waits until the state is this at each replica.
    fn all_show(&self, id: &str, state: &str) {
        for (number, proxy) in self.proxies.iter().enumerate() {
            eventually(&format!("{id} is {state} at {number}"), || {
                proxy.list().iter().any(|one| one["id"] == id && one["state"] == state)
            });
        }
    }

    /// One more, as a process of its own.
    fn process(&self, settings: &str) -> Process {
        let text = format!(
            "[instances.main]\n{}\nclient-id = \"x\"\nclient-secret = {{ env = \"TEST_SECRET\" }}\n\
             [admin]\naddress = \"127.0.0.1:0\"\n{}\n{}[listeners.local]\naddress = \"127.0.0.1:0\"\n{}",
            self.server.instance(),
            config(&self.redis),
            approvals(settings, &["lead", "deputy"]),
            listener()
        );
        let running = Running::start(&text, "TEST_SECRET=secret exec \"$0\"", Stdio::null());
        let log = running.log();
        let address = |mark: &str| {
            let rest = log.split(mark).nth(1).and_then(|rest| rest.split("address=http://").nth(1));
            rest.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).expect("an address")
        };
        let (local, admin) = (address("listening listener=local"), address("admin listening"));
        Process { running, address: local, admin }
    }
}

/// A replica that can be killed.
struct Process {
    running: Running,
    address: SocketAddr,
    admin: SocketAddr,
}

impl Process {
    /// Sends the request of a caller in a thread of its own; nothing if the process is killed meanwhile.
    fn ask_aside(&self) -> thread::JoinHandle<Option<Reply>> {
        let address = self.address;
        thread::spawn(move || {
            std::panic::catch_unwind(|| request(address, "POST", TARGET, &lines("agent", ""), BODY)).ok()
        })
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.running.id().to_string()]).status().expect("kill runs");
        assert!(sent.success());
    }
}

/// Repeats a request until the store has settled, which 202 says: approved, and not yet to be used.
fn use_up(stand: &Stand, id: &str) -> Reply {
    let mut reply = None;
    eventually("it is used or refused", || {
        let one = stand.repeat("agent", id, BODY);
        let waits = one.status == 202;
        reply = Some(one);
        !waits
    });
    reply.expect("an answer")
}

#[test]
fn an_approval_is_asked_for_decided_and_used_at_different_replicas() {
    let Some(replicas) = Replicas::start(3, "wait = \"0s\"") else { return };
    let [a, b, c] = &replicas.proxies[..] else { panic!("three") };
    let id = a.ask_id();
    assert_eq!(b.list()[0]["id"], id.as_str(), "it is seen at once elsewhere");
    let shown = request(
        c.proxy.admin,
        "GET",
        &format!("/approvals/{id}"),
        &format!("Authorization: Bearer {}\r\n", crate::approvals::stand::key("lead")),
        b"",
    );
    let shown = shown.json();
    assert!(shown["body"].as_str().is_some_and(|body| body.contains("SCRIPT")), "all of it is shown: {shown}");
    assert_eq!((&shown["query"], &shown["peer"].is_string()), (&"note=seven".into(), &true), "{shown}");
    assert_eq!(b.decide("lead", &id, "approve").json()["state"], "approved");
    assert_eq!(c.status("agent", &id).json()["state"], "approved");
    let mut other = BODY.to_vec();
    other[10] = b'x';
    assert_eq!(c.repeat("agent", &id, &other).code(), "approval-mismatch", "it is bound at each replica");
    assert_eq!(use_up(c, &id).status, 200);
    for stand in &replicas.proxies {
        assert_eq!(stand.repeat("agent", &id, BODY).code(), "approval-used");
    }
    assert_eq!(replicas.count_sent(), 1);
    replicas.all_show(&id, "used");
}

#[test]
fn uses_at_all_replicas_at_once_send_one_request() {
    let Some(replicas) = Replicas::start(3, "wait = \"0s\"") else { return };
    for round in 0..5 {
        let id = replicas.proxies[round % 3].ask_id();
        assert_eq!(replicas.proxies[(round + 1) % 3].decide("lead", &id, "approve").status, 200);
        let before = replicas.count_sent();
        let statuses: Vec<u16> = thread::scope(|scope| {
            let uses: Vec<_> = (0..9)
                .map(|number| {
                    let (stand, id) = (&replicas.proxies[number % 3], &id);
                    scope.spawn(move || use_up(stand, id).status)
                })
                .collect();
            uses.into_iter().map(|one| one.join().expect("an answer")).collect()
        });
        assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
        assert_eq!(statuses.iter().filter(|status| **status == 403).count(), 8, "{statuses:?}");
        assert_eq!(replicas.count_sent(), before + 1);
    }
}

#[test]
fn votes_at_two_replicas_count_together() {
    let Some(replicas) = Replicas::start(3, "wait = \"0s\"\nrequired = 2") else { return };
    let [a, b, c] = &replicas.proxies[..] else { panic!("three") };
    let id = a.ask_id();
    thread::scope(|scope| {
        for (stand, approver) in [(b, "lead"), (c, "deputy")] {
            let id = &id;
            scope.spawn(move || assert_eq!(stand.decide(approver, id, "approve").status, 200));
        }
    });
    assert_eq!(a.status("agent", &id).json()["approvals"], 2);
    assert_eq!(use_up(a, &id).status, 200);
    let id = b.ask_id();
    for stand in [a, b, c] {
        assert_eq!(stand.decide("lead", &id, "approve").json()["approvals"], 1, "nobody counts twice");
    }
    assert_eq!(c.repeat("agent", &id, BODY).status, 202);
    assert_eq!(replicas.count_sent(), 1);
}

#[test]
fn a_decision_elsewhere_wakes_the_caller_that_is_held() {
    let Some(replicas) = Replicas::start(2, "wait = \"20s\"") else { return };
    let [a, b] = &replicas.proxies[..] else { panic!("two") };
    let held = a.ask_aside();
    let id = b.waiting();
    assert_eq!(b.decide("lead", &id, "deny").status, 200);
    let reply = held.join().expect("an answer");
    assert_eq!((reply.status, reply.code()), (403, "approval-denied".to_owned()));
    assert!(reply.json()["detail"].as_str().is_some_and(|detail| detail.contains("by a test")), "{reply:?}");
    assert_eq!(replicas.count_sent(), 0);
    let held = a.ask_aside();
    let id = b.waiting();
    assert_eq!(b.decide("lead", &id, "approve").status, 200);
    assert_eq!(held.join().expect("an answer").status, 200);
    assert_eq!(replicas.count_sent(), 1);
    let held = a.begin();
    let id = b.waiting();
    drop(held);
    eventually("it is withdrawn everywhere", || {
        b.list().iter().any(|one| one["id"] == id.as_str() && one["withdrawn"] == true)
    });
    assert_eq!(b.decide("lead", &id, "approve").code_of_problem(), "approval-over");
}

#[test]
fn a_decision_outlives_the_replica_that_waits_for_it() {
    let Some(replicas) = Replicas::start(1, "wait = \"0s\"") else { return };
    let stand = &replicas.proxies[0];
    let mut killed = replicas.process("wait = \"60s\"");
    let held = killed.ask_aside();
    let id = stand.waiting();
    killed.signal("-KILL");
    let _ = held.join();
    killed.running.kill();
    assert_eq!(stand.decide("lead", &id, "approve").json()["state"], "approved");
    assert_eq!(use_up(stand, &id).status, 200, "whoever knows the id goes on elsewhere");

    let stopped = replicas.process("wait = \"60s\"");
    let held = stopped.ask_aside();
    let id = stand.waiting();
    stopped.signal("-TERM");
    let reply = held.join().expect("an end").expect("an answer");
    assert_eq!((reply.status, &reply.json()["id"]), (202, &id.as_str().into()), "{reply:?}");
    let next = replicas.process("wait = \"0s\"");
    assert_eq!(decide_at(next.admin, "lead", &id, "approve").status, 200, "one that started later knows it");
    assert_eq!(use_up(stand, &id).status, 200);
    assert_eq!(replicas.count_sent(), 2);
}

#[test]
fn without_the_store_nothing_is_asked_decided_or_used_and_with_it_all_goes_on() {
    let Some(mut replicas) = Replicas::start(2, "wait = \"0s\"") else { return };
    let (waiting, approved) = (replicas.proxies[0].ask_id(), replicas.proxies[0].ask_id());
    assert_eq!(replicas.proxies[1].decide("lead", &approved, "approve").status, 200);
    replicas.all_show(&approved, "approved");
    replicas.redis.stop();
    for stand in &replicas.proxies {
        let begun = Instant::now();
        let asked = stand.ask("agent", "", BODY);
        assert_eq!((asked.status, asked.code()), (503, "approvals-unreachable".to_owned()));
        assert_eq!(asked.header("retry-after"), "5");
        assert_eq!(stand.repeat("agent", &approved, BODY).code(), "approvals-unreachable");
        let vote = stand.decide("lead", &waiting, "approve");
        assert_eq!((vote.status, vote.code_of_problem()), (503, "approvals-unreachable".to_owned()));
        assert_eq!(stand.status("agent", &approved).json()["state"], "approved", "what is known is told");
        assert_eq!(stand.list().iter().filter(|one| one["withdrawn"] == false).count(), 2);
        assert!(begun.elapsed() < Duration::from_secs(8), "nothing waits for the store: {:?}", begun.elapsed());
    }
    assert_eq!(replicas.count_sent(), 0);
    replicas.redis.start_again();
    let [a, b] = &replicas.proxies[..] else { panic!("two") };
    for (stand, approver) in [(a, "lead"), (b, "deputy")] {
        eventually("votes are taken again", || stand.decide(approver, &waiting, "approve").status == 200);
    }
    assert_eq!(use_up(b, &waiting).status, 200);
    assert_eq!(use_up(a, &approved).status, 200);
    assert_eq!(replicas.count_sent(), 2);

    let last = a.ask_id();
    replicas.redis.pause();
    let begun = Instant::now();
    for reply in [a.ask("agent", "", BODY), b.repeat("agent", &last, BODY)] {
        assert_eq!((reply.status, reply.code()), (503, "approvals-unreachable".to_owned()));
    }
    assert!(begun.elapsed() < Duration::from_secs(8), "nothing waits long for it: {:?}", begun.elapsed());
    replicas.redis.resume();
    eventually("it is decided", || a.decide("lead", &last, "deny").status == 200);
    eventually("it is told elsewhere", || b.status("agent", &last).json()["state"] == "denied");
}

#[test]
fn a_store_that_was_emptied_is_told_again_and_gives_no_second_use() {
    let Some(replicas) = Replicas::start(2, "wait = \"0s\"") else { return };
    let [a, b] = &replicas.proxies[..] else { panic!("two") };
    let [used, denied, approved, waiting] = [a.ask_id(), a.ask_id(), b.ask_id(), b.ask_id()];
    for id in [&used, &approved] {
        assert_eq!(a.decide("lead", id, "approve").status, 200);
    }
    assert_eq!(b.decide("lead", &denied, "deny").status, 200);
    assert_eq!(use_up(b, &used).status, 200);
    for (id, state) in [(&used, "used"), (&denied, "denied"), (&approved, "approved"), (&waiting, "waiting")] {
        replicas.all_show(id, state);
    }
    replicas.redis.cli(&["flushall"]);
    for stand in &replicas.proxies {
        assert_eq!(use_up(stand, &used).code(), "approval-used");
        assert_eq!(use_up(stand, &denied).code(), "approval-denied");
    }
    assert_eq!(b.decide("lead", &waiting, "approve").json()["state"], "approved");
    assert_eq!(use_up(a, &waiting).status, 200);
    assert_eq!(use_up(a, &approved).status, 200);
    assert_eq!(use_up(b, &approved).code(), "approval-used");
    assert_eq!(replicas.count_sent(), 3);
    let late = replicas.process("wait = \"0s\"");
    let state = |id: &str| {
        let path = format!("/.well-known/ninjaone-proxy/approvals/{id}");
        request(late.address, "GET", &path, &lines("agent", ""), b"").json()["state"].clone()
    };
    assert_eq!((state(&used), state(&denied)), ("used".into(), "denied".into()), "the store has it again");
}

#[test]
fn a_use_outlasts_the_store_and_all_replicas_where_the_store_writes_to_its_disk() {
    let Some(redis) = RedisServer::with(&["--appendonly", "yes", "--appendfsync", "always"]) else { return };
    let (server, sent) = counted();
    let one = |_| Stand::before(&server, &sent, "wait = \"0s\"", &config(&redis));
    let proxies = (0..2).map(one).collect();
    let mut replicas = Replicas { redis, server: Arc::clone(&server), sent: Arc::clone(&sent), proxies };
    let [a, b] = &replicas.proxies[..] else { panic!("two") };
    let (used, waiting) = (a.ask_id(), a.ask_id());
    assert_eq!(b.decide("lead", &used, "approve").status, 200);
    assert_eq!(use_up(a, &used).status, 200);
    replicas.redis.stop();
    replicas.proxies.clear();
    replicas.redis.start_again();
    let next = Stand::before(&server, &sent, "wait = \"0s\"", &config(&replicas.redis));
    assert_eq!(use_up(&next, &used).code(), "approval-used");
    assert_eq!(next.decide("lead", &waiting, "approve").json()["state"], "approved");
    assert_eq!(use_up(&next, &waiting).status, 200);
    assert_eq!(replicas.count_sent(), 2);
}

/// The status of an answer; nothing from a replica that was killed.
fn try_repeat(address: SocketAddr, target: &str, id: &str) -> Option<u16> {
    let mut stream = std::net::TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    let fields = lines("agent", &format!("X-Approval-Id: {id}\r\n"));
    let length = BODY.len();
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n{fields}\r\n"
    );
    stream.write_all(&[head.as_bytes(), BODY].concat()).ok()?;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).split(' ').nth(1)?.parse().ok()
}

#[test]
fn kills_of_replicas_and_of_the_store_send_nothing_twice() {
    let rounds: u64 = std::env::var("APPROVAL_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let mut passed = 0;
    for round in 0..rounds {
        let Some(redis) = RedisServer::with(&["--appendonly", "yes", "--appendfsync", "always"]) else { return };
        let (server, sent) = counted();
        let proxies = vec![Stand::before(&server, &sent, "wait = \"0s\"", &config(&redis))];
        let mut replicas = Replicas { redis, server, sent, proxies };
        let mut processes = [(); 2].map(|()| replicas.process("wait = \"0s\""));
        let asked: Vec<(String, String)> = (0..12)
            .map(|number| {
                let target = TARGET.replace("seven", &format!("n{number}."));
                let reply = replicas.proxies[0].proxy.send("POST", &target, &lines("agent", ""), BODY);
                let id = reply.json()["id"].as_str().expect("an id").to_owned();
                assert_eq!(replicas.proxies[0].decide("lead", &id, "approve").status, 200);
                (target, id)
            })
            .collect();
        let addresses = [replicas.proxies[0].proxy.address, processes[0].address, processes[1].address];
        let until = Instant::now() + Duration::from_secs(12);
        let answers: Vec<Option<u16>> = thread::scope(|scope| {
            let uses: Vec<_> = asked
                .iter()
                .flat_map(|asked| addresses.map(|address| (asked, address)))
                .map(|((target, id), address)| {
                    scope.spawn(move || {
                        loop {
                            let status = try_repeat(address, target, id);
                            // 202 and 503: not now.
                            if !matches!(status, Some(202 | 503)) || Instant::now() > until {
                                return status;
                            }
                            thread::sleep(Duration::from_millis(fastrand::u64(..40)));
                        }
                    })
                })
                .collect();
            thread::sleep(Duration::from_millis(fastrand::u64(..4000)));
            if round % 2 == 0 {
                replicas.redis.stop();
            }
            processes[0].running.kill();
            if round % 2 == 0 {
                replicas.redis.start_again();
            }
            uses.into_iter().map(|one| one.join().expect("an answer")).collect()
        });
        for (number, (_, id)) in asked.iter().enumerate() {
            let heads = replicas.sent.lock().expect("a list").clone();
            let count = heads.iter().filter(|(head, _)| head.contains(&format!("=n{number}. "))).count();
            assert!(count <= 1, "{id} was sent {count} times");
            passed += count;
        }
        let good = answers.iter().filter(|status| **status == Some(200)).count();
        assert!(good <= replicas.count_sent() && good > 0, "{answers:?}");
    }
    println!("{rounds} rounds: {passed} of {} requests were sent, none twice", 12 * rounds);
}

#[test]
fn what_no_replica_wrote_so_is_ignored() {
    let Some(replicas) = Replicas::start(2, "wait = \"0s\"") else { return };
    let [a, b] = &replicas.proxies[..] else { panic!("two") };
    let id = a.ask_id();
    replicas.all_show(&id, "waiting");
    let entries = replicas.redis.cli(&["--scan", "--pattern", "*:approval:*"]);
    let entry = entries.lines().next().expect("an entry").to_owned();
    assert!(!entry.contains(&id), "a name tells nothing");
    let whole = replicas.redis.cli(&["hgetall", &entry]);
    for secret in ["hunter2", "agent", "/v2/device", "seven"] {
        assert!(!whole.contains(secret), "{secret} is readable in the store");
    }
    // Another one's ballot, a version that is none, and no ballot at all.
    let other = b.ask_id();
    let others = replicas.redis.cli(&["--scan", "--pattern", "*:approval:*"]);
    let second = others.lines().find(|line| *line != entry).expect("another entry").to_owned();
    assert_eq!(b.decide("lead", &other, "approve").status, 200);
    let script = "local m = redis.call('HMGET', KEYS[2], 'v', 'm') redis.call('HSET', KEYS[1], 'v', m[1], 'm', m[2])";
    replicas.redis.cli(&["eval", script, "2", &entry, &second]);
    assert_eq!(a.status("agent", &id).json()["state"], "waiting", "a yes for another request is none for this one");
    assert_eq!(a.repeat("agent", &id, BODY).status, 202);
    for (field, value) in [("v", "99"), ("m", "x"), ("v", "none")] {
        replicas.redis.cli(&["hset", &entry, field, value]);
        assert_eq!(b.status("agent", &id).json()["state"], "waiting", "{field}");
    }
    assert_eq!(b.decide("lead", &id, "approve").json()["state"], "approved", "it was written anew");
    assert_eq!(use_up(a, &id).status, 200);
    assert_eq!(replicas.count_sent(), 1);
}

#[test]
fn bodies_of_a_megabyte_are_shown_at_each_replica() {
    let Some(replicas) = Replicas::start(2, "wait = \"0s\"") else { return };
    let [a, b] = &replicas.proxies[..] else { panic!("two") };
    let mut body = vec![b' '; 1 << 20];
    body[..8].copy_from_slice(br#"{"id":1}"#);
    let reply = a.ask("agent", "", &body);
    assert_eq!(reply.status, 202, "{reply:?}");
    let id = reply.json()["id"].as_str().expect("an id").to_owned();
    let key = format!("Authorization: Bearer {}\r\n", crate::approvals::stand::key("deputy"));
    let shown = request(b.proxy.admin, "GET", &format!("/approvals/{id}"), &key, b"").json();
    assert_eq!(shown["bodyBytes"], 1 << 20);
    assert!(shown["body"].as_str().is_some_and(|text| text.contains("id")), "{}", shown["bodyForm"]);
    assert_eq!(b.decide("deputy", &id, "approve").status, 200);
    let mut reply = b.repeat("agent", &id, &body);
    eventually("it is used", || {
        if reply.status == 202 {
            reply = b.repeat("agent", &id, &body);
        }
        reply.status == 200
    });
    assert_eq!(replicas.count_sent(), 1);
}

#[test]
fn each_step_is_recorded_by_one_replica() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |number: usize| folder.path().join(format!("audit-{number}.jsonl"));
    let more = |number| format!("[audit]\nfile = {:?}\n", file(number));
    let Some(mut replicas) = Replicas::with(3, "wait = \"0s\"\nexpires = \"12s\"", more) else { return };
    let [a, b, c] = &replicas.proxies[..] else { panic!("three") };
    let (used, denied, expired) = (a.ask_id(), a.ask_id(), b.ask_id());
    assert_eq!(b.decide("lead", &used, "approve").status, 200);
    assert_eq!(use_up(c, &used).status, 200);
    assert_eq!(c.decide("deputy", &denied, "deny").status, 200);
    replicas.all_show(&expired, "expired");
    eventually("the end is recorded", || {
        (0..3).any(|number| std::fs::read_to_string(file(number)).expect("text").contains("\"step\":\"expired\""))
    });
    let ending = replicas.proxies.iter_mut().map(|stand| stand.proxy.shut_down()).collect::<Vec<_>>();
    ending.into_iter().for_each(|end| end.join().expect("an end"));
    let of = |id: &str| -> Vec<(usize, String)> {
        let all = (0..3).flat_map(|number| steps(&file(number)).into_iter().map(move |step| (number, step)));
        let own = all.filter(|(_, step)| step["approval"] == id);
        own.map(|(number, step)| (number, step["step"].as_str().expect("a step").to_owned())).collect()
    };
    let step = |number: usize, name: &str| (number, name.to_owned());
    assert_eq!(of(&used), [step(0, "asked"), step(1, "approved"), step(2, "used")]);
    assert_eq!(of(&denied), [step(0, "asked"), step(2, "denied")]);
    let expiry = of(&expired);
    assert_eq!(expiry.len(), 2, "one replica has recorded the end: {expiry:?}");
    assert!(expiry.contains(&step(1, "asked")) && expiry.iter().any(|(_, name)| name == "expired"), "{expiry:?}");
}
