//! What the tables of listeners say: where each listens, and who may connect.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use toml::Spanned;

use super::compiled_policies::CompiledPolicies;
use super::mistake::ConfigMistake;
use super::rules::RulesFile;
use super::sections::ListenerSection;
use super::settings::ListenerConfig;
use super::value::{Address, ListenerMode, Permissions};
use super::writes::tries_writes;
use super::{Config, nearest};
use crate::net::listener::{self, ListenAddress, SocketFile};
use crate::proxy::authn::{browser, host_name};
use crate::proxy::policy::InstanceId;
use crate::proxy::policy::catalog::Catalog;

/// The default of a listener's `permissions`: the user of the process alone may connect.
const SOCKET_MODE: u32 = 0o600;

impl Config {
    /// Whether two that listen want the same address.
    pub(super) fn check_addresses(&self) -> Result<(), ConfigMistake> {
        let listeners = self.file.listeners.iter().map(|(name, file)| {
            let all = match file.address.get_ref() {
                Address::Tcp(address) => ListenAddress::Tcp(*address).addresses(),
                Address::Localhost(port) => ListenAddress::Localhost(*port).addresses(),
                Address::Unix(_) | Address::Fd(_) => Vec::new(),
            };
            let texts = if all.is_empty() { vec![file.address.get_ref().to_string()] } else { with_port(&all) };
            (vec!["listeners", name.as_str(), "address"], texts)
        });
        let of_table = |table, place: &Option<ListenAddress>| {
            place.as_ref().map(|place| (vec![table, "address"], with_port(&place.addresses())))
        };
        let single = [of_table("admin", &self.file.admin.address.0), of_table("probes", &self.file.probes.address.0)];
        let mut taken = BTreeMap::<String, Vec<&str>>::new();
        for (key, texts) in listeners.chain(single.into_iter().flatten()) {
            for text in texts {
                if let Some(other) = taken.get(&text) {
                    let message = format!("{} has the address {text} too: choose another one", other.join("."));
                    return Err(self.about(&key, &[other], message));
                }
                taken.insert(text, key.clone());
            }
        }
        Ok(())
    }

    pub(super) fn listener(
        &self,
        name: &str,
        file: &ListenerSection,
        catalog: &Arc<Catalog>,
    ) -> Result<ListenerConfig, ConfigMistake> {
        let instance = self.instance_of(name, file)?;
        let organizations = self.organizations(file.organizations.as_ref())?;
        let ListenerSection { scopes, groups, allow, deny, .. } = file;
        self.check_fence(file.organizations.as_ref(), self.scopes(scopes)?)?;
        let rules = RulesFile { scopes, groups, allow, deny, organizations };
        let observes = file.mode.as_ref().is_some_and(|mode| *mode.get_ref() == ListenerMode::Observe);
        let user = self.policy_user(instance, (file.user.as_ref(), file.user_for.as_ref()), None)?;
        let policy = Arc::new(self.policy(&rules, instance, catalog)?.observing(observes).with_user(user));
        let origin = |text: &Spanned<String>| {
            browser::WebOrigin::parse(text.get_ref())
                .map_err(|error| self.mistake(text, format!("{:?}: {error}", text.get_ref())))
        };
        let origins = file.allowed_origins.iter().map(origin).collect::<Result<_, _>>()?;
        self.check_proofs(name, &file.callers)?;
        let mut compiled = CompiledPolicies::default();
        let callers = file.callers.iter();
        let callers = callers.map(|(name, caller)| self.caller(name, caller, file, (&policy, &mut compiled)));
        let callers = callers.collect::<Result<_, _>>()?;
        let quota = self.quota(file.quota.as_ref())?;
        let tries_writes = tries_writes(file.writes.as_ref());
        let (name, place, names) = (name.to_owned(), self.place(file)?, self.names(&file.names)?);
        let intercept = self.intercepted(&file.intercept)?;
        let interception = self.interception_ca(&file.intercept, &intercept)?;
        let tunnel = self.tunnel(&file.tunnel, &intercept)?;
        let tls = file.tls.as_ref().map(|tls| self.basis(tls, &names, &intercept)).transpose()?;
        Ok(ListenerConfig {
            name,
            place,
            tls,
            names,
            intercept,
            interception,
            tunnel,
            origins,
            policy,
            quota,
            tries_writes,
            callers,
        })
    }

    fn names(&self, names: &[Spanned<String>]) -> Result<Vec<String>, ConfigMistake> {
        let checked = |text: &Spanned<String>| match host_name::check(text.get_ref()) {
            Ok(()) => Ok(text.get_ref().clone()),
            Err(error) => Err(self.mistake(text, format!("{:?}: {error}", text.get_ref()))),
        };
        names.iter().map(checked).collect()
    }

