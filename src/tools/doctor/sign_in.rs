//! The sign-ins of persons: each is renewed once, as a running proxy does it, under the same lock.

use std::sync::Arc;
use std::time::Instant;

use super::instance_server::InstanceServer;
use super::reporter::Reporter;
use super::{grant, milliseconds};
use crate::config::users::SignInConfig;
use crate::config::{Config, UserConfig};
use crate::observe::logging::ErrorChain;
use crate::proxy::policy::catalog::ScopeSet;
use crate::proxy::response::CONSOLE;
use crate::proxy::token::TokenError;
use crate::proxy::token::user_grant::UserGrant;
use crate::proxy::token::user_grant::grant_place::GrantPlace;
use crate::tools::sign_in::places::GrantPlaces;

/// Renews the sign-in of each person. Only looks at that at a sandbox, which is a part of the running proxy, and at that in
/// the shared store, which the replicas renew.
pub(super) async fn examine(config: &Config, place: &InstanceServer, sign_ins: Vec<SignInConfig>, reporter: &Reporter) {
    let places = match GrantPlaces::open(config).await {
        Ok(places) => places,
        Err(error) => {
            return reporter.fail("sign-in", ErrorChain(&error).to_string(), "correct [shared], or its store");
        }
    };
    for sign_in in sign_ins {
        let check = check(&sign_in.user.name);
        reporter.begin(&check);
        if sign_in.site.is_none() {
            let why = "only the sandbox of the running proxy can do that";
            look_at((&sign_in.user, &places.of(&sign_in)), why, &check, reporter).await;
        } else if places.are_shared() {
            let why = "the replicas do that";
            look_at((&sign_in.user, &places.of(&sign_in)), why, &check, reporter).await;
        } else {
            renew(place, sign_in, &check, reporter).await;
        }
    }
    places.close().await;
}

/// Whether somebody has signed in, where this process cannot try the token.
async fn look_at((user, place): (&UserConfig, &GrantPlace), why: &str, check: &str, reporter: &Reporter) {
    match place.read().await {
        Ok(Some(grant)) if grant.ended.is_none() => {
            reporter.ok(check, format!("signed in; not renewed here, because {why}"));
        }
        Ok(Some(_)) => {
            needs_person(check, format!("the sign-in of the user {} has ended", user.name), &user.login, reporter)
        }
        Ok(None) => needs_person(check, format!("the user {} has not signed in", user.name), &user.login, reporter),
        Err(error) => needs_person(check, ErrorChain(&error).to_string(), &user.login, reporter),
    }
}

/// Without a person most of the service goes on.
fn needs_person(check: &str, why: String, login: &str, reporter: &Reporter) {
    reporter.warn(check, format!("{why}: what needs this person gets 503 sign-in-needed"), format!("run: {login}"));
}

/// The lines that cannot come without a way to the instance.
pub(super) fn skip<'a>(users: impl Iterator<Item = &'a String>, because: &str, reporter: &Reporter) {
    users.for_each(|user| reporter.skip(&[&check(user)], because));
}

fn check(user: &str) -> String {
    format!("sign-in {user}")
}

async fn renew(place: &InstanceServer, sign_in: SignInConfig, check: &str, reporter: &Reporter) {
    let SignInConfig { token_path, client_auth, user, .. } = sign_in;
    let times = (place.timeouts.connect.0, place.timeouts.token.0);
    let endpoint = match place.site.endpoint(&token_path, client_auth, user.credentials, times) {
        Ok(endpoint) => endpoint.of_user(Arc::new(UserGrant::new(user.file, user.login.clone()))),
        Err(error) => return reporter.fail(check, ErrorChain(&error).to_string(), "check host and token-path"),
    };
    let begun = Instant::now();
    match endpoint.request(user.scopes).await.0 {
        Ok(answer) => {
            let granted = answer.scope.unwrap_or_else(|| user.scopes.to_string());
            let detail = format!("renewed, with the scopes {granted} ({})", milliseconds(begun.elapsed()));
            match missing(user.scopes, &granted) {
                None => reporter.ok(check, detail),
                Some(missing) => {
                    let fix = format!(
                        "{missing} is missing: tick it for the app of this user in {CONSOLE}, then run: {}",
                        user.login
                    );
                    reporter.warn(check, detail, fix);
                }
            }
        }
        Err(TokenError::SignInNeeded(needed)) => {
            needs_person(check, needed.to_string(), &needed.login, reporter);
        }
        Err(error) => {
            reporter.fail(check, format!("cannot be renewed: {}", ErrorChain(&error)), fix(&error, &user.name));
        }
    }
}

/// The scopes that are wanted and were not granted.
fn missing(wanted: ScopeSet, granted: &str) -> Option<String> {
    let lacks = |name: &String| !granted.split_ascii_whitespace().any(|word| word == name);
    let missing: Vec<_> = wanted.iter().map(|scope| scope.to_string()).filter(lacks).collect();
    (!missing.is_empty()).then(|| missing.join(" "))
}

/// What to do where NinjaOne did not end the sign-in, and gave no token all the same.
fn fix(error: &TokenError, user: &str) -> String {
    match error {
        TokenError::InvalidClient | TokenError::UnknownClient => format!(
            "check client-id and client-secret of the user {user} (an app of the platform Native has no secret), and in {CONSOLE} that the app's allowed grant types are Authorization Code and Refresh Token"
        ),
        TokenError::Refused { .. } => {
            format!("in {CONSOLE}, allow the grant type Refresh Token for the app; a 429 or 5xx passes by itself")
        }
        TokenError::InvalidScope
        | TokenError::Unusable(_)
        | TokenError::SignInNeeded(_)
        | TokenError::Timeout
        | TokenError::OfReplica(_)
        | TokenError::NoStore(_)
        | TokenError::Exchange(_) => grant::fix(error, ScopeSet::default(), ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::policy::catalog::Scope;

    #[test]
    fn missing_scopes_are_those_that_were_not_granted() {
        let both: ScopeSet = [Scope::Monitoring, Scope::Management].into_iter().collect();
        for (granted, told) in [
            ("monitoring management offline_access", None),
            ("management monitoring", None),
            ("monitoring offline_access", Some("management")),
            ("", Some("monitoring management")),
            ("monitoringmanagement", Some("monitoring management")),
        ] {
            assert_eq!(missing(both, granted).as_deref(), told, "{granted}");
        }
    }
}
