//! A step of an approval, as a line of the audit log tells it.

use serde::Serialize;

use super::entry::{RequestFacts, Text};

/// A step of an approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ApprovalStep {
    /// What happened.
    pub step: StepKind,
    /// The id of the approval.
    #[serde(rename = "approval")]
    pub id: String,
    /// Who approved or denied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approver: Option<String>,
    /// What the approver wrote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<Text>,
    /// The size of the body that was shown.
    pub body_bytes: usize,
    /// Its SHA-256, in hexadecimal digits.
    pub body_sha256: String,
    /// The request: the one that asked, or the one that used the approval.
    #[serde(flatten)]
    pub facts: RequestFacts,
}

/// What happened to an approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepKind {
    /// A request waits for it.
    Asked,
    /// An approver said yes.
    Approved,
    /// An approver said no, which ends it.
    Denied,
    /// Its time ended, or the process does.
    Expired,
    /// A request goes on by it, which ends it.
    Used,
    /// The caller left before it knew the id, which ends it.
    Withdrawn,
}

impl StepKind {
    /// All steps.
    pub const ALL: [Self; 6] = [Self::Asked, Self::Approved, Self::Denied, Self::Expired, Self::Used, Self::Withdrawn];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Used => "used",
            Self::Withdrawn => "withdrawn",
        }
    }

    /// Whether a request goes further by it: such a step must not happen where it cannot be recorded.
    pub fn opens(self) -> bool {
        match self {
            Self::Asked | Self::Approved | Self::Used => true,
            Self::Denied | Self::Expired | Self::Withdrawn => false,
        }
    }
}
