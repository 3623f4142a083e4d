//! The heads of requests, watched byte by byte on their way to the parser: what it does not tell of them.
//!
//! hyper drops `Content-Length` next to `Transfer-Encoding`, drops a second `Content-Length`, takes a bare line feed for
//! the end of a line, and cuts a fragment off the target. Each makes two readers see different requests in the same
//! bytes (RFC 9112 sections 2.2, 3.2, 6.3 and 11.2). This is not a second parser: whatever else is wrong is left
//! to hyper, and wherever the two might disagree on where a head begins, nothing more is served.

use memchr::{memchr, memchr2};

use super::chunks::{Chunks, Course};

/// How much of a line is kept across reads: `Content-Length: `, the 20 digits of a `u64`, and some white space.
const START: usize = 48;
const LENGTH: &[u8] = b"content-length:";
const CODING: &[u8] = b"transfer-encoding:";

/// What is wrong with a head, and does not show in hyper's reading of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FramingError {
    /// A `#` in the request line.
    Fragment,
    /// A line that ends in a line feed without a carriage return.
    LineFeed,
    /// More than one of `Content-Length` and `Transfer-Encoding`.
    Framing,
    /// It was read where none was seen to begin.
    Unseen,
    /// It has more fields than are allowed.
    TooManyFields,
}

/// The heads on one connection.
#[derive(Debug)]
pub struct Heads {
    place: HeadPart,
    /// How the line begins.
    start: [u8; START],
    kept: usize,
    /// The last byte of the line so far.
    last: u8,
    framing: Framing,
    /// The heads that ended well, and those that hyper read.
    ended: u64,
    read: u64,
    /// Of the head after those.
    fault: Option<FramingError>,
}

/// What the next byte belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HeadPart {
    /// A request line, or the empty lines before it (RFC 9112 section 2.2).
    RequestLine,
    Fields,
    /// A body with this much to come.
    Body(u64),
    Chunks(Chunks),
    /// Nobody knows: after a fault, or in a body whose length cannot be read here.
    Lost,
    /// In a body that is not made of chunks: nothing more may be read.
    Broken,
}

/// What a head says of the length of its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Nothing,
    Length(u64),
    Coded,
    Unreadable,
}

impl Default for Heads {
    fn default() -> Self {
        let (place, framing) = (HeadPart::RequestLine, Framing::Nothing);
        Self { place, start: [0; START], kept: 0, last: 0, framing, ended: 0, read: 0, fault: None }
    }
}

