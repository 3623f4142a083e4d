//! Quotas: how many requests, writes and critical operations go through a listener and from a caller within a time.

use std::net::SocketAddr;
use std::thread;

use ninjaone_proxy::proxy::authn::key::KeyHash;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::harness::{Proxy, Reply, Scripted, Then, answer, eventually, request, run_binary};
use crate::quotas::{Seen, agree};
use crate::reload::metric;

const SCRIPT: &str = "/v2/device/7/script/run";
const OWN_RULES: &str = "allow = [\"POST /v2/device/{id}/script/run\"]\n";
const RULES: &str = "scopes = [\"monitoring\", \"management\"]\ngroups = [\"devices-read\", \"org-read\", \"tickets\"]\n\
                     allow = [\"POST /v2/device/{id}/script/run\"]\n";

/// A server that answers everything.
fn willing() -> Scripted {
    Scripted::start(|mut asked| {
        asked.answer(&answer("200 OK", "[]"));
        Then::Continue
    })
}

/// TOML for callers, each with more of its own.
fn callers(all: &[(&str, &str)]) -> String {
    let table = |(name, more): &(&str, &str)| {
        let key = KeyHash::of(format!("{name}-key-of-a-test").as_bytes());
        format!("[listeners.local.callers.{name}]\nkey = \"{key}\"\n{more}\n")
    };
    all.iter().map(table).collect()
}

fn get_as(address: SocketAddr, name: &str) -> Reply {
    request(address, "GET", "/v2/groups", &format!("X-Api-Key: {name}-key-of-a-test\r\n"), b"")
}

/// Asks so many times at once, and says how many were let through.
fn flood(address: SocketAddr, name: &'static str, threads: usize, each: usize) -> usize {
    let asking =
        (0..threads).map(|_| thread::spawn(move || (0..each).filter(|_| get_as(address, name).status == 200).count()));
    let asking: Vec<_> = asking.collect();
    asking.into_iter().map(|one| one.join().expect("a count")).sum()
}

fn is_exceeded(reply: &Reply) {
    assert_eq!((reply.status, reply.code().as_str()), (429, "quota-exceeded"), "{reply:?}");
    let after: u32 = reply.header("retry-after").parse().expect("seconds");
    assert!(after >= 1, "{reply:?}");
    let status = "ninjaone-proxy; error=http_request_denied; details=\"quota-exceeded\"";
    assert_eq!(reply.header("proxy-status"), status);
}

#[test]
fn quotas_decide_as_one_who_counts_the_whole_history_anew() {
    let seen = std::cell::Cell::new(Seen::default());
    let config = Config { cases: 400, failure_persistence: None, ..Config::default() };
    let script = prop::collection::vec(any::<u8>(), 0..400);
    let ran = TestRunner::new(config).run(&script, |script| {
        let (more, mut sum) = (agree(&script), seen.get());
        sum.passed += more.passed;
        sum.full += more.full;
        sum.kept_for_others += more.kept_for_others;
        sum.own += more.own;
        seen.set(sum);
        Ok(())
    });
    ran.unwrap_or_else(|error| panic!("{error}"));
    let Seen { passed, full, kept_for_others, own } = seen.get();
    println!("passed {passed}, full {full}, kept for others {kept_for_others}, own {own}");
    assert!(passed > 1000 && full > 1000 && kept_for_others > 100 && own > 1000, "{:?}", seen.get());
}

#[test]
fn of_200_requests_at_once_a_quota_of_50_sends_exactly_50() {
    let server = willing();
    let proxy = Proxy::start(&server.instance(), "quota = { requests = \"50/h\" }", "");
    let address = proxy.address;
    let asking: Vec<_> =
        (0..200).map(|_| thread::spawn(move || request(address, "GET", "/v2/groups", "", b""))).collect();
    let replies: Vec<_> = asking.into_iter().map(|one| one.join().expect("a reply")).collect();
    let (passed, refused): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply.status == 200);
    assert_eq!((passed.len(), refused.len(), server.api_requests()), (50, 150, 50));
    refused.iter().for_each(|reply| is_exceeded(reply));
    assert!(passed.iter().all(|reply| reply.header("ratelimit-policy") == "\"requests\";q=50;w=3600"));
}

