//! A decision taken apart: every rule that was considered, and the smallest change that would turn it.

use std::fmt;
use std::sync::Arc;

use http::Method;

use super::catalog::{Operation, OperationId, OperationName, Scope};
use super::group::SECURE_VALUES;
use super::path::Target;
use super::query::Query;
use super::rule::{Effect, Rule, RuleEffect};
use super::{Decision, Denied, DenyReason, Policy, PolicyError, PolicyRefusal, Rules, judged_as};

/// A rule, and what it had to do with a request.
#[derive(Debug)]
pub struct RuleTrace<'a> {
    /// Whether it is a rule of the listener, which holds for all of its callers.
    pub by_listener: bool,
    /// The list it is in.
    pub effect: Effect,
    /// The rule.
    pub rule: &'a Rule,
    /// What became of it.
    pub outcome: RuleEffect,
}

/// A change of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Whether it is to be made to the listener, not to its caller.
    pub to_listener: bool,
    /// What to change.
    pub edit: Edit,
}

/// What to change in a listener's or caller's table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// Add this to `scopes`.
    AddScope(Scope),
    /// Add this to `allow`.
    AddAllow(String),
    /// Add this to `deny`.
    AddDeny(String),
    /// Remove this from `deny`.
    RemoveDeny(String),
}

impl fmt::Display for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddScope(scope) => write!(f, "add {:?} to scopes", scope.as_str()),
            Self::AddAllow(rule) => write!(f, "add {rule:?} to allow"),
            Self::AddDeny(rule) => write!(f, "add {rule:?} to deny"),
            Self::RemoveDeny(rule) => write!(f, "remove {rule:?} from deny"),
        }
    }
}

/// Every rule that is considered for a request, those of the listener first. Fails for a target that cannot be judged.
pub fn considered<'a>(
    policy: &'a Policy,
    method: &Method,
    target: &Target<'_>,
) -> Result<Vec<RuleTrace<'a>>, PolicyRefusal> {
    let path = target.segments()?;
    let asked = policy.request(method, &path, target, policy.catalog().at(&path)?);
    let outcome = |rules: &Rules, rule: &Rule, effect| {
        let is_unnamed = || {
            let opens = |(_, operation): (_, &Operation)| rules.may_open(rule, operation) || rule.is_of_secure_values();
            effect == Effect::Allow && !asked.operation.is_none_or(opens)
        };
        // A decision looks at the method first and no further: to people the path comes first.
        let group = asked.operation.map(|(_, operation)| operation.group);
        let mut found = asked.examine(rule, effect);
        if found == RuleEffect::OtherMethod && !rule.has_place(effect, &path, asked.query, group) {
            found = RuleEffect::Elsewhere;
        }
        if found == RuleEffect::Matches && is_unnamed() { RuleEffect::DoesNotName } else { found }
    };
    let mut found = Vec::new();
    for (policy, by_listener) in policy.ceiling().map(|ceiling| (&**ceiling, true)).into_iter().chain([(policy, false)])
    {
        let own @ Rules { allow, deny, .. } = policy.rules();
        for (rules, effect) in [(deny, Effect::Deny), (allow, Effect::Allow)] {
            found.extend(rules.iter().map(|rule| RuleTrace {
                by_listener,
                effect,
                rule,
                outcome: outcome(own, rule, effect),
            }));
        }
    }
    Ok(found)
}

/// The fewest changes that would turn a decision; none if the configuration cannot turn it.
pub fn turn(policy: &Policy, method: &Method, target: &Target<'_>) -> Vec<Change> {
    match policy.decide(method, target) {
        Ok(Decision { operation, .. }) => {
            let name = operation.and_then(|id| policy.catalog().name(id)).map(|name| name.to_string());
            let rule = name.unwrap_or_else(|| spelled(method, target));
            vec![Change { to_listener: false, edit: Edit::AddDeny(rule) }]
        }
        Err(_) => open(policy, method, target).unwrap_or_default(),
    }
}

/// Every barrier has to be taken, each by the least that takes it, so there are no fewer changes than these.
fn open(policy: &Policy, method: &Method, target: &Target<'_>) -> Option<Vec<Change>> {
    let about = policy.catalog().at(&target.segments().ok()?).ok()?.of(judged_as(method));
    let mut draft = Draft {
        listener: policy.ceiling().map(|ceiling| Arc::clone(&ceiling.rules)),
        own: Arc::clone(&policy.rules),
        about,
        added: Vec::new(),
    };
    let mut changes = Vec::new();
    // Each rule of deny may be in the way, and some things more.
    for _ in 0..draft.rules().map(|rules| rules.deny.len() + 4).sum() {
        let change = match draft.lacking_scope(policy) {
            Some(change) => change,
            None => {
                let changed = draft.compile(policy);
                match changed.decide(method, target) {
                    Ok(_) => return Some(changes),
                    Err(refusal) => needed(&changed, method, target, &refusal)?,
                }
            }
        };
        draft.apply(&change)?;
        changes.push(change);
    }
    None
}

