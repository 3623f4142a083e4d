//! The thread that writes: it collects the records of all workers, and makes many of them safe at once.

mod backlog;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use prometheus::{IntCounter, IntGauge};
use tokio::sync::oneshot;

use super::entry::{Entry, Event, LogStart};
use super::log_file::LogFile;
use super::{Handle, OnFailure, Unrecorded};
use backlog::Backlog;

/// The most records that are written at once.
const MAX_BATCH: usize = 256;
/// How long a record that nobody waits for may be in the file before the file is synced.
const SYNC_DELAY: Duration = Duration::from_secs(1);
/// How often writing is tried again while it fails and nobody asks for it.
const RETRY: Duration = Duration::from_secs(1);
/// The shortest time between two tries while writing fails.
const MIN_RETRY: Duration = Duration::from_millis(100);

/// What the workers send to the writer.
#[derive(Debug)]
pub(super) enum Message {
    /// A record, and who waits until it is safe.
    Record(Box<Entry>, Option<Waiter>),
    /// Nothing comes any more.
    Close,
}

pub(super) type Waiter = oneshot::Sender<Result<(), Unrecorded>>;
/// Records, each with who waits for it.
type Batch = Vec<(Entry, Option<Waiter>)>;

/// What is counted of the audit log.
#[derive(Debug, Clone)]
pub struct AuditCounters {
    /// Lines written.
    pub lines: IntCounter,
    /// Records that could not be kept.
    pub lost: IntCounter,
    /// 1 while it cannot be written.
    pub failing: IntGauge,
}

/// Writes the audit log, in a thread of its own.
#[derive(Debug)]
pub struct Writer {
    file: LogFile,
    messages: Receiver<Message>,
    handle: Arc<Handle>,
    counters: AuditCounters,
    /// Written, and not synced yet.
    unsynced: Vec<Entry>,
    /// Since when there are such.
    unsynced_since: Option<Instant>,
    /// Not written, because that failed.
    backlog: Backlog,
    /// How many records are tried at once: fewer after a failure, so that what fits is written.
    batch_size: usize,
    /// The time of the last failure, while writing fails.
    failing: Option<Instant>,
    /// Why it failed the last time.
    cause: Unrecorded,
}

impl Writer {
    /// Its first line will be `begin`.
    pub(super) fn new(
        file: LogFile,
        begin: LogStart,
        messages: Receiver<Message>,
        handle: Arc<Handle>,
        counters: AuditCounters,
    ) -> Self {
        Self {
            file,
            messages,
            handle,
            unsynced: Vec::new(),
            unsynced_since: None,
            backlog: Backlog::new(Entry::now(Event::Begin(begin)), counters.lost.clone()),
            counters,
            batch_size: MAX_BATCH,
            failing: None,
            cause: Unrecorded::Failed,
        }
    }

    /// Writes what comes, until [`super::AuditLog::close`] is called and all of it is written. Blocks.
    pub fn run(mut self) {
        // What is there already: the line with which the process begins.
        self.commit(Vec::new(), false);
        let mut closing = false;
        while !closing {
            let mut batch = Vec::new();
            closing = !self.collect(&mut batch);
            if closing {
                batch.push((Entry::now(Event::End {}), None));
                self.failing = None;
            }
            self.commit(batch, closing);
        }
        let unwritten = self.backlog.unwritten();
        if unwritten > 0 {
            tracing::error!(records = unwritten, "the last lines of the audit log could not be written");
        }
    }

