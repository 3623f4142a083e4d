//! Counters for Prometheus, with labels from closed sets only: listener, operation, status class, code, blame.

pub mod reloads;

use std::cell::RefCell;
use std::time::Duration;

use http::StatusCode;
use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

/// Seconds; NinjaOne answers in tens of milliseconds to tens of seconds.
const BUCKETS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0];
/// The label of a request for no operation of the catalogue.
const NO_OPERATION: &str = "none";

/// All series of the process.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    refusals: IntCounterVec,
    overruled: IntCounterVec,
    panics: IntCounterVec,
    in_flight: IntGaugeVec,
    seconds: HistogramVec,
    token_requests: IntCounterVec,
    token_expiry: IntGaugeVec,
    rate_waits: IntCounterVec,
}

/// One token as the gauges show it.
#[derive(Debug)]
pub struct TokenReading {
    /// The instance's name.
    pub instance: String,
    /// The scopes, separated by spaces.
    pub scopes: String,
    /// The time to expiry; 0 without a usable token.
    pub expires_in: Duration,
}

impl Metrics {
    /// Registers all series.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let counter = |name, help, labels: &[&str]| {
            let vec = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(vec.clone())).map(|()| vec)
        };
        let gauge = |name, help, labels: &[&str]| {
            let vec = IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(vec.clone())).map(|()| vec)
        };
        let requests = counter(
            "ninjaone_proxy_requests_total",
            "Requests whose answer has ended, by operation (method and path template) and class of the status.",
            &["listener", "operation", "status_class"],
        )?;
        let refusals = counter(
            "ninjaone_proxy_refusals_total",
            "Requests that the proxy answered itself, by code and by whose fault it was.",
            &["listener", "code", "blame"],
        )?;
        let overruled = counter(
            "ninjaone_proxy_overruled_total",
            "Requests that passed a listener that only observes its rules, by the code of the refusal that they had got.",
            &["listener", "code"],
        )?;
        let panics = counter("ninjaone_proxy_panics_total", "Requests that a panic ended.", &["listener"])?;
        let token_requests =
            counter("ninjaone_proxy_token_requests_total", "Requests to token endpoints, by result.", &["result"])?;
        let rate_waits = counter(
            "ninjaone_proxy_rate_waits_total",
            "Requests that were held back because of a limited rate, or because the instance throttles.",
            &["instance"],
        )?;
        let in_flight =
            gauge("ninjaone_proxy_requests_in_flight", "Requests whose answer has not ended.", &["listener"])?;
        let token_expiry = gauge(
            "ninjaone_proxy_token_expiry_seconds",
            "Seconds until the token expires; 0 if there is none.",
            &["instance", "scopes"],
        )?;
        let build = gauge("ninjaone_proxy_build_info", "Always 1; the version is in the label.", &["version"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let options = HistogramOpts::new(
            "ninjaone_proxy_request_duration_seconds",
            "Seconds from a request's head to the end of its answer.",
        );
        let seconds = HistogramVec::new(options.buckets(BUCKETS.to_vec()), &["listener"])?;
        registry.register(Box::new(seconds.clone()))?;
        Ok(Self {
            registry,
            requests,
            refusals,
            overruled,
            panics,
            in_flight,
            seconds,
            token_requests,
            token_expiry,
            rate_waits,
        })
    }

    /// The text format of Prometheus, after these readings are taken over.
    pub fn render(
        &self,
        tokens: &[TokenReading],
        (requests, failures): (u64, u64),
    ) -> Result<String, prometheus::Error> {
        for (result, count) in [("granted", requests - failures), ("failed", failures)] {
            let counter = self.token_requests.with_label_values(&[result]);
            counter.inc_by(count.saturating_sub(counter.get()));
        }
        // Of an instance that is not served any more nothing is told.
        self.token_expiry.reset();
        for TokenReading { instance, scopes, expires_in } in tokens {
            let seconds = i64::try_from(expires_in.as_secs()).unwrap_or(i64::MAX);
            self.token_expiry.with_label_values(&[instance, scopes]).set(seconds);
        }
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        String::from_utf8(text).map_err(|error| prometheus::Error::Msg(error.to_string()))
    }

    /// Counts of the audit log: its lines, the records that are lost, and whether it fails. To be asked for once.
    pub fn audit(&self) -> Result<(IntCounter, IntCounter, IntGauge), prometheus::Error> {
        let lines = IntCounter::new("ninjaone_proxy_audit_lines_total", "Lines written to the audit log.")?;
        let lost = IntCounter::new(
            "ninjaone_proxy_audit_lost_total",
            "Records that the audit log could not keep, as it cannot be written and too many wait.",
        )?;
        let failing = IntGauge::new("ninjaone_proxy_audit_failing", "1 while the audit log cannot be written.")?;
        self.registry.register(Box::new(lines.clone()))?;
        self.registry.register(Box::new(lost.clone()))?;
        self.registry.register(Box::new(failing.clone()))?;
        Ok((lines, lost, failing))
    }

    /// Counts the requests to an instance that are held back.
    pub fn rate_waits(&self, instance: &str) -> IntCounter {
        self.rate_waits.with_label_values(&[instance])
    }

    /// The counters of one listener in one worker; `operations` are the names by position in the catalogue.
    pub fn meter(&self, listener: &str, callers: Vec<String>, operations: Vec<String>) -> Meter {
        Meter {
            in_flight: self.in_flight.with_label_values(&[listener]),
            panics: self.panics.with_label_values(&[listener]),
            seconds: self.seconds.with_label_values(&[listener]),
            counters: RefCell::new(vec![Default::default(); operations.len() + 1]),
            metrics: self.clone(),
            listener: listener.to_owned(),
            callers,
            operations,
        }
    }
}

