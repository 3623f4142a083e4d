//! Reading a log piece by piece, whatever is in it: no piece takes more memory than a line may have.

use std::io::{self, BufRead, Read};

use ring::digest::{Context, SHA256};

use super::line::{Hash, Line, MAX_LINE, Torn};

/// The pieces of a file.
pub(super) struct Pieces<R> {
    from: R,
    buffer: Vec<u8>,
    /// The piece before was a part of the same line.
    within: bool,
}

/// A line, or a part of one that is too long.
pub(super) struct Piece<'a> {
    /// With its line feed.
    pub(super) octets: &'a [u8],
    /// It begins where a line begins.
    pub(super) begins: bool,
    /// It has a line feed.
    pub(super) ends: bool,
}

impl<R: BufRead> Pieces<R> {
    pub(super) fn new(from: R) -> Self {
        Self { from, buffer: Vec::new(), within: false }
    }

    /// The next piece; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Piece<'_>>> {
        self.buffer.clear();
        (&mut self.from).take(MAX_LINE as u64).read_until(b'\n', &mut self.buffer)?;
        let ends = self.buffer.ends_with(b"\n");
        let begins = !std::mem::replace(&mut self.within, !ends);
        Ok(Some(Piece { octets: &self.buffer, begins, ends }).filter(|piece| !piece.octets.is_empty()))
    }
}

impl Piece<'_> {
    /// The line that it is; a piece without its line feed is one too if that is all that is missing.
    pub(super) fn line(&self) -> Option<Line> {
        if !self.begins {
            return None;
        }
        Line::read(self.octets.strip_suffix(b"\n").unwrap_or(self.octets))
    }
}

/// Octets between lines that are no line, as they are taken down when a process finds them.
pub(super) struct Debris {
    context: Context,
    octets: u64,
    /// A line feed that counts only if something follows.
    feed: bool,
    /// How many line feeds there were.
    feeds: u64,
}

impl Debris {
    pub(super) fn new() -> Self {
        Self { context: Context::new(&SHA256), octets: 0, feed: false, feeds: 0 }
    }

    /// Adds a piece.
    pub(super) fn add(&mut self, octets: &[u8]) {
        if std::mem::take(&mut self.feed) {
            self.hash(b"\n");
        }
        let text = octets.strip_suffix(b"\n");
        self.feed = text.is_some();
        self.feeds += u64::from(self.feed);
        self.hash(text.unwrap_or(octets));
    }

    fn hash(&mut self, octets: &[u8]) {
        self.context.update(octets);
        self.octets += octets.len() as u64;
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
    pub(super) fn torn(&self) -> Torn {
        Torn { octets: self.octets, sha256: Hash::finish(self.context.clone().finish().as_ref()) }
    }
}
