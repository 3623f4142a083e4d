//! How many instructions and allocations a request takes the proxy in user space, on each of its ways: both hardly
//! depend on what else the machine does. They are held against the record, so that no change makes requests dearer
//! unnoticed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use crate::allocations;
use crate::by_crate;
use crate::callers::so_many;
use crate::cores::Cores;
use crate::record::{Cost, Counts};
use crate::ways::Way;

/// How often both runs are made until they opened as many connections to the instance.
const TRIES: usize = 5;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Renew the record in the place of comparing with it.
    #[arg(long)]
    record: bool,
    /// This way only; may be given several times.
    #[arg(long, value_enum, value_name = "WAY")]
    way: Vec<Way>,
    /// Callers at a time. The record is of 1: then nothing depends on how requests meet.
    #[arg(long, value_name = "N", default_value_t = 1)]
    connections: usize,
    /// The requests of a short and of a long run; the difference leaves start and end out.
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_values_t = [200, 1200])]
    requests: Vec<u64>,
    /// Count so many times, show the spread, and take the median.
    #[arg(long, value_name = "N", default_value_t = 1)]
    times: usize,
    /// Print instructions and allocations by crate; only of a binary with symbols (`--proxy`).
    #[arg(long)]
    by_crate: bool,
    /// Keep callgrind's files here, for `callgrind_annotate`; only a binary with symbols (`--proxy`) tells functions.
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
}

/// Counts, prints, and compares with the record, or renews it.
pub(crate) fn run(binary: &Path, options: &Options) -> Result<()> {
    let mut counts = Counts::none()?;
    println!("instructions and allocations a request of {}, built by {}", binary.display(), counts.rustc);
    let cores = Cores::split()?;
    let temporary = tempfile::tempdir()?;
    let folder = match &options.keep {
        Some(keep) => keep.canonicalize().context("the folder of --keep")?,
        None => temporary.path().to_owned(),
    };
    let [few, many] = *options.requests else { bail!("--requests takes two numbers") };
    ensure!(few < many, "--requests takes the smaller number first");
    let counter = Counter { binary, cores, folder, connections: options.connections.max(1), few, many };
    let ways = if options.way.is_empty() { &Way::ALL[..] } else { &options.way };
    for way in ways {
        let mut all = Vec::new();
        for _ in 0..options.times.max(1) {
            let (cost, connections) = counter.count(*way)?;
            println!("  {:<10}{cost}   {connections} connections to the instance", way.name());
            all.push(cost);
        }
        if options.by_crate {
            by_crate::print((&counter.file(*way, few), few), (&counter.file(*way, many), many))?;
        }
        counts.of.push((*way, median(way.name(), &all)?));
    }
    if options.by_crate {
        return Ok(());
    }
    if options.record { counts.write() } else { counts.compare(&Counts::read()?) }
}

/// The median of each, and shows the spread.
fn median(name: &str, all: &[Cost]) -> Result<Cost> {
    let sorted = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values
    };
    let instructions = sorted(all.iter().map(|cost| cost.instructions as f64).collect());
    let allocations = sorted(all.iter().filter_map(|cost| cost.allocations).collect());
    if let [least, .., most] = *instructions {
        println!("  {name:<10}  spread of the instructions: {:.2} %", (most / least - 1.0) * 100.0);
    }
    if let [least, .., most] = *allocations {
        println!("  {name:<10}  spread of the allocations: {:.2}", most - least);
    }
    let instructions = *instructions.get(all.len() / 2).context("a count")? as u64;
    Ok(Cost { instructions, allocations: allocations.get(allocations.len() / 2).copied() })
}

/// What counts.
struct Counter<'a> {
    binary: &'a Path,
    cores: Cores,
    /// Where callgrind writes.
    folder: PathBuf,
    /// Callers at a time.
    connections: usize,
    /// The requests of a short run.
    few: u64,
    /// Those of a long run.
    many: u64,
}

/// What one run took in all.
struct Total {
    instructions: u64,
    allocations: Option<u64>,
    /// To the instance.
    connections: usize,
}

impl Counter<'_> {
    fn file(&self, way: Way, requests: u64) -> PathBuf {
        self.folder.join(format!("callgrind.{}.{requests}", way.name()))
    }

    /// What a request takes, as the slope between a short and a long run, and connections to the instance.
    fn count(&self, way: Way) -> Result<(Cost, usize)> {
        let Self { few, many, .. } = *self;
        for _ in 0..TRIES {
            let (short, long) = (self.total(way, few)?, self.total(way, many)?);
            // A connection more is a TLS handshake more.
            if short.connections == long.connections {
                let more = long.instructions.checked_sub(short.instructions);
                let instructions = more.context("the longer run took fewer instructions")? / (many - few);
                let of_run = |total: &Total| total.allocations.map(|count| count as f64 / (many - few) as f64);
                let allocations = of_run(&long).zip(of_run(&short)).map(|(long, short)| long - short);
                return Ok((Cost { instructions, allocations }, long.connections));
            }
            let (of_short, of_long) = (short.connections, long.connections);
            println!("  {:<10}again: {of_short} and {of_long} connections to the instance", way.name());
        }
        bail!(
            "{}: runs of {few} and of {many} requests opened as many connections in none of {TRIES} tries",
            way.name()
        )
    }

    /// Runs the binary under callgrind with this many requests.
    fn total(&self, way: Way, requests: u64) -> Result<Total> {
        let file = self.file(way, requests);
        let instance = way.instance()?;
        let mut setup = way.setup(self.binary);
        setup.wrapper = self.cores.of_proxy();
        setup.wrapper.extend(["valgrind", "--tool=callgrind", "--quiet"].map(Into::into));
        setup.wrapper.push(format!("--callgrind-out-file={}", file.display()).into());
        // What takes something by the second makes the count depend on how fast the machine is.
        setup.admin = false;
        setup.environment.push(allocations::COUNTED);
        let proxy = setup.start(&instance)?;
        so_many(&vec![way.line(&proxy)?; self.connections], requests)?;
        let log = proxy.end_with_log()?;
        let text = fs::read_to_string(&file).with_context(|| format!("callgrind left no {}", file.display()))?;
        let totals = text
            .lines()
            .find_map(|line| line.strip_prefix("totals:"))
            .with_context(|| format!("callgrind wrote {} only in part: is there room?", file.display()))?;
        Ok(Total {
            instructions: totals.trim().parse()?,
            allocations: allocations::read(&log)?,
            connections: instance.accepted(),
        })
    }
}
