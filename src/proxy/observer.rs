//! Tells access log, metrics, trace, and usage what the proof of each stage says of a request.

use std::sync::Arc;

use crate::observe::access_log::RequestLog;
use crate::proxy::audit::Audited;
use crate::proxy::authn::Authenticated;
use crate::proxy::caller_context::{CallerContext, Judged, Permitted};
use crate::proxy::policy::Judgment;
use crate::proxy::policy::catalog::OperationId;
use crate::proxy::response;
use crate::proxy::upstream::{Outbound, Reason, UpstreamAnswer};

/// A proof that has something to tell.
pub(super) trait Observed {
    /// Tells it.
    fn tell(&mut self, log: &mut RequestLog);
}

/// Takes down what a proof says. It stays where it is: one that is handed over and back is copied twice.
pub(super) fn observe(log: &mut RequestLog, proof: &mut impl Observed) {
    proof.tell(log);
}

impl Observed for Authenticated<'_, CallerContext> {
    fn tell(&mut self, log: &mut RequestLog) {
        log.set_caller(self.caller.id().index());
        if let Some(organizations) = self.context.organizations() {
            log.set_organizations(Arc::clone(organizations));
        }
    }
}

impl Observed for Judged<'_> {
    fn tell(&mut self, log: &mut RequestLog) {
        let permit = match &self.judgment {
            Judgment::Permitted(permit) => permit,
            Judgment::Conditional(conditional) => conditional.permit(),
        };
        log.set_operation(permit.operation().map(OperationId::index));
        if let Some(user) = self.context.user(permit) {
            log.set_user(user);
        }
        if self.dry_run.is_some() {
            log.set_dry_run();
        }
    }
}

impl Observed for Permitted<'_> {
    fn tell(&mut self, log: &mut RequestLog) {
        let Self { within, context } = self;
        let permit = within.permit();
        context.count_use(permit);
        match permit.overruled() {
            None => log.set_permitted(context.rule(permit)),
            Some(closed) => log.set_overruled(response::code(&closed.barrier), closed.barrier.rule().into()),
        }
    }
}

impl Observed for Audited {
    fn tell(&mut self, log: &mut RequestLog) {
        log.set_audit_entry(self.take_entry());
    }
}

impl Observed for Outbound {
    fn tell(&mut self, log: &mut RequestLog) {
        if let Some(progress) = self.progress() {
            log.count_received(progress.count());
        }
    }
}

impl Observed for UpstreamAnswer {
    fn tell(&mut self, log: &mut RequestLog) {
        log.set_upstream_times((self.sent, self.came), &self.head.headers);
        let Some((kind, reason)) = self.reason.and_then(|kind| Some((kind, kind.as_str()?))) else { return };
        log.set_reason(reason);
        if kind == Reason::UserContextRequired
            && let Some(left_out) = log.warning_due(reason)
        {
            tracing::warn!(
                id = %log.id(), reason, left_out,
                "NinjaOne refused a request because the operation needs a signed-in user, which client credentials do not have: run ninjaone-proxy login NAME, and write user = NAME into the listener"
            );
        }
    }
}
