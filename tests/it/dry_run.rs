//! Dry runs: a request goes the whole way up to where it would be sent, and gets an invented answer.

use std::io::Write;
use std::path::Path;

use http::Method;
use ninjaone_proxy::config::Config;
use ninjaone_proxy::proxy::authn::key::KeyHash;
use ninjaone_proxy::proxy::policy::catalog::{Catalog, Operation, ParameterType, TemplateSegment};
use serde_json::Value;

#[cfg(unix)]
use crate::doors::Running;
use crate::harness::{
    Ninja, Proxy, Reply, Scripted, Then, answer, connect, eventually, read_body, request, run_binary,
};
use crate::reload::metric;
#[cfg(unix)]
use crate::watch::SECRET;

/// Everything is open.
const ALL: &str = "scopes = [\"monitoring\", \"management\", \"control\"]\nallow = [\"group:scripts\", \"group:users-and-roles\", \"group:installers\", \"group:webhooks\", \"group:unclassified\"]";
const TRIED: &str = "writes = \"dry-run\"";
const PREFER: &str = "Prefer: dry-run\r\n";
const REBOOT: &str = "/v2/device/7/reboot/NORMAL";
const SCRIPT: &str = "/v2/device/7/script/run";

fn is_dry(reply: &Reply) -> bool {
    let applied = reply.header("preference-applied") == "dry-run";
    let status = reply.header("proxy-status") == "ninjaone-proxy; details=\"dry-run\"";
    assert_eq!(applied, status, "{reply:?}");
    assert!(!applied || reply.header("cache-control") == "no-store", "{reply:?}");
    applied
}

/// A path of the operation whose ids exist in the sandbox.
fn example(operation: &Operation) -> String {
    let is_of_end_user = operation.template.starts_with("/v2/user/end-user/");
    let part = |segment: &TemplateSegment| match segment {
        TemplateSegment::Literal(text) => text.clone(),
        // The sandbox's first row.
        TemplateSegment::Parameter(_, ParameterType::Uid) => "3f2c8a9e-0000-4000-8000-00000000abcd".to_owned(),
        TemplateSegment::Parameter(_, ParameterType::Integer) if is_of_end_user => "101".to_owned(),
        TemplateSegment::Parameter(_, ParameterType::OneOf(words)) => words[0].clone(),
        TemplateSegment::Parameter(_, ParameterType::Integer | ParameterType::Name) => "1".to_owned(),
    };
    operation.segments.iter().map(|segment| format!("/{}", part(segment))).collect()
}

/// The same with all numbers, texts and booleans left out, and lists cut to one element.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(members) => members.iter().map(|(key, value)| (key.clone(), shape(value))).collect(),
        Value::Array(elements) => elements.iter().take(1).map(shape).collect(),
        Value::Null => Value::Null,
        Value::Bool(_) => Value::from("boolean"),
        Value::Number(_) => Value::from("number"),
        Value::String(_) => Value::from("text"),
    }
}

#[test]
fn no_write_of_the_catalog_is_sent_and_each_answer_has_the_shape_that_the_sandbox_gives() {
    let ninja = Ninja::start(|_| {});
    let tried = Proxy::start(&ninja.instance(), &format!("{ALL}\n{TRIED}"), "");
    let real = Proxy::sandboxed(ALL);
    let catalog = Catalog::built_in().expect("good");
    let (mut writes, mut bodies, mut compared) = (0, 0, 0);
    for operation in catalog.operations().iter().filter(|operation| operation.method != Method::GET) {
        let (method, path) = (operation.method.as_str(), example(operation));
        let reply = tried.send(method, &path, "Content-Type: application/json\r\n", b"{}");
        assert!(is_dry(&reply) && (200..300).contains(&reply.status), "{method} {path}: {reply:?}");
        let is_json = reply.header("content-type") == "application/json";
        assert_eq!(is_json, !reply.body.is_empty(), "{method} {path}: {reply:?}");
        bodies += usize::from(is_json);
        let sent = real.send(method, &path, "Content-Type: application/json\r\n", b"{}");
        // The sandbox does not know that id, or wants a person.
        if sent.status < 300 {
            assert_eq!(reply.status, sent.status, "{method} {path}");
            let shapes = [&reply, &sent].map(|reply| if is_json { shape(&reply.json()) } else { Value::Null });
            assert_eq!(shapes[0], shapes[1], "{method} {path}");
            compared += 1;
        }
        writes += 1;
    }
    assert!(writes == 164 && bodies >= 90 && compared >= 150, "{writes} {bodies} {compared}");
    let counts = ninja.counts();
    assert_eq!((counts.api_requests, counts.writes), (0, 0));
    assert!(counts.grants >= 1, "the token is fetched");
    assert_eq!(metric(tried.admin, "ninjaone_proxy_dry_runs_total{listener=\"local\"}"), f64::from(writes));
}

