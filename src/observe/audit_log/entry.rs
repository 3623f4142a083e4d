//! What a line of the audit log says, and how it is written.

mod text;

use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::approval_step::ApprovalStep;
use super::chain::{ChainHead, Hash};
use crate::base::plain;
pub use text::Text;

/// Comes in a line between the bytes that are hashed and their hash.
pub(super) const BEFORE_HASH: &[u8] = b",\"hash\":\"";
/// The last bytes of a line, after the hash.
pub(super) const AFTER_HASH: &[u8] = b"\"}";

/// What a line tells of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RequestFacts {
    /// Its id in the access log.
    pub id: String,
    /// The trace that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// The listener's name.
    pub listener: String,
    /// The caller's name; none where callers are not told apart, or before it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// The person whose token it needs, by the name in the configuration; none where that is the machine's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The ids of the organizations that its caller is kept to; none where there is no fence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organizations: Option<String>,
    /// The far end of its connection.
    pub peer: String,
    /// Its method; none if its head could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<Text>,
    /// The operation of the catalogue, or `none`.
    pub operation: String,
    /// Its path: canonical, or as it came if it has no canonical form. Never its query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<Text>,
    /// What became of it by the rules.
    pub decision: DecisionLabel,
    /// The code of the refusal that it would have got, where the rules are only observed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overruled: Option<&'static str>,
    /// It is only tried: it is not sent.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// What decided, where that is a rule, a group or a scope.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<Text>,
    /// The id of the approval that it goes on by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval: Option<String>,
}

/// What became of a request by the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DecisionLabel {
    /// They open it.
    Permitted,
    /// They close it, and are only observed.
    Overruled,
    /// They open it once a person approves, who has not yet.
    Waiting,
    /// The proxy answered it itself.
    Refused,
}

impl DecisionLabel {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Permitted => "permitted",
            Self::Overruled => "overruled",
            Self::Waiting => "waiting",
            Self::Refused => "refused",
        }
    }
}

/// How a request ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct RequestOutcome {
    /// The status of the answer; none if the caller left before there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The code of a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// Whose fault the refusal is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blame: Option<&'static str>,
    /// It was sent a second time.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub replayed: bool,
}

/// What a line is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Event {
    /// A process begins to write.
    Begin(LogStart),
    /// A write is about to go to NinjaOne.
    Intent(RequestFacts),
    /// What became of it; or of a read that the rules close, where they are only observed.
    Outcome(EndedRequest),
    /// The proxy answered a request itself.
    Refusal(EndedRequest),
    /// Something happened to an approval.
    Approval(ApprovalStep),
    /// Records could not be kept.
    Gap {
        /// How many.
        lost: u64,
    },
    /// The process ends in good order.
    End {},
}

impl Event {
    /// Whether what it tells of may still be given up: it has not happened yet.
    pub fn is_intention(&self) -> bool {
        match self {
            Self::Intent(_) => true,
            Self::Approval(step) => step.step.opens(),
            Self::Begin(_) | Self::Outcome(_) | Self::Refusal(_) | Self::Gap { .. } | Self::End {} => false,
        }
    }
}

/// A request, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EndedRequest {
    /// The request.
    #[serde(flatten)]
    pub facts: RequestFacts,
    /// Its end.
    #[serde(flatten)]
    pub outcome: RequestOutcome,
}

/// In what state a process finds the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogStart {
    /// What stood after the last line and is none: a process was killed in the midst of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub torn: Option<TornBytes>,
    /// The process before ended without saying so.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub abrupt: bool,
    /// There were lines and no head file: whether lines are missing here cannot be told.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub headless: bool,
}

/// Bytes between two lines that are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TornBytes {
    /// How many, a line feed at their end apart.
    pub bytes: u64,
    /// Their hash.
    pub sha256: Hash,
}

/// An event, and when it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When.
    pub at: SystemTime,
    /// What.
    pub event: Event,
}

impl Entry {
    /// An event of this moment.
    pub fn now(event: Event) -> Self {
        Self { at: SystemTime::now(), event }
    }

