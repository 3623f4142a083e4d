//! All approvals: asked for, voted on, used once. Nothing here waits; the clock is handed in.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::sync::watch;

use super::binding::Binding;
use super::entry::{End, Entry};
use super::{
    ApprovalDetails, ApprovalId, ApprovalSummary, ApprovalsConfig, Decision, DecisionError, HeldRequest, KnownApprover,
    MAX_OPEN, MAX_OPEN_OF_CALLER, State, Unapproved,
};
use crate::base::clock::Moment;
use crate::net::listener::Reservation;
use crate::observe::audit_log::{ApprovalStep, StepKind};

/// How many approvals that have ended are kept, and for how long: for their callers, who may not have heard of it.
const KEPT: (usize, Duration) = (1000, Duration::from_secs(3600));

/// All approvals.
#[derive(Debug, Default)]
pub(super) struct Store {
    pub(super) config: ApprovalsConfig,
    entries: HashMap<ApprovalId, Entry>,
    /// Those that have ended, in order.
    ended: VecDeque<ApprovalId>,
    /// Nothing is approved any more.
    closed: bool,
}

/// A request that asks for its approval, or names one.
pub(super) struct Asked<'a> {
    pub(super) id: ApprovalId,
    pub(super) held: &'a HeldRequest,
    pub(super) binding: &'a Binding,
}

/// How far an approval is.
pub(super) enum Progress {
    /// It is used now, by the one who asked here: who approved it.
    Used { approvers: Vec<String>, step: Box<ApprovalStep> },
    /// It waits: its end, and what hears of changes.
    Waiting { expires: Moment, changed: watch::Receiver<()> },
}

impl Store {
    /// Takes a request in, unless it cannot be approved here.
    pub(super) fn ask(
        &mut self,
        (id, held, binding): (ApprovalId, HeldRequest, Binding),
        room: Option<Reservation>,
        now: Moment,
    ) -> Result<ApprovalStep, Unapproved> {
        if self.closed || self.config.approvers.is_empty() {
            return Err(Unapproved::Impossible);
        }
        let is_open = |entry: &&Entry| entry.ended_at().is_none();
        let is_own = |entry: &&Entry| entry.binding().is_of(&held.facts.listener, held.facts.caller.as_deref());
        let open = self.entries.len() - self.ended.len();
        if open >= MAX_OPEN || self.entries.values().filter(is_open).filter(is_own).count() >= MAX_OPEN_OF_CALLER {
            return Err(Unapproved::Full);
        }
        let entry = Entry::new((id, held, binding), room, (now, now + self.config.expires));
        let step = entry.step(StepKind::Asked, None, None);
        self.entries.insert(id, entry);
        Ok(step)
    }

    /// Uses an approval up, if enough approvers have said yes to this very request.
    pub(super) fn use_up(&mut self, asked: &Asked<'_>, now: Moment) -> Result<Progress, Unapproved> {
        let entry = self.entries.get_mut(&asked.id).ok_or(Unapproved::Unknown)?;
        if let Some(difference) = entry.binding().difference(asked.binding) {
            return Err(Unapproved::Mismatch(difference));
        }
        match entry.state(&self.config, now) {
            State::Waiting => Ok(Progress::Waiting { expires: entry.expires(), changed: entry.subscribe() }),
            State::Denied => Err(Unapproved::Denied { comment: entry.denial() }),
            State::Expired => Err(Unapproved::Expired),
            State::Used => Err(Unapproved::Used),
            State::Approved => {
                let approvers = entry.given(&self.config).map(str::to_owned).collect();
                let step = Box::new(entry.step(StepKind::Used, None, Some(&asked.held.facts)));
                self.end(asked.id, End::Used, now);
                Ok(Progress::Used { approvers, step })
            }
        }
    }

    /// What the audit log is to be told of a vote; `None` if it changes nothing.
    pub(super) fn vote_step(
        &self,
        id: ApprovalId,
        (approver, decision, comment): (&KnownApprover, Decision, Option<&str>),
        now: Moment,
    ) -> Result<Option<ApprovalStep>, DecisionError> {
        let entry = self.entries.get(&id).ok_or(DecisionError::Unknown)?;
        let state = entry.state(&self.config, now);
        if !state.is_open() {
            return Err(DecisionError::Over(state));
        }
        if entry.is_caller(&approver.name) {
            return Err(DecisionError::OwnRequest);
        }
        let (step, changes) = match decision {
            Decision::Approve => (StepKind::Approved, !entry.has_yes_of(approver)),
            Decision::Deny => (StepKind::Denied, true),
        };
        Ok(changes.then(|| entry.step(step, Some((approver, comment)), None)))
    }

