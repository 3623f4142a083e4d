//! `audit verify`: whether the audit log is as it was written.

use std::path::PathBuf;

use anyhow::{Context, anyhow};
use clap::Subcommand;

use super::{CONFIG, CommandError, DATA, REFUSED, USAGE, failure, print};
use crate::config::Config;
use crate::observe::audit_log::chain::{BadChainHead, ChainHead};
use crate::observe::audit_log::verify::{VerifyReport, verify};

#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Follow the chain through all files of the log, and name the lines that were changed, removed, reordered or cut off
    ///
    /// Exit codes: 0 the log is complete and unchanged, 1 it is not, 65 it cannot be read.
    Verify {
        /// The log; files that it was renamed to (FILE.NUMBER) and its head (FILE.head) are found next to it [default:
        /// audit.file of the configuration]
        file: Option<PathBuf>,
        /// A head that was kept elsewhere, as this command prints it: the log must have that line, or begin after it; may
        /// be repeated
        #[arg(long, value_name = "NUMBER:HASH", value_parser = known_head)]
        known: Vec<ChainHead>,
    },
}

/// A head that may have been printed: of a line, which line 0 is not.
fn known_head(text: &str) -> Result<ChainHead, BadChainHead> {
    text.parse().and_then(|head: ChainHead| if head.seq > 0 { Ok(head) } else { Err(BadChainHead) })
}

/// Verifies a log; the configuration is read only if no file is named.
pub(super) fn audit(
    command: &AuditCommand,
    load: impl FnOnce() -> Result<Config, CommandError>,
) -> Result<(), CommandError> {
    let AuditCommand::Verify { file, known } = command;
    let file = match file {
        Some(file) => file.clone(),
        None => {
            let settings = load()?.audit().map_err(|error| failure(CONFIG)(error.into()))?;
            let missing = || failure(USAGE)(anyhow!("there is no audit log in the configuration: name its file"));
            settings.ok_or_else(missing)?.file
        }
    };
    let report = verify(&file, known).context("audit verify").map_err(failure(DATA))?;
    print(&text(&file, &report))?;
    if report.findings.is_empty() {
        Ok(())
    } else {
        Err(failure(REFUSED)(anyhow!("the audit log was changed, or lines are missing")))
    }
}

fn text(file: &std::path::Path, report: &VerifyReport) -> String {
    let VerifyReport { files, lines, first, last, head, findings, more, notes } = report;
    let files = if *files == 1 { "1 file".to_owned() } else { format!("{files} files") };
    let mut text = format!("{}: {lines} lines in {files}\n", file.display());
    for (what, end) in [("first", first), ("last", last)] {
        if let Some((seq, time)) = end {
            text += &format!("{what} line {seq}, {time:?}\n");
        }
    }
    text += &notes.iter().map(|note| format!("note: {note}\n")).collect::<String>();
    text += &findings.iter().map(|finding| format!("{finding}\n")).collect::<String>();
    if *more > 0 {
        text += &format!("and {more} more findings\n");
    }
    text += &head.map_or_else(String::new, |head| format!("head {head}\n"));
    text + if findings.is_empty() { "the log is complete and unchanged\n" } else { "" }
}
