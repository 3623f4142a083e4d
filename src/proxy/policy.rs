//! The policy: which operations a listener's callers may use.
//!
//! A listener's scopes are a ceiling, its groups narrow it, `allow` adds single operations below the ceiling,
//! `deny` wins over everything, and what nothing opens is closed. Some groups stay closed unless they are named, and so
//! do requests for the values of secure fields.
//!
//! What does not depend on a request's path or query is decided when the policy is compiled, so that a decision takes a
//! walk down the catalogue's tree and a look into a table, and no memory.

pub mod catalog;
pub mod coverage;
pub mod group;
pub mod path;
pub mod query;
pub mod review;
pub mod rule;
pub mod rule_trace;
pub mod spelling;

use std::fmt;
use std::sync::Arc;

use http::uri::PathAndQuery;
use http::{Method, Uri};

use crate::proxy::authn::Caller;
use catalog::{Catalog, MethodSet, Operation, OperationId, OperationName, Scope, ScopeSet};
use coverage::SecureUse;
use group::{Group, SECURE_VALUES};
use path::{MalformedTarget, Segments, Target};
use query::{Query, SECURE};
use rule::{Effect, METHODS, Match, Rule, Selector};

/// The number of an instance in the configuration, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct InstanceId(pub u16);

/// The compiled policy of one listener, or of one caller of it.
#[derive(Debug)]
pub struct Policy {
    catalog: Arc<Catalog>,
    instance: InstanceId,
    rules: Rules,
    /// By operation, from the `first` on: of all of them, or of the one that a draft is about.
    rows: Vec<OperationRow>,
    first: usize,
    /// What this policy is narrower than: a caller's is within its listener's.
    ceiling: Option<Arc<Policy>>,
    /// Whether what the rules close is only noted.
    observes: bool,
}

/// What is open, as the configuration says it.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// The ceiling, and the scopes of the token.
    pub scopes: ScopeSet,
    /// The open groups.
    pub groups: Groups,
    /// What is open on top, below the ceiling.
    pub allow: Vec<Rule>,
    /// What is closed in any case.
    pub deny: Vec<Rule>,
}

/// The groups that a listener or caller opens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Groups {
    /// All but the guarded ones.
    #[default]
    Ordinary,
    /// These.
    Only(Vec<&'static Group>),
}

/// The place of a rule in `allow` or `deny`, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleId(u16);

impl RuleId {
    /// The position in the list.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// The verdict on an operation, or what it depends on.
#[derive(Debug)]
enum OperationRow {
    Always(Verdict),
    Depends(Box<Relevant>),
}

/// The rules that may match a request for an operation, in order, each with whether it always does.
#[derive(Debug)]
struct Relevant {
    allow: Vec<(RuleId, Match)>,
    deny: Vec<(RuleId, Match)>,
}

/// The proof that a request is allowed, and the only source of what is sent.
#[derive(Debug)]
pub struct Permit {
    caller: Caller,
    method: Method,
    target: PathAndQuery,
    operation: Option<OperationId>,
    instance: InstanceId,
    scopes: ScopeSet,
    rule: Option<RuleId>,
    overruled: Option<Denied>,
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

    /// The scopes that the token shall have: the listener's.
    pub fn scopes(&self) -> ScopeSet {
        self.scopes
    }

    /// The rule of `allow` that opened it.
    pub fn rule(&self) -> Option<RuleId> {
        self.rule
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
        self.overruled.as_ref()
    }
}

/// What the policy says of an operation, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Open through the listener's scopes and groups.
    InScope,
    /// Open through this rule of `allow`.
    Allowed(RuleId),
    /// Closed: the listener lacks the scope.
    AboveCeiling,
    /// Closed: the listener lists groups, and not this one; or the group is guarded, and nothing names it.
    OutsideGroups,
    /// Closed by this rule of `deny`.
    Denied(RuleId),
    /// Closed by the listener, for all of its callers.
    AboveListener,
}

impl Verdict {
    /// The rule of `allow` that opens the operation.
    pub fn rule(self) -> Option<RuleId> {
        match self {
            Self::Allowed(rule) => Some(rule),
            Self::InScope | Self::AboveCeiling | Self::OutsideGroups | Self::Denied(_) | Self::AboveListener => None,
        }
    }

    /// Whether the operation is open.
    pub fn is_open(self) -> bool {
        match self {
            Self::InScope | Self::Allowed(_) => true,
            Self::AboveCeiling | Self::OutsideGroups | Self::Denied(_) | Self::AboveListener => false,
        }
    }
}

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
}

