//! What an administrator should know of a configuration that has no mistake.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{InstanceConfig, ListenerConfig, Settings};
use crate::base::secret::Secret;
use crate::base::secret::source::SecretSource;
use crate::net::tls::Trust;
use crate::net::tls::local::NAMES;
use crate::net::tls::server::IdentitySource;
use crate::proxy::policy::catalog::Operation;
use crate::proxy::policy::rule::Expiry;
use crate::proxy::response;
use crate::proxy::token::credentials::Credentials;

/// What an administrator should know, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// What is so.
    pub text: String,
    /// What to do.
    pub fix: String,
}

/// A rule that ends within this time is told of.
const SOON: Duration = Duration::from_secs(7 * 24 * 60 * 60);

impl ListenerConfig {
    /// What of it opens more, or for less long, than it may seem.
    pub fn warnings(&self) -> Vec<Warning> {
        let name = &self.name;
        let clear = (self.place.is_exposed() && self.tls.is_none()).then(|| Warning {
            text: format!(
                "listeners.{name} takes keys in clear text from the network: anyone who listens there can use them"
            ),
            fix: format!(
                "give the listener a certificate: tls = \"local-ca\" in [listeners.{name}], or files of your own."
            ),
        });
        let observes = self.policy.observes().then(|| Warning {
            text: format!(
                "listeners.{name} only observes its rules: it lets through everything that its scopes permit, guarded groups included{}",
                self.policy.organizations().map_or(String::new(), |fence| format!(", except what its fence closes ({})", fence.named()))
            ),
            fix: format!(
                "when the tools have done their work, run ninjaone-proxy learn, and put what it prints into [listeners.{name}]; \
                 mode = \"enforce\" ends this."
            ),
        });
        let tries = self.tries_writes.then(|| Warning {
            text: format!("listeners.{name} sends no writes: it answers them with invented data"),
            fix: format!("take writes = \"dry-run\" out of [listeners.{name}] when your tools shall change something."),
        });
        let certificates = self.certificate_warnings().into_iter().map(|text| Warning {
            text,
            fix: "get a certificate that is valid for the names that callers use.".to_owned(),
        });
        let of_rules = self.user_warnings().into_iter().chain(self.expiry_warnings(SystemTime::now()));
        let of_rules = of_rules.chain(self.quota_warnings()).chain(self.fence_warnings());
        clear.into_iter().chain(observes).chain(tries).chain(of_rules).chain(certificates).collect()
    }

    /// Rules that end soon, or have ended while the proxy ran.
    fn expiry_warnings(&self, now: SystemTime) -> Vec<Warning> {
        let of_callers = self.callers.iter().map(|caller| (Some(&*caller.entry.name), &caller.policy));
        let policies = [(None, &self.policy)].into_iter().chain(of_callers);
        let rules = policies.flat_map(|(caller, policy)| policy.rules().allow.iter().map(move |rule| (caller, rule)));
        let ending = rules.filter_map(|(caller, rule)| {
            let Expiry { at, text } = rule.terms()?.expires.as_ref()?;
            let left = at.duration_since(now).unwrap_or_default();
            let table = response::table(&self.name, caller);
            (left <= SOON).then(|| Warning {
                text: format!("{table}: the rule {:?} in allow ends at {text}, {}", rule.to_string(), in_words(left)),
                fix: format!("write a later time into expires of this rule in [{table}], or take the rule out."),
            })
        });
        ending.collect()
    }

    /// Persons whose tokens lack a scope that an open operation needs.
    fn user_warnings(&self) -> Vec<Warning> {
        let mut lacking = BTreeMap::new();
        for policy in self.policies() {
            for (id, operation) in policy.catalog().iter() {
                let Some(user) = policy.user_of(Some(id)) else { continue };
                if !user.scopes.contains(operation.scope) && policy.may_open(id) {
                    lacking.entry((Arc::clone(&user.name), operation.scope)).or_insert(operation);
                }
            }
        }
        let told = lacking.into_iter().map(|((user, scope), Operation { method, template, .. })| {
            let text = format!(
                "listeners.{}: the token of the user {user} has no scope {scope}, which {method} {template} needs: NinjaOne refuses it",
                self.name
            );
            Warning { text, fix: format!("add {scope} to scopes of the user, and sign in again.") }
        });
        told.collect()
    }

