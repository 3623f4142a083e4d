//! What must become of requests that need an approval, told from all that has happened so far, and held against the
//! proxy's own answer at each step.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use ninjaone_proxy::net::listener::Buffers;
use ninjaone_proxy::observe::audit_log::AuditLog;
use ninjaone_proxy::observe::audit_log::entry::{DecisionLabel, RequestFacts};
use ninjaone_proxy::observe::metrics::Metrics;
use ninjaone_proxy::proxy::approval::{
    ApprovalId, Approvals, ApprovalsConfig, Approver, Decision, FIELD, HeldRequest, Outcome, Unapproved,
};
use ninjaone_proxy::proxy::authn::key::KeyHash;

/// The approvers; the first has the name of a caller.
const APPROVERS: [&str; 3] = ["lead", "deputy", "third"];
const CALLERS: [Option<&str>; 3] = [None, Some("agent"), Some("lead")];
const BODIES: [&[u8]; 3] = [b"", b"{\"id\":12}", b"{\"id\":13}"];
/// How long a request can be approved, in seconds.
const EXPIRES: u64 = 600;
/// No more time passes than this: what has ended is kept for an hour.
const MAX_TIME: u64 = 3000;

/// Something that has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Happened {
    Yes { request: usize, approver: usize, version: u8 },
    No { request: usize },
    Used { request: usize },
    Left { request: usize },
}

/// A request that was asked for.
struct Request {
    id: ApprovalId,
    caller: usize,
    body: usize,
    critical: bool,
    asked: u64,
}

/// The configuration in force.
struct Rules {
    /// Of each approver, the version of the key; none if it is no approver.
    versions: [Option<u8>; 3],
    required: usize,
    required_critical: usize,
}

struct Play {
    approvals: Approvals,
    rules: Rules,
    requests: Vec<Request>,
    happened: Vec<Happened>,
    now: u64,
}

fn key(approver: usize, version: u8) -> String {
    format!("{}-{version}", APPROVERS[approver])
}

fn held(caller: usize, body: usize, critical: bool) -> HeldRequest {
    HeldRequest {
        facts: RequestFacts {
            id: "1".to_owned(),
            trace: None,
            listener: "local".to_owned(),
            caller: CALLERS[caller].map(str::to_owned),
            user: None,
            organizations: None,
            peer: "127.0.0.1:1".to_owned(),
            method: None,
            operation: "none".to_owned(),
            path: None,
            decision: DecisionLabel::Waiting,
            overruled: None,
            rule: None,
            approval: None,
            dry_run: false,
        },
        method: Method::POST,
        target: "/v2/device/7/script/run".parse().expect("a target"),
        instance: "eu.ninjarmm.com".to_owned(),
        operation: None,
        content_type: None,
        content_encoding: None,
        body: Bytes::from_static(BODIES[body]),
        rule: "POST /v2/device/{id}/script/run".to_owned(),
        reason: None,
        critical,
    }
}

impl Play {
    fn new() -> Self {
        let metrics = Metrics::new().expect("metrics");
        let (approvals, _) = Approvals::new(Arc::new(Buffers::new(1 << 20)), metrics.approvals(), None);
        let rules = Rules { versions: [Some(0); 3], required: 1, required_critical: 2 };
        let play = Self { approvals, rules, requests: Vec::new(), happened: Vec::new(), now: 0 };
        play.configure(Duration::ZERO);
        play
    }

    fn configure(&self, wait: Duration) {
        let Rules { versions, required, required_critical } = &self.rules;
        let approvers = versions.iter().enumerate().filter_map(|(approver, version)| {
            let key = KeyHash::of(key(approver, (*version)?).as_bytes());
            Some(Approver { name: APPROVERS[approver].to_owned(), key })
        });
        let config = ApprovalsConfig {
            wait,
            expires: Duration::from_secs(EXPIRES),
            required: *required,
            required_critical: *required_critical,
            approvers: approvers.collect(),
            notifies: false,
        };
        self.approvals.configure(config, AuditLog::default());
    }

