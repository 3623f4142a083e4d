//! What would happen to a request, at which gate, and why; for the command line and for the status page.

mod conditional;
mod explanation;
mod fence;
mod quotas;

use http::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Uri};

use crate::config::policy_target::PolicyTarget;
use crate::proxy::authn::callers::Callers;
use crate::proxy::authn::local_tokens::LocalTokens;
use crate::proxy::authn::{Authn, AuthnConfig, AuthnError, Destination};
use crate::proxy::policy::catalog::Operation;
use crate::proxy::policy::dry_run::DryRun;
use crate::proxy::policy::path::Target;
use crate::proxy::policy::rule_trace;
use crate::proxy::policy::{OpenedBy, Passage, Policy, PolicyRefusal, Ruling};
use crate::proxy::response::{JudgedBy, RefusalContext, Rejection, preview};
pub use explanation::{Explanation, operation};
pub use fence::{fence, fence_json};

/// The largest head that is explained; the limit of a running proxy is checked by it alone.
const HEAD_SIZE: usize = 1 << 20;

/// Why nothing can be explained.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// It is not a method.
    #[error("{0:?} is not a request method: write GET, POST, PUT, PATCH or DELETE")]
    Method(String),
    /// It is not a target.
    #[error("{0:?} is not a request target: write a path such as /v2/device/7/disks")]
    Target(String),
    /// It is not a field.
    #[error("{0:?} is not a header field: write \"Name: value\"")]
    Field(String),
    /// Something that the system must give.
    #[error("the system gives no randomness")]
    System(#[from] getrandom::Error),
}

/// A request that is explained.
#[derive(Debug, Clone, Copy, Default)]
pub struct ExplainedRequest<'a> {
    /// Its method.
    pub method: &'a str,
    /// Its path, with the query.
    pub path: &'a str,
    /// Its header fields, as `Name: value`.
    pub fields: &'a [String],
    /// Its body, if it is given.
    pub body: Option<&'a [u8]>,
}

/// The answer for every subject. Fails for what is not a method, a target, or a field.
pub fn explain<'a>(
    subjects: &'a [PolicyTarget<'a>],
    request: &ExplainedRequest<'_>,
) -> Result<Vec<Explanation<'a>>, ExplainError> {
    let head = head(request)?;
    let mut told = Vec::new();
    for subject in subjects {
        let guard = guard(subject)?;
        // A key says whose request it is: the other callers are not asked.
        let presented = guard.identify(None, &head.headers);
        if presented.as_ref().is_ok_and(|found| subject.caller() != found.name) {
            continue;
        }
        told.push(explain_subject(subject, &guard, (&head, request.body), presented.map(|_| ())));
    }
    Ok(told)
}

/// The head of the request; without a `Host` of its own, it has that of an absolute target, or is for localhost.
fn head(ExplainedRequest { method, path, fields, body }: &ExplainedRequest<'_>) -> Result<Parts, ExplainError> {
    let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes())
        .map_err(|_| ExplainError::Method((*method).to_owned()))?;
    let target: Uri = path
        .parse()
        .ok()
        .filter(|uri: &Uri| uri.authority().is_none() || uri.scheme().is_some())
        .ok_or_else(|| ExplainError::Target((*path).to_owned()))?;
    let mut request = Request::new(());
    (*request.method_mut(), *request.uri_mut()) = (method, target);
    for field in *fields {
        let read = || {
            let (name, value) = field.split_once(':')?;
            Some((HeaderName::try_from(name.trim()).ok()?, HeaderValue::try_from(value.trim()).ok()?))
        };
        let (name, value) = read().ok_or_else(|| ExplainError::Field(field.clone()))?;
        request.headers_mut().append(name, value);
    }
    if !request.headers().contains_key(HOST) {
        let of_target = request.uri().authority().and_then(|authority| HeaderValue::try_from(authority.as_str()).ok());
        request.headers_mut().insert(HOST, of_target.unwrap_or(HeaderValue::from_static("localhost")));
    }
    if body.is_some() && !request.headers().contains_key(CONTENT_TYPE) {
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    Ok(request.into_parts().0)
}

fn guard(subject: &PolicyTarget<'_>) -> Result<Authn, getrandom::Error> {
    let listener = subject.listener;
    Ok(Authn::new(AuthnConfig {
        names: listener.names.clone(),
        port: listener.place.port(),
        tls: listener.tls.is_some(),
        origins: listener.origins.clone(),
        callers: Callers::new(listener.callers.iter().map(|caller| caller.entry.clone()).collect()),
        issuer: std::sync::Arc::new(LocalTokens::new()?),
        head_size: HEAD_SIZE,
        intercept: listener.intercept.clone(),
    }))
}

