//! `doctor`: the checks as they end, as lines or as JSON, with a spinner for people who wait.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::interval;

use super::{CommandError, failure, print};
use crate::config::Config;
use crate::tools::doctor;
use crate::tools::doctor::report::{CheckLine, DoctorReport};
use crate::tools::doctor::reporter::{DoctorEvent, Reporter};

/// What the spinner turns through.
const FRAMES: [char; 4] = ['|', '/', '-', '\\'];
const TURN: Duration = Duration::from_millis(120);

/// Runs all checks; an error if one of them fails.
pub(super) async fn doctor(
    config: Result<&Config, &str>,
    only: Option<&str>,
    (json, catalog): (bool, bool),
) -> Result<(), CommandError> {
    let (news, told) = unbounded_channel();
    let chart = Reporter::new(news);
    let headings = only.is_none() && config.is_ok_and(|config| config.file.instances.len() > 1);
    let examined = async {
        let chart = chart;
        doctor::examine(config, only, catalog, &chart).await;
    };
    let (report, ()) = tokio::join!(show(told, !json, headings), examined);
    let report = report?;
    if json {
        print(&report.json())?;
    }
    match report.failures() {
        0 => Ok(()),
        count => Err(failure(1)(anyhow::anyhow!("{count} of {} checks failed", report.0.len()))),
    }
}

/// Prints the lines as they come, and the spinner in between.
async fn show(
    mut told: UnboundedReceiver<DoctorEvent>,
    text: bool,
    headings: bool,
) -> Result<DoctorReport, CommandError> {
    let (mut report, mut spinner, mut turns) = (DoctorReport::default(), Spinner::new(), interval(TURN));
    loop {
        let news = tokio::select! {
            news = told.recv() => news,
            _ = turns.tick(), if spinner.on => { spinner.turn(); continue }
        };
        match news {
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
