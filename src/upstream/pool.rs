//! A worker's connections to one instance: idle HTTP/1.1 ones last in, first out, and shared HTTP/2 ones.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::connect::{ConnectError, Connector, Opened, Sender, Step};
use super::wire::{Mark, Track};
use crate::body::Upload;
use crate::clock::Moment;

/// A connection that rested for longer is not used: servers close theirs after about a minute.
const MAX_IDLE: Duration = Duration::from_secs(45);
/// The exchanges on an HTTP/2 connection from which on another connection is opened.
const FULL: usize = 64;

/// The connections of one worker to one instance.
pub(super) struct Pool {
    connector: Connector,
    idle: RefCell<Vec<Idle>>,
    shared: RefCell<Vec<Shared>>,
    /// What the last new connection spoke.
    version: Cell<Option<HttpVersion>>,
    /// Connections being opened, and the news that one is there, or failed.
    opening: Cell<usize>,
    opened: Notify,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HttpVersion {
    Http1,
    Http2,
}

struct Idle {
    sender: http1::SendRequest<Upload>,
    track: Rc<Track>,
    since: Moment,
}

struct Shared {
    sender: http2::SendRequest<Upload>,
    track: Rc<Track>,
    /// The streams that the server allows, as far as it is known.
    streams: Rc<Cell<usize>>,
    load: Rc<Load>,
}

/// What is going on on a shared connection.
struct Load {
    in_flight: Cell<usize>,
    /// When the last exchange began or ended.
    used: Cell<Moment>,
    /// It failed an exchange: those in flight may end, and no other begins.
    retired: Cell<bool>,
}

/// A connection lent for one exchange.
pub(super) enum Lease {
    /// To be given back after a whole exchange; dropped otherwise, which closes it.
    Http1 { sender: http1::SendRequest<Upload>, track: Rc<Track>, reused: bool, pool: Rc<Pool> },
    /// Counted until it is dropped.
    Http2 { sender: http2::SendRequest<Upload>, track: Rc<Track>, stream: Stream },
}

/// One exchange on a shared connection.
pub(super) struct Stream(Rc<Load>);

impl Stream {
    fn begin(load: &Rc<Load>) -> Self {
        load.in_flight.set(load.in_flight.get() + 1);
        load.used.set(Moment::now());
        Self(Rc::clone(load))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.in_flight.set(self.0.in_flight.get().saturating_sub(1));
        self.0.used.set(Moment::now());
    }
}

impl Lease {
    /// The exchange begins.
    pub(super) fn begin(&self) -> Mark {
        match self {
            // Over TLS 1.3 a server sends tickets at first, which are no early answer. An early answer inside of TLS is
            // seen by hyper, which reads before it writes.
            Self::Http1 { track, reused, pool, .. } => track.begin(*reused || !pool.connector.is_tls()),
            Self::Http2 { .. } => {}
        }
        self.track().mark()
    }

    /// The head of the answer came.
    pub(super) fn answered(&self) {
        self.track().answered();
    }

    /// Whether nothing was sent since then.
    pub(super) fn unsent(&self, since: Mark) -> bool {
        self.track().unsent(since)
    }

    /// The connection failed: it serves no other exchange.
    pub(super) fn retire(&self) {
        if let Self::Http2 { stream, .. } = self {
            stream.0.retired.set(true);
        }
    }

    /// No answer came in time. A shared connection on which nothing at all came may be dead.
    pub(super) fn doubt(&self, since: Mark) {
        if self.track().unheard(since) {
            self.retire();
        }
    }

    fn track(&self) -> &Track {
        match self {
            Self::Http1 { track, .. } | Self::Http2 { track, .. } => track,
        }
    }

    /// Gives an HTTP/1.1 connection back after the whole answer was read.
    pub(super) fn give_back(self) {
        if let Self::Http1 { sender, track, pool, .. } = self
            && !sender.is_closed()
        {
            pool.idle.borrow_mut().push(Idle { sender, track, since: Moment::now() });
        }
    }
}

/// A connection being opened; dropped when it is there, failed, or its caller left.
struct Opening<'a>(&'a Pool);

impl<'a> Opening<'a> {
    fn begin(pool: &'a Pool) -> Self {
        pool.opening.set(pool.opening.get() + 1);
        Self(pool)
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.0.opening.set(self.0.opening.get().saturating_sub(1));
        self.0.opened.notify_waiters();
    }
}

impl Pool {
    pub(super) fn new(connector: Connector) -> Rc<Self> {
        Rc::new(Self {
            connector,
            idle: RefCell::default(),
            shared: RefCell::default(),
            version: Cell::new(None),
            opening: Cell::new(0),
            opened: Notify::new(),
        })
    }

    pub(super) fn connector(&self) -> &Connector {
        &self.connector
    }

    /// A connection for one exchange, and whether it served before, so that the server may have closed it meanwhile.
    ///
    /// A new connection is awaited rather than a second one opened if it may be shared: over HTTP/2, and before it is
    /// known what the instance speaks.
    pub(super) async fn lease(self: &Rc<Self>) -> Result<(Lease, bool), ConnectError> {
        if let Some(lease) = self.reuse() {
            return Ok((lease, true));
        }
        self.share_or_open().await
    }

    /// A connection for an exchange that another one has just failed: not one that rested as long as that.
    pub(super) async fn lease_anew(self: &Rc<Self>) -> Result<Lease, ConnectError> {
        if self.version.get() == Some(HttpVersion::Http2) {
            return self.lease().await.map(|(lease, _)| lease);
        }
        self.open(self.deadline()).await
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.connector.patience()
    }