fn explain_subject<'a>(
    subject: &'a PolicyTarget<'a>,
    guard: &Authn,
    (head, body): (&Parts, Option<&[u8]>),
    presented: Result<(), AuthnError>,
) -> Explanation<'a> {
    let policy = subject.policy();
    let ruling = policy.rule_on(&head.method, &head.uri);
    let id = match &ruling {
        Ok(ruling) => ruling.operation,
        Err(refusal) => refusal.operation(),
    };
    let operation = id.and_then(|id| policy.catalog().get(id));
    let target = Target::canonical(&head.uri);
    let path = target.as_ref().map_or_else(|_| head.uri.to_string(), ToString::to_string);
    let told = |gate, open: bool, reason| Explanation {
        subject,
        request: format!("{} {path}", head.method),
        operation,
        gate,
        open: Some(open),
        reason,
        considered: Vec::new(),
        changes: Vec::new(),
        conditions: Vec::new(),
        user: None,
        quotas: Vec::new(),
        dry_run: None,
    };
    let stopped = |gate, error| told(Some(gate), false, why_refused(subject, head, &Rejection::Guard(error)));
    match guard.preview(head) {
        Err(error) => return stopped("perimeter", error),
        Ok(Destination::Preflight) => {
            return told(Some("perimeter"), true, "a listed page asks in advance: answered here".into());
        }
        Ok(Destination::OAuth(_)) => {
            let reason = "the local token endpoint answers it: nothing of it goes to NinjaOne";
            return told(Some("token endpoint"), true, reason.to_owned());
        }
        Ok(Destination::Approvals) => {
            let reason = "the proxy itself tells the state of an approval here: nothing of it goes to NinjaOne";
            return told(Some("approvals"), true, reason.to_owned());
        }
        Ok(Destination::Connect) => {
            let reason = "CONNECT opens a connection, and goes to no operation: what comes through it is judged then";
            return told(Some("connect"), true, reason.to_owned());
        }
        Ok(Destination::ProxyConfig) => {
            let reason = "the proxy itself tells which names go through it: nothing of it goes to NinjaOne";
            return told(Some("proxy configuration"), true, reason.to_owned());
        }
        Ok(Destination::Api) => {}
    }
    // Without a key in the request it is explained as if the subject had proved who it is.
    if let Err(error @ AuthnError::WrongKey(_)) = presented {
        return stopped("caller", error);
    }
    let told = match ruling {
        Ok(Ruling { conditions: Some(conditions), .. }) => {
            let judged = conditional::judge(subject, &conditions, head, body);
            let refused = |refusal: &PolicyRefusal| why_refused(subject, head, &Rejection::Policy(refusal.clone()));
            let reason = judged.refusal.as_ref().map_or_else(|| judged.reason.clone(), refused);
            let gate = judged.refusal.as_ref().filter(|_| judged.open == Some(false)).map(|_| "conditions");
            Explanation { open: judged.open, conditions: judged.rules, ..told(gate, true, reason) }
        }
        Ok(Ruling { passage: Passage::Opened(opened_by), .. }) => {
            told(None, true, why_open(policy, opened_by, operation))
        }
        Ok(Ruling { passage: Passage::Overruled(closed), .. }) => {
            let reason = why_refused(subject, head, &Rejection::Policy(closed.into()));
            told(None, true, format!("the listener only observes its rules, which say: {reason}"))
        }
        Err(refusal) => told(Some("policy"), false, why_refused(subject, head, &Rejection::Policy(refusal))),
    };
    let fence = policy.organizations().zip(operation.and_then(|known| Some((known, known.fencing.rules.as_ref()?))));
    let told = match (fence, target.as_ref().ok().and_then(|target| target.to_string().parse().ok())) {
        (Some((organizations, (known, rules))), Some(target)) if told.open != Some(false) => {
            match fence::judge((organizations, rules), known, (head, body), &target) {
                Err(error) => {
                    let reason = why_refused(subject, head, &Rejection::Fence(error));
                    Explanation { gate: Some("fence"), open: Some(false), reason, ..told }
                }
                Ok(Some(reason)) if told.open == Some(true) => Explanation { open: None, reason, ..told },
                Ok(_) => told,
            }
        }
        (Some(_) | None, _) => told,
    };
    let dry_run = DryRun::of(&head.method, &head.headers, subject.tries_writes());
    let quotas = quotas::applicable(subject, &head.method, operation);
    let told = Explanation { user: policy.user_of(id).map(|user| &*user.name), quotas, dry_run, ..told };
    let Ok(target) = target else { return told };
    let turn = |told: &Explanation<'_>| match (told.open, told.conditions.is_empty()) {
        // What the request or the rule must have instead, the reason says.
        (Some(false), false) => Vec::new(),
        _ => rule_trace::turn(policy, &head.method, &target),
    };
    let changes = turn(&told);
    let considered = rule_trace::considered(policy, &head.method, &target).unwrap_or_default();
    Explanation { considered, changes, ..told }
}

fn why_open(policy: &Policy, opened_by: OpenedBy, operation: Option<&Operation>) -> String {
    let rule = match opened_by {
        OpenedBy::Rule(id) | OpenedBy::Conditions(id) => policy.rules().allow.get(id.index()),
        OpenedBy::Scopes => None,
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

fn why_refused(subject: &PolicyTarget<'_>, head: &Parts, rejection: &Rejection) -> String {
    let policy = subject.policy();
    let scopes = policy.scopes().to_string();
    let scene = RefusalContext {
        listener: &subject.listener.name,
        caller: subject.caller(),
        scopes: &scopes,
        // No token is asked for here.
        user: None,
        instance: "",
        method: head.method.as_str(),
        path: head.uri.path(),
        request_id: "",
        operation: rejection.operation().and_then(|id| policy.catalog().name(id)),
        judged: Some(JudgedBy { policy, method: &head.method, uri: &head.uri }),
    };
    let (status, code, detail) = preview(rejection, &scene);
    format!("{} {code}: {detail}", status.as_u16())
}
