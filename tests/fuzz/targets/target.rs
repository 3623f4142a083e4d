//! Whatever target is asked for: what passes is an allowed operation under every reading of its path, and every verdict
//! is that of regular expressions made from the rules.
#![no_main]

use std::sync::{Arc, LazyLock};

use http::{Method, Uri};
use libfuzzer_sys::fuzz_target;
use ninjaone_proxy::proxy::policy::catalog::{Catalog, Scope};
use ninjaone_proxy::proxy::policy::path::Target;
use ninjaone_proxy::proxy::policy::rule::Rule;
use ninjaone_proxy::proxy::policy::{InstanceId, Policy, Rules};

#[path = "../../oracle/queries.rs"]
mod queries;
#[path = "../../oracle/readings.rs"]
mod readings;
#[allow(dead_code, reason = "a test asks it more")]
#[path = "../../oracle/rulebook.rs"]
mod rulebook;
#[path = "../../oracle/spelling.rs"]
mod spelling;

use rulebook::{Answer, Atlas, Rulebook, Texts};

const DENY: [&str; 2] = ["* /v2/users", "* /v2/device/7/**"];

static POLICY: LazyLock<Policy> = LazyLock::new(|| {
    let catalog = Arc::new(Catalog::built_in().unwrap());
    let deny = DENY.map(|rule| Rule::parse(rule).unwrap()).into();
    let scopes = [Scope::Monitoring].into_iter().collect();
    Policy::new(catalog, InstanceId(0), Rules { scopes, deny, ..Rules::default() }).unwrap()
});

static ORACLE: LazyLock<(Atlas, Rulebook)> = LazyLock::new(|| {
    let deny = DENY.map(str::to_owned).into();
    (Atlas::new(), Rulebook::new(&Texts { scopes: vec!["monitoring"], deny, ..Texts::default() }))
});

fuzz_target!(|target: &[u8]| {
    let Ok(uri) = Uri::try_from(target) else { return };
    if !uri.path().starts_with('/') {
        return;
    }
    let (atlas, book) = &*ORACLE;
    let question = atlas.understand("GET", uri.path(), uri.query());
    let plain = question.as_ref().is_some_and(|asked| book.judge(asked) == Answer::Open);
    let target = Target::canonical(&uri).ok();
    let passing = target.filter(|target| POLICY.decide(&Method::GET, target).is_ok());
    assert_eq!(passing.is_some(), plain, "{uri}");
    let Some(target) = passing else { return };
    assert_eq!(question.map(|asked| asked.path).as_deref(), Some(target.path()));
    for reading in readings::readings(target.path()) {
        assert!(readings::obviously_allowed(&reading), "{uri} is read as {reading}");
    }
});
