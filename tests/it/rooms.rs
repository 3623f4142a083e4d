//! The plan of the house: which room may import which.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Room -> the rooms it may import; `*` is every room.
const PLAN: [(&str, &[&str]); 36] = [
    ("main", &["*"]),
    ("cli", &["*"]),
    ("app", &["*"]),
    (
        "config",
        &[
            "dial",
            "file",
            "guard",
            "journal",
            "listener",
            "policy",
            "rate",
            "secret",
            "state",
            "telemetry",
            "tls",
            "token",
            "traces",
        ],
    ),
    (
        "doctor",
        &["body", "config", "dial", "plain", "policy", "response", "sandbox", "secret", "telemetry", "tls", "token"],
    ),
    ("explain", &["config", "guard", "policy", "response"]),
    ("dial", &["body", "secret", "tls"]),
    ("listener", &["clock", "secret", "shutdown", "tls"]),
    ("tls", &["file", "secret", "state"]),
    ("shutdown", &[]),
    ("supervisor", &[]),
    (
        "proxy",
        &[
            "audit",
            "body",
            "fence",
            "guard",
            "headers",
            "journal",
            "listener",
            "metrics",
            "policy",
            "rate",
            "refusals",
            "response",
            "telemetry",
            "tls",
            "token",
            "upstream",
            "usage",
        ],
    ),
    ("guard", &["clock", "listener", "secret"]),
    ("policy", &["guard"]),
    ("token", &["body", "clock", "dial", "fence", "headers", "policy", "secret", "telemetry"]),
    ("journal", &["file", "plain", "policy", "state"]),
    ("rate", &["token"]),
    ("upstream", &["body", "clock", "dial", "headers", "journal", "listener", "metrics", "policy", "rate", "token"]),
    ("headers", &[]),
    (
        "response",
        &[
            "audit",
            "body",
            "dial",
            "fence",
            "guard",
            "headers",
            "journal",
            "listener",
            "policy",
            "rate",
            "telemetry",
            "tls",
            "token",
            "upstream",
        ],
    ),
    ("admin", &["metrics", "plain", "refusals"]),
    ("audit", &["fence", "headers", "journal", "listener", "metrics", "telemetry", "traces"]),
    ("traces", &["headers", "telemetry", "tls"]),
    ("metrics", &["fence"]),
    ("telemetry", &["plain"]),
    ("sandbox", &["policy"]),
    ("secret", &["file"]),
    ("clock", &[]),
    ("plain", &[]),
    ("state", &[]),
    ("refusals", &[]),
    ("usage", &["file", "state"]),
    ("body", &["clock", "fence", "listener"]),
    ("fence", &[]),
    ("file", &[]),
    ("lib", &[]),
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

/// The rooms that a source names as `crate::room`, its unit tests included.
fn imports(text: &str) -> BTreeSet<String> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let word = |rest: &str| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    code.split("crate::").skip(1).map(word).filter(|room| !room.is_empty()).collect()
}

#[test]
fn rooms_import_only_what_the_plan_lets_them() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut rooms = BTreeSet::new();
    for file in &files {
        let inside = file.strip_prefix(&root).expect("below src");
        let first = inside.iter().next().and_then(|part| part.to_str()).expect("a name");
        let room = first.strip_suffix(".rs").unwrap_or(first);
        let (_, allowed) =
            PLAN.iter().find(|(name, _)| *name == room).unwrap_or_else(|| panic!("{room} is not in the plan"));
        let text = std::fs::read_to_string(file).expect("a source");
        assert!(text.starts_with("//! "), "{} opens with one sentence", inside.display());
        for import in imports(&text) {
            let fine = import == room || allowed.contains(&"*") || allowed.contains(&import.as_str());
            assert!(fine, "{} imports {import}", inside.display());
        }
        rooms.insert(room.to_owned());
    }
    assert_eq!(rooms.len(), PLAN.len(), "every room of the plan stands");
    assert!(files.len() >= 50, "{} files were visited", files.len());
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
