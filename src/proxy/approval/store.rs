//! All approvals: asked for, voted on, used once. Nothing here waits; the clock is handed in.

use std::collections::hash_map::Entry::Vacant;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::sync::watch;

use super::ballot::{Ballot, End};
use super::binding::Binding;
use super::entry::Entry;
use super::{
    ApprovalDetails, ApprovalId, ApprovalSummary, ApprovalsConfig, Decision, DecisionError, HeldRequest, KnownApprover,
    MAX_OPEN, MAX_OPEN_OF_CALLER, State, Unapproved,
};
use crate::base::clock::Moment;
use crate::net::listener::Reservation;
use crate::observe::audit_log::entry::RequestFacts;
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
    /// Nothing waits here any more.
    pub(super) leaving: bool,
}

/// A request that asks for its approval, or names one.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) id: ApprovalId,
    pub(super) facts: RequestFacts,
    pub(super) binding: Binding,
    /// The request among all: random, and never 0.
    pub(super) number: u64,
}

/// How far an approval is.
pub(super) enum Progress {
    /// It can be used, by the one who asked here.
    Approved(Box<Usable>),
    /// It waits: its end, and what hears of changes.
    Waiting { expires: Moment, changed: watch::Receiver<()> },
    /// It cannot be used for a moment.
    Blocked,
}

/// An approval that can be used.
pub(super) struct Usable {
    /// Who approved it.
    pub(super) approvers: Vec<String>,
    pub(super) step: ApprovalStep,
    /// What it is once it is used; `None` if it is, by this very request.
    pub(super) used: Option<Ballot>,
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
        let is_open = |entry: &&Entry| !entry.has_ended();
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

    /// Takes in what was asked for at another replica, unless it is known.
    pub(super) fn take_in(&mut self, id: ApprovalId, entry: impl FnOnce() -> Entry) {
        if let Vacant(place) = self.entries.entry(id)
            && place.insert(entry()).has_ended()
        {
            self.ended.push_back(id);
        }
    }

    /// How far an approval is, for this very request.
    pub(super) fn progress(&self, asked: &Asked, now: Moment) -> Result<Progress, Unapproved> {
        let entry = self.entries.get(&asked.id).ok_or(Unapproved::Unknown)?;
        if let Some(difference) = entry.binding().difference(&asked.binding) {
            return Err(Unapproved::Mismatch(difference));
        }
        let usable = |used| {
            Progress::Approved(Box::new(Usable {
                approvers: entry.given(&self.config).map(str::to_owned).collect(),
                step: entry.step(StepKind::Used, None, Some(&asked.facts)),
                used,
            }))
        };
        match entry.state(&self.config, now) {
            State::Waiting => Ok(Progress::Waiting { expires: entry.expires(), changed: entry.subscribe() }),
            State::Denied => Err(Unapproved::Denied { comment: entry.ballot().denial() }),
            State::Expired => Err(Unapproved::Expired),
            State::Used if entry.ballot().ended.is_some_and(|ended| ended.by == asked.number) => Ok(usable(None)),
            State::Used => Err(Unapproved::Used),
            State::Approved if entry.is_blocked(now) => Ok(Progress::Blocked),
            State::Approved => Ok(usable(Some(entry.ballot().with_end(End::Used, now, asked.number)))),
        }
    }

    /// What the audit log is to be told of a vote; `None` if it changes nothing.
    pub(super) fn vote_step(
        &self,
        id: ApprovalId,
        (approver, decision, comment): (&KnownApprover, Decision, Option<&str>),
        now: Moment,
    ) -> Result<Option<ApprovalStep>, DecisionError> {
        let entry = self.votable(id, now)?;
        if entry.is_caller(&approver.name) {
            return Err(DecisionError::OwnRequest);
        }
        let (step, changes) = match decision {
            Decision::Approve => (StepKind::Approved, !entry.ballot().has_yes_of(approver)),
            Decision::Deny => (StepKind::Denied, true),
        };
        Ok(changes.then(|| entry.step(step, Some((approver, comment)), None)))
    }

    /// What comes of a vote that [`Store::vote_step`] let pass. Meanwhile the approval may have ended.
    pub(super) fn voted(
        &self,
        id: ApprovalId,
        (approver, decision, comment): (&KnownApprover, Decision, Option<&str>),
        now: Moment,
    ) -> Result<Ballot, DecisionError> {
        let entry = self.votable(id, now)?;
        Ok(entry.ballot().with_vote(approver, (decision, comment.map(str::to_owned)), now))
    }

