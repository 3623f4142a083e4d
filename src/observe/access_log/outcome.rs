//! The end of a request: its line in the access log, its counts, its span, and what the audit log says of it.

use std::time::Duration;

use http::Method;

use super::{RequestLog, Sink};
use crate::observe::audit_log::entry::RequestOutcome;
use crate::observe::logging::log_line::{LogLine, field};
use crate::observe::metrics::{RequestEnd, RequestMeter};
use crate::observe::traces::SpanLabels;

impl Drop for RequestLog {
    fn drop(&mut self) {
        let elapsed = self.started.elapsed();
        if let Some(entry) = self.audit_entry.take() {
            entry.leave(self.outcome());
        }
        let refusal = self.refusal.map(|(code, fault)| (code, fault.as_str()));
        let Sink { meter, lines, traces, .. } = &*self.sink;
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
    /// For the audit log.
    pub(super) fn outcome(&self) -> RequestOutcome {
        RequestOutcome {
            status: self.status.map(|status| status.as_u16()),
            code: self.refusal.map(|(code, _)| code),
            blame: self.refusal.map(|(_, fault)| fault.as_str()),
            replayed: self.replayed,
        }
    }

    fn span_labels<'a>(&'a self, meter: &'a RequestMeter) -> SpanLabels<'a> {
        SpanLabels {
            method: self.method.as_ref().map(Method::as_str),
            operation: self.operation.map(|_| meter.operation(self.operation)),
            status: self.status.map(|status| status.as_u16()),
            code: self.refusal.map(|(code, _)| code),
            peer: self.peer.to_string(),
            listener: meter.listener(),
            caller: meter.caller(self.caller),
            user: self.user.as_deref(),
            id: self.id.to_string(),
            bytes: self.sent,
            replayed: self.replayed,
            dry_run: self.dry_run,
        }
    }

    fn bytes_in(&self) -> u64 {
        self.received.as_ref().map_or(0, |bytes| bytes.get())
    }

    fn describe(&self, line: &mut LogLine<'_>, meter: &RequestMeter, elapsed: Duration) {
        line.id(field!("id"), self.id.number());
        if let Some(trace) = self.trace {
            line.long_id(field!("trace"), trace.number());
        }
        line.text(field!("listener"), meter.listener());
        match self.peer.address() {
            Some(address) => line.address(field!("peer"), address),
            None => line.display(field!("peer"), &self.peer),
        }
        if let Some(caller) = meter.caller(self.caller) {
            line.text(field!("caller"), caller);
        }
        if let Some(user) = &self.user {
            line.text(field!("user"), user);
        }
        if let Some(method) = &self.method {
            line.word(field!("method"), method.as_str());
        }
        if let Some(server) = &self.server {
            line.text(field!("server"), server);
        }
        line.text(field!("operation"), meter.operation(self.operation));
        if let Some(decision) = self.decision {
            line.code(field!("decision"), decision.as_str());
        }
        if let Some(rule) = &self.rule {
            line.text(field!("rule"), rule);
        }
        if let Some(approval) = &self.approval {
            line.text(field!("approval"), approval);
        }
        if let Some(status) = self.status {
            line.number(field!("status"), status.as_u16().into());
        }
        if let Some((code, fault)) = self.refusal {
            line.code(field!("refusal"), code);
            line.code(field!("blame"), fault.as_str());
        }
        if let Some(reason) = self.reason {
            line.text(field!("reason"), reason);
        }
        if self.replayed {
            line.flag(field!("replayed"), true);
        }
        if let Some(code) = self.overruled {
            line.code(field!("overruled"), code);
        }
        if self.dry_run {
            line.flag(field!("dry_run"), true);
        }
        if let Some(id) = &self.support_id {
            line.text(field!("nj_request_id"), id.as_str());
        }
        if let bytes @ 1.. = self.bytes_in() {
            line.number(field!("bytes_in"), bytes);
        }
        line.number(field!("bytes"), self.sent);
        line.flag(field!("complete"), self.complete);
        line.millis(field!("ms"), elapsed);
        if let Some((sent, answered)) = self.upstream_times {
            line.millis(field!("before_ms"), sent.saturating_duration_since(self.started));
            line.millis(field!("upstream_ms"), answered.saturating_duration_since(sent));
        }
    }
}
