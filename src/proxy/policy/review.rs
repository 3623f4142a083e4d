//! The review of a policy: rules and groups that do not do what somebody who wrote them would expect.

mod oddity;

use super::catalog::{Catalog, Operation, OperationName};
use super::group::{Group, SECURE_VALUES};
use super::rule::{Effect, Match, Rule};
use super::rules::OperationRow;
use super::{Groups, Policy, Rules};
pub use oddity::{Oddity, Oddness, OperationSlip, RuleList};

/// How alike two templates must be to be taken for a slip, from 0 to 1.
const ALIKE: f64 = 0.9;

/// What is odd about the entries of a policy, in the order of the configuration.
pub fn review(policy: &Policy) -> Vec<Oddness> {
    let review =
        Review { catalog: policy.catalog(), rules: policy.rules(), ceiling: policy.ceiling().map(|own| &**own) };
    let Rules { groups, allow, deny, .. } = review.rules;
    let mut findings = Vec::new();
    if let Groups::Only(listed) = groups {
        for (i, group) in listed.iter().enumerate() {
            let twice = listed.iter().take(i).any(|other| other == group).then_some(Oddity::Twice);
            let oddity = twice.or_else(|| review.group(group));
            findings.extend(oddity.map(|oddity| Oddness {
                list: RuleList::Groups,
                entry: group.name.to_owned(),
                oddity,
            }));
        }
    }
    let mut tell = |list, rule: &Rule, oddity| findings.push(Oddness { list, entry: rule.to_string(), oddity });
    for (i, rule) in allow.iter().enumerate() {
        review.allow(i, rule).into_iter().for_each(|oddity| tell(RuleList::Allow, rule, oddity));
    }
    for (i, rule) in deny.iter().enumerate() {
        review.deny(i, rule).into_iter().for_each(|oddity| tell(RuleList::Deny, rule, oddity));
    }
    findings
}

struct Review<'a> {
    catalog: &'a Catalog,
    rules: &'a Rules,
    ceiling: Option<&'a Policy>,
}

