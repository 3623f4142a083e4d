//! Reading a log piece by piece, whatever is in it: no piece takes more memory than a line may have.

use std::io::{self, BufRead, Read};

use ring::digest::{Context, SHA256};

use super::chain::Hash;
use super::entry::TornBytes;
use super::line::{MAX_LINE, ReadLine};

/// The pieces of a file.
pub(super) struct LinePieces<R> {
    from: R,
    buffer: Vec<u8>,
    /// The piece before was a part of the same line.
    within: bool,
}

/// A line, or a part of one that is too long.
pub(super) struct LinePiece<'a> {
    /// With its line feed.
    pub(super) bytes: &'a [u8],
    /// It begins where a line begins.
    pub(super) begins: bool,
    /// It has a line feed.
    pub(super) ends: bool,
}

impl<R: BufRead> LinePieces<R> {
    pub(super) fn new(from: R) -> Self {
        Self { from, buffer: Vec::new(), within: false }
    }

    /// The next piece; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<LinePiece<'_>>> {
        self.buffer.clear();
        (&mut self.from).take(MAX_LINE as u64).read_until(b'\n', &mut self.buffer)?;
        let ends = self.buffer.ends_with(b"\n");
        let begins = !std::mem::replace(&mut self.within, !ends);
        Ok(Some(LinePiece { bytes: &self.buffer, begins, ends }).filter(|piece| !piece.bytes.is_empty()))
    }
}

impl LinePiece<'_> {
    /// The line that it is; a piece without its line feed is one too if that is all that is missing.
    pub(super) fn line(&self) -> Option<ReadLine> {
        if !self.begins {
            return None;
        }
        ReadLine::read(self.bytes.strip_suffix(b"\n").unwrap_or(self.bytes))
    }
}

/// Bytes between lines that do not form a line, as a process records them when it finds them.
pub(super) struct Unreadable {
    context: Context,
    bytes: u64,
    /// A line feed that matters only if something follows.
    feed: bool,
    /// How many line feeds there were.
    feeds: u64,
}

impl Unreadable {
    pub(super) fn new() -> Self {
        Self { context: Context::new(&SHA256), bytes: 0, feed: false, feeds: 0 }
    }

    /// Adds a piece.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        if std::mem::take(&mut self.feed) {
            self.hash(b"\n");
        }
        let text = bytes.strip_suffix(b"\n");
        self.feed = text.is_some();
        self.feeds += u64::from(self.feed);
        self.hash(text.unwrap_or(bytes));
    }

    fn hash(&mut self, bytes: &[u8]) {
        self.context.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    /// How many lines they look like.
    pub(super) fn lines(&self) -> u64 {
        self.feeds + u64::from(!self.feed)
    }

    /// Whether they end with a line feed.
    pub(super) fn ends(&self) -> bool {
        self.feed
    }

    /// How many there are, and their hash.
    pub(super) fn torn(&self) -> TornBytes {
        TornBytes { bytes: self.bytes, sha256: Hash::finish(self.context.clone().finish().as_ref()) }
    }
}
