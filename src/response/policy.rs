//! What a caller is told of a request that the policy does not permit.

use http::StatusCode;

use super::{CONSOLE, Row, Scene, row};
use crate::audit::Blame;
use crate::policy::catalog::OperationName;
use crate::policy::group::SECURE_VALUES;
use crate::policy::path::Malformed;
use crate::policy::query::SECURE;
use crate::policy::spelling::plain_path;
use crate::policy::{Barrier, Closed, Refusal};

pub(super) fn row_of(refusal: &Refusal, scene: &Scene<'_>) -> Row {
    match refusal {
        Refusal::Malformed(malformed) => malformed_row(*malformed, scene),
        Refusal::UnknownOperation => {
            row(StatusCode::NOT_FOUND, "operation-unknown", Blame::Caller, "http_request_denied", unknown_detail(scene))
        }
        Refusal::MethodNotAllowed { allowed } => row(
            StatusCode::METHOD_NOT_ALLOWED,
            "method-not-allowed",
            Blame::Caller,
            "http_request_denied",
            format!("NinjaOne's API has no {} on this path; it has {allowed}.", scene.method),
        ),
        Refusal::Closed(closed) => closed_row(closed, scene),
    }
}

fn closed_row(closed: &Closed, scene: &Scene<'_>) -> Row {
    let listener = scene.listener;
    let (who, table) = match scene.caller.filter(|_| !closed.by_listener) {
        Some(name) => (format!("the caller {name}"), format!("listeners.{listener}.callers.{name}")),
        None => (format!("the listener {listener}"), format!("listeners.{listener}")),
    };
    let operation = scene.operation.map_or_else(|| format!("{} {}", scene.method, scene.path), |name| name.to_string());
    let detail = match &closed.barrier {
        Barrier::Scope { missing, open } => format!(
            "{operation} needs the scope {missing}, and {who} has only: {open}. To allow it, add {:?} to scopes in [{table}] and grant it to the API client app in NinjaOne ({CONSOLE}).",
            missing.as_str()
        ),
        Barrier::Group(group) => {
            let guarded = if group.guarded { " (it stays closed unless it is named)" } else { "" };
            format!(
                "{operation} is in the group {group}, which is not open to {who}{guarded}. To allow it, add {operation:?} or \"group:{group}\" to allow in [{table}]."
            )
        }
        Barrier::Rule(rule) => format!(
            "{operation} is closed by the rule {rule:?} in deny of [{table}]. deny wins over everything; to allow the operation, remove or narrow that rule."
        ),
        Barrier::SecureValues => format!(
            "The request asks for the values of secure fields ({SECURE}), which are not open to {who}. Leave the parameter out; or to allow it, add \"group:{SECURE_VALUES}\" to allow in [{table}]."
        ),
    };
    row(StatusCode::FORBIDDEN, code(&closed.barrier), Blame::Caller, "http_request_denied", detail)
}

/// The code of a refusal for what is closed.
pub fn code(barrier: &Barrier) -> &'static str {
    match barrier {
        Barrier::Scope { .. } => "scope-missing",
        Barrier::Group(_) => "group-not-open",
        Barrier::Rule(_) => "rule-denied",
        Barrier::SecureValues => "secure-values-not-open",
    }
}

fn malformed_row(malformed: Malformed, scene: &Scene<'_>) -> Row {
    let plain = || plain_path(scene.path).map(|path| format!("Send {path:?}."));
    let advice = if let Malformed::Spelling { operation, depth } = malformed {
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
    row(StatusCode::BAD_REQUEST, "target-malformed", Blame::Caller, "http_request_error", detail)
}

fn unknown_detail(scene: &Scene<'_>) -> String {
    let (method, path, listener) = (scene.method, scene.path, scene.listener);
    if path.contains("/v2/") {
        format!(
            "No operation that this proxy knows has the path {path:?}. If NinjaOne has it, add \"{method} {path}\" to allow in [listeners.{listener}]; \"ninjaone-proxy routes --all\" lists what is known."
        )
    } else {
        format!("{path:?} is not below /v2/, where NinjaOne's API is. Try /v2/organizations.")
    }
}
