//! Whether an instance leads back to this proxy: every request would come in again, be sent again, and so on.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::mistake::ConfigMistake;
use super::sections::ConfigFile;
use super::value::Address;
use super::{Config, InstanceConfig, InstanceSite};
use crate::net::listener::ListenAddress;

/// How long all names together may take to be looked up. One that takes longer is not judged: DNS may come up after us,
/// and a request that comes back is recognized by its mark.
const PATIENCE: Duration = Duration::from_secs(2);

/// The listeners of this proxy that TCP reaches, and what they are called in the configuration.
#[derive(Debug, Default)]
pub struct OwnListeners(Vec<(String, SocketAddr)>);

/// An instance that leads back to this proxy.
#[derive(Debug)]
pub struct SelfCall {
    /// What leads where, and why that must not be.
    pub what: String,
    /// What to write instead.
    pub fix: String,
}

impl OwnListeners {
    /// Those whose ports the file tells.
    pub fn of(file: &ConfigFile) -> Self {
        let mut own = Self::default();
        for (name, listener) in &file.listeners {
            let addresses = match listener.address.get_ref() {
                Address::Tcp(address) => vec![*address],
                Address::Localhost(port) => ListenAddress::Localhost(*port).addresses(),
                Address::Unix(_) | Address::Fd(_) => Vec::new(),
            };
            own.add(&format!("listeners.{name}"), addresses);
        }
        own.add("admin", file.admin.address.0.as_ref().map_or_else(Vec::new, ListenAddress::addresses));
        own.add("probes", file.probes.address.0.as_ref().map_or_else(Vec::new, ListenAddress::addresses));
        own
    }

    /// One more, at those of its addresses whose ports are known.
    pub fn add(&mut self, name: &str, addresses: Vec<SocketAddr>) {
        let known = addresses.into_iter().filter(|address| address.port() != 0);
        self.0.extend(known.map(|address| (name.to_owned(), address)));
    }

    /// The listener that a connection to `target` reaches.
    pub fn reached_by(&self, target: SocketAddr) -> Option<(&str, SocketAddr)> {
        let found = self.0.iter().find(|(_, own)| own.port() == target.port() && covers(own.ip(), target.ip()));
        found.map(|(name, address)| (name.as_str(), *address))
    }

    /// What is wrong with an instance that is reached at these addresses, if they lead here.
    pub fn judge(&self, instance: &str, site: &InstanceSite, addresses: &[SocketAddr]) -> Option<SelfCall> {
        let (own, target) = addresses.iter().find_map(|target| Some((self.reached_by(*target)?, *target)))?;
        let route = site.route();
        let (name, address) = own;
        let (host, _) = route.next_hop();
        let where_to = if host.parse() == Ok(target.ip()) { host.to_owned() } else { format!("{host} ({target})") };
        let listener = format!("where {name} of this proxy listens ({address})");
        let what = |subject: &str| {
            format!("{subject} {where_to}, {listener}: every request would come back to the proxy without end")
        };
        let table = format!("[instances.{instance}]");
        let (what, fix) = if route.proxy().is_some() {
            (
                what("the HTTP proxy on the way is"),
                format!("give another proxy in {table}, or proxy = \"none\" if HTTPS_PROXY names it"),
            )
        } else if !site.addresses.is_empty() {
            (what("addresses leads to"), format!("write the addresses of NinjaOne itself in {table}"))
        } else if host.parse::<IpAddr>().is_ok() || host == "localhost" {
            (what("host leads to"), format!("write the host of NinjaOne in {table}, such as host = \"eu\""))
        } else {
            let fix = format!(
                "if a hosts file or DNS sends {host} here on purpose, write NinjaOne's own addresses in {table}: \
                 addresses = [\"IP\"] (\"nslookup {host} 1.1.1.1\" asks a public DNS server for them); else correct host"
            );
            (what("host leads to"), fix)
        };
        Some(SelfCall { what, fix })
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

impl Config {
    /// Looks up where the instances are, and refuses one that leads to a listener of this proxy. Names that cannot be
    /// looked up, or not soon, are not a mistake.
    pub async fn check_self_calls(
        &self,
        instances: &[InstanceConfig],
        own: &OwnListeners,
    ) -> Result<(), ConfigMistake> {
        let mut lookups = JoinSet::new();
        for (place, instance) in instances.iter().enumerate() {
            if let Some(origin) = &instance.origin {
                let route = origin.site.route();
                lookups.spawn(async move { (place, route.resolve().await) });
            }
        }
        let deadline = Instant::now() + PATIENCE;
        while let Ok(Some(looked_up)) = timeout_at(deadline, lookups.join_next()).await {
            let Ok((place, Ok(addresses))) = looked_up else { continue };
            let instance = instances.get(place).and_then(|instance| Some((instance, instance.origin.as_ref()?)));
            let Some((InstanceConfig { name, .. }, origin)) = instance else { continue };
            if let Some(SelfCall { what, fix }) = own.judge(name, &origin.site, &addresses) {
                return Err(self.self_call(name, &origin.site, format!("{what}; {fix}")));
            }
        }
        Ok(())
    }

    /// The mistake at the key that leads here.
    fn self_call(&self, name: &str, site: &InstanceSite, message: String) -> ConfigMistake {
        let Some(file) = self.file.instances.get(name) else { return ConfigMistake::of_file(&self.path, message) };
        match (&file.proxy, &file.addresses) {
            (Some(proxy), _) if site.proxy.is_some() => self.mistake(proxy, message),
            (_, Some(addresses)) => self.mistake(addresses, message),
            (_, None) if !file.host.span().is_empty() => self.mistake(&file.host, message),
            (_, None) => ConfigMistake::of_file(&self.path, format!("instances.{name}: {message}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(addresses: &[&str]) -> OwnListeners {
        let mut own = OwnListeners::default();
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
