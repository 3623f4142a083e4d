//! Which configuration is in force, and how reloads went; named as Prometheus and Alertmanager do.

use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::{Gauge, IntCounterVec, IntGauge, Opts};

use super::Metrics;

/// The series of the configuration.
#[derive(Debug)]
pub struct Reloads {
    total: IntCounterVec,
    successful: IntGauge,
    success_at: Gauge,
    hash: Gauge,
}

impl Reloads {
    /// Registers the series.
    pub fn new(metrics: &Metrics) -> Result<Self, prometheus::Error> {
        let Metrics { registry, .. } = metrics;
        let total = IntCounterVec::new(
            Opts::new("ninjaone_proxy_config_reloads_total", "Attempts to replace the configuration, by result."),
            &["result"],
        )?;
        let successful = IntGauge::new(
            "ninjaone_proxy_config_last_reload_successful",
            "Whether the last attempt to load the configuration was successful: 1 or 0.",
        )?;
        let success_at = Gauge::new(
            "ninjaone_proxy_config_last_reload_success_timestamp_seconds",
            "When the configuration in force was loaded, in seconds since 1970.",
        )?;
        let hash = Gauge::new("ninjaone_proxy_config_hash", "A hash of the text of the configuration in force.")?;
        registry.register(Box::new(total.clone()))?;
        registry.register(Box::new(successful.clone()))?;
        registry.register(Box::new(success_at.clone()))?;
        registry.register(Box::new(hash.clone()))?;
        for result in ["applied", "refused"] {
            total.with_label_values(&[result]);
        }
        Ok(Self { total, successful, success_at, hash })
    }

    /// A configuration is in force from `at` on: the first one, or another.
    pub fn loaded(&self, first: bool, at: SystemTime, hash: u64) {
        if !first {
            self.total.with_label_values(&["applied"]).inc();
        }
        self.successful.set(1);
        self.success_at.set(at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64());
        self.hash.set(hash as f64);
    }

    /// Another configuration was not taken.
    pub fn refused(&self) {
        self.total.with_label_values(&["refused"]).inc();
        self.successful.set(0);
    }
}
