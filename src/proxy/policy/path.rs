//! The canonical target: the one reading of a request path, which is judged and which is sent.
//!
//! Servers disagree on how often a path is decoded, on `;`, `\`, `//` and dot segments. So a path that
//! could be read in two ways is refused; nothing is repaired. Two spellings are known to name the same
//! operation and are folded: the prefixes `/api/v2` and `/ws/api/v2`, and one doubled leading slash.

use std::borrow::Cow;
use std::fmt;

use http::Uri;
use http::uri::PathAndQuery;

use super::catalog::OperationId;
use super::query::Query;
use super::spelling;

/// The longest path in segments; the deepest known operation has 8.
pub(super) const MAX_SEGMENTS: usize = 16;

/// The longest fixed word, number or uid of the catalogue, in bytes.
pub(super) const MAX_WORD: usize = 128;

/// Why a request target cannot be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedTarget {
    /// Authority-form or asterisk-form.
    #[error("the request target is not a path")]
    NotAPath,
    /// A character that RFC 3986 does not allow in a path, or that servers read differently.
    #[error("the path has a character that is not allowed there: {0:?}")]
    Character(char),
    /// `%` without two hexadecimal digits.
    #[error("the path has a % that is not followed by two hexadecimal digits")]
    BrokenEncoding,
    /// An encoded character that changes the path's meaning if it is decoded.
    #[error("the path has an encoded character that servers read differently")]
    EncodedCharacter,
    /// Encoded bytes that are no UTF-8 (overlong forms included).
    #[error("the path has encoded bytes that are not UTF-8")]
    NotUtf8,
    /// `//`, or a slash at the end.
    #[error("the path has an empty segment (a doubled slash, or a slash at its end)")]
    EmptySegment,
    /// `.`, `..`, encoded or not.
    #[error("the path has a dot segment")]
    DotSegment,
    /// An encoded character where the catalogue has a fixed word, a number or a uid.
    #[error("the path has an encoded character in the place of a fixed word, a number or a uid")]
    EncodedSegment,
    /// A number with leading zeros, a sign or the digits of another script.
    #[error(
        "the path has a number that is not written in its shortest form, in ASCII digits without leading zeros or +"
    )]
    Number,
    /// A UUID with capital letters.
    #[error("the path has a UUID that is not in lower case")]
    Uid,
    /// A segment that a server may trim.
    #[error("the path has a segment that begins or ends with a space")]
    Blank,
    /// What a lenient server may read as the path of a known operation.
    #[error("the path may be read as that of a known operation, but is spelled otherwise")]
    Spelling {
        /// One of the operations of that path.
        operation: OperationId,
        /// The first segment that differs, from 0.
        depth: u8,
    },
    /// More than 16 segments.
    #[error("the path has more than {MAX_SEGMENTS} segments")]
    TooDeep,
    /// A character in the query that no URI can have.
    #[error("the query has a character that is not allowed there: {0:?}")]
    QueryCharacter(char),
}

/// A request target in canonical form: `/v2/...`, and the query as it came, byte for byte.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    whole: &'a PathAndQuery,
    path: &'a str,
}

impl<'a> Target<'a> {
    /// Folds the prefix of `uri`'s path and checks the query. What is not below one of the known prefixes
    /// keeps its path; no operation has it.
    pub fn canonical(uri: &'a Uri) -> Result<Self, MalformedTarget> {
        let whole = uri.path_and_query().ok_or(MalformedTarget::NotAPath)?;
        if !whole.path().starts_with('/') {
            return Err(MalformedTarget::NotAPath);
        }
        if let Some(query) = whole.query()
            // Without a way out in the middle, many bytes are looked at in one step.
            && !query.bytes().fold(true, |good, byte| good & byte.is_ascii_graphic())
        {
            let character = query.chars().find(|c| !c.is_ascii_graphic());
            return Err(MalformedTarget::QueryCharacter(character.unwrap_or_default()));
        }
        Ok(Self { whole, path: fold(whole.path()) })
    }

