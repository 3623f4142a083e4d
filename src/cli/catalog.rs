//! `catalog diff` and `catalog fetch`, and what `check` says of `catalog-file`.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::{Value, json};

use super::table::columns;
use super::{CONFIG, CommandError, OS, REFUSED, USAGE, failure, runtime};
use crate::config::published_catalog::{self, Published};
use crate::config::{Config, catalog_file};
use crate::proxy::policy::catalog::diff::Difference;
use crate::proxy::policy::catalog::openapi::{Document, Skipped};
use crate::proxy::policy::catalog::{Catalog, Operation, OperationName};
use crate::tools::doctor;
use crate::tools::explain::operation;

#[derive(Debug, Subcommand)]
pub(super) enum CatalogCommand {
    /// List what an OpenAPI document of NinjaOne adds, lacks and changes, compared with the built-in operations
    Diff {
        /// The document, in JSON or YAML
        file: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Fetch the OpenAPI document that an instance publishes, without credentials: for catalog diff, or as catalog-file
    Fetch {
        /// The file to write; an existing one is replaced
        #[arg(long, value_name = "FILE")]
        output: PathBuf,
        /// The instance [default: the only one]
        #[arg(long, value_name = "NAME")]
        instance: Option<String>,
    },
}

/// Fetches the document of an instance into a file, and says what it is.
pub(super) fn fetch(config: &Config, instance: Option<&str>, output: &Path) -> Result<String, CommandError> {
    let instances = &config.file.instances;
    let names = || instances.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    let name = match (instance, instances.keys().next()) {
        (Some(name), _) => name,
        (None, Some(only)) if instances.len() == 1 => only,
        (None, _) => return Err(failure(USAGE)(anyhow::anyhow!("give one of --instance: {}", names()))),
    };
    let Some(file) = instances.get(name) else {
        return Err(failure(USAGE)(anyhow::anyhow!("there is no instance {name:?}: valid instances are {}", names())));
    };
    let site = config.site(file).map_err(|mistake| failure(CONFIG)(mistake.into()))?;
    let times = (config.file.timeouts.connect.0, config.file.timeouts.upstream.0);
    let fetched = runtime()?.block_on(async {
        let site = match site {
            Some(site) => site,
            None => doctor::sandbox().await.map_err(|error| anyhow::anyhow!("there is no sandbox: {error}"))?.0,
        };
        let published = published_catalog::fetch(&site, times).await;
        published.map(|published| (published, site.authority.clone())).map_err(anyhow::Error::from)
    });
    let (Published { text, document }, authority) =
        fetched.map_err(|error| failure(REFUSED)(error.context(format!("the instance {name:?} gave no document"))))?;
    write(output, &text)
        .map_err(|error| failure(OS)(anyhow::anyhow!("the file {output:?} cannot be written: {error}")))?;
    Ok(format!(
        "{}: {} operations below /v2/, as {authority} has them ({}); compare it by \"ninjaone-proxy catalog diff {0}\"\n",
        output.display(),
        document.operations.len() + document.skipped.len(),
        document.version
    ))
}

/// Replaces a file as a whole, or not at all.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let mut name = path.file_name().ok_or(std::io::ErrorKind::InvalidInput)?.to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let aside = path.with_file_name(name);
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(&aside)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    drop(file);
    written.and_then(|()| std::fs::rename(&aside, path)).inspect_err(|_| drop(std::fs::remove_file(&aside)))
}

/// Compares the document in `file` with what is built in.
pub(super) fn diff(file: &Path, json: bool) -> anyhow::Result<String> {
    let (document, catalog) = (catalog_file::read(file)?, Catalog::built_in()?);
    let difference = Difference::between(&document, &catalog);
    Ok(if json { for_programs(&document, &difference) } else { for_people(file, &document, &difference) })
}

