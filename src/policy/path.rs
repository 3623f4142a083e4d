//! The canonical target: the one reading of a request path, which is judged and which is sent.
//!
//! Servers disagree on how often a path is decoded, on `;`, `\`, `//` and dot segments. So a path that
//! could be read in two ways is refused; nothing is repaired. Two spellings are known to name the same
//! operation and are folded: the prefixes `/api/v2` and `/ws/api/v2`, and one doubled leading slash.

use std::borrow::Cow;

use http::Uri;
use http::uri::PathAndQuery;

/// The longest path in segments; the deepest known operation has 8.
const MAX_SEGMENTS: usize = 16;

/// Why a request target cannot be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Authority-form or asterisk-form.
    #[error("the request target is not a path")]
    NotAPath,
    /// A character that RFC 3986 does not allow in a path, or that servers read differently.
    #[error("the path has a character that must not stand there: {0:?}")]
    Character(char),
    /// `%` without two hexadecimal digits.
    #[error("the path has a % that is not followed by two hexadecimal digits")]
    BrokenEncoding,
    /// An encoded character that changes the path's meaning if it is decoded.
    #[error("the path has an encoded character that servers read differently")]
    EncodedCharacter,
    /// Encoded octets that are no UTF-8 (overlong forms included).
    #[error("the path has encoded octets that are not UTF-8")]
    NotUtf8,
    /// `//`, or a slash at the end.
    #[error("the path has an empty segment (a doubled slash, or a slash at its end)")]
    EmptySegment,
    /// `.`, `..`, encoded or not.
    #[error("the path has a dot segment")]
    DotSegment,
    /// An encoded character where the catalogue has a fixed word, a number or a uid.
    #[error("the path has an encoded character where a fixed word, a number or a uid stands")]
    EncodedSegment,
    /// More than 16 segments.
    #[error("the path has more than {MAX_SEGMENTS} segments")]
    TooDeep,
    /// A character in the query that no URI can have.
    #[error("the query has a character that must not stand there: {0:?}")]
    QueryCharacter(char),
}

/// A request target in canonical form: `/v2/...`, and the query as it came, byte for byte.
#[derive(Debug, Clone)]
pub struct Target(PathAndQuery);

impl Target {
    /// Folds the prefix of `uri`'s path and checks the query. What is not below one of the known prefixes
    /// keeps its path; no operation has it.
    pub fn canonical(uri: &Uri) -> Result<Self, Malformed> {
        let whole = uri.path_and_query().ok_or(Malformed::NotAPath)?;
        let path = whole.path();
        if !path.starts_with('/') {
            return Err(Malformed::NotAPath);
        }
        if let Some(query) = whole.query()
            && let Some(character) = query.chars().find(|c| !c.is_ascii_graphic())
        {
            return Err(Malformed::QueryCharacter(character));
        }
        let folded = fold(path);
        if folded == path {
            return Ok(Self(whole.clone()));
        }
        let spelled = match whole.query() {
            Some(query) => format!("{folded}?{query}"),
            None => folded.to_owned(),
        };
        PathAndQuery::try_from(spelled).map(Self).map_err(|_| Malformed::NotAPath)
    }

    /// The canonical path.
    pub fn path(&self) -> &str {
        self.0.path()
    }

    /// The path's segments, each checked.
    pub fn segments(&self) -> Result<Segments<'_>, Malformed> {
        Segments::parse(self.path())
    }

    /// What is sent.
    pub fn into_path_and_query(self) -> PathAndQuery {
        self.0
    }
}

/// The path without a doubled leading slash and without `/api` or `/ws/api` before `/v2`.
fn fold(path: &str) -> &str {
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

/// One segment of a path: as it came, and decoded once.
#[derive(Debug, Clone, Default)]
pub struct Segment<'a> {
    raw: &'a str,
    decoded: Cow<'a, str>,
}

impl Segment<'_> {
    /// The segment decoded once; a second decoding gives the same.
    pub fn decoded(&self) -> &str {
        &self.decoded
    }

    /// The segment as it came, if it is spelled without encoding.
    pub fn unencoded(&self) -> Result<&str, Malformed> {
        if self.raw.contains('%') { Err(Malformed::EncodedSegment) } else { Ok(self.raw) }
    }
}

/// The checked segments of a path.
#[derive(Debug)]
pub struct Segments<'a> {
    list: [Segment<'a>; MAX_SEGMENTS],
    length: usize,
}

impl<'a> Segments<'a> {
    /// Splits and checks a path that starts with a slash.
    pub fn parse(path: &'a str) -> Result<Self, Malformed> {
        let path = path.strip_prefix('/').ok_or(Malformed::NotAPath)?;
        let mut segments = Self { list: Default::default(), length: 0 };
        if path.is_empty() {
            return Ok(segments);
        }
        for raw in path.split('/') {
            let decoded = decode(raw)?;
            let place = segments.list.get_mut(segments.length).ok_or(Malformed::TooDeep)?;
            *place = Segment { raw, decoded };
            segments.length += 1;
        }
        Ok(segments)
    }

