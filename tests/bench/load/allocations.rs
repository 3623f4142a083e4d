//! How many allocations a process made: jemalloc counts them, and tells at the end.

use anyhow::{Context as _, Result};
use serde_json::Value;

/// Has jemalloc write to standard error, at the end of the process, what all its arenas did together; and do nothing by
/// the clock, which runs far ahead under callgrind: no look at each thread's cache every 10 ms, and no memory given back.
pub(crate) const SETTINGS: (&str, &str) = (
    "_RJEM_MALLOC_CONF",
    "stats_print:true,stats_print_opts:Jgdablxeh,tcache_gc_incr_bytes:1099511627776,background_thread:false,\
     dirty_decay_ms:-1,muzzy_decay_ms:-1",
);
const BEGIN: &str = "{\"jemalloc\":";

/// All allocations, from what a process wrote to standard error; none if its allocator does not count.
pub(crate) fn read(log: &str) -> Result<Option<u64>> {
    let Some(json) = log.find(BEGIN).and_then(|begin| log.get(begin..)) else { return Ok(None) };
    let value: Value = serde_json::from_str(json).context("what jemalloc wrote cannot be read")?;
    let Some(all) = value.pointer("/jemalloc/stats.arenas/merged") else { return Ok(None) };
    let of = |size: &str| all.pointer(&format!("/{size}/nrequests")).and_then(Value::as_u64);
    Ok(Some(of("small").context("nrequests of small")? + of("large").context("nrequests of large")?))
}
