//! Rules that are written as tables: conditions on bodies, an end, a number of uses.

#[cfg(unix)]
mod uses;

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use ninjaone_proxy::base::clock::utc;
use ninjaone_proxy::config::Config;

use crate::harness::{Proxy, Reply, Scripted, Then, answer, connect, eventually, read_body, run_binary};

const RUN: &str = "/v2/device/7/script/run";
const SCOPES: &str = "scopes = [\"monitoring\", \"management\", \"control\"]";
const JSON: &str = "Content-Type: application/json\r\n";

/// An instance that answers every request with 200, and keeps the bodies.
struct Instance {
    server: Scripted,
    bodies: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Instance {
    fn start() -> Self {
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&bodies);
        let server = Scripted::start(move |mut asked| {
            let body = read_body(&asked.head, asked.stream);
            kept.lock().expect("bodies").push(body);
            asked.answer(&answer("200 OK", "{}"));
            Then::Continue
        });
        Self { server, bodies }
    }

    /// A proxy in front of it, with this in `allow`.
    fn proxy(&self, allow: &str) -> Proxy {
        Proxy::start(&self.server.instance(), &format!("{SCOPES}\nallow = [\n{allow}\n]"), "")
    }

    fn last_body(&self) -> Vec<u8> {
        self.bodies.lock().expect("bodies").last().cloned().unwrap_or_default()
    }
}

fn post(proxy: &Proxy, body: &str) -> Reply {
    proxy.send("POST", RUN, JSON, body.as_bytes())
}

#[test]
fn a_body_condition_opens_the_bodies_that_it_names_and_sends_them_as_they_came() {
    let instance = Instance::start();
    let proxy = instance.proxy(
        r#"{ rule = "POST /v2/device/{id}/script/run", body = { "/id" = [12, 13], "/runAs" = "SYSTEM" }, reason = "patch week" }"#,
    );
    let body = " {\"runAs\" : \"SYSTEM\", \"id\":12,\r\n\"parameters\":\"x\\u0041\" } ";
    assert_eq!(post(&proxy, body).status, 200);
    assert_eq!(instance.last_body(), body.as_bytes(), "the bytes that were judged");
    assert_eq!(post(&proxy, "{\"id\":13,\"runAs\":\"SYSTEM\"}").status, 200);
    let sent = instance.server.api_requests();
    for body in [
        "{\"id\":14,\"runAs\":\"SYSTEM\"}",
        "{\"id\":12,\"runAs\":\"system\"}",
        "{\"id\":12}",
        "{\"id\":12,\"id\":14,\"runAs\":\"SYSTEM\"}",
        "{\"id\":12,\"\\u0069d\":14,\"runAs\":\"SYSTEM\"}",
        "{\"id\":\"12\",\"runAs\":\"SYSTEM\"}",
        "{\"id\":12.0,\"runAs\":\"SYSTEM\"}",
        "{\"id\":12,\"runAs\":\"SYSTEM\"} {}",
        "[]",
        "",
    ] {
        let refused = post(&proxy, body);
        assert_eq!((refused.status, refused.code().as_str()), (403, "body-not-open"), "{body}");
        let detail = refused.json()["detail"].as_str().expect("a detail").to_owned();
        assert!(detail.contains("POST /v2/device/{id}/script/run") && detail.contains("[listeners.local]"), "{detail}");
    }
    for headers in ["", "Content-Type: text/plain\r\n", "Content-Type: application/json\r\nContent-Encoding: gzip\r\n"]
    {
        let refused = proxy.send("POST", RUN, headers, b"{\"id\":12,\"runAs\":\"SYSTEM\"}");
        assert_eq!(refused.code(), "body-not-open", "{headers}");
    }
    assert_eq!(instance.server.api_requests(), sent, "nothing of it was sent");
}