impl<'a> Review<'a> {
    /// Whether the listener, if this is a caller's policy, closes every one of these.
    fn is_above_listener<'b>(&self, mut operations: impl Iterator<Item = &'b Operation>) -> bool {
        let opens = |ceiling: &Policy, operation: &Operation| {
            let same = |own: &&Operation| own.method == operation.method && own.template == operation.template;
            let id = self.catalog.iter().find(|(_, own)| same(own)).map(|(id, _)| id);
            id.is_some_and(|id| ceiling.may_open(id))
        };
        self.ceiling.is_some_and(|ceiling| operations.all(|operation| !opens(ceiling, operation)))
    }

    fn matched(&self, rule: &'a Rule) -> impl Iterator<Item = &'a Operation> + use<'a> {
        self.catalog.operations().iter().filter(|operation| rule.fit(operation, Effect::Allow) != Match::Never)
    }

    fn members(&self, group: &'static Group) -> impl Iterator<Item = &'a Operation> + use<'a> {
        self.catalog.operations().iter().filter(move |operation| operation.group == group)
    }

    fn is_in_scope(&self, operation: &Operation) -> bool {
        self.rules.scopes.contains(operation.scope)
    }

    /// Whether every request for an operation is closed by a rule of `deny`.
    fn is_denied(&self, operation: &Operation) -> bool {
        self.rules.deny.iter().any(|rule| rule.fit(operation, Effect::Deny) == Match::Always)
    }

    fn group(&self, group: &'static Group) -> Option<Oddity> {
        if group == &SECURE_VALUES {
            return (!self.reports_are_open()).then_some(Oddity::NoReports);
        }
        let mut members = self.members(group).peekable();
        if members.peek().is_none() {
            return Some(Oddity::EmptyGroup);
        }
        if !self.members(group).any(|operation| self.is_in_scope(operation)) {
            let mut needed: Vec<_> = members.map(|operation| operation.scope).collect();
            needed.sort_unstable();
            needed.dedup();
            return Some(Oddity::GroupAboveScopes(needed));
        }
        if members.all(|operation| self.is_denied(operation)) {
            return Some(Oddity::GroupDenied);
        }
        if self.members(group).all(|operation| self.rules.is_tenant_wide(operation)) {
            return Some(Oddity::TenantWide);
        }
        self.is_above_listener(self.members(group)).then_some(Oddity::AboveListener)
    }

    /// Whether some operation may be open that has values of secure fields: a report, or custom-field values.
    fn reports_are_open(&self) -> bool {
        let has_values = |operation: &&Operation| operation.template.contains("custom-fields");
        self.catalog.operations().iter().filter(has_values).any(|operation| match self.rules.row(operation) {
            OperationRow::Always(verdict) => verdict.is_ok(),
            OperationRow::Depends(_, closed_by) => closed_by.is_none(),
        })
    }

    fn allow(&self, place: usize, rule: &'a Rule) -> Vec<Oddity> {
        // What is guarded must be named: a rule that does is in the shadow of none that does not.
        let names_more = |other: &Rule| {
            let guarded = |operation: &Operation| operation.group.guarded && rule.names(operation);
            // The same under a fence for what it cannot keep.
            let fenced =
                |operation: &Operation| self.rules.may_open(rule, operation) && !self.rules.may_open(other, operation);
            self.matched(rule).any(|operation| guarded(operation) && !other.names(operation) || fenced(operation))
                || (rule.names_secure_values() && !other.names_secure_values())
        };
        if let Some(other) = shadowing(&self.rules.allow, place, rule).filter(|other| !names_more(other)) {
            return vec![Oddity::Shadowed(other.to_string())];
        }
        let takes_over = |other: &&Rule| other.terms().is_some() && rule.terms().is_none() && other.covers(rule);
        if let Some(other) = self.rules.allow.iter().find(takes_over) {
            return vec![Oddity::TakenOver(other.to_string())];
        }
        if let Some(rule) = self.rules.deny.iter().find(|deny| deny.covers(rule)) {
            return vec![Oddity::DeniedBy(rule.to_string())];
        }
        if rule.is_of_secure_values() {
            return if self.reports_are_open() { Vec::new() } else { vec![Oddity::NoReports] };
        }
        let matched: Vec<_> = self.matched(rule).collect();
        if matched.is_empty() {
            return vec![self.unmatched(rule)];
        }
        self.effect(rule, &matched)
    }

    /// What a rule of `allow` does to the operations that it matches.
    fn effect(&self, rule: &Rule, matched: &[&Operation]) -> Vec<Oddity> {
        let opened: Vec<_> =
            matched.iter().filter(|operation| !operation.group.guarded || rule.names(operation)).collect();
        let ends_open = rule.is_open_ended();
        let guarded =
            guarded_groups(matched.iter().filter(|operation| operation.group.guarded && !rule.names(operation)));
        let open_before = |operation: &&&Operation| self.is_in_scope(operation) && self.rules.opens_by_group(operation);
        if !ends_open {
            if opened.is_empty() {
                return vec![Oddity::OnlyGuarded(guarded)];
            }
            if !opened.iter().any(|operation| self.rules.may_open(rule, operation)) {
                return vec![Oddity::TenantWide];
            }
            if matched.iter().all(|operation| self.is_denied(operation)) {
                return vec![Oddity::Denied];
            }
            if self.is_above_listener(opened.iter().map(|operation| **operation)) {
                return vec![Oddity::AboveListener];
            }
            // One with conditions closes in addition to what it opens.
            if rule.terms().is_none() && opened.iter().all(open_before) && !rule.names_secure_values() {
                return vec![Oddity::AlreadyOpen];
            }
        }
        let above: Vec<_> = opened.iter().filter(|operation| !self.is_in_scope(operation)).collect();
        let partly =
            above.first().map(|operation| Oddity::PartlyAboveScopes { count: above.len(), scope: operation.scope });
        let leaves = (!guarded.is_empty()).then_some(Oddity::LeavesGuarded(guarded));
        ends_open.then_some(Oddity::OpenEnded).into_iter().chain(partly).chain(leaves).collect()
    }

    fn deny(&self, place: usize, rule: &'a Rule) -> Option<Oddity> {
        if let Some(other) = shadowing(&self.rules.deny, place, rule) {
            return Some(Oddity::Shadowed(other.to_string()));
        }
        let narrows_allow = || self.rules.allow.iter().any(|allow| allow.overlaps(rule));
        if rule.is_of_secure_values() || self.matched(rule).next().is_some() || narrows_allow() {
            return None;
        }
        Some(self.unmatched(rule))
    }

    fn unmatched(&self, rule: &Rule) -> Oddity {
        match rule.group() {
            Some(group) if self.members(group).next().is_none() => Oddity::EmptyGroup,
            Some(group) => Oddity::NoSuchMethod(group),
            None => Oddity::Uncatalogued(self.slip(rule)),
        }
    }

    fn slip(&self, rule: &Rule) -> Option<OperationSlip> {
        let operations = self.catalog.operations();
        let here: Vec<_> = operations.iter().filter(|operation| rule.fits_path(operation)).collect();
        if !here.is_empty() {
            let mut methods: Vec<_> = here.iter().map(|operation| operation.method.as_str()).collect();
            methods.sort_unstable();
            methods.dedup();
            return Some(OperationSlip::Method(methods.join(", ")));
        }
        let with_method = || operations.iter().filter(|operation| rule.has_method(&operation.method));
        let misfit = with_method().find_map(|operation| Some((operation, rule.misfit(operation)?)));
        if let Some((operation, (word, kind))) = misfit {
            let (operation, wanted) = (OperationName(operation).to_string(), kind.wanted());
            return Some(OperationSlip::Value { operation, word: word.to_owned(), wanted });
        }
        let likeness = |operation: &Operation| strsim::jaro_winkler(&rule.path_text(), &operation.template);
        let ranked = with_method().map(|operation| (likeness(operation), operation));
        let (best, operation) = ranked.max_by(|a, b| a.0.total_cmp(&b.0))?;
        (best > ALIKE && !rule.is_open_ended()).then(|| OperationSlip::Template(OperationName(operation).to_string()))
    }
}

/// Another rule of the list that matches all that this one matches.
fn shadowing<'a>(rules: &'a [Rule], place: usize, rule: &Rule) -> Option<&'a Rule> {
    let shadows = |(i, other): &(usize, &Rule)| {
        // Of two rules that say the same, the later one is in the shadow.
        let later = *i < place || !rule.covers(other);
        *i != place && other.covers(rule) && later && shadows_as(other, rule, *i < place)
    };
    rules.iter().enumerate().find(shadows).map(|(_, other)| other)
}

/// A rule with conditions is only in the shadow of one before it that asks nothing more.
fn shadows_as(other: &Rule, rule: &Rule, is_before: bool) -> bool {
    match (other.terms(), rule.terms()) {
        (None, None) => true,
        (Some(other), Some(own)) => is_before && (other.is_free() || other == own),
        (None, Some(_)) | (Some(_), None) => false,
    }
}

fn guarded_groups<'a>(operations: impl Iterator<Item = &'a &'a Operation>) -> Vec<&'static Group> {
    let mut groups: Vec<_> = operations.map(|operation| operation.group).collect();
    groups.sort_unstable_by_key(|group| group.name);
    groups.dedup();
    groups
}