impl fmt::Display for DenyReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scope { missing, .. } => write!(f, "the operation needs the scope {missing}"),
            Self::Group(group) => write!(f, "the operation is in the group {group}, which is not open"),
            Self::Rule(rule) => write!(f, "the rule {rule:?} of deny matches"),
            Self::SecureValues => f.write_str("the request asks for the values of secure fields, which are not open"),
        }
    }
}

impl DenyReason {
    /// What is in the way, in the words of the configuration.
    pub fn rule(&self) -> String {
        match self {
            Self::Scope { missing, .. } => format!("scope:{missing}"),
            Self::Group(group) => format!("group:{group}"),
            Self::Rule(rule) => rule.to_string(),
            Self::SecureValues => format!("group:{SECURE_VALUES}"),
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
    /// More rules than can be numbered.
    #[error("allow and deny may have 65535 rules each")]
    TooManyRules,
}

/// A request that passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// The operation; `None` for one that only an `allow` rule knows.
    pub operation: Option<OperationId>,
    /// Why it is open.
    pub verdict: Verdict,
}

/// A request, as far as it is judged.
struct JudgedRequest<'a> {
    method: &'a Method,
    path: &'a Segments<'a>,
    query: Query<'a>,
    operation: Option<(OperationId, &'a Operation)>,
    secure_values: bool,
}

impl Policy {
    /// Compiles a policy.
    pub fn new(catalog: Arc<Catalog>, instance: InstanceId, rules: Rules) -> Result<Self, PolicyError> {
        if rules.allow.len().max(rules.deny.len()) > usize::from(u16::MAX) {
            return Err(PolicyError::TooManyRules);
        }
        rules.allow.iter().chain(&rules.deny).try_for_each(|rule| check_spelling(rule, &catalog))?;
        rules.allow.iter().try_for_each(|rule| rules.check_ceiling(rule, &catalog))?;
        let rows = catalog.operations().iter().map(|operation| rules.row(operation)).collect();
        Ok(Self { catalog, instance, rules, rows, first: 0, ceiling: None, observes: false })
    }

    /// A policy with these rules that judges requests for one operation only, or for what the catalogue lacks: much
    /// cheaper to make. Nothing is checked.
    fn draft(model: &Self, rules: Rules, about: Option<OperationId>) -> Self {
        let operation = about.and_then(|id| model.catalog.get(id));
        let rows = operation.iter().map(|operation| rules.row(operation)).collect();
        let (catalog, first) = (model.shared_catalog(), about.map_or(0, OperationId::index));
        Self { catalog, instance: model.instance, rules, rows, first, ceiling: None, observes: false }
    }

    fn row(&self, id: OperationId) -> Option<&OperationRow> {
        self.rows.get(id.index().checked_sub(self.first)?)
    }

    /// This policy, for a caller of a listener with the policy `ceiling`: only what both open is open.
    pub fn within(mut self, ceiling: Arc<Policy>) -> Result<Self, PolicyError> {
        if let Some(above) = self.scopes().iter().find(|scope| !ceiling.scopes().contains(*scope)) {
            return Err(PolicyError::AboveListener(above));
        }
        self.observes = ceiling.observes;
        self.ceiling = Some(ceiling);
        Ok(self)
    }

    /// This policy, if `observes`, lets pass what its scopes permit, and only notes what its groups and rules close.
    pub fn observing(self, observes: bool) -> Self {
        Self { observes, ..self }
    }

    /// Whether what the groups and rules close is only noted.
    pub fn observes(&self) -> bool {
        self.observes
    }

