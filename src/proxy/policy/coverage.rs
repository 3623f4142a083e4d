//! The smallest rules that open just the operations that were used.

use std::collections::{BTreeMap, BTreeSet};

use http::Method;

use super::catalog::{Catalog, Operation, OperationId, OperationName, Scope, ScopeSet};
use super::group::{self, Group, SECURE_VALUES};
use super::query::SECURE;
use super::rule::{METHODS, Rule};

/// What was used.
#[derive(Debug, Clone, Default)]
pub struct UsedOperation {
    /// Operations of the catalogue.
    pub operations: BTreeMap<OperationId, SecureUse>,
    /// Rules for what the catalogue lacks.
    pub rules: BTreeSet<String>,
}

impl UsedOperation {
    /// Takes out the operations of which this holds.
    pub fn take(&mut self, holds: impl Fn(&OperationId) -> bool) -> Vec<OperationId> {
        let taken: Vec<_> = self.operations.keys().copied().filter(holds).collect();
        self.operations.retain(|id, _| !taken.contains(id));
        taken
    }
}

/// Whether an operation was used to ask for the values of secure fields.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum SecureUse {
    /// Never.
    #[default]
    No,
    /// Yes, by the name that NinjaOne documents.
    Plain,
    /// In some readings of the query only.
    Doubtful,
}

/// What a listener or caller needs, as it is written in the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cover {
    /// `scopes`.
    pub scopes: ScopeSet,
    /// `groups`; never empty, which would mean nearly all.
    pub groups: Vec<String>,
    /// `allow`, each with the operations that it opens.
    pub allow: Vec<(String, Vec<OperationId>)>,
    /// `deny`.
    pub deny: Vec<String>,
}

/// The fewest entries that open what is wanted, and nothing else of the catalogue.
pub fn cover(catalog: &Catalog, wanted: &UsedOperation) -> Cover {
    let mut cover = Cover { scopes: scopes(catalog, wanted), ..Cover::default() };
    let mut singly: Vec<Member<'_>> = Vec::new();
    for group in Group::all() {
        let members: Vec<Member<'_>> = catalog
            .iter()
            .filter(|(_, operation)| operation.group == group && cover.scopes.contains(operation.scope))
            .map(|(id, operation)| (id, operation, wanted.operations.contains_key(&id)))
            .collect();
        if members.iter().any(|(.., used)| *used) {
            singly.extend(cover.open(group, members));
        }
    }
    // Methods of one template may be in several groups.
    cover.allow.extend(by_template(singly.iter()));
    for (id, secure) in &wanted.operations {
        if *secure == SecureUse::Plain
            && let Some(operation) = catalog.get(*id)
        {
            cover.allow.push((format!("{}?{SECURE}", OperationName(operation)), vec![*id]));
        }
    }
    if wanted.operations.values().any(|secure| *secure == SecureUse::Doubtful) {
        cover.allow.push((format!("group:{SECURE_VALUES}"), Vec::new()));
    }
    cover.allow.extend(wanted.rules.iter().map(|rule| (rule.clone(), Vec::new())));
    if cover.groups.is_empty() {
        cover.groups.push(group::NONE.to_owned());
    }
    cover
}

/// An operation of a group, and whether it was used.
type Member<'a> = (OperationId, &'a Operation, bool);

impl Cover {
    /// Opens the used members of a group by method, or all with exceptions; or returns them, if one by one takes least.
    /// What says most exactly what it opens wins among equals.
    fn open<'a>(&mut self, group: &'static Group, members: Vec<Member<'a>>) -> Vec<Member<'a>> {
        let singly = by_template(members.iter().filter(|(.., used)| *used));
        let others = by_template(members.iter().filter(|(.., used)| !used));
        let methods: BTreeSet<&str> =
            members.iter().filter(|(.., used)| *used).map(|(_, operation, _)| operation.method.as_str()).collect();
        let has_used_method = |operation: &Operation| methods.contains(operation.method.as_str());
        let by_method = members.iter().all(|(_, operation, used)| *used == has_used_method(operation));
        if by_method && !others.is_empty() && singly.len() > 1 {
            let methods: Vec<_> = METHODS.iter().map(Method::as_str).filter(|name| methods.contains(name)).collect();
            let ids = members.iter().filter(|(.., used)| *used).map(|(id, ..)| *id).collect();
            self.allow.push((format!("{} group:{group}", methods.join(",")), ids));
        } else if singly.len() > 1 + others.len() {
            self.groups.push(group.name.to_owned());
            self.deny.extend(others.into_iter().map(|(rule, _)| rule));
        } else {
            return members.into_iter().filter(|(.., used)| *used).collect();
        }
        Vec::new()
    }
}

/// A rule for each template, with its methods together.
fn by_template<'a>(members: impl Iterator<Item = &'a Member<'a>>) -> Vec<(String, Vec<OperationId>)> {
    let mut templates: BTreeMap<&str, Vec<(&Method, OperationId)>> = BTreeMap::new();
    for (id, operation, _) in members {
        templates.entry(&operation.template).or_default().push((&operation.method, *id));
    }
    let rule = |(template, mut own): (&str, Vec<(&Method, OperationId)>)| {
        own.sort_by_key(|(method, _)| METHODS.iter().position(|known| known == *method));
        let methods: Vec<_> = own.iter().map(|(method, _)| method.as_str()).collect();
        (format!("{} {template}", methods.join(",")), own.iter().map(|(_, id)| *id).collect())
    };
    templates.into_iter().map(rule).collect()
}

