//! One record for each request, written when its answer has ended, also when the caller left before.

use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use crate::fence::{self, Panicked};
use crate::listener::Peer;
use crate::metrics::Meter;

/// Whose fault a refusal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The request is wrong, or not allowed.
    Caller,
    /// This proxy's configuration or state.
    Proxy,
    /// The instance or its token endpoint.
    Upstream,
}

impl Blame {
    /// The name in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Proxy => "proxy",
            Self::Upstream => "upstream",
        }
    }
}

/// A request's id in the log: the worker's part, and a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestId(pub u32, pub u32);

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}{:08x}", self.0, self.1)
    }
}

/// What is taken down of a request. Dropping it writes it.
#[derive(Debug)]
pub struct Record {
    meter: Rc<Meter>,
    id: RequestId,
    peer: Peer,
    method: Option<Method>,
    begun: Instant,
    caller: Option<usize>,
    operation: Option<usize>,
    status: Option<StatusCode>,
    refusal: Option<(&'static str, Blame)>,
    replayed: bool,
    overruled: Option<&'static str>,
    octets: u64,
    complete: bool,
}

impl Record {
    /// Begins the record of a request; without a method of one whose head could not be read.
    pub fn begin(meter: &Rc<Meter>, id: RequestId, peer: Peer, method: Option<Method>) -> Self {
        meter.begin();
        Self {
            meter: Rc::clone(meter),
            id,
            peer,
            method,
            begun: Instant::now(),
            caller: None,
            operation: None,
            status: None,
            refusal: None,
            replayed: false,
            overruled: None,
            octets: 0,
            complete: false,
        }
    }

    /// The request's id.
    pub fn id(&self) -> RequestId {
        self.id
    }

    /// It is a request of this caller, by its place among the listener's.
    pub fn is_of(&mut self, caller: usize) {
        self.caller = Some(caller);
    }

    /// Whose request it is, once that is known.
    pub fn caller(&self) -> Option<usize> {
        self.caller
    }

    /// It is a request for this operation of the catalogue.
    pub fn is_for(&mut self, operation: Option<usize>) {
        self.operation = operation;
    }

    /// The request was sent again: the token was renewed, or the instance had throttled it.
    pub fn replayed(&mut self) {
        self.replayed = true;
    }

    /// It passed although the rules say no, for which this is the code of a refusal: they are only observed.
    pub fn overruled(&mut self, code: &'static str) {
        self.overruled = Some(code);
        self.meter.overruled(code);
    }

    /// A panic ended it: told here, where its id is known, and nowhere else.
    pub fn panicked(&self, panicked: &Panicked) {
        self.meter.panicked();
        let operation = self.meter.operation(self.operation);
        tracing::error!(id = %self.id, operation, error = %panicked, "a request panicked");
    }

    /// The answer begins.
    pub fn answered(&mut self, status: StatusCode, refusal: Option<(&'static str, Blame)>) {
        self.status = Some(status);
        self.refusal = refusal;
    }

    /// The answer went out whole, with a body of so many octets.
    pub fn ended(&mut self, octets: usize) {
        self.octets = octets as u64;
        self.complete = true;
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let elapsed = self.begun.elapsed();
        let refusal = self.refusal.map(|(code, blame)| (code, blame.as_str()));
        self.meter.end(self.operation, self.status, refusal, elapsed);
        tracing::info!(
            target: "access",
            id = %self.id,
            listener = self.meter.listener(),
            peer = %self.peer,
            caller = self.meter.caller(self.caller),
            method = self.method.as_ref().map(tracing::field::display),
            operation = self.meter.operation(self.operation),
            status = self.status.map(|status| status.as_u16()),
            refusal = refusal.map(|(code, _)| code),
            blame = refusal.map(|(_, blame)| blame),
            replayed = self.replayed.then_some(true),
            overruled = self.overruled,
            octets = self.octets,
            complete = self.complete,
            ms = elapsed.as_secs_f64() * 1e3,
            "request"
        );
    }
}

/// A body that keeps its request's record to its end.
#[derive(Debug)]
pub struct Recorded<B> {
    body: B,
    record: Record,
}

impl<B: Body> Recorded<B> {
    /// Ties them together.
    pub fn new(body: B, mut record: Record) -> Self {
        record.complete = body.is_end_stream();
        Self { body, record }
    }
}

impl<B: Body<Data = Bytes, Error: From<Panicked>> + Unpin> Body for Recorded<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        // The sender of an answer ends with its first error, so a body that panicked is not polled again.
        let polled = fence::within(|| Pin::new(&mut self.body).poll_frame(cx)).unwrap_or_else(|panicked| {
            self.record.panicked(&panicked);
            Poll::Ready(Some(Err(panicked.into())))
        });
        let polled = ready!(polled);
        match &polled {
            Some(Ok(frame)) => {
                self.record.octets += frame.data_ref().map_or(0, Bytes::len) as u64;
                self.record.complete = self.body.is_end_stream();
            }
            Some(Err(_)) => {}
            None => self.record.complete = true,
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
