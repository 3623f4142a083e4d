//! What the status page shows of the series: sums by listener, whatever else they are labelled with.

use std::collections::BTreeMap;

use prometheus::proto::{Metric, MetricFamily};

use super::Metrics;

/// The sums at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Totals {
    /// By the name of the listener.
    pub listeners: BTreeMap<String, Sums>,
    /// By the names of listener and caller.
    pub callers: BTreeMap<(String, String), CallerSums>,
    /// Requests that a panic ended.
    pub panics: u64,
    /// The audit log cannot be written.
    pub audit_failing: bool,
    /// Records that the audit log has lost.
    pub audit_lost: u64,
}

/// The sums of a caller.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CallerSums {
    /// Requests whose answer has ended.
    pub requests: u64,
    /// Those of them that the proxy answered itself.
    pub refusals: u64,
}

/// The sums of a listener, or of several.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sums {
    /// Requests whose answer has ended, those included that the proxy answered itself.
    pub requests: u64,
    /// Requests that the proxy answered itself.
    pub refusals: u64,
    /// Requests whose answer has not ended.
    pub in_flight: u64,
    /// How many requests took up to so many seconds, counted up.
    pub durations: Vec<(f64, u64)>,
}

impl Sums {
    /// Adds another.
    pub fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.refusals += other.refusals;
        self.in_flight += other.in_flight;
        for (place, (bound, count)) in other.durations.iter().enumerate() {
            match self.durations.get_mut(place) {
                Some((_, own)) => *own += count,
                None => self.durations.push((*bound, *count)),
            }
        }
    }
}

impl Totals {
    /// The sums of all listeners.
    pub fn total(&self) -> Sums {
        self.listeners.values().fold(Sums::default(), |mut total, sum| {
            total.add(sum);
            total
        })
    }
}

impl Metrics {
    /// The sums now.
    pub fn tally(&self) -> Totals {
        Totals::of(&self.registry.gather())
    }
}

impl Totals {
    fn of(families: &[MetricFamily]) -> Self {
        families.iter().fold(Self::default(), |mut tally, family| {
            tally.take(family);
            tally
        })
    }

    fn take(&mut self, family: &MetricFamily) {
        for metric in family.get_metric() {
            let counted = metric.get_counter().get_value() as u64;
            match family.name() {
                "ninjaone_proxy_requests_total" => self.at(metric).requests += counted,
                "ninjaone_proxy_caller_requests_total" => self.caller(metric).requests += counted,
                "ninjaone_proxy_caller_refusals_total" => self.caller(metric).refusals += counted,
                "ninjaone_proxy_refusals_total" => self.at(metric).refusals += counted,
                "ninjaone_proxy_requests_in_flight" => {
                    self.at(metric).in_flight += metric.get_gauge().get_value().max(0.0) as u64;
                }
                "ninjaone_proxy_request_duration_seconds" => {
                    let buckets = metric.get_histogram().get_bucket().iter();
                    let durations = buckets.map(|bucket| (bucket.upper_bound(), bucket.cumulative_count())).collect();
                    self.at(metric).add(&Sums { durations, ..Sums::default() });
                }
                "ninjaone_proxy_panics_total" => self.panics += counted,
                "ninjaone_proxy_audit_failing" => self.audit_failing |= metric.get_gauge().get_value() > 0.0,
                "ninjaone_proxy_audit_lost_total" => self.audit_lost += counted,
                _ => {}
            }
        }
    }

    fn at(&mut self, metric: &Metric) -> &mut Sums {
        self.listeners.entry(label(metric, "listener")).or_default()
    }

    fn caller(&mut self, metric: &Metric) -> &mut CallerSums {
        self.callers.entry((label(metric, "listener"), label(metric, "caller"))).or_default()
    }
}

fn label(metric: &Metric, name: &str) -> String {
    let label = metric.get_label().iter().find(|label| label.name() == name);
    label.map_or(String::new(), |label| label.value().to_owned())
}

#[cfg(test)]
mod tests {
    use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry};

    use super::*;

    #[test]
    fn tally_sums_up_by_listener_whatever_other_labels_there_are() {
        let registry = Registry::new();
        let counter = |name: &str, labels: &[&str], counts: &[(&[&str], u64)]| {
            let vec = IntCounterVec::new(Opts::new(name, "help"), labels).expect("a counter");
            counts.iter().for_each(|(labels, count)| vec.with_label_values(labels).inc_by(*count));
            registry.register(Box::new(vec)).expect("a new name");
        };
        let by_operation: &[(&[&str], u64)] = &[(&["local", "a"], 2), (&["local", "b"], 5), (&["other", "a"], 1)];
        counter("ninjaone_proxy_requests_total", &["listener", "operation"], by_operation);
        counter("ninjaone_proxy_refusals_total", &["code", "listener"], &[(&["x", "local"], 3)]);
        counter("ninjaone_proxy_panics_total", &["listener"], &[(&["local"], 1)]);
        let durations = HistogramOpts::new("ninjaone_proxy_request_duration_seconds", "help").buckets(vec![0.1, 1.0]);
        let durations = HistogramVec::new(durations, &["listener"]).expect("a histogram");
        [("local", 0.05), ("local", 0.5), ("other", 0.5)]
            .iter()
            .for_each(|(name, time)| durations.with_label_values(&[*name]).observe(*time));
        registry.register(Box::new(durations)).expect("a new name");
        let in_flight =
            IntGaugeVec::new(Opts::new("ninjaone_proxy_requests_in_flight", "help"), &["listener"]).expect("a gauge");
        in_flight.with_label_values(&["other"]).set(4);
        registry.register(Box::new(in_flight)).expect("a new name");

        let tally = Totals::of(&registry.gather());
        let seen = |name: &str| {
            let sum = &tally.listeners[name];
            (sum.requests, sum.refusals, sum.in_flight)
        };
        assert_eq!((seen("local"), seen("other"), tally.panics), ((7, 3, 0), (1, 0, 4), 1));
        assert!(tally.callers.is_empty());
        let total = tally.total();
        assert_eq!((total.requests, total.refusals, total.in_flight), (8, 3, 4));
        assert_eq!(total.durations[..2], [(0.1, 1), (1.0, 3)]);
        let callers: &[(&[&str], u64)] = &[(&["local", "reports", "2xx"], 2), (&["local", "reports", "4xx"], 1)];
        counter("ninjaone_proxy_caller_requests_total", &["listener", "caller", "status_class"], callers);
        let refused: &[(&[&str], u64)] = &[(&["local", "reports", "x"], 1), (&["local", "reports", "y"], 1)];
        counter("ninjaone_proxy_caller_refusals_total", &["listener", "caller", "code"], refused);
        let callers = Totals::of(&registry.gather()).callers;
        assert_eq!(callers[&("local".to_owned(), "reports".to_owned())], CallerSums { requests: 3, refusals: 2 });
    }

    #[test]
    fn tally_knows_the_series_by_their_names() {
        let metrics = Metrics::new().expect("metrics");
        metrics.meter("local", Vec::new(), Vec::new().into()).begin();
        assert_eq!(metrics.tally().listeners["local"].in_flight, 1);
    }
}
