//! What the token endpoint grants: each scope alone, what listeners ask for together, and for how long.

use std::time::{Duration, Instant};

use http::{HeaderValue, StatusCode};

use super::instance_server::InstanceServer;
use super::milliseconds;
use super::reporter::Reporter;
use crate::config::ListenerConfig;
use crate::net::dial::exchange::ExchangeError;
use crate::observe::logging::ErrorChain;
use crate::proxy::policy::catalog::{Scope, ScopeSet};
use crate::proxy::response::CONSOLE;
use crate::proxy::token::RENEWED;
use crate::proxy::token::TokenError;
use crate::proxy::token::endpoint::{Endpoint, TokenAnswer};

/// A token that lives shorter than this is asked for often.
const SHORT: Duration = Duration::from_secs(300);

/// A token, and what it is good for.
pub(super) struct Granted {
    pub(super) scopes: ScopeSet,
    pub(super) authorization: HeaderValue,
    lifetime: Duration,
}

/// One thing to ask for, and who wants it.
struct GrantCheck {
    check: String,
    scopes: ScopeSet,
    listeners: String,
}

/// Asks for each scope of the listeners, then for their combinations; the best token for a read, if one is granted.
pub(super) async fn examine(
    endpoint: &Endpoint,
    place: &InstanceServer,
    listeners: &[&ListenerConfig],
    reporter: &Reporter,
) -> Option<Granted> {
    let mut granted = Vec::new();
    let (mut refused, mut trouble): (Vec<Scope>, Option<String>) = (Vec::new(), None);
    for question in questions(listeners) {
        let missing =
            question.scopes.iter().find(|scope| refused.contains(scope)).map(|scope| format!("scope {scope} failed"));
        if let Some(because) = trouble.as_ref().or(missing.as_ref()) {
            reporter.skip(&[&question.check], because);
            continue;
        }
        match ask(endpoint, place, &question, reporter).await {
            Ok(token) => granted.push(token),
            Err(TokenError::InvalidScope) => refused.extend(question.scopes.iter()),
            Err(_) => trouble = Some(format!("{} failed", question.check)),
        }
    }
    examine_lifetime(granted.iter().map(|token| token.lifetime).min(), reporter);
    let best = granted.iter().position(|token| token.scopes.contains(Scope::Monitoring)).unwrap_or(0);
    granted.into_iter().nth(best)
}

/// The lines that cannot come without a token.
pub(super) fn skip(listeners: &[&ListenerConfig], because: &str, reporter: &Reporter) {
    let questions = questions(listeners);
    let checks = questions.iter().map(|question| question.check.as_str()).chain(["token lifetime"]);
    reporter.skip(&checks.collect::<Vec<_>>(), because);
}

/// Each scope once, and then each set of several that a listener's token must have.
fn questions(listeners: &[&ListenerConfig]) -> Vec<GrantCheck> {
    let who = |wants: &dyn Fn(ScopeSet) -> bool| {
        let names = listeners.iter().filter(|listener| wants(listener.policy.scopes()));
        names.map(|listener| format!("[listeners.{}]", listener.name)).collect::<Vec<_>>().join(", ")
    };
    let single = |scope: Scope| GrantCheck {
        check: format!("scope {scope}"),
        scopes: [scope].into_iter().collect(),
        listeners: who(&|scopes| scopes.contains(scope)),
    };
    let mut questions: Vec<_> =
        Scope::ALL.into_iter().map(single).filter(|question| !question.listeners.is_empty()).collect();
    for scopes in listeners.iter().map(|listener| listener.policy.scopes()) {
        if !questions.iter().any(|question| question.scopes == scopes) {
            let listeners = who(&|other| other == scopes);
            questions.push(GrantCheck { check: "scopes together".to_owned(), scopes, listeners });
        }
    }
    questions
}

async fn ask(
    endpoint: &Endpoint,
    place: &InstanceServer,
    question: &GrantCheck,
    reporter: &Reporter,
) -> Result<Granted, TokenError> {
    let GrantCheck { check, scopes, listeners } = question;
    reporter.begin(check);
    let begun = Instant::now();
    let (answer, _) = endpoint.request(*scopes).await;
    match answer {
        Ok(TokenAnswer { authorization, lifetime, .. }) => {
            reporter.ok(check, format!("granted {scopes}, for {listeners} ({})", milliseconds(begun.elapsed())));
            Ok(Granted { scopes: *scopes, authorization, lifetime })
        }
        Err(error) => {
            let outcome = if error.is_permanent() { "refused" } else { "no token for" };
            let is_loop = matches!(&error, TokenError::Refused { status: StatusCode::LOOP_DETECTED, .. });
            let fix = if is_loop { place.loop_fix() } else { fix(&error, *scopes, listeners) };
            reporter.fail(check, format!("{outcome} {scopes}: {}", ErrorChain(&error)), fix);
            Err(error)
        }
    }
}

