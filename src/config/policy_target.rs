//! Who is judged: a listener, or one of its callers.

use super::{CallerConfig, ListenerConfig};
use crate::proxy::policy::Policy;

/// A listener, or one of its callers, and what is open to it.
#[derive(Debug, Clone, Copy)]
pub struct PolicyTarget<'a> {
    /// The listener.
    pub listener: &'a ListenerConfig,
    /// The caller, if callers are told apart.
    pub caller: Option<&'a CallerConfig>,
}

impl<'a> PolicyTarget<'a> {
    /// What is open.
    pub fn policy(&self) -> &'a Policy {
        self.caller.map_or(&self.listener.policy, |caller| &caller.policy)
    }

    /// Whether its writes are not sent.
    pub fn tries_writes(&self) -> bool {
        self.caller.map_or(self.listener.tries_writes, |caller| caller.tries_writes)
    }

    /// The caller's name, if callers are told apart.
    pub fn caller(&self) -> Option<&'a str> {
        self.caller.map(|caller| caller.entry.name.as_str())
    }

    /// The name in tables and warnings.
    pub fn name(&self) -> String {
        let listener = &self.listener.name;
        self.caller().map_or_else(|| listener.clone(), |caller| format!("{listener}.callers.{caller}"))
    }
}

impl ListenerConfig {
    /// The listener without callers, or each of its callers.
    pub fn subjects(&self) -> Vec<PolicyTarget<'_>> {
        match self.callers.as_slice() {
            [] => vec![PolicyTarget { listener: self, caller: None }],
            callers => callers.iter().map(|caller| PolicyTarget { listener: self, caller: Some(caller) }).collect(),
        }
    }
}
