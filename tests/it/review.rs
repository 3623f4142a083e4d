//! What `check` says of rules and groups that do not do what somebody who wrote them would expect.

use std::path::Path;

use ninjaone_proxy::config::Config;
use ninjaone_proxy::proxy::policy::review::review;

const BOTH: &str = "scopes = [\"monitoring\", \"management\"]\n";

/// A listener's rules, and the warning about them.
const FINDINGS: [(&str, &str); 30] = [
    // Groups.
    ("groups = [\"queries\", \"queries\"]", "\"queries\" in groups is there twice"),
    ("groups = [\"webhooks\"]", "\"webhooks\" in groups opens nothing: its operations need the scope management"),
    (
        "groups = [\"org-admin\", \"queries\"]",
        "\"org-admin\" in groups opens nothing: its operations need the scope management",
    ),
    ("groups = [\"unclassified\"]", "\"unclassified\" in groups opens nothing: the catalogue has no operation in it"),
    ("groups = [\"alerts\"]\ndeny = [\"* /v2/**\"]", "\"alerts\" in groups opens nothing: deny closes all of it"),
    (
        "groups = [\"alerts\", \"secure-values\"]",
        "\"secure-values\" in groups opens nothing: no operation is open that has values",
    ),
    // Shadows.
    (
        "groups = [\"none\"]\nallow = [\"GET /v2/devices\", \"GET /v2/devices\"]",
        "\"GET /v2/devices\" in allow is shadowed: the rule \"GET /v2/devices\" of allow",
    ),
    (
        "groups = [\"none\"]\nallow = [\"GET /v2/device/7\", \"GET /v2/device/{id}\"]",
        "\"GET /v2/device/7\" in allow is shadowed: the rule \"GET /v2/device/{id}\"",
    ),
    (
        "groups = [\"none\"]\nallow = [\"GET /v2/device/**\", \"GET /v2/device/{id}/disks\"]",
        "\"GET /v2/device/{id}/disks\" in allow is shadowed: the rule \"GET /v2/device/**\"",
    ),
    (
        "groups = [\"none\"]\nallow = [\"GET /v2/devices\", \"GET /v2/devices?df\"]",
        "\"GET /v2/devices?df\" in allow is shadowed",
    ),
    (
        "groups = [\"none\"]\nallow = [\"group:alerts\", \"GET group:alerts\"]",
        "\"GET group:alerts\" in allow is shadowed: the rule \"group:alerts\"",
    ),
    (
        "deny = [\"* /v2/user/**\", \"GET /v2/user/roles\"]",
        "\"GET /v2/user/roles\" in deny is shadowed: the rule \"* /v2/user/**\" of deny",
    ),
    // Rules that allow nothing.
    (
        "groups = [\"none\"]\nallow = [\"GET /v2/devices\"]\ndeny = [\"* /v2/devices\"]",
        "\"GET /v2/devices\" in allow allows nothing: the rule \"* /v2/devices\" of deny closes",
    ),
    (
        "groups = [\"none\"]\nallow = [\"* /v2/tag\"]\ndeny = [\"GET /v2/tag\", \"POST group:tags-itam\"]",
        "\"* /v2/tag\" in allow allows nothing: the rules of deny close",
    ),
    ("allow = [\"GET /v2/devices\"]", "\"GET /v2/devices\" in allow adds nothing: scopes and groups open it already"),
    ("groups = [\"queries\"]\nallow = [\"group:queries\"]", "\"group:queries\" in allow adds nothing"),
    (
        "groups = [\"none\"]\nallow = [\"GET /v2/automation/*\"]",
        "\"GET /v2/automation/*\" in allow allows nothing: what it matches is in scripts, which stays closed unless it is named",
    ),
    ("groups = [\"none\"]\nallow = [\"GET /v2/*\"]", "\"GET /v2/*\" in allow leaves closed what is in users-and-roles"),
    (
        "groups = [\"none\"]\nallow = [\"GET /v2/user/**\"]",
        "\"GET /v2/user/**\" in allow leaves closed what is in users-and-roles",
    ),
    (
        "groups = [\"none\"]\nallow = [\"group:secure-values\"]",
        "\"group:secure-values\" in allow opens nothing: no operation is open",
    ),
    (
        "groups = [\"none\"]\nallow = [\"* /v2/tag\"]",
        "\"* /v2/tag\" in allow matches operations that stay closed (1), as they need the scope management",
    ),
    // Rules that can never match.
    (
        "allow = [\"POST group:queries\"]",
        "\"POST group:queries\" in allow can never match: no operation of queries has this method",
    ),
    (
        "deny = [\"DELETE group:tickets\"]",
        "\"DELETE group:tickets\" in deny can never match: no operation of tickets has this method",
    ),
    (
        "allow = [\"GET /v2/device/abc/disks\"]",
        "matches no known operation: GET /v2/device/{id}/disks has a number where \"abc\" is",
    ),
    (
        "deny = [\"POST /v2/device/{id}/reboot/SOFT\"]",
        "POST /v2/device/{id}/reboot/{mode} has one of NORMAL, FORCED where \"SOFT\" is",
    ),
    ("deny = [\"DELETE /v2/devices\"]", "\"DELETE /v2/devices\" in deny matches no known operation: this path has GET"),
    (
        "deny = [\"GET /v2/usr/roles\"]",
        "\"GET /v2/usr/roles\" in deny matches no known operation: did you mean \"GET /v2/user/roles\"?",
    ),
    ("deny = [\"* /v2/something-else\"]", "\"* /v2/something-else\" in deny matches no known operation"),
    // Rules beyond the catalogue.
    (
        "allow = [\"GET /v2/new-thing/{id}\"]",
        "\"GET /v2/new-thing/{id}\" in allow opens operations that the catalogue does not know",
    ),
    (
        "allow = [\"GET /v2/new-thing/{id}/**\", \"GET /v2/device/**\"]",
        "\"GET /v2/device/**\" in allow opens operations that the catalogue does not know, by its **",
    ),
];

