//! Follows the chain of an audit log and finds where it is broken.
//!
//! A line's own hash tells whether it is as it was written; its number and the hash of the line before tell whether it
//! is where it was written; the head file, and heads that were kept elsewhere, tell whether the end is there.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::entry::{ChainHead, LineKind, LogStart, ReadLine, TornBytes};
use super::log_file::{files, head_path, read_head};
use super::read::{LinePiece, LinePieces, Unreadable};

/// The most findings that are told one by one.
const MAX_FINDINGS: usize = 1000;

/// A line of a file, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileLine {
    /// The file's name.
    pub file: String,
    /// The line in it.
    pub line: u64,
}

impl fmt::Display for FileLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// Something that was done to the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Tampering {
    /// Lines are not as they were written.
    #[error("{place}: changed: {} not as written", lines(*.from, *.to))]
    Changed {
        /// The first.
        place: FileLine,
        /// The number of the first.
        from: u64,
        /// The number of the last.
        to: u64,
    },
    /// Lines are not there.
    #[error("{place}: removed: {} missing before this line", lines(*.from, *.to))]
    Removed {
        /// What comes after them.
        place: FileLine,
        /// The number of the first.
        from: u64,
        /// The number of the last.
        to: u64,
    },
    /// A line comes after lines that were written after it.
    #[error("{place}: reordered: line {seq} comes after line {after}")]
    Reordered {
        /// The line.
        place: FileLine,
        /// Its number.
        seq: u64,
        /// The line that it comes after.
        after: u64,
    },
    /// A line is there twice, or another one with its number.
    #[error("{place}: repeated: there is a line {seq} before")]
    Repeated {
        /// The line.
        place: FileLine,
        /// Its number.
        seq: u64,
    },
    /// A line is whole, but not the one that the next line was written after.
    #[error("{place}: replaced: line {seq} is not the one that was written")]
    Replaced {
        /// Where that shows.
        place: FileLine,
        /// The number of the line that was replaced.
        seq: u64,
    },
    /// What no process wrote.
    #[error("{place}: inserted: {bytes} bytes that do not form a line of the log")]
    Inserted {
        /// Where.
        place: FileLine,
        /// How many.
        bytes: u64,
    },
    /// Torn bytes of which a line tells are not there, or are others.
    #[error("{place}: changed: the torn bytes that this line tells of are not there as they were")]
    TornChanged {
        /// The line.
        place: FileLine,
    },
    /// The end is not there.
    #[error("{file}: cut: {} missing at the end", lines(*.from, *.to))]
    Cut {
        /// The last file.
        file: String,
        /// The number of the first that is missing.
        from: u64,
        /// The number of the last that was written.
        to: u64,
    },
    /// The last line had a line feed.
    #[error("{place}: cut: the line feed of the last line is missing")]
    FeedCut {
        /// The last line.
        place: FileLine,
    },
    /// There is no head file, or it cannot be read.
    #[error(
        "{0}: missing: without it nothing tells whether lines are cut off at the end; give a head that was kept elsewhere (--known)"
    )]
    NoHead(String),
    /// The head file names a line that there cannot be.
    #[error(
        "{0}: changed: it names line 0, and no process writes it before the first line is safe; give a head that was kept elsewhere (--known)"
    )]
    HeadOfNothing(String),
    /// There was no head file when a process began.
    #[error(
        "{place}: the head file was missing when this line was written: whether lines are cut off before it cannot be told; give a head that was kept elsewhere (--known)"
    )]
    Headless {
        /// The line.
        place: FileLine,
    },
}

fn lines(from: u64, to: u64) -> String {
    if from == to { format!("line {from} is") } else { format!("lines {from} to {to} are") }
}

