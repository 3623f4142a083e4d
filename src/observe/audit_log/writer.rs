//! The thread that writes: it collects the records of all workers, and makes many of them safe at once.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use prometheus::{IntCounter, IntGauge};
use tokio::sync::oneshot;

use super::entry::{Entry, Event};
use super::log_file::LogFile;
use super::{Handle, OnFailure, Unrecorded};

/// The most records that are written at once.
pub(super) const BATCH: usize = 256;
/// How long a record that nobody waits for may be in the file before it is made safe.
const LINGER: Duration = Duration::from_secs(1);
/// How often writing is tried again while it fails and nobody asks for it.
const RETRY: Duration = Duration::from_secs(1);
/// How often it is tried again at most.
const PAUSE: Duration = Duration::from_millis(100);
/// The most records that are kept in memory while writing fails.
const BACKLOG: usize = 10_000;

/// What the workers send to the keeper.
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

/// Writes the audit log; to be run by a thread of its own.
#[derive(Debug)]
pub struct Writer {
    pub(super) book: LogFile,
    pub(super) mail: Receiver<Message>,
    pub(super) pen: Arc<Handle>,
    pub(super) on_failure: OnFailure,
    pub(super) counters: AuditCounters,
    /// Written, and not safe yet.
    pub(super) lingering: Vec<Entry>,
    /// Since when.
    pub(super) since: Option<Instant>,
    /// Not written, because that failed.
    pub(super) backlog: VecDeque<Entry>,
    /// How many records are tried at once: fewer after a failure, so that what fits is written.
    pub(super) piece: usize,
    /// More of these than are kept.
    pub(super) lost: u64,
    /// Since the last failure.
    pub(super) failing: Option<Instant>,
    /// Why, the last time.
    pub(super) cause: Unrecorded,
}

