//! `routes`: the table of operations and what each listener makes of them.

use std::fmt::Write;

use serde_json::json;

use super::Subject;
use crate::policy::catalog::{Operation, OperationId};
use crate::policy::{Policy, Verdict};

/// A table for people, or JSON; with the closed operations too if `all`.
pub(super) fn routes(subjects: &[Subject<'_>], all: bool, json: bool) -> String {
    let rows = subjects.iter().flat_map(|subject| {
        let policy = subject.policy();
        policy
            .catalog()
            .iter()
            .filter(move |(id, _)| all || policy.may_open(*id))
            .map(move |(id, operation)| (subject, operation, decision(policy, id, operation)))
    });
    if json {
        let rows: Vec<_> = rows
            .map(|(subject, operation, (open, why))| {
                json!({
                    "listener": subject.listener.name, "caller": subject.caller(), "method": operation.method.as_str(), "path": operation.template,
                    "scope": operation.scope.as_str(), "group": operation.group, "risk": operation.risk.as_str(),
                    "idempotent": operation.idempotent, "userContext": operation.user_context, "open": open, "why": why,
                })
            })
            .collect();
        return format!("{}\n", serde_json::Value::from(rows));
    }
    let mut table = String::new();
    for (subject, operation, (_, why)) in rows {
        let name = subject.name();
        let Operation { method, template, scope, group, risk, .. } = operation;
        // Writing to a string cannot fail.
        let _ = writeln!(
            table,
            "{name:<8} {method:<6} {template:<74} {scope:<10} {group:<24} {risk:<8} {why}",
            method = method.as_str()
        );
    }
    for subject in subjects {
        let (name, policy) = (subject.name(), subject.policy());
        for rule in policy.allow().iter().filter(|rule| policy.is_uncatalogued(rule)) {
            let _ = writeln!(table, "{name:<8} allow  {rule} (not in the catalogue)");
        }
    }
    table
}

fn decision(policy: &Policy, id: OperationId, operation: &Operation) -> (Option<bool>, String) {
    let rule = |rules: &[crate::policy::rule::Rule], index: usize| {
        rules.get(index).map(ToString::to_string).unwrap_or_default()
    };
    let note = if operation.user_context { " (NinjaOne may want a user: user_context_required)" } else { "" };
    let Some(verdict) = policy.verdict(id) else {
        return (None, format!("depends on values in the path (allow or deny){note}"));
    };
    let why = match verdict {
        Verdict::InScope => format!("open{note}"),
        Verdict::Allowed(index) => format!("open by allow {:?}{note}", rule(policy.allow(), index)),
        Verdict::AboveCeiling => format!("closed: needs scope {}", operation.scope),
        Verdict::OutsideGroups => format!("closed: group {} is not listed", operation.group),
        Verdict::Denied(index) => format!("closed by deny {:?}", rule(policy.deny(), index)),
        Verdict::AboveListener => "closed by the listener".to_owned(),
    };
    (Some(verdict.is_open()), why)
}
