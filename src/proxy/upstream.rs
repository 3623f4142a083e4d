//! The way to NinjaOne: one exchange at a time, never a write twice.

mod answer;
mod connect;
mod error_reason;
pub mod head;
mod http2_connection;
mod lost_exchange;
mod outbound;
mod pool;
mod size_hints;
mod turn_reader;
mod upstream_error;
mod watched_socket;

use std::cell::RefCell;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderValue, TRANSFER_ENCODING};
use http::uri::Authority;
use http::{Response, StatusCode};
use tokio::time::Instant;

use crate::base::clock::timer::Timer;
use crate::net::body::{Progress, TimedBody};
use crate::net::dial::connect::Connector;
use crate::net::dial::protocol::ExchangeBreak;
use crate::observe::metrics::traffic::{FencedRows, Replay, Traffic};
use crate::proxy::audit::Audited;
use crate::proxy::policy::Permit;
use crate::proxy::token::Bearer;
pub use answer::{AnswerBody, UpstreamAnswer};
use answer::{ConnectionBody, LateUpload};
use lost_exchange::{LostExchange, SentPart};
pub use outbound::Outbound;
use pool::{ConnectionLease, Pool};
use size_hints::{SizeHints, SizeRecorder};
pub use upstream_error::UpstreamError;

pub use error_reason::Reason;

/// How long an upload may stop once its answer has ended.
const LATE_UPLOAD: Duration = Duration::from_secs(5);
/// How often the instance may say of a request that it has not processed it.
const MAX_REFUSALS: usize = 5;

/// One worker's way to one instance.
pub struct Upstream {
    pool: Rc<Pool>,
    traffic: Traffic,
    bulks: Rc<SizeHints>,
    host: HeaderValue,
    /// Those of waits that are over: they serve the next ones as they are.
    timers: RefCell<Vec<Timer>>,
    /// Until the head of the answer (counted from the upload's last progress), and each wait for more of its body.
    head_timeout: Duration,
}

impl Upstream {
    /// A way through `connector`, with `patience` for the head of an answer and each wait for more of it; counted as
    /// `traffic`.
    pub fn new(
        connector: Connector,
        patience: Duration,
        traffic: Traffic,
    ) -> Result<Self, http::header::InvalidHeaderValue> {
        let host = HeaderValue::from_str(connector.authority().as_str())?;
        let pool = Pool::new(connector, traffic.clone());
        Ok(Self { pool, traffic, bulks: Rc::default(), host, timers: RefCell::default(), head_timeout: patience })
    }

    /// A way to a port that nobody has.
    #[cfg(test)]
    pub(crate) fn nowhere() -> Self {
        let minute = Duration::from_secs(60);
        let route = crate::net::dial::Route::new("127.0.0.1".to_owned(), 1, None);
        let connector = Connector::new(Authority::from_static("127.0.0.1:1"), None, route, minute).expect("a host");
        let traffic = crate::observe::metrics::Metrics::new().expect("metrics").traffic("nowhere");
        Self::new(connector, minute, traffic).expect("a field value")
    }

    /// The instance's authority.
    pub fn authority(&self) -> &Authority {
        self.pool.connector().authority()
    }

    /// A request is about to be sent again.
    pub fn replays(&self, why: Replay) {
        self.traffic.replayed(why);
    }

    /// A page of an answer went through a fence.
    pub fn fenced(&self, rows: FencedRows) {
        self.traffic.fenced(rows);
    }

    /// Closes connections that have been idle for long; to be called now and then.
    pub fn sweep(&self) {
        self.pool.sweep();
    }

