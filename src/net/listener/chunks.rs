//! The chunks of a body, followed byte by byte: where it ends, by the letter of RFC 9112 section 7.1.

/// A body in chunks on its way to the parser, which takes more than the grammar has: white space after a size, controls
/// in an extension, a bare line feed after the last chunk or in a trailer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chunks(ChunkPart);

/// What the next byte belongs to; numbers are bytes of the chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ChunkPart {
    /// The first digit of a size, then the further ones.
    Start,
    Size(u64),
    /// White space, after which an extension must come.
    Blank(u64),
    Extension(u64),
    SizeLf(u64),
    Data(u64),
    DataCr,
    DataLf,
    /// The beginning of a trailer field, or of the end.
    Trailer,
    InTrailer,
    TrailerLf,
    EndLf,
    End,
}

/// What bytes were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Course {
    /// Chunks, to the last byte.
    On,
    /// The body ended after so many of them.
    Ended(usize),
    /// So many of them were chunks, and the next one cannot be.
    Broken(usize),
}

impl Chunks {
    pub(super) fn new() -> Self {
        Self(ChunkPart::Start)
    }

    pub(super) fn follow(&mut self, bytes: &[u8]) -> Course {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let (next, taken) = match (self.0, rest) {
                (ChunkPart::Data(left), _) => skip(left, rest.len()),
                (place, [byte, ..]) => (place.after(*byte), 1),
                (place, []) => (Some(place), 0),
            };
            let Some(next) = next else { return Course::Broken(at) };
            self.0 = next;
            at += taken;
            if next == ChunkPart::End {
                return Course::Ended(at);
            }
        }
        Course::On
    }
}

/// Data goes by without a look at it.
fn skip(left: u64, there: usize) -> (Option<ChunkPart>, usize) {
    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(there);
    let next = match left - taken as u64 {
        0 => ChunkPart::DataCr,
        left => ChunkPart::Data(left),
    };
    (Some(next), taken)
}

impl ChunkPart {
    /// `None` where the byte must not be.
    fn after(self, byte: u8) -> Option<Self> {
        match (self, byte) {
            (Self::Start, digit) => hex(digit).map(Self::Size),
            (Self::Size(size) | Self::Blank(size), b' ' | b'\t') => Some(Self::Blank(size)),
            (Self::Size(size) | Self::Blank(size), b';') => Some(Self::Extension(size)),
            (Self::Size(size) | Self::Extension(size), b'\r') => Some(Self::SizeLf(size)),
            (Self::Size(size), digit) => size.checked_mul(16)?.checked_add(hex(digit)?).map(Self::Size),
            (Self::Extension(size), byte) if is_text(byte) => Some(Self::Extension(size)),
            (Self::SizeLf(0), b'\n') => Some(Self::Trailer),
            (Self::SizeLf(size), b'\n') => Some(Self::Data(size)),
            (Self::DataCr, b'\r') => Some(Self::DataLf),
            (Self::DataLf, b'\n') => Some(Self::Start),
            (Self::Trailer, b'\r') => Some(Self::EndLf),
            (Self::InTrailer, b'\r') => Some(Self::TrailerLf),
            (Self::Trailer | Self::InTrailer, byte) if is_text(byte) => Some(Self::InTrailer),
            (Self::TrailerLf, b'\n') => Some(Self::Trailer),
            (Self::EndLf, b'\n') => Some(Self::End),
            (_, _) => None,
        }
    }
}

fn hex(digit: u8) -> Option<u64> {
    char::from(digit).to_digit(16).map(u64::from)
}

fn is_text(byte: u8) -> bool {
    byte == b'\t' || !byte.is_ascii_control()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn course(bytes: &[u8]) -> Course {
        Chunks::new().follow(bytes)
    }

    #[test]
    fn chunks_end_with_the_empty_line_after_the_last_one() {
        for (body, rest) in [
            ("0\r\n\r\n", ""),
            ("5\r\nhello\r\n0\r\n\r\n", "GET /"),
            ("a;x=\"y\" ; z\r\n0\r\n\r\n0\r\n\r\n\r\n00\r\nX: 1\r\nY: 2\r\n\r\n", "\r\n"),
            ("5 ;x\r\nhello\r\n0\r\n\r\n", ""),
        ] {
            assert_eq!(course(format!("{body}{rest}").as_bytes()), Course::Ended(body.len()), "{body:?}");
        }
    }

    #[test]
    fn chunks_are_broken_at_the_first_byte_that_the_grammar_lacks() {
        for (good, bad) in [
            ("", "\r\n"),
            ("", " 5"),
            ("5", "\nhello"),
            ("5 ", "\r\nhello"),
            ("5", "x"),
            ("5;x", "\n"),
            ("5;x", "\0"),
            ("5\r", "\r"),
            ("5\r\nhello", "\n"),
            ("5\r\nhello", "o"),
            ("5\r\nhello\r\n0\r\n", "\n"),
            ("0\r\nX: 1", "\nY: 2"),
            ("0\r\n\r", "X"),
            ("ffffffffffffffff", "0"),
        ] {
            assert_eq!(course(format!("{good}{bad}").as_bytes()), Course::Broken(good.len()), "{good:?} {bad:?}");
        }
    }
}