    /// What the state of a request must be, by all that has happened.
    fn state(&self, request: usize) -> &'static str {
        let has = |wanted: Happened| self.happened.contains(&wanted);
        let Request { caller, critical, asked, .. } = &self.requests[request];
        if has(Happened::Used { request }) {
            return "used";
        }
        if has(Happened::No { request }) {
            return "denied";
        }
        if has(Happened::Left { request }) || self.now >= asked + EXPIRES {
            return "expired";
        }
        let last_yes = |wanted: usize| {
            self.happened.iter().rev().find_map(|happened| {
                let Happened::Yes { request: of, approver, version } = happened else { return None };
                ((*of, *approver) == (request, wanted)).then_some(*version)
            })
        };
        let counts = |approver: &usize| {
            let version = self.rules.versions[*approver];
            version.is_some() && last_yes(*approver) == version && CALLERS[*caller] != Some(APPROVERS[*approver])
        };
        let yes: BTreeSet<usize> = (0..APPROVERS.len()).filter(counts).collect();
        let needed =
            if *critical { self.rules.required.max(self.rules.required_critical) } else { self.rules.required };
        if yes.len() >= needed { "approved" } else { "waiting" }
    }

    async fn ask(&mut self, caller: usize, body: usize, critical: bool) {
        let asked = self.approvals.require(held(caller, body, critical), &HeaderMap::new()).await;
        let nobody = self.rules.versions.iter().all(Option::is_none);
        match asked {
            Ok(Outcome::Waiting(summary)) => {
                assert!(!nobody, "nobody could approve it");
                self.requests.push(Request { id: summary.id, caller, body, critical, asked: self.now });
            }
            Err(Unapproved::Impossible) => assert!(nobody, "somebody could approve it"),
            other => panic!("a request that nobody has approved: {other:?}"),
        }
    }

    /// A caller that leaves while it is held.
    async fn ask_and_leave(&mut self, caller: usize, body: usize) {
        self.configure(Duration::from_secs(60));
        let before: BTreeSet<_> = self.approvals.list().iter().map(|summary| summary.id).collect();
        let headers = HeaderMap::new();
        let mut asked = Box::pin(self.approvals.require(held(caller, body, false), &headers));
        let answered = std::future::poll_fn(|cx| std::task::Poll::Ready(asked.as_mut().poll(cx))).await;
        drop(asked);
        if answered.is_pending() {
            let new = self.approvals.list().into_iter().find(|summary| !before.contains(&summary.id));
            let id = new.expect("it was asked for").id;
            self.requests.push(Request { id, caller, body, critical: false, asked: self.now });
            self.happened.push(Happened::Left { request: self.requests.len() - 1 });
        }
        self.configure(Duration::ZERO);
    }

    async fn vote(&mut self, request: usize, approver: usize, version: u8, decision: Decision) {
        let known = self.approvals.approver(key(approver, version).as_bytes());
        assert_eq!(known.is_ok(), self.rules.versions[approver] == Some(version), "who is an approver");
        let Ok(known) = known else { return };
        let before = self.state(request);
        let Request { id, caller, .. } = self.requests[request];
        let is_own = CALLERS[caller] == Some(APPROVERS[approver]);
        let taken = self.approvals.decide(&known, id, decision, "").await;
        let may = matches!(before, "waiting" | "approved") && !is_own;
        assert_eq!(taken.is_ok(), may, "{before}: {taken:?}");
        let Ok(summary) = taken else { return };
        self.happened.push(match decision {
            Decision::Approve => Happened::Yes { request, approver, version },
            Decision::Deny => Happened::No { request },
        });
        assert_eq!(summary.state.as_str(), self.state(request), "after a vote");
    }

    async fn repeat(&mut self, request: usize, caller: usize, body: usize) {
        let before = self.state(request);
        let Request { id, caller: asked_by, body: shown, critical, .. } = self.requests[request];
        let headers = [(FIELD, HeaderValue::try_from(id.to_string()).expect("a value"))].into_iter().collect();
        let repeated = self.approvals.require(held(caller, body, critical), &headers).await;
        let is_same = CALLERS[caller] == CALLERS[asked_by] && BODIES[body] == BODIES[shown];
        match (repeated, before) {
            (Err(Unapproved::Mismatch(_)), _) => assert!(!is_same, "it is the request that was shown"),
            (repeated, _) if !is_same => panic!("it is another request: {repeated:?}"),
            (Ok(Outcome::Approved(approved)), "approved") => {
                assert_eq!(approved.id(), id);
                self.happened.push(Happened::Used { request });
            }
            (Ok(Outcome::Waiting(_)), "waiting")
            | (Err(Unapproved::Denied { .. }), "denied")
            | (Err(Unapproved::Expired), "expired")
            | (Err(Unapproved::Used), "used") => {}
            (repeated, before) => panic!("{before}, and {repeated:?}"),
        }
    }

    async fn step(&mut self, [kind, a, b, c]: [u8; 4]) {
        let (a, b, c) = (usize::from(a), usize::from(b), usize::from(c));
        let request = self.requests.len().checked_sub(1).map(|last| a % (last + 1));
        match (kind % 10, request) {
            (0, _) | (_, None) => self.ask(a % 3, b % 3, c % 2 == 1).await,
            (1, _) => self.ask_and_leave(a % 3, b % 3).await,
            (2..=4, Some(request)) => {
                let decision = if c % 16 == 7 { Decision::Deny } else { Decision::Approve };
                self.vote(request, b % 3, u8::from(c % 16 == 15), decision).await;
            }
            (5..=7, Some(request)) => {
                let Request { caller, body, .. } = self.requests[request];
                let (caller, body) =
                    (if b % 8 == 7 { b / 8 % 3 } else { caller }, if c % 8 == 7 { c / 8 % 3 } else { body });
                self.repeat(request, caller, body).await;
            }
            (8, _) => {
                let version =
                    |bits: usize| [Some(0), Some(0), Some(0), Some(0), Some(0), Some(0), Some(1), None][bits % 8];
                self.rules.versions = [version(a), version(a / 8), version(a / 32)];
                (self.rules.required, self.rules.required_critical) = ([1, 1, 2, 3][b % 4], [1, 2, 2, 3][c % 4]);
                self.configure(Duration::ZERO);
            }
            _ => {
                let seconds = (a as u64 / 2).min(MAX_TIME - self.now);
                tokio::time::advance(Duration::from_secs(seconds)).await;
                self.now += seconds;
                if b % 2 == 0 {
                    self.approvals.sweep();
                }
            }
        }
        for (place, Request { id, .. }) in self.requests.iter().enumerate() {
            let shown = self.approvals.summary(*id).expect("it is kept");
            assert_eq!(shown.state.as_str(), self.state(place), "request {place} after {kind} {a} {b} {c}");
        }
    }
}

/// Does what the bytes say, four for each step; fails where the proxy's answer is not what must be. How many requests
/// went on.
pub(crate) fn agree(bytes: &[u8]) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        let mut play = Play::new();
        for step in bytes.chunks_exact(4).take(200) {
            play.step([step[0], step[1], step[2], step[3]]).await;
        }
        play.happened.iter().filter(|happened| matches!(happened, Happened::Used { .. })).count()
    })
}
