//! The command line: arguments in, an exit code out.

mod approvals;
mod arguments;
mod audit;
mod catalog;
mod check;
mod doctor;
mod exec;
mod groups;
mod health;
mod init;
mod key;
mod learn;
mod login;
mod man_page;
mod routes;
mod run;
mod table;
mod trust;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tracing_subscriber::filter::Targets;

use crate::base::plain;
use crate::config::policy_target::PolicyTarget;
use crate::config::{Config, ListenerConfig, Settings};
use crate::observe::logging::ErrorChain;
use crate::proxy::policy::catalog::Catalog;
use crate::tools::explain::{ExplainedRequest, Explanation, explain};
use arguments::{Arguments, Command, KeyCommand, TargetOptions};
use catalog::CatalogCommand;

/// Wrong arguments (sysexits EX_USAGE).
const USAGE: u8 = 64;
/// A file that was given cannot be used (EX_DATAERR).
const DATA: u8 = 65;
/// What was asked about is not so: a check of doctor failed, recorded use would not pass, the audit log was changed or
/// lacks lines, the proxy is not alive or not ready, or there is no local CA to trust.
const REFUSED: u8 = 1;
/// A resource of the system is missing: an address cannot be bound (EX_OSERR).
const OS: u8 = 71;
/// A mistake in the configuration (EX_CONFIG).
const CONFIG: u8 = 78;
/// The largest body of a request that is explained, in bytes.
const MAX_BODY: u64 = 1 << 20;
/// Anything unexpected (EX_SOFTWARE).
const SOFTWARE: u8 = 70;

/// Runs the command that the arguments of the process name.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let code = if error.use_stderr() { USAGE } else { 0 };
            // Standard error may be closed.
            let _ = error.print();
            return code.into();
        }
    };
    match run_command(&arguments) {
        Ok(code) => code.into(),
        Err(failure) => {
            write_note(&ErrorChain(&*failure.error).to_string());
            failure.code.into()
        }
    }
}

/// A failure and the exit code that says its kind.
#[derive(Debug)]
struct CommandError {
    code: u8,
    error: anyhow::Error,
}

fn failure(code: u8) -> impl Fn(anyhow::Error) -> CommandError {
    move |error| CommandError { code, error }
}

/// Runs the command, and returns the exit code of one that went well.
fn run_command(arguments: &Arguments) -> Result<u8, CommandError> {
    let path = arguments.config.as_deref();
    // Only commands that need the configuration read it.
    let load = || Config::load(path).map_err(|error| failure(CONFIG)(error.into()));
    let done = match &arguments.command {
        // Its exit code is that of the command that it runs.
        Some(Command::Exec(given)) => return exec::exec(load()?, given),
        None | Some(Command::Run) => run::run(load()?),
        Some(Command::Check { against, offline }) => check::check(load()?, against.as_deref(), *offline),
        Some(Command::Learn { from, as_caller, write, target }) => {
            learn::learn(&load()?, from.as_deref(), target, as_caller.as_deref(), *write)
        }
        Some(Command::Explain { method, path, headers, body, target }) => {
            let listeners = listeners(&load()?, target)?;
            let targets = policy_targets(&listeners, target)?;
            let body = body.as_deref().map(read_body).transpose()?;
            let request = ExplainedRequest { method, path, fields: headers, body: body.as_deref() };
            let explanations = explain(&targets, &request).map_err(|error| failure(USAGE)(error.into()))?;
            print(&if target.json {
                format!("{}\n", serde_json::Value::from(explanations.iter().map(Explanation::json).collect::<Vec<_>>()))
            } else {
                explanations.iter().map(Explanation::text).collect::<Vec<_>>().join("\n")
            })
        }
        Some(Command::Init(given)) => init::init(given),
        Some(Command::Login(given)) => login::login(&load()?, given),
        Some(Command::Logout(given)) => login::logout(&load()?, given),
        Some(Command::Trust(options)) => trust::trust(options),
        Some(Command::Doctor(options)) => doctor::doctor(load(), options),
        Some(Command::Approvals { command }) => approvals::approvals(path, command),
        Some(Command::Audit { command }) => audit::audit(command, load),
        Some(Command::Health { server, ready, timeout }) => health::health(path, server, *ready, *timeout),
        Some(Command::Wait { server, timeout }) => health::wait(path, server, *timeout),
        Some(Command::Routes { selection, target }) => {
            let listeners = listeners(&load()?, target)?;
            print(&routes::routes(&policy_targets(&listeners, target)?, selection, target.json))
        }
        Some(Command::Groups { format }) => print(&groups::groups(&*catalog_of(load())?, *format)),
        Some(Command::Catalog { command: CatalogCommand::Diff { file, json } }) => {
            print(&catalog::diff(file, *json).map_err(failure(USAGE))?)
        }
        Some(Command::Catalog { command: CatalogCommand::Fetch { output, instance } }) => {
            print(&catalog::fetch(&load()?, instance.as_deref(), output)?)
        }
        Some(Command::Key { command: KeyCommand::New { name, listener, approver } }) => {
            let config = load().ok();
            print(&match approver {
                true => key::new_approver(name, config.as_ref())?,
                false => key::new(name, listener.as_deref(), config.as_ref())?,
            })
        }
        Some(Command::Completions { shell }) => print(&man_page::completions(*shell)),
        Some(Command::Man { folder }) => man_page::man(folder).map_err(failure(OS)),
    };
    done.map(|()| 0)
}

