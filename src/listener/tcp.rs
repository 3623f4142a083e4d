//! TCP listeners: a queue for each worker where the system has that.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

use super::BACKLOG;

/// Binds `address` once for each of `count` workers.
///
/// On Linux each worker gets a queue of its own (`SO_REUSEPORT`), elsewhere they share one. A first bind without
/// sharing finds out whether somebody else, another proxy included, has the port; it would also find a socket of our
/// own on another address with that port, for which it is left out.
pub(super) fn bind(address: SocketAddr, count: usize, own_port: bool) -> io::Result<Vec<TcpListener>> {
    if address.port() != 0 && !own_port {
        drop(open(address, false)?);
    }
    let first = open(address, true)?;
    let bound = first.local_addr()?;
    let mut listeners = vec![first];
    while listeners.len() < count {
        listeners.push(sibling(&listeners, bound)?);
    }
    for listener in &listeners {
        Socket::from(listener.try_clone()?).listen(BACKLOG)?;
    }
    Ok(listeners)
}

#[cfg(target_os = "linux")]
fn sibling(_: &[TcpListener], bound: SocketAddr) -> io::Result<TcpListener> {
    open(bound, true)
}

#[cfg(not(target_os = "linux"))]
fn sibling(siblings: &[TcpListener], _: SocketAddr) -> io::Result<TcpListener> {
    siblings.first().ok_or(io::ErrorKind::NotFound)?.try_clone()
}

/// A bound socket that does not listen yet.
fn open(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // On Windows SO_REUSEADDR would let another process take the port over.
    #[cfg(not(windows))]
    socket.set_reuse_address(true)?;
    #[cfg(target_os = "linux")]
    socket.set_reuse_port(shared)?;
    #[cfg(not(target_os = "linux"))]
    let _ = shared;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}
