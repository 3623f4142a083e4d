//! TCP listeners: a queue for each worker where the system has that, and a port that nobody else can join.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

use super::{BACKLOG, port_owner};

/// What is bound to one address.
pub(super) struct TcpSockets {
    /// One for each worker.
    pub(super) listeners: Vec<TcpListener>,
    pub(super) guard: PortGuard,
}

/// Keeps other processes out of a port that our workers share, as long as it is there.
///
/// Linux lets any process of the same user bind a port together with sockets that share it (`SO_REUSEPORT`), and gives it a
/// part of the callers, with their keys. Before it does, it looks at every socket of the port. So there is one more
/// that never listens, and stopped sharing once it was bound.
#[derive(Debug)]
pub(super) struct PortGuard {
    address: SocketAddr,
    /// `None` where the workers share one queue, which nobody can join.
    socket: Option<Socket>,
}

/// Binds `address` for each of `count` workers. `own` are the ports that this process has: the new sockets may share
/// one of them until the old ones are closed, also for an address that includes the other.
pub(super) fn bind(address: SocketAddr, count: usize, own: &[&PortGuard]) -> io::Result<TcpSockets> {
    let own: Vec<&PortGuard> = own.iter().copied().filter(|own| own.has_port(address.port())).collect();
    if address.port() != 0 && own.is_empty() {
        // Finds out whether somebody else, another proxy included, has the port.
        drop(open(address, Sharing::Nobody)?);
    }
    own.iter().for_each(|own| own.lets_in(true));
    let opened = queues(address, count);
    own.iter().for_each(|own| own.lets_in(false));
    let opened = opened?;
    // Sockets of our own that will go may still share the port with it.
    if opened.guard.is_alone() || (!own.is_empty() && !port_owner::has_company(address.port())) {
        return Ok(opened);
    }
    // Nobody can join one queue, and nobody who has joined already can have it.
    let address = opened.guard.address;
    drop(opened);
    one_queue(address, count)
}

/// A queue for each worker.
#[cfg(target_os = "linux")]
fn queues(address: SocketAddr, count: usize) -> io::Result<TcpSockets> {
    let mut listeners = vec![open(address, Sharing::Port)?];
    let address = listeners.iter().map(Socket::local_addr).next().ok_or(io::ErrorKind::NotFound)??;
    let address = address.as_socket().ok_or(io::ErrorKind::NotFound)?;
    while listeners.len() < count {
        listeners.push(open(address, Sharing::Port)?);
    }
    let socket = open(address, Sharing::Port)?;
    socket.set_reuse_port(false)?;
    for listener in &listeners {
        listener.listen(BACKLOG)?;
    }
    socket.set_reuse_address(false)?;
    let guard = PortGuard { address, socket: Some(socket) };
    Ok(TcpSockets { listeners: listeners.into_iter().map(TcpListener::from).collect(), guard })
}

#[cfg(not(target_os = "linux"))]
fn queues(address: SocketAddr, count: usize) -> io::Result<TcpSockets> {
    one_queue(address, count)
}

/// One queue that all workers accept from.
fn one_queue(address: SocketAddr, count: usize) -> io::Result<TcpSockets> {
    let socket = open(address, Sharing::Nobody)?;
    socket.listen(BACKLOG)?;
    let first = TcpListener::from(socket);
    let address = first.local_addr()?;
    let mut listeners = vec![first];
    while listeners.len() < count {
        let next = listeners.first().ok_or(io::ErrorKind::NotFound)?.try_clone()?;
        listeners.push(next);
    }
    Ok(TcpSockets { listeners, guard: PortGuard { address, socket: None } })
}

impl PortGuard {
    /// The address with its real port.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    fn has_port(&self, port: u16) -> bool {
        port != 0 && self.address.port() == port
    }

    /// Opens the port to sockets that share it, or closes it again.
    #[cfg(target_os = "linux")]
    fn lets_in(&self, others: bool) {
        // It was possible when the socket was made.
        let _ = self.socket.as_ref().map(|socket| socket.set_reuse_port(others));
    }

    #[cfg(not(target_os = "linux"))]
    fn lets_in(&self, _: bool) {}

    /// Whether nobody can bind the port too: tried, since it depends on what the kernel compares.
    #[cfg(target_os = "linux")]
    pub(super) fn is_alone(&self) -> bool {
        if self.socket.is_none() {
            return true;
        }
        // Linux compares nothing for a port whose sockets all share it. One bound to another address of the port,
        // without sharing, ends that.
        let _ = elsewhere(self.address).map(|other| open(other, Sharing::Nobody));
        let others = [Sharing::Port, Sharing::PortOnly].map(|sharing| open(self.address, sharing));
        let closed =
            |bound: &io::Result<Socket>| bound.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse);
        others.iter().all(closed) && !port_owner::has_company(self.address.port())
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn is_alone(&self) -> bool {
        true
    }
}

