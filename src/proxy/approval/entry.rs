//! One approval: the request that was shown, the votes on it, and its state, worked out from votes and time.

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::Instant;

use super::ballot::{Ballot, End, Ended};
use super::binding::Binding;
use super::held_request::ShownRequest;
use super::{
    ApprovalDetails, ApprovalId, ApprovalSummary, ApprovalsConfig, BodyHash, HeldRequest, KnownApprover, State,
};
use crate::base::clock::Moment;
use crate::net::listener::Reservation;
use crate::observe::audit_log::entry::{DecisionLabel, RequestFacts, Text};
use crate::observe::audit_log::{ApprovalStep, StepKind};

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
    ballot: Ballot,
    /// Until then it is not used: other replicas may know more of it than the store, which has lost something.
    blocked: Option<Instant>,
    /// The store that replicas share knows of it, if there is one.
    published: bool,
    /// Wakes those who wait for a change.
    changed: watch::Sender<()>,
}

impl Entry {
    pub(super) fn new(
        (id, held, binding): (ApprovalId, HeldRequest, Binding),
        room: Option<Reservation>,
        (asked, expires): (Moment, Moment),
    ) -> Self {
        let shown = ShownRequest { body_bytes: held.body.len(), held, binding, asked, expires };
        Self { published: false, ..Self::shown((id, shown), room, Ballot::new()) }
    }

    /// One that was asked for at another replica.
    pub(super) fn shown((id, shown): (ApprovalId, ShownRequest), room: Option<Reservation>, ballot: Ballot) -> Self {
        let ShownRequest { held, binding, body_bytes, asked, expires } = shown;
        let changed = watch::Sender::new(());
        let (blocked, published) = (None, true);
        let mut entry =
            Self { id, held, binding, body_bytes, room, asked, expires, ballot, blocked, published, changed };
        if entry.ballot.ended.is_some() {
            entry.drop_body();
        }
        entry
    }

    /// Its state at this moment, by the approvers and numbers of this configuration.
    pub(super) fn state(&self, config: &ApprovalsConfig, now: Moment) -> State {
        match self.ballot.ended {
            Some(Ended { end, .. }) => end.state(),
            None if now.has_reached(self.expires) => State::Expired,
            None if self.given(config).count() >= config.required(self.held.critical) => State::Approved,
            None => State::Waiting,
        }
    }

    /// The approvers whose yes counts.
    pub(super) fn given<'a>(&'a self, config: &'a ApprovalsConfig) -> impl Iterator<Item = &'a str> {
        self.ballot.given(config, self.held.facts.caller.as_deref())
    }

    pub(super) fn is_caller(&self, name: &str) -> bool {
        self.held.facts.caller.as_deref() == Some(name)
    }

    pub(super) fn ballot(&self) -> &Ballot {
        &self.ballot
    }

    /// Puts another ballot in the place of this one. The body of what has ended is let go of.
    pub(super) fn follow(&mut self, ballot: Ballot) {
        self.ballot = ballot;
        if self.ballot.ended.is_some() {
            self.drop_body();
        }
        self.wake();
    }

    fn drop_body(&mut self) {
        self.held.body = Bytes::new();
        self.room = None;
    }

    pub(super) fn is_published(&self) -> bool {
        self.published
    }

    pub(super) fn set_published(&mut self) {
        self.published = true;
    }

    /// Nobody uses it until then.
    pub(super) fn block(&mut self, until: Instant) {
        self.blocked = Some(until);
    }

    pub(super) fn is_blocked(&self, now: Moment) -> bool {
        self.blocked.is_some_and(|until| now.monotonic < until)
    }

    /// The body that was shown, where this process does not have it.
    pub(super) fn wants_body(&self) -> bool {
        self.body_bytes > 0 && self.held.body.is_empty() && self.ballot.ended.is_none()
    }

    /// Takes the body in, if it is the one that was shown.
    pub(super) fn take_body(&mut self, body: Bytes, room: Option<Reservation>) {
        if self.wants_body() && BodyHash::of(&body) == self.binding.body() {
            (self.held.body, self.room) = (body, room);
        }
    }

    /// What other replicas need of it.
    pub(super) fn request(&self) -> ShownRequest {
        ShownRequest {
            held: self.held.clone(),
            binding: self.binding.clone(),
            body_bytes: self.body_bytes,
            asked: self.asked,
            expires: self.expires,
        }
    }

    pub(super) fn binding(&self) -> &Binding {
        &self.binding
    }

    /// Whether nobody can vote on it or use it any more.
    pub(super) fn has_ended(&self) -> bool {
        self.ballot.ended.is_some()
    }

    /// When it ended.
    pub(super) fn ended_at(&self) -> Option<Moment> {
        self.ballot.ended.map(|ended| ended.at)
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
            is_withdrawn: self.ballot.ended.is_some_and(|ended| ended.end == End::Withdrawn),
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
            comment: self.ballot.denial(),
        }
    }

    /// All of it.
    pub(super) fn details(&self, config: &ApprovalsConfig, now: Moment) -> ApprovalDetails {
        ApprovalDetails {
            summary: self.summary(config, now),
            held: self.held.clone(),
            body_bytes: self.body_bytes,
            body_sha256: self.binding.body(),
            votes: self.ballot.votes.iter().map(|keyed| keyed.vote.clone()).collect(),
        }
    }
}
