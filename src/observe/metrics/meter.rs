//! What is counted of the requests on a listener.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::Families;

/// The label of a request for no operation of the catalogue, and of a refusal because no rule opens a request.
const NONE: &str = "none";

/// The series of all listeners.
#[derive(Debug, Clone)]
pub(super) struct RequestSeries {
    requests: IntCounterVec,
    caller_requests: IntCounterVec,
    caller_refusals: IntCounterVec,
    refusals: IntCounterVec,
    rule_refusals: IntCounterVec,
    overruled: IntCounterVec,
    dry_runs: IntCounterVec,
    panics: IntCounterVec,
    received: IntCounterVec,
    sent: IntCounterVec,
    in_flight: IntGaugeVec,
    seconds: HistogramVec,
}

impl RequestSeries {
    /// There were so many panics that ended no request of a known listener.
    pub(super) fn panicked_elsewhere(&self, count: u64) {
        if count > 0 {
            let counter = self.panics.with_label_values(&[NONE]);
            counter.inc_by(count.saturating_sub(counter.get()));
        }
    }

    pub(super) fn register(families: &Families<'_>) -> Result<Self, prometheus::Error> {
        Ok(Self {
            requests: families.counter(
                "ninjaone_proxy_requests_total",
                "Requests whose answer has ended, by operation (method and path template) and class of the status.",
                &["listener", "operation", "status_class"],
            )?,
            caller_requests: families.counter(
                "ninjaone_proxy_caller_requests_total",
                "Requests of known callers whose answer has ended, where a listener tells its callers apart.",
                &["listener", "caller", "status_class"],
            )?,
            caller_refusals: families.counter(
                "ninjaone_proxy_caller_refusals_total",
                "Requests of known callers that the proxy answered itself, by code.",
                &["listener", "caller", "code"],
            )?,
            refusals: families.counter(
                "ninjaone_proxy_refusals_total",
                "Requests that the proxy answered itself, by code and by whose fault it was.",
                &["listener", "code", "blame"],
            )?,
            rule_refusals: families.counter(
                "ninjaone_proxy_rule_refusals_total",
                "Requests that the policy refused, by the rule, group or scope that decided; none: nothing opens them.",
                &["listener", "rule"],
            )?,
            overruled: families.counter(
                "ninjaone_proxy_overruled_total",
                "Requests that a listener with mode observe let through, by the code of the refusal that enforce would have given.",
                &["listener", "code"],
            )?,
            dry_runs: families.counter(
                "ninjaone_proxy_dry_runs_total",
                "Requests that were only tried, and not sent: the caller asked for a dry run, or its writes are not sent.",
                &["listener"],
            )?,
            panics: families.counter("ninjaone_proxy_panics_total", "Panics: requests that one ended, and others (listener none).", &["listener"])?,
            received: families.counter(
                "ninjaone_proxy_request_bytes_total",
                "Bytes of the bodies that came from callers.",
                &["listener"],
            )?,
            sent: families.counter(
                "ninjaone_proxy_response_bytes_total",
                "Bytes of the bodies that went to callers.",
                &["listener"],
            )?,
            in_flight: families.gauge(
                "ninjaone_proxy_requests_in_flight",
                "Requests whose answer has not ended.",
                &["listener"],
            )?,
            seconds: families.histogram(
                "ninjaone_proxy_request_duration_seconds",
                "Seconds from a request's head to the end of its answer.",
                &["listener"],
            )?,
        })
    }
}

/// Counters of one listener in one worker, looked up once each, so that a request takes no lock.
#[derive(Debug)]
pub struct RequestMeter {
    series: RequestSeries,
    listener: String,
    callers: Vec<String>,
    operations: Arc<[String]>,
    in_flight: IntGauge,
    panics: IntCounter,
    received: IntCounter,
    sent: IntCounter,
    seconds: Histogram,
    /// By operation; the last row is for none.
    by_operation: StatusClasses,
    by_caller: StatusClasses,
}

/// How a request ended.
#[derive(Debug, Clone, Copy)]
pub struct RequestEnd {
    /// The operation's place in the catalogue.
    pub operation: Option<usize>,
    /// The caller's place among the listener's.
    pub caller: Option<usize>,
    /// The status of the answer; `None` if the caller left before there was one.
    pub status: Option<StatusCode>,
    /// The code of a refusal, and whose fault it was.
    pub refusal: Option<(&'static str, &'static str)>,
    /// The bytes of its body that came.
    pub received: u64,
    /// The bytes of the answer's body that went.
    pub sent: u64,
    /// From its head to the end of its answer.
    pub elapsed: Duration,
}

