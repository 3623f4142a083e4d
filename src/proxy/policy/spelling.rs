//! One id has one spelling. A server that reads numbers takes 7, 07 and +7 for one, and many take a UUID or a word in
//! any case. Policies compare texts, so every other spelling is refused before a policy sees it, and what denies is
//! compared as loosely as a server may.

use std::hash::Hasher as _;

use rustc_hash::FxHasher;

use super::catalog::ParameterType;
use super::path::{MAX_WORD, MalformedTarget, Segments, fold};

/// The largest number that every server reads as it is written: a 64-bit float holds no larger one exactly.
const MAX_NUMBER: u64 = (1 << 53) - 1;

/// Whether a segment, decoded, is the only spelling of what it says.
pub(super) fn check(characters: impl Iterator<Item = char> + Clone) -> Result<(), MalformedTarget> {
    if is_other_number(characters.clone()) {
        Err(MalformedTarget::Number)
    } else if is_uid(characters.clone()) && characters.clone().any(|c| c.is_ascii_uppercase()) {
        Err(MalformedTarget::Uid)
    } else if characters.clone().next() == Some(' ') || characters.last() == Some(' ') {
        Err(MalformedTarget::Blank)
    } else {
        Ok(())
    }
}

/// Whether a segment that is spelled without encoding must be asked about: nearly none must.
#[inline]
pub(super) fn is_doubtful(raw: &[u8]) -> bool {
    matches!(raw, [b'0' | b'+' | b'-', _, ..]) || raw.len() == UID
}

/// The length of a UUID.
const UID: usize = 36;

/// Whether this is a number, and not in the shortest ASCII digits. Java reads the digits of every script.
fn is_other_number(characters: impl Iterator<Item = char> + Clone) -> bool {
    let sign = characters.clone().next().filter(|first| matches!(first, '+' | '-'));
    let digits = characters.skip(usize::from(sign.is_some()));
    let mut after_first = digits.clone().skip(1).peekable();
    let starts_with_zero = digits.clone().next() == Some('0');
    let is_number = starts_with_zero || digits.clone().next().is_some_and(char::is_numeric);
    let is_plain = sign != Some('+')
        && (!starts_with_zero || (after_first.peek().is_none() && sign.is_none()))
        && digits.clone().all(|digit| digit.is_ascii_digit());
    is_number && !is_plain && digits.clone().all(char::is_numeric)
}

/// 8-4-4-4-12 hexadecimal digits, in any case.
fn is_uid(characters: impl Iterator<Item = char>) -> bool {
    let mut length = 0;
    characters.enumerate().all(|(place, character)| {
        length = place + 1;
        match place {
            8 | 13 | 18 | 23 => character == '-',
            _ => character.is_ascii_hexdigit() && place < UID,
        }
    }) && length == UID
}

impl ParameterType {
    /// Whether `value` (decoded) is of this type, in its one spelling.
    pub fn admits(&self, value: &str) -> bool {
        match self {
            Self::Integer => {
                let digits = value.bytes().all(|byte| byte.is_ascii_digit()) && value.len() <= 16;
                let plain = value == "0" || !value.starts_with('0');
                digits && plain && value.parse().is_ok_and(|number: u64| number <= MAX_NUMBER)
            }
            Self::Uid => {
                value.len() == UID && is_uid(value.chars()) && !value.bytes().any(|byte| byte.is_ascii_uppercase())
            }
            Self::OneOf(words) => words.has(value),
            Self::Name => !value.is_empty(),
        }
    }

    /// Whether a lenient server may read `value` as of this type, though it is not: `7.0` as a number, a UUID without
    /// hyphens or leading zeros, a word in another case.
    pub(super) fn may_admit(&self, value: &str) -> bool {
        match self {
            Self::Integer => {
                let is_negative = value.strip_prefix('-').is_some_and(|digits| Self::Integer.admits(digits));
                let digits = value.trim_start_matches([' ', '+', '-']);
                !is_negative && digits.starts_with(char::is_numeric)
            }
            Self::Uid => {
                let value = value.strip_prefix("urn:uuid:").unwrap_or(value).trim_matches([' ', '(', ')']);
                let hyphens = value.bytes().filter(|byte| *byte == b'-').count();
                let is_hex = value.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit());
                is_hex && (hyphens == 4 || (hyphens == 0 && value.len() == 32))
            }
            Self::OneOf(words) => words.has_in_another_case(value.trim_matches(' ')),
            Self::Name => false,
        }
    }
}

