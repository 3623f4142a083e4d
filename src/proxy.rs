//! The spine: the one file that knows all the stages, and the order in which a request passes them.

pub mod audit;
pub mod authn;
mod facts;
pub mod headers;
pub mod policy;
pub mod rate_limit;
pub mod response;
pub mod token;
pub mod upstream;

use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::{HOST, HeaderValue};
use http::request::Parts;
use http::uri::Authority;
use http::{Method, Request, Response, StatusCode, Uri};
use http_body::{Body, SizeHint};
use zeroize::Zeroizing;

use crate::base::panic_guard;
use crate::net::body::{self, Upload};
use crate::net::listener::{Buffers, BuffersFull, Peer, RequestBody, Reservation};
use crate::observe::access_log::{Fault, LoggedBody, RequestId, RequestLog, Sink};
use crate::observe::audit_log::AuditLog;
use crate::observe::logging::ErrorChain;
use crate::observe::metrics::traffic::Replay;
use crate::observe::refusals::RecentRefusals;
use crate::observe::trace_context;
use crate::observe::usage::{self, UsageCounters};
use crate::proxy::audit::Audited;
use crate::proxy::authn::callers::CallerId;
use crate::proxy::authn::key_hint::KeyHint;
use crate::proxy::authn::local_tokens::{self, OAuthPath, TokenRequest};
use crate::proxy::authn::{Authn, AuthnError, Destination, Unauthenticated};
use crate::proxy::headers::loops::LoopMark;
use crate::proxy::policy::catalog::OperationId;
use crate::proxy::policy::coverage::SecureUse;
use crate::proxy::policy::{Permit, Policy};
use crate::proxy::rate_limit::RateLimiter;
use crate::proxy::response::{JudgedBy, RefusalContext, Rejection, ResponseBody};
use crate::proxy::token::TokenSource;
use crate::proxy::upstream::{AnswerBody, Outbound, Reason, Upstream, UpstreamAnswer, UpstreamError};

/// What a body may hold between its connections, in bytes: the window of a stream, or what is read ahead, and the
/// piece that is passed on.
const HELD: u64 = 128 * 1024;
/// The longest token request, in bytes.
const MAX_FORM: usize = 16 * 1024;

/// What one worker serves on one listener.
pub struct Proxy {
    guard: Authn,
    /// By caller; a single one where callers are not told apart.
    entrances: Vec<CallerContext>,
    /// Where the instance's rate is limited.
    gate: Option<Arc<RateLimiter>>,
    upstream: Rc<Upstream>,
    journal: AuditLog,
    scribe: Rc<Sink>,
    refusals: RecentRefusals,
    intake: BodyLimits,
    /// `Proxy-Status` of an answer that NinjaOne gave.
    relayed: HeaderValue,
    ids: Rc<Ids>,
}

/// Gives each request of one worker an id of its own, on all listeners and over reloads, and the mark of the process.
pub struct Ids {
    worker: u32,
    count: Cell<u32>,
    mark: LoopMark,
}

impl Ids {
    /// `worker` makes them differ between workers and runs; `mark` is the same for all workers of a process.
    pub fn new(worker: u32, mark: &LoopMark) -> Self {
        Self { worker, count: Cell::new(0), mark: mark.unshared() }
    }

    fn next(&self) -> RequestId {
        let count = self.count.get();
        self.count.set(count.wrapping_add(1));
        RequestId(self.worker, count)
    }
}

/// What is open to a caller, and the tokens for it.
pub struct CallerContext {
    policy: Arc<Policy>,
    source: TokenSource,
    /// Where its use is counted, if it is.
    page: Option<Arc<UsageCounters>>,
    /// The scopes, for messages.
    scopes: String,
    /// The rules of `allow`, for the log.
    allow: Vec<Rc<str>>,
}

impl CallerContext {
    /// What `policy` opens, with tokens from `source`; its use is counted on `page`.
    pub fn new(policy: Arc<Policy>, source: TokenSource, page: Option<Arc<UsageCounters>>) -> Self {
        let scopes = policy.scopes().to_string();
        let allow = policy.rules().allow.iter().map(|rule| Rc::from(&*rule.text())).collect();
        Self { policy, source, page, scopes, allow }
    }

    /// The rule of `allow` that opened a request, as written.
    fn rule(&self, permit: &Permit) -> Option<Rc<str>> {
        self.allow.get(permit.rule()?.index()).cloned()
    }