/// The body of a request that is explained.
fn read_body(file: &Path) -> Result<Vec<u8>, CommandError> {
    let read = crate::base::file::read(file, MAX_BODY);
    read.with_context(|| format!("{} cannot be read", file.display())).map_err(failure(DATA))
}

/// The known operations: the built-in ones alone if a mistake keeps the configuration from naming more.
fn catalog_of(config: Result<Config, CommandError>) -> Result<Arc<Catalog>, CommandError> {
    let known = config.and_then(|config| config.catalog().map_err(|error| failure(CONFIG)(error.into())));
    known.or_else(|failed| {
        write_note(&format!("only built-in operations are listed: {}", ErrorChain(&*failed.error)));
        Catalog::built_in().map(Arc::new).map_err(|error| failure(SOFTWARE)(error.into()))
    })
}

/// A number and what it counts: `1 request`, `2 requests`.
fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Writes a line to standard error, which may be closed.
fn write_note(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "ninjaone-proxy: {}", plain::lines(text));
}

/// Writes to standard output; a reader who has seen enough is not a failure.
fn print(text: &str) -> Result<(), CommandError> {
    use std::io::{ErrorKind, Write};
    match std::io::stdout().write_all(plain::lines(text).as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(failure(SOFTWARE)(error.into())),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn listeners(config: &Config, target: &TargetOptions) -> Result<Vec<ListenerConfig>, CommandError> {
    let mut listeners = config.listeners().map_err(|error| failure(CONFIG)(error.into()))?;
    if let Some(wanted) = &target.listener {
        let names: Vec<_> = listeners.iter().map(|listener| listener.name.clone()).collect();
        listeners.retain(|listener| listener.name == *wanted);
        if listeners.is_empty() {
            let error = anyhow::anyhow!("there is no listener {wanted:?}: valid listeners are {}", names.join(", "));
            return Err(failure(USAGE)(error));
        }
    }
    Ok(listeners)
}

/// Each listener without callers, and each caller of the others.
fn policy_targets<'a>(
    listeners: &'a [ListenerConfig],
    options: &TargetOptions,
) -> Result<Vec<PolicyTarget<'a>>, CommandError> {
    let mut targets: Vec<PolicyTarget<'_>> = listeners.iter().flat_map(ListenerConfig::subjects).collect();
    if let Some(wanted) = &options.caller {
        let names: Vec<_> = targets.iter().filter_map(PolicyTarget::caller).map(str::to_owned).collect();
        targets.retain(|target| target.caller() == Some(wanted));
        if targets.is_empty() {
            let error = anyhow::anyhow!("there is no caller {wanted:?}: valid callers are {}", names.join(", "));
            return Err(failure(USAGE)(error));
        }
    }
    Ok(targets)
}

/// Keeps the secrets that are read from now on out of core dumps.
fn forbid_dumps(config: &Config) -> Result<(), CommandError> {
    if !config.file.process.core_dumps {
        let context = || "core dumps cannot be switched off; to start anyway, set core-dumps = true in [process]";
        crate::base::secret::forbid_dumps().with_context(context).map_err(failure(OS))?;
    }
    Ok(())
}

/// Reads all settings, the secrets too.
fn settings(config: &Config) -> Result<Settings, CommandError> {
    forbid_dumps(config)?;
    config.settings().map_err(|error| failure(CONFIG)(error.into()))
}

fn runtime() -> Result<LocalRuntime, CommandError> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    runtime.map_err(|error| failure(OS)(error.into()))
}

fn log_filter(config: &Config) -> Result<Targets, CommandError> {
    config.log_filter().map_err(|error| failure(CONFIG)(error.into()))
}
