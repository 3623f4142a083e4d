//! The files of the audit log: opened by one process, written at their end only, renamed when they are full.

mod tail_scan;

use std::fs::{File, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::chain::ChainHead;
use super::entry::{Entry, LogStart};
use super::file_set::{aside, files, head_path, keep_others_out, open, options, read_head, sync_folder};
use super::read::Unreadable;
use crate::base::file;
use crate::base::state::make_parent;
use tail_scan::TailScan;

/// Why the audit log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum LogFileError {
    /// The system does not let it be opened.
    #[error(
        "the audit log {0} cannot be opened: its folder must be there and the user of this process be allowed to write in it, and the file must be no link"
    )]
    Open(PathBuf, #[source] io::Error),
    /// Another process writes to it.
    #[error("the audit log {0} is in use by another process: give each proxy a file of its own")]
    Busy(PathBuf),
    /// A folder, device, socket or pipe.
    #[error("the file {0} of the audit log is not a regular file: remove it, or name another file in [audit]")]
    NotAFile(PathBuf),
}

impl LogFileError {
    fn of(path: &Path, error: io::Error) -> Self {
        let unfit = error.get_ref().is_some_and(|cause| cause.is::<file::UnreadableFile>());
        if unfit { Self::NotAFile(path.to_owned()) } else { Self::Open(path.to_owned(), error) }
    }
}

/// An open audit log.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    log: File,
    /// A file of its own that says where the chain ends, so that a log whose end was cut off is found out. Its lock
    /// keeps other processes out.
    head: File,
    max_size: u64,
    sync: bool,
    /// The end of what is written.
    written: LogPosition,
    /// The end of what is written and safe.
    safe: LogPosition,
    /// The file holds bytes of a failed write after its last good line: cut them off before the next write.
    trim: bool,
    /// The file is renamed, and the next is not there yet.
    renamed: bool,
}

/// A point in the log.
#[derive(Debug, Clone, Copy)]
struct LogPosition {
    /// Bytes in the file.
    length: u64,
    /// The number of its first line; `None` as long as it has none.
    first: Option<u64>,
    head: ChainHead,
    /// A line feed is missing at the end.
    feed_missing: bool,
}

/// What the log that was opened looks like.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    /// For the line that begins.
    pub(super) begin: LogStart,
    /// There was no line.
    pub(super) new: bool,
    /// How many lines the log lacks of those that the head file knows of.
    pub(super) missing: u64,
}

