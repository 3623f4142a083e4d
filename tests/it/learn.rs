//! Observing, learning, and rules that are proved against what was recorded.

use std::path::Path;

use ninjaone_proxy::proxy::authn::key::KeyHash;

use crate::harness::{Proxy, eventually, run_binary};

const BOTH: &str = "scopes = [\"monitoring\", \"management\"]";

/// What the binary says to a configuration in `folder`.
fn run(folder: &Path, text: &str, arguments: &[&str]) -> (i32, String, String) {
    std::fs::write(folder.join("config.toml"), text).expect("a file");
    run_binary(folder, arguments, &[])
}

/// Uses a proxy that observes, and returns the record.
fn observed(listener: &str, rest: &str, used: impl FnOnce(&Proxy)) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("used.json");
    let mut proxy = Proxy::start(
        "host = \"sandbox\"",
        &format!("mode = \"observe\"\n{listener}"),
        &format!("{rest}\n[learn]\nfile = {file:?}"),
    );
    used(&proxy);
    proxy.shut_down().join().expect("an end");
    std::fs::read_to_string(file).expect("a record")
}

#[test]
fn an_observing_listener_lets_pass_what_its_scopes_permit_and_notes_what_its_rules_close() {
    let record = observed("groups = [\"queries\"]\ndeny = [\"GET /v2/queries/disks\"]", "", |proxy| {
        for path in [
            "/v2/queries/software",
            "/v2/queries/disks",
            "/v2/devices?pageSize=3",
            "/v2/device/1",
            "/v2/users",
            "/v2/queries/custom-fields?showSecureValues=true",
        ] {
            assert_eq!(proxy.get(path).status, 200, "{path}");
        }
        assert_eq!(proxy.send("POST", "/v2/organizations", "", b"{}").code(), "scope-missing");
        assert_eq!(proxy.get("/v2/nope").code(), "operation-unknown");
        let metrics = || crate::harness::request(proxy.admin, "GET", "/metrics", "", b"");
        let noted = "ninjaone_proxy_overruled_total{code=\"group-not-open\",listener=\"local\"} 3";
        eventually("the count", || String::from_utf8_lossy(&metrics().body).contains(noted));
    });
    let record: serde_json::Value = serde_json::from_str(&record).expect("JSON");
    let lines = record["used"].as_array().expect("lines");
    let of = |operation: &str| lines.iter().find(|line| line["operation"] == operation).cloned().unwrap_or_default();
    assert_eq!(lines.len(), 6, "{record}");
    assert_eq!(of("GET /v2/device/{id}")["requests"], 1, "the template, not the id");
    assert_eq!(
        (&of("GET /v2/queries/software")["overruled"], &of("GET /v2/users")["overruled"]),
        (&0.into(), &1.into())
    );
    assert_eq!(of("GET /v2/queries/custom-fields")["secure-values"], 1);
    let text = record.to_string();
    assert!(!text.contains("pageSize") && !text.contains("showSecure"), "no query: {text}");
}

#[test]
fn an_enforcing_listener_records_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("used.json");
    let mut proxy = Proxy::start("host = \"sandbox\"", "mode = \"enforce\"", &format!("[learn]\nfile = {file:?}"));
    assert_eq!(proxy.get("/v2/devices").status, 200);
    assert_eq!(proxy.get("/v2/users").status, 403);
    proxy.shut_down().join().expect("an end");
    assert!(!file.exists());
}