#[test]
fn reads_of_a_listener_in_dry_run_are_sent_unless_they_ask_for_one_themselves() {
    let ninja = Ninja::start(|_| {});
    let proxy = Proxy::start(&ninja.instance(), &format!("{ALL}\n{TRIED}"), "");
    for (method, headers, dry) in
        [("GET", "", false), ("HEAD", "", false), ("GET", PREFER, true), ("HEAD", PREFER, true)]
    {
        let before = ninja.counts().api_requests;
        let reply = proxy.send(method, "/v2/device/8", headers, b"");
        assert_eq!((reply.status, is_dry(&reply)), (200, dry), "{method} {headers}");
        assert_eq!(ninja.counts().api_requests - before, u64::from(!dry));
        assert_eq!(reply.body.is_empty(), method == "HEAD");
    }
    // Of a device that only a tenant has.
    let reply = proxy.send("GET", "/v2/device/4711", PREFER, b"");
    assert_eq!(reply.json()["id"], 4711);
}

#[test]
fn a_request_that_prefers_a_dry_run_is_not_sent_and_any_other_preference_goes_to_the_instance() {
    let server = Scripted::start(|mut asked| {
        read_body(&asked.head.clone(), asked.stream);
        let preference = asked.lines().get("prefer").map_or(String::new(), |lines| lines.join("|"));
        asked.answer(&answer("200 OK", &format!("\"{preference}\"")));
        Then::Continue
    });
    let proxy = Proxy::start(&server.instance(), ALL, "");
    for headers in [
        PREFER,
        "prefer: return=minimal, DRY-RUN\r\n",
        "Prefer: return=minimal\r\nPrefer: dry-run=approval\r\n",
        "Prefer: wait=5; x=\"a,b\"\r\nPrefer: dry-run; y\r\n",
        // Not well-formed: what was meant for a dry run is not sent.
        "Prefer: \"dry-run\r\n",
        "Connection: Prefer\r\nPrefer: dry-run\r\n",
    ] {
        let reply = proxy.send("POST", REBOOT, headers, b"{}");
        assert!(is_dry(&reply) && reply.status == 204, "{headers}: {reply:?}");
    }
    assert_eq!(server.api_requests(), 0);
    for (headers, told) in [("", ""), ("Prefer: return=minimal, wait=5\r\n", "return=minimal, wait=5")] {
        let reply = proxy.send("POST", REBOOT, headers, b"{}");
        assert_eq!((is_dry(&reply), reply.json()), (false, Value::from(told)), "{headers}");
    }
    assert_eq!(server.api_requests(), 2);
}

