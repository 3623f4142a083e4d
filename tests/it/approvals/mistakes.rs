//! What is wrong with `[approvals]`, and what to write instead.

use std::path::Path;

use ninjaone_proxy::config::Config;
use ninjaone_proxy::proxy::authn::key::KeyHash;

/// The message that a configuration text gets, from reading or from checking it.
fn mistake(text: &str) -> String {
    match Config::parse(Path::new("c.toml"), text.to_owned()) {
        Ok(config) => match config.settings() {
            Ok(_) => panic!("no mistake in\n{text}"),
            Err(mistake) => mistake.to_string(),
        },
        Err(mistake) => mistake.to_string(),
    }
}

#[test]
fn a_mistake_in_approvals_names_its_line_and_the_cure() {
    let (one, two) = (KeyHash::of(b"one"), KeyHash::of(b"two"));
    let guessed = KeyHash::of(b"lead");
    let with = |text: &str| {
        text.replace("ONE", &one.to_string()).replace("TWO", &two.to_string()).replace("LEAD", &guessed.to_string())
    };
    for (text, message, cure) in [
        ("[approvals]\nwait = \"6m\"", "c.toml:2:8: approvals.wait: too long: at most \"5m\"", ""),
        ("[approvals]\nwait = 30", "c.toml:2:8: approvals.wait: 30 is not a length of time", "did you mean \"30s\"?"),
        ("[approvals]\nexpires = \"0s\"", "c.toml:2:11: approvals.expires: \"0s\" is not a length of time", "1ms"),
        ("[approvals]\nrequired = 0", "c.toml:2:12: approvals.required: 0 is not in the range", "from 1 to 65535"),
        (
            "[approvals]\nrequired = 2",
            "c.toml:2:12: approvals.required: 2 different approvers must say yes, and there is no approver",
            "[approvals.approvers.NAME]",
        ),
        (
            "[approvals]\nrequired-critical = 2\napprovers.lead.key = \"ONE\"",
            "c.toml:2:21: approvals.required-critical: 2 different approvers must say yes, and there is one approver",
            "write a smaller number",
        ),
        (
            "[approvals.approvers.lead]\n",
            "c.toml:1:22: approvals.approvers.lead: the approver lead has nothing to prove who it is",
            "key new lead --approver",
        ),
        (
            "[approvals]\napprovers.lead.key = \"hunter2\"",
            "c.toml:2:22: approvals.approvers.lead.key: this is not a key hash",
            "key new NAME",
        ),
        (
            "[approvals]\napprovers.lead.key = \"LEAD\"",
            "c.toml:2:22: approvals.approvers.lead.key: this is the hash of a key that is guessed at once",
            "key new lead --approver",
        ),
        (
            "[approvals]\napprovers.\"a b\".key = \"ONE\"",
            "c.toml:2:11: approvals.approvers.a b: \"a b\" is not a valid name",
            "use letters, digits",
        ),
        (
            "[approvals]\napprovers.lead.key = \"ONE\"\napprovers.other.key = \"ONE\"",
            "c.toml:3:17: approvals.approvers.other.key: the approver lead has the same key",
            "key new other --approver",
        ),
        (
            "[approvals]\napprovers.lead.key = \"ONE\"\n[listeners.local.callers.lead]\nkey = \"TWO\"",
            "c.toml:2:11: approvals.approvers.lead: listeners.local has a caller of this name",
            "rename one of them",
        ),
        (
            "[approvals]\napprovers.lead.key = \"ONE\"\n[listeners.local.callers.agent]\nkey = \"ONE\"",
            "c.toml:2:16: approvals.approvers.lead.key: the caller agent of listeners.local has the same key",
            "key new lead --approver",
        ),
        (
            "[admin]\naddress = \"none\"\n[approvals]\napprovers.lead.key = \"ONE\"",
            "c.toml:4:11: approvals.approvers.lead: approvers decide at the admin listener",
            "\"127.0.0.1:9180\"",
        ),
        (
            "[approvals]\nnotify = \"hooks.example\"",
            "c.toml:2:10: approvals.notify: this is not a URL",
            "https://hooks.example/T000/B000",
        ),
        (
            "[approvals]\nnotify = \"http://hooks.example/x\"",
            "c.toml:2:10: approvals.notify: over http, everybody on the way could read the address",
            "write https://",
        ),
        ("[approvals]\nnotify = \"ftp://127.0.0.1/\"", "c.toml:2:10: approvals.notify: this is not an https URL", ""),
        (
            "[approvals]\nnotify = { env = \"NO_SUCH_VARIABLE\" }",
            "c.toml:2:10: approvals.notify: the environment variable NO_SUCH_VARIABLE is not set",
            "",
        ),
        ("[approvals]\nnotfy = \"x\"", "c.toml:2:1: approvals.notfy: unknown key", "did you mean \"notify\"?"),
        (
            "[approvals.approvers.lead]\nkeys = \"x\"",
            "c.toml:2:1: approvals.approvers.lead.keys: unknown key",
            "did you mean \"key\"?",
        ),
    ] {
        let said = mistake(&with(text));
        assert!(said.starts_with(message), "{text}\n said: {said}\n not:  {message}");
        assert!(said.contains(cure), "{text}\n said: {said}\n without: {cure}");
    }
}

#[test]
fn the_address_of_a_webhook_is_shown_nowhere() {
    for address in ["https://hooks.example/hunter2", "http://hooks.example/hunter2", "hunter2", "ftp://x/hunter2"] {
        let text = format!("[approvals]\nnotify = {address:?}\n");
        let config = Config::parse(Path::new("c.toml"), text.clone()).expect("it can be read");
        let written = toml::to_string(&config.file).expect("TOML");
        assert!(written.contains("notify = \"***\"") && !written.contains("hunter2"), "{written}");
        let said = config.settings().map_or_else(|mistake| mistake.to_string(), |settings| format!("{settings:?}"));
        assert!(!said.contains("hunter2"), "{said}");
    }
    for broken in ["notify = https://hooks.example/hunter2", "notify = [\"https://hooks.example/hunter2\"]"] {
        let said = mistake(&format!("[approvals]\n{broken}\n"));
        assert!(!said.contains("hunter2"), "{said}");
    }
}
