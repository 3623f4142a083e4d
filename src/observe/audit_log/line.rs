//! Reads a line of the audit log back, and tells whether it is as it was written.

use serde::Deserialize;

use super::chain::{ChainHead, Hash};
use super::entry::{AFTER_HASH, BEFORE_HASH, LogStart};

/// The longest line that is read; the proxy writes no longer ones.
pub(super) const MAX_LINE: usize = 64 * 1024;

/// A line as it is read: its own hash is right.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadLine {
    /// Its place in the chain.
    pub head: ChainHead,
    /// The hash of the line before it.
    pub prev: Hash,
    /// When it was.
    pub time: String,
    /// Its kind.
    pub kind: LineKind,
}

/// What matters of a line's kind for following the chain.
#[derive(Debug, Clone, PartialEq)]
pub enum LineKind {
    /// A process begins to write.
    Begin(LogStart),
    /// A write is about to go up: the id of its request.
    Intent(String),
    /// What became of it.
    Outcome(String),
    /// So many records could not be kept.
    Gap(u64),
    /// A process ends in good order.
    End,
    /// Anything else.
    Other,
}

impl ReadLine {
    /// Reads a line without its line feed; `None` if it is none of ours, or not as it was written.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Read {
            seq: u64,
            time: String,
            kind: String,
            prev: Hash,
            hash: Hash,
            id: Option<String>,
            lost: Option<u64>,
            #[serde(flatten)]
            begin: LogStart,
        }
        let hashed = bytes.strip_suffix(AFTER_HASH)?;
        let (hashed, hash) = hashed.split_at_checked(hashed.len().checked_sub(64)?)?;
        let hashed = hashed.strip_suffix(BEFORE_HASH)?;
        if hash != Hash::of(hashed).to_string().as_bytes() {
            return None;
        }
        let Read { seq, time, kind, prev, hash, id, lost, begin } = serde_json::from_slice(bytes).ok()?;
        let kind = match (kind.as_str(), id) {
            ("begin", _) => LineKind::Begin(begin),
            ("intent", Some(id)) => LineKind::Intent(id),
            ("outcome", Some(id)) => LineKind::Outcome(id),
            ("gap", _) => LineKind::Gap(lost.unwrap_or_default()),
            ("end", _) => LineKind::End,
            _ => LineKind::Other,
        };
        Some(Self { head: ChainHead { seq, hash }, prev, time, kind })
    }
}

#[cfg(test)]
mod tests {
    use super::super::approval_step::{ApprovalStep, StepKind};
    use super::super::entry::tests::facts;
    use super::super::entry::{EndedRequest, Entry, Event, RequestOutcome, Text, TornBytes};
    use super::*;

    #[test]
    fn line_with_another_byte_anywhere_is_none() {
        let mut text = Vec::new();
        let ended = EndedRequest {
            facts: facts("1"),
            outcome: RequestOutcome { status: Some(200), ..RequestOutcome::default() },
        };
        Entry::now(Event::Outcome(ended)).write(ChainHead::NONE, &mut text);
        text.pop();
        assert!(ReadLine::read(&text).is_some());
        for place in 0..text.len() {
            for change in [0x01, 0x20, 0x80] {
                let mut changed = text.clone();
                changed[place] ^= change;
                assert_eq!(ReadLine::read(&changed), None, "{place}");
            }
            assert_eq!(ReadLine::read(&text[..place]), None);
        }
        assert_eq!(ReadLine::read(&[&text[..], b" "].concat()), None);
    }

    #[test]
    fn line_of_every_kind_is_read_again() {
        let torn = Some(TornBytes { bytes: 7, sha256: Hash::of(b"torn") });
        let begin = LogStart { torn, abrupt: true, headless: true };
        let ended = EndedRequest { facts: facts("9"), outcome: RequestOutcome::default() };
        let step = ApprovalStep {
            step: StepKind::Approved,
            id: "a".repeat(32),
            approver: Some("lead".to_owned()),
            comment: Some(Text::new("fine")),
            body_bytes: 2,
            body_sha256: "0".repeat(64),
            facts: facts("9"),
        };
        for (event, kind) in [
            (Event::Begin(begin), LineKind::Begin(begin)),
            (Event::Begin(LogStart::default()), LineKind::Begin(LogStart::default())),
            (Event::Intent(facts("9")), LineKind::Intent("9".to_owned())),
            (Event::Outcome(ended.clone()), LineKind::Outcome("9".to_owned())),
            (Event::Refusal(ended), LineKind::Other),
            (Event::Approval(step), LineKind::Other),
            (Event::Gap { lost: 3 }, LineKind::Gap(3)),
            (Event::End {}, LineKind::End),
        ] {
            let mut text = Vec::new();
            Entry::now(event).write(ChainHead::NONE, &mut text);
            assert_eq!(ReadLine::read(text.trim_ascii_end()).expect("a line").kind, kind);
        }
    }
}
