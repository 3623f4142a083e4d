//! Whether a silent HTTP/2 connection lives: it is asked with PING, and is dead if it stays silent.

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::proxy::upstream::watched_socket::{ConnectionTrack, ExchangeStart};

/// The silent looks after which a connection is asked whether it lives, and after which it is dead.
const QUIET: u32 = 2;
const DEAD: u32 = 3;

/// Finds out whether a connection lives.
pub(super) struct KeepAlive {
    pings: PingPong,
    ticks: Interval,
    track: Rc<ConnectionTrack>,
    mark: ExchangeStart,
    silent: u32,
}

impl KeepAlive {
    pub(super) fn new(pings: PingPong, interval: Duration, track: Rc<ConnectionTrack>) -> Self {
        let mut ticks = interval_at(Instant::now() + interval, interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mark = track.mark();
        Self { pings, ticks, track, mark, silent: 0 }
    }

    /// Ends when it is dead.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.ticks.poll_tick(cx).is_ready() {
            self.silent = if self.track.unheard(self.mark) { self.silent + 1 } else { 0 };
            self.mark = self.track.mark();
            match self.silent {
                QUIET => {
                    // One that cannot be asked is broken, which shows elsewhere.
                    let _ = self.pings.send_ping(Ping::opaque());
                }
                DEAD.. => return Poll::Ready(()),
                _ => {}
            }
        }
        // An answer has been heard already; taken here so that another question can be asked.
        let _ = self.pings.poll_pong(cx);
        Poll::Pending
    }
}