#[test]
fn a_flood_of_one_caller_leaves_the_others_their_shares() {
    let server = willing();
    let all = callers(&[("heavy", ""), ("light", ""), ("rare", "")]);
    let proxy = Proxy::start(&server.instance(), &format!("quota = {{ requests = \"90/h\" }}\n{all}"), "");
    let address = proxy.address;
    // Each has asked once: from now on a third is kept for each.
    let first: usize = ["heavy", "light", "rare"].map(|name| flood(address, name, 1, 1)).iter().sum();
    let heavy = thread::spawn(move || flood(address, "heavy", 8, 50));
    let light = thread::spawn(move || flood(address, "light", 2, 20));
    let (heavy, light) = (heavy.join().expect("a count"), light.join().expect("a count"));
    assert_eq!((first, heavy, light), (3, 29, 29), "with the first, 30 each, however many more the one sends");
    assert_eq!(flood(address, "rare", 1, 40), 29, "it comes last, and still has its share");
    let late = get_as(address, "light");
    is_exceeded(&late);
    assert_eq!(server.api_requests(), 90);
    println!("of 90: heavy {} of 401 asked, light {} of 41, rare 30 of 41", heavy + 1, light + 1);
}

#[test]
fn a_caller_alone_has_the_whole_quota_and_others_are_told_when_they_get_in() {
    let server = willing();
    let all = callers(&[("heavy", ""), ("light", "")]);
    let proxy = Proxy::start(&server.instance(), &format!("quota = {{ requests = \"40/h\" }}\n{all}"), "");
    assert_eq!(flood(proxy.address, "heavy", 4, 15), 40);
    let late = get_as(proxy.address, "light");
    is_exceeded(&late);
    let after: u32 = late.header("retry-after").parse().expect("seconds");
    assert!((3500..=3600).contains(&after), "{after}");
    assert_eq!(late.header("ratelimit"), format!("\"requests\";r=0;t={after}"));
}

#[test]
fn a_share_that_is_used_up_is_told_apart_from_a_quota_that_is() {
    let server = willing();
    let all = callers(&[("one", ""), ("other", "")]);
    let proxy = Proxy::start(&server.instance(), &format!("quota = {{ requests = \"10/h\" }}\n{all}"), "");
    assert_eq!(flood(proxy.address, "other", 1, 1), 1);
    assert_eq!(flood(proxy.address, "one", 1, 8), 5);
    let kept = get_as(proxy.address, "one");
    is_exceeded(&kept);
    let said = kept.json()["detail"].as_str().expect("text").to_owned();
    assert!(said.contains("5 of 10/h") && said.contains("2 callers"), "{said}");
    assert_eq!(flood(proxy.address, "other", 1, 8), 4);
    let said = get_as(proxy.address, "one").json()["detail"].as_str().expect("text").to_owned();
    assert!(said.contains("is used up: 10/h"), "{said}");
}

