//! Whatever is written as a rule: it is refused, or it is read again as it is printed and matches without a panic.
#![no_main]

use http::Method;
use libfuzzer_sys::fuzz_target;
use ninjaone_proxy::policy::group::Group;
use ninjaone_proxy::policy::path::Segments;
use ninjaone_proxy::policy::query::Query;
use ninjaone_proxy::policy::rule::{Effect, Rule};

fuzz_target!(|text: &str| {
    let Ok(rule) = Rule::parse(text) else { return };
    let again = Rule::parse(&rule.to_string()).unwrap();
    for path in ["/v2/device/7/disks", "/v2/devices", "/v2/user/roles"] {
        let path = Segments::parse(path).unwrap();
        for method in [Method::GET, Method::POST] {
            for effect in [Effect::Allow, Effect::Deny] {
                let query = Query::new(Some("df=a&showSecureValues=true"));
                let matches = |rule: &Rule| rule.matches(effect, &method, &path, query, Group::find("queries"));
                assert_eq!(matches(&rule), matches(&again));
            }
        }
    }
});
