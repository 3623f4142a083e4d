//! What one listener or caller needs as rules, as TOML and JSON, and how that differs from its rules today.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::named;
use crate::cli::counted;
use crate::config::policy_target::PolicyTarget;
use crate::observe::usage::Count;
use crate::proxy::authn::key::NewKey;
use crate::proxy::policy::catalog::{Catalog, OperationId, Risk, ScopeSet};
use crate::proxy::policy::coverage::{self, Cover, SecureUse, UsedOperation};
use crate::proxy::policy::query::SECURE;
use crate::proxy::policy::rule::{Effect, Match, Rule};
use crate::proxy::policy::{Groups, Rules};
use crate::proxy::response;

/// A listener, or a caller of it, that used something.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct UsedTarget {
    pub(super) listener: String,
    pub(super) caller: Option<String>,
}

/// A rule with conditions, as it is in the configuration.
pub(super) struct KeptRule {
    pub(super) rule: Rule,
    pub(super) toml: String,
}

/// What one listener or caller needs, and what it has.
pub(super) struct LearnedRules {
    pub(super) target: UsedTarget,
    cover: Cover,
    /// Rules with conditions, which decide about some of the operations, and stay.
    kept: Vec<KeptRule>,
    operations: BTreeSet<OperationId>,
    requests: u64,
    unknown: Vec<String>,
    /// What was used, and the fence closes.
    tenant_wide: Vec<String>,
    /// For a caller that is not there yet.
    pub(super) key: Option<NewKey>,
    /// Today's rules and what they open, if the listener or caller is there.
    pub(super) today: Option<Today>,
    /// Whether the rules may stay, and only the mode changes.
    pub(super) mode_only: bool,
}

/// What a listener or caller may do before the rules are written.
pub(super) struct Today {
    rules: Rules,
    observes: bool,
    open: BTreeSet<OperationId>,
}

