//! Who is judged: a listener, or one of its callers; and what of it an administrator should know.

use std::collections::BTreeSet;

use super::{CallerConfig, InstanceConfig, ListenerConfig, Settings};
use crate::base::secret::source::SecretSource;
use crate::net::tls::Trust;
use crate::net::tls::local::NAMES;
use crate::net::tls::server::IdentitySource;
use crate::proxy::policy::Policy;

/// A listener, or one of its callers, and what is open to it.
#[derive(Debug, Clone, Copy)]
pub struct PolicyTarget<'a> {
    /// The listener.
    pub listener: &'a ListenerConfig,
    /// The caller, if callers are told apart.
    pub caller: Option<&'a CallerConfig>,
}

impl<'a> PolicyTarget<'a> {
    /// What is open.
    pub fn policy(&self) -> &'a Policy {
        self.caller.map_or(&self.listener.policy, |caller| &caller.policy)
    }

    /// The caller's name, if callers are told apart.
    pub fn caller(&self) -> Option<&'a str> {
        self.caller.map(|caller| caller.entry.name.as_str())
    }

    /// The name in tables and warnings.
    pub fn name(&self) -> String {
        let listener = &self.listener.name;
        self.caller().map_or_else(|| listener.clone(), |caller| format!("{listener}.callers.{caller}"))
    }
}

impl ListenerConfig {
    /// The listener without callers, or each of its callers.
    pub fn subjects(&self) -> Vec<PolicyTarget<'_>> {
        match self.callers.as_slice() {
            [] => vec![PolicyTarget { listener: self, caller: None }],
            callers => callers.iter().map(|caller| PolicyTarget { listener: self, caller: Some(caller) }).collect(),
        }
    }

    /// What of it opens more than it may seem.
    pub fn warnings(&self) -> Vec<String> {
        let name = &self.name;
        let clear = (self.place.is_exposed() && self.tls.is_none()).then(|| {
            format!("listeners.{name} takes keys in clear text from the network: whoever listens there has them")
        });
        let observes = self.policy.observes().then(|| {
            format!(
                "listeners.{name} only observes its rules: it lets pass all that its scopes permit, guarded groups too"
            )
        });
        clear.into_iter().chain(observes).chain(self.certificate_warnings()).collect()
    }

    /// Names that callers may use, and that the listener's certificate is not valid for. Reads it.
    pub fn certificate_warnings(&self) -> Vec<String> {
        let (Some(basis @ IdentitySource::Files(files)), name) = (&self.tls, &self.name) else { return Vec::new() };
        let file = files.certificate.display();
        let of_names = basis.uncovered(&self.names.iter().map(String::as_str).collect::<Vec<_>>());
        let told = of_names.iter().map(|uncovered| {
            format!("listeners.{name}: the certificate in {file} is not valid for {uncovered}, which names has: callers that use this name refuse the connection")
        });
        let addresses = self.place.addresses().into_iter().map(|address| address.ip());
        let own = addresses.filter(|ip| !ip.is_unspecified()).map(|ip| ip.to_string());
        let known: Vec<String> =
            NAMES.iter().map(|&name| name.to_owned()).chain(own).chain(self.names.clone()).collect();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let none = basis.uncovered(&known).len() == known.len() && self.names.is_empty();
        let none = none.then(|| {
            format!("listeners.{name}: the certificate in {file} is not valid for localhost, nor for the address of this listener: list the name that callers use in names, or they get 421")
        });
        told.chain(none).collect()
    }
}

impl Settings {
    /// Who else may read or write what shall be secret.
    pub fn exposures(&self) -> Vec<String> {
        let keys = self.listeners.iter().filter_map(|listener| listener.tls.as_ref()?.exposure());
        self.instances.iter().flat_map(InstanceConfig::exposures).chain(keys).collect()
    }

    /// What of the roots that are trusted could not be read; others are trusted beside it.
    pub fn complaints(&self) -> BTreeSet<String> {
        let instances = self.instances.iter().filter_map(|instance| instance.origin.as_ref()?.site.trust.as_ref());
        let trusts = instances.chain(self.traces.iter().map(|traces| &traces.trust));
        trusts.flat_map(Trust::complaints).cloned().collect()
    }
}

impl InstanceConfig {
    /// Who else may read or write its credentials.
    fn exposures(&self) -> Vec<String> {
        let sources = self.origin.iter().flat_map(|origin| origin.credentials.sources());
        sources.filter_map(SecretSource::exposure).collect()
    }
}
