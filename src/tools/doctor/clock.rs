//! The machine's clock against the `Date` of an answer.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::DATE;

use super::report::CheckStatus;
use super::reporter::Reporter;

/// Up to this difference all is well, in seconds.
const FINE: f64 = 30.0;
/// Beyond this difference the clock is wrong, in seconds.
const WRONG: f64 = 120.0;

const FIX: &str = "set this machine's clock by NTP (Linux: timedatectl set-ntp true; Windows: w32tm /resync): \
                    certificates, logs and the age of tokens are judged by it";

/// Judges the `Date` of an answer to a request that was sent at `sent` and answered after `took`.
pub(super) fn examine(headers: &HeaderMap, sent: SystemTime, took: Duration, reporter: &Reporter) {
    let date =
        headers.get(DATE).and_then(|value| value.to_str().ok()).and_then(|text| httpdate::parse_http_date(text).ok());
    let Some(date) = date else {
        let detail = "the instance's answer has no readable Date, so this machine's clock cannot be compared";
        return reporter.warn("clock", detail, "compare the clock by hand with a trusted one");
    };
    let behind = behind(date, sent + took / 2);
    let status = judge(behind);
    reporter.write("clock", status, describe(behind), (status != CheckStatus::Ok).then(|| FIX.to_owned()));
}

/// By how many seconds `now` is behind `date`, which a server has cut to whole seconds.
fn behind(date: SystemTime, now: SystemTime) -> f64 {
    let date = date + Duration::from_millis(500);
    match date.duration_since(now) {
        Ok(behind) => behind.as_secs_f64(),
        Err(ahead) => -ahead.duration().as_secs_f64(),
    }
}

fn judge(behind: f64) -> CheckStatus {
    if behind.abs() <= FINE {
        CheckStatus::Ok
    } else if behind.abs() <= WRONG {
        CheckStatus::Warning
    } else {
        CheckStatus::Failed
    }
}

fn describe(behind: f64) -> String {
    let seconds = behind.abs().round();
    if seconds < 2.0 {
        return "this machine's clock and the instance's agree".to_owned();
    }
    let side = if behind > 0.0 { "behind" } else { "ahead of" };
    format!("this machine's clock is {seconds} s {side} the instance's")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_is_judged_by_the_difference_in_either_direction() {
        for (behind, status) in [
            (0.0, CheckStatus::Ok),
            (30.0, CheckStatus::Ok),
            (-30.0, CheckStatus::Ok),
            (31.0, CheckStatus::Warning),
            (-120.0, CheckStatus::Warning),
            (121.0, CheckStatus::Failed),
            (-600.0, CheckStatus::Failed),
        ] {
            assert_eq!(judge(behind), status, "{behind}");
        }
    }

    #[test]
    fn clock_says_which_side_is_behind() {
        let time = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let at = |date| describe(behind(time(date), time(1000)));
        assert_eq!(at(1000), "this machine's clock and the instance's agree");
        assert_eq!(at(1600), "this machine's clock is 601 s behind the instance's");
        assert_eq!(at(400), "this machine's clock is 600 s ahead of the instance's");
    }
}