#[test]
fn a_dry_run_is_refused_where_the_request_would_be() {
    let ninja = Ninja::start(|_| {});
    let rules = "scopes = [\"monitoring\", \"management\"]\nquota = { writes = \"3/day\" }\nallow = [{ rule = \"POST /v2/device/{id}/script/run\", body = { \"/id\" = 12 } }]";
    let proxy = Proxy::start(&ninja.instance(), rules, "[limits]\nbody = \"1KiB\"");
    let json = format!("{PREFER}Content-Type: application/json\r\n");
    let script = |body: &[u8]| proxy.send("POST", SCRIPT, &json, body);
    assert_eq!(proxy.send("GET", "/v2/users", PREFER, b"").code(), "group-not-open");
    assert_eq!(proxy.send("GET", "/v2/nothing", PREFER, b"").code(), "operation-unknown");
    assert_eq!(script(b"{\"id\": 13}").code(), "body-not-open");
    assert_eq!(script(b"{\"id\": 12, \"id\": 12}").code(), "body-not-open");
    assert_eq!(proxy.send("POST", REBOOT, PREFER, &[b' '; 2000]).code(), "body-too-large");
    for _ in 0..2 {
        assert!(is_dry(&script(b"{\"id\": 12}")));
    }
    let exceeded = script(b"{\"id\": 12}");
    assert_eq!(exceeded.code(), "quota-exceeded", "{exceeded:?}");
    assert_eq!(ninja.counts().api_requests, 0);
    let refused = Proxy::with_secret("wrong", &ninja.instance(), ALL, "");
    assert_eq!(refused.send("POST", REBOOT, PREFER, b"").code(), "token-client-refused");
}

/// What the log says the listener's address is.
#[cfg(unix)]
fn listening(log: &str) -> Option<std::net::SocketAddr> {
    let line = log.lines().find(|line| line.contains("listening"))?;
    line.split("http://").nth(1)?.split(|c: char| !c.is_ascii_digit() && c != '.' && c != ':').next()?.parse().ok()
}

#[cfg(unix)]
#[test]
fn a_dry_run_takes_no_use_of_a_rule_and_needs_one_that_is_left() {
    let ninja = Ninja::start(|_| {});
    let state = tempfile::tempdir().expect("a folder");
    let config = format!(
        "[instances.main]\n{}\nclient-id = \"sandbox\"\nclient-secret = {{ env = \"NINJA_SECRET\" }}\n[admin]\naddress = \"none\"\n\
         [listeners.local]\naddress = \"127.0.0.1:0\"\nscopes = [\"monitoring\", \"management\"]\n\
         allow = [{{ rule = \"POST /v2/device/{{id}}/reboot/{{mode}}\", max-uses = 1 }}]\n",
        ninja.instance()
    );
    let shell = format!("NINJA_SECRET={SECRET} STATE_DIRECTORY={}/made exec \"$0\"", state.path().display());
    let running = Running::start(&config, &shell, std::process::Stdio::null());
    let address = listening(&running.log()).expect("an address");
    let reboot = |headers: &str| request(address, "POST", REBOOT, headers, b"");
    for _ in 0..3 {
        assert!(is_dry(&reboot(PREFER)));
    }
    assert_eq!(ninja.counts().writes, 0);
    assert!(!is_dry(&reboot("")));
    assert_eq!(ninja.counts().writes, 1);
    for headers in [PREFER, ""] {
        assert_eq!(reboot(headers).code(), "rule-used-up");
    }
    assert_eq!(ninja.counts().writes, 1);
}

#[test]
fn a_dry_run_asks_nobody_to_approve_it_unless_it_wants_that() {
    let ninja = Ninja::start(|_| {});
    let key = KeyHash::of(b"a-key-of-the-lead");
    let rules = "scopes = [\"monitoring\", \"management\"]\nallow = [{ rule = \"POST /v2/device/{id}/reboot/{mode}\", approval = true }]";
    let approvals = format!("[approvals]\nwait = \"10ms\"\napprovers.lead.key = \"{key}\"");
    let proxy = Proxy::start(&ninja.instance(), rules, &approvals);
    assert!(is_dry(&proxy.send("POST", REBOOT, PREFER, b"")));
    let held = proxy.send("POST", REBOOT, "Prefer: dry-run=approval\r\n", b"");
    assert_eq!((held.status, held.json()["state"].as_str()), (202, Some("waiting")), "{held:?}");
    assert_eq!(proxy.send("POST", REBOOT, "", b"").status, 202);
    let mut shown: Vec<_> = request(proxy.admin, "GET", "/approvals.json", "", b"")
        .json()
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| one["dryRun"].as_bool())
        .collect();
    shown.sort();
    assert_eq!(shown, [Some(false), Some(true)]);
    assert_eq!(ninja.counts().api_requests, 0);
}