#[test]
fn what_was_learnt_passes_and_nothing_else() {
    const USED: [(&str, &str); 6] = [
        ("GET", "/v2/devices"),
        ("GET", "/v2/device/1/disks"),
        ("GET", "/v2/users"),
        ("GET", "/v2/queries/custom-fields?showSecureValues=true"),
        ("PATCH", "/v2/device/1/custom-fields"),
        ("GET", "/v2/new-thing/7"),
    ];
    let use_all = |proxy: &Proxy| USED.map(|(method, path)| proxy.send(method, path, "", b"{}").status);
    let today = format!("{BOTH}\nallow = [\"GET /v2/new-thing/{{id}}\"]");
    let mut seen = [0; 6];
    let record = observed(&today, "", |proxy| seen = use_all(proxy));

    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("used.json"), record).expect("a file");
    let text = format!("[listeners.local]\nmode = \"observe\"\n{today}\n[learn]\nfile = \"used.json\"");
    let (code, learnt, error) = run(folder.path(), &text, &["learn"]);
    assert_eq!(code, 0, "{error}");
    for part in [
        "[listeners.local]\nmode = \"enforce\"\nscopes = [\"monitoring\", \"management\"]\ngroups = [\"none\"]",
        "\"PATCH /v2/device/{id}/custom-fields\",  # custom-field-values, medium",
        "\"GET /v2/queries/custom-fields?showSecureValues\",  # values of secure fields, CRITICAL",
        "\"GET /v2/new-thing/{id}\",  # not in the catalogue",
        "# - mode = \"observe\"",
        "# closes 282 of 286 open operations: 8 critical, ",
        "# opens GET /v2/users (users-and-roles, medium), which is closed today",
    ] {
        assert!(learnt.contains(part), "{part} is missing in\n{learnt}");
    }

    // The printed rules, pasted.
    let listener = learnt.split_once("[listeners.local]\n").expect("a table").1;
    let proxy = Proxy::sandboxed(listener);
    assert_eq!(use_all(&proxy), seen);
    for (method, path) in [("GET", "/v2/organizations"), ("POST", "/v2/organizations"), ("GET", "/v2/device/1")] {
        assert_eq!(proxy.send(method, path, "", b"{}").code(), "group-not-open", "{method} {path}");
    }

    let (code, said, _) =
        run(folder.path(), &format!("[listeners.local]\n{listener}"), &["check", "--against", "used.json"]);
    assert_eq!((code, said.contains("recorded use in used.json: 6 of 6 would pass")), (0, true), "{said}");
    let narrower = format!("[listeners.local]\n{}", listener.replace("\"GET /v2/users\"", "\"GET /v2/roles\""));
    let (code, said, error) = run(folder.path(), &narrower, &["check", "--against", "used.json"]);
    assert_eq!(code, 1, "{error}");
    assert!(said.contains("would be refused: listeners.local: GET /v2/users (1 request): group-not-open"), "{said}");
    let (code, said, _) = run(folder.path(), "[listeners.other]", &["check", "--against", "used.json"]);
    assert!(code == 1 && said.contains("GET /v2/users (1 request): not in the configuration"), "{said}");
}

#[test]
fn callers_are_learnt_one_by_one_and_together() {
    let key = |name: &str| ninjaone_proxy::proxy::authn::key::KeyHash::of(format!("{name}-key").as_bytes());
    let callers: String = ["reports", "desk"]
        .iter()
        .map(|name| format!("[listeners.local.callers.{name}]\nkey = \"{}\"\n", key(name)))
        .collect();
    let record = observed(BOTH, &callers, |proxy| {
        assert_eq!(proxy.send("GET", "/v2/devices", "X-Api-Key: reports-key\r\n", b"").status, 200);
        assert_eq!(proxy.send("GET", "/v2/locations", "X-Api-Key: desk-key\r\n", b"").status, 200);
    });
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("used.json"), record).expect("a file");
    let text = format!("[listeners.local]\nmode = \"observe\"\n{BOTH}\n{callers}");
    let (code, learnt, error) = run(folder.path(), &text, &["learn", "--from", "used.json"]);
    assert_eq!(code, 0, "{error}");
    let table = |name: &str| {
        learnt.split_once(&format!("[{name}]\n")).expect("a table").1.split_once("\n]").expect("its end").0
    };
    for (name, devices, locations) in [
        ("listeners.local", true, true),
        ("listeners.local.callers.reports", true, false),
        ("listeners.local.callers.desk", false, true),
    ] {
        let own = table(name);
        assert_eq!((own.contains("/v2/devices"), own.contains("/v2/locations")), (devices, locations), "{name}\n{own}");
    }
    let (_, json, _) = run(folder.path(), &text, &["learn", "--from", "used.json", "--caller", "desk", "--json"]);
    let told: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let desk = told.as_array().expect("lessons").iter().find(|lesson| lesson["caller"] == "desk").expect("of desk");
    assert_eq!(desk["allow"][0]["operations"][0], "GET /v2/locations");
}

