//! Where the instructions and allocations of a request are, by crate: read from two files of callgrind, of a short and
//! of a long run of a binary with symbols.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

/// How many functions are listed.
const LISTED: usize = 25;
/// How many functions of std an allocation is followed through to the one that asked for it.
const DEPTH: usize = 8;
/// What all allocations end in.
const ALLOCATORS: [&str; 12] = [
    "_rjem_malloc",
    "_rjem_mallocx",
    "_rjem_calloc",
    "_rjem_realloc",
    "_rjem_rallocx",
    "_rjem_aligned_alloc",
    "_rjem_posix_memalign",
    "malloc",
    "calloc",
    "realloc",
    "aligned_alloc",
    "posix_memalign",
];

/// What a file of callgrind says of functions: their own instructions by crate, and who calls whom how often.
#[derive(Default)]
struct Profile {
    /// By function and crate: what is inlined into a function may be of another crate.
    own: HashMap<(String, String), f64>,
    /// By caller and called function.
    calls: HashMap<(String, String), f64>,
    /// The crate of each function.
    crates: HashMap<String, String>,
}

/// Prints a table by crate and the functions that take most: of each request, from runs of so many requests.
pub(crate) fn print(short: (&Path, u64), long: (&Path, u64)) -> Result<()> {
    let requests = (long.1 - short.1) as f64;
    let mut profile = Profile::read(long.0)?;
    let few = Profile::read(short.0)?;
    for (key, instructions) in few.own {
        *profile.own.entry(key).or_default() -= instructions;
    }
    for (key, calls) in few.calls {
        *profile.calls.entry(key).or_default() -= calls;
    }
    profile.own.values_mut().chain(profile.calls.values_mut()).for_each(|value| *value /= requests);
    ensure!(
        profile.crates.values().any(|name| name == "hyper"),
        "the binary has no symbols: see tests/bench/README.md"
    );

    let allocations = profile.allocations();
    let mut rows: HashMap<&str, (f64, f64)> = HashMap::new();
    for ((_, name), instructions) in &profile.own {
        rows.entry(name).or_default().0 += instructions;
    }
    for (function, count) in &allocations {
        rows.entry(profile.crate_of(function)).or_default().1 += count;
    }
    let all: f64 = rows.values().map(|(instructions, _)| instructions).sum();
    println!("  | {:<24} | instructions | share | allocations |\n  |{:-<26}|--:|--:|--:|", "crate", "");
    for (name, (instructions, count)) in sorted(rows, |(instructions, count)| instructions + count * 100.0) {
        if instructions >= 10.0 || count >= 0.01 {
            let share = instructions / all * 100.0;
            println!("  | {name:<24} | {instructions:.0} | {share:.1} % | {count:.2} |");
        }
    }
    println!("  | {:<24} | {all:.0} | | {:.2} |", "all", allocations.values().sum::<f64>());
    println!("\n  most allocations:");
    for (function, count) in sorted(allocations, |count| *count).into_iter().take(LISTED) {
        println!("  {count:>8.2}  {:<24} {}", profile.crate_of(&function), short_name(&function));
    }
    println!("\n  most instructions of their own:");
    let mut own: HashMap<&str, f64> = HashMap::new();
    for ((function, _), instructions) in &profile.own {
        *own.entry(function).or_default() += instructions;
    }
    for (function, instructions) in sorted(own, |instructions| *instructions).into_iter().take(LISTED) {
        println!("  {instructions:>8.0}  {:<24} {}", profile.crate_of(function), short_name(function));
    }
    Ok(())
}

/// From the largest to the least.
fn sorted<K, V>(map: HashMap<K, V>, size: impl Fn(&V) -> f64) -> Vec<(K, V)> {
    let mut rows: Vec<(K, V)> = map.into_iter().collect();
    rows.sort_by(|(_, one), (_, other)| size(other).total_cmp(&size(one)));
    rows
}

