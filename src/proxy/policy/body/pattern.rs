//! What a rule wants of one value in the body.

use std::fmt;

use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use super::reader::MAX_INTEGER;

/// What a rule wants of a value in the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyPattern {
    /// This value.
    Exactly(Scalar),
    /// One of these values.
    AnyOf(Vec<Scalar>),
    /// A value that no reader takes for nothing.
    Present,
    /// No value, to no reader.
    Absent,
    /// A text that begins so.
    Prefix(String),
}

/// A value that a rule can name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(untagged)]
pub enum Scalar {
    /// A boolean.
    Boolean(bool),
    /// An integer, within 2^53 - 1.
    Integer(i64),
    /// A text.
    Text(String),
}

/// A value that no rule can want.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// `[]`.
    #[error("an empty list is never met: list the values that are allowed, or write {{ present = false }}")]
    EmptyList,
    /// Not exact for every reader.
    #[error(
        "{0} is beyond {MAX_INTEGER} (2^53 - 1): readers of JSON round such numbers, so no condition is met by one"
    )]
    NotExact(i64),
    /// Every text begins so.
    #[error("every text begins with an empty prefix: write the beginning that you want, or {{ present = true }}")]
    EmptyPrefix,
    /// Not accepted in a body.
    #[error("no body is judged that has a NUL in a text")]
    Nul,
}

impl BodyPattern {
    /// Whether some value is met by it.
    pub(super) fn check(&self) -> Result<(), PatternError> {
        match self {
            Self::Exactly(scalar) => scalar.check(),
            Self::AnyOf(scalars) if scalars.is_empty() => Err(PatternError::EmptyList),
            Self::AnyOf(scalars) => scalars.iter().try_for_each(Scalar::check),
            Self::Present | Self::Absent => Ok(()),
            Self::Prefix(prefix) if prefix.is_empty() => Err(PatternError::EmptyPrefix),
            Self::Prefix(prefix) => check_text(prefix),
        }
    }

    /// The same, in the one form that means it.
    pub(super) fn canonical(self) -> Self {
        match self {
            Self::AnyOf(mut scalars) => {
                scalars.sort();
                scalars.dedup();
                match scalars.as_slice() {
                    [one] => Self::Exactly(one.clone()),
                    _ => Self::AnyOf(scalars),
                }
            }
            Self::Exactly(_) | Self::Present | Self::Absent | Self::Prefix(_) => self,
        }
    }
}

impl Scalar {
    fn check(&self) -> Result<(), PatternError> {
        match self {
            Self::Boolean(_) => Ok(()),
            Self::Integer(number) if number.unsigned_abs() <= MAX_INTEGER.unsigned_abs() => Ok(()),
            Self::Integer(number) => Err(PatternError::NotExact(*number)),
            Self::Text(text) => check_text(text),
        }
    }
}

fn check_text(text: &str) -> Result<(), PatternError> {
    if text.contains('\0') { Err(PatternError::Nul) } else { Ok(()) }
}

/// As it is written in the configuration.
impl fmt::Display for BodyPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(scalar) => write!(f, "{scalar}"),
            Self::AnyOf(scalars) => {
                f.write_str("[")?;
                for (place, scalar) in scalars.iter().enumerate() {
                    write!(f, "{}{scalar}", if place == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
            Self::Present => f.write_str("{ present = true }"),
            Self::Absent => f.write_str("{ present = false }"),
            Self::Prefix(prefix) => write!(f, "{{ prefix = {} }}", Quoted(prefix)),
        }
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean(boolean) => write!(f, "{boolean}"),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Text(text) => write!(f, "{}", Quoted(text)),
        }
    }
}

/// A string of TOML, on one line.
pub(super) struct Quoted<'a>(pub(super) &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for letter in self.0.chars() {
            match letter {
                '"' | '\\' => write!(f, "\\{letter}")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                // What changes how a line is shown is told, not shown.
                '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' => {
                    write!(f, "\\u{:04x}", u32::from(letter))?;
                }
                _ if letter.is_control() => write!(f, "\\u{:04x}", u32::from(letter))?,
                _ => write!(f, "{letter}")?,
            }
        }
        f.write_str("\"")
    }
}

impl Serialize for BodyPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let table = |serializer: S, key: &str| Ok((serializer.serialize_map(Some(1))?, key.to_owned()));
        match self {
            Self::Exactly(scalar) => scalar.serialize(serializer),
            Self::AnyOf(scalars) => scalars.serialize(serializer),
            Self::Present | Self::Absent => {
                let (mut map, key) = table(serializer, "present")?;
                map.serialize_entry(&key, &(*self == Self::Present))?;
                map.end()
            }
            Self::Prefix(prefix) => {
                let (mut map, key) = table(serializer, "prefix")?;
                map.serialize_entry(&key, prefix)?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for BodyPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pattern = deserializer.deserialize_any(PatternVisitor)?;
        pattern.check().map_err(de::Error::custom)?;
        Ok(pattern)
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_any(PatternVisitor)? {
            BodyPattern::Exactly(scalar) => Ok(scalar),
            BodyPattern::AnyOf(_) | BodyPattern::Present | BodyPattern::Absent | BodyPattern::Prefix(_) => {
                Err(de::Error::custom("a list holds texts, integers and booleans only"))
            }
        }
    }
}

