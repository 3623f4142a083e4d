//! The explanation of a request, for people and for programs.

use serde_json::{Value, json};

use super::fence::{fence, fence_json};
use super::quotas::AppliedQuota;
use crate::config::policy_target::PolicyTarget;
use crate::proxy::policy::catalog::{Operation, OperationName};
use crate::proxy::policy::conditions::ConditionalRule;
use crate::proxy::policy::dry_run::DryRun;
use crate::proxy::policy::rule::{Effect, RuleEffect, Terms};
use crate::proxy::policy::rule_trace::{Change, RuleTrace};
use crate::proxy::response;

/// Where a request stops that is one to NinjaOne.
const FENCED_GATES: [&str; 3] = ["policy", "conditions", "fence"];

/// The explanation of a request for one policy target.
#[derive(Debug)]
pub struct Explanation<'a> {
    pub(super) subject: &'a PolicyTarget<'a>,
    pub(super) request: String,
    pub(super) operation: Option<&'a Operation>,
    /// Where the request stops; `None` if it goes on to NinjaOne.
    pub(super) gate: Option<&'static str>,
    /// Whether it passes; `None` if that depends on conditions.
    pub(super) open: Option<bool>,
    pub(super) reason: String,
    /// What became of each rule; empty if no rule was asked.
    pub(super) considered: Vec<RuleTrace<'a>>,
    /// What would turn the decision.
    pub(super) changes: Vec<Change>,
    /// The rules with conditions that may open it.
    pub(super) conditions: Vec<ExplainedRule>,
    /// The person whose token it gets; `None`: it gets the machine's.
    pub(super) user: Option<&'a str>,
    /// The quotas that it needs one of.
    pub(super) quotas: Vec<AppliedQuota>,
    /// It is only tried.
    pub(super) dry_run: Option<DryRun>,
}

/// A rule with conditions that may open a request.
#[derive(Debug)]
pub(super) struct ExplainedRule {
    pub(super) rule: ConditionalRule,
    /// How often it was used, if its uses are limited and can be counted.
    pub(super) used: Option<u64>,
}

impl ExplainedRule {
    fn text(&self) -> String {
        let Terms { reason, .. } = &*self.rule.terms;
        let used = self.used.map_or_else(String::new, |used| format!(" ({used} used)"));
        let reason = reason.as_ref().map_or_else(String::new, |reason| format!("; reason: {reason}"));
        format!("{}{used}{reason}", self.rule.terms)
    }
}