impl Profile {
    /// Reads what callgrind wrote; see "Callgrind Format Specification" in valgrind's manual.
    fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
        let mut profile = Self::default();
        let (mut objects, mut files, mut functions) = (Names::default(), Names::default(), Names::default());
        let (mut object, mut file, mut function, mut called) =
            (String::new(), String::new(), String::new(), String::new());
        let mut is_call = false;
        for line in text.lines() {
            if let Some((kind, value)) = line.split_once('=') {
                match kind {
                    "ob" => object = objects.full(value),
                    "fl" | "fi" | "fe" => file = files.full(value),
                    "fn" => {
                        function = functions.full(value);
                        profile.crates.entry(function.clone()).or_insert_with(|| crate_of(&file, &function, &object));
                    }
                    "cob" => _ = objects.full(value),
                    "cfi" | "cfl" => _ = files.full(value),
                    "cfn" => called = functions.full(value),
                    "calls" => {
                        let count = value.split(' ').next().and_then(|count| count.parse::<f64>().ok());
                        let key = (function.clone(), called.clone());
                        *profile.calls.entry(key).or_default() += count.context("a number of calls")?;
                        is_call = true;
                    }
                    _ => {}
                }
            } else if line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first)) {
                // What follows a call is what was spent in it.
                if !std::mem::take(&mut is_call) {
                    let cost = line.split(' ').nth(1).and_then(|cost| cost.parse::<f64>().ok());
                    let name = match crate_of_file(&file) {
                        Some(name) => name.to_owned(),
                        None => profile.crate_of(&function).to_owned(),
                    };
                    *profile.own.entry((function.clone(), name)).or_default() += cost.unwrap_or_default();
                }
            }
        }
        Ok(profile)
    }

    fn crate_of(&self, function: &str) -> &str {
        self.crates.get(function).map_or("?", String::as_str)
    }

    /// Allocations by the function that asked for them: what std is asked for is spread over those that call it, by how
    /// often they do.
    fn allocations(&self) -> HashMap<String, f64> {
        let is_allocator = |name: &str| ALLOCATORS.contains(&base(name));
        let mut counts: HashMap<String, f64> = HashMap::new();
        for ((caller, called), calls) in &self.calls {
            // One allocator may call another, such as calloc of the C library its malloc.
            if is_allocator(called) && !is_allocator(caller) {
                *counts.entry(caller.clone()).or_default() += calls;
            }
        }
        let mut callers: HashMap<&str, Vec<(&str, f64)>> = HashMap::new();
        for ((caller, called), calls) in self.calls.iter().filter(|(_, calls)| **calls > 0.0) {
            callers.entry(called).or_default().push((caller, *calls));
        }
        for _ in 0..DEPTH {
            for (function, count) in std::mem::take(&mut counts) {
                let of_std = matches!(self.crate_of(&function), "std" | "?");
                let above = callers.get(function.as_str()).filter(|_| of_std);
                let all: f64 = above.map_or(0.0, |above| above.iter().map(|(_, calls)| calls).sum());
                match above {
                    Some(above) if all > 0.0 => {
                        for (caller, calls) in above {
                            *counts.entry((*caller).to_owned()).or_default() += count * calls / all;
                        }
                    }
                    Some(_) | None => *counts.entry(function).or_default() += count,
                }
            }
        }
        counts.retain(|_, count| *count >= 0.005);
        counts
    }
}

/// Names that are written once, as `(NUMBER) NAME`, and then as `(NUMBER)`.
#[derive(Default)]
struct Names(HashMap<String, String>);

impl Names {
    fn full(&mut self, text: &str) -> String {
        match text.split_once(") ") {
            Some((number, name)) => {
                self.0.insert(format!("{number})"), name.to_owned());
                name.to_owned()
            }
            None => self.0.get(text).cloned().unwrap_or_else(|| text.to_owned()),
        }
    }
}

/// The crate of a source file; none for std, whose code is inlined everywhere, and for a file that is not known.
fn crate_of_file(file: &str) -> Option<&str> {
    if let Some((_, path)) = file.split_once("/registry/src/") {
        let folder = path.split('/').nth(1)?;
        let name = folder.split('+').next().unwrap_or(folder);
        let is_version = |rest: &str| rest.starts_with(|first: char| first.is_ascii_digit());
        let version = name.match_indices('-').find(|(at, _)| name.get(at + 1..).is_some_and(is_version));
        return version.map_or(Some(name), |(at, _)| name.get(..at));
    }
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/src/");
    (file.starts_with("src/") && file.ends_with(".rs") || file.starts_with(own)).then_some("ninjaone-proxy")
}

/// The crate of a function: that of its file, or of the first type in its name that is not of std.
fn crate_of(file: &str, function: &str, object: &str) -> String {
    if let Some(name) = crate_of_file(file) {
        return name.to_owned();
    }
    let name = base(function);
    if name.starts_with("_rjem_") || name.starts_with("je_") || file.contains("jemalloc") {
        return "jemalloc".to_owned();
    }
    if name.contains("ring_core_") {
        return "ring".to_owned();
    }
    let library = object.rsplit('/').next().unwrap_or(object);
    if library.contains(".so") {
        return library.split(".so").next().unwrap_or(library).to_owned();
    }
    let root = roots(name).find(|root| !matches!(*root, "core" | "alloc" | "std"));
    root.map_or("std", |root| if root == "ninjaone_proxy" { "ninjaone-proxy" } else { root }).to_owned()
}

/// The first words of all paths in a name, such as `core` and `h2` of `<core::option::Option<h2::Frame>>::map`.
fn roots(name: &str) -> impl Iterator<Item = &str> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    name.match_indices("::").filter_map(move |(end, _)| {
        let before = name.get(..end)?;
        let word = before.rsplit(|c| !is_word(c)).next().filter(|word| !word.is_empty())?;
        (!before.get(..before.len() - word.len())?.ends_with("::")).then_some(word)
    })
}

/// A function's name without what callgrind adds to it where functions call themselves.
fn base(function: &str) -> &str {
    function.split('\'').next().unwrap_or(function)
}

/// At most as much of a name as fits into a line.
fn short_name(function: &str) -> String {
    function.chars().take(110).collect()
}
