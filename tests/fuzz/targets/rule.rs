//! Whatever is written as a rule: it is refused, or it is read again as it is printed and matches without a panic.
#![no_main]

use http::Method;
use libfuzzer_sys::fuzz_target;
use ninjaone_proxy::policy::path::Segments;
use ninjaone_proxy::policy::rule::Rule;

fuzz_target!(|text: &str| {
    let Ok(rule) = Rule::parse(text) else { return };
    let again = Rule::parse(&rule.to_string()).unwrap();
    for path in ["/v2/device/7/disks", "/v2/devices", "/v2/user/roles"] {
        let path = Segments::parse(path).unwrap();
        for method in [Method::GET, Method::POST] {
            assert_eq!(rule.matches(&method, &path), again.matches(&method, &path));
        }
    }
});
