//! How long an answer takes at a fixed rate, through the proxy and without it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::callers::{self, Line, at_a_rate, request};
use crate::cores::Cores;
use crate::instance::{AUTHORIZED, Instance, Size};
use crate::proxy::Setup;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Requests a second, in all.
    #[arg(long, value_name = "N", default_value_t = 4000.0)]
    rate: f64,
    /// Callers at a time: more than are ever busy.
    #[arg(long, value_name = "N", default_value_t = 32)]
    connections: usize,
    /// How long each measurement takes.
    #[arg(long, value_name = "SECONDS", default_value_t = 3.0)]
    seconds: f64,
    /// Measurements, in turn without and with the proxy.
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: usize,
    /// The instance offers HTTP/1.1 only.
    #[arg(long)]
    http1: bool,
}

/// Measures in turn, and prints each measurement.
pub(crate) fn run(binary: &Path, options: &Options) -> Result<()> {
    println!("{}: {} requests/s over {} connections", binary.display(), options.rate, options.connections);
    let cores = Cores::split()?;
    println!("{cores}");
    let instance = Instance::start(options.http1)?;
    let setup = Setup { wrapper: cores.of_proxy(), ..Setup::plain(binary.to_owned()) };
    let proxy = setup.start(&instance)?;
    let target = Size::Small.target();
    proxy.first_answer(target, None)?;
    let door = *proxy.doors.first().context("a listener")?;
    let through = Line::plain(door, [request(target, "")].into(), Size::Small.bytes());
    let direct = Line {
        address: instance.address,
        tls: Some(callers::tls(&instance.ca.1)?),
        requests: [request(target, &format!("Authorization: {}\r\n", AUTHORIZED))].into(),
        ..through.clone()
    };
    println!(
        "| microseconds | answers/s | p50 | p90 | p99 | p99.9 | longest | CPU us/request |\n|---|--:|--:|--:|--:|--:|--:|--:|"
    );
    let span = Duration::from_secs_f64(options.seconds);
    for _ in 0..options.rounds.max(1) {
        for (name, line) in [("direct", &direct), ("through the proxy", &through)] {
            let before = proxy.cpu()?;
            let paced = at_a_rate(&vec![line.clone(); options.connections], options.rate, span)?;
            let cpu = proxy.cpu()?.saturating_sub(before).as_secs_f64() * 1e6 / paced.requests as f64;
            let at = |share: f64| {
                let place = (paced.took.len() as f64 * share) as usize;
                let took = paced.took.get(place).or(paced.took.last()).context("an answer")?;
                Ok::<_, anyhow::Error>(took.as_secs_f64() * 1e6)
            };
            println!(
                "| {name:<17} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {cpu:.1} |",
                paced.took.len() as f64 / span.as_secs_f64(),
                at(0.5)?,
                at(0.9)?,
                at(0.99)?,
                at(0.999)?,
                at(1.0)?
            );
        }
    }
    proxy.end()
}
