//! What the conditions of rules make of a request that is explained.

use std::time::SystemTime;

use http::request::Parts;

use super::explanation::ExplainedRule;
use crate::base::state::StateFolder;
use crate::config::policy_target::PolicyTarget;
use crate::proxy::policy::PolicyRefusal;
use crate::proxy::policy::body::JsonBody;
use crate::proxy::policy::conditions::{ConditionalRule, Conditions, Evidence};
use crate::proxy::uses;

/// A request whose conditions were judged as far as they can be without sending it.
pub(super) struct JudgedConditions {
    /// Whether it passes; `None` if that depends on its body, or on a person.
    pub(super) open: Option<bool>,
    /// Why, unless it is refused.
    pub(super) reason: String,
    /// Why it is refused.
    pub(super) refusal: Option<PolicyRefusal>,
    pub(super) rules: Vec<ExplainedRule>,
}

pub(super) fn judge(
    target: &PolicyTarget<'_>,
    conditions: &Conditions,
    head: &Parts,
    body: Option<&[u8]>,
) -> JudgedConditions {
    let used = |rule: &ConditionalRule| {
        let caller = target.caller().filter(|_| !rule.by_listener);
        let key = uses::key(&rule.text, &rule.terms, &target.listener.name, caller)?;
        uses::used(&StateFolder::find().ok()?.uses(), &key)
    };
    let is_used_up = |rule: &ConditionalRule| {
        used(rule).zip(rule.terms.max_uses).is_some_and(|(used, max)| used >= u64::from(max.get()))
    };
    let json = body.map(|body| JsonBody::read(&head.headers, body));
    let evidence = Evidence { now: SystemTime::now(), body: json.as_ref(), is_used_up: &is_used_up };
    let rules = conditions.rules().map(|rule| ExplainedRule { rule: rule.clone(), used: used(rule) }).collect();
    let judged = |open, reason: &str, refusal| JudgedConditions { open, reason: reason.to_owned(), refusal, rules };
    match conditions.judge(&evidence) {
        Err(_) if target.policy().observes() => {
            judged(Some(true), "the listener only observes its rules: their conditions do not hold", None)
        }
        Err(denied) => judged(Some(false), "", Some(denied.into())),
        Ok(_) if body.is_none() && conditions.judging_body().is_some() => {
            judged(None, "it depends on the body of the request: give one by --body FILE", None)
        }
        Ok(chosen) if chosen.iter().any(|rule| rule.terms.approval) => {
            judged(None, "a person must approve the request before it is sent", None)
        }
        Ok(_) => judged(Some(true), "the conditions of the rule hold", None),
    }
}
