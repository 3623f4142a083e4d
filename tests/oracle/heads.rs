//! Where heads and bodies begin and end, read slowly and by the letter: the measure of the watch over the bytes.

use ninjaone_proxy::net::listener::head::{FramingError, Heads};

/// What there is to know of the bytes of a connection.
#[derive(Debug, PartialEq)]
struct Reading {
    /// The heads that ended well.
    heads: usize,
    /// What is wrong with the head after them.
    fault: Option<FramingError>,
    /// The byte that breaks a body in chunks.
    broken: Option<usize>,
}

/// Shows bytes to the watch in pieces of this size; fails where it sees anything but what is plainly there.
pub(crate) fn agree(bytes: &[u8], piece: usize) {
    let mut watch = Heads::default();
    let mut passed = 0;
    for piece in bytes.chunks(piece.max(1)) {
        passed += watch.watch(piece);
    }
    let broken = watch.is_broken().then_some(passed);
    assert!(broken.is_some() || passed == bytes.len(), "all goes on");
    let mut heads = 0;
    let fault = loop {
        match watch.parsed() {
            None => heads += 1,
            Some(fault) => break Some(fault).filter(|fault| *fault != FramingError::Unseen),
        }
    };
    assert!(watch.is_over());
    assert_eq!(Reading { heads, fault, broken }, read(bytes), "{:?}", String::from_utf8_lossy(bytes));
}

fn read(bytes: &[u8]) -> Reading {
    let mut reading = Reading { heads: 0, fault: None, broken: None };
    let mut at = 0;
    loop {
        let lines = match head(bytes, &mut at) {
            Ok(lines) => lines,
            Err(fault) => return Reading { fault, ..reading },
        };
        reading.heads += 1;
        let framing = lines[1..].iter().find(|line| is_framing(line));
        match framing.map(|line| line.split_once(':').unwrap()) {
            None => {}
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                let digits = value.trim_matches([' ', '\t', '\u{c}', '\r']);
                let readable = name.len() + value.len() < 47 && digits.bytes().all(|byte| byte.is_ascii_digit());
                let Some(length) = digits.parse::<usize>().ok().filter(|_| readable) else { return reading };
                at = at.saturating_add(length);
            }
            Some(_) => match body(bytes, &mut at) {
                Ok(()) => {}
                Err(Stop::More) => return reading,
                Err(Stop::Bad) => return Reading { broken: Some(at), ..reading },
            },
        }
        if at >= bytes.len() {
            return reading;
        }
    }
}

fn is_framing(line: &str) -> bool {
    let line = line.to_ascii_lowercase();
    line.starts_with("content-length:") || line.starts_with("transfer-encoding:")
}

/// The lines of a head; an byte is a character. Without one, why.
fn head(bytes: &[u8], at: &mut usize) -> Result<Vec<String>, Option<FramingError>> {
    let mut lines: Vec<String> = Vec::new();
    loop {
        let rest: String = bytes[*at..].iter().map(|byte| char::from(*byte)).collect();
        let line = rest.split('\n').next().unwrap_or_default();
        if lines.is_empty() && line.contains('#') {
            return Err(Some(FramingError::Fragment));
        }
        if line.len() == rest.len() {
            return Err(None);
        }
        let Some(text) = line.strip_suffix('\r') else { return Err(Some(FramingError::LineFeed)) };
        *at += line.chars().count() + 1;
        match (text, lines.is_empty()) {
            ("", true) => {}
            ("", false) => return Ok(lines),
            (text, _) => lines.push(text.to_owned()),
        }
        if lines.iter().skip(1).filter(|line| is_framing(line)).count() > 1 {
            return Err(Some(FramingError::Framing));
        }
    }
}

/// Why a body has no end.
enum Stop {
    More,
    Bad,
}

/// A body in chunks; `at` ends behind it, or at the byte that breaks it.
fn body(bytes: &[u8], at: &mut usize) -> Result<(), Stop> {
    let is_text = |byte: u8| byte == b'\t' || !byte.is_ascii_control();
    loop {
        let begin = *at;
        while *at == begin || bytes.get(*at).is_some_and(u8::is_ascii_hexdigit) {
            take(bytes, at, |byte| byte.is_ascii_hexdigit())?;
            if size(&bytes[begin..*at]).is_none() {
                *at -= 1;
                return Err(Stop::Bad);
            }
        }
        let size = size(&bytes[begin..*at]).unwrap_or_default();
        let blanks = *at;
        while bytes.get(*at).is_some_and(|byte| b" \t".contains(byte)) {
            *at += 1;
        }
        if *at > blanks || bytes.get(*at) == Some(&b';') {
            take(bytes, at, |byte| byte == b';')?;
            while bytes.get(*at).is_some_and(|byte| is_text(*byte)) {
                *at += 1;
            }
        }
        line_end(bytes, at)?;
        if size == 0 {
            break;
        }
        *at = at.saturating_add(usize::try_from(size).unwrap_or(usize::MAX));
        line_end(bytes, at)?;
    }
    while bytes.get(*at).is_none_or(|byte| *byte != b'\r') {
        take(bytes, at, is_text)?;
        while bytes.get(*at).is_some_and(|byte| is_text(*byte)) {
            *at += 1;
        }
        line_end(bytes, at)?;
    }
    line_end(bytes, at)
}

fn size(digits: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn line_end(bytes: &[u8], at: &mut usize) -> Result<(), Stop> {
    take(bytes, at, |byte| byte == b'\r')?;
    take(bytes, at, |byte| byte == b'\n')
}

fn take(bytes: &[u8], at: &mut usize, fits: impl Fn(u8) -> bool) -> Result<(), Stop> {
    match bytes.get(*at) {
        None => Err(Stop::More),
        Some(byte) if fits(*byte) => {
            *at += 1;
            Ok(())
        }
        Some(_) => Err(Stop::Bad),
    }
}
