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
const TOLERANCE: f64 = 2.0;
/// The same on another processor than that of the record, where copies and ciphers are other code.
const TOLERANCE_ELSEWHERE: f64 = 5.0;
/// The least that counts as one allocation more: on a busy machine, lines of the log that others do not join in time take
/// part of one.
const ONE: f64 = 0.75;

/// What a request takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    /// None if they were not asked for.
    pub(crate) instructions: Option<u64>,
    /// None if the allocator of this system does not count them.
    pub(crate) allocations: Option<f64>,
}

impl Cost {
    /// The least of each.
    pub(crate) fn least(all: &[Self]) -> Self {
        let allocations = all.iter().filter_map(|cost| cost.allocations).min_by(f64::total_cmp);
        Self { instructions: all.iter().filter_map(|cost| cost.instructions).min(), allocations }
    }

    /// By how many percent its instructions, and by how many its allocations, are more than these.
    fn growth(&self, before: &Self) -> (f64, f64) {
        let instructions = self.instructions.zip(before.instructions);
        let allocations = self.allocations.zip(before.allocations);
        (
            instructions.map_or(0.0, |(now, before)| percent(before, now)),
            allocations.map_or(0.0, |(now, before)| now - before),
        )
    }

    /// Whether it is more than this tolerance allows.
    fn is_over(&self, before: &Self, tolerance: f64) -> bool {
        let (instructions, allocations) = self.growth(before);
        let tolerated = before.allocations.unwrap_or_default() * tolerance / 100.0;
        let uncounted = before.allocations.is_some() && self.allocations.is_none();
        instructions > tolerance || (allocations >= ONE && allocations > tolerated) || uncounted
    }
}

/// By how many percent `now` is more than `before`.
pub(crate) fn percent(before: u64, now: u64) -> f64 {
    (now as f64 / before as f64 - 1.0) * 100.0
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.instructions {
            Some(instructions) => write!(f, "{instructions:>8} instructions")?,
            None => f.write_str("instructions not counted")?,
        }
        match self.allocations {
            Some(allocations) => write!(f, ", {allocations:>6.2} allocations"),
            None => f.write_str(", allocations not counted"),
        }
    }
}

/// The processor of this machine, as Linux tells it.
fn processor() -> String {
    let told = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let value = |name: &str| {
        let mut lines = told.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(own, _)| own.trim() == name).map_or("?", |(_, value)| value.trim())
    };
    format!("{}, family {}, model {}", value("model name"), value("cpu family"), value("model"))
}

/// What was counted, or recorded, and what it depends on in addition to the code.
pub(crate) struct Counts {
    pub(crate) rustc: String,
    target: String,
    processor: String,
    pub(crate) of: Vec<(Way, Cost)>,
}

impl Counts {
    /// None yet, by this compiler on this system.
    pub(crate) fn none() -> Result<Self> {
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let output = Command::new(rustc).arg("--version").output().context("rustc cannot be asked for its version")?;
        let rustc = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Ok(Self { rustc, target: format!("{ARCH} {OS}"), processor: processor(), of: Vec::new() })
    }

    fn cost(&self, way: Way) -> Option<Cost> {
        self.of.iter().find(|(own, _)| *own == way).map(|(_, cost)| *cost)
    }

    /// Writes the record.
    pub(crate) fn write(&self) -> Result<()> {
        let now = httpdate::fmt_http_date(SystemTime::now());
        let day = now.get(5..16).context("a date")?;
        let mut text = format!(
            "# Instructions that a request takes the release build in user space, and allocations of the build for tests, by\n\
             # the way of the request: see tests/bench/README.md. Renewed by:\n# {RENEW}\n\
             date: {day}\nrustc: {}\ntarget: {}\nprocessor: {}\n",
            self.rustc, self.target, self.processor,
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
            let text = value(way.name())?;
            let mut numbers = text.split(' ').filter_map(|word| word.parse::<f64>().ok());
            let instructions = numbers.next().with_context(|| format!("{RECORD}: {text}; write it anew: {RENEW}"))?;
            Ok((way, Cost { instructions: Some(instructions as u64), allocations: numbers.next() }))
        };
        let of = Way::ALL.into_iter().map(cost).collect::<Result<_>>()?;
        Ok(Self { rustc: value("rustc")?, target: value("target")?, processor: value("processor")?, of })
    }

    /// Whether a count is more than the tolerance allows.
    pub(crate) fn is_over(&self, way: Way, now: Cost) -> bool {
        self.target == format!("{ARCH} {OS}")
            && self.cost(way).is_some_and(|before| now.is_over(&before, self.tolerance()))
    }

    /// How far a count made here may be from this record, in percent.
    fn tolerance(&self) -> f64 {
        if self.processor == processor() { TOLERANCE } else { TOLERANCE_ELSEWHERE }
    }

    /// Fails where a count grew beyond the tolerance, and tells where it shrank: a record that is too high would hide a
    /// growth.
    pub(crate) fn compare(&self, record: &Self) -> Result<()> {
        if self.target != record.target {
            println!("NOT COMPARED: the record is of {}, this is {}", record.target, self.target);
            return Ok(());
        }
        let tolerance = record.tolerance();
        if self.processor != record.processor {
            println!(
                "held to {tolerance} %: the record is of the processor {}, this is {}",
                record.processor, self.processor
            );
        }
        let mut outside = Vec::new();
        for (way, now) in &self.of {
            let (way, before) = (way.name(), record.cost(*way).context("a record")?);
            let (change, more) = now.growth(&before);
            println!("  {way:<10}{now}\n  {:<10}{before} recorded: {change:+.1} %, {more:+.2}", "");
            if now.is_over(&before, tolerance) {
                outside.push(format!("{way}: {now} a request; recorded: {before} ({change:+.1} %, {more:+.2})"));
            } else if before.is_over(now, tolerance) {
                println!("  {:<10}fewer: renew the record, so that it holds what was gained: {RENEW}", "");
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
            "{}\nMore than {tolerance} %, or one allocation, over the record {RECORD}.\nFind what takes them (--by-crate with \
             --proxy and a binary that has symbols, see tests/bench/README.md), or, if it is worth it, renew the record in \
             the same commit and say why.\n\
             To renew it: {RENEW}",
            outside.join("\n")
        )
    }
}
