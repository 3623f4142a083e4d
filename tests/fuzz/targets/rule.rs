//! Whatever is written as a rule: it is refused, or it matches what an expression made from its text matches.
//!
//! A second rule, on a second line, is held against the first: what covers matches what it covers, and what matches the
//! same overlaps.
#![no_main]

use http::Method;
use libfuzzer_sys::fuzz_target;
use ninjaone_proxy::proxy::policy::group::Group;
use ninjaone_proxy::proxy::policy::path::Segments;
use ninjaone_proxy::proxy::policy::query::Query;
use ninjaone_proxy::proxy::policy::rule::{Effect, Selector, Rule};

#[path = "../../oracle/queries.rs"]
mod queries;
#[allow(dead_code, reason = "a test asks it more")]
#[path = "../../oracle/rulebook.rs"]
mod rulebook;
#[path = "../../oracle/spelling.rs"]
mod spelling;

use rulebook::Article;

const PATHS: [&str; 10] = [
    "/v2/device/7/disks",
    "/v2/devices",
    "/v2/device",
    "/v2/user/roles",
    "/v2/tag/x",
    "/v2/a/b/c/d",
    "/v2/7",
    "/v2/7.0",
    "/v2/A/b",
    "/v2/DEVICE/7",
];
const QUERIES: [&str; 6] = ["", "df=a&showSecureValues=true", "a=1", "A=1&b", "a=1&a=2;b=1", "%61=%31&c"];

fuzz_target!(|text: &str| {
    let rules: Vec<_> = text.lines().filter_map(|line| Rule::parse(line).ok()).take(2).collect();
    for rule in &rules {
        agree(rule);
    }
    if let [one, other] = rules.as_slice() {
        compare(one, other);
        compare(other, one);
    }
});

fn matches(rule: &Rule, effect: Effect, method: &Method, path: &str, query: &str) -> bool {
    let path = Segments::parse(path).unwrap();
    rule.matches(effect, method, &path, Query::new(Some(query)), Group::find("queries"))
}

fn agree(rule: &Rule) {
    let again = Rule::parse(&rule.to_string()).unwrap();
    let article = Article::read(&rule.to_string());
    let by_path = matches!(rule.reach(), Selector::Path(_));
    for_all(|effect, method, path, query| {
        let real = matches(rule, effect, method, path, query);
        assert_eq!(real, matches(&again, effect, method, path, query));
        let holds = if effect == Effect::Allow { article.surely(query) } else { article.maybe(query) };
        if by_path {
            let reaches = article.reaches(path, effect == Effect::Deny);
            assert_eq!(real, article.has(method.as_str()) && reaches && holds, "{method} {path} {query}");
        } else {
            assert!(!real || (article.has(method.as_str()) && holds), "{method} {path} {query}");
        }
    });
}

fn compare(wide: &Rule, narrow: &Rule) {
    let (covers, overlaps) = (wide.covers(narrow), wide.overlaps(narrow));
    assert!(!covers || overlaps, "what is covered is met");
    for_all(|effect, method, path, query| {
        let real = |rule| matches(rule, effect, method, path, query);
        assert!(!covers || !real(narrow) || real(wide), "{wide} covers {narrow}: {method} {path} {query}");
        assert!(overlaps || !(real(wide) && real(narrow)), "{wide} overlaps {narrow}: {method} {path} {query}");
    });
}

fn for_all(mut check: impl FnMut(Effect, &Method, &str, &str)) {
    for path in PATHS {
        for query in QUERIES {
            for method in [Method::GET, Method::POST] {
                check(Effect::Allow, &method, path, query);
                check(Effect::Deny, &method, path, query);
            }
        }
    }
}
