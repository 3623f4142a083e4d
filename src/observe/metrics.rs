//! Counters for Prometheus, with labels from closed sets only: listener, caller, operation, rule as written, status class,
//! code, blame, instance, scopes, protocol, reason, result.
//!
//! What belongs to a listener or an instance that a reload takes away stays as it was: counters do not go backwards, and
//! gauges come down to 0 by themselves. Only tokens are told of anew each time.

pub mod approvals;
mod meter;
mod process;
pub mod reloads;
pub mod shared_store;
pub mod totals;
pub mod traffic;

use std::sync::Arc;
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use approvals::ApprovalSeries;
pub use meter::{RequestEnd, RequestMeter};
use process::ProcessSeries;
use shared_store::StoreSeries;
use traffic::Traffic;

/// Seconds; NinjaOne answers in tens of milliseconds to tens of seconds.
const BUCKETS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0];

/// All series of the process.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    listeners: meter::RequestSeries,
    instances: traffic::TrafficSeries,
    process: ProcessSeries,
    token_requests: IntCounterVec,
    token_expiry: IntGaugeVec,
    token_age: IntGaugeVec,
    user_grant_age: IntGaugeVec,
    sign_in_needed: IntGaugeVec,
    rate_waits: IntCounterVec,
    approvals: ApprovalSeries,
    shared_store: StoreSeries,
    quota_used: IntGaugeVec,
    quota_limit: IntGaugeVec,
}

/// One token as the gauges show it.
#[derive(Debug)]
pub struct TokenStatus {
    /// The instance's name.
    pub instance: String,
    /// The scopes, separated by spaces.
    pub scopes: String,
    /// The time to expiry; 0 without a usable token.
    pub expires_in: Duration,
    /// The time since it was asked for; `None` without a usable token.
    pub age: Option<Duration>,
}

/// The sign-in of a person as the gauges show it.
#[derive(Debug)]
pub struct UserStatus {
    /// The instance's name.
    pub instance: String,
    /// The name of the user in the configuration.
    pub user: String,
    /// The time since the grant was renewed; `None` if the person must sign in.
    pub renewed: Option<Duration>,
}

/// A quota as the gauges show it.
#[derive(Debug)]
pub struct QuotaGauge {
    /// The listener's name.
    pub listener: String,
    /// The name of the caller whose own it is; empty: all callers of the listener share it.
    pub caller: String,
    /// What it counts.
    pub quota: &'static str,
    /// How many were used within its window.
    pub used: u32,
    /// How many there are within its window.
    pub limit: u32,
}

/// Where families of series are registered.
struct Families<'a>(&'a Registry);

