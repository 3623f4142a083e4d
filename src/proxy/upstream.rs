//! The way to NinjaOne: one exchange at a time, never a write twice.

mod connect;
mod error_reason;
pub mod head;
mod http2_connection;
mod lost_exchange;
mod pool;
mod size_hints;
mod watched_socket;

use std::cell::RefCell;
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::uri::Authority;
use http::{Method, Request, Response, StatusCode, Uri, Version, response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep_until, timeout};

use crate::base::clock::timer::Timer;
use crate::net::body::{BodyError, Progress, TimedBody, Upload};
use crate::net::dial::connect::{ConnectError, Connector};
use crate::net::dial::protocol::ExchangeBreak;
use crate::net::listener::Reservation;
use crate::observe::metrics::traffic::{Replay, Traffic};
use crate::proxy::audit::Audited;
use crate::proxy::headers;
use crate::proxy::headers::loops::LoopMark;
use crate::proxy::policy::Permit;
use crate::proxy::rate_limit::RateSlot;
use crate::proxy::token::Bearer;
use head::MalformedAnswer;
use lost_exchange::{LostExchange, SentPart};
use pool::{ConnectionLease, Pool};
use size_hints::{SizeHints, SizeRecorder};

pub use error_reason::Reason;

/// How much of a 401, 403 or 404 is read, roughly, to learn what it means.
const MAX_REASON: usize = 8 * 1024;
const JSON: &[u8] = b"application/json";
/// How long an upload may stop once its answer has ended.
const LATE_UPLOAD: Duration = Duration::from_secs(5);
/// How often the instance may say of a request that it has not processed it.
const MAX_REFUSALS: usize = 5;
/// How long its head is withheld for that.
const READ_AHEAD: Duration = Duration::from_millis(250);

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

