//! The one plain spelling of a path, found by regular expressions: the measure of the canonical target.

use std::sync::LazyLock;

use regex::Regex;

use crate::queries::decode;

/// A path that has one meaning only.
pub(crate) struct Spelling {
    /// What is sent.
    pub(crate) path: String,
    /// Its segments, decoded, each with whether it had to be.
    pub(crate) segments: Vec<(String, bool)>,
}

static KNOWN_PREFIX: LazyLock<Regex> = LazyLock::new(|| expression(r"\A/?(?:|/api|/ws/api)/v2(?:/|\z)"));
static LEGAL: LazyLock<Regex> =
    LazyLock::new(|| expression(r"\A(?:/|(?:/(?:[A-Za-z0-9._~!$&'()*+,=:@-]|%[0-9A-Fa-f]{2})+){1,16})\z"));
static BLANK: LazyLock<Regex> = LazyLock::new(|| expression(r"\A[. ]*\z"));
static HARMLESS: LazyLock<Regex> =
    LazyLock::new(|| expression(r"\A(?:[ -~--[/\\%;?\#]]|[^\x00-\x7f\u{ff00}-\u{ffef}])*\z"));

static NUMBER: LazyLock<Regex> = LazyLock::new(|| expression(r"\A[+-]?\p{N}+\z"));
static PLAIN_NUMBER: LazyLock<Regex> = LazyLock::new(|| expression(r"\A(?:0|-?[1-9][0-9]*)\z"));
static CAPITAL_UID: LazyLock<Regex> =
    LazyLock::new(|| expression(r"\A[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}\z"));
static TRIMMED: LazyLock<Regex> = LazyLock::new(|| expression(r"\A(?: .*|.* )\z"));

/// Whether a segment, decoded, is another spelling of something that has a plainer one.
fn has_a_plainer_one(segment: &str) -> bool {
    (NUMBER.is_match(segment) && !PLAIN_NUMBER.is_match(segment))
        || (CAPITAL_UID.is_match(segment) && segment != segment.to_lowercase())
        || TRIMMED.is_match(segment)
}

/// The plain spelling of a path; `None` if servers may differ on what it means.
pub(crate) fn spell(path: &str, query: Option<&str>) -> Option<Spelling> {
    let path = KNOWN_PREFIX.find(path).map_or(path, |found| &path[found.as_str().rfind("/v2").unwrap()..]);
    if !LEGAL.is_match(path) || !query.unwrap_or_default().bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let below = path.split('/').skip(1).filter(|_| path != "/");
    let segments = below.map(plain).collect::<Option<Vec<_>>>()?;
    Some(Spelling { path: path.to_owned(), segments })
}

fn plain(segment: &str) -> Option<(String, bool)> {
    let decoded = String::from_utf8(decode(segment.as_bytes())).ok()?;
    let letters = decoded.chars().all(|character| character.is_ascii() || character.is_alphanumeric());
    (letters && HARMLESS.is_match(&decoded) && !BLANK.is_match(&decoded) && !has_a_plainer_one(&decoded))
        .then(|| (decoded, segment.contains('%')))
}

fn expression(text: &str) -> Regex {
    Regex::new(text).expect("an expression")
}
