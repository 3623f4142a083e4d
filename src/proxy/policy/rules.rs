//! Scopes, groups and rules as the configuration has them, compiled by operation.

mod candidates;
mod checks;

use std::sync::Arc;

use http::Method;

use super::catalog::{Operation, Scope, ScopeSet};
use super::decision::{ClosedBy, JudgedRequest, OpenedBy, Verdict};
use super::group::{Group, SECURE_VALUES};
use super::organizations::Organizations;
use super::path::Segments;
use super::rule::{Effect, METHODS, Match, Rule};
use candidates::Candidates;
pub(super) use checks::{check_spelling, needed_scopes};

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
    /// The fence: the organizations that callers are kept to; `None`: all.
    pub organizations: Option<Arc<Organizations>>,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RuleId(u16);

impl RuleId {
    /// The ids of a list, in order.
    pub(super) fn all() -> impl Iterator<Item = Self> {
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

/// The rules that may match a request for an operation.
#[derive(Debug)]
pub(super) struct Relevant {
    allow: Candidates,
    deny: Candidates,
    /// Those of `allow` with conditions: how they match to a lenient reader.
    conditional: Candidates,
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
        let in_scope = self.scopes.contains(operation.scope);
        let relevant = Relevant {
            deny: relevant(&self.deny, operation, Effect::Deny, |_| true),
            // What is open or above the ceiling, no rule of allow changes.
            allow: if self.opens_by_group(operation) || !in_scope {
                Candidates::default()
            } else {
                relevant(&self.allow, operation, Effect::Allow, |rule| {
                    rule.terms().is_none() && self.may_open(rule, operation)
                })
            },
            // But for those with conditions, which alone decide about what they match.
            conditional: if in_scope { self.claiming(operation) } else { Candidates::default() },
        };
        let surely = |(id, _): (RuleId, Match)| self.fit_of(id, operation);
        let lists = [&relevant.deny, &relevant.allow, &relevant.conditional];
        let fits = lists.into_iter().flat_map(Candidates::iter).map(|(_, fit)| fit);
        if fits.chain(relevant.conditional.iter().map(surely)).any(|fit| fit == Match::Sometimes) {
            // The best case: no rule of deny matches that need not, and every rule of allow does.
            let best = self.verdict(operation, &relevant, None, |_, effect| effect == Effect::Allow);
            let may_open = relevant.conditional.iter().any(|(id, _)| self.may_fulfil(id, operation));
            OperationRow::Depends(
                Box::new(relevant),
                best.err().filter(|by| !matches!(by, ClosedBy::Groups | ClosedBy::Fence) || !may_open),
            )
        } else {
            OperationRow::Always(self.verdict(operation, &relevant, None, |_, _| false))
        }
    }

    /// Whether its group opens an operation, without a rule.
    pub(super) fn opens_by_group(&self, operation: &Operation) -> bool {
        self.groups.open(operation.group) && !self.is_tenant_wide(operation)
    }

    /// Whether a rule of `allow` may open an operation: one of a guarded group it must name, and under a fence one that
    /// is tenant-wide.
    pub(super) fn may_open(&self, rule: &Rule, operation: &Operation) -> bool {
        rule.may_open(operation) && (!self.is_tenant_wide(operation) || rule.is_exact() && rule.names(operation))
    }

    /// Whether there is a fence, and nothing of an operation's requests and answers tells whose data it is.
    pub fn is_tenant_wide(&self, operation: &Operation) -> bool {
        self.organizations.is_some() && operation.fencing.rules.is_none()
    }

    /// The rules of `allow` with conditions that a request for an operation may match to a lenient reader.
    fn claiming(&self, operation: &Operation) -> Candidates {
        let rules = RuleId::all().zip(&self.allow).filter(|(_, rule)| rule.terms().is_some());
        let fits = rules.map(|(id, rule)| (id, rule.fit(operation, Effect::Deny)));
        Candidates::new(fits.filter(|(_, fit)| *fit != Match::Never).collect(), &self.allow, operation)
    }

    /// The verdict on a request for an operation, with this path; `matches` says whether a rule does that sometimes does.
    pub(super) fn verdict(
        &self,
        operation: &Operation,
        relevant: &Relevant,
        path: Option<&Segments<'_>>,
        matches: impl Fn(&Rule, Effect) -> bool,
    ) -> Verdict {
        let first = |rules: &[Rule], candidates: &Candidates, effect| {
            let holds = |id: RuleId| rules.get(id.index()).is_some_and(|rule| matches(rule, effect));
            candidates.first(path, |id, fit| fit == Match::Always || holds(id))
        };
        if let Some(rule) = first(&self.deny, &relevant.deny, Effect::Deny) {
            return Err(ClosedBy::Rule(rule));
        }
        if !self.scopes.contains(operation.scope) {
            return Err(ClosedBy::Scopes);
        }
        if let Some(rule) = first(&self.allow, &relevant.conditional, Effect::Deny) {
            let holds = |id: RuleId| self.allow.get(id.index()).is_some_and(|rule| matches(rule, Effect::Allow));
            let sure = relevant.conditional.first(path, |id, _| {
                self.may_fulfil(id, operation) && (self.fit_of(id, operation) == Match::Always || holds(id))
            });
            return sure.map(OpenedBy::Conditions).ok_or(ClosedBy::Conditions(rule));
        }
        if self.opens_by_group(operation) {
            return Ok(OpenedBy::Scopes);
        }
        let closed_by = if self.is_tenant_wide(operation) { ClosedBy::Fence } else { ClosedBy::Groups };
        first(&self.allow, &relevant.allow, Effect::Allow).map(OpenedBy::Rule).ok_or(closed_by)
    }

    /// What the catalogue lacks is open if a rule of `allow` says so, below the ceiling; `None` if none does.
    pub(super) fn verdict_on_unknown(&self, asked: &JudgedRequest<'_>) -> Option<Verdict> {
        // Nobody knows whose data that is: under a fence, only a rule that names it opens it.
        let names = |rule: &Rule| self.organizations.is_none() || rule.is_exact();
        let allowed = position(&self.allow, |rule| {
            !rule.is_of_secure_values() && names(rule) && asked.matches(rule, Effect::Allow)
        });
        let allowed = allowed.filter(|_| METHODS.contains(asked.method))?;
        if let Some(rule) = matching(&self.deny, asked, Effect::Deny) {
            return Some(Err(ClosedBy::Rule(rule)));
        }
        if !self.scopes.contains(assumed_scope(asked.method)) {
            return Some(Err(ClosedBy::Scopes));
        }
        let claims = |rule: &Rule| rule.terms().is_some() && asked.matches(rule, Effect::Deny);
        Some(match (position(&self.allow, claims), self.surely_conditional(asked).next()) {
            (None, _) => Ok(OpenedBy::Rule(allowed)),
            (Some(_), Some((sure, _))) => Ok(OpenedBy::Conditions(sure)),
            (Some(rule), None) => Err(ClosedBy::Conditions(rule)),
        })
    }

    /// The rules of `allow` with conditions that may open a request, in order. One that asks for the values of secure
    /// fields they must name, unless those are open without conditions.
    pub(super) fn conditional<'a>(&'a self, asked: &JudgedRequest<'_>) -> impl Iterator<Item = (RuleId, &'a Rule)> {
        let named = |rule: &Rule| !asked.secure_values || rule.names_secure_values() || self.lifts(asked);
        self.surely_conditional(asked).filter(move |(_, rule)| named(rule))
    }

