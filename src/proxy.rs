//! The spine: the one file that knows all the stages, and the order in which a request passes them.

pub mod approval;
pub mod audit;
pub mod authn;
mod body_limits;
mod caller_context;
pub mod connect;
pub mod dry_run;
mod enclosed_answer;
mod enclosing;
mod facts;
pub mod fence;
mod fulfillment;
pub mod headers;
mod local_grant;
mod lookup;
mod observer;
pub mod policy;
pub mod quota;
pub mod rate_limit;
mod refusing;
mod request_ids;
pub mod response;
mod sending;
pub mod token;
mod tunnel;
pub mod upstream;
pub mod uses;

use std::ops::ControlFlow;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use http::header::HeaderValue;
use http::request::Parts;
use http::{Method, Request, Response};
use http_body::Body;

use crate::base::panic_guard;
use crate::net::body::Upload;
use crate::net::listener::{Peer, RequestBody};
use crate::observe::access_log::{LoggedBody, RequestLog, Sink};
use crate::observe::audit_log::AuditLog;
use crate::observe::refusals::RecentRefusals;
use crate::observe::trace_context;
use crate::proxy::approval::{ApprovalSummary, Approvals};
use crate::proxy::audit::Audited;
use crate::proxy::authn::{Authenticated, Authn, Destination, Unauthenticated};
pub use crate::proxy::body_limits::BodyLimits;
pub use crate::proxy::caller_context::CallerContext;
use crate::proxy::caller_context::{Judged, Permitted};
use crate::proxy::dry_run::InventAnswer;
use crate::proxy::enclosing::Enclosure;
use crate::proxy::fence::FenceError;
use crate::proxy::fence::directory::Directory;
use crate::proxy::fulfillment::{Fulfilled, HeldBody};
use crate::proxy::headers::CallerOrigin;
use crate::proxy::observer::observe;
use crate::proxy::policy::Judgment;
use crate::proxy::quota::WithinQuota;
use crate::proxy::rate_limit::RateLimiter;
pub use crate::proxy::request_ids::RequestIds;
use crate::proxy::response::{Rejection, ResponseBody};
use crate::proxy::sending::RequestSender;
pub use crate::proxy::tunnel::TunnelConfig;
use crate::proxy::upstream::{Outbound, Upstream, UpstreamError};

/// What one worker serves on one listener.
pub struct Proxy {
    authn: Authn<CallerContext>,
    sender: RequestSender,
    audit_log: AuditLog,
    approvals: Approvals,
    directory: Directory,
    sink: Rc<Sink>,
    refusals: RecentRefusals,
    body_limits: BodyLimits,
    invent_answer: InventAnswer,
    tunnels: TunnelConfig,
    /// `Proxy-Status` of an answer that NinjaOne gave.
    relayed: HeaderValue,
    ids: Rc<RequestIds>,
}

/// What a [`Proxy`] is made of.
pub struct ProxyConfig {
    /// Who may call, each with what is open to it.
    pub authn: Authn<CallerContext>,
    /// The connections to the instance.
    pub upstream: Rc<Upstream>,
    /// Where the instance's rate is limited.
    pub rate_limiter: Option<Arc<RateLimiter>>,
    /// Where writes are recorded before they are sent.
    pub audit_log: AuditLog,
    /// Where requests wait that need an approval.
    pub approvals: Approvals,
    /// What belongs to which organization.
    pub directory: Directory,
    /// Where requests are logged and counted.
    pub sink: Sink,
    /// Where the status page finds refusals.
    pub refusals: RecentRefusals,
    /// What bodies may cost.
    pub body_limits: BodyLimits,
    /// What answers requests that are not sent.
    pub invent_answer: InventAnswer,
    /// What CONNECT may reach.
    pub tunnels: TunnelConfig,
    /// The ids of the worker's requests.
    pub ids: Rc<RequestIds>,
}

/// A request that is permitted, and recorded where it must be, with what it is sent with.
struct Cleared<'a> {
    audited: Audited,
    context: &'a CallerContext,
    is_dry_run: bool,
    body: HeldBody,
    enclosure: Option<Box<Enclosure>>,
}

