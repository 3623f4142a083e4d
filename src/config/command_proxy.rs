//! The configuration of a proxy that serves one command: one listener, at a port of its own, for one caller.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use toml::Spanned;

use super::Config;
use super::host::{self, InstanceHost};
use super::mistake::ConfigMistake;
use super::sections::{CallerSection, InstanceSection};
use super::value::{Address, AdminAddress, ClientSecret, NotifyAddress, ProbeAddress, ProxyChoice, Reference};
use crate::net::listener::ListenAddress;
use crate::proxy::authn::key::KeyHash;

impl Config {
    /// This configuration, reduced to the listener of this name, which listens at any free port of 127.0.0.1 in clear text,
    /// and to its instance, and stands in for these names. Of its callers this one is left, with this key. Approvers keep
    /// an admin listener, at any free port; without them there is none. All else is as configured.
    #[must_use]
    pub fn for_command(mut self, listener: &str, names: &[String], caller: Option<(&str, KeyHash)>) -> Self {
        let file = &mut self.file;
        file.listeners.retain(|name, _| name == listener);
        for own in file.listeners.values_mut() {
            own.address = unplaced(Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))));
            own.tls = None;
            own.intercept = names.iter().cloned().map(unplaced).collect();
            own.callers.retain(|name, _| caller.is_some_and(|(caller, _)| caller == name));
            if let (Some(section), Some((_, key))) = (own.callers.values_mut().next(), caller) {
                give_key(section, key);
            }
            if let Some(instance) = &own.instance {
                file.instances.retain(|name, _| name == instance.get_ref());
            }
        }
        let decide = !file.approvals.approvers.is_empty();
        file.admin.address = AdminAddress(decide.then_some(ListenAddress::Localhost(0)));
        file.probes.address = ProbeAddress(None);
        self
    }

    /// What is odd about the names that a listener stands in for: the host of its instance is not among them.
    pub fn interception_doubt(&self, listener: &str) -> Option<String> {
        let file = self.file.listeners.get(listener).filter(|file| !file.intercept.is_empty())?;
        let InstanceHost::Https(authority) = self.host_of(listener)? else { return None };
        let host = authority.host();
        let listed = file.intercept.iter().any(|name| name.get_ref() == host);
        (!listed).then(|| {
            format!(
                "listeners.{listener}: {host}, the host of its instance, is not in intercept: tools that call it are refused; add {host:?}, or correct the names there if they are misspelled"
            )
        })
    }

    /// The names that a proxy of a command stands in for at the listener of this name: those that are configured, else
    /// those of NinjaOne's regions where its instance is the sandbox, else the host of the instance.
    pub fn command_names(&self, listener: &str) -> Result<Vec<String>, ConfigMistake> {
        let file = self.file.listeners.get(listener);
        if let Some(file) = file.filter(|file| !file.intercept.is_empty()) {
            return Ok(file.intercept.iter().map(|name| name.get_ref().clone()).collect());
        }
        let authority = match self.host_of(listener) {
            None | Some(InstanceHost::Sandbox) => return Ok(host::region_hosts()),
            Some(InstanceHost::Https(authority) | InstanceHost::Http(authority)) => authority,
        };
        let host = authority.host();
        if host == "localhost" || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
            let message = format!(
                "the instance is at {host}, which no tool has written into it: write here for which name the proxy stands in, such as intercept = [\"eu.ninjarmm.com\"]"
            );
            return Err(self.about(&["listeners", listener, "intercept"], &[], message));
        }
        Ok(vec![host.to_owned()])
    }

    /// Where the instance of a listener is.
    fn host_of(&self, listener: &str) -> Option<&InstanceHost> {
        let named = self.file.listeners.get(listener).and_then(|file| file.instance.as_ref()).map(Spanned::get_ref);
        let mut instances = self.file.instances.iter();
        instances.find(|(name, _)| named.is_none_or(|wanted| wanted == *name)).map(|(_, file)| file.host.get_ref())
    }

    /// The variables of the environment that secrets are read from.
    pub fn secret_variables(&self) -> Vec<&str> {
        let notify = match self.file.approvals.notify.as_ref().map(Spanned::get_ref) {
            Some(NotifyAddress::Reference(reference)) => Some(reference),
            Some(NotifyAddress::Url(_)) | None => None,
        };
        let all = self.file.instances.values().flat_map(secrets).chain(notify);
        all.filter_map(|reference| match reference {
            Reference::Env(name) => Some(name.as_str()),
            Reference::File(_) | Reference::Credential(_) | Reference::Command(_) => None,
        })
        .collect()
    }
}