impl Explanation<'_> {
    /// The name of the subject.
    pub fn name(&self) -> String {
        self.subject.name()
    }

    /// Whether the request is answered as its sender wants.
    pub fn is_open(&self) -> bool {
        self.open != Some(false)
    }

    fn decision(&self) -> &'static str {
        match self.open {
            Some(true) => "allowed",
            Some(false) => "refused",
            None => "conditional",
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        self.lines().iter().map(|(name, value)| format!("{name:<10} {value}\n")).collect()
    }

    /// For people, line by line, each with what it tells of.
    pub fn lines(&self) -> Vec<(&'static str, String)> {
        let mut lines = vec![("listener", self.subject.listener.name.clone())];
        lines.extend(self.subject.caller().map(|caller| ("caller", caller.to_owned())));
        lines.push(("request", self.request.clone()));
        match self.operation {
            Some(operation) => {
                lines.push(("operation", OperationName(operation).to_string()));
                lines.push(("scope", operation.scope.to_string()));
                lines.push(("group", format!("{} ({})", operation.group, operation.group.description)));
                lines.push(("risk", operation.risk.to_string()));
                lines.extend(operation.reason.iter().map(|reason| ("note", format!("not built in: {reason}"))));
                let no_user = "NinjaOne may refuse it to client credentials, which have no user (user_context_required): sign a person in by ninjaone-proxy login NAME, and write user = NAME into the listener";
                let lacks_user = operation.user_context && self.user.is_none();
                lines.extend(lacks_user.then(|| ("note", no_user.to_owned())));
            }
            None => lines.push(("operation", "none of the catalogue".to_owned())),
        }
        let is_judged = self.gate.is_none_or(|gate| FENCED_GATES.contains(&gate));
        let fence = fence(self.subject.policy(), self.operation, self.is_open()).filter(|_| is_judged);
        lines.extend(fence.map(|fence| ("fence", fence)));
        lines.extend(self.considered.iter().map(|considered| ("rule", self.rule(considered))));
        lines.extend(self.conditions.iter().map(|explained| {
            let ConditionalRule { by_listener, text, .. } = &explained.rule;
            (
                "condition",
                format!("{text:?} in allow of [{}] opens it if {}", self.table(*by_listener), explained.text()),
            )
        }));
        lines.extend(self.gate.map(|gate| ("gate", gate.to_owned())));
        lines.push(("decision", self.decision().to_owned()));
        lines.push(("reason", self.reason.clone()));
        lines.extend(self.user.filter(|_| self.is_open()).map(|user| ("token", format!("that of the user {user}"))));
        let applied = self.quotas.iter().filter(|_| self.open != Some(false));
        lines.extend(applied.map(|quota| ("quota", self.quota(quota))));
        lines.extend(self.dry_run.filter(|_| self.is_open()).map(|_| ("dry run", self.answer().to_owned())));
        lines.extend(self.changes.iter().map(|change| ("change", self.change(change))));
        lines
    }

    fn rule(&self, RuleTrace { by_listener, rule, outcome, effect }: &RuleTrace<'_>) -> String {
        let (list, table) = (list(*effect), self.table(*by_listener));
        format!("{:?} in {list} of [{table}] {outcome}", rule.to_string())
    }

    fn quota(&self, AppliedQuota { of_listener, kind, limit }: &AppliedQuota) -> String {
        let shared = if *of_listener && self.subject.caller().is_some() { ", which all its callers share" } else { "" };
        format!("{} {limit} of [{}]{shared}", kind.as_str(), self.table(*of_listener))
    }

    /// Where the answer to a request comes from that is only tried.
    fn answer(&self) -> &'static str {
        match self.operation {
            Some(_) => "it is not sent to NinjaOne: the answer is invented",
            None => "it is not sent to NinjaOne: 501 dry-run-unknown, since no answer can be invented",
        }
    }

    fn change(&self, change: &Change) -> String {
        format!("in [{}]: {}", self.table(change.to_listener), change.edit)
    }

    fn table(&self, of_listener: bool) -> String {
        response::table(&self.subject.listener.name, self.subject.caller().filter(|_| !of_listener))
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let rule = |considered: &RuleTrace<'_>| {
            json!({
                "table": self.table(considered.by_listener),
                "list": list(considered.effect),
                "rule": considered.rule.to_string(),
                "matches": considered.outcome == RuleEffect::Matches,
                "why": considered.outcome.to_string(),
            })
        };
        let condition = |explained: &ExplainedRule| {
            let ConditionalRule { by_listener, text, terms, .. } = &explained.rule;
            json!({
                "table": self.table(*by_listener), "rule": &**text, "conditions": terms.to_string(),
                "expires": terms.expires.as_ref().map(|expiry| &*expiry.text),
                "maxUses": terms.max_uses, "used": explained.used, "approval": terms.approval,
                "reason": terms.reason.as_deref(),
            })
        };
        let change = |change: &Change| {
            json!({
                "table": self.table(change.to_listener),
                "edit": change.edit.to_string(),
            })
        };
        let quota = |quota: &AppliedQuota| {
            json!({
                "table": self.table(quota.of_listener),
                "counts": quota.kind.as_str(),
                "limit": quota.limit.to_string(),
            })
        };
        json!({
            "listener": self.subject.listener.name,
            "caller": self.subject.caller(),
            "request": self.request,
            "operation": self.operation.map(operation),
            "fence": fence_json(self.subject.policy(), self.operation),
            "rules": self.considered.iter().map(rule).collect::<Vec<_>>(),
            "gate": self.gate,
            "allowed": self.open,
            "decision": self.decision(),
            "conditions": self.conditions.iter().map(condition).collect::<Vec<_>>(),
            "user": self.user,
            "quotas": self.quotas.iter().map(quota).collect::<Vec<_>>(),
            "dryRun": self.dry_run.is_some(),
            "reason": self.reason,
            "changes": self.changes.iter().map(change).collect::<Vec<_>>(),
        })
    }
}

/// An operation for programs.
pub fn operation(operation: &Operation) -> Value {
    json!({
        "method": operation.method.as_str(), "path": operation.template, "scope": operation.scope.as_str(),
        "group": operation.group.name, "risk": operation.risk.as_str(), "idempotent": operation.idempotent,
        "userContext": operation.user_context, "document": operation.document, "classified": operation.reason,
    })
}

fn list(effect: Effect) -> &'static str {
    match effect {
        Effect::Allow => "allow",
        Effect::Deny => "deny",
    }
}