/// What to do about a failure of the token endpoint itself; `listeners` are those without a token.
pub fn fix(error: &TokenError, scopes: ScopeSet, listeners: &str) -> String {
    match error {
        TokenError::UnknownClient => format!(
            "check host (NinjaOne does not know a client id of another region) and client-id, which is in {CONSOLE}"
        ),
        TokenError::InvalidClient => format!(
            "copy client id and secret again from {CONSOLE}, or regenerate the secret (it is shown once, and the old one \
             ends); the app's platform must be API Services (machine-to-machine), its allowed grant type Client \
             Credentials"
        ),
        TokenError::InvalidScope => format!(
            "in {CONSOLE}: tick {} among the app's scopes, or take it out of scopes in {listeners}, which get no token \
             at all before",
            scopes.iter().map(|scope| format!("{:?}", titled(scope))).collect::<Vec<_>>().join(" and ")
        ),
        TokenError::Refused { status: StatusCode::LOOP_DETECTED, .. } => {
            "the token request came back to the proxy that sent it: set host to that of NinjaOne, or addresses to its own \
             addresses, where a hosts file or DNS sends the name to the proxy on purpose"
                .to_owned()
        }
        TokenError::Refused { .. } => format!(
            "check token-path, and in {CONSOLE} that the app's allowed grant type is Client Credentials; a 429 or 5xx \
             passes by itself"
        ),
        TokenError::Unusable(_) => {
            "check host and token-path: what answers there is not the token endpoint of NinjaOne".to_owned()
        }
        TokenError::SignInNeeded(needed) => format!("run: {}", needed.login),
        TokenError::Timeout => "try again, or raise timeouts.token".to_owned(),
        TokenError::OfReplica(_) => "look at the log of the other replicas".to_owned(),
        TokenError::NoStore(_) => "look at the check of the shared store, and at [shared]".to_owned(),
        TokenError::Exchange(error) => fix_exchange(error),
    }
}

/// What to do where the endpoint gave no answer although the connection was tried, and worked, just before.
fn fix_exchange(error: &ExchangeError) -> String {
    let text = match error {
        ExchangeError::Connect(_) => {
            "the connection worked a moment ago, so the network is unstable: look at this network, and at proxies and firewalls on the way"
        }
        ExchangeError::Broken(_) => {
            "check host, its port and token-path; a port that speaks TLS wants https://; if all of these are right, something \
             between here and NinjaOne closes connections"
        }
        ExchangeError::IsTls => "write host with https:// instead of http://",
        ExchangeError::Syntax(_) | ExchangeError::TooLong(_) => {
            "check host and token-path: what answers there is not the token endpoint of NinjaOne"
        }
        ExchangeError::Coding(_) => {
            "something between here and NinjaOne changes answers, which were asked for uncompressed: have it leave them alone"
        }
    };
    text.to_owned()
}

/// The name of the scope's box in the console.
fn titled(scope: Scope) -> &'static str {
    match scope {
        Scope::Monitoring => "Monitoring",
        Scope::Management => "Management",
        Scope::Control => "Control",
    }
}

fn examine_lifetime(lifetime: Option<Duration>, reporter: &Reporter) {
    let Some(lifetime) = lifetime else { return reporter.skip(&["token lifetime"], "no token was granted") };
    let (seconds, early) = (lifetime.as_secs(), |part: f64| lifetime.mul_f64(part).as_secs());
    let detail = format!("{seconds} s; renewed between {} and {} s", early(RENEWED.0), early(RENEWED.1));
    if lifetime < SHORT {
        reporter.warn(
            "token lifetime",
            detail,
            "none needed, but tokens are asked for often; NinjaOne's usually live 3600 s",
        );
    } else {
        reporter.ok("token lifetime", detail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grant_names_box_and_place_in_the_console_for_a_missing_scope() {
        let scopes = [Scope::Management].into_iter().collect();
        let fix = fix(&TokenError::InvalidScope, scopes, "[listeners.local]");
        assert!(fix.starts_with("in Administration > Apps > API > Client App IDs: tick \"Management\""), "{fix}");
        assert!(fix.contains("scopes in [listeners.local]"), "{fix}");
    }
}
