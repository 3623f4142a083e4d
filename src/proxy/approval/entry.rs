//! One approval: the request that was shown, the votes on it, and its state, worked out from votes and time.

use std::time::SystemTime;

use bytes::Bytes;
use tokio::sync::watch;

use super::approvers::is_current;
use super::binding::Binding;
use super::{
    ApprovalDetails, ApprovalId, ApprovalSummary, ApprovalsConfig, Decision, HeldRequest, KnownApprover, State, Vote,
};
use crate::base::clock::Moment;
use crate::net::listener::Reservation;
use crate::observe::audit_log::entry::{DecisionLabel, RequestFacts, Text};
use crate::observe::audit_log::{ApprovalStep, StepKind};
use crate::proxy::authn::key::KeyHash;

/// An approval that was asked for.
#[derive(Debug)]
pub(super) struct Entry {
    id: ApprovalId,
    held: HeldRequest,
    binding: Binding,
    body_bytes: usize,
    /// The memory of its body.
    room: Option<Reservation>,
    asked: Moment,
    expires: Moment,
    votes: Vec<KeyedVote>,
    ended: Option<(End, Moment)>,
    /// Wakes those who wait for a change.
    changed: watch::Sender<()>,
}

/// A vote, and the key that it was given with: it counts as long as that is the approver's.
#[derive(Debug)]
struct KeyedVote {
    vote: Vote,
    key: KeyHash,
}

/// How an approval ended. What is not ended may be expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Denied,
    Expired,
    Used,
    Withdrawn,
}

impl End {
    fn state(self) -> State {
        match self {
            Self::Denied => State::Denied,
            Self::Expired | Self::Withdrawn => State::Expired,
            Self::Used => State::Used,
        }
    }

    pub(super) fn step(self) -> StepKind {
        match self {
            Self::Denied => StepKind::Denied,
            Self::Expired => StepKind::Expired,
            Self::Used => StepKind::Used,
            Self::Withdrawn => StepKind::Withdrawn,
        }
    }
}

impl Entry {
    pub(super) fn new(
        (id, held, binding): (ApprovalId, HeldRequest, Binding),
        room: Option<Reservation>,
        (asked, expires): (Moment, Moment),
    ) -> Self {
        let body_bytes = held.body.len();
        let (votes, changed) = (Vec::new(), watch::Sender::new(()));
        Self { id, held, binding, body_bytes, room, asked, expires, votes, ended: None, changed }
    }

    /// Its state at this moment, by the approvers and numbers of this configuration.
    pub(super) fn state(&self, config: &ApprovalsConfig, now: Moment) -> State {
        match self.ended {
            Some((end, _)) => end.state(),
            None if now.has_reached(self.expires) => State::Expired,
            None if self.given(config).count() >= config.required(self.held.critical) => State::Approved,
            None => State::Waiting,
        }
    }

    /// The approvers whose yes counts: each one once, and never the caller.
    pub(super) fn given<'a>(&'a self, config: &'a ApprovalsConfig) -> impl Iterator<Item = &'a str> {
        let counts = |keyed: &&KeyedVote| {
            let name = &keyed.vote.approver;
            keyed.vote.decision == Decision::Approve
                && is_current(&config.approvers, name, keyed.key)
                && !self.is_caller(name)
        };
        self.votes.iter().filter(counts).map(|keyed| &*keyed.vote.approver)
    }

    /// Whether this approver has said yes with this key.
    pub(super) fn has_yes_of(&self, approver: &KnownApprover) -> bool {
        let is_it = |keyed: &KeyedVote| keyed.vote.approver == approver.name && keyed.key == approver.key;
        self.votes.iter().any(|keyed| is_it(keyed) && keyed.vote.decision == Decision::Approve)
    }

    pub(super) fn is_caller(&self, name: &str) -> bool {
        self.held.facts.caller.as_deref() == Some(name)
    }

    /// Takes a vote. One of the same approver, who has another key now, takes the place of the one before: nobody counts
    /// twice.
    pub(super) fn vote(
        &mut self,
        approver: &KnownApprover,
        decision: Decision,
        comment: Option<String>,
        at: SystemTime,
    ) {
        self.votes.retain(|keyed| keyed.vote.approver != approver.name);
        let vote = Vote { approver: approver.name.clone(), decision, comment, at };
        self.votes.push(KeyedVote { vote, key: approver.key });
    }

    /// Ends it. Its body is let go of.
    pub(super) fn end(&mut self, end: End, at: Moment) {
        self.ended = Some((end, at));
        self.held.body = Bytes::new();
        self.room = None;
    }

    pub(super) fn binding(&self) -> &Binding {
        &self.binding
    }

    /// When it ended.
    pub(super) fn ended_at(&self) -> Option<Moment> {
        self.ended.map(|(_, at)| at)
    }

    pub(super) fn asked(&self) -> Moment {
        self.asked
    }

    pub(super) fn expires(&self) -> Moment {
        self.expires
    }

    /// What hears of the next change.
    pub(super) fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    pub(super) fn wake(&self) {
        self.changed.send_replace(());
    }

    /// What the approver who said no wrote.
    pub(super) fn denial(&self) -> Option<String> {
        let denial = self.votes.iter().find(|keyed| keyed.vote.decision == Decision::Deny);
        denial.and_then(|keyed| keyed.vote.comment.clone())
    }

    /// A step of it for the audit log; `facts` are of another request than the one that asked.
    pub(super) fn step(
        &self,
        step: StepKind,
        by: Option<(&KnownApprover, Option<&str>)>,
        facts: Option<&RequestFacts>,
    ) -> ApprovalStep {
        ApprovalStep {
            step,
            id: self.id.to_string(),
            approver: by.map(|(approver, _)| approver.name.clone()),
            comment: by.and_then(|(_, comment)| comment).map(Text::new),
            body_bytes: self.body_bytes,
            body_sha256: self.binding.body().to_string(),
            facts: RequestFacts {
                decision: if step == StepKind::Used { DecisionLabel::Permitted } else { DecisionLabel::Waiting },
                approval: None,
                ..facts.unwrap_or(&self.held.facts).clone()
            },
        }
    }

    /// What everybody may see.
    pub(super) fn summary(&self, config: &ApprovalsConfig, now: Moment) -> ApprovalSummary {
        let held = &self.held;
        ApprovalSummary {
            id: self.id,
            state: self.state(config, now),
            is_withdrawn: self.ended.is_some_and(|(end, _)| end == End::Withdrawn),
            asked: self.asked.wall,
            expires: self.expires.wall,
            given: self.given(config).count(),
            required: config.required(held.critical),
            method: held.method.clone(),
            path: held.target.path().to_owned(),
            operation: held.operation_name(),
            group: held.operation.as_ref().map(|operation| operation.group),
            risk: held.risk(),
            listener: held.facts.listener.clone(),
            caller: held.facts.caller.clone(),
            dry_run: held.facts.dry_run,
            rule: held.rule.clone(),
            reason: held.reason.clone(),
            comment: self.denial(),
        }
    }

    /// All of it.
    pub(super) fn details(&self, config: &ApprovalsConfig, now: Moment) -> ApprovalDetails {
        ApprovalDetails {
            summary: self.summary(config, now),
            held: self.held.clone(),
            body_bytes: self.body_bytes,
            body_sha256: self.binding.body(),
            votes: self.votes.iter().map(|keyed| keyed.vote.clone()).collect(),
        }
    }
}
