//! Finds the first and the last line of a file, and what follows the last.

use std::fs::File;
use std::io::{self, BufReader, Seek, SeekFrom};

use super::super::chain::ChainHead;
use super::super::line::LineKind;
use super::super::read::{LinePieces, Unreadable};

/// What a file holds.
pub(super) struct TailScan {
    /// The number of its first line.
    pub(super) first: Option<u64>,
    /// Its last line, and whether that is the end of a process.
    pub(super) last: Option<(ChainHead, bool)>,
    /// What follows the last line.
    pub(super) unreadable: Option<Unreadable>,
    /// The file does not end with a line feed.
    pub(super) feed_missing: bool,
    pub(super) length: u64,
}

impl TailScan {
    pub(super) fn of(mut file: &File) -> io::Result<Self> {
        file.seek(SeekFrom::Start(0))?;
        let mut scan = Self { first: None, last: None, unreadable: None, feed_missing: false, length: 0 };
        let mut pieces = LinePieces::new(BufReader::new(file));
        while let Some(piece) = pieces.next()? {
            scan.length += piece.bytes.len() as u64;
            scan.feed_missing = !piece.ends;
            match piece.line() {
                Some(line) => {
                    scan.first = scan.first.or(Some(line.head.seq));
                    scan.last = Some((line.head, line.kind == LineKind::End));
                    scan.unreadable = None;
                }
                None => scan.unreadable.get_or_insert_with(Unreadable::new).add(piece.bytes),
            }
        }
        Ok(scan)
    }
}