/// Something that is worth knowing, and nobody's doing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyNote {
    /// A process was killed in the midst of a line; the next one says so.
    #[error("{place}: a torn line of {bytes} bytes: a process ended in the midst of it, and the next one took it down")]
    Torn {
        /// Where.
        place: FileLine,
        /// How many bytes.
        bytes: u64,
    },
    /// The log ends in the midst of a line.
    #[error("{place}: a torn line of {bytes} bytes at the end: a process ended in the midst of it, or is writing it")]
    TornEnd {
        /// Where.
        place: FileLine,
        /// How many bytes.
        bytes: u64,
    },
    /// A process ended without saying so.
    #[error("{place}: the process before this line was killed or crashed")]
    Abrupt {
        /// The line with which the next began.
        place: FileLine,
    },
    /// Records were lost while the file could not be written.
    #[error("{place}: {lost} records are lost: the log could not be written")]
    Lost {
        /// The line that tells.
        place: FileLine,
        /// How many.
        lost: u64,
    },
    /// Writes whose outcome is not recorded.
    #[error("writes without an outcome: {count}, the last of them {last}; they may have been done")]
    Unanswered {
        /// How many.
        count: usize,
        /// The id of a request.
        last: String,
    },
    /// Lines that the head file does not know yet.
    #[error("{0} lines are newer than the head file: normal while the proxy is running, or after a kill")]
    Newer(u64),
}

/// What became of the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// How many files there are.
    pub files: usize,
    /// How many lines are as they were written.
    pub lines: u64,
    /// Number and time of the first of them.
    pub first: Option<(u64, String)>,
    /// Number and time of the last of them.
    pub last: Option<(u64, String)>,
    /// Where the chain is.
    pub head: Option<ChainHead>,
    /// What was done to it; empty if it is whole.
    pub findings: Vec<Tampering>,
    /// How many more there are.
    pub more: u64,
    /// What is worth knowing.
    pub notes: Vec<VerifyNote>,
}

/// Why a log cannot be verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A file cannot be read.
    #[error("{0} cannot be read: on some systems a running proxy keeps others out")]
    Read(PathBuf, #[source] io::Error),
    /// There is none.
    #[error("there is no audit log {0}, nor a file that it was renamed to, nor its head")]
    Nothing(PathBuf),
}

/// Verifies the audit log at `path` with the files that it was renamed to; `known` are heads that were kept elsewhere.
pub fn verify(path: &Path, known: &[ChainHead]) -> Result<VerifyReport, VerifyError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| VerifyError::Read(path, error)
    };
    let head_path = head_path(path);
    // First of all: the log may grow while it is read, and then it has more than the head, never less.
    let head = match crate::base::file::open(&head_path) {
        Ok(mut file) => Some(read_head(&mut file).map_err(failed(&head_path))?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(VerifyError::Read(head_path, error)),
    };
    let opened = open_all(path)?;
    if opened.is_empty() && head.is_none() {
        return Err(VerifyError::Nothing(path.to_owned()));
    }
    let mut walk = Verifier::new(head.flatten(), known);
    for (path, file) in opened {
        walk.read(&name(&path), BufReader::new(file)).map_err(failed(&path))?;
    }
    Ok(walk.finish(&name(path)))
}

/// All files, opened at a time when none was being renamed.
fn open_all(path: &Path) -> Result<Vec<(PathBuf, File)>, VerifyError> {
    let list = || files(path).map_err(|error| VerifyError::Read(path.to_owned(), error));
    loop {
        let before = list()?;
        let open = |file: PathBuf| match crate::base::file::open(&file) {
            Ok(open) => Ok((file, open)),
            Err(error) => Err(VerifyError::Read(file, error)),
        };
        let opened: Result<Vec<_>, _> = before.iter().cloned().map(open).collect();
        if list()? == before {
            return opened;
        }
    }
}

fn name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

/// A walk along the chain, file by file.
pub struct Verifier {
    /// What the head file says.
    kept: Option<ChainHead>,
    known: Vec<ChainHead>,
    /// The line that the next one should follow; what it is before the first line, that decides.
    last: Option<ChainHead>,
    /// Lines that were left out so far, as ranges; they may still come.
    missing: Vec<(FileLine, u64, u64)>,
    /// Bytes since the last line that are none, where they begin, and whether they look torn.
    debris: Option<(FileLine, Unreadable)>,
    /// The last line has no line feed.
    feedless: Option<FileLine>,
    /// The ids of writes whose outcome did not come yet.
    open: BTreeSet<String>,
    report: VerifyReport,
}

