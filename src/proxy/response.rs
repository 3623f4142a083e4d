//! Answers to the caller: NinjaOne's, relayed, or our own refusal, by the refusal table.

mod approval;
mod authn;
mod connect;
mod decision;
mod fenced;
mod own;
mod policy;
mod problem;
mod proxy_state;
mod quota;
mod rate_limit_fields;
pub mod refusal_table;
mod relay;
mod simulated;
mod token;
mod upstream;

use bytes::Bytes;
use std::time::Duration;

use http::{Method, Response, StatusCode, Uri};
use http_body_util::Full;

use crate::base::panic_guard::Panicked;
use crate::net::listener::BuffersFull;
use crate::observe::access_log::Fault;
use crate::observe::audit_log::Unrecorded;
use crate::proxy::approval::{NoStatus, Unapproved};
use crate::proxy::authn::AuthnError;
use crate::proxy::connect::ConnectRefusal;
use crate::proxy::fence::FenceError;
use crate::proxy::headers::loops::LoopError;
use crate::proxy::policy::catalog::{OperationId, OperationName};
use crate::proxy::policy::{DenyReason, Policy, PolicyRefusal};
use crate::proxy::quota::QuotaExceeded;
use crate::proxy::rate_limit::RateLimited;
use crate::proxy::token::NoToken;
use crate::proxy::upstream::UpstreamError;
use crate::proxy::uses::UseError;
pub use approval::{approval_status, held};
pub use decision::DecisionRefusal;
pub use fenced::{enclosed, whole};
pub use own::{connected, granted, preflight, proxy_config, share};
use problem::{Refusal, RequestContext};
pub use rate_limit_fields::tell_quotas;
use refusal_table::RefusalKind;
pub use relay::{ResponseBody, relay};
pub use simulated::simulated;

/// Where a person grants scopes and finds ids.
pub(crate) const CONSOLE: &str = "Administration > Apps > API > Client App IDs";
/// Where an administrator of NinjaOne finds the tokens of persons.
pub(crate) const CONSOLE_TOKENS: &str = "Administration > Apps > API > OAuth Tokens";