    async fn share_or_open(self: &Rc<Self>) -> Result<(Lease, bool), ConnectError> {
        let deadline = self.deadline();
        let mut awaited = false;
        loop {
            let may_share = self.connector.is_tls() && self.version.get() != Some(HttpVersion::Http1);
            if awaited || !may_share || self.opening.get() == 0 {
                return Ok((self.open(deadline).await?, false));
            }
            timeout_at(deadline, self.opened.notified()).await.map_err(|_| ConnectError::Timeout(Step::Turn))?;
            if let Some(lease) = self.reuse() {
                return Ok((lease, true));
            }
            // One that failed is not waited for again, unless others came to share.
            awaited = self.shared.borrow().is_empty();
        }
    }

    /// A connection that is there already.
    fn reuse(self: &Rc<Self>) -> Option<Lease> {
        if let Some(lease) = self.reuse_shared() {
            return Some(lease);
        }
        let mut idle = self.idle.borrow_mut();
        while let Some(Idle { sender, track, since }) = idle.pop() {
            if sender.is_ready() && !is_old(since) {
                return Some(Lease::Http1 { sender, track, reused: true, pool: Rc::clone(self) });
            }
        }
        None
    }

    fn reuse_shared(&self) -> Option<Lease> {
        let mut shared = self.shared.borrow_mut();
        if shared.is_empty() {
            return None;
        }
        shared.retain(Shared::is_good);
        let free = shared.iter().find(|connection| connection.has_room())?;
        Some(free.lend())
    }

    /// A new connection.
    async fn open(self: &Rc<Self>, deadline: Instant) -> Result<Lease, ConnectError> {
        let _opening = Opening::begin(self);
        let Opened { sender, track } = self.connector.connect(deadline).await?;
        match sender {
            Sender::Http1(sender) => {
                self.version.set(Some(HttpVersion::Http1));
                Ok(Lease::Http1 { sender, track, reused: false, pool: Rc::clone(self) })
            }
            Sender::Http2(sender, streams) => {
                self.version.set(Some(HttpVersion::Http2));
                let (in_flight, used, retired) = (Cell::new(0), Cell::new(Moment::now()), Cell::new(false));
                let load = Rc::new(Load { in_flight, used, retired });
                let connection = Shared { sender, track, streams, load };
                let lease = connection.lend();
                self.shared.borrow_mut().push(connection);
                Ok(lease)
            }
        }
    }

    /// Closes what nobody used for long.
    pub(super) fn sweep(&self) {
        self.idle.borrow_mut().retain(|idle| !is_old(idle.since) && !idle.sender.is_closed());
        self.shared.borrow_mut().retain(Shared::is_good);
    }
}

/// Whether a connection rested too long, also if the machine slept meanwhile.
fn is_old(since: Moment) -> bool {
    Moment::now().has_reached(since + MAX_IDLE)
}

impl Shared {
    fn is_good(&self) -> bool {
        let Load { in_flight, used, retired } = &*self.load;
        !self.sender.is_closed() && !retired.get() && (in_flight.get() > 0 || !is_old(used.get()))
    }

    /// What is more than the server allows would wait for others to end, which may never be.
    fn has_room(&self) -> bool {
        self.load.in_flight.get() < self.streams.get().clamp(1, FULL)
    }

    fn lend(&self) -> Lease {
        let (track, stream) = (Rc::clone(&self.track), Stream::begin(&self.load));
        Lease::Http2 { sender: self.sender.clone(), track, stream }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use http::uri::Authority;
    use proptest::prelude::*;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::dial::Route;

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
        listener: TcpListener,
        /// By the number of the connection.
        far: Vec<Option<TcpStream>>,
        tracks: Vec<Rc<Track>>,
        lent: Vec<(usize, Lease)>,
        /// In the order in which they were returned; not those that were closed or are old.
        good: Vec<usize>,
    }

    fn track(lease: &Lease) -> &Rc<Track> {
        match lease {
            Lease::Http1 { track, .. } | Lease::Http2 { track, .. } => track,
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
            Self { pool: Pool::new(connector), listener, far, tracks, lent, good }
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
                Act::Close(place) => self.close(place).await,
                Act::Age(place) => self.age(place),
                Act::Sweep => self.pool.sweep(),
            }
        }

        fn take(&mut self, number: usize) -> Option<(usize, Lease)> {
            let count = self.lent.len();
            (count > 0).then(|| self.lent.swap_remove(number % count))
        }

        async fn borrow(&mut self) {
            let expected = self.good.pop();
            let (lease, reused) = self.pool.lease().await.expect("a connection");
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

        async fn close(&mut self, place: usize) {
            if self.good.is_empty() {
                return;
            }
            let number = self.good.remove(place % self.good.len());
            self.far[number] = None;
            let is_open = || {
                let idle = self.pool.idle.borrow();
                idle.iter().any(|idle| Rc::ptr_eq(&idle.track, &self.tracks[number]) && !idle.sender.is_closed())
            };
            while is_open() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }

        fn age(&mut self, place: usize) {
            if self.good.is_empty() {
                return;
            }
            let number = self.good.remove(place % self.good.len());
            for idle in self.pool.idle.borrow_mut().iter_mut() {
                if Rc::ptr_eq(&idle.track, &self.tracks[number]) {
                    idle.since.wall -= MAX_IDLE;
                }
            }
        }
    }

    /// hyper's task has to run before a connection is ready again.
    async fn ready(lease: &Lease) {
        let Lease::Http1 { sender, .. } = lease else { return };
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
            });
        }
    }
}