#[test]
fn an_operation_that_the_catalog_lacks_has_no_answer_in_a_dry_run() {
    let ninja = Ninja::start(|_| {});
    let rules = "scopes = [\"monitoring\", \"management\"]\nallow = [\"POST /v2/new-thing/{id}\"]";
    let proxy = Proxy::start(&ninja.instance(), rules, "");
    let reply = proxy.send("POST", "/v2/new-thing/7", PREFER, b"{}");
    assert_eq!((reply.status, reply.code().as_str()), (501, "dry-run-unknown"), "{reply:?}");
    let status = "ninjaone-proxy; error=proxy_internal_response; details=\"dry-run-unknown\"";
    assert_eq!(reply.header("proxy-status"), status);
    assert_eq!(ninja.counts().api_requests, 0);
}

#[test]
fn the_body_of_a_dry_run_is_read_to_its_end_and_the_connection_goes_on() {
    let ninja = Ninja::start(|_| {});
    let proxy = Proxy::start(&ninja.instance(), &format!("{ALL}\n{TRIED}"), "");
    let mut stream = connect(proxy.address);
    let head = format!("POST {REBOOT} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    for _ in 0..2 {
        stream.write_all(head.as_bytes()).expect("a head");
        for _ in 0..30 {
            stream.write_all(format!("1388\r\n{}\r\n", "x".repeat(5000)).as_bytes()).expect("a chunk");
        }
        stream.write_all(b"0\r\n\r\n").expect("an end");
        assert!(is_dry(&Reply::read(&mut stream, false)));
    }
    let bytes = "ninjaone_proxy_request_bytes_total{listener=\"local\"}";
    eventually("bytes", || metric(proxy.admin, bytes) == 300_000.0);
    assert_eq!(ninja.counts().api_requests, 0);
}

/// Two callers of a listener, the first with this key of its own.
fn callers(listener: &str, first: &str) -> String {
    let [one, other] = ["a-key-of-bot", "a-key-of-desk"].map(|key| KeyHash::of(key.as_bytes()));
    format!(
        "{ALL}\n{listener}\n[listeners.local.callers.bot]\nkey = \"{one}\"\n{first}\n[listeners.local.callers.desk]\nkey = \"{other}\""
    )
}

#[test]
fn a_caller_may_be_in_dry_run_beside_others_and_narrow_only() {
    let ninja = Ninja::start(|_| {});
    let mut proxy = Proxy::start(&ninja.instance(), &callers("", TRIED), "");
    let tries = |proxy: &Proxy, name: &str| {
        is_dry(&proxy.send("POST", REBOOT, &format!("X-Api-Key: a-key-of-{name}\r\n"), b""))
    };
    assert_eq!(["bot", "desk"].map(|name| tries(&proxy, name)), [true, false]);
    assert_eq!(ninja.counts().writes, 1);
    for (listener, own) in [(TRIED, ""), (TRIED, TRIED)] {
        proxy.reconfigure(&callers(listener, own), "").expect("a good configuration");
        assert_eq!(["bot", "desk"].map(|name| tries(&proxy, name)), [true, true]);
    }
    proxy.reconfigure(&callers("writes = \"send\"", "writes = \"send\""), "").expect("a good configuration");
    assert_eq!(["bot", "desk"].map(|name| tries(&proxy, name)), [false, false]);
    let wider = proxy.reconfigure(&callers(TRIED, "writes = \"send\""), "").expect_err("a mistake");
    let place =
        "listeners.local.callers.bot.writes: the listener has writes = \"dry-run\", and a caller can only narrow";
    assert!(wider.contains(place) && wider.contains("take this line out"), "{wider}");
}

#[test]
fn a_mistake_in_writes_names_its_line_and_the_valid_words() {
    let text = "[instances.main]\nhost = \"sandbox\"\n[listeners.local]\nwrites = \"dry_run\"\n";
    let mistake = Config::parse(Path::new("c.toml"), text.to_owned()).expect_err("a mistake").to_string();
    assert!(mistake.starts_with("c.toml:4:10: listeners.local.writes: "), "{mistake}");
    assert!(mistake.contains("send") && mistake.contains("did you mean \"dry-run\"?"), "{mistake}");
}