fn for_programs(document: &Document, difference: &Difference<'_>) -> String {
    let list = |operations: &[&Operation]| operations.iter().map(|known| operation(known)).collect::<Vec<_>>();
    let changed = difference.changed.iter().map(|(known, changes)| {
        let mut row = operation(known);
        if let Value::Object(members) = &mut row {
            members.insert("changes".to_owned(), Value::from(changes.as_slice()));
        }
        row
    });
    let skipped = |Skipped { operation, cause }: &Skipped| json!({ "operation": operation, "why": cause.to_string() });
    let whole = json!({
        "version": document.version, "operations": document.operations.len() + document.skipped.len(), "outside": document.outside,
        "added": difference.added.iter().map(operation).collect::<Vec<_>>(), "removed": list(&difference.removed),
        "later": list(&difference.later), "changed": changed.collect::<Vec<_>>(),
        "skipped": difference.skipped.iter().map(skipped).collect::<Vec<_>>(),
    });
    format!("{whole}\n")
}

fn for_people(file: &Path, document: &Document, difference: &Difference<'_>) -> String {
    let Difference { added, removed, later, changed, skipped } = difference;
    let declared = document.operations.len() + document.skipped.len();
    let outside = document.outside;
    let mut text = format!(
        "{} ({}): {declared} operations below /v2/, {outside} elsewhere; against what is built in {} added, {} removed, {} changed, {} left out\n",
        file.display(),
        document.version,
        added.len(),
        removed.len(),
        changed.len(),
        skipped.len()
    );
    let why = |known: &Operation| known.reason.clone().unwrap_or_default();
    text += &section("added: not built in", added.iter().map(|own| row(own, why(own))));
    let of = |known: &Operation| format!("declared by {}", known.document);
    text += &section("removed: built in, and not in this document", removed.iter().map(|own| row(own, of(own))));
    let note = "known from newer sources";
    text += &section("later: built in, and newer than 2.0.9-draft", later.iter().map(|own| row(own, note.to_owned())));
    text += &section("changed", changed.iter().map(|(own, changes)| row(own, changes.join("; "))));
    if !skipped.is_empty() {
        text += "\nleft out: in this document, and closed\n";
    }
    skipped.iter().for_each(|Skipped { operation, cause }| {
        let _ = writeln!(text, "{operation}: {cause}");
    });
    text
}

fn row(known: &Operation, last: String) -> [String; 6] {
    let Operation { method, template, scope, group, risk, .. } = known;
    let [group, method, template, scope, risk] =
        [group.name, method.as_str(), template, scope.as_str(), risk.as_str()].map(str::to_owned);
    [group, method, template, scope, risk, last]
}

fn section(title: &str, rows: impl Iterator<Item = [String; 6]>) -> String {
    let header = ["GROUP", "METHOD", "PATH", "SCOPE", "RISK", "WHY"].map(str::to_owned);
    let rows: Vec<_> = [header].into_iter().chain(rows).collect();
    if rows.len() == 1 { String::new() } else { format!("\n{title}\n{}", columns(&rows)) }
}

/// What `check` says of the file: what it brought, and what of it is left out.
pub(super) fn newer(file: &Path, catalog: &Catalog) -> String {
    let Some(newer) = catalog.newer() else { return String::new() };
    let added: Vec<_> = catalog.operations().iter().filter_map(|own| Some((own, own.reason.as_ref()?))).collect();
    let mut text = format!(
        "# catalog-file: {} ({}): {} operations, {} not built in{}\n",
        file.display(),
        newer.version,
        newer.declared,
        added.len(),
        if newer.outside == 0 { String::new() } else { format!("; {} outside /v2/ are left out", newer.outside) }
    );
    for (own, reason) in added {
        let _ = writeln!(text, "#   {} (group {}, {reason})", OperationName(own), own.group);
    }
    newer.skipped.iter().for_each(|skipped| {
        let _ = writeln!(text, "warning: catalog-file: {skipped}");
    });
    text
}

/// What the log says of the file.
pub(super) fn log(catalog: &Catalog) {
    let Some(newer) = catalog.newer() else { return };
    let added = catalog.operations().iter().filter(|own| own.reason.is_some()).count();
    tracing::info!(version = newer.version, added, "operations of catalog-file are known");
    for skipped in &newer.skipped {
        tracing::warn!(operation = skipped.operation, cause = %skipped.cause, "an operation of catalog-file is left out");
    }
}
