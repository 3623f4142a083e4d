//! What a request costs: processor time and memory of the proxy under a load that takes all it gives.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use ninjaone_proxy::proxy::policy::catalog::openapi::Document;
use ninjaone_proxy::proxy::policy::catalog::{Catalog, Scope};
use serde_json::{Map, Value, json};

use crate::callers::{Line, for_a_time, request};
use crate::cores::Cores;
use crate::instance::{Instance, Size};
use crate::proxy::{Proxy, Setup, key};

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Callers at a time, each with a connection of its own; a row of the table for each number.
    #[arg(long, value_name = "N,N,...", value_delimiter = ',', default_values_t = [1, 16, 64, 256])]
    connections: Vec<usize>,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    scale: Scale,
}

#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Common {
    /// How long each measurement takes.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    seconds: f64,
    /// Measurements of each row, in turn; the table has medians.
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: usize,
    /// What is asked for.
    #[arg(long, value_enum, default_value_t = Size::Small)]
    body: Size,
    /// The instance offers HTTP/1.1 only.
    #[arg(long)]
    http1: bool,
}

#[derive(Debug, Clone, Copy, clap::Args)]
struct Scale {
    /// Invented operations beside the built-in ones, by a catalog-file; callers ask for all that are open in turn.
    #[arg(long, value_name = "N", default_value_t = 0)]
    operations: usize,
    /// Listeners, over which the connections are spread.
    #[arg(long, value_name = "N", default_value_t = 1)]
    listeners: usize,
    /// Callers of each listener, with keys, over which the connections are spread; 0: everybody is let in.
    #[arg(long, value_name = "N", default_value_t = 0)]
    callers: usize,
}

const PLAIN: Scale = Scale { operations: 0, listeners: 1, callers: 0 };

/// A row of the table.
#[derive(Clone)]
struct Row {
    name: String,
    connections: usize,
    scale: Scale,
    /// Ask for every open operation in turn, not for one.
    around: bool,
}

/// What one measurement of a row gave.
struct Figures {
    requests: u64,
    per_second: f64,
    /// Microseconds of processor time a request.
    cpu: f64,
    first_answer: Duration,
    idle: f64,
    peak: f64,
    upstream: usize,
}

/// One row for each number of connections.
pub(crate) fn run(binary: &Path, options: &Options) -> Result<()> {
    let scale = options.scale;
    let row = |&connections: &usize| Row {
        name: format!("{connections} connections"),
        connections,
        scale,
        around: scale.operations > 0,
    };
    table(binary, options.common, &options.connections.iter().map(row).collect::<Vec<_>>())
}

/// One row for each step of what can grow: connections, operations, listeners, callers.
pub(crate) fn growth(binary: &Path, common: Common) -> Result<()> {
    let row = |name: String, connections, scale, around| Row { name, connections, scale, around };
    let mut rows = Vec::new();
    for connections in [1, 4, 16, 64, 256, 1024] {
        rows.push(row(format!("{connections} connections"), connections, PLAIN, false));
    }
    let built_in = Catalog::built_in()?.operations().len();
    // As many as a document may declare.
    for operations in [0, 10 * built_in, 10_000] {
        let name = format!("{} operations, 16 connections", built_in + operations);
        rows.push(row(name, 16, Scale { operations, ..PLAIN }, true));
    }
    for listeners in [1, 10, 100] {
        let name = format!("{listeners} listeners, 100 connections");
        rows.push(row(name, 100, Scale { listeners, ..PLAIN }, false));
    }
    for callers in [1, 10, 100] {
        let name = format!("{callers} callers, 100 connections");
        rows.push(row(name, 100, Scale { callers, ..PLAIN }, false));
    }
    table(binary, common, &rows)
}

fn table(binary: &Path, common: Common, rows: &[Row]) -> Result<()> {
    let cores = Cores::split()?;
    println!("{}: {:?} bodies, {} s a measurement", binary.display(), common.body, common.seconds);
    println!("{cores}");
    let mut measured: Vec<Vec<Figures>> = rows.iter().map(|_| Vec::new()).collect();
    for _ in 0..common.rounds.max(1) {
        for (row, of_row) in rows.iter().zip(&mut measured) {
            of_row.push(measure(binary, &cores, common, row).with_context(|| row.name.clone())?);
        }
    }
    println!(
        "| {:<32} | requests | requests/s | CPU us/request | spread | first 200, ms | idle MB | peak MB | to the instance |",
        ""
    );
    println!("|{:-<34}|--:|--:|--:|--:|--:|--:|--:|--:|", "");
    for (row, of_row) in rows.iter().zip(&measured) {
        let (per_second, _) = median(of_row.iter().map(|one| one.per_second))?;
        let (cpu, spread) = median(of_row.iter().map(|one| one.cpu))?;
        let (first, _) = median(of_row.iter().map(|one| one.first_answer.as_secs_f64() * 1e3))?;
        let (idle, _) = median(of_row.iter().map(|one| one.idle))?;
        let (peak, _) = median(of_row.iter().map(|one| one.peak))?;
        let requests: u64 = of_row.iter().map(|one| one.requests).sum();
        let upstream = of_row.iter().map(|one| one.upstream).max().unwrap_or_default();
        println!(
            "| {:<32} | {requests} | {per_second:.0} | {cpu:.1} | {:.0} % | {first:.1} | {idle:.1} | {peak:.1} | {upstream} |",
            row.name,
            spread * 100.0
        );
    }
    Ok(())
}