/// Where the secrets of an instance are read from.
fn secrets(file: &InstanceSection) -> impl Iterator<Item = &Reference> {
    let ClientSecret(secret) = file.client_secret.get_ref();
    let of_users = file.users.values().filter_map(|user| user.client_secret.as_ref());
    let of_users = of_users.map(|secret| &secret.get_ref().0);
    let proxy = match file.proxy.as_ref().map(Spanned::get_ref) {
        Some(ProxyChoice::Reference(reference)) => Some(reference),
        Some(ProxyChoice::None | ProxyChoice::Url(_)) | None => None,
    };
    [secret].into_iter().chain(of_users).chain(proxy)
}

/// The caller proves itself by this key alone.
fn give_key(section: &mut Spanned<CallerSection>, key: KeyHash) {
    let own = section.as_mut();
    own.key = Some(unplaced(key.to_string()));
    own.certificate = None;
    own.uids.clear();
    own.gids.clear();
}

/// Not of the file.
fn unplaced<T>(value: T) -> Spanned<T> {
    Spanned::new(0..0, value)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const TEXT: &str = r#"
        [instances.main]
        host = "eu"
        client-id = "id"
        client-secret = { env = "MAIN_SECRET" }
        [instances.main.users.technician]
        client-secret = { env = "USER_SECRET" }
        [instances.other]
        host = "us"
        client-id = "id"
        client-secret = { file = "/nowhere/secret" }
        proxy = { env = "PROXY_URL" }
        [listeners.local]
        address = "127.0.0.1:8080"
        instance = "main"
        scopes = ["monitoring", "management"]
        [listeners.local.callers.reports]
        uids = [1000]
        [listeners.local.callers.agent]
        key = "sha256:2fefbbd541c68c983452076da904e144a28860289ccd69a88c2b5963202fa273"
        [listeners.broken-socket]
        address = "127.0.0.1:8081"
        instance = "other"
        [probes]
        address = "127.0.0.1:9181"
    "#;

    fn parsed(text: &str) -> Config {
        Config::parse(Path::new("ninjaone.toml"), text.to_owned()).expect("a configuration")
    }

    #[test]
    fn a_proxy_of_a_command_has_one_listener_one_caller_and_one_instance() {
        let key = KeyHash::of(b"one-off");
        let config = parsed(TEXT).for_command("local", &["eu.ninjarmm.com".to_owned()], Some(("reports", key)));
        assert_eq!(config.file.instances.keys().collect::<Vec<_>>(), ["main"]);
        let listeners = config.listeners().expect("listeners");
        assert_eq!(listeners.len(), 1);
        assert_eq!(listeners[0].intercept, ["eu.ninjarmm.com"]);
        assert_eq!(listeners[0].place, ListenAddress::Tcp("127.0.0.1:0".parse().expect("an address")));
        let callers: Vec<_> = listeners[0].callers.iter().map(|caller| &caller.entry).collect();
        assert_eq!(callers.len(), 1);
        assert_eq!((callers[0].name.as_str(), callers[0].key), ("reports", Some(key)));
        assert!(callers[0].uids.is_empty(), "only who has the key is the caller");
        assert_eq!((&config.file.admin.address.0, &config.file.probes.address.0), (&None, &None));
    }

    #[test]
    fn approvers_of_a_proxy_of_a_command_have_an_admin_listener_at_a_free_port() {
        let text = format!("{TEXT}\n[approvals.approvers.lead]\nkey = \"{}\"\n", KeyHash::of(b"lead's"));
        let config = parsed(&text).for_command(
            "local",
            &["eu.ninjarmm.com".to_owned()],
            Some(("reports", KeyHash::of(b"one-off"))),
        );
        assert_eq!(config.file.admin.address.0, Some(ListenAddress::Localhost(0)));
        assert_eq!(config.listeners().expect("listeners").len(), 1);
    }

    #[test]
    fn names_are_those_configured_else_of_the_instance_else_of_all_regions() {
        let names = |text: &str| parsed(text).command_names("local").map_err(|mistake| mistake.to_string());
        assert_eq!(names(TEXT).expect("names"), ["eu.ninjarmm.com"]);
        let all = names("").expect("names");
        assert!(all.len() == 6 && all.contains(&"app.ninjarmm.com".to_owned()), "{all:?}");
        let own = names("[listeners.local]\nintercept = [\"a.example\"]").expect("names");
        assert_eq!(own, ["a.example"]);
        for host in ["http://127.0.0.1:8080", "https://[::1]", "https://localhost:1"] {
            let told = names(&format!("[instances.main]\nhost = \"{host}\"")).expect_err("no name");
            assert!(told.contains("intercept = [\"eu.ninjarmm.com\"]"), "{told}");
        }
    }

    #[test]
    fn variables_of_secrets_are_known() {
        assert_eq!(parsed(TEXT).secret_variables(), ["MAIN_SECRET", "USER_SECRET", "PROXY_URL"]);
        assert_eq!(parsed("").secret_variables(), ["NINJAONE_CLIENT_SECRET"]);
    }
}
