//! The dashboard and the rules in `deploy/`, held against what a running proxy shows.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ninjaone_proxy::proxy::authn::key::KeyHash;
use serde_json::Value;

use crate::harness::{Proxy, Scripted, Then, answer, eventually, request};
use crate::promql::{self, Exposed};

const DASHBOARD: &str = "deploy/grafana-dashboard.json";
const RULES: &str = "deploy/alerts.yaml";
const METRICS: &str = "docs/reference/metrics.md";
const RULE_TESTS: &str = "tests/oracle/alerts.yaml";

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn file(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn metrics(proxy: &Proxy) -> String {
    String::from_utf8(request(proxy.admin, "GET", "/metrics", "", b"").body).expect("text")
}

/// Nobody signs in here; tests/it/sign_in.rs sees it.
const UNSEEN: &str = "ninjaone_proxy_user_grant_age_seconds";

/// A proxy to which everything has happened that the dashboard shows.
fn eventful() -> (Proxy, tempfile::TempDir) {
    let server = Scripted::start(|mut asked| {
        let status = match asked.number {
            0 => "429 Too Many Requests\r\nRetry-After: 0",
            1 => "500 Internal Server Error",
            _ => "200 OK",
        };
        asked.answer(&answer(status, "[]"));
        Then::Continue
    });
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("audit.jsonl");
    // Of a store that is not there.
    std::fs::write(folder.path().join("sealing-key"), "a sealing key of the tests, which is no secret")
        .expect("a file");
    let key = KeyHash::of(b"desk-key");
    let rest = format!(
        "[audit]\nfile = {log:?}\n[instances.main.rate]\nretry-after-max = \"1s\"\n\
         [instances.main.users.nobody]\n\
         [listeners.person]\naddress = \"127.0.0.1:0\"\ninstance = \"main\"\nuser = \"nobody\"\n\
         [instances.gone]\nhost = \"http://127.0.0.1:9\"\nclient-id = \"x\"\nclient-secret = {{ file = \"secret\" }}\n\
         [listeners.lame]\naddress = \"127.0.0.1:0\"\ninstance = \"gone\"\n\
         [listeners.watch]\naddress = \"127.0.0.1:0\"\ninstance = \"main\"\nmode = \"observe\"\ngroups = [\"none\"]\n\
         [listeners.fenced]\naddress = \"127.0.0.1:0\"\ninstance = \"main\"\norganizations = [1]\n\
         [learn]\nfile = {:?}\n[shared]\nurl = \"unix:///nowhere/redis.sock\"\nkey = {{ file = {:?} }}",
        folder.path().join("used.json"),
        folder.path().join("sealing-key")
    );
    let listener = format!(
        "instance = \"main\"\ndeny = [\"GET /v2/users\"]\nquota = {{ requests = \"1000/min\" }}\n[listeners.local.callers.desk]\nkey = \"{key}\"\nscopes = [\"monitoring\"]"
    );
    let proxy = Proxy::start(&server.instance(), &listener, &rest);
    let desk = "X-Api-Key: desk-key\r\n";
    for (path, headers, status) in [
        ("/v2/groups", desk, 500),
        ("/v2/groups", desk, 200),
        ("/v2/users", desk, 403),
        ("/v2/groups", "X-Api-Key: wrong\r\n", 401),
    ] {
        assert_eq!(proxy.send("GET", path, headers, b"").status, status, "{path} {headers}");
    }
    let tried = proxy.send("GET", "/v2/groups", &format!("{desk}Prefer: dry-run\r\n"), b"");
    assert_eq!(tried.header("preference-applied"), "dry-run");
    assert_eq!(request(proxy.listeners["lame"], "GET", "/v2/groups", "", b"").status, 503);
    assert_eq!(request(proxy.listeners["watch"], "GET", "/v2/groups", "", b"").status, 200);
    assert_eq!(request(proxy.listeners["fenced"], "GET", "/v2/devices", "", b"").status, 200);
    eventually("all is counted", || {
        let text = metrics(&proxy);
        ["in_flight{listener=\"local\"} 0", "in_flight{listener=\"lame\"} 0", "in_flight{listener=\"watch\"} 0"]
            .iter()
            .all(|line| text.contains(line))
    });
    (proxy, folder)
}

/// Each expression of the dashboard, and the labels that its legend shows.
fn panels(value: &Value, found: &mut Vec<(String, Vec<String>)>) {
    match value {
        Value::Object(members) => {
            if let Some(expression) = members.get("expr").and_then(Value::as_str) {
                found.push((expression.to_owned(), placeholders(members.get("legendFormat"), "{{", "}}")));
            }
            members.values().for_each(|value| panels(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| panels(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn placeholders(text: Option<&Value>, open: &str, close: &str) -> Vec<String> {
    let text = text.and_then(Value::as_str).unwrap_or_default();
    text.split(open).skip(1).filter_map(|rest| rest.split(close).next()).map(|name| name.trim().to_owned()).collect()
}

fn dashboard(text: &str) -> Vec<(String, Vec<String>)> {
    let dashboard: Value = serde_json::from_str(text).expect("JSON");
    let mut found = Vec::new();
    panels(&dashboard["panels"], &mut found);
    for variable in dashboard["templating"]["list"].as_array().expect("variables") {
        if variable["type"] == "query" {
            found.push((variable["query"]["query"].as_str().expect("a query").to_owned(), Vec::new()));
        }
    }
    found
}

/// Each expression of the rules, and the labels that its texts show. Every rule says how bad it is, what is the matter
/// and what to do next.
fn rules(text: &str) -> Vec<(String, Vec<String>)> {
    let of = |rule: &str, key: &str| -> String {
        let line = rule.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix(": "));
        line.unwrap_or_else(|| panic!("{key} is missing in\n{rule}")).to_owned()
    };
    let labels = |text: &str| placeholders(Some(&Value::from(text)), "$labels.", " ");
    let rules: Vec<_> = text.split("- alert: ").skip(1).collect();
    let names: BTreeSet<_> = rules.iter().filter_map(|rule| rule.lines().next()).collect();
    assert!(names.len() == rules.len() && rules.len() >= 10, "{names:?}");
    let read = |rule: &&str| {
        assert!(["critical", "warning"].contains(&of(rule, "severity").as_str()), "{rule}");
        let (summary, description) = (of(rule, "summary"), of(rule, "description"));
        assert!(description.len() > 60, "what to do next: {description}");
        (of(rule, "expr"), [labels(&summary), labels(&description)].concat())
    };
    rules.iter().map(read).collect()
}

fn findings(queries: &[(String, Vec<String>)], exposed: &Exposed) -> Vec<String> {
    let check = |(text, shown): &(String, Vec<String>)| {
        let checked = promql::read(text).and_then(|query| query.check(exposed, shown));
        checked.err().map(|error| format!("{text}\n    {error}"))
    };
    queries.iter().filter_map(check).collect()
}

#[test]
fn the_dashboard_and_the_rules_ask_for_series_and_labels_that_the_proxy_shows() {
    let (proxy, _folder) = eventful();
    let exposed = promql::exposed(&metrics(&proxy));
    let (panels, rules) = (dashboard(&file(DASHBOARD)), rules(&file(RULES)));
    assert!(panels.len() >= 20 && rules.len() >= 10, "{} and {} were visited", panels.len(), rules.len());
    let page = file("docs/metrics-and-alerts.md");
    for name in file(RULES).split("- alert: ").skip(1).filter_map(|rule| rule.lines().next()) {
        assert!(page.contains(&format!("| `{name}` |")), "docs/metrics-and-alerts.md does not name {name}");
    }
    let mut found = [findings(&panels, &exposed), findings(&rules, &exposed)].concat();
    // Other systems tell less of the process.
    found.retain(|text| cfg!(target_os = "linux") || !text.contains("there is no series process_"));
    found.retain(|text| !text.contains(&format!("there is no series {UNSEEN}")));
    assert!(found.is_empty(), "{}", found.join("\n"));
    // The other way round: who looks at the dashboard or is woken learns of all that is counted.
    let asked: BTreeSet<String> = panels
        .iter()
        .chain(&rules)
        .flat_map(|(text, _)| promql::read(text).expect("an expression").selectors)
        .map(|selector| selector.name)
        .collect();
    let part = |name: &str| {
        ["_sum", "_count"]
            .iter()
            .any(|end| name.strip_suffix(end).is_some_and(|histogram| asked.contains(&format!("{histogram}_bucket"))))
    };
    let table = file(METRICS);
    let untold: Vec<_> = exposed
        .keys()
        .filter(|name| !part(name) && !table.contains(&format!("`{}`", name.trim_end_matches("_bucket"))))
        .collect();
    assert!(untold.is_empty(), "{METRICS} does not name {untold:?}");
    // And the page names no series and no label that is not there.
    for row in table.lines().filter_map(|line| line.strip_prefix("| `")) {
        let cells: Vec<&str> = row.split(" | ").collect();
        let name = row.split('`').next().unwrap_or_default();
        let series = exposed.get(name).or_else(|| exposed.get(&format!("{name}_bucket")));
        let Some(series) = series else {
            let elsewhere = cfg!(not(target_os = "linux")) && name.starts_with("process_");
            assert!(elsewhere || name == UNSEEN, "there is no {name}");
            continue;
        };
        let labels: BTreeSet<&str> = series.iter().flat_map(|labels| labels.keys()).map(String::as_str).collect();
        let told: BTreeSet<&str> = cells[2].split('`').skip(1).step_by(2).collect();
        assert!(labels.iter().all(|label| *label == "le" || told.contains(label)), "{name}: {labels:?}");
        assert!(told.iter().all(|label| labels.contains(label)), "{name} has {labels:?}, not {told:?}");
    }
    let beside = ["ninjaone_proxy_config_hash", "process_virtual_memory_bytes", "process_threads"];
    let unseen: Vec<_> = exposed
        .keys()
        .filter(|name| !asked.contains(*name) && !part(name) && !beside.contains(&name.as_str()))
        .collect();
    assert!(unseen.is_empty(), "nothing shows {unseen:?}");
}

#[test]
fn a_wrong_series_label_or_value_in_the_dashboard_or_the_rules_is_found() {
    let (proxy, _folder) = eventful();
    let exposed = promql::exposed(&metrics(&proxy));
    let (panels, rules) = (file(DASHBOARD), file(RULES));
    let mut changed = 0;
    for (right, wrong) in [
        ("ninjaone_proxy_requests_total", "ninjaone_proxy_request_total"),
        ("ninjaone_proxy_request_duration_seconds_bucket", "ninjaone_proxy_request_duration_seconds_buckets"),
        ("blame=\\\"caller\\\"", "blame=\\\"callers\\\""),
        ("by (code)", "by (codes)"),
        ("{{protocol}}", "{{protocols}}"),
        ("exported_instance=~", "exported_instances=~"),
        (
            "label_values(ninjaone_proxy_requests_in_flight, listener)",
            "label_values(ninjaone_proxy_requests_in_flight, door)",
        ),
    ] {
        assert!(panels.contains(right), "{right}");
        assert_ne!(findings(&dashboard(&panels.replace(right, wrong)), &exposed), [""; 0], "{wrong}");
        changed += 1;
    }
    for (right, wrong) in [
        ("ninjaone_proxy_audit_failing", "ninjaone_proxy_audit_fails"),
        ("result=\"failed\"", "result=\"fail\""),
        ("status_class=\"5xx\"", "class=\"5xx\""),
        ("by (job, instance, listener)", "by (job, instance, door)"),
        ("$labels.exported_instance ", "$labels.tenant "),
    ] {
        assert!(rules.contains(right), "{right}");
        assert_ne!(findings(&self::rules(&rules.replace(right, wrong)), &exposed), [""; 0], "{wrong}");
        changed += 1;
    }
    assert_eq!(changed, 12);
}

#[test]
fn promql_is_read_as_far_as_it_must_be() {
    let text = "sum by (listener) (rate(a_total{b=\"c\", d=~\"$e\"}[$__rate_interval])) / on (x) group_left max(f) unless g offset 1h > 0.5";
    let query = promql::read(text).expect("an expression");
    let names: Vec<_> = query.selectors.iter().map(|selector| selector.name.as_str()).collect();
    assert_eq!((names, query.grouped), (vec!["a_total", "f", "g"], vec!["listener".to_owned(), "x".to_owned()]));
    assert_eq!(query.selectors[0].matchers[1], ("d".to_owned(), "=~".to_owned(), "$e".to_owned()));
    for bad in ["", "1 + 2", "a{b}", "a{b=c}", "a;b", "sum("] {
        assert!(promql::read(bad).is_err(), "{bad}");
    }
}

/// What promtool says to this, if it is installed.
fn promtool(arguments: &[&str], input: &str) -> Option<(bool, String)> {
    let child = Command::new("promtool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        println!("LEFT OUT: promtool is not installed");
        return None;
    };
    child.stdin.take().expect("standard input").write_all(input.as_bytes()).expect("bytes");
    let output = child.wait_with_output().expect("an end");
    let said = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
}

#[test]
fn promtool_finds_nothing_in_metrics_and_rules() {
    let (proxy, _folder) = eventful();
    if let Some((good, said)) = promtool(&["check", "metrics"], &metrics(&proxy)) {
        assert!(good && said.is_empty(), "{said}");
    }
    for arguments in [["check", "rules"], ["test", "rules"]] {
        let name = path(if arguments[0] == "test" { RULE_TESTS } else { RULES });
        let arguments = [&arguments[..], &[name.to_str().expect("a path")]].concat();
        if let Some((good, said)) = promtool(&arguments, "") {
            assert!(good && !said.contains("FAILED"), "{said}");
        }
    }
}
