//! The stage of the audit log: what may change something is recorded before it goes up.

use crate::observe::audit_log::entry::RequestFacts;
use crate::observe::audit_log::{AuditLog, OpenEntry, Unrecorded};
use crate::proxy::policy::{Permit, is_write};
use crate::proxy::quota::WithinQuota;

/// The proof that a permitted request may be sent: where there is an audit log, a write is recorded in it.
/// [`crate::proxy::upstream`] sends nothing else.
#[derive(Debug)]
pub struct Audited {
    permit: Permit,
    entry: Option<OpenEntry>,
}

impl Audited {
    /// Records the intent of a write, and waits until that is safe. What else is permitted passes at once; only what
    /// the rules close, where they are observed, will have its end recorded too.
    pub async fn record(
        log: &AuditLog,
        within: WithinQuota,
        facts: impl FnOnce(&Permit) -> RequestFacts,
    ) -> Result<Self, Unrecorded> {
        let permit = within.into_permit();
        let entry = if is_write(permit.method()) {
            log.write(|| facts(&permit)).await?
        } else if permit.overruled().is_some() {
            log.observed_read(|| facts(&permit))
        } else {
            None
        };
        Ok(Self { permit, entry })
    }

    /// The proof for a read that the proxy makes by itself, which no audit log asks for; `None` for a write.
    pub(crate) fn read_of_our_own(permit: Permit) -> Option<Self> {
        (!is_write(permit.method()) && permit.overruled().is_none()).then_some(Self { permit, entry: None })
    }

    /// What the audit log waits for.
    pub fn take_entry(&mut self) -> Option<OpenEntry> {
        self.entry.take()
    }

    /// The permit.
    pub fn permit(&self) -> &Permit {
        &self.permit
    }
}
