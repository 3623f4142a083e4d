//! How many instructions a request takes the proxy in user space, counted by callgrind: a number that hardly depends
//! on what else the machine does. It is held against the record, so that no change makes requests dearer unnoticed.

use std::collections::HashMap;
use std::env::consts::{ARCH, OS};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};

use crate::callers::{Line, request, so_many};
use crate::cores::Cores;
use crate::instance::{Instance, Size};
use crate::proxy::Setup;

const RECORD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bench/instructions.txt");
const RENEW: &str = "cargo bench --profile dev --bench load -- instructions --record";
/// Callers at a time.
const CONNECTIONS: usize = 16;
/// The requests of a short and of a long run; the difference leaves start and end out. The log keeps more lines for a
/// slow writer: none is left out, which would cost less.
const REQUESTS: (u64, u64) = (500, 3500);
/// How often both runs are made until they opened as many connections to the instance.
const TRIES: usize = 5;
/// How far a count may be from the record, in percent. Runs of one binary differ by less than 1.
const TOLERANCE: f64 = 5.0;

/// What the instance offers, by the name in the record, and whether that is HTTP/1.1 only.
const OFFERS: [(&str, bool); 2] = [("both-protocols", false), ("only-http1", true)];

/// What was counted, or recorded: instructions a request by offer, and what they depend on beside the code.
struct Counts {
    rustc: String,
    target: String,
    of: HashMap<&'static str, u64>,
}

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Renew the record in the place of comparing with it.
    #[arg(long)]
    record: bool,
    /// Count so many times, show the spread, and take the median.
    #[arg(long, value_name = "N", default_value_t = 1)]
    times: usize,
    /// Keep callgrind's files here, for `callgrind_annotate`; only a binary with symbols (`--proxy`) tells functions.
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
}

/// Counts, prints, and compares with the record, or renews it.
pub(crate) fn run(binary: &Path, options: &Options) -> Result<()> {
    let mut counts = Counts { rustc: rustc()?, target: format!("{ARCH} {OS}"), of: HashMap::new() };
    println!("instructions a request of {}, built by {}", binary.display(), counts.rustc);
    let cores = Cores::split()?;
    let keep = options.keep.as_deref().map(Path::canonicalize).transpose().context("the folder of --keep")?;
    for (offer, only_http1) in OFFERS {
        let mut all = Vec::new();
        for _ in 0..options.times.max(1) {
            let (count, connections) = count(binary, &cores, offer, only_http1, keep.as_deref())?;
            println!("  {offer:<16}{count:>8}   {CONNECTIONS} connections, {connections} to the instance");
            all.push(count);
        }
        all.sort_unstable();
        if let [least, .., most] = *all {
            println!("  {offer:<16}  spread {:.2} %", percent(least, most));
        }
        counts.of.insert(offer, *all.get(all.len() / 2).context("a count")?);
    }
    if options.record { counts.write() } else { counts.compare(&Counts::read()?) }
}

/// By how many percent `now` is more than `before`.
fn percent(before: u64, now: u64) -> f64 {
    (now as f64 / before as f64 - 1.0) * 100.0
}

fn rustc() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("--version").output().context("rustc cannot be asked for its version")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Instructions a request, as the slope between a short and a long run, and connections to the instance.
fn count(binary: &Path, cores: &Cores, offer: &str, only_http1: bool, keep: Option<&Path>) -> Result<(u64, usize)> {
    let folder = tempfile::tempdir()?;
    let total = |requests: u64| {
        let file = keep.unwrap_or(folder.path()).join(format!("callgrind.{offer}.{requests}"));
        let instance = Instance::start(only_http1)?;
        drive(binary, cores, &instance, requests, &file)?;
        let text = fs::read_to_string(&file).with_context(|| format!("callgrind left no {}", file.display()))?;
        let totals = text
            .lines()
            .find_map(|line| line.strip_prefix("totals:"))
            .with_context(|| format!("callgrind wrote {} only in part: is there room?", file.display()))?;
        Ok::<(u64, usize), anyhow::Error>((totals.trim().parse()?, instance.accepted()))
    };
    let (few, many) = REQUESTS;
    for _ in 0..TRIES {
        let ((short, of_short), (long, of_long)) = (total(few)?, total(many)?);
        // A connection more is a TLS handshake more.
        if of_short == of_long {
            let more = long.checked_sub(short).context("the longer run took fewer instructions")?;
            return Ok((more / (many - few), of_long));
        }
        println!("  {offer:<16} again: {of_short} and {of_long} connections to the instance");
    }
    bail!("{offer}: runs of {few} and of {many} requests opened as many connections in none of {TRIES} tries")
}

