//! The audit log: every write and every refusal, in a file where each line is tied to the one before it.
//!
//! A write has two lines: its intent, which is safe on the disk before the write goes to NinjaOne, and its outcome,
//! which is safe before the caller is answered. So after a crash in between there is a line that says what may have been
//! done. A refusal has one line, for which nobody waits. A read that is permitted costs nothing here.

mod approval_step;
pub mod chain;
pub mod entry;
mod file_set;
pub mod line;
mod log_file;
mod read;
pub mod verify;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use entry::{EndedRequest, Entry, Event, RequestFacts, RequestOutcome};
use log_file::LogFile;
use writer::{Message, Waiter};

pub use approval_step::{ApprovalStep, StepKind};
pub use log_file::LogFileError;
pub use writer::{AuditCounters, Writer};

/// With more records than this in the queue, requests wait for all of them, not only for those of writes.
const MAX_PENDING: usize = 1024;

/// Where and how the audit log is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditConfig {
    /// The file.
    pub file: PathBuf,
    /// When it is put aside for the next, in bytes.
    pub max_size: u64,
    /// When it is written to the disk.
    pub sync: Durability,
    /// What becomes of writes while it cannot be written.
    pub on_failure: OnFailure,
}

/// When the system is asked to write the file to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// Before a write goes up, and before it is answered: its lines outlast a loss of power.
    Write,
    /// When the system likes: lines outlast the process, and not the system.
    Never,
}

/// What becomes of writes while the audit log cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// They are refused.
    Refuse,
    /// They go on.
    Continue,
}

/// A write cannot be recorded, and must not happen then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unrecorded {
    /// There is no room.
    #[error("the audit log cannot be written, because its disk is full")]
    DiskFull,
    /// Somebody put another file in its place.
    #[error("the audit log cannot be written, because another file is in its place: move that away")]
    Replaced,
    /// The system refuses, or the disk fails.
    #[error("the audit log cannot be written, because the system reports an error")]
    Failed,
    /// The thread that writes it has ended.
    #[error("the audit log is closed")]
    Closed,
}

impl Unrecorded {
    fn of(error: &std::io::Error) -> Self {
        let kind = error.kind();
        if matches!(kind, std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded) {
            Self::DiskFull
        } else if kind == std::io::ErrorKind::AlreadyExists {
            Self::Replaced
        } else {
            Self::Failed
        }
    }
}

/// The audit log, or none, for those who have something to record.
#[derive(Debug, Clone, Default)]
pub struct AuditLog {
    handle: Option<Arc<Handle>>,
}

/// Sends records to the writer.
#[derive(Debug)]
struct Handle {
    sender: Sender<Message>,
    /// Records that the writer has not taken yet.
    pending: AtomicUsize,
    on_failure: OnFailure,
}

/// A request whose end will be recorded: when it is reported, or else when this is dropped.
#[derive(Debug)]
pub struct OpenEntry {
    handle: Arc<Handle>,
    /// `None` once it is recorded.
    facts: Option<Box<RequestFacts>>,
    kind: EntryKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EntryKind {
    Write,
    /// The rules close it, and are only observed.
    Read,
    Refusal,
}

impl AuditLog {
    /// Opens the audit log. Nothing is written before the writer runs. Blocks.
    pub fn open(settings: &AuditConfig, counters: AuditCounters) -> Result<(Self, Writer), LogFileError> {
        let sync = settings.sync == Durability::Write;
        let (log_file, found) = LogFile::open(&settings.file, settings.max_size, sync)?;
        let file = settings.file.display();
        if found.missing > 0 {
            tracing::error!(%file, lines = found.missing, "lines of the audit log are missing: see ninjaone-proxy audit verify");
        } else if found.begin.headless {
            tracing::error!(%file, "the head file of the audit log is missing: a cut end would not show");
        } else if let Some(torn) = found.begin.torn {
            tracing::warn!(%file, bytes = torn.bytes, "the audit log ends with a torn line, which is kept");
        }
        tracing::info!(%file, new = found.new, "writes and refusals are recorded");
        let (sender, messages) = channel();
        let handle = Arc::new(Handle { sender, pending: AtomicUsize::new(0), on_failure: settings.on_failure });
        let writer = Writer::new(log_file, found.begin, messages, Arc::clone(&handle), counters);
        Ok((Self { handle: Some(handle) }, writer))
    }