impl Writer {
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
        let unwritten = self.backlog.len() as u64 + self.lost;
        if unwritten > 0 {
            tracing::error!(records = unwritten, "the last lines of the audit log could not be written");
        }
    }

    /// Waits for records, or until there is something else to do; whether more will come.
    fn collect(&mut self, batch: &mut Batch) -> bool {
        let wait = match self.since {
            _ if self.failing.is_some() || !self.backlog.is_empty() => Some(RETRY),
            Some(since) => Some(LINGER.saturating_sub(since.elapsed())),
            None => None,
        };
        let first = match wait {
            Some(wait) => self.mail.recv_timeout(wait),
            None => self.mail.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        let mut next = match first {
            Ok(mail) => Some(mail),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return false,
        };
        while let Some(mail) = next {
            match mail {
                Message::Record(entry, waiter) => batch.push((*entry, waiter)),
                Message::Close => return false,
            }
            self.pen.taken();
            next = if batch.len() < BATCH { self.mail.try_recv().ok() } else { None };
        }
        true
    }

    /// Writes a batch after what is still to be written; makes it safe if somebody waits for that, or it is time.
    fn commit(&mut self, batch: Batch, closing: bool) {
        let mut batch = VecDeque::from(batch);
        if self.failing.is_some_and(|failed| failed.elapsed() < PAUSE) {
            return self.keep(batch);
        }
        while let Some(written) = self.write_piece(&mut batch, closing) {
            match written {
                Ok(()) => self.piece = self.piece.saturating_mul(2).min(BATCH),
                // There may be room for less.
                Err(_) if self.piece > 1 => self.piece /= 2,
                Err(error) => {
                    self.fail(&error);
                    return self.keep(batch);
                }
            }
        }
        if (closing || self.is_late())
            && let Err(error) = self.settle()
        {
            return self.fail(&error);
        }
        self.recover();
    }

    /// Writes as many records as are tried at once, those that were kept first; `None` if there are none.
    fn write_piece(&mut self, batch: &mut VecDeque<(Entry, Option<Waiter>)>, closing: bool) -> Option<io::Result<()>> {
        if self.backlog.is_empty() && self.lost > 0 {
            self.tell_lost();
        }
        let safe_before = self.book.safe();
        if !self.backlog.is_empty() {
            let count = self.backlog.len().min(self.piece);
            let written = self.book.append(self.backlog.range(..count)).and_then(|()| self.book.settle());
            self.count_safe(safe_before);
            if written.is_ok() {
                self.backlog.drain(..count);
            }
            return Some(written);
        }
        let count = batch.len().min(self.piece);
        if count == 0 {
            return None;
        }
        let awaited = batch.range(..count).any(|(_, waiter)| waiter.is_some());
        let mut written = self.book.append(batch.range(..count).map(|(entry, _)| entry));
        let settle = awaited || closing || self.failing.is_some() || self.is_late();
        if written.is_ok() && settle {
            written = self.book.settle();
        }
        self.count_safe(safe_before);
        if written.is_err() {
            self.take_back();
            return Some(written);
        }
        // Before those who wait for it hear of it.
        self.recover();
        for (entry, waiter) in batch.drain(..count) {
            if !settle {
                self.lingering.push(entry);
                self.since = self.since.or_else(|| Some(Instant::now()));
            }
            if let Some(waiter) = waiter {
                answer(waiter, Ok(()));
            }
        }
        Some(Ok(()))
    }

    /// Whether records that nobody waits for have been in the file long enough.
    fn is_late(&self) -> bool {
        self.since.is_some_and(|since| since.elapsed() >= LINGER) || self.lingering.len() >= BATCH
    }

    /// Makes safe what is written.
    fn settle(&mut self) -> io::Result<()> {
        let safe_before = self.book.safe();
        let settled = self.book.settle();
        self.count_safe(safe_before);
        if settled.is_err() {
            self.take_back();
        }
        settled
    }

    /// Counts the lines that became safe, and lets go of those among them that lingered.
    fn count_safe(&mut self, before: u64) {
        let lines = self.book.safe().saturating_sub(before);
        self.counters.lines.inc_by(lines);
        let lingered = usize::try_from(lines).unwrap_or(usize::MAX).min(self.lingering.len());
        self.lingering.drain(..lingered);
        if self.lingering.is_empty() {
            self.since = None;
        }
    }

    /// After a failure, what was not safe is not in the file any more.
    fn take_back(&mut self) {
        self.backlog.extend(self.lingering.drain(..));
        self.since = None;
    }

    /// Keeps records for later. Only the intent of a write is given up where writes are refused then: it does not
    /// happen.
    fn keep(&mut self, batch: VecDeque<(Entry, Option<Waiter>)>) {
        for (entry, waiter) in batch {
            let refused = matches!(entry.event, Event::Intent(_)) && self.on_failure == OnFailure::Refuse;
            if !refused {
                self.keep_one(entry);
            }
            if let Some(waiter) = waiter {
                answer(waiter, if refused { Err(self.cause) } else { Ok(()) });
            }
        }
    }

    fn keep_one(&mut self, entry: Entry) {
        // The line that tells of lost records takes their place in the order.
        if self.lost > 0 && self.backlog.len() + 1 < BACKLOG {
            self.tell_lost();
        }
        if self.lost == 0 && self.backlog.len() < BACKLOG {
            self.backlog.push_back(entry);
        } else {
            self.lost += 1;
            self.counters.lost.inc();
        }
    }

    /// Adds the line that tells how many records were lost before it.
    fn tell_lost(&mut self) {
        let lost = std::mem::take(&mut self.lost);
        self.backlog.push_back(Entry::now(Event::Gap { lost }));
    }

    fn fail(&mut self, error: &io::Error) {
        if self.failing.is_none() {
            let file = self.book.path().display();
            match self.on_failure {
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
            tracing::warn!(file = %self.book.path().display(), "the audit log is written again");
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
    struct WriterStage {
        folder: tempfile::TempDir,
        journal: AuditLog,
        thread: thread::JoinHandle<()>,
        counters: AuditCounters,
    }

    impl WriterStage {
        fn new(on_failure: OnFailure) -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let file = folder.path().join("audit.jsonl");
            std::fs::write(obstacle(folder.path()), "").expect("a file");
            let counter = |name: &str| IntCounter::new(name, name).expect("a counter");
            let failing = IntGauge::new("failing", "failing").expect("a gauge");
            let counters = AuditCounters { lines: counter("lines"), lost: counter("lost"), failing };
            let settings = AuditConfig { file, max_size: 2000, sync: Durability::Write, on_failure };
            let (journal, keeper) = AuditLog::open(&settings, counters.clone()).expect("a log");
            Self { folder, journal, thread: thread::spawn(|| keeper.run()), counters }
        }

        fn pen(&self) -> &Handle {
            self.journal.pen.as_deref().expect("a log")
        }

        /// Records the intent of a write.
        fn intends(&self, id: u32) -> Result<(), Unrecorded> {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime.block_on(self.pen().record(Entry::now(Event::Intent(facts(&id.to_string())))))
        }

        fn refuses(&self, count: u32) {
            for id in 0..count {
                let ended = EndedRequest { facts: facts(&format!("refusal-{id}")), outcome: RequestOutcome::default() };
                self.pen().send(Entry::now(Event::Refusal(ended)), None);
            }
        }

        fn make_room(&self) {
            std::fs::remove_file(obstacle(self.folder.path())).expect("room");
        }

        /// The report, and the ids of all lines of this kind.
        fn end(self, kind: &str) -> (VerifyReport, Vec<String>) {
            self.journal.close();
            self.thread.join().expect("an end");
            let path = self.folder.path().join("audit.jsonl");
            let report = verify(&path, &[]).expect("a log");
            let files = super::super::log_file::files(&path).expect("files");
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
    fn keeper_refuses_intents_that_it_cannot_write_and_keeps_all_else() {
        let stage = WriterStage::new(OnFailure::Refuse);
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
    fn keeper_writes_later_what_it_cannot_write_now_where_writes_go_on() {
        let stage = WriterStage::new(OnFailure::Continue);
        assert!((0..50).all(|id| stage.intends(id).is_ok()));
        assert_eq!(stage.counters.failing.get(), 1);
        stage.make_room();
        let (report, ids) = stage.end("intent");
        assert_eq!((report.findings, ids), (Vec::new(), (0..50).map(|id| id.to_string()).collect()));
    }

    #[test]
    fn keeper_tells_how_many_records_it_could_not_keep() {
        let stage = WriterStage::new(OnFailure::Refuse);
        while stage.intends(0).is_ok() {}
        let count = BACKLOG as u32 + 500;
        stage.refuses(count);
        while stage.counters.lost.get() == 0 || stage.pen().crowd.load(std::sync::atomic::Ordering::Relaxed) > 0 {
            thread::sleep(Duration::from_millis(10));
        }
        stage.make_room();
        let lost = stage.counters.lost.clone();
        let (report, ids) = stage.end("refusal");
        assert_eq!(report.findings, []);
        assert_eq!(ids.len() as u64 + lost.get(), u64::from(count));
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "each once");
        let told = report
            .notes
            .iter()
            .find_map(|note| if let VerifyNote::Lost { lost, .. } = note { Some(*lost) } else { None });
        assert_eq!(told, Some(lost.get()));
    }
}
