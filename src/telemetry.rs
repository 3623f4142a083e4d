//! The log: lines on standard error, written by a thread of its own so that a slow reader holds nobody up.

use std::io::IsTerminal;

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::{LevelFilter, ParseError, Targets};
use tracing_subscriber::fmt;
use tracing_subscriber::prelude::*;

/// Lines that wait for a slow reader; further ones are left out.
const BUFFERED_LINES: usize = 4096;

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The level cannot be read.
    #[error("{0:?} is no log level: valid are error, warn, info, debug, trace, and lists such as \"info,hyper=debug\"")]
    Level(String, #[source] Option<ParseError>),
    /// There is a log already.
    #[error("the log was started twice")]
    Twice(#[source] tracing_subscriber::util::TryInitError),
}

/// An error with all its causes, on one line.
pub struct Causes<'a>(pub &'a dyn std::error::Error);

impl std::fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

/// Reads a level, or a list of levels by module.
pub fn filter(level: &str) -> Result<Targets, TelemetryError> {
    // A word that is no level would be taken for the name of a module.
    if level.split(',').any(|part| !part.contains('=') && part.trim().parse::<LevelFilter>().is_err()) {
        return Err(TelemetryError::Level(level.to_owned(), None));
    }
    level.parse().map_err(|error| TelemetryError::Level(level.to_owned(), Some(error)))
}

/// Starts the log. What is in flight is written when the guard is dropped.
pub fn start(filter: Targets, json: bool) -> Result<WorkerGuard, TelemetryError> {
    let (writer, guard) = NonBlockingBuilder::default().buffered_lines_limit(BUFFERED_LINES).finish(std::io::stderr());
    let layer = fmt::layer().with_writer(writer).with_ansi(std::io::stderr().is_terminal());
    let layer = if json { layer.json().flatten_event(true).boxed() } else { layer.boxed() };
    tracing_subscriber::registry().with(layer.with_filter(filter)).try_init().map_err(TelemetryError::Twice)?;
    Ok(guard)
}
