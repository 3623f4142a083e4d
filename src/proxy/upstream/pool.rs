//! A worker's connections to one instance: idle HTTP/1.1 ones last in, first out, and shared HTTP/2 ones.

mod lease;
mod shared;

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;

use hyper::client::conn::http1;
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::{Instant, timeout, timeout_at};

use super::connect::{NewConnection, Sender, open};
use super::http2_connection;
use super::watched_socket::ConnectionTrack;
use crate::base::clock::Moment;
use crate::net::body::Upload;
use crate::net::dial::connect::{ConnectError, Connector, Offer, Step};
use crate::observe::metrics::traffic::Traffic;
pub(super) use lease::ConnectionLease;
use lease::PooledExchange;
use shared::SharedConnection;

/// A connection that rested for longer is not used: servers close theirs after about a minute.
const MAX_IDLE: Duration = Duration::from_secs(45);
/// The exchanges on an HTTP/2 connection from which on another connection is opened.
const FULL: usize = 64;
/// As many exchanges at a time go over HTTP/1.1, whose single exchange costs less, and bulk bodies too.
const FEW: usize = 8;
const BULKS: usize = 32;
/// How long others wait for a new HTTP/2 connection to say how many streams it allows.
const SETTLING: Duration = Duration::from_secs(1);
/// After so many exchanges that began among few, HTTP/2 is left alone again: more than [`FEW`], or many that begin at
/// once would take turns with themselves.
const CALM: u32 = 16;

/// The connections of one worker to one instance.
pub(super) struct Pool {
    connector: Connector,
    traffic: Traffic,
    idle: RefCell<Vec<IdleConnection>>,
    shared: RefCell<Vec<SharedConnection>>,
    /// What the instance speaks, as far as it is known.
    speaks: Cell<Option<KnownProtocol>>,
    /// Exchanges now, waits for a connection included.
    in_flight: Cell<usize>,
    /// Those with bulk bodies among them.
    bulks: Cell<usize>,
    /// How many began among few since the last that did not.
    calm: Cell<u32>,
    /// Connections being opened that may be shared, and the news that one is there, or failed.
    opening: Cell<usize>,
    opened: Notify,
    /// Exchanges that wait for one of these.
    waiting: Cell<usize>,
    /// The streams that the instance allowed on the last connection that may be shared.
    allowed: Cell<usize>,
}

/// What an instance speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KnownProtocol {
    Http1,
    Http2,
    Both,
}

struct IdleConnection {
    sender: http1::SendRequest<Upload>,
    track: Rc<ConnectionTrack>,
    /// It is not used from then on.
    until: Moment,
}

/// A connection being opened; dropped when it is known what it allows, it failed, or its caller left.
struct Opening(Weak<Pool>);

impl Opening {
    fn begin(pool: &Rc<Pool>) -> Self {
        pool.opening.set(pool.opening.get() + 1);
        Self(Rc::downgrade(pool))
    }

    /// Has others wait until the server has said how many streams it allows: it may refuse those that come before.
    fn settle(self, client: &http2_connection::Http2Connection) {
        let settled = client.settled();
        spawn_local(async move {
            let _ = timeout(SETTLING, settled).await;
            drop(self);
        });
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        if let Some(pool) = self.0.upgrade() {
            pool.opening.set(pool.opening.get().saturating_sub(1));
            pool.opened.notify_waiters();
        }
    }
}

/// An exchange that waits for a connection that another one opens.
struct WaitingExchange<'a>(&'a Cell<usize>);

