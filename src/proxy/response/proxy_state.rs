//! Refusals by the state of the proxy: uses that cannot be counted, an audit log that cannot be written, memory, bugs.

use super::problem::Refusal;
use super::refusal_table::RefusalKind;
use super::{RefusalContext, upstream};
use crate::observe::audit_log::Unrecorded;
use crate::proxy::uses::UseError;

pub(super) fn uses_refusal(error: &UseError) -> Refusal {
    let limited =
        "The request was not sent: the rule that opens it may be used a limited number of times (max-uses), and";
    match error {
        UseError::UsedUp(_) | UseError::Uncountable | UseError::Uncounted { .. } => {
            let detail = format!("{limited} {error}. The proxy's log has the details. Other requests still pass.");
            Refusal::new(RefusalKind::UsesUncounted, detail)
        }
        UseError::Store(_) | UseError::Unsettled => {
            let detail =
                format!("{limited} {error}. Other requests still pass, and so will this one when the store is back.");
            Refusal::new(RefusalKind::UsesStoreDown, detail)
        }
    }
}

pub(super) fn audit_refusal(unrecorded: Unrecorded) -> Refusal {
    let detail = format!(
        "The write was not sent: {unrecorded}, and a write that cannot be recorded is refused (on-failure in [audit]). The proxy's log has the details. Reads still pass, and so will writes as soon as the audit log can be written."
    );
    Refusal::new(RefusalKind::AuditUnavailable, detail)
}

pub(super) fn buffers_refusal() -> Refusal {
    let detail = "The memory for messages on their way (limits.buffers) is used up: too many callers do not read their answers, or too many large messages are on their way at once. Try again after the time in Retry-After. After timeouts.client the proxy disconnects callers that do not read.";
    Refusal::new(RefusalKind::BuffersFull, detail)
}

pub(super) fn panic_refusal(scene: &RefusalContext<'_>) -> Refusal {
    let detail = format!(
        "A bug in the proxy ended this request; other requests are not affected. The proxy's log has the place, under this request id: please report it.{}",
        upstream::write_warning(scene)
    );
    Refusal::new(RefusalKind::InternalError, detail)
}
