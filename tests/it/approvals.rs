//! Requests that need an approval, as callers, approvers and NinjaOne see them.

mod admin;
#[cfg(unix)]
mod chromium;
pub(crate) mod ends;
mod mistakes;
mod notices;
pub(crate) mod stand;
mod states;

use std::thread;

use crate::harness::eventually;
use stand::{BODY, Stand, approvals, lines};

#[test]
fn a_held_request_goes_on_by_itself_when_an_approver_says_yes() {
    let stand = Stand::start("wait = \"20s\"", "");
    let held = stand.ask_aside();
    let id = stand.waiting();
    assert_eq!(stand.count_sent(), 0, "nobody has said yes");
    let decided = stand.decide("lead", &id, "approve");
    // The request may have gone on before the answer was made.
    let state = decided.json()["state"].as_str().map(str::to_owned);
    assert!(decided.status == 200 && matches!(state.as_deref(), Some("approved" | "used")), "{decided:?}");
    assert_eq!(held.join().expect("an answer").status, 200);
    let sent = stand.sent.lock().expect("a list").clone();
    assert_eq!(sent.len(), 1);
    assert!(sent[0].0.starts_with(&format!("POST {} HTTP/1.1", stand::TARGET)), "{}", sent[0].0);
    assert_eq!(sent[0].1.as_bytes(), BODY, "what was shown is what is sent");
    assert_eq!(stand.list()[0]["state"], "used");
}

#[test]
fn a_caller_that_gets_202_asks_for_the_state_and_repeats_the_request_once() {
    let stand = Stand::start("wait = \"0s\"", "");
    let reply = stand.ask("agent", "", BODY);
    assert_eq!((reply.status, reply.header("retry-after")), (202, "5"), "{reply:?}");
    let document = reply.json();
    assert_eq!((&document["state"], &document["required"]), (&"waiting".into(), &1.into()), "{document}");
    assert_eq!(document["reason"], "patch week");
    let id = document["id"].as_str().expect("an id");
    assert_eq!(reply.header("location"), document["status"].as_str().expect("a path"));
    assert!(document["next"].as_str().is_some_and(|next| next.contains(&format!("X-Approval-Id: {id}"))), "{document}");
    assert_eq!(stand.status("agent", id).json()["state"], "waiting");
    assert_eq!(stand.repeat("agent", id, BODY).status, 202, "it waits on");
    assert_eq!(stand.decide("lead", id, "approve").status, 200);
    assert_eq!(stand.status("agent", id).json()["state"], "approved");
    assert_eq!(stand.count_sent(), 0);
    assert_eq!(stand.repeat("agent", id, BODY).status, 200);
    assert_eq!(stand.status("agent", id).json()["state"], "used");
    let again = stand.repeat("agent", id, BODY);
    assert_eq!((again.status, again.code()), (403, "approval-used".to_owned()));
    assert_eq!(stand.count_sent(), 1);
    let head = &stand.sent.lock().expect("a list")[0].0;
    assert!(!head.to_ascii_lowercase().contains("x-approval-id"), "{head}");
}

#[test]
fn what_differs_from_what_was_shown_is_refused_and_uses_nothing_up() {
    let stand = Stand::start("wait = \"0s\"", "");
    let id = stand.ask_id();
    assert_eq!(stand.decide("lead", &id, "approve").status, 200);
    let mut other = BODY.to_vec();
    let last = other.len() - 3;
    other[last] = b'3';
    let refused = |reply: crate::harness::Reply, what: &str| {
        assert_eq!((reply.status, reply.code()), (403, "approval-mismatch".to_owned()));
        let detail = reply.json()["detail"].as_str().expect("a text").to_owned();
        assert!(detail.contains(&format!("its {what} differs")), "{detail}");
    };
    refused(stand.repeat("agent", &id, &other), "body");
    refused(stand.repeat("other", &id, BODY), "caller");
    let named = format!("X-Approval-Id: {id}\r\n");
    let target = stand::TARGET.replace("seven", "eight");
    refused(stand.proxy.send("POST", &target, &lines("agent", &named), BODY), "path or query");
    let kind = lines("agent", &named).replace("application/json", "text/plain");
    refused(stand.proxy.send("POST", stand::TARGET, &kind, BODY), "Content-Type or Content-Encoding");
    let unknown = stand.repeat("agent", &"0".repeat(32), BODY);
    assert_eq!((unknown.status, unknown.code()), (403, "approval-unknown".to_owned()));
    assert_eq!(stand.count_sent(), 0);
    assert_eq!(stand.repeat("agent", &id, BODY).status, 200);
}

#[test]
fn the_state_is_told_to_the_caller_that_asked_and_to_nobody_else() {
    let stand = Stand::start("wait = \"0s\"", "");
    let id = stand.ask_id();
    assert_eq!(stand.status("agent", &id).status, 200);
    for (caller, id) in [("other", id.as_str()), ("agent", "x"), ("agent", &"0".repeat(32))] {
        let reply = stand.status(caller, id);
        assert_eq!((reply.status, reply.code()), (404, "approval-unknown".to_owned()), "{caller} {id}");
    }
    let path = format!("/.well-known/ninjaone-proxy/approvals/{id}");
    assert_eq!(stand.proxy.send("GET", &path, "", b"").status, 401, "without a key");
    let write = stand.proxy.send("POST", &path, &lines("agent", ""), b"{}");
    assert_eq!((write.status, write.header("allow")), (405, "GET, HEAD"));
}

