//! The bytes of a path: what each may do, and what percent-encoding stands for.

use super::MalformedTarget;

/// Checks one segment; says whether it has an encoded character.
pub(super) fn check(raw: &str) -> Result<bool, MalformedTarget> {
    judge(raw, raw.bytes().fold(0, |classes, byte| classes | class_of(byte)))
}

/// A character of a name.
pub(super) const SOLID: u8 = 1;
/// What can be all of a name that means another place.
const DOT: u8 = 2;
const ENCODED: u8 = 4;
/// What is not allowed in a path.
const FOREIGN: u8 = 8;
/// The end of a segment.
pub(super) const SLASH: u8 = 16;

/// The class of a byte, a bit: pchar of RFC 3986 section 3.3 without ';', which Java servers cut off with what
/// follows.
const fn class(byte: u8) -> u8 {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => SOLID,
        b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@' => SOLID,
        b'.' => DOT,
        b'%' => ENCODED,
        b'/' => SLASH,
        _ => FOREIGN,
    }
}

/// The classes of all bytes: a look into memory is faster than a choice of ways.
static CLASSES: [u8; 256] = {
    let mut classes = [FOREIGN; 256];
    let (mut rest, mut byte): (&mut [u8], u8) = (&mut classes, 0);
    while let [first, after @ ..] = rest {
        *first = class(byte);
        (rest, byte) = (after, byte.wrapping_add(1));
    }
    classes
};

#[inline]
pub(super) fn class_of(byte: u8) -> u8 {
    CLASSES.get(usize::from(byte)).copied().unwrap_or(FOREIGN)
}

/// Checks a segment that has bytes of these classes; says whether it has an encoded character.
pub(super) fn judge(raw: &str, classes: u8) -> Result<bool, MalformedTarget> {
    if raw.is_empty() {
        return Err(MalformedTarget::EmptySegment);
    }
    if classes & (FOREIGN | SLASH) != 0 {
        return Err(MalformedTarget::Character(raw.chars().find(|c| !is_pchar(*c)).unwrap_or_default()));
    }
    if classes & ENCODED == 0 {
        return if classes & SOLID == 0 { Err(MalformedTarget::DotSegment) } else { Ok(false) };
    }
    let mut blank = true;
    for character in characters(raw) {
        let character = character?;
        blank &= character == '.' || character.is_whitespace();
    }
    if blank { Err(MalformedTarget::DotSegment) } else { Ok(true) }
}

fn is_pchar(character: char) -> bool {
    character.is_ascii_alphanumeric() || "%-._~!$&'()*+,=:@".contains(character)
}

/// The characters of a segment, decoded once; an error is the last.
pub(super) fn characters(raw: &str) -> impl Iterator<Item = Result<char, MalformedTarget>> + Clone + '_ {
    let mut rest = raw;
    std::iter::from_fn(move || {
        let next = rest.chars().next()?;
        if next != '%' {
            rest = rest.get(next.len_utf8()..)?;
            return Some(Ok(next));
        }
        let decoded = percent_decode(&mut rest);
        if decoded.is_err() {
            rest = "";
        }
        Some(decoded)
    })
}

/// One character that is encoded at the beginning of `rest`, which then goes on after it.
fn percent_decode(rest: &mut &str) -> Result<char, MalformedTarget> {
    let first = byte(rest)?;
    let length = match first {
        0x00..=0x7f => 1,
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        0x80..=0xc1 | 0xf5..=0xff => return Err(MalformedTarget::NotUtf8),
    };
    let mut bytes = [first, 0, 0, 0];
    let whole = bytes.get_mut(..length).ok_or(MalformedTarget::NotUtf8)?;
    for place in whole.iter_mut().skip(1) {
        if !rest.starts_with('%') {
            return Err(MalformedTarget::NotUtf8);
        }
        *place = byte(rest)?;
    }
    let text = str::from_utf8(whole).map_err(|_| MalformedTarget::NotUtf8)?;
    let character = text.chars().next().ok_or(MalformedTarget::NotUtf8)?;
    if means_itself(character) { Ok(character) } else { Err(MalformedTarget::EncodedCharacter) }
}

/// The byte that `%XX` at the beginning of `rest` stands for.
fn byte(rest: &mut &str) -> Result<u8, MalformedTarget> {
    let digits = rest.get(1..3).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
    let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).ok_or(MalformedTarget::BrokenEncoding)?;
    *rest = rest.get(3..).unwrap_or_default();
    Ok(byte)
}

/// Whether a decoded character can change nothing: no delimiter, no second encoding, no control, and no
/// character that a server's normalisation (NFKC, best fit) could turn into one of these.
fn means_itself(character: char) -> bool {
    match character {
        '/' | '\\' | '%' | ';' | '?' | '#' => false,
        ' '..='~' => true,
        '\u{ff00}'..='\u{ffef}' => false,
        other => other.is_alphanumeric(),
    }
}