impl LearnedRules {
    pub(super) fn new(
        target: UsedTarget,
        used: &BTreeMap<String, Count>,
        targets: &[PolicyTarget<'_>],
        (catalog, kept): (&Catalog, Vec<KeptRule>),
    ) -> Self {
        let mut wanted = UsedOperation::default();
        let mut unknown = Vec::new();
        for (operation, count) in used {
            match (named(catalog, operation), Rule::parse(operation)) {
                (Some(id), _) => drop(wanted.operations.insert(id, secure_use(count))),
                (None, Ok(_)) => drop(wanted.rules.insert(operation.clone())),
                (None, Err(_)) => unknown.push(operation.clone()),
            }
        }
        let UsedTarget { listener, caller } = &target;
        let policy = targets.iter().find_map(|known| {
            let here = known.listener.name == *listener;
            let own = caller.is_none() || known.caller() == caller.as_deref();
            let policy = if caller.is_none() { &known.listener.policy } else { known.policy() };
            (here && own).then_some(policy)
        });
        let today = policy.map(|policy| Today {
            rules: policy.rules().clone(),
            observes: policy.observes(),
            open: catalog.iter().map(|(id, _)| id).filter(|id| policy.may_open(*id)).collect(),
        });
        let requests = used.values().map(|count| count.requests).sum();
        let of_listener = targets.iter().map(|known| known.listener).find(|known| known.name == *listener);
        let fence = policy.or(of_listener.map(|known| &*known.policy)).and_then(|policy| policy.organizations());
        let is_tenant_wide =
            |id: &OperationId| fence.is_some() && catalog.get(*id).is_some_and(|known| known.fencing.rules.is_none());
        let is_open = |id: &OperationId| today.as_ref().is_some_and(|today| today.open.contains(id));
        // Nobody opens what a fence closes but a person, by its name.
        let closed = wanted.take(|id| is_tenant_wide(id) && !is_open(id));
        let tenant_wide = closed.iter().filter_map(|id| catalog.name(*id)).map(|name| name.to_string()).collect();
        let operations = wanted.operations.keys().copied().collect();
        let decides = |kept: &KeptRule, id: &OperationId| {
            catalog.get(*id).is_some_and(|operation| kept.rule.fit(operation, Effect::Allow) != Match::Never)
        };
        let used = wanted.operations.clone();
        let kept: Vec<_> = kept.into_iter().filter(|kept| used.keys().any(|id| decides(kept, id))).collect();
        wanted.operations.retain(|id, _| !kept.iter().any(|kept| decides(kept, id)));
        let by_name = wanted.take(is_tenant_wide);
        let mut cover = coverage::cover(catalog, &wanted);
        let named = |id: OperationId| Some((catalog.name(id)?.to_string(), vec![id]));
        cover.allow.extend(by_name.into_iter().filter_map(named));
        let scopes = used.keys().filter_map(|id| Some(catalog.get(*id)?.scope));
        cover.scopes = cover.scopes.iter().chain(scopes).collect();
        Self { cover, kept, target, operations, requests, unknown, tenant_wide, key: None, today, mode_only: false }
    }

    pub(super) fn table(&self) -> String {
        response::table(&self.target.listener, self.target.caller.as_deref())
    }

    pub(super) fn toml(&self, catalog: &Catalog) -> String {
        let Self { operations, requests, .. } = self;
        let risks = risks(catalog, operations.iter());
        let mut text = format!(
            "\n# {}, {}; {risks}\n{}[{}]\n",
            counted(operations.len() as u64, "operation"),
            counted(*requests, "request"),
            self.key_comment(),
            self.table()
        );
        for (key, value) in self.keys(catalog) {
            text += &format!("{key} = {value}\n");
        }
        for operation in &self.unknown {
            text += &format!("# {operation} was used, and is neither an operation of this catalogue nor a rule\n");
        }
        for operation in &self.tenant_wide {
            text += &format!(
                "# {operation} was used, and stays closed: it is tenant-wide, and organizations is set; to open it, unchecked, add it to allow by name\n"
            );
        }
        text + &self.difference(catalog)
    }

    /// The keys of the table, each with its value in TOML.
    pub(super) fn keys(&self, catalog: &Catalog) -> Vec<(&'static str, String)> {
        let Self { cover, key, .. } = self;
        let rule =
            |(rule, ids): &(String, Vec<OperationId>)| format!("    {},{}\n", quoted(rule), marks(catalog, rule, ids));
        let kept = self.kept.iter().map(|kept| format!("    {},\n", kept.toml));
        let allow: String = cover.allow.iter().map(rule).chain(kept).collect();
        let key = key.iter().map(|key| ("key", quoted(&key.hash().to_string())));
        let mode = self.observes().then(|| ("mode", quoted("enforce")));
        let rules = [
            ("scopes", array(scopes(cover.scopes))),
            ("groups", array(cover.groups.iter().cloned())),
            ("allow", format!("[\n{allow}]")),
            ("deny", array(cover.deny.iter().cloned())),
        ];
        key.chain(mode).chain(rules.into_iter().filter(|_| !self.mode_only)).collect()
    }

    /// Whether this is a listener that refuses nothing by its rules today.
    pub(super) fn observes(&self) -> bool {
        self.target.caller.is_none() && self.today.as_ref().is_some_and(|today| today.observes)
    }

    /// The new key of a caller that is not there yet, as a comment.
    pub(super) fn key_comment(&self) -> String {
        let (Some(key), Some(caller)) = (&self.key, &self.target.caller) else { return String::new() };
        format!(
            "# The key of {caller}. It is shown only here; it works once these rules are in the configuration: {}\n",
            key.expose()
        )
    }

    /// Whether all that was used is open already.
    pub(super) fn is_open_today(&self) -> bool {
        let Some(today) = &self.today else { return false };
        // Values of secure fields, and what the catalogue lacks, are open only by a rule of their own.
        let allowed: BTreeSet<String> = today.rules.allow.iter().map(Rule::to_string).collect();
        let is_by_rule = |rule: &str, ids: &[OperationId]| ids.is_empty() || is_of_secure_values(rule);
        self.operations.is_subset(&today.open)
            && self.cover.allow.iter().all(|(rule, ids)| !is_by_rule(rule, ids) || allowed.contains(rule))
    }

    /// What changes against today, as comments.
    pub(super) fn difference(&self, catalog: &Catalog) -> String {
        let Some(Today { rules, open, .. }) = &self.today else {
            return format!("# [{}] is not in this configuration.\n", self.table());
        };
        let mut lines = vec!["Against today:".to_owned()];
        if self.observes() {
            lines.extend(["- mode = \"observe\"".to_owned(), "+ mode = \"enforce\"".to_owned()]);
        }
        if self.mode_only {
            lines.push("from now on the listener enforces its rules, for all of its callers".to_owned());
            return lines.iter().map(|line| format!("# {line}\n")).collect();
        }
        let rule = |rule: &Rule| rule.to_string();
        let kept = self.kept.iter().map(|kept| kept.rule.to_string());
        let own = self.cover.allow.iter().map(|(rule, _)| rule.clone()).chain(kept);
        for (key, old, new) in [
            ("scopes", array(scopes(rules.scopes)), array(scopes(self.cover.scopes))),
            ("groups", array(groups(&rules.groups)), array(self.cover.groups.iter().cloned())),
            ("allow", array(rules.allow.iter().map(rule)), array(own)),
            ("deny", array(rules.deny.iter().map(rule)), array(self.cover.deny.iter().cloned())),
        ] {
            if old != new {
                lines.extend([format!("- {key} = {old}"), format!("+ {key} = {new}")]);
            }
        }
        let closed = || open.difference(&self.operations);
        lines.push(format!(
            "closes {} of {} open operations: {}",
            closed().count(),
            open.len(),
            risks(catalog, closed())
        ));
        let opened = self.operations.difference(open).filter_map(|id| Some((id, catalog.get(*id)?)));
        for (id, operation) in opened {
            let name = catalog.name(*id).map(|name| name.to_string()).unwrap_or_default();
            lines.push(format!("opens {name} ({}, {}), which is closed today", operation.group, operation.risk));
        }
        lines.iter().map(|line| format!("# {line}\n")).collect()
    }

    pub(super) fn json(&self, catalog: &Catalog) -> Value {
        let names = |ids: &mut dyn Iterator<Item = &OperationId>| -> Vec<String> {
            ids.filter_map(|id| catalog.name(*id)).map(|name| name.to_string()).collect()
        };
        let allow = self.cover.allow.iter().map(|(rule, ids)| {
            json!({ "rule": rule, "operations": names(&mut ids.iter()), "risk": highest(catalog, ids).map(Risk::as_str) })
        });
        let (closes, opens) = match &self.today {
            Some(Today { open, .. }) => {
                (names(&mut open.difference(&self.operations)), names(&mut self.operations.difference(open)))
            }
            None => Default::default(),
        };
        json!({
            "listener": self.target.listener, "caller": self.target.caller, "requests": self.requests,
            "scopes": scopes(self.cover.scopes).collect::<Vec<_>>(), "groups": self.cover.groups,
            "allow": allow.collect::<Vec<_>>(), "deny": self.cover.deny, "closes": closes, "opens": opens,
            "unknown": self.unknown, "tenantWide": self.tenant_wide,
        })
    }
}

fn secure_use(count: &Count) -> SecureUse {
    match (count.secure_values, count.doubtful) {
        (0, _) => SecureUse::No,
        (_, 0) => SecureUse::Plain,
        (_, _) => SecureUse::Doubtful,
    }
}

fn scopes(scopes: ScopeSet) -> impl Iterator<Item = String> {
    scopes.iter().map(|scope| scope.as_str().to_owned()).collect::<Vec<_>>().into_iter()
}

fn groups(groups: &Groups) -> Vec<String> {
    match groups {
        Groups::Ordinary => Vec::new(),
        Groups::Only(listed) if listed.is_empty() => vec![crate::proxy::policy::group::NONE.to_owned()],
        Groups::Only(listed) => listed.iter().map(|group| group.name.to_owned()).collect(),
    }
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn array(entries: impl IntoIterator<Item = String>) -> String {
    format!("[{}]", entries.into_iter().map(|entry| quoted(&entry)).collect::<Vec<_>>().join(", "))
}

fn risks<'a>(catalog: &Catalog, ids: impl Iterator<Item = &'a OperationId>) -> String {
    let risks: Vec<_> = ids.filter_map(|id| Some(catalog.get(*id)?.risk)).collect();
    let count = |risk: &Risk| risks.iter().filter(|own| *own == risk).count();
    Risk::ALL.iter().rev().map(|risk| format!("{} {risk}", count(risk))).collect::<Vec<_>>().join(", ")
}

fn highest(catalog: &Catalog, ids: &[OperationId]) -> Option<Risk> {
    ids.iter().filter_map(|id| Some(catalog.get(*id)?.risk)).max()
}

fn is_of_secure_values(rule: &str) -> bool {
    rule.contains(SECURE) || rule.starts_with("group:secure")
}

/// The comment after a rule: what it opens, and how dangerous that is.
fn marks(catalog: &Catalog, rule: &str, ids: &[OperationId]) -> String {
    let group = ids.first().and_then(|id| Some(catalog.get(*id)?.group.name));
    match (group, highest(catalog, ids)) {
        _ if is_of_secure_values(rule) => "  # values of secure fields, CRITICAL".to_owned(),
        (Some(group), Some(Risk::Critical)) => format!("  # {group}, CRITICAL"),
        (Some(group), Some(Risk::High)) => format!("  # {group}, HIGH"),
        (Some(group), Some(risk)) => format!("  # {group}, {risk}"),
        _ => "  # not in the catalogue".to_owned(),
    }
}
