//! What is counted of approvals.

use prometheus::{IntCounter, IntCounterVec, IntGauge};

use super::Families;
/// The steps of an approval.
const STEPS: [&str; 6] = ["asked", "approved", "denied", "expired", "used", "withdrawn"];

/// The series of approvals.
#[derive(Debug, Clone)]
pub struct ApprovalSeries {
    steps: IntCounterVec,
    waiting: IntGauge,
    notice_failures: IntCounter,
}

impl ApprovalSeries {
    pub(super) fn register(families: &Families<'_>) -> Result<Self, prometheus::Error> {
        let steps = families.counter(
            "ninjaone_proxy_approvals_total",
            "Steps of approvals: asked, approved, denied, expired, used, withdrawn.",
            &["step"],
        )?;
        for step in STEPS {
            steps.with_label_values(&[step]);
        }
        let failures = IntCounter::new(
            "ninjaone_proxy_approval_notice_failures_total",
            "Notices of requests that wait for approval that could not be sent.",
        )?;
        let waiting = IntGauge::new("ninjaone_proxy_approvals_waiting", "Requests that wait for approval now.")?;
        Ok(Self { steps, waiting: families.add(&waiting)?, notice_failures: families.add(&failures)? })
    }

    /// Something happened to an approval: one of the steps that the audit log has.
    pub fn step(&self, step: &'static str) {
        self.steps.with_label_values(&[step]).inc();
    }

    /// So many requests wait now.
    pub fn set_waiting(&self, count: usize) {
        self.waiting.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// A notice could not be sent.
    pub fn notice_failed(&self) {
        self.notice_failures.inc();
    }
}