/// The median, and the distance of the extremes in relation to it.
fn median(values: impl Iterator<Item = f64>) -> Result<(f64, f64)> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let median = *values.get(values.len() / 2).context("a measurement")?;
    let (least, most) = (values.first().context("a least")?, values.last().context("a most")?);
    Ok((median, (most - least) / median))
}

/// Starts an instance and a proxy, loads it, and ends both.
fn measure(binary: &Path, cores: &Cores, common: Common, row: &Row) -> Result<Figures> {
    let Scale { operations, listeners, callers } = row.scale;
    let instance = Instance::start(common.http1)?;
    let document = (operations > 0).then(|| document(operations));
    let targets = match row.around {
        true => targets(document.as_deref())?,
        false => vec![common.body.target().to_owned()],
    };
    let setup = Setup { wrapper: cores.of_proxy(), listeners, callers, document, ..Setup::plain(binary.to_owned()) };
    let proxy = setup.start(&instance)?;
    let first_answer = proxy.first_answer(common.body.target(), (callers > 0).then(|| key(0)).as_deref())?;
    let (idle, _) = proxy.memory()?;
    let lines = lines(&proxy, row, &targets, common.body)?;
    let slice = for_a_time(&lines, Duration::from_secs_f64(common.seconds), || proxy.cpu())?;
    ensure!(slice.requests > 0, "no request was answered in time: take more --seconds");
    let (_, peak) = proxy.memory()?;
    let upstream = instance.accepted();
    proxy.end()?;
    Ok(Figures {
        requests: slice.requests,
        per_second: slice.requests as f64 / slice.time.as_secs_f64(),
        cpu: slice.cpu.as_secs_f64() * 1e6 / slice.requests as f64,
        first_answer,
        idle,
        peak,
        upstream,
    })
}

/// The connections, over listeners and callers in turn.
fn lines(proxy: &Proxy, row: &Row, targets: &[String], body: Size) -> Result<Vec<Line>> {
    let of_caller = |caller: Option<usize>| -> Arc<[Vec<u8>]> {
        let more = caller.map(|caller| format!("X-Api-Key: {}\r\n", key(caller))).unwrap_or_default();
        targets.iter().map(|target| request(target, &more)).collect()
    };
    let requests: Vec<Arc<[Vec<u8>]>> = match row.scale.callers {
        0 => vec![of_caller(None)],
        callers => (0..callers).map(|caller| of_caller(Some(caller))).collect(),
    };
    let doors = proxy.doors.iter().cycle().zip(requests.iter().cycle());
    let line = |(number, (address, requests)): (usize, (&_, &Arc<[Vec<u8>]>))| Line {
        // Apart from each other.
        first: number * targets.len() / row.connections,
        ..Line::plain(*address, Arc::clone(requests), body.bytes())
    };
    ensure!(row.connections > 0, "at least one connection");
    Ok(doors.take(row.connections).enumerate().map(line).collect())
}

/// An OpenAPI document with this many reads below operations that are open by default.
fn document(operations: usize) -> String {
    let mut paths = Map::new();
    for number in 0..operations {
        let path = match number % 3 {
            0 => format!("/v2/queries/load-{number}"),
            1 => format!("/v2/device/{{id}}/load-{number}"),
            _ => format!("/v2/organization/{{id}}/load-{number}"),
        };
        let id = json!({ "in": "path", "name": "id", "required": true, "schema": { "type": "integer" } });
        let parameters: Value = if number % 3 == 0 { json!([]) } else { json!([id]) };
        paths.insert(path, json!({ "get": { "parameters": parameters } }));
    }
    json!({ "openapi": "3.0.1", "info": { "version": "load" }, "paths": paths }).to_string()
}

/// Every read that is open by default and answered in the small size, in an order that no cache foresees.
fn targets(document: Option<&str>) -> Result<Vec<String>> {
    let mut catalog = Catalog::built_in()?;
    if let Some(text) = document {
        catalog = catalog.with(&Document::parse(text)?);
    }
    let reads = catalog.operations().iter().filter(|operation| {
        operation.method == http::Method::GET && operation.scope == Scope::Monitoring && !operation.group.guarded
    });
    let mut targets: Vec<String> = reads.map(|operation| operation.example()).collect();
    targets.retain(|target| Size::of(target) == Size::Small);
    fastrand::Rng::with_seed(1).shuffle(&mut targets);
    Ok(targets)
}
