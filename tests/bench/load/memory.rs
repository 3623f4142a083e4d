//! How much memory the proxy holds: after its start, under load, and with connections on which nothing is asked.

use std::fmt;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::callers::{Line, for_a_time, request};
use crate::cores::Cores;
use crate::instance::{Instance, Size};
use crate::proxy::{Proxy, Setup};

/// How long nothing happens before memory is looked at: longer than the allocator keeps what is free.
const REST: Duration = Duration::from_secs(15);

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Callers at a time while it is under load.
    #[arg(long, value_name = "N", default_value_t = 256)]
    connections: usize,
    /// Connections on which nothing is asked, or one thing at first; at most 10,000.
    #[arg(long, value_name = "N", default_value_t = 9_900)]
    idle: usize,
    /// How long the load goes on.
    #[arg(long, value_name = "SECONDS", default_value_t = 3.0)]
    seconds: f64,
    /// The cores that the proxy has; it has a worker for each.
    #[arg(long, value_name = "N", default_value_t = 1)]
    cores: usize,
    /// The instance offers HTTP/1.1 only.
    #[arg(long)]
    http1: bool,
}

/// The memory of a process, in kB.
#[derive(Debug, Clone, Copy)]
struct Memory {
    /// All that is in RAM, of which some is the program and its libraries.
    resident: u64,
    of_files: u64,
    most: u64,
}

impl Memory {
    fn of(proxy: &Proxy) -> Result<Self> {
        let status = fs::read_to_string(format!("/proc/{}/status", proxy.id()))?;
        let line = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name)).context("a line of the status")?;
            Ok::<_, anyhow::Error>(value.trim().trim_end_matches(" kB").parse()?)
        };
        Ok(Self { resident: line("VmRSS:")?, of_files: line("RssFile:")?, most: line("VmHWM:")? })
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mb = |kilobytes: u64| kilobytes as f64 * 1024.0 / 1e6;
        let Self { resident, of_files, most } = *self;
        let own = resident.saturating_sub(of_files);
        write!(f, "{:.1} | {:.1} | {:.1} | {:.1}", mb(resident), mb(own), mb(of_files), mb(most))
    }
}

/// Prints a row for each state.
pub(crate) fn run(binary: &Path, options: &Options) -> Result<()> {
    let cores = Cores::split()?;
    println!("{}: {} core(s)", binary.display(), options.cores);
    println!("| | resident MB | own | of files | most so far | kB a connection |\n|---|--:|--:|--:|--:|--:|");
    let instance = Instance::start(options.http1)?;
    let setup = Setup { wrapper: cores.of_proxy_with(options.cores), ..Setup::plain(binary.to_owned()) };
    let row = |name: &str, proxy: &Proxy| {
        Memory::of(proxy).inspect(|memory| {
            println!("| {name} | {memory} | |");
        })
    };
    let proxy = setup.start(&instance)?;
    row("after the start", &proxy)?;
    proxy.first_answer(Size::Small.target(), None)?;
    row("after the first 200", &proxy)?;
    sleep(REST);
    row("at rest", &proxy)?;
    let address = *proxy.doors.first().context("a listener")?;
    let line = Line::plain(address, [request(Size::Small.target(), "")].into(), Size::Small.bytes());
    let lines = vec![line; options.connections];
    let slice = for_a_time(&lines, Duration::from_secs_f64(options.seconds), || proxy.cpu())?;
    row(&format!("after {} requests of {} callers at a time", slice.requests, lines.len()), &proxy)?;
    sleep(REST);
    row("at rest again", &proxy)?;
    proxy.end()?;
    for asks in [true, false] {
        idle(&setup, &instance, options.idle, asks)?;
    }
    Ok(())
}

/// Connections on which nothing is asked any more, or nothing at all.
fn idle(setup: &Setup, instance: &Instance, count: usize, asks: bool) -> Result<()> {
    let proxy = setup.start(instance)?;
    proxy.first_answer(Size::Small.target(), None)?;
    let before = Memory::of(&proxy)?;
    let address = proxy.doors.first().context("a listener")?;
    let mut connections = Vec::new();
    for _ in 0..count {
        let mut stream = TcpStream::connect(address)?;
        if asks {
            stream.write_all(&request(Size::Small.target(), ""))?;
            let (mut answer, mut read) = ([0; 4096], 0);
            while read < Size::Small.bytes() {
                let more = stream.read(&mut answer)?;
                ensure!(more > 0, "a connection ended in an answer");
                read += more;
            }
        }
        connections.push(stream);
    }
    let name = if asks { "connections that have asked once" } else { "connections that never asked" };
    let row = |when: &str| {
        let now = Memory::of(&proxy)?;
        let each = (now.resident.saturating_sub(before.resident)) as f64 * 1.024 / count as f64;
        println!("| {count} {name}, {when} | {now} | {each:.1} |");
        Ok::<_, anyhow::Error>(())
    };
    row("at once")?;
    sleep(REST);
    row("15 s later")?;
    drop(connections);
    sleep(REST);
    row("15 s after their end")?;
    proxy.end()
}
