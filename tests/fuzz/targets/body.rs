//! Whatever the body: it is read if it has one reading, and a condition is met if every reading meets it.
#![no_main]

use http::{HeaderMap, HeaderValue, header};
use libfuzzer_sys::fuzz_target;
use ninjaone_proxy::proxy::policy::body::{BodyConditions, BodyPattern, JsonBody, Scalar};

#[path = "../../oracle/bodies.rs"]
mod bodies;

use bodies::Wanted;

fuzz_target!(|bytes: &[u8]| {
    thread_local!(static WANTED: Vec<(BodyConditions, &'static str, Wanted)> = wanted());
    let headers: HeaderMap =
        [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))].into_iter().collect();
    let read = JsonBody::read(&headers, bytes);
    let clean = bodies::readings(bytes).into_iter().next().filter(|reading| reading.is_clean);
    assert_eq!(read.is_ok(), clean.is_some_and(|reading| !bodies::has_twins(&reading.root)), "{read:?}");
    let Ok(body) = read else { return };
    let other: Result<serde_json::Value, _> = serde_json::from_slice(bytes);
    let is_range = |error: &serde_json::Error| error.to_string().starts_with("number out of range");
    assert!(other.as_ref().err().is_none_or(is_range), "{other:?}");
    WANTED.with(|wanted| {
        for (conditions, pointer, wanted) in wanted {
            let met = conditions.judge(&body).is_ok();
            assert_eq!(met, bodies::surely(bytes, pointer, wanted), "{conditions}");
        }
    });
});

fn wanted() -> Vec<(BodyConditions, &'static str, Wanted)> {
    let integer = |number| BodyPattern::Exactly(Scalar::Integer(number));
    let text = |text: &str| Scalar::Text(text.to_owned());
    [
        ("/id", integer(12), Wanted::Literals(vec!["12"])),
        ("/id", BodyPattern::AnyOf(vec![text("a"), Scalar::Boolean(true)]), Wanted::Literals(vec!["\"a\"", "true"])),
        ("/k/id", integer(0), Wanted::Literals(vec!["0"])),
        ("/ids/1", integer(-5), Wanted::Literals(vec!["-5"])),
        ("/id", BodyPattern::Present, Wanted::Present),
        ("/ids/0/k", BodyPattern::Present, Wanted::Present),
        ("/id", BodyPattern::Absent, Wanted::Absent),
        ("/k/id", BodyPattern::Absent, Wanted::Absent),
        ("/ids/1", BodyPattern::Absent, Wanted::Absent),
        ("/k", BodyPattern::Prefix("a".to_owned()), Wanted::Prefix("a")),
        ("", integer(12), Wanted::Literals(vec!["12"])),
    ]
    .map(|(pointer, pattern, wanted)| {
        (BodyConditions::new(vec![(pointer.to_owned(), pattern)]).expect("it can be met"), pointer, wanted)
    })
    .into()
}
