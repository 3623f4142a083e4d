//! How the cost of a request grows with what is configured and connected: in instructions, which hardly depend on what
//! else the machine does, or in processor time.

use std::path::Path;

use anyhow::{Context as _, Result};

use crate::callers::so_many;
use crate::cores::Cores;
use crate::instance::{Instance, Size};
use crate::instructions::{read_total, run_under_callgrind};
use crate::measure::{self, Common, Row};

/// The requests of a short run, and how many more a long one has; the difference leaves start and end out.
const REQUESTS: (u64, u64) = (200, 1000);
/// How often both runs are made until they opened as many connections to the instance.
const TRIES: usize = 5;

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Count instructions under callgrind in the place of processor time; of the other options only `--http1` applies.
    #[arg(long)]
    instructions: bool,
    /// Only the rows with this in their names.
    #[arg(long, value_name = "TEXT", default_value = "")]
    rows: String,
    #[command(flatten)]
    common: Common,
}

/// One row for each step of what can grow.
pub(crate) fn run(binary: &Path, options: &Options) -> Result<()> {
    let mut rows = measure::growth_rows()?;
    rows.retain(|row| row.name.contains(&options.rows));
    if !options.instructions {
        return measure::table(binary, options.common, &rows);
    }
    let cores = Cores::split()?;
    println!("{}: {}", binary.display(), if options.common.http1 { "HTTP/1.1 only" } else { "HTTP/1.1 and HTTP/2" });
    println!(
        "| {:<48} | instructions/request | of start and end, million | idle MB | to the instance |\n|{:-<50}|--:|--:|--:|--:|",
        "", ""
    );
    for row in &rows {
        let counted = Counted::of(row, binary, &cores, options.common.http1).with_context(|| row.name.clone())?;
        let Counted { a_request, start, idle, connections: (short, long) } = counted;
        let start = start as f64 / 1e6;
        // Handshakes are in the count where a run opened more than the other: a figure for nobody to quote.
        let connections = if short == long { long.to_string() } else { format!("{short} and {long}: NOT COMPARABLE") };
        println!("| {:<48} | {a_request} | {start:.0} | {idle:.1} | {connections} |", row.name);
    }
    Ok(())
}

/// What was counted of a row.
struct Counted {
    /// Instructions a request.
    a_request: u64,
    /// Instructions of all other than requests.
    start: u64,
    /// MB after the first answer, without callgrind.
    idle: f64,
    /// Opened to the instance, in the short and in the long run.
    connections: (usize, usize),
}

impl Counted {
    fn of(row: &Row, binary: &Path, cores: &Cores, only_http1: bool) -> Result<Self> {
        let (_, targets) = row.setup(binary, Size::Small)?;
        // In the short run each connection asks, and each caller, and each operation is asked for: a series of the metrics is
        // looked up once.
        let kinds = row.scale.callers.max(targets.len()) as u64;
        let (few, more) = (REQUESTS.0.max(2 * row.connections as u64).max(kinds * 3 / 2), REQUESTS.1);
        let mut tries = TRIES;
        let (short, long, connections) = loop {
            let (short, of_short) = instructions(row, binary, cores, only_http1, few)?;
            let (long, of_long) = instructions(row, binary, cores, only_http1, few + more)?;
            tries -= 1;
            // A connection more is a TLS handshake more.
            if of_short == of_long || tries == 0 {
                break (short, long, (of_short, of_long));
            }
        };
        let a_request = long.checked_sub(short).context("the longer run took fewer instructions")? / more;
        Ok(Self { a_request, start: short.saturating_sub(few * a_request), idle: idle(row, binary)?, connections })
    }
}

/// All instructions of the proxy in user space over so many requests, and the connections to the instance.
fn instructions(row: &Row, binary: &Path, cores: &Cores, only_http1: bool, requests: u64) -> Result<(u64, usize)> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("callgrind");
    let instance = Instance::start(only_http1)?;
    let (mut setup, targets) = row.setup(binary, Size::Small)?;
    setup.wrapper = cores.of_proxy();
    run_under_callgrind(&mut setup, &file);
    let proxy = setup.start(&instance)?;
    proxy.first_answer(Size::Small.target(), row.first_key().as_deref())?;
    so_many(&row.lines(&proxy, &targets, Size::Small)?, requests)?;
    proxy.end()?;
    Ok((read_total(&file)?, instance.accepted()))
}

fn idle(row: &Row, binary: &Path) -> Result<f64> {
    let instance = Instance::start(false)?;
    let (setup, _) = row.setup(binary, Size::Small)?;
    let proxy = setup.start(&instance)?;
    proxy.first_answer(Size::Small.target(), row.first_key().as_deref())?;
    let (idle, _) = proxy.memory()?;
    proxy.end()?;
    Ok(idle)
}
