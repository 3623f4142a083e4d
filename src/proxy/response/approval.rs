//! What a caller is told of an approval: 202 while it waits, its state, or a refusal.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, LOCATION, RETRY_AFTER};
use http::{Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;
use std::time::Duration;

use super::problem::{PROXY_STATUS, Refusal, insert};
use super::proxy_state::{audit_refusal, buffers_refusal};
use super::refusal_table::RefusalKind;
use super::relay::ResponseBody;
use crate::base::clock::utc;
use crate::proxy::approval::{ApprovalSummary, MAX_BODY, MAX_OPEN, MAX_OPEN_OF_CALLER, NoStatus, State, Unapproved};

/// How long a caller waits before it asks again; in seconds.
const AGAIN: u16 = 5;

/// An approval, as its caller reads it.
#[derive(Serialize)]
struct StatusDocument<'a> {
    id: String,
    state: &'a str,
    operation: &'a str,
    asked: String,
    expires: String,
    /// How many approvers have said yes, and how many must.
    approvals: usize,
    required: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<&'a str>,
    status: String,
    next: String,
}

/// The answer to a request that waits for its approval: where its state is told, and how it goes on.
pub fn held(summary: &ApprovalSummary) -> Response<ResponseBody> {
    let mut response = approval_status(summary);
    *response.status_mut() = StatusCode::ACCEPTED;
    let headers = response.headers_mut();
    insert(headers, LOCATION, HeaderValue::try_from(summary.id.status_path()).ok());
    headers.insert(RETRY_AFTER, HeaderValue::from(AGAIN));
    headers.insert(PROXY_STATUS, HeaderValue::from_static("ninjaone-proxy; details=\"approval-waiting\""));
    response
}

/// The state of an approval.
pub fn approval_status(summary: &ApprovalSummary) -> Response<ResponseBody> {
    let ApprovalSummary { id, state, operation, asked, expires, given, required, reason, comment, .. } = summary;
    let document = StatusDocument {
        id: id.to_string(),
        state: state.as_str(),
        operation,
        asked: utc::seconds(*asked),
        expires: utc::seconds(*expires),
        approvals: *given,
        required: *required,
        reason: reason.as_deref(),
        comment: comment.as_deref(),
        status: id.status_path(),
        next: next(summary),
    };
    let mut body = serde_json::to_vec(&document).unwrap_or_default();
    body.push(b'\n');
    let mut response = Response::new(ResponseBody::Own(Full::new(Bytes::from(body))));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if *state == State::Waiting {
        headers.insert(RETRY_AFTER, HeaderValue::from(AGAIN));
    }
    response
}

/// What the caller does now.
fn next(ApprovalSummary { id, state, required, is_withdrawn, .. }: &ApprovalSummary) -> String {
    match state {
        State::Waiting => {
            let who = if *required == 1 { "An approver".to_owned() } else { format!("{required} approvers") };
            format!(
                "{who} must approve the request. Get the path in status until the state is approved. Then send the same request again, byte for byte, with the header X-Approval-Id: {id}."
            )
        }
        State::Approved => format!(
            "Send the same request again, byte for byte, with the header X-Approval-Id: {id}. It passes once, until the time in expires."
        ),
        State::Denied => "An approver denied the request: it was not sent, and will not be.".to_owned(),
        State::Expired if *is_withdrawn => "The caller disconnected before there was an answer: the request was not sent. Send it again to ask anew.".to_owned(),
        State::Expired => {
            "The approval did not come, or was not used, in time: the request was not sent. Send it again without X-Approval-Id to ask anew.".to_owned()
        }
        State::Used => "The approved request went on. Another one needs an approval of its own: send it without X-Approval-Id.".to_owned(),
    }
}

/// The refusal of a request that needs an approval.
pub(super) fn refusal(unapproved: &Unapproved) -> Refusal {
    let refusal = |kind, detail: &str| Refusal::new(kind, format!("The request was not sent: {detail}"));
    match unapproved {
        Unapproved::Denied { comment: None } => refusal(RefusalKind::ApprovalDenied, "an approver denied it."),
        Unapproved::Denied { comment: Some(comment) } => {
            refusal(RefusalKind::ApprovalDenied, &format!("an approver denied it, with the comment {comment:?}."))
        }
        Unapproved::Expired => refusal(
            RefusalKind::ApprovalExpired,
            "its approval did not come, or was not used, within approvals.expires. Send it without X-Approval-Id to ask anew.",
        ),
        Unapproved::Used => refusal(
            RefusalKind::ApprovalUsed,
            "its approval was used before, and an approval is good for one request. Send it without X-Approval-Id to ask for another.",
        ),
        Unapproved::Mismatch(difference) => refusal(
            RefusalKind::ApprovalMismatch,
            &format!(
                "it is not the request that was shown to the approver: its {difference} differs. Send the very same request, or send this one without X-Approval-Id to ask for an approval of its own."
            ),
        ),
        Unapproved::Unknown => refusal(
            RefusalKind::ApprovalUnknown,
            "there is no approval with the id in X-Approval-Id; approvals end with the proxy, and an hour after they were used or expired. Send it without X-Approval-Id to ask for one.",
        ),
        Unapproved::Full => refusal(
            RefusalKind::ApprovalsFull,
            &format!(
                "it needs an approval, and too many requests wait for one: at most {MAX_OPEN_OF_CALLER} of a caller, and {MAX_OPEN} in all. Try again when some of them are decided."
            ),
        )
        .after(Duration::from_secs(AGAIN.into())),
        Unapproved::Impossible => refusal(
            RefusalKind::ApprovalImpossible,
            "it needs an approval, and nobody can give one: the proxy is ending, or has no approver ([approvals.approvers.NAME] in its configuration).",
        ),
        Unapproved::Unreachable => unreachable("The request was not sent: it needs an approval"),
        Unapproved::TooLarge { rule } => refusal(
            RefusalKind::BodyTooLarge,
            &format!(
                "the rule {rule:?} asks for an approval, and its body is larger than the {MAX_BODY} bytes that are shown to an approver. Send less at once."
            ),
        ),
        Unapproved::Buffers(_) => buffers_refusal(),
        Unapproved::Unrecorded(unrecorded) => audit_refusal(*unrecorded),
    }
}

/// The refusal of what needs the store that replicas share.
pub(super) fn unreachable(what: &str) -> Refusal {
    Refusal::new(
        RefusalKind::ApprovalsUnreachable,
        format!(
            "{what}; approvals are shared among replicas, and the shared store cannot be reached. Try again; if it lasts, \"ninjaone-proxy doctor\" says why."
        ),
    )
    .after(Duration::from_secs(AGAIN.into()))
}

/// The refusal of a caller that asks for the state of an approval.
pub(super) fn status_refusal(error: NoStatus) -> Refusal {
    match error {
        NoStatus::Unknown => Refusal::new(
            RefusalKind::ApprovalNotFound,
            "This caller has no approval with this id on this listener; approvals end with the proxy, and an hour after they were decided, used or expired.",
        ),
        NoStatus::Unreachable(_) => unreachable("The state of the approval is not known here"),
        NoStatus::NotARead => {
            Refusal::new(RefusalKind::ReadOnly, "Use GET: an approver decides at the admin listener.")
        }
    }
}
