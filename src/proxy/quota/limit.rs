//! A limit as it is written: so many within a length of time, such as `600/min`.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

/// The most that a limit may allow: a quota remembers the time of each request within its window, 8 bytes each.
pub const MAX_COUNT: u32 = 100_000;

/// The lengths of time that a limit can be for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuotaUnit {
    /// One second.
    Second,
    /// One minute.
    Minute,
    /// One hour.
    Hour,
    /// 24 hours.
    Day,
}

/// So many within any window of this length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaLimit {
    count: NonZeroU32,
    unit: QuotaUnit,
}

/// Why a text is not a limit, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuotaLimitError {
    /// It has another form.
    #[error(
        "{text:?} is not a quota: write a whole number, a slash, and s, min, h or day, such as \"600/min\"{}",
        meant.map_or_else(String::new, |meant| format!("; did you mean {:?}?", meant.to_string()))
    )]
    Form {
        /// What was written.
        text: String,
        /// What was meant, if that can be told.
        meant: Option<QuotaLimit>,
    },
    /// It allows nothing.
    #[error(
        "{0:?} would refuse every request that the quota is for: write a number from 1 on; to close operations, use groups, allow and deny"
    )]
    Zero(String),
    /// It allows more than can be counted.
    #[error("{0:?} is too large: write at most {MAX_COUNT}, for a shorter time if need be, such as \"1000/s\"")]
    TooLarge(String),
}

impl QuotaUnit {
    /// Each with its name, the other names that are valid, and those that people write by mistake.
    const ALL: [(Self, &'static [&'static str], &'static [&'static str]); 4] = [
        (Self::Second, &["s", "sec", "second"], &["secs", "seconds"]),
        (Self::Minute, &["min", "minute"], &["", "m", "mins", "minutes"]),
        (Self::Hour, &["h", "hour"], &["hr", "hrs", "hours"]),
        (Self::Day, &["day", "d"], &["days"]),
    ];

    /// Its length in seconds.
    pub fn seconds(self) -> u32 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3600,
            Self::Day => 86_400,
        }
    }

    /// Its name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Second => "s",
            Self::Minute => "min",
            Self::Hour => "h",
            Self::Day => "day",
        }
    }

    /// Its name in a sentence.
    pub fn word(self) -> &'static str {
        match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }
}

impl QuotaLimit {
    /// So many; `None` for 0, and for more than [`MAX_COUNT`].
    pub fn new(count: u32, unit: QuotaUnit) -> Option<Self> {
        NonZeroU32::new(count).filter(|_| count <= MAX_COUNT).map(|count| Self { count, unit })
    }

    /// How many.
    pub fn count(self) -> u32 {
        self.count.get()
    }

    /// Within which time.
    pub fn unit(self) -> QuotaUnit {
        self.unit
    }

    /// The length of its window in seconds.
    pub fn seconds(self) -> u32 {
        self.unit.seconds()
    }

    /// Twice as many, or as many as there may be.
    #[must_use]
    pub fn doubled(self) -> Self {
        let count = self.count.saturating_mul(NonZeroU32::MIN.saturating_add(1));
        Self { count: count.min(NonZeroU32::MIN.saturating_add(MAX_COUNT - 1)), ..self }
    }

    /// The most that it lets through in a window of another limit: a longer one has room for several of its own.
    pub fn most_within(self, other: Self) -> u32 {
        self.count().saturating_mul(other.seconds().div_ceil(self.seconds()))
    }
}

impl fmt::Display for QuotaLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, self.unit.as_str())
    }
}

impl FromStr for QuotaLimit {
    type Err = QuotaLimitError;

