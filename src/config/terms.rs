//! The conditions of rules, as the tables of `allow` say them.

use std::num::NonZeroU32;
use std::time::SystemTime;

use http::Method;
use time::{Date, Month, PrimitiveDateTime, Time, UtcOffset};
use toml::Spanned;
use toml::value::{Datetime, Offset};

use super::Config;
use super::mistake::ConfigMistake;
use super::sections::{AllowSection, Moment};
use crate::proxy::policy::body::BodyConditions;
use crate::proxy::policy::rule::{Expiry, METHODS, Rule, Terms};

/// What a time must look like.
const TIME: &str = "write date, time and zone, such as \"2026-12-31T18:00:00Z\" or \"2026-12-31T19:00:00+01:00\"";

impl Config {
    /// What a rule asks in addition to its match.
    pub(super) fn terms(&self, rule: &Rule, file: &AllowSection) -> Result<Terms, ConfigMistake> {
        let AllowSection { body, expires, max_uses, approval, reason, .. } = file;
        let has_body = |method: &Method| *method != Method::GET && rule.has_method(method);
        let body = body.as_ref().map(|body| {
            if !METHODS.iter().any(has_body) {
                let message = "the rule can never match: requests with GET have no body; leave body out, or write query conditions after ? in rule";
                return Err(self.mistake(body, message));
            }
            let pairs = body.get_ref().iter().map(|(pointer, wanted)| (pointer.clone(), wanted.clone())).collect();
            BodyConditions::new(pairs).map_err(|error| self.mistake(body, error.to_string()))
        });
        let max_uses = max_uses.as_ref().map(|max| {
            NonZeroU32::new(*max.get_ref()).ok_or_else(|| {
                self.mistake(max, "a rule with max-uses = 0 opens nothing: write 1 or more, or take the rule out")
            })
        });
        if let (Some(asked), Some(lack)) = (approval.as_ref().filter(|asked| *asked.get_ref()), self.approvals_lack()) {
            return Err(self.mistake(asked, lack));
        }
        Ok(Terms {
            body: body.transpose()?,
            expires: expires.as_ref().map(|expires| self.expiry(expires)).transpose()?,
            max_uses: max_uses.transpose()?,
            approval: approval.as_ref().is_some_and(|approval| *approval.get_ref()),
            reason: reason.as_deref().map(Into::into),
        })
    }

    fn expiry(&self, written: &Spanned<Moment>) -> Result<Expiry, ConfigMistake> {
        let text = &written.get_ref().0;
        let at = moment(text).map_err(|why| self.mistake(written, format!("{text:?} {why}: {TIME}")))?;
        if at <= SystemTime::now() {
            let message =
                format!("{text} is in the past, so the rule opens nothing: take it out, or write a later time");
            return Err(self.mistake(written, message));
        }
        Ok(Expiry { at, text: text.as_str().into() })
    }
}

/// The moment that a text names.
fn moment(text: &str) -> Result<SystemTime, &'static str> {
    let parsed: Datetime = text.parse().map_err(|_| "is not a time")?;
    let (Some(date), Some(time)) = (parsed.date, parsed.time) else { return Err("lacks a date or a time") };
    let offset = match parsed.offset.ok_or("has no zone")? {
        Offset::Z => UtcOffset::UTC,
        Offset::Custom { minutes } => {
            UtcOffset::from_whole_seconds(i32::from(minutes) * 60).map_err(|_| "has no such zone")?
        }
    };
    let none = |_| "is not a time that there is";
    let month = Month::try_from(date.month).map_err(none)?;
    let date = Date::from_calendar_date(i32::from(date.year), month, date.day).map_err(none)?;
    let (second, nanosecond) = (time.second.unwrap_or(0), time.nanosecond.unwrap_or(0));
    let time = Time::from_hms_nano(time.hour, time.minute, second, nanosecond).map_err(none)?;
    Ok(PrimitiveDateTime::new(date, time).assume_offset(offset).into())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn moment_needs_a_date_a_time_and_a_zone() {
        let at = |seconds| Ok(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(moment("2026-12-31T18:00:00Z"), at(1_798_740_000));
        assert_eq!(moment("2026-12-31T19:00:00+01:00"), at(1_798_740_000));
        assert_eq!(moment("2026-12-31 18:00:00z"), at(1_798_740_000));
        assert_eq!(moment("2026-12-31T18:00:00"), Err("has no zone"));
        assert_eq!(moment("2026-12-31"), Err("lacks a date or a time"));
        for text in
            ["", "tomorrow", "2026-13-01T00:00:00Z", "2026-02-30T00:00:00Z", "2026-12-31T25:00:00Z", "31.12.2026"]
        {
            assert!(moment(text).is_err(), "{text}");
        }
    }
}
