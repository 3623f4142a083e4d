//! What is limited of an instance, and the refusal of a request whose turn does not come in time.

use std::num::NonZeroU32;
use std::time::Duration;

/// What the configuration says of one instance.
#[derive(Debug, Clone, PartialEq)]
pub struct RateLimits {
    /// Requests a second in the long run, more than 0, and at once.
    pub pace: Option<(f64, NonZeroU32)>,
    /// Requests whose answers have not ended.
    pub concurrent: Option<NonZeroU32>,
    /// The longest that a request is held back.
    pub wait: Duration,
    /// The longest `Retry-After` with which a read is sent again; 0: it never is.
    pub retry_after_max: Duration,
}

/// What holds a request back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// So many requests a second.
    Pace,
    /// So many at a time.
    Concurrent,
    /// The instance has answered 429 and wants to be left alone.
    CoolDown,
}

/// The turn of a request would not come, or did not come, in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the request's turn does not come in time ({limit:?})")]
pub struct RateLimited {
    /// What held it back.
    pub limit: Limit,
    /// When it may be worth another try.
    pub retry_after: Duration,
}