struct PatternVisitor;

impl<'de> Visitor<'de> for PatternVisitor {
    type Value = BodyPattern;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a text, an integer, true, false, a list of those, { present = true }, { present = false } or { prefix = \"TEXT\" }",
        )
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<BodyPattern, E> {
        Ok(BodyPattern::Exactly(Scalar::Text(text.to_owned())))
    }

    fn visit_bool<E: de::Error>(self, boolean: bool) -> Result<BodyPattern, E> {
        Ok(BodyPattern::Exactly(Scalar::Boolean(boolean)))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<BodyPattern, E> {
        Ok(BodyPattern::Exactly(Scalar::Integer(number)))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<BodyPattern, E> {
        self.visit_i64(i64::try_from(number).unwrap_or(i64::MAX))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<BodyPattern, E> {
        let message =
            format!("{number} is not an integer: readers of JSON differ in fractions, so no condition is met by one");
        Err(E::custom(message))
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<BodyPattern, S::Error> {
        let mut scalars = Vec::new();
        while let Some(scalar) = list.next_element()? {
            scalars.push(scalar);
        }
        Ok(BodyPattern::AnyOf(scalars))
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<BodyPattern, M::Error> {
        let mut pattern = None;
        while let Some(key) = map.next_key::<String>()? {
            if pattern.is_some() {
                return Err(de::Error::custom("give only one of present and prefix"));
            }
            pattern = Some(match key.as_str() {
                "present" if map.next_value()? => BodyPattern::Present,
                "present" => BodyPattern::Absent,
                "prefix" => BodyPattern::Prefix(map.next_value()?),
                // So the library hands over a date.
                other if other.starts_with("$__toml") => {
                    return Err(de::Error::custom("JSON has no dates: write it as a text, in quotes"));
                }
                other => return Err(de::Error::unknown_field(other, &["present", "prefix"])),
            });
        }
        pattern.ok_or_else(|| de::Error::custom("give present or prefix"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Line {
        body: BodyPattern,
    }

    fn parse(value: &str) -> Result<BodyPattern, toml::de::Error> {
        toml::from_str(&format!("body = {value}")).map(|line: Line| line.body)
    }

    #[test]
    fn patterns_are_read_and_written_alike() {
        for (written, canonical) in [
            ("\"SYSTEM\"", "\"SYSTEM\""),
            ("'a\"b'", "\"a\\\"b\""),
            ("12", "12"),
            ("-9007199254740991", "-9007199254740991"),
            ("true", "true"),
            ("[13, 12, 13]", "[12, 13]"),
            ("[\"a\", 1, false]", "[false, 1, \"a\"]"),
            ("[12]", "12"),
            ("{ present = true }", "{ present = true }"),
            ("{ present = false }", "{ present = false }"),
            ("{ prefix = \"a\" }", "{ prefix = \"a\" }"),
            ("\"a\\nb\\u202e\"", "\"a\\nb\\u202e\""),
        ] {
            let pattern = parse(written).expect(written);
            assert_eq!(pattern.clone().canonical().to_string(), canonical);
            assert_eq!(parse(canonical).expect(canonical), pattern.clone().canonical());
            let again = toml::to_string(&Line { body: pattern.clone() }).expect("TOML");
            assert_eq!(toml::from_str::<Line>(&again).expect(&again).body, pattern);
        }
    }

    #[test]
    fn what_no_value_meets_is_refused_with_its_line_and_cure() {
        for (written, message) in [
            ("12.0", "12 is not an integer"),
            ("1e3", "is not an integer"),
            ("nan", "is not an integer"),
            ("9007199254740992", "2^53 - 1"),
            ("-9007199254740992", "2^53 - 1"),
            ("9223372036854775807", "2^53 - 1"),
            ("[]", "an empty list is never met"),
            ("[1, 2.5]", "is not an integer"),
            ("[[1]]", "a list holds texts, integers and booleans only"),
            ("[{ present = true }]", "a list holds texts, integers and booleans only"),
            ("{}", "give present or prefix"),
            ("{ prefix = \"\" }", "every text begins with an empty prefix"),
            ("{ prefix = 7 }", "expected a string"),
            ("{ present = \"yes\" }", "expected a boolean"),
            ("{ present = true, prefix = \"a\" }", "give only one of present and prefix"),
            ("{ suffix = \"a\" }", "unknown field `suffix`, expected `present` or `prefix`"),
            ("2026-01-01", "JSON has no dates"),
            ("\"a\\u0000\"", "NUL"),
        ] {
            let error = parse(written).expect_err(written);
            assert!(error.to_string().contains(message), "{written}: {error}");
            let span = error.span().expect("a place");
            assert!(span.start >= 7 && span.end <= 7 + written.len(), "{written}: {span:?}");
        }
    }
}
