//! The record of what requests take, and how a count is held against it.

use std::env::consts::{ARCH, OS};
use std::fmt::{self, Write as _};
use std::fs;
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};

use crate::ways::Way;

const RECORD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bench/instructions.txt");
const RENEW: &str = "cargo bench --profile dev --bench load -- instructions --record";
/// How far a count may be from the record, in percent. Runs of one binary differ by less.
const TOLERANCE: f64 = 5.0;
/// The least that counts as one allocation more.
const ONE: f64 = 0.5;

/// What a request takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) instructions: u64,
    /// None if the proxy's allocator does not count them.
    pub(crate) allocations: Option<f64>,
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>8} instructions, ", self.instructions)?;
        match self.allocations {
            Some(allocations) => write!(f, "{allocations:>6.1} allocations"),
            None => f.write_str("allocations not counted"),
        }
    }
}

/// What was counted, or recorded, and what it depends on in addition to the code.
pub(crate) struct Counts {
    pub(crate) rustc: String,
    target: String,
    pub(crate) of: Vec<(Way, Cost)>,
}

impl Counts {
    /// None yet, by this compiler on this system.
    pub(crate) fn none() -> Result<Self> {
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let output = Command::new(rustc).arg("--version").output().context("rustc cannot be asked for its version")?;
        let rustc = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Ok(Self { rustc, target: format!("{ARCH} {OS}"), of: Vec::new() })
    }

    fn cost(&self, way: Way) -> Option<Cost> {
        self.of.iter().find(|(own, _)| *own == way).map(|(_, cost)| *cost)
    }

    /// Writes the record.
    pub(crate) fn write(&self) -> Result<()> {
        let now = httpdate::fmt_http_date(SystemTime::now());
        let day = now.get(5..16).context("a date")?;
        let mut text = format!(
            "# Instructions and allocations that a request takes the release build in user space, by its way: see\n\
             # tests/bench/load/ways.rs. Renewed by: {RENEW}\n\
             date: {day}\nrustc: {}\ntarget: {}\n",
            self.rustc, self.target,
        );
        for (way, cost) in &self.of {
            writeln!(text, "{:<11}{cost}", format!("{}:", way.name()))?;
        }
        fs::write(RECORD, text).with_context(|| format!("{RECORD} cannot be written"))?;
        println!("recorded in {RECORD}");
        Ok(())
    }

    /// Reads the record.
    pub(crate) fn read() -> Result<Self> {
        let text = fs::read_to_string(RECORD).with_context(|| format!("{RECORD} cannot be read; write it: {RENEW}"))?;
        let value = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once(':'));
            let found = lines.find(|(own, _)| *own == name).map(|(_, value)| value.trim().to_owned());
            found.with_context(|| format!("{RECORD} lacks {name}; write it anew: {RENEW}"))
        };
        let cost = |way: Way| {
            let text = value(way.name()).ok()?;
            let mut numbers = text.split(' ').filter_map(|word| word.parse::<f64>().ok());
            Some((way, Cost { instructions: numbers.next()? as u64, allocations: numbers.next() }))
        };
        let of = Way::ALL.into_iter().filter_map(cost).collect();
        Ok(Self { rustc: value("rustc")?, target: value("target")?, of })
    }

    /// Fails where a count grew beyond the tolerance, and tells where it shrank: a record that is too high would hide a
    /// growth.
    pub(crate) fn compare(&self, record: &Self) -> Result<()> {
        if self.target != record.target {
            println!("NOT COMPARED: the record is of {}, this is {}", record.target, self.target);
            return Ok(());
        }
        let mut outside = Vec::new();
        for (way, now) in &self.of {
            let Some(before) = record.cost(*way) else {
                println!(
                    "  {:<10}{now}\n  {:<10}NOT COMPARED: {RECORD} lacks it; to renew it: {RENEW}",
                    way.name(),
                    ""
                );
                continue;
            };
            let way = way.name();
            let change = (now.instructions as f64 / before.instructions as f64 - 1.0) * 100.0;
            let counts = now.allocations.zip(before.allocations);
            let more = counts.map_or(0.0, |(now, before)| now - before);
            println!("  {way:<10}{now}\n  {:<10}{before} recorded: {change:+.1} %, {more:+.1}", "");
            let is_one = counts.is_some_and(|(_, before)| more.abs() >= ONE && more.abs() * 100.0 > before * TOLERANCE);
            if change < -TOLERANCE || is_one && more < 0.0 {
                println!("  {way:<10}fewer: renew the record, so that it holds what was gained: {RENEW}");
            }
            if change > TOLERANCE || is_one && more > 0.0 {
                outside.push(format!("{way}: {now} a request; recorded: {before} ({change:+.1} %, {more:+.1})"));
            }
        }
        if outside.is_empty() {
            return Ok(());
        }
        if self.rustc != record.rustc {
            println!(
                "NOT HELD AGAINST IT: the record was made with {}, this is {}, and that alone may be the cause. If it is (the \
                 commit of the record, built with this compiler, counts the same), renew the record in a commit of its own.",
                record.rustc, self.rustc
            );
            return Ok(());
        }
        bail!(
            "{}\nMore than {TOLERANCE} %, or one allocation, over the record {RECORD}.\nFind what takes them (--by-crate with \
             --proxy and a binary that has symbols, see tests/bench/README.md), or, if it is worth it, renew the record in \
             the same commit and say why.\n\
             To renew it: {RENEW}",
            outside.join("\n")
        )
    }
}
