//! Whether an instance leads back to this proxy: every request would come in again, be sent again, and so on.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::mistake::ConfigMistake;
use super::sections::ConfigFile;
use super::value::Address;
use super::{Config, InstanceConfig, InstanceSite};
use crate::net::listener::ListenAddress;
use crate::net::own_addresses::OwnAddresses;
use crate::proxy::connect::{TunnelHost, TunnelTarget};

/// How long all names together may take to be looked up. One that takes longer is not judged: DNS may come up after us,
/// and a request that comes back is recognized by its mark.
const PATIENCE: Duration = Duration::from_secs(2);

/// An instance that leads back to this proxy.
#[derive(Debug)]
pub struct SelfCall {
    /// What leads where, and why that must not be.
    pub what: String,
    /// What to write instead.
    pub fix: String,
}

impl ConfigFile {
    /// The addresses of the listeners whose ports the file tells.
    pub fn own_addresses(&self) -> OwnAddresses {
        let mut own = OwnAddresses::default();
        for (name, listener) in &self.listeners {
            let addresses = match listener.address.get_ref() {
                Address::Tcp(address) => vec![*address],
                Address::Localhost(port) => ListenAddress::Localhost(*port).addresses(),
                Address::Unix(_) | Address::Fd(_) => Vec::new(),
            };
            own.add(&format!("listeners.{name}"), addresses);
        }
        own.add("admin", self.admin.address.0.as_ref().map_or_else(Vec::new, ListenAddress::addresses));
        own.add("probes", self.probes.address.0.as_ref().map_or_else(Vec::new, ListenAddress::addresses));
        own
    }
}

impl SelfCall {
    /// What is wrong with an instance that is reached at these addresses, if they lead here.
    pub fn find(own: &OwnAddresses, (instance, site): (&str, &InstanceSite), addresses: &[SocketAddr]) -> Option<Self> {
        let (own, target) = addresses.iter().find_map(|target| Some((own.reached_by(*target)?, *target)))?;
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
        Some(Self { what, fix })
    }
}

impl Config {
    /// Looks up where the instances are, and refuses one that leads to a listener of this proxy. Names that cannot be
    /// looked up, or not soon, are not a mistake. Addresses in `tunnel` are refused too; names there are judged when they
    /// are used.
    pub async fn check_self_calls(
        &self,
        instances: &[InstanceConfig],
        own: &OwnAddresses,
    ) -> Result<(), ConfigMistake> {
        self.check_tunnels(own)?;
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
            if let Some(SelfCall { what, fix }) = SelfCall::find(own, (name, &origin.site), &addresses) {
                return Err(self.self_call(name, &origin.site, format!("{what}; {fix}")));
            }
        }
        Ok(())
    }

    fn check_tunnels(&self, own: &OwnAddresses) -> Result<(), ConfigMistake> {
        for entry in self.file.listeners.values().flat_map(|listener| &listener.tunnel) {
            let Ok(target) = TunnelTarget::parse(entry.get_ref()) else { continue };
            let TunnelHost::Address(ip) = *target.host() else { continue };
            if let Some((name, address)) = own.reached_by(SocketAddr::new(ip, target.port())) {
                let message = format!(
                    "{target} leads to where {name} of this proxy listens ({address}), and no tunnel leads back: leave it out, and have the tool call that listener without a proxy"
                );
                return Err(self.mistake(entry, message));
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
