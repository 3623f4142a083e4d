//! Lengths of time and sizes as they are written in the file: a number with its unit. What is not valid says what would be.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// A length of time, such as `"500ms"`, `"30s"`, `"2m"`, `"1h"`; from 1 ms to 24 h.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period(pub Duration);

/// A length of time as of [`Period`], or `"0s"` for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause(pub Duration);

/// A number of bytes, such as `"64KiB"`, `"10MiB"`, `"1GiB"`, or `"unlimited"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

const MAX_PERIOD: Duration = Duration::from_secs(24 * 3600);

/// Units of time in milliseconds, as they are written, and as people write them too.
const TIMES: [(&str, u64, &[&str]); 4] = [
    ("ms", 1, &["msec", "msecs", "milli", "millis", "millisecond", "milliseconds"]),
    ("s", 1000, &["", "sec", "secs", "second", "seconds"]),
    ("m", 60_000, &["min", "mins", "minute", "minutes"]),
    ("h", 3_600_000, &["hr", "hrs", "hour", "hours"]),
];
/// The same of sizes, in bytes.
const SIZES: [(&str, u64, &[&str]); 4] = [
    ("B", 1, &["", "byte", "bytes", "bytes"]),
    ("KiB", 1 << 10, &["k", "kb", "ki"]),
    ("MiB", 1 << 20, &["m", "mb", "mi"]),
    ("GiB", 1 << 30, &["g", "gb", "gi"]),
];

/// A whole number and a unit, as the unit's factor has it.
fn parse(text: &str, units: &[(&str, u64, &[&str])]) -> Option<u64> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let (_, factor, _) = units.iter().find(|(name, ..)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// What a text means that is nearly right: a fraction, blanks, another word for the unit, or none.
fn guess(text: &str, units: &[(&str, u64, &[&str])]) -> Option<f64> {
    let text = text.trim().to_ascii_lowercase();
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.trim();
    let known = |(name, _, others): &&(&str, u64, &[&str])| name.eq_ignore_ascii_case(unit) || others.contains(&unit);
    let (_, factor, _) = units.iter().find(known)?;
    number.parse::<f64>().ok().map(|number| number * *factor as f64)
}

fn parse_period(text: &str) -> Option<Duration> {
    let period = Duration::from_millis(parse(text, &TIMES)?);
    (Duration::from_millis(1)..=MAX_PERIOD).contains(&period).then_some(period)
}

fn parse_size(text: &str) -> Option<u64> {
    if text == "unlimited" { Some(u64::MAX) } else { parse(text, &SIZES).filter(|size| *size > 0) }
}

/// `; did you mean "30s"?`, if what was meant can be said so.
fn meant_period(text: &str) -> String {
    let days = text.trim().strip_suffix('d').and_then(|days| days.parse::<f64>().ok()).map(|days| days * 86_400_000.0);
    match guess(text, &TIMES).or(days) {
        Some(millis) if millis > MAX_PERIOD.as_millis() as f64 => "; the longest is \"24h\"".to_owned(),
        Some(millis) if millis >= 1.0 => {
            format!("; did you mean {:?}?", Period(Duration::from_millis(millis as u64)).to_string())
        }
        Some(_) => "; the shortest is \"1ms\"".to_owned(),
        None => String::new(),
    }
}

fn meant_size(text: &str) -> String {
    match guess(text, &SIZES) {
        Some(bytes) if (1.0..1e18).contains(&bytes) => format!("; did you mean {:?}?", Size(bytes as u64).to_string()),
        Some(_) | None => String::new(),
    }
}

fn bad_period(text: &str, none: &str) -> String {
    let hint = meant_period(text);
    format!(
        "{text:?} is not a length of time: write a number and ms, s, m or h, such as \"30s\", from \"1ms\" to \"24h\"{none}{hint}"
    )
}

fn bad_size(text: &str) -> String {
    let hint = meant_size(text);
    format!("{text:?} is not a size: write a number and B, KiB, MiB or GiB, such as \"64KiB\", or \"unlimited\"{hint}")
}

/// A text; a number is one without its unit.
struct Measure<F>(F);

impl<T, F: Fn(&str) -> Result<T, String>> Visitor<'_> for Measure<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number with its unit, in quotation marks")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.0)(text).map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        self.without_unit(&number.to_string())
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        self.without_unit(&number.to_string())
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<T, E> {
        self.without_unit(&number.to_string())
    }
}

