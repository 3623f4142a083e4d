//! Whose fault a refusal is, in logs and metrics.

/// Whose fault a refusal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The request is wrong, or not allowed.
    Caller,
    /// This proxy's configuration or state.
    Proxy,
    /// The instance or its token endpoint.
    Upstream,
}

impl Fault {
    /// The name in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Proxy => "proxy",
            Self::Upstream => "upstream",
        }
    }
}
