//! What approvers decide, and the proof that they are approvers.

use tokio::time::Instant;

use super::{ApprovalId, ApprovalSummary, Approvals, ApproverError, Decision, KnownApprover, State, approvers};
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
        let recorded = {
            let mut state = self.state();
            let now = Moment::now();
            let step = state.store.vote_step(id, (approver, decision, comment.as_deref()), now)?;
            if decision == Decision::Deny {
                // A no need not wait for its record.
                state.store.vote(id, (approver, decision, comment.clone()), now)?;
            }
            step.map(|step| self.record(&state, step))
        };
        if let Some(recorded) = recorded {
            let recorded = recorded.await;
            if decision == Decision::Approve {
                recorded?;
                self.state().store.vote(id, (approver, decision, comment), Moment::now())?;
            }
        }
        self.summary(id).ok_or(DecisionError::Unknown)
    }
}

/// A comment, as far as it is kept.
fn cut(comment: &str) -> Option<String> {
    let comment = comment.trim();
    let end = (0..=MAX_COMMENT.min(comment.len())).rev().find(|end| comment.is_char_boundary(*end));
    end.and_then(|end| comment.get(..end)).filter(|kept| !kept.is_empty()).map(str::to_owned)
}
