//! Why the store does not do what it is asked.

use std::io;

use redis::{ErrorKind, RedisError};

/// Why the store did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It is down, and was not asked.
    #[error("the shared store is down")]
    Down,
    /// It did not answer in time.
    #[error("the shared store did not answer in time")]
    Slow,
    /// It has no memory left.
    #[error("the shared store is full")]
    Full,
    /// It takes no writes.
    #[error("the shared store is read-only")]
    ReadOnly,
    /// It refused, for this reason.
    #[error("the shared store refused: {0}")]
    Refused(String),
    /// The connection broke.
    #[error("the connection to the shared store broke")]
    Broken,
    /// It answered something else than it was asked for.
    #[error("the shared store gave an answer that is not understood")]
    Unexpected,
    /// The system gave no randomness.
    #[error("nothing can be sealed: the system gives no randomness")]
    Unsealed,
}

impl StoreError {
    /// The reasons, for metrics.
    pub const REASONS: [&str; 8] = ["down", "slow", "full", "read-only", "refused", "broken", "unexpected", "unsealed"];

    /// The reason, for metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Slow => "slow",
            Self::Full => "full",
            Self::ReadOnly => "read-only",
            Self::Refused(_) => "refused",
            Self::Broken => "broken",
            Self::Unexpected => "unexpected",
            Self::Unsealed => "unsealed",
        }
    }

    /// Whether it says that this store cannot be used now, rather than that it was asked something wrong.
    pub(super) fn is_about_store(&self) -> bool {
        match self {
            Self::Slow | Self::Full | Self::ReadOnly | Self::Broken => true,
            Self::Down | Self::Refused(_) | Self::Unexpected | Self::Unsealed => false,
        }
    }
}

impl From<RedisError> for StoreError {
    fn from(error: RedisError) -> Self {
        match error.code() {
            // In a script's error the code of what the script called comes later.
            Some("OOM" | "MISCONF" | "NOREPLICAS") => Self::Full,
            Some("READONLY" | "MASTERDOWN" | "LOADING") => Self::ReadOnly,
            _ if error.kind() == ErrorKind::Io || error.is_connection_dropped() => Self::Broken,
            _ if matches!(error.kind(), ErrorKind::UnexpectedReturnType | ErrorKind::Parse) => Self::Unexpected,
            _ => Self::Refused(plain(&error)),
        }
    }
}

/// What the server said, in one short line: a script's error holds the place in the script.
pub(super) fn plain(error: &RedisError) -> String {
    let said = error.detail().map_or_else(|| error.to_string(), str::to_owned);
    let code = error.code().unwrap_or_default();
    let line: String = said.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect();
    if line.starts_with(code) { line } else { format!("{code} {line}") }
}

/// Why there is no connection to the store.
#[derive(Debug, thiserror::Error)]
pub enum ConnectFault {
    /// Not reachable.
    #[error("{0} cannot be reached: {1}")]
    Unreachable(String, #[source] io::Error),
    /// No TLS.
    #[error("the TLS handshake with {0} failed: {1}")]
    Tls(String, String),
    /// Not within the time for connecting.
    #[error("{0} did not answer in time")]
    Timeout(String),
    /// The password cannot be read.
    #[error("the password of the shared store cannot be read: {0}")]
    Password(#[source] crate::base::secret::source::SourceError),
    /// The store does not know us.
    #[error("{0} refuses the user or the password: check username and password of [shared], and the store's ACL ({1})")]
    Credentials(String, String),
    /// It speaks something else.
    #[error("{0} does not speak the protocol of Redis as expected ({1}): check url, and whether it needs rediss")]
    Protocol(String, String),
    /// It is too old.
    #[error("{0} is of version {1}: Redis 7 or Valkey 7.2, or a later one, is needed")]
    Version(String, String),
    /// It takes no writes.
    #[error("{0} is a replica, and takes no writes: name the primary in url, or name the sentinels")]
    Replica(String),
    /// The sentinels know no such primary.
    #[error("no sentinel of {0} knows the primary {1:?}: check the host in url and sentinels")]
    Sentinels(String, String),
    /// The sentinels name another primary.
    #[error("the sentinels have made another server the primary in the place of {0}")]
    Moved(String),
    /// What was tried at the start failed.
    #[error("{0} cannot be used: {1}")]
    Unusable(String, StoreError),
}
