//! `routes`: the operations, and what each listener or caller may do with them.

use std::collections::BTreeSet;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::table::{Format, columns};
use crate::config::policy_target::PolicyTarget;
use crate::proxy::policy::catalog::{Operation, OperationId, Risk, Scope};
use crate::proxy::policy::group::Group;
use crate::proxy::policy::review::{Oddity, RuleList, review};
use crate::proxy::policy::rule::{Effect, Match, Rule};
use crate::proxy::policy::{ClosedBy, OpenedBy, OperationVerdict, Policy, RuleId, is_write};
use crate::tools::explain::{fence, fence_json, operation};

/// Which operations are shown, and how.
#[derive(Debug, Args)]
pub(super) struct Selection {
    /// Include operations that are not allowed, with the reason
    #[arg(long)]
    all: bool,
    /// Only operations of this group; may be repeated
    #[arg(long = "group", value_name = "NAME", value_parser = parse_group)]
    groups: Vec<&'static Group>,
    /// Only operations that need this scope
    #[arg(long, value_name = "NAME", value_parser = parse_scope)]
    scope: Option<Scope>,
    /// Only operations of this risk: low, medium, high, critical; may be repeated
    #[arg(long = "risk", value_name = "NAME", value_parser = parse_risk)]
    risks: Vec<Risk>,
    /// Only operations with this decision; implies --all
    #[arg(long, value_name = "DECISION")]
    decision: Option<Openness>,
    /// How to print [default: table on a terminal, tsv in a pipe: listener, caller, method, path, scope, group, risk, decision, reason]
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
}

/// What a listener makes of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Openness {
    /// Every request passes
    Open,
    /// No request passes
    Closed,
    /// A request passes if the conditions of a rule hold
    Conditional,
    /// It depends on values in the path or query
    Depends,
}

impl Openness {
    fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Conditional => "conditional",
            Self::Depends => "depends",
        }
    }
}

fn parse_group(name: &str) -> Result<&'static Group, String> {
    Group::find(name).ok_or_else(|| format!("valid groups are {}", Group::names().join(", ")))
}

fn parse_scope(name: &str) -> Result<Scope, String> {
    Scope::parse(name).ok_or_else(|| format!("valid scopes are {}", Scope::ALL.map(Scope::as_str).join(", ")))
}

fn parse_risk(name: &str) -> Result<Risk, String> {
    Risk::parse(name).ok_or_else(|| format!("valid risks are {}", Risk::ALL.map(Risk::as_str).join(", ")))
}

/// The operations of each listener and caller, as selected.
pub(super) fn routes(targets: &[PolicyTarget<'_>], selection: &Selection, json: bool) -> String {
    let rows: Vec<RouteRow<'_>> = targets.iter().flat_map(|target| rows(target, selection)).collect();
    match Format::choose(selection.format, json) {
        Format::Json => format!("{}\n", Value::from(rows.iter().map(RouteRow::json).collect::<Vec<_>>())),
        Format::Tsv => rows.iter().map(|row| format!("{}\n", row.cells().join("\t"))).collect(),
        Format::Table => {
            let mut cells: Vec<[String; 8]> =
                vec![["LISTENER", "METHOD", "PATH", "SCOPE", "GROUP", "RISK", "DECISION", "REASON"].map(str::to_owned)];
            cells.extend(rows.iter().map(|row| {
                let [listener, caller, rest @ ..] = row.cells();
                let name = if caller.is_empty() { listener } else { format!("{listener}.callers.{caller}") };
                let [method, path, scope, group, risk, decision, reason] = rest;
                [name, method, path, scope, group, risk, decision, reason]
            }));
            columns(&cells)
        }
    }
}

/// What a listener or caller makes of an operation, or of a rule that the catalogue has no operation for.
struct RouteRow<'a> {
    target: &'a PolicyTarget<'a>,
    entry: RouteEntry<'a>,
    openness: Openness,
    why: String,
}

