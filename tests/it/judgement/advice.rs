//! Every piece of advice is taken: it is applied to the configuration that it is for, and the request is asked again.

use std::path::Path;
use std::sync::LazyLock;

use ninjaone_proxy::config::Config;
use ninjaone_proxy::proxy::authn::key::KeyHash;
use ninjaone_proxy::tools::explain::{ExplainedRequest, explain};
use regex::Regex;
use serde_json::Value;

use super::dice::Dice;
use crate::rulebook::{Atlas, Texts};

const CONFIGURATIONS: usize = 120;
const REQUESTS: usize = 12;

static ADD: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"add "([^"]+)"(?: or "([^"]+)")? to (scopes|allow|deny)(?: in \[([^\]]+)\])?"#).expect("an expression")
});
static REMOVE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"remove (?:or narrow )?"([^"]+)" (?:in|from) deny(?: of \[([^\]]+)\])?"#).expect("an expression")
});
static SEND: LazyLock<Regex> = LazyLock::new(|| Regex::new(r#"Send "([^"]+)"\."#).expect("an expression"));
static MEANT: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?:Did you mean ([A-Z]+) (/\S+)\?|\. ([A-Z]+) (/\S+) has .* where )").expect("an expression")
});

/// The file that an administrator would have.
fn file(layers: &[Texts]) -> String {
    let list = |texts: &[String]| Value::from(texts.to_vec()).to_string();
    let rules = |texts: &Texts| {
        let words = |words: &[&str]| list(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        let (scopes, groups) = (words(&texts.scopes), words(&texts.groups));
        let (allow, deny) = (list(&texts.allow), list(&texts.deny));
        format!("scopes = {scopes}\ngroups = {groups}\nallow = {allow}\ndeny = {deny}\n")
    };
    let caller = layers.get(1).map_or(String::new(), |texts| {
        format!("[listeners.local.callers.tool]\nkey = \"{}\"\n{}", KeyHash::of(b"a-key-of-a-test"), rules(texts))
    });
    format!("[listeners.local]\naddress = \"127.0.0.1:0\"\n{}{caller}", rules(&layers[0]))
}

/// What `explain --json` says; an error is what the configuration says to the advice.
fn ask(layers: &[Texts], method: &str, target: &str) -> Result<Value, String> {
    let config = Config::parse(Path::new("c.toml"), file(layers)).map_err(|error| error.to_string())?;
    let settings = config.settings().map_err(|error| error.to_string())?;
    let subjects = settings.listeners[0].subjects();
    let told = explain(&subjects, &ExplainedRequest { method, path: target, ..ExplainedRequest::default() })
        .map_err(|error| error.to_string())?;
    Ok(told[0].json())
}

/// Makes every change that a text names; returns how many.
fn apply(layers: &mut [Texts], text: &str, table: Option<&str>, second: bool) -> usize {
    let mut applied = 0;
    let layer = |own: Option<&str>| {
        let table = own.or(table).expect("a table");
        usize::from(table == "listeners.local.callers.tool")
    };
    for found in ADD.captures_iter(text) {
        let texts = &mut layers[layer(found.get(4).map(|table| table.as_str()))];
        let entry = found.get(2).filter(|_| second).unwrap_or_else(|| found.get(1).expect("an entry")).as_str();
        match &found[3] {
            "scopes" => {
                texts.scopes.extend(["monitoring", "management", "control"].iter().filter(|scope| **scope == entry));
            }
            "allow" => texts.allow.push(entry.to_owned()),
            _ => texts.deny.push(entry.to_owned()),
        }
        applied += 1;
    }
    for found in REMOVE.captures_iter(text) {
        let texts = &mut layers[layer(found.get(2).map(|table| table.as_str()))];
        let place = texts.deny.iter().position(|rule| *rule == found[1]).expect("what is to be removed is there");
        texts.deny.remove(place);
        applied += 1;
    }
    applied
}

#[derive(Debug, Default)]
struct Counts {
    refusals: usize,
    applied: usize,
    spellings: usize,
    operations_named: usize,
    closed_again: usize,
    without_advice: usize,
    in_vain: usize,
}

#[test]
fn every_piece_of_advice_turns_the_decision() {
    let seed = fastrand::u64(..);
    let atlas = Atlas::new();
    let mut dice = Dice::new(&atlas, seed);
    let mut counts = Counts::default();
    let (mut configurations, mut refused) = (0, 0);
    while configurations < CONFIGURATIONS {
        let mut layers = vec![dice.texts(&["monitoring", "management", "control"])];
        if configurations % 2 == 1 {
            let scopes = layers[0].scopes.clone();
            layers.push(dice.texts(&scopes));
        }
        // Some configurations of the dice are refused.
        if ask(&layers, "GET", "/v2/devices").is_err() {
            refused += 1;
            assert!(refused < 100 * CONFIGURATIONS, "{:?}", ask(&layers, "GET", "/v2/devices"));
            continue;
        }
        configurations += 1;
        dice.look_at(&layers);
        for _ in 0..REQUESTS {
            let (method, uri) = dice.request();
            take(&layers, method.as_str(), &uri.to_string(), &mut counts, seed);
        }
    }
    println!("seed {seed}: {counts:?}");
    assert_eq!(counts.in_vain, 0, "{counts:?}");
    assert!(counts.refusals > 300 && counts.applied > 300 && counts.spellings > 5, "{counts:?}");
    assert!(counts.operations_named > 5 && counts.closed_again > 50, "{counts:?}");
}

/// Asks, takes the advice, and asks again.
fn take(layers: &[Texts], method: &str, target: &str, counts: &mut Counts, seed: u64) {
    let told = ask(layers, method, target).expect("a good configuration");
    let reason = told["reason"].as_str().expect("a reason");
    let changes = told["changes"].as_array().expect("changes");
    let context = || format!("{method} {target} by\n{}\nis told {told:#} (seed {seed})", file(layers));
    let check = |counts: &mut Counts, layers: &[Texts], wanted: bool| {
        let again = ask(layers, method, target);
        if again.as_ref().is_ok_and(|again| again["allowed"] == wanted) {
            return;
        }
        counts.in_vain += 1;
        println!("IN VAIN: {}\nthen {again:?}\nby\n{}", context(), file(layers));
    };
    if told["gate"].is_null() || told["gate"] == "policy" {
        let mut changed = layers.to_vec();
        let applied: usize = changes
            .iter()
            .map(|change| {
                apply(&mut changed, change["edit"].as_str().expect("an edit"), change["table"].as_str(), false)
            })
            .sum();
        assert_eq!(applied, changes.len(), "{}", context());
        if told["allowed"] == true {
            assert_eq!(applied, 1, "{}", context());
            counts.closed_again += 1;
            return check(counts, &changed, false);
        }
        counts.refusals += 1;
        if applied > 0 {
            counts.applied += applied;
            check(counts, &changed, true);
        }
        for second in [false, true] {
            let mut changed = layers.to_vec();
            let pieces = apply(&mut changed, reason, None, second);
            assert_eq!(pieces, applied, "the refusal names as many changes: {}", context());
            if pieces > 0 {
                counts.applied += pieces;
                check(counts, &changed, true);
            }
        }
        let hint = hints(layers, reason, method, counts);
        assert!(hint, "{}", context());
        let can_have_none = ["target-malformed", "on this path; it has", "operation-unknown"];
        if applied == 0 {
            counts.without_advice += 1;
            // Behind what refuses it may wait a path that the catalog lacks, with a value of the wrong type.
            let behind = told["operation"].is_null();
            assert!(behind || can_have_none.iter().any(|code| reason.contains(code)), "{}", context());
        }
    }
}

/// Whether what a refusal says of other requests is true.
fn hints(layers: &[Texts], reason: &str, method: &str, counts: &mut Counts) -> bool {
    let mut right = true;
    if let Some(found) = SEND.captures(reason) {
        counts.spellings += 1;
        let again = ask(layers, method, &found[1]).expect("a good configuration");
        right &= !again["reason"].as_str().expect("a reason").contains("another spelling");
        right &= !again["reason"].as_str().expect("a reason").contains("shortest form");
    }
    if let Some(found) = MEANT.captures(reason) {
        counts.operations_named += 1;
        let group = |one, other| found.get(one).or(found.get(other)).expect("named").as_str();
        let (method, template) = (group(1, 3), group(2, 4));
        let routes = include_str!("../../../src/proxy/policy/catalog.tsv");
        right &= routes.lines().any(|line| {
            let mut columns = line.split('\t');
            let own = columns.next() == Some(method);
            let typed = columns.next().unwrap_or_default().split('/');
            let plain =
                |segment: &str| segment.split_once(':').map_or(segment.to_owned(), |(name, _)| format!("{name}}}"));
            own && typed.map(plain).collect::<Vec<_>>().join("/") == template
        });
    }
    right
}