/// A request on its way, and what is needed to send it once more.
pub struct Outbound {
    request: Request<Upload>,
    /// Its headers, without those of a single sending.
    headers: Vec<(HeaderName, HeaderValue)>,
    progress: Option<Rc<Progress>>,
    /// A safe method without a body.
    safe: bool,
    /// A connection lost it, and it went out again.
    resent: bool,
    /// The memory for its body.
    room: Option<Reservation>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// No connection: nothing was sent.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The connection broke before a whole head came.
    #[error("the exchange with the instance broke off")]
    Broken(#[source] ExchangeBreak),
    /// The head of the answer can be read in no way, or in two.
    #[error("the instance's answer is malformed")]
    Malformed(#[from] MalformedAnswer),
    /// No head in time.
    #[error("the instance did not answer in time")]
    Timeout,
    /// The caller's body ended too soon: not the instance's fault.
    #[error("the request's body was cut: {0}")]
    Upload(BodyError),
}

/// NinjaOne's answer.
pub struct UpstreamAnswer {
    /// Status and headers as they came.
    pub head: response::Parts,
    /// The body, in transit.
    pub body: Box<AnswerBody>,
    /// What a 401, 403 or 404 says.
    pub reason: Option<Reason>,
    /// When the request was sent, for the last time.
    pub sent: Instant,
    /// When the head came.
    pub came: Instant,
}

/// A body as it comes from a connection; why it breaks off does not matter any more.
enum ConnectionBody {
    Http1(Incoming),
    Http2(http2_connection::Http2Body),
}

/// The body of an answer. When it ends well, the connection goes back to the pool.
pub struct AnswerBody {
    /// What was read ahead of the rest.
    ahead: Bytes,
    transit: TimedBody<ConnectionBody>,
    /// The body broke while it was read ahead.
    broken: Option<BodyError>,
    lease: Option<ConnectionLease>,
    weight: Option<SizeRecorder>,
    /// Given back at its end, or with it.
    slot: Option<RateSlot>,
    room: Option<Reservation>,
    /// The request's body, if its end had not come when the answer began.
    upload: Option<Box<LateUpload>>,
}

/// A request's body that goes on while its answer comes.
struct LateUpload {
    /// Whoever sends it holds it.
    progress: Weak<Progress>,
    wait: Duration,
    traffic: Traffic,
}

impl LateUpload {
    /// The body, unless nothing more of it is to go up.
    fn going_up(&self) -> Option<Rc<Progress>> {
        self.progress.upgrade().filter(|progress| !progress.is_over())
    }

    /// Lets it go on as long as it moves, and then ends it, so that neither the caller nor a drain waits for it.
    async fn watch(self, lease: ConnectionLease) {
        let _late = self.traffic.late_upload();
        let mut deadline = Instant::now() + self.wait;
        loop {
            sleep_until(deadline).await;
            let Some(progress) = self.going_up() else { return lease.give_back() };
            let later = progress.moved() + self.wait;
            if later <= deadline {
                tracing::debug!("the rest of an upload is left out: its answer has ended, and nobody takes it");
                progress.abandon();
                return lease.cut_off();
            }
            deadline = later;
        }
    }
}

impl Outbound {
    /// Takes a caller's headers, which it cleans and marks, and its body.
    pub fn new(method: &Method, mut headers: HeaderMap, upload: Upload, mark: &LoopMark) -> Self {
        headers::clean_request(&mut headers);
        mark.stamp(&mut headers);
        let safe = matches!(upload, Upload::Empty) && (*method == Method::GET || *method == Method::HEAD);
        let (kept, progress) = (headers.iter().map(|(name, value)| (name.clone(), value.clone())), upload.progress());
        let kept = kept.collect();
        let mut request = Request::new(upload);
        *request.headers_mut() = headers;
        Self { request, headers: kept, progress, safe, resent: false, room: None }
    }

    /// This memory is its body's until its answer is there.
    pub fn hold(&mut self, room: Option<Reservation>) {
        self.room = room;
    }

    /// How far its body has come, if it has one.
    pub fn progress(&self) -> Option<&Progress> {
        self.progress.as_deref()
    }

    /// Whether it went out twice because of a connection.
    pub fn was_resent(&self) -> bool {
        self.resent
    }

    /// Makes the request once more, if little of its body has come.
    fn rebuild(&mut self) -> bool {
        let progress = self.progress.as_ref();
        let Some(upload) = progress.map_or(Some(Upload::Empty), Progress::retry) else { return false };
        let mut headers = HeaderMap::with_capacity(self.headers.len() + 2);
        for (name, value) in &self.headers {
            headers.append(name, value.clone());
        }
        self.request = Request::new(upload);
        *self.request.headers_mut() = headers;
        true
    }

    /// Makes the request once more, to be sent again with another bearer, or after a 429: if it may have been processed
    /// before, or the answer proves that it was not, and little of its body was taken.
    pub fn try_replay(&mut self, permit: &Permit, answer: &UpstreamAnswer) -> bool {
        (self.is_repeatable(permit) || answer.reason == Some(Reason::NotAuthenticated)) && self.rebuild()
    }

    /// Whether it may be processed twice. A read that moves a cursor would skip a page.
    fn is_repeatable(&self, permit: &Permit) -> bool {
        self.safe && !permit.may_move_cursor()
    }

    /// As HTTP/1.1 sends it (RFC 9112 section 3.2.1).
    fn address(&mut self, permit: &Permit, host: &HeaderValue, authorization: HeaderValue) {
        *self.request.method_mut() = permit.method().clone();
        *self.request.uri_mut() = Uri::from(permit.target().clone());
        *self.request.version_mut() = Version::HTTP_11;
        self.request.headers_mut().insert(AUTHORIZATION, authorization);
        self.request.headers_mut().insert(HOST, host.clone());
    }
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

    /// Closes connections that have been idle for long; to be called now and then.
    pub fn sweep(&self) {
        self.pool.sweep();
    }

    /// Sends a permitted request with its bearer and waits for the head of the answer. A write stands in the audit log by
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
        outbound.address(permit, &self.host, bearer.authorization());
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
        outbound.address(permit, &self.host, bearer.authorization());
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
        let (begun, progress, sent) = (lease.begin(), outbound.progress.as_deref(), Instant::now());
        let mut request = std::mem::take(&mut outbound.request);
        let answered = match lease {
            ConnectionLease::Http1 { sender, .. } => {
                announce(&mut request);
                let answered = pin!(sender.try_send_request(request));
                self.in_time(answered, sent, progress).await.map(|answered| match answered {
                    Ok(answer) => Ok(answer.map(ConnectionBody::Http1)),
                    Err(mut failed) => {
                        let request = failed.take_message().map(Box::new);
                        Err((ExchangeBreak::Http1(failed.into_error()), request))
                    }
                })
            }
            ConnectionLease::Http2 { client, .. } => match client.send(request, self.authority()) {
                Ok(mut answered) => {
                    self.in_time(Pin::new(&mut answered), sent, progress).await.map(|answered| match answered {
                        Ok(answer) => Ok(answer.map(ConnectionBody::Http2)),
                        Err(error) => Err((error, None)),
                    })
                }
                Err(http2_connection::Failed { error, request }) => Some(Err((ExchangeBreak::Http2(error), request))),
            },
        };
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

/// hyper takes it that a GET or HEAD has no body, and leaves one out whose length is not known and that is not announced.
fn announce(request: &mut Request<Upload>) {
    let unknown = |upload: &Upload| !matches!(upload, Upload::Empty) && upload.size_hint().exact().is_none();
    if matches!(*request.method(), Method::GET | Method::HEAD) && unknown(request.body()) {
        request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

impl UpstreamAnswer {
    /// Reads the beginning of a 401, 403 or 404 to learn what it means; nothing of the answer is lost.
    async fn with_reason(mut self) -> Self {
        let read = self.body.read_ahead().await;
        self.reason = Some(Reason::read(self.head.status, &self.head.headers, &read));
        self
    }

    /// Whether it may be one of NinjaOne's own errors; an HTML page is none.
    fn is_short_json(&self) -> bool {
        let kind = self.head.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        let is_json = kind.get(..JSON.len()).is_some_and(|kind| kind.eq_ignore_ascii_case(JSON));
        is_json && self.body.size_hint().lower() <= MAX_REASON as u64
    }

    /// Whether NinjaOne refused the bearer itself: a 401 that does not say that a privilege or a user is missing.
    pub fn refuses_bearer(&self) -> bool {
        self.head.status == StatusCode::UNAUTHORIZED
            && matches!(self.reason, Some(Reason::NotAuthenticated | Reason::Unknown))
    }
}

impl AnswerBody {
    /// Keeps a slot until the body has ended.
    pub fn keep(&mut self, slot: RateSlot) {
        self.slot = Some(slot);
        self.end_if_done();
    }

    /// Keeps memory until the body has ended.
    pub fn hold(&mut self, room: Option<Reservation>) {
        self.room = room;
    }

    /// Reads a short body ahead, so that its connection serves other requests while the answer is kept.
    pub async fn settle(&mut self) {
        self.read_ahead().await;
    }

    /// Reads what comes soon of the beginning of the body, and keeps it to be passed on with the rest.
    async fn read_ahead(&mut self) -> Bytes {
        let mut read = Vec::new();
        let reading = async {
            while read.len() < MAX_REASON && self.broken.is_none() {
                match std::future::poll_fn(|cx| Pin::new(&mut self.transit).poll_frame(cx)).await {
                    Some(Ok(frame)) => read.extend_from_slice(&frame.into_data().unwrap_or_default()),
                    Some(Err(cut)) => self.broken = Some(cut),
                    None => break,
                }
            }
        };
        // What does not come in time is passed on as it comes: a slow body must not withhold the head.
        let _ = timeout(READ_AHEAD, reading).await;
        self.end_if_done();
        let read = Bytes::from(read);
        self.ahead = read.clone();
        read
    }

    fn end_if_done(&mut self) {
        if self.transit.is_end_stream() {
            self.end();
        }
    }

    fn end(&mut self) {
        drop((self.slot.take(), self.room.take()));
        let Some(lease) = self.lease.take() else { return };
        match self.upload.take().filter(|upload| upload.going_up().is_some()) {
            Some(upload) => drop(spawn_local(upload.watch(lease))),
            None => lease.give_back(),
        }
    }
}

impl Body for ConnectionBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Http1(body) => Pin::new(body).poll_frame(cx).map_err(|_| BodyError::Broken),
            Self::Http2(body) => Pin::new(body).poll_frame(cx).map_err(|_| BodyError::Broken),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(body) => body.size_hint(),
            Self::Http2(body) => body.size_hint(),
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if !self.ahead.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.ahead)))));
        }
        if let Some(cut) = self.broken {
            (self.lease, self.slot) = (None, None);
            return Poll::Ready(Some(Err(cut)));
        }
        let polled = ready!(Pin::new(&mut self.transit).poll_frame(cx));
        match &polled {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                self.weight.iter_mut().for_each(|weight| weight.add(bytes));
                self.end_if_done();
            }
            // The caller may take its time to learn of it.
            Some(Err(_)) => (self.lease, self.slot) = (None, None),
            None => self.end(),
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.ahead.is_empty() && self.broken.is_none() && self.transit.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (ahead, rest) = (self.ahead.len() as u64, self.transit.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + ahead);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + ahead);
        }
        hint
    }
}