#[test]
fn a_body_is_judged_whole_however_it_comes() {
    let instance = Instance::start();
    let proxy = instance.proxy(r#"{ rule = "POST /v2/device/{id}/script/run", body = { "/id" = 12 } }"#);
    let filler = "x".repeat(60_000);
    let mut stream = connect(proxy.address);
    let head = format!("POST {RUN} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n{JSON}\r\n");
    stream.write_all(head.as_bytes()).expect("a head");
    for piece in ["{\"a\":\"", &filler, "\",\"i", "d\":1", "2}"] {
        stream.write_all(format!("{:x}\r\n{piece}\r\n", piece.len()).as_bytes()).expect("a piece");
        std::thread::sleep(Duration::from_millis(2));
    }
    stream.write_all(b"0\r\n\r\n").expect("an end");
    assert_eq!(Reply::read(&mut stream, false).status, 200);
    assert_eq!(instance.last_body(), format!("{{\"a\":\"{filler}\",\"id\":12}}").into_bytes());
    // What decides comes last, where one that looks at the beginning only would not see it.
    let refused = post(&proxy, &format!("{{\"a\":\"{filler}\",\"id\":13}}"));
    assert_eq!(refused.code(), "body-not-open");
    let large = post(&proxy, &format!("{{\"a\":\"{}\",\"id\":12}}", "x".repeat(70_000)));
    assert_eq!((large.status, large.code().as_str()), (413, "body-not-judged"));
    assert!(large.json()["detail"].as_str().expect("a detail").contains("POST /v2/device/{id}/script/run"));
    assert_eq!(instance.server.api_requests(), 1);
}

#[test]
fn a_rule_ends_when_it_says() {
    let instance = Instance::start();
    let end = utc::seconds(SystemTime::now() + Duration::from_secs(4));
    let proxy = instance.proxy(&format!(r#"{{ rule = "POST /v2/device/{{id}}/script/run", expires = "{end}" }}"#));
    assert_eq!(post(&proxy, "{}").status, 200);
    eventually("the rule ends", || post(&proxy, "{}").status == 403);
    let refused = post(&proxy, "{}");
    assert_eq!(refused.code(), "rule-expired");
    assert!(refused.json()["detail"].as_str().expect("a detail").contains(&end), "{refused:?}");
}

#[test]
fn rules_that_are_only_observed_let_pass_what_their_conditions_would_close() {
    let instance = Instance::start();
    let rules = r#"{ rule = "POST /v2/device/{id}/script/run", body = { "/id" = 12 } }"#;
    let listener = format!("mode = \"observe\"\n{SCOPES}\nallow = [{rules}]");
    let folder = tempfile::tempdir().expect("a folder");
    let learn = format!("[learn]\nfile = {:?}", folder.path().join("used.json"));
    let proxy = Proxy::start(&instance.server.instance(), &listener, &learn);
    for body in ["{\"id\":12}".to_owned(), "{\"id\":13}".to_owned(), "no JSON".to_owned(), "x".repeat(300_000)] {
        assert_eq!(post(&proxy, &body).status, 200, "{} bytes", body.len());
        assert_eq!(instance.last_body(), body.into_bytes());
    }
}

#[test]
fn callers_narrow_the_conditions_of_their_listener() {
    let instance = Instance::start();
    let key = ninjaone_proxy::proxy::authn::key::KeyHash::of(b"desk-key");
    let rule = r#"rule = "POST /v2/device/{id}/script/run""#;
    let listener = format!("{SCOPES}\nallow = [{{ {rule}, body = {{ \"/id\" = [12, 13] }} }}]");
    let caller = format!(
        "[listeners.local.callers.desk]\nkey = \"{key}\"\nallow = [{{ {rule}, body = {{ \"/id\" = [13, 14] }} }}]"
    );
    let proxy = Proxy::start(&instance.server.instance(), &listener, &caller);
    let run = |id: u8| {
        proxy.send("POST", RUN, &format!("{JSON}X-Api-Key: desk-key\r\n"), format!("{{\"id\":{id}}}").as_bytes())
    };
    assert_eq!(run(13).status, 200);
    for (id, table) in [(12, "[listeners.local.callers.desk]"), (14, "[listeners.local]")] {
        let refused = run(id);
        assert_eq!(refused.code(), "body-not-open");
        assert!(refused.json()["detail"].as_str().expect("a detail").contains(table), "{id}: {refused:?}");
    }
}

#[test]
fn a_request_that_no_condition_concerns_is_not_read_ahead() {
    let instance = Instance::start();
    let proxy = instance.proxy(r#"{ rule = "POST /v2/device/{id}/script/run", body = { "/id" = 12 } }"#);
    let large = vec![b'x'; 3 << 20];
    assert_eq!(proxy.send("POST", "/v2/organizations", JSON, &large).status, 200);
    assert_eq!(instance.last_body().len(), large.len());
}

/// The message that a listener with this in `allow` gets.
fn mistake(allow: &str) -> String {
    let text = format!("[listeners.local]\n{SCOPES}\nallow = [{allow}]\n");
    match Config::parse(Path::new("c.toml"), text) {
        Ok(config) => config.settings().expect_err(allow).to_string(),
        Err(mistake) => mistake.to_string(),
    }
}

#[test]
fn mistakes_in_tables_of_allow_say_where_and_what_to_write() {
    let rule = r#"rule = "POST /v2/device/{id}/script/run""#;
    for (more, wanted) in [
        (
            "expires = \"2020-01-01T00:00:00Z\"",
            "2020-01-01T00:00:00Z is in the past, so the rule opens nothing: take it out, or write a later time",
        ),
        ("expires = \"2099-01-01T00:00:00\"", "has no zone: write date, time and zone, such as"),
        ("expires = 2099-01-01", "lacks a date or a time"),
        ("expires = \"soon\"", "\"soon\" is not a time"),
        ("max-uses = 0", "opens nothing: write 1 or more"),
        ("max-uses = -1", "write a whole number"),
        ("body = { \"id\" = 12 }", "id"),
        ("body = { \"/a~2b\" = 12 }", "/a~2b"),
        ("body = { \"/id\" = [] }", "an empty list is never met"),
        ("body = { \"/id\" = 1.5 }", "1.5 is not an integer"),
        ("body = { \"/a\" = 1, \"/a/b\" = 2 }", "/a"),
        ("body = {}", "body"),
        ("max-use = 3", "unknown"),
    ] {
        let said = mistake(&format!("{{ {rule}, {more} }}"));
        assert!(said.starts_with("c.toml:3:"), "{more}: {said}");
        assert!(said.contains("listeners.local.allow") && said.contains(wanted), "{more}: {said}");
    }
    let get = mistake(r#"{ rule = "GET /v2/devices", body = { "/id" = 12 } }"#);
    assert!(get.contains("can never match: requests with GET have no body"), "{get}");
    let none = mistake("{ max-uses = 3 }");
    assert!(none.contains("rule"), "{none}");
    let secure = mistake(r#"{ rule = "group:secure-values", max-uses = 3 }"#);
    assert!(secure.contains("cannot have conditions"), "{secure}");
    let wrong = mistake(r#"{ rule = "POST /v1/x", max-uses = 3 }"#);
    assert!(wrong.starts_with("c.toml:3:19: ") && wrong.contains("must begin with /v2/"), "{wrong}");
}

/// Runs a command with this in `allow`.
fn command(allow: &str, arguments: &[&str]) -> (i32, String, String) {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("c.toml"), format!("[listeners.local]\n{SCOPES}\nallow = [{allow}]\n"))
        .expect("a file");
    std::fs::write(folder.path().join("good.json"), "{\"id\":12}").expect("a file");
    std::fs::write(folder.path().join("bad.json"), "{\"id\":13}").expect("a file");
    let state = folder.path().join("state");
    let arguments: Vec<_> = ["--config", "c.toml"].iter().chain(arguments).copied().collect();
    let said = run_binary(folder.path(), &arguments, &[("STATE_DIRECTORY", state.to_str().expect("a path"))]);
    assert!(!state.exists(), "a command that only tells makes nothing");
    said
}

#[test]
fn explain_says_what_the_conditions_make_of_a_request() {
    let allow = r#"{ rule = "POST /v2/device/{id}/script/run", body = { "/id" = 12 }, expires = "2099-01-01T00:00:00Z", max-uses = 3, reason = "patch week" }"#;
    let explain = |more: &[&str]| {
        let arguments: Vec<_> = ["explain", "POST", RUN].iter().chain(more).copied().collect();
        command(allow, &arguments).1
    };
    let open = explain(&[]);
    for part in [
        "decision   conditional",
        "reason     it depends on the body of the request: give one by --body FILE",
        "condition  \"POST /v2/device/{id}/script/run\" in allow of [listeners.local] opens it if the body has { \"/id\" = 12 }, until 2099-01-01T00:00:00Z, 3 uses (0 used); reason: patch week",
    ] {
        assert!(open.contains(part), "{part} is missing in\n{open}");
    }
    let good = explain(&["--body", "good.json"]);
    assert!(good.contains("decision   allowed"), "{good}");
    let bad = explain(&["--body", "bad.json"]);
    assert!(bad.contains("decision   refused") && bad.contains("403 body-not-open"), "{bad}");
    let json: serde_json::Value = serde_json::from_str(&explain(&["--json"])).expect("JSON");
    assert_eq!(json[0]["allowed"], serde_json::Value::Null);
    assert_eq!(json[0]["conditions"][0]["maxUses"], 3);
}

#[test]
fn routes_and_check_know_rules_with_conditions() {
    let soon = utc::seconds(SystemTime::now() + Duration::from_secs(50 * 3600));
    let allow = format!(
        r#"{{ rule = "POST /v2/device/{{id}}/script/run", body = {{ "/id" = 12 }}, expires = "{soon}" }}, "POST /v2/device/{{id}}/script/run", {{ rule = "GET /v2/devices", expires = "2099-01-01T00:00:00Z" }}"#
    );
    let (code, routes, error) = command(&allow, &["routes", "--group", "scripts", "--all"]);
    assert_eq!(code, 0, "{error}");
    let row = routes.lines().find(|line| line.contains("\tPOST\t/v2/device/{id}/script/run\t")).expect("a row");
    assert!(
        row.contains("\tconditional\t") && row.contains("allow \"POST /v2/device/{id}/script/run\" if the body has"),
        "{row}"
    );
    let (code, check, error) = command(&allow, &["check", "--offline"]);
    assert_eq!(code, 0, "{error}");
    for part in [
        &format!(
            "the rule \"POST /v2/device/{{id}}/script/run\" in allow ends at {soon}, in 2 days; write a later time into expires"
        ),
        "has no effect: the rule \"POST /v2/device/{id}/script/run\", which is a table, alone decides",
    ] {
        assert!(check.contains(part), "{part} is missing in\n{check}");
    }
    assert!(!check.contains("2099-01-01T00:00:00Z, in"), "{check}");
    let effective: toml::Table = check.split("\n# listeners").next().expect("a file").parse().unwrap_or_default();
    assert!(check.contains("expires = ") && effective.len() <= 20, "{check}");
}

#[test]
fn learn_keeps_rules_with_conditions() {
    let folder = tempfile::tempdir().expect("a folder");
    let used = folder.path().join("used.json");
    let table = r#"{ rule = "POST /v2/device/{id}/script/run", max-uses = 3, body = { "/id" = [12, 13] } }"#;
    let unused = r#"{ rule = "DELETE /v2/webhook", max-uses = 3 }"#;
    let listener = format!("mode = \"observe\"\n{SCOPES}\nallow = [{table}, {unused}]");
    let state = folder.path().join("state");
    let text = format!("[listeners.local]\n{listener}\n[learn]\nfile = {used:?}\n");
    std::fs::write(folder.path().join("c.toml"), &text).expect("a file");
    std::fs::write(&used, r#"{"listeners":{"local":{"operations":{}}}}"#).expect("a file");
    // The record is that of a proxy whose uses are not limited.
    let instance = Instance::start();
    std::fs::remove_file(&used).expect("a file");
    let free = listener.replace("max-uses = 3, ", "").replace(&format!(", {unused}"), "").replace(", max-uses = 3", "");
    let mut proxy = Proxy::start(&instance.server.instance(), &free, &format!("[learn]\nfile = {used:?}"));
    assert_eq!(post(&proxy, "{\"id\":12}").status, 200);
    assert_eq!(proxy.get("/v2/devices").status, 200);
    proxy.shut_down().join().expect("an end");
    let environment = [("STATE_DIRECTORY", state.to_str().expect("a path"))];
    let (code, learnt, error) = run_binary(folder.path(), &["--config", "c.toml", "learn"], &environment);
    assert_eq!(code, 0, "{error}");
    assert!(learnt.contains("max-uses = 3") && learnt.contains("\"GET /v2/devices\""), "{learnt}");
    assert!(!learnt.contains("    { rule = \"DELETE /v2/webhook\""), "{learnt}");
    assert!(learnt.contains("\"management\""), "{learnt}");
    let (code, said, error) = run_binary(folder.path(), &["--config", "c.toml", "learn", "--write"], &environment);
    assert_eq!(code, 0, "{said}{error}");
    let written = std::fs::read_to_string(folder.path().join("c.toml")).expect("a file");
    let config =
        Config::parse(Path::new("c.toml"), written.clone()).unwrap_or_else(|error| panic!("{error}\n{written}"));
    assert_eq!(config.file.listeners["local"].allow.len(), 2, "{written}");
}
