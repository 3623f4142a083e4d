//! Which processor cores the proxy has, and which the load.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

/// One core for the proxy, which then has one worker, and the others for callers and instance.
pub(crate) struct Cores {
    first: usize,
    others: Vec<usize>,
}

impl Cores {
    /// Takes this process, with the threads that it will have, off the first of its cores.
    pub(crate) fn split() -> Result<Self> {
        let mut others = allowed()?;
        let first = others.remove(0);
        if !others.is_empty() {
            let list: Vec<String> = others.iter().map(usize::to_string).collect();
            let moved = Command::new("taskset")
                .args(["-acp", &list.join(","), &std::process::id().to_string()])
                .stdout(Stdio::null())
                .status()
                .context("taskset cannot be started: install util-linux")?;
            ensure!(moved.success(), "taskset cannot move this process to the cores {others:?}");
        }
        Ok(Self { first, others })
    }

    /// The command that runs a program on the first core.
    pub(crate) fn of_proxy(&self) -> Vec<OsString> {
        self.of_proxy_with(1)
    }

    /// The command that runs a program on so many cores, the first among them.
    pub(crate) fn of_proxy_with(&self, count: usize) -> Vec<OsString> {
        let all = [self.first].into_iter().chain(self.others.iter().copied());
        let list: Vec<String> = all.take(count).map(|core| core.to_string()).collect();
        vec!["taskset".into(), "-c".into(), list.join(",").into()]
    }
}

impl fmt::Display for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.others.is_empty() {
            return write!(f, "callers, proxy and instance share the only core: compare with nothing");
        }
        write!(f, "the proxy has core {}, callers and instance have {:?}", self.first, self.others)
    }
}

/// The numbers of the cores that this process may use, at least one.
fn allowed() -> Result<Vec<usize>> {
    let status = fs::read_to_string("/proc/self/status").context("this runs on Linux only")?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).context("a list of cores")?;
    let mut cores = Vec::new();
    for range in list.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        cores.extend(first.parse::<usize>()?..=last.parse::<usize>()?);
    }
    ensure!(!cores.is_empty(), "no core in {list:?}");
    Ok(cores)
}