#[test]
fn a_record_that_is_missing_or_none_is_told_with_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = "[learn]\nfile = \"used.json\"";
    let (code, _, error) = run(folder.path(), text, &["learn"]);
    assert!(code == 65 && error.contains("set mode = \"observe\" on a listener"), "{error}");
    std::fs::write(folder.path().join("used.json"), "[]").expect("a file");
    let (code, _, error) = run(folder.path(), text, &["learn"]);
    assert!(code == 65 && error.contains("is not a record of used operations"), "{error}");
    let (code, said, _) =
        run(folder.path(), "[listeners.local]\nmode = \"observe\"\n[learn]\nfile = \"used.json\"", &["check"]);
    assert!(code == 0 && said.contains("only observes its rules"), "{said}");
}

#[test]
fn what_was_not_learnt_is_refused_once_the_rules_are_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let used = folder.path().join("used.json");
    let learn = format!("[learn]\nfile = {used:?}\n");
    let mut proxy = Proxy::start("host = \"sandbox\"", "mode = \"observe\"", &learn);
    assert_eq!((proxy.get("/v2/devices").status, proxy.get("/v2/users").status), (200, 200));
    proxy.shut_down().join().expect("an end");
    let record = std::fs::read_to_string(&used).expect("a record");

    // Only the devices are what the tool needs.
    let mut record: serde_json::Value = serde_json::from_str(&record).expect("JSON");
    record["used"].as_array_mut().expect("lines").retain(|line| line["operation"] == "GET /v2/devices");
    std::fs::write(&used, record.to_string()).expect("a file");
    let text = format!("[listeners.local]\naddress = \"127.0.0.1:0\"\nmode = \"observe\"\n{learn}");
    let (code, said, error) = run(folder.path(), &text, &["learn", "--write"]);
    assert_eq!((code, said.contains("# + mode = \"enforce\"")), (0, true), "{said}{error}");

    let written = std::fs::read_to_string(folder.path().join("config.toml")).expect("a file");
    assert!(written.contains("mode = \"enforce\"") && !written.contains("observe"), "{written}");
    let listener = written.split_once("\"127.0.0.1:0\"\n").expect("keys").1.split_once("[learn]").expect("its end").0;
    let proxy = Proxy::sandboxed(listener);
    assert_eq!(proxy.get("/v2/devices").status, 200);
    assert_eq!(proxy.get("/v2/users").code(), "group-not-open");
}