impl Verifier {
    /// A walk along a log whose head file says `kept`; `known` are heads that were kept elsewhere.
    pub fn new(kept: Option<ChainHead>, known: &[ChainHead]) -> Self {
        Self {
            kept,
            known: known.to_vec(),
            last: None,
            missing: Vec::new(),
            debris: None,
            feedless: None,
            open: BTreeSet::new(),
            report: VerifyReport::default(),
        }
    }

    /// Reads the next file.
    pub fn read(&mut self, name: &str, from: impl BufRead) -> io::Result<()> {
        self.report.files += 1;
        // A file that was put aside was whole.
        if let Some(place) = self.feedless.take() {
            self.find(Tampering::FeedCut { place });
        }
        let (mut pieces, mut number) = (LinePieces::new(from), 0);
        while let Some(piece) = pieces.next()? {
            number += u64::from(piece.begins);
            self.piece(FileLine { file: name.to_owned(), line: number }, &piece);
        }
        Ok(())
    }

    fn piece(&mut self, place: FileLine, piece: &LinePiece<'_>) {
        match piece.line() {
            Some(line) => {
                self.feedless = (!piece.ends).then(|| place.clone());
                self.line(place, line);
            }
            None => self.debris.get_or_insert_with(|| (place, Unreadable::new())).1.add(piece.bytes),
        }
    }

    fn line(&mut self, place: FileLine, line: ReadLine) {
        let seq = line.head.seq;
        let last = *self.last.get_or_insert_with(|| origin(&self.known, seq));
        let torn = if let LineKind::Begin(LogStart { torn, .. }) = line.kind { torn } else { None };
        let changed = self.clear(torn, last, &line, &place);
        let next = last.seq.saturating_add(1);
        if seq < next {
            self.stray(&place, seq, last.seq);
        } else {
            if let Some(first) = next.checked_add(changed).filter(|first| *first < seq) {
                self.miss(&place, first, seq - 1);
            } else if seq == next && line.prev != last.hash {
                self.find(Tampering::Replaced { place: place.clone(), seq: last.seq });
            }
            self.last = Some(line.head);
        }
        if self.kept.iter().chain(&self.known).any(|known| known.seq == seq && known.hash != line.head.hash) {
            self.find(Tampering::Replaced { place: place.clone(), seq });
        }
        self.check_line(place, line.kind, line.prev == last.hash && self.known.contains(&last));
        self.report.lines += 1;
        self.report.first.get_or_insert_with(|| (seq, line.time.clone()));
        self.report.last = Some((seq, line.time));
    }

    /// Says what the bytes before a line are; how many changed lines they are taken for.
    fn clear(&mut self, torn: Option<TornBytes>, last: ChainHead, line: &ReadLine, place: &FileLine) -> u64 {
        let Some((from, debris)) = self.debris.take() else {
            if torn.is_some() {
                self.find(Tampering::TornChanged { place: place.clone() });
            }
            return 0;
        };
        let found = debris.torn();
        if torn == Some(found) {
            self.note(VerifyNote::Torn { place: from, bytes: found.bytes });
            return 0;
        }
        if torn.is_some() {
            self.find(Tampering::TornChanged { place: place.clone() });
        }
        let left_out = line.head.seq.saturating_sub(last.seq.saturating_add(1));
        let changed = left_out.min(debris.lines());
        self.find(match changed {
            0 => Tampering::Inserted { place: from, bytes: found.bytes },
            _ => Tampering::Changed { place: from, from: last.seq + 1, to: last.seq + changed },
        });
        changed
    }

    /// A line that comes after one that was written later.
    fn stray(&mut self, place: &FileLine, seq: u64, after: u64) {
        let range = self.missing.iter().position(|(_, from, to)| (*from..=*to).contains(&seq));
        let Some((before, from, to)) = range.map(|range| self.missing.swap_remove(range)) else {
            return self.find(Tampering::Repeated { place: place.clone(), seq });
        };
        if from < seq {
            self.miss(&before, from, seq - 1);
        }
        if seq < to {
            self.miss(&before, seq + 1, to);
        }
        self.find(Tampering::Reordered { place: place.clone(), seq, after });
    }

