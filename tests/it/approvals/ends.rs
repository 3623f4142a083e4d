//! How the wait for an approval ends: by time, by the caller, by the process; and what the audit log has of all that.

use ninjaone_proxy::observe::audit_log::verify::verify;
use serde_json::Value;

use super::stand::{BODY, Stand};
use crate::harness::eventually;

/// The steps of approvals in an audit log, in order, after its chain was found whole.
pub(crate) fn steps(file: &std::path::Path) -> Vec<Value> {
    let report = verify(file, &[]).expect("a log");
    assert_eq!(report.findings, []);
    let text = std::fs::read_to_string(file).expect("text");
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    lines.filter(|line| line["kind"] == "approval").collect()
}

#[test]
fn a_request_that_nobody_approves_in_time_is_refused_and_so_is_a_yes_that_comes_late() {
    let stand = Stand::start("wait = \"60s\"\nexpires = \"300ms\"", "");
    let held = stand.ask_aside();
    let reply = held.join().expect("an answer");
    assert_eq!((reply.status, reply.code()), (403, "approval-expired".to_owned()), "held, and over before the wait is");
    let stand = Stand::start("wait = \"0s\"\nexpires = \"5s\"", "");
    let (given, missing) = (stand.ask_id(), stand.ask_id());
    assert_eq!(stand.decide("lead", &given, "approve").status, 200);
    eventually("it is over", || stand.status("agent", &missing).json()["state"] == "expired");
    assert_eq!(stand.decide("lead", &missing, "approve").status, 409);
    for id in [&given, &missing] {
        assert_eq!(stand.repeat("agent", id, BODY).code(), "approval-expired");
    }
    assert_eq!(stand.count_sent(), 0);
}

#[test]
fn a_caller_that_leaves_takes_its_request_along() {
    let stand = Stand::start("wait = \"60s\"", "");
    let held = stand.begin();
    let id = stand.waiting();
    drop(held);
    eventually("it is withdrawn", || stand.list()[0]["withdrawn"] == true);
    let late = stand.decide("lead", &id, "approve");
    assert_eq!((late.status, late.code_of_problem()), (409, "approval-over".to_owned()));
    assert_eq!(stand.count_sent(), 0);
}

#[test]
fn a_proxy_that_ends_ends_what_waits() {
    let mut stand = Stand::start("wait = \"60s\"", "");
    let held = stand.ask_aside();
    let id = stand.waiting();
    let ending = stand.proxy.shut_down();
    let reply = held.join().expect("an answer");
    assert_eq!((reply.status, reply.code()), (403, "approval-expired".to_owned()), "{id}");
    ending.join().expect("an end");
    assert_eq!(stand.count_sent(), 0);
}

#[test]
fn every_step_is_in_the_chain_of_the_audit_log() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("audit.jsonl");
    let mut stand = Stand::start("wait = \"0s\"\nexpires = \"10s\"", &format!("[audit]\nfile = {file:?}\n"));
    let (used, denied, expired) = (stand.ask_id(), stand.ask_id(), stand.ask_id());
    assert_eq!(stand.decide("lead", &used, "approve").status, 200);
    let reply = stand.repeat("agent", &used, BODY);
    assert_eq!(reply.status, 200);
    assert_eq!(stand.decide("deputy", &denied, "deny").status, 200);
    eventually("it is over", || stand.status("agent", &expired).json()["state"] == "expired");
    stand.proxy.shut_down().join().expect("an end");
    let steps = steps(&file);
    let of = |id: &str| -> Vec<&str> {
        let own = steps.iter().filter(|step| step["approval"] == id);
        own.map(|step| step["step"].as_str().expect("a step")).collect()
    };
    assert_eq!(of(&used), ["asked", "approved", "used"]);
    assert_eq!(of(&denied), ["asked", "denied"]);
    assert_eq!(of(&expired), ["asked", "expired"]);
    let approved = steps.iter().find(|step| step["step"] == "approved").expect("a step");
    for (key, wanted) in [
        ("approver", "lead"),
        ("comment", "by a test"),
        ("caller", "agent"),
        ("listener", "local"),
        ("operation", "POST /v2/device/{id}/script/run"),
        ("path", "/v2/device/7/script/run"),
        ("decision", "waiting"),
        ("rule", "POST /v2/device/{id}/script/run"),
    ] {
        assert_eq!(approved[key], wanted, "{approved}");
    }
    let hash = ninjaone_proxy::proxy::approval::BodyHash::of(BODY).to_string();
    assert_eq!((&approved["body_sha256"], &approved["body_bytes"]), (&hash.into(), &BODY.len().into()));
    let text = std::fs::read_to_string(&file).expect("text");
    assert!(!text.contains("hunter2") && !text.contains("seven"), "neither body nor query: {text}");
    let intent = text.lines().find(|line| line.contains("\"kind\":\"intent\"")).expect("an intent");
    assert!(intent.contains(&format!("\"approval\":\"{used}\"")), "{intent}");
}

#[cfg(unix)]
mod killed {
    use std::net::SocketAddr;
    use std::process::{Command, Stdio};

    use super::super::stand::{BODY, TARGET, approvals, decide_at, lines, listener};
    use crate::doors::Running;
    use crate::harness::{Scripted, Then, answer, request};

    fn address(running: &Running, mark: &str) -> SocketAddr {
        let log = running.log();
        let rest = log.split(mark).nth(1).and_then(|rest| rest.split("address=http://").nth(1)).expect("an address");
        rest.split_whitespace().next().expect("an address").parse().expect("an address")
    }

    #[test]
    fn what_a_killed_proxy_had_approved_is_not_sent_by_the_next() {
        let server = Scripted::start(|mut asked| {
            asked.answer(&answer("200 OK", "{}"));
            Then::Continue
        });
        let config = format!(
            "[instances.main]\n{}\nclient-id = \"x\"\nclient-secret = {{ env = \"TEST_SECRET\" }}\n\
             [admin]\naddress = \"127.0.0.1:0\"\n{}[listeners.local]\naddress = \"127.0.0.1:0\"\n{}",
            server.instance(),
            approvals("wait = \"0s\"", &["lead", "deputy"]),
            listener()
        );
        let start = || Running::start(&config, "TEST_SECRET=secret exec \"$0\"", Stdio::null());
        let ask = |running: &Running, more: &str| {
            request(address(running, "listening listener=local"), "POST", TARGET, &lines("agent", more), BODY)
        };
        let running = start();
        let id = ask(&running, "").json()["id"].as_str().expect("an id").to_owned();
        assert_eq!(decide_at(address(&running, "admin listening"), "lead", &id, "approve").status, 200);
        let killed = Command::new("kill").args(["-KILL", &running.id().to_string()]).status().expect("kill runs");
        assert!(killed.success());
        let next = start();
        let named = format!("X-Approval-Id: {id}\r\n");
        let reply = ask(&next, &named);
        assert_eq!((reply.status, reply.code()), (403, "approval-unknown".to_owned()));
        assert_eq!(decide_at(address(&next, "admin listening"), "lead", &id, "approve").status, 404);
        assert_eq!(server.api_requests(), 0);
    }
}
