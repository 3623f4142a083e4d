//! The command line: arguments in, an exit code out.

mod audit;
mod catalog;
mod check;
mod doctor;
mod health;
mod init;
mod key;
mod learn;
mod man_page;
mod routes;
mod run;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tracing_subscriber::filter::Targets;

use crate::base::plain;
use crate::config::policy_target::PolicyTarget;
use crate::config::units::Period;
use crate::config::{Config, ListenerConfig, Settings};
use crate::observe::logging::ErrorChain;
use crate::proxy::policy::catalog::Catalog;
use crate::tools::explain::{Explanation, explain};
use audit::AuditCommand;
use catalog::CatalogCommand;
use health::HealthTarget;
use init::Init;
use routes::{Format, Selection};

/// Wrong arguments (sysexits EX_USAGE).
const USAGE: u8 = 64;
/// A file that was given cannot be used (EX_DATAERR).
const DATA: u8 = 65;
/// Recorded use would not pass, the audit log was changed, or lines are missing, or the proxy is not alive or not ready.
const REFUSED: u8 = 1;
/// A resource of the system is missing: an address cannot be bound (EX_OSERR).
const OS: u8 = 71;
/// A mistake in the configuration (EX_CONFIG).
const CONFIG: u8 = 78;
/// Anything unexpected (EX_SOFTWARE).
const SOFTWARE: u8 = 70;

/// Authenticating reverse proxy for the NinjaOne public API.
///
/// Plain local HTTP goes in; allowed operations go out to NinjaOne over TLS with an OAuth2 token that no caller sees.
/// Without a command it runs; without a configuration it serves the embedded sandbox on localhost:8080.
#[derive(Debug, Parser)]
#[command(
    name = "ninjaone-proxy",
    version,
    after_help = "Exit codes: 0 success; 1 doctor found a failure, check --against a refusal, audit verify a change, or health or wait no proxy; 64 usage; 65 unusable data; 70 unexpected failure; 71 cannot bind; 78 configuration.\n\nTry it:\n  ninjaone-proxy &\n  curl localhost:8080/v2/organizations"
)]
struct Arguments {
    /// Configuration file [default: config.toml in the working directory, else built-in defaults]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the proxy (the default): SIGTERM and SIGINT drain it, SIGHUP or a change of the file loads the configuration again
    Run,
    /// Check the configuration and its credentials; print the effective configuration and warnings
    Check {
        /// Also check whether the use recorded in this file (see learn) would pass; exit with 1 if some would not
        #[arg(long, value_name = "FILE")]
        against: Option<PathBuf>,
        /// Check only the file, for another machine: read no credentials, and skip files that are not here
        #[arg(long)]
        offline: bool,
    },
    /// Print the smallest set of rules that covers the use recorded by listeners with mode = "observe"
    Learn {
        /// The file of recorded use [default: learn.file of the configuration]
        #[arg(long, value_name = "FILE")]
        from: Option<PathBuf>,
        /// As rules of this caller, which need not exist yet: for one tool that used the listener. No caller can do more
        /// than its listener: if the listener observes, or does not allow what was used, its own keys change too, to
        /// what was used through it
        #[arg(long, value_name = "NAME", conflicts_with = "caller")]
        as_caller: Option<String>,
        /// Write the rules into the configuration file, whose comments stay, and set mode = "enforce"
        #[arg(long, conflicts_with = "json")]
        write: bool,
        #[command(flatten)]
        which: Which,
    },
    /// Say what would happen to a request, why, and what would change it
    Explain {
        /// Request method, such as GET
        method: String,
        /// Request path with query, such as /v2/device/7/disks
        path: String,
        /// A header field of the request; may be repeated
        #[arg(long = "header", short = 'H', value_name = "NAME: VALUE")]
        headers: Vec<String>,
        #[command(flatten)]
        which: Which,
    },
    /// List the operations that a listener allows
    Routes {
        #[command(flatten)]
        selection: Selection,
        #[command(flatten)]
        which: Which,
    },
    /// List the groups of operations: their size, the scopes they need, what they open
    Groups {
        /// How to print [default: table on a terminal, tsv in a pipe]
        #[arg(long, value_name = "FORMAT")]
        format: Option<Format>,
    },
    /// Compare the built-in operations with an OpenAPI document of NinjaOne, or fetch the document of an instance
    Catalog {
        #[command(subcommand)]
        command: CatalogCommand,
    },
    /// Verify the audit log
    Audit {
        #[command(subcommand)]
        command: AuditCommand,
    },
    /// Make keys for callers
    Key {
        #[command(subcommand)]
        command: KeyCommand,
    },
    /// Test everything that the proxy needs, from the configuration to a read from NinjaOne, and say how to fix what fails
    Doctor {
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Only this instance [default: every instance]
        #[arg(long, value_name = "NAME")]
        instance: Option<String>,
        /// Also fetch the OpenAPI document of the instance (some megabytes), and name the allowed operations that it lacks
        #[arg(long)]
        catalog: bool,
    },
    /// Write a configuration for your tenant and the file of its secret, and test it; asks for what the options do not give
    Init(Init),
    /// Ask the running proxy whether it is alive; exit with 1 if not. For health checks of containers: works with a broken
    /// configuration file too
    Health {
        #[command(flatten)]
        whom: HealthTarget,
        /// Ask whether it is ready: it has a token for every listener and is not draining
        #[arg(long)]
        ready: bool,
        /// How long to wait for the answer
        #[arg(long, value_name = "TIME", default_value = "3s", value_parser = period)]
        timeout: Duration,
    },
    /// Wait until the running proxy is ready; exit with 1 if it is not in time. For services that must not start until a
    /// token is available
    Wait {
        #[command(flatten)]
        whom: HealthTarget,
        /// How long to wait
        #[arg(long, value_name = "TIME", default_value = "60s", value_parser = period)]
        timeout: Duration,
    },
    /// Print shell completions
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write manual pages, one for each command
    Man {
        /// The folder to write to; created if it does not exist
        #[arg(value_name = "FOLDER")]
        folder: PathBuf,
    },
}

