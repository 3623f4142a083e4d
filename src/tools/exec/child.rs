//! The command itself: started, given the signals that come for it, and waited for.

#[cfg(unix)]
mod signals;

use std::ffi::OsString;
use std::io;
use std::process::ExitStatus;

use tokio::process::{Child, Command};

#[cfg(unix)]
use signals::Signals;

/// A command that is not found (POSIX, as shells and env(1) do).
const NOT_FOUND: u8 = 127;
/// A command that is found, and cannot be run.
const NOT_RUN: u8 = 126;
/// What is added to the number of the signal that ended a command.
const BY_SIGNAL: i32 = 128;

/// Why a command did not run.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// There is no such program, or no interpreter of it.
    #[error("{0:?} is not found: install it, correct its name, or write its whole path")]
    NotFound(OsString),
    /// The system does not let us.
    #[error("{name:?} cannot be run: {cause}")]
    NotRun {
        /// The program.
        name: OsString,
        /// What the system says.
        cause: io::Error,
    },
    /// It is lost.
    #[error("the end of the command cannot be observed")]
    Wait(#[source] io::Error),
}

impl ChildError {
    /// The exit code that says so.
    pub fn code(&self) -> Option<u8> {
        match self {
            Self::NotFound(_) => Some(NOT_FOUND),
            Self::NotRun { .. } => Some(NOT_RUN),
            Self::Wait(_) => None,
        }
    }
}

/// What is to be passed on from now on. Made before the command starts, so that no signal is missed.
pub struct Forwarding {
    #[cfg(unix)]
    signals: Signals,
}

impl Forwarding {
    /// Catches the signals that a command may be sent. One that this process was told to ignore, as nohup(1) does, is left
    /// alone: the command inherits that.
    pub fn catch() -> io::Result<Self> {
        Ok(Self {
            #[cfg(unix)]
            signals: Signals::catch()?,
        })
    }

    /// Starts the program with these arguments and variables, waits for its end, and returns its exit code; for a signal
    /// 128 and its number.
    pub async fn run(
        &mut self,
        program: &OsString,
        arguments: &[OsString],
        variables: impl IntoIterator<Item = (impl AsRef<std::ffi::OsStr>, OsString)>,
    ) -> Result<u8, ChildError> {
        let mut child = Command::new(program).args(arguments).envs(variables).spawn().map_err(|cause| {
            let name = program.clone();
            if cause.kind() == io::ErrorKind::NotFound {
                ChildError::NotFound(name)
            } else {
                ChildError::NotRun { name, cause }
            }
        })?;
        self.wait(&mut child).await.map(code).map_err(ChildError::Wait)
    }

    #[cfg(unix)]
    async fn wait(&mut self, child: &mut Child) -> io::Result<ExitStatus> {
        loop {
            tokio::select! {
                status = child.wait() => return status,
                signal = self.signals.next() => {
                    // Until it is waited for, its number is its own.
                    let number = child.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed()));
                    if let Some(number) = number.filter(|number| !signals::has_reached(signal, *number)) {
                        // It may have ended just now.
                        let _ = rustix::process::kill_process(number, signal);
                    }
                }
            }
        }
    }

    /// A console sends Ctrl-C to each of its processes: this one goes on, so that it can tell how the command ended.
    #[cfg(not(unix))]
    async fn wait(&mut self, child: &mut Child) -> io::Result<ExitStatus> {
        loop {
            tokio::select! {
                status = child.wait() => return status,
                Ok(()) = tokio::signal::ctrl_c() => {}
            }
        }
    }

    /// The end of what is drained, if somebody asks for it.
    pub async fn asked_to_end(&mut self) {
        #[cfg(unix)]
        self.signals.next().await;
        #[cfg(not(unix))]
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

fn code(status: ExitStatus) -> u8 {
    #[cfg(unix)]
    let by_signal = std::os::unix::process::ExitStatusExt::signal(&status).map(|signal| BY_SIGNAL + signal);
    #[cfg(not(unix))]
    let by_signal = None;
    // Windows has larger ones; only 0 may be said of one that is good.
    let code = status.code().or(by_signal).unwrap_or(BY_SIGNAL);
    u8::try_from(code).unwrap_or(u8::MAX)
}