    /// The rules of `allow` with conditions that surely match a request.
    fn surely_conditional<'a>(&'a self, asked: &JudgedRequest<'_>) -> impl Iterator<Item = (RuleId, &'a Rule)> {
        let may_open = |rule: &Rule| match asked.operation {
            Some((_, known)) => self.may_open(rule, known) || self.opens_by_group(known),
            None => self.organizations.is_none() || rule.is_exact(),
        };
        let rules = RuleId::all().zip(&self.allow).filter(|(_, rule)| rule.terms().is_some());
        rules.filter(move |(_, rule)| asked.matches(rule, Effect::Allow) && may_open(rule))
    }

    /// Whether a rule of `allow` with conditions may open an operation.
    fn may_fulfil(&self, id: RuleId, operation: &Operation) -> bool {
        let rule = self.allow.get(id.index());
        rule.is_some_and(|rule| {
            let opens = self.may_open(rule, operation) || self.opens_by_group(operation);
            opens && rule.fit(operation, Effect::Allow) != Match::Never
        })
    }

    fn fit_of(&self, id: RuleId, operation: &Operation) -> Match {
        self.allow.get(id.index()).map_or(Match::Never, |rule| rule.fit(operation, Effect::Allow))
    }

    /// The verdict on a request that asks for the values of secure fields and is otherwise open.
    pub(super) fn verdict_on_secure_values(&self, open: OpenedBy, asked: &JudgedRequest<'_>) -> Verdict {
        let denies = |rule: &Rule| rule.is_of_secure_values() && asked.matches(rule, Effect::Deny);
        if let Some(rule) = position(&self.deny, denies) {
            return Err(ClosedBy::Rule(rule));
        }
        let lifted = match open {
            OpenedBy::Scopes | OpenedBy::Rule(_) => self.lifts(asked),
            OpenedBy::Conditions(_) => self.conditional(asked).next().is_some(),
        };
        if lifted { Ok(open) } else { Err(ClosedBy::SecureValues) }
    }

    /// Whether a group, or a rule of `allow` without conditions, says that a request may ask for the values of secure fields.
    fn lifts(&self, asked: &JudgedRequest<'_>) -> bool {
        let names = |rule: &Rule| rule.is_of_secure_values() || rule.names_secure_values();
        let allows = |rule: &Rule| rule.terms().is_none() && names(rule) && asked.matches(rule, Effect::Allow);
        self.groups.contains(&SECURE_VALUES) || self.allow.iter().any(allows)
    }
}

/// The rules that a request for an operation may match, up to the first that always does. What is about secure values
/// as such is judged apart.
fn relevant(rules: &[Rule], operation: &Operation, effect: Effect, counts: impl Fn(&Rule) -> bool) -> Candidates {
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
    Candidates::new(found, rules, operation)
}

fn matching(rules: &[Rule], asked: &JudgedRequest<'_>, effect: Effect) -> Option<RuleId> {
    position(rules, |rule| !rule.is_of_secure_values() && asked.matches(rule, effect))
}

fn position(rules: &[Rule], holds: impl Fn(&Rule) -> bool) -> Option<RuleId> {
    RuleId::all().zip(rules).find(|(_, rule)| holds(rule)).map(|(id, _)| id)
}

/// What an operation that the catalogue lacks is taken to need: `monitoring` to read, `management` to write.
pub(super) fn assumed_scope(method: &Method) -> Scope {
    if method == Method::GET { Scope::Monitoring } else { Scope::Management }
}
