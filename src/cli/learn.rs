//! `learn`: the rules that recorded use needs, printed or written into the configuration file.

mod learned_rules;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::anyhow;
use serde_json::Value;
use toml::Spanned;

use super::arguments::TargetOptions;
use super::{CONFIG, CommandError, DATA, OS, USAGE, failure, key, print};
use crate::config::edit::EditError;
use crate::config::policy_target::PolicyTarget;
use crate::config::sections::AllowEntry;
use crate::config::{Config, ListenerConfig};
use crate::observe::usage::{self, Count, OperationUse, Used};
use crate::proxy::authn::key::NewKey;
use crate::proxy::policy::catalog::{Catalog, OperationId};
use crate::proxy::policy::rule::Rule;
use learned_rules::{KeptRule, LearnedRules, UsedTarget};

/// Prints the rules that cover what was used, or writes them.
pub(super) fn learn(
    config: &Config,
    from: Option<&Path>,
    target: &TargetOptions,
    as_caller: Option<&str>,
    write: bool,
) -> Result<(), CommandError> {
    as_caller.map_or(Ok(()), |name| key::check_name("caller", name)).map_err(failure(USAGE))?;
    let file = match from {
        Some(file) => file.to_owned(),
        None => config.record().map_err(|error| failure(CONFIG)(error.into()))?,
    };
    let mut used = usage::read(&file).map_err(|error| failure(DATA)(error.into()))?;
    used.retain(|what, _| target.listener.as_ref().is_none_or(|name| *name == what.listener));
    if let Some(name) = as_caller {
        used = of_caller(&used, name);
    }
    let listeners = config.listeners().map_err(|error| failure(CONFIG)(error.into()))?;
    let targets: Vec<_> = listeners.iter().flat_map(ListenerConfig::subjects).collect();
    let catalog = config.catalog().map_err(|error| failure(CONFIG)(error.into()))?;
    let mut learned = learned_rules(config, &targets, &catalog, &used);
    if let Some(caller) = as_caller.or(target.caller.as_deref()) {
        for_one_caller(&mut learned, caller);
    }
    for rules in learned.iter_mut().filter(|rules| rules.target.caller.is_some() && rules.today.is_none()) {
        rules.key = Some(NewKey::make().map_err(|error| failure(OS)(error.into()))?);
    }
    if write {
        return write_to(config, &learned, &catalog, &targets);
    }
    print(&printed(&learned, &catalog, &file, target.json))
}

/// Keeps the rules of this caller, and of its listener what they depend on: the listener must allow as much, which it
/// may do today, and must enforce rules at all.
fn for_one_caller(learned: &mut Vec<LearnedRules>, caller: &str) {
    let of_caller = learned.iter().filter(|rules| rules.target.caller.as_deref() == Some(caller));
    let listeners: BTreeSet<String> = of_caller.map(|rules| rules.target.listener.clone()).collect();
    learned.retain_mut(|rules| match &rules.target.caller {
        Some(name) => name == caller,
        None => {
            rules.mode_only = rules.is_open_today();
            listeners.contains(&rules.target.listener) && (!rules.mode_only || rules.observes())
        }
    });
}

/// The same use, as if this caller had made all requests.
fn of_caller(used: &Used, name: &str) -> Used {
    let mut found = Used::default();
    for (what, count) in used {
        let own = OperationUse { caller: Some(name.to_owned()), ..what.clone() };
        found.entry(own).or_default().add(*count);
    }
    found
}

