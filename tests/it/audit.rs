//! The audit log of a running proxy: what stands in it, when, and what becomes of writes when it cannot be written.

use std::io::Write;
use std::path::{MAIN_SEPARATOR, Path};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::harness::{Proxy, Scripted, Then, answer, connect, eventually, run_binary};

const BOTH: &str = "scopes = [\"monitoring\", \"management\"]";
const REBOOT: &str = "/v2/device/7/reboot/NORMAL";

/// A proxy with an audit log in a folder of its own; `rest` goes on with the table `[audit]`.
fn audited(instance: &str, listener: &str, rest: &str) -> (Proxy, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("audit.jsonl");
    (Proxy::start(instance, listener, &format!("[audit]\nfile = {file:?}\n{rest}")), folder)
}

fn text(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("audit.jsonl")).expect("a log")
}

/// The lines of these kinds.
fn lines(folder: &Path, kinds: &[&str]) -> Vec<Value> {
    let text = text(folder);
    // The last one may be in the midst of being written.
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let parsed: Vec<Value> = whole.map(|line| serde_json::from_str(line).expect("JSON")).collect();
    parsed.into_iter().filter(|line| kinds.contains(&line["kind"].as_str().expect("a kind"))).collect()
}

fn verify(folder: &Path, more: &[&str]) -> (i32, String) {
    let (code, said, _) = run_binary(folder, &[&["audit", "verify", "audit.jsonl"], more].concat(), &[]);
    (code, said)
}

#[test]
fn a_write_has_two_lines_and_a_refusal_one_and_a_read_that_is_permitted_none() {
    let hash = ninjaone_proxy::proxy::authn::key::KeyHash::of(b"desk-key");
    let listener = format!(
        "{BOTH}\nallow = [\"POST /v2/device/{{id}}/reboot/**\"]\n[listeners.local.callers.desk]\nkey = \"{hash}\"\n{BOTH}\ngroups = [\"devices-read\"]\nallow = [\"POST /v2/device/{{id}}/reboot/**\"]"
    );
    let (mut proxy, folder) = audited("host = \"sandbox\"", &listener, "");
    const TRACE: &str =
        "X-Api-Key: desk-key\r\nTraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n";
    let done =
        proxy.send("POST", &format!("/ws/api{REBOOT}?reason=secret-reason"), TRACE, b"{\"reason\":\"secret-body\"}");
    assert!(done.status < 300, "{done:?}");
    for path in ["/v2/devices?df=secret-filter", "/v2/device/7"] {
        assert_eq!(proxy.send("GET", path, TRACE, b"").status, 200);
        assert_eq!(proxy.send("HEAD", path, TRACE, b"").status, 200);
    }
    assert_eq!(proxy.send("GET", "/v2/users?x=secret-value", TRACE, b"").code(), "group-not-open");
    assert_eq!(proxy.send("DELETE", "/v2/device/9/nothing", "", b"").code(), "key-missing");
    assert_eq!(proxy.send("GET", "/v2/device/7/../users", TRACE, b"").code(), "target-malformed");
    let mut odd = connect(proxy.address);
    odd.write_all(b"nonsense\r\n\r\n").expect("bytes");
    assert_eq!(crate::harness::Reply::read(&mut odd, false).status, 400);
    proxy.shut_down().join().expect("an end");

    let all = lines(folder.path(), &["begin", "intent", "outcome", "refusal", "end"]);
    let kinds: Vec<_> = all.iter().map(|line| line["kind"].as_str().expect("a kind")).collect();
    assert_eq!(kinds, ["begin", "intent", "outcome", "refusal", "refusal", "refusal", "refusal", "end"]);
    for line in &all[1..3] {
        for (key, wanted) in [
            ("listener", "local"),
            ("caller", "desk"),
            ("method", "POST"),
            ("operation", "POST /v2/device/{id}/reboot/{mode}"),
            ("path", REBOOT),
            ("decision", "permitted"),
            ("rule", "POST /v2/device/{id}/reboot/**"),
            ("trace", "0af7651916cd43dd8448eb211c80319c"),
        ] {
            assert_eq!(line[key], wanted, "{line}");
        }
        assert!(line["peer"].as_str().is_some_and(|peer| peer.starts_with("127.0.0.1:")), "{line}");
    }
    assert_eq!((&all[2]["status"], &all[2]["id"]), (&done.status.into(), &all[1]["id"]));
    let told = |line: &Value, code: &str, blame: &str, status: u16| {
        assert_eq!(
            (&line["code"], &line["blame"], &line["status"], &line["decision"]),
            (&code.into(), &blame.into(), &status.into(), &"refused".into()),
            "{line}"
        );
    };
    told(&all[3], "group-not-open", "caller", 403);
    assert_eq!((&all[3]["rule"], &all[3]["path"]), (&"group:users-and-roles".into(), &"/v2/users".into()));
    told(&all[4], "key-missing", "caller", 401);
    assert_eq!((&all[4]["caller"], &all[4]["path"]), (&Value::Null, &"/v2/device/9/nothing".into()));
    told(&all[5], "target-malformed", "caller", 400);
    assert_eq!(all[5]["path"], "/v2/device/7/../users", "as it came");
    told(&all[6], "request-malformed", "caller", 400);
    let text = text(folder.path());
    assert!(!text.contains("secret") && !text.contains("desk-key"), "no query, body or key: {text}");
    let (code, said) = verify(folder.path(), &[]);
    assert!(
        code == 0
            && said.contains("audit.jsonl: 8 lines in 1 file")
            && said.ends_with("the log is complete and unchanged\n"),
        "{said}"
    );
}