#[test]
fn a_denied_request_is_refused_with_the_comment_and_never_sent() {
    let stand = Stand::start("wait = \"20s\"", "");
    let held = stand.ask_aside();
    let id = stand.waiting();
    assert_eq!(stand.decide("lead", &id, "deny").status, 200);
    let reply = held.join().expect("an answer");
    assert_eq!((reply.status, reply.code()), (403, "approval-denied".to_owned()));
    assert!(reply.json()["detail"].as_str().is_some_and(|detail| detail.contains("by a test")), "{reply:?}");
    let late = stand.decide("deputy", &id, "approve");
    assert_eq!((late.status, late.code_of_problem()), (409, "approval-over".to_owned()));
    assert_eq!(stand.repeat("agent", &id, BODY).code(), "approval-denied");
    assert_eq!(stand.count_sent(), 0);
}

#[test]
fn a_critical_operation_waits_for_two_different_people() {
    let stand = Stand::start("wait = \"0s\"\nrequired-critical = 2", "");
    let id = stand.ask_id();
    for _ in 0..2 {
        let decided = stand.decide("lead", &id, "approve").json();
        assert_eq!((&decided["state"], &decided["approvals"]), (&"waiting".into(), &1.into()));
    }
    assert_eq!(stand.repeat("agent", &id, BODY).status, 202);
    assert_eq!(stand.decide("deputy", &id, "approve").json()["state"], "approved");
    assert_eq!(stand.repeat("agent", &id, BODY).status, 200);
    assert_eq!(stand.count_sent(), 1);
}

#[test]
fn an_approver_whose_key_a_reload_removes_has_approved_nothing() {
    let mut stand = Stand::start("wait = \"0s\"", "");
    let id = stand.ask_id();
    assert_eq!(stand.decide("lead", &id, "approve").json()["state"], "approved");
    stand.reconfigure("wait = \"0s\"", &["deputy"]);
    assert_eq!(stand.status("agent", &id).json()["state"], "waiting");
    assert_eq!(stand.repeat("agent", &id, BODY).status, 202);
    let gone = stand.decide("lead", &id, "approve");
    assert_eq!((gone.status, gone.code_of_problem()), (401, "key-wrong".to_owned()));
    assert_eq!(stand.count_sent(), 0);
    assert_eq!(stand.decide("deputy", &id, "approve").json()["state"], "approved");
    assert_eq!(stand.repeat("agent", &id, BODY).status, 200);
}

#[test]
fn two_repeats_at_once_use_an_approval_once() {
    let stand = Stand::start("wait = \"0s\"", "");
    for _ in 0..5 {
        let id = stand.ask_id();
        assert_eq!(stand.decide("lead", &id, "approve").status, 200);
        let before = stand.count_sent();
        let statuses: Vec<u16> = thread::scope(|scope| {
            let repeats: Vec<_> = (0..8).map(|_| scope.spawn(|| stand.repeat("agent", &id, BODY).status)).collect();
            repeats.into_iter().map(|repeat| repeat.join().expect("an answer")).collect()
        });
        assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
        assert_eq!(statuses.iter().filter(|status| **status == 403).count(), 7, "{statuses:?}");
        assert_eq!(stand.count_sent(), before + 1);
    }
}

#[test]
fn a_body_that_is_too_large_to_be_shown_is_refused() {
    let stand = Stand::start("wait = \"0s\"", "");
    let reply = stand.ask("agent", "", &vec![b' '; (1 << 20) + 1]);
    assert_eq!(reply.status, 413, "{reply:?}");
    assert_eq!(stand.ask("agent", "", &vec![b' '; 1 << 20]).status, 202);
    assert_eq!(stand.count_sent(), 0);
}

#[test]
fn a_rule_that_wants_an_approval_is_a_mistake_where_nobody_can_approve() {
    let mut stand = Stand::start("wait = \"0s\"", "");
    let said = stand.proxy.reconfigure(&stand::listener(), "").expect_err("a mistake");
    assert!(said.contains("approval = true needs somebody who can approve"), "{said}");
    assert!(stand.proxy.reconfigure(&stand::listener(), &approvals("", &["lead"])).is_ok());
}

#[test]
fn a_thousand_requests_wait_at_once_and_leave_with_their_callers() {
    let stand = Stand::start("wait = \"60s\"", "");
    let held: Vec<_> = (0..1000).map(|_| stand.begin()).collect();
    eventually("all wait", || stand.list().len() == 1000);
    let metrics = crate::harness::request(stand.proxy.admin, "GET", "/metrics", "", b"");
    let metrics = String::from_utf8(metrics.body).expect("text");
    assert!(metrics.contains("\nninjaone_proxy_approvals_waiting 1000\n"), "{metrics}");
    drop(held);
    eventually("all are withdrawn", || {
        stand.list().iter().all(|one| one["state"] == "expired" && one["withdrawn"] == true)
    });
    assert_eq!(stand.count_sent(), 0);
}