/// Why a request got no answer of NinjaOne's.
#[derive(Debug, thiserror::Error)]
pub enum Rejection {
    /// It has been here before.
    #[error(transparent)]
    Loop(#[from] LoopError),
    /// The guard did not let it in.
    #[error(transparent)]
    Guard(#[from] AuthnError),
    /// The guard granted no local token.
    #[error(transparent)]
    Grant(AuthnError),
    /// It is a `CONNECT`, and goes nowhere.
    #[error(transparent)]
    Connect(#[from] ConnectRefusal),
    /// The policy did not permit it.
    #[error(transparent)]
    Policy(#[from] PolicyRefusal),
    /// The uses of its rule cannot be counted.
    #[error(transparent)]
    Uses(#[from] UseError),
    /// It needs an approval, and has none.
    #[error(transparent)]
    Approval(#[from] Unapproved),
    /// The caller may not see the state of an approval.
    #[error(transparent)]
    ApprovalStatus(#[from] NoStatus),
    /// A quota that it needs one of is used up.
    #[error(transparent)]
    Quota(#[from] QuotaExceeded),
    /// It is a write, and cannot be recorded.
    #[error(transparent)]
    Audit(#[from] Unrecorded),
    /// There is no token.
    #[error(transparent)]
    Token(#[from] NoToken),
    /// Its turn did not come in time.
    #[error(transparent)]
    Rate(#[from] RateLimited),
    /// It is not to be sent, and there is no answer to it.
    #[error("nothing is known of the answers of this operation, so none can be invented")]
    NothingInvented,
    /// NinjaOne could not be asked, or its answer could not be used.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// Its caller is kept to organizations, and it, or its answer, is not about them.
    #[error(transparent)]
    Fence(#[from] FenceError),
    /// Too much waits for callers who do not read.
    #[error(transparent)]
    Buffers(#[from] BuffersFull),
    /// A mistake in the proxy ended it.
    #[error(transparent)]
    Panic(#[from] Panicked),
}

/// What a refusal may tell about the place where it happened.
#[derive(Debug, Clone, Copy)]
pub struct RefusalContext<'a> {
    /// The listener's name.
    pub listener: &'a str,
    /// The caller's name, once it is known; `None` also where callers are not told apart.
    pub caller: Option<&'a str>,
    /// The scopes of the caller or else of the listener, separated by spaces.
    pub scopes: &'a str,
    /// The person whose token the request needs; `None` if that is the machine's, or before it is known.
    pub user: Option<&'a str>,
    /// The instance's host.
    pub instance: &'a str,
    /// The request's method.
    pub method: &'a str,
    /// The request's path, as it came.
    pub path: &'a str,
    /// The id of the request in the log.
    pub request_id: &'a str,
    /// The operation, once it is known.
    pub operation: Option<OperationName<'a>>,
    /// What the policy was asked, once the caller is known.
    pub judged: Option<JudgedBy<'a>>,
}

/// A request and the policy that judges it.
#[derive(Debug, Clone, Copy)]
pub struct JudgedBy<'a> {
    /// The policy of the caller, or else of the listener.
    pub policy: &'a Policy,
    /// The request's method.
    pub method: &'a Method,
    /// The request's target, as it came.
    pub uri: &'a Uri,
}

/// What the logs take down of a refusal.
pub struct RefusalSummary {
    /// The stable code.
    pub code: &'static str,
    /// Whose fault it is.
    pub blame: Fault,
    /// The text for the caller.
    pub detail: String,
}

impl From<Refusal> for RefusalSummary {
    fn from(refusal: Refusal) -> Self {
        let row = refusal.kind.row();
        Self { code: row.code, blame: row.blame, detail: refusal.detail }
    }
}

impl Rejection {
    /// The operation of the catalogue that the policy refuses.
    pub fn operation(&self) -> Option<OperationId> {
        match self {
            Self::Policy(refusal) => refusal.operation(),
            Self::Loop(_) | Self::Guard(_) | Self::Grant(_) | Self::Audit(_) | Self::Token(_) => None,
            Self::NothingInvented | Self::Connect(_) | Self::Fence(_) => None,
            Self::Uses(_) | Self::Approval(_) | Self::ApprovalStatus(_) | Self::Quota(_) => None,
            Self::Rate(_) | Self::Upstream(_) | Self::Buffers(_) | Self::Panic(_) => None,
        }
    }

    fn refusal(&self, scene: &RefusalContext<'_>) -> Refusal {
        match self {
            Self::Loop(error) => upstream::loop_refusal(*error, scene.instance),
            Self::Guard(error) | Self::Grant(error) => authn::refusal(error, scene),
            Self::Connect(refusal) => connect::refusal(refusal, scene),
            Self::Policy(refusal) => policy::refusal(refusal, scene),
            Self::Uses(error) => proxy_state::uses_refusal(error),
            Self::NothingInvented => simulated::refusal(),
            Self::Approval(unapproved) => approval::refusal(unapproved),
            Self::ApprovalStatus(error) => approval::status_refusal(*error),
            Self::Quota(exceeded) => quota::refusal(exceeded, scene),
            Self::Audit(unrecorded) => proxy_state::audit_refusal(*unrecorded),
            Self::Token(no_token) => token::refusal(no_token, scene),
            Self::Rate(late) => upstream::rate_refusal(*late, scene),
            Self::Upstream(fault) => upstream::refusal(fault, scene),
            Self::Fence(error) => fenced::refusal(error, scene),
            Self::Buffers(_) => proxy_state::buffers_refusal(),
            Self::Panic(_) => proxy_state::panic_refusal(scene),
        }
    }
}

/// Our own answer to a request that gets none of NinjaOne's.
pub fn refuse(rejection: &Rejection, scene: &RefusalContext<'_>) -> (Response<ResponseBody>, RefusalSummary) {
    let refusal = rejection.refusal(scene);
    let operation = scene.operation.map(|name| name.to_string());
    let response = refusal.response(RequestContext {
        id: Some(scene.request_id),
        operation: operation.as_deref(),
        wants_token: matches!(rejection, Rejection::Grant(_)),
    });
    (response.map(ResponseBody::Own), refusal.into())
}

/// The answer to a head that the parser refuses, byte for byte: its own head and its body.
pub fn refuse_head(status: StatusCode, request_id: Option<&str>) -> ([Vec<u8>; 2], RefusalSummary) {
    let refusal = authn::head_refusal(status);
    (refusal.bytes(request_id), refusal.into())
}

/// The refusal of a request that has been here before, on a listener that serves no instance.
pub fn refuse_loop(error: LoopError) -> Response<Full<Bytes>> {
    upstream::loop_refusal(error, "an instance").response(RequestContext::default())
}

/// The refusal of a request that the guard does not let in, on a listener for people and programs of this machine.
pub fn refuse_foreign(error: &AuthnError) -> Response<Full<Bytes>> {
    let detail = format!("{error}: call localhost, and no web page may");
    Refusal::new(authn::kind(error), detail).response(RequestContext::default())
}

/// The refusal of a request that calls a name, on a listener that is called by its address only.
pub fn refuse_name() -> Response<Full<Bytes>> {
    Refusal::new(RefusalKind::HostNotOurs, "Call the address, not a name.").response(RequestContext::default())
}

/// The refusal of a path that a listener for people and programs does not have; `paths` are those that it has.
pub fn refuse_path(paths: &str) -> Response<Full<Bytes>> {
    Refusal::new(RefusalKind::PathUnknown, format!("Nothing is here: use {paths}.")).response(RequestContext::default())
}

/// The refusal of a method that changes something, where there is only something to read.
pub fn refuse_write() -> Response<Full<Bytes>> {
    Refusal::new(RefusalKind::ReadOnly, "Use GET.").response(RequestContext::default())
}

/// The refusal of one status page too many.
pub fn refuse_status_page() -> Response<Full<Bytes>> {
    let detail = "Too many status pages are open: close one, or load this one again for a later state.";
    let refusal = Refusal::new(RefusalKind::StatusPagesFull, detail).after(Duration::from_secs(5));
    refusal.response(RequestContext::default())
}

/// What [`refuse`] would say: status, code and detail.
pub fn preview(rejection: &Rejection, scene: &RefusalContext<'_>) -> (StatusCode, &'static str, String) {
    let refusal = rejection.refusal(scene);
    let row = refusal.kind.row();
    (row.status, row.code, refusal.detail)
}

/// The table of the configuration that has the rules of a listener, or of one of its callers.
pub fn table(listener: &str, caller: Option<&str>) -> String {
    match caller {
        Some(caller) => format!("listeners.{listener}.callers.{caller}"),
        None => format!("listeners.{listener}"),
    }
}

/// The code of a refusal for what is closed.
pub fn code(barrier: &DenyReason) -> &'static str {
    policy::kind(barrier).row().code
}
