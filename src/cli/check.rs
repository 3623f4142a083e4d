//! `check`: the configuration in force, what it opens, and what of it an administrator should know.

mod recorded_use;

use std::path::Path;

use super::{CONFIG, DATA, SOFTWARE};
use super::{CommandError, REFUSED, catalog, counted, failure, print, runtime, settings};
use crate::config::policy_target::PolicyTarget;
use crate::config::{Config, ListenerConfig, ServerConfig, Settings, Warning};
use crate::observe::usage;
use crate::proxy::policy::Policy;
use crate::proxy::policy::catalog::{OperationName, Risk};
use crate::proxy::policy::review::review;

/// Prints all of it; with `against` also whether recorded use would pass.
pub(super) fn check(config: Config, against: Option<&Path>, offline: bool) -> Result<(), CommandError> {
    let (config, checked) = if offline {
        let config = config.offline();
        let listeners = config.check_offline().map_err(|error| failure(CONFIG)(error.into()))?;
        (config, Checked { listeners, settings: None })
    } else {
        let mut settings = settings(&config)?;
        self_calls(&config, &settings)?;
        let listeners = std::mem::take(&mut settings.listeners);
        (config, Checked { listeners, settings: Some(settings) })
    };
    let mut text = report(&config, &checked)?;
    text += &verdict(&config, &checked, text.lines().filter(|line| line.starts_with("warning: ")).count());
    let Some(file) = against else { return print(&text) };
    let used = usage::read(file).map_err(|error| failure(DATA)(error.into()))?;
    let targets: Vec<_> = checked.listeners.iter().flat_map(ListenerConfig::subjects).collect();
    let (outcome, passes) = recorded_use::against(&targets, &used, file);
    print(&(text + &outcome))?;
    if passes { Ok(()) } else { Err(failure(REFUSED)(anyhow::anyhow!("recorded use would be refused"))) }
}

/// Whether an instance or the webhook leads to a listener of this configuration; asks DNS.
fn self_calls(config: &Config, settings: &Settings) -> Result<(), CommandError> {
    let runtime = runtime()?;
    let own = config.file.own_addresses();
    let checked = runtime.block_on(async {
        config.check_self_calls(&settings.instances, &own).await?;
        config.check_notices(settings.notices.as_ref(), &own).await
    });
    // A look-up that takes long is not waited for.
    runtime.shutdown_background();
    checked.map_err(|mistake| failure(CONFIG)(mistake.into()))
}

/// A configuration without a mistake.
struct Checked {
    listeners: Vec<ListenerConfig>,
    /// The rest, its listeners taken out; `None` if only the file was checked.
    settings: Option<Settings>,
}

fn report(config: &Config, Checked { listeners, settings }: &Checked) -> Result<String, CommandError> {
    let effective = toml::to_string(&config.file).map_err(|error| failure(SOFTWARE)(error.into()))?;
    let mut text = format!("# effective configuration, from {}\n{effective}\n", config.source());
    text += &settings.as_ref().map_or_else(String::new, instances);
    if let (Some(file), Some(listener)) = (&config.file.catalog_file, listeners.first()) {
        text += &catalog::newer(file.get_ref(), listener.policy.catalog());
    }
    match settings {
        Some(settings) => {
            if !settings.approvals.approvers.is_empty() {
                text += &format!("# approvals: {}\n", settings.approvals);
            }
            if let Some(audit) = &settings.audit {
                text += &format!("# writes and refusals are recorded in {}\n", audit.file.display());
            }
            text += &settings.doubts.iter().map(|doubt| format!("warning: {doubt}\n")).collect::<String>();
            let keys = listeners.iter().filter_map(|listener| listener.tls.as_ref()?.exposure());
            for exposure in settings.exposures().into_iter().chain(keys) {
                text += &format!("warning: {exposure}\n");
            }
            for suspicion in settings.suspicions() {
                text += &format!("warning: {suspicion}\n");
            }
            for complaint in settings.complaints() {
                text += &format!("warning: not all root certificates of this system can be read: {complaint}\n");
            }
        }
        None => text += &config.unchecked().iter().map(|what| format!("# not checked: {what}\n")).collect::<String>(),
    }
    text += &config.repeated().iter().map(|mistake| format!("warning: {mistake}\n")).collect::<String>();
    let doubts = listeners.iter().filter_map(|listener| config.interception_doubt(&listener.name));
    text += &doubts.map(|doubt| format!("warning: {doubt}\n")).collect::<String>();
    listeners.iter().for_each(|listener| text += &of_listener(listener));
    Ok(text)
}

