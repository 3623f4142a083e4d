//! One record for each request, written when its answer has ended, also when the caller left before.

use std::cell::Cell;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use crate::base::panic_guard::{self, Panicked};
use crate::net::listener::Peer;
use crate::observe::audit_log::entry::{DecisionLabel, RequestFacts, RequestOutcome, Text};
use crate::observe::audit_log::{AuditLog, OpenEntry};
use crate::observe::logging::log_line::{LineWriter, LogLine};
use crate::observe::metrics::{RequestEnd, RequestMeter};
use crate::observe::support_id::SupportId;
use crate::observe::trace_context::{self, Parent, TraceId};
use crate::observe::traces::{Span, SpanLabels, Traces};

/// Whose fault a refusal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The request is wrong, or not allowed.
    Caller,
    /// This proxy's configuration or state.
    Proxy,
    /// The instance or its token endpoint.
    Upstream,
}

impl Fault {
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

impl RequestId {
    fn number(self) -> u64 {
        u64::from(self.0) << 32 | u64::from(self.1)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}{:08x}", self.0, self.1)
    }
}

/// Where the records of a worker's listener go.
#[derive(Debug)]
pub struct Sink {
    /// Counted always.
    pub meter: RequestMeter,
    /// Written where it is wanted.
    pub lines: Option<Rc<LineWriter>>,
    /// Where spans go.
    pub traces: Option<Traces>,
}

/// What is taken down of a request. Dropping it writes it.
#[derive(Debug)]
pub struct RequestLog {
    scribe: Rc<Sink>,
    id: RequestId,
    peer: Peer,
    method: Option<Method>,
    begun: Instant,
    caller: Option<usize>,
    operation: Option<usize>,
    status: Option<StatusCode>,
    refusal: Option<(&'static str, Fault)>,
    decision: Option<DecisionLabel>,
    /// What decided, if it was a rule, a group or a scope.
    rule: Option<Rc<str>>,
    replayed: bool,
    overruled: Option<&'static str>,
    trace: Option<TraceId>,
    /// Where it is recorded for a collector.
    span: Option<Box<Span>>,
    /// What the audit log waits for.
    open: Option<OpenEntry>,
    /// How many bytes of the request's body came, while more may come.
    received: Option<Rc<Cell<u64>>>,
    /// When the request was sent for the last time, and the head of the answer came.
    asked: Option<(Instant, Instant)>,
    /// NinjaOne's own id of it.
    support: Option<SupportId>,
    /// What NinjaOne's refusal says.
    reason: Option<&'static str>,
    sent: u64,
    complete: bool,
}

impl RequestLog {
    /// Begins the record of a request; without a method of one whose head could not be read.
    pub fn begin(scribe: &Rc<Sink>, id: RequestId, peer: Peer, method: Option<Method>) -> Self {
        scribe.meter.begin();
        Self {
            scribe: Rc::clone(scribe),
            id,
            peer,
            method,
            begun: Instant::now(),
            caller: None,
            operation: None,
            status: None,
            refusal: None,
            decision: None,
            rule: None,
            replayed: false,
            overruled: None,
            trace: None,
            span: None,
            open: None,
            received: None,
            asked: None,
            support: None,
            reason: None,
            sent: 0,
            complete: false,
        }
    }

    /// The request's id.
    pub fn id(&self) -> RequestId {
        self.id
    }

    /// It is a request of this caller, by its place among the listener's.
    pub fn set_caller(&mut self, caller: usize) {
        self.caller = Some(caller);
    }

    /// Whose request it is, once that is known.
    pub fn caller(&self) -> Option<usize> {
        self.caller
    }

    /// It comes from there in a trace, or in none.
    pub fn set_trace_parent(&mut self, parent: Option<Parent>) {
        self.span = self.scribe.traces.as_ref().and_then(|traces| traces.begin(parent));
        self.trace = self.span.as_ref().map(|span| span.trace()).or(parent.map(|parent| parent.trace));
    }

    /// Writes into these headers which trace the request belongs to; begins one if there is none.
    pub fn propagate_trace(&mut self, headers: &mut HeaderMap) {
        match &self.span {
            Some(span) => span.name(headers),
            None if self.trace.is_none() => self.trace = Some(trace_context::begin(headers)),
            None => {}
        }
    }

    /// It is a request for this operation of the catalogue.
    pub fn set_operation(&mut self, operation: Option<usize>) {
        self.operation = operation;
    }

