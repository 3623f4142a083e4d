//! The spine: the one file that knows all the stages, and the order in which a request passes them.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::{HOST, HeaderValue};
use http::request::Parts;
use http::uri::Authority;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use zeroize::Zeroizing;

use crate::audit::{Record, Recorded, RequestId};
use crate::body::{self, Upload};
use crate::guard::issuer::{self, Door, TokenRequest};
use crate::guard::roster::CallerId;
use crate::guard::{Guard, Intruder, Visitor};
use crate::headers;
use crate::listener::Peer;
use crate::metrics::Meter;
use crate::policy::catalog::OperationId;
use crate::policy::cover::SecureUse;
use crate::policy::{Permit, Policy};
use crate::rate::Gate;
use crate::response::{self, Rejection, Reply, Scene};
use crate::telemetry::Causes;
use crate::token::Source;
use crate::upstream::{Answer, Fault, Outbound, Upstream};
use crate::usage::{self, Page};

/// The longest token request, in octets.
const MAX_FORM: usize = 16 * 1024;

/// What one worker serves on one listener.
pub struct Proxy {
    guard: Guard,
    /// By caller; a single one where callers are not told apart.
    entrances: Vec<Entrance>,
    /// Where the instance's rate is limited.
    gate: Option<Arc<Gate>>,
    upstream: Rc<Upstream>,
    meter: Rc<Meter>,
    intake: Intake,
    /// `Proxy-Status` of an answer that NinjaOne gave.
    relayed: HeaderValue,
    worker: u32,
    count: Cell<u32>,
}

/// What is open to a caller, and the tokens for it.
pub struct Entrance {
    policy: Arc<Policy>,
    source: Source,
    /// Where its use is counted, if it is.
    page: Option<Arc<Page>>,
    /// The scopes, for messages.
    scopes: String,
}

impl Entrance {
    /// What `policy` opens, with tokens from `source`; its use is counted on `page`.
    pub fn new(policy: Arc<Policy>, source: Source, page: Option<Arc<Page>>) -> Self {
        let scopes = policy.scopes().to_string();
        Self { policy, source, page, scopes }
    }

    /// Counts a request, where that is asked for: only its operation, or the rule that stands for it.
    fn note(&self, permit: &Permit) {
        let Some(page) = &self.page else { return };
        let known = permit.operation().map(OperationId::index);
        let place = known.or_else(|| Some(self.policy.catalog().operations().len() + permit.rule()?.index()));
        page.note(usage::Request {
            place: place.unwrap_or(usize::MAX),
            overruled: permit.overruled().is_some(),
            secure_values: permit.secure_values() != SecureUse::No,
            doubtful: permit.secure_values() == SecureUse::Doubtful,
        });
    }
}

/// What is taken of a caller's body.
#[derive(Debug, Clone, Copy)]
pub struct Intake {
    /// For each wait for more of it.
    pub wait: Duration,
    /// The most octets.
    pub limit: u64,
}

impl Proxy {
    /// Puts the stages together; `worker` makes request ids differ between workers and runs.
    pub fn new(
        guard: Guard,
        entrances: Vec<Entrance>,
        (gate, upstream): (Option<Arc<Gate>>, Rc<Upstream>),
        meter: Meter,
        intake: Intake,
        worker: u32,
    ) -> Self {
        let relayed = format!("ninjaone-proxy; next-hop=\"{}\"", upstream.authority());
        let relayed = HeaderValue::try_from(relayed).unwrap_or(HeaderValue::from_static("ninjaone-proxy"));
        let (meter, count) = (Rc::new(meter), Cell::new(0));
        Self { guard, entrances, gate, upstream, meter, intake, relayed, worker, count }
    }