    /// Adds this as the line after `last`, with a line feed; where the chain is then.
    pub fn write(&self, last: ChainHead, text: &mut Vec<u8>) -> ChainHead {
        #[derive(Serialize)]
        struct Written<'a> {
            seq: u64,
            time: String,
            #[serde(flatten)]
            event: &'a Event,
            prev: Hash,
        }
        let seq = last.seq.saturating_add(1);
        let written = Written { seq, time: rfc3339(self.at), event: &self.event, prev: last.hash };
        // Nothing in it can fail to be written as JSON; if it did, the line would be found to be none.
        let mut line = serde_json::to_string(&written).unwrap_or_default();
        line.pop();
        let line = plain::line(&line).into_owned().into_bytes();
        let hash = Hash::of(&line);
        text.extend_from_slice(&line);
        text.extend_from_slice(BEFORE_HASH);
        text.extend_from_slice(hash.to_string().as_bytes());
        text.extend_from_slice(AFTER_HASH);
        text.push(b'\n');
        ChainHead { seq, hash }
    }
}

/// UTC, with milliseconds.
fn rfc3339(at: SystemTime) -> String {
    let at = OffsetDateTime::from(at);
    let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
    let (hour, minute, second, milli) = (at.hour(), at.minute(), at.second(), at.millisecond());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::super::line::{LineKind, MAX_LINE, ReadLine};
    use super::*;

    /// What a test tells of request number `id`.
    pub(in crate::observe::audit_log) fn facts(id: &str) -> RequestFacts {
        RequestFacts {
            id: id.to_owned(),
            trace: None,
            listener: "local".to_owned(),
            caller: Some("desk".to_owned()),
            user: Some("technician".to_owned()),
            organizations: None,
            peer: "127.0.0.1:4711".to_owned(),
            method: Some(Text::new("POST")),
            operation: "POST /v2/device/{id}/reboot/{mode}".to_owned(),
            path: Some(Text::new("/v2/device/7/reboot/NORMAL")),
            decision: DecisionLabel::Permitted,
            overruled: None,
            dry_run: false,
            rule: Some(Text::new("POST /v2/device/{id}/reboot/**")),
            approval: None,
        }
    }

    #[test]
    fn line_says_what_it_is_about_and_names_the_line_before() {
        let entry =
            Entry { at: UNIX_EPOCH + Duration::from_millis(1_795_338_273_042), event: Event::Intent(facts("1")) };
        let mut text = Vec::new();
        let last = ChainHead { seq: 41, hash: Hash::of(b"x") };
        let head = entry.write(last, &mut text);
        let line = text.strip_suffix(b"\n").expect("a line feed");
        let value: serde_json::Value = serde_json::from_slice(line).expect("JSON");
        for (key, wanted) in [
            ("time", "2026-11-22T09:04:33.042Z"),
            ("kind", "intent"),
            ("id", "1"),
            ("caller", "desk"),
            ("user", "technician"),
            ("path", "/v2/device/7/reboot/NORMAL"),
            ("decision", "permitted"),
            ("prev", &last.hash.to_string()),
            ("hash", &head.hash.to_string()),
        ] {
            assert_eq!(value[key], wanted, "{value}");
        }
        assert_eq!(value["seq"], 42);
        let read = ReadLine::read(line).expect("a line");
        assert_eq!((read.head, read.prev, read.kind), (head, last.hash, LineKind::Intent("1".to_owned())));
    }

    #[test]
    fn line_is_short_whatever_a_caller_sends() {
        let nasty = Text::new(&"\u{1}".repeat(60_000));
        let mut facts = facts("1");
        (facts.path, facts.method, facts.rule) = (Some(nasty.clone()), Some(nasty.clone()), Some(nasty));
        let mut text = Vec::new();
        Entry::now(Event::Intent(facts)).write(ChainHead::NONE, &mut text);
        assert!(text.len() < MAX_LINE / 2, "{}", text.len());
        assert!(ReadLine::read(text.trim_ascii_end()).is_some());
        assert_eq!(Text::new(&"ä".repeat(513)).0, format!("{}…", "ä".repeat(512)));
    }
}