    /// Waits for records, or until there is something else to do; whether more will come.
    fn collect(&mut self, batch: &mut Batch) -> bool {
        let wait = match self.unsynced_since {
            _ if self.failing.is_some() || !self.backlog.is_empty() => Some(RETRY),
            Some(since) => Some(SYNC_DELAY.saturating_sub(since.elapsed())),
            None => None,
        };
        let first = match wait {
            Some(wait) => self.messages.recv_timeout(wait),
            None => self.messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        let mut next = match first {
            Ok(message) => Some(message),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return false,
        };
        while let Some(message) = next {
            match message {
                Message::Record(entry, waiter) => batch.push((*entry, waiter)),
                Message::Close => return false,
            }
            self.handle.taken();
            next = if batch.len() < MAX_BATCH { self.messages.try_recv().ok() } else { None };
        }
        true
    }

    /// Writes a batch after what is still to be written; makes it safe if somebody waits for that, or it is time.
    fn commit(&mut self, batch: Batch, closing: bool) {
        let mut batch = VecDeque::from(batch);
        if self.failing.is_some_and(|failed| failed.elapsed() < MIN_RETRY) {
            return self.keep(batch);
        }
        while let Some(written) = self.write_batch(&mut batch, closing) {
            match written {
                Ok(()) => self.batch_size = self.batch_size.saturating_mul(2).min(MAX_BATCH),
                // There may be room for less.
                Err(_) if self.batch_size > 1 => self.batch_size /= 2,
                Err(error) => {
                    self.fail(&error);
                    return self.keep(batch);
                }
            }
        }
        if (closing || self.is_late())
            && let Err(error) = self.sync()
        {
            return self.fail(&error);
        }
        self.recover();
    }

    /// Writes as many records as are tried at once, those that were kept first; `None` if there are none.
    fn write_batch(&mut self, batch: &mut VecDeque<(Entry, Option<Waiter>)>, closing: bool) -> Option<io::Result<()>> {
        if let Some(written) = self.write_backlog() {
            return Some(written);
        }
        let safe_before = self.file.safe();
        let count = batch.len().min(self.batch_size);
        if count == 0 {
            return None;
        }
        let awaited = batch.range(..count).any(|(_, waiter)| waiter.is_some());
        let mut written = self.file.append(batch.range(..count).map(|(entry, _)| entry));
        let sync = awaited || closing || self.failing.is_some() || self.is_late();
        if written.is_ok() && sync {
            written = self.file.sync();
        }
        self.count_safe(safe_before);
        if written.is_err() {
            self.keep_unsynced();
            return Some(written);
        }
        // Before those who wait for it hear of it.
        self.recover();
        for (entry, waiter) in batch.drain(..count) {
            if !sync {
                self.unsynced.push(entry);
                self.unsynced_since = self.unsynced_since.or_else(|| Some(Instant::now()));
            }
            if let Some(waiter) = waiter {
                answer(waiter, Ok(()));
            }
        }
        Some(Ok(()))
    }

    /// The same for records that were kept.
    fn write_backlog(&mut self) -> Option<io::Result<()>> {
        let safe_before = self.file.safe();
        let kept = self.backlog.next(self.batch_size);
        let count = kept.len();
        if count == 0 {
            return None;
        }
        let written = self.file.append(kept).and_then(|()| self.file.sync());
        self.count_safe(safe_before);
        if written.is_ok() {
            self.backlog.remove(count);
        }
        Some(written)
    }

    /// Whether records that nobody waits for have been in the file long enough.
    fn is_late(&self) -> bool {
        self.unsynced_since.is_some_and(|since| since.elapsed() >= SYNC_DELAY) || self.unsynced.len() >= MAX_BATCH
    }

    /// Makes safe what is written.
    fn sync(&mut self) -> io::Result<()> {
        let safe_before = self.file.safe();
        let synced = self.file.sync();
        self.count_safe(safe_before);
        if synced.is_err() {
            self.keep_unsynced();
        }
        synced
    }

    /// Counts the lines that became safe, and lets go of those among them that synced.
    fn count_safe(&mut self, before: u64) {
        let lines = self.file.safe().saturating_sub(before);
        self.counters.lines.inc_by(lines);
        let synced = usize::try_from(lines).unwrap_or(usize::MAX).min(self.unsynced.len());
        self.unsynced.drain(..synced);
        if self.unsynced.is_empty() {
            self.unsynced_since = None;
        }
    }

    /// After a failure, what was not safe is not in the file any more.
    fn keep_unsynced(&mut self) {
        self.backlog.put_back(self.unsynced.drain(..));
        self.unsynced_since = None;
    }

    /// Keeps records for later. Only what has not happened yet, such as the intent of a write, is given up where writes
    /// are refused then: it does not happen.
    fn keep(&mut self, batch: VecDeque<(Entry, Option<Waiter>)>) {
        for (entry, waiter) in batch {
            let refused = entry.event.is_intention() && self.handle.on_failure == OnFailure::Refuse;
            if !refused {
                self.backlog.push(entry);
            }
            if let Some(waiter) = waiter {
                answer(waiter, if refused { Err(self.cause) } else { Ok(()) });
            }
        }
    }

    fn fail(&mut self, error: &io::Error) {
        if self.failing.is_none() {
            let file = self.file.path().display();
            match self.handle.on_failure {
                OnFailure::Refuse => {
                    tracing::error!(%file, %error, "the audit log cannot be written: writes are refused until it can");
                }
                OnFailure::Continue => {
                    tracing::error!(%file, %error, "the audit log cannot be written: writes go on, and their records are kept in memory");
                }
            }
        }
        self.failing = Some(Instant::now());
        self.cause = Unrecorded::of(error);
        self.counters.failing.set(1);
    }

    fn recover(&mut self) {
        if self.failing.take().is_some() {
            tracing::warn!(file = %self.file.path().display(), "the audit log is written again");
        }
        self.counters.failing.set(0);
    }
}

/// Who waited may be gone.
fn answer(waiter: Waiter, result: Result<(), Unrecorded>) {
    let _ = waiter.send(result);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};
    use std::thread;

    use super::super::entry::tests::facts;
    use super::super::entry::{EndedRequest, RequestOutcome};
    use super::super::verify::{VerifyNote, VerifyReport, verify};
    use super::super::{AuditConfig, AuditLog, Durability};
    use super::*;

