//! Whatever target is asked for: what passes is an allowed operation under every reading of its path.
#![no_main]

use std::sync::{Arc, OnceLock};

use http::{Method, Uri};
use libfuzzer_sys::fuzz_target;
use ninjaone_proxy::policy::catalog::{Catalog, Scope};
use ninjaone_proxy::policy::path::Target;
use ninjaone_proxy::policy::rule::Rule;
use ninjaone_proxy::policy::{InstanceId, Policy, Rules};

#[path = "../../oracle/readings.rs"]
mod readings;

fn policy() -> &'static Policy {
    static POLICY: OnceLock<Policy> = OnceLock::new();
    POLICY.get_or_init(|| {
        let catalog = Arc::new(Catalog::built_in().unwrap());
        let deny = ["* /v2/users", "* /v2/device/7/**"].map(|rule| Rule::parse(rule).unwrap()).into();
        let scopes = [Scope::Monitoring].into_iter().collect();
        Policy::new(catalog, InstanceId(0), Rules { scopes, deny, ..Rules::default() }).unwrap()
    })
}

fuzz_target!(|target: &[u8]| {
    let Ok(uri) = Uri::try_from(target) else { return };
    let Ok(target) = Target::canonical(&uri) else { return };
    if policy().decide(&Method::GET, &target).is_err() {
        return;
    }
    for reading in readings::readings(target.path()) {
        assert!(readings::obviously_allowed(&reading), "{uri} is read as {reading}");
    }
});
