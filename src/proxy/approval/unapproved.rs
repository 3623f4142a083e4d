//! Why a request that needs an approval does not go on.

use super::{Difference, Unreachable};
use crate::net::listener::BuffersFull;
use crate::observe::audit_log::Unrecorded;

/// Why a caller is not told the state of an approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoStatus {
    /// There is no such approval of this caller on this listener, or not any more.
    #[error("there is no such approval of this caller")]
    Unknown,
    /// It is not known here, and the store that replicas share cannot be reached.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    /// The state can only be read.
    #[error("the state of an approval can only be read")]
    NotARead,
}

/// Why a request that needs an approval does not go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unapproved {
    /// An approver said no.
    #[error("an approver denied the request")]
    Denied {
        /// What the approver wrote.
        comment: Option<String>,
    },
    /// Nobody said yes in time, or the yes was not used in time.
    #[error("the approval has expired")]
    Expired,
    /// The approval was used before.
    #[error("the approval was used before")]
    Used,
    /// The request is not the one that was shown.
    #[error("the request differs from the one that was shown: {0}")]
    Mismatch(Difference),
    /// There is no such approval, or not any more.
    #[error("there is no such approval")]
    Unknown,
    /// Too many requests wait.
    #[error("too many requests wait for approval")]
    Full,
    /// The store that replicas share cannot be reached.
    #[error("approvals are shared, and the shared store cannot be reached")]
    Unreachable,
    /// Nobody can approve.
    #[error("nobody can approve")]
    Impossible,
    /// The body is larger than what is shown to approvers.
    #[error("the body is too large to be shown to an approver")]
    TooLarge {
        /// The rule that asks for the approval.
        rule: String,
    },
    /// The memory for bodies is used up.
    #[error(transparent)]
    Buffers(#[from] BuffersFull),
    /// The step cannot be recorded.
    #[error(transparent)]
    Unrecorded(#[from] Unrecorded),
}
