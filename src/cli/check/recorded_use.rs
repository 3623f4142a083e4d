//! `check --against`: whether recorded use would pass the rules of the configuration.

use std::path::Path;

use http::{Method, Uri};

use crate::cli::counted;
use crate::cli::learn::named;
use crate::config::policy_target::PolicyTarget;
use crate::observe::usage::{Count, OperationUse, Used};
use crate::proxy::policy::path::Target;
use crate::proxy::policy::query::SECURE;
use crate::proxy::policy::rule::Rule;
use crate::proxy::policy::{OperationVerdict, Policy, PolicyRefusal};
use crate::proxy::response;

/// What recorded use would meet, and whether all of it would pass.
pub(super) fn against(targets: &[PolicyTarget<'_>], used: &Used, file: &Path) -> (String, bool) {
    let mut refused = Vec::new();
    let mut doubtful = Vec::new();
    for (what, count) in used {
        let table = response::table(&what.listener, what.caller.as_deref());
        let line = |why: String| format!("{table}: {} ({}): {why}", what.operation, counted(count.requests, "request"));
        let of = |target: &&PolicyTarget<'_>| {
            target.listener.name == what.listener && target.caller() == what.caller.as_deref()
        };
        match targets.iter().find(of).map(|target| outcome(target.policy(), what, count)) {
            None => refused.push(line("not in the configuration".to_owned())),
            Some(Outcome::Refused(why)) => refused.push(line(why)),
            Some(Outcome::Depends) => doubtful.push(line("depends on values, which are not recorded".to_owned())),
            Some(Outcome::Passes) => {}
        }
    }
    let passing = used.len() - refused.len() - doubtful.len();
    let mut text = format!("# recorded use in {}: {passing} of {} would pass\n", file.display(), used.len());
    text += &doubtful.iter().map(|line| format!("warning: may be refused: {line}\n")).collect::<String>();
    text += &refused.iter().map(|line| format!("would be refused: {line}\n")).collect::<String>();
    (text, refused.is_empty())
}

/// What recorded use of an operation meets.
enum Outcome {
    Passes,
    Depends,
    Refused(String),
}

fn outcome(policy: &Policy, what: &OperationUse, count: &Count) -> Outcome {
    let catalog = policy.catalog();
    let Some((id, operation)) = named(catalog, &what.operation).and_then(|id| Some((id, catalog.get(id)?))) else {
        return unknown(policy, &what.operation);
    };
    let path = operation.example();
    let plain = match policy.verdict(id) {
        OperationVerdict::Depends | OperationVerdict::Conditional => Outcome::Depends,
        OperationVerdict::Open(_) | OperationVerdict::Closed(_) | OperationVerdict::ClosedByListener => {
            ask(policy, &operation.method, &path)
        }
    };
    let spelled = if count.doubtful > 0 { SECURE.to_ascii_lowercase() } else { SECURE.to_owned() };
    match &plain {
        Outcome::Passes if count.secure_values > 0 => ask(policy, &operation.method, &format!("{path}?{spelled}=true")),
        Outcome::Passes | Outcome::Depends | Outcome::Refused(_) => plain,
    }
}

/// A rule of `allow` that is recorded in place of an operation, which the catalogue does not have.
fn unknown(policy: &Policy, rule: &str) -> Outcome {
    let Ok(rule) = Rule::parse(rule) else {
        return Outcome::Refused("it is neither an operation nor a rule".to_owned());
    };
    let methods = crate::proxy::policy::rule::METHODS;
    let Some(method) = methods.iter().find(|method| rule.has_method(method)) else { return Outcome::Depends };
    ask(policy, method, &rule.path_text().replace("{id}", "1"))
}

fn ask(policy: &Policy, method: &Method, target: &str) -> Outcome {
    let Ok(uri) = target.parse::<Uri>() else { return Outcome::Depends };
    let decision =
        Target::canonical(&uri).map_err(PolicyRefusal::from).and_then(|target| policy.decide(method, &target));
    match decision {
        Ok(_) => Outcome::Passes,
        Err(PolicyRefusal::Closed(closed)) => {
            Outcome::Refused(format!("{}: {closed}", response::code(&closed.barrier)))
        }
        Err(refusal) => Outcome::Refused(refusal.to_string()),
    }
}
