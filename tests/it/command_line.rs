//! The commands: what they print, and exit codes.

use crate::harness::run_binary;
use crate::watch::SECRET;

/// A folder with a configuration file.
pub(crate) fn folder(text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("config.toml"), text).expect("a file");
    folder
}

fn run(text: &str, arguments: &[&str]) -> (i32, String, String) {
    run_binary(folder(text).path(), arguments, &[])
}

#[test]
fn the_version_and_help_are_printed_and_wrong_arguments_are_64() {
    assert_eq!(run("", &["--version"]), (0, format!("ninjaone-proxy {}\n", env!("CARGO_PKG_VERSION")), String::new()));
    let (code, help, _) = run("", &["--help"]);
    assert!(
        code == 0
            && ["run", "check", "explain", "routes", "doctor", "health", "wait", "--config", "78"]
                .iter()
                .all(|word| help.contains(word)),
        "{help}"
    );
    for arguments in [
        &["--nonsense"][..],
        &["dance"],
        &["explain"],
        &["explain", "GET", "/v2/x", "--listener", "none"],
        &["explain", "G T", "/v2/x"],
    ] {
        assert_eq!(run("", arguments).0, 64, "{arguments:?}");
    }
}

#[test]
fn a_configuration_mistake_is_78_and_starts_nothing() {
    for arguments in [&["run"][..], &["check"], &["routes"], &[]] {
        let (code, _, said) = run("[listeners.local]\nadress = \"127.0.0.1:0\"", arguments);
        assert_eq!(code, 78, "{arguments:?}");
        assert!(said.starts_with("ninjaone-proxy: config.toml:2:1: listeners.local.adress: unknown key"), "{said}");
    }
    let (code, _, said) = run("", &["--config", "missing.toml"]);
    assert_eq!(code, 78, "{said}");
    assert!(said.contains("missing.toml: the configuration cannot be read"), "{said}");
    for arguments in [&["run"][..], &["check"]] {
        let (code, _, said) = run("[log]\nlevel = \"loud\"\n[listeners.local]\naddress = \"127.0.0.1:0\"", arguments);
        assert!(code == 78 && said.contains("log.level: \"loud\" is not a log level: valid are error, "), "{said}");
    }
}

#[test]
fn a_port_in_use_is_71_and_says_what_to_do() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    for text in [
        format!("[listeners.local]\naddress = \"{address}\"\n[admin]\naddress = \"none\""),
        format!("[listeners.local]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"{address}\""),
    ] {
        let (code, _, said) = run(&text, &[]);
        assert_eq!(code, 71, "{said}");
        assert!(said.contains(&address.to_string()) && said.contains(" has the port: "), "{said}");
        if cfg!(target_os = "linux") {
            assert!(said.contains(&format!(" (pid {})", std::process::id())), "it says who has it: {said}");
        }
    }
}

#[test]
fn check_prints_what_is_in_force_and_warns_of_critical_operations_and_shows_no_secret() {
    let text = "[instances.main]\nhost = \"eu\"\nclient-id = \"id-1\"\n[listeners.local]\nscopes = [\"monitoring\", \"management\"]";
    let (code, said, error) = run_binary(folder(text).path(), &["check"], &[("NINJAONE_CLIENT_SECRET", SECRET)]);
    assert_eq!(code, 0, "{error}");
    for part in [
        "host = \"https://eu.ninjarmm.com\"",
        "eu.ninjarmm.com as client \"id-1\", secret: present",
        "286 operations are open",
        "warning: listeners.local opens POST /v2/device/{id}/decommission (device-admin, critical)",
        "POST /v2/ticketing/ticket, which NinjaOne may refuse with user_context_required",
    ] {
        assert!(said.contains(part), "{part} is missing in\n{said}");
    }
    assert!(!said.contains(SECRET));
    let (code, _, error) = run(text, &["check"]);
    assert_eq!(code, 78, "a missing secret is a mistake");
    assert!(error.contains("NINJAONE_CLIENT_SECRET is not set"), "{error}");
}