    /// The canonical path.
    pub fn path(&self) -> &'a str {
        self.path
    }

    /// The path's segments, each checked.
    pub fn segments(&self) -> Result<Segments<'a>, MalformedTarget> {
        Segments::parse(self.path)
    }

    /// The query.
    pub fn query(&self) -> Query<'a> {
        Query::new(self.whole.query())
    }

    /// What is sent. Shares the memory of the target as it came, unless its prefix was folded.
    pub fn to_path_and_query(self) -> Result<PathAndQuery, MalformedTarget> {
        if self.path.len() == self.whole.path().len() {
            return Ok(self.whole.clone());
        }
        PathAndQuery::try_from(self.to_string()).map_err(|_| MalformedTarget::NotAPath)
    }
}

impl fmt::Display for Target<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.path)?;
        self.whole.query().map_or(Ok(()), |query| write!(f, "?{query}"))
    }
}

/// The path without a doubled leading slash and without `/api` or `/ws/api` before `/v2`.
pub(super) fn fold(path: &str) -> &str {
    let single = match path.strip_prefix('/') {
        Some(rest) if rest.starts_with('/') && !rest.starts_with("//") => rest,
        _ => path,
    };
    let below_v2 = |path: &str| path.strip_prefix("/v2").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    for prefix in ["", "/api", "/ws/api"] {
        if let Some(rest) = single.strip_prefix(prefix)
            && below_v2(rest)
        {
            return rest;
        }
    }
    path
}

/// One checked segment of a path, as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment<'a> {
    raw: &'a str,
    encoded: bool,
}

impl<'a> Segment<'a> {
    /// The segment decoded once; a second decoding gives the same.
    pub fn decoded(self) -> Cow<'a, str> {
        if self.encoded {
            Cow::Owned(characters(self.raw).map_while(Result::ok).collect())
        } else {
            Cow::Borrowed(self.raw)
        }
    }

    /// The segment decoded once, written into `room` if need be; `None` if it is longer than a word of the catalogue.
    pub(super) fn short<'b>(self, room: &'b mut [u8; MAX_WORD]) -> Option<&'b str>
    where
        'a: 'b,
    {
        if !self.encoded {
            return Some(self.raw).filter(|raw| raw.len() <= MAX_WORD);
        }
        let mut length = 0;
        for character in characters(self.raw).map_while(Result::ok) {
            let end = length + character.len_utf8();
            character.encode_utf8(room.get_mut(length..end)?);
            length = end;
        }
        str::from_utf8(room.get(..length)?).ok()
    }

    /// Whether the segment, decoded, is this word.
    pub fn is(self, word: &str) -> bool {
        if self.encoded { characters(self.raw).eq(word.chars().map(Ok)) } else { self.raw == word }
    }

    /// Whether some server may take the segment for this word.
    pub(super) fn may_be(self, word: &str) -> bool {
        self.is(word) || spelling::alike(self.characters(), word)
    }

    /// The characters, decoded once.
    fn characters(self) -> impl Iterator<Item = char> + Clone + 'a {
        characters(self.raw).map_while(Result::ok)
    }

    /// The segment as it came, if it is spelled without encoding.
    pub fn unencoded(self) -> Result<&'a str, MalformedTarget> {
        if self.encoded { Err(MalformedTarget::EncodedSegment) } else { Ok(self.raw) }
    }
}

/// The checked segments of a path.
#[derive(Debug)]
pub struct Segments<'a> {
    /// After the leading slash.
    path: &'a str,
    /// By depth: where the segment ends.
    ends: [u32; MAX_SEGMENTS],
    length: usize,
    /// By depth: whether the segment has a `%`.
    encoded: u16,
}

const _: () = assert!(MAX_SEGMENTS <= u16::BITS as usize, "a bit for each segment");

