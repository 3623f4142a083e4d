//! Which listener a command uses, as which caller, and the names that its own proxy stands in for.

use anyhow::anyhow;

use crate::cli::{CONFIG, CommandError, USAGE, failure};
use crate::config::{Config, ListenerConfig};
use crate::net::listener::ListenAddress;

/// The listener that is meant where none is named.
const USUAL: &str = "local";

/// What was chosen.
pub(super) struct Choice {
    pub(super) listener: String,
    /// Where it listens.
    pub(super) place: ListenAddress,
    pub(super) tls: bool,
    /// The caller, where the listener has callers.
    pub(super) caller: Option<String>,
    /// What the command's own proxy stands in for.
    pub(super) names: Vec<String>,
}

impl Choice {
    /// The listener and the caller of these names, or the usual ones.
    pub(super) fn new(config: &Config, listener: Option<&str>, caller: Option<&str>) -> Result<Self, CommandError> {
        let listeners = config.listeners().map_err(|error| failure(CONFIG)(error.into()))?;
        let found = choose_listener(&listeners, listener).map_err(failure(USAGE))?;
        let name = &found.name;
        let place = match &found.place {
            place @ (ListenAddress::Tcp(_) | ListenAddress::Localhost(_)) => place.clone(),
            other @ (ListenAddress::Unix(_) | ListenAddress::Inherited(_)) => {
                return Err(failure(USAGE)(anyhow!(
                    "listeners.{name} listens on {other}, and programs reach a proxy by TCP only: name another listener with --listener, or add one with address = \"localhost:PORT\""
                )));
            }
        };
        let caller = choose_caller(found, caller).map_err(failure(USAGE))?;
        let names = config.command_names(name).map_err(|error| failure(CONFIG)(error.into()))?;
        Ok(Self { listener: name.clone(), place, tls: found.tls.is_some(), caller, names })
    }

    /// What to write so that a proxy that runs stands in for NinjaOne.
    pub(super) fn advice(&self, config: &Config) -> String {
        let names = self.names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
        let (listener, file) = (&self.listener, config.source());
        format!(
            " Add intercept = [{names}] to [listeners.{listener}] in {file}, which a running proxy loads by itself within some seconds, and run this again; or name another listener with --listener"
        )
    }
}

fn choose_listener<'a>(listeners: &'a [ListenerConfig], wanted: Option<&str>) -> anyhow::Result<&'a ListenerConfig> {
    let named = |name: &str| listeners.iter().find(|listener| listener.name == name);
    let names = || listeners.iter().map(|listener| listener.name.as_str()).collect::<Vec<_>>().join(", ");
    match (wanted, listeners) {
        (Some(wanted), _) => {
            named(wanted).ok_or_else(|| anyhow!("there is no listener {wanted:?}: valid listeners are {}", names()))
        }
        (None, [only]) => Ok(only),
        (None, _) => {
            named(USUAL).ok_or_else(|| anyhow!("there are several listeners: name one of {} with --listener", names()))
        }
    }
}

fn choose_caller(listener: &ListenerConfig, wanted: Option<&str>) -> anyhow::Result<Option<String>> {
    let names: Vec<_> = listener.callers.iter().map(|caller| caller.entry.name.as_str()).collect();
    let list = names.join(", ");
    let table = format!("listeners.{}", listener.name);
    match (wanted, names.as_slice()) {
        (None, []) => Ok(None),
        (Some(wanted), []) => Err(anyhow!("{table} has no callers: leave --caller {wanted} out")),
        (Some(wanted), names) => match names.iter().find(|name| **name == wanted) {
            Some(name) => Ok(Some((*name).to_owned())),
            None => Err(anyhow!("{table} has no caller {wanted:?}: valid callers are {list}")),
        },
        (None, [only]) => Ok(Some((*only).to_owned())),
        (None, _) => {
            Err(anyhow!("{table} has several callers: say which one the command is, of {list}, with --caller"))
        }
    }
}
