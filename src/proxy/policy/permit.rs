//! The permit: the proof that a request is allowed.

use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use http::uri::PathAndQuery;

use super::catalog::{OperationId, ScopeSet};
use super::conditions::{ConditionalRule, Conditions, Evidence, Unmet, UnmetRule};
use super::coverage::SecureUse;
use super::decision::{OpenedBy, Passage};
use super::query::{Query, SECURE};
use super::refusal::{Denied, DenyReason, PolicyRefusal};
use super::rules::RuleId;
use super::{InstanceId, Organizations, TokenHolder};
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
    /// The organizations that request and answer are kept to.
    pub(super) fence: Option<Arc<Organizations>>,
    /// The body that was judged, or shown to a person.
    pub(super) body: Option<Box<Bytes>>,
}

/// What the policy says of a request: it is allowed, or it is if conditions hold.
#[derive(Debug)]
pub enum Judgment {
    /// It is allowed.
    Permitted(Permit),
    /// It is allowed if these conditions hold.
    Conditional(Box<ConditionalPermit>),
}

/// A permit that is good once its conditions are fulfilled.
#[derive(Debug)]
pub struct ConditionalPermit {
    pub(super) permit: Permit,
    pub(super) conditions: Conditions,
    pub(super) observes: bool,
}

/// A permit whose rules are chosen: their conditions hold, but for the approval of a person, and a use that is to be
/// taken.
#[derive(Debug)]
pub struct ChosenPermit {
    permit: Permit,
    rules: Vec<ConditionalRule>,
}

impl ConditionalPermit {
    /// The permit, for those who tell of it. It cannot be sent.
    pub fn permit(&self) -> &Permit {
        &self.permit
    }

    /// The conditions.
    pub fn conditions(&self) -> &Conditions {
        &self.conditions
    }

    /// Whether rules are only observed.
    pub fn observes(&self) -> bool {
        self.observes
    }

    /// The refusal of a body that is too large for a rule.
    pub fn too_large(&self, rule: &ConditionalRule, limit: u64) -> PolicyRefusal {
        self.conditions.denied((rule, Unmet::TooLarge(limit))).into()
    }

    /// The permit, where rules are only observed and this one could not judge the body: it passes, and is noted.
    pub fn overrule(self, rule: &ConditionalRule, limit: u64) -> ChosenPermit {
        let passage = Passage::Overruled(self.conditions.denied((rule, Unmet::TooLarge(limit))));
        ChosenPermit { permit: Permit { passage, ..self.permit }, rules: Vec::new() }
    }

    /// Chooses the rules that open the request; `body` is what was read of it, where a rule wants that. Where rules are
    /// only observed, a request that none opens passes, and is noted.
    pub fn choose(self, evidence: &Evidence<'_>, body: Option<Bytes>) -> Result<ChosenPermit, PolicyRefusal> {
        let Self { permit, conditions, observes } = self;
        let body = body.map(Box::new);
        let outcome =
            conditions.judge(evidence).and_then(|rules| match rules.iter().find(|rule| rule.terms.approval) {
                Some(rule) if observes => Err(conditions.denied((rule, Unmet::Approval))),
                Some(_) | None => Ok(rules),
            });
        match outcome {
            Ok(rules) => {
                let own = rules.iter().find(|rule| !rule.by_listener).map(|rule| OpenedBy::Conditions(rule.id));
                let passage = own.map_or(permit.passage, Passage::Opened);
                Ok(ChosenPermit { permit: Permit { body, passage, ..permit }, rules })
            }
            Err(denied) if observes => {
                let passage = Passage::Overruled(denied);
                Ok(ChosenPermit { permit: Permit { body, passage, ..permit }, rules: Vec::new() })
            }
            Err(denied) => Err(denied.into()),
        }
    }
}

impl ChosenPermit {
    /// The rules that open it, one of each table that has conditions.
    pub fn rules(&self) -> &[ConditionalRule] {
        &self.rules
    }

    /// The permit, for those who tell of it. It cannot be sent.
    pub fn permit(&self) -> &Permit {
        &self.permit
    }

    /// The refusal, if a rule turns out not to be fulfilled.
    pub fn refuse(&self, rule: &ConditionalRule, why: Unmet) -> PolicyRefusal {
        let barrier = DenyReason::Conditions(Box::new(UnmetRule { rule: Arc::clone(&rule.text), why }));
        Denied { operation: self.permit.operation, barrier, by_listener: rule.by_listener }.into()
    }

    /// The same, with the target and body that the stage of the fence has judged.
    pub(crate) fn enclosed(mut self, target: PathAndQuery, body: Option<Bytes>) -> Self {
        self.permit.target = target;
        self.permit.body = body.map(Box::new).or(self.permit.body);
        self
    }

    /// The permit, once a person has approved, and a use was taken, where its rules ask for that.
    pub(crate) fn fulfilled(self) -> Permit {
        self.permit
    }
}

/// Whether a request with this method may change something.
pub fn is_write(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD)
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

    /// The body to send, where that was judged, or shown to a person: these bytes and no others.
    pub fn body(&self) -> Option<&Bytes> {
        self.body.as_deref()
    }

    /// The organizations that the request and its answer are kept to; `None` without a fence, and for what a rule opens
    /// by name although it is tenant-wide.
    pub fn fence(&self) -> Option<&Arc<Organizations>> {
        self.fence.as_ref()
    }

    /// The same for a read of the proxy's own, by the same caller's leave, with the machine's token: of what the fence
    /// needs to know.
    pub(crate) fn lookup(&self, target: PathAndQuery) -> Self {
        let holder = TokenHolder::Machine;
        Self { holder, ..self.continued(target) }
    }

    /// The same for a read of a further page, with the same token.
    pub(crate) fn continued(&self, target: PathAndQuery) -> Self {
        Self {
            caller: self.caller.clone(),
            method: Method::GET,
            target,
            operation: None,
            instance: self.instance,
            scopes: self.scopes,
            holder: self.holder,
            passage: Passage::Opened(OpenedBy::Scopes),
            fence: None,
            body: None,
        }
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
            Passage::Opened(OpenedBy::Rule(rule) | OpenedBy::Conditions(rule)) => Some(rule),
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
