//! The most connections of a listener, and what becomes of one more.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::Peer;
use super::idle::Usage;

/// The most connections at a time.
#[derive(Debug, Clone)]
pub enum Slots {
    /// Shared by all workers of a listener: one more waits until another one has ended.
    Waiting(Arc<Semaphore>),
    /// One more takes the place of another one at once, so that nobody can keep others out: so many from this machine,
    /// and so many from elsewhere, which never take each other's places. For a listener of one worker.
    Replacing(usize),
}

/// The connections of one accept loop.
pub(super) enum OpenConnections {
    Waiting(Arc<Semaphore>),
    Replacing(Rc<RefCell<SlotEntries>>),
}

/// Of one connection; dropping it makes room.
pub(super) enum ConnectionSlot {
    /// `None` if there is no limit.
    Permit {
        _kept: Option<OwnedSemaphorePermit>,
    },
    Place(SlotEntry),
}

/// A place that may be taken away.
pub(super) struct SlotEntry {
    places: Rc<RefCell<SlotEntries>>,
    number: u64,
    usage: Rc<Usage>,
    lost: Rc<Notify>,
}

/// Who has a place, by the order of arrival.
#[derive(Debug)]
pub(super) struct SlotEntries {
    most: usize,
    next: u64,
    taken: BTreeMap<u64, Holder>,
}

#[derive(Debug)]
struct Holder {
    source: IpAddr,
    usage: Rc<Usage>,
    lost: Rc<Notify>,
}

impl OpenConnections {
    pub(super) fn new(slots: &Slots) -> Self {
        match slots {
            Slots::Waiting(connections) => Self::Waiting(Arc::clone(connections)),
            Slots::Replacing(most) => {
                Self::Replacing(Rc::new(RefCell::new(SlotEntries { most: *most, next: 0, taken: BTreeMap::new() })))
            }
        }
    }

    /// A slot for a connection, now or as soon as there is one.
    pub(super) async fn slot(&self, peer: &Peer) -> ConnectionSlot {
        match self {
            // An error says that the semaphore is closed, which nobody does.
            Self::Waiting(connections) => {
                ConnectionSlot::Permit { _kept: Arc::clone(connections).acquire_owned().await.ok() }
            }
            Self::Replacing(places) => ConnectionSlot::Place(SlotEntries::take(places, source(peer))),
        }
    }

    /// Lets the connections that have been accepted be served before more of them take their places.
    pub(super) async fn after_you(&self) {
        if matches!(self, Self::Replacing(_)) {
            tokio::task::yield_now().await;
        }
    }
}

impl ConnectionSlot {
    /// Notes whether the connection is used, if that decides who loses a place.
    pub(super) fn usage(&self) -> Option<Rc<Usage>> {
        match self {
            Self::Permit { .. } => None,
            Self::Place(place) => Some(Rc::clone(&place.usage)),
        }
    }

    /// Runs a connection to its end, or until it loses its place.
    pub(super) async fn hold(self, connection: impl Future<Output = ()>) {
        match &self {
            Self::Permit { .. } => connection.await,
            Self::Place(place) => {
                let mut connection = pin!(connection);
                tokio::select! {
                    () = place.lost.notified() => tracing::debug!("connection ended to make room for a new one"),
                    () = &mut connection => {}
                }
            }
        }
    }
}

impl SlotEntries {
    fn take(places: &Rc<RefCell<Self>>, source: IpAddr) -> SlotEntry {
        let (usage, lost) = (Rc::new(Usage::default()), Rc::new(Notify::new()));
        let mut own = places.borrow_mut();
        if own.of(source.is_loopback()).count() >= own.most
            && let Some(victim) = own.victim(source.is_loopback())
            && let Some(holder) = own.taken.remove(&victim)
        {
            holder.lost.notify_one();
        }
        let number = own.next;
        own.next += 1;
        own.taken.insert(number, Holder { source, usage: Rc::clone(&usage), lost: Rc::clone(&lost) });
        SlotEntry { places: Rc::clone(places), number, usage, lost }
    }

    /// Those from this machine, or those from elsewhere.
    fn of(&self, near: bool) -> impl Iterator<Item = (&u64, &Holder)> {
        self.taken.iter().filter(move |(_, holder)| holder.source.is_loopback() == near)
    }

    /// The oldest that serves no request, of the source that has the most; if all serve one, the oldest of that source.
    fn victim(&self, near: bool) -> Option<u64> {
        let mut sources = BTreeMap::<IpAddr, usize>::new();
        self.of(near).for_each(|(_, holder)| *sources.entry(holder.source).or_default() += 1);
        let rank = |(number, holder): &(&u64, &Holder)| {
            (holder.usage.is_in_use(), Reverse(sources.get(&holder.source).copied()), **number)
        };
        self.of(near).min_by_key(rank).map(|(number, _)| *number)
    }
}

impl Drop for SlotEntry {
    fn drop(&mut self) {
        self.places.borrow_mut().taken.remove(&self.number);
    }
}

/// Where a connection comes from: of an IPv6 address the network, since a host has many addresses there. A Unix socket
/// is on this machine.
fn source(peer: &Peer) -> IpAddr {
    match peer.address().map(|address| address.ip()) {
        Some(IpAddr::V6(ip)) if !ip.is_loopback() => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64))),
        Some(ip) => ip,
        None => IpAddr::V6(Ipv6Addr::LOCALHOST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(most: usize) -> Rc<RefCell<SlotEntries>> {
        Rc::new(RefCell::new(SlotEntries { most, next: 0, taken: BTreeMap::new() }))
    }

    fn there(places: &Rc<RefCell<SlotEntries>>) -> Vec<u64> {
        places.borrow().taken.keys().copied().collect()
    }

    fn take(all: &Rc<RefCell<SlotEntries>>, source: &str) -> SlotEntry {
        SlotEntries::take(all, source.parse().expect("an address"))
    }

    #[test]
    fn slots_give_the_place_of_the_oldest_unused_connection_to_a_new_one() {
        let all = places(2);
        let (first, second) = (take(&all, "127.0.0.1"), take(&all, "127.0.0.1"));
        let using = super::super::idle::Using::begin(&first.usage);
        let third = take(&all, "127.0.0.1");
        assert_eq!(there(&all), [first.number, third.number], "the first serves a request");
        let using = (using, super::super::idle::Using::begin(&third.usage));
        let fourth = take(&all, "127.0.0.1");
        assert_eq!(there(&all), [third.number, fourth.number], "all serve one: the oldest");
        drop((using, second, third));
        assert_eq!(there(&all), [fourth.number], "one that ends makes room");
    }

    #[test]
    fn slots_are_taken_from_the_source_that_has_the_most_and_never_from_this_machine_for_another() {
        let all = places(4);
        let near: Vec<_> = (0..4).map(|_| take(&all, "127.0.0.1")).collect();
        let probe = take(&all, "10.0.0.9");
        let crowd: Vec<_> = (0..50).map(|_| take(&all, "10.0.0.66")).collect();
        let left = there(&all);
        assert!(near.iter().chain([&probe]).all(|place| left.contains(&place.number)), "{left:?}");
        assert_eq!(left.len(), 8);
        assert!(left.contains(&crowd.last().expect("one").number), "the newest has a place");
    }

    #[tokio::test]
    async fn slots_end_a_connection_that_loses_its_place() {
        let all = places(1);
        let place = ConnectionSlot::Place(take(&all, "::1"));
        let _next = take(&all, "::1");
        place.hold(std::future::pending()).await;
        assert_eq!(there(&all).len(), 1);
    }
}