    fn votable(&self, id: ApprovalId, now: Moment) -> Result<&Entry, DecisionError> {
        let entry = self.entries.get(&id).ok_or(DecisionError::Unknown)?;
        let state = entry.state(&self.config, now);
        if state.is_open() { Ok(entry) } else { Err(DecisionError::Over(state)) }
    }

    /// What comes of an end that nobody decided; `None` if it has ended.
    pub(super) fn ending(&self, id: ApprovalId, end: End, now: Moment) -> Option<(ApprovalStep, Ballot)> {
        let entry = self.entries.get(&id).filter(|entry| !entry.has_ended())?;
        Some((entry.step(end.step(), None, None), entry.ballot().with_end(end, now, 0)))
    }

    /// Ends it at this moment, in this process alone; `None` if it has ended.
    pub(super) fn end(&mut self, id: ApprovalId, end: End, now: Moment) -> Option<ApprovalStep> {
        let (step, ballot) = self.ending(id, end, now)?;
        self.follow(id, ballot);
        Some(step)
    }

    /// This is what is known of it from now on, unless more is.
    pub(super) fn follow(&mut self, id: ApprovalId, ballot: Ballot) {
        let later = |entry: &&mut Entry| ballot.version > entry.ballot().version;
        if let Some(entry) = self.entries.get_mut(&id).filter(later) {
            let had_ended = entry.has_ended();
            entry.follow(ballot);
            match (had_ended, entry.has_ended()) {
                (false, true) => self.ended.push_back(id),
                (true, false) => self.ended.retain(|ended| *ended != id),
                (true, true) | (false, false) => {}
            }
        }
    }

    /// What could not be recorded was never asked for.
    pub(super) fn forget(&mut self, id: ApprovalId) {
        self.entries.remove(&id);
        self.ended.retain(|ended| *ended != id);
    }

    /// Ends what has expired.
    pub(super) fn expire(&mut self, now: Moment) -> Vec<ApprovalStep> {
        let over = self.over(now);
        over.into_iter().filter_map(|id| self.end(id, End::Expired, now)).collect()
    }

    /// What has expired, and was not ended yet.
    pub(super) fn over(&self, now: Moment) -> Vec<ApprovalId> {
        let is_over = |entry: &Entry| !entry.has_ended() && now.has_reached(entry.expires());
        self.entries.iter().filter(|(_, entry)| is_over(entry)).map(|(id, _)| *id).collect()
    }

    /// Lets go of what ended long ago.
    pub(super) fn purge(&mut self, now: Moment) {
        let (count, time) = KEPT;
        while let Some(oldest) = self.ended.front() {
            let ended = self.entries.get(oldest).and_then(Entry::ended_at);
            if self.ended.len() <= count && ended.is_some_and(|ended| now.since(ended) < time) {
                break;
            }
            self.entries.remove(oldest);
            self.ended.pop_front();
        }
    }

    /// Ends all that is open; nothing is approved from now on.
    pub(super) fn close(&mut self, now: Moment) -> Vec<ApprovalStep> {
        self.closed = true;
        let open: Vec<_> = self.open().collect();
        open.into_iter().filter_map(|id| self.end(id, End::Expired, now)).collect()
    }

    /// Other replicas go on: who waits here is told how to ask there.
    pub(super) fn leave(&mut self) {
        self.leaving = true;
        self.entries.values().for_each(Entry::wake);
    }

    /// Whether an approver can still change it.
    pub(super) fn is_open(&self, id: ApprovalId, now: Moment) -> bool {
        self.entries.get(&id).is_some_and(|entry| entry.state(&self.config, now).is_open())
    }

    /// All that has not ended.
    pub(super) fn open(&self) -> impl Iterator<Item = ApprovalId> {
        self.entries.iter().filter(|(_, entry)| !entry.has_ended()).map(|(id, _)| *id)
    }

    /// All that is known; what has ended comes first.
    pub(super) fn all(&self) -> Vec<ApprovalId> {
        self.ended.iter().copied().chain(self.open()).collect()
    }

    pub(super) fn get(&self, id: ApprovalId) -> Option<&Entry> {
        self.entries.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: ApprovalId) -> Option<&mut Entry> {
        self.entries.get_mut(&id)
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
        let mut open: Vec<_> = self.entries.values().filter(|entry| !entry.has_ended()).collect();
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