/// The last line: that all is well, and what was looked at.
fn verdict(config: &Config, Checked { listeners, settings }: &Checked, warnings: usize) -> String {
    let callers: usize = listeners.iter().map(|listener| listener.callers.len()).sum();
    let warned = if warnings == 0 { String::new() } else { format!(", with {}", counted(warnings as u64, "warning")) };
    let looked = match settings {
        Some(_) => "credentials and certificates can be read; NinjaOne was not asked: doctor does that",
        None => "offline: credentials were not read, files of other machines not checked",
    };
    format!(
        "configuration OK{warned}: {}, {}, {}; {looked}\n",
        counted(config.file.instances.len() as u64, "instance"),
        counted(listeners.len() as u64, "listener"),
        counted(callers as u64, "caller")
    )
}

fn instances(settings: &Settings) -> String {
    let line = |instance: &crate::config::InstanceConfig| match &instance.origin {
        None => format!("# instances.{}: the embedded sandbox; all data is invented\n", instance.name),
        Some(ServerConfig { site, credentials }) => {
            let (name, host, id) = (&instance.name, &site.authority, credentials.id());
            format!("# instances.{name}: {host} as client {id:?}, secret: present\n")
        }
    };
    settings.instances.iter().map(line).collect()
}

fn of_listener(listener: &ListenerConfig) -> String {
    let name = &listener.name;
    let warnings = listener.warnings();
    let warning = |warning: &Warning| format!("warning: {}; {}\n", warning.text, warning.fix.trim_end_matches('.'));
    let mut text: String = warnings.iter().map(warning).collect();
    if !listener.callers.is_empty() {
        text += &findings(name, &listener.policy);
    }
    text + &listener.subjects().iter().map(of_target).collect::<String>()
}

/// Entries that do not do what they seem to.
fn findings(name: &str, policy: &Policy) -> String {
    review(policy).iter().map(|finding| format!("warning: listeners.{name}: {finding}\n")).collect()
}

/// How much is open to a caller, and what of it is dangerous.
fn of_target(target: &PolicyTarget<'_>) -> String {
    let (name, policy) = (target.name(), target.policy());
    let open: Vec<_> =
        policy.catalog().iter().filter(|(id, _)| policy.may_open(*id)).map(|(_, operation)| operation).collect();
    let count = |risk| open.iter().filter(|operation| operation.risk == risk).count();
    let risks: Vec<_> = Risk::ALL.iter().rev().map(|risk| format!("{} {risk}", count(*risk))).collect();
    let mut text = format!("# listeners.{name}: {} operations are open ({} risk)\n", open.len(), risks.join(", "));
    text += &findings(&name, policy);
    let mut warn = |what: String| text += &format!("warning: listeners.{name} opens {what}\n");
    for operation in open.iter().filter(|operation| operation.risk == Risk::Critical) {
        warn(format!("{} ({}, critical)", OperationName(operation), operation.group));
    }
    if policy.may_open_secure_values() {
        warn("the values of secure fields (secure-values, critical)".to_owned());
    }
    for operation in open.iter().filter(|operation| operation.user_context && policy.user().is_none()) {
        warn(format!(
            "{}, which NinjaOne may refuse with user_context_required: client credentials have no user; sign a person in (ninjaone-proxy login NAME), and write user = NAME",
            OperationName(operation)
        ));
    }
    if target.caller.is_some_and(|caller| caller.tries_writes) {
        text += &format!("# listeners.{name}: writes are not sent, but answered with invented data\n");
    }
    if let Some(user) = policy.user() {
        let of_user = policy.catalog().iter().filter(|(id, _)| policy.may_open(*id));
        let of_user = of_user.filter(|(id, _)| policy.user_of(Some(*id)).is_some()).count();
        text += &format!("# listeners.{name}: {of_user} operations get the token of the user {}\n", user.name);
    }
    text
}
