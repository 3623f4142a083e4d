//! Follows the chain line by line, file by file.

use std::collections::BTreeSet;
use std::io::{self, BufRead};

use super::super::chain::ChainHead;
use super::super::entry::{LogStart, TornBytes};
use super::super::line::{LineKind, ReadLine};
use super::super::read::{LinePiece, LinePieces, Unreadable};
use super::report::{FileLine, Tampering, VerifyNote, VerifyReport};

/// The most findings that are told one by one.
const MAX_FINDINGS: usize = 1000;

/// Follows the chain through the files of a log, in their order.
pub struct Verifier {
    /// What the head file says.
    kept: Option<ChainHead>,
    known: Vec<ChainHead>,
    /// The line that the next one should follow; `None` before the first line, which decides it.
    last: Option<ChainHead>,
    /// Lines that were left out so far, as ranges; they may still come.
    missing: Vec<(FileLine, u64, u64)>,
    /// The bytes since the last line that do not form a line, and where they begin.
    unreadable: Option<(FileLine, Unreadable)>,
    /// The last line has no line feed.
    feed_missing: Option<FileLine>,
    /// The ids of writes whose outcome did not come yet.
    open: BTreeSet<String>,
    report: VerifyReport,
}

impl Verifier {
    /// For a log whose head file says `kept`; `known` are heads that were kept elsewhere.
    pub fn new(kept: Option<ChainHead>, known: &[ChainHead]) -> Self {
        Self {
            kept,
            known: known.to_vec(),
            last: None,
            missing: Vec::new(),
            unreadable: None,
            feed_missing: None,
            open: BTreeSet::new(),
            report: VerifyReport::default(),
        }
    }

    /// Reads the next file.
    pub fn read(&mut self, name: &str, from: impl BufRead) -> io::Result<()> {
        self.report.files += 1;
        // A file that was put aside was whole.
        if let Some(place) = self.feed_missing.take() {
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
                self.feed_missing = (!piece.ends).then(|| place.clone());
                self.line(place, line);
            }
            None => self.unreadable.get_or_insert_with(|| (place, Unreadable::new())).1.add(piece.bytes),
        }
    }

    fn line(&mut self, place: FileLine, line: ReadLine) {
        let seq = line.head.seq;
        let last = *self.last.get_or_insert_with(|| origin(&self.known, seq));
        let torn = if let LineKind::Begin(LogStart { torn, .. }) = line.kind { torn } else { None };
        let changed = self.end_unreadable(torn, last, &line, &place);
        let next = last.seq.saturating_add(1);
        if seq < next {
            self.out_of_order(&place, seq, last.seq);
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
    fn end_unreadable(&mut self, torn: Option<TornBytes>, last: ChainHead, line: &ReadLine, place: &FileLine) -> u64 {
        let Some((from, unreadable)) = self.unreadable.take() else {
            if torn.is_some() {
                self.find(Tampering::TornChanged { place: place.clone() });
            }
            return 0;
        };
        let found = unreadable.torn();
        if torn == Some(found) {
            self.note(VerifyNote::Torn { place: from, bytes: found.bytes });
            return 0;
        }
        if torn.is_some() {
            self.find(Tampering::TornChanged { place: place.clone() });
        }
        let left_out = line.head.seq.saturating_sub(last.seq.saturating_add(1));
        let changed = left_out.min(unreadable.lines());
        self.find(match changed {
            0 => Tampering::Inserted { place: from, bytes: found.bytes },
            _ => Tampering::Changed { place: from, from: last.seq + 1, to: last.seq + changed },
        });
        changed
    }

    /// A line that comes after one that was written later.
    fn out_of_order(&mut self, place: &FileLine, seq: u64, after: u64) {
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
        let there = last.seq.saturating_add(self.finish_unreadable(last.seq, end_seq));
        if end_seq > there {
            self.find(Tampering::Cut { file: file.to_owned(), from: there + 1, to: end_seq });
        }
        if let Some(place) = self.feed_missing.take().filter(|_| end_seq >= last.seq) {
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
    fn finish_unreadable(&mut self, last: u64, end: u64) -> u64 {
        let Some((place, unreadable)) = self.unreadable.take() else { return 0 };
        let bytes = unreadable.torn().bytes;
        let whole = unreadable.lines() - u64::from(!unreadable.ends());
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
