//! What a caller is told where there is no token.

use http::StatusCode;

use super::problem::Refusal;
use super::refusal_table::RefusalKind;
use super::upstream::{dial_refusal, loop_refusal, untrusted_refusal};
use super::{CONSOLE, RefusalContext};
use crate::net::dial::connect::ConnectError;
use crate::net::dial::exchange::ExchangeError;
use crate::observe::logging::ErrorChain;
use crate::proxy::headers::loops::LoopError;
use crate::proxy::token::NoToken;
use crate::proxy::token::endpoint::TokenError;

pub(super) fn refusal(no_token: &NoToken, scene: &RefusalContext<'_>) -> Refusal {
    match no_token {
        NoToken::Timeout => {
            Refusal::new(RefusalKind::TokenTimeout, "There is no token yet: the token endpoint is slow. Try again.")
        }
        NoToken::Failed { cause, retry_after } => of_cause(cause, scene).after(*retry_after),
    }
}

fn of_cause(cause: &TokenError, scene: &RefusalContext<'_>) -> Refusal {
    let RefusalContext { instance, listener, scopes, .. } = *scene;
    let until_changed = |kind, what: &str| Refusal::new(kind, format!("There is no token for {instance}: {what}"));
    match cause {
        TokenError::UnknownClient => until_changed(
            RefusalKind::TokenClientUnknown,
            &format!("NinjaOne does not know the client id there. Check host (the region) and client-id ({CONSOLE})."),
        ),
        TokenError::InvalidClient => until_changed(
            RefusalKind::TokenClientRefused,
            &format!(
                "NinjaOne refused the client id or secret. Check them ({CONSOLE}; a secret is shown once, and regenerating it ends the old one)."
            ),
        ),
        TokenError::InvalidScope => until_changed(
            RefusalKind::TokenScopeRefused,
            &format!(
                "the API client app lacks one of the scopes {scopes}. Grant them in NinjaOne ({CONSOLE}), or take them out of scopes in [listeners.{listener}]."
            ),
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
    }
}

fn unavailable(cause: &TokenError, instance: &str) -> Refusal {
    let cause = ErrorChain(cause);
    let detail = format!(
        "There is no token for {instance}: {cause}. It is asked for again without you; try again after the time in Retry-After."
    );
    Refusal::new(RefusalKind::TokenUnavailable, detail)
}
