//! An approval whose id the caller does not know yet: if the caller leaves before that, it is withdrawn.

use super::ballot::End;
use super::{ApprovalId, Approvals};
use crate::base::clock::Moment;

/// Withdraws an approval when it is dropped, unless the caller has learned its id.
#[derive(Debug)]
pub(super) struct Withdrawal {
    approvals: Approvals,
    id: Option<ApprovalId>,
}

impl Withdrawal {
    pub(super) fn of(approvals: &Approvals, id: ApprovalId) -> Self {
        Self { approvals: approvals.clone(), id: Some(id) }
    }

    /// The caller is told the id, or its request has ended.
    pub(super) fn cancel(mut self) {
        self.id = None;
    }
}

impl Drop for Withdrawal {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            if let Some(replication) = &self.approvals.0.replication {
                replication.withdraw(id);
                return;
            }
            let (mut state, now) = (self.approvals.state(), Moment::now());
            // What has expired is not withdrawn.
            let step = if state.store.is_open(id, now) { state.store.end(id, End::Withdrawn, now) } else { None };
            self.approvals.record_all(&state, step);
        }
    }
}