#[test]
fn what_an_observing_listener_lets_pass_against_its_rules_is_recorded() {
    let listener = format!("mode = \"observe\"\n{BOTH}\ngroups = [\"queries\"]\ndeny = [\"POST /v2/device/**\"]");
    let (mut proxy, folder) = audited("host = \"sandbox\"", &listener, "");
    assert_eq!(proxy.get("/v2/queries/software").status, 200);
    assert_eq!(proxy.get("/v2/devices").status, 200);
    assert!(proxy.send("POST", REBOOT, "", b"{}").status < 300);
    proxy.shut_down().join().expect("an end");
    let all = lines(folder.path(), &["intent", "outcome"]);
    let told: Vec<_> =
        all.iter().map(|line| (&line["kind"], &line["method"], &line["overruled"], &line["rule"])).collect();
    let (outcome, denied) = (Value::from("outcome"), (Value::from("rule-denied"), Value::from("POST /v2/device/**")));
    assert_eq!(told.len(), 3, "{all:?}");
    assert_eq!(told[0], (&outcome, &"GET".into(), &"group-not-open".into(), &"group:devices-read".into()));
    assert_eq!(told[1], (&"intent".into(), &"POST".into(), &denied.0, &denied.1));
    assert_eq!(told[2], (&outcome, &"POST".into(), &denied.0, &denied.1));
    assert!(all.iter().all(|line| line["decision"] == "overruled"), "{all:?}");
}

#[test]
fn the_intent_is_in_the_file_before_the_write_goes_up_and_the_outcome_before_it_is_answered() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, seen) = (folder.path().to_owned(), Arc::new(Mutex::new(Vec::new())));
    let see = Arc::clone(&seen);
    let server = Scripted::start(move |mut asked| {
        see.lock().expect("a lock").push(lines(&path, &["intent"]).len());
        asked.answer(&answer("200 OK", "{}"));
        Then::Continue
    });
    let file = folder.path().join("audit.jsonl");
    let proxy = Proxy::start(&server.instance(), BOTH, &format!("[audit]\nfile = {file:?}"));
    for count in 1..=20 {
        assert_eq!(proxy.send("POST", REBOOT, "", b"").status, 200);
        assert_eq!(lines(folder.path(), &["outcome"]).len(), count);
    }
    assert_eq!(*seen.lock().expect("a lock"), (1..=20).collect::<Vec<_>>());
}

