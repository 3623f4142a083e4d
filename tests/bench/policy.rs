//! What a decision costs, in time and in memory: `cargo bench --bench policy`.

#![allow(clippy::expect_used, reason = "a measurement that cannot go on shall end there and say why")]

use std::sync::Arc;

use divan::{AllocProfiler, Bencher, black_box};
use http::{Method, Uri};
use ninjaone_proxy::proxy::policy::catalog::{Catalog, Scope};
use ninjaone_proxy::proxy::policy::group::Group;
use ninjaone_proxy::proxy::policy::path::Target;
use ninjaone_proxy::proxy::policy::rule::Rule;
use ninjaone_proxy::proxy::policy::{Groups, InstanceId, Policy, Rules};

#[global_allocator]
static MEMORY: AllocProfiler = AllocProfiler::system();

/// How many times the built-in catalogue, of 315 operations, is there: under `/v2`, under `/v2/x1`, and so on.
const SIZES: [usize; 3] = [1, 10, 100];

const ALLOW: [&str; 8] = [
    "GET /v2/users",
    "GET /v2/device/{id}/disks",
    "GET /v2/device/7/**",
    "* /v2/ticketing/**",
    "GET /v2/queries/*?df",
    "GET /v2/organizations?pageSize=50",
    "group:devices-read",
    "GET,POST group:alerts",
];

const DENY: [&str; 8] = [
    "* /v2/device/12/**",
    "* /v2/device/{id}/jobs",
    "GET /v2/devices?df=secret",
    "GET /v2/queries/*?!pageSize",
    "DELETE /v2/**",
    "group:webhooks",
    "POST /v2/device/{id}/reboot/FORCED",
    "* /v2/billing/**",
];

/// Three parameters, as a client of reports sends them.
const QUERY: &str = "?pageSize=100&after=2718&df=class%20in%20(WINDOWS_SERVER)";

fn main() {
    divan::main();
}

#[divan::bench(args = SIZES)]
fn no_rules(bencher: Bencher, size: usize) {
    run(bencher, &policy(size, &[], &[], &[]), &every_operation(size, ""));
}

#[divan::bench(args = SIZES)]
fn no_rules_hot(bencher: Bencher, size: usize) {
    let hot =
        ["/v2/devices", "/v2/device/7", "/v2/device/7/disks", "/v2/organizations", "/v2/alerts", "/v2/activities"];
    run(bencher, &policy(size, &[], &[], &[]), &hot.map(get));
}

#[divan::bench(args = SIZES)]
fn no_rules_with_query(bencher: Bencher, size: usize) {
    run(bencher, &policy(size, &[], &[], &[]), &every_operation(size, QUERY));
}

#[divan::bench(args = SIZES)]
fn sixteen_rules(bencher: Bencher, size: usize) {
    run(bencher, &policy(size, &["queries"], &ALLOW, &DENY), &every_operation(size, ""));
}

#[divan::bench(args = SIZES)]
fn sixteen_rules_with_query(bencher: Bencher, size: usize) {
    run(bencher, &policy(size, &["queries"], &ALLOW, &DENY), &every_operation(size, QUERY));
}

#[divan::bench(args = SIZES)]
fn caller_within_a_listener(bencher: Bencher, size: usize) {
    let listener = Arc::new(policy(size, &[], &[], &DENY));
    let caller = policy(size, &["queries"], &ALLOW, &[]).within(listener).expect("no more scopes");
    run(bencher, &caller, &every_operation(size, ""));
}

#[divan::bench(args = SIZES)]
fn refused(bencher: Bencher, size: usize) {
    let closed = [
        "/v2/device/7/../users",
        "/v2/device/7%2fdisks",
        "/v2/%64evices",
        "/v2/nothing/here",
        "/v1/devices",
        "/v2/users",
        "/v2/device/12/disks",
        "/v2/queries/custom-fields?pageSize=5&showSecureValues=tr%75e",
    ];
    let mut asked: Vec<_> = closed.map(get).into();
    asked.push((Method::DELETE, uri("/v2/devices")));
    asked.push((Method::POST, uri("/v2/device/7/script/run")));
    run(bencher, &policy(size, &[], &[], &DENY), &asked);
}

