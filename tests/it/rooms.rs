//! The plan of `src`: which room may import which, and how large a file may be.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The rooms, from top to bottom: each imports only what comes after it.
const ROOMS: [&str; 11] =
    ["main", "cli", "app", "tools", "config", "sandbox", "proxy", "shared", "observe", "net", "base"];
/// The parts of the rooms that have an order inside, from top to bottom.
const PARTS: [(&str, &[&str]); 4] = [
    (
        "proxy",
        &[
            "refusing",
            "tunnel",
            "observer",
            "facts",
            "fulfillment",
            "enclosed_answer",
            "enclosing",
            "lookup",
            "sending",
            "local_grant",
            "dry_run",
            "response",
            "body_limits",
            "fence",
            "upstream",
            "rate_limit",
            "caller_context",
            "uses",
            "token",
            "audit",
            "approval",
            "quota",
            "policy",
            "authn",
            "connect",
            "request_ids",
            "headers",
        ],
    ),
    (
        "observe",
        &[
            "access_log",
            "audit_log",
            "traces",
            "metrics",
            "refusals",
            "usage",
            "support_id",
            "trace_context",
            "logging",
        ],
    ),
    ("net", &["dial", "body", "listener", "own_addresses", "tls", "shutdown", "fields", "pass_writes"]),
    ("base", &["secret", "state", "file", "plain", "panic_guard", "supervisor", "clock"]),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The room and the part that a file or a path in code belongs to.
fn place<'a>(mut words: impl Iterator<Item = &'a str>) -> (&'a str, &'a str) {
    (words.next().unwrap_or_default(), words.next().unwrap_or_default())
}

/// What a source names as `crate::room::part`, its unit tests included.
fn imports(text: &str) -> BTreeSet<(&str, &str)> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let named = code.flat_map(|line| line.split("crate::").skip(1));
    named
        .map(|path| place(path.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())))
        .collect()
}

/// Where a name comes in the order from top to bottom.
fn rank(order: &[&str], name: &str) -> Option<usize> {
    order.iter().position(|listed| *listed == name)
}

#[test]
fn rooms_import_only_what_is_below_them() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut seen = BTreeSet::new();
    let mut parts_seen = 0;
    for file in &files {
        let inside = file.strip_prefix(&root).expect("below src");
        let text = std::fs::read_to_string(file).expect("a source");
        assert!(text.starts_with("//! "), "{} opens with one sentence", inside.display());
        let path = inside.with_extension("");
        let (room, part) = place(path.iter().filter_map(|word| word.to_str()));
        if room == "lib" {
            continue;
        }
        let own = rank(&ROOMS, room).unwrap_or_else(|| panic!("the room {room} is not in the plan"));
        seen.insert(room.to_owned());
        let parts = PARTS.iter().find(|(name, _)| *name == room).map(|(_, parts)| *parts);
        for (other, other_part) in imports(&text) {
            let lower =
                rank(&ROOMS, other).unwrap_or_else(|| panic!("{}: {other} is not in the plan", inside.display()));
            assert!(lower >= own, "{} imports {other}, which is above it", inside.display());
            if let Some(parts) = parts.filter(|_| lower == own && !part.is_empty() && other_part != part) {
                let own = rank(parts, part).unwrap_or_else(|| panic!("{room}::{part} is not in the plan"));
                let lower = rank(parts, other_part);
                assert!(lower > Some(own), "{} imports {other}::{other_part}, which is above it", inside.display());
                parts_seen += 1;
            }
        }
    }
    assert_eq!(seen.len(), ROOMS.len(), "every room of the plan exists");
    assert!(parts_seen >= 20, "{parts_seen} imports between parts were looked at");
}

#[test]
fn no_file_is_named_after_nothing() {
    let mut files = Vec::new();
    sources(Path::new(env!("CARGO_MANIFEST_DIR")), &mut files);
    for file in files.iter().filter(|file| !file.components().any(|part| part.as_os_str() == "target")) {
        let name = file.file_stem().and_then(|name| name.to_str()).expect("a name");
        assert!(!["mod", "utils", "util", "common", "helpers", "misc"].contains(&name), "{}", file.display());
    }
}

/// Without the unit tests at its end.
const LINES: usize = 300;

#[test]
fn files_are_short() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let is_test = |file: &Path| file.file_stem().is_some_and(|name| name == "tests");
    for file in files.iter().filter(|file| !is_test(file)) {
        let text = std::fs::read_to_string(file).expect("a source");
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let lines = code.lines().count();
        assert!(lines <= LINES, "{} has {lines} lines: give a part of it a file of its own", file.display());
    }
}