/// Rules on their way to what a request needs: those of the policy itself until one is changed. Every refusal asks for
/// this, however many rules there are.
struct Draft {
    listener: Option<Arc<Rules>>,
    own: Arc<Rules>,
    /// The operation that is asked for.
    about: Option<OperationId>,
    /// Rules that were added to `allow`, each with whether to the listener's.
    added: Vec<(bool, Rule)>,
}

impl Draft {
    fn rules(&self) -> impl Iterator<Item = &Rules> {
        self.listener.iter().chain([&self.own]).map(|rules| &**rules)
    }

    /// The scope without which the rules make no policy.
    fn lacking_scope(&self, model: &Policy) -> Option<Change> {
        for (to_listener, rule) in &self.added {
            let rules = self.listener.as_ref().filter(|_| *to_listener).unwrap_or(&self.own);
            if let Err(PolicyError::AboveCeiling { scope, .. }) = rules.check_ceiling(rule, model.catalog()) {
                return Some(Change { to_listener: *to_listener, edit: Edit::AddScope(scope) });
            }
        }
        let listener = self.listener.as_ref()?;
        let above = self.own.scopes.iter().find(|scope| !listener.scopes.contains(*scope))?;
        Some(Change { to_listener: true, edit: Edit::AddScope(above) })
    }

    fn compile(&self, model: &Policy) -> Policy {
        let draft = |rules: &Arc<Rules>| Policy::draft(model, Arc::clone(rules), self.about);
        let ceiling = self.listener.as_ref().map(|listener| Arc::new(draft(listener)));
        Policy { ceiling, ..draft(&self.own) }
    }

    fn apply(&mut self, Change { to_listener, edit }: &Change) -> Option<()> {
        let rules = Arc::make_mut(if *to_listener { self.listener.as_mut()? } else { &mut self.own });
        match edit {
            Edit::AddScope(scope) => rules.scopes = rules.scopes.iter().chain([*scope]).collect(),
            Edit::AddAllow(rule) => {
                let rule = Rule::parse(rule).ok()?;
                rules.allow.push(rule.clone());
                self.added.push((*to_listener, rule));
            }
            Edit::AddDeny(rule) => rules.deny.push(Rule::parse(rule).ok()?),
            Edit::RemoveDeny(rule) => {
                let place = rules.deny.iter().position(|own| *own.text() == **rule)?;
                rules.deny.remove(place);
            }
        }
        Some(())
    }
}

fn needed(policy: &Policy, method: &Method, target: &Target<'_>, refusal: &PolicyRefusal) -> Option<Change> {
    let closed = match refusal {
        // Where the path is known, NinjaOne has no such method on it.
        PolicyRefusal::Malformed(_) | PolicyRefusal::MethodNotAllowed { .. } => return None,
        // A value of the wrong type is a mistake in the request, and nothing that a rule should open.
        PolicyRefusal::UnknownOperation if has_wrong_value(policy, method, target) => return None,
        PolicyRefusal::UnknownOperation => {
            // A * of the path would be any segment in a rule.
            let rule = Some(spelled(method, target)).filter(|_| !target.path().contains('*'))?;
            // What is not below /v2/ no rule can open.
            Rule::parse(&rule).ok()?;
            let is_unknown =
                |ceiling: &Arc<Policy>| matches!(ceiling.decide(method, target), Err(PolicyRefusal::UnknownOperation));
            let to_listener = policy.ceiling().is_some_and(is_unknown);
            return Some(Change { to_listener, edit: Edit::AddAllow(rule) });
        }
        PolicyRefusal::Closed(closed) => closed,
    };
    let Denied { operation, barrier, by_listener } = closed;
    let name = operation.and_then(|id| policy.catalog().get(id)).map(|operation| OperationName(operation).to_string());
    let edit = match barrier {
        DenyReason::Scope { missing, .. } => Edit::AddScope(*missing),
        DenyReason::Group(_) | DenyReason::TenantWide(_) => Edit::AddAllow(name?),
        DenyReason::Rule(rule) => Edit::RemoveDeny(rule.to_string()),
        DenyReason::SecureValues => Edit::AddAllow(secure_rule(name, target.query())),
        // The request must change, or what the rule asks.
        DenyReason::Conditions(_) => return None,
    };
    Some(Change { to_listener: *by_listener, edit })
}

/// Whether the path is that of an operation, but for a value that is not of its type.
fn has_wrong_value(policy: &Policy, method: &Method, target: &Target<'_>) -> bool {
    let nearest = target.segments().ok().and_then(|path| policy.catalog().nearest(method, &path));
    nearest.is_some_and(|nearest| nearest.is_misfit())
}

/// A rule for one operation with secure values, if the request is spelled so that it can match; else the group.
fn secure_rule(operation: Option<String>, query: Query<'_>) -> String {
    let plain = query.has(super::query::SECURE, Some("true"));
    match operation.filter(|_| plain) {
        Some(name) => format!("{name}?{}=true", super::query::SECURE),
        None => format!("group:{SECURE_VALUES}"),
    }
}

fn spelled(method: &Method, target: &Target<'_>) -> String {
    format!("{} {}", judged_as(method), target.path())
}
