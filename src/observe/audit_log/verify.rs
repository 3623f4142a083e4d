//! Verifies an audit log: follows its chain and finds where it is broken.
//!
//! A line's own hash tells whether it is as it was written; its number and the hash of the line before tell whether it
//! is where it was written; the head file, and heads that were kept elsewhere, tell whether the end is there.

mod report;
mod verifier;

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use super::chain::ChainHead;
use super::file_set::{files, head_path, read_head};

pub use report::{FileLine, Tampering, VerifyNote, VerifyReport};
pub use verifier::Verifier;

/// Why a log cannot be verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A file cannot be read.
    #[error("{0} cannot be read: on some systems a running proxy keeps others out")]
    Read(PathBuf, #[source] io::Error),
    /// There is none.
    #[error("there is no audit log {0}, nor a file that it was renamed to, nor its head")]
    Nothing(PathBuf),
}

/// Verifies the audit log at `path` with the files that it was renamed to; `known` are heads that were kept elsewhere.
pub fn verify(path: &Path, known: &[ChainHead]) -> Result<VerifyReport, VerifyError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| VerifyError::Read(path, error)
    };
    let head_path = head_path(path);
    // First of all: the log may grow while it is read, and then it has more than the head, never less.
    let head = match crate::base::file::open(&head_path) {
        Ok(mut file) => Some(read_head(&mut file).map_err(failed(&head_path))?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(VerifyError::Read(head_path, error)),
    };
    let opened = open_all(path)?;
    if opened.is_empty() && head.is_none() {
        return Err(VerifyError::Nothing(path.to_owned()));
    }
    let mut verifier = Verifier::new(head.flatten(), known);
    for (path, file) in opened {
        verifier.read(&file_name(&path), BufReader::new(file)).map_err(failed(&path))?;
    }
    Ok(verifier.finish(&file_name(path)))
}

/// All files, opened at a time when none was being renamed.
fn open_all(path: &Path) -> Result<Vec<(PathBuf, File)>, VerifyError> {
    let list = || files(path).map_err(|error| VerifyError::Read(path.to_owned(), error));
    loop {
        let before = list()?;
        let open = |file: PathBuf| match crate::base::file::open(&file) {
            Ok(open) => Ok((file, open)),
            Err(error) => Err(VerifyError::Read(file, error)),
        };
        let opened: Result<Vec<_>, _> = before.iter().cloned().map(open).collect();
        if list()? == before {
            return opened;
        }
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}
