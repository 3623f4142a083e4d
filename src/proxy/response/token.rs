//! Refusals for want of a token.

use http::StatusCode;

use super::problem::Refusal;
use super::refusal_table::RefusalKind;
use super::upstream::{dial_refusal, loop_refusal, unreachable, untrusted_refusal};
use super::{CONSOLE, RefusalContext};
use crate::net::dial::DialError;
use crate::net::dial::connect::ConnectError;
use crate::net::dial::exchange::ExchangeError;
use crate::proxy::headers::loops::LoopError;
use crate::proxy::token::NoToken;
use crate::proxy::token::TokenError;

const RETRY: &str = "The proxy keeps trying; try again after the time in Retry-After.";
const DOCTOR: &str = "Check host and firewall, or run \"ninjaone-proxy --config FILE doctor\".";

pub(super) fn refusal(no_token: &NoToken, scene: &RefusalContext<'_>) -> Refusal {
    match no_token {
        NoToken::Timeout => Refusal::new(
            RefusalKind::TokenTimeout,
            format!("Cannot get a token in time: the token endpoint of {} is slow. {RETRY}", scene.instance),
        ),
        NoToken::Failed { cause, retry_after } => of_cause(cause, scene).after(*retry_after),
    }
}

fn of_cause(cause: &TokenError, scene: &RefusalContext<'_>) -> Refusal {
    let RefusalContext { instance, listener, scopes, .. } = *scene;
    let until_changed = |kind, what: &str| Refusal::new(kind, format!("Cannot get a token for {instance}: {what}"));
    if let Some(refusal) = scene.user.and_then(|user| of_app_for_persons(cause, user, instance)) {
        return refusal;
    }
    match cause {
        TokenError::UnknownClient => until_changed(
            RefusalKind::TokenClientUnknown,
            &format!("this instance does not know the client id. Check host (the region) and client-id ({CONSOLE})."),
        ),
        TokenError::InvalidClient => until_changed(
            RefusalKind::TokenClientRefused,
            &format!(
                "NinjaOne refused the client id or secret. Check both ({CONSOLE}; NinjaOne shows a secret once, and regenerating it ends the old one)."
            ),
        ),
        TokenError::InvalidScope => until_changed(
            RefusalKind::TokenScopeRefused,
            &format!(
                "the API client app lacks one of the scopes {scopes}. Grant them in NinjaOne ({CONSOLE}), or remove them from scopes in [listeners.{listener}]."
            ),
        ),
        TokenError::SignInNeeded(needed) => Refusal::new(
            RefusalKind::SignInNeeded,
            format!("This operation needs the token of a person, and {needed}. Run: {}", needed.login),
        ),
        TokenError::Exchange(ExchangeError::Connect(ConnectError::Dial(error))) if error.is_lasting() => {
            dial_refusal(error, instance)
        }
        TokenError::Exchange(error) => match error.tls() {
            Some(reason) => untrusted_refusal(instance, reason),
            None => unavailable(cause, instance),
        },
        TokenError::Refused { status: StatusCode::LOOP_DETECTED, .. } => loop_refusal(LoopError::Own, instance),
        TokenError::Timeout | TokenError::Refused { .. } | TokenError::Unusable(_) => unavailable(cause, instance),
        TokenError::OfReplica(_) | TokenError::NoStore(_) => unavailable(cause, instance),
    }
}

/// What is wrong with the app by which a person has signed in, if that is the cause.
fn of_app_for_persons(cause: &TokenError, user: &str, instance: &str) -> Option<Refusal> {
    let (kind, what) = match cause {
        TokenError::UnknownClient => (
            RefusalKind::TokenClientUnknown,
            "this instance does not know the client id of its app. Check client-id of this user",
        ),
        TokenError::InvalidClient => (
            RefusalKind::TokenClientRefused,
            "NinjaOne refused the client id or secret of its app. Check client-id and client-secret of this user, or of the instance where the user has none (an app of the platform Native has no secret)",
        ),
        TokenError::InvalidScope => (
            RefusalKind::TokenScopeRefused,
            "its app lacks one of the scopes of this user. Tick them for the app, or remove them from scopes of this user, and sign in again",
        ),
        TokenError::SignInNeeded(_)
        | TokenError::Refused { .. }
        | TokenError::Unusable(_)
        | TokenError::Timeout
        | TokenError::OfReplica(_)
        | TokenError::NoStore(_)
        | TokenError::Exchange(_) => return None,
    };
    let detail = format!("Cannot renew the sign-in of the user {user} at {instance}: {what} ({CONSOLE}).");
    Some(Refusal::new(kind, detail))
}

fn unavailable(cause: &TokenError, instance: &str) -> Refusal {
    let detail = format!("Cannot get a token: {} {RETRY}", reason(cause, instance));
    Refusal::new(RefusalKind::TokenUnavailable, detail)
}

/// What happened, and what to check.
fn reason(cause: &TokenError, instance: &str) -> String {
    match cause {
        TokenError::Exchange(error) => exchange_reason(error, instance),
        TokenError::Timeout => format!("the token endpoint of {instance} did not answer in time (timeouts.token)."),
        TokenError::Refused { status: StatusCode::NOT_FOUND, .. } => {
            format!("{instance} has no token endpoint at this path (404). Check token-path and host.")
        }
        TokenError::Refused { status, code, .. } if code.is_empty() => {
            format!("the token endpoint of {instance} answered {}.", status.as_u16())
        }
        TokenError::Refused { status, code, .. } => {
            format!("the token endpoint of {instance} answered {} {code:?}.", status.as_u16())
        }
        TokenError::Unusable(what) => format!("the answer of the token endpoint of {instance} cannot be used: {what}."),
        TokenError::NoStore(why) => format!("{cause}: {why}."),
        TokenError::UnknownClient
        | TokenError::InvalidClient
        | TokenError::InvalidScope
        | TokenError::OfReplica(_)
        | TokenError::SignInNeeded(_) => format!("{cause}."),
    }
}

fn exchange_reason(error: &ExchangeError, instance: &str) -> String {
    match error {
        ExchangeError::Connect(ConnectError::Dial(DialError::Connect(source))) => {
            format!("{} {DOCTOR}", unreachable(instance, source))
        }
        ExchangeError::Connect(error) => format!("{error}. {DOCTOR}"),
        ExchangeError::Broken(_) => format!("{instance} broke the connection off before the end of its answer."),
        ExchangeError::Syntax(_) => format!("what answers at {instance} does not speak HTTP. Check host."),
        ExchangeError::IsTls => format!("{instance} speaks TLS: write host with https://."),
        ExchangeError::TooLong(_) | ExchangeError::Coding(_) => {
            format!("the answer of {instance} cannot be read: {error}.")
        }
    }
}
