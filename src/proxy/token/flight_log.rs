//! What the log says of flights: each token, each new kind of failure, and one that lasts ever more rarely.

use std::time::Duration;

use super::Tokens;
use super::state::KeyState;
use super::token_error::TokenError;
use crate::observe::logging::ErrorChain;
use crate::proxy::policy::catalog::ScopeSet;

impl Tokens {
    /// A lasting failure is logged as an error, once. `is_taken`: the token is another replica's.
    pub(super) fn log_change(&self, scopes: ScopeSet, state: &KeyState, previous: Option<&KeyState>, is_taken: bool) {
        let (now, address) = ((self.clock)(), self.endpoint.address());
        let seconds = |span: Duration| Duration::from_secs(span.as_secs_f64().round() as u64);
        let (next, retry_in) = (now.until(state.next), rounded(now.until(state.next_unasked)));
        if let Some(TokenError::SignInNeeded(needed)) = state.failure.as_deref() {
            if state.is_news(previous) {
                let (user, run) = (&needed.user, &needed.login);
                tracing::warn!(
                    user,
                    run,
                    "{needed}: what needs this person is refused; to sign in, run the command in the field run"
                );
            }
            return;
        }
        match &state.failure {
            None => {
                let usable_for = seconds(state.expires_in(now).unwrap_or_default());
                let user = self.user().map(|grant| grant.user());
                let renewed_in = seconds(next);
                if is_taken {
                    tracing::info!(
                        address, user, %scopes, ?usable_for, ?renewed_in, "token taken from the shared store"
                    );
                } else {
                    tracing::info!(address, user, %scopes, ?usable_for, ?renewed_in, "token granted");
                }
            }
            Some(error) if !state.is_news(previous) => {
                tracing::debug!(address, %scopes, error = %ErrorChain(&**error), ?retry_in, "token request failed again");
            }
            Some(error) if error.is_permanent() => tracing::error!(
                address, %scopes, error = %ErrorChain(&**error), doctor = self.doctor,
                "cannot get a token, and callers are refused; to find out what to change, run the command in doctor"
            ),
            Some(error) => tracing::warn!(
                address, %scopes, error = %ErrorChain(&**error), ?retry_in, doctor = self.doctor,
                "token request failed: the proxy goes on trying; if it fails for longer, run the command in doctor to find out why"
            ),
        }
    }
}

/// As people read it: to a tenth of a second.
fn rounded(span: Duration) -> Duration {
    Duration::from_millis((span.as_secs_f64() * 10.0).round() as u64 * 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_waits_are_told_as_people_read_them() {
        let told = |microseconds| format!("{:?}", rounded(Duration::from_micros(microseconds)));
        assert_eq!([told(426_844), told(7_951_234), told(30_000_000)], ["400ms", "8s", "30s"]);
    }
}
