//! What an approval is bound to: one request of one caller, byte for byte.

use std::fmt;

use http::Method;
use http::header::HeaderValue;
use http::uri::PathAndQuery;
use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};

use super::HeldRequest;

/// What a request must have in common with the one that was shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Binding {
    listener: String,
    caller: Option<String>,
    user: Option<String>,
    instance: String,
    method: Method,
    target: PathAndQuery,
    content_type: Option<HeaderValue>,
    content_encoding: Option<HeaderValue>,
    body: BodyHash,
    /// It is only tried.
    dry_run: bool,
}

/// The SHA-256 of a body.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BodyHash([u8; SHA256_OUTPUT_LEN]);

/// In what a request differs from the one that was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// It came to another listener.
    Listener,
    /// It is another caller's.
    Caller,
    /// It needs the token of another person, or the machine's instead.
    User,
    /// It goes to another instance.
    Instance,
    /// It has another method.
    Method,
    /// It has another path or query.
    Target,
    /// Its body is to be read in another way.
    ContentType,
    /// It has another body.
    Body,
    /// One is only tried, and the other is to be sent.
    DryRun,
}

impl Difference {
    /// All differences, in the order in which they are looked for.
    pub const ALL: [Self; 9] = [
        Self::Listener,
        Self::Caller,
        Self::User,
        Self::Instance,
        Self::Method,
        Self::Target,
        Self::ContentType,
        Self::Body,
        Self::DryRun,
    ];
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Listener => "listener",
            Self::Caller => "caller",
            Self::User => "user (the person whose token it needs)",
            Self::Instance => "instance",
            Self::Method => "method",
            Self::Target => "path or query",
            Self::ContentType => "Content-Type or Content-Encoding",
            Self::Body => "body",
            Self::DryRun => "preference for a dry run",
        })
    }
}

impl BodyHash {
    /// Of a body.
    pub fn of(body: &[u8]) -> Self {
        let mut hash = [0; SHA256_OUTPUT_LEN];
        hash.copy_from_slice(digest(&SHA256, body).as_ref());
        Self(hash)
    }

    /// One that was made elsewhere.
    pub(super) fn of_bytes(hash: [u8; SHA256_OUTPUT_LEN]) -> Self {
        Self(hash)
    }

    pub(super) fn bytes(self) -> [u8; SHA256_OUTPUT_LEN] {
        self.0
    }
}

impl fmt::Display for BodyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for BodyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Binding {
    pub(super) fn of(held: &HeldRequest) -> Self {
        Self::with_body(held, BodyHash::of(&held.body))
    }

    /// Where the body itself is elsewhere.
    pub(super) fn with_body(held: &HeldRequest, body: BodyHash) -> Self {
        Self {
            listener: held.facts.listener.clone(),
            caller: held.facts.caller.clone(),
            user: held.facts.user.clone(),
            instance: held.instance.clone(),
            method: held.method.clone(),
            target: held.target.clone(),
            content_type: held.content_type.clone(),
            content_encoding: held.content_encoding.clone(),
            body,
            dry_run: held.facts.dry_run,
        }
    }

    pub(super) fn body(&self) -> BodyHash {
        self.body
    }

    /// Whether it is a request of this caller on this listener.
    pub(super) fn is_of(&self, listener: &str, caller: Option<&str>) -> bool {
        self.listener == listener && self.caller.as_deref() == caller
    }

    /// In what `other` differs, if it does.
    pub(super) fn difference(&self, other: &Self) -> Option<Difference> {
        let differs = |difference: &Difference| match difference {
            Difference::Listener => self.listener != other.listener,
            Difference::Caller => self.caller != other.caller,
            Difference::User => self.user != other.user,
            Difference::Instance => self.instance != other.instance,
            Difference::Method => self.method != other.method,
            Difference::Target => self.target != other.target,
            Difference::ContentType => {
                self.content_type != other.content_type || self.content_encoding != other.content_encoding
            }
            Difference::Body => self.body != other.body,
            Difference::DryRun => self.dry_run != other.dry_run,
        };
        Difference::ALL.into_iter().find(differs)
    }
}