impl RequestMeter {
    pub(super) fn new(series: RequestSeries, listener: &str, callers: Vec<String>, operations: Arc<[String]>) -> Self {
        Self {
            in_flight: series.in_flight.with_label_values(&[listener]),
            panics: series.panics.with_label_values(&[listener]),
            received: series.received.with_label_values(&[listener]),
            sent: series.sent.with_label_values(&[listener]),
            seconds: series.seconds.with_label_values(&[listener]),
            by_operation: StatusClasses::new(operations.len() + 1),
            by_caller: StatusClasses::new(callers.len()),
            series,
            listener: listener.to_owned(),
            callers,
            operations,
        }
    }

    /// A request passed that the rules close.
    pub fn overruled(&self, code: &str) {
        self.series.overruled.with_label_values(&[&self.listener, code]).inc();
    }

    /// A request is only tried.
    pub fn dry_run(&self) {
        self.series.dry_runs.with_label_values(&[&self.listener]).inc();
    }

    /// The policy refused a request: by this rule, group or scope, or because nothing opens it.
    pub fn closed_by(&self, rule: Option<&str>) {
        self.series.rule_refusals.with_label_values(&[self.listener.as_str(), rule.unwrap_or(NONE)]).inc();
    }

    /// A request was ended by a panic.
    pub fn panicked(&self) {
        self.panics.inc();
    }

    /// The name of the caller at this place; `None` where callers are not told apart.
    pub fn caller(&self, caller: Option<usize>) -> Option<&str> {
        self.callers.get(caller?).map(String::as_str)
    }

    /// The listener's name.
    pub fn listener(&self) -> &str {
        &self.listener
    }

    /// The name of an operation.
    pub fn operation(&self, index: Option<usize>) -> &str {
        index.and_then(|index| self.operations.get(index)).map_or(NONE, String::as_str)
    }

    /// A request begins.
    pub fn begin(&self) {
        self.in_flight.inc();
    }

    /// A request ends.
    pub fn end(&self, ending: RequestEnd) {
        let RequestEnd { operation, caller, status, refusal, received, sent, elapsed } = ending;
        self.in_flight.dec();
        self.seconds.observe(elapsed.as_secs_f64());
        for (counter, bytes) in [(&self.received, received), (&self.sent, sent)] {
            if bytes > 0 {
                counter.inc_by(bytes);
            }
        }
        let class = StatusClass::of(status);
        self.by_operation.count(operation.unwrap_or(self.operations.len()), class, |class| {
            self.series.requests.with_label_values(&[self.listener.as_str(), self.operation(operation), class])
        });
        if let Some((place, name)) = caller.zip(self.caller(caller)) {
            self.by_caller.count(place, class, |class| {
                self.series.caller_requests.with_label_values(&[self.listener.as_str(), name, class])
            });
        }
        if let Some((code, blame)) = refusal {
            if let Some(name) = self.caller(caller) {
                self.series.caller_refusals.with_label_values(&[self.listener.as_str(), name, code]).inc();
            }
            self.series.refusals.with_label_values(&[&self.listener, code, blame]).inc();
        }
    }
}

/// Counters by row and class of the status, looked up when they are first needed.
#[derive(Debug)]
struct StatusClasses(RefCell<Vec<[Option<IntCounter>; 6]>>);

impl StatusClasses {
    fn new(rows: usize) -> Self {
        Self(RefCell::new(vec![Default::default(); rows]))
    }

    fn count(&self, row: usize, class: StatusClass, look_up: impl FnOnce(&'static str) -> IntCounter) {
        let mut rows = self.0.borrow_mut();
        let Some(cell) = rows.get_mut(row).and_then(|row| row.get_mut(class.0)) else { return };
        cell.get_or_insert_with(|| look_up(class.1)).inc();
    }
}

/// The class of a status; the first is for a caller who left before there was one.
#[derive(Debug, Clone, Copy)]
struct StatusClass(usize, &'static str);

impl StatusClass {
    fn of(status: Option<StatusCode>) -> Self {
        match status.map(|status| status.as_u16() / 100) {
            Some(1) => Self(1, "1xx"),
            Some(2) => Self(2, "2xx"),
            Some(3) => Self(3, "3xx"),
            Some(4) => Self(4, "4xx"),
            Some(5) => Self(5, "5xx"),
            Some(_) | None => Self(0, NONE),
        }
    }
}