    /// The catalogue that the policy judges by.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The catalogue, to be shared with another policy.
    pub fn shared_catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.catalog)
    }

    /// The policy of the listener, where this is that of a caller.
    pub fn ceiling(&self) -> Option<&Arc<Policy>> {
        self.ceiling.as_ref()
    }

    /// The instance that permits lead to.
    pub fn instance(&self) -> InstanceId {
        self.instance
    }

    /// The ceiling, and the scopes of the token.
    pub fn scopes(&self) -> ScopeSet {
        self.rules.scopes
    }

    /// What it was compiled from.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Judges a request of an admitted caller.
    pub fn judge(&self, caller: Caller, method: &Method, uri: &Uri) -> Result<Permit, PolicyRefusal> {
        let target = Target::canonical(uri)?;
        let (operation, verdict, overruled) = match self.decide(method, &target) {
            Ok(Decision { operation, verdict }) => (operation, Some(verdict), None),
            Err(PolicyRefusal::Closed(closed)) if self.overrules(&closed) => (closed.operation, None, Some(closed)),
            Err(refusal) => return Err(refusal),
        };
        let rule = verdict.and_then(Verdict::rule);
        let (instance, scopes) = (self.instance, self.scopes());
        let (method, target) = (method.clone(), target.to_path_and_query()?);
        Ok(Permit { caller, method, target, operation, instance, scopes, rule, overruled })
    }

    /// What the scopes, groups and rules say of a request; an observing policy lets more pass. Takes no memory.
    pub fn decide(&self, method: &Method, target: &Target<'_>) -> Result<Decision, PolicyRefusal> {
        let method = judged_as(method);
        let (path, query) = (&target.segments()?, target.query());
        let here = self.catalog.at(path)?;
        let operation = here.of(method).and_then(|id| Some((id, self.catalog.get(id)?)));
        let asked = JudgedRequest { method, path, query, operation, secure_values: query.asks_for_secure_values() };
        let operation = operation.map(|(id, _)| id);
        let refusal = |barrier: Option<DenyReason>, by_listener| match barrier {
            Some(barrier) => Denied { operation, barrier, by_listener }.into(),
            None if here.is_empty() => PolicyRefusal::UnknownOperation,
            None => PolicyRefusal::MethodNotAllowed { allowed: here.methods() },
        };
        if let Some(ceiling) = &self.ceiling {
            ceiling.weigh(&asked).map_err(|barrier| refusal(barrier, true))?;
        }
        let verdict = self.weigh(&asked).map_err(|barrier| refusal(barrier, false))?;
        Ok(Decision { operation, verdict })
    }

    /// Whether a refusal is only noted.
    pub fn would_overrule(&self, refusal: &PolicyRefusal) -> bool {
        matches!(refusal, PolicyRefusal::Closed(closed) if self.overrules(closed))
    }

    /// Only what is known, and within the scopes, is let pass.
    fn overrules(&self, closed: &Denied) -> bool {
        let operation = closed.operation.and_then(|id| self.catalog.get(id));
        self.observes && operation.is_some_and(|operation| self.scopes().contains(operation.scope))
    }

    /// The verdict on every request for an operation that does not ask for the values of secure fields; `None` if it
    /// depends on values in the path or query.
    pub fn verdict(&self, id: OperationId) -> Option<Verdict> {
        let own = match self.row(id) {
            Some(OperationRow::Always(verdict)) => Some(*verdict),
            Some(OperationRow::Depends(_)) => None,
            None => Some(Verdict::OutsideGroups),
        };
        match self.ceiling.as_ref().map(|ceiling| ceiling.verdict(id)) {
            None | Some(Some(Verdict::InScope | Verdict::Allowed(_))) => own,
            // What the listener closes stays closed; what depends there, depends here too, unless closed here.
            Some(Some(_)) => Some(Verdict::AboveListener),
            Some(None) => own.filter(|verdict| !verdict.is_open()),
        }
    }

    /// Whether some request for an operation is open.
    pub fn may_open(&self, id: OperationId) -> bool {
        self.verdict(id).is_none_or(Verdict::is_open)
    }

    /// Whether some request for the values of secure fields may pass.
    pub fn may_open_secure_values(&self) -> bool {
        let here = self.rules.groups.contains(&SECURE_VALUES)
            || self.rules.allow.iter().any(|rule| rule.is_of_secure_values() || rule.names_secure_values());
        here && self.ceiling.as_ref().is_none_or(|ceiling| ceiling.may_open_secure_values())
    }

    /// What this policy alone says. An error without a barrier: neither the catalogue nor a rule knows the operation.
    fn weigh(&self, asked: &JudgedRequest<'_>) -> Result<Verdict, Option<DenyReason>> {
        let verdict = match asked.operation {
            Some((id, operation)) => self.verdict_on(id, operation, asked),
            None => self.rules.verdict_on_unknown(asked).ok_or(None)?,
        };
        let verdict = if verdict.is_open() && asked.secure_values {
            self.rules.verdict_on_secure_values(verdict, asked).ok_or(Some(DenyReason::SecureValues))?
        } else {
            verdict
        };
        let open = self.scopes();
        Err(match verdict {
            Verdict::InScope | Verdict::Allowed(_) => return Ok(verdict),
            Verdict::Denied(rule) => self.rules.deny.get(rule.index()).map(|rule| DenyReason::Rule(rule.text())),
            // No verdict of one's own is that of a listener.
            Verdict::AboveCeiling | Verdict::AboveListener => {
                let missing = asked.operation.map_or(assumed_scope(asked.method), |(_, operation)| operation.scope);
                Some(DenyReason::Scope { missing, open })
            }
            Verdict::OutsideGroups => asked.operation.map(|(_, operation)| DenyReason::Group(operation.group)),
        })
    }

    fn verdict_on(&self, id: OperationId, operation: &Operation, asked: &JudgedRequest<'_>) -> Verdict {
        match self.row(id) {
            Some(OperationRow::Always(verdict)) => *verdict,
            Some(OperationRow::Depends(relevant)) => {
                self.rules.verdict(operation, relevant, |rule, effect| asked.matches(rule, effect))
            }
            // No operation of the catalogue is without a row.
            None => Verdict::OutsideGroups,
        }
    }
}