    /// Answers one request, whatever happens.
    pub async fn serve(&self, peer: Peer, request: Request<Incoming>) -> Response<Recorded<Reply>> {
        let (mut head, body) = request.into_parts();
        let mut record = self.record(peer.clone(), Some(head.method.clone()));
        let reader = self.guard.reader(&head.headers);
        let mut response = match self.relay(peer, &mut head, body, &mut record).await {
            Ok(response) => {
                record.answered(response.status(), None);
                response
            }
            Err(rejection) => self.refuse(&rejection, &head, &mut record),
        };
        if let Some(origin) = reader {
            response::share(response.headers_mut(), origin);
        }
        response.map(|body| Recorded::new(body, record))
    }

    /// Takes down a request whose head the parser refuses; the whole answer, octet for octet.
    pub fn refuse_head(&self, peer: Peer, status: StatusCode) -> Vec<u8> {
        let mut record = self.record(peer, None);
        let ([head, body], outcome) = response::refuse_head(status, Some(&record.id().to_string()));
        record.answered(status, Some((outcome.code, outcome.blame)));
        record.ended(body.len());
        [head, body].concat()
    }

    fn record(&self, peer: Peer, method: Option<Method>) -> Record {
        let id = RequestId(self.worker, self.count.get());
        self.count.set(id.1.wrapping_add(1));
        Record::begin(&self.meter, id, peer, method)
    }

    /// The life of a request. Takes the headers out of its head.
    async fn relay(
        &self,
        peer: Peer,
        head: &mut Parts,
        body: Incoming,
        record: &mut Record,
    ) -> Result<Response<Reply>, Rejection> {
        let scheme = peer.scheme();
        let visitor = self.guard.pass(peer, head)?;
        if visitor.is_preflight() {
            return Ok(response::preflight(&head.headers));
        }
        if let Some(door) = Door::at(&head.uri) {
            return self.grant(door, &visitor, head, body).await;
        }
        let caller = self.guard.identify(visitor, &head.headers)?;
        let CallerId(place) = caller.id();
        let entrance = self.entrances.get(usize::from(place)).ok_or(Intruder::WrongKey)?;
        record.is_of(usize::from(place));
        let permit = entrance.policy.judge(caller, &head.method, &head.uri)?;
        record.is_for(permit.operation().map(OperationId::index));
        entrance.note(&permit);
        if let Some(closed) = permit.overruled() {
            record.overruled(response::code(&closed.barrier));
        }
        let origin = origin(scheme, head);
        let upload = Upload::new(body, head.version, self.intake.wait, self.intake.limit).map_err(Fault::Upload)?;
        let outbound = Outbound::new(permit.method(), std::mem::take(&mut head.headers), upload);
        let answer = self.ask(&entrance.source, &permit, outbound, record).await?;
        let instance = self.upstream.authority();
        Ok(response::relay(answer, &self.relayed, |location| headers::localize(location, instance, &origin)))
    }

    /// The local token endpoint, for clients that insist on one. Nothing of it goes to NinjaOne.
    async fn grant(
        &self,
        door: Door,
        visitor: &Visitor,
        head: &Parts,
        body: Incoming,
    ) -> Result<Response<Reply>, Rejection> {
        match door {
            Door::Authorize => return Err(Intruder::SignIn.into()),
            Door::Token if head.method != Method::POST => return Err(Rejection::Grant(Intruder::NotPost)),
            Door::Token => {}
        }
        let form = body::read_small(body, head.version, self.intake.wait, MAX_FORM).await.map_err(Fault::Upload)?;
        let request = TokenRequest::read(&head.headers, &head.uri, &Zeroizing::new(form));
        let (CallerId(place), token) = self.guard.grant(visitor, &request).map_err(Rejection::Grant)?;
        let own = self.entrances.get(usize::from(place)).map_or("", |entrance| &entrance.scopes);
        Ok(response::granted(&token, issuer::LIFETIME, request.scope().unwrap_or(own)))
    }

