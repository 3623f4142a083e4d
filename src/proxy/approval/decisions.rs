//! What approvers decide, and the proof that they are approvers.

use tokio::time::Instant;

use super::following::ATTEMPTS;
use super::replication::{Replication, Way, Written};
use super::{
    ApprovalId, ApprovalSummary, Approvals, ApproverError, Decision, KnownApprover, State, Unreachable, approvers,
};
use crate::base::clock::Moment;
use crate::observe::audit_log::Unrecorded;

/// The longest comment of an approver that is kept, in bytes.
const MAX_COMMENT: usize = 1024;

/// Why a vote is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecisionError {
    /// There is no such approval, or not any more.
    #[error("there is no such approval")]
    Unknown,
    /// It has ended.
    #[error("it is {} already", .0.as_str())]
    Over(State),
    /// The approver is its caller.
    #[error("an approver must be somebody else than the caller")]
    OwnRequest,
    /// The store that replicas share cannot be reached.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    /// The store has lost the body, which the approver cannot see any more.
    #[error("the body that was shown is lost")]
    BodyLost,
    /// The vote cannot be recorded.
    #[error(transparent)]
    Unrecorded(#[from] Unrecorded),
}

impl Approvals {
    /// Whose key this is. Wrong ones are limited, right ones are not.
    pub fn approver(&self, key: &[u8]) -> Result<KnownApprover, ApproverError> {
        let state = self.state();
        if let Some(approver) = approvers::find(&state.store.config.approvers, key) {
            return Ok(approver);
        }
        state.throttle.take(Instant::now()).map_err(ApproverError::Throttled)?;
        Err(ApproverError::WrongKey)
    }

    /// Takes the vote of an approver, once it is recorded; what has become of the approval then.
    pub async fn decide(
        &self,
        approver: &KnownApprover,
        id: ApprovalId,
        decision: Decision,
        comment: &str,
    ) -> Result<ApprovalSummary, DecisionError> {
        let comment = cut(comment);
        let vote = (approver, decision, comment.as_deref());
        match &self.0.replication {
            Some(replication) => self.decide_shared(replication, id, vote).await?,
            None => self.decide_here(id, vote).await?,
        }
        self.summary(id).ok_or(DecisionError::Unknown)
    }

    async fn decide_here(
        &self,
        id: ApprovalId,
        vote: (&KnownApprover, Decision, Option<&str>),
    ) -> Result<(), DecisionError> {
        let (_, decision, _) = vote;
        let recorded = {
            let mut state = self.state();
            let now = Moment::now();
            let step = state.store.vote_step(id, vote, now)?;
            if decision == Decision::Deny {
                // A no need not wait for its record.
                let ballot = state.store.voted(id, vote, now)?;
                state.store.follow(id, ballot);
            }
            step.map(|step| self.record(&state, step))
        };
        let Some(recorded) = recorded else { return Ok(()) };
        let recorded = recorded.await;
        if decision == Decision::Approve {
            recorded?;
            let mut state = self.state();
            let ballot = state.store.voted(id, vote, Moment::now())?;
            state.store.follow(id, ballot);
        }
        Ok(())
    }

    /// The same where replicas share the votes: a vote counts once the store has it.
    async fn decide_shared(
        &self,
        replication: &Replication,
        id: ApprovalId,
        vote: (&KnownApprover, Decision, Option<&str>),
    ) -> Result<(), DecisionError> {
        self.look_up(id).await?;
        let (_, decision, _) = vote;
        let Some(step) = self.state().store.vote_step(id, vote, Moment::now())? else { return Ok(()) };
        if decision == Decision::Approve {
            let recorded = self.record(&self.state(), step.clone());
            recorded.await?;
        }
        for _ in 0..ATTEMPTS {
            let ballot = self.state().store.voted(id, vote, Moment::now())?;
            let (shown, _) = self.snapshot(id).ok_or(DecisionError::Unknown)?;
            let way = Way::Change { needs_body: decision == Decision::Approve };
            match replication.write(id, way, &shown, &ballot).await.map_err(Unreachable::from)? {
                Written::Done => {
                    let recorded = {
                        let mut state = self.state();
                        state.store.follow(id, ballot);
                        (decision == Decision::Deny).then(|| self.record(&state, step))
                    };
                    if let Some(recorded) = recorded {
                        let _ = recorded.await;
                    }
                    return Ok(());
                }
                Written::Conflict(stored) => {
                    self.reconcile(replication, id, stored).await.map_err(Unreachable::from)?;
                }
                Written::Missing => self.restore(replication, id).await.map_err(Unreachable::from)?,
                Written::Bodiless => return Err(DecisionError::BodyLost),
                Written::Full => break,
            }
        }
        Err(Unreachable.into())
    }
}

/// A comment, as far as it is kept.
fn cut(comment: &str) -> Option<String> {
    let comment = comment.trim();
    let end = (0..=MAX_COMMENT.min(comment.len())).rev().find(|end| comment.is_char_boundary(*end));
    end.and_then(|end| comment.get(..end)).filter(|kept| !kept.is_empty()).map(str::to_owned)
}
