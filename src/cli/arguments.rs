//! The arguments of the command line: every command with its options, and the help that clap prints of them.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use super::approvals::ApprovalsCommand;
use super::audit::AuditCommand;
use super::catalog::CatalogCommand;
use super::doctor::DoctorOptions;
use super::exec::Exec;
use super::health::HealthTarget;
use super::init::Init;
use super::login::{Login, Logout};
use super::routes::Selection;
use super::table::Format;
use super::trust::Trust;
use crate::config::units::Period;

/// Authenticating reverse proxy for the NinjaOne public API.
///
/// Plain local HTTP goes in; allowed operations go out to NinjaOne over TLS with an OAuth2 token that no caller sees.
/// Without a command it runs; without a configuration it serves the embedded sandbox on localhost:8080.
#[derive(Debug, Parser)]
#[command(
    name = "ninjaone-proxy",
    version,
    after_help = "Exit codes: 0 success; 1 doctor found a failure, check --against a refusal, audit verify a change, health or wait no proxy, login or logout failed, approvals was refused, trust found no local CA or could not change what the system trusts, or exec cannot use the proxy that runs; 64 usage; 65 unusable data; 70 unexpected failure; 71 cannot bind; 78 configuration; exec ends with the code of its command, 126 if that cannot be run, 127 if it is not found.\n\nTry it:\n  ninjaone-proxy &\n  curl localhost:8080/v2/organizations"
)]
pub(super) struct Arguments {
    /// Configuration file [default: config.toml in the working directory, else built-in defaults]
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the proxy (the default): SIGTERM and SIGINT drain it, SIGHUP or a change of the file loads the configuration again
    Run,
    /// Run a command, unchanged, whose calls of NinjaOne go through the proxy: one that runs already, else one for this
    /// command alone. Signals are passed on, and the exit code is the command's
    Exec(Exec),
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
        target: TargetOptions,
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
        /// A file with the body of the request, for rules with conditions on it
        #[arg(long, value_name = "FILE")]
        body: Option<PathBuf>,
        #[command(flatten)]
        target: TargetOptions,
    },
    /// List the operations that a listener allows
    Routes {
        #[command(flatten)]
        selection: Selection,
        #[command(flatten)]
        target: TargetOptions,
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
    /// List, show, approve and deny requests that wait for approval
    Approvals {
        #[command(subcommand)]
        command: ApprovalsCommand,
    },
    /// Verify the audit log
    Audit {
        #[command(subcommand)]
        command: AuditCommand,
    },
    /// Make keys for callers and approvers
    Key {
        #[command(subcommand)]
        command: KeyCommand,
    },
    /// Test everything that the proxy needs, from the configuration to a read from NinjaOne, and say how to fix what fails
    Doctor(DoctorOptions),
    /// Write a configuration for your tenant and the file of its secret, and test it; asks for what the options do not give
    Init(Init),
    /// Sign a person in with a browser, for the operations that need one; see user in the configuration
    Login(Login),
    /// Remove the sign-in of a person
    Logout(Logout),
    /// Say how each runtime and system comes to trust the local CA; add it to the store of this system, or remove it there
    Trust(Trust),
    /// Ask the running proxy whether it is alive; exit with 1 if not. For health checks of containers: works with a broken
    /// configuration file too
    Health {
        #[command(flatten)]
        server: HealthTarget,
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
        server: HealthTarget,
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
pub(super) fn period(text: &str) -> Result<Duration, String> {
    text.parse().map(|Period(time)| time)
}

#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Make a key, show it once, and print the lines for the configuration
    New {
        /// The name of the caller, or of the approver
        name: String,
        /// As the key of an approver, who approves requests of others
        #[arg(long, conflicts_with = "listener")]
        approver: bool,
        /// The listener that it calls [default: local, or the only one of the configuration]
        #[arg(long, value_name = "NAME")]
        listener: Option<String>,
    },
}

/// Whose rules a command is about, and how it prints.
#[derive(Debug, Args)]
pub(super) struct TargetOptions {
    /// Only this listener [default: every listener]
    #[arg(long, value_name = "NAME")]
    pub(super) listener: Option<String>,
    /// Only this caller [default: every caller]
    #[arg(long, value_name = "NAME")]
    pub(super) caller: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}