impl<'a> Segments<'a> {
    /// Splits and checks a path that starts with a slash, in one pass.
    pub fn parse(path: &'a str) -> Result<Self, MalformedTarget> {
        let path = path.strip_prefix('/').ok_or(MalformedTarget::NotAPath)?;
        let mut segments = Self { path, ends: [0; MAX_SEGMENTS], length: 0, encoded: 0 };
        if path.is_empty() {
            return Ok(segments);
        }
        let (mut start, mut classes) = (0, 0);
        for (place, byte) in path.bytes().enumerate() {
            match class_of(byte) {
                SLASH => {
                    segments.push(start, place, classes)?;
                    (start, classes) = (place + 1, 0);
                }
                other => classes |= other,
            }
        }
        segments.push(start, path.len(), classes)?;
        Ok(segments)
    }

    /// Adds the segment between two places, which has bytes of these classes.
    fn push(&mut self, start: usize, end: usize, classes: u8) -> Result<(), MalformedTarget> {
        let raw = self.path.get(start..end).unwrap_or_default();
        let encoded = classes != SOLID && judge(raw, classes)?;
        if encoded || spelling::is_doubtful(raw.as_bytes()) {
            spelling::check(Segment { raw, encoded }.characters())?;
        }
        let room = self.ends.get_mut(self.length).ok_or(MalformedTarget::TooDeep)?;
        *room = u32::try_from(end).map_err(|_| MalformedTarget::TooDeep)?;
        self.encoded |= u16::from(encoded) << self.length;
        self.length += 1;
        Ok(())
    }

    /// The segment at this depth, from 0.
    #[inline]
    pub fn get(&self, depth: usize) -> Option<Segment<'a>> {
        let ends = self.ends.get(..self.length)?;
        let end = *ends.get(depth)? as usize;
        let start = depth.checked_sub(1).and_then(|before| ends.get(before)).map_or(0, |end| *end as usize + 1);
        let raw = self.path.get(start..end)?;
        Some(Segment { raw, encoded: self.encoded & 1 << depth != 0 })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether the path is the root.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// All segments in order.
    pub fn iter(&self) -> impl Iterator<Item = Segment<'a>> {
        (0..self.length).filter_map(|depth| self.get(depth))
    }
}

/// Checks one segment and decodes it once.
pub(super) fn decode(raw: &str) -> Result<Cow<'_, str>, MalformedTarget> {
    let encoded = check(raw)?;
    Ok(Segment { raw, encoded }.decoded())
}

/// Checks one segment; says whether it has an encoded character.
fn check(raw: &str) -> Result<bool, MalformedTarget> {
    judge(raw, raw.bytes().fold(0, |classes, byte| classes | class_of(byte)))
}

/// A character of a name.
const SOLID: u8 = 1;
/// What can be all of a name that means another place.
const DOT: u8 = 2;
const ENCODED: u8 = 4;
/// What must not stand in a path.
const FOREIGN: u8 = 8;
/// The end of a segment.
const SLASH: u8 = 16;

/// The class of an byte, a bit: pchar of RFC 3986 section 3.3 without ';', which Java servers cut off with what
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
fn class_of(byte: u8) -> u8 {
    CLASSES.get(usize::from(byte)).copied().unwrap_or(FOREIGN)
}