    /// Lines were left out before the one at `place`.
    fn miss(&mut self, place: &FileLine, from: u64, to: u64) {
        if self.missing.len() < MAX_FINDINGS {
            self.missing.push((place.clone(), from, to));
        } else {
            self.report.more += 1;
        }
    }

    /// Takes note of what a line tells; `vouched` if a head that was kept elsewhere is the line before it.
    fn check_line(&mut self, place: FileLine, kind: LineKind, vouched: bool) {
        match kind {
            LineKind::Begin(LogStart { abrupt, headless, .. }) => {
                if headless && !vouched {
                    self.find(Tampering::Headless { place: place.clone() });
                }
                if abrupt {
                    self.note(VerifyNote::Abrupt { place });
                }
            }
            LineKind::Intent(id) => {
                self.open.insert(id);
            }
            LineKind::Outcome(id) => {
                self.open.remove(&id);
            }
            LineKind::Gap(lost) => self.note(VerifyNote::Lost { place, lost }),
            LineKind::End | LineKind::Other => {}
        }
    }

    fn find(&mut self, finding: Tampering) {
        if self.report.findings.len() < MAX_FINDINGS {
            self.report.findings.push(finding);
        } else {
            self.report.more += 1;
        }
    }

    fn note(&mut self, note: VerifyNote) {
        if self.report.notes.len() < MAX_FINDINGS {
            self.report.notes.push(note);
        }
    }

    /// Looks at the end, and says what was found; `file` is the log's own name.
    pub fn finish(mut self, file: &str) -> VerifyReport {
        let last = self.last.unwrap_or(ChainHead::NONE);
        for (place, from, to) in std::mem::take(&mut self.missing) {
            self.find(Tampering::Removed { place, from, to });
        }
        let end = self.kept.iter().chain(&self.known).copied().max_by_key(|head| head.seq);
        let end_seq = end.map_or(0, |head| head.seq);
        let there = last.seq.saturating_add(self.finish_debris(last.seq, end_seq));
        if end_seq > there {
            self.find(Tampering::Cut { file: file.to_owned(), from: there + 1, to: end_seq });
        }
        if let Some(place) = self.feedless.take().filter(|_| end_seq >= last.seq) {
            self.find(Tampering::FeedCut { place });
        }
        match self.kept {
            Some(ChainHead { seq: 0, .. }) => self.find(Tampering::HeadOfNothing(format!("{file}.head"))),
            Some(kept) if kept.seq < last.seq => self.note(VerifyNote::Newer(last.seq - kept.seq)),
            None if end.is_none_or(|end| end.seq < last.seq) => self.find(Tampering::NoHead(format!("{file}.head"))),
            Some(_) | None => {}
        }
        if let Some(id) = self.open.last().cloned() {
            self.note(VerifyNote::Unanswered { count: self.open.len(), last: id });
        }
        self.report.head = self.last.filter(|_| self.report.lines > 0);
        self.report
    }

    /// What comes after the last line: the beginning of one that was never safe, or something else. How many changed
    /// lines it is taken for.
    fn finish_debris(&mut self, last: u64, end: u64) -> u64 {
        let Some((place, debris)) = self.debris.take() else { return 0 };
        let bytes = debris.torn().bytes;
        let whole = debris.lines() - u64::from(!debris.ends());
        let changed = whole.min(end.saturating_sub(last));
        if changed > 0 {
            self.find(Tampering::Changed { place, from: last + 1, to: last + changed });
        } else if whole > 0 {
            self.find(Tampering::Inserted { place, bytes });
        } else if end <= last {
            self.note(VerifyNote::TornEnd { place, bytes });
        }
        changed
    }
}

/// Where the chain begins: after the last known line before the first that is there.
fn origin(known: &[ChainHead], first: u64) -> ChainHead {
    known.iter().copied().filter(|head| head.seq < first).max_by_key(|head| head.seq).unwrap_or(ChainHead::NONE)
}
