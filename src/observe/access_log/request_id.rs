//! The id of a request, as logs and answers show it.

use std::fmt;

/// A request's id in the log: the worker's part, and a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestId(pub u32, pub u32);

impl RequestId {
    pub(super) fn number(self) -> u64 {
        u64::from(self.0) << 32 | u64::from(self.1)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}{:08x}", self.0, self.1)
    }
}
