//! Times as people read them, in UTC.

use std::time::SystemTime;

use time::OffsetDateTime;

/// `2026-11-22 09:58:57 UTC`.
pub fn moment(at: SystemTime) -> String {
    let at = OffsetDateTime::from(at);
    format!("{} {} UTC", date(at), clock(at))
}

/// `2026-11-22T09:58:57Z`, as RFC 3339 has it.
pub fn seconds(at: SystemTime) -> String {
    let at = OffsetDateTime::from(at);
    format!("{}T{}Z", date(at), clock(at))
}

/// A time with no more than it takes: `09:58:57` on the day of `now`, `2026-11-21 09:58` before.
pub fn brief(at: SystemTime, now: SystemTime) -> String {
    let (at, now) = (OffsetDateTime::from(at), OffsetDateTime::from(now));
    if at.date() == now.date() {
        return clock(at);
    }
    format!("{} {:02}:{:02}", date(at), at.hour(), at.minute())
}

fn date(at: OffsetDateTime) -> String {
    format!("{}-{:02}-{:02}", at.year(), u8::from(at.month()), at.day())
}

fn clock(at: OffsetDateTime) -> String {
    format!("{:02}:{:02}:{:02}", at.hour(), at.minute(), at.second())
}