    /// A log whose first file is full soon, and what lies in the way of the second.
    struct WriterTest {
        folder: tempfile::TempDir,
        audit_log: AuditLog,
        thread: thread::JoinHandle<()>,
        counters: AuditCounters,
    }

    impl WriterTest {
        fn new(on_failure: OnFailure) -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let file = folder.path().join("audit.jsonl");
            std::fs::write(obstacle(folder.path()), "").expect("a file");
            let counter = |name: &str| IntCounter::new(name, name).expect("a counter");
            let failing = IntGauge::new("failing", "failing").expect("a gauge");
            let counters = AuditCounters { lines: counter("lines"), lost: counter("lost"), failing };
            let settings = AuditConfig { file, max_size: 2000, sync: Durability::Write, on_failure };
            let (audit_log, writer) = AuditLog::open(&settings, counters.clone()).expect("a log");
            Self { folder, audit_log, thread: thread::spawn(|| writer.run()), counters }
        }

        fn handle(&self) -> &Handle {
            self.audit_log.handle.as_deref().expect("a log")
        }

        /// Records the intent of a write.
        fn intends(&self, id: u32) -> Result<(), Unrecorded> {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime.block_on(self.handle().record(Entry::now(Event::Intent(facts(&id.to_string())))))
        }

        fn refuses(&self, count: u32) {
            for id in 0..count {
                let ended = EndedRequest { facts: facts(&format!("refusal-{id}")), outcome: RequestOutcome::default() };
                self.handle().send(Entry::now(Event::Refusal(ended)), None);
            }
        }

        fn make_room(&self) {
            std::fs::remove_file(obstacle(self.folder.path())).expect("room");
        }

        /// The report, and the ids of all lines of this kind.
        fn end(self, kind: &str) -> (VerifyReport, Vec<String>) {
            self.audit_log.close();
            self.thread.join().expect("an end");
            let path = self.folder.path().join("audit.jsonl");
            let report = verify(&path, &[]).expect("a log");
            let files = super::super::file_set::files(&path).expect("files");
            let text: String = files.iter().map(|file| std::fs::read_to_string(file).expect("text")).collect();
            let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
            let ids =
                lines.filter(|line| line["kind"] == kind).map(|line| line["id"].as_str().expect("an id").to_owned());
            (report, ids.collect())
        }
    }

    fn obstacle(folder: &Path) -> PathBuf {
        folder.join("audit.jsonl.000000000001")
    }

    #[test]
    fn writer_refuses_intents_that_it_cannot_write_and_keeps_all_else() {
        let stage = WriterTest::new(OnFailure::Refuse);
        let mut written = (0..).take_while(|id| stage.intends(*id).is_ok()).collect::<Vec<_>>();
        assert!((1..20).contains(&written.len()) && stage.counters.failing.get() == 1, "{written:?}");
        stage.refuses(7);
        assert!(stage.intends(98).is_err());
        stage.make_room();
        while stage.intends(99).is_err() {
            thread::sleep(Duration::from_millis(10));
        }
        assert_eq!((stage.counters.failing.get(), stage.counters.lost.get()), (0, 0));
        written.push(99);
        let wanted: Vec<String> = written.iter().map(u32::to_string).collect();
        stage.refuses(3);
        let count = wanted.len() as u64;
        let (report, ids) = stage.end("intent");
        assert_eq!((report.findings, ids), (Vec::new(), wanted));
        assert_eq!(report.lines, 1 + count + 10 + 1, "begin, intents, refusals, end");
    }

    #[test]
    fn writer_writes_later_what_it_cannot_write_now_where_writes_go_on() {
        let stage = WriterTest::new(OnFailure::Continue);
        assert!((0..50).all(|id| stage.intends(id).is_ok()));
        assert_eq!(stage.counters.failing.get(), 1);
        stage.make_room();
        let (report, ids) = stage.end("intent");
        assert_eq!((report.findings, ids), (Vec::new(), (0..50).map(|id| id.to_string()).collect()));
    }

    #[test]
    fn writer_tells_how_many_records_it_could_not_keep() {
        let stage = WriterTest::new(OnFailure::Refuse);
        while stage.intends(0).is_ok() {}
        let count = backlog::MAX_BACKLOG as u32 + 500;
        stage.refuses(count);
        while stage.counters.lost.get() == 0 || stage.handle().pending.load(std::sync::atomic::Ordering::Relaxed) > 0 {
            thread::sleep(Duration::from_millis(10));
        }
        stage.make_room();
        let lost = stage.counters.lost.clone();
        let (report, ids) = stage.end("refusal");
        assert_eq!(report.findings, []);
        assert_eq!(ids.len() as u64 + lost.get(), u64::from(count));
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "each once");
        let lost_line = report
            .notes
            .iter()
            .find_map(|note| if let VerifyNote::Lost { lost, .. } = note { Some(*lost) } else { None });
        assert_eq!(lost_line, Some(lost.get()));
    }
}