    /// The segment at this depth, from 0.
    pub fn get(&self, depth: usize) -> Option<&Segment<'a>> {
        self.as_slice().get(depth)
    }

    /// All segments in order.
    pub fn as_slice(&self) -> &[Segment<'a>] {
        self.list.get(..self.length).unwrap_or_default()
    }
}

/// Checks one segment and decodes it once.
pub(super) fn decode(raw: &str) -> Result<Cow<'_, str>, Malformed> {
    if raw.is_empty() {
        return Err(Malformed::EmptySegment);
    }
    let mut encoded = false;
    for character in raw.chars() {
        match character {
            '%' => encoded = true,
            // pchar of RFC 3986 section 3.3 without ';', which Java servers cut off with what follows.
            'a'..='z' | 'A'..='Z' | '0'..='9' => {}
            '-' | '.' | '_' | '~' | '!' | '$' | '&' | '\'' | '(' | ')' | '*' | '+' | ',' | '=' | ':' | '@' => {}
            other => return Err(Malformed::Character(other)),
        }
    }
    let decoded = if encoded { Cow::Owned(percent_decode(raw)?) } else { Cow::Borrowed(raw) };
    if decoded.chars().all(|c| c == '.' || c.is_whitespace()) {
        return Err(Malformed::DotSegment);
    }
    Ok(decoded)
}

fn percent_decode(raw: &str) -> Result<String, Malformed> {
    let mut octets = Vec::with_capacity(raw.len());
    let mut rest = raw.bytes();
    while let Some(octet) = rest.next() {
        if octet != b'%' {
            octets.push(octet);
            continue;
        }
        let mut digit = || rest.next().and_then(|d| char::from(d).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else { return Err(Malformed::BrokenEncoding) };
        octets.push(u8::try_from(high * 16 + low).map_err(|_| Malformed::BrokenEncoding)?);
    }
    let text = String::from_utf8(octets).map_err(|_| Malformed::NotUtf8)?;
    if text.chars().all(means_itself) { Ok(text) } else { Err(Malformed::EncodedCharacter) }
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

    fn canonical(target: &str) -> Result<String, Malformed> {
        let uri: Uri = target.parse().map_err(|_| Malformed::NotAPath)?;
        let target = Target::canonical(&uri)?;
        target.segments()?;
        Ok(target.into_path_and_query().to_string())
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
            ("/v2//devices", Malformed::EmptySegment),
            ("///v2/devices", Malformed::EmptySegment),
            ("/v2/devices/", Malformed::EmptySegment),
            ("/v2/./devices", Malformed::DotSegment),
            ("/v2/devices/../users", Malformed::DotSegment),
            ("/v2/devices/%2e%2e/users", Malformed::DotSegment),
            ("/v2/devices/.%2E/users", Malformed::DotSegment),
            ("/v2/devices/..%20/users", Malformed::DotSegment),
            ("/v2/device/1%2fdisks", Malformed::EncodedCharacter),
            ("/v2/device/1%5cdisks", Malformed::EncodedCharacter),
            ("/v2/device/1%252fdisks", Malformed::EncodedCharacter),
            ("/v2/device/1%00", Malformed::EncodedCharacter),
            ("/v2/device/1%0d%0aX:1", Malformed::EncodedCharacter),
            ("/v2/device/1%3bx", Malformed::EncodedCharacter),
            ("/v2/device/1%3fx", Malformed::EncodedCharacter),
            ("/v2/device/1%23x", Malformed::EncodedCharacter),
            ("/v2/device/1%ef%bc%8fdisks", Malformed::EncodedCharacter),
            ("/v2/device/1%c0%afdisks", Malformed::NotUtf8),
            ("/v2/device/1%e0%80%afdisks", Malformed::NotUtf8),
            ("/v2/device/1%ff", Malformed::NotUtf8),
            ("/v2/device/1%2", Malformed::BrokenEncoding),
            ("/v2/device/1%zz", Malformed::BrokenEncoding),
            ("/v2/device/1%u002f", Malformed::BrokenEncoding),
            ("/v2/device/1;x=y", Malformed::Character(';')),
            ("/v2/device/1\\disks", Malformed::Character('\\')),
        ] {
            assert_eq!(Segments::parse(path).err(), Some(reason), "{path}");
        }
    }

    #[test]
    fn path_lets_an_encoded_name_pass() {
        let segments = Segments::parse("/v2/custom-fields/field-name/B%C3%BCro%20(1)").expect("legal");
        assert_eq!(segments.get(3).map(Segment::decoded), Some("Büro (1)"));
    }

    #[test]
    fn path_refuses_asterisk_and_deep_targets() {
        assert_eq!(canonical("*"), Err(Malformed::NotAPath));
        assert_eq!(canonical(&"/v2".repeat(17)), Err(Malformed::TooDeep));
    }
}