    /// Counts a request, where that is asked for: only its operation, or the rule that stands for it.
    fn count_use(&self, permit: &Permit) {
        let Some(page) = &self.page else { return };
        let known = permit.operation().map(OperationId::index);
        let place = known.or_else(|| Some(self.policy.catalog().operations().len() + permit.rule()?.index()));
        let secure_values = permit.secure_values();
        page.count(usage::CountedRequest {
            place: place.unwrap_or(usize::MAX),
            overruled: permit.overruled().is_some(),
            secure_values: secure_values != SecureUse::No,
            doubtful: secure_values == SecureUse::Doubtful,
        });
    }
}

/// What is taken of a caller's body, and of the memory for bodies.
#[derive(Debug, Clone)]
pub struct BodyLimits {
    /// For each wait for more of it.
    pub wait: Duration,
    /// The most bytes.
    pub limit: u64,
    /// The memory for all of them, in either direction.
    pub buffers: Arc<Buffers>,
}

impl BodyLimits {
    /// Memory for a body, unless it is used up; none for one that is empty.
    fn room(&self, size: &SizeHint) -> Result<Option<Reservation>, BuffersFull> {
        let most = size.upper().unwrap_or(HELD).min(HELD);
        (most > 0).then(|| self.buffers.reserve(most)).transpose()
    }

    /// Memory for an answer; one to a write is there, and cannot be asked for again.
    fn room_for(&self, method: &Method, body: &AnswerBody) -> Result<Option<Reservation>, BuffersFull> {
        match self.room(&body.size_hint()) {
            Err(BuffersFull) if !method.is_safe() => Ok(Some(self.buffers.take(HELD))),
            room => room,
        }
    }
}

impl Proxy {
    /// Puts the stages together.
    pub fn new(
        guard: Authn,
        entrances: Vec<CallerContext>,
        (gate, upstream): (Option<Arc<RateLimiter>>, Rc<Upstream>),
        (journal, scribe, refusals): (AuditLog, Sink, RecentRefusals),
        intake: BodyLimits,
        ids: Rc<Ids>,
    ) -> Self {
        let relayed = format!("ninjaone-proxy; next-hop=\"{}\"", upstream.authority());
        let relayed = HeaderValue::try_from(relayed).unwrap_or(HeaderValue::from_static("ninjaone-proxy"));
        Self { guard, entrances, gate, upstream, journal, scribe: Rc::new(scribe), refusals, intake, relayed, ids }
    }