/// Counters of one listener in one worker, looked up once each, so that a request takes no lock.
#[derive(Debug)]
pub struct Meter {
    metrics: Metrics,
    listener: String,
    callers: Vec<String>,
    operations: Vec<String>,
    in_flight: IntGauge,
    panics: IntCounter,
    seconds: Histogram,
    /// By operation (the last row is for none) and class of the status.
    counters: RefCell<Vec<[Option<IntCounter>; 6]>>,
}

impl Meter {
    /// A request passed that the rules close.
    pub fn overruled(&self, code: &str) {
        self.metrics.overruled.with_label_values(&[&self.listener, code]).inc();
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
        index.and_then(|index| self.operations.get(index)).map_or(NO_OPERATION, String::as_str)
    }

    /// A request begins.
    pub fn begin(&self) {
        self.in_flight.inc();
    }

    /// A request ends; a refusal is its code and whose fault it was.
    pub fn end(
        &self,
        operation: Option<usize>,
        status: Option<StatusCode>,
        refusal: Option<(&'static str, &'static str)>,
        elapsed: Duration,
    ) {
        self.in_flight.dec();
        self.seconds.observe(elapsed.as_secs_f64());
        self.count(operation, status);
        if let Some((code, blame)) = refusal {
            self.metrics.refusals.with_label_values(&[&self.listener, code, blame]).inc();
        }
    }

    fn count(&self, operation: Option<usize>, status: Option<StatusCode>) {
        let (class, label) = class(status);
        let mut counters = self.counters.borrow_mut();
        let row = operation.unwrap_or(self.operations.len());
        let Some(cell) = counters.get_mut(row).and_then(|row| row.get_mut(class)) else { return };
        let counter = cell.get_or_insert_with(|| {
            self.metrics.requests.with_label_values(&[self.listener.as_str(), self.operation(operation), label])
        });
        counter.inc();
    }
}

/// The class of a status; the first is for a caller who left before there was one.
fn class(status: Option<StatusCode>) -> (usize, &'static str) {
    match status.map(|status| status.as_u16() / 100) {
        Some(1) => (1, "1xx"),
        Some(2) => (2, "2xx"),
        Some(3) => (3, "3xx"),
        Some(4) => (4, "4xx"),
        Some(5) => (5, "5xx"),
        Some(_) | None => (0, "none"),
    }
}
