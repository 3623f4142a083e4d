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

    /// A request is sent again.
    pub fn replayed(&self, why: Replay) {
        // It is seldom: looked up each time.
        self.replays.with_label_values(&[self.instance.as_str(), why.as_str()]).inc();
    }
}