#[test]
fn a_dry_run_is_marked_in_the_audit_log_and_its_chain_holds() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("audit.jsonl");
    let ninja = Ninja::start(|_| {});
    let mut proxy = Proxy::start(&ninja.instance(), ALL, &format!("[audit]\nfile = {file:?}"));
    assert!(is_dry(&proxy.send("POST", REBOOT, PREFER, b"{}")));
    assert!(!is_dry(&proxy.send("POST", REBOOT, "", b"{}")));
    assert!(is_dry(&proxy.send("GET", "/v2/device/7", PREFER, b"")));
    proxy.shut_down().join().expect("an end");
    let text = std::fs::read_to_string(&file).expect("a log");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let marks: Vec<_> = lines.iter().map(|line| (line["kind"].as_str(), line["dry_run"].as_bool())).collect();
    let [dry, real] = [Some(true), None].map(|mark| [(Some("intent"), mark), (Some("outcome"), mark)]);
    assert_eq!(marks[1..5], [dry, real].concat());
    assert_eq!(marks.len(), 6, "a read has no line: {marks:?}");
    let (code, said, _) = run_binary(folder.path(), &["audit", "verify", "audit.jsonl"], &[]);
    assert_eq!(code, 0, "{said}");
}

#[test]
fn commands_and_the_status_page_tell_of_a_dry_run() {
    let proxy = Proxy::sandboxed(&callers("", TRIED));
    let page = String::from_utf8(request(proxy.admin, "GET", "/", "", b"").body).expect("text");
    assert!(page.contains("not sent") && page.contains("enforces its rules<"), "{page}");
    let tried = Proxy::sandboxed(&format!("{ALL}\n{TRIED}"));
    let page = String::from_utf8(request(tried.admin, "GET", "/", "", b"").body).expect("text");
    assert!(page.contains("enforces its rules; sends no writes"), "{page}");
    assert!(page.contains("listeners.local sends no writes: it answers them with invented data"), "{page}");

    let folder = tempfile::tempdir().expect("a folder");
    let write = |text: &str| std::fs::write(folder.path().join("c.toml"), text).expect("a file");
    let run = |arguments: &[&str]| {
        let (_, said, _) = run_binary(folder.path(), &[&["--config", "c.toml"], arguments].concat(), &[]);
        said
    };
    write(&format!("[instances.main]\nhost = \"sandbox\"\n[listeners.local]\n{ALL}\n{TRIED}\n"));
    let line = "dry run    it is not sent to NinjaOne: the answer is invented\n";
    assert!(run(&["explain", "POST", REBOOT]).contains(line));
    assert!(!run(&["explain", "GET", "/v2/device/7"]).contains("dry run"));
    assert!(run(&["explain", "GET", "/v2/device/7", "--header", "Prefer: dry-run"]).contains(line));
    let json: Value = serde_json::from_str(&run(&["explain", "POST", REBOOT, "--json"])).expect("JSON");
    assert_eq!(json[0]["dryRun"], true, "{json}");
    let routes = run(&["routes", "--format", "tsv"]);
    let row = |path: &str| routes.lines().find(|row| row.contains(path)).unwrap_or_default();
    assert!(row("POST\t/v2/organizations\t").ends_with("; dry run: not sent"), "{routes}");
    assert!(!row("GET\t/v2/organizations\t").contains("dry run"), "{routes}");
    assert!(run(&["check"]).contains("warning: listeners.local sends no writes"), "{}", run(&["check"]));
    write(&format!("[instances.main]\nhost = \"sandbox\"\n[listeners.local]\n{}\n", callers("", TRIED)));
    let said = run(&["check"]);
    assert!(
        said.contains("# listeners.local.callers.bot: writes are not sent") && !said.contains("sends no writes"),
        "{said}"
    );
}
