//! The permit: the proof that a request is allowed.

use http::Method;
use http::uri::PathAndQuery;

use super::catalog::{OperationId, ScopeSet};
use super::coverage::SecureUse;
use super::decision::{OpenedBy, Passage};
use super::query::{Query, SECURE};
use super::refusal::Denied;
use super::rules::RuleId;
use super::{InstanceId, TokenHolder};
use crate::proxy::authn::Caller;

/// The proof that a request is allowed, and the only source of what is sent.
#[derive(Debug)]
pub struct Permit {
    pub(super) caller: Caller,
    pub(super) method: Method,
    pub(super) target: PathAndQuery,
    pub(super) operation: Option<OperationId>,
    pub(super) instance: InstanceId,
    pub(super) scopes: ScopeSet,
    pub(super) holder: TokenHolder,
    pub(super) passage: Passage,
}

impl Permit {
    /// Who called.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The method to send.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The canonical target to send.
    pub fn target(&self) -> &PathAndQuery {
        &self.target
    }

    /// The operation; `None` for one that only an `allow` rule knows.
    pub fn operation(&self) -> Option<OperationId> {
        self.operation
    }

    /// The instance to send it to.
    pub fn instance(&self) -> InstanceId {
        self.instance
    }

    /// The scopes that the token must have: the listener's.
    pub fn scopes(&self) -> ScopeSet {
        self.scopes
    }

    /// Whose token it gets.
    pub fn token_holder(&self) -> TokenHolder {
        self.holder
    }

    /// The rule of `allow` that opened it.
    pub fn rule(&self) -> Option<RuleId> {
        match self.passage {
            Passage::Opened(OpenedBy::Rule(rule)) => Some(rule),
            Passage::Opened(OpenedBy::Scopes) | Passage::Overruled(_) => None,
        }
    }

    /// Whether it asks for the values of secure fields.
    pub fn secure_values(&self) -> SecureUse {
        secure_use(Query::new(self.target.query()))
    }

    /// Whether it may move a cursor at the instance: such a read must not be sent twice.
    pub fn may_move_cursor(&self) -> bool {
        Query::new(self.target.query()).may_move_cursor()
    }

    /// What the rules would have said, where they are only observed.
    pub fn overruled(&self) -> Option<&Denied> {
        match &self.passage {
            Passage::Opened(_) => None,
            Passage::Overruled(closed) => Some(closed),
        }
    }
}

fn secure_use(query: Query<'_>) -> SecureUse {
    match (query.asks_for_secure_values(), query.has(SECURE, None)) {
        (false, _) => SecureUse::No,
        (true, true) => SecureUse::Plain,
        (true, false) => SecureUse::Doubtful,
    }
}