impl LogFile {
    /// Opens the log at `path`, and finds where its chain is. Blocks.
    pub(super) fn open(path: &Path, max_size: u64, sync: bool) -> Result<(Self, Found), LogFileError> {
        let failed = |error| LogFileError::of(path, error);
        make_parent(path).map_err(failed)?;
        let mut head = open(options().write(true).create(true), &head_path(path))
            .map_err(|error| LogFileError::of(&head_path(path), error))?;
        head.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => LogFileError::Busy(path.to_owned()),
            TryLockError::Error(error) => failed(error),
        })?;
        let read = read_head(&mut head).map_err(failed)?;
        let kept = read.filter(|head| head.seq > 0);
        let log = open(options().append(true).create(true), path).map_err(failed)?;
        keep_others_out(&log).map_err(|_| LogFileError::Busy(path.to_owned()))?;
        let scan = TailScan::of(&log).map_err(failed)?;
        let last = match scan.last {
            Some(last) => Some(last),
            // It was renamed, and nothing was written since.
            None => match files(path).map_err(failed)?.iter().rev().find(|file| *file != path) {
                Some(file) => open(&options(), file).and_then(|file| TailScan::of(&file)).map_err(failed)?.last,
                None => None,
            },
        };
        let (last, ended) = last.unzip();
        // The chain goes on where it was, also if lines are missing: so they are missed ever after.
        let furthest = [last, kept].into_iter().flatten().max_by_key(|head| head.seq);
        let found = Found {
            begin: LogStart {
                torn: scan.unreadable.as_ref().map(Unreadable::torn),
                abrupt: furthest.is_some() && ended != Some(true),
                // A head of line 0 is nobody's either: it could hide that everything is cut off.
                headless: kept.is_none() && (last.is_some() || read.is_some()),
            },
            new: furthest.is_none(),
            missing: kept.map_or(0, |kept| kept.seq.saturating_sub(last.map_or(0, |last| last.seq))),
        };
        let TailScan { first, feed_missing, length, .. } = scan;
        let written = LogPosition { length, first, head: furthest.unwrap_or(ChainHead::NONE), feed_missing };
        let path = path.to_owned();
        sync_folder(&path).map_err(|error| LogFileError::Open(path.clone(), error))?;
        Ok((Self { path, log, head, max_size, sync, written, safe: written, trim: false, renamed: false }, found))
    }

    /// The file that is written.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The number of the last line that is safe.
    pub(super) fn safe(&self) -> u64 {
        self.safe.head.seq
    }

    /// Writes these at the end, in a file that has room for them. What is written so is not safe before
    /// [`LogFile::sync`]; if it fails, nothing of what is not safe is there.
    pub(super) fn append<'a>(&mut self, entries: impl IntoIterator<Item = &'a Entry>) -> io::Result<()> {
        let appended = self.try_append(entries);
        self.roll_back_on_error(appended)
    }

    /// Makes what is written safe, and keeps in the head file where the chain is.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        let synced = self.try_sync();
        self.roll_back_on_error(synced)
    }

    /// Goes back to what is safe after a failure.
    fn roll_back_on_error(&mut self, result: io::Result<()>) -> io::Result<()> {
        if result.is_err() {
            self.written = self.safe;
            // At once, so that no other process finds lines that this one takes for unwritten; else before the next.
            self.trim = self.renamed || self.log.set_len(self.safe.length).is_err();
        }
        result
    }

    fn try_append<'a>(&mut self, entries: impl IntoIterator<Item = &'a Entry>) -> io::Result<()> {
        if self.renamed {
            self.begin_file()?;
        }
        self.check_place()?;
        if self.trim {
            self.log.set_len(self.safe.length)?;
            self.trim = false;
        }
        let (mut text, mut head) = (Vec::new(), self.written.head);
        for entry in entries {
            head = entry.write(head, &mut text);
        }
        let feed_missing = self.written.feed_missing;
        if self.written.first.is_some()
            && !feed_missing
            && self.written.length.saturating_add(text.len() as u64) > self.max_size
        {
            self.rotate()?;
        }
        if feed_missing {
            text.insert(0, b'\n');
        }
        self.log.write_all(&text)?;
        self.written = LogPosition {
            length: self.written.length + text.len() as u64,
            first: self.written.first.or(Some(self.written.head.seq + 1)),
            head,
            feed_missing: false,
        };
        Ok(())
    }

    fn try_sync(&mut self) -> io::Result<()> {
        if self.written.head == self.safe.head {
            return Ok(());
        }
        if self.sync {
            self.log.sync_data()?;
        }
        // After the log, so that it never knows of more than there is. Its length stays the same, so that it needs no
        // room and is whole at any time.
        self.head.seek(SeekFrom::Start(0))?;
        self.head.write_all(format!("{:020}:{}\n", self.written.head.seq, self.written.head.hash).as_bytes())?;
        self.safe = self.written;
        Ok(())
    }

    /// Puts the full file aside, under the number of its first line, and begins the next.
    fn rotate(&mut self) -> io::Result<()> {
        self.try_sync()?;
        let aside = aside(&self.path, self.written.first.unwrap_or_default());
        if aside.try_exists()? {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{} is in the way", aside.display())));
        }
        std::fs::rename(&self.path, aside)?;
        self.renamed = true;
        self.begin_file()
    }

    fn begin_file(&mut self) -> io::Result<()> {
        self.log = open(options().append(true).create_new(true), &self.path)?;
        keep_others_out(&self.log)?;
        self.safe = LogPosition { length: 0, first: None, head: self.safe.head, feed_missing: false };
        self.written = self.safe;
        (self.renamed, self.trim) = (false, false);
        sync_folder(&self.path)
    }

    /// What is written to a file that was taken away is lost.
    #[cfg(unix)]
    fn check_place(&mut self) -> io::Result<()> {
        use std::os::unix::fs::MetadataExt;
        let here = match std::fs::symlink_metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                tracing::error!(file = %self.path.display(), "the audit log was moved away; a new file continues its chain");
                let unsafe_lines = self.written.head != self.safe.head;
                self.begin_file()?;
                let message = "what was not safe yet is written again".to_owned();
                return if unsafe_lines { Err(io::Error::other(message)) } else { Ok(()) };
            }
            here => here?,
        };
        let own = self.log.metadata()?;
        if (here.dev(), here.ino()) != (own.dev(), own.ino()) {
            let what = format!("{} was replaced by another file", self.path.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
        }
        Ok(())
    }

    #[cfg(not(unix))]
    fn check_place(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::chain::Hash;
    use super::super::entry::tests::facts;
    use super::super::entry::{Event, TornBytes};
    use super::super::verify::{FileLine, Tampering, VerifyNote, verify};
    use super::*;

    const ROOM: u64 = 64 << 20;

    fn intents(ids: impl IntoIterator<Item = u32>) -> Vec<Entry> {
        ids.into_iter().map(|id| Entry::now(Event::Intent(facts(&id.to_string())))).collect()
    }

    /// Opens the log as a process does, and writes so many records.
    fn session(path: &Path, max_size: u64, count: u32) -> Found {
        let (mut log_file, found) = LogFile::open(path, max_size, true).expect("a log");
        log_file.append(&[Entry::now(Event::Begin(found.begin))]).expect("room");
        for id in 0..count {
            log_file.append(&intents([id])).expect("room");
            log_file.sync().expect("room");
        }
        log_file.append(&[Entry::now(Event::End {})]).expect("room");
        log_file.sync().expect("room");
        found
    }

    fn findings(path: &Path) -> Vec<Tampering> {
        verify(path, &[]).expect("a log").findings
    }

    #[test]
    fn log_goes_on_where_the_process_before_ended() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deep/audit.jsonl");
        assert!(session(&path, ROOM, 3).new);
        let found = session(&path, ROOM, 3);
        assert_eq!((found.new, found.missing, found.begin), (false, 0, LogStart::default()));
        let report = verify(&path, &[]).expect("a log");
        assert_eq!((report.findings, report.lines, report.files), (Vec::new(), 10, 1));
    }

    #[cfg(unix)]
    #[test]
    fn log_is_for_its_user_alone_and_follows_no_link() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit.jsonl");
        session(&path, ROOM, 1);
        for file in [path.clone(), head_path(&path)] {
            assert_eq!(fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o600);
        }
        let other = folder.path().join("other");
        symlink(&path, &other).expect("a link");
        assert!(matches!(LogFile::open(&other, ROOM, true), Err(LogFileError::Open(..))));
        assert!(matches!(
            LogFile::open(Path::new("/dev/null"), ROOM, true),
            Err(LogFileError::Open(..) | LogFileError::NotAFile(_))
        ));
    }

    #[test]
    fn log_is_open_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit.jsonl");
        let (log_file, _) = LogFile::open(&path, ROOM, true).expect("a log");
        assert!(matches!(LogFile::open(&path, ROOM, true), Err(LogFileError::Busy(_))));
        #[cfg(unix)]
        {
            fs::remove_file(head_path(&path)).expect("a head");
            assert!(
                matches!(LogFile::open(&path, ROOM, true), Err(LogFileError::Busy(_))),
                "the log itself is locked too"
            );
        }
        drop(log_file);
        assert!(LogFile::open(&path, ROOM, true).is_ok());
    }

    #[test]
    fn log_is_continued_in_further_files_and_the_chain_too() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit.jsonl");
        session(&path, 2000, 20);
        session(&path, 2000, 20);
        let all = files(&path).expect("files");
        assert!(all.len() > 5 && all.last() == Some(&path), "{all:?}");
        assert!(all.iter().all(|file| fs::metadata(file).expect("a file").len() <= 2000));
        let report = verify(&path, &[]).expect("a log");
        assert_eq!((report.findings, report.lines, report.files), (Vec::new(), 44, all.len()));
        fs::remove_file(&all[2]).expect("a file");
        assert!(matches!(findings(&path).as_slice(), [Tampering::Removed { .. }]), "{:?}", findings(&path));
    }

    #[test]
    fn log_keeps_a_torn_line_and_says_so() {
        for torn in [&b"{\"seq\":6,\"time\":\"20"[..], b"\0\0\0\0", b"{\n\n\"", b"half\n"] {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("audit.jsonl");
            session(&path, ROOM, 3);
            let whole = fs::read(&path).expect("a file");
            fs::write(&path, [&whole, torn].concat()).expect("a file");
            let found = session(&path, ROOM, 3);
            assert!(found.begin.torn.is_some());
            let report = verify(&path, &[]).expect("a log");
            assert_eq!((report.findings.as_slice(), report.lines), (&[][..], 10), "{torn:?}");
            assert!(matches!(report.notes.first(), Some(VerifyNote::Torn { .. })), "{:?}", report.notes);
            let kept = fs::read(&path).expect("a file");
            assert!(kept.starts_with(&[&whole, torn].concat()), "kept");
            // What was kept of it belongs to the log as well.
            let mut changed = kept.clone();
            changed[whole.len()] ^= 1;
            fs::write(&path, &changed).expect("a file");
            assert!(findings(&path).contains(&Tampering::TornChanged { place: place(&changed, whole.len(), torn) }));
            fs::write(&path, [&whole, &kept[whole.len() + torn.len()..]].concat()).expect("a file");
            assert!(!findings(&path).is_empty(), "removed");
        }
    }

    /// The line after the torn bytes.
    fn place(text: &[u8], start: usize, torn: &[u8]) -> FileLine {
        let before = text[..start + torn.len()].iter().filter(|byte| **byte == b'\n').count();
        let line = before as u64 + if torn.ends_with(b"\n") { 1 } else { 2 };
        FileLine { file: "audit.jsonl".to_owned(), line }
    }

    #[test]
    fn log_that_ends_before_a_line_feed_has_that_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit.jsonl");
        let (mut log_file, _) = LogFile::open(&path, ROOM, true).expect("a log");
        log_file.append(&intents([1])).expect("room");
        log_file.sync().expect("room");
        log_file.append(&intents([2])).expect("room");
        drop(log_file);
        let text = fs::read(&path).expect("a file");
        fs::write(&path, text.trim_ascii_end()).expect("a file");
        assert_eq!(findings(&path), []);
        let found = session(&path, ROOM, 1);
        assert_eq!(found.begin, LogStart { abrupt: true, ..LogStart::default() });
        let report = verify(&path, &[]).expect("a log");
        assert_eq!((report.findings, report.lines), (Vec::new(), 5));
    }

    #[test]
    fn log_that_lacks_lines_goes_on_so_that_they_are_missed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit.jsonl");
        session(&path, ROOM, 8);
        let text = fs::read_to_string(&path).expect("a file");
        let cut: String = text.split_inclusive('\n').take(6).collect();
        fs::write(&path, cut).expect("a file");
        let cut = [Tampering::Cut { file: "audit.jsonl".to_owned(), from: 7, to: 10 }];
        assert_eq!(findings(&path), cut);
        assert_eq!(session(&path, ROOM, 1).missing, 4);
        assert!(matches!(findings(&path).as_slice(), [Tampering::Removed { from: 7, to: 10, .. }]));
        fs::remove_file(&path).expect("a file");
        assert_eq!(session(&path, ROOM, 1).missing, 13);
        assert!(matches!(findings(&path).as_slice(), [Tampering::Removed { from: 1, to: 13, .. }]));
    }

    #[test]
    fn log_without_its_head_says_so_for_ever() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit.jsonl");
        session(&path, ROOM, 8);
        let known = verify(&path, &[]).expect("a log").head.expect("a head");
        fs::remove_file(head_path(&path)).expect("a head");
        assert_eq!(findings(&path), [Tampering::NoHead("audit.jsonl.head".to_owned())]);
        assert_eq!(verify(&path, &[known]).expect("a log").findings, []);
        assert!(session(&path, ROOM, 1).begin.headless);
        assert!(matches!(findings(&path).as_slice(), [Tampering::Headless { .. }]));
        assert_eq!(verify(&path, &[known]).expect("a log").findings, [], "nothing is missing before it");
    }

    #[test]
    fn log_whose_head_was_set_to_line_zero_is_not_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit.jsonl");
        session(&path, ROOM, 8);
        let known = verify(&path, &[]).expect("a log").head.expect("a head");
        let whole = fs::read_to_string(&path).expect("a log");
        let cut: String = whole.split_inclusive('\n').take(4).collect();
        for (hash, text) in
            [(ChainHead::NONE, &whole), (known, &whole), (ChainHead::NONE, &cut), (ChainHead::NONE, &String::new())]
        {
            fs::write(&path, text).expect("a log");
            fs::write(head_path(&path), format!("{:020}:{}\n", 0, hash.hash)).expect("a head");
            assert_eq!(findings(&path), [Tampering::HeadOfNothing("audit.jsonl.head".to_owned())], "{text}");
            let found = verify(&path, &[known]).expect("a log").findings;
            assert!(found.contains(&Tampering::HeadOfNothing("audit.jsonl.head".to_owned())), "{found:?}");
            assert!(session(&path, ROOM, 1).begin.headless);
            assert!(matches!(findings(&path).as_slice(), [Tampering::Headless { .. }]), "for ever");
        }
    }

    #[test]
    fn log_that_was_killed_while_it_was_renamed_goes_on() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit.jsonl");
        session(&path, ROOM, 3);
        fs::rename(&path, aside(&path, 1)).expect("renamed");
        assert_eq!(findings(&path), []);
        assert_eq!(session(&path, ROOM, 3).begin, LogStart::default());
        assert_eq!(findings(&path), []);
    }

    #[test]
    fn log_has_nothing_of_what_failed_to_be_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit.jsonl");
        let (mut log_file, _) = LogFile::open(&path, 2000, true).expect("a log");
        log_file.append(&intents([1])).expect("room");
        log_file.sync().expect("room");
        log_file.append(&intents([2])).expect("room");
        // In the way of the next file.
        fs::write(aside(&path, 1), "").expect("a file");
        assert!(log_file.append(&intents([3, 4, 5, 6])).is_err());
        assert!(log_file.append(&intents([3, 4, 5, 6])).is_err());
        fs::remove_file(aside(&path, 1)).expect("a file");
        log_file.append(&intents([3, 4, 5, 6])).expect("room");
        log_file.sync().expect("room");
        let report = verify(&path, &[]).expect("a log");
        assert_eq!((report.findings, report.files), (Vec::new(), 2));
        assert_eq!(report.lines, 6, "synced by the attempt to begin the next file");
    }

    #[cfg(unix)]
    #[test]
    fn log_that_is_taken_away_or_replaced_is_noticed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit.jsonl");
        let (mut log_file, _) = LogFile::open(&path, ROOM, true).expect("a log");
        log_file.append(&intents([1])).expect("room");
        log_file.sync().expect("room");
        let away = folder.path().join("away");
        fs::rename(&path, &away).expect("renamed");
        fs::write(&path, "mine").expect("a file");
        assert!(log_file.append(&intents([2])).is_err());
        fs::remove_file(&path).expect("removed");
        log_file.append(&intents([2])).expect("a new file");
        log_file.sync().expect("room");
        assert!(matches!(findings(&path).as_slice(), [Tampering::Removed { from: 1, to: 1, .. }]));
        fs::rename(&away, aside(&path, 1)).expect("renamed");
        assert_eq!(findings(&path), []);
    }

    #[test]
    fn torn_bytes_are_counted_without_a_line_feed_at_their_end() {
        let mut unreadable = Unreadable::new();
        [&b"one\n"[..], b"two", b"\n"].into_iter().for_each(|bytes| unreadable.add(bytes));
        let wanted = TornBytes { bytes: 7, sha256: Hash::of(b"one\ntwo") };
        assert_eq!((unreadable.torn(), unreadable.lines(), unreadable.ends()), (wanted, 2, true));
    }
}
