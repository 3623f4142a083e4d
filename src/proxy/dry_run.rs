//! The stage of dry runs: a request that may be sent is not. Its answer is invented.

use bytes::Bytes;
use http::Response;
use http::uri::PathAndQuery;

use super::Proxy;
use super::response::{self, Rejection, ResponseBody};
use crate::proxy::audit::Audited;
use crate::proxy::caller_context::CallerContext;
use crate::proxy::policy::catalog::Operation;
use crate::proxy::upstream::{Outbound, UpstreamError};

/// How much of a body is shown to the inventor, in bytes.
const SHOWN: usize = 64 * 1024;

/// Invents the answer to a request for an operation, of the shape that it declares; `None` if that is not known. It is
/// given the target and, if that is short, the body.
pub type InventAnswer = fn(&Operation, &PathAndQuery, &[u8]) -> Option<Response<Bytes>>;

impl Proxy {
    /// Answers a request that may be sent, and does not send it: it must have a token, and its body must come.
    pub(super) async fn simulate(
        &self,
        audited: &Audited,
        context: &CallerContext,
        outbound: Outbound,
    ) -> Result<Response<ResponseBody>, Rejection> {
        let permit = audited.permit();
        context.tokens(permit).bearer(permit).await?;
        let body = outbound.take_body(SHOWN).await.map_err(UpstreamError::Upload)?;
        let operation = permit.operation().and_then(|id| context.policy.catalog().get(id));
        let answer = operation.and_then(|operation| (self.invent_answer)(operation, permit.target(), &body));
        let mut response = response::simulated(answer.ok_or(Rejection::NothingInvented)?);
        response::tell_quotas(response.headers_mut(), &context.quotas(permit));
        Ok(response)
    }
}