#[test]
fn a_write_whose_caller_leaves_and_one_that_fails_have_an_outcome_too() {
    let server = Scripted::start(|asked| {
        if asked.number == 0 {
            std::thread::sleep(std::time::Duration::from_millis(500));
        }
        Then::Close
    });
    let (proxy, folder) = audited(&server.instance(), BOTH, "");
    let mut caller = connect(proxy.address);
    caller
        .write_all(format!("POST {REBOOT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n").as_bytes())
        .expect("a head");
    eventually("the intent", || lines(folder.path(), &["intent"]).len() == 1);
    drop(caller);
    eventually("its outcome", || lines(folder.path(), &["outcome"]).len() == 1);
    let left = &lines(folder.path(), &["outcome"])[0];
    assert_eq!((&left["status"], &left["path"]), (&Value::Null, &REBOOT.into()));
    assert_eq!(proxy.send("POST", REBOOT, "", b"").code(), "upstream-broken");
    let failed = &lines(folder.path(), &["outcome"])[1];
    assert_eq!(
        (&failed["status"], &failed["code"], &failed["blame"]),
        (&502.into(), &"upstream-broken".into(), &"upstream".into())
    );
    assert_eq!(lines(folder.path(), &["refusal"]).len(), 0, "the outcome says it");
}

#[test]
fn a_log_goes_on_over_restarts_and_in_further_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("audit.jsonl");
    for _ in 0..2 {
        let rest = format!("[audit]\nfile = {file:?}\nmax-size = \"64KiB\"\nsync = \"never\"");
        let proxy = Proxy::start("host = \"sandbox\"", BOTH, &rest);
        let mut stream = connect(proxy.address);
        for _ in 0..100 {
            stream
                .write_all(format!("POST {REBOOT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n").as_bytes())
                .expect("a head");
            assert!(crate::harness::Reply::read(&mut stream, false).status < 300);
        }
    }
    let (code, said) = verify(folder.path(), &[]);
    assert!(code == 0 && said.contains("audit.jsonl: 404 lines in "), "{said}");
    let count = std::fs::read_dir(folder.path()).expect("a folder").count();
    assert!(count >= 4, "{count} files");

    let head = said.lines().find_map(|line| line.strip_prefix("head ")).expect("a head").to_owned();
    let second = std::fs::read_dir(folder.path()).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut asides: Vec<_> = second.filter(|path| path.to_string_lossy().contains(".jsonl.0")).collect();
    asides.sort();
    let text = std::fs::read_to_string(&asides[1]).expect("a file");
    let tampered = text.replacen("/v2/device/7/", "/v2/device/8/", 1);
    std::fs::write(&asides[1], &tampered).expect("a file");
    let (code, said) = verify(folder.path(), &[]);
    let name = asides[1].file_name().and_then(|name| name.to_str()).expect("a name");
    let first: u64 = name.rsplit('.').next().and_then(|number| number.parse().ok()).expect("a number");
    assert!(code == 1 && said.contains(&format!("{name}:1: changed: line {first} is not as written")), "{said}");
    std::fs::write(&asides[1], &text).expect("a file");
    assert_eq!(verify(folder.path(), &["--known", &head]).0, 0);
    let (code, said) = verify(folder.path(), &["--known", &head.replacen("404:", "405:", 1)]);
    assert!(code == 1 && said.contains("cut: line 405 is missing at the end"), "{said}");
}

#[test]
fn audit_log_is_in_the_folder_for_state_if_it_is_enabled_without_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("state");
    let state = state.to_str().expect("text");
    for (audit, place) in [
        ("enabled = true", Some(format!("{state}{MAIN_SEPARATOR}audit.jsonl\n"))),
        ("enabled = true\nfile = \"here.jsonl\"", Some("here.jsonl\n".to_owned())),
        ("file = \"here.jsonl\"", Some("here.jsonl\n".to_owned())),
        ("enabled = false\nfile = \"here.jsonl\"", None),
        ("", None),
    ] {
        std::fs::write(folder.path().join("config.toml"), format!("[audit]\n{audit}")).expect("a file");
        let (code, said, _) = run_binary(folder.path(), &["check"], &[("STATE_DIRECTORY", state)]);
        let told = said.split("writes and refusals are recorded in ").nth(1);
        assert!(code == 0 && told.is_some() == place.is_some(), "{said}");
        assert!(told.zip(place).is_none_or(|(told, place)| told.starts_with(&place)), "{said}");
    }
}