#[test]
fn a_request_takes_one_of_each_quota_that_applies_or_none_of_any() {
    let server = willing();
    let quota = "quota = { requests = \"6/h\", writes = \"4/h\", critical = \"1/day\" }\n";
    let of_tool = format!("{OWN_RULES}quota = {{ writes = \"3/h\" }}");
    let own = callers(&[("tool", &of_tool), ("other", "")]);
    let proxy = Proxy::start(&server.instance(), &format!("{RULES}{quota}{own}"), "");
    let send = |name: &str, method: &str, path: &str| {
        let headers = format!("X-Api-Key: {name}-key-of-a-test\r\nContent-Type: application/json\r\n");
        request(proxy.address, method, path, &headers, if method == "GET" { b"" } else { b"{}" })
    };
    let policy = |reply: &Reply| reply.header("ratelimit-policy").to_owned();
    let read = send("tool", "GET", "/v2/devices");
    assert_eq!((read.status, policy(&read).as_str()), (200, "\"requests\";q=6;w=3600"));
    let script = send("tool", "POST", SCRIPT);
    let all = "\"caller-writes\";q=3;w=3600, \"requests\";q=6;w=3600, \"writes\";q=4;w=3600, \"critical\";q=1;w=86400";
    assert_eq!((script.status, policy(&script).as_str()), (200, all));
    let left: Vec<_> =
        script.header("ratelimit").split(", ").map(|item| item.split(";t=").next().expect("an item")).collect();
    assert_eq!(left, ["\"caller-writes\";r=2", "\"requests\";r=4", "\"writes\";r=3", "\"critical\";r=0"]);
    let refused = send("tool", "POST", SCRIPT);
    is_exceeded(&refused);
    assert_eq!(refused.json()["violated-policies"], serde_json::json!(["critical"]));
    assert_eq!(policy(&refused), all);
    let said = refused.json()["detail"].as_str().expect("text").to_owned();
    for part in ["critical operations", "1/day", "[listeners.local]", "critical = \"2/day\""] {
        assert!(said.contains(part), "{part}: {said}");
    }
    // It took nothing of the others.
    for _ in 0..2 {
        assert_eq!(send("tool", "POST", "/v2/ticketing/ticket").status, 200);
    }
    let own = send("tool", "POST", "/v2/ticketing/ticket");
    is_exceeded(&own);
    assert_eq!(own.json()["violated-policies"], serde_json::json!(["caller-writes"]));
    assert!(own.json()["detail"].as_str().is_some_and(|said| said.contains("[listeners.local.callers.tool]")));
    // What the rules refuse takes nothing either.
    assert_eq!(send("other", "GET", "/v2/users").code(), "group-not-open");
    assert_eq!(send("other", "POST", "/v2/ticketing/ticket").status, 200, "the fourth write, the fifth request");
    assert_eq!(
        send("tool", "GET", "/v2/devices").status,
        429,
        "the last is kept for the other, who is below its share"
    );
    assert_eq!(send("other", "GET", "/v2/devices").status, 200);
    assert_eq!(send("other", "GET", "/v2/devices").status, 429);
    assert_eq!(server.api_requests(), 6);
}

#[test]
fn fields_of_the_instance_of_the_same_names_are_replaced_only_where_there_is_a_quota() {
    let server = Scripted::start(|mut asked| {
        asked.answer("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nRateLimit: \"requests\";r=7\r\nRateLimit-Policy: \"requests\";q=9;w=1\r\n\r\n[]");
        Then::Continue
    });
    let other = "[listeners.other]\naddress = \"127.0.0.1:0\"\n";
    let proxy = Proxy::start(&server.instance(), "quota = { requests = \"5/min\" }", other);
    let ours = proxy.get("/v2/groups");
    assert_eq!(ours.all("ratelimit-policy"), ["\"requests\";q=5;w=60"]);
    assert!(ours.header("ratelimit").starts_with("\"requests\";r=4;t="), "{ours:?}");
    let theirs = request(proxy.listeners["other"], "GET", "/v2/groups", "", b"");
    assert_eq!(
        (theirs.header("ratelimit"), theirs.header("ratelimit-policy")),
        ("\"requests\";r=7", "\"requests\";q=9;w=1")
    );
}

#[test]
fn what_was_used_goes_on_over_reloads() {
    let server = willing();
    let mut proxy = Proxy::start(&server.instance(), "quota = { requests = \"5/h\" }", "");
    let passed = |proxy: &Proxy| (0..20).take_while(|_| proxy.get("/v2/groups").status == 200).count();
    for _ in 0..3 {
        assert_eq!(proxy.get("/v2/groups").status, 200);
    }
    proxy.reconfigure("quota = { requests = \"5/h\" }\ndeny = [\"GET /v2/users\"]", "").expect("a reload");
    assert_eq!(passed(&proxy), 2, "3 of 5 were used");
    proxy.reconfigure("quota = { requests = \"8/day\", writes = \"1/s\" }", "").expect("a reload");
    assert_eq!(passed(&proxy), 3, "5 of 8 were used");
    proxy.reconfigure("quota = { requests = \"2/h\" }", "").expect("a reload");
    assert_eq!(passed(&proxy), 0);
    assert!(
        proxy.reconfigure("quota = { requests = \"0/h\" }", "").is_err_and(|error| error.contains("quota.requests"))
    );
    // Callers come; what everybody used before is used.
    proxy
        .reconfigure(&format!("quota = {{ requests = \"10/h\" }}\n{}", callers(&[("one", "")])), "")
        .expect("a reload");
    assert_eq!(flood(proxy.address, "one", 1, 5), 2);
    proxy.reconfigure("", "").expect("a reload");
    let free = proxy.get("/v2/groups");
    assert_eq!((free.status, free.header("ratelimit")), (200, ""));
}

