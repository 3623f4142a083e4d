//! A request that the proxy answers itself: its refusal, and what logs, audit log and status page take down of it.

use http::request::Parts;
use http::{Method, Response, StatusCode};

use super::{Proxy, facts, tunnel};
use crate::net::listener::Peer;
use crate::observe::access_log::{Fault, RequestLog};
use crate::observe::logging::ErrorChain;
use crate::proxy::authn::AuthnError;
use crate::proxy::authn::callers::CallerId;
use crate::proxy::response::{self, JudgedBy, RefusalContext, Rejection, ResponseBody};

impl Proxy {
    /// Takes down a request whose head the parser refuses; the whole answer, byte for byte.
    pub fn refuse_head(&self, peer: Peer, status: StatusCode) -> Vec<u8> {
        let mut log = self.begin_log(peer, None);
        let ([head, body], outcome) = response::refuse_head(status, Some(&log.id().to_string()));
        log.set_answer(status, Some((outcome.code, outcome.blame)));
        log.audit_refusal(&self.audit_log, RequestLog::facts);
        self.refusals.add(|| facts::to_show(&log, None, status, outcome));
        log.set_sent(body.len());
        [head, body].concat()
    }

    /// Our own answer to a request that gets none of NinjaOne's.
    pub(super) fn refuse(&self, rejection: &Rejection, head: &Parts, log: &mut RequestLog) -> Response<ResponseBody> {
        let operation = rejection.operation();
        if let Some(id) = operation {
            log.set_operation(Some(id.index()));
        }
        let (request_id, user) = (log.id().to_string(), log.user().cloned());
        let caller = log.caller().and_then(|caller| self.authn.callers().get(CallerId(u16::try_from(caller).ok()?)));
        let context = caller.map(|caller| caller.context);
        let scene = RefusalContext {
            listener: self.sink.meter.listener(),
            caller: self.sink.meter.caller(log.caller()),
            scopes: context.map_or("", |context| &context.scopes),
            user: user.as_deref(),
            instance: self.sender.upstream.authority().as_str(),
            method: head.method.as_str(),
            path: head.uri.path(),
            request_id: &request_id,
            operation: operation.zip(context).and_then(|(id, context)| context.policy.catalog().name(id)),
            judged: context.map(|context| JudgedBy { policy: &context.policy, method: &head.method, uri: &head.uri }),
        };
        let (response, outcome) = response::refuse(rejection, &scene);
        // What the caller did wrong is in the access log; why there is no token, the token's own room tells once.
        if matches!(rejection, Rejection::Upstream(_) | Rejection::Fence(_)) && outcome.blame != Fault::Caller {
            let (code, error) = (outcome.code, ErrorChain(rejection));
            match log.warning_due(code) {
                Some(left_out) => tracing::warn!(id = %request_id, code, %error, left_out, "request failed"),
                None => tracing::debug!(id = %request_id, code, %error, "request failed"),
            }
        }
        // Few tools show more of a refused CONNECT than its status. One without a key is often only the first half.
        if head.method == Method::CONNECT
            && !matches!(rejection, Rejection::Guard(AuthnError::NoProxyKey))
            && let Some(left_out) = log.warning_due(outcome.code)
        {
            let (server, detail) = (tunnel::server(&head.uri), &outcome.detail);
            tracing::warn!(id = %request_id, server, code = outcome.code, %detail, left_out, "CONNECT refused");
        }
        if let Rejection::Panic(panicked) = rejection {
            log.log_panic(panicked);
        }
        facts::decided(log, rejection);
        log.set_answer(response.status(), Some((outcome.code, outcome.blame)));
        log.audit_refusal(&self.audit_log, |log| facts::of_refusal(log, &head.uri));
        let status = response.status();
        self.refusals.add(|| facts::to_show(log, Some(&head.uri), status, outcome));
        response
    }
}