    /// Records the intent of a write, and waits until that is safe. Its end will be recorded too.
    pub async fn write(&self, facts: impl FnOnce() -> RequestFacts) -> Result<Option<OpenEntry>, Unrecorded> {
        let Some(handle) = &self.handle else { return Ok(None) };
        let facts = Box::new(facts());
        let intent = handle.record(Entry::now(Event::Intent((*facts).clone())));
        // Open already: the caller may leave while the intent is being written.
        let mut open = OpenEntry { handle: Arc::clone(handle), facts: Some(facts), kind: EntryKind::Write };
        if let Err(unrecorded) = intent.await {
            open.facts = None;
            return Err(unrecorded);
        }
        Ok(Some(open))
    }

    /// A read that the rules close, where they are only observed: its end will be recorded.
    pub fn observed_read(&self, facts: impl FnOnce() -> RequestFacts) -> Option<OpenEntry> {
        self.open_as(EntryKind::Read, facts)
    }

    /// A request that the proxy answers itself.
    pub fn refusal(&self, facts: impl FnOnce() -> RequestFacts) -> Option<OpenEntry> {
        self.open_as(EntryKind::Refusal, facts)
    }

    fn open_as(&self, kind: EntryKind, facts: impl FnOnce() -> RequestFacts) -> Option<OpenEntry> {
        let handle = self.handle.as_ref()?;
        Some(OpenEntry { handle: Arc::clone(handle), facts: Some(Box::new(facts())), kind })
    }

    /// Records a step of an approval at once; the future ends when that is safe. Nobody need wait for it: a step that
    /// opens nothing is kept for later if it cannot be written now.
    pub fn approval(&self, step: ApprovalStep) -> impl Future<Output = Result<(), Unrecorded>> + use<> {
        let recorded = self.handle.as_ref().map(|handle| handle.record(Entry::now(Event::Approval(step))));
        async move {
            match recorded {
                Some(recorded) => recorded.await,
                None => Ok(()),
            }
        }
    }

    /// Lets the writer end once all is written.
    pub fn close(&self) {
        if let Some(handle) = &self.handle {
            // If nobody receives it, the writer has ended already.
            let _ = handle.sender.send(Message::Close);
        }
    }
}

impl Handle {
    /// Records something and waits until it is safe.
    fn record(&self, entry: Entry) -> impl Future<Output = Result<(), Unrecorded>> + use<> {
        let (done, safe) = oneshot::channel();
        self.send(entry, Some(done));
        let unheard = match self.on_failure {
            OnFailure::Refuse => Err(Unrecorded::Closed),
            OnFailure::Continue => Ok(()),
        };
        async move { safe.await.unwrap_or(unheard) }
    }

    fn send(&self, entry: Entry, waiter: Option<Waiter>) {
        self.pending.fetch_add(1, Ordering::Relaxed);
        // If nobody receives it, the waiter is dropped, which tells the one that waits.
        let _ = self.sender.send(Message::Record(Box::new(entry), waiter));
    }

    /// The writer took a record.
    fn taken(&self) {
        self.pending.fetch_sub(1, Ordering::Relaxed);
    }
}

impl OpenEntry {
    /// Records how the request ended; waits until that is safe if it is a write, or if many records are in the queue. What
    /// cannot be recorded now is kept for later: it has happened.
    pub async fn close(mut self, outcome: RequestOutcome) {
        let Some(entry) = self.entry(outcome) else { return };
        if self.kind == EntryKind::Write || self.handle.pending.load(Ordering::Relaxed) > MAX_PENDING {
            let _ = self.handle.record(entry).await;
        } else {
            self.handle.send(entry, None);
        }
    }

    /// Records how the request ended, and waits for nothing.
    pub fn leave(mut self, outcome: RequestOutcome) {
        self.send(outcome);
    }

    fn send(&mut self, outcome: RequestOutcome) {
        if let Some(entry) = self.entry(outcome) {
            self.handle.send(entry, None);
        }
    }

    fn entry(&mut self, outcome: RequestOutcome) -> Option<Entry> {
        let ended = EndedRequest { facts: *self.facts.take()?, outcome };
        Some(Entry::now(if self.kind == EntryKind::Refusal { Event::Refusal(ended) } else { Event::Outcome(ended) }))
    }
}

impl Drop for OpenEntry {
    fn drop(&mut self) {
        self.send(RequestOutcome::default());
    }
}