#[test]
fn a_window_that_has_moved_on_lets_requests_through_again() {
    let server = willing();
    let proxy = Proxy::start(&server.instance(), "quota = { requests = \"2/s\" }", "");
    assert_eq!([(); 2].map(|()| proxy.get("/v2/groups").status), [200, 200]);
    eventually("the window moves on", || proxy.get("/v2/groups").status == 200);
}

#[test]
fn a_refusal_by_a_quota_is_in_the_logs_the_metrics_and_on_the_page() {
    let server = willing();
    let own = callers(&[("tool", &format!("{OWN_RULES}quota = {{ critical = \"1/day\" }}"))]);
    let listener = format!("{RULES}quota = {{ requests = \"9/min\" }}\n{own}");
    let proxy = Proxy::start(&server.instance(), &listener, "[audit]\nfile = \"audit.jsonl\"");
    let send = || {
        let headers = "X-Api-Key: tool-key-of-a-test\r\nContent-Type: application/json\r\n";
        request(proxy.address, "POST", SCRIPT, headers, b"{}")
    };
    assert_eq!(send().status, 200);
    is_exceeded(&send());
    let refusals = "ninjaone_proxy_caller_refusals_total{caller=\"tool\",code=\"quota-exceeded\",listener=\"local\"}";
    eventually("it is counted", || metric(proxy.admin, refusals) == 1.0);
    let gauge = |name: &str, caller: &str, quota: &str| {
        metric(
            proxy.admin,
            &format!("ninjaone_proxy_quota_{name}{{caller=\"{caller}\",listener=\"local\",quota=\"{quota}\"}}"),
        )
    };
    assert_eq!([gauge("used", "tool", "critical"), gauge("limit", "tool", "critical")], [1.0, 1.0]);
    assert_eq!([gauge("used", "", "requests"), gauge("limit", "", "requests")], [1.0, 9.0]);
    let page = String::from_utf8(request(proxy.admin, "GET", "/", "", b"").body).expect("text");
    for shown in ["429 quota-exceeded", "Quotas: what was used", "<div>1/day</div>", "<div>9/min</div>", "all callers"]
    {
        assert!(page.contains(shown), "{shown} is missing in\n{page}");
    }
    let audit = || std::fs::read_to_string(proxy.folder().join("audit.jsonl")).unwrap_or_default();
    eventually("it is in the audit log", || audit().contains("\"quota-exceeded\""));
    let lines: Vec<serde_json::Value> = audit().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let refusal = lines.iter().find(|line| line.to_string().contains("quota-exceeded")).expect("a line");
    assert_eq!((&refusal["caller"], &refusal["path"]), (&"tool".into(), &SCRIPT.into()), "{refusal}");
}

