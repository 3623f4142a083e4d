//! What must be so of rules before they make a policy.

use super::super::catalog::{Catalog, OperationName, Scope};
use super::super::refusal::PolicyError;
use super::super::rule::{Effect, METHODS, Match, Rule, Selector};
use super::{Rules, assumed_scope};

impl Rules {
    /// What the group of secure values opens has no operation that conditions could be tied to.
    pub(in super::super) fn check_conditions(&self) -> Result<(), PolicyError> {
        let wrong = self.allow.iter().find(|rule| rule.terms().is_some() && rule.is_of_secure_values());
        wrong.map_or(Ok(()), |rule| Err(PolicyError::ConditionsOnSecureValues { rule: rule.to_string() }))
    }

    /// A rule of `allow` must speak of something below the ceiling, of the catalogue or beyond it.
    pub(in super::super) fn check_ceiling(&self, rule: &Rule, catalog: &Catalog) -> Result<(), PolicyError> {
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
pub(in super::super) fn check_spelling(rule: &Rule, catalog: &Catalog) -> Result<(), PolicyError> {
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

/// The scopes of what a rule speaks of.
pub(in super::super) fn needed_scopes(rule: &Rule, catalog: &Catalog) -> Vec<Scope> {
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