/// An address with the same port that does not include `address`, nor is included in it.
#[cfg(target_os = "linux")]
fn elsewhere(address: SocketAddr) -> Option<SocketAddr> {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
    let other = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => return None,
        // Nobody else is likely to be there.
        IpAddr::V4(_) | IpAddr::V6(_) => {
            Ipv4Addr::new(127, fastrand::u8(64..), fastrand::u8(..), fastrand::u8(1..)).into()
        }
    };
    Some(SocketAddr::new(other, address.port()))
}

/// With whom a socket shares its port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sharing {
    /// With none that listens.
    Nobody,
    /// With those of the same user that share it too (on Linux).
    #[cfg(target_os = "linux")]
    Port,
    /// The same, but not with what is left of former connections.
    #[cfg(target_os = "linux")]
    PortOnly,
}

/// A bound socket that does not listen yet.
fn open(address: SocketAddr, sharing: Sharing) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // On Windows SO_REUSEADDR would let another process take the port over.
    #[cfg(target_os = "linux")]
    {
        socket.set_reuse_address(sharing != Sharing::PortOnly)?;
        socket.set_reuse_port(sharing != Sharing::Nobody)?;
    }
    #[cfg(not(target_os = "linux"))]
    let Sharing::Nobody = sharing;
    #[cfg(all(not(windows), not(target_os = "linux")))]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    /// What another process of the same user could do.
    #[cfg(target_os = "linux")]
    fn intrudes(address: SocketAddr) -> bool {
        [Sharing::Nobody, Sharing::Port, Sharing::PortOnly]
            .into_iter()
            .any(|sharing| open(address, sharing).is_ok_and(|socket| socket.listen(1).is_ok()))
    }

    /// How many connections each queue was given.
    fn shares(opened: &TcpSockets, address: SocketAddr, connections: usize) -> Vec<usize> {
        let _callers: Vec<_> = (0..connections).map(|_| TcpStream::connect(address).expect("a connection")).collect();
        opened.listeners.iter().map(|listener| std::iter::from_fn(|| listener.accept().ok()).count()).collect()
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn port_is_shared_by_our_workers_and_nobody_can_join() {
        for address in ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0", "[::]:0"] {
            let opened = match bind(address.parse().expect("an address"), 3, &[]) {
                Err(error) if address.starts_with('[') => {
                    eprintln!("no IPv6 here: {error}");
                    continue;
                }
                opened => opened.expect("a port"),
            };
            let bound = opened.guard.address();
            let loopback = match bound.ip() {
                ip if !ip.is_unspecified() => vec![bound.ip()],
                std::net::IpAddr::V4(_) => vec!["127.0.0.1".parse().expect("an address")],
                std::net::IpAddr::V6(_) => ["127.0.0.1", "::1"].map(|ip| ip.parse().expect("an address")).into(),
            };
            for ip in loopback {
                let near = SocketAddr::new(ip, bound.port());
                assert!(!intrudes(bound) && !intrudes(near), "{bound} {near}");
                let shares = shares(&opened, near, 60);
                assert_eq!(shares.iter().sum::<usize>(), 60, "{bound}");
                let split = opened.guard.socket.is_none() || shares.iter().all(|share| *share > 0);
                assert!(split, "every worker has a queue of its own: {shares:?}");
            }
            if address != "[::]:0" {
                assert!(opened.guard.socket.is_some() || !std::path::Path::new("/proc/net/if_inet6").exists());
            }
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn port_of_our_own_is_bound_again_for_a_wider_or_the_same_address_and_stays_closed() {
        let first = bind("127.0.0.1:0".parse().expect("an address"), 2, &[]).expect("a port");
        let port = first.guard.address().port();
        let wide = SocketAddr::from(([0, 0, 0, 0], port));
        assert!(bind(wide, 2, &[]).is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse), "not ours");
        let second = bind(wide, 2, &[&first.guard]).expect("next to the old one");
        assert!(!intrudes(wide) && !intrudes(first.guard.address()));
        drop(first);
        assert!(!intrudes(wide));
        assert_eq!(shares(&second, SocketAddr::from(([127, 0, 0, 1], port)), 8).iter().sum::<usize>(), 8);
        let third = bind(wide, 2, &[&second.guard]).expect("the same");
        drop(second);
        assert!(!intrudes(wide));
        assert_eq!(shares(&third, SocketAddr::from(([127, 0, 0, 1], port)), 8).iter().sum::<usize>(), 8);
    }

    #[test]
    fn port_that_somebody_has_is_not_bound() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
        let bound = bind(taken.local_addr().expect("an address"), 2, &[]);
        assert!(bound.is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse));
    }
}
