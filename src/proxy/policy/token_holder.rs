//! Whose token a request carries: the machine's, or that of a person who has signed in.

use std::sync::Arc;

use super::catalog::ScopeSet;

/// A person whose token some operations get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyUser {
    /// The name in the configuration.
    pub name: Arc<str>,
    /// All operations get it, not only those that need one.
    pub always: bool,
    /// The scopes of that token.
    pub scopes: ScopeSet,
}

/// Whose token a request carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenHolder {
    /// The machine's: that of the API client app itself.
    Machine,
    /// That of the person of the policy.
    User,
}
