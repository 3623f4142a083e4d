//! The log: lines on standard error, written by a thread of its own so that a slow reader holds nobody up.

pub mod log_line;
mod output;
#[cfg(test)]
mod sheet;

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing::Level;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::{LevelFilter, ParseError, Targets};
use tracing_subscriber::fmt;
use tracing_subscriber::prelude::*;

use log_line::{LineWriter, LogOutput, Style};
use output::PlainWriter;

/// Lines, or pieces of many lines, that wait for a slow reader; further ones are left out.
const BUFFERED_LINES: usize = 1024;
/// The target of access records.
const ACCESS: &str = "access";

/// As [`start`] has set it; nothing where access records are not wanted.
static PAPER: OnceLock<Option<LogOutput>> = OnceLock::new();

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The level cannot be read.
    #[error(
        "{0:?} is not a log level: valid are error, warn, info, debug, trace, and lists such as \"info,hyper=debug\""
    )]
    Level(String, #[source] Option<ParseError>),
    /// There is a log already.
    #[error("the log was started twice")]
    Twice(#[source] tracing_subscriber::util::TryInitError),
}

/// An error with all its causes, on one line. A cause that an error before it has told already is left out.
pub struct ErrorChain<'a>(pub &'a dyn std::error::Error);

impl std::fmt::Display for ErrorChain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (mut told, mut cause) = (self.0.to_string(), self.0.source());
        while let Some(error) = cause {
            let text = error.to_string();
            if !told.contains(&text) {
                // It may begin with the words that the error before it ends with.
                let ends = text.match_indices(": ").map(|(at, _)| text.split_at(at));
                let rest = ends.filter(|(begin, _)| told.ends_with(begin)).last().map(|(_, rest)| rest.to_owned());
                told += &rest.unwrap_or_else(|| format!(": {text}"));
            }
            cause = error.source();
        }
        f.write_str(&told)
    }
}

/// Libraries that warn of what any caller can bring about, as often as it likes: below `debug` they are heard where the
/// list names them.
const PARSERS: [&str; 4] = ["h2", "hyper", "rustls", "tokio_rustls"];

/// Reads a level, or a list of levels by module.
pub fn filter(level: &str) -> Result<Targets, LoggingError> {
    // A word that is not a level would be taken for the name of a module.
    if level.split(',').any(|part| !part.contains('=') && part.trim().parse::<LevelFilter>().is_err()) {
        return Err(LoggingError::Level(level.to_owned(), None));
    }
    let targets = level.parse::<Targets>();
    targets.map(quiet).map_err(|error| LoggingError::Level(level.to_owned(), Some(error)))
}

fn quiet(targets: Targets) -> Targets {
    let others = targets.default_level().unwrap_or(LevelFilter::OFF);
    if others >= LevelFilter::DEBUG {
        return targets;
    }
    let named: Vec<String> = targets.iter().map(|(name, _)| name.to_owned()).collect();
    let parsers =
        PARSERS.into_iter().filter(|parser| !named.iter().any(|name| name.split("::").next() == Some(parser)));
    parsers.fold(targets, |targets, parser| targets.with_target(parser, others.min(LevelFilter::ERROR)))
}

/// Starts the log. What is in flight is written when the guard is dropped.
pub fn start(filter: Targets, json: bool) -> Result<WorkerGuard, LoggingError> {
    let (writer, guard) = NonBlockingBuilder::default().buffered_lines_limit(BUFFERED_LINES).finish(std::io::stderr());
    let colour = std::io::stderr().is_terminal();
    let style = if json { Style::Json } else { Style::Text { colour } };
    let wanted = filter.would_enable(ACCESS, &Level::INFO);
    let paper = wanted.then(|| LogOutput { writer: writer.clone(), style });
    let layer = fmt::layer().with_writer(PlainWriter { writer, color: colour }).with_ansi(colour);
    let layer = if json { layer.json().flatten_event(true).boxed() } else { layer.boxed() };
    tracing_subscriber::registry().with(layer.with_filter(filter)).try_init().map_err(LoggingError::Twice)?;
    PAPER.get_or_init(|| paper);
    Ok(guard)
}

/// The access records of one worker; `None` where they are not wanted, or there is no log.
pub fn access() -> Option<LineWriter> {
    PAPER.get()?.clone().map(|paper| LineWriter::new(paper, ACCESS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Sample {
        #[error("cannot read {0}: {1}")]
        Names(&'static str, #[source] std::io::Error),
        #[error("the start failed")]
        Wraps(#[source] Box<Sample>),
    }

    #[test]
    fn causes_tell_each_text_once() {
        let missing = || std::io::Error::other("no such file");
        let inner = || Sample::Names("a.toml", missing());
        assert_eq!(ErrorChain(&inner()).to_string(), "cannot read a.toml: no such file");
        let outer = Sample::Wraps(Box::new(inner()));
        assert_eq!(ErrorChain(&outer).to_string(), "the start failed: cannot read a.toml: no such file");
        let context = anyhow::Error::new(inner()).context("check: cannot read a.toml");
        assert_eq!(ErrorChain(&*context).to_string(), "check: cannot read a.toml: no such file");
    }
}