/// Runs the binary under callgrind, which writes to `file`, with this many requests.
fn drive(binary: &Path, cores: &Cores, instance: &Instance, requests: u64, file: &Path) -> Result<()> {
    let mut setup = Setup::plain(binary.to_owned());
    setup.wrapper = cores.of_proxy();
    setup.wrapper.extend(["valgrind", "--tool=callgrind", "--quiet"].map(Into::into));
    setup.wrapper.push(format!("--callgrind-out-file={}", file.display()).into());
    let proxy = setup.start(instance)?;
    let target = Size::Small.target();
    proxy.first_answer(target, None)?;
    let line = Line {
        address: *proxy.doors.first().context("a listener")?,
        tls: None,
        requests: [request(target, "")].into(),
        first: 0,
        bytes: Size::Small.bytes(),
    };
    so_many(&vec![line; CONNECTIONS], requests)?;
    proxy.end()
}

impl Counts {
    fn write(&self) -> Result<()> {
        let now = httpdate::fmt_http_date(SystemTime::now());
        let day = now.get(5..16).context("a date")?;
        let counts: Vec<String> =
            OFFERS.iter().filter_map(|(offer, _)| Some(format!("{offer}: {}\n", self.of.get(offer)?))).collect();
        let text = format!(
            "# Instructions that a request takes the release build in user space, see tests/bench/load/instructions.rs.\n\
             # Renewed by: {RENEW}\n\
             date: {day}\nrustc: {}\ntarget: {}\n{}",
            self.rustc,
            self.target,
            counts.concat()
        );
        fs::write(RECORD, text).with_context(|| format!("{RECORD} cannot be written"))?;
        println!("recorded in {RECORD}");
        Ok(())
    }

    fn read() -> Result<Self> {
        let text = fs::read_to_string(RECORD).with_context(|| format!("{RECORD} cannot be read; write it: {RENEW}"))?;
        let value = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once(": "));
            let found = lines.find(|(own, _)| *own == name).map(|(_, value)| value.to_owned());
            found.with_context(|| format!("{RECORD} lacks {name}; write it anew: {RENEW}"))
        };
        let of = OFFERS.iter().map(|(offer, _)| Ok((*offer, value(offer)?.parse()?)));
        Ok(Self { rustc: value("rustc")?, target: value("target")?, of: of.collect::<Result<_>>()? })
    }

    /// Fails where a count grew beyond the tolerance, and tells where it shrank: a record that is too high would hide a
    /// growth.
    fn compare(&self, record: &Self) -> Result<()> {
        if self.target != record.target {
            println!("NOT COMPARED: the record is of {}, this is {}", record.target, self.target);
            return Ok(());
        }
        let mut outside = Vec::new();
        for (offer, _) in OFFERS {
            let (before, now) = (record.of.get(offer).context("a record")?, self.of.get(offer).context("a count")?);
            let change = percent(*before, *now);
            println!("  {offer:<16}{now:>8}   recorded {before}, {change:+.1} %");
            if change < -TOLERANCE {
                println!("  {offer:<16}fewer: renew the record, so that it holds what was gained: {RENEW}");
            }
            if change > TOLERANCE {
                outside.push(format!("{offer}: {now} instructions a request, {before} are recorded ({change:+.1} %)"));
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
            "{}\nMore than {TOLERANCE} % over the record {RECORD}.\nFind what takes them (--keep FOLDER with --proxy \
             and a binary that has symbols, then callgrind_annotate), or, if it is worth it, renew the record in the \
             same commit and say why.\n\
             To renew it: {RENEW}",
            outside.join("\n")
        )
    }
}