#[test]
fn what_was_learnt_is_written_into_the_file_and_nothing_else_is_changed() {
    let record = r#"{"version":1,"used":[
        {"listener":"local","operation":"GET /v2/devices","requests":3},
        {"listener":"local","operation":"GET /v2/users","requests":1}]}"#;
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("used.json"), record).expect("a file");
    let written = || std::fs::read_to_string(folder.path().join("config.toml")).expect("a file");
    let text = "# ours\n[listeners.local] # the tool\naddress = \"127.0.0.1:0\" # any\ngroups = []   # all\n\n[log]\n";
    let learn = |text: &str, more: &[&str]| {
        let arguments = [&["learn", "--from", "used.json", "--write"], more].concat();
        run(folder.path(), text, &arguments)
    };
    let (code, said, error) = learn(text, &[]);
    assert_eq!(code, 0, "{error}");
    assert!(said.contains("wrote the rules of [listeners.local]"), "{said}");
    let now = written();
    for kept in [
        "# ours\n[listeners.local] # the tool\n",
        "address = \"127.0.0.1:0\" # any\ngroups = [\"none\"]   # all\nscopes = [\"monitoring\"]\n",
        "deny = []\n\n[log]",
    ] {
        assert!(now.contains(kept), "{now}");
    }
    assert!(now.contains("\"GET /v2/users\",  # users-and-roles, medium"), "{now}");
    let (code, said, _) = run(folder.path(), &now, &["check", "--against", "used.json"]);
    assert_eq!((code, said.contains("2 of 2 would pass")), (0, true), "{said}");

    // As a caller that is not there yet: with a key, below a listener that must open as much.
    let (code, said, error) = learn(text, &["--as-caller", "tool"]);
    assert_eq!((code, said.contains("# The key of tool.")), (0, true), "{said}{error}");
    let now = written();
    assert!(now.contains("[listeners.local.callers.tool]\nkey = \"sha256:"), "{now}");
    let (code, explained, _) = run(folder.path(), &now, &["explain", "GET", "/v2/users", "--caller", "tool"]);
    assert!(code == 0 && explained.contains("decision   allowed"), "{explained}");
    let (_, explained, _) = run(folder.path(), &now, &["explain", "GET", "/v2/locations", "--caller", "tool"]);
    assert!(explained.contains("decision   refused"), "{explained}");

    // A listener that observes and is open wide enough keeps its rules, and enforces them from now on.
    let observing = text.replace(
        "groups = []   # all",
        "mode = \"observe\" # for now\ngroups = [\"users-and-roles\", \"devices-read\"]",
    );
    let (code, said, error) = learn(&observing, &["--as-caller", "tool"]);
    assert_eq!((code, said.contains("wrote the mode of [listeners.local]")), (0, true), "{said}{error}");
    assert!(said.contains("# from now on the listener enforces its rules, for all of its callers"), "{said}");
    let now = written();
    let kept = "mode = \"enforce\" # for now\ngroups = [\"users-and-roles\", \"devices-read\"]\n";
    assert!(now.contains(kept), "{now}");

    // What is printed can be pasted behind a configuration without the caller.
    let (code, printed, _) = run(folder.path(), text, &["learn", "--from", "used.json", "--as-caller", "tool"]);
    let caller = printed.split_once("[listeners.local.callers.tool]").expect("a table").1;
    assert_eq!(code, 0);
    let (code, _, error) = run(folder.path(), &format!("{text}\n[listeners.local.callers.tool]{caller}"), &["check"]);
    assert_eq!(code, 0, "{error}");

    // A caller that used nothing keeps rules that the listener would no longer permit.
    let keys = ["no-word-1", "no-word-2"].map(|key| format!("key = \"{}\"", KeyHash::of(key.as_bytes())));
    let [one, other] = keys;
    let callers = format!(
        "[listeners.local]\naddress = \"127.0.0.1:0\"\n{BOTH}\n[listeners.local.callers.a]\n{one}\n\
         [listeners.local.callers.b]\n{other}\nallow = [\"POST /v2/organizations\"]\n"
    );
    let (code, _, error) = learn(&callers, &[]);
    assert!(code == 78 && !error.contains("config.toml:"), "no line of a text that is not there: {error}");
    assert!(error.contains("no use is recorded of") && error.contains("[listeners.local.callers.b]"), "{error}");
    assert_eq!(written(), callers);

    // A form that cannot be edited line by line is left as it is.
    let inline = "listeners.local = { address = \"127.0.0.1:0\" }\n";
    let (code, _, error) = learn(inline, &[]);
    assert!(code == 78 && error.contains("cannot be changed safely"), "{error}");
    assert_eq!(written(), inline);
}
