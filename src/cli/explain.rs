//! `explain`: what would happen to a request, and why.

use std::fmt::Write;

use anyhow::Context;
use http::{Method, Uri};
use serde_json::json;

use super::Policies;
use crate::policy::catalog::Operation;
use crate::policy::path::Target;
use crate::policy::{Policy, Refusal, Verdict};
use crate::response::{Rejection, Scene, foretell};

/// The answer of every listener, for people or as JSON. Fails for what is no method or no target at all.
pub(super) fn explain(policies: &Policies, method: &str, path: &str, json: bool) -> anyhow::Result<String> {
    let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes())
        .with_context(|| format!("{method:?} is no request method: write GET, POST, PUT, PATCH or DELETE"))?;
    let target: Uri = path
        .parse()
        .ok()
        .filter(|uri: &Uri| uri.authority().is_none() || uri.scheme().is_some())
        .with_context(|| format!("{path:?} is no request target: write a path such as /v2/device/7/disks"))?;
    let told: Vec<Told> = policies.iter().map(|(listener, policy)| tell(listener, policy, &method, &target)).collect();
    if json {
        let told: Vec<_> = told.iter().map(Told::json).collect();
        return Ok(format!("{}\n", serde_json::Value::from(told)));
    }
    Ok(told.iter().map(Told::text).collect::<Vec<_>>().join("\n"))
}

struct Told<'a> {
    listener: &'a str,
    request: String,
    operation: Option<&'a Operation>,
    open: bool,
    reason: String,
}

fn tell<'a>(listener: &'a str, policy: &'a Policy, method: &Method, uri: &Uri) -> Told<'a> {
    let judged = policy.foretell(method, uri);
    let id = match &judged {
        Ok(passage) => passage.operation,
        Err(refusal) => refusal.operation(),
    };
    let operation = id.and_then(|id| policy.catalog().get(id));
    let (open, reason) = match &judged {
        Ok(passage) => (true, why_open(policy, passage.verdict, operation)),
        Err(refusal) => (false, why_refused(listener, policy, method, uri, refusal)),
    };
    let request = match &judged {
        Ok(passage) => format!("{method} {}", passage.target),
        Err(_) => {
            let target = Target::canonical(uri).map(|target| target.into_path_and_query().to_string());
            format!("{method} {}", target.unwrap_or_else(|_| uri.to_string()))
        }
    };
    Told { listener, request, operation, open, reason }
}

fn why_open(policy: &Policy, verdict: Verdict, operation: Option<&Operation>) -> String {
    let rule = match verdict {
        Verdict::Allowed(index) => policy.allow().get(index),
        Verdict::InScope | Verdict::AboveCeiling | Verdict::OutsideGroups | Verdict::Denied(_) => None,
    };
    match (rule, operation) {
        (Some(rule), Some(_)) => format!("the rule {:?} of allow opens it", rule.to_string()),
        (Some(rule), None) => {
            format!("the rule {:?} of allow opens it; the catalogue does not know it", rule.to_string())
        }
        (None, Some(operation)) => format!("the scope {} and the group {} are open", operation.scope, operation.group),
        (None, None) => "it is open".to_owned(),
    }
}

fn why_refused(listener: &str, policy: &Policy, method: &Method, uri: &Uri, refusal: &Refusal) -> String {
    let scopes = policy.scopes().to_string();
    let scene = Scene {
        listener,
        scopes: &scopes,
        instance: "",
        method: method.as_str(),
        path: uri.path(),
        request_id: "",
        operation: refusal.operation().and_then(|id| policy.catalog().name(id)),
    };
    let (status, code, detail) = foretell(&Rejection::Policy(refusal.clone()), &scene);
    format!("{} {code}: {detail}", status.as_u16())
}

impl Told<'_> {
    fn text(&self) -> String {
        let mut text = format!("listener   {}\nrequest    {}\n", self.listener, self.request);
        // Writing to a string cannot fail.
        let _ = match self.operation {
            Some(Operation { method, template, scope, group, risk, user_context, .. }) => writeln!(
                text,
                "operation  {method} {template}\nscope      {scope}\ngroup      {group}\nrisk       {risk}{}",
                if *user_context {
                    "\nnote       NinjaOne may refuse it to client credentials, which have no user (user_context_required)"
                } else {
                    ""
                }
            ),
            None => writeln!(text, "operation  none of the catalogue"),
        };
        let _ =
            writeln!(text, "decision   {}\nreason     {}", if self.open { "allowed" } else { "refused" }, self.reason);
        text
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "listener": self.listener,
            "request": self.request,
            "operation": self.operation.map(|operation| json!({
                "method": operation.method.as_str(), "path": operation.template, "scope": operation.scope.as_str(),
                "group": operation.group, "risk": operation.risk.as_str(), "idempotent": operation.idempotent,
                "userContext": operation.user_context,
            })),
            "allowed": self.open,
            "reason": self.reason,
        })
    }
}
