//! The addresses of this process itself, which nothing that it sends may lead to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// The listeners of this process that TCP reaches, and what they are called in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OwnAddresses(Vec<(String, SocketAddr)>);

impl OwnAddresses {
    /// One more listener, at those of its addresses whose ports are known.
    pub fn add(&mut self, name: &str, addresses: Vec<SocketAddr>) {
        let known = addresses.into_iter().filter(|address| address.port() != 0);
        self.0.extend(known.map(|address| (name.to_owned(), address)));
    }

    /// The listener that a connection to `target` reaches. Asks the system whether an address is of this machine, where
    /// a listener is bound to all addresses.
    pub fn reached_by(&self, target: SocketAddr) -> Option<(&str, SocketAddr)> {
        let found = self.0.iter().find(|(_, own)| own.port() == target.port() && covers(own.ip(), target.ip()));
        found.map(|(name, address)| (name.as_str(), *address))
    }
}

/// Whether a socket that is bound to `own` gets what is sent to `target`.
fn covers(own: IpAddr, target: IpAddr) -> bool {
    let (own, target) = (own.to_canonical(), reached(target.to_canonical()));
    match own {
        _ if own == target => true,
        // On IPv4 alone; [::] takes both, unless the system is set up otherwise.
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => target.is_ipv4() && is_of_this_machine(target),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => is_of_this_machine(target),
        IpAddr::V4(_) | IpAddr::V6(_) => false,
    }
}

/// A connection to the address that means all addresses ends at this machine.
fn reached(target: IpAddr) -> IpAddr {
    match target {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        IpAddr::V4(_) | IpAddr::V6(_) => target,
    }
}

/// Only an address of the machine's own can be bound. Nothing is sent.
fn is_of_this_machine(ip: IpAddr) -> bool {
    ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn own(addresses: &[&str]) -> OwnAddresses {
        let mut own = OwnAddresses::default();
        for address in addresses {
            own.add("listeners.local", vec![address.parse().expect("an address")]);
        }
        own
    }

    #[test]
    fn every_spelling_of_an_own_address_is_recognized() {
        for (bound, target) in [
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            ("127.0.0.1:8080", "[::ffff:127.0.0.1]:8080"),
            ("127.0.0.1:8080", "0.0.0.0:8080"),
            ("127.0.0.1:8080", "[::ffff:0.0.0.0]:8080"),
            ("[::1]:8080", "[::1]:8080"),
            ("[::1]:8080", "[::]:8080"),
            ("0.0.0.0:8080", "127.0.0.1:8080"),
            ("0.0.0.0:8080", "127.9.9.9:8080"),
            ("0.0.0.0:8080", "[::ffff:127.0.0.1]:8080"),
            ("0.0.0.0:8080", "0.0.0.0:8080"),
            ("[::]:8080", "127.0.0.1:8080"),
            ("[::]:8080", "[::1]:8080"),
            ("[::]:8080", "0.0.0.0:8080"),
            ("[::ffff:127.0.0.1]:8080", "127.0.0.1:8080"),
        ] {
            assert!(own(&[bound]).reached_by(target.parse().expect("an address")).is_some(), "{target} at {bound}");
        }
    }

    #[test]
    fn other_ports_and_other_machines_are_not_this_proxy() {
        for (bound, target) in [
            ("127.0.0.1:8080", "127.0.0.1:8081"),
            ("127.0.0.1:8080", "127.0.0.2:8080"),
            ("127.0.0.1:8080", "[::1]:8080"),
            ("127.0.0.1:8080", "192.0.2.1:8080"),
            ("0.0.0.0:8080", "192.0.2.1:8080"),
            ("0.0.0.0:8080", "[::1]:8080"),
            ("[::]:8080", "192.0.2.1:8080"),
            ("[::]:8080", "[2001:db8::1]:8080"),
        ] {
            assert!(own(&[bound]).reached_by(target.parse().expect("an address")).is_none(), "{target} at {bound}");
        }
        assert!(own(&["127.0.0.1:0"]).0.is_empty(), "a port that is not known yet");
    }

    /// Whether the listener itself gets a connection to `target`: another process may have the port of another address.
    fn reaches(listener: &std::net::TcpListener, target: SocketAddr) -> bool {
        let Ok(stream) = std::net::TcpStream::connect_timeout(&target, Duration::from_secs(5)) else { return false };
        let own = stream.local_addr().expect("an address");
        let same = |peer: SocketAddr| peer.port() == own.port() && peer.ip().to_canonical() == own.ip().to_canonical();
        // A connection that is made waits in the queue of the listener that has it.
        listener.set_nonblocking(true).expect("a setting");
        std::iter::from_fn(|| listener.accept().ok()).any(|(_, peer)| same(peer))
    }

    /// Asks the system itself: what reaches a socket is recognized, and nothing else is.
    #[test]
    fn the_judgement_is_that_of_the_system() {
        let targets = ["127.0.0.1", "127.0.0.2", "::1", "::", "0.0.0.0", "::ffff:127.0.0.1"];
        for bound in ["127.0.0.1", "127.0.0.2", "0.0.0.0", "::1", "::"] {
            let ip: IpAddr = bound.parse().expect("an address");
            // A system without IPv6, or with one loopback address.
            let Ok(listener) = std::net::TcpListener::bind((ip, 0)) else { continue };
            let address = listener.local_addr().expect("an address");
            let own = own(&[&address.to_string()]);
            for target in targets {
                let target = SocketAddr::new(target.parse().expect("an address"), address.port());
                let reaches = reaches(&listener, target);
                assert_eq!(own.reached_by(target).is_some(), reaches, "{target} at {address}");
            }
        }
    }
}