    /// Names that callers may use, and that the listener's certificate is not valid for. Reads it.
    pub fn certificate_warnings(&self) -> Vec<String> {
        let (Some(basis @ IdentitySource::Files(files)), name) = (&self.tls, &self.name) else { return Vec::new() };
        let file = files.certificate.display();
        let of_names = basis.uncovered(&self.names.iter().map(String::as_str).collect::<Vec<_>>());
        let told = of_names.iter().map(|uncovered| {
            format!("listeners.{name}: the certificate in {file} is not valid for {uncovered}, which is in names: callers that use this name refuse the connection; {}", is_for(basis))
        });
        let addresses = self.place.addresses().into_iter().map(|address| address.ip());
        let own = addresses.filter(|ip| !ip.is_unspecified()).map(|ip| ip.to_string());
        let known: Vec<String> =
            NAMES.iter().map(|&name| name.to_owned()).chain(own).chain(self.names.clone()).collect();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let none = basis.uncovered(&known).len() == known.len() && self.names.is_empty();
        let none = none.then(|| {
            format!("listeners.{name}: the certificate in {file} is not valid for localhost, nor for the address of this listener, and names is empty: callers that check it refuse the connection, and under another name they get 421; {}", is_for(basis))
        });
        told.chain(none).collect()
    }
}

/// How long a rule still opens something.
fn in_words(left: Duration) -> String {
    let (hours, days) = (left.as_secs() / 3600, left.as_secs() / 86_400);
    match (days, hours) {
        _ if left.is_zero() => "which is over".to_owned(),
        (0, 0) => "in less than an hour".to_owned(),
        (0, 1) => "in one hour".to_owned(),
        (0, hours) => format!("in {hours} hours"),
        (1, _) => "in one day".to_owned(),
        (days, _) => format!("in {days} days"),
    }
}

/// What a certificate is valid for, and what to write so that callers may use it.
fn is_for(basis: &IdentitySource) -> String {
    let names = basis.names();
    if names.is_empty() {
        return "it has no names that a server can use: get another one".to_owned();
    }
    let usable: Vec<String> = names
        .iter()
        .filter(|name| !name.contains('*') && name.parse::<IpAddr>().is_err())
        .map(|name| format!("{name:?}"))
        .collect();
    let write = match usable.is_empty() {
        true => "list the name that callers use in names".to_owned(),
        false => format!("write names = [{}]", usable.join(", ")),
    };
    format!("it is for {}: {write}", names.join(", "))
}

impl Settings {
    /// Who else may read or write secrets.
    pub fn exposures(&self) -> Vec<String> {
        let keys = self.listeners.iter().filter_map(|listener| listener.tls.as_ref()?.exposure());
        self.instances.iter().flat_map(InstanceConfig::exposures).chain(keys).collect()
    }

    /// Credentials that look damaged.
    pub fn suspicions(&self) -> Vec<String> {
        let of = |instance: &InstanceConfig| -> Vec<String> {
            let found = instance.origin.as_ref().map(|origin| blanks(&origin.credentials)).unwrap_or_default();
            found.into_iter().map(|what| format!("instances.{}: {what}", instance.name)).collect()
        };
        self.instances.iter().flat_map(of).collect()
    }

    /// What of the roots that are trusted could not be read; the others are trusted.
    pub fn complaints(&self) -> BTreeSet<String> {
        let instances = self.instances.iter().filter_map(|instance| instance.origin.as_ref()?.site.trust.as_ref());
        let trusts = instances.chain(self.traces.iter().map(|traces| &traces.trust));
        trusts.flat_map(Trust::complaints).cloned().collect()
    }
}

/// Id and secret that have a blank in them, and where they are read from: nothing of them is shown.
pub(crate) fn blanks(credentials: &Credentials) -> Vec<String> {
    let pairs = credentials.pairs();
    let Some(pair) = pairs.first() else { return Vec::new() };
    let has_blank = |value: &Secret| value.expose().contains(char::is_whitespace);
    let values = [("client id", Some(&pair.id)), ("client secret", pair.secret.as_ref())];
    let values = values.into_iter().filter_map(|(what, value)| Some((what, value?)));
    values
        .zip(credentials.sources())
        .map(|((what, value), source)| (what, value, source))
        .filter(|(_, value, _)| has_blank(value))
        .map(|(what, _, source)| {
            format!("the {what} from {source} has a blank in it: check that it was copied whole, and alone")
        })
        .collect()
}

impl InstanceConfig {
    /// Who else may read or write its credentials.
    fn exposures(&self) -> Vec<String> {
        let sources = self.origin.iter().flat_map(|origin| origin.credentials.sources());
        sources.filter_map(SecretSource::exposure).collect()
    }
}