#[test]
fn check_ends_with_what_it_found_right() {
    let (code, said, _) = run("[listeners.local]\nscopes = [\"monitoring\", \"monitoring\"]", &["check"]);
    assert_eq!(code, 0);
    assert!(
        said.contains("warning: config.toml:2:25: listeners.local.scopes: \"monitoring\" is in the list twice"),
        "{said}"
    );
    let last = said.lines().last().expect("a line");
    assert!(
        last.starts_with("configuration OK, with ") && last.contains(": 1 instance, 1 listener, 0 callers; "),
        "{last}"
    );
    assert!(last.ends_with("NinjaOne was not asked: doctor does that"), "{last}");
    let (code, said, _) = run("[listeners.local]\nadress = 1", &["check"]);
    assert!(code == 78 && !said.contains("configuration OK"), "{said}");
}

/// A configuration for another machine: nothing that it names is here.
const ELSEWHERE: &str = "[instances.main]\nhost = \"eu\"\nclient-id = { credential = \"id\" }\n\
    client-secret = { command = [\"touch\", \"ran\"] }\nca-file = \"ca.pem\"\ncertificate = \"c.pem\"\nkey = \"k.pem\"\n\
    proxy = { file = \"proxy\" }\n[listeners.local]\naddress = \"unix:a.sock\"\ngroup = \"no-such-group\"\n\
    [listeners.net]\naddress = \"0.0.0.0:8443\"\ntls = { certificate = \"s.pem\", key = \"sk.pem\" }\n\
    [listeners.net.callers.a]\nkey = \"sha256:0000000000000000000000000000000000000000000000000000000000000000\"\n";

#[cfg(unix)]
#[test]
fn check_offline_needs_no_credentials_and_no_files_of_another_machine() {
    let folder = folder(ELSEWHERE);
    let (code, said, errors) = run_binary(folder.path(), &["check", "--offline"], &[("HTTPS_PROXY", "nonsense://")]);
    assert_eq!((code, errors.as_str()), (0, ""));
    assert!(!folder.path().join("ran").exists(), "no command was run");
    for key in [
        "instances.main.client-id, client-secret: not read",
        "instances.main.ca-file: ca.pem is not on this machine",
        "instances.main.key: k.pem",
        "listeners.net.tls.certificate: s.pem",
        "listeners.local.group: this system has no group",
    ] {
        assert!(said.contains(&format!("# not checked: {key}")), "{key}: {said}");
    }
    let last = said.lines().last().expect("a line");
    assert!(last.starts_with("configuration OK") && last.contains("2 listeners, 1 caller; offline: "), "{last}");
    assert_eq!(run(ELSEWHERE, &["check"]).0, 78, "with them it is not enough");
    // What the file says is checked all the same, and files that are here.
    for (right, wrong, said) in [
        ("\"eu\"", "\"us3\"", "config.toml:2:8: instances.main.host"),
        ("0.0.0.0:8443", "0.0.0.0", "listeners.net.address"),
        ("sha256:0", "sha256:", "listeners.net.callers.a.key"),
        ("key = \"k.pem\"\n", "", "certificate and key belong together"),
    ] {
        let (code, _, errors) = run(&ELSEWHERE.replacen(right, wrong, 1), &["check", "--offline"]);
        assert!(code == 78 && errors.contains(said), "{wrong}: {errors}");
    }
    std::fs::write(folder.path().join("ca.pem"), "not PEM").expect("a file");
    let (code, _, errors) = run_binary(folder.path(), &["check", "--offline"], &[]);
    assert!(code == 78 && errors.contains("instances.main.ca-file"), "{errors}");
}

#[test]
fn check_offline_takes_what_deploy_has() {
    let deploy = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    for file in ["config.toml", "compose.toml", "compose-shared.toml"] {
        let text = std::fs::read_to_string(deploy.join(file)).expect("a file");
        let folder = folder(&text.replace("sha256:...", &format!("sha256:{}", "0".repeat(64))));
        let (code, said, errors) = run_binary(folder.path(), &["check", "--offline"], &[]);
        assert!(code == 0 && said.contains("\nconfiguration OK"), "{file}: {errors}");
    }
}