/// A time, as the configuration has it.
fn period(text: &str) -> Result<Duration, String> {
    text.parse().map(|Period(time)| time)
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    /// Make a key, show it once, and print the lines for the configuration
    New {
        /// The caller's name
        name: String,
        /// The listener that it calls [default: local, or the only one of the configuration]
        #[arg(long, value_name = "NAME")]
        listener: Option<String>,
    },
}

#[derive(Debug, Args)]
struct Which {
    /// Only this listener [default: every listener]
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// Only this caller [default: every caller]
    #[arg(long, value_name = "NAME")]
    caller: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

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
        Ok(()) => ExitCode::SUCCESS,
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

fn run_command(arguments: &Arguments) -> Result<(), CommandError> {
    let path = arguments.config.as_deref();
    // Only commands that need the configuration read it.
    let load = || Config::load(path).map_err(|error| failure(CONFIG)(error.into()));
    match &arguments.command {
        None | Some(Command::Run) => run::run(load()?),
        Some(Command::Check { against, offline }) => check::check(load()?, against.as_deref(), *offline),
        Some(Command::Learn { from, as_caller, write, which }) => {
            learn::learn(&load()?, from.as_deref(), which, as_caller.as_deref(), *write)
        }
        Some(Command::Explain { method, path, headers, which }) => {
            let listeners = listeners(&load()?, which)?;
            let subjects = subjects(&listeners, which)?;
            let told = explain(&subjects, method, path, headers).map_err(|error| failure(USAGE)(error.into()))?;
            print(&if which.json {
                format!("{}\n", serde_json::Value::from(told.iter().map(Explanation::json).collect::<Vec<_>>()))
            } else {
                told.iter().map(Explanation::text).collect::<Vec<_>>().join("\n")
            })
        }
        Some(Command::Init(given)) => init::init(given),
        Some(Command::Doctor { json, instance, catalog }) => examine(load(), instance.as_deref(), (*json, *catalog)),
        Some(Command::Audit { command }) => audit::audit(command, load),
        Some(Command::Health { whom, ready, timeout }) => health::health(path, whom, *ready, *timeout),
        Some(Command::Wait { whom, timeout }) => health::wait(path, whom, *timeout),
        Some(Command::Routes { selection, which }) => {
            let listeners = listeners(&load()?, which)?;
            print(&routes::routes(&subjects(&listeners, which)?, selection, which.json))
        }
        Some(Command::Groups { format }) => print(&routes::groups(&*catalog_of(load())?, *format)),
        Some(Command::Catalog { command: CatalogCommand::Diff { file, json } }) => {
            print(&catalog::diff(file, *json).map_err(failure(USAGE))?)
        }
        Some(Command::Catalog { command: CatalogCommand::Fetch { output, instance } }) => {
            print(&catalog::fetch(&load()?, instance.as_deref(), output)?)
        }
        Some(Command::Key { command: KeyCommand::New { name, listener } }) => {
            print(&key::new(name, listener.as_deref(), load().ok().as_ref())?)
        }
        Some(Command::Completions { shell }) => print(&man_page::completions(*shell)),
        Some(Command::Man { folder }) => man_page::man(folder).map_err(failure(OS)),
    }
}

/// The known operations: the built-in ones alone if a mistake keeps the configuration from naming more.
fn catalog_of(config: Result<Config, CommandError>) -> Result<Arc<Catalog>, CommandError> {
    let known = config.and_then(|config| config.catalog().map_err(|error| failure(CONFIG)(error.into())));
    known.or_else(|failed| {
        write_note(&format!("only built-in operations are listed: {}", ErrorChain(&*failed.error)));
        Catalog::built_in().map(Arc::new).map_err(|error| failure(SOFTWARE)(error.into()))
    })
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

fn listeners(config: &Config, which: &Which) -> Result<Vec<ListenerConfig>, CommandError> {
    let mut listeners = config.listeners().map_err(|error| failure(CONFIG)(error.into()))?;
    if let Some(wanted) = &which.listener {
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
fn subjects<'a>(listeners: &'a [ListenerConfig], which: &Which) -> Result<Vec<PolicyTarget<'a>>, CommandError> {
    let mut subjects: Vec<PolicyTarget<'_>> = listeners.iter().flat_map(ListenerConfig::subjects).collect();
    if let Some(wanted) = &which.caller {
        let names: Vec<_> = subjects.iter().filter_map(PolicyTarget::caller).map(str::to_owned).collect();
        subjects.retain(|subject| subject.caller() == Some(wanted));
        if subjects.is_empty() {
            let error = anyhow::anyhow!("there is no caller {wanted:?}: valid callers are {}", names.join(", "));
            return Err(failure(USAGE)(error));
        }
    }
    Ok(subjects)
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

/// `doctor`, which reports a bad configuration as a finding.
fn examine(config: Result<Config, CommandError>, only: Option<&str>, how: (bool, bool)) -> Result<(), CommandError> {
    let config = config.and_then(|config| log_filter(&config).map(|_| config));
    let config = config.map_err(|failure| ErrorChain(&*failure.error).to_string());
    if let (Ok(config), Some(name)) = (&config, only)
        && !config.file.instances.contains_key(name)
    {
        let names = config.file.instances.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        return Err(failure(USAGE)(anyhow::anyhow!("there is no instance {name:?}: valid instances are {names}")));
    }
    config.as_ref().map_or(Ok(()), forbid_dumps)?;
    let runtime = runtime()?;
    let examined = runtime.block_on(doctor::doctor(config.as_ref().map_err(String::as_str), only, how));
    // A lookup that was given up is not waited for.
    runtime.shutdown_background();
    examined
}

fn log_filter(config: &Config) -> Result<Targets, CommandError> {
    config.log_filter().map_err(|error| failure(CONFIG)(error.into()))
}