/// Whether a server may take a segment for `word`: in another case, or as the number that it begins with.
pub(super) fn alike(mut characters: impl Iterator<Item = char> + Clone, word: &str) -> bool {
    if characters.clone().map(lower).eq(word.chars().map(lower)) {
        return true;
    }
    let mut digits = word.bytes();
    let is_number = !word.is_empty() && digits.all(|digit| digit.is_ascii_digit());
    is_number
        && word.chars().all(|digit| characters.next() == Some(digit))
        && !characters.next().is_some_and(|next| next.is_ascii_digit())
}

/// The hash of a word without its case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WordHash(u64);

/// The hash of a word.
pub(super) fn word_hash(word: &str) -> WordHash {
    let mut hasher = FxHasher::default();
    word.chars().for_each(|character| hasher.write_u32(lower(character).into()));
    WordHash(hasher.finish())
}

/// The hashes of all words that are [`alike`] these characters: of the whole, and of the number that it begins with.
pub(super) fn word_hashes(characters: impl Iterator<Item = char>) -> [Option<WordHash>; 2] {
    let (mut hasher, mut number, mut in_number) = (FxHasher::default(), None, true);
    for character in characters {
        hasher.write_u32(lower(character).into());
        in_number = in_number && character.is_ascii_digit();
        if in_number {
            number = Some(hasher.finish());
        }
    }
    let whole = hasher.finish();
    [Some(whole), number.filter(|number| *number != whole)].map(|hash| hash.map(WordHash))
}

/// Whether two words differ at most in case.
pub(super) fn same_word(one: &str, other: &str) -> bool {
    one.chars().map(lower).eq(other.chars().map(lower))
}

/// As Java's `equalsIgnoreCase` compares.
fn lower(character: char) -> char {
    fn only(mut mapped: impl Iterator<Item = char>, or: char) -> char {
        mapped.next().filter(|_| mapped.next().is_none()).unwrap_or(or)
    }
    if character.is_ascii() {
        return character.to_ascii_lowercase();
    }
    if character == '\u{130}' {
        return 'i';
    }
    let upper = only(character.to_uppercase(), character);
    only(upper.to_lowercase(), upper)
}

/// A word without its case; `None` if it is longer than a word of the catalogue.
pub(super) fn folded(word: &str, room: &mut [u8; MAX_WORD]) -> Option<usize> {
    let mut length = 0;
    for character in word.chars().map(lower) {
        let end = length + character.len_utf8();
        character.encode_utf8(room.get_mut(length..end)?);
        length = end;
    }
    Some(length)
}

/// A word without its case.
pub(super) fn lowered(word: &str) -> String {
    word.chars().map(lower).collect()
}

/// The path in the spelling that is accepted, where only numbers, UUIDs and empty segments keep it from being: what a
/// caller should have sent.
pub fn plain_path(path: &str) -> Option<String> {
    let path = fold(path);
    let segments = path.split('/').filter(|segment| !segment.is_empty());
    let plain: Vec<_> = segments.map(|segment| plain(segment).unwrap_or_else(|| segment.to_owned())).collect();
    let plain = format!("/{}", plain.join("/"));
    (plain != path && Segments::parse(&plain).is_ok()).then_some(plain)
}