#[test]
fn explain_tells_decision_operation_and_what_would_change_it() {
    let (code, said, _) = run("", &["explain", "post", "/api/v2/organizations?x=1"]);
    assert_eq!(code, 0);
    for part in [
        "request    POST /v2/organizations?x=1",
        "operation  POST /v2/organizations",
        "scope      management",
        "group      org-admin",
        "risk       high",
        "decision   refused",
        "403 scope-missing",
        "add \"management\" to scopes in [listeners.local]",
    ] {
        assert!(said.contains(part), "{part} is missing in\n{said}");
    }
    let (_, said, _) = run("", &["explain", "GET", "//v2/device/7", "--json"]);
    let told: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((&told[0]["allowed"], &told[0]["operation"]["path"]), (&true.into(), &"/v2/device/{id}".into()));
    let (_, said, _) = run("", &["explain", "GET", "/v2/devices/../users"]);
    assert!(said.contains("400 target-malformed") && said.contains("dot segment"), "{said}");
}

#[test]
fn operations_that_want_a_user_are_told_of_whatever_opens_them() {
    let text = "[listeners.local]\nscopes = [\"management\"]\ngroups = [\"tickets\"]\nallow = [\"POST /v2/device/{id}/script/run\"]";
    let (_, said, _) = run(text, &["explain", "POST", "/v2/device/7/script/run"]);
    assert!(said.contains("decision   allowed") && said.contains("(user_context_required)"), "{said}");
    let (_, said, _) = run(text, &["explain", "POST", "/v2/device/7/script/run", "--json"]);
    assert!(said.contains("\"userContext\":true"), "{said}");
    let (_, said, _) = run(text, &["routes"]);
    for (operation, why) in [
        ("script/run", "open\tallow \"POST /v2/device/{id}/script/run\""),
        ("ticket/{ticketId}/comment", "open\tscope and group"),
    ] {
        let line = said.lines().find(|line| line.contains(operation)).expect("a line");
        assert!(line.ends_with(&format!("{why}; NinjaOne may want a user (user_context_required)")), "{line}");
    }
    let (_, said, _) = run(text, &["check"]);
    assert_eq!(said.lines().filter(|line| line.contains("user_context_required")).count(), 4, "{said}");
}

#[test]
fn a_new_key_is_shown_once_with_the_lines_that_make_it_good() {
    let (code, said, _) = run("", &["key", "new", "reports"]);
    assert_eq!(code, 0);
    let key = said.lines().find_map(|line| line.strip_prefix("#   ")).expect("a key");
    assert!(key.starts_with("npk_") && key.len() == 47, "{key}");
    let hash = ninjaone_proxy::proxy::authn::key::KeyHash::of(key.as_bytes()).to_string();
    assert!(said.ends_with(&format!("[listeners.local.callers.reports]\nkey = \"{hash}\"\n")), "{said}");
    // Its output is a configuration, in which the key opens what its hash stands for.
    let told = |header: &str| run(&said, &["explain", "GET", "/v2/devices", "--header", header]).1;
    let open = told(&format!("X-Api-Key: {key}"));
    assert!(open.contains("caller     reports") && open.contains("decision   allowed"), "{open}");
    let closed = told("X-Api-Key: wrong");
    assert!(closed.contains("gate       caller") && closed.contains("401 key-wrong"), "{closed}");
}