    /// Answers one request, whatever happens. Its record begins here, not when the answer is first asked for: a caller who
    /// sends a request and leaves at once is dropped before that.
    pub fn serve(
        self: Rc<Self>,
        peer: Peer,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Response<LoggedBody<ResponseBody>>> {
        let (mut head, body) = request.into_parts();
        let mut record = self.record(peer.clone(), Some(head.method.clone()));
        async move {
            let life = async |head: &mut Parts, record: &mut RequestLog| self.relay(peer, head, body, record).await;
            let response = self.run_request(&mut head, &mut record, life).await;
            response.map(|body| LoggedBody::new(body, record))
        }
    }

    /// Gives a request an answer whatever becomes of its `life`, a panic in it included.
    async fn run_request<L>(&self, head: &mut Parts, record: &mut RequestLog, life: L) -> Response<ResponseBody>
    where
        L: AsyncFnOnce(&mut Parts, &mut RequestLog) -> Result<Response<ResponseBody>, Rejection>,
    {
        record.set_trace_parent(trace_context::of(&head.headers));
        let reader = self.guard.reader(&head.headers);
        // Pinned here: handed over by value it would have its room twice.
        let lived = panic_guard::around(pin!(life(head, record))).await;
        let mut response = match lived.unwrap_or_else(|panicked| Err(panicked.into())) {
            Ok(response) => {
                record.set_answer(response.status(), None);
                response
            }
            Err(rejection) => self.refuse(&rejection, head, record),
        };
        record.settle().await;
        if let Some(origin) = reader {
            response::share(response.headers_mut(), origin);
        }
        response
    }

    /// Takes down a request whose head the parser refuses; the whole answer, byte for byte.
    pub fn refuse_head(&self, peer: Peer, status: StatusCode) -> Vec<u8> {
        let mut record = self.record(peer, None);
        let ([head, body], outcome) = response::refuse_head(status, Some(&record.id().to_string()));
        record.set_answer(status, Some((outcome.code, outcome.blame)));
        record.audit_refusal(&self.journal, RequestLog::facts);
        self.refusals.add(|| facts::to_show(&record, None, status, outcome));
        record.set_sent(body.len());
        [head, body].concat()
    }

    fn record(&self, peer: Peer, method: Option<Method>) -> RequestLog {
        RequestLog::begin(&self.scribe, self.ids.next(), peer, method)
    }

    /// The life of a request. Takes the headers out of its head.
    async fn relay(
        &self,
        peer: Peer,
        head: &mut Parts,
        body: RequestBody,
        record: &mut RequestLog,
    ) -> Result<Response<ResponseBody>, Rejection> {
        self.ids.mark.check(&head.headers)?;
        let scheme = peer.scheme();
        let visitor = self.guard.admit(peer, head)?;
        match visitor.destination() {
            Destination::Preflight => return Ok(response::preflight(&head.headers)),
            Destination::OAuth(path) => return Box::pin(self.grant(path, &visitor, head, body, record)).await,
            Destination::Api => {}
        }
        let caller = self.guard.authenticate(visitor, &head.headers)?;
        let CallerId(place) = caller.id();
        let entrance = self.entrances.get(usize::from(place)).ok_or(AuthnError::WrongKey(KeyHint::Unknown))?;
        record.set_caller(usize::from(place));
        let permit = entrance.policy.judge(caller, &head.method, &head.uri)?;
        record.set_operation(permit.operation().map(OperationId::index));
        entrance.count_use(&permit);
        match permit.overruled() {
            None => record.set_permitted(entrance.rule(&permit)),
            Some(closed) => record.set_overruled(response::code(&closed.barrier), closed.barrier.rule().into()),
        }
        record.propagate_trace(&mut head.headers);
        let (permit, open) = Audited::record(&self.journal, permit, |permit| facts::of_permit(record, permit)).await?;
        record.set_audit_entry(open);
        let host = head.headers.get(HOST).cloned();
        let upload =
            Upload::new(body, head.version, self.intake.wait, self.intake.limit).map_err(UpstreamError::Upload)?;
        let _going_up = self.intake.room(&upload.size_hint())?;
        let mut outbound =
            Outbound::new(permit.permit().method(), std::mem::take(&mut head.headers), upload, &self.ids.mark);
        if let Some(progress) = outbound.progress() {
            record.count_received(progress.count());
        }
        let asked = self.ask(&entrance.source, &permit, &mut outbound, record).await;
        if outbound.was_resent() {
            record.set_replayed();
        }
        let mut answer = asked?;
        answer.body.hold(self.intake.room_for(&head.method, &answer.body)?);
        record.set_upstream_times((answer.sent, answer.came), &answer.head.headers);
        if let Some(reason) = answer.reason.and_then(Reason::as_str) {
            record.set_reason(reason);
        }
        let instance = self.upstream.authority();
        Ok(response::relay(answer, &self.relayed, |location| {
            headers::localize(location, instance, &origin(scheme, host.as_ref(), &head.uri))
        }))
    }

    /// The local token endpoint, for clients that insist on one. Nothing of it goes to NinjaOne.
    async fn grant(
        &self,
        door: OAuthPath,
        visitor: &Unauthenticated,
        head: &Parts,
        body: RequestBody,
        record: &mut RequestLog,
    ) -> Result<Response<ResponseBody>, Rejection> {
        match door {
            OAuthPath::Authorize => return Err(AuthnError::SignIn.into()),
            OAuthPath::Token if head.method != Method::POST => return Err(Rejection::Grant(AuthnError::NotPost)),
            OAuthPath::Token => {}
        }
        let form =
            body::read_small(body, head.version, self.intake.wait, MAX_FORM).await.map_err(UpstreamError::Upload)?;
        record.count_received(Rc::new(Cell::new(form.len() as u64)));
        let request = TokenRequest::read(&head.headers, &head.uri, &Zeroizing::new(form));
        let (CallerId(place), token) = self.guard.grant_token(visitor, &request).map_err(Rejection::Grant)?;
        let own = self.entrances.get(usize::from(place)).map_or("", |entrance| &entrance.scopes);
        Ok(response::granted(&token, local_tokens::LIFETIME, request.scope().unwrap_or(own)))
    }

    /// Sends a request, in its turn where the instance's rate is limited.
    async fn ask(
        &self,
        source: &TokenSource,
        permit: &Audited,
        outbound: &mut Outbound,
        record: &mut RequestLog,
    ) -> Result<UpstreamAnswer, Rejection> {
        match &self.gate {
            None => self.send(source, permit, outbound, record).await,
            Some(gate) => Box::pin(self.ask_in_turn(gate, source, permit, outbound, record)).await,
        }
    }

    async fn ask_in_turn(
        &self,
        gate: &RateLimiter,
        source: &TokenSource,
        permit: &Audited,
        outbound: &mut Outbound,
        record: &mut RequestLog,
    ) -> Result<UpstreamAnswer, Rejection> {
        // Without a token there is nothing to wait for; and those who wait for one must not go up all at once.
        source.bearer(permit.permit()).await?;
        let slot = gate.enter().await?;
        let answer = self.send(source, permit, outbound, record).await?;
        let mut answer = match gate.note_answer(answer.head.status, &answer.head.headers) {
            Some(pause) => self.ask_again(gate, source, permit, (answer, pause, outbound), record).await?,
            None => answer,
        };
        answer.body.keep(slot);
        Ok(answer)
    }

    /// Sends a read again that the instance has answered with 429, once it has been left alone for `pause`.
    async fn ask_again(
        &self,
        gate: &RateLimiter,
        source: &TokenSource,
        permit: &Audited,
        (mut answer, pause, outbound): (UpstreamAnswer, Duration, &mut Outbound),
        record: &mut RequestLog,
    ) -> Result<UpstreamAnswer, Rejection> {
        if !outbound.try_replay(permit.permit(), &answer) {
            return Ok(answer);
        }
        answer.body.settle().await;
        if gate.enter_again(pause).await.is_err() {
            return Ok(answer);
        }
        drop(answer);
        record.set_replayed();
        self.upstream.replays(Replay::Throttled);
        let answer = self.send(source, permit, outbound, record).await?;
        gate.note_answer(answer.head.status, &answer.head.headers);
        Ok(answer)
    }

    /// Sends a request. If NinjaOne refuses the bearer, that is renewed, and a request that may be repeated sent again.
    async fn send(
        &self,
        source: &TokenSource,
        permit: &Audited,
        outbound: &mut Outbound,
        record: &mut RequestLog,
    ) -> Result<UpstreamAnswer, Rejection> {
        let bearer = source.bearer(permit.permit()).await?;
        let answer = self.upstream.send(permit, &bearer, outbound).await?;
        if answer.refuses_bearer() && bearer.refuse() {
            // Boxed: it is seldom, and would make every request's state larger.
            return Box::pin(self.send_again(source, permit, (answer, outbound), record)).await;
        }
        Ok(answer)
    }

    async fn send_again(
        &self,
        source: &TokenSource,
        permit: &Audited,
        (answer, outbound): (UpstreamAnswer, &mut Outbound),
        record: &mut RequestLog,
    ) -> Result<UpstreamAnswer, Rejection> {
        if !outbound.try_replay(permit.permit(), &answer) {
            return Ok(answer);
        }
        drop(answer);
        if let Some(gate) = &self.gate {
            source.bearer(permit.permit()).await?;
            gate.enter_again(Duration::ZERO).await?;
        }
        // It may have expired in the line.
        let bearer = source.bearer(permit.permit()).await?;
        record.set_replayed();
        self.upstream.replays(Replay::TokenRefused);
        Ok(self.upstream.send(permit, &bearer, outbound).await?)
    }

    fn refuse(&self, rejection: &Rejection, head: &Parts, record: &mut RequestLog) -> Response<ResponseBody> {
        let operation = rejection.operation();
        if let Some(id) = operation {
            record.set_operation(Some(id.index()));
        }
        let request_id = record.id().to_string();
        let entrance = self.entrances.get(record.caller().unwrap_or_default());
        let scene = RefusalContext {
            listener: self.scribe.meter.listener(),
            caller: self.scribe.meter.caller(record.caller()),
            scopes: entrance.map_or("", |entrance| &entrance.scopes),
            instance: self.upstream.authority().as_str(),
            method: head.method.as_str(),
            path: head.uri.path(),
            request_id: &request_id,
            operation: operation.zip(entrance).and_then(|(id, entrance)| entrance.policy.catalog().name(id)),
            judged: entrance.map(|entrance| JudgedBy {
                policy: &entrance.policy,
                method: &head.method,
                uri: &head.uri,
            }),
        };
        let (response, outcome) = response::refuse(rejection, &scene);
        // What the caller did wrong is in the access log; why there is no token, the token's own room tells once.
        if matches!(rejection, Rejection::Upstream(_)) && outcome.blame != Fault::Caller {
            tracing::warn!(id = %request_id, code = outcome.code, error = %ErrorChain(rejection), "request failed");
        }
        if let Rejection::Panic(panicked) = rejection {
            record.log_panic(panicked);
        }
        facts::decided(record, rejection);
        record.set_answer(response.status(), Some((outcome.code, outcome.blame)));
        record.audit_refusal(&self.journal, |record| facts::of_refusal(record, &head.uri));
        let status = response.status();
        self.refusals.add(|| facts::to_show(record, Some(&head.uri), status, outcome));
        response
    }
}

/// Where the caller finds us, by its own words; empty if it gave none.
fn origin(scheme: &str, host: Option<&HeaderValue>, uri: &Uri) -> String {
    let host = host.and_then(|host| host.to_str().ok()).or_else(|| uri.authority().map(Authority::as_str));
    host.map_or_else(String::new, |host| format!("{scheme}://{host}"))
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::task::{Context, Poll, Waker};

    use bytes::Bytes;
    use http_body::Frame;
    use http_body_util::BodyExt;

    use super::*;
    use crate::net::body::BodyError;
    use crate::observe::metrics::Metrics;
    use crate::proxy::authn::AuthnConfig;
    use crate::proxy::authn::callers::Callers;
    use crate::proxy::authn::local_tokens::LocalTokens;

    const MINUTE: Duration = Duration::from_secs(60);

    /// A proxy for nobody: each request's life is the test's.
    fn proxy(metrics: &Metrics) -> Proxy {
        let guard = Authn::new(AuthnConfig {
            names: Vec::new(),
            port: None,
            tls: false,
            origins: Vec::new(),
            roster: Callers::new(Vec::new()),
            issuer: Arc::new(LocalTokens::new().expect("randomness")),
            head_size: 8192,
        });
        let upstream = Rc::new(Upstream::nowhere());
        let meter = metrics.meter("local", Vec::new(), vec!["GET /v2/devices".to_owned()]);
        Proxy::new(
            guard,
            Vec::new(),
            (None, upstream),
            (AuditLog::default(), Sink { meter, lines: None, traces: None }, RecentRefusals::default()),
            BodyLimits { wait: MINUTE, limit: 1, buffers: Arc::new(Buffers::new(1 << 20)) },
            Rc::new(Ids::new(1, &LoopMark::new().expect("randomness"))),
        )
    }

    fn head() -> Parts {
        Request::get("/v2/devices?value=1").body(()).expect("a request").into_parts().0
    }

    fn shows(metrics: &Metrics, line: &str) {
        let text = metrics.render(&[], (0, 0)).expect("metrics");
        assert!(text.lines().any(|shown| shown == line), "{line} is missing in\n{text}");
    }

    #[tokio::test]
    async fn a_panic_before_the_head_costs_500_and_the_next_request_is_served() {
        let metrics = Metrics::new().expect("metrics");
        let proxy = proxy(&metrics);
        let mut asked = head();
        let mut record = proxy.record(Peer::loopback(), Some(Method::GET));
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
        let mut record = proxy.record(Peer::loopback(), Some(Method::GET));
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
        let mut record = proxy.record(Peer::loopback(), Some(Method::GET));
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
        let mut body = LoggedBody::new(PanickingBody(false), proxy.record(Peer::loopback(), Some(Method::GET)));
        assert!(body.frame().await.is_some_and(|frame| frame.is_ok()));
        assert!(matches!(body.frame().await, Some(Err(BodyError::Broken))));
        drop(body);
        shows(&metrics, "ninjaone_proxy_requests_in_flight{listener=\"local\"} 0");
        shows(&metrics, "ninjaone_proxy_panics_total{listener=\"local\"} 1");
    }
}
