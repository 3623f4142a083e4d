//! The access record: one line for each request, with what decided, how it ended and how long it took.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use ninjaone_proxy::proxy::authn::key::KeyHash;
use serde_json::{Value, json};

use crate::doors::Running;
use crate::harness::{Reply, Scripted, Then, answer, connect, eventually, read_body, request};
use crate::watch::SECRET;

/// The binary in front of a scripted server, logging JSON.
struct Process {
    running: Running,
}

impl Process {
    /// `listeners` is TOML for those beside `local`, and for what else there is.
    fn start(server: &Scripted, local: &str, listeners: &str) -> Self {
        let config = format!(
            "[instances.main]\n{}\nclient-id = \"sandbox\"\nclient-secret = {{ env = \"NINJA_SECRET\" }}\n\
             [admin]\naddress = \"none\"\n[log]\nformat = \"json\"\n\
             [listeners.local]\naddress = \"127.0.0.1:0\"\n{local}\n{listeners}\n",
            server.instance()
        );
        let running = Running::start(&config, &format!("NINJA_SECRET={SECRET} exec \"$0\""), Stdio::null());
        Self { running }
    }

    fn lines(&self) -> Vec<Value> {
        let log = self.running.log();
        // The last line may be in the midst of being written.
        let whole = log.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        whole.map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
    }

    fn address(&self, listener: &str) -> SocketAddr {
        let lines = self.lines();
        let line = lines.iter().find(|line| line["message"] == "listening" && line["listener"] == listener);
        let address = line.and_then(|line| line["address"].as_str()?.strip_prefix("http://")).expect("an address");
        address.parse().expect("an address")
    }

    fn records(&self) -> Vec<Value> {
        self.lines().into_iter().filter(|line| line["target"] == "access").collect()
    }

    /// The record that is written after `act`.
    fn after(&self, act: impl FnOnce()) -> Value {
        let before = self.records().len();
        act();
        eventually("a record", || self.records().len() > before);
        let records = self.records();
        assert_eq!(records.len(), before + 1, "one a request");
        let told = include_str!("../../docs/reference/log-fields.md");
        for name in records.iter().filter_map(Value::as_object).flat_map(serde_json::Map::keys) {
            let of_every_line = ["timestamp", "level", "message", "target"].contains(&name.as_str());
            assert!(
                of_every_line || told.contains(&format!("| `{name}` |")),
                "docs/reference/log-fields.md lacks {name}"
            );
        }
        records.last().cloned().unwrap_or_default()
    }
}

/// Whether these members of a record are so; one that is null must not be there.
fn holds(record: &Value, wanted: &Value) {
    for (name, value) in wanted.as_object().expect("members") {
        assert_eq!(&record[name], value, "{name} of {record}");
        assert!(!value.is_null() || record.get(name).is_none(), "{name} of {record}");
    }
}

const RULES: &str = "scopes = [\"monitoring\", \"management\"]\ngroups = [\"devices-read\"]\n\
                     allow = [\"GET /v2/groups\", \"POST /v2/organizations\"]\ndeny = [\"GET /v2/device/{id}/disks\"]";

/// Listeners with callers, and with rules that are only observed.
fn others() -> String {
    let hash = KeyHash::of(b"desk-key");
    format!(
        "[listeners.keyed]\naddress = \"127.0.0.1:0\"\nallow = [\"GET /v2/users\"]\n[listeners.keyed.callers.desk]\nkey = \"{hash}\"\n\
         scopes = [\"monitoring\"]\nallow = [\"GET /v2/users\"]\n\
         [listeners.watch]\naddress = \"127.0.0.1:0\"\nmode = \"observe\"\ngroups = [\"queries\"]\n\
         [listeners.tried]\naddress = \"127.0.0.1:0\"\nscopes = [\"management\"]\nwrites = \"dry-run\"\n\
         [learn]\nfile = \"used.json\""
    )
}

