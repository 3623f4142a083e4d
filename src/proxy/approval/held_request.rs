//! A request that needs an approval: all that an approver is shown, and what the approval is bound to.

use bytes::Bytes;
use http::Method;
use http::header::HeaderValue;
use http::uri::PathAndQuery;

use super::binding::Binding;
use crate::base::clock::Moment;
use crate::observe::audit_log::entry::RequestFacts;
use crate::proxy::policy::catalog::{Operation, OperationName, Risk};
use crate::proxy::policy::group::Group;

/// A request that needs an approval, whole.
#[derive(Debug, Clone)]
pub struct HeldRequest {
    /// What the audit log tells of it: its id, listener, caller, user and so on.
    pub facts: RequestFacts,
    /// The method to send.
    pub method: Method,
    /// The canonical target to send.
    pub target: PathAndQuery,
    /// The host of the instance that it goes to.
    pub instance: String,
    /// The operation; `None` for one that only a rule knows.
    pub operation: Option<HeldOperation>,
    /// How the body is to be read.
    pub content_type: Option<HeaderValue>,
    /// How the body is compressed.
    pub content_encoding: Option<HeaderValue>,
    /// The body, at most [`super::MAX_BODY`] bytes.
    pub body: Bytes,
    /// The rule that asks for the approval, as written.
    pub rule: String,
    /// Why, as the rule says.
    pub reason: Option<String>,
    /// Whether as many approvers as for operations of critical risk are needed.
    pub critical: bool,
}

/// What never changes of an approval: the request that was shown. Its body may be kept elsewhere.
#[derive(Debug, Clone)]
pub(super) struct ShownRequest {
    pub(super) held: HeldRequest,
    pub(super) binding: Binding,
    /// The size of the body.
    pub(super) body_bytes: usize,
    pub(super) asked: Moment,
    pub(super) expires: Moment,
}

/// What the catalogue knows of the operation of a held request.
#[derive(Debug, Clone)]
pub struct HeldOperation {
    /// Method and path template.
    pub name: String,
    /// The group that it belongs to, which says what it may change.
    pub group: &'static Group,
    /// What harm a wrong call can do.
    pub risk: Risk,
    /// Whether a second, equal request leaves NinjaOne in the same state as one.
    pub idempotent: bool,
}

impl HeldOperation {
    /// Of an operation of the catalogue.
    pub fn of(operation: &Operation) -> Self {
        let Operation { group, risk, idempotent, .. } = operation;
        Self { name: OperationName(operation).to_string(), group, risk: *risk, idempotent: *idempotent }
    }
}

impl HeldRequest {
    /// The operation's name; of one that only a rule knows the method and the word `none`.
    pub fn operation_name(&self) -> String {
        let unknown = || format!("{} (an operation that the catalog does not have)", self.method);
        self.operation.as_ref().map_or_else(unknown, |operation| operation.name.clone())
    }

    /// What harm it can do; that of an unknown operation is taken as critical.
    pub fn risk(&self) -> Risk {
        self.operation.as_ref().map_or(Risk::Critical, |operation| operation.risk)
    }
}