#[test]
fn a_key_is_made_only_for_a_name_and_a_listener_that_can_be() {
    let (code, said, errors) = run("", &["key", "new", "Ticket Bot"]);
    assert_eq!((code, said.as_str()), (64, ""));
    assert!(
        errors.contains("\"Ticket Bot\" cannot be the name of a caller") && errors.contains("\"ticket-bot\""),
        "{errors}"
    );
    let two = "[listeners.tools]\naddress = \"127.0.0.1:1\"\n[listeners.desk]\naddress = \"127.0.0.1:2\"\n";
    let (code, said, errors) = run(two, &["key", "new", "a", "--listener", "tool"]);
    assert_eq!((code, said.as_str()), (64, ""));
    let named =
        "there is no listener \"tool\" in config.toml: valid listeners are desk, tools; did you mean \"tools\"?";
    assert!(errors.contains(named), "{errors}");
    let (code, _, errors) = run(two, &["key", "new", "a"]);
    assert!(code == 64 && errors.contains("--listener: desk, tools"), "{errors}");
    assert!(run(two, &["key", "new", "a", "--listener", "desk"]).1.contains("[listeners.desk.callers.a]"));
    assert!(run("[listeners.tools]", &["key", "new", "a"]).1.contains("[listeners.tools.callers.a]"));
    // Of a caller that exists only the line is printed: a table may be in a file once.
    let hash = "0".repeat(64);
    let known =
        format!("[listeners.local.callers.a]\nkey = \"sha256:{hash}\"\n[listeners.local.callers.b]\nuids = [1]\n");
    let (_, said, _) = run(&known, &["key", "new", "a"]);
    let advice = "# a is a caller already: replace the key line of [listeners.local.callers.a]";
    assert!(said.contains(advice) && !said.contains("\n[listeners"), "{said}");
    let (_, said, _) = run(&known, &["key", "new", "b"]);
    assert!(said.contains("# b is a caller already: add this line to [listeners.local.callers.b]:\nkey ="), "{said}");
}

#[test]
fn commands_that_do_not_need_the_configuration_work_with_a_broken_one() {
    let folder = folder("x");
    let document = r#"{"openapi":"3.0.1","info":{"version":"9"},"paths":{"/v2/organizations":{"get":{}}}}"#;
    std::fs::write(folder.path().join("openapi.json"), document).expect("a file");
    for arguments in [
        &["key", "new", "a"][..],
        &["key", "new", "a", "--listener", "any"],
        &["catalog", "diff", "openapi.json"],
        &["completions", "bash"],
        &["man", "pages"],
        &["--config", "missing.toml", "key", "new", "a"],
    ] {
        let (code, _, errors) = run_binary(folder.path(), arguments, &[]);
        assert_eq!((code, errors.as_str()), (0, ""), "{arguments:?}");
    }
    let (code, said, errors) = run("x", &["groups"]);
    assert_eq!((code, said.as_str()), (0, run("", &["groups"]).1.as_str()));
    assert!(errors.starts_with("ninjaone-proxy: only built-in operations are listed: config.toml:1:"), "{errors}");
}

#[test]
fn no_error_tells_a_text_twice() {
    let audit = "[audit]\nfile = \"none/a.jsonl\"";
    for (text, arguments) in [
        ("", &["catalog", "diff", "none.yaml"][..]),
        ("", &["check", "--against", "none.json"]),
        ("", &["audit", "verify", "none.jsonl"]),
        ("", &["learn", "--from", "none.json"]),
        ("", &["--config", "none.toml", "check"]),
        ("catalog-file = \"none.yaml\"", &["check"]),
        ("[log]\nlevel = \"a=b=c\"", &["check"]),
        (audit, &["run"]),
        ("[instances.main]\nhost = \"eu\"\nclient-id = { file = \"none\" }", &["check"]),
        ("[listeners.local]\naddress = \"unix:none/a.sock\"\n[admin]\naddress = \"none\"", &["run"]),
    ] {
        let (code, _, errors) = run(text, arguments);
        assert_ne!(code, 0, "{arguments:?}");
        let last = errors.lines().last().expect("an error");
        let parts: Vec<_> = last.split(": ").collect();
        let twice = parts.iter().enumerate().any(|(at, part)| parts[..at].contains(part));
        assert!(!twice && last.matches("os error").count() <= 1, "{arguments:?}: {last}");
    }
    // One place prints errors with their causes.
    let mut files = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut visited = 0;
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(std::fs::read_dir(path).expect("a folder").map(|entry| entry.expect("an entry").path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("a source");
            assert!(!text.contains(":#}"), "{}: print errors with logging::Causes", path.display());
            visited += 1;
        }
    }
    assert!(visited >= 50, "{visited} files were visited");
}

