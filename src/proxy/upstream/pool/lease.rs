//! A connection that is lent for one exchange, and how long it may rest after that.

use std::rc::Rc;
use std::time::Duration;

use http::header::{HeaderMap, HeaderName};
use hyper::client::conn::http1;

use super::shared::SharedStream;
use super::{FEW, IdleConnection, MAX_IDLE, Pool};
use crate::base::clock::Moment;
use crate::net::body::Upload;
use crate::proxy::upstream::http2_connection::Http2Connection;
use crate::proxy::upstream::watched_socket::{ConnectionTrack, ExchangeStart};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
/// How much sooner than an instance announces it an idle HTTP/1.1 connection is not used any more: its end may be on the
/// way.
const MARGIN: Duration = Duration::from_secs(1);

/// A connection lent for one exchange.
pub(in crate::proxy::upstream) enum ConnectionLease {
    /// To be given back after a whole exchange; dropped otherwise, which closes it.
    Http1 {
        sender: http1::SendRequest<Upload>,
        track: Rc<ConnectionTrack>,
        reused: bool,
        rest: Duration,
        exchange: PooledExchange,
    },
    /// Counted until it is dropped.
    Http2 { client: Rc<Http2Connection>, track: Rc<ConnectionTrack>, stream: SharedStream },
}

/// One exchange among those of a worker.
pub(in crate::proxy::upstream) struct PooledExchange {
    pool: Rc<Pool>,
    bulk: bool,
}

impl PooledExchange {
    pub(super) fn begin(pool: &Rc<Pool>, bulk: bool) -> Self {
        pool.bulks.set(pool.bulks.get() + usize::from(bulk));
        pool.in_flight.set(pool.in_flight.get() + 1);
        let calm = if pool.in_flight.get() > FEW { 0 } else { pool.calm.get().saturating_add(1) };
        pool.calm.set(calm);
        Self { pool: Rc::clone(pool), bulk }
    }
}

impl Drop for PooledExchange {
    fn drop(&mut self) {
        let Self { pool, bulk } = self;
        pool.bulks.set(pool.bulks.get().saturating_sub(usize::from(*bulk)));
        pool.in_flight.set(pool.in_flight.get().saturating_sub(1));
    }
}

impl ConnectionLease {
    /// The exchange begins.
    pub(in crate::proxy::upstream) fn begin(&self) -> ExchangeStart {
        match self {
            // Over TLS 1.3 a server sends tickets at first, which are not an early answer. An early answer inside of TLS is
            // seen by hyper, which reads before it writes.
            Self::Http1 { track, reused, exchange, .. } => track.begin(*reused || !exchange.pool.connector.is_tls()),
            Self::Http2 { .. } => {}
        }
        self.track().mark()
    }

    /// The head of the answer came.
    pub(in crate::proxy::upstream) fn answered(&self) {
        self.track().answered();
    }

    /// Whether nothing was sent since then.
    pub(in crate::proxy::upstream) fn unsent(&self, since: ExchangeStart) -> bool {
        self.track().unsent(since)
    }

    /// The connection failed: it serves no other exchange.
    pub(in crate::proxy::upstream) fn retire(&self) {
        if let Self::Http2 { stream, .. } = self {
            stream.retire();
        }
    }

    /// No answer came in time. A shared connection on which nothing at all came may be dead.
    pub(in crate::proxy::upstream) fn doubt(&self, since: ExchangeStart) {
        if self.track().unheard(since) {
            self.retire();
        }
    }

    /// The rest of the request is not wanted: HTTP/1.1 has no other way to leave it out.
    pub(in crate::proxy::upstream) fn cut_off(self) {
        self.track().cut_off();
    }

    fn track(&self) -> &ConnectionTrack {
        match self {
            Self::Http1 { track, .. } | Self::Http2 { track, .. } => track,
        }
    }

    /// Gives an HTTP/1.1 connection back after the whole answer was read.
    pub(in crate::proxy::upstream) fn give_back(self) {
        if let Self::Http1 { sender, track, exchange, rest, .. } = self
            && !sender.is_closed()
            && !rest.is_zero()
        {
            exchange.pool.idle.borrow_mut().push(IdleConnection { sender, track, until: Moment::now() + rest });
        }
    }

    /// Heeds what the instance says of how long its connection may rest.
    pub(in crate::proxy::upstream) fn note_keep_alive(&mut self, headers: &HeaderMap) {
        if let Self::Http1 { rest, .. } = self
            && let Some(announced) = headers.get(KEEP_ALIVE)
        {
            *rest = rest_of(announced.as_bytes());
        }
    }
}

/// How long a connection with this `Keep-Alive` may rest: `timeout` is in seconds, and `max` the requests that it still
/// takes (RFC 2068 section 19.7.1.1).
fn rest_of(announced: &[u8]) -> Duration {
    let mut rest = MAX_IDLE;
    for part in std::str::from_utf8(announced).unwrap_or_default().split(',') {
        let (name, value) = part.split_once('=').unwrap_or_default();
        let number = value.trim().trim_matches('"').parse::<u32>();
        match number {
            Ok(0) if name.trim().eq_ignore_ascii_case("max") => rest = Duration::ZERO,
            Ok(seconds) if name.trim().eq_ignore_ascii_case("timeout") => {
                rest = rest.min(Duration::from_secs(seconds.into()).saturating_sub(MARGIN));
            }
            Ok(_) | Err(_) => {}
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_rests_for_less_than_the_instance_announces() {
        for (announced, seconds) in [
            ("timeout=5", 4),
            ("timeout=5, max=100", 4),
            ("max=1,  Timeout = \"20\"", 19),
            ("timeout=1", 0),
            ("timeout=0", 0),
            ("timeout=60, max=0", 0),
            ("timeout=3600", 45),
            ("timeout=x", 45),
            ("", 45),
            ("timeout=99999999999999999999", 45),
        ] {
            assert_eq!(rest_of(announced.as_bytes()).as_secs(), seconds, "{announced}");
        }
    }
}
