//! Whether a connection is still of use: whether its caller has requests, and answers pings.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::time::{Instant, Interval, interval_at};

use super::super::idle::Usage;
use crate::base::clock::timer::Timer;

/// How often a caller is pinged, and how long it may take to answer.
const PING: Duration = Duration::from_secs(30);
const PONG: Duration = Duration::from_secs(20);

/// Tells how long a connection has had no request: h2 has no limit of its own for that.
pub(super) struct IdleTimer {
    period: Interval,
    /// The periods in a row without a request.
    idle_periods: u32,
}

impl IdleTimer {
    pub(super) fn new(period: Duration) -> Self {
        Self { period: interval_at(Instant::now() + period, period), idle_periods: 0 }
    }

    /// Ready once for each period, with the number of periods in a row without a request.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, usage: &Usage) -> Poll<u32> {
        ready!(self.period.poll_tick(cx));
        self.idle_periods = if usage.since_last_look() { 0 } else { self.idle_periods + 1 };
        Poll::Ready(self.idle_periods)
    }
}

/// Finds out whether the caller still answers.
pub(super) struct CallerKeepAlive {
    pings: PingPong,
    timer: Timer,
    awaiting_pong: bool,
}

impl CallerKeepAlive {
    pub(super) fn new(pings: PingPong) -> Self {
        let mut timer = Timer::default();
        timer.set(Instant::now() + PING);
        Self { pings, timer, awaiting_pong: false }
    }

    /// Ready when the caller has not answered in time.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.awaiting_pong && self.pings.poll_pong(cx).is_ready() {
            self.awaiting_pong = false;
            self.timer.set(Instant::now() + PING);
        }
        while self.timer.poll(cx).is_ready() {
            if self.awaiting_pong {
                return Poll::Ready(());
            }
            // If it cannot be sent, the connection is broken, which shows elsewhere.
            let _ = self.pings.send_ping(Ping::opaque());
            self.awaiting_pong = true;
            self.timer.set(Instant::now() + PONG);
            let _ = self.pings.poll_pong(cx);
        }
        Poll::Pending
    }
}