/// Rules about which nothing is to be said.
const FINE: [&str; 8] = [
    "",
    "groups = [\"queries\", \"secure-values\"]",
    "groups = [\"none\"]\nallow = [\"GET /v2/devices\", \"GET /v2/device/{id}\"]",
    "groups = [\"none\"]\nallow = [\"GET /v2/*\", \"GET /v2/users\"]\ndeny = [\"GET /v2/device/7\"]",
    "groups = [\"none\"]\nallow = [\"GET /v2/queries/custom-fields?showSecureValues=true\", \"GET /v2/queries/custom-fields\"]",
    "allow = [\"GET group:scripts\"]",
    "deny = [\"group:secure-values\", \"* /v2/user/**\"]",
    "allow = [\"GET /v2/new-thing\"]\ndeny = [\"GET /v2/new-thing?all\"]",
];

fn findings(listener: &str) -> Vec<String> {
    let text = format!("[listeners.local]\n{listener}");
    let config = Config::parse(Path::new("c.toml"), text).expect("a configuration");
    let settings = config.settings().unwrap_or_else(|mistake| panic!("{listener}: {mistake}"));
    review(&settings.listeners[0].policy).iter().map(ToString::to_string).collect()
}

#[test]
fn check_warns_of_rules_that_do_not_do_what_they_say() {
    for (listener, wanted) in FINDINGS {
        let found = findings(listener);
        assert!(found.iter().any(|finding| finding.contains(wanted)), "{listener}\n said: {found:#?}\n not:  {wanted}");
        println!("{}\n    {}", listener.replace('\n', "; "), found.join("\n    "));
    }
}

#[test]
fn check_warns_of_what_a_listener_closes_to_its_callers() {
    let text = "[listeners.local]\ngroups = [\"queries\"]\ndeny = [\"* /v2/nothing-known\"]\n\
                [listeners.local.callers.desk]\nuids = [1]\ngroups = [\"alerts\", \"queries\"]\nallow = [\"GET /v2/devices\"]";
    let config = Config::parse(Path::new("c.toml"), text.to_owned()).expect("a configuration");
    let settings = config.settings().expect("settings");
    let found: Vec<_> = review(&settings.listeners[0].callers[0].policy).iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "\"alerts\" in groups opens nothing: the listener closes all of it",
            "\"GET /v2/devices\" in allow opens nothing: the listener closes all of it",
        ]
    );
}

#[test]
fn check_says_nothing_of_rules_that_are_fine() {
    for listener in FINE {
        let found: Vec<_> =
            findings(listener).into_iter().filter(|finding| !finding.contains("leaves closed")).collect();
        let expected = usize::from(listener.contains("new-thing\"]"));
        assert_eq!(found.len(), expected, "{listener}\n{found:#?}");
    }
    assert_eq!(findings(&format!("{BOTH}groups = [\"webhooks\", \"org-admin\"]")), Vec::<String>::new());
}