#[test]
fn verify_needs_a_log_and_says_what_it_lacks() {
    let folder = tempfile::tempdir().expect("a folder");
    let (code, _, said) = run_binary(folder.path(), &["audit", "verify"], &[]);
    assert!(code == 64 && said.contains("there is no audit log in the configuration: name its file"), "{said}");
    let (code, _, said) = run_binary(folder.path(), &["audit", "verify", "none"], &[]);
    assert!(code == 65 && said.contains("there is no audit log none"), "{said}");
    for known in ["7".to_owned(), format!("0:{:064}", 0)] {
        let (code, _, said) = run_binary(folder.path(), &["audit", "verify", "none", "--known", &known], &[]);
        assert!(code == 64 && said.contains("a head is the number of a line (from 1)"), "{said}");
    }
    std::fs::write(folder.path().join("config.toml"), "[audit]\nfile = \"here/audit.jsonl\"").expect("a file");
    std::fs::create_dir(folder.path().join("here")).expect("a folder");
    std::fs::write(folder.path().join("here/audit.jsonl"), "").expect("a file");
    let (code, said, _) = run_binary(folder.path(), &["audit", "verify"], &[]);
    assert!(code == 1 && said.contains("audit.jsonl.head: missing"), "{said}");
    for (text, wanted) in [
        ("[audit]\nmax-size = \"63KiB\"", "audit.max-size: \"63KiB\" is too small: write 64KiB or more"),
        ("[audit]\nsync = \"maybe\"", "valid are write, never"),
        ("[audit]\non-failure = \"refused\"", "did you mean \"refuse\"?"),
        ("[audit]\nfiel = \"x\"", "did you mean \"file\"?"),
    ] {
        std::fs::write(folder.path().join("config.toml"), text).expect("a file");
        let (code, _, said) = run_binary(folder.path(), &["check"], &[]);
        assert!(code == 78 && said.contains(wanted), "{said}");
    }
}

#[cfg(target_os = "linux")]
mod process {
    use std::net::SocketAddr;
    use std::process::Stdio;

    use super::*;
    use crate::doors::Running;
    use crate::harness::{Ninja, request};
    use crate::watch::SECRET;

    const SHELL: &str = "exec \"$0\"";

    fn config(ninja: &Ninja, audit: &str) -> String {
        format!(
            "[instances.main]\n{}\nclient-id = \"sandbox\"\nclient-secret = {{ env = \"NINJA_SECRET\" }}\n\
             [listeners.local]\naddress = \"127.0.0.1:0\"\n{BOTH}\n[admin]\naddress = \"127.0.0.1:0\"\n\
             [log]\nlevel = \"info,access=off\"\n[audit]\nfile = \"audit.jsonl\"\n{audit}\n",
            ninja.instance()
        )
    }

    fn start(config: &str, shell: &str) -> (Running, SocketAddr, SocketAddr) {
        let running = Running::start(config, &format!("export NINJA_SECRET={SECRET}; {shell}"), Stdio::null());
        let log = running.log();
        let address = |mark: &str| {
            let rest = log.split(mark).nth(1).expect("an address");
            rest.split("address=http://")
                .nth(1)
                .and_then(|rest| rest.split_whitespace().next())
                .expect("an address")
                .parse()
        };
        let (local, admin) = (address("listening listener=local"), address("admin listening"));
        (running, local.expect("an address"), admin.expect("an address"))
    }

    fn post(address: SocketAddr) -> crate::harness::Reply {
        request(address, "POST", REBOOT, "", b"")
    }