#[test]
fn mistakes_in_quotas_are_told_with_their_line_and_what_to_write() {
    for (quota, place, said) in [
        ("{ requests = \"0/min\" }", "requests", "would refuse every request"),
        ("{ requests = \"600\" }", "requests", "did you mean \"600/min\"?"),
        ("{ requests = 600 }", "requests", "did you mean \"600/min\"?"),
        ("{ writes = \"-5/min\" }", "writes", "\"-5/min\" is not a quota: write a whole number"),
        ("{ writes = -5 }", "writes", "is not a quota: write a whole number"),
        ("{ critical = \"5/week\" }", "critical", "s, min, h or day"),
        ("{ critical = \"100001/day\" }", "critical", "at most 100000"),
        ("{ request = \"5/min\" }", "quota", "did you mean \"requests\"?"),
        ("\"600/min\"", "quota", "a quota is a table, not text: write { requests = \"600/min\" }"),
        ("{}", "quota", "limits nothing"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let text = format!("[listeners.local]\nscopes = [\"monitoring\"]\nquota = {quota}\n");
        std::fs::write(folder.path().join("config.toml"), text).expect("a file");
        let (code, _, errors) = run_binary(folder.path(), &["check", "--offline"], &[]);
        assert!(code == 78 && errors.contains(said), "{quota}: {errors}");
        assert!(errors.contains("config.toml:3:") && errors.contains(place), "{quota}: {errors}");
    }
}

#[test]
fn check_explain_and_the_effective_configuration_know_quotas() {
    let folder = tempfile::tempdir().expect("a folder");
    let own = callers(&[
        ("tool", "quota = { requests = \"700/minute\", critical = \"2/h\" }"),
        ("other", "quota = { requests = \"100/s\" }"),
    ]);
    let text = format!("[listeners.local]\n{RULES}quota = {{ requests = \"600/min\", writes = \"30/min\" }}\n{own}");
    std::fs::write(folder.path().join("config.toml"), text).expect("a file");
    let (code, checked, _) = run_binary(folder.path(), &["check", "--offline"], &[]);
    assert_eq!(code, 0);
    let warnings: Vec<_> =
        checked.lines().filter(|line| line.starts_with("warning: ") && line.contains("quota")).collect();
    let [warning] = warnings.as_slice() else { panic!("{checked}") };
    assert!(
        warning.contains("listeners.local.callers.tool: quota.requests = \"700/min\" can never be reached"),
        "{warning}"
    );
    assert!(checked.contains("writes = \"30/min\"") && checked.contains("critical = \"2/h\""), "{checked}");
    let explain = |method: &str, path: &str, more: &[&str]| {
        run_binary(folder.path(), &[&["explain", method, path, "--caller", "tool"], more].concat(), &[]).1
    };
    let read = explain("GET", "/v2/devices", &[]);
    let quotas: Vec<_> = read.lines().filter(|line| line.starts_with("quota ")).collect();
    let wanted = [
        "quota      requests 700/min of [listeners.local.callers.tool]",
        "quota      requests 600/min of [listeners.local], which all its callers share",
    ];
    assert_eq!(quotas, wanted);
    let script: serde_json::Value = serde_json::from_str(&explain("POST", SCRIPT, &["--json"])).expect("JSON");
    let counts: Vec<_> = script[0]["quotas"].as_array().expect("quotas").iter().map(|quota| &quota["counts"]).collect();
    assert_eq!(counts, ["requests", "critical", "requests", "writes"]);
    assert!(!explain("GET", "/v2/users", &[]).contains("quota  "), "a request that is refused takes none");
}

#[test]
fn a_quota_that_is_used_up_asks_nobody_for_an_approval_and_what_waits_for_one_takes_nothing() {
    let server = willing();
    let rules = |writes: &str| {
        format!(
            "scopes = [\"monitoring\", \"management\"]\nquota = {{ writes = \"{writes}\" }}\ngroups = [\"tickets\"]\n\
             allow = [{{ rule = \"POST /v2/device/{{id}}/reboot/{{mode}}\", approval = true }}]\n"
        )
    };
    let key = KeyHash::of(b"lead-key-of-a-test");
    let rest = format!("[approvals]\nwait = \"1ms\"\n[approvals.approvers.lead]\nkey = \"{key}\"\n");
    let mut proxy = Proxy::start(&server.instance(), &rules("1/h"), &rest);
    let ticket =
        |proxy: &Proxy| proxy.send("POST", "/v2/ticketing/ticket", "Content-Type: application/json\r\n", b"{}");
    let reboot = |proxy: &Proxy| proxy.send("POST", "/v2/device/7/reboot/NORMAL", "", b"");
    for _ in 0..3 {
        assert_eq!(reboot(&proxy).status, 202, "it waits");
    }
    assert_eq!(ticket(&proxy).status, 200, "what waits took nothing");
    is_exceeded(&reboot(&proxy));
    proxy.reconfigure(&rules("2/h"), &rest).expect("a reload");
    assert_eq!(reboot(&proxy).status, 202);
    assert_eq!(server.api_requests(), 1);
}
