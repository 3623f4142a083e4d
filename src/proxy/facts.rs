//! The fields of a request for the audit log and the status page, and the rule that decided it.
//!
//! The path has its ids: a person who looks for what was done wants to know to which device. The query and the body are
//! not told: they hold values, personal data and secrets among them.

use http::{StatusCode, Uri};

use crate::observe::access_log::RequestLog;
use crate::observe::audit_log::entry::{RequestFacts, Text};
use crate::observe::refusals::RefusedRequest;
use crate::proxy::authn::AuthnError;
use crate::proxy::policy::path::Target;
use crate::proxy::policy::{Permit, PolicyRefusal};
use crate::proxy::response::{RefusalSummary, Rejection};

/// Of a request that was let pass.
pub(super) fn of_permit(record: &RequestLog, permit: &Permit) -> RequestFacts {
    RequestFacts { path: Some(Text::new(permit.target().path())), ..record.facts() }
}

/// Of a request that the proxy answers itself; its path as it came if it has no canonical form.
pub(super) fn of_refusal(record: &RequestLog, uri: &Uri) -> RequestFacts {
    RequestFacts { path: Some(Text::new(path(uri))), ..record.facts() }
}

/// A path in canonical form, or as it came if it has none.
fn path(uri: &Uri) -> &str {
    Target::canonical(uri).map_or(uri.path(), |target| target.path())
}

/// Takes down what of the policy refuses a request, if the policy does, and what is wrong with a key. A target that
/// cannot be judged no rule refuses.
pub(super) fn decided(record: &mut RequestLog, rejection: &Rejection) {
    match rejection {
        Rejection::Policy(PolicyRefusal::Closed(closed)) => record.set_closed_by(Some(closed.barrier.rule().into())),
        Rejection::Policy(PolicyRefusal::UnknownOperation | PolicyRefusal::MethodNotAllowed { .. }) => {
            record.set_closed_by(None)
        }
        Rejection::Guard(AuthnError::WrongKey(hint)) | Rejection::Grant(AuthnError::WrongKey(hint)) => {
            record.set_reason(hint.as_str())
        }
        Rejection::Policy(PolicyRefusal::Malformed(_)) | Rejection::Guard(_) | Rejection::Grant(_) => {}
        Rejection::Loop(_) | Rejection::Uses(_) | Rejection::Quota(_) | Rejection::Audit(_) => {}
        Rejection::NothingInvented | Rejection::Connect(_) | Rejection::Fence(_) => {}
        Rejection::Token(_) | Rejection::Rate(_) | Rejection::Approval(_) | Rejection::ApprovalStatus(_) => {}
        Rejection::Upstream(_) | Rejection::Buffers(_) | Rejection::Panic(_) => {}
    }
}

/// What the status page shows of a request that the proxy answers itself.
pub(super) fn to_show(
    record: &RequestLog,
    uri: Option<&Uri>,
    status: StatusCode,
    outcome: RefusalSummary,
) -> RefusedRequest {
    let RequestFacts { listener, caller, operation, .. } = record.facts();
    RefusedRequest {
        listener,
        caller,
        method: record.method().map(ToString::to_string),
        operation: record.has_operation().then_some(operation),
        path: uri.map(|uri| path(uri).to_owned()),
        status: status.as_u16(),
        code: outcome.code,
        blame: outcome.blame.as_str(),
        reason: outcome.detail,
    }
}
