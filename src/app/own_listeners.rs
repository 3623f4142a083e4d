//! The addresses of the proxy itself, which nothing that it sends may lead to.

use super::App;
use super::listeners::BoundListener;
use super::single_listener::SingleListener;
use crate::config::sections::ConfigFile;
use crate::net::listener::Bound;
use crate::net::own_addresses::OwnAddresses;

impl App {
    /// Where the proxy listens with this configuration.
    pub(super) fn own_listeners(
        &self,
        listeners: &[BoundListener],
        (admin, probes): (Option<&SingleListener>, Option<&SingleListener>),
        file: &ConfigFile,
    ) -> OwnAddresses {
        let mut own = OwnAddresses::default();
        let mut add = |name: &str, address: Option<&Bound>| {
            own.add(name, address.map_or_else(Vec::new, Bound::addresses));
        };
        for listener in listeners {
            add(&format!("listeners.{}", listener.name), Some(&listener.address));
        }
        let admin = admin.map(|new| &new.address).or(self.admin.as_ref());
        add("admin", admin.filter(|_| file.admin.address.0.is_some()));
        let probes = probes.map(|new| &new.address).or(self.probes.address.as_ref());
        add("probes", probes.filter(|_| file.probes.address.0.is_some()));
        own
    }
}
