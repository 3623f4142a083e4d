//! What the configuration says of approvals.

use std::fmt;
use std::time::Duration;

use super::Approver;

/// What the configuration says of approvals.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApprovalsConfig {
    /// How long the connection of a caller is held.
    pub wait: Duration,
    /// How long a request can be approved, and sent.
    pub expires: Duration,
    /// How many approvers must say yes.
    pub required: usize,
    /// The same for operations of critical risk; not fewer than for others.
    pub required_critical: usize,
    /// Who may approve.
    pub approvers: Vec<Approver>,
    /// Whether somebody is told of each request that waits.
    pub notifies: bool,
}

impl ApprovalsConfig {
    /// How many approvers must say yes; never none.
    pub(super) fn required(&self, critical: bool) -> usize {
        let required = if critical { self.required.max(self.required_critical) } else { self.required };
        required.max(1)
    }
}

/// For people: who approves, and how many must.
impl fmt::Display for ApprovalsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.approvers.iter().map(|approver| approver.name.as_str()).collect();
        write!(
            f,
            "{} of {} must approve, {} for critical risk; a request can be approved for {:?}, and its caller is held for {:?}",
            self.required(false),
            names.join(", "),
            self.required(true),
            self.expires,
            self.wait
        )
    }
}