impl Families<'_> {
    fn add<C: Collector + Clone + 'static>(&self, family: &C) -> Result<C, prometheus::Error> {
        self.0.register(Box::new(family.clone())).map(|()| family.clone())
    }

    fn counter(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, prometheus::Error> {
        self.add(&IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    fn gauge(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, prometheus::Error> {
        self.add(&IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    /// A gauge without labels.
    #[cfg_attr(not(unix), expect(dead_code, reason = "for what only Unix tells of a process"))]
    fn number(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        self.add(&IntGauge::new(name, help)?)
    }

    fn histogram(&self, name: &str, help: &str, labels: &[&str]) -> Result<HistogramVec, prometheus::Error> {
        self.add(&HistogramVec::new(HistogramOpts::new(name, help).buckets(BUCKETS.to_vec()), labels)?)
    }
}

impl Metrics {
    /// Registers all series.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let families = Families(&registry);
        let build =
            families.gauge("ninjaone_proxy_build_info", "Always 1; the version is in the label.", &["version"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Ok(Self {
            listeners: meter::RequestSeries::register(&families)?,
            instances: traffic::TrafficSeries::register(&families)?,
            process: ProcessSeries::register(&families)?,
            token_requests: families.counter(
                "ninjaone_proxy_token_requests_total",
                "Requests to token endpoints, by result.",
                &["result"],
            )?,
            token_expiry: families.gauge(
                "ninjaone_proxy_token_expiry_seconds",
                "Seconds until the token expires; 0 if there is none.",
                &["instance", "scopes"],
            )?,
            token_age: families.gauge(
                "ninjaone_proxy_token_age_seconds",
                "Seconds since the token was asked for; no series if there is none.",
                &["instance", "scopes"],
            )?,
            user_grant_age: families.gauge(
                "ninjaone_proxy_user_grant_age_seconds",
                "Seconds since the sign-in of a person was renewed; no series if the person must sign in.",
                &["instance", "user"],
            )?,
            sign_in_needed: families.gauge(
                "ninjaone_proxy_sign_in_needed",
                "1 if a person must sign in, else 0.",
                &["instance", "user"],
            )?,
            rate_waits: families.counter(
                "ninjaone_proxy_rate_waits_total",
                "Requests that were held back because of a limited rate, or because the instance throttles.",
                &["instance"],
            )?,
            approvals: ApprovalSeries::register(&families)?,
            shared_store: StoreSeries::register(&families)?,
            quota_used: families.gauge(
                "ninjaone_proxy_quota_used",
                "What is used of a quota within its window, by what it counts; caller is empty for that of the listener.",
                &["listener", "caller", "quota"],
            )?,
            quota_limit: families.gauge(
                "ninjaone_proxy_quota_limit",
                "What a quota allows within its window, by what it counts; caller is empty for that of the listener.",
                &["listener", "caller", "quota"],
            )?,
            registry,
        })
    }

    /// The text format of Prometheus, after these readings are taken over.
    pub fn render(
        &self,
        tokens: &[TokenStatus],
        users: &[UserStatus],
        (granted, failed): (u64, u64),
    ) -> Result<String, prometheus::Error> {
        for (result, count) in [("granted", granted), ("failed", failed)] {
            let counter = self.token_requests.with_label_values(&[result]);
            counter.inc_by(count.saturating_sub(counter.get()));
        }
        // An instance that is not served any more has no metrics.
        self.token_expiry.reset();
        self.token_age.reset();
        self.user_grant_age.reset();
        self.sign_in_needed.reset();
        let seconds = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
        for TokenStatus { instance, scopes, expires_in, age } in tokens {
            self.token_expiry.with_label_values(&[instance, scopes]).set(seconds(*expires_in));
            if let Some(age) = age {
                self.token_age.with_label_values(&[instance, scopes]).set(seconds(*age));
            }
        }
        for UserStatus { instance, user, renewed } in users {
            self.sign_in_needed.with_label_values(&[instance, user]).set(i64::from(renewed.is_none()));
            if let Some(renewed) = renewed {
                self.user_grant_age.with_label_values(&[instance, user]).set(seconds(*renewed));
            }
        }
        self.listeners.panicked_elsewhere(crate::base::panic_guard::outside());
        self.process.look();
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        String::from_utf8(text).map_err(|error| prometheus::Error::Msg(error.to_string()))
    }

    /// Takes these readings of quotas over; those of others are not shown any more.
    pub fn show_quotas(&self, quotas: &[QuotaGauge]) {
        self.quota_used.reset();
        self.quota_limit.reset();
        for QuotaGauge { listener, caller, quota, used, limit } in quotas {
            let labels = [listener.as_str(), caller.as_str(), quota];
            self.quota_used.with_label_values(&labels).set((*used).into());
            self.quota_limit.with_label_values(&labels).set((*limit).into());
        }
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

    /// The counters of one instance.
    pub fn traffic(&self, instance: &str) -> Traffic {
        self.instances.of(instance)
    }

    /// What is counted of the shared store.
    pub fn shared_store(&self) -> StoreSeries {
        self.shared_store.clone()
    }

    /// What is counted of approvals.
    pub fn approvals(&self) -> ApprovalSeries {
        self.approvals.clone()
    }

    /// Counts the requests to an instance that are held back.
    pub fn rate_waits(&self, instance: &str) -> IntCounter {
        self.rate_waits.with_label_values(&[instance])
    }

    /// The counters of one listener in one worker; `operations` are the names by position in the catalogue.
    pub fn meter(&self, listener: &str, callers: Vec<String>, operations: Arc<[String]>) -> RequestMeter {
        RequestMeter::new(self.listeners.clone(), listener, callers, operations)
    }
}