impl<T, F: Fn(&str) -> Result<T, String>> Measure<F> {
    /// No text that is only digits is valid, so there is an error to tell.
    fn without_unit<E: de::Error>(self, digits: &str) -> Result<T, E> {
        (self.0)(digits).map_err(|error| E::custom(error.replace(&format!("{digits:?} is"), &format!("{digits} is"))))
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Measure(|text: &str| text.parse()))
    }
}

impl FromStr for Period {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse_period(text).map(Self).ok_or_else(|| bad_period(text, ""))
    }
}

impl<'de> Deserialize<'de> for Pause {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Measure(|text: &str| match text {
            "0s" => Ok(Self(Duration::ZERO)),
            _ => parse_period(text).map(Self).ok_or_else(|| bad_period(text, ", or \"0s\" for none")),
        }))
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Measure(|text: &str| parse_size(text).map(Self).ok_or_else(|| bad_size(text))))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        if millis.is_multiple_of(1000) { write!(f, "{}s", millis / 1000) } else { write!(f, "{millis}ms") }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            u64::MAX => f.write_str("unlimited"),
            size if size.is_multiple_of(1 << 30) => write!(f, "{}GiB", size >> 30),
            size if size.is_multiple_of(1 << 20) => write!(f, "{}MiB", size >> 20),
            size if size.is_multiple_of(1 << 10) => write!(f, "{}KiB", size >> 10),
            size => write!(f, "{size}B"),
        }
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Pause {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Duration::ZERO => serializer.serialize_str("0s"),
            period => Period(period).serialize(serializer),
        }
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn period_and_size_are_a_number_with_a_unit() {
        assert_eq!(parse_period("30s"), Some(Duration::from_secs(30)));
        assert_eq!(parse_period("1h"), Some(Duration::from_secs(3600)));
        for bad in ["", "30", "s", "0s", "-1s", "1.5s", "25h", "30 s", "99999999999999999999h", "5124095576030432h"] {
            assert_eq!(parse_period(bad), None, "{bad}");
        }
        assert_eq!(parse_size("64KiB"), Some(65536));
        assert_eq!(parse_size("unlimited"), Some(u64::MAX));
        for bad in ["", "64", "64kb", "0B", "99999999999GiB"] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
    }

    /// What was suggested; it must be taken.
    fn suggested(message: &str) -> Option<&str> {
        message.split_once("did you mean \"")?.1.strip_suffix("\"?")
    }

    #[test]
    fn what_is_meant_is_suggested_in_a_form_that_is_taken() {
        for (written, meant) in [
            ("60", "60s"),
            ("60sec", "60s"),
            ("2 min", "120s"),
            ("1.5s", "1500ms"),
            ("5 Minutes", "300s"),
            ("500MS", "500ms"),
            ("1d", "86400s"),
        ] {
            let said = bad_period(written, "");
            assert_eq!(suggested(&said), Some(meant), "{said}");
            assert!(parse_period(meant).is_some(), "{meant}");
        }
        for (written, meant) in [
            ("65536", "64KiB"),
            ("10MB", "10MiB"),
            ("10m", "10MiB"),
            ("1.5GiB", "1536MiB"),
            ("100 bytes", "100B"),
            ("64k", "64KiB"),
        ] {
            let said = bad_size(written);
            assert_eq!(suggested(&said), Some(meant), "{said}");
            assert!(parse_size(meant).is_some(), "{meant}");
        }
        for nonsense in ["", "soon", "s", "-1s", "1e3s", "1.2.3s", "NaN", "inf"] {
            assert_eq!(suggested(&bad_period(nonsense, "")), None, "{nonsense}");
            assert_eq!(suggested(&bad_size(nonsense)), None, "{nonsense}");
        }
        assert!(bad_period("48h", "").ends_with("; the longest is \"24h\""));
        assert!(bad_period("0s", "").ends_with("; the shortest is \"1ms\""));
    }
}
