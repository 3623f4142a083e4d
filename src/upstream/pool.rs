//! A worker's connections to one instance: idle HTTP/1.1 ones last in, first out, and shared HTTP/2 ones.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use tokio::time::Instant;

use super::connect::{ConnectError, Connector, Sender};
use crate::body::Upload;

/// An idle connection older than this is not used: servers close theirs after about a minute.
const MAX_IDLE: Duration = Duration::from_secs(45);
/// The exchanges on an HTTP/2 connection from which on another connection is opened.
const FULL: usize = 64;

/// The connections of one worker to one instance.
pub(super) struct Pool {
    connector: Connector,
    idle: RefCell<Vec<Idle>>,
    shared: RefCell<Vec<Shared>>,
}

struct Idle {
    sender: http1::SendRequest<Upload>,
    since: Instant,
}

#[derive(Clone)]
struct Shared {
    sender: http2::SendRequest<Upload>,
    in_flight: Rc<Cell<usize>>,
}

/// A connection lent for one exchange.
pub(super) enum Lease {
    /// To be given back after a whole exchange; dropped otherwise, which closes it.
    Http1 { sender: http1::SendRequest<Upload>, pool: Rc<Pool> },
    /// Counted until it is dropped.
    Http2 { sender: http2::SendRequest<Upload>, _stream: Stream },
}

/// One exchange on a shared connection.
pub(super) struct Stream(Rc<Cell<usize>>);

impl Stream {
    fn begin(in_flight: &Rc<Cell<usize>>) -> Self {
        in_flight.set(in_flight.get() + 1);
        Self(Rc::clone(in_flight))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

impl Lease {
    /// Gives an HTTP/1.1 connection back after the whole answer was read.
    pub(super) fn give_back(self) {
        if let Self::Http1 { sender, pool, .. } = self
            && !sender.is_closed()
        {
            pool.idle.borrow_mut().push(Idle { sender, since: Instant::now() });
        }
    }
}

impl Pool {
    pub(super) fn new(connector: Connector) -> Rc<Self> {
        Rc::new(Self { connector, idle: RefCell::default(), shared: RefCell::default() })
    }

    pub(super) fn connector(&self) -> &Connector {
        &self.connector
    }

    /// A connection that is there already; the server may have closed it meanwhile.
    pub(super) fn reuse(self: &Rc<Self>) -> Option<Lease> {
        if let Some(lease) = self.reuse_shared() {
            return Some(lease);
        }
        let mut idle = self.idle.borrow_mut();
        while let Some(Idle { sender, since }) = idle.pop() {
            if sender.is_ready() && since.elapsed() < MAX_IDLE {
                return Some(Lease::Http1 { sender, pool: Rc::clone(self) });
            }
        }
        None
    }

    fn reuse_shared(&self) -> Option<Lease> {
        let mut shared = self.shared.borrow_mut();
        if shared.is_empty() {
            return None;
        }
        shared.retain(|connection| !connection.sender.is_closed());
        let free = shared.iter().find(|connection| connection.in_flight.get() < FULL)?;
        Some(free.lend())
    }

    /// A new connection.
    pub(super) async fn open(self: &Rc<Self>) -> Result<Lease, ConnectError> {
        match self.connector.connect().await? {
            Sender::Http1(sender) => Ok(Lease::Http1 { sender, pool: Rc::clone(self) }),
            Sender::Http2(sender) => {
                let connection = Shared { sender, in_flight: Rc::default() };
                let lease = connection.lend();
                self.shared.borrow_mut().push(connection);
                Ok(lease)
            }
        }
    }

    /// Closes what nobody used for long.
    pub(super) fn sweep(&self) {
        self.idle.borrow_mut().retain(|idle| idle.since.elapsed() < MAX_IDLE && !idle.sender.is_closed());
    }
}

impl Shared {
    fn lend(&self) -> Lease {
        Lease::Http2 { sender: self.sender.clone(), _stream: Stream::begin(&self.in_flight) }
    }
}
