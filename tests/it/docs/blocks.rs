//! What becomes of each block of commands in the documents.

/// How a block is tried.
pub(super) enum How {
    /// Run with a proxy that has this TOML for its listener and for other tables; each command must end with 0.
    Runs(&'static str, &'static str),
    /// The same, and its commands must print what the block shows, numbers and hashes apart.
    Shows(&'static str, &'static str),
    /// The same with the proxy of the block before.
    ShowsThen,
    /// A program in Python.
    Python,
    /// Not run, and why.
    Not(&'static str),
}
use How::{Not, Python, Runs, Shows, ShowsThen};

/// As at the top of docs/rules.md, which a test holds.
pub(super) const RULES: &str = "scopes = [\"monitoring\", \"management\"]\ngroups = [\"queries\", \"tickets\"]\n\
    allow = [\"GET /v2/devices\", \"PATCH /v2/device/{id}/custom-fields\", \"POST /v2/device/{id}/script/run\"]\n\
    deny = [\"* /v2/device/7/**\", \"PUT group:tickets\"]";
/// As at the top of docs/permits.md, which a test holds.
pub(super) const PERMITS: &str = r#"scopes = ["monitoring", "management"]
allow = [
  { rule = "POST /v2/device/{id}/script/run", body = { "/id" = [12, 13], "/runAs" = "SYSTEM" }, expires = "2099-12-31T18:00:00Z", reason = "patch week" },
]"#;
/// A caller whose key is what the documents show of a key: `npk_...`.
const CALLER: &str = "[listeners.local.callers.reports]\n\
    key = \"sha256:2fefbbd541c68c983452076da904e144a28860289ccd69a88c2b5963202fa273\"";
const OBSERVE: &str = "scopes = [\"monitoring\", \"management\"]\nmode = \"observe\"";
/// As in docs/dry-run.md.
const TRIED: &str = "scopes = [\"monitoring\", \"management\"]\nwrites = \"dry-run\"";
/// As in docs/intercept.md.
const INTERCEPT: &str = "intercept = [\"eu.ninjarmm.com\"]";
/// As in docs/organizations.md.
const FENCED: &str = "organizations = [1, 3]";
const SOCKET: &str = "[listeners.ninja]\naddress = \"unix:ninja.sock\"";
const TLS: &str = "[listeners.tls]\naddress = \"127.0.0.1:8443\"\ntls = \"local-ca\"";

const NO_POWERSHELL: &str = "there is no PowerShell here";
const ASKS: &str = "asks a person; tests/it/init.rs answers";
const NEEDS_ROOT: &str = "changes the system; needs root and systemd";

/// Blocks by how they begin; the longest beginning decides.
pub(super) const BLOCKS: &[(&str, How)] = &[
    ("cargo run --release", Not("builds for minutes; the commands below run what it builds")),
    (".ci/pgo", Not("builds three times and trains, for many minutes")),
    ("PROFILE=ninjaone-proxy", Not("needs the profile of a release")),
    ("cargo install --locked --path .", Not("builds for minutes, and installs")),
    ("cargo test --locked", Not("is what runs this")),
    ("cargo bench --bench load", Not("measures for minutes; tests/bench/README.md")),
    ("curl localhost:8080/v2/organizations", Runs("", "")),
    ("ninjaone-proxy exec -- curl", Not("asks whether a proxy is at port 8080 of this machine; tests/it/exec.rs")),
    ("ninjaone-proxy --config ninjaone.toml exec -- curl", Runs("intercept = [\"eu.ninjarmm.com\"]", "")),
    ("curl localhost:8080/v2/devices", Runs("", "")),
    ("ninjaone-proxy init --output ninjaone.toml", Not(ASKS)),
    ("ninjaone-proxy --config ninjaone.toml", Not("serves until it is ended; the other blocks start it so")),
    ("export NINJAONE_CLIENT_ID=the-client-id", Not("needs a tenant, and a person who types its secret")),
    ("(umask 077; head -c 32 /dev/urandom", Runs("", "")),
    ("(umask 077; read -rs s", Not("needs a person who types a secret")),
    ("$ ninjaone-proxy key new reports", Shows("", "")),
    ("$ ninjaone-proxy key new lead --approver", Shows("", "")),
    ("$ ninjaone-proxy key new lead --approver > lead.txt", Shows("", "")),
    ("curl -H 'X-Api-Key: npk_...'", Runs(CALLER, "")),
    ("$ curl -d grant_type=client_credentials", Shows("", "")),
    ("curl --unix-socket", Runs("", SOCKET)),
    ("systemd-socket-activate", Not("goes on until it is ended; tests/it/doors.rs passes sockets")),
    ("$ curl -s -o /dev/null -w '%{http_code}\\n' localhost:8089", Shows("", "")),
    ("$ curl -s -o /dev/null -w '%{http_connect}", Shows(INTERCEPT, "")),
    ("$ curl -s -i -X POST -H 'Prefer: dry-run' localhost:8089", Shows("", "")),
    ("$ ninjaone-proxy --config ninjaone.toml explain POST /v2/organizations", Shows(TRIED, "")),
    ("$ sed -i 's/deny/denny/' trial.toml", ShowsThen),
    ("curl --cacert ca.pem --cert caller.pem", Not("needs certificates; tests/it/encrypted.rs makes them")),
    ("curl --cacert ~/.local/state", Runs("", TLS)),
    ("ninjaone-proxy trust", Runs("", TLS)),
    ("$ curl -i localhost:8080/v2/users", Shows("", "")),
    ("$ for i in 1 2 3", Shows("quota = { requests = \"2/min\" }", "")),
    ("$ curl -s -o /dev/null 'localhost:8080/v2/devices?pageSize=10'", Shows(OBSERVE, "")),
    ("$ ninjaone-proxy --config narrower.toml check", Not("needs what a tool used; tests/it/learn.rs")),
    ("$ ninjaone-proxy check | tail -3", Shows("", "")),
    ("$ curl -s localhost:8080/v2/organizations | grep -o", Shows(FENCED, "")),
    ("$ ninjaone-proxy --config ninjaone.toml explain GET /v2/device/7/alerts", Shows(FENCED, "")),
    ("$ ninjaone-proxy --config ninjaone.toml explain GET", Shows("", "")),
    ("$ ninjaone-proxy --config ninjaone.toml explain POST", Shows(RULES, "")),
    ("$ echo '{\"id\": 12", Shows(PERMITS, "")),
    ("$ ninjaone-proxy routes --all --group alerts", Shows("", "")),
    ("ninjaone-proxy --config ninjaone.toml catalog fetch", Runs("", "")),
    ("$ ninjaone-proxy --config ninjaone.toml doctor", Shows("", "")),
    (
        "$ ninjaone-proxy --config ninjaone.toml doctor | grep",
        Not("needs an instance that refuses; tests/it/doctor.rs"),
    ),
    ("$ curl localhost:9180/readyz", Shows("", "")),
    ("$ curl -s localhost:9180/metrics", Shows("", "")),
    ("$ curl -s -H 'Accept: application/json'", Shows("", "")),
    ("$ curl -X POST localhost:8089/v2/device/7/reboot", Shows("", "")),
    ("$ curl -s -o /dev/null -w '%{http_code}\\n' -X POST localhost:8089", Shows("", "")),
    ("$ curl -s -o /dev/null -w '%{http_code}\\n' 'localhost:8080/v2/devices?status", Shows("", "")),
    ("curl localhost:36079/sandbox/counts", Runs("", "")),
    ("curl -X POST 'localhost:36079/sandbox/leak", Runs("", "")),
    ("page=$(curl -s -c jar", Runs("", "")),
    ("curl --form 'files=@notes.txt'", Runs("", "")),
    ("ssh -L 9180", Not("needs another machine")),
    ("$env:NINJAONE_CLIENT_ID", Not(NO_POWERSHELL)),
    ("$api = 'http://localhost:8080/v2'", Not(NO_POWERSHELL)),
    ("Invoke-RestMethod", Not(NO_POWERSHELL)),
    ("icacls", Not("needs Windows")),
    ("import requests", Python),
    ("import json", Not("needs FastMCP and NinjaOne's document")),
    ("cargo install cargo-deb", Not("builds for minutes and installs a package; needs root")),
    ("sudo install", Not(NEEDS_ROOT)),
    ("sudo CREDENTIALS_DIRECTORY", Not(NEEDS_ROOT)),
    ("sudo groupadd", Not("changes the system; needs root, systemd and cron")),
    ("docker build", Not("needs docker")),
    ("docker exec", Not("needs docker")),
    ("$ sed -i 's/^deny = ", Shows("", "")),
    ("$ ninjaone-proxy --config trial.toml login", Not("needs a person at a browser; tests/it/sign_in.rs")),
    ("ninjaone-proxy --config ninjaone.toml login", Not("needs a person at a browser; tests/it/sign_in.rs")),
    ("kubectl create secret", Not("needs a cluster; .ci/manifests checks the files")),
    ("helm install", Not("needs a cluster; .ci/manifests renders and checks the chart")),
    ("helm upgrade", Not("needs a cluster; .ci/manifests renders and checks the chart")),
    ("security add-generic-password", Not("needs macOS")),
];

/// What becomes of a block with this first line: its place in the list.
pub(super) fn known(first: &str) -> Option<usize> {
    let fits = BLOCKS.iter().enumerate().filter(|(_, (begin, _))| first.starts_with(begin));
    fits.max_by_key(|(_, (begin, _))| begin.len()).map(|(at, _)| at)
}