/// From the text of the target on, with a prefix that is folded.
#[divan::bench(args = SIZES)]
fn from_the_target_on(bencher: Bencher, size: usize) {
    let policy = policy(size, &[], &[], &[]);
    let mut asked = every_operation(size, "");
    for (_, target) in &mut asked {
        *target = uri(&format!("/ws/api{target}"));
    }
    let mut turns = asked.iter().cycle();
    bencher.bench_local(|| {
        let (method, uri) = turns.next().expect("it goes around");
        Target::canonical(black_box(uri)).map(|target| policy.decide(method, &target).is_ok())
    });
}

/// Measures decisions on these requests, one after the other and around.
fn run(bencher: Bencher, policy: &Policy, asked: &[(Method, Uri)]) {
    let targets: Vec<_> =
        asked.iter().filter_map(|(method, uri)| Some((method, Target::canonical(uri).ok()?))).collect();
    assert_eq!(targets.len(), asked.len());
    let mut turns = targets.iter().cycle();
    bencher.bench_local(|| {
        let (method, target) = turns.next().expect("it goes around");
        policy.decide(black_box(method), black_box(target))
    });
}

fn policy(size: usize, groups: &[&str], allow: &[&str], deny: &[&str]) -> Policy {
    let rules = |texts: &[&str]| texts.iter().map(|text| Rule::parse(text).expect("a rule")).collect();
    let listed: Vec<_> = groups.iter().map(|name| Group::find(name).expect("a group")).collect();
    let groups = if listed.is_empty() { Groups::Ordinary } else { Groups::Only(listed) };
    let scopes = [Scope::Monitoring, Scope::Management].into_iter().collect();
    let rules = Rules { scopes, groups, allow: rules(allow), deny: rules(deny), organizations: None };
    Policy::new(catalog(size), InstanceId(0), rules).expect("a policy")
}

fn catalog(size: usize) -> Arc<Catalog> {
    let mut text = String::new();
    for copy in 0..size {
        for line in lines() {
            text.push_str(&moved(line, copy));
            text.push('\n');
        }
    }
    let catalog = Catalog::parse(&text).expect("a catalogue");
    assert_eq!(catalog.operations().len(), size * 315);
    Arc::new(catalog)
}

/// A request for each operation, in an order that no cache foresees.
fn every_operation(size: usize, query: &str) -> Vec<(Method, Uri)> {
    let mut chosen: Vec<_> = (0..size).flat_map(|copy| lines().map(move |line| moved(line, copy))).collect();
    fastrand::Rng::with_seed(1).shuffle(&mut chosen);
    let request = |line: &String| {
        let mut columns = line.split('\t');
        let method = columns.next().and_then(|name| name.parse().ok()).expect("a method");
        let path: Vec<_> = columns.next().expect("a template").split('/').map(filled).collect();
        (method, uri(&format!("{}{query}", path.join("/"))))
    };
    chosen.iter().map(request).collect()
}

fn lines() -> impl Iterator<Item = &'static str> {
    include_str!("../../src/proxy/policy/catalog.tsv").lines().filter(|line| !line.starts_with('#'))
}

fn moved(line: &str, copy: usize) -> String {
    if copy == 0 { line.to_owned() } else { line.replacen("/v2/", &format!("/v2/x{copy}/"), 1) }
}

/// A segment of a template with a value for its parameter.
fn filled(segment: &str) -> &str {
    let typed = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).and_then(|rest| rest.split_once(':'));
    match typed.map(|(_, kind)| kind) {
        None => segment,
        Some("integer") => "2718",
        Some("uid") => "3f2c8a9e-0000-4000-8000-00000000abcd",
        Some("name") => "someName",
        Some(words) => words.split('|').next().expect("a word"),
    }
}

fn get(target: &str) -> (Method, Uri) {
    (Method::GET, uri(target))
}

fn uri(text: &str) -> Uri {
    text.parse().expect("a target")
}
