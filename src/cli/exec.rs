//! `exec`: runs a command whose calls of NinjaOne go through the proxy that runs already, or through one of its own.

mod choice;
mod running;
mod trial;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;

use super::run::{self, Notes, SettingsNotice};
use super::{CONFIG, CommandError, DATA, OS, REFUSED, SOFTWARE, USAGE, failure, runtime, settings, write_note};
use crate::app::App;
use crate::app::reload::Loaded;
use crate::base::secret::source::SecretSource;
use crate::base::secret::{Secret, command};
use crate::base::state::StateFolder;
use crate::config::Config;
use crate::config::sections::LogFormat;
use crate::net::tls::local::LocalCa;
use crate::observe::logging;
use crate::proxy::authn::key::NewKey;
use crate::tools::exec::child::{ChildError, Forwarding};
use crate::tools::exec::{CommandProxy, ExecError, PLACEHOLDER, TrustFolder, variables};
use choice::Choice;
use running::Found;

/// What the log tells meanwhile: the command has the terminal.
const LOG_LEVEL: &str = "warn";

/// How long requests go on once the command has ended.
const DRAIN: Duration = Duration::from_secs(2);

/// What `exec` is told.
#[derive(Debug, Args)]
pub(super) struct Exec {
    /// The listener whose rules apply [default: local, or the only one]
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// The caller that the command is [default: the only one of the listener]
    #[arg(long, value_name = "NAME")]
    caller: Option<String>,
    /// The file of the caller's key, for a proxy that runs already; a proxy of the command's own makes a key by itself
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// The command and its arguments, after --
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Runs the command to its end, and returns its exit code.
pub(super) fn exec(config: Config, given: &Exec) -> Result<u8, CommandError> {
    let filter = logging::filter(LOG_LEVEL).map_err(|error| failure(SOFTWARE)(error.into()))?;
    let _log = logging::start(filter, config.file.log.format == LogFormat::Json)
        .map_err(|error| failure(SOFTWARE)(error.into()))?;
    crate::base::panic_guard::install();
    let _own_child = command::keep_child();
    let runtime = runtime()?;
    let ended = runtime.block_on(run_command(config, given));
    // Dropping it would wait for the workers, and a signal while they drain means not to.
    runtime.shutdown_background();
    ended
}

async fn run_command(config: Config, given: &Exec) -> Result<u8, CommandError> {
    let choice = Choice::new(&config, given.listener.as_deref(), given.caller.as_deref())?;
    if let Some(doubt) = config.interception_doubt(&choice.listener) {
        write_note(&doubt);
    }
    let mut forwarding = Forwarding::catch().map_err(|error| failure(OS)(error.into()))?;
    let withheld: Vec<String> = config.secret_variables().into_iter().map(str::to_owned).collect();
    match running::find(&choice.place, choice.tls).await {
        Found::Nobody => {
            let (app, proxy) = start(config, &choice).await?;
            let ended = run_with(&proxy, &withheld, given, &mut forwarding).await;
            tokio::select! {
                finished = app.finish() => finished.context("drain").map_err(failure(SOFTWARE))?,
                // What a child has left behind may go on for long.
                () = tokio::time::sleep(DRAIN) => {}
                () = forwarding.asked_to_end() => {}
            }
            ended
        }
        Found::StandingIn { address, names } => {
            // Never from the proxy itself: another process that listens at its port could show another one.
            let authority = LocalCa::find(names.clone()).map_err(|error| failure(CONFIG)(error.into()))?;
            let caller = key_of(&choice, given)?;
            let proxy = CommandProxy { address, caller, names, certificate: authority.certificate() };
            trial::connect(&proxy).await.map_err(failure(REFUSED))?;
            run_with(&proxy, &withheld, given, &mut forwarding).await
        }
        Found::Other(what) => Err(failure(REFUSED)(anyhow!("{what}{}", choice.advice(&config)))),
    }
}

/// The command, with the variables of this proxy.
async fn run_with(
    proxy: &CommandProxy,
    withheld: &[String],
    given: &Exec,
    forwarding: &mut Forwarding,
) -> Result<u8, CommandError> {
    let variable = |name: &str| std::env::var_os(name);
    let told = StateFolder::find().map_err(ExecError::from).and_then(|state| {
        let home = variable("HOME").map(PathBuf::from);
        variables(proxy, &TrustFolder::make(&state)?, variable, home.as_deref())
    });
    let told = told.map_err(|error| failure(exec_code(&error))(error.into()))?;
    let withheld = withheld.iter().filter(|name| variable(name).is_some());
    let withheld = withheld.map(|name| (name.as_str(), OsString::from(PLACEHOLDER)));
    let (program, arguments) = given.command.split_first().context("no command").map_err(failure(USAGE))?;
    let ended = forwarding.run(program, arguments, withheld.chain(told)).await;
    ended.map_err(|error| failure(child_code(&error))(error.into()))
}

/// A proxy for this command alone.
async fn start(config: Config, choice: &Choice) -> Result<(App, CommandProxy), CommandError> {
    let key = choice.caller.as_ref().map(|_| NewKey::make()).transpose();
    let key = key.context("cannot make a key: the system gives no random numbers").map_err(failure(OS))?;
    let caller = choice.caller.as_deref().zip(key.as_ref());
    let is_default = config.path().is_none();
    let config = config.for_command(&choice.listener, &choice.names, caller.map(|(name, key)| (name, key.hash())));
    let caller = caller.map(|(name, key)| (name.to_owned(), Secret::new(key.expose().to_owned())));
    let mut settings = settings(&config)?;
    let authority = LocalCa::of_commands(choice.names.clone()).map_err(|error| failure(CONFIG)(error.into()))?;
    settings.listeners.iter_mut().for_each(|listener| listener.interception = Some(authority.clone()));
    let notice = SettingsNotice::of(&settings);
    let started = App::start(Loaded { config, settings }).await;
    let app = started.map_err(|error| failure(run::code(&error))(error.into()))?;
    Notes::new(is_default).log_notices(notice, &app);
    if let Some(admin) = app.admin.as_ref().and_then(crate::net::listener::Bound::tcp) {
        write_note(&format!("requests that wait for approval: ninjaone-proxy approvals list --admin {admin}"));
    }
    let address = app.addresses.first().and_then(|(_, bound)| bound.tcp());
    let address = address.context("the proxy of the command has no address").map_err(failure(SOFTWARE))?;
    let proxy = CommandProxy { address, caller, names: choice.names.clone(), certificate: authority.certificate() };
    Ok((app, proxy))
}

/// The caller that the command is at a proxy that runs already.
fn key_of(choice: &Choice, given: &Exec) -> Result<Option<(String, Secret)>, CommandError> {
    let Some(file) = &given.key_file else {
        let Some(caller) = &choice.caller else { return Ok(None) };
        let message = format!(
            "the proxy that runs at the address of listeners.{} asks for a key: give the key of the caller {caller} with --key-file FILE",
            choice.listener
        );
        return Err(failure(USAGE)(anyhow!(message)));
    };
    let source = SecretSource::File(file.clone());
    if let Some(exposure) = source.exposure() {
        write_note(&exposure);
    }
    let key = source.read().context("the key of the caller cannot be used").map_err(failure(DATA))?;
    Ok(Some((choice.caller.clone().unwrap_or_else(|| "caller".to_owned()), key)))
}

fn exec_code(error: &ExecError) -> u8 {
    match error {
        ExecError::State(_) | ExecError::Write { .. } | ExecError::Roots(_) => OS,
        ExecError::Variable { .. } | ExecError::Certificate(_) => DATA,
    }
}

fn child_code(error: &ChildError) -> u8 {
    error.code().unwrap_or(OS)
}