impl<'a> WaitingExchange<'a> {
    fn begin(count: &'a Cell<usize>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for WaitingExchange<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

impl Pool {
    pub(super) fn new(connector: Connector, traffic: Traffic) -> Rc<Self> {
        Rc::new(Self {
            connector,
            traffic,
            idle: RefCell::default(),
            shared: RefCell::default(),
            speaks: Cell::new(None),
            in_flight: Cell::new(0),
            bulks: Cell::new(0),
            calm: Cell::new(CALM),
            opening: Cell::new(0),
            opened: Notify::new(),
            waiting: Cell::new(0),
            allowed: Cell::new(FULL),
        })
    }

    pub(super) fn connector(&self) -> &Connector {
        &self.connector
    }

    /// The connection that the next exchange gets: HTTP/1.1 while few are in flight, or for a bulk body.
    fn offer(&self, bulk: bool) -> Offer {
        let few = self.calm.get() >= CALM || (bulk && self.bulks.get() <= BULKS);
        match self.speaks.get() {
            Some(KnownProtocol::Http1) => Offer::Http1,
            Some(KnownProtocol::Http2) => Offer::Http2,
            _ if few || !self.connector.is_tls() => Offer::Http1,
            Some(KnownProtocol::Both) | None => Offer::Http2,
        }
    }

    /// A connection for one exchange, perhaps with a bulk body, and whether it served before, so that the server may
    /// have closed it meanwhile.
    pub(super) async fn lease(self: &Rc<Self>, bulk: bool) -> Result<(ConnectionLease, bool), ConnectError> {
        let exchange = PooledExchange::begin(self, bulk);
        match self.reuse(self.offer(bulk), exchange) {
            Ok(lease) => Ok((lease, true)),
            // Boxed: it happens seldom, and would make every request's state larger.
            Err(exchange) => Box::pin(self.share_or_open(bulk, exchange)).await,
        }
    }

    /// A connection for an exchange that another one has just failed: not one that rested as long as that.
    pub(super) async fn lease_anew(self: &Rc<Self>, bulk: bool) -> Result<ConnectionLease, ConnectError> {
        let exchange = PooledExchange::begin(self, bulk);
        match self.offer(bulk) {
            Offer::Http1 => self.open(Offer::Http1, exchange, self.deadline()).await,
            Offer::Http2 => match self.reuse(Offer::Http2, exchange) {
                Ok(lease) => Ok(lease),
                Err(exchange) => self.share_or_open(bulk, exchange).await.map(|(lease, _)| lease),
            },
        }
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.connector.patience()
    }

    /// A new connection that may be shared is awaited rather than a second one opened.
    async fn share_or_open(
        self: &Rc<Self>,
        bulk: bool,
        mut exchange: PooledExchange,
    ) -> Result<(ConnectionLease, bool), ConnectError> {
        let deadline = self.deadline();
        let mut awaited = false;
        loop {
            let offer = self.offer(bulk);
            if awaited || offer == Offer::Http1 || !self.will_have_room() {
                return Ok((self.open(offer, exchange, deadline).await?, false));
            }
            {
                let _waiting = WaitingExchange::begin(&self.waiting);
                timeout_at(deadline, self.opened.notified()).await.map_err(|_| ConnectError::Timeout(Step::Turn))?;
            }
            exchange = match self.reuse(self.offer(bulk), exchange) {
                Ok(lease) => return Ok((lease, true)),
                Err(exchange) => exchange,
            };
            // One that failed is not waited for again, unless others came to share.
            awaited = self.shared.borrow().is_empty();
        }
    }

    /// Whether the connections that are being opened will have room for one more exchange, besides those that wait, as
    /// far as it is known.
    fn will_have_room(&self) -> bool {
        self.waiting.get() < self.opening.get() * (self.allowed.get().clamp(1, FULL) - 1)
    }

    /// A connection that is there already.
    fn reuse(&self, offer: Offer, exchange: PooledExchange) -> Result<ConnectionLease, PooledExchange> {
        match offer {
            Offer::Http1 => self.reuse_rested(exchange),
            Offer::Http2 => self.reuse_shared(exchange),
        }
    }

    fn reuse_rested(&self, exchange: PooledExchange) -> Result<ConnectionLease, PooledExchange> {
        let mut idle = self.idle.borrow_mut();
        while let Some(IdleConnection { sender, track, until }) = idle.pop() {
            if sender.is_ready() && !Moment::now().has_reached(until) {
                return Ok(ConnectionLease::Http1 { sender, track, reused: true, rest: MAX_IDLE, exchange });
            }
        }
        Err(exchange)
    }

    fn reuse_shared(&self, exchange: PooledExchange) -> Result<ConnectionLease, PooledExchange> {
        let mut shared = self.shared.borrow_mut();
        shared.retain(SharedConnection::is_good);
        if let Some(last) = shared.last() {
            self.allowed.set(last.client.allowed().unwrap_or(self.allowed.get()));
        }
        match shared.iter().find(|connection| connection.has_room()) {
            Some(free) => Ok(free.lend(exchange)),
            None => Err(exchange),
        }
    }

    /// A new connection.
    async fn open(
        self: &Rc<Self>,
        offer: Offer,
        exchange: PooledExchange,
        deadline: Instant,
    ) -> Result<ConnectionLease, ConnectError> {
        let opening = (offer == Offer::Http2).then(|| Opening::begin(self));
        let NewConnection { sender, track } = open(&self.connector, offer, deadline, &self.traffic).await?;
        match sender {
            Sender::Http1(sender) => {
                if offer == Offer::Http2 {
                    self.speaks.set(Some(KnownProtocol::Http1));
                }
                Ok(ConnectionLease::Http1 { sender, track, reused: false, rest: MAX_IDLE, exchange })
            }
            Sender::Http2(client) => {
                if offer == Offer::Http1 {
                    self.speaks.set(Some(KnownProtocol::Http2));
                } else if self.speaks.get() != Some(KnownProtocol::Http2) {
                    self.speaks.set(Some(KnownProtocol::Both));
                }
                if let Some(opening) = opening {
                    opening.settle(&client);
                }
                let connection = SharedConnection::new(client, track);
                let lease = connection.lend(exchange);
                self.shared.borrow_mut().push(connection);
                Ok(lease)
            }
        }
    }

    /// Closes what nobody used for long.
    pub(super) fn sweep(&self) {
        let now = Moment::now();
        self.idle.borrow_mut().retain(|idle| !now.has_reached(idle.until) && !idle.sender.is_closed());
        self.shared.borrow_mut().retain(SharedConnection::is_good);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use http::uri::Authority;
    use proptest::prelude::*;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::net::dial::Route;
    use crate::observe::metrics::Metrics;

    /// What happens to connections; numbers choose one of those there are.
    #[derive(Debug, Clone, Copy)]
    enum Act {
        Borrow,
        /// After a whole exchange.
        Return(usize),
        /// After a broken one.
        Drop(usize),
        /// The server closes one that rests.
        Close(usize),
        /// One that rests has rested for long.
        Age(usize),
        Sweep,
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let act = prop_oneof![
            4 => Just(Act::Borrow),
            4 => (0..8usize).prop_map(Act::Return),
            1 => (0..8usize).prop_map(Act::Drop),
            1 => (0..8usize).prop_map(Act::Close),
            1 => (0..8usize).prop_map(Act::Age),
            1 => Just(Act::Sweep),
        ];
        prop::collection::vec(act, 1..40)
    }

    /// A pool, the far ends of its connections, and what it should hold.
    struct Trial {
        pool: Rc<Pool>,
        metrics: Metrics,
        listener: TcpListener,
        /// By the number of the connection.
        far: Vec<Option<TcpStream>>,
        tracks: Vec<Rc<ConnectionTrack>>,
        lent: Vec<(usize, ConnectionLease)>,
        /// In the order in which they were returned; not those that were closed or are old.
        good: Vec<usize>,
    }

    fn track(lease: &ConnectionLease) -> &Rc<ConnectionTrack> {
        match lease {
            ConnectionLease::Http1 { track, .. } | ConnectionLease::Http2 { track, .. } => track,
        }
    }

    impl Trial {
        async fn begin() -> Self {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
            let address: SocketAddr = listener.local_addr().expect("an address");
            let authority = Authority::try_from(address.to_string()).expect("an authority");
            let route = Route::new(address.ip().to_string(), address.port(), None);
            let connector = Connector::new(authority, None, route, Duration::from_secs(20)).expect("a connector");
            let (far, tracks, lent, good) = (vec![], vec![], vec![], vec![]);
            let metrics = Metrics::new().expect("metrics");
            Self { pool: Pool::new(connector, metrics.traffic("main")), metrics, listener, far, tracks, lent, good }
        }

        async fn act(&mut self, act: Act) {
            match act {
                Act::Borrow => self.borrow().await,
                Act::Return(number) => {
                    if let Some((number, lease)) = self.take(number) {
                        ready(&lease).await;
                        lease.give_back();
                        self.good.push(number);
                    }
                }
                Act::Drop(number) => drop(self.take(number)),
                Act::Close(index) => self.close(index).await,
                Act::Age(index) => self.age(index),
                Act::Sweep => self.pool.sweep(),
            }
        }

        /// Every connection was counted, and none is once nobody has it.
        async fn end(self) {
            let Self { pool, metrics, tracks, lent, .. } = self;
            drop((pool, lent));
            let shows =
                |line: String| metrics.render(&[], &[], (0, 0)).expect("metrics").lines().any(|shown| shown == line);
            let labels = "{instance=\"main\",protocol=\"http/1.1\"}";
            assert!(shows(format!("ninjaone_proxy_upstream_connections_opened_total{labels} {}", tracks.len())));
            while !shows(format!("ninjaone_proxy_upstream_connections{labels} 0")) {
                tokio::task::yield_now().await;
            }
        }

        fn take(&mut self, number: usize) -> Option<(usize, ConnectionLease)> {
            let count = self.lent.len();
            (count > 0).then(|| self.lent.swap_remove(number % count))
        }

        async fn borrow(&mut self) {
            let expected = self.good.pop();
            let (lease, reused) = self.pool.lease(false).await.expect("a connection");
            let known = self.tracks.iter().position(|known| Rc::ptr_eq(known, track(&lease)));
            assert_eq!((known, reused), (expected, expected.is_some()), "the last one that is good, or a new one");
            let number = known.unwrap_or(self.tracks.len());
            if known.is_none() {
                self.tracks.push(Rc::clone(track(&lease)));
                self.far.push(Some(self.listener.accept().await.expect("the far end").0));
            }
            assert!(self.lent.iter().all(|(other, _)| *other != number), "nobody else has it");
            self.lent.push((number, lease));
        }

        async fn close(&mut self, index: usize) {
            if self.good.is_empty() {
                return;
            }
            let number = self.good.remove(index % self.good.len());
            self.far[number] = None;
            let is_open = || {
                let idle = self.pool.idle.borrow();
                idle.iter().any(|idle| Rc::ptr_eq(&idle.track, &self.tracks[number]) && !idle.sender.is_closed())
            };
            while is_open() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }

        fn age(&mut self, index: usize) {
            if self.good.is_empty() {
                return;
            }
            let number = self.good.remove(index % self.good.len());
            for idle in self.pool.idle.borrow_mut().iter_mut() {
                if Rc::ptr_eq(&idle.track, &self.tracks[number]) {
                    idle.until.wall -= MAX_IDLE;
                }
            }
        }
    }

    /// hyper's task has to run before a connection is ready again.
    async fn ready(lease: &ConnectionLease) {
        let ConnectionLease::Http1 { sender, .. } = lease else { return };
        while !sender.is_ready() {
            tokio::task::yield_now().await;
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn pool_lends_the_last_good_connection_to_one_and_never_a_closed_or_old_one(acts in acts()) {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build_local(tokio::runtime::LocalOptions::default())
                .expect("a runtime");
            runtime.block_on(async {
                let mut trial = Trial::begin().await;
                for act in acts {
                    trial.act(act).await;
                    assert_eq!(trial.pool.opening.get(), 0);
                }
                trial.end().await;
            });
        }
    }
}
