//! Refusals of requests that the policy does not permit.

use http::Method;

use super::problem::Refusal;
use super::refusal_table::RefusalKind;
use super::{CONSOLE, JudgedBy, RefusalContext, table};
use crate::proxy::policy::catalog::{MethodSet, OperationName};
use crate::proxy::policy::conditions::Unmet;
use crate::proxy::policy::path::{MalformedTarget, Target};
use crate::proxy::policy::query::SECURE;
use crate::proxy::policy::rule_trace::{self, Change, Edit};
use crate::proxy::policy::spelling::plain_path;
use crate::proxy::policy::{Denied, DenyReason, PolicyRefusal};

pub(super) fn refusal(refusal: &PolicyRefusal, scene: &RefusalContext<'_>) -> Refusal {
    match refusal {
        PolicyRefusal::Malformed(malformed) => malformed_target(*malformed, scene),
        PolicyRefusal::UnknownOperation => Refusal::new(RefusalKind::OperationUnknown, unknown_detail(scene)),
        PolicyRefusal::MethodNotAllowed { allowed } => Refusal {
            methods: Some(*allowed),
            ..Refusal::new(RefusalKind::MethodNotAllowed, no_such_method(scene, *allowed))
        },
        PolicyRefusal::Closed(closed) => closed_refusal(closed, scene),
    }
}

fn closed_refusal(closed: &Denied, scene: &RefusalContext<'_>) -> Refusal {
    let listener = scene.listener;
    let caller = scene.caller.filter(|_| !closed.by_listener);
    let who = caller.map_or_else(|| format!("the listener {listener}"), |name| format!("the caller {name}"));
    let table = table(listener, caller);
    let operation = scene.operation.map_or_else(|| format!("{} {}", scene.method, scene.path), |name| name.to_string());
    let why = match &closed.barrier {
        DenyReason::Scope { missing, open } => {
            format!("{operation} needs the scope {missing}, and {who} has only: {open}.")
        }
        DenyReason::Group(group) => {
            let guarded = if group.guarded { " (it stays closed unless it is named)" } else { "" };
            format!("{operation} is in the group {group}, which is not open to {who}{guarded}.")
        }
        DenyReason::Rule(rule) => {
            format!("{operation} is closed by the rule {rule:?} in deny of [{table}]. deny wins over everything.")
        }
        DenyReason::TenantWide(organizations) => format!(
            "{operation} is closed to {who}, which is kept to {}: {}. A rule that names the operation opens it, and then for the data of ALL organizations.",
            organizations.named(),
            scene.operation.map_or("the catalog does not know it", |name| name.0.fencing.reason.as_str()),
        ),
        DenyReason::Conditions(found) => return unmet(&operation, (&found.rule, &found.why), &table),
        DenyReason::SecureValues => format!(
            "The request asks for the values of secure fields ({SECURE}), which are not open to {who}. Leave the parameter out."
        ),
    };
    let detail = match advice(scene) {
        Some(advice) if matches!(closed.barrier, DenyReason::SecureValues) => {
            format!("{why} Or, to allow it, {advice}.")
        }
        Some(advice) => format!("{why} To allow it, {advice}."),
        // A rule of the listener opens what its caller's rules, and NinjaOne, do not know.
        None => known_methods(scene).map_or(why.clone(), |known| format!("{why} {}", no_such_method(scene, known))),
    };
    Refusal::new(kind(&closed.barrier), detail)
}

fn no_such_method(scene: &RefusalContext<'_>, known: MethodSet) -> String {
    format!("NinjaOne's API has no {} on this path; it has {known}.", scene.method)
}

/// The methods of a path that is known, where that of the request is not among them.
fn known_methods(scene: &RefusalContext<'_>) -> Option<MethodSet> {
    let JudgedBy { policy, uri, .. } = scene.judged.filter(|_| scene.operation.is_none())?;
    let place = policy.catalog().at(&Target::canonical(uri).ok()?.segments().ok()?).ok()?;
    (!place.is_empty()).then(|| place.methods())
}

/// All changes that the configuration needs before the request passes; `None` if no change makes it pass.
fn advice(scene: &RefusalContext<'_>) -> Option<String> {
    let JudgedBy { policy, method, uri } = scene.judged?;
    let changes = rule_trace::turn(policy, method, &Target::canonical(uri).ok()?);
    let group = scene.operation.map(|name| name.0.group);
    // A group opens none of these.
    let is_tenant_wide =
        policy.organizations().is_some() && scene.operation.is_some_and(|name| name.0.fencing.rules.is_none());
    let mut steps: Vec<String> = Vec::new();
    for Change { to_listener, edit } in &changes {
        let table = table(scene.listener, scene.caller.filter(|_| !to_listener));
        steps.push(match (edit, group) {
            (Edit::AddScope(scope), _) => format!("add {:?} to scopes in [{table}]", scope.as_str()),
            (Edit::AddAllow(rule), Some(group)) if !rule.contains([':', '?']) && !is_tenant_wide => {
                format!("add {rule:?} or \"group:{group}\" to allow in [{table}]")
            }
            (Edit::AddAllow(rule), _) => format!("add {rule:?} to allow in [{table}]"),
            (Edit::AddDeny(rule), _) => format!("add {rule:?} to deny in [{table}]"),
            (Edit::RemoveDeny(rule), _) => format!("remove or narrow {rule:?} in deny of [{table}]"),
        });
    }
    let scope = changes.iter().find_map(|change| match change.edit {
        Edit::AddScope(scope) => Some(scope),
        Edit::AddAllow(_) | Edit::AddDeny(_) | Edit::RemoveDeny(_) => None,
    });
    if let Some(scope) = scope {
        let what = if steps.len() == 1 { "it".to_owned() } else { format!("the scope {scope}") };
        steps.push(format!("grant {what} to the API client app in NinjaOne ({CONSOLE})"));
    }
    let last = steps.pop()?;
    Some(if steps.is_empty() { last } else { format!("{} and {last}", steps.join(", ")) })
}

