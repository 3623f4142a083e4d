//! Times and numbers in words.

use std::time::Duration;

pub(super) use crate::base::clock::utc::{brief, moment};

/// `3 d 4 h`, `58 min 12 s`, `7 s`.
pub(super) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    if days > 0 {
        format!("{days} d {hours} h")
    } else if hours > 0 {
        format!("{hours} h {minutes} min")
    } else if minutes > 0 {
        format!("{minutes} min {} s", seconds % 60)
    } else {
        format!("{seconds} s")
    }
}

/// With a thin space after each three digits.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 2);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// `1 request`, `1 234 requests`.
pub(super) fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(number), if number == 1 { one } else { many })
}

/// A share of a whole, in percent.
pub(super) fn share(part: u64, whole: u64) -> String {
    match (part, whole) {
        (0, _) | (_, 0) => "0 %".to_owned(),
        (part, whole) if part.saturating_mul(100) < whole => "< 1 %".to_owned(),
        (part, whole) => format!("{:.0} %", 100.0 * part as f64 / whole as f64),
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn words_of_times_and_numbers_are_short_and_exact() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_341_537);
        assert_eq!(moment(at), "2026-11-22 09:58:57 UTC");
        assert_eq!(brief(at, at + Duration::from_secs(60)), "09:58:57");
        assert_eq!(brief(at, at + Duration::from_secs(86_400)), "2026-11-22 09:58");
        let spans = [7, 3492, 7260, 90_061].map(|seconds| span(Duration::from_secs(seconds)));
        assert_eq!(spans, ["7 s", "58 min 12 s", "2 h 1 min", "1 d 1 h"]);
        assert_eq!(
            (counted(1, "request", "requests"), grouped(1_234_567)),
            ("1 request".into(), "1\u{202f}234\u{202f}567".into())
        );
        assert_eq!([share(0, 0), share(0, 9), share(1, 101), share(1, 3)], ["0 %", "0 %", "< 1 %", "33 %"]);
    }
}
