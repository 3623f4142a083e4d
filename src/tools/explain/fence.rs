//! What a fence of organizations makes of an operation, for people and for programs.

use serde_json::{Value, json};

use crate::proxy::policy::Policy;
use crate::proxy::policy::catalog::{FenceClass, Operation, OperationName};

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