    /// Whether it is for an operation of the catalogue.
    pub fn has_operation(&self) -> bool {
        self.operation.is_some()
    }

    /// Its method; none if its head could not be read.
    pub fn method(&self) -> Option<&Method> {
        self.method.as_ref()
    }

    /// The request was sent again.
    pub fn set_replayed(&mut self) {
        self.replayed = true;
    }

    /// The rules open it; `rule` is the one of `allow` that does, if one was needed.
    pub fn set_permitted(&mut self, rule: Option<Rc<str>>) {
        self.decision = Some(DecisionLabel::Permitted);
        self.rule = rule;
    }

    /// It passed although `rule` says no, for which this is the code of a refusal: the rules are only observed.
    pub fn set_overruled(&mut self, code: &'static str, rule: Rc<str>) {
        self.decision = Some(DecisionLabel::Overruled);
        self.rule = Some(rule);
        self.overruled = Some(code);
        self.scribe.meter.overruled(code);
    }

    /// The policy refuses it: this rule, group or scope does, or nothing opens it.
    pub fn set_closed_by(&mut self, rule: Option<Rc<str>>) {
        self.scribe.meter.closed_by(rule.as_deref());
        self.rule = rule;
    }

    /// Its body comes, and its bytes are counted there.
    pub fn count_received(&mut self, bytes: Rc<Cell<u64>>) {
        self.received = Some(bytes);
    }

    /// NinjaOne's answer came, to a request that was sent at `sent`.
    pub fn set_upstream_times(&mut self, (sent, came): (Instant, Instant), headers: &HeaderMap) {
        if self.scribe.lines.is_some() {
            self.asked = Some((sent, came));
            self.support = SupportId::of(headers);
        }
    }

    /// NinjaOne's refusal says this.
    pub fn set_reason(&mut self, reason: &'static str) {
        self.reason = Some(reason);
    }

    /// What the audit log tells of it, in the words of the access log; its path is left open.
    pub fn facts(&self) -> RequestFacts {
        RequestFacts {
            id: self.id.to_string(),
            trace: self.trace.map(|trace| trace.as_str().to_owned()),
            listener: self.scribe.meter.listener().to_owned(),
            caller: self.scribe.meter.caller(self.caller).map(str::to_owned),
            peer: self.peer.to_string(),
            method: self.method.as_ref().map(|method| Text::new(method.as_str())),
            operation: self.scribe.meter.operation(self.operation).to_owned(),
            path: None,
            decision: self.decision.unwrap_or(DecisionLabel::Refused),
            overruled: self.overruled,
            rule: self.rule.as_deref().map(Text::new),
        }
    }

    /// The audit log waits for its end.
    pub fn set_audit_entry(&mut self, open: Option<OpenEntry>) {
        self.open = open;
    }

    /// The audit log hears of it as a refusal, unless it waits for its end already.
    pub fn audit_refusal(&mut self, journal: &AuditLog, facts: impl FnOnce(&Self) -> RequestFacts) {
        if self.open.is_none() {
            self.open = journal.refusal(|| facts(self));
        }
    }

    /// Tells the audit log how it ended, if it waits for that; waits until a write's outcome is safe there.
    pub async fn settle(&mut self) {
        let outcome = self.outcome();
        if let Some(open) = self.open.take() {
            open.close(outcome).await;
        }
    }

    fn outcome(&self) -> RequestOutcome {
        RequestOutcome {
            status: self.status.map(|status| status.as_u16()),
            code: self.refusal.map(|(code, _)| code),
            blame: self.refusal.map(|(_, blame)| blame.as_str()),
            replayed: self.replayed,
        }
    }

    /// A panic ended it: told here, where its id is known, and nowhere else.
    pub fn log_panic(&self, panicked: &Panicked) {
        self.scribe.meter.panicked();
        let operation = self.scribe.meter.operation(self.operation);
        tracing::error!(id = %self.id, operation, error = %panicked, "a request panicked");
    }