/// The row of what keeps a request closed.
pub(super) fn kind(barrier: &DenyReason) -> RefusalKind {
    match barrier {
        DenyReason::Scope { .. } => RefusalKind::ScopeMissing,
        DenyReason::Group(_) => RefusalKind::GroupNotOpen,
        DenyReason::Rule(_) => RefusalKind::RuleDenied,
        DenyReason::SecureValues => RefusalKind::SecureValuesNotOpen,
        DenyReason::TenantWide(_) => RefusalKind::OperationTenantWide,
        DenyReason::Conditions(unmet) => kind_of_unmet(&unmet.why),
    }
}

fn kind_of_unmet(why: &Unmet) -> RefusalKind {
    match why {
        Unmet::Reading => RefusalKind::RuleDoubtful,
        Unmet::Expired(_) => RefusalKind::RuleExpired,
        Unmet::Body(_) | Unmet::Unreadable(_) => RefusalKind::BodyNotOpen,
        Unmet::TooLarge(_) => RefusalKind::BodyTooLargeToJudge,
        Unmet::UsedUp(_) => RefusalKind::RuleUsedUp,
        Unmet::Approval => RefusalKind::ApprovalNeeded,
    }
}

/// The refusal of a request for which no rule with conditions is fulfilled.
fn unmet(operation: &str, (rule, why): (&str, &Unmet), table: &str) -> Refusal {
    let change = match why {
        Unmet::Reading => "Write each parameter of the query once, as the rule has it.".to_owned(),
        Unmet::Expired(_) => {
            format!("To open it again, write a later time into expires of this rule in allow of [{table}].")
        }
        Unmet::Body(_) => format!("Send what the rule wants, or change body of this rule in allow of [{table}]."),
        Unmet::Unreadable(_) => {
            "Send plain JSON (RFC 8259) in UTF-8 with Content-Type: application/json, not compressed, each key once."
                .to_owned()
        }
        Unmet::TooLarge(_) => "Send a smaller body, or raise judged-body in [limits].".to_owned(),
        Unmet::UsedUp(_) => format!("To open it again, raise max-uses of this rule in allow of [{table}]."),
        Unmet::Approval => "The listener would ask a person.".to_owned(),
    };
    let detail =
        format!("{operation} is open only under conditions: the rule {rule:?} in allow of [{table}] {why}. {change}");
    Refusal::new(kind_of_unmet(why), detail)
}

fn malformed_target(malformed: MalformedTarget, scene: &RefusalContext<'_>) -> Refusal {
    let plain = || plain_path(scene.path).map(|path| format!("Send {path:?}."));
    let advice = if let MalformedTarget::Spelling { operation, depth } = malformed {
        let known = scene.judged.and_then(|judged| judged.policy.catalog().get(operation));
        known.and_then(|operation| {
            let wanted = operation.segments.get(usize::from(depth))?.wanted();
            Some(format!("{} has {wanted} as segment {} of its path.", OperationName(operation), depth + 1))
        })
    } else {
        plain()
    };
    let advice =
        advice.unwrap_or_else(|| "Send the path as NinjaOne documents it, such as /v2/device/7/disks.".to_owned());
    let detail = format!(
        "The request target is refused because servers could read it in more than one way: {malformed}. {advice}"
    );
    Refusal::new(RefusalKind::TargetMalformed, detail)
}

fn unknown_detail(scene: &RefusalContext<'_>) -> String {
    let target = scene.judged.and_then(|judged| Target::canonical(judged.uri).ok());
    let path = target.as_ref().map_or(scene.path, Target::path);
    let catalog = scene.judged.map(|judged| judged.policy.catalog());
    if !path.starts_with("/v2/") {
        let below = catalog.filter(|catalog| catalog.find(&Method::GET, &format!("/v2{path}")).is_some());
        let meant = below.map_or("Try /v2/organizations.".to_owned(), |_| format!("Did you mean /v2{path}?"));
        return format!("{path:?} is not below /v2/, where NinjaOne's API is. {meant}");
    }
    let nearest = catalog
        .zip(target.as_ref())
        .zip(scene.judged)
        .and_then(|((catalog, target), judged)| catalog.nearest(judged.method, &target.segments().ok()?));
    let advice = advice(scene).map(|advice| format!(" If NinjaOne has it anyway, {advice}."));
    format!(
        "This proxy knows no operation with the path {path:?}.{}{} \"ninjaone-proxy routes --all\" lists all known ones.",
        nearest.map(|nearest| format!(" {nearest}")).unwrap_or_default(),
        advice.unwrap_or_default(),
    )
}