    fn from_str(text: &str) -> Result<Self, QuotaLimitError> {
        let form = || QuotaLimitError::Form { text: text.to_owned(), meant: guess(text) };
        let (digits, word) = text.split_once('/').ok_or_else(form)?;
        let unit = QuotaUnit::ALL.into_iter().find(|(_, names, _)| names.contains(&word));
        let (unit, ..) = unit.ok_or_else(form)?;
        // Digits alone: parsing takes a sign.
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(form());
        }
        if digits.bytes().all(|byte| byte == b'0') {
            return Err(QuotaLimitError::Zero(text.to_owned()));
        }
        let count = digits.parse().unwrap_or(u32::MAX);
        Self::new(count, unit).ok_or_else(|| QuotaLimitError::TooLarge(text.to_owned()))
    }
}

/// What a text means that is nearly right: blanks, `per` for the slash, another word for the unit, or none.
fn guess(text: &str) -> Option<QuotaLimit> {
    let text: String = text.to_ascii_lowercase().replace("per", "/").chars().filter(|c| !c.is_whitespace()).collect();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, word) = text.split_at(end);
    let word = word.strip_prefix('/').unwrap_or(word);
    let known = |(_, names, others): &(_, &[&str], &[&str])| names.contains(&word) || others.contains(&word);
    let (unit, ..) = QuotaUnit::ALL.into_iter().find(known)?;
    QuotaLimit::new(digits.parse().ok()?, unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> String {
        text.parse::<QuotaLimit>().expect_err(text).to_string()
    }

    #[test]
    fn limit_is_a_number_a_slash_and_a_unit() {
        for (text, shown, seconds) in [
            ("600/min", "600/min", 60),
            ("600/minute", "600/min", 60),
            ("1/s", "1/s", 1),
            ("07/sec", "7/s", 1),
            ("9/second", "9/s", 1),
            ("100000/h", "100000/h", 3600),
            ("3/hour", "3/h", 3600),
            ("5/day", "5/day", 86_400),
            ("5/d", "5/day", 86_400),
        ] {
            let limit: QuotaLimit = text.parse().expect(text);
            assert_eq!((limit.to_string().as_str(), limit.seconds()), (shown, seconds), "{text}");
            assert_eq!(limit.to_string().parse(), Ok(limit));
        }
    }

    #[test]
    fn limit_that_is_nearly_right_is_told_in_a_form_that_is_taken() {
        for (written, meant) in [
            ("600", "600/min"),
            ("600/m", "600/min"),
            ("600 / min", "600/min"),
            ("600 per minute", "600/min"),
            ("5/Days", "5/day"),
            ("10/hours", "10/h"),
            ("10/", "10/min"),
            ("10min", "10/min"),
        ] {
            let said = said(written);
            assert!(said.ends_with(&format!("; did you mean {meant:?}?")), "{written}: {said}");
            assert!(meant.parse::<QuotaLimit>().is_ok());
        }
        for nonsense in
            ["", "/", "min", "many/min", "-5/min", "+5/min", "1.5/s", "5/week", "5/min/min", "٥/min", "1e3/s"]
        {
            let said = said(nonsense);
            assert!(said.contains("is not a quota: write") && !said.contains("did you mean"), "{nonsense}: {said}");
        }
    }

    #[test]
    fn limit_of_nothing_and_beyond_the_maximum_is_refused() {
        assert!(said("0/min").contains("would refuse every request"));
        assert!(said("000/day").contains("would refuse every request"));
        for huge in ["100001/min", "4294967296/min", "99999999999999999999999/day"] {
            assert!(said(huge).contains("write at most 100000"), "{huge}");
        }
    }

    #[test]
    fn limit_lets_through_in_a_longer_window_what_all_its_own_windows_let_through() {
        let limit = |text: &str| text.parse::<QuotaLimit>().expect("a limit");
        let most = |own: &str, other: &str| limit(own).most_within(limit(other));
        assert_eq!([most("10/min", "600/min"), most("10/min", "1/s"), most("10/min", "9/h")], [10, 10, 600]);
        assert_eq!(most("100000/s", "1/day"), u32::MAX, "more than can be counted");
        assert_eq!(
            (limit("30/min").doubled().to_string(), limit("60000/s").doubled().to_string()),
            ("60/min".into(), "100000/s".into())
        );
    }
}