/// The one spelling of a number or UUID that has another; `None` where there is nothing to change, or nothing is known.
pub(super) fn plain(segment: &str) -> Option<String> {
    let decoded = super::path::decode(segment).ok()?;
    let text = decoded.trim_matches(' ');
    let other = match check(text.chars()) {
        Err(MalformedTarget::Number) => {
            let (sign, digits) = match text.strip_prefix('-') {
                Some(digits) => ("-", digits),
                None => ("", text.trim_start_matches('+')),
            };
            let digits = digits.trim_start_matches('0');
            match digits {
                "" => "0".to_owned(),
                digits if digits.is_ascii() => format!("{sign}{digits}"),
                _ => return None,
            }
        }
        Err(_) => text.to_ascii_lowercase(),
        Ok(()) if text.len() < decoded.len() && text.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
            text.to_owned()
        }
        Ok(()) => return None,
    };
    Some(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelling_is_one_for_a_number_a_uid_and_a_word() {
        for (segment, doubt) in [
            ("07", MalformedTarget::Number),
            ("0000007", MalformedTarget::Number),
            ("+7", MalformedTarget::Number),
            ("-07", MalformedTarget::Number),
            ("-0", MalformedTarget::Number),
            ("00", MalformedTarget::Number),
            ("\u{667}", MalformedTarget::Number),
            ("1\u{667}", MalformedTarget::Number),
            ("3F2C8A9E-0000-4000-8000-00000000ABCD", MalformedTarget::Uid),
            ("3f2c8a9e-0000-4000-8000-00000000abcD", MalformedTarget::Uid),
            ("7 ", MalformedTarget::Blank),
            (" x", MalformedTarget::Blank),
        ] {
            assert_eq!(check(segment.chars()), Err(doubt), "{segment}");
        }
        for segment in [
            "7",
            "0",
            "70",
            "-7",
            "someName",
            "3f2c8a9e-0000-4000-8000-00000000abcd",
            "07a",
            "+a",
            "+",
            "-",
            "a b",
            "0.5",
        ] {
            assert_eq!(check(segment.chars()), Ok(()), "{segment}");
        }
    }

    #[test]
    fn spelling_that_is_right_is_told() {
        for (path, right) in [
            ("/v2/device/007/disks", Some("/v2/device/7/disks")),
            ("/api/v2/device/+7", Some("/v2/device/7")),
            ("/v2/device/000", Some("/v2/device/0")),
            ("/v2/device/%307", Some("/v2/device/7")),
            ("/v2/device/7%20", Some("/v2/device/7")),
            ("/v2/alert/3F2C8A9E-0000-4000-8000-00000000ABCD", Some("/v2/alert/3f2c8a9e-0000-4000-8000-00000000abcd")),
            ("/v2/device/%D9%A7", None),
            ("/v2/device/7", None),
            ("/v2/device/07/..", None),
        ] {
            assert_eq!(plain_path(path).as_deref(), right, "{path}");
        }
    }

    #[test]
    fn spelling_of_what_may_be_meant_is_loose() {
        for (segment, word) in
            [("SECRET", "secret"), ("\u{17f}ecret", "Secret"), ("B\u{dc}RO", "b\u{fc}ro"), ("7.0", "7"), ("7L", "7")]
        {
            assert!(alike(segment.chars(), word), "{segment} {word}");
        }
        for (segment, word) in [("70", "7"), ("secrets", "secret"), ("", "7"), ("a7", "7"), ("7", "a")] {
            assert!(!alike(segment.chars(), word), "{segment} {word}");
        }
    }

    proptest::proptest! {
        #[test]
        fn spelling_of_words_that_are_alike_has_a_hash_in_common(
            word in "[07asSiK.\\-\u{17f}\u{131}\u{130}\u{212a}\u{667}]{1,2}",
            tail in "[07aS.\\-\u{667}]{0,2}",
        ) {
            for start in [word.clone(), word.to_uppercase(), word.to_lowercase()] {
                let segment = start + &tail;
                let is_found = word_hashes(segment.chars()).contains(&Some(word_hash(&word)));
                proptest::prop_assert!(is_found || !alike(segment.chars(), &word), "{} {}", segment, word);
            }
        }
    }

    #[test]
    fn spelling_of_a_parameter_may_be_read_otherwise_than_it_is_admitted() {
        let (integer, uid) = (ParameterType::Integer, ParameterType::Uid);
        for value in ["7.0", "7L", "0x7", "+7", "1e3", "\u{667}", "9007199254740992", "18446744073709551623", "007"] {
            assert!(!integer.admits(value) && integer.may_admit(value), "{value}");
        }
        for value in ["abc", "-7", "", "x7"] {
            assert!(!integer.admits(value) && !integer.may_admit(value), "{value}");
        }
        assert!(integer.admits("9007199254740991") && integer.admits("0"));
        for value in ["1-1-1-1-1", "3F2C8A9E-0000-4000-8000-00000000ABCD", "3f2c8a9e00004000800000000000abcd"] {
            assert!(!uid.admits(value) && uid.may_admit(value), "{value}");
        }
        assert!(!uid.may_admit("7") && !uid.may_admit("reset"));
    }
}