enum RouteEntry<'a> {
    Operation(&'a Operation),
    Rule(&'a Rule),
}

fn rows<'a>(target: &'a PolicyTarget<'a>, selection: &Selection) -> Vec<RouteRow<'a>> {
    let policy = target.policy();
    let mut rows: Vec<_> = policy
        .catalog()
        .iter()
        .filter(|(_, operation)| selection.shows(operation))
        .map(|(id, operation)| {
            let (openness, mut why) = decision(policy, id, operation);
            if target.tries_writes() && is_write(&operation.method) && openness != Openness::Closed {
                why += "; dry run: not sent";
            }
            RouteRow { target, entry: RouteEntry::Operation(operation), openness, why }
        })
        .collect();
    if selection.is_of_all_operations() {
        rows.extend(uncatalogued(policy).map(|rule| RouteRow {
            target,
            entry: RouteEntry::Rule(rule),
            openness: Openness::Open,
            why: match target.tries_writes() {
                true => "by a rule of allow; not in the catalogue; dry run: writes are not sent".to_owned(),
                false => "by a rule of allow; not in the catalogue".to_owned(),
            },
        }));
    }
    rows.retain(|row| match selection.decision {
        Some(wanted) => row.openness == wanted,
        None => selection.all || row.openness != Openness::Closed,
    });
    rows
}

/// The rules of `allow` that speak of nothing that the catalogue has.
fn uncatalogued(policy: &Policy) -> impl Iterator<Item = &Rule> {
    let findings = review(policy).into_iter();
    let names: BTreeSet<_> = findings
        .filter(|finding| finding.list == RuleList::Allow && matches!(finding.oddity, Oddity::Uncatalogued(_)))
        .map(|finding| finding.entry)
        .collect();
    policy.rules().allow.iter().filter(move |rule| names.contains(&*rule.text()))
}

impl Selection {
    fn shows(&self, operation: &Operation) -> bool {
        (self.groups.is_empty() || self.groups.contains(&operation.group))
            && self.scope.is_none_or(|scope| scope == operation.scope)
            && (self.risks.is_empty() || self.risks.contains(&operation.risk))
    }

    fn is_of_all_operations(&self) -> bool {
        self.groups.is_empty() && self.scope.is_none() && self.risks.is_empty()
    }
}

impl RouteRow<'_> {
    fn operation(&self) -> Option<&Operation> {
        match self.entry {
            RouteEntry::Operation(operation) => Some(operation),
            RouteEntry::Rule(_) => None,
        }
    }

    fn cells(&self) -> [String; 9] {
        let (listener, caller) = (self.target.listener.name.clone(), self.target.caller().unwrap_or_default());
        let columns = match self.entry {
            RouteEntry::Operation(Operation { method, template, scope, group, risk, .. }) => {
                [method.as_str(), template, scope.as_str(), group.name, risk.as_str()].map(str::to_owned)
            }
            RouteEntry::Rule(rule) => {
                let text = rule.to_string();
                let (methods, path) = text.split_once(' ').unwrap_or(("*", &text));
                [methods, path, "", "", ""].map(str::to_owned)
            }
        };
        let [method, path, scope, group, risk] = columns;
        let decision = self.openness.as_str().to_owned();
        [listener, caller.to_owned(), method, path, scope, group, risk, decision, self.why.clone()]
    }

    fn json(&self) -> Value {
        let mut row = match self.entry {
            RouteEntry::Operation(known) => operation(known),
            RouteEntry::Rule(rule) => json!({ "rule": rule.to_string() }),
        };
        if let Value::Object(members) = &mut row {
            let open = match self.openness {
                Openness::Open => Value::Bool(true),
                Openness::Closed => Value::Bool(false),
                Openness::Conditional | Openness::Depends => Value::Null,
            };
            let caller = self.target.caller().map_or(Value::Null, Value::from);
            members.extend([
                ("listener".to_owned(), Value::from(self.target.listener.name.as_str())),
                ("caller".to_owned(), caller),
                ("open".to_owned(), open),
                ("decision".to_owned(), Value::from(self.openness.as_str())),
                ("why".to_owned(), Value::from(self.why.as_str())),
                ("fence".to_owned(), fence_json(self.target.policy(), self.operation())),
            ]);
        }
        row
    }
}

/// What the rules with conditions ask of requests for an operation, of the listener and of its caller.
fn conditions(policy: &Policy, operation: &Operation) -> String {
    let layers = policy.ceiling().map(|ceiling| &**ceiling).into_iter().chain([policy]);
    let rules = layers.flat_map(|layer| &layer.rules().allow);
    let rules = rules.filter(|rule| rule.fit(operation, Effect::Allow) != Match::Never);
    let asked = rules.filter_map(|rule| Some(format!("allow {:?} if {}", rule.to_string(), rule.terms()?)));
    asked.collect::<Vec<_>>().join("; ")
}

fn decision(policy: &Policy, id: OperationId, operation: &Operation) -> (Openness, String) {
    let rule = |rules: &[Rule], id: RuleId| rules.get(id.index()).map(ToString::to_string).unwrap_or_default();
    let note = match policy.user_of(Some(id)) {
        Some(user) => format!("; token of the user {}", user.name),
        None if operation.user_context => "; NinjaOne may want a user (user_context_required)".to_owned(),
        None => String::new(),
    };
    let fence_note = fence(policy, Some(operation), true);
    let note = fence_note.map_or_else(String::new, |fence| format!("; {fence}")) + &note;
    let rules = policy.rules();
    match policy.verdict(id) {
        OperationVerdict::Depends => {
            (Openness::Depends, format!("on values in the path or query (allow or deny){note}"))
        }
        OperationVerdict::Conditional | OperationVerdict::Open(OpenedBy::Conditions(_)) => {
            (Openness::Conditional, format!("{}{note}", conditions(policy, operation)))
        }
        OperationVerdict::Open(OpenedBy::Scopes) => (Openness::Open, format!("scope and group{note}")),
        OperationVerdict::Open(OpenedBy::Rule(id)) => {
            (Openness::Open, format!("allow {:?}{note}", rule(&rules.allow, id)))
        }
        OperationVerdict::Closed(closed_by) => {
            let why = match closed_by {
                ClosedBy::Scopes => format!("needs the scope {}", operation.scope),
                ClosedBy::Groups if operation.group.guarded => {
                    format!("the group {} stays closed unless it is named", operation.group)
                }
                ClosedBy::Groups => format!("the group {} is not listed", operation.group),
                ClosedBy::Rule(id) => format!("deny {:?}", rule(&rules.deny, id)),
                ClosedBy::Fence => fence(policy, Some(operation), false).unwrap_or_default(),
                ClosedBy::SecureValues => "the values of secure fields are not open".to_owned(),
                ClosedBy::Conditions(id) => {
                    format!("allow {:?} has conditions that do not fit", rule(&rules.allow, id))
                }
            };
            (Openness::Closed, why)
        }
        OperationVerdict::ClosedByListener => (Openness::Closed, "the listener closes it".to_owned()),
    }
}
