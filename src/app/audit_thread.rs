//! The thread that writes the audit log.

use std::io;
use std::thread;

use super::StartError;
use crate::observe::audit_log::{AuditConfig, AuditCounters, AuditLog};
use crate::observe::metrics::Metrics;

/// The audit log, if there is one, and the thread that writes it.
#[derive(Default)]
pub(super) struct AuditThread {
    audit_log: AuditLog,
    thread: Option<thread::JoinHandle<()>>,
}

impl AuditThread {
    /// Opens the audit log and starts its thread. Blocks.
    pub(super) fn start(settings: Option<&AuditConfig>, metrics: &Metrics) -> Result<Self, StartError> {
        let Some(settings) = settings else { return Ok(Self::default()) };
        let (lines, lost, failing) = metrics.audit()?;
        let (audit_log, writer) = AuditLog::open(settings, AuditCounters { lines, lost, failing })?;
        let thread = thread::Builder::new().name("audit".to_owned()).spawn(move || writer.run())?;
        Ok(Self { audit_log, thread: Some(thread) })
    }

    /// For those who have something to record.
    pub(super) fn audit_log(&self) -> AuditLog {
        self.audit_log.clone()
    }

    /// Writes all that was recorded, and ends.
    pub(super) async fn end(self) -> io::Result<()> {
        self.audit_log.close();
        let Some(thread) = self.thread else { return Ok(()) };
        let joined = tokio::task::spawn_blocking(move || thread.join()).await?;
        joined.map_err(|_| io::Error::other("the thread of the audit log panicked"))
    }
}