impl JudgedRequest<'_> {
    fn matches(&self, rule: &Rule, effect: Effect) -> bool {
        let group = self.operation.map(|(_, operation)| operation.group);
        rule.matches(effect, self.method, self.path, self.query, group)
    }
}

impl Groups {
    /// Whether a group is open without a rule.
    pub fn open(&self, group: &'static Group) -> bool {
        match self {
            Self::Ordinary => !group.guarded,
            Self::Only(_) => self.contains(group),
        }
    }

    /// Whether a group is listed.
    pub fn contains(&self, group: &'static Group) -> bool {
        match self {
            Self::Ordinary => false,
            Self::Only(listed) => listed.contains(&group),
        }
    }
}

impl Rules {
    /// The verdict on an operation, or the rules that it depends on.
    fn row(&self, operation: &Operation) -> OperationRow {
        let relevant = Relevant {
            deny: relevant(&self.deny, operation, |_| true),
            // What is open or above the ceiling, no rule of allow changes.
            allow: if self.groups.open(operation.group) || !self.scopes.contains(operation.scope) {
                Vec::new()
            } else {
                relevant(&self.allow, operation, |rule| !operation.group.guarded || rule.names(operation))
            },
        };
        let mut depends = relevant.deny.iter().chain(&relevant.allow);
        if depends.any(|(_, fit)| *fit == Match::Sometimes) {
            OperationRow::Depends(Box::new(relevant))
        } else {
            OperationRow::Always(self.verdict(operation, &relevant, |_, _| false))
        }
    }

    /// The verdict on a request for an operation; `matches` says whether a rule does that sometimes does.
    fn verdict(&self, operation: &Operation, relevant: &Relevant, matches: impl Fn(&Rule, Effect) -> bool) -> Verdict {
        let first = |rules: &[Rule], relevant: &[(RuleId, Match)], effect| {
            let holds = |id: RuleId| rules.get(id.index()).is_some_and(|rule| matches(rule, effect));
            relevant.iter().find(|(id, fit)| *fit == Match::Always || holds(*id)).map(|(id, _)| *id)
        };
        if let Some(rule) = first(&self.deny, &relevant.deny, Effect::Deny) {
            return Verdict::Denied(rule);
        }
        if !self.scopes.contains(operation.scope) {
            return Verdict::AboveCeiling;
        }
        if self.groups.open(operation.group) {
            return Verdict::InScope;
        }
        first(&self.allow, &relevant.allow, Effect::Allow).map_or(Verdict::OutsideGroups, Verdict::Allowed)
    }

    /// What the catalogue lacks is open if a rule of `allow` says so, below the ceiling; `None` if none does.
    fn verdict_on_unknown(&self, asked: &JudgedRequest<'_>) -> Option<Verdict> {
        let allowed = matching(&self.allow, asked, Effect::Allow).filter(|_| METHODS.contains(asked.method))?;
        if let Some(rule) = matching(&self.deny, asked, Effect::Deny) {
            return Some(Verdict::Denied(rule));
        }
        let scope = assumed_scope(asked.method);
        Some(if self.scopes.contains(scope) { Verdict::Allowed(allowed) } else { Verdict::AboveCeiling })
    }

    /// The verdict on an open request that asks for the values of secure fields; `None` if nothing opens these.
    fn verdict_on_secure_values(&self, open: Verdict, asked: &JudgedRequest<'_>) -> Option<Verdict> {
        let denies = |rule: &Rule| rule.is_of_secure_values() && asked.matches(rule, Effect::Deny);
        if let Some(rule) = position(&self.deny, denies) {
            return Some(Verdict::Denied(rule));
        }
        let names = |rule: &Rule| rule.is_of_secure_values() || rule.names_secure_values();
        let fits = |rule: &Rule| asked.operation.is_none_or(|(_, operation)| rule.fit(operation) != Match::Never);
        let allows = |rule: &Rule| names(rule) && fits(rule) && asked.matches(rule, Effect::Allow);
        let lifted = self.groups.contains(&SECURE_VALUES) || self.allow.iter().any(allows);
        lifted.then_some(open)
    }