fn scopes(catalog: &Catalog, wanted: &UsedOperation) -> ScopeSet {
    let known = wanted.operations.keys().filter_map(|id| Some(catalog.get(*id)?.scope));
    let rules = wanted.rules.iter().filter_map(|rule| Rule::parse(rule).ok());
    let assumed = rules.flat_map(|rule| super::rules::needed_scopes(&rule, catalog));
    let scopes: ScopeSet = known.chain(assumed).collect();
    // Without a scope there is no token.
    if scopes == ScopeSet::default() { [Scope::Monitoring].into_iter().collect() } else { scopes }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::super::path::Target;
    use super::super::{Groups, InstanceId, Policy, Rules};
    use super::*;

    fn compile(catalog: &Arc<Catalog>, cover: &Cover) -> Policy {
        let parse = |rule: &String| Rule::parse(rule).expect("a rule");
        let listed = cover.groups.iter().filter(|name| *name != group::NONE);
        let groups = Groups::Only(listed.map(|name| Group::find(name).expect("a group")).collect());
        let allow = cover.allow.iter().map(|(rule, _)| parse(rule)).collect();
        let rules = Rules {
            scopes: cover.scopes,
            groups,
            allow,
            deny: cover.deny.iter().map(parse).collect(),
            organizations: None,
        };
        Policy::new(Arc::clone(catalog), InstanceId(0), rules).expect("a policy")
    }

    fn wanted(catalog: &Catalog, operations: &[(&str, &str)]) -> UsedOperation {
        let find = |(method, template): &(&str, &str)| {
            let same = |o: &Operation| o.method.as_str() == *method && o.template == *template;
            catalog.iter().find(|(_, o)| same(o)).expect("known").0
        };
        let operations = operations.iter().map(|operation| (find(operation), SecureUse::No)).collect();
        UsedOperation { operations, rules: BTreeSet::new() }
    }

    fn rules(cover: &Cover) -> Vec<&str> {
        cover.allow.iter().map(|(rule, _)| rule.as_str()).collect()
    }

    #[test]
    fn cover_names_single_operations_methods_of_a_group_or_the_group_with_exceptions() {
        let catalog = Catalog::built_in().expect("good");
        let few = cover(&catalog, &wanted(&catalog, &[("GET", "/v2/devices"), ("GET", "/v2/device/{id}")]));
        assert_eq!((few.groups.as_slice(), few.deny.len()), (&["none".to_owned()][..], 0));
        assert_eq!(rules(&few), ["GET /v2/device/{id}", "GET /v2/devices"]);
        let tags = cover(&catalog, &wanted(&catalog, &[("GET", "/v2/tag"), ("POST", "/v2/tag")]));
        assert_eq!(rules(&tags), ["GET,POST /v2/tag"]);
        let all_but = |left_out: &str| {
            let queries = catalog.operations().iter().filter(|o| o.group.name == "queries" && o.template != left_out);
            let queries: Vec<_> = queries.map(|o| (o.method.as_str(), o.template.as_str())).collect();
            cover(&catalog, &wanted(&catalog, &queries))
        };
        let most = all_but("/v2/queries/disks");
        assert_eq!((most.groups, most.deny), (vec!["queries".to_owned()], vec!["GET /v2/queries/disks".to_owned()]));
        let tickets = catalog.operations().iter().filter(|o| o.group.name == "tickets" && o.method == Method::GET);
        let mut reads: Vec<_> = tickets.map(|o| (o.method.as_str(), o.template.as_str())).collect();
        reads.push(("POST", "/v2/tag"));
        assert_eq!(rules(&cover(&catalog, &wanted(&catalog, &reads))), ["GET group:tickets", "POST /v2/tag"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn cover_opens_what_was_used_and_nothing_else(picks in prop::collection::vec((0_usize..315, 0_u8..9), 0..60)) {
            let catalog = Arc::new(Catalog::built_in().expect("good"));
            let ids: Vec<_> = catalog.iter().map(|(id, _)| id).collect();
            let secure = |pick: u8, id: OperationId| {
                let report = catalog.get(id).expect("known").template.starts_with("/v2/queries/custom");
                if report && pick == 0 { SecureUse::Plain } else { SecureUse::No }
            };
            let operations: BTreeMap<_, _> = picks.iter().map(|(i, pick)| (ids[*i], secure(*pick, ids[*i]))).collect();
            let cover = cover(&catalog, &UsedOperation { operations: operations.clone(), rules: BTreeSet::new() });
            let policy = compile(&catalog, &cover);
            for id in ids {
                prop_assert_eq!(policy.may_open(id), operations.contains_key(&id), "{:?}", catalog.name(id).map(|n| n.to_string()));
                let Some(operation) = catalog.get(id).filter(|o| o.template.starts_with("/v2/queries/custom")) else { continue };
                let uri = format!("{}?{SECURE}=true", operation.template).parse().expect("a target");
                let passes = policy.decide(&Method::GET, &Target::canonical(&uri).expect("canonical")).is_ok();
                prop_assert_eq!(passes, operations.get(&id) == Some(&SecureUse::Plain));
            }
        }
    }
}
