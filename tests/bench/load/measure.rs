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
use crate::proxy::{Proxy, RULED, Setup, key};

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
    pub(crate) http1: bool,
}

#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Scale {
    /// Invented operations beside the built-in ones, by a catalog-file; callers ask for all that are open in turn.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) operations: usize,
    /// Listeners, over which the connections are spread.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) listeners: usize,
    /// Callers of each listener, with keys: each connection asks as one after the other; 0: everybody is let in.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) callers: usize,
    /// Rules of each listener, each of which closes one device.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) rules: usize,
    /// Each listener has a quota, which is never used up.
    #[arg(long)]
    pub(crate) quota: bool,
}

pub(crate) const PLAIN: Scale = Scale { operations: 0, listeners: 1, callers: 0, rules: 0, quota: false };

/// A row of the table.
#[derive(Clone)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) connections: usize,
    pub(crate) scale: Scale,
    pub(crate) asked: Asked,
}

/// What the callers of a row ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// The operation that is answered in the size that is wanted.
    One,
    /// Every open operation in turn.
    Around,
    /// The operation that the rules are about, of a device that none closes.
    Ruled,
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
        asked: if scale.operations > 0 { Asked::Around } else { Asked::One },
    };
    table(binary, options.common, &options.connections.iter().map(row).collect::<Vec<_>>())
}

/// The rows of all that can grow: connections, operations, listeners, callers, rules.
pub(crate) fn growth_rows() -> Result<Vec<Row>> {
    let row = |name: String, connections, scale, asked| Row { name, connections, scale, asked };
    let mut rows = Vec::new();
    for connections in [1, 16, 256, 1024] {
        rows.push(row(format!("{connections} connections"), connections, PLAIN, Asked::One));
    }
    let built_in = Catalog::built_in()?.operations().len();
    // As many as a document may declare.
    for operations in [0, 10 * built_in, 10_000] {
        let scale = Scale { operations, ..PLAIN };
        rows.push(row(format!("{} operations, 16 connections", built_in + operations), 16, scale, Asked::Around));
    }
    for listeners in [1, 10, 100] {
        let scale = Scale { listeners, ..PLAIN };
        rows.push(row(format!("{listeners} listeners, 100 connections"), 100, scale, Asked::One));
    }
    for (quota, text) in [(false, ""), (true, ", a quota of all")] {
        for callers in [1, 10, 100, 1000] {
            let scale = Scale { callers, quota, ..PLAIN };
            rows.push(row(format!("{callers} callers{text}, 16 connections"), 16, scale, Asked::One));
        }
    }
    for (asked, text) in [(Asked::One, "elsewhere"), (Asked::Ruled, "of the operation")] {
        for rules in [1, 10, 100, 1000] {
            let scale = Scale { rules, ..PLAIN };
            rows.push(row(format!("{rules} rules {text}, 16 connections"), 16, scale, asked));
        }
    }
    Ok(rows)
}

pub(crate) fn table(binary: &Path, common: Common, rows: &[Row]) -> Result<()> {
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
        "| {:<48} | requests | requests/s | CPU us/request | spread | first 200, ms | idle MB | peak MB | to the instance |",
        ""
    );
    println!("|{:-<50}|--:|--:|--:|--:|--:|--:|--:|--:|", "");
    for (row, of_row) in rows.iter().zip(&measured) {
        let (per_second, _) = median(of_row.iter().map(|one| one.per_second))?;
        let (cpu, spread) = median(of_row.iter().map(|one| one.cpu))?;
        let (first, _) = median(of_row.iter().map(|one| one.first_answer.as_secs_f64() * 1e3))?;
        let (idle, _) = median(of_row.iter().map(|one| one.idle))?;
        let (peak, _) = median(of_row.iter().map(|one| one.peak))?;
        let requests: u64 = of_row.iter().map(|one| one.requests).sum();
        let upstream = of_row.iter().map(|one| one.upstream).max().unwrap_or_default();
        println!(
            "| {:<48} | {requests} | {per_second:.0} | {cpu:.1} | {:.0} % | {first:.1} | {idle:.1} | {peak:.1} | {upstream} |",
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

impl Row {
    /// What the proxy of the row is started with, and what is asked for.
    pub(crate) fn setup(&self, binary: &Path, body: Size) -> Result<(Setup, Vec<String>)> {
        let Scale { operations, listeners, callers, rules, quota } = self.scale;
        let document = (operations > 0).then(|| document(operations));
        let targets = match self.asked {
            Asked::Around => targets(document.as_deref())?,
            Asked::One => vec![body.target().to_owned()],
            Asked::Ruled => vec![RULED.to_owned()],
        };
        let setup = Setup { listeners, callers, rules, quota, document, ..Setup::plain(binary.to_owned()) };
        Ok((setup, targets))
    }

    /// The key that the first request needs, if any.
    pub(crate) fn first_key(&self) -> Option<String> {
        (self.scale.callers > 0).then(|| key(0))
    }

    /// The connections, over listeners in turn.
    pub(crate) fn lines(&self, proxy: &Proxy, targets: &[String], body: Size) -> Result<Vec<Line>> {
        ensure!(self.connections > 0, "at least one connection");
        let by = |key: Option<String>, target: &String| {
            request(target, &key.map(|key| format!("X-Api-Key: {key}\r\n")).unwrap_or_default())
        };
        let requests: Arc<[Vec<u8>]> = match self.scale.callers {
            0 => targets.iter().map(|target| by(None, target)).collect(),
            // Each caller once, or, if there are more targets, several times.
            callers => (0..callers.max(targets.len()))
                .zip(targets.iter().cycle())
                .map(|(number, target)| by(Some(key(number % callers)), target))
                .collect(),
        };
        let line = |(number, address): (usize, &_)| Line {
            // Apart from each other.
            first: number * requests.len() / self.connections,
            ..Line::plain(*address, Arc::clone(&requests), body.bytes())
        };
        Ok(proxy.doors.iter().cycle().take(self.connections).enumerate().map(line).collect())
    }
}

/// Starts an instance and a proxy, loads it, and ends both.
fn measure(binary: &Path, cores: &Cores, common: Common, row: &Row) -> Result<Figures> {
    let instance = Instance::start(common.http1)?;
    let (mut setup, targets) = row.setup(binary, common.body)?;
    setup.wrapper = cores.of_proxy();
    let proxy = setup.start(&instance)?;
    let first_answer = proxy.first_answer(common.body.target(), row.first_key().as_deref())?;
    let (idle, _) = proxy.memory()?;
    let lines = row.lines(&proxy, &targets, common.body)?;
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
