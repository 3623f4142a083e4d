//! What is counted of the traffic with an instance: connections, answers, and requests that were sent again.

use std::time::Duration;

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::Families;

/// The series of all instances.
#[derive(Debug, Clone)]
pub(super) struct TrafficSeries {
    open: IntGaugeVec,
    opened: IntCounterVec,
    replays: IntCounterVec,
    throttled: IntCounterVec,
    late: IntGaugeVec,
    seconds: HistogramVec,
    rows: IntCounterVec,
    leaks: IntCounterVec,
}

impl TrafficSeries {
    pub(super) fn register(families: &Families<'_>) -> Result<Self, prometheus::Error> {
        Ok(Self {
            open: families.gauge(
                "ninjaone_proxy_upstream_connections",
                "Open connections to the instance, by the protocol that is spoken.",
                &["instance", "protocol"],
            )?,
            opened: families.counter(
                "ninjaone_proxy_upstream_connections_opened_total",
                "Connections to the instance that were opened, by the protocol that is spoken.",
                &["instance", "protocol"],
            )?,
            replays: families.counter(
                "ninjaone_proxy_replays_total",
                "Requests that were sent again, by the reason.",
                &["instance", "reason"],
            )?,
            throttled: families.counter(
                "ninjaone_proxy_upstream_throttled_total",
                "Answers of the instance with status 429.",
                &["instance"],
            )?,
            late: families.gauge(
                "ninjaone_proxy_upstream_late_uploads",
                "Requests whose body still goes up although their answer has ended.",
                &["instance"],
            )?,
            seconds: families.histogram(
                "ninjaone_proxy_upstream_duration_seconds",
                "Seconds from sending a request to the head of the instance's answer.",
                &["instance"],
            )?,
            rows: families.counter(
                "ninjaone_proxy_fence_rows_total",
                "Rows of answers to callers that are kept to organizations, by what became of them.",
                &["instance", "result"],
            )?,
            leaks: families.counter(
                "ninjaone_proxy_fence_leaks_total",
                "Rows of other organizations in answers to requests that asked for those of the fence only.",
                &["instance"],
            )?,
        })
    }

    pub(super) fn of(&self, instance: &str) -> Traffic {
        let kind = |protocol| ProtocolGauges {
            open: self.open.with_label_values(&[instance, protocol]),
            opened: self.opened.with_label_values(&[instance, protocol]),
        };
        for replay in Replay::ALL {
            self.replays.with_label_values(&[instance, replay.as_str()]);
        }
        Traffic {
            instance: instance.to_owned(),
            // The names that ALPN has for them.
            http1: kind("http/1.1"),
            http2: kind("h2"),
            replays: self.replays.clone(),
            throttled: self.throttled.with_label_values(&[instance]),
            late: self.late.with_label_values(&[instance]),
            seconds: self.seconds.with_label_values(&[instance]),
            rows: self.rows.clone(),
            leaks: self.leaks.clone(),
        }
    }
}

/// The counters of one instance, looked up once, so that a request takes no lock.
#[derive(Debug, Clone)]
pub struct Traffic {
    instance: String,
    http1: ProtocolGauges,
    http2: ProtocolGauges,
    replays: IntCounterVec,
    throttled: IntCounter,
    late: IntGauge,
    seconds: Histogram,
    rows: IntCounterVec,
    leaks: IntCounterVec,
}

/// What became of the rows of a page that went through a fence.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FencedRows {
    /// They were passed on.
    pub kept: u64,
    /// They name something outside.
    pub outside: u64,
    /// Nobody can tell what they name.
    pub unreadable: u64,
    /// Whether the instance was asked for what is inside only.
    pub is_narrowed: bool,
}

/// The connections of one protocol.
#[derive(Debug, Clone)]
struct ProtocolGauges {
    open: IntGauge,
    opened: IntCounter,
}

/// An open connection, or what else goes on, counted until this is dropped.
#[derive(Debug)]
pub struct OpenGauge(IntGauge);

impl Drop for OpenGauge {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// What is spoken on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// Why a request is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replay {
    /// The instance refused the token.
    TokenRefused,
    /// The instance answered 429.
    Throttled,
    /// The instance had closed the connection; nothing was written.
    ConnectionStale,
    /// The connection broke before an answer came; the request is a read.
    ConnectionLost,
    /// The instance says that it processed nothing of it.
    Unprocessed,
}

impl Replay {
    const ALL: [Self; 5] =
        [Self::TokenRefused, Self::Throttled, Self::ConnectionStale, Self::ConnectionLost, Self::Unprocessed];

    fn as_str(self) -> &'static str {
        match self {
            Self::TokenRefused => "token-refused",
            Self::Throttled => "throttled",
            Self::ConnectionStale => "connection-stale",
            Self::ConnectionLost => "connection-lost",
            Self::Unprocessed => "unprocessed",
        }
    }
}

impl Traffic {
    /// A connection is open; what is returned is to live as long as it.
    #[must_use]
    pub fn open(&self, protocol: Protocol) -> OpenGauge {
        let ProtocolGauges { open, opened } = match protocol {
            Protocol::Http1 => &self.http1,
            Protocol::Http2 => &self.http2,
        };
        opened.inc();
        open.inc();
        OpenGauge(open.clone())
    }

    /// A request's body still goes up although its answer has ended; what is returned is to live as long as that.
    #[must_use]
    pub fn late_upload(&self) -> OpenGauge {
        self.late.inc();
        OpenGauge(self.late.clone())
    }

    /// The head of an answer came, so long after the request was sent.
    pub fn answered(&self, after: Duration) {
        self.seconds.observe(after.as_secs_f64());
    }

    /// The instance answered 429.
    pub fn throttled(&self) {
        self.throttled.inc();
    }

    /// A page went through a fence.
    pub fn fenced(&self, rows: FencedRows) {
        let FencedRows { kept, outside, unreadable, is_narrowed } = rows;
        // Looked up each time: what has no fence has no series.
        for (result, rows) in [("kept", kept), ("outside", outside), ("unreadable", unreadable)] {
            self.rows.with_label_values(&[self.instance.as_str(), result]).inc_by(rows);
        }
        self.leaks.with_label_values(&[self.instance.as_str()]).inc_by(if is_narrowed { outside } else { 0 });
    }

    /// A request is sent again.
    pub fn replayed(&self, why: Replay) {
        // It is seldom: looked up each time.
        self.replays.with_label_values(&[self.instance.as_str(), why.as_str()]).inc();
    }
}
