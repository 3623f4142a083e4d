//! What the audit log and the status page are told of a request, and which rule decided it.
//!
//! The path is told with its ids: who looks for what was done wants to know to which device. The query and the body are
//! not told: they hold values, personal data and secrets among them.

use http::{StatusCode, Uri};

use crate::observe::access_log::Record;
use crate::observe::audit_log::line::{Facts, Text};
use crate::observe::refusals::What;
use crate::proxy::policy::path::Target;
use crate::proxy::policy::{Permit, Refusal};
use crate::proxy::response::{Outcome, Rejection};

/// Of a request that was let pass.
pub(super) fn of_permit(record: &Record, permit: &Permit) -> Facts {
    Facts { path: Some(Text::new(permit.target().path())), ..record.facts() }
}

/// Of a request that the proxy answers itself; its path as it came if it has no canonical form.
pub(super) fn of_refusal(record: &Record, uri: &Uri) -> Facts {
    let path = Target::canonical(uri).map_or(uri.path(), |target| target.path());
    Facts { path: Some(Text::new(path)), ..record.facts() }
}

/// Takes down what of the policy refuses a request, if the policy does. A target that cannot be judged no rule refuses.
pub(super) fn decided(record: &mut Record, rejection: &Rejection) {
    match rejection {
        Rejection::Policy(Refusal::Closed(closed)) => record.closed_by(Some(closed.barrier.rule().into())),
        Rejection::Policy(Refusal::UnknownOperation | Refusal::MethodNotAllowed { .. }) => record.closed_by(None),
        Rejection::Policy(Refusal::Malformed(_)) | Rejection::Guard(_) | Rejection::Grant(_) => {}
        Rejection::Loop(_) | Rejection::Audit(_) | Rejection::Token(_) | Rejection::Rate(_) => {}
        Rejection::Upstream(_) | Rejection::Buffers(_) | Rejection::Panic(_) => {}
    }
}

/// What the status page shows of a request that the proxy answers itself.
pub(super) fn to_show(record: &Record, uri: Option<&Uri>, status: StatusCode, outcome: Outcome) -> What {
    let Facts { listener, caller, operation, .. } = record.facts();
    let path = uri.map(|uri| Target::canonical(uri).map_or(uri.path(), |target| target.path()).to_owned());
    What {
        listener,
        caller,
        method: record.method().map(ToString::to_string),
        operation: record.is_known().then_some(operation),
        path,
        status: status.as_u16(),
        code: outcome.code,
        blame: outcome.blame.as_str(),
        reason: outcome.detail,
    }
}
