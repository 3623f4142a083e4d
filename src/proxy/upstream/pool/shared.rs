//! HTTP/2 connections, which many exchanges share at a time.

use std::cell::Cell;
use std::rc::Rc;

use super::lease::{ConnectionLease, PooledExchange};
use super::{FULL, MAX_IDLE};
use crate::base::clock::Moment;
use crate::proxy::upstream::http2_connection::Http2Connection;
use crate::proxy::upstream::watched_socket::ConnectionTrack;

/// An HTTP/2 connection, and what is going on on it.
pub(super) struct SharedConnection {
    pub(super) client: Rc<Http2Connection>,
    track: Rc<ConnectionTrack>,
    load: Rc<Load>,
}

/// What is going on on a shared connection.
struct Load {
    in_flight: Cell<usize>,
    /// When the last exchange ended.
    used: Cell<Moment>,
    /// It failed an exchange: those in flight may end, and no other begins.
    retired: Cell<bool>,
}

/// One exchange on a shared connection.
pub(in crate::proxy::upstream) struct SharedStream {
    load: Rc<Load>,
    _exchange: PooledExchange,
}

impl SharedStream {
    fn begin(load: &Rc<Load>, exchange: PooledExchange) -> Self {
        load.in_flight.set(load.in_flight.get() + 1);
        Self { load: Rc::clone(load), _exchange: exchange }
    }

    /// No other exchange begins on its connection.
    pub(super) fn retire(&self) {
        self.load.retired.set(true);
    }
}

impl Drop for SharedStream {
    fn drop(&mut self) {
        let left = self.load.in_flight.get().saturating_sub(1);
        self.load.in_flight.set(left);
        if left == 0 {
            self.load.used.set(Moment::now());
        }
    }
}

/// Whether a connection rested too long, also if the machine slept meanwhile.
fn is_old(since: Moment) -> bool {
    Moment::now().has_reached(since + MAX_IDLE)
}

impl SharedConnection {
    pub(super) fn new(client: Http2Connection, track: Rc<ConnectionTrack>) -> Self {
        let (in_flight, used, retired) = (Cell::new(0), Cell::new(Moment::now()), Cell::new(false));
        Self { client: Rc::new(client), track, load: Rc::new(Load { in_flight, used, retired }) }
    }

    pub(super) fn is_good(&self) -> bool {
        let Load { in_flight, used, retired } = &*self.load;
        !self.client.is_closed() && !retired.get() && (in_flight.get() > 0 || !is_old(used.get()))
    }

    /// What is more than the server allows would wait for others to end, which may never be.
    pub(super) fn has_room(&self) -> bool {
        self.load.in_flight.get() < self.client.streams().clamp(1, FULL)
    }

    pub(super) fn lend(&self, exchange: PooledExchange) -> ConnectionLease {
        let (track, stream) = (Rc::clone(&self.track), SharedStream::begin(&self.load, exchange));
        ConnectionLease::Http2 { client: Rc::clone(&self.client), track, stream }
    }
}
