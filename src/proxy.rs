//! The spine: the one file that knows all the stages, and the order in which a request passes them.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::{HOST, HeaderValue};
use http::request::Parts;
use http::uri::Authority;
use http::{Request, Response};
use hyper::body::Incoming;

use crate::audit::{Record, Recorded, RequestId};
use crate::body::Upload;
use crate::guard::{Guard, Intruder};
use crate::headers;
use crate::listener::Peer;
use crate::metrics::Meter;
use crate::policy::{Permit, Policy};
use crate::response::{self, Rejection, Reply, Scene};
use crate::telemetry::Causes;
use crate::token::Source;
use crate::upstream::{Answer, Fault, Outbound, Upstream};

/// What one worker serves on one listener.
pub struct Proxy {
    guard: Guard,
    policy: Arc<Policy>,
    source: Source,
    upstream: Rc<Upstream>,
    meter: Rc<Meter>,
    intake: Intake,
    /// `Proxy-Status` of an answer that NinjaOne gave.
    relayed: HeaderValue,
    /// The listener's scopes, for messages.
    scopes: String,
    worker: u32,
    count: Cell<u32>,
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
        policy: Arc<Policy>,
        source: Source,
        upstream: Rc<Upstream>,
        meter: Meter,
        intake: Intake,
        worker: u32,
    ) -> Self {
        let relayed = format!("ninjaone-proxy; next-hop=\"{}\"", upstream.authority());
        let relayed = HeaderValue::try_from(relayed).unwrap_or(HeaderValue::from_static("ninjaone-proxy"));
        let scopes = policy.scopes().to_string();
        let (meter, count) = (Rc::new(meter), Cell::new(0));
        Self { guard, policy, source, upstream, meter, intake, relayed, scopes, worker, count }
    }

    /// Answers one request, whatever happens.
    pub async fn serve(&self, peer: Peer, request: Request<Incoming>) -> Response<Recorded<Reply>> {
        let (mut head, body) = request.into_parts();
        let id = RequestId(self.worker, self.count.get());
        self.count.set(id.1.wrapping_add(1));
        let mut record = Record::begin(&self.meter, id, peer.address(), head.method.clone());
        let response = match self.relay(peer, &mut head, body, &mut record).await {
            Ok(response) => {
                record.answered(response.status(), None);
                response
            }
            Err(rejection) => self.refuse(&rejection, &head, &mut record),
        };
        response.map(|body| Recorded::new(body, record))
    }

    /// The life of a request. Takes the headers out of its head.
    async fn relay(
        &self,
        peer: Peer,
        head: &mut Parts,
        body: Incoming,
        record: &mut Record,
    ) -> Result<Response<Reply>, Rejection> {
        let caller = self.guard.admit(peer, head)?;
        let permit = self.policy.judge(caller, &head.method, &head.uri)?;
        record.is_for(permit.operation().map(|id| id.index()));
        let origin = head.headers.get(HOST).cloned();
        let upload = Upload::new(body, self.intake.wait, self.intake.limit).map_err(Fault::Upload)?;
        let outbound = Outbound::new(permit.method(), std::mem::take(&mut head.headers), upload);
        let answer = self.ask(&permit, outbound, record).await?;
        let instance = self.upstream.authority();
        Ok(response::relay(answer, &self.relayed, |location| local(location, instance, origin.as_ref())))
    }

    /// Sends a request. If NinjaOne refuses the bearer, that is renewed, and a request that may be repeated sent again.
    async fn ask(&self, permit: &Permit, outbound: Outbound, record: &mut Record) -> Result<Answer, Rejection> {
        let bearer = self.source.bearer(permit).await?;
        let mut answer = self.upstream.send(permit, &bearer, outbound).await?;
        if !answer.refuses_bearer() || !bearer.refuse() {
            return Ok(answer);
        }
        let Some(again) = answer.again() else { return Ok(answer) };
        drop(answer);
        record.replayed();
        let bearer = self.source.bearer(permit).await?;
        Ok(self.upstream.send(permit, &bearer, again).await?)
    }

    fn refuse(&self, rejection: &Rejection, head: &Parts, record: &mut Record) -> Response<Reply> {
        let operation = match rejection {
            Rejection::Policy(refusal) => refusal.operation(),
            Rejection::Guard(_) | Rejection::Token(_) | Rejection::Upstream(_) => None,
        };
        if let Some(id) = operation {
            record.is_for(Some(id.index()));
        }
        let request_id = record.id().to_string();
        let scene = Scene {
            listener: self.meter.listener(),
            scopes: &self.scopes,
            instance: self.upstream.authority().as_str(),
            method: head.method.as_str(),
            path: head.uri.path(),
            request_id: &request_id,
            operation: operation.and_then(|id| self.policy.catalog().name(id)),
        };
        let (response, outcome) = response::refuse(rejection, &scene);
        // The token's own room tells once, not for each request, why there is none.
        if !matches!(rejection, Rejection::Guard(Intruder::ForeignHost(_)) | Rejection::Policy(_) | Rejection::Token(_))
        {
            tracing::warn!(id = %request_id, code = outcome.code, error = %Causes(rejection), "request failed");
        }
        record.answered(response.status(), Some((outcome.code, outcome.blame)));
        response
    }
}

/// A `Location` at the instance, as the caller can follow it.
fn local(location: &HeaderValue, instance: &Authority, host: Option<&HeaderValue>) -> Option<HeaderValue> {
    let origin = match host {
        Some(host) => format!("http://{}", host.to_str().ok()?),
        None => String::new(),
    };
    headers::localize(location, instance, &origin)
}
