//! `doctor`: the checks as they end, as lines or as JSON, with a spinner for people who wait.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use clap::Args;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::interval;

use super::{CommandError, REFUSED, USAGE, failure, forbid_dumps, log_filter, print, runtime};
use crate::config::Config;
use crate::observe::logging::ErrorChain;
use crate::tools::doctor;
use crate::tools::doctor::report::{CheckLine, DoctorReport};
use crate::tools::doctor::reporter::{DoctorEvent, Reporter};

/// What the spinner turns through.
const FRAMES: [char; 4] = ['|', '/', '-', '\\'];
const TURN: Duration = Duration::from_millis(120);

/// What is checked, and how the outcome is printed.
#[derive(Debug, Default, Args)]
pub(super) struct DoctorOptions {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Only this instance [default: every instance]
    #[arg(long, value_name = "NAME")]
    instance: Option<String>,
    /// Also fetch the OpenAPI document of the instance (some megabytes), and name the allowed operations that it lacks
    #[arg(long)]
    catalog: bool,
}

/// Runs all checks; an error if one of them fails. A bad configuration is a finding.
pub(super) fn doctor(config: Result<Config, CommandError>, options: &DoctorOptions) -> Result<(), CommandError> {
    let config = config.and_then(|config| log_filter(&config).map(|_| config));
    let config = config.map_err(|failure| ErrorChain(&*failure.error).to_string());
    if let (Ok(config), Some(name)) = (&config, &options.instance)
        && !config.file.instances.contains_key(name)
    {
        let names = config.file.instances.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        return Err(failure(USAGE)(anyhow::anyhow!("there is no instance {name:?}: valid instances are {names}")));
    }
    config.as_ref().map_or(Ok(()), forbid_dumps)?;
    let runtime = runtime()?;
    let report = runtime.block_on(run_checks(config.as_ref().map_err(String::as_str), options));
    // A lookup that was given up is not waited for.
    runtime.shutdown_background();
    let report = report?;
    if options.json {
        print(&report.json())?;
    }
    match report.failures() {
        0 => Ok(()),
        count => Err(failure(REFUSED)(anyhow::anyhow!("{count} of {} checks failed", report.0.len()))),
    }
}

async fn run_checks(config: Result<&Config, &str>, options: &DoctorOptions) -> Result<DoctorReport, CommandError> {
    let only = options.instance.as_deref();
    let (sender, events) = unbounded_channel();
    let headings = only.is_none() && config.is_ok_and(|config| config.file.instances.len() > 1);
    let checks = async {
        // The events end when the reporter is dropped.
        let reporter = Reporter::new(sender);
        doctor::examine(config, only, options.catalog, &reporter).await;
    };
    let (report, ()) = tokio::join!(show(events, !options.json, headings), checks);
    report
}

/// Prints the lines as they come, and the spinner in between.
async fn show(
    mut events: UnboundedReceiver<DoctorEvent>,
    text: bool,
    headings: bool,
) -> Result<DoctorReport, CommandError> {
    let (mut report, mut spinner, mut turns) = (DoctorReport::default(), Spinner::new(), interval(TURN));
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            _ = turns.tick(), if spinner.on => { spinner.turn(); continue }
        };
        match event {
            None => return Ok(report),
            Some(DoctorEvent::Begun(check)) => spinner.begin(check),
            Some(DoctorEvent::Ended(line)) => {
                spinner.clear();
                if text {
                    print(&with_heading(&line, report.0.last(), headings))?;
                }
                report.0.push(line);
            }
        }
    }
}

fn with_heading(line: &CheckLine, last: Option<&CheckLine>, headings: bool) -> String {
    match &line.instance {
        Some(instance) if headings && last.is_none_or(|last| last.instance != line.instance) => {
            format!("\ninstances.{instance}\n{line}")
        }
        Some(_) | None => line.to_string(),
    }
}

/// What a person sees while a check runs: on a terminal's standard error only.
struct Spinner {
    on: bool,
    check: String,
    turns: usize,
}

impl Spinner {
    fn new() -> Self {
        Self { on: std::io::stderr().is_terminal(), check: String::new(), turns: 0 }
    }

    fn begin(&mut self, check: String) {
        self.check = check;
        self.turn();
    }

    fn turn(&mut self) {
        self.turns += 1;
        let frame = FRAMES.get(self.turns % FRAMES.len()).copied().unwrap_or(' ');
        self.write(&format!("\r\u{1b}[K{frame} {}", self.check));
    }

    fn clear(&self) {
        self.write("\r\u{1b}[K");
    }

    /// A spinner that cannot be drawn is not a failure.
    fn write(&self, text: &str) {
        if self.on {
            let mut out = std::io::stderr().lock();
            let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        }
    }
}