impl Proxy {
    /// Puts the stages together.
    pub fn new(config: ProxyConfig) -> Self {
        let ProxyConfig { authn, upstream, rate_limiter, audit_log, approvals, sink, refusals, .. } = config;
        let ProxyConfig { directory, body_limits, invent_answer, tunnels, ids, .. } = config;
        let relayed = format!("ninjaone-proxy; next-hop=\"{}\"", upstream.authority());
        let relayed = HeaderValue::try_from(relayed).unwrap_or(HeaderValue::from_static("ninjaone-proxy"));
        let sender = RequestSender { upstream, rate_limiter };
        let sink = Rc::new(sink);
        Self {
            authn,
            sender,
            audit_log,
            approvals,
            directory,
            sink,
            refusals,
            body_limits,
            invent_answer,
            tunnels,
            relayed,
            ids,
        }
    }

    /// Answers one request, whatever happens. Its log begins here, not when the answer is first asked for: a caller who
    /// sends a request and leaves at once is dropped before that.
    pub fn serve(
        self: Rc<Self>,
        peer: Peer,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Response<LoggedBody<ResponseBody>>> {
        let (mut head, body) = request.into_parts();
        let mut log = self.begin_log(peer, Some(head.method.clone()));
        async move {
            let life = async |head: &mut Parts, log: &mut RequestLog| self.relay(head, body, log).await;
            let response = self.run_request(&mut head, &mut log, life).await;
            response.map(|body| LoggedBody::new(body, log))
        }
    }

    /// Gives a request an answer whatever becomes of its `life`, a panic in it included.
    async fn run_request<L>(&self, head: &mut Parts, log: &mut RequestLog, life: L) -> Response<ResponseBody>
    where
        L: AsyncFnOnce(&mut Parts, &mut RequestLog) -> Result<Response<ResponseBody>, Rejection>,
    {
        log.set_trace_parent(trace_context::of(&head.headers));
        let reader = self.authn.reader(&head.headers);
        // Pinned here: handed over by value it would have its room twice.
        let lived = panic_guard::around(pin!(life(head, log))).await;
        let mut response = match lived.unwrap_or_else(|panicked| Err(panicked.into())) {
            Ok(response) => {
                log.set_answer(response.status(), None);
                response
            }
            Err(rejection) => self.refuse(&rejection, head, log),
        };
        log.settle().await;
        if let Some(origin) = reader {
            response::share(response.headers_mut(), origin);
        }
        response
    }

    /// In a box: it goes with the answer through many hands.
    fn begin_log(&self, peer: Peer, method: Option<Method>) -> Box<RequestLog> {
        Box::new(RequestLog::begin(&self.sink, self.ids.next(), peer, method))
    }

    /// The life of a request. Takes the headers out of its head.
    async fn relay(
        self: &Rc<Self>,
        head: &mut Parts,
        body: RequestBody,
        log: &mut RequestLog,
    ) -> Result<Response<ResponseBody>, Rejection> {
        self.ids.mark.check(&head.headers)?;
        let origin = CallerOrigin::of(log.peer().scheme(), &head.headers);
        let visitor = self.authn.admit(log.peer().clone(), head)?;
        match visitor.destination() {
            Destination::Preflight => return Ok(response::preflight(&head.headers)),
            Destination::OAuth(path) => return Box::pin(self.grant(path, &visitor, head, body, log)).await,
            Destination::Approvals => return Box::pin(self.approval_status(visitor, head, log)).await,
            Destination::Connect => return Box::pin(self.connect(visitor, head, log)).await,
            Destination::ProxyConfig => return Ok(self.proxy_config(head)),
            Destination::Api => {}
        }
        let cleared = self.clear(visitor, head, body, log).await?;
        let Cleared { audited, context, is_dry_run, body, enclosure } = match cleared {
            ControlFlow::Continue(cleared) => cleared,
            ControlFlow::Break(summary) => return Ok(response::held(&summary)),
        };
        if enclosure.is_some() {
            Enclosure::clean_request(&mut head.headers);
        }
        let mut outbound = self.outbound(&audited, head, body)?;
        observe(log, &mut outbound);
        if is_dry_run {
            return Box::pin(self.simulate(&audited, context, outbound)).await;
        }
        let mut answer = self.sender.ask(context.tokens(audited.permit()), &audited, &mut outbound, log).await?;
        answer.body.hold(self.body_limits.room_for(&head.method, &answer.body)?);
        observe(log, &mut answer);
        let mut response = match enclosure {
            Some(enclosure) => Box::pin(self.enclosed(answer, enclosure, audited.permit())).await?,
            // The fence of a permit is never left out.
            None if audited.permit().fence().is_some() => return Err(FenceError::AnswerOutside.into()),
            None => {
                let localize = |location: &_| origin.localize(location, self.sender.upstream.authority(), &head.uri);
                response::relay(answer, &self.relayed, audited.permit().token_holder(), localize)
            }
        };
        response::tell_quotas(response.headers_mut(), &context.quotas(audited.permit()));
        Ok(response)
    }

    /// The stages of a request up to the audit log, where one that waits for a person ends. In a future of its own, whose memory the way to NinjaOne uses again.
    async fn clear(
        self: &Rc<Self>,
        visitor: Unauthenticated,
        head: &mut Parts,
        body: RequestBody,
        log: &mut RequestLog,
    ) -> Result<ControlFlow<Box<ApprovalSummary>, Cleared<'_>>, Rejection> {
        let mut authenticated = self.authn.authenticate(visitor, &head.headers)?;
        observe(log, &mut authenticated);
        let Authenticated { caller, context } = authenticated;
        context.be_at(caller.peer())?;
        let mut judged = context.judge(caller, head)?;
        observe(log, &mut judged);
        let Judged { judgment, dry_run, context } = judged;
        let is_dry_run = dry_run.is_some();
        let (mut permitted, body, enclosure) = match judgment {
            Judgment::Permitted(permit) => {
                let charge = context.charge(&permit).await?;
                (Permitted { within: WithinQuota::new(permit, charge), context }, HeldBody::unread(body), None)
            }
            Judgment::Conditional(permit) => {
                match Box::pin(self.fulfill(permit, (context, dry_run), head, body, log)).await? {
                    Fulfilled::Permitted(permitted) => *permitted,
                    Fulfilled::Waiting(summary) => {
                        log.set_waiting(summary.rule.as_str().into());
                        return Ok(ControlFlow::Break(summary));
                    }
                }
            }
        };
        observe(log, &mut permitted);
        log.propagate_trace(&mut head.headers);
        let mut audited =
            Audited::record(&self.audit_log, permitted.within, |permit| facts::of_permit(log, permit)).await?;
        observe(log, &mut audited);
        Ok(ControlFlow::Continue(Cleared { audited, context, is_dry_run, body, enclosure }))
    }

