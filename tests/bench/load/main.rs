//! The proxy as a whole under load, between callers and an invented instance: `cargo bench --bench load -- --help`.

mod allocations;
mod by_crate;
mod callers;
mod cores;
mod growth;
mod instance;
mod instructions;
mod latency;
mod measure;
mod memory;
mod proxy;
mod record;
mod train;
mod ways;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, Subcommand};

/// Loads a proxy of its own, on loopback only, and ends by itself. Without a command: what a request costs with so
/// many callers at a time.
#[derive(Parser)]
#[command(name = "load", args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    mode: Option<Mode>,
    #[command(flatten)]
    options: measure::Options,
    /// The proxy to measure; without it the release build, which is made first.
    #[arg(long, global = true, value_name = "PATH")]
    proxy: Option<PathBuf>,
    /// What cargo bench says, and cargo test does not.
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(Subcommand)]
enum Mode {
    /// How the cost grows with connections, operations, listeners, callers and rules.
    Growth(growth::Options),
    /// How long answers take at a fixed rate, beside those of the instance itself.
    Latency(latency::Options),
    /// How much memory it holds: at rest, under load, with many connections on which nothing is asked.
    Memory(memory::Options),
    /// Instructions a request under callgrind, held against the record.
    Instructions(instructions::Options),
    /// The load that a guided build is trained with, see .ci/pgo.
    Train,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if !arguments.bench {
        println!("To measure: cargo bench --bench load");
        return ExitCode::SUCCESS;
    }
    raise_file_limit();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let binary = match &arguments.proxy {
        Some(path) => path.canonicalize().with_context(|| format!("there is no {}", path.display()))?,
        None => release_build()?,
    };
    match &arguments.mode {
        None => measure::run(&binary, &arguments.options),
        Some(Mode::Growth(options)) => growth::run(&binary, options),
        Some(Mode::Latency(options)) => latency::run(&binary, options),
        Some(Mode::Memory(options)) => memory::run(&binary, options),
        Some(Mode::Instructions(options)) => instructions::run(&binary, options),
        Some(Mode::Train) => train::run(&binary),
    }
}

/// Each caller is up to three open files here and in the proxy, which inherits the limit.
fn raise_file_limit() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit, setrlimit};
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        let _ = setrlimit(Resource::Nofile, limit);
    }
}

/// What is shipped. The binary that `cargo bench` builds beside this one has another profile.
fn release_build() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--release", "--locked", "--bin", "ninjaone-proxy"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    // What cargo bench says of this package would have ring, and all that needs it, built again.
    for (name, _) in std::env::vars_os() {
        let known = name.to_string_lossy();
        if known.starts_with("CARGO_PKG_") || known.starts_with("CARGO_MANIFEST_") {
            build.env_remove(&name);
        }
    }
    let built = build.status()?;
    ensure!(built.success(), "the release build failed");
    let own = Path::new(env!("CARGO_BIN_EXE_ninjaone-proxy"));
    let folder = own.ancestors().nth(2).context("the folder of builds")?;
    Ok(folder.join("release").join(own.file_name().context("a name")?))
}