    /// A rule of `allow` must speak of something below the ceiling, of the catalogue or beyond it.
    fn check_ceiling(&self, rule: &Rule, catalog: &Catalog) -> Result<(), PolicyError> {
        let needed = needed_scopes(rule, catalog);
        let lacks = |scope: &Scope| !self.scopes.contains(*scope);
        match needed.first() {
            Some(scope) if needed.iter().all(lacks) => {
                Err(PolicyError::AboveCeiling { rule: rule.to_string(), scope: *scope })
            }
            _ => Ok(()),
        }
    }
}

/// A rule that is meant for a known operation must be spelled as the requests for it are.
fn check_spelling(rule: &Rule, catalog: &Catalog) -> Result<(), PolicyError> {
    let operations = || catalog.operations().iter();
    if operations().any(|operation| rule.fit(operation) != Match::Never) {
        return Ok(());
    }
    match operations().find_map(|operation| Some((operation, rule.misspells(operation)?))) {
        None => Ok(()),
        Some((operation, (word, segment))) => Err(PolicyError::Misspelled {
            rule: rule.to_string(),
            operation: OperationName(operation).to_string(),
            wanted: segment.wanted(),
            word: word.to_owned(),
        }),
    }
}

/// The rules that a request for an operation may match, up to the first that always does. What is about secure values
/// as such is judged apart.
fn relevant(rules: &[Rule], operation: &Operation, counts: impl Fn(&Rule) -> bool) -> Vec<(RuleId, Match)> {
    let mut found = Vec::new();
    for (id, rule) in (0..).map(RuleId).zip(rules).filter(|(_, rule)| !rule.is_of_secure_values() && counts(rule)) {
        let fit = rule.fit(operation);
        if fit != Match::Never {
            found.push((id, fit));
        }
        if fit == Match::Always {
            break;
        }
    }
    found
}

fn matching(rules: &[Rule], asked: &JudgedRequest<'_>, effect: Effect) -> Option<RuleId> {
    position(rules, |rule| !rule.is_of_secure_values() && asked.matches(rule, effect))
}

fn position(rules: &[Rule], holds: impl Fn(&Rule) -> bool) -> Option<RuleId> {
    (0..).map(RuleId).zip(rules).find(|(_, rule)| holds(rule)).map(|(id, _)| id)
}

/// The scopes of what a rule speaks of.
fn needed_scopes(rule: &Rule, catalog: &Catalog) -> Vec<Scope> {
    let operations = catalog.operations().iter();
    let known: Vec<_> =
        operations.filter(|operation| rule.fit(operation) != Match::Never).map(|operation| operation.scope).collect();
    if known.is_empty() && matches!(rule.reach(), Selector::Path(_)) {
        return METHODS.iter().filter(|method| rule.has_method(method)).map(assumed_scope).collect();
    }
    known
}

/// The method that is judged: HEAD is a GET without the body (RFC 9110 section 9.3.2).
fn judged_as(method: &Method) -> &Method {
    if method == Method::HEAD { &Method::GET } else { method }
}

fn secure_use(query: Query<'_>) -> SecureUse {
    match (query.asks_for_secure_values(), query.has(SECURE, None)) {
        (false, _) => SecureUse::No,
        (true, true) => SecureUse::Plain,
        (true, false) => SecureUse::Doubtful,
    }
}