    /// The answer begins.
    pub fn set_answer(&mut self, status: StatusCode, refusal: Option<(&'static str, Fault)>) {
        self.status = Some(status);
        self.refusal = refusal;
        if refusal.is_some() {
            self.decision.get_or_insert(DecisionLabel::Refused);
        }
    }

    /// The answer went out whole, with a body of so many bytes.
    pub fn set_sent(&mut self, bytes: usize) {
        self.sent = bytes as u64;
        self.complete = true;
    }
}

impl Drop for RequestLog {
    fn drop(&mut self) {
        let elapsed = self.begun.elapsed();
        if let Some(open) = self.open.take() {
            open.leave(self.outcome());
        }
        let refusal = self.refusal.map(|(code, blame)| (code, blame.as_str()));
        let Sink { meter, lines, traces } = &*self.scribe;
        meter.end(RequestEnd {
            operation: self.operation,
            caller: self.caller,
            status: self.status,
            refusal,
            received: self.bytes_in(),
            sent: self.sent,
            elapsed,
        });
        if let Some(lines) = lines {
            lines.write("request", |line| self.describe(line, meter, elapsed));
        }
        if let (Some(span), Some(traces)) = (&self.span, traces) {
            traces.end(span, self.span_labels(meter));
        }
    }
}

impl RequestLog {
    fn span_labels<'a>(&'a self, meter: &'a RequestMeter) -> SpanLabels<'a> {
        SpanLabels {
            method: self.method.as_ref().map(Method::as_str),
            operation: self.operation.map(|_| meter.operation(self.operation)),
            status: self.status.map(|status| status.as_u16()),
            code: self.refusal.map(|(code, _)| code),
            peer: self.peer.to_string(),
            listener: meter.listener(),
            caller: meter.caller(self.caller),
            id: self.id.to_string(),
            bytes: self.sent,
            replayed: self.replayed,
        }
    }

    fn bytes_in(&self) -> u64 {
        self.received.as_ref().map_or(0, |bytes| bytes.get())
    }

    fn describe(&self, line: &mut LogLine<'_>, meter: &RequestMeter, elapsed: Duration) {
        line.id("id", self.id.number());
        if let Some(trace) = &self.trace {
            line.word("trace", trace.as_str());
        }
        line.text("listener", meter.listener());
        match self.peer.address() {
            Some(address) => line.address("peer", address),
            None => line.display("peer", &self.peer),
        }
        if let Some(caller) = meter.caller(self.caller) {
            line.text("caller", caller);
        }
        if let Some(method) = &self.method {
            line.word("method", method.as_str());
        }
        line.text("operation", meter.operation(self.operation));
        if let Some(decision) = self.decision {
            line.text("decision", decision.as_str());
        }
        if let Some(rule) = &self.rule {
            line.text("rule", rule);
        }
        if let Some(status) = self.status {
            line.number("status", status.as_u16().into());
        }
        if let Some((code, blame)) = self.refusal {
            line.text("refusal", code);
            line.text("blame", blame.as_str());
        }
        if let Some(reason) = self.reason {
            line.text("reason", reason);
        }
        if self.replayed {
            line.flag("replayed", true);
        }
        if let Some(code) = self.overruled {
            line.text("overruled", code);
        }
        if let Some(id) = &self.support {
            line.text("nj_request_id", id.as_str());
        }
        if let bytes @ 1.. = self.bytes_in() {
            line.number("bytes_in", bytes);
        }
        line.number("bytes", self.sent);
        line.flag("complete", self.complete);
        line.millis("ms", elapsed);
        if let Some((sent, came)) = self.asked {
            line.millis("before_ms", sent.saturating_duration_since(self.begun));
            line.millis("upstream_ms", came.saturating_duration_since(sent));
        }
    }
}

/// A body that keeps its request's record to its end.
#[derive(Debug)]
pub struct LoggedBody<B> {
    body: B,
    record: RequestLog,
}

impl<B: Body> LoggedBody<B> {
    /// Ties them together.
    pub fn new(body: B, mut record: RequestLog) -> Self {
        record.complete = body.is_end_stream();
        Self { body, record }
    }
}

impl<B: Body<Data = Bytes, Error: From<Panicked>> + Unpin> Body for LoggedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        // The sender of an answer ends with its first error, so a body that panicked is not polled again.
        let polled = panic_guard::within(|| Pin::new(&mut self.body).poll_frame(cx)).unwrap_or_else(|panicked| {
            self.record.log_panic(&panicked);
            Poll::Ready(Some(Err(panicked.into())))
        });
        let polled = ready!(polled);
        match &polled {
            Some(Ok(frame)) => {
                self.record.sent += frame.data_ref().map_or(0, Bytes::len) as u64;
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
