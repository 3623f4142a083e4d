//! The far end of an accepted connection, as the system tells it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::head::FramingError;
use crate::net::tls::certificate::Certificate;

/// The far end of an accepted connection: the proof that a request came through a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    far: RemoteAddress,
    fault: Option<FramingError>,
    tls: bool,
    /// What few connections have.
    more: Option<Arc<ConnectionFacts>>,
}

/// What few connections have: kept apart, since every request has a copy of its peer.
#[derive(Debug, PartialEq, Eq)]
struct ConnectionFacts {
    certificate: Option<Arc<Certificate>>,
    intercepted: Option<Intercepted>,
}

/// What CONNECT said of the connection that it opened, which ends here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intercepted {
    /// The server that it named.
    pub name: Box<str>,
    /// Who its caller has proved to be; the guard reads it again for each request.
    pub proof: Option<[u8; 16]>,
    /// The server that the TLS handshake named, if that is another one.
    pub other_name: Option<Box<str>>,
}

/// Where a connection comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RemoteAddress {
    Tcp(SocketAddr),
    #[cfg_attr(not(unix), allow(dead_code, reason = "there are no Unix sockets"))]
    Unix(User),
}

/// The process at the far end of a Unix socket, as it was when it connected; the kernel vouches for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    /// Its effective user id.
    pub uid: u32,
    /// Its effective group id.
    pub gid: u32,
    /// Its process id, where the system tells it. It may have ended, and the number may be another's by now.
    pub pid: Option<i32>,
}

impl Peer {
    /// An IPv4-mapped IPv6 address becomes the IPv4 address.
    pub(super) fn tcp(address: SocketAddr) -> Self {
        let address = match address.ip() {
            IpAddr::V6(ip) => SocketAddr::new(ip.to_canonical(), address.port()),
            IpAddr::V4(_) => address,
        };
        Self::at(RemoteAddress::Tcp(address))
    }

    #[cfg(unix)]
    pub(super) fn unix(user: User) -> Self {
        Self::at(RemoteAddress::Unix(user))
    }

    fn at(far: RemoteAddress) -> Self {
        Self { far, fault: None, tls: false, more: None }
    }

    /// The certificate is the one that the handshake verified.
    pub(super) fn over_tls(self, certificate: Option<Arc<Certificate>>) -> Self {
        let more = certificate
            .map(|certificate| Arc::new(ConnectionFacts { certificate: Some(certificate), intercepted: None }));
        Self { tls: true, more, ..self }
    }

    /// Inside a CONNECT: the handshake named this server. A caller's certificate is that of the connection outside.
    pub(super) fn over_inner_tls(self, server: Option<&str>) -> Self {
        let peer = match (self.intercepted(), server) {
            (Some(intercepted), Some(server)) if *server != *intercepted.name => {
                let other = Intercepted { other_name: Some(server.into()), ..intercepted.clone() };
                self.through(other)
            }
            (Some(_) | None, _) => self,
        };
        Self { tls: true, ..peer }
    }

    pub(super) fn with_fault(self, fault: Option<FramingError>) -> Self {
        Self { fault, ..self }
    }

    /// At the end of a CONNECT.
    #[must_use]
    pub fn through(self, intercepted: Intercepted) -> Self {
        let facts = ConnectionFacts { certificate: self.certificate().cloned(), intercepted: Some(intercepted) };
        Self { more: Some(Arc::new(facts)), ..self }
    }

    /// What CONNECT said, if the connection came through one.
    pub fn intercepted(&self) -> Option<&Intercepted> {
        self.more.as_ref()?.intercepted.as_ref()
    }

    /// The address of the far end; `None` behind a Unix socket.
    pub fn address(&self) -> Option<SocketAddr> {
        match self.far {
            RemoteAddress::Tcp(address) => Some(address),
            RemoteAddress::Unix(_) => None,
        }
    }

    /// The user at the far end of a Unix socket; `None` behind any other.
    pub fn user(&self) -> Option<User> {
        match self.far {
            RemoteAddress::Tcp(_) => None,
            RemoteAddress::Unix(user) => Some(user),
        }
    }

    /// The certificate that the caller showed; `None` without TLS, or if it showed none. It is valid, and issued by the
    /// listener's client-ca.
    pub fn certificate(&self) -> Option<&Arc<Certificate>> {
        self.more.as_ref()?.certificate.as_ref()
    }

    /// The scheme that targets on this connection have: `https` over TLS, else `http`.
    pub fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }

    pub(super) fn is_tls(&self) -> bool {
        self.tls
    }

    /// What is wrong with the request's head, and does not show in the request.
    pub fn fault(&self) -> Option<FramingError> {
        self.fault
    }

    #[cfg(test)]
    pub(crate) fn loopback() -> Self {
        Self::tcp(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// The same over TLS, without a certificate.
    #[cfg(test)]
    pub(crate) fn secured(self) -> Self {
        self.over_tls(None)
    }

    /// A process with these ids behind a Unix socket.
    #[cfg(test)]
    pub(crate) fn of_user(uid: u32, gid: u32) -> Self {
        Self::at(RemoteAddress::Unix(User { uid, gid, pid: Some(4242) }))
    }
}

/// `127.0.0.1:44612`, or `uid=1000 gid=1000 pid=4242`.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.far {
            RemoteAddress::Tcp(address) => address.fmt(f),
            RemoteAddress::Unix(user) => user.fmt(f),
        }
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { uid, gid, pid } = self;
        write!(f, "uid={uid} gid={gid}")?;
        pid.map_or(Ok(()), |pid| write!(f, " pid={pid}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_is_an_address_or_a_user() {
        let (near, user) = (Peer::loopback(), Peer::of_user(1000, 100));
        assert_eq!((near.to_string().as_str(), near.user()), ("127.0.0.1:0", None));
        assert_eq!(user.to_string(), "uid=1000 gid=100 pid=4242");
        assert_eq!((user.address(), user.user().map(|user| (user.uid, user.gid))), (None, Some((1000, 100))));
    }

    #[test]
    fn peer_behind_a_dual_stack_socket_has_its_ipv4_address() {
        let mapped = "[::ffff:10.0.0.1]:7".parse().expect("an address");
        assert_eq!(Peer::tcp(mapped).to_string(), "10.0.0.1:7");
    }
}
