//! The system's own programs that change what it trusts: run by their path, without a shell, and waited for.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

/// Where the programs of an administrator are; the search path of whoever asked is not the system's.
const FOLDERS: [&str; 4] = ["usr/sbin", "usr/bin", "sbin", "bin"];
/// The most that is shown of what a program said, in bytes.
const MAX_SAID: usize = 2000;

/// Why a program did not do it.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// It could not be started.
    #[error("{} cannot be run: {cause}", program.display())]
    NotRun {
        /// The program.
        program: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// It says that it failed.
    #[error("{} failed ({status}){said}", program.display())]
    Failed {
        /// The program.
        program: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// What it said, after a colon.
        said: String,
    },
}

/// The program of this name below `root`.
pub(super) fn find(root: &Path, name: &str) -> Option<PathBuf> {
    FOLDERS.iter().map(|folder| root.join(folder).join(name)).find(|path| path.is_file())
}

/// Whose variables a program is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Environment {
    /// Those of the system only: scripts look for their programs by `PATH`.
    Clean,
    /// Ours: the system's libraries need some of them.
    Ours,
}

/// Runs it to its end.
pub(super) fn run<S: AsRef<OsStr>>(
    program: &Path,
    arguments: &[S],
    environment: Environment,
) -> Result<(), ProgramError> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    if environment == Environment::Clean {
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    }
    let output = command.output().map_err(|cause| ProgramError::NotRun { program: program.to_owned(), cause })?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stderr, output.stdout].into_iter().find(|said| !said.trim_ascii().is_empty());
    let said = said.unwrap_or_default();
    let said = String::from_utf8_lossy(said.get(..MAX_SAID).unwrap_or(&said)).trim().replace(['\r', '\n'], " ");
    let said = if said.is_empty() { said } else { format!(": {said}") };
    Err(ProgramError::Failed { program: program.to_owned(), status: output.status, said })
}