/// Checks a segment that has bytes of these classes; says whether it has an encoded character.
fn judge(raw: &str, classes: u8) -> Result<bool, MalformedTarget> {
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
fn characters(raw: &str) -> impl Iterator<Item = Result<char, MalformedTarget>> + Clone + '_ {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(target: &str) -> Result<String, MalformedTarget> {
        let uri: Uri = target.parse().map_err(|_| MalformedTarget::NotAPath)?;
        let target = Target::canonical(&uri)?;
        target.segments()?;
        Ok(target.to_path_and_query()?.to_string())
    }

    #[test]
    fn path_folds_the_three_prefixes_and_one_doubled_leading_slash() {
        for target in [
            "/v2/devices?a=b",
            "//v2/devices?a=b",
            "/api/v2/devices?a=b",
            "//api/v2/devices?a=b",
            "/ws/api/v2/devices?a=b",
            "//ws/api/v2/devices?a=b",
        ] {
            assert_eq!(canonical(target), Ok("/v2/devices?a=b".to_owned()), "{target}");
        }
    }

    #[test]
    fn path_folds_no_other_prefix() {
        for target in
            ["/ws/v2/devices", "/API/v2/devices", "/api/api/v2/devices", "/v2x/devices", "/api/v2x", "/v1/devices"]
        {
            assert_eq!(canonical(target), Ok(target.to_owned()), "{target}");
        }
    }

    #[test]
    fn path_keeps_the_query_byte_for_byte() {
        for query in ["df=class%20in%20(A,B)+AND+x", "a=%2F..%2f&a=", "?", "q='{}|^`[]\\", "showSecureValues=%74rue"] {
            let target = format!("/api/v2/devices?{query}");
            assert_eq!(canonical(&target), Ok(format!("/v2/devices?{query}")));
        }
    }

    #[test]
    fn path_refuses_what_servers_read_differently() {
        for (path, reason) in [
            ("/v2//devices", MalformedTarget::EmptySegment),
            ("///v2/devices", MalformedTarget::EmptySegment),
            ("/v2/devices/", MalformedTarget::EmptySegment),
            ("/v2/./devices", MalformedTarget::DotSegment),
            ("/v2/devices/../users", MalformedTarget::DotSegment),
            ("/v2/devices/%2e%2e/users", MalformedTarget::DotSegment),
            ("/v2/devices/.%2E/users", MalformedTarget::DotSegment),
            ("/v2/devices/..%20/users", MalformedTarget::DotSegment),
            ("/v2/device/1%2fdisks", MalformedTarget::EncodedCharacter),
            ("/v2/device/1%5cdisks", MalformedTarget::EncodedCharacter),
            ("/v2/device/1%252fdisks", MalformedTarget::EncodedCharacter),
            ("/v2/device/1%00", MalformedTarget::EncodedCharacter),
            ("/v2/device/1%0d%0aX:1", MalformedTarget::EncodedCharacter),
            ("/v2/device/1%3bx", MalformedTarget::EncodedCharacter),
            ("/v2/device/1%3fx", MalformedTarget::EncodedCharacter),
            ("/v2/device/1%23x", MalformedTarget::EncodedCharacter),
            ("/v2/device/1%ef%bc%8fdisks", MalformedTarget::EncodedCharacter),
            ("/v2/device/1%c0%afdisks", MalformedTarget::NotUtf8),
            ("/v2/device/1%e0%80%afdisks", MalformedTarget::NotUtf8),
            ("/v2/device/1%ff", MalformedTarget::NotUtf8),
            ("/v2/device/1%2", MalformedTarget::BrokenEncoding),
            ("/v2/device/1%zz", MalformedTarget::BrokenEncoding),
            ("/v2/device/1%u002f", MalformedTarget::BrokenEncoding),
            ("/v2/device/1;x=y", MalformedTarget::Character(';')),
            ("/v2/device/1\\disks", MalformedTarget::Character('\\')),
        ] {
            assert_eq!(Segments::parse(path).err(), Some(reason), "{path}");
        }
    }

    #[test]
    fn path_lets_an_encoded_name_pass() {
        let segments = Segments::parse("/v2/custom-fields/field-name/B%C3%BCro%20(1)").expect("legal");
        assert_eq!(segments.get(3).map(Segment::decoded).as_deref(), Some("Büro (1)"));
    }

    #[test]
    fn path_refuses_asterisk_and_deep_targets() {
        assert_eq!(canonical("*"), Err(MalformedTarget::NotAPath));
        assert_eq!(canonical(&"/v2".repeat(17)), Err(MalformedTarget::TooDeep));
    }
}