    /// Sends a request, in its turn where the instance's rate is limited.
    async fn ask(
        &self,
        source: &Source,
        permit: &Permit,
        outbound: Outbound,
        record: &mut Record,
    ) -> Result<Answer, Rejection> {
        let Some(gate) = &self.gate else { return self.send(source, permit, outbound, record).await };
        // Without a token there is nothing to wait for; and those who wait for one must not go up all at once.
        source.bearer(permit).await?;
        let slot = gate.enter().await?;
        let answer = self.send(source, permit, outbound, record).await?;
        let mut answer = match gate.heed(answer.head.status, &answer.head.headers) {
            Some(pause) => self.ask_again(gate, source, permit, (answer, pause), record).await?,
            None => answer,
        };
        answer.body.keep(slot);
        Ok(answer)
    }

    /// Sends a read again that the instance has answered with 429, once it has been left alone for `pause`.
    async fn ask_again(
        &self,
        gate: &Gate,
        source: &Source,
        permit: &Permit,
        (mut answer, pause): (Answer, Duration),
        record: &mut Record,
    ) -> Result<Answer, Rejection> {
        let Some(again) = answer.again() else { return Ok(answer) };
        answer.body.settle().await;
        if gate.enter_again(pause).await.is_err() {
            return Ok(answer);
        }
        drop(answer);
        record.replayed();
        let answer = self.send(source, permit, again, record).await?;
        gate.heed(answer.head.status, &answer.head.headers);
        Ok(answer)
    }

    /// Sends a request. If NinjaOne refuses the bearer, that is renewed, and a request that may be repeated sent again.
    async fn send(
        &self,
        source: &Source,
        permit: &Permit,
        outbound: Outbound,
        record: &mut Record,
    ) -> Result<Answer, Rejection> {
        let bearer = source.bearer(permit).await?;
        let mut answer = self.upstream.send(permit, &bearer, outbound).await?;
        if !answer.refuses_bearer() || !bearer.refuse() {
            return Ok(answer);
        }
        let Some(again) = answer.again() else { return Ok(answer) };
        drop(answer);
        record.replayed();
        if let Some(gate) = &self.gate {
            source.bearer(permit).await?;
            gate.enter_again(Duration::ZERO).await?;
        }
        // It may have expired in the line.
        let bearer = source.bearer(permit).await?;
        Ok(self.upstream.send(permit, &bearer, again).await?)
    }

    fn refuse(&self, rejection: &Rejection, head: &Parts, record: &mut Record) -> Response<Reply> {
        let operation = match rejection {
            Rejection::Policy(refusal) => refusal.operation(),
            Rejection::Guard(_)
            | Rejection::Grant(_)
            | Rejection::Token(_)
            | Rejection::Rate(_)
            | Rejection::Upstream(_) => None,
        };
        if let Some(id) = operation {
            record.is_for(Some(id.index()));
        }
        let request_id = record.id().to_string();
        let entrance = self.entrances.get(record.caller().unwrap_or_default());
        let scene = Scene {
            listener: self.meter.listener(),
            caller: self.meter.caller(record.caller()),
            scopes: entrance.map_or("", |entrance| &entrance.scopes),
            instance: self.upstream.authority().as_str(),
            method: head.method.as_str(),
            path: head.uri.path(),
            request_id: &request_id,
            operation: operation.zip(entrance).and_then(|(id, entrance)| entrance.policy.catalog().name(id)),
        };
        let (response, outcome) = response::refuse(rejection, &scene);
        // What the caller did wrong is in the access log; why there is no token, the token's own room tells once.
        if matches!(rejection, Rejection::Upstream(_)) {
            tracing::warn!(id = %request_id, code = outcome.code, error = %Causes(rejection), "request failed");
        }
        record.answered(response.status(), Some((outcome.code, outcome.blame)));
        response
    }
}

/// Where the caller finds us, by its own words; empty if it gave none.
fn origin(scheme: &str, head: &Parts) -> String {
    let host = head.headers.get(HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| head.uri.authority().map(Authority::as_str));
    host.map_or_else(String::new, |host| format!("{scheme}://{host}"))
}
