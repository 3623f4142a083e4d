//! Bodies that readers of JSON read in different ways: a condition is met only where it is met for all of them.

mod rows;

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderValue, header};
use ninjaone_proxy::proxy::policy::body::{BodyConditions, BodyPattern, JsonBody, UnreadableBody};
use proptest::prelude::*;

use crate::bodies_oracle::{self as oracle, Value, Wanted};
use rows::{Outcome, RULES, rows};

fn conditions(toml: &str) -> BodyConditions {
    let pairs: BTreeMap<String, BodyPattern> = toml::from_str(toml).expect("patterns");
    BodyConditions::new(pairs.into_iter().collect()).expect("conditions that can be met")
}

fn read(body: &[u8]) -> Result<JsonBody, UnreadableBody> {
    let headers: HeaderMap =
        [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))].into_iter().collect();
    JsonBody::read(&headers, body)
}

#[test]
fn no_body_passes_that_some_reader_reads_otherwise() {
    let rules: BTreeMap<_, _> = RULES.iter().map(|(name, rule)| (*name, conditions(rule))).collect();
    let rows = rows();
    let mut wrong = Vec::new();
    for row in &rows {
        let outcome = match read(&row.body) {
            Err(unreadable) => format!("{unreadable:?}"),
            Ok(body) if rules[row.rule].judge(&body).is_ok() => "Met".to_owned(),
            Ok(_) => "Unmet".to_owned(),
        };
        let wanted = match row.outcome {
            Outcome::Met => "Met",
            Outcome::Unmet => "Unmet",
            Outcome::Refused(why) => why,
        };
        if outcome.split([' ', '{']).next() != Some(wanted) {
            let start = row.body.get(..80).unwrap_or(&row.body);
            wrong.push(format!("{}: {:?}: {outcome} instead of {wanted}", row.rule, String::from_utf8_lossy(start)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let count = |outcome: fn(&Outcome) -> bool| rows.iter().filter(|row| outcome(&row.outcome)).count();
    let refused = count(|outcome| matches!(outcome, Outcome::Refused(_)));
    let unmet = count(|outcome| *outcome == Outcome::Unmet);
    assert!(rows.len() >= 390 && refused >= 200 && unmet >= 100, "{} {refused} {unmet}", rows.len());
}

/// Conditions, and the same in the words of the oracle.
fn wanted() -> Vec<(BodyConditions, &'static str, Wanted)> {
    let literals = |all: &[&'static str]| Wanted::Literals(all.to_vec());
    [
        ("/id", "12", literals(&["12"])),
        ("/id", "[12, \"a\", true]", literals(&["12", "\"a\"", "true"])),
        ("/k/id", "0", literals(&["0"])),
        ("/k/k", "\"a\"", literals(&["\"a\""])),
        ("/ids/0", "12", literals(&["12"])),
        ("/ids/1/id", "{ present = true }", Wanted::Present),
        ("/id", "{ present = true }", Wanted::Present),
        ("/id", "{ present = false }", Wanted::Absent),
        ("/k/id", "{ present = false }", Wanted::Absent),
        ("/ids/1", "{ present = false }", Wanted::Absent),
        ("/ids/0/k", "{ present = false }", Wanted::Absent),
        ("/k", "{ prefix = \"a\" }", Wanted::Prefix("a")),
        ("", "12", literals(&["12"])),
    ]
    .map(|(pointer, pattern, wanted)| (conditions(&format!("{pointer:?} = {pattern}")), pointer, wanted))
    .into()
}

/// Texts that are nearly JSON, of few words.
fn bodies() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        6 => prop::sample::select(vec![
            "12", "\"12\"", "\"a\"", "\"ab\"", "true", "false", "null", "0", "[]", "{}", "\"\"",
        ]),
        2 => prop::sample::select(vec![
            "12.0", "1e400", "-0", "012", "9007199254740993", "NaN", "'a'", "\"null\"", "\" \"", "\"\\ud800\"", "\"\\u0000\"",
            "\"\\u0061\"", "\"\u{1f}\"", "/**/12", "12#", "a", "[12,]", "True", "\"\\x\"", "+12", ".5",
        ]),
    ]
    .prop_map(str::to_owned);
    let key = prop_oneof![
        8 => prop::sample::select(vec!["\"id\"", "\"k\"", "\"ids\"", "\"x\""]),
        1 => prop::sample::select(vec![
            "\"ID\"", "\"\\u0069d\"", "\"\u{130}d\"", "\"\u{131}d\"", "\"i_d\"", "\"\u{212a}\"", "\"K\"", "\"id\\u0000\"", "id",
            "'id'", "\"Ids\"", "\"id\u{17f}\"",
        ]),
    ];
    let separator = prop_oneof![40 => Just(","), 1 => Just(";"), 1 => Just(""), 1 => Just(",,"), 1 => Just(", ")];
    let colon = prop_oneof![40 => Just(":"), 1 => Just("="), 1 => Just(" : "), 1 => Just("=>")];
    leaf.prop_recursive(4, 16, 4, move |inner| {
        let members = prop::collection::vec((key.clone(), colon.clone(), inner.clone(), separator.clone()), 0..4);
        let elements = prop::collection::vec((inner, separator.clone()), 0..3);
        prop_oneof![
            3 => members.prop_map(|all| {
                let text: String = all.iter().map(|(key, colon, value, comma)| format!("{key}{colon}{value}{comma}")).collect();
                format!("{{{}}}", text.strip_suffix(',').unwrap_or(&text))
            }),
            1 => elements.prop_map(|all| {
                let text: String = all.iter().map(|(value, comma)| format!("{value}{comma}")).collect();
                format!("[{}]", text.strip_suffix(',').unwrap_or(&text))
            }),
        ]
    })
}

fn agree(body: &[u8], wanted: &[(BodyConditions, &'static str, Wanted)]) -> Result<u32, TestCaseError> {
    let strict = read(body);
    let clean = oracle::readings(body).into_iter().next().filter(|reading| reading.is_clean);
    let is_json = clean.is_some_and(|reading| !oracle::has_twins(&reading.root));
    prop_assert_eq!(strict.is_ok(), is_json, "{:?} {:?}", String::from_utf8_lossy(body), strict.err());
    let Ok(read) = strict else { return Ok(0) };
    let mut met = 0;
    for (conditions, pointer, wanted) in wanted {
        let (strict, surely) = (conditions.judge(&read), oracle::surely(body, pointer, wanted));
        prop_assert_eq!(strict.is_ok(), surely, "{} {:?}", conditions, String::from_utf8_lossy(body));
        met += u32::from(surely);
    }
    Ok(met)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn a_condition_is_met_where_every_reading_meets_it_and_nowhere_else(body in bodies()) {
        thread_local!(static WANTED: Vec<(BodyConditions, &'static str, Wanted)> = wanted());
        WANTED.with(|wanted| agree(body.as_bytes(), wanted))?;
    }

    #[test]
    fn a_byte_changed_in_a_good_body_leaves_no_second_reading(
        place in 0..56_usize, byte in any::<u8>(), inserts in any::<bool>(),
    ) {
        thread_local!(static WANTED: Vec<(BodyConditions, &'static str, Wanted)> = wanted());
        let mut body = br#"{"id":12,"k":{"id":0,"k":"a"},"ids":[12,{"id":"\u0041"}]}"#.to_vec();
        if inserts { body.insert(place, byte) } else { body[place] = byte }
        WANTED.with(|wanted| agree(&body, wanted))?;
    }
}

#[test]
fn the_bodies_that_are_thrown_meet_conditions_and_are_refused_often_enough() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let (mut runner, wanted, bodies) = (TestRunner::deterministic(), wanted(), bodies());
    let (mut met, mut refused) = (0, 0);
    for _ in 0..1000 {
        let body = bodies.new_tree(&mut runner).expect("a body").current();
        refused += u32::from(read(body.as_bytes()).is_err());
        met += u32::from(agree(body.as_bytes(), &wanted).expect("agreement") > 0);
    }
    assert!(met >= 200 && refused >= 200, "{met} {refused}");
}

#[test]
fn what_is_read_is_json_to_another_reader_of_json() {
    for row in rows() {
        let other: Result<serde_json::Value, _> = serde_json::from_slice(&row.body);
        if read(&row.body).is_ok() {
            let is_range = other.as_ref().is_err_and(|error| error.to_string().contains("number out of range"));
            assert!(other.is_ok() || is_range, "{:?}: {other:?}", String::from_utf8_lossy(&row.body));
        }
    }
}

#[test]
fn the_oracle_knows_no_twins_where_no_reader_finds_them() {
    let plain =
        Value::Object(vec![("a".to_owned(), Value::Word("1".to_owned())), ("b".to_owned(), Value::Array(vec![]))]);
    assert!(!oracle::has_twins(&plain));
    let twins = Value::Array(vec![Value::Object(vec![
        ("run_as".to_owned(), Value::Text(String::new())),
        ("RunAS".to_owned(), Value::Text(String::new())),
    ])]);
    assert!(oracle::has_twins(&twins));
}
