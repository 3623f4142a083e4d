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
use crate::proxy::Setup;
use crate::record::{Cost, Counts, percent};
use crate::ways::Way;

/// How often a count is made for the record, and before one fails.
const TIMES: usize = 3;
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
    /// Count so many times, show the spread, and take the least: 3 times for the record, else once.
    #[arg(long, value_name = "N")]
    times: Option<usize>,
    /// Count the allocations alone, without callgrind: that takes seconds.
    #[arg(long, conflicts_with_all = ["record", "by_crate", "keep"])]
    allocations: bool,
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
    let is_quick = options.allocations;
    let counter = Counter { binary, cores, folder, connections: options.connections.max(1), few, many };
    let record = if options.record || options.by_crate || is_quick { None } else { Some(Counts::read()?) };
    let times = options.times.unwrap_or(if options.record { TIMES } else { 1 });
    let ways = if options.way.is_empty() { &Way::ALL[..] } else { &options.way };
    for way in ways {
        let mut all = Vec::new();
        // What disturbs a count adds to it: before one is held against the record, it is made again.
        let is_over = |all: &[Cost]| record.as_ref().is_some_and(|record| record.is_over(*way, Cost::least(all)));
        while all.len() < times.max(1) || (all.len() < TIMES && is_over(&all)) {
            let allocations = counter.count(*way, Meter::Allocator)?;
            let instructions = if is_quick { None } else { counter.count(*way, Meter::Callgrind)? };
            all.push(Cost { instructions: instructions.map(|count| count.round() as u64), allocations });
            println!("  {:<10}{}", way.name(), Cost::least(all.get(all.len() - 1..).unwrap_or_default()));
        }
        show_spread(&all);
        if options.by_crate {
            by_crate::print((&counter.file(*way, few), few), (&counter.file(*way, many), many))?;
        }
        counts.of.push((*way, Cost::least(&all)));
    }
    match record {
        Some(record) => counts.compare(&record),
        None if options.record => counts.write(),
        None => Ok(()),
    }
}

fn show_spread(all: &[Cost]) {
    let mut instructions: Vec<u64> = all.iter().filter_map(|cost| cost.instructions).collect();
    let mut allocations: Vec<f64> = all.iter().filter_map(|cost| cost.allocations).collect();
    instructions.sort_unstable();
    allocations.sort_by(f64::total_cmp);
    if let [least, .., most] = *instructions {
        println!("  {:<10}spread of the instructions: {:.2} %", "", percent(least, most));
    }
    if let [least, .., most] = *allocations {
        println!("  {:<10}spread of the allocations: {:.2}", "", most - least);
    }
}

/// What counts, and what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meter {
    /// Instructions.
    Callgrind,
    /// Allocations: jemalloc, in the binary that cargo built beside this one, since that of a release does not count.
    Allocator,
}

/// What runs the ways.
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

impl Counter<'_> {
    fn file(&self, way: Way, requests: u64) -> PathBuf {
        self.folder.join(format!("callgrind.{}.{requests}", way.name()))
    }

    /// What a request takes, as the slope between a short and a long run; none if it cannot be counted.
    fn count(&self, way: Way, meter: Meter) -> Result<Option<f64>> {
        let Self { few, many, .. } = *self;
        for _ in 0..TRIES {
            let ((short, of_short), (long, of_long)) = (self.total(way, meter, few)?, self.total(way, meter, many)?);
            // A connection more is a TLS handshake more.
            if of_short == of_long {
                let more = |(long, short): (u64, u64)| (long as f64 - short as f64) / (many - few) as f64;
                return Ok(long.zip(short).map(more));
            }
            println!("  {:<10}again: {of_short} and {of_long} connections to the instance", way.name());
        }
        bail!(
            "{}: runs of {few} and of {many} requests opened as many connections in none of {TRIES} tries",
            way.name()
        )
    }

    /// Runs a binary with this many requests: what it took in all, and its connections to the instance.
    fn total(&self, way: Way, meter: Meter, requests: u64) -> Result<(Option<u64>, usize)> {
        let file = self.file(way, requests);
        let instance = way.instance()?;
        let mut setup = way.setup(match meter {
            Meter::Callgrind => self.binary,
            Meter::Allocator => Path::new(env!("CARGO_BIN_EXE_ninjaone-proxy")),
        });
        setup.wrapper = self.cores.of_proxy();
        match meter {
            Meter::Callgrind => run_under_callgrind(&mut setup, &file),
            Meter::Allocator => leave_out_clock(&mut setup),
        }
        let proxy = setup.start(&instance)?;
        so_many(&vec![way.line(&proxy)?; self.connections], requests)?;
        let log = proxy.end_with_log()?;
        let total = match meter {
            Meter::Callgrind => Some(read_total(&file)?),
            Meter::Allocator => allocations::read(&log)?,
        };
        Ok((total, instance.accepted()))
    }
}

/// Has the proxy do nothing by the second: a count would depend on how fast the machine is.
fn leave_out_clock(setup: &mut Setup) {
    setup.admin = false;
    setup.environment.push(allocations::SETTINGS);
}

/// Has the proxy run under callgrind, which writes to this file.
pub(crate) fn run_under_callgrind(setup: &mut Setup, file: &Path) {
    leave_out_clock(setup);
    setup.wrapper.extend(["valgrind", "--tool=callgrind", "--quiet"].map(Into::into));
    setup.wrapper.push(format!("--callgrind-out-file={}", file.display()).into());
}

/// All instructions, from a file of callgrind.
pub(crate) fn read_total(file: &Path) -> Result<u64> {
    let text = fs::read_to_string(file).with_context(|| format!("callgrind left no {}", file.display()))?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals:"));
    let total = total.with_context(|| format!("callgrind wrote {} only in part: is there room?", file.display()))?;
    Ok(total.trim().parse()?)
}
