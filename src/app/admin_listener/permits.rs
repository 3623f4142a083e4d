//! The rules with conditions as the page shows them.

use std::sync::Arc;
use std::time::SystemTime;

use crate::base::state::StateFolder;
use crate::config::ListenerConfig;
use crate::proxy::policy::Policy;
use crate::proxy::policy::rule::Rule;
use crate::proxy::uses::{self, SharedUses};
use crate::tools::admin::view::PermitView;

/// As rows of the page, those of each listener before those of its callers.
/// `shared` knows the uses of all replicas.
pub(super) fn views(listeners: &[Arc<ListenerConfig>], shared: Option<&SharedUses>) -> Vec<PermitView> {
    let of_listener = |listener: &Arc<ListenerConfig>| {
        let of_callers = listener.callers.iter();
        let of_callers =
            of_callers.flat_map(|caller| of(&listener.name, Some(&caller.entry.name), &caller.policy, shared));
        of(&listener.name, None, &listener.policy, shared).into_iter().chain(of_callers).collect::<Vec<_>>()
    };
    listeners.iter().flat_map(of_listener).collect()
}

fn of(listener: &str, caller: Option<&str>, policy: &Policy, shared: Option<&SharedUses>) -> Vec<PermitView> {
    policy.rules().allow.iter().filter_map(|rule| view(listener, caller, rule, shared)).collect()
}

fn view(listener: &str, caller: Option<&str>, rule: &Rule, shared: Option<&SharedUses>) -> Option<PermitView> {
    let terms = rule.terms()?;
    let used = uses::key(&rule.text(), terms, listener, caller).and_then(|key| {
        let of_all = shared.and_then(|shared| shared.used(&key));
        of_all.or_else(|| uses::used(&StateFolder::find().ok()?.uses(), &key))
    });
    let is_used_up = used.zip(terms.max_uses).is_some_and(|(used, max)| used >= u64::from(max.get()));
    let is_over = terms.expires.as_ref().is_some_and(|expiry| expiry.at <= SystemTime::now());
    let reason = terms.reason.as_ref().map_or_else(String::new, |reason| format!("; reason: {reason}"));
    Some(PermitView {
        listener: listener.to_owned(),
        caller: caller.map(str::to_owned),
        rule: rule.to_string(),
        conditions: format!("{terms}{reason}"),
        used,
        ended: is_used_up || is_over,
    })
}
