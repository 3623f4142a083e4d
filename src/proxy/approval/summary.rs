//! What is shown of an approval: to callers and in lists without the query and the body, to approvers all of it.

use std::time::SystemTime;

use http::{Method, Uri};

use super::{ApprovalId, Approvals, BodyHash, Decision, HeldRequest, KnownApprover, NoStatus};
use crate::base::clock::Moment;
use crate::proxy::policy::catalog::Risk;
use crate::proxy::policy::group::Group;

/// The state of an approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Too few approvers have said yes.
    Waiting,
    /// Enough approvers have said yes, and the request was not sent yet.
    Approved,
    /// An approver said no.
    Denied,
    /// Its time has ended, or its caller left.
    Expired,
    /// The request went on.
    Used,
}

impl State {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Used => "used",
        }
    }

    /// Whether an approver can still change it.
    pub fn is_open(self) -> bool {
        match self {
            Self::Waiting | Self::Approved => true,
            Self::Denied | Self::Expired | Self::Used => false,
        }
    }
}

/// An approval, without the query and the body of its request, which may hold personal data.
#[derive(Debug, Clone)]
pub struct ApprovalSummary {
    /// Its id.
    pub id: ApprovalId,
    /// Its state.
    pub state: State,
    /// It is expired because its caller left.
    pub is_withdrawn: bool,
    /// When it was asked for.
    pub asked: SystemTime,
    /// When it ends, used or not.
    pub expires: SystemTime,
    /// How many approvers have said yes.
    pub given: usize,
    /// How many must.
    pub required: usize,
    /// The method.
    pub method: Method,
    /// The canonical path.
    pub path: String,
    /// The operation.
    pub operation: String,
    /// The group of the operation, which says what it may change; `None` for one that only a rule knows.
    pub group: Option<&'static Group>,
    /// What harm it can do.
    pub risk: Risk,
    /// The listener's name.
    pub listener: String,
    /// The caller's name; `None` where callers are not told apart.
    pub caller: Option<String>,
    /// The request is only tried, and not sent.
    pub dry_run: bool,
    /// The rule that asks for it.
    pub rule: String,
    /// Why, as the rule says.
    pub reason: Option<String>,
    /// What the approver who denied it wrote.
    pub comment: Option<String>,
}

/// An approval, and all of its request.
#[derive(Debug, Clone)]
pub struct ApprovalDetails {
    /// What everybody may see.
    pub summary: ApprovalSummary,
    /// The request; its body is empty once the approval has ended.
    pub held: HeldRequest,
    /// The size of the body that was shown.
    pub body_bytes: usize,
    /// Its hash.
    pub body_sha256: BodyHash,
    /// What approvers have said, in order.
    pub votes: Vec<Vote>,
}

/// What an approver said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vote {
    /// The approver's name.
    pub approver: String,
    /// Yes or no.
    pub decision: Decision,
    /// What the approver wrote.
    pub comment: Option<String>,
    /// When.
    pub at: SystemTime,
}

impl Approvals {
    /// What everybody may see of an approval.
    pub fn summary(&self, id: ApprovalId) -> Option<ApprovalSummary> {
        self.state().store.summary(id, Moment::now())
    }

    /// What a caller may see of an approval: its own, on the listener where it asked.
    pub async fn status(
        &self,
        (method, uri): (&Method, &Uri),
        listener: &str,
        caller: Option<&str>,
    ) -> Result<ApprovalSummary, NoStatus> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return Err(NoStatus::NotARead);
        }
        let id = ApprovalId::of_status(uri).ok_or(NoStatus::Unknown)?;
        let learned = self.look_up(id).await;
        let summary = self.state().store.summary_for(id, (listener, caller), Moment::now());
        match (summary, learned) {
            (Some(summary), _) => Ok(summary),
            (None, Ok(())) => Err(NoStatus::Unknown),
            (None, Err(unreachable)) => Err(unreachable.into()),
        }
    }

    /// All of an approval, for an approver.
    pub fn details(&self, _: &KnownApprover, id: ApprovalId) -> Option<ApprovalDetails> {
        self.state().store.details(id, Moment::now())
    }

    /// All approvals: what is open first, the oldest of it at the top; then what has ended, the newest of it at the top.
    pub fn list(&self) -> Vec<ApprovalSummary> {
        self.state().store.list(Moment::now())
    }

    /// The same with the queries, for an approver.
    pub fn list_with_queries(&self, _: &KnownApprover) -> Vec<(ApprovalSummary, Option<String>)> {
        let (state, now) = (self.state(), Moment::now());
        let query = |id| state.store.details(id, now)?.held.target.query().map(str::to_owned);
        state.store.list(now).into_iter().map(|summary| (summary.clone(), query(summary.id))).collect()
    }

    /// How many requests wait.
    pub fn waiting(&self) -> usize {
        self.state().store.waiting(Moment::now())
    }
}
