//! A command that prints a credential: run without a shell, with nothing of ours but its standard error, until it ends.

use std::io::{self, Read};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::thread;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::source::{MAX_LENGTH, SourceError};

/// How often a command that runs is looked after.
const STEP: Duration = Duration::from_millis(10);
/// What systemd tells this process alone (sd_listen_fds(3), sd_notify(3), sd_watchdog_enabled(3)).
const OWN_VARIABLES: [&str; 6] =
    ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// Read while this process has a child that it waits for, which only commands are.
static CHILDREN: RwLock<()> = RwLock::new(());

/// Keeps a child that this process has waited for elsewhere from [`reap_orphans`].
pub fn keep_child() -> RwLockReadGuard<'static, ()> {
    CHILDREN.read().unwrap_or_else(PoisonError::into_inner)
}

/// What the command prints on standard output until it ends; what it leaves running is not waited for.
pub(super) fn run(words: &[String], limit: Duration) -> Result<Zeroizing<Vec<u8>>, SourceError> {
    let ran = {
        let _children = keep_child();
        run_alone(words, limit)
    };
    reap_orphans();
    ran
}

fn run_alone(words: &[String], limit: Duration) -> Result<Zeroizing<Vec<u8>>, SourceError> {
    let name = words.first().map_or("", String::as_str).to_owned();
    let not_run = |cause| SourceError::NotRun { name: name.clone(), cause };
    let mut command = Command::new(&name);
    command.args(words.get(1..).unwrap_or_default()).stdin(Stdio::null()).stdout(Stdio::piped());
    for name in OWN_VARIABLES {
        command.env_remove(name);
    }
    let mut child = command.spawn().map_err(not_run)?;
    let taken = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe.into());
    let mut output = taken.and_then(Output::new).map_err(not_run)?;
    let begun = Instant::now();
    loop {
        output.take().map_err(not_run)?;
        if output.bytes.len() > MAX_LENGTH {
            end(&mut child).map_err(not_run)?;
            return Ok(output.bytes);
        }
        if let Some(status) = child.try_wait().map_err(not_run)? {
            return finished(name, status, output);
        }
        if begun.elapsed() > limit {
            end(&mut child).map_err(not_run)?;
            return Err(SourceError::TookTooLong(name, limit));
        }
        thread::sleep(STEP);
    }
}

fn finished(name: String, status: ExitStatus, mut output: Output) -> Result<Zeroizing<Vec<u8>>, SourceError> {
    if !status.success() {
        return Err(SourceError::Failed { name, status });
    }
    // What it printed is in the pipe by now.
    output.rest().map_err(|cause| SourceError::NotRun { name, cause })?;
    Ok(output.bytes)
}

fn end(child: &mut Child) -> io::Result<()> {
    child.kill()?;
    child.wait().map(drop)
}

/// What a command has printed so far.
struct Output {
    #[cfg(unix)]
    from: ChildStdout,
    #[cfg(not(unix))]
    from: std::sync::mpsc::Receiver<io::Result<Zeroizing<Vec<u8>>>>,
    /// In one piece of memory, so that no outgrown one is left behind.
    bytes: Zeroizing<Vec<u8>>,
}

#[cfg(unix)]
impl Output {
    fn new(from: ChildStdout) -> io::Result<Self> {
        rustix::fs::fcntl_setfl(&from, rustix::fs::OFlags::NONBLOCK)?;
        Ok(Self { from, bytes: Zeroizing::new(Vec::with_capacity(MAX_LENGTH + 64)) })
    }

    /// Takes what is there; no end is waited for, since another process may keep the pipe open.
    fn take(&mut self) -> io::Result<()> {
        let room = (MAX_LENGTH + 1).saturating_sub(self.bytes.len()) as u64;
        match (&mut self.from).take(room).read_to_end(&mut self.bytes) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    fn rest(&mut self) -> io::Result<()> {
        self.take()
    }
}

#[cfg(not(unix))]
impl Output {
    fn new(from: ChildStdout) -> io::Result<Self> {
        let (say, hear) = std::sync::mpsc::sync_channel(1);
        let read = move || {
            let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_LENGTH + 64));
            let read = from.take(MAX_LENGTH as u64 + 1).read_to_end(&mut bytes);
            // Nobody listens any more when the command took too long.
            drop(say.send(read.map(|_| bytes)));
        };
        thread::spawn(read);
        Ok(Self { from: hear, bytes: Zeroizing::default() })
    }

    /// Takes what was printed if the output has ended.
    fn take(&mut self) -> io::Result<()> {
        self.take_within(Duration::ZERO)
    }

    fn rest(&mut self) -> io::Result<()> {
        self.take_within(Duration::from_secs(1))
    }

    fn take_within(&mut self, time: Duration) -> io::Result<()> {
        if let Ok(read) = self.from.recv_timeout(time) {
            self.bytes = read?;
        }
        Ok(())
    }
}

/// As the first process of a container: waits for those that commands left behind and that have ended since, as an init
/// process does; otherwise each of them takes a place in the table of processes.
#[cfg(unix)]
pub fn reap_orphans() {
    use rustix::process::{WaitOptions, wait};
    // A child that a command is made of is not ours to take, and what waits for it comes here afterwards.
    if std::process::id() == 1
        && let Ok(_nobody_waits) = CHILDREN.try_write()
    {
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
    }
}

/// Other systems keep nothing of a process that has ended.
#[cfg(not(unix))]
pub fn reap_orphans() {}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;

    fn run_words(words: &[&str], limit: Duration) -> Result<String, SourceError> {
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        run(&words, limit).map(|bytes| String::from_utf8(bytes.to_vec()).expect("text"))
    }

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn command_that_takes_too_long_is_ended() {
        let begun = Instant::now();
        let failure = run_words(&["sleep", "20"], Duration::from_millis(200)).expect_err("no end");
        assert!(begun.elapsed() < Duration::from_secs(10) && matches!(failure, SourceError::TookTooLong(..)));
    }

    #[test]
    fn command_ends_when_its_process_does_whoever_holds_its_output() {
        let begun = Instant::now();
        let printed = run_words(&["sh", "-c", "sleep 30 & echo s3cret"], LONG).expect("printed");
        assert_eq!(printed, "s3cret\n");
        assert!(begun.elapsed() < Duration::from_secs(10), "the sleep was not waited for");
    }

    #[test]
    fn command_that_prints_without_end_is_ended_and_no_credential() {
        let begun = Instant::now();
        let printed = run_words(&["sh", "-c", "yes; sleep 20"], LONG).expect("printed");
        assert_eq!(printed.len(), MAX_LENGTH + 1);
        assert!(begun.elapsed() < Duration::from_secs(10));
        let printed = run_words(&["sh", "-c", "head -c 16000 /dev/zero | tr '\\0' x"], LONG).expect("printed");
        assert_eq!(printed.len(), 16_000, "all of a long output");
    }
}
