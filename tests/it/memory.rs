//! A decision takes no memory, whatever is asked and whatever the answer.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::{Method, Uri};
use ninjaone_proxy::proxy::policy::catalog::{Catalog, Scope};
use ninjaone_proxy::proxy::policy::path::Target;
use ninjaone_proxy::proxy::policy::rule::Rule;
use ninjaone_proxy::proxy::policy::rule_trace;
use ninjaone_proxy::proxy::policy::{InstanceId, Policy, Rules};

fn policy(catalog: &Arc<Catalog>, scopes: &[Scope], allow: &[&str], deny: &[&str]) -> Policy {
    let rules = |texts: &[&str]| texts.iter().map(|text| Rule::parse(text).expect("a rule")).collect();
    let scopes = scopes.iter().copied().collect();
    let rules = Rules { scopes, allow: rules(allow), deny: rules(deny), ..Rules::default() };
    Policy::new(Arc::clone(catalog), InstanceId(0), rules).expect("a policy")
}

/// What is asked, and what comes of it.
const ASKED: [(&str, &str, &str); 31] = [
    ("GET", "/v2/devices?pageSize=100&after=2718&df=class%20in%20(A)", "open"),
    ("HEAD", "/v2/devices", "open"),
    ("GET", "/ws/api/v2/device/7/disks", "open"),
    ("GET", "//api/v2/devices", "open"),
    ("GET", "/v2/custom-fields/field-name/B%C3%BCro%20(1)", "open"),
    ("GET", "/v2/new-thing/9?a=%31", "open"),
    ("GET", "/v2/automation/scripts", "group"),
    ("GET", "/v2/users", "open"),
    ("GET", "/v2/queries/disks?df=%73ecret", "rule"),
    ("GET", "/v2/device/12/disks", "rule"),
    ("GET", "/v2/queries/custom-fields?showSecureValues=false", "open"),
    ("GET", "/v2/queries/custom-fields?%2553howSecureValues=true", "secure values"),
    ("POST", "/v2/device/7/reboot/NORMAL", "scope"),
    ("POST", "/v2/new-thing/9", "scope"),
    ("DELETE", "/v2/devices", "method"),
    ("GET", "/v2/nothing", "unknown"),
    ("GET", "/v2/%6eothing/B%C3%BCro", "unknown"),
    ("GET", "/v2/device/7/../users", "malformed"),
    ("GET", "/v2/device/7%2fdisks", "malformed"),
    ("GET", "/v2/%64evices", "malformed"),
    ("GET", "/v2/device/%ff", "malformed"),
    ("GET", "/v2/device/7;x/disks", "malformed"),
    ("GET", "/v2/device/007/disks", "malformed"),
    ("GET", "/v2/device/%D9%A7/disks", "malformed"),
    ("GET", "/v2/device/7.0/disks", "malformed"),
    ("GET", "/v2/Devices", "malformed"),
    ("DELETE", "/v2/alert/3F2C8A9E-0000-4000-8000-00000000ABCD", "malformed"),
    ("GET", "/v2/device/abc", "unknown"),
    ("GET", "/v2/queries/disks?df=a%26%26b&x=%26df%3Dsecret", "rule"),
    ("GET", "/v2/attachment/B%C3%BCro", "open"),
    ("GET", "/v2/device/012/disks", "malformed"),
];

#[test]
fn a_decision_takes_no_memory() {
    use ninjaone_proxy::proxy::policy::{DenyReason, PolicyRefusal};
    let catalog = Arc::new(Catalog::built_in().expect("good"));
    let both = [Scope::Monitoring, Scope::Management];
    let allow = ["GET /v2/users", "* /v2/new-thing/{id}", "GET /v2/user/7?df=1&!a"];
    let deny = ["GET /v2/queries/*?df=secret", "* /v2/device/12/**", "DELETE group:tags-itam?a"];
    let caller = policy(&catalog, &[Scope::Monitoring], &allow, &deny);
    let caller = caller.within(Arc::new(policy(&catalog, &both, &allow, &deny))).expect("no more scopes");
    let mut kinds = BTreeSet::new();
    for (method, text, expected) in ASKED {
        let (method, uri): (Method, Uri) = (method.parse().expect("a method"), text.parse().expect("a target"));
        let mut outcome = None;
        let taken = allocation_counter::measure(|| {
            outcome = Some(Target::canonical(&uri).map(|target| caller.decide(&method, &target)));
        });
        let kind = match outcome.expect("asked").expect("a target") {
            Ok(_) => "open",
            Err(PolicyRefusal::Malformed(_)) => "malformed",
            Err(PolicyRefusal::UnknownOperation) => "unknown",
            Err(PolicyRefusal::MethodNotAllowed { .. }) => "method",
            Err(PolicyRefusal::Closed(closed)) => match closed.barrier {
                DenyReason::Scope { .. } => "scope",
                DenyReason::Group(_) => "group",
                DenyReason::Rule(_) => "rule",
                DenyReason::SecureValues => "secure values",
                DenyReason::TenantWide(_) => "tenant-wide",
                DenyReason::Conditions(_) => "conditions",
            },
        };
        assert_eq!((kind, taken.count_total), (expected, 0), "{method} {text}");
        kinds.insert(kind);
    }
    assert_eq!(kinds.len(), 8);
}

/// The rules are not copied one by one: every refusal tells what would have opened the request.
#[test]
fn what_would_open_a_request_takes_as_many_allocations_with_one_rule_and_with_a_thousand() {
    let catalog = Arc::new(Catalog::built_in().expect("good"));
    let taken = |rules: usize, text: &str| {
        let deny: Vec<String> = (0..rules).map(|number| format!("* /v2/device/{}", number + 2)).collect();
        let deny: Vec<&str> = deny.iter().map(String::as_str).collect();
        let policy = policy(&catalog, &[Scope::Monitoring], &[], &deny);
        let uri: Uri = text.parse().expect("a target");
        let target = Target::canonical(&uri).expect("a target");
        let taken = allocation_counter::measure(|| {
            let changes = rule_trace::turn(&policy, &Method::GET, &target);
            assert_eq!(changes.len(), 1, "{text}");
        });
        taken.count_total
    };
    for text in ["/v2/nothing", "/v2/users", "/v2/device/2"] {
        let (one, thousand) = (taken(1, text), taken(1000, text));
        // A list of a thousand has grown some times.
        assert!(thousand <= one + 40, "{text}: {one} allocations with one rule, {thousand} with a thousand");
    }
}
