//! `explain`: what would happen to a request, and why.

use std::fmt::Write;

use anyhow::Context;
use http::{Method, Uri};
use serde_json::json;

use super::Policies;
use crate::policy::catalog::{Operation, OperationId};
use crate::policy::path::{Segments, Target};
use crate::policy::{Policy, Refusal};
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
        Ok((_, id)) => *id,
        Err(refusal) => refusal.operation().or_else(|| known(policy, method, uri)),
    };
    let operation = id.and_then(|id| policy.catalog().get(id));
    let (open, reason) = match &judged {
        Ok((_, None)) => (true, "allowed by a rule of allow; the catalogue does not know it".to_owned()),
        Ok((_, Some(_))) => (true, "allowed by scopes, groups or a rule of allow".to_owned()),
        Err(refusal) => {
            let scopes = policy.scopes().to_string();
            let scene = Scene {
                listener,
                scopes: &scopes,
                instance: "the instance",
                method: method.as_str(),
                path: uri.path(),
                request_id: "",
                operation: id.and_then(|id| policy.catalog().name(id)),
            };
            let (status, code, detail) = foretell(&Rejection::Policy(Refusal::clone(refusal)), &scene);
            (false, format!("{} {code}: {detail}", status.as_u16()))
        }
    };
    let request = match &judged {
        Ok((target, _)) => format!("{method} {target}"),
        Err(_) => format!(
            "{method} {}",
            Target::canonical(uri).map_or(uri.to_string(), |t| t.into_path_and_query().to_string())
        ),
    };
    Told { listener, request, operation, open, reason }
}

/// The operation of a path whose request is refused for another reason.
fn known(policy: &Policy, method: &Method, uri: &Uri) -> Option<OperationId> {
    let target = Target::canonical(uri).ok()?;
    let segments: Segments<'_> = target.segments().ok()?;
    let here = policy.catalog().at(&segments).ok()?;
    here.iter().copied().find(|id| policy.catalog().get(*id).is_some_and(|operation| operation.method == *method))
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
                    "\nnote       NinjaOne refuses it to client credentials (user_context_required)"
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