impl Heads {
    /// Takes note of bytes on their way to the parser. So many of them may go there; after fewer than all, no more.
    pub fn watch(&mut self, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = match self.place {
                HeadPart::Lost => return bytes.len(),
                HeadPart::Broken => return bytes.len() - rest.len(),
                HeadPart::Body(left) => self.skip(left, rest),
                HeadPart::Chunks(chunks) => self.follow(chunks, rest),
                HeadPart::RequestLine | HeadPart::Fields => self.line(rest),
            };
        }
        bytes.len()
    }

    /// Whether a head has begun, and has not ended.
    pub fn is_in_head(&self) -> bool {
        self.place == HeadPart::Fields || (self.place == HeadPart::RequestLine && self.kept > 0)
    }

    /// Whether all that came is whole requests that the parser has read, so that the next byte begins another one.
    pub fn is_between_heads(&self) -> bool {
        self.place == HeadPart::RequestLine && self.kept == 0 && self.read == self.ended
    }

    /// Whether a body has begun, and is not known to have ended.
    pub fn is_in_body(&self) -> bool {
        matches!(self.place, HeadPart::Body(_) | HeadPart::Chunks(_) | HeadPart::Lost | HeadPart::Broken)
    }

    /// Whether a body is not made of chunks, so that nothing more may be read.
    pub fn is_broken(&self) -> bool {
        self.place == HeadPart::Broken
    }

    /// The parser has read a head: what is wrong with it.
    pub fn parsed(&mut self) -> Option<FramingError> {
        self.read += 1;
        (self.read > self.ended).then_some(self.fault.unwrap_or(FramingError::Unseen))
    }

    /// Whether nothing more may be served after what the parser has read so far.
    pub fn is_over(&self) -> bool {
        let unknown = self.place == HeadPart::Broken || (self.place == HeadPart::Lost && self.fault.is_none());
        self.read > self.ended || (unknown && self.read == self.ended)
    }

    fn skip<'a>(&mut self, left: u64, bytes: &'a [u8]) -> &'a [u8] {
        let there = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        self.place = match left - there as u64 {
            0 => HeadPart::RequestLine,
            left => HeadPart::Body(left),
        };
        bytes.get(there..).unwrap_or_default()
    }

    fn follow<'a>(&mut self, mut chunks: Chunks, bytes: &'a [u8]) -> &'a [u8] {
        let (place, taken) = match chunks.follow(bytes) {
            Course::On => (HeadPart::Chunks(chunks), bytes.len()),
            Course::Ended(taken) => (HeadPart::RequestLine, taken),
            Course::Broken(taken) => (HeadPart::Broken, taken),
        };
        self.place = place;
        bytes.get(taken..).unwrap_or_default()
    }

    /// Takes a line, or what there is of it; returns what follows.
    fn line<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let in_request_line = self.place == HeadPart::RequestLine;
        let end = if in_request_line { memchr2(b'\n', b'#', bytes) } else { memchr(b'\n', bytes) };
        let (line, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
        if rest.first() == Some(&b'#') {
            self.fail(FramingError::Fragment);
            return rest;
        }
        let Some((_, rest)) = rest.split_first() else {
            self.keep(line);
            return rest;
        };
        if self.kept == 0 {
            // It is here as a whole: nothing need be kept.
            self.end_line(line.get(..START).unwrap_or(line), line.last().copied().unwrap_or(self.last));
        } else {
            self.keep(line);
            let start = self.start;
            self.end_line(start.get(..self.kept).unwrap_or_default(), self.last);
        }
        (self.kept, self.last) = (0, 0);
        rest
    }

    fn keep(&mut self, line: &[u8]) {
        let room = self.start.get_mut(self.kept..).unwrap_or_default();
        let fits = room.len().min(line.len());
        if let (Some(room), Some(line)) = (room.get_mut(..fits), line.get(..fits)) {
            room.copy_from_slice(line);
        }
        self.kept += fits;
        self.last = line.last().copied().unwrap_or(self.last);
    }

    /// A line has ended that begins so, and whose last byte before the line feed is this one.
    fn end_line(&mut self, start: &[u8], last: u8) {
        if last != b'\r' {
            return self.fail(FramingError::LineFeed);
        }
        match (self.place, start) {
            (HeadPart::RequestLine, b"\r") => {}
            (HeadPart::RequestLine, _) => self.place = HeadPart::Fields,
            (HeadPart::Fields, b"\r") => self.end_head(),
            (HeadPart::Fields, _) => self.field(start),
            (HeadPart::Body(_) | HeadPart::Chunks(_) | HeadPart::Lost | HeadPart::Broken, _) => {}
        }
    }

    /// hyper takes a name only if the colon follows it at once, so nothing else names these two fields.
    fn field(&mut self, start: &[u8]) {
        let framing = match start.first() {
            Some(b'c' | b'C') => after(start, LENGTH).map(length),
            Some(b't' | b'T') => after(start, CODING).map(|_| Framing::Coded),
            Some(_) | None => None,
        };
        let Some(framing) = framing else { return };
        if self.framing == Framing::Nothing {
            self.framing = framing;
        } else {
            self.fail(FramingError::Framing);
        }
    }

    fn end_head(&mut self) {
        self.ended += 1;
        self.place = match std::mem::replace(&mut self.framing, Framing::Nothing) {
            Framing::Nothing | Framing::Length(0) => HeadPart::RequestLine,
            Framing::Length(left) => HeadPart::Body(left),
            Framing::Coded => HeadPart::Chunks(Chunks::new()),
            Framing::Unreadable => HeadPart::Lost,
        };
    }

    fn fail(&mut self, fault: FramingError) {
        (self.place, self.fault) = (HeadPart::Lost, Some(fault));
    }
}

/// What follows a name, in any case.
fn after<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = line.split_at_checked(name.len())?;
    start.eq_ignore_ascii_case(name).then_some(rest)
}

