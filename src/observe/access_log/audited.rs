//! What the audit log hears of a request, in the words of the access log.

use http::Method;

use super::RequestLog;
use crate::observe::audit_log::entry::{DecisionLabel, RequestFacts, Text};
use crate::observe::audit_log::{AuditLog, OpenEntry};

impl RequestLog {
    /// What the audit log tells of it, in the words of the access log; its path is left open.
    pub fn facts(&self) -> RequestFacts {
        RequestFacts {
            id: self.id.to_string(),
            trace: self.trace.map(|trace| trace.to_string()),
            listener: self.sink.meter.listener().to_owned(),
            caller: self.sink.meter.caller(self.caller).map(str::to_owned),
            user: self.user.as_deref().map(str::to_owned),
            organizations: self.organizations.as_deref().map(str::to_owned),
            peer: self.peer.to_string(),
            method: self.method.as_ref().map(Method::as_str).map(Text::new),
            operation: self.sink.meter.operation(self.operation).to_owned(),
            path: None,
            decision: self.decision.unwrap_or(DecisionLabel::Refused),
            overruled: self.overruled,
            dry_run: self.dry_run,
            rule: self.rule.as_deref().map(Text::new),
            approval: self.approval.as_deref().map(str::to_owned),
        }
    }

    /// The audit log waits for its end.
    pub fn set_audit_entry(&mut self, entry: Option<OpenEntry>) {
        self.audit_entry = entry;
    }

    /// The audit log hears of it as a refusal, unless it waits for its end already.
    pub fn audit_refusal(&mut self, audit_log: &AuditLog, facts: impl FnOnce(&Self) -> RequestFacts) {
        if self.audit_entry.is_none() {
            self.audit_entry = audit_log.refusal(|| facts(self));
        }
    }

    /// Tells the audit log how it ended, if it waits for that; waits until a write's outcome is safe there.
    pub async fn settle(&mut self) {
        let outcome = self.outcome();
        if let Some(entry) = self.audit_entry.take() {
            entry.close(outcome).await;
        }
    }
}
