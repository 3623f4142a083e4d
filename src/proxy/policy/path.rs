//! The canonical target: the one reading of a request path, which is judged and which is sent.
//!
//! Servers disagree on how often a path is decoded, on `;`, `\`, `//` and dot segments. So a path that
//! could be read in two ways is refused; nothing is repaired. Two spellings are known to name the same
//! operation and are folded: the prefixes `/api/v2` and `/ws/api/v2`, and one doubled leading slash.

mod encoding;
mod malformed_target;

use std::borrow::Cow;
use std::fmt;

use http::Uri;
use http::uri::PathAndQuery;

use super::query::Query;
use super::spelling::{self, WordHash};
use encoding::{SLASH, SOLID, characters, check, class_of, judge};
pub use malformed_target::MalformedTarget;

/// The longest path in segments; the deepest known operation has 8.
pub(super) const MAX_SEGMENTS: usize = 16;

/// The longest fixed word, number or uid of the catalogue, in bytes.
pub(super) const MAX_WORD: usize = 128;

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

    /// The hashes of all words that the segment may be.
    pub(super) fn word_hashes(self) -> [Option<WordHash>; 2] {
        spelling::word_hashes(self.characters())
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