fn server() -> Scripted {
    Scripted::start(|mut asked| {
        read_body(&asked.head.clone(), asked.stream);
        let status = match asked.head.split("status=").nth(1).and_then(|rest| rest.get(..3)) {
            // Only the first time.
            Some("401") if asked.number > 1 => "200 OK",
            Some("401") => "401 Unauthorized",
            _ => "200 OK",
        };
        let body = if status == "200 OK" { "[1,2]" } else { r#"{"error":"not_authenticated"}"# };
        asked.answer(&answer(&format!("{status}\r\nX-NJ-Request-Id: nj-{}", asked.number), body));
        Then::Continue
    })
}

#[test]
fn a_record_tells_what_was_asked_what_decided_and_how_it_ended() {
    let process = Process::start(&server(), RULES, &others());
    let ask = |listener: &str, method: &str, target: &str, headers: &str, body: &[u8]| {
        let mut reply = None;
        let address = process.address(listener);
        let record = process.after(|| reply = Some(request(address, method, target, headers, body)));
        (record, reply.expect("a reply"))
    };
    let (record, _) = ask("local", "GET", "/v2/device/7?secret=value", "", b"");
    holds(
        &record,
        &json!({
            "message": "request", "listener": "local", "caller": null, "method": "GET", "operation": "GET /v2/device/{id}",
            "decision": "permitted", "rule": null, "status": 200, "refusal": null, "blame": null, "overruled": null, "dry_run": null,
            "replayed": null, "nj_request_id": "nj-0", "bytes_in": null, "bytes": 5, "complete": true,
        }),
    );
    assert!(!record.to_string().contains("value"), "{record}");
    let times = ["ms", "before_ms", "upstream_ms"].map(|name| record[name].as_f64().expect("a time"));
    assert!(times[1] > 0.0 && times[2] > 0.0 && times[1] + times[2] <= times[0], "{record}");
    assert_eq!((record["id"].as_str().map(str::len), record["trace"].as_str().map(str::len)), (Some(16), Some(32)));

    let (record, _) = ask("local", "GET", "/v2/groups?status=401", "", b"");
    holds(&record, &json!({ "rule": "GET /v2/groups", "decision": "permitted", "status": 200, "replayed": true }));
    let (record, _) = ask("local", "POST", "/v2/organizations", "", b"{\"name\":\"a\"}");
    holds(&record, &json!({ "rule": "POST /v2/organizations", "decision": "permitted", "bytes_in": 12, "bytes": 5 }));
    let (record, _) = ask("keyed", "GET", "/v2/users", "X-Api-Key: desk-key\r\n", b"");
    holds(&record, &json!({ "listener": "keyed", "caller": "desk", "rule": "GET /v2/users", "decision": "permitted" }));
    let (record, _) = ask("watch", "GET", "/v2/device/7", "", b"");
    let group = "group:devices-read";
    let (tried, _) = ask("tried", "POST", "/v2/organizations", "", b"{\"name\":\"a\"}");
    holds(
        &tried,
        &json!({ "decision": "permitted", "dry_run": true, "status": 200, "bytes_in": 12, "upstream_ms": null }),
    );
    holds(&record, &json!({ "decision": "overruled", "rule": group, "overruled": "group-not-open", "status": 200 }));

    for (listener, method, target, headers, wanted) in [
        (
            "local",
            "GET",
            "/v2/device/7/disks",
            "",
            json!({ "refusal": "rule-denied", "rule": "GET /v2/device/{id}/disks", "operation": "GET /v2/device/{id}/disks" }),
        ),
        ("local", "GET", "/v2/users", "", json!({ "refusal": "group-not-open", "rule": "group:users-and-roles" })),
        ("keyed", "POST", "/v2/organizations", "X-Api-Key: desk-key\r\n", json!({ "rule": "scope:management" })),
        ("local", "GET", "/v2/nope", "", json!({ "refusal": "operation-unknown", "rule": null, "operation": "none" })),
        ("local", "GET", "/v2/device/7/../8", "", json!({ "refusal": "target-malformed", "rule": null })),
        ("keyed", "GET", "/v2/users", "", json!({ "refusal": "key-missing", "caller": null })),
    ] {
        let (record, reply) = ask(listener, method, target, headers, b"");
        holds(&record, &wanted);
        holds(
            &record,
            &json!({ "decision": "refused", "blame": "caller", "status": reply.status, "upstream_ms": null }),
        );
        assert_eq!(record["id"], reply.header("x-request-id"), "{record}");
        assert_eq!(record["bytes"], reply.body.len(), "{record}");
    }
    let (record, _) = ask("local", "POST", "/ws/oauth/token", "", b"grant_type=client_credentials");
    holds(&record, &json!({ "status": 200, "decision": null, "rule": null, "bytes_in": 29, "operation": "none" }));
    let record = process.after(|| {
        let mut odd = connect(process.address("local"));
        odd.write_all(b"nonsense\r\n\r\n").expect("bytes");
        assert_eq!(Reply::read(&mut odd, false).status, 400);
    });
    holds(&record, &json!({ "decision": "refused", "refusal": "request-malformed", "method": null, "status": 400 }));
}

#[test]
fn a_record_of_a_permitted_request_without_an_answer_says_whose_fault_it_was() {
    let server = Scripted::start(|_| Then::Close);
    let process = Process::start(&server, RULES, "");
    let address = process.address("local");
    let record = process.after(|| assert_eq!(request(address, "GET", "/v2/groups", "", b"").status, 502));
    holds(
        &record,
        &json!({
            "decision": "permitted", "rule": "GET /v2/groups", "refusal": "upstream-broken", "blame": "upstream",
            "status": 502, "upstream_ms": null, "nj_request_id": null,
        }),
    );
}

#[test]
fn a_record_and_the_lines_of_the_audit_log_say_the_same_of_a_request() {
    let server = Scripted::start(|mut asked| {
        read_body(&asked.head.clone(), asked.stream);
        if asked.head.contains("silent") {
            return Then::Close;
        }
        asked.answer(&answer("200 OK", "[]"));
        Then::Continue
    });
    let process = Process::start(&server, RULES, &format!("{}\n[audit]\nfile = \"audit.jsonl\"", others()));
    let asked = [
        ("local", "POST", "/v2/organizations", "", "permitted"),
        ("local", "POST", "/v2/organizations?silent", "", "permitted"),
        ("local", "GET", "/v2/groups?silent", "", "permitted"),
        ("local", "GET", "/v2/device/7/disks", "", "refused"),
        ("local", "GET", "/v2/nope", "", "refused"),
        ("keyed", "GET", "/v2/users", "", "refused"),
        ("keyed", "GET", "/v2/users?silent", "X-Api-Key: desk-key\r\n", "permitted"),
        ("watch", "GET", "/v2/device/7", "", "overruled"),
        ("watch", "GET", "/v2/device/7?silent", "", "overruled"),
        ("watch", "GET", "/v2/queries/software?silent", "", "permitted"),
    ];
    let records: Vec<Value> = asked
        .into_iter()
        .map(|(listener, method, target, headers, decision)| {
            let address = process.address(listener);
            let record = process.after(|| drop(request(address, method, target, headers, b"")));
            assert_eq!(record["decision"], decision, "{method} {target}: {record}");
            record
        })
        .collect();
    let log = || std::fs::read_to_string(process.running.folder.path().join("audit.jsonl")).expect("a log");
    let last = records.last().and_then(|record| record["id"].as_str()).expect("an id").to_owned();
    eventually("all lines", || log().contains(&last));
    let lines: Vec<Value> = log().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    for record in &records {
        let of_it: Vec<&Value> = lines.iter().filter(|line| line["id"] == record["id"]).collect();
        assert_eq!(of_it.len(), if record["method"] == "POST" { 2 } else { 1 }, "{record}");
        for line in of_it {
            for name in ["listener", "caller", "method", "operation", "decision", "rule", "overruled"] {
                assert_eq!(line[name], record[name], "{name} of {line} and {record}");
            }
            if line["kind"] != "intent" {
                assert_eq!((&line["status"], &line["code"]), (&record["status"], &record["refusal"]), "{line}");
            }
        }
    }
}

#[test]
fn a_record_is_written_when_the_caller_leaves_before_or_in_the_midst_of_the_answer() {
    const SIZE: usize = 32 << 20;
    let server = Scripted::start(|mut asked| {
        if asked.head.starts_with("GET /v2/groups") {
            sleep(Duration::from_millis(500));
            asked.answer(&answer("200 OK", "[]"));
            return Then::Continue;
        }
        asked.answer(&format!("HTTP/1.1 200 OK\r\nX-NJ-Request-Id: nj\r\nContent-Length: {SIZE}\r\n\r\n"));
        let _ = asked.stream.write_all(&vec![b'x'; SIZE]);
        Then::Close
    });
    let process = Process::start(&server, RULES, "");
    let address = process.address("local");
    let leave = |text: &str, read: usize| {
        let mut stream = connect(address);
        stream.write_all(text.as_bytes()).expect("a request");
        stream.read_exact(&mut vec![0; read]).expect("the beginning of an answer");
        let arrived = server.api_requests();
        eventually("it goes up", || server.api_requests() >= arrived.max(1));
    };
    let record = process.after(|| leave("GET /v2/groups HTTP/1.1\r\nHost: localhost\r\n\r\n", 0));
    holds(
        &record,
        &json!({
            "decision": "permitted", "operation": "GET /v2/groups", "rule": "GET /v2/groups", "status": null,
            "refusal": null, "bytes": 0, "complete": false, "upstream_ms": null,
        }),
    );
    let record = process.after(|| leave("GET /v2/device/7 HTTP/1.1\r\nHost: localhost\r\n\r\n", 100_000));
    holds(&record, &json!({ "status": 200, "complete": false, "nj_request_id": "nj", "decision": "permitted" }));
    let bytes = record["bytes"].as_u64().expect("a count");
    assert!((99_000..SIZE as u64).contains(&bytes), "{record}");
    // Half a body, and no more.
    let record = process.after(|| {
        leave("POST /v2/organizations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{\"n\"", 0);
    });
    holds(&record, &json!({ "operation": "POST /v2/organizations", "bytes_in": 4, "decision": "permitted" }));
}

#[test]
fn a_record_tells_two_kinds_of_404_apart() {
    let server = Scripted::start(|mut asked| {
        asked.answer(&match asked.number {
            0 => answer("404 Not Found", r#"{"resultCode":"FAILURE","errorMessage":"HTTP 404 Not Found"}"#),
            1 => answer("404 Not Found", r#"{"resultCode":"NODE_NOT_FOUND","incidentId":"x"}"#),
            _ => answer("404 Not Found", "[]"),
        });
        Then::Continue
    });
    let process = Process::start(&server, RULES, "");
    let address = process.address("local");
    for reason in [json!("route-unknown"), json!("entity-unknown"), Value::Null] {
        let record = process.after(|| assert_eq!(request(address, "GET", "/v2/groups", "", b"").status, 404));
        holds(&record, &json!({ "status": 404, "reason": reason, "refusal": null, "complete": true }));
    }
}

#[test]
fn a_record_says_what_is_wrong_with_a_key() {
    let server = Scripted::start(|_| Then::Close);
    let caller = format!("[listeners.local.callers.tool]\nkey = \"{}\"", KeyHash::of(b"tool-key"));
    let process = Process::start(&server, "", &caller);
    let address = process.address("local");
    for (key, reason) in [
        ("X-Api-Key: secret\r\n".to_owned(), json!("not-made-by-key-new")),
        (format!("X-Api-Key: npk_{}\r\n", "x".repeat(43)), json!("key-unknown")),
        ("X-Api-Key: npt_AAAA\r\n".to_owned(), json!("token-unknown")),
        (String::new(), Value::Null),
    ] {
        let record = process.after(|| assert_eq!(request(address, "GET", "/v2/groups", &key, b"").status, 401));
        holds(&record, &json!({ "blame": "caller", "reason": reason }));
    }
}

#[test]
fn callers_cannot_flood_the_log_with_requests_that_fail() {
    let server = Scripted::start(|mut asked| {
        let needs_user = answer("403 Forbidden", r#"{"error":"user_context_required","error_description":"x"}"#);
        if asked.number < 20 {
            asked.answer(&needs_user);
            return Then::Continue;
        }
        Then::Close
    });
    let process = Process::start(&server, RULES, "");
    let address = process.address("local");
    for number in 0..40 {
        let record = process.after(|| drop(request(address, "GET", "/v2/groups", "", b"")));
        assert_eq!(record["status"], if number < 20 { 403 } else { 502 }, "{record}");
    }
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    for begin in ["request failed", "NinjaOne refused a request because the operation needs"] {
        let told = process.lines().into_iter().filter(|line| {
            line["level"] == "WARN" && line["message"].as_str().is_some_and(|message| message.starts_with(begin))
        });
        let told: Vec<_> = told.collect();
        assert!((1..=workers).contains(&told.len()) && told[0]["left_out"] == 0, "{told:#?}");
    }
}

#[test]
fn an_id_of_ninjaone_that_is_none_is_left_out_and_breaks_no_line() {
    const IDS: [&str; 6] = ["two words", "", "tab\tbed", "\u{e9}", "a\",\"status\":999,\"b\":\"", "=\\\"{}"];
    let long = "x".repeat(65);
    let server = Scripted::start(move |mut asked| {
        let id = IDS.get(asked.number).copied().unwrap_or(&long);
        asked.answer(&answer(&format!("200 OK\r\nX-NJ-Request-Id: {id}"), "[]"));
        Then::Continue
    });
    let process = Process::start(&server, RULES, "");
    let address = process.address("local");
    for number in 0..=IDS.len() {
        let shown = IDS.get(number).filter(|_| number >= 4).map_or(Value::Null, |id| json!(id));
        let record = process.after(|| assert_eq!(request(address, "GET", "/v2/groups", "", b"").status, 200));
        holds(&record, &json!({ "status": 200, "nj_request_id": shown }));
    }
}
