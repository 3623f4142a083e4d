//! Content codings: the text of a body that came compressed, where it must be read here and not only passed on.

use std::io::{self, Read};

use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::header::{CONTENT_ENCODING, HeaderMap};
use zeroize::Zeroizing;

/// No server applies more codings than this to one body.
const MAX_CODINGS: usize = 2;
/// As much is shown of a coding that is not known.
const MAX_SHOWN: usize = 40;

/// Why the text of a body cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum CodingError {
    /// A coding that we cannot undo, or too many of them.
    #[error("its content coding is {0:?}: only gzip and deflate can be read")]
    Unknown(String),
    /// It is not what its coding says.
    #[error("its compressed body is damaged")]
    Damaged(#[source] io::Error),
    /// The text is longer than allowed.
    #[error("its body is larger than {0} bytes once it is decompressed")]
    TooLong(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Gzip,
    Deflate,
}

/// The text of a whole body that came with these headers, if it is not longer than `limit`, in memory that is
/// overwritten when it is dropped. Nothing has no coding, whatever the headers of an answer to HEAD say.
pub fn decoded(headers: &HeaderMap, body: &[u8], limit: usize) -> Result<Zeroizing<Vec<u8>>, CodingError> {
    let mut text = Zeroizing::new(body.to_vec());
    if body.is_empty() {
        return Ok(text);
    }
    for coding in codings(headers)?.into_iter().rev() {
        // With room for all of it: what grows leaves copies behind.
        let mut longer = Zeroizing::new(Vec::with_capacity(limit + 1));
        coding.read(&text, limit + 1, &mut longer).map_err(CodingError::Damaged)?;
        text = longer;
    }
    if text.len() > limit { Err(CodingError::TooLong(limit)) } else { Ok(text) }
}

/// As much of the text, up to `limit`, as the beginning of a body holds; nothing if its coding is not known.
pub fn beginning(headers: &HeaderMap, body: &[u8], limit: usize) -> Vec<u8> {
    let Ok(codings) = codings(headers) else { return Vec::new() };
    codings.into_iter().rev().fold(body.to_vec(), |body, coding| {
        let mut text = Vec::new();
        // A body that is cut off or damaged is read up to there.
        let _ = coding.read(&body, limit, &mut text);
        text
    })
}

/// A text without the mark that some servers put before it, and that JSON does not have (RFC 8259 section 8.1).
pub fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text)
}

/// In the order in which they were applied (RFC 9110 section 8.4).
fn codings(headers: &HeaderMap) -> Result<Vec<Coding>, CodingError> {
    let unknown = |name: &[u8]| CodingError::Unknown(String::from_utf8_lossy(name).chars().take(MAX_SHOWN).collect());
    let mut codings = Vec::new();
    for line in headers.get_all(CONTENT_ENCODING) {
        for name in line.as_bytes().split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            match name.to_ascii_lowercase().as_slice() {
                b"" | b"identity" => {}
                _ if codings.len() == MAX_CODINGS => return Err(unknown(line.as_bytes())),
                b"gzip" | b"x-gzip" => codings.push(Coding::Gzip),
                b"deflate" => codings.push(Coding::Deflate),
                _ => return Err(unknown(name)),
            }
        }
    }
    Ok(codings)
}

impl Coding {
    fn read(self, body: &[u8], limit: usize, text: &mut Vec<u8>) -> io::Result<()> {
        let limit = limit as u64;
        match self {
            Self::Gzip => MultiGzDecoder::new(body).take(limit).read_to_end(text)?,
            Self::Deflate if is_zlib(body) => ZlibDecoder::new(body).take(limit).read_to_end(text)?,
            // Some servers leave out the frame that the name means (RFC 9110 section 8.4.1.2).
            Self::Deflate => DeflateDecoder::new(body).take(limit).read_to_end(text)?,
        };
        Ok(())
    }
}

/// RFC 1950 section 2.2.
fn is_zlib(body: &[u8]) -> bool {
    matches!(body, [method, flags, ..] if method & 0x0f == 8 && u16::from_be_bytes([*method, *flags]) % 31 == 0)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use http::HeaderValue;

    use super::*;

    const TEXT: &str = r#"{"access_token":"a","token_type":"Bearer"}"#;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).expect("packed");
        encoder.finish().expect("packed")
    }

    fn zlib(text: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).expect("packed");
        encoder.finish().expect("packed")
    }

    fn raw(text: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).expect("packed");
        encoder.finish().expect("packed")
    }

    fn headers(lines: &[&'static str]) -> HeaderMap {
        lines.iter().map(|line| (CONTENT_ENCODING, HeaderValue::from_static(line))).collect()
    }

    #[test]
    fn coding_is_undone_for_every_way_to_say_gzip_or_deflate() {
        let text = TEXT.as_bytes();
        for (lines, body) in [
            (&[][..], text.to_vec()),
            (&["identity"], text.to_vec()),
            (&[""], text.to_vec()),
            (&["gzip"], gzip(text)),
            (&["X-GZip"], gzip(text)),
            (&[" gzip , identity"], gzip(text)),
            (&["gzip"], [gzip(&text[..9]), gzip(&text[9..])].concat()),
            (&["deflate"], zlib(text)),
            (&["deflate"], raw(text)),
            (&["deflate, gzip"], gzip(&zlib(text))),
            (&["deflate", "gzip"], gzip(&zlib(text))),
        ] {
            let read = decoded(&headers(lines), &body, 1000).unwrap_or_else(|error| panic!("{lines:?}: {error}"));
            assert_eq!(read.as_slice(), text, "{lines:?}");
            assert_eq!(beginning(&headers(lines), &body, 1000), text, "{lines:?}");
        }
    }

    #[test]
    fn coding_that_cannot_be_undone_is_told_by_its_name() {
        for (lines, name) in [
            (&["br"][..], "br"),
            (&["gzip, zstd"], "zstd"),
            (&["gzip, gzip, gzip"], "gzip, gzip, gzip"),
            (&["gzip;q=1"], "gzip;q=1"),
        ] {
            let error = decoded(&headers(lines), b"x", 1000).expect_err("not known");
            assert!(matches!(&error, CodingError::Unknown(told) if told == name), "{lines:?}: {error}");
            assert_eq!(beginning(&headers(lines), b"x", 1000), b"", "{lines:?}");
        }
    }

    #[test]
    fn coding_of_a_body_that_is_damaged_or_grows_too_much_is_an_error() {
        let packed = gzip(TEXT.as_bytes());
        for body in [&packed[..packed.len() - 3], &b"no gzip"[..]] {
            assert!(matches!(decoded(&headers(&["gzip"]), body, 1000), Err(CodingError::Damaged(_))), "{body:?}");
        }
        let long = vec![b'x'; 1001];
        for (lines, body) in [(&[][..], long.clone()), (&["gzip"], gzip(&long)), (&["gzip, gzip"], gzip(&gzip(&long)))]
        {
            assert!(matches!(decoded(&headers(lines), &body, 1000), Err(CodingError::TooLong(1000))), "{lines:?}");
            assert!(decoded(&headers(lines), &body, 1001).is_ok(), "{lines:?}");
        }
    }

    #[test]
    fn coding_of_a_body_that_is_cut_off_is_undone_up_to_there() {
        let long = "x y z ".repeat(10_000);
        let packed = gzip(long.as_bytes());
        let read = beginning(&headers(&["gzip"]), &packed[..packed.len() / 2], 100_000);
        assert!(!read.is_empty() && long.as_bytes().starts_with(&read));
    }
}