    #[test]
    fn a_log_of_a_process_that_was_killed_while_it_wrote_is_whole_and_goes_on() {
        let ninja = Ninja::start(|_| {});
        let text = config(&ninja, "max-size = \"64KiB\"");
        let (running, address, _) = start(&text, SHELL);
        let kept = tempfile::tempdir().expect("a folder");
        let kept = kept.path();
        let writers: Vec<_> = (0..8)
            .map(|_| {
                std::thread::spawn(move || {
                    let mut answered = 0_u64;
                    while let Ok(mut stream) = std::net::TcpStream::connect(address) {
                        let head = format!("POST {REBOOT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
                        let mut answer = [0; 12];
                        let read = |stream: &mut std::net::TcpStream, answer: &mut [u8]| {
                            std::io::Read::read_exact(stream, answer)
                        };
                        if stream.write_all(head.as_bytes()).is_err() || read(&mut stream, &mut answer).is_err() {
                            break;
                        }
                        answered += u64::from(answer.starts_with(b"HTTP/1.1 2"));
                    }
                    answered
                })
            })
            .collect();
        eventually("many writes", || ninja.counts().api_requests > 150);
        let folder = running.folder.path().to_owned();
        let copied = || {
            for entry in std::fs::read_dir(&folder).expect("a folder") {
                let entry = entry.expect("an entry");
                std::fs::copy(entry.path(), kept.join(entry.file_name())).expect("a copy");
            }
        };
        let killed = rustix::process::Pid::from_raw(running.id().cast_signed()).expect("a process");
        rustix::process::kill_process(killed, rustix::process::Signal::KILL).expect("an end");
        let answered: u64 = writers.into_iter().map(|writer| writer.join().expect("a count")).sum();
        let (code, said) = verify(&folder, &[]);
        assert_eq!(code, 0, "{said}");
        copied();
        drop(running);
        let outcomes = std::fs::read_dir(kept).expect("a folder").map(|entry| entry.expect("an entry").path());
        let files = outcomes
            .filter(|path| path.to_string_lossy().contains(".jsonl") && !path.to_string_lossy().ends_with(".head"));
        let text: String = files.map(|path| std::fs::read_to_string(path).expect("text")).collect();
        let count = |kind: &str| text.matches(&format!("\"kind\":\"{kind}\"")).count() as u64;
        assert!(count("outcome") >= answered, "{answered} were answered, {} have an outcome", count("outcome"));
        assert!(count("intent") >= ninja.counts().api_requests, "each write that went up has an intent");

        // A torn line, as after a loss of power, and another process.
        let log = kept.join("audit.jsonl");
        let whole = std::fs::read(&log).expect("a log");
        std::fs::write(&log, [&whole[..], b"{\"seq\":99999,\"time\":\"2026"].concat()).expect("a log");
        let (code, said) = verify(kept, &[]);
        assert!(code == 0 && said.contains("a torn line of 25 bytes at the end"), "{said}");
        let mut proxy = Proxy::start(&ninja.instance(), BOTH, &format!("[audit]\nfile = {log:?}"));
        assert!(proxy.send("POST", REBOOT, "", b"").status < 300);
        proxy.shut_down().join().expect("an end");
        let (code, said) = verify(kept, &[]);
        assert!(code == 0 && said.contains("a torn line of 25 bytes: a process ended in the midst of it"), "{said}");
        assert!(said.contains("the process before this line was killed or crashed"), "{said}");
    }

    /// The limit on the size of files, which acts as a full disk does.
    fn limit(running: &Running, bytes: Option<u64>) {
        let process = rustix::process::Pid::from_raw(running.id().cast_signed());
        let maximum = rustix::process::getrlimit(rustix::process::Resource::Fsize).maximum;
        let limits = rustix::process::Rlimit { current: bytes, maximum };
        rustix::process::prlimit(process, rustix::process::Resource::Fsize, limits).expect("a limit");
    }

    fn shows(admin: SocketAddr, line: &str) -> bool {
        String::from_utf8_lossy(&request(admin, "GET", "/metrics", "", b"").body).lines().any(|shown| shown == line)
    }

    #[test]
    fn a_full_disk_refuses_writes_and_no_reads_until_there_is_room() {
        let ninja = Ninja::start(|_| {});
        let (running, address, admin) = start(&config(&ninja, ""), "trap '' XFSZ; exec \"$0\"");
        assert!(post(address).status < 300);
        limit(&running, Some(20_000));
        let mut done = 1;
        let refused = loop {
            let reply = post(address);
            if reply.status >= 300 {
                break reply;
            }
            done += 1;
            assert!(done < 100, "the disk is full");
        };
        assert_eq!((refused.status, refused.code().as_str()), (503, "audit-unavailable"));
        assert_eq!(refused.header("retry-after"), "1");
        let sent = ninja.counts().api_requests;
        for _ in 0..5 {
            assert_eq!(post(address).code(), "audit-unavailable");
            assert_eq!(request(address, "GET", "/v2/devices", "", b"").status, 200);
        }
        assert_eq!(ninja.counts().api_requests, sent + 5, "reads only");
        assert!(shows(admin, "ninjaone_proxy_audit_failing 1"));
        eventually("it is told", || {
            running.log().contains("the audit log cannot be written: writes are refused until it can")
        });
        let (code, said) = verify(running.folder.path(), &[]);
        assert_eq!(code, 0, "{said}");
        limit(&running, None);
        eventually("there is room again", || post(address).status < 300);
        assert!(shows(admin, "ninjaone_proxy_audit_failing 0") && shows(admin, "ninjaone_proxy_audit_lost_total 0"));
        let (code, said) = verify(running.folder.path(), &[]);
        assert_eq!(code, 0, "{said}");
        let intents = lines(running.folder.path(), &["intent"]).len();
        assert_eq!(lines(running.folder.path(), &["outcome"]).len(), intents, "those that happened");
        let refusals = lines(running.folder.path(), &["refusal"]);
        assert!(refusals.len() >= 6 && refusals.iter().all(|line| line["code"] == "audit-unavailable"), "{refusals:?}");
        assert_eq!(running.log().matches("the audit log cannot be written").count(), 1, "told once");
    }

    #[test]
    fn a_full_disk_lets_writes_pass_where_that_is_asked_for_and_their_records_come_later() {
        let ninja = Ninja::start(|_| {});
        let (running, address, admin) =
            start(&config(&ninja, "on-failure = \"continue\""), "trap '' XFSZ; exec \"$0\"");
        limit(&running, Some(20_000));
        for _ in 0..60 {
            assert!(post(address).status < 300);
        }
        assert!(shows(admin, "ninjaone_proxy_audit_failing 1"));
        assert!(lines(running.folder.path(), &["intent"]).len() < 60);
        limit(&running, None);
        eventually("the records", || lines(running.folder.path(), &["outcome"]).len() == 60);
        let (code, said) = verify(running.folder.path(), &[]);
        assert_eq!(code, 0, "{said}");
        assert_eq!(lines(running.folder.path(), &["intent"]).len(), 60);
    }

    #[test]
    fn a_disk_with_room_for_a_part_of_what_waits_takes_that_part_and_the_rest_later() {
        const REFUSALS: usize = 400;
        let ninja = Ninja::start(|_| {});
        let (running, address, admin) = start(&config(&ninja, ""), "trap '' XFSZ; exec \"$0\"");
        assert!(post(address).status < 300);
        limit(&running, Some(4_000));
        let mut stream = connect(address);
        for _ in 0..REFUSALS {
            stream.write_all(b"GET /v2/nothing HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("a head");
            assert_eq!(crate::harness::Reply::read(&mut stream, false).status, 404);
        }
        eventually("a full disk", || shows(admin, "ninjaone_proxy_audit_failing 1"));
        let length = || std::fs::metadata(running.folder.path().join("audit.jsonl")).expect("a log").len();
        // Room for a half of them, and not for a whole line more.
        limit(&running, Some(REFUSALS as u64 * 200));
        eventually("what fits is written", || length() > REFUSALS as u64 * 200 - 1_000);
        assert_eq!(post(address).code(), "audit-unavailable", "it is full again");
        let (code, said) = verify(running.folder.path(), &[]);
        assert_eq!(code, 0, "{said}");
        let of_refusals = || {
            let all = lines(running.folder.path(), &["refusal"]);
            all.iter().filter(|line| line["path"] == "/v2/nothing").count()
        };
        let written = of_refusals();
        assert!((100..REFUSALS).contains(&written), "{written}");
        limit(&running, None);
        eventually("the rest", || of_refusals() == REFUSALS && post(address).status < 300);
        let (code, said) = verify(running.folder.path(), &[]);
        assert_eq!(code, 0, "{said}");
        assert!(shows(admin, "ninjaone_proxy_audit_failing 0") && shows(admin, "ninjaone_proxy_audit_lost_total 0"));
        let written = text(running.folder.path()).lines().count();
        assert!(shows(admin, &format!("ninjaone_proxy_audit_lines_total {written}")), "each counted once");
    }

    #[test]
    fn nothing_that_a_caller_sends_is_obeyed_by_a_terminal_that_shows_a_log() {
        const ODD: &str = "\u{80}\u{85}\u{9b}2J\u{ad}\u{200e}\u{202e}\u{2028}\u{2029}\u{2066}\u{feff}\u{e0041}";
        let odd = |c: char| c != '\n' && c != '\u{1b}' && (c.is_control() || ODD.contains(c) && !c.is_ascii());
        let ninja = Ninja::start(|_| {});
        for format in ["text", "json"] {
            let text = config(&ninja, "").replace("access=off\"", &format!("debug\"\nformat = \"{format}\""));
            let running = Running::start(&text, &format!("export NINJA_SECRET={SECRET}; {SHELL}"), Stdio::null());
            let log = running.log();
            let place = log.find("http://127.0.0.1:").map(|at| &log[at + "http://".len()..]).expect("an address");
            let end = place.find(|c: char| c != '.' && c != ':' && !c.is_ascii_digit()).expect("an end");
            let address: SocketAddr = place[..end].parse().expect("an address");
            for (path, headers) in [
                (format!("/v2/a{ODD}"), String::new()),
                (format!("/v2/device/{ODD}/reboot"), String::new()),
                ("/v2/devices".to_owned(), format!("Origin: http://a{ODD}\r\n")),
                ("/v2/devices".to_owned(), format!("X-Api-Key: {ODD}\r\nTraceparent: {ODD}\r\nUser-Agent: {ODD}\r\n")),
                (format!("http://a{ODD}/v2/devices"), String::new()),
            ] {
                let reply = request(address, "POST", &path, &headers, b"");
                assert!(reply.status >= 400 || path == "/v2/devices", "{reply:?}");
            }
            eventually("the lines", || lines(running.folder.path(), &["refusal"]).len() >= 4);
            let written = super::text(running.folder.path());
            assert!(!written.contains(odd), "{written:?}");
            assert!(
                lines(running.folder.path(), &["refusal"]).iter().any(|line| line["path"] == format!("/v2/a{ODD}"))
            );
            assert!(!running.log().contains(odd), "{:?}", running.log());
            let (code, said) = verify(running.folder.path(), &[]);
            assert!(code == 0 && !said.contains(odd), "{said:?}");
        }
    }

    #[test]
    fn a_second_process_with_the_same_log_does_not_start() {
        let ninja = Ninja::start(|_| {});
        let (running, _, _) = start(&config(&ninja, ""), SHELL);
        let (code, _, said) = run_binary(running.folder.path(), &[], &[("NINJA_SECRET", SECRET)]);
        assert_eq!(code, 71, "{said}");
        assert!(said.contains("audit.jsonl is in use by another process: give each proxy a file of its own"), "{said}");
    }
}