#[test]
fn manual_pages_and_completions_are_of_the_commands_that_there_are() {
    let folder = folder("no configuration is read");
    let (code, said, errors) = run_binary(folder.path(), &["man", "a/b"], &[]);
    assert_eq!((code, said, errors), (0, String::new(), String::new()));
    let page = |name: &str| std::fs::read_to_string(folder.path().join("a/b").join(name)).expect("a page");
    assert!(page("ninjaone-proxy.1").contains(".TH ninjaone-proxy 1"), "{}", page("ninjaone-proxy.1"));
    assert!(page("ninjaone-proxy-audit-verify.1").contains("Follow the chain"));
    let pages = std::fs::read_dir(folder.path().join("a/b")).expect("a folder").count();
    assert!(pages > 15, "{pages}");
    for (shell, begin) in
        [("bash", "_ninjaone"), ("zsh", "#compdef ninjaone-proxy"), ("fish", "# "), ("powershell", "\nusing ")]
    {
        let (code, said, _) = run_binary(folder.path(), &["completions", shell], &[]);
        assert!(code == 0 && said.starts_with(begin), "{said}");
        for word in ["explain", "doctor", "health", "timeout"] {
            assert!(said.contains(word), "{word} is missing for {shell}");
        }
    }
    let (code, _, errors) = run_binary(folder.path(), &["man", "config.toml"], &[]);
    assert!(code == 71 && errors.contains("the manual pages cannot be written to config.toml"), "{errors}");
}

#[test]
fn explain_tells_at_which_gate_a_request_would_stop() {
    let text = "[listeners.local]\nallowed-origins = [\"https://grafana.example\"]\nscopes = [\"monitoring\", \"management\"]\n\
                [listeners.local.callers.reports]\nuids = [1000]\nscopes = [\"monitoring\"]\n\
                [listeners.local.callers.desk]\nuids = [1001]\ngroups = [\"tickets\"]";
    let explain = |path: &str, more: &[&str]| run(text, &[&["explain", "GET", path], more].concat()).1;
    for (header, gate, reason) in [
        ("Host: evil.example", "perimeter", "421 host-not-ours"),
        ("Origin: https://evil.example", "perimeter", "403 page-not-allowed"),
        ("Sec-Fetch-Site: cross-site", "perimeter", "403 page-not-allowed"),
    ] {
        let said = explain("/v2/devices", &["--header", header, "--caller", "reports"]);
        assert!(said.contains(&format!("gate       {gate}")) && said.contains(reason), "{said}");
    }
    let said = explain("/v2/devices", &["--header", "Origin: https://grafana.example", "--caller", "reports"]);
    assert!(said.contains("decision   allowed"), "{said}");
    let said = explain("/v2/devices", &[]);
    assert!(said.contains("caller     reports") && said.contains("caller     desk"), "{said}");
    assert!(said.contains("403 group-not-open: GET /v2/devices is in the group"), "{said}");
    assert!(explain("/oauth/token", &["--caller", "desk"]).contains("gate       token endpoint"));
    let rules = "[listeners.local]\ndeny = [\"PUT /v2/users\", \"PUT /v2/devices\"]";
    let (_, said, _) = run(rules, &["explain", "GET", "/v2/devices"]);
    assert!(said.contains("\"PUT /v2/users\" in deny of [listeners.local] is for other paths\n"), "{said}");
    assert!(
        said.contains("\"PUT /v2/devices\" in deny of [listeners.local] is for other methods of this path\n"),
        "{said}"
    );
    assert_eq!(run(text, &["explain", "GET", "/v2/devices", "--caller", "none"]).0, 64);
    assert_eq!(run(text, &["explain", "GET", "/v2/devices", "--header", "nonsense"]).0, 64);
}

#[test]
fn routes_lists_the_open_operations_or_all() {
    let (code, said, _) = run("", &["routes"]);
    assert_eq!((code, said.lines().count()), (0, 140));
    assert!(said.lines().all(|line| line.contains("monitoring") && line.contains("open")));
    assert_eq!(run("", &["routes", "--all"]).1.lines().count(), 315);
    let rows: serde_json::Value = serde_json::from_str(&run("", &["routes", "--all", "--json"]).1).expect("JSON");
    assert_eq!(rows.as_array().map(Vec::len), Some(315));
}
