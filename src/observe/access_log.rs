//! One record for each request, written when its answer has ended, also when the caller left before.

mod audited;
mod fault;
mod logged_body;
mod outcome;
mod request_id;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode};
use tokio::time::Instant;

use crate::base::panic_guard::Panicked;
use crate::base::warn_limit::WarnLimit;
use crate::net::listener::Peer;
use crate::observe::audit_log::OpenEntry;
use crate::observe::audit_log::entry::DecisionLabel;
use crate::observe::logging::log_line::LineWriter;
use crate::observe::metrics::RequestMeter;
use crate::observe::support_id::SupportId;
use crate::observe::trace_context::{self, Parent, TraceId};
use crate::observe::traces::{Span, Traces};

pub use fault::Fault;
pub use logged_body::LoggedBody;
pub use request_id::RequestId;

/// Where the records of a worker's listener go.
#[derive(Debug)]
pub struct Sink {
    /// Counted always.
    pub meter: RequestMeter,
    /// Written where it is wanted.
    pub lines: Option<Rc<LineWriter>>,
    /// Where spans go.
    pub traces: Option<Traces>,
    /// What keeps callers from flooding the log.
    pub warnings: WarnLimit,
}

/// What the access log will say of a request. Dropping it writes the record.
#[derive(Debug)]
pub struct RequestLog {
    sink: Rc<Sink>,
    id: RequestId,
    peer: Peer,
    method: Option<Method>,
    started: Instant,
    caller: Option<usize>,
    operation: Option<usize>,
    status: Option<StatusCode>,
    refusal: Option<(&'static str, Fault)>,
    decision: Option<DecisionLabel>,
    /// What decided, if it was a rule, a group or a scope.
    rule: Option<Rc<str>>,
    /// The person whose token it needs, by the name in the configuration.
    user: Option<Arc<str>>,
    organizations: Option<Arc<str>>,
    server: Option<Box<str>>,
    /// The id of the approval that it waits for, or goes on by.
    approval: Option<Box<str>>,
    replayed: bool,
    overruled: Option<&'static str>,
    dry_run: bool,
    trace: Option<TraceId>,
    /// Where it is recorded for a collector.
    span: Option<Box<Span>>,
    /// The entry of the audit log that the end of the request closes.
    audit_entry: Option<OpenEntry>,
    /// How many bytes of the request's body came, while more may come.
    received: Option<Rc<Cell<u64>>>,
    /// When the request was sent upstream for the last time, and when the head of the answer came.
    upstream_times: Option<(Instant, Instant)>,
    /// NinjaOne's own id of it.
    support_id: Option<SupportId>,
    /// What NinjaOne's refusal says, or what is wrong with a key.
    reason: Option<&'static str>,
    sent: u64,
    complete: bool,
}

impl RequestLog {
    /// Begins the record of a request; without a method of one whose head could not be read.
    pub fn begin(sink: &Rc<Sink>, id: RequestId, peer: Peer, method: Option<Method>) -> Self {
        sink.meter.begin();
        Self {
            sink: Rc::clone(sink),
            id,
            peer,
            method,
            started: Instant::now(),
            caller: None,
            operation: None,
            status: None,
            refusal: None,
            decision: None,
            rule: None,
            user: None,
            organizations: None,
            server: None,
            approval: None,
            replayed: false,
            overruled: None,
            dry_run: false,
            trace: None,
            span: None,
            audit_entry: None,
            received: None,
            upstream_times: None,
            support_id: None,
            reason: None,
            sent: 0,
            complete: false,
        }
    }

    /// The request's id.
    pub fn id(&self) -> RequestId {
        self.id
    }

    /// Its far end.
    pub fn peer(&self) -> &Peer {
        &self.peer
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
        self.span = self.sink.traces.as_ref().and_then(|traces| traces.begin(parent));
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

    /// The rules open it once a person approves, who has not yet.
    pub fn set_waiting(&mut self, rule: Rc<str>) {
        self.decision = Some(DecisionLabel::Waiting);
        self.rule = Some(rule);
    }

    /// It passed although `rule` says no, for which this is the code of a refusal: the rules are only observed.
    pub fn set_overruled(&mut self, code: &'static str, rule: Rc<str>) {
        self.decision = Some(DecisionLabel::Overruled);
        self.rule = Some(rule);
        self.overruled = Some(code);
        self.sink.meter.overruled(code);
    }

    /// It is only tried: it is not sent.
    pub fn set_dry_run(&mut self) {
        self.dry_run = true;
        self.sink.meter.dry_run();
    }

    /// The policy refuses it: this rule, group or scope does, or nothing opens it.
    pub fn set_closed_by(&mut self, rule: Option<Rc<str>>) {
        self.sink.meter.closed_by(rule.as_deref());
        self.rule = rule;
    }

    /// Its caller is kept to these organizations.
    pub fn set_organizations(&mut self, organizations: Arc<str>) {
        self.organizations = Some(organizations);
    }

    /// It needs the token of this person.
    pub fn set_user(&mut self, user: Arc<str>) {
        self.user = Some(user);
    }

    /// It is a CONNECT to this server.
    pub fn set_server(&mut self, server: impl Into<Box<str>>) {
        self.server = Some(server.into());
    }

    /// The person whose token it needs, if that is not the machine's.
    pub fn user(&self) -> Option<&Arc<str>> {
        self.user.as_ref()
    }

    /// It waits for this approval, or goes on by it.
    pub fn set_approval(&mut self, id: impl Into<Box<str>>) {
        self.approval = Some(id.into());
    }

    /// Its body comes, and its bytes are counted there.
    pub fn count_received(&mut self, bytes: Rc<Cell<u64>>) {
        self.received = Some(bytes);
    }

    /// NinjaOne's answer came, to a request that was sent at `sent`.
    pub fn set_upstream_times(&mut self, (sent, answered): (Instant, Instant), headers: &HeaderMap) {
        if self.sink.lines.is_some() {
            self.upstream_times = Some((sent, answered));
            self.support_id = SupportId::of(headers);
        }
    }

    /// NinjaOne's refusal says this, or this is wrong with the key.
    pub fn set_reason(&mut self, reason: &'static str) {
        self.reason = Some(reason);
    }

    /// How many warnings of this kind were left out since the last one, if another is due now.
    pub fn warning_due(&self, kind: &'static str) -> Option<u64> {
        self.sink.warnings.due(kind)
    }

    /// A panic ended it: told here, where its id is known, and nowhere else.
    pub fn log_panic(&self, panicked: &Panicked) {
        self.sink.meter.panicked();
        let operation = self.sink.meter.operation(self.operation);
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
