//! What becomes of requests that need an approval, with time paused.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http::header::{HeaderMap, HeaderValue};

use super::*;
use crate::observe::audit_log::entry::{DecisionLabel, RequestFacts};
use crate::observe::metrics::Metrics;
use crate::proxy::authn::key::KeyHash;

const MINUTE: Duration = Duration::from_secs(60);

pub(super) fn approver(name: &str) -> Approver {
    Approver { name: name.to_owned(), key: KeyHash::of(key(name).as_bytes()) }
}

fn key(name: &str) -> String {
    format!("{name}-key")
}

fn config(wait: Duration, approvers: &[&str]) -> ApprovalsConfig {
    ApprovalsConfig {
        wait,
        expires: 15 * MINUTE,
        required: 1,
        required_critical: 2,
        approvers: approvers.iter().map(|name| approver(name)).collect(),
        notifies: false,
    }
}

fn approvals(config: ApprovalsConfig) -> Approvals {
    let metrics = Metrics::new().expect("metrics");
    let (approvals, _) = Approvals::new(Arc::new(Buffers::new(16 << 20)), metrics.approvals(), None);
    approvals.configure(config, AuditLog::default());
    approvals
}

pub(super) fn held() -> HeldRequest {
    HeldRequest {
        facts: RequestFacts {
            id: "1".to_owned(),
            trace: None,
            listener: "local".to_owned(),
            caller: Some("agent".to_owned()),
            user: None,
            organizations: None,
            peer: "127.0.0.1:4711".to_owned(),
            method: None,
            operation: "none".to_owned(),
            path: None,
            decision: DecisionLabel::Permitted,
            overruled: None,
            dry_run: false,
            rule: None,
            approval: None,
        },
        method: Method::POST,
        target: "/v2/device/7/script/run?a=1".parse().expect("a target"),
        instance: "eu.ninjarmm.com".to_owned(),
        operation: None,
        content_type: Some(HeaderValue::from_static("application/json")),
        content_encoding: None,
        body: Bytes::from_static(b"{\"id\": 12}"),
        rule: "POST /v2/device/{id}/script/run".to_owned(),
        reason: None,
        critical: false,
    }
}

fn named(id: ApprovalId) -> HeaderMap {
    [(FIELD, HeaderValue::try_from(id.to_string()).expect("a value"))].into_iter().collect()
}

/// Asks without waiting.
async fn ask(approvals: &Approvals, held: HeldRequest) -> ApprovalId {
    match approvals.require(held, &HeaderMap::new()).await {
        Ok(Outcome::Waiting(summary)) => summary.id,
        other => panic!("{other:?}"),
    }
}

async fn decide(approvals: &Approvals, who: &str, id: ApprovalId, decision: Decision) -> Result<State, DecisionError> {
    let approver = approvals.approver(key(who).as_bytes()).expect("an approver");
    approvals.decide(&approver, id, decision, "").await.map(|summary| summary.state)
}