    /// Takes a vote that [`Store::vote_step`] let pass. Meanwhile the approval may have ended.
    pub(super) fn vote(
        &mut self,
        id: ApprovalId,
        (approver, decision, comment): (&KnownApprover, Decision, Option<String>),
        now: Moment,
    ) -> Result<(), DecisionError> {
        let entry = self.entries.get_mut(&id).ok_or(DecisionError::Unknown)?;
        let state = entry.state(&self.config, now);
        if !state.is_open() {
            return Err(DecisionError::Over(state));
        }
        entry.vote(approver, decision, comment, now.wall);
        match decision {
            Decision::Approve => entry.wake(),
            Decision::Deny => self.end(id, End::Denied, now),
        }
        Ok(())
    }

    /// The caller left before it knew the id.
    pub(super) fn withdraw(&mut self, id: ApprovalId, now: Moment) -> Option<ApprovalStep> {
        let entry = self.entries.get(&id).filter(|entry| entry.state(&self.config, now).is_open())?;
        let step = entry.step(StepKind::Withdrawn, None, None);
        self.end(id, End::Withdrawn, now);
        Some(step)
    }

    /// What could not be recorded was never asked for.
    pub(super) fn forget(&mut self, id: ApprovalId) {
        self.entries.remove(&id);
        self.ended.retain(|ended| *ended != id);
    }

    /// Ends what has expired, and lets go of what ended long ago.
    pub(super) fn sweep(&mut self, now: Moment) -> Vec<ApprovalStep> {
        let is_over = |entry: &Entry| entry.ended_at().is_none() && now.has_reached(entry.expires());
        let steps = self.expire(is_over, now);
        let (count, time) = KEPT;
        while let Some(oldest) = self.ended.front() {
            let ended = self.entries.get(oldest).and_then(Entry::ended_at);
            if self.ended.len() <= count && ended.is_some_and(|ended| now.since(ended) < time) {
                break;
            }
            self.entries.remove(oldest);
            self.ended.pop_front();
        }
        steps
    }

    /// Ends all that is open; nothing is approved from now on.
    pub(super) fn close(&mut self, now: Moment) -> Vec<ApprovalStep> {
        self.closed = true;
        self.expire(|entry| entry.ended_at().is_none(), now)
    }

    fn expire(&mut self, is_over: impl Fn(&Entry) -> bool, now: Moment) -> Vec<ApprovalStep> {
        let over = self.entries.iter().filter(|(_, entry)| is_over(entry));
        let over: Vec<_> = over.map(|(id, entry)| (*id, entry.step(End::Expired.step(), None, None))).collect();
        let ended = over.into_iter().map(|(id, step)| {
            self.end(id, End::Expired, now);
            step
        });
        ended.collect()
    }

    fn end(&mut self, id: ApprovalId, end: End, now: Moment) {
        if let Some(entry) = self.entries.get_mut(&id).filter(|entry| entry.ended_at().is_none()) {
            entry.end(end, now);
            entry.wake();
            self.ended.push_back(id);
        }
    }

    /// These are the approvers from now on: who waits looks again.
    pub(super) fn configure(&mut self, config: ApprovalsConfig) {
        self.config = config;
        self.entries.values().for_each(Entry::wake);
    }

    /// What everybody may see of an approval.
    pub(super) fn summary(&self, id: ApprovalId, now: Moment) -> Option<ApprovalSummary> {
        Some(self.entries.get(&id)?.summary(&self.config, now))
    }

    /// What its caller may see of an approval.
    pub(super) fn summary_for(
        &self,
        id: ApprovalId,
        (listener, caller): (&str, Option<&str>),
        now: Moment,
    ) -> Option<ApprovalSummary> {
        let entry = self.entries.get(&id).filter(|entry| entry.binding().is_of(listener, caller))?;
        Some(entry.summary(&self.config, now))
    }

    /// All of an approval.
    pub(super) fn details(&self, id: ApprovalId, now: Moment) -> Option<ApprovalDetails> {
        Some(self.entries.get(&id)?.details(&self.config, now))
    }

    /// All approvals: what is open first, the oldest of it at the top; then what has ended, the newest of it at the top.
    pub(super) fn list(&self, now: Moment) -> Vec<ApprovalSummary> {
        let mut open: Vec<_> = self.entries.values().filter(|entry| entry.ended_at().is_none()).collect();
        open.sort_by_key(|entry| entry.asked().wall);
        let ended = self.ended.iter().rev().filter_map(|id| self.entries.get(id));
        open.into_iter().chain(ended).map(|entry| entry.summary(&self.config, now)).collect()
    }

    /// How many requests wait.
    pub(super) fn waiting(&self, now: Moment) -> usize {
        let waits = |entry: &&Entry| entry.state(&self.config, now) == State::Waiting;
        self.entries.values().filter(waits).count()
    }
}
