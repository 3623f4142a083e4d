//! Scopes, groups and rules as the configuration has them, compiled by operation.

use http::Method;

use super::catalog::{Catalog, Operation, OperationName, Scope, ScopeSet};
use super::decision::{ClosedBy, JudgedRequest, OpenedBy, Verdict};
use super::group::{Group, SECURE_VALUES};
use super::refusal::PolicyError;
use super::rule::{Effect, METHODS, Match, Rule, Selector};

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
    /// The ids of a list, in order.
    fn all() -> impl Iterator<Item = Self> {
        (0..).map(Self)
    }

    /// The position in the list.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// The verdict on an operation, or what it depends on.
#[derive(Debug)]
pub(super) enum OperationRow {
    Always(Verdict),
    /// Which rule decides depends on the request; with what closes the operation whichever does, if something does.
    Depends(Box<Relevant>, Option<ClosedBy>),
}

/// The rules that may match a request for an operation, in order, each with whether it always does.
#[derive(Debug)]
pub(super) struct Relevant {
    allow: Vec<(RuleId, Match)>,
    deny: Vec<(RuleId, Match)>,
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
    pub(super) fn row(&self, operation: &Operation) -> OperationRow {
        let relevant = Relevant {
            deny: relevant(&self.deny, operation, Effect::Deny, |_| true),
            // What is open or above the ceiling, no rule of allow changes.
            allow: if self.groups.open(operation.group) || !self.scopes.contains(operation.scope) {
                Vec::new()
            } else {
                relevant(&self.allow, operation, Effect::Allow, |rule| rule.may_open(operation))
            },
        };
        let mut depends = relevant.deny.iter().chain(&relevant.allow);
        if depends.any(|(_, fit)| *fit == Match::Sometimes) {
            // The best case: no rule of deny matches that need not, and every rule of allow does.
            let best = self.verdict(operation, &relevant, |_, effect| effect == Effect::Allow);
            OperationRow::Depends(Box::new(relevant), best.err())
        } else {
            OperationRow::Always(self.verdict(operation, &relevant, |_, _| false))
        }
    }

    /// The verdict on a request for an operation; `matches` says whether a rule does that sometimes does.
    pub(super) fn verdict(
        &self,
        operation: &Operation,
        relevant: &Relevant,
        matches: impl Fn(&Rule, Effect) -> bool,
    ) -> Verdict {
        let first = |rules: &[Rule], relevant: &[(RuleId, Match)], effect| {
            let holds = |id: RuleId| rules.get(id.index()).is_some_and(|rule| matches(rule, effect));
            relevant.iter().find(|(id, fit)| *fit == Match::Always || holds(*id)).map(|(id, _)| *id)
        };
        if let Some(rule) = first(&self.deny, &relevant.deny, Effect::Deny) {
            return Err(ClosedBy::Rule(rule));
        }
        if !self.scopes.contains(operation.scope) {
            return Err(ClosedBy::Scopes);
        }
        if self.groups.open(operation.group) {
            return Ok(OpenedBy::Scopes);
        }
        first(&self.allow, &relevant.allow, Effect::Allow).map(OpenedBy::Rule).ok_or(ClosedBy::Groups)
    }

    /// What the catalogue lacks is open if a rule of `allow` says so, below the ceiling; `None` if none does.
    pub(super) fn verdict_on_unknown(&self, asked: &JudgedRequest<'_>) -> Option<Verdict> {
        let allowed = matching(&self.allow, asked, Effect::Allow).filter(|_| METHODS.contains(asked.method))?;
        if let Some(rule) = matching(&self.deny, asked, Effect::Deny) {
            return Some(Err(ClosedBy::Rule(rule)));
        }
        let is_in_scope = self.scopes.contains(assumed_scope(asked.method));
        Some(if is_in_scope { Ok(OpenedBy::Rule(allowed)) } else { Err(ClosedBy::Scopes) })
    }

    /// The verdict on a request that asks for the values of secure fields and is otherwise open.
    pub(super) fn verdict_on_secure_values(&self, open: OpenedBy, asked: &JudgedRequest<'_>) -> Verdict {
        let denies = |rule: &Rule| rule.is_of_secure_values() && asked.matches(rule, Effect::Deny);
        if let Some(rule) = position(&self.deny, denies) {
            return Err(ClosedBy::Rule(rule));
        }
        let names = |rule: &Rule| rule.is_of_secure_values() || rule.names_secure_values();
        let allows = |rule: &Rule| names(rule) && asked.matches(rule, Effect::Allow);
        let lifted = self.groups.contains(&SECURE_VALUES) || self.allow.iter().any(allows);
        if lifted { Ok(open) } else { Err(ClosedBy::SecureValues) }
    }

    /// A rule of `allow` must speak of something below the ceiling, of the catalogue or beyond it.
    pub(super) fn check_ceiling(&self, rule: &Rule, catalog: &Catalog) -> Result<(), PolicyError> {
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
pub(super) fn check_spelling(rule: &Rule, catalog: &Catalog) -> Result<(), PolicyError> {
    let operations = || catalog.operations().iter();
    if operations().any(|operation| rule.fit(operation, Effect::Allow) != Match::Never) {
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
fn relevant(
    rules: &[Rule],
    operation: &Operation,
    effect: Effect,
    counts: impl Fn(&Rule) -> bool,
) -> Vec<(RuleId, Match)> {
    let mut found = Vec::new();
    for (id, rule) in RuleId::all().zip(rules).filter(|(_, rule)| !rule.is_of_secure_values() && counts(rule)) {
        let fit = rule.fit(operation, effect);
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
    RuleId::all().zip(rules).find(|(_, rule)| holds(rule)).map(|(id, _)| id)
}

/// The scopes of what a rule speaks of.
pub(super) fn needed_scopes(rule: &Rule, catalog: &Catalog) -> Vec<Scope> {
    let operations = catalog.operations().iter();
    let known: Vec<_> = operations
        .filter(|operation| rule.fit(operation, Effect::Allow) != Match::Never)
        .map(|operation| operation.scope)
        .collect();
    if known.is_empty() && matches!(rule.reach(), Selector::Path(_)) {
        return METHODS.iter().filter(|method| rule.has_method(method)).map(assumed_scope).collect();
    }
    known
}

/// What an operation that the catalogue lacks is taken to need: `monitoring` to read, `management` to write.
pub(super) fn assumed_scope(method: &Method) -> Scope {
    if method == Method::GET { Scope::Monitoring } else { Scope::Management }
}
