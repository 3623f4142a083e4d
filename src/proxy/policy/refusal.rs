//! Why a request is refused, and why rules make no policy.

use std::fmt;
use std::sync::Arc;

use super::catalog::{MethodSet, OperationId, Scope, ScopeSet};
use super::conditions::UnmetRule;
use super::group::{Group, SECURE_VALUES};
use super::organizations::Organizations;
use super::path::MalformedTarget;

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyRefusal {
    /// The target cannot be judged.
    #[error(transparent)]
    Malformed(#[from] MalformedTarget),
    /// No operation has this path, and no rule allows it.
    #[error("no known operation has this path")]
    UnknownOperation,
    /// The path is known, the method is not.
    #[error("no known operation has this method on this path")]
    MethodNotAllowed {
        /// The methods of the path's operations, for `Allow`.
        allowed: MethodSet,
    },
    /// The policy does not open it.
    #[error(transparent)]
    Closed(#[from] Denied),
}

/// What is not open, and what keeps it closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{barrier}")]
pub struct Denied {
    /// Which operation; `None` for one that only an `allow` rule knows.
    pub operation: Option<OperationId>,
    /// What is in the way.
    pub barrier: DenyReason,
    /// It is the listener that refuses, whatever its caller might do.
    pub by_listener: bool,
}

/// What keeps an operation closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DenyReason {
    /// It needs a scope above the ceiling.
    Scope {
        /// The scope that is missing.
        missing: Scope,
        /// The scopes that are there.
        open: ScopeSet,
    },
    /// Its group is not open.
    Group(&'static Group),
    /// This rule of `deny` matches.
    Rule(Arc<str>),
    /// It asks for the values of secure fields.
    SecureValues,
    /// There is a fence of these organizations, and nothing tells whose data the operation is about.
    TenantWide(Arc<Organizations>),
    /// The conditions of this rule of `allow` do not hold.
    Conditions(Box<UnmetRule>),
}

impl fmt::Display for DenyReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scope { missing, .. } => write!(f, "the operation needs the scope {missing}"),
            Self::Group(group) => write!(f, "the operation is in the group {group}, which is not open"),
            Self::Rule(rule) => write!(f, "the rule {rule:?} of deny matches"),
            Self::SecureValues => f.write_str("the request asks for the values of secure fields, which are not open"),
            Self::TenantWide(organizations) => {
                write!(f, "the operation is tenant-wide, and the fence has {} only", organizations.named())
            }
            Self::Conditions(unmet) => write!(f, "the rule {:?} of allow {}", unmet.rule, unmet.why),
        }
    }
}

impl Denied {
    /// Whether a fence is in the way, which holds even where rules are only observed.
    pub fn is_tenant_wide(&self) -> bool {
        matches!(self.barrier, DenyReason::TenantWide(_))
    }
}

impl DenyReason {
    /// What is in the way, in the words of the configuration.
    pub fn rule(&self) -> String {
        match self {
            Self::Scope { missing, .. } => format!("scope:{missing}"),
            Self::Group(group) => format!("group:{group}"),
            Self::Rule(rule) => rule.to_string(),
            Self::Conditions(unmet) => unmet.rule.to_string(),
            Self::SecureValues => format!("group:{SECURE_VALUES}"),
            Self::TenantWide(_) => "organizations".to_owned(),
        }
    }
}

impl PolicyRefusal {
    /// The operation that is refused, if it is one of the catalogue.
    pub fn operation(&self) -> Option<OperationId> {
        match self {
            Self::Closed(closed) => closed.operation,
            Self::Malformed(_) | Self::UnknownOperation | Self::MethodNotAllowed { .. } => None,
        }
    }
}

/// Why rules, groups and scopes make no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// A caller's scope that its listener lacks.
    #[error("the scope {0} is not one of the listener's: a caller has no more than its listener")]
    AboveListener(Scope),
    /// A rule of `allow` for operations above the ceiling only.
    #[error("the rule {rule:?} allows nothing: it needs the scope {scope}, which scopes lack")]
    AboveCeiling {
        /// The rule as written.
        rule: String,
        /// The missing scope.
        scope: Scope,
    },
    /// A rule for a known operation, in a spelling that no accepted request has.
    #[error("the rule {rule:?} never matches: {operation} has {wanted} where {word:?} is written")]
    Misspelled {
        /// The rule as written.
        rule: String,
        /// The operation that it was meant for.
        operation: String,
        /// What the operation has there.
        wanted: String,
        /// What the rule has there.
        word: String,
    },
    /// A rule with conditions about secure values as such.
    #[error(
        "the rule {rule:?} cannot have conditions: the group secure-values has no operations of its own; write the operation, such as \"GET /v2/queries/custom-fields?showSecureValues=true\""
    )]
    ConditionsOnSecureValues {
        /// The rule as written.
        rule: String,
    },
    /// More rules than can be numbered.
    #[error("allow and deny may have 65535 rules each")]
    TooManyRules,
}