async fn repeat(approvals: &Approvals, id: ApprovalId, held: HeldRequest) -> Result<&'static str, Unapproved> {
    approvals.require(held, &named(id)).await.map(|outcome| match outcome {
        Outcome::Approved(approved) => {
            assert_eq!(approved.id(), id);
            "goes on"
        }
        Outcome::Waiting(_) => "waits",
    })
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_goes_on_when_an_approver_says_yes() {
    let approvals = approvals(config(MINUTE, &["lead"]));
    let empty = HeaderMap::new();
    let mut waiting = std::pin::pin!(approvals.require(held(), &empty));
    assert!(timeout_at(Instant::now() + MINUTE / 2, &mut waiting).await.is_err(), "it is held");
    let id = approvals.list()[0].id;
    assert_eq!(decide(&approvals, "lead", id, Decision::Approve).await, Ok(State::Approved));
    let Ok(Outcome::Approved(approved)) = waiting.await else { panic!("it was approved") };
    assert_eq!((approved.id(), approved.approvers()), (id, &["lead".to_owned()][..]));
    assert_eq!(repeat(&approvals, id, held()).await, Err(Unapproved::Used), "once");
    assert_eq!(decide(&approvals, "lead", id, Decision::Deny).await, Err(DecisionError::Over(State::Used)));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_is_refused_when_an_approver_says_no() {
    let approvals = approvals(config(MINUTE, &["lead"]));
    let empty = HeaderMap::new();
    let mut waiting = std::pin::pin!(approvals.require(held(), &empty));
    assert!(timeout_at(Instant::now(), &mut waiting).await.is_err(), "it is held");
    let id = approvals.list()[0].id;
    assert_eq!(decide(&approvals, "lead", id, Decision::Deny).await, Ok(State::Denied));
    assert!(matches!(waiting.await, Err(Unapproved::Denied { comment: None })));
    assert_eq!(decide(&approvals, "lead", id, Decision::Approve).await, Err(DecisionError::Over(State::Denied)));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_has_waited_long_enough_repeats_the_request_with_the_id_once() {
    let approvals = approvals(config(MINUTE, &["lead"]));
    let begun = Instant::now();
    let id = ask(&approvals, held()).await;
    assert_eq!(begun.elapsed(), MINUTE);
    assert_eq!(repeat(&approvals, id, held()).await, Ok("waits"));
    assert_eq!(decide(&approvals, "lead", id, Decision::Approve).await, Ok(State::Approved));
    assert_eq!(repeat(&approvals, id, held()).await, Ok("goes on"));
    assert_eq!(repeat(&approvals, id, held()).await, Err(Unapproved::Used));
}

#[tokio::test(start_paused = true)]
async fn an_approval_is_for_the_request_that_was_shown_and_no_other() {
    let approvals = approvals(config(Duration::ZERO, &["lead"]));
    let id = ask(&approvals, held()).await;
    assert_eq!(decide(&approvals, "lead", id, Decision::Approve).await, Ok(State::Approved));
    type Change = fn(&mut HeldRequest);
    let changes: [(Difference, Change); 11] = [
        (Difference::Listener, |held| held.facts.listener.push('x')),
        (Difference::Caller, |held| held.facts.caller = Some("other".to_owned())),
        (Difference::Caller, |held| held.facts.caller = None),
        (Difference::User, |held| held.facts.user = Some("technician".to_owned())),
        (Difference::Instance, |held| held.instance.push('x')),
        (Difference::Method, |held| held.method = Method::PUT),
        (Difference::Target, |held| held.target = "/v2/device/8/script/run?a=1".parse().expect("a target")),
        (Difference::Target, |held| held.target = "/v2/device/7/script/run?a=2".parse().expect("a target")),
        (Difference::ContentType, |held| held.content_encoding = Some(HeaderValue::from_static("gzip"))),
        (Difference::Body, |held| held.body = Bytes::from_static(b"{\"id\":12}")),
        (Difference::DryRun, |held| held.facts.dry_run = true),
    ];
    for (difference, change) in changes {
        let mut other = held();
        change(&mut other);
        assert_eq!(repeat(&approvals, id, other).await, Err(Unapproved::Mismatch(difference)), "{difference:?}");
    }
    assert_eq!(repeat(&approvals, id, held()).await, Ok("goes on"), "what differed has used nothing up");
}

#[tokio::test(start_paused = true)]
async fn an_approval_expires_whether_it_was_given_or_not() {
    let approvals = approvals(config(Duration::ZERO, &["lead"]));
    let (given, missing) = (ask(&approvals, held()).await, ask(&approvals, held()).await);
    assert_eq!(decide(&approvals, "lead", given, Decision::Approve).await, Ok(State::Approved));
    tokio::time::advance(15 * MINUTE).await;
    for id in [given, missing] {
        assert_eq!(repeat(&approvals, id, held()).await, Err(Unapproved::Expired));
        assert_eq!(decide(&approvals, "lead", id, Decision::Approve).await, Err(DecisionError::Over(State::Expired)));
    }
    approvals.sweep();
    assert_eq!(approvals.list().len(), 2, "their callers may ask");
    tokio::time::advance(61 * MINUTE).await;
    approvals.sweep();
    assert_eq!(approvals.list().len(), 0);
    assert_eq!(repeat(&approvals, given, held()).await, Err(Unapproved::Unknown));
}

#[tokio::test(start_paused = true)]
async fn a_request_of_critical_risk_needs_two_different_people() {
    let approvals = approvals(config(Duration::ZERO, &["lead", "deputy"]));
    let critical = || HeldRequest { critical: true, ..held() };
    let id = ask(&approvals, critical()).await;
    for _ in 0..3 {
        assert_eq!(decide(&approvals, "lead", id, Decision::Approve).await, Ok(State::Waiting));
    }
    assert_eq!(repeat(&approvals, id, critical()).await, Ok("waits"));
    assert_eq!(decide(&approvals, "deputy", id, Decision::Approve).await, Ok(State::Approved));
    assert_eq!(repeat(&approvals, id, critical()).await, Ok("goes on"));
}

#[tokio::test(start_paused = true)]
async fn a_vote_ends_with_the_key_that_it_was_given_with() {
    let approvals = approvals(config(Duration::ZERO, &["lead", "deputy"]));
    let id = ask(&approvals, held()).await;
    assert_eq!(decide(&approvals, "lead", id, Decision::Approve).await, Ok(State::Approved));
    approvals.configure(config(Duration::ZERO, &["deputy"]), AuditLog::default());
    assert_eq!(repeat(&approvals, id, held()).await, Ok("waits"), "the approver is gone");
    let mut other = config(Duration::ZERO, &["lead", "deputy"]);
    other.approvers[0].key = KeyHash::of(b"another");
    approvals.configure(other, AuditLog::default());
    assert_eq!(repeat(&approvals, id, held()).await, Ok("waits"), "the approver has another key");
    assert_eq!(decide(&approvals, "deputy", id, Decision::Approve).await, Ok(State::Approved));
    assert_eq!(repeat(&approvals, id, held()).await, Ok("goes on"));
}

#[tokio::test(start_paused = true)]
async fn an_approver_cannot_approve_a_request_of_its_own() {
    let approvals = approvals(config(Duration::ZERO, &["agent", "lead"]));
    let id = ask(&approvals, held()).await;
    assert_eq!(decide(&approvals, "agent", id, Decision::Approve).await, Err(DecisionError::OwnRequest));
    assert_eq!(repeat(&approvals, id, held()).await, Ok("waits"));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_before_it_knows_the_id_takes_the_request_with_it() {
    let approvals = approvals(config(MINUTE, &["lead"]));
    let id = {
        let empty = HeaderMap::new();
        let mut waiting = std::pin::pin!(approvals.require(held(), &empty));
        assert!(timeout_at(Instant::now(), &mut waiting).await.is_err(), "it is held");
        approvals.list()[0].id
    };
    let summary = approvals.summary(id).expect("it is shown for a while");
    assert!(summary.is_withdrawn && summary.state == State::Expired, "{summary:?}");
    assert_eq!(decide(&approvals, "lead", id, Decision::Approve).await, Err(DecisionError::Over(State::Expired)));
    let known = ask(&approvals, held()).await;
    let headers = named(known);
    let mut waiting = Box::pin(approvals.require(held(), &headers));
    assert!(timeout_at(Instant::now(), &mut waiting).await.is_err(), "it is held");
    drop(waiting);
    assert_eq!(approvals.summary(known).map(|summary| summary.state), Some(State::Waiting), "the caller knows it");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_approved_without_an_approver_nor_once_the_process_ends() {
    let nobody = approvals(config(MINUTE, &[]));
    assert!(matches!(nobody.require(held(), &HeaderMap::new()).await, Err(Unapproved::Impossible)));
    let approvals = approvals(config(Duration::ZERO, &["lead"]));
    let id = ask(&approvals, held()).await;
    assert_eq!(decide(&approvals, "lead", id, Decision::Approve).await, Ok(State::Approved));
    approvals.close();
    assert_eq!(repeat(&approvals, id, held()).await, Err(Unapproved::Expired));
    assert!(matches!(approvals.require(held(), &HeaderMap::new()).await, Err(Unapproved::Impossible)));
}

#[tokio::test(start_paused = true)]
async fn bodies_are_limited_and_their_memory_is_given_back() {
    let approvals = approvals(config(Duration::ZERO, &["lead"]));
    let large = |size: usize| HeldRequest { body: Bytes::from(vec![b' '; size]), ..held() };
    let refused = approvals.require(large(MAX_BODY + 1), &HeaderMap::new()).await;
    assert!(matches!(refused, Err(Unapproved::TooLarge { rule }) if rule == held().rule));
    let mut ids = Vec::new();
    let full = loop {
        match approvals.require(large(MAX_BODY), &HeaderMap::new()).await {
            Ok(Outcome::Waiting(summary)) => ids.push(summary.id),
            other => break other,
        }
    };
    assert!(matches!(full, Err(Unapproved::Buffers(_))) && ids.len() == 14, "{} of 16 MiB", ids.len());
    decide(&approvals, "lead", ids[0], Decision::Deny).await.expect("a vote");
    ask(&approvals, large(MAX_BODY)).await;
    approvals.close();
    assert_eq!(approvals.0.buffers.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_caller_cannot_take_the_room_of_others() {
    let approvals = approvals(config(Duration::ZERO, &["lead"]));
    let of = |caller: &str| {
        let mut held = held();
        held.facts.caller = Some(caller.to_owned());
        HeldRequest { body: Bytes::new(), ..held }
    };
    for _ in 0..MAX_OPEN_OF_CALLER {
        ask(&approvals, of("one")).await;
    }
    assert!(matches!(approvals.require(of("one"), &HeaderMap::new()).await, Err(Unapproved::Full)));
    ask(&approvals, of("two")).await;
    assert_eq!(approvals.waiting(), MAX_OPEN_OF_CALLER + 1);
}

#[tokio::test(start_paused = true)]
async fn wrong_keys_are_limited_and_right_ones_are_not() {
    let approvals = approvals(config(Duration::ZERO, &["lead"]));
    let wrong = (0..100).map(|_| approvals.approver(b"wrong").expect_err("nobody's key"));
    let told = wrong.filter(|error| *error == ApproverError::WrongKey).count();
    assert_eq!(told, 20);
    assert!(approvals.approver(key("lead").as_bytes()).is_ok_and(|approver| approver.name() == "lead"));
}

#[tokio::test(start_paused = true)]
async fn only_one_well_formed_id_names_an_approval() {
    let approvals = approvals(config(Duration::ZERO, &["lead"]));
    let id = ask(&approvals, held()).await;
    decide(&approvals, "lead", id, Decision::Approve).await.expect("a vote");
    let mut twice = named(id);
    twice.append(FIELD, HeaderValue::try_from(id.to_string()).expect("a value"));
    let bad =
        |text: &str| -> HeaderMap { [(FIELD, HeaderValue::try_from(text).expect("a value"))].into_iter().collect() };
    for headers in [twice, bad(""), bad("x"), bad(&"0".repeat(32)), bad(&format!("{id}, {id}"))] {
        let refused = approvals.require(held(), &headers).await;
        assert!(matches!(refused, Err(Unapproved::Unknown)), "{headers:?}: {refused:?}");
    }
    assert_eq!(repeat(&approvals, id, held()).await, Ok("goes on"));
}

#[tokio::test(start_paused = true)]
async fn a_caller_is_told_the_state_of_its_own_approvals_only() {
    let approvals = approvals(config(Duration::ZERO, &["lead"]));
    let id = ask(&approvals, held()).await;
    let uri = id.status_path().parse().expect("a target");
    let status = async |method: Method, listener: &str, caller: Option<&str>| {
        approvals.status((&method, &uri), listener, caller).await.map(|summary| summary.state)
    };
    assert_eq!(status(Method::GET, "local", Some("agent")).await, Ok(State::Waiting));
    assert_eq!(status(Method::HEAD, "local", Some("agent")).await, Ok(State::Waiting));
    assert_eq!(status(Method::GET, "local", Some("other")).await, Err(NoStatus::Unknown));
    assert_eq!(status(Method::GET, "local", None).await, Err(NoStatus::Unknown));
    assert_eq!(status(Method::GET, "other", Some("agent")).await, Err(NoStatus::Unknown));
    assert_eq!(status(Method::POST, "local", Some("agent")).await, Err(NoStatus::NotARead));
}
