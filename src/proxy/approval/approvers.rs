//! The approvers: who they are, and how each proves it.

use std::time::Duration;

use crate::proxy::authn::key::KeyHash;

/// Somebody who may approve requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approver {
    /// The name in the configuration.
    pub name: String,
    /// The hash of the key.
    pub key: KeyHash,
}

/// The proof that somebody has the key of an approver.
#[derive(Debug, Clone)]
pub struct KnownApprover {
    pub(super) name: String,
    pub(super) key: KeyHash,
}

/// Why somebody is not known as an approver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ApproverError {
    /// The key is nobody's.
    #[error("the key is not that of an approver")]
    WrongKey,
    /// There were too many wrong keys of late.
    #[error("too many wrong keys came of late")]
    Throttled(Duration),
}

/// What an approver says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Yes.
    Approve,
    /// No, which is final.
    Deny,
}

impl Decision {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Deny => "deny",
        }
    }
}

impl KnownApprover {
    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Whose key this is. All hashes are compared, each in constant time.
pub(super) fn find(approvers: &[Approver], key: &[u8]) -> Option<KnownApprover> {
    let hash = KeyHash::of(key);
    let found = approvers.iter().fold(None, |found, own| if own.key.is_same(hash) { Some(own) } else { found });
    found.map(|Approver { name, key }| KnownApprover { name: name.clone(), key: *key })
}

/// Whether somebody who voted with this name and key is still an approver.
pub(super) fn is_current(approvers: &[Approver], name: &str, key: KeyHash) -> bool {
    approvers.iter().any(|own| own.name == name && own.key == key)
}
