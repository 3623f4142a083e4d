//! What a fence of organizations makes of an operation, for people and for programs.

use http::request::Parts;
use http::uri::PathAndQuery;
use serde_json::{Value, json};

use crate::proxy::fence::{EntityId, FenceError, request};
use crate::proxy::policy::body::JsonBody;
use crate::proxy::policy::catalog::{EntityKind, FenceClass, FenceRules, Operation, OperationName};
use crate::proxy::policy::{Organizations, Policy};

/// What a fence makes of a request, as far as that is known without NinjaOne; `None` if it lets it pass.
pub(super) fn judge(
    (organizations, rules): (&Organizations, &FenceRules),
    operation: &Operation,
    (head, body): (&Parts, Option<&[u8]>),
    target: &PathAndQuery,
) -> Result<Option<String>, FenceError> {
    let mut named = request::named(operation, rules, target)?;
    let mut open = Vec::new();
    match (body, request::needed_in_body(rules)) {
        (Some(body), _) if !body.is_empty() => {
            let json = JsonBody::read(&head.headers, body).map_err(FenceError::BodyUnreadable)?;
            named.extend(request::named_in_body(rules, &json)?);
        }
        (_, Some(pointer)) => open.push(format!("what is at {pointer:?} in the body, which --body FILE gives")),
        (_, None) => {}
    }
    for (kind, entity) in named {
        let EntityId(id) = entity;
        match kind {
            EntityKind::Organization if organizations.contains_id(entity) => {}
            EntityKind::Organization => return Err(FenceError::Outside),
            EntityKind::Alert | EntityKind::EndUserUid => open.push(format!("whose the {} is", kind.as_str())),
            EntityKind::Location
            | EntityKind::Device
            | EntityKind::EndUser
            | EntityKind::Contact
            | EntityKind::Ticket
            | EntityKind::Document
            | EntityKind::Checklist
            | EntityKind::Article => open.push(format!("whose the {} {id} is", kind.as_str())),
        }
    }
    let why = format!(
        "it depends on {}: the proxy asks NinjaOne when the request comes, and what is outside gets 404 not-in-organizations",
        open.join(", and ")
    );
    Ok(Some(why).filter(|_| !open.is_empty()))
}

/// One line; nothing without a fence. `is_open`: whether a rule has opened what the fence closes.
pub fn fence(policy: &Policy, operation: Option<&Operation>, is_open: bool) -> Option<String> {
    let organizations = policy.organizations()?;
    let checks = match operation.map(|known| (known, &known.fencing.rules)) {
        Some((_, Some(rules))) => rules.describe(),
        Some((known, None)) if is_open => format!("nothing is checked, since {}", known.fencing.reason),
        Some((known, None)) => format!(
            "closed, since {}; {:?} in allow opens it, and then nothing of it is checked",
            known.fencing.reason,
            OperationName(known).to_string()
        ),
        None if is_open => "nothing is checked, since the catalog does not know it".to_owned(),
        None => "closed, since the catalog does not know it".to_owned(),
    };
    Some(format!("organizations {organizations}: {checks}"))
}

/// The same for programs; null without a fence.
pub fn fence_json(policy: &Policy, operation: Option<&Operation>) -> Value {
    let Some(organizations) = policy.organizations() else { return Value::Null };
    let class = operation.map_or(FenceClass::Closed, |known| known.fencing.class());
    json!({
        "organizations": organizations.ids(),
        "class": class.as_str(),
        "checks": operation.and_then(|known| Some(known.fencing.rules.as_ref()?.describe())),
        "reason": operation.map(|known| known.fencing.reason.as_str()),
    })
}
