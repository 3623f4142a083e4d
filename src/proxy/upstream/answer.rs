//! An answer of the instance, and its body.

use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{StatusCode, response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep_until, timeout};

use super::pool::ConnectionLease;
use super::size_hints::SizeRecorder;
use super::{Reason, http2_connection};
use crate::net::body::{BodyError, Progress, TimedBody};
use crate::net::listener::Reservation;
use crate::observe::metrics::traffic::Traffic;
use crate::proxy::rate_limit::RateSlot;

/// How much of a 401, 403 or 404 is read, roughly, to learn what it means.
const MAX_REASON: usize = 8 * 1024;
const JSON: &[u8] = b"application/json";
/// How long its head is withheld for that.
const READ_AHEAD: Duration = Duration::from_millis(250);

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
pub(super) enum ConnectionBody {
    Http1(Incoming),
    Http2(http2_connection::Http2Body),
}

/// The body of an answer. When it ends well, the connection goes back to the pool.
pub struct AnswerBody {
    /// What was read ahead of the rest.
    pub(super) ahead: Bytes,
    pub(super) transit: TimedBody<ConnectionBody>,
    /// The body broke while it was read ahead.
    pub(super) broken: Option<BodyError>,
    pub(super) lease: Option<ConnectionLease>,
    pub(super) weight: Option<SizeRecorder>,
    /// Given back at its end, or with it.
    pub(super) slot: Option<RateSlot>,
    pub(super) room: Option<Reservation>,
    /// The request's body, if its end had not come when the answer began.
    pub(super) upload: Option<Box<LateUpload>>,
}

/// A request's body that goes on while its answer comes.
pub(super) struct LateUpload {
    /// The task that sends it holds it.
    pub(super) progress: Weak<Progress>,
    pub(super) wait: Duration,
    pub(super) traffic: Traffic,
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

impl UpstreamAnswer {
    /// Reads the beginning of a 401, 403 or 404 to learn what it means; nothing of the answer is lost.
    pub(super) async fn with_reason(mut self) -> Self {
        let read = self.body.read_ahead().await;
        self.reason = Some(Reason::read(self.head.status, &self.head.headers, &read));
        self
    }

    /// Whether it may be one of NinjaOne's own errors; an HTML page is none.
    pub(super) fn is_short_json(&self) -> bool {
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

    pub(super) fn end_if_done(&mut self) {
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
