//! Refusals of what approvers send to the admin listener.

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;

use super::approval::unreachable;
use super::problem::{Refusal, RequestContext};
use super::proxy_state::audit_refusal;
use super::refusal_table::RefusalKind;
use crate::net::body::BodyError;
use crate::proxy::approval::{ApproverError, DecisionError, State};

/// Why what an approver sent is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecisionRefusal {
    /// There is no key.
    NoKey,
    /// The key is not an approver's.
    Approver(ApproverError),
    /// The decision is not taken.
    Decision(DecisionError),
    /// There is no decision in it.
    Unclear,
    /// It did not come whole.
    Body(BodyError),
    /// It has another method.
    Method,
}

impl DecisionRefusal {
    /// The status.
    pub fn status(&self) -> StatusCode {
        self.refusal().kind.row().status
    }

    /// What happened, and what to do.
    pub fn detail(&self) -> String {
        self.refusal().detail
    }

    /// The answer to a program.
    pub fn response(&self) -> Response<Full<Bytes>> {
        self.refusal().response(RequestContext::default())
    }

    fn refusal(&self) -> Refusal {
        match self {
            Self::NoKey => Refusal::new(
                RefusalKind::ApproverKeyMissing,
                "An approver's key must come with every request: as \"Authorization: Bearer KEY\", or as key in the form.",
            ),
            Self::Approver(ApproverError::WrongKey) => Refusal::new(
                RefusalKind::ApproverKeyWrong,
                "This is not the key of an approver. Approvers are in [approvals.approvers] of the configuration; \"ninjaone-proxy key new NAME --approver\" makes a key.",
            ),
            Self::Approver(ApproverError::Throttled(wait)) => Refusal::new(
                RefusalKind::KeyThrottled,
                "Too many wrong keys came to the admin listener. Correct keys are still accepted.",
            )
            .after(*wait),
            Self::Decision(DecisionError::Unknown) => Refusal::new(
                RefusalKind::ApprovalNotFound,
                "There is no approval with this id. Approvals end with the proxy, and an hour after they were decided, used or expired; /approvals lists those that there are.",
            ),
            Self::Decision(DecisionError::Over(state)) => Refusal::new(RefusalKind::ApprovalOver, over(*state)),
            Self::Decision(DecisionError::OwnRequest) => Refusal::new(
                RefusalKind::ApproverIsCaller,
                "An approver must be somebody else than the caller: another approver has to decide.",
            ),
            Self::Decision(DecisionError::Unreachable(_)) => unreachable("The decision was not taken"),
            Self::Decision(DecisionError::BodyLost) => Refusal::new(
                RefusalKind::ApprovalBodyLost,
                "The shared store has lost the body of this request, so that nobody can see any more what is to be approved. Deny it: its caller asks anew.",
            ),
            Self::Decision(DecisionError::Unrecorded(unrecorded)) => audit_refusal(*unrecorded),
            Self::Unclear => Refusal::new(
                RefusalKind::DecisionUnclear,
                "The form must have the field decision with the value approve, deny or show.",
            ),
            Self::Body(BodyError::Broken) => Refusal::new(RefusalKind::BodyBroken, "The form broke off."),
            Self::Body(BodyError::Stalled) => Refusal::new(RefusalKind::BodyStalled, "The form stopped coming."),
            Self::Body(BodyError::TooLarge) => {
                Refusal::new(RefusalKind::BodyTooLarge, "The form is too large: a shorter comment will do.")
            }
            Self::Method => Refusal::new(RefusalKind::DecisionMethod, "Use GET to look, and POST to decide."),
        }
    }
}

fn over(state: State) -> &'static str {
    match state {
        State::Denied => "An approver has denied this request already, and that is final.",
        State::Used => "This request was approved already, and has gone on.",
        State::Expired => {
            "It is too late: the time for this request has ended, or its caller has left. It was not sent."
        }
        State::Waiting | State::Approved => "The state of this request has just changed: look again.",
    }
}