/// A length that was cut off lacks its carriage return.
fn length(value: &[u8]) -> Framing {
    let digits = value.strip_suffix(b"\r").map(<[u8]>::trim_ascii).unwrap_or_default();
    let number = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    number.and_then(|text| text.parse().ok()).map_or(Framing::Unreadable, Framing::Length)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is wrong with the first head, read whole and byte by byte.
    fn fault(bytes: &[u8]) -> Option<FramingError> {
        let (mut whole, mut single) = (Heads::default(), Heads::default());
        let whole_passes = whole.watch(bytes);
        assert_eq!(bytes.chunks(1).map(|byte| single.watch(byte)).sum::<usize>(), whole_passes);
        let fault = whole.parsed();
        assert_eq!(fault, single.parsed(), "{:?}", String::from_utf8_lossy(bytes));
        fault
    }

    #[test]
    fn head_with_two_framings_a_bare_line_feed_or_a_fragment_is_faulty() {
        for (bytes, found) in [
            (&b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..], None),
            (b"\r\n\r\nPOST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n#\nx\n.", None),
            (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5\nx", None),
            (b"POST / HTTP/1.1\r\nContent-Length:5\r\nTransfer-Encoding:chunked\r\n\r\n", Some(FramingError::Framing)),
            (b"POST / HTTP/1.1\r\nTRANSFER-ENCODING: x\r\ncontent-length: 5\r\n\r\n", Some(FramingError::Framing)),
            (b"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", Some(FramingError::Framing)),
            (b"GET / HTTP/1.1\nHost: localhost\r\n\r\n", Some(FramingError::LineFeed)),
            (b"GET / HTTP/1.1\r\nHost: localhost\r\n\n", Some(FramingError::LineFeed)),
            (b"\nGET / HTTP/1.1\r\n\r\n", Some(FramingError::LineFeed)),
            (b"GET /#x HTTP/1.1\r\n\r\n", Some(FramingError::Fragment)),
            (b"GET / HTTP/1.1\r\nX: #\r\n\r\n", None),
            (b"GET / HTTP/1.1\r\nHost: localhost\r\n", Some(FramingError::Unseen)),
        ] {
            assert_eq!(fault(bytes), found, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn head_after_a_body_is_watched_from_its_first_byte() {
        let mut heads = Heads::default();
        heads.watch(b"POST / HTTP/1.1\r\nContent-Length: 004\r\n\r\n#\r\n\r");
        assert_eq!((heads.parsed(), heads.is_over()), (None, false));
        heads.watch(b"GET /#x HTTP/1.1\r\n\r\n");
        assert!(!heads.is_over(), "the request before is answered as usual");
        assert_eq!((heads.parsed(), heads.is_over()), (Some(FramingError::Fragment), true));
    }

    #[test]
    fn head_after_chunks_is_watched_and_nothing_is_read_after_what_are_none() {
        let head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut heads = Heads::default();
        let bytes = format!("{head}5\r\nhello\r\n0\r\n\r\nGET / HTTP/1.1\n\r\n");
        assert_eq!((heads.watch(bytes.as_bytes()), heads.is_broken()), (bytes.len(), false));
        assert_eq!((heads.parsed(), heads.is_over()), (None, false));
        assert_eq!((heads.parsed(), heads.is_over()), (Some(FramingError::LineFeed), true));
        let mut heads = Heads::default();
        let good = format!("{head}5\r\nhello");
        assert_eq!(heads.watch(format!("{good}\nGET / HTTP/1.1\r\n\r\n").as_bytes()), good.len());
        assert_eq!((heads.parsed(), heads.is_over(), heads.is_broken()), (None, true, true));
        assert_eq!(heads.watch(b"x"), 0);
    }

    #[test]
    fn head_whose_length_cannot_be_read_is_the_last() {
        let long = format!("Content-Length:{}5", " ".repeat(60));
        for field in ["Content-Length: 99999999999999999999", "Content-Length: +5", &long] {
            let mut heads = Heads::default();
            heads.watch(format!("POST / HTTP/1.1\r\n{field}\r\n\r\nhelloGET / HTTP/1.1\r\n\r\n").as_bytes());
            assert_eq!((heads.parsed(), heads.is_over()), (None, true), "{field}");
            assert_eq!(heads.parsed(), Some(FramingError::Unseen), "{field}");
        }
    }
}
