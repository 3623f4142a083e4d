//! `key`: makes keys for callers and approvers; the configuration holds their hashes only.

use anyhow::{Context, anyhow};

use super::{CommandError, OS, USAGE, failure};
use crate::config::{Config, nearest};
use crate::proxy::authn::key::NewKey;
use crate::proxy::response;

/// The listener of the built-in defaults.
const LISTENER: &str = "local";

/// A new key, and the lines of the configuration that make it good; without a configuration the listener is not judged.
pub(super) fn new(name: &str, listener: Option<&str>, config: Option<&Config>) -> Result<String, CommandError> {
    check_name("caller", name).map_err(failure(USAGE))?;
    let listener = choose(listener, config).map_err(failure(USAGE))?;
    let key = NewKey::make().context("cannot make a key: the system gives no random numbers").map_err(failure(OS))?;
    let table = format!("[{}]", response::table(&listener, Some(name)));
    let file = config.and_then(|config| config.file.listeners.get(&listener));
    let place = match file.and_then(|file| file.callers.get(name)) {
        Some(caller) if caller.get_ref().key.is_some() => {
            format!(
                "# {name} is a caller already: replace the key line of {table} with this one; the old key then ends:\n"
            )
        }
        Some(_) => format!("# {name} is a caller already: add this line to {table}:\n"),
        None => format!("# For the configuration, which does not hold the key itself:\n{table}\n"),
    };
    Ok(format!(
        "# The key of {name}. It is shown only here: give it to the caller, and keep it like a password.\n\
         #   {}\n\
         {place}key = \"{}\"\n",
        key.expose(),
        key.hash()
    ))
}

/// The same for an approver.
pub(super) fn new_approver(name: &str, config: Option<&Config>) -> Result<String, CommandError> {
    check_name("approver", name).map_err(failure(USAGE))?;
    let callers = config.iter().flat_map(|config| config.file.listeners.iter());
    if let Some((listener, _)) = callers.clone().find(|(_, file)| file.callers.contains_key(name)) {
        let message = "an approver must be somebody else than the caller: choose another name";
        return Err(failure(USAGE)(anyhow!("listeners.{listener} has a caller {name:?}, and {message}")));
    }
    let key = NewKey::make().context("cannot make a key: the system gives no random numbers").map_err(failure(OS))?;
    let place = match config.and_then(|config| config.file.approvals.approvers.get(name)) {
        Some(_) => {
            format!(
                "# {name} is an approver already: replace the key line with this one; the old key, and what it has approved, then ends:\n"
            )
        }
        None => format!("# For the configuration, which does not hold the key itself:\n[approvals.approvers.{name}]\n"),
    };
    Ok(format!(
        "# The key of the approver {name}. It is shown only here: give it to that person alone, and keep it like a password.\n\
         #   {}\n\
         {place}key = \"{}\"\n",
        key.expose(),
        key.hash()
    ))
}

pub(super) fn check_name(what: &str, name: &str) -> anyhow::Result<()> {
    let taken = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if !name.is_empty() && name.chars().all(taken) {
        return Ok(());
    }
    let fixed: String = name.trim().chars().map(|c| if taken(c) { c.to_ascii_lowercase() } else { '-' }).collect();
    let hint = if fixed.is_empty() { String::new() } else { format!(", such as {fixed:?}") };
    Err(anyhow!("{name:?} cannot be the name of a {what}: use letters, digits, - and _{hint}"))
}

/// The listener that was asked for, else the usual one, else the only one.
fn choose(wanted: Option<&str>, config: Option<&Config>) -> anyhow::Result<String> {
    let names: Vec<_> = config.iter().flat_map(|config| config.file.listeners.keys()).map(String::as_str).collect();
    match (wanted, names.as_slice(), config) {
        (Some(wanted), _, None) => check_name("listener", wanted).map(|()| wanted.to_owned()),
        (Some(wanted), known, Some(_)) if known.contains(&wanted) => Ok(wanted.to_owned()),
        (Some(wanted), known, Some(config)) => Err(anyhow!(
            "there is no listener {wanted:?} in {}: valid listeners are {}{} (--config FILE, before the command, names another configuration)",
            config.source(),
            known.join(", "),
            nearest(wanted, known.iter().copied())
        )),
        (None, [only], _) => Ok((*only).to_owned()),
        (None, [_, _, ..], _) if !names.contains(&LISTENER) => Err(anyhow!(
            "there are several listeners: name the one that the caller calls, with --listener: {}",
            names.join(", ")
        )),
        (None, _, _) => Ok(LISTENER.to_owned()),
    }
}
