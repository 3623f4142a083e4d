//! What a policy decides on, and what it says.

use http::Method;

use super::catalog::{Operation, OperationId};
use super::conditions::Conditions;
use super::path::{Segments, Target};
use super::query::Query;
use super::refusal::Denied;
use super::rule::{Effect, Match, Rule, RuleEffect};
use super::rules::RuleId;

/// Why an operation is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenedBy {
    /// Its scope and its group are open.
    Scopes,
    /// This rule of `allow` opens it.
    Rule(RuleId),
    /// This rule of `allow`, the first of those with conditions that match, opens it if its conditions hold.
    Conditions(RuleId),
}

/// What keeps an operation closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClosedBy {
    /// The scope that it needs is missing.
    Scopes,
    /// Groups are listed, and its own is not; or its group is guarded, and nothing names it.
    Groups,
    /// This rule of `deny`.
    Rule(RuleId),
    /// This rule of `allow` has conditions, and matches in some readings only.
    Conditions(RuleId),
    /// The request asks for the values of secure fields.
    SecureValues,
    /// There is a fence, and nothing tells whose data the operation is about.
    Fence,
}

/// What one layer of a policy, the listener's or the caller's, says.
pub(super) type Verdict = Result<OpenedBy, ClosedBy>;

/// What a policy says of all requests for an operation that do not ask for the values of secure fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperationVerdict {
    /// All of them pass.
    Open(OpenedBy),
    /// None passes.
    Closed(ClosedBy),
    /// None passes, because the listener closes the operation to all of its callers.
    ClosedByListener,
    /// Each passes if the conditions of a rule hold.
    Conditional,
    /// It depends on values in the path or query.
    Depends,
}

impl OperationVerdict {
    /// Whether some request may pass.
    pub fn may_open(self) -> bool {
        match self {
            Self::Open(_) | Self::Conditional | Self::Depends => true,
            Self::Closed(_) | Self::ClosedByListener => false,
        }
    }
}

/// A request that the rules open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// The operation; `None` for one that only an `allow` rule knows.
    pub operation: Option<OperationId>,
    /// Why it is open.
    pub opened_by: OpenedBy,
    /// Why the listener opens it, where this is the decision for one of its callers.
    pub by_listener: Option<OpenedBy>,
}

impl Decision {
    /// Whether conditions must hold, of the listener's rules or of the caller's.
    pub fn is_conditional(&self) -> bool {
        [Some(self.opened_by), self.by_listener].iter().any(|by| matches!(by, Some(OpenedBy::Conditions(_))))
    }
}

/// A request that passes.
#[derive(Debug)]
pub struct Ruling<'a> {
    /// What is sent.
    pub target: Target<'a>,
    /// The operation; `None` for one that only an `allow` rule knows.
    pub operation: Option<OperationId>,
    /// Why it passes.
    pub passage: Passage,
    /// What must hold in addition.
    pub conditions: Option<Conditions>,
}

/// Why a request passes.
#[derive(Debug)]
pub enum Passage {
    /// The rules open it.
    Opened(OpenedBy),
    /// The rules would block it, and are only observed.
    Overruled(Denied),
}

/// A request, as far as it is judged.
pub(super) struct JudgedRequest<'a> {
    pub(super) method: &'a Method,
    pub(super) path: &'a Segments<'a>,
    pub(super) query: Query<'a>,
    pub(super) operation: Option<(OperationId, &'a Operation)>,
    pub(super) secure_values: bool,
}

impl JudgedRequest<'_> {
    /// What a rule has to do with the request: the one answer for decisions and their traces.
    pub(super) fn examine(&self, rule: &Rule, effect: Effect) -> RuleEffect {
        let operation = self.operation.map(|(_, operation)| operation);
        let group = operation.map(|operation| operation.group);
        let found = rule.examine(effect, self.method, self.path, self.query, group);
        let is_misfit = || operation.is_some_and(|operation| rule.fit(operation, effect) == Match::Never);
        let has_place = matches!(found, RuleEffect::Matches | RuleEffect::OtherQuery);
        if has_place && is_misfit() { RuleEffect::Elsewhere } else { found }
    }

    pub(super) fn matches(&self, rule: &Rule, effect: Effect) -> bool {
        self.examine(rule, effect) == RuleEffect::Matches
    }
}