    /// Sends a permitted request with its bearer and waits for the head of the answer. A write is in the audit log by
    /// then, if there is one.
    ///
    /// A connection from the pool may have died unused: what provably was not sent goes out again on another one, once,
    /// and so does what the instance says it has not processed, and a read that got no answer. Anything else is sent
    /// once.
    pub async fn send(
        &self,
        entered: &Audited,
        bearer: &Bearer,
        outbound: &mut Outbound,
    ) -> Result<UpstreamAnswer, UpstreamError> {
        let permit = entered.permit();
        let bulk = self.bulks.expected(permit, outbound.request.body());
        let (mut lease, reused) = self.pool.lease(bulk).await?;
        outbound.address(permit, bearer.authorization());
        let mut answer = match self.exchange(&mut lease, outbound).await {
            Ok((head, sent)) => self.answer(head, lease, sent, outbound)?,
            // Boxed: it is seldom, and would make every request's state larger.
            Err(lost) => Box::pin(self.retry(permit, bearer, (lost, reused, bulk), outbound)).await?,
        };
        answer.body.weight = Some(SizeRecorder::of(permit, &self.bulks));
        match answer.head.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Ok(Box::pin(answer.with_reason()).await),
            StatusCode::NOT_FOUND if answer.is_short_json() => Ok(Box::pin(answer.with_reason()).await),
            StatusCode::TOO_MANY_REQUESTS => {
                self.traffic.throttled();
                Ok(answer)
            }
            _ => Ok(answer),
        }
    }

    /// Sends a request again that a connection has lost, if it may be: once, and some more times if the instance says
    /// each time that it has not processed it.
    async fn retry(
        &self,
        permit: &Permit,
        bearer: &Bearer,
        (mut lost, reused, bulk): (LostExchange, bool, bool),
        outbound: &mut Outbound,
    ) -> Result<UpstreamAnswer, UpstreamError> {
        for _ in 1..MAX_REFUSALS {
            lost = match self.resend(permit, bearer, (lost, reused, bulk), outbound).await? {
                Ok(answer) => return Ok(answer),
                Err(lost) if lost.reach == SentPart::Unprocessed => lost,
                Err(lost) => return Err(lost.fault),
            };
        }
        Err(lost.fault)
    }

    async fn resend(
        &self,
        permit: &Permit,
        bearer: &Bearer,
        (LostExchange { fault, reach, unsent }, reused, bulk): (LostExchange, bool, bool),
        outbound: &mut Outbound,
    ) -> Result<Result<UpstreamAnswer, LostExchange>, UpstreamError> {
        let why = match reach {
            SentPart::Unprocessed => Some(Replay::Unprocessed),
            SentPart::Unsent => reused.then_some(Replay::ConnectionStale),
            SentPart::Died => (reused && outbound.is_repeatable(permit)).then_some(Replay::ConnectionLost),
            SentPart::Answered => None,
        };
        let Some(why) = why else { return Err(fault) };
        match unsent {
            Some(mut request) => {
                // HTTP/2 has none.
                request.headers_mut().remove(TRANSFER_ENCODING);
                outbound.request = *request;
            }
            None if outbound.rebuild() => {}
            None => return Err(fault),
        }
        outbound.address(permit, bearer.authorization());
        let mut lease = self.pool.lease_anew(bulk).await?;
        self.traffic.replayed(why);
        outbound.resent |= why != Replay::ConnectionStale;
        match self.exchange(&mut lease, outbound).await {
            Ok((head, sent)) => self.answer(head, lease, sent, outbound).map(Ok),
            Err(lost) => Ok(Err(lost)),
        }
    }

    /// Sends the request, and waits for the head of the answer. Tells also when it was sent.
    async fn exchange(
        &self,
        lease: &mut ConnectionLease,
        outbound: &mut Outbound,
    ) -> Result<(Response<ConnectionBody>, Instant), LostExchange> {
        let (begun, sent) = (lease.begin(), Instant::now());
        let answered = match lease {
            ConnectionLease::Http1 { sender, .. } => {
                let answered = pin!(sender.try_send_request(outbound.take_for_http1(&self.host)));
                self.in_time(answered, sent, outbound.progress()).await.map(|answered| match answered {
                    Ok(answer) => Ok(answer.map(ConnectionBody::Http1)),
                    Err(mut failed) => {
                        let request = failed.take_message().map(Box::new);
                        Err((ExchangeBreak::Http1(failed.into_error()), request))
                    }
                })
            }
            ConnectionLease::Http2 { client, .. } => {
                match client.send(std::mem::take(&mut outbound.request), self.authority()) {
                    Ok(mut answered) => {
                        let answered = self.in_time(Pin::new(&mut answered), sent, outbound.progress()).await;
                        answered.map(|answered| match answered {
                            Ok(answer) => Ok(answer.map(ConnectionBody::Http2)),
                            Err(error) => Err((error, None)),
                        })
                    }
                    Err(http2_connection::Failed { error, request }) => {
                        Some(Err((ExchangeBreak::Http2(error), request)))
                    }
                }
            }
        };
        let progress = outbound.progress();
        match answered {
            Some(Ok(answer)) => Ok((answer, sent)),
            Some(Err((error, request))) => {
                let floods = matches!(error, ExchangeBreak::Informational);
                let lost = LostExchange::failed(error, request, lease.unsent(begun), progress.and_then(Progress::cut));
                if floods || lost.reach != SentPart::Answered {
                    lease.retire();
                }
                Err(lost)
            }
            None => {
                lease.doubt(begun);
                Err(LostExchange::answered(UpstreamError::Timeout))
            }
        }
    }

    /// Waits for the head as long as the upload moves, and then for `patience`.
    async fn in_time<F: Future>(
        &self,
        mut answered: Pin<&mut F>,
        sent: Instant,
        progress: Option<&Progress>,
    ) -> Option<F::Output> {
        let mut deadline = sent + self.head_timeout;
        let mut timer = self.timers.borrow_mut().pop().unwrap_or_default();
        let answer = std::future::poll_fn(|cx| {
            if let Poll::Ready(answer) = answered.as_mut().poll(cx) {
                return Poll::Ready(Some(answer));
            }
            loop {
                timer.set(deadline);
                ready!(timer.poll(cx));
                let moved = progress.map(|progress| progress.moved() + self.head_timeout);
                let Some(later) = moved.filter(|later| *later > deadline) else { return Poll::Ready(None) };
                deadline = later;
            }
        })
        .await;
        self.timers.borrow_mut().push(timer);
        answer
    }

    fn answer(
        &self,
        response: Response<ConnectionBody>,
        mut lease: ConnectionLease,
        sent: Instant,
        outbound: &Outbound,
    ) -> Result<UpstreamAnswer, UpstreamError> {
        lease.answered();
        lease.note_keep_alive(response.headers());
        let came = Instant::now();
        self.traffic.answered(came.saturating_duration_since(sent));
        let (mut head, body) = response.into_parts();
        head::judge(&mut head)?;
        let upload = outbound.progress.as_ref().filter(|progress| !progress.is_over()).map(|progress| {
            let (progress, wait) = (Rc::downgrade(progress), self.head_timeout.min(LATE_UPLOAD));
            Box::new(LateUpload { progress, wait, traffic: self.traffic.clone() })
        });
        let mut body = Box::new(AnswerBody {
            ahead: Bytes::new(),
            transit: TimedBody::new(body, head.version, self.head_timeout),
            broken: None,
            lease: Some(lease),
            weight: None,
            slot: None,
            room: None,
            upload,
        });
        body.end_if_done();
        Ok(UpstreamAnswer { head, body, reason: None, sent, came })
    }
}