    fn instance_of(&self, listener: &str, file: &ListenerSection) -> Result<InstanceId, ConfigMistake> {
        let mut names = self.file.instances.keys();
        let known = || self.file.instances.keys().map(String::as_str);
        let position = match &file.instance {
            Some(wanted) => {
                let unknown = || {
                    let (wanted, list) = (wanted.get_ref(), known().collect::<Vec<_>>().join(", "));
                    format!("unknown instance {wanted:?}: valid instances are {list}{}", nearest(wanted, known()))
                };
                let position = names.position(|name| name == wanted.get_ref());
                position.ok_or_else(|| self.mistake(wanted, unknown()))?
            }
            None if self.file.instances.len() == 1 => 0,
            None => {
                let list = known().collect::<Vec<_>>().join(", ");
                let message = format!(
                    "this key is needed, since there are several instances ({list}): write instance = {:?}, or another of them",
                    known().next().unwrap_or_default()
                );
                return Err(self.about(&["listeners", listener, "instance"], &[&["instances"]], message));
            }
        };
        let too_many = |_| self.about(&["instances"], &[], "there are more than 65535 of them");
        u16::try_from(position).map(InstanceId).map_err(too_many)
    }

    fn place(&self, file: &ListenerSection) -> Result<ListenAddress, ConfigMistake> {
        if !matches!(file.address.get_ref(), Address::Unix(_)) {
            let socket = |mode: &&Spanned<ListenerMode>| matches!(mode.get_ref(), ListenerMode::Permissions(_));
            self.without_file("mode", file.mode.as_ref().filter(socket))?;
            self.without_file("permissions", file.permissions.as_ref())?;
            self.without_file("group", file.group.as_ref())?;
        }
        match file.address.get_ref() {
            Address::Tcp(address) => {
                self.check_exposure(address.ip(), file)?;
                Ok(ListenAddress::Tcp(*address))
            }
            Address::Localhost(port) => Ok(ListenAddress::Localhost(*port)),
            Address::Fd(socket) => Ok(ListenAddress::Inherited(socket.clone())),
            Address::Unix(path) => {
                let mode = self.permissions(file)?;
                let group = file.group.as_ref().map(|name| self.group(name)).transpose()?;
                Ok(ListenAddress::Unix(SocketFile { path: self.beside(path), mode, group }))
            }
        }
    }

    /// Those of a Unix socket, from one of two places.
    fn permissions(&self, file: &ListenerSection) -> Result<u32, ConfigMistake> {
        match (file.mode.as_ref().map(Spanned::get_ref), &file.permissions) {
            (Some(ListenerMode::Permissions(_)), Some(permissions)) => {
                Err(self.mistake(permissions, "mode sets the permissions already: leave one of the two out"))
            }
            (Some(ListenerMode::Permissions(Permissions(mode))), None) => Ok(*mode),
            (_, Some(permissions)) => Ok(permissions.get_ref().0),
            (Some(ListenerMode::Enforce | ListenerMode::Observe) | None, None) => Ok(SOCKET_MODE),
        }
    }

    /// Anyone who reaches a port uses the proxy's credentials.
    fn check_exposure(&self, ip: IpAddr, file: &ListenerSection) -> Result<(), ConfigMistake> {
        let message = if ip.is_loopback() || (!file.callers.is_empty() && (file.tls.is_some() || file.cleartext)) {
            return Ok(());
        } else if file.callers.is_empty() {
            format!(
                "{ip} is not a loopback address, and anyone who reaches this port would use the proxy's credentials: use 127.0.0.1 or [::1], or say who may call (\"ninjaone-proxy key new NAME\")"
            )
        } else {
            format!(
                "{ip} is not a loopback address, and callers would send their keys in clear text: give the listener a certificate ([listeners.NAME.tls]), or set cleartext = true if nobody else can listen on that network (containers of one host)"
            )
        };
        Err(self.mistake(&file.address, message))
    }

    fn without_file<T>(&self, key: &str, value: Option<&Spanned<T>>) -> Result<(), ConfigMistake> {
        let message = || format!("{key} belongs to a Unix socket: leave it out, or write address = \"unix:PATH\"");
        value.map_or(Ok(()), |value| Err(self.mistake(value, message())))
    }

    fn group(&self, name: &Spanned<String>) -> Result<u32, ConfigMistake> {
        let text = name.get_ref();
        match listener::group(text) {
            Ok(Some(number)) => Ok(number),
            Ok(None) | Err(_) if self.offline => Ok(0),
            Ok(None) => {
                Err(self.mistake(name, format!("this system has no group {text:?}: make it, or write its number")))
            }
            Err(error) => Err(self.mistake(name, format!("the group {text:?} cannot be looked up: {error}"))),
        }
    }
}

/// Those whose port the system does not choose.
fn with_port(addresses: &[SocketAddr]) -> Vec<String> {
    addresses.iter().filter(|address| address.port() != 0).map(ToString::to_string).collect()
}