/// What an operation that the catalogue lacks is taken to need: `monitoring` to read, `management` to write.
fn assumed_scope(method: &Method) -> Scope {
    if method == Method::GET { Scope::Monitoring } else { Scope::Management }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(scopes: &[Scope], groups: &[&str], allow: &[&str], deny: &[&str]) -> Result<Policy, PolicyError> {
        let rules = |texts: &[&str]| texts.iter().map(|text| Rule::parse(text).expect("a rule")).collect();
        let catalog = Arc::new(Catalog::built_in().expect("good"));
        let listed: Vec<_> = groups.iter().map(|name| Group::find(name).expect("a group")).collect();
        let groups = if listed.is_empty() { Groups::Ordinary } else { Groups::Only(listed) };
        let scopes = scopes.iter().copied().collect();
        Policy::new(catalog, InstanceId(0), Rules { scopes, groups, allow: rules(allow), deny: rules(deny) })
    }

    fn ask(policy: &Policy, method: &str, target: &str) -> Result<String, PolicyRefusal> {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let uri = target.parse().expect("a target");
        let target = Target::canonical(&uri)?;
        policy.decide(&method, &target).map(|_| target.to_string())
    }

    fn barrier(policy: &Policy, method: &str, target: &str) -> Option<DenyReason> {
        match ask(policy, method, target) {
            Err(PolicyRefusal::Closed(closed)) => Some(closed.barrier),
            _ => None,
        }
    }

    fn needs_management(policy: &Policy, method: &str, target: &str) -> bool {
        matches!(barrier(policy, method, target), Some(DenyReason::Scope { missing: Scope::Management, .. }))
    }

    fn is_denied(policy: &Policy, method: &str, target: &str) -> bool {
        matches!(barrier(policy, method, target), Some(DenyReason::Rule(_)))
    }

    fn in_closed_group(policy: &Policy, method: &str, target: &str) -> Option<&'static str> {
        match barrier(policy, method, target) {
            Some(DenyReason::Group(group)) => Some(group.name),
            _ => None,
        }
    }

    #[test]
    fn policy_opens_what_the_scopes_say_and_nothing_else() {
        let policy = policy(&[Scope::Monitoring], &[], &[], &[]).expect("a policy");
        assert_eq!(ask(&policy, "GET", "/api/v2/devices?df=a"), Ok("/v2/devices?df=a".to_owned()));
        assert_eq!(ask(&policy, "HEAD", "/v2/devices"), Ok("/v2/devices".to_owned()));
        assert!(needs_management(&policy, "POST", "/v2/organizations"));
        assert_eq!(ask(&policy, "GET", "/v2/nothing"), Err(PolicyRefusal::UnknownOperation));
        assert_eq!(ask(&policy, "GET", "/"), Err(PolicyRefusal::UnknownOperation));
        assert_eq!(ask(&policy, "GET", "/ws/oauth/token"), Err(PolicyRefusal::UnknownOperation));
        let refused = ask(&policy, "DELETE", "/v2/organizations");
        let Err(PolicyRefusal::MethodNotAllowed { allowed }) = refused else { panic!("{refused:?}") };
        assert_eq!(allowed.to_string(), "GET, HEAD, POST");
        for method in ["OPTIONS", "TRACE", "CONNECT", "BREW", "get"] {
            assert!(
                matches!(ask(&policy, method, "/v2/devices"), Err(PolicyRefusal::MethodNotAllowed { .. })),
                "{method}"
            );
        }
    }

    #[test]
    fn policy_groups_narrow_and_allow_adds_below_the_ceiling() {
        let policy = policy(&[Scope::Monitoring], &["queries"], &["GET /v2/devices"], &[]).expect("a policy");
        assert!(ask(&policy, "GET", "/v2/queries/disks").is_ok());
        assert!(ask(&policy, "GET", "/v2/devices").is_ok());
        assert_eq!(in_closed_group(&policy, "GET", "/v2/organizations"), Some("org-read"));
    }

    #[test]
    fn policy_allow_opens_operations_that_the_catalogue_lacks() {
        let policy =
            policy(&[Scope::Monitoring], &[], &["GET /v2/new-thing/{id}"], &["* /v2/new-thing/9"]).expect("a policy");
        assert!(ask(&policy, "GET", "/v2/new-thing/7").is_ok());
        assert!(ask(&policy, "HEAD", "/v2/new-thing/7").is_ok());
        assert_eq!(ask(&policy, "POST", "/v2/new-thing/7"), Err(PolicyRefusal::UnknownOperation));
        let wide = self::policy(&[Scope::Monitoring], &[], &["* /v2/**"], &[]).expect("a policy");
        assert!(ask(&wide, "GET", "/v2/new-thing").is_ok());
        for write in ["/v2/new-thing", "/v2/organizations/zap", "/v2/organizations"] {
            assert!(needs_management(&wide, "POST", write), "{write}");
        }
        assert!(is_denied(&policy, "GET", "/v2/new-thing/9"));
    }

    #[test]
    fn policy_deny_wins_for_all_or_for_single_values() {
        let policy = policy(&[Scope::Monitoring], &[], &["GET /v2/devices"], &["GET /v2/devices", "* /v2/device/7/**"])
            .expect("a policy");
        assert!(is_denied(&policy, "GET", "/v2/devices"));
        assert!(is_denied(&policy, "GET", "/v2/device/7/disks"));
        assert!(is_denied(&policy, "GET", "/v2/device/7"));
        assert!(ask(&policy, "GET", "/v2/device/8/disks").is_ok());
    }

    #[test]
    fn policy_deny_wins_in_every_spelling() {
        let deny = [
            "* /v2/device/7/**",
            "DELETE /v2/alert/3f2c8a9e-0000-4000-8000-00000000abcd",
            "* /v2/organization/7/**",
            "POST /v2/device/{id}/reboot/NORMAL",
            "* /v2/custom-fields/field-name/secret",
            "* /v2/new-thing/x",
            "GET /v2/activities?deviceId=7",
        ];
        let policy = policy(&[Scope::Monitoring, Scope::Management], &[], &["* /v2/**"], &deny).expect("a policy");
        for (method, target) in [
            ("GET", "/v2/device/07/disks"),
            ("PATCH", "/v2/device/0000007"),
            ("GET", "/v2/device/+7/disks"),
            ("GET", "/v2/device/7%20/disks"),
            ("GET", "/v2/device/%D9%A7/disks"),
            ("GET", "/v2/device/7.0/disks"),
            ("GET", "/v2/device/18446744073709551623/disks"),
            ("GET", "/v2/Device/7/disks"),
            ("DELETE", "/v2/alert/3F2C8A9E-0000-4000-8000-00000000ABCD"),
            ("DELETE", "/v2/alert/3f2c8a9e-0-4000-8000-abcd"),
            ("DELETE", "/v2/alert/3f2c8a9e00004000800000000000abcd"),
            ("GET", "/v2/organization/07/locations/backup/usage"),
            ("GET", "/v2/organization/%D9%A7/locations/backup/usage"),
            ("POST", "/v2/device/8/reboot/normal"),
            ("GET", "/v2/USERS"),
        ] {
            let refused = ask(&policy, method, target);
            assert!(matches!(refused, Err(PolicyRefusal::Malformed(_))), "{method} {target}: {refused:?}");
        }
        for (method, target) in [
            ("GET", "/v2/custom-fields/field-name/SECRET"),
            ("GET", "/v2/custom-fields/field-name/%53ecret"),
            ("PUT", "/v2/New-Thing/X"),
            ("GET", "/v2/activities?deviceId=07"),
            ("GET", "/v2/activities?deviceId=%2B7"),
            ("GET", "/v2/activities?deviceId=%D9%A7"),
        ] {
            assert!(is_denied(&policy, method, target), "{method} {target}");
        }
        for target in ["/v2/device/8/disks", "/v2/device/70/disks", "/v2/new-thing/y", "/v2/activities?deviceId=70"] {
            assert!(ask(&policy, "GET", target).is_ok(), "{target}");
        }
    }

    #[test]
    fn policy_refuses_a_rule_that_no_accepted_request_can_match() {
        for (rule, message) in [
            ("* /v2/Device/7/**", "has \"device\" where \"Device\" is written"),
            ("POST /v2/device/{id}/reboot/normal", "has one of NORMAL, FORCED where \"normal\" is written"),
            ("GET /v2/device/9007199254740992", "has a number where \"9007199254740992\" is written"),
        ] {
            let both = [Scope::Monitoring, Scope::Management];
            for (allow, deny) in [(&[rule][..], &[][..]), (&[], &[rule])] {
                let error = policy(&both, &[], allow, deny).expect_err("it matches nothing");
                assert!(error.to_string().contains(message), "{error}");
            }
        }
    }

    #[test]
    fn policy_refuses_an_allow_rule_above_its_ceiling() {
        let above = policy(&[Scope::Monitoring], &[], &["POST /v2/organizations"], &[]).expect_err("above");
        let rule = "POST /v2/organizations".to_owned();
        assert_eq!(above, PolicyError::AboveCeiling { rule, scope: Scope::Management });
        let unknown = policy(&[Scope::Monitoring], &[], &["PUT /v2/new-thing"], &[]).expect_err("above");
        assert!(matches!(unknown, PolicyError::AboveCeiling { scope: Scope::Management, .. }));
    }

    #[test]
    fn policy_refuses_an_encoded_spelling_of_another_operation() {
        let policy = policy(&[Scope::Monitoring, Scope::Management], &[], &[], &[]).expect("a policy");
        assert_eq!(
            ask(&policy, "POST", "/v2/tag/%64elete"),
            Err(PolicyRefusal::Malformed(MalformedTarget::EncodedSegment))
        );
    }

    #[test]
    fn policy_keeps_guarded_groups_closed_unless_they_are_named() {
        let both = [Scope::Monitoring, Scope::Management];
        let guarded = [
            ("GET", "/v2/users", "users-and-roles"),
            ("POST", "/v2/user/technicians", "users-and-roles"),
            ("GET", "/v2/automation/scripts", "scripts"),
            ("POST", "/v2/device/7/script/run", "scripts"),
            ("PUT", "/v2/webhook", "webhooks"),
            ("GET", "/v2/organization/1/location/2/installer/WINDOWS_MSI", "installers"),
            ("POST", "/v2/organization/generate-installer", "installers"),
        ];
        let wide = policy(&both, &[], &["* /v2/**", "POST /v2/device/{id}/script/**", "GET /v2/*"], &[]).expect("good");
        for (method, path, group) in guarded {
            let closed = policy(&both, &[], &[], &[]).expect("good");
            assert_eq!(in_closed_group(&closed, method, path), Some(group), "{path}");
            assert_eq!(in_closed_group(&wide, method, path), Some(group), "{path}: no rule names it");
            let listed = policy(&both, &[group], &[], &[]).expect("good");
            assert!(ask(&listed, method, path).is_ok(), "{path}");
            let named = policy(&both, &[], &[&format!("group:{group}")], &[]).expect("good");
            assert!(ask(&named, method, path).is_ok(), "{path}");
            assert!(ask(&named, "GET", "/v2/devices").is_ok(), "the ordinary groups stay open");
        }
        let single = policy(&both, &[], &["POST /v2/device/{id}/script/run"], &[]).expect("good");
        assert!(ask(&single, "POST", "/v2/device/7/script/run").is_ok());
        assert_eq!(in_closed_group(&single, "GET", "/v2/automation/scripts"), Some("scripts"));
    }

    #[test]
    fn policy_refuses_secure_values_unless_they_are_named() {
        const ASKS: &str = "/v2/queries/custom-fields?pageSize=5&showSecureVALUES=tr%75e";
        let secure = |groups: &[&str], allow: &[&str], deny: &[&str], target: &str| {
            barrier(&policy(&[Scope::Monitoring], groups, allow, deny).expect("good"), "GET", target)
        };
        assert_eq!(secure(&[], &[], &[], ASKS), Some(DenyReason::SecureValues));
        assert_eq!(secure(&[], &[], &[], "/v2/queries/custom-fields?showSecureValues=false"), None);
        assert_eq!(secure(&["queries"], &["* /v2/**"], &[], ASKS), Some(DenyReason::SecureValues));
        assert_eq!(secure(&["queries", "secure-values"], &[], &[], ASKS), None);
        assert_eq!(secure(&[], &["group:secure-values"], &[], ASKS), None);
        let exact = "GET /v2/queries/custom-fields?showSecureValues=true";
        assert_eq!(secure(&[], &[exact], &[], "/v2/queries/custom-fields?showSecureValues=true"), None);
        assert_eq!(secure(&[], &[exact], &[], ASKS), Some(DenyReason::SecureValues), "not what the rule says");
        let other = "/v2/queries/scoped-custom-fields?showSecureValues=true";
        assert_eq!(secure(&[], &[exact], &[], other), Some(DenyReason::SecureValues));
        let denied = secure(&[], &["group:secure-values"], &["group:secure-values"], ASKS);
        assert_eq!(denied, Some(DenyReason::Rule("group:secure-values".into())));
        let closed = secure(&["secure-values"], &[], &[], ASKS);
        assert!(matches!(closed, Some(DenyReason::Group(group)) if group.name == "queries"), "{closed:?}");
    }

    #[test]
    fn policy_takes_no_fixed_word_for_a_value() {
        let policy = policy(&[Scope::Monitoring], &["alerts"], &["GET /v2/organization/{id}"], &[]).expect("good");
        assert!(ask(&policy, "GET", "/v2/organization/7").is_ok());
        assert_eq!(in_closed_group(&policy, "GET", "/v2/organization/documents"), Some("documentation"));
    }

    #[test]
    fn policy_that_observes_lets_pass_what_the_scopes_permit_and_notes_what_the_rules_say() {
        let observing = policy(&[Scope::Monitoring], &["queries"], &[], &["GET /v2/queries/disks"]).expect("good");
        let observing = observing.observing(true);
        let judge = |method: Method, target: &str| {
            let caller = Caller::anybody();
            observing.judge(caller, &method, &target.parse().expect("a target"))
        };
        let overruled = |target: &str| judge(Method::GET, target).map(|permit| permit.overruled().cloned());
        assert_eq!(overruled("/v2/queries/software"), Ok(None));
        for target in ["/v2/devices", "/v2/users", "/v2/queries/disks", "/v2/queries/custom-fields?showSecureValues=1"]
        {
            assert!(matches!(overruled(target), Ok(Some(_))), "{target}");
        }
        assert!(judge(Method::POST, "/v2/organizations").is_err(), "above the scopes");
        assert!(judge(Method::GET, "/v2/nothing").is_err(), "unknown");
        assert!(judge(Method::GET, "/v2/devices/../users").is_err(), "malformed");
    }
}