/// Writes the rules into the configuration file, if it is good with them.
fn write_to(
    config: &Config,
    learned: &[LearnedRules],
    catalog: &Catalog,
    targets: &[PolicyTarget<'_>],
) -> Result<(), CommandError> {
    let mut said = String::new();
    let mut edited: Option<Config> = None;
    for rules in learned {
        let table = rules.table();
        let names: Vec<&str> = match &rules.target {
            UsedTarget { listener, caller: Some(caller) } => vec!["listeners", listener, "callers", caller],
            UsedTarget { listener, caller: None } => vec!["listeners", listener],
        };
        let next = edited.as_ref().unwrap_or(config).with_keys(&names, &rules.keys(catalog));
        edited = Some(next.map_err(|error| failure(CONFIG)(error.into()))?);
        let what = if rules.mode_only { "mode" } else { "rules" };
        said += &format!("\nwrote the {what} of [{table}]\n{}{}", rules.key_comment(), rules.difference(catalog));
    }
    if let Some(edited) = &edited {
        edited.replace(config).map_err(|error| {
            let unused = if matches!(error, EditError::Refused(_)) { unused(learned, targets) } else { String::new() };
            failure(CONFIG)(anyhow!("{error}{unused}"))
        })?;
    } else {
        said += "# This listener or caller used nothing, so nothing was written.\n";
    }
    print(&said)
}

/// Callers that used nothing keep rules that their listener may no longer permit.
fn unused(learned: &[LearnedRules], targets: &[PolicyTarget<'_>]) -> String {
    let learnt = |caller: Option<&str>, listener: &str| {
        learned.iter().any(|rules| rules.target.listener == listener && rules.target.caller.as_deref() == caller)
    };
    let unused = targets.iter().filter_map(|target| {
        let (listener, caller) = (&*target.listener.name, target.caller()?);
        (learnt(None, listener) && !learnt(Some(caller), listener))
            .then(|| format!("[listeners.{listener}.callers.{caller}]"))
    });
    let unused: Vec<String> = unused.collect();
    if unused.is_empty() {
        return String::new();
    }
    format!(
        ". The listener would permit only what was used, and no use is recorded of {}: record that too, remove the caller, or write the rules of one caller with \"learn --caller NAME --write\"",
        unused.join(", ")
    )
}

/// The rules that cover what was used, for each listener and caller.
fn learned_rules(config: &Config, targets: &[PolicyTarget<'_>], catalog: &Catalog, used: &Used) -> Vec<LearnedRules> {
    let learned = |(target, used): (UsedTarget, BTreeMap<String, Count>)| {
        let kept = kept(config, &target);
        LearnedRules::new(target, &used, targets, (catalog, kept))
    };
    by_target(used).into_iter().map(learned).collect()
}

/// The rules with conditions of a listener or caller, which stay as they are.
fn kept(config: &Config, UsedTarget { listener, caller }: &UsedTarget) -> Vec<KeptRule> {
    let section = config.file.listeners.get(listener);
    let allow = section.and_then(|section| match caller {
        None => Some(&section.allow),
        Some(caller) => Some(&section.callers.get(caller)?.get_ref().allow),
    });
    let entries = allow.into_iter().flatten().map(Spanned::get_ref);
    let tables = entries.filter(|entry| matches!(entry, AllowEntry::Table(_)));
    let kept = tables.filter_map(|entry| {
        let (rule, toml) = (Rule::parse(entry.rule()).ok()?, toml::Value::try_from(entry).ok()?.to_string());
        Some(KeptRule { rule, toml })
    });
    kept.collect()
}

/// As TOML or JSON.
fn printed(learned: &[LearnedRules], catalog: &Catalog, file: &Path, json: bool) -> String {
    if json {
        return format!("{}\n", Value::from(learned.iter().map(|rules| rules.json(catalog)).collect::<Vec<_>>()));
    }
    let mut text = format!(
        "# From {}: the least that covers what was used. Paste it over these keys, or run learn --write.\n",
        file.display()
    );
    if learned.is_empty() {
        text += "# This listener or caller used nothing.\n";
    }
    text + &learned.iter().map(|rules| rules.toml(catalog)).collect::<String>()
}

/// By listener and caller; where a listener has callers, first what all of them used together.
fn by_target(used: &Used) -> BTreeMap<UsedTarget, BTreeMap<String, Count>> {
    let mut found: BTreeMap<UsedTarget, BTreeMap<String, Count>> = BTreeMap::new();
    for (OperationUse { listener, caller, operation }, count) in used {
        for caller in BTreeSet::from([None, caller.clone()]) {
            let own = found.entry(UsedTarget { listener: listener.clone(), caller }).or_default();
            own.entry(operation.clone()).or_default().add(*count);
        }
    }
    found
}

/// The operation of this name, such as `GET /v2/devices`.
pub(super) fn named(catalog: &Catalog, operation: &str) -> Option<OperationId> {
    let named = |id: &OperationId| catalog.name(*id).is_some_and(|name| name.to_string() == operation);
    catalog.iter().map(|(id, _)| id).find(named)
}
