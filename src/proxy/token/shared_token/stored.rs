//! What replicas store for each other, sealed: a token, or why none was given.

use std::time::Duration;

use http::{HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::observe::logging::ErrorChain;
use crate::proxy::token::token_error::TokenError;

/// The form of what is stored.
const FORMAT: u32 = 1;
/// The longest that any token lives: nothing older is believed.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// An access token.
#[derive(Debug)]
pub(super) struct StoredToken {
    /// `Bearer ...`, marked as sensitive.
    pub(super) authorization: HeaderValue,
    /// From the moment when it was asked for.
    pub(super) lifetime: Duration,
    /// The scopes that were granted, if the server said them.
    pub(super) scope: Option<String>,
    /// By what right it was given: the credentials, or the sign-in. Nobody uses one of another right.
    pub(super) right: String,
    /// The credentials by which it was given are the newest; older ones are not needed any more.
    pub(super) accepted: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenContent {
    format: u32,
    authorization: Zeroizing<String>,
    lifetime: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    right: String,
    accepted: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FailureContent {
    format: u32,
    right: String,
    kind: FailureKind,
    /// What it says of itself.
    text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
}

/// Those failures that replicas tell each other as what they are: what a person must do differs.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum FailureKind {
    UnknownClient,
    InvalidClient,
    InvalidScope,
    Refused,
    Other,
}

impl StoredToken {
    /// As bytes that are sealed next, and overwritten after that.
    pub(super) fn written(&self) -> Option<Zeroizing<Vec<u8>>> {
        let content = TokenContent {
            format: FORMAT,
            authorization: Zeroizing::new(self.authorization.to_str().ok()?.to_owned()),
            lifetime: u64::try_from(self.lifetime.as_millis()).ok()?,
            scope: self.scope.clone(),
            right: self.right.clone(),
            accepted: self.accepted,
        };
        written(&content, content.authorization.len())
    }

    /// What was written; `None` for what another version has.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let content: TokenContent = serde_json::from_slice(bytes).ok()?;
        let TokenContent { format, authorization, lifetime, scope, right, accepted } = content;
        let mut authorization = HeaderValue::from_str(&authorization).ok()?;
        authorization.set_sensitive(true);
        let lifetime = Duration::from_millis(lifetime);
        let token = Self { authorization, lifetime, scope, right, accepted };
        (format == FORMAT && lifetime <= LONGEST).then_some(token)
    }
}

/// A failure, for those who hold the same right.
pub(super) fn failure_written(error: &TokenError, right: &str) -> Option<Zeroizing<Vec<u8>>> {
    let (kind, status) = match error {
        TokenError::UnknownClient => (FailureKind::UnknownClient, None),
        TokenError::InvalidClient => (FailureKind::InvalidClient, None),
        TokenError::InvalidScope => (FailureKind::InvalidScope, None),
        TokenError::Refused { status, .. } => (FailureKind::Refused, Some(status.as_u16())),
        TokenError::Exchange(_) | TokenError::Timeout | TokenError::Unusable(_) => (FailureKind::Other, None),
        // What the entry of the sign-in says itself, what another replica has stored, and what is about the store.
        TokenError::SignInNeeded(_) | TokenError::OfReplica(_) | TokenError::NoStore(_) => return None,
    };
    let text = if let TokenError::Refused { code, .. } = error { code.clone() } else { ErrorChain(error).to_string() };
    let content = FailureContent { format: FORMAT, right: right.to_owned(), kind, text, status };
    written(&content, content.text.len())
}

/// The failure that was written, if it is one of this right.
pub(super) fn failure_read(bytes: &[u8], own: &str) -> Option<TokenError> {
    let FailureContent { format, right, kind, text, status } = serde_json::from_slice(bytes).ok()?;
    if format != FORMAT || right != own {
        return None;
    }
    Some(match kind {
        FailureKind::UnknownClient => TokenError::UnknownClient,
        FailureKind::InvalidClient => TokenError::InvalidClient,
        FailureKind::InvalidScope => TokenError::InvalidScope,
        FailureKind::Refused => {
            let status = StatusCode::from_u16(status?).ok()?;
            // How long to wait is told by how long the entry lasts.
            TokenError::Refused { status, code: text, retry_after: None }
        }
        FailureKind::Other => TokenError::OfReplica(text),
    })
}

/// With room for all of it at once, so that no outgrown piece of a token is left in memory.
fn written(content: &impl Serialize, longest: usize) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(6 * longest + 4096));
    serde_json::to_writer(&mut *bytes, content).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> StoredToken {
        let (authorization, scope) = (HeaderValue::from_static("Bearer a-b.c"), Some("monitoring".to_owned()));
        let lifetime = Duration::from_millis(3_600_500);
        StoredToken { authorization, lifetime, scope, right: "r".to_owned(), accepted: true }
    }

    #[test]
    fn stored_tokens_are_read_as_they_were_written() {
        let read = StoredToken::read(&token().written().expect("bytes")).expect("a token");
        assert_eq!((read.authorization.as_bytes(), read.lifetime), (&b"Bearer a-b.c"[..], token().lifetime));
        assert!(read.authorization.is_sensitive() && read.accepted && !format!("{read:?}").contains("a-b.c"));
        assert_eq!((read.right.as_str(), read.scope.as_deref()), ("r", Some("monitoring")));
    }

    #[test]
    fn stored_tokens_of_another_form_are_none() {
        let text = String::from_utf8(token().written().expect("bytes").to_vec()).expect("text");
        for (from, to) in [
            ("\"format\":1", "\"format\":2"),
            ("\"lifetime\":3600500", "\"lifetime\":86400001"),
            ("\"lifetime\":3600500", "\"lifetime\":-1"),
            ("Bearer a-b.c", "Bearer a\\nb"),
            ("\"right\"", "\"left\""),
            ("}", ""),
        ] {
            let changed = text.replace(from, to);
            assert!(changed != text && StoredToken::read(changed.as_bytes()).is_none(), "{changed}");
        }
    }

    #[test]
    fn failures_that_a_person_must_mend_are_told_as_what_they_are() {
        let through = |error: &TokenError| {
            failure_written(error, "r").and_then(|bytes| {
                assert!(failure_read(&bytes, "another").is_none());
                failure_read(&bytes, "r")
            })
        };
        for error in [TokenError::UnknownClient, TokenError::InvalidClient, TokenError::InvalidScope] {
            assert!(through(&error).is_some_and(|read| read.is_like(&error)), "{error}");
        }
        let refused = TokenError::Refused {
            status: StatusCode::TOO_MANY_REQUESTS,
            code: "slow down".to_owned(),
            retry_after: None,
        };
        assert_eq!(through(&refused).map(|error| error.to_string()), Some(refused.to_string()));
        let other = through(&TokenError::Timeout).expect("a failure");
        assert!(!other.is_permanent() && other.to_string().contains("did not answer in time"), "{other}");
        assert!(through(&other).is_none(), "what another replica said is not passed on");
    }
}