    /// A request that may be sent, with its body and the memory for that.
    fn outbound(&self, audited: &Audited, head: &mut Parts, body: HeldBody) -> Result<Outbound, Rejection> {
        let BodyLimits { wait, limit, .. } = self.body_limits;
        let HeldBody { body, room } = body;
        let upload = Upload::new(body, head.version, wait, limit).map_err(UpstreamError::Upload)?;
        let room = room.map_or_else(|| self.body_limits.room(&upload.size_hint()), |room| Ok(Some(room)))?;
        let headers = std::mem::take(&mut head.headers);
        let mut outbound = Outbound::new(audited.permit().method(), headers, upload, &self.ids.mark);
        outbound.hold(room);
        Ok(outbound)
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;

    use bytes::Bytes;
    use http::StatusCode;
    use http_body::Frame;
    use http_body_util::BodyExt;

    use super::*;
    use crate::base::warn_limit::WarnLimit;
    use crate::net::body::BodyError;
    use crate::net::listener::Buffers;
    use crate::observe::metrics::Metrics;
    use crate::proxy::authn::AuthnConfig;
    use crate::proxy::authn::callers::{Callers, KnownCallers};
    use crate::proxy::authn::local_tokens::LocalTokens;
    use crate::proxy::connect::ConnectTargets;
    use crate::proxy::headers::loops::LoopMark;

    const MINUTE: Duration = Duration::from_secs(60);

    /// A proxy for nobody: each request's life is the test's.
    fn proxy(metrics: &Metrics) -> Proxy {
        let issuer = LocalTokens::new().expect("randomness");
        let authn = Authn::new(AuthnConfig {
            names: Vec::new(),
            port: None,
            tls: false,
            origins: Vec::new(),
            callers: Callers::Known(KnownCallers::new([], issuer.enroll([]))),
            issuer: Arc::new(issuer),
            head_size: 8192,
            intercept: Vec::new(),
        });
        let upstream = Rc::new(Upstream::nowhere());
        let meter = metrics.meter("local", Vec::new(), ["GET /v2/devices".to_owned()].into());
        Proxy::new(ProxyConfig {
            authn,
            upstream,
            rate_limiter: None,
            audit_log: AuditLog::default(),
            approvals: Approvals::new(Arc::new(Buffers::new(1 << 20)), metrics.approvals(), None).0,
            directory: Directory::new(MINUTE),
            sink: Sink { meter, lines: None, traces: None, warnings: WarnLimit::default() },
            refusals: RecentRefusals::default(),
            invent_answer: |_, _, _| None,
            tunnels: TunnelConfig { targets: ConnectTargets::default(), patience: MINUTE },
            body_limits: BodyLimits { wait: MINUTE, limit: 1, judged: 1, buffers: Arc::new(Buffers::new(1 << 20)) },
            ids: Rc::new(RequestIds::new(1, &LoopMark::new().expect("randomness"))),
        })
    }

    fn head() -> Parts {
        Request::get("/v2/devices?value=1").body(()).expect("a request").into_parts().0
    }

    fn shows(metrics: &Metrics, line: &str) {
        let text = metrics.render(&[], &[], (0, 0)).expect("metrics");
        assert!(text.lines().any(|shown| shown == line), "{line} is missing in\n{text}");
    }

    #[test]
    fn a_request_takes_little_memory_on_its_way() {
        let metrics = Metrics::new().expect("metrics");
        let body = RequestBody::begun(Bytes::new(), None);
        let served = Rc::new(proxy(&metrics)).serve(Peer::loopback(), Request::new(body));
        let size = size_of_val(&served);
        assert!(size <= 3584, "{size} bytes");
    }

    #[tokio::test]
    async fn a_panic_before_the_head_costs_500_and_the_next_request_is_served() {
        let metrics = Metrics::new().expect("metrics");
        let proxy = proxy(&metrics);
        let mut asked = head();
        let mut record = proxy.begin_log(Peer::loopback(), Some(Method::GET));
        let response = proxy.run_request(&mut asked, &mut record, async |_, record| {
            record.set_operation(Some(0));
            tokio::task::yield_now().await;
            panic!("on the way");
        });
        let response = response.await.map(|body| LoggedBody::new(body, record));
        shows(&metrics, "ninjaone_proxy_requests_in_flight{listener=\"local\"} 1");
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let body = response.into_body().collect().await.expect("a whole body").to_bytes();
        let problem: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(problem["code"], "internal-error");
        assert!(!problem.to_string().contains("on the way"), "{problem}");
        let mut record = proxy.begin_log(Peer::loopback(), Some(Method::GET));
        let next =
            proxy.run_request(&mut head(), &mut record, async |head, _| Ok(response::preflight(&head.headers))).await;
        assert_eq!(next.status(), StatusCode::NO_CONTENT);
        drop((next, record));
        for line in [
            "ninjaone_proxy_requests_in_flight{listener=\"local\"} 0",
            "ninjaone_proxy_panics_total{listener=\"local\"} 1",
            "ninjaone_proxy_refusals_total{blame=\"proxy\",code=\"internal-error\",listener=\"local\"} 1",
            "ninjaone_proxy_requests_total{listener=\"local\",operation=\"GET /v2/devices\",status_class=\"5xx\"} 1",
            "ninjaone_proxy_requests_total{listener=\"local\",operation=\"none\",status_class=\"2xx\"} 1",
        ] {
            shows(&metrics, line);
        }
    }

    #[test]
    fn a_request_that_is_dropped_at_any_wait_leaves_the_gauge() {
        let metrics = Metrics::new().expect("metrics");
        let proxy = proxy(&metrics);
        let mut asked = head();
        let mut record = proxy.begin_log(Peer::loopback(), Some(Method::GET));
        let mut life = Box::pin(proxy.run_request(&mut asked, &mut record, async |_, _| pending().await));
        assert!(life.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        shows(&metrics, "ninjaone_proxy_requests_in_flight{listener=\"local\"} 1");
        drop(life);
        drop(record);
        shows(&metrics, "ninjaone_proxy_requests_in_flight{listener=\"local\"} 0");
    }

    /// Gives one piece, then panics.
    struct PanickingBody(bool);

    impl Body for PanickingBody {
        type Data = Bytes;
        type Error = BodyError;

        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
            assert!(!std::mem::replace(&mut self.0, true), "in the midst of a body");
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"half")))))
        }
    }

    #[tokio::test]
    async fn a_panic_in_a_body_breaks_that_body_and_is_counted() {
        let metrics = Metrics::new().expect("metrics");
        let proxy = proxy(&metrics);
        let mut body = LoggedBody::new(PanickingBody(false), proxy.begin_log(Peer::loopback(), Some(Method::GET)));
        assert!(body.frame().await.is_some_and(|frame| frame.is_ok()));
        assert!(matches!(body.frame().await, Some(Err(BodyError::Broken))));
        drop(body);
        shows(&metrics, "ninjaone_proxy_requests_in_flight{listener=\"local\"} 0");
        shows(&metrics, "ninjaone_proxy_panics_total{listener=\"local\"} 1");
    }
}
