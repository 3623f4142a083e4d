//! `doctor`: what it finds in healthy and in broken places, and what it advises.

use std::net::TcpListener;
use std::path::Path;

use ninjaone_proxy::proxy::policy::catalog::Scope;
use ninjaone_proxy::sandbox::TOKEN_MARK;
use serde_json::Value;

use crate::harness::{Ninja, Scripted, Then, answer, run_binary};
use crate::tls::{GOOD, Leaf, Secure};
use crate::watch::{SCRIPTED_TOKEN, SECRET};

/// What doctor said.
struct Visit {
    code: i32,
    text: String,
    report: Value,
}

impl Visit {
    /// A visit to `instance` (TOML, credentials apart) with a listener of these scopes.
    fn to(instance: &str, scopes: &[&str]) -> Self {
        let credentials = "client-id = \"sandbox\"\nclient-secret = { file = \"secret\" }";
        Self::with(&format!(
            "[instances.main]\n{instance}\n{credentials}\n[listeners.local]\naddress = \"127.0.0.1:0\"\nscopes = {scopes:?}\n"
        ))
    }

    /// Runs doctor twice, for people and for programs: both say the same, and no secret.
    fn with(configuration: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("config.toml"), configuration).expect("a file");
        write_secret(folder.path(), "secret", SECRET);
        write_secret(folder.path(), "wrong", "another-secret");
        let (code, text, errors) = run_binary(folder.path(), &["doctor"], &[]);
        let (json_code, json, json_errors) = run_binary(folder.path(), &["doctor", "--json"], &[]);
        assert_eq!(code, json_code, "{text}{errors}{json}{json_errors}");
        assert!(!errors.contains('\u{1b}'), "no spinner where there is no terminal: {errors}");
        for said in [&text, &errors, &json, &json_errors] {
            for secret in [SECRET, "another-secret", TOKEN_MARK, SCRIPTED_TOKEN] {
                assert!(!said.contains(secret), "{said}");
            }
        }
        let report: Value = serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error}: {json}"));
        assert_eq!(report["healthy"], code == 0, "{json}");
        Self { code, text, report }
    }

    fn line(&self, check: &str) -> &Value {
        let lines = self.report["checks"].as_array().expect("lines");
        lines.iter().find(|line| line["check"] == check).unwrap_or_else(|| panic!("no {check} in {}", self.report))
    }

    fn status(&self, check: &str) -> &str {
        self.line(check)["status"].as_str().expect("a status")
    }

    /// Asserts that this check failed, and that detail and fix, also in the text form, have these words.
    fn fails(&self, check: &str, detail: &str, fix: &str) {
        let line = self.line(check);
        assert_eq!((self.code, &line["status"]), (1, &Value::from("failed")), "{line}");
        assert!(line["detail"].as_str().is_some_and(|said| said.contains(detail)), "{detail} is not in {line}");
        assert!(line["fix"].as_str().is_some_and(|said| said.contains(fix)), "{fix} is not in {line}");
        let mut lines = self.text.lines().skip_while(|line| !line.starts_with(&format!("failed   {check}")));
        assert!(lines.next().is_some(), "{}", self.text);
        assert!(lines.next().is_some_and(|line| line.starts_with("         fix: ") && line.contains(fix)));
    }

    fn skipped(&self, checks: &[&str]) {
        for check in checks {
            assert_eq!(self.status(check), "skipped", "{}", self.line(check));
        }
    }
}

/// A file that only its owner may read.
fn write_secret(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    std::fs::write(&path, format!("{text}\n")).expect("a file");
    #[cfg(unix)]
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("permissions");
}

#[test]
fn doctor_finds_a_healthy_instance_healthy() {
    let ninja = Ninja::start(|_| ());
    let visit = Visit::to(&ninja.instance(), &["monitoring", "management"]);
    assert_eq!(visit.code, 0, "{}", visit.text);
    for check in [
        "configuration",
        "credentials",
        "dns",
        "tcp",
        "tls",
        "clock",
        "scope monitoring",
        "scope management",
        "scopes together",
        "token lifetime",
        "read",
    ] {
        assert_eq!(visit.status(check), "ok", "{}", visit.line(check));
    }
    let warned = visit.line("user context");
    assert_eq!(warned["status"], "warning");
    assert!(warned["detail"].as_str().is_some_and(|said| said.contains("POST /v2/ticketing/ticket")));
    assert!(warned["fix"].as_str().is_some_and(|said| said.contains("user_context_required")));
    assert_eq!((ninja.counts().api_requests, ninja.counts().grants), (2, 6), "two visits");
}

#[test]
fn doctor_examines_the_sandbox_of_the_defaults() {
    let visit = Visit::with("");
    assert_eq!(visit.code, 0, "{}", visit.text);
    assert_eq!((visit.status("read"), visit.status("tls")), ("ok", "ok"));
    assert!(visit.text.starts_with("ok       configuration     config.toml; instances: main; listeners: local\n"));
}

#[test]
fn doctor_looks_for_the_organizations_of_a_fence() {
    let there = Visit::with("[listeners.local]\norganizations = [1, 4]");
    let said = there.line("organizations")["detail"].as_str().expect("words").to_owned();
    assert!(there.code == 0 && said.ends_with("all that the fences name: 1, 4"), "{}", there.text);
    let absent = Visit::with("[listeners.local]\norganizations = [1, 9]");
    absent.fails("organizations", "no organization 9 (listeners.local)", "GET /v2/organizations");
}

#[test]
fn doctor_sees_who_is_trusted_and_what_a_good_certificate_says() {
    let secure = Secure::start(&GOOD, &[b"h2", b"http/1.1"]);
    let instance = format!("host = \"https://localhost:{}\"\nca-file = {:?}", secure.address.port(), secure.ca_file);
    let visit = Visit::to(&instance, &["monitoring"]);
    assert_eq!(visit.code, 0, "{}", visit.text);
    let said = visit.line("tls")["detail"].as_str().expect("words");
    for part in
        ["TLSv1.3, h2; certificate CN=", " for localhost, 127.0.0.1, issued by CN=", "days left", "1 of ca-file"]
    {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    assert_eq!((visit.status("clock"), visit.status("read")), ("ok", "ok"));
}

#[test]
fn doctor_tells_a_wrong_id_a_wrong_secret_and_a_missing_scope_apart() {
    let ninja = Ninja::start(|options| options.scopes = [Scope::Monitoring].into_iter().collect());
    let listener = "[listeners.local]\nscopes = [\"monitoring\", \"management\"]";
    let with = |id: &str, file: &str| {
        let instance = ninja.instance();
        Visit::with(&format!(
            "[instances.main]\n{instance}\nclient-id = {id:?}\nclient-secret = {{ file = {file:?} }}\n{listener}"
        ))
    };
    let stranger = with("stranger", "secret");
    stranger.fails("scope monitoring", "does not know the client id", "Administration > Apps > API > Client App IDs");
    stranger.skipped(&["scope management", "scopes together", "token lifetime", "read"]);

    let wrong = with("sandbox", "wrong");
    wrong.fails("scope monitoring", "refused the client id or secret", "API Services (machine-to-machine)");
    wrong.fails("scope monitoring", "", "Client Credentials");
    wrong.skipped(&["scope management", "scopes together", "token lifetime", "read"]);

    let narrow = with("sandbox", "secret");
    narrow.fails("scope management", "not granted", "tick \"Management\"");
    assert_eq!((narrow.status("scope monitoring"), narrow.status("read")), ("ok", "ok"));
    narrow.skipped(&["scopes together"]);
}

#[test]
fn doctor_tells_a_name_without_address_from_a_closed_port_and_goes_no_further() {
    let visit = Visit::to("host = \"nonexistent.invalid\"", &["monitoring"]);
    visit.fails("dns", "nonexistent.invalid cannot be resolved", "check host");
    assert_eq!(visit.line("dns")["detail"].to_string().matches("cannot be resolved").count(), 1, "{}", visit.text);
    visit.skipped(&["tcp", "tls", "clock", "scope monitoring", "token lifetime", "read"]);

    let closed = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let visit = Visit::to(&format!("host = \"https://{closed}\""), &["monitoring"]);
    visit.fails("tcp", "refused", "firewall");
    visit.skipped(&["tls", "clock", "scope monitoring", "token lifetime", "read"]);
    assert_eq!(visit.status("dns"), "ok");
}

#[test]
fn doctor_says_why_a_certificate_is_not_trusted_and_sends_nothing() {
    let foreign = Leaf { names: &["other.example"], ends_in_days: None };
    let expired = Leaf { names: GOOD.names, ends_in_days: Some(-30) };
    for (leaf, ca, detail, fix) in [
        (GOOD, false, "issued by CN=rcgen self signed cert, which none of the trusted roots has signed", "as ca-file"),
        (expired, true, "expired on 20", "renew the server's certificate"),
        (foreign, true, "not valid for localhost; certificate CN=rcgen self signed cert for other.example", "as host"),
    ] {
        let secure = Secure::start(&leaf, &[b"http/1.1"]);
        let trust = if ca { format!("ca-file = {:?}", secure.ca_file) } else { String::new() };
        let visit =
            Visit::to(&format!("host = \"https://localhost:{}\"\n{trust}", secure.address.port()), &["monitoring"]);
        visit.fails("tls", detail, fix);
        visit.skipped(&["clock", "scope monitoring", "token lifetime", "read"]);
        assert_eq!(secure.sandbox.counts().token_requests, 0, "{detail}");
    }
}

#[test]
fn doctor_warns_before_a_certificate_ends() {
    let secure = Secure::start(&Leaf { names: GOOD.names, ends_in_days: Some(9) }, &[b"http/1.1"]);
    let instance = format!("host = \"https://localhost:{}\"\nca-file = {:?}", secure.address.port(), secure.ca_file);
    let visit = Visit::to(&instance, &["monitoring"]);
    assert_eq!((visit.code, visit.status("tls")), (0, "warning"), "{}", visit.text);
    assert!(visit.text.contains("fix: renew the server's certificate"), "{}", visit.text);
}

#[test]
fn doctor_waits_no_longer_than_the_timeouts() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("an address");
    let rest = "[timeouts]\nconnect = \"200ms\"\nupstream = \"200ms\"\ntoken = \"200ms\"\n";
    let visit = |scheme: &str| {
        Visit::with(&format!(
            "[instances.main]\nhost = \"{scheme}://{address}\"\nclient-id = \"sandbox\"\n\
             client-secret = {{ file = \"secret\" }}\n[listeners.local]\n{rest}"
        ))
    };
    visit("https").fails("tls", "no answer in time", "speaks TLS");
    let clear = visit("http");
    clear.fails("scope monitoring", "did not answer in time", "timeouts.token");
    assert_eq!(clear.status("clock"), "warning");
    clear.skipped(&["token lifetime", "read"]);
}

#[cfg(unix)]
#[test]
fn doctor_warns_of_a_secret_that_others_may_read() {
    let ninja = Ninja::start(|_| ());
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("open");
    std::fs::write(&path, SECRET).expect("a file");
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).expect("permissions");
    let visit = Visit::with(&format!(
        "[instances.main]\n{}\nclient-id = \"sandbox\"\nclient-secret = {{ file = {path:?} }}\n[listeners.local]\n",
        ninja.instance()
    ));
    assert_eq!((visit.code, visit.status("credentials")), (0, "warning"));
    assert!(visit.text.contains("chmod 600"), "{}", visit.text);
}

#[test]
fn doctor_says_that_a_port_speaks_no_tls() {
    let ninja = Ninja::start(|_| ());
    let visit = Visit::to(&format!("host = \"https://{}\"", ninja.address), &["monitoring"]);
    visit.fails("tls", "the handshake with 127.0.0.1", "speaks TLS");
}

#[test]
fn doctor_says_that_a_port_speaks_tls_and_no_clear_text() {
    let text = "Client sent an HTTP request to an HTTPS server.\n";
    let server = Scripted::start(move |mut asked| {
        let head =
            format!("HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n", text.len());
        let is_head = asked.head.starts_with("HEAD");
        asked.answer(&if is_head { head } else { format!("{head}{text}") });
        Then::Close
    });
    let visit = Visit::to(&server.instance(), &["monitoring"]);
    let said = "answered plain HTTP with 400 \"Client sent an HTTP request to an HTTPS server.\"";
    visit.fails("tls", said, "write host = \"https://127.0.0.1:");
    visit.skipped(&["clock", "scope monitoring", "token lifetime", "read"]);
}

#[test]
fn doctor_names_a_server_that_sends_requests_back() {
    let server = Scripted::start(move |mut asked| {
        let head = asked.head.starts_with("HEAD");
        asked.answer(&if head { "HTTP/1.1 200 OK\r\n\r\n".to_owned() } else { answer("508 Loop Detected", "{}") });
        Then::Close
    });
    let visit = Visit::to(&server.instance(), &["monitoring"]);
    let advice = "sends requests back to this proxy: set host in [instances.main] to NinjaOne's host";
    visit.fails("read", "508 Loop Detected", advice);
}

#[test]
fn doctor_sees_a_clock_that_is_off_in_either_direction() {
    for (ahead, said) in [(600, "behind the instance's"), (-600, "ahead of the instance's")] {
        let ninja = Ninja::start(|options| options.date_ahead = ahead);
        let visit = Visit::to(&ninja.instance(), &["monitoring"]);
        visit.fails("clock", said, "NTP");
        assert_eq!(visit.status("read"), "ok", "it goes on");
    }
    let ninja = Ninja::start(|options| options.date_ahead = 60);
    let visit = Visit::to(&ninja.instance(), &["monitoring"]);
    assert_eq!((visit.code, visit.status("clock")), (0, "warning"));
}

#[test]
fn doctor_tries_the_way_without_a_secret_too() {
    let ninja = Ninja::start(|_| ());
    let visit = Visit::with(&format!(
        "[instances.main]\n{}\nclient-id = \"sandbox\"\nclient-secret = {{ file = \"missing\" }}\n[listeners.local]\n",
        ninja.instance()
    ));
    visit.fails("credentials", "missing cannot be read", "Client App IDs");
    visit.skipped(&["scope monitoring", "token lifetime", "read"]);
    assert_eq!((visit.status("tcp"), visit.status("clock")), ("ok", "ok"));
}

#[test]
fn doctor_takes_a_configuration_mistake_for_a_finding() {
    for (text, said) in [
        ("[listeners.local]\nadress = \"127.0.0.1:0\"", "config.toml:2:1: listeners.local.adress: unknown key"),
        ("[instances.main]\nhost = \"eu\"\nca-file = \"missing.pem\"\n[listeners.local]\n", "missing.pem"),
        ("[log]\nlevel = \"loud\"", "log.level: \"loud\" is not a log level"),
    ] {
        let visit = Visit::with(text);
        visit.fails("configuration", said, "check");
        assert_eq!(visit.report["checks"].as_array().map(Vec::len), Some(1), "{}", visit.report);
    }
    let (code, said, _) = run_binary(std::env::temp_dir().as_path(), &["doctor", "--config", "missing.toml"], &[]);
    assert!(
        code == 1 && said.starts_with("failed   configuration     missing.toml: the configuration cannot"),
        "{said}"
    );
    assert!(said.contains("there is no such file") && !said.contains("correct it there"), "{said}");
}

#[test]
fn doctor_shows_how_a_read_was_refused_and_what_is_no_api() {
    let html = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>".to_owned();
    for (reply, detail, fix) in [
        (answer("403 Forbidden", r#"{"error":"insufficient_privileges"}"#), "insufficient_privileges", "Monitoring"),
        (html, "with an HTML page", "web page"),
    ] {
        let server = Scripted::start(move |mut asked| {
            let head = asked.head.starts_with("HEAD");
            asked.answer(if head { "HTTP/1.1 200 OK\r\n\r\n" } else { &reply });
            Then::Close
        });
        let visit = Visit::to(&server.instance(), &["monitoring"]);
        visit.fails("read", detail, fix);
        assert_eq!(visit.status("clock"), "warning", "the answer has no Date");
    }
}

#[test]
fn doctor_examines_each_instance_or_the_one_asked_for() {
    let ninja = Ninja::start(|_| ());
    let text = format!(
        "[instances.good]\n{}\nclient-id = \"sandbox\"\nclient-secret = {{ file = \"secret\" }}\n\
         [instances.ill]\nhost = \"nonexistent.invalid\"\nclient-id = \"x\"\nclient-secret = {{ file = \"secret\" }}\n\
         [listeners.local]\ninstance = \"good\"\n",
        ninja.instance()
    );
    let visit = Visit::with(&text);
    assert!(visit.code == 1 && visit.text.contains("\ninstances.good\n") && visit.text.contains("\ninstances.ill\n"));
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("config.toml"), text).expect("a file");
    std::fs::write(folder.path().join("secret"), SECRET).expect("a file");
    let (code, said, _) = run_binary(folder.path(), &["doctor", "--instance", "good"], &[]);
    assert!(code == 0 && !said.contains("nonexistent"), "{said}");
    assert_eq!(run_binary(folder.path(), &["doctor", "--instance", "none"], &[]).0, 64);
}

#[test]
fn the_document_that_an_instance_publishes_is_fetched_and_tells_what_it_lacks() {
    const TEXT: &str = r#"{"openapi":"3.0.1","info":{"version":"own"},"paths":{"/v2/organizations":{"get":{}}}}"#;
    let server = Scripted::start(|mut asked| {
        if asked.head.starts_with("GET /apidocs/NinjaRMM-API-v2.json ") {
            assert!(!asked.head.to_ascii_lowercase().contains("authorization"), "{}", asked.head);
            // The second time it is gone, the third time cut off.
            match asked.number {
                0 | 3.. => asked.answer(&answer("200 OK", TEXT)),
                1 => asked.answer(&answer("404 Not Found", "{}")),
                _ => asked.answer(&format!("HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n{TEXT}")),
            }
            return if asked.number == 2 { Then::Close } else { Then::Continue };
        }
        asked.answer(&answer("200 OK", "[]"));
        Then::Continue
    });
    let folder = tempfile::tempdir().expect("a folder");
    let config = format!(
        "[instances.main]\n{}\nclient-id = \"sandbox\"\nclient-secret = {{ file = \"secret\" }}\n\
         [listeners.local]\naddress = \"127.0.0.1:0\"\ngroups = [\"none\"]\n\
         allow = [\"GET /v2/organizations\", \"GET /v2/devices\"]\n",
        server.instance()
    );
    std::fs::write(folder.path().join("own.toml"), config).expect("a file");
    std::fs::write(folder.path().join("secret"), SECRET).expect("a file");
    let fetch = ["--config", "own.toml", "catalog", "fetch", "--output", "own.json"];
    let file = || std::fs::read_to_string(folder.path().join("own.json")).expect("a file");
    let (code, said, _) = run_binary(folder.path(), &fetch, &[]);
    assert!(code == 0 && said.contains("own.json: 1 operations below /v2/"), "{code} {said}");
    for _ in 0..2 {
        let (code, _, said) = run_binary(folder.path(), &fetch, &[]);
        assert!(code == 1 && said.contains("gave no document"), "{code} {said}");
        assert_eq!(file(), TEXT, "what was there stays");
    }
    let left: Vec<_> =
        std::fs::read_dir(folder.path()).expect("a folder").map(|entry| entry.expect("an entry")).collect();
    assert_eq!(left.len(), 3, "{left:?}");
    let (_, said, _) = run_binary(folder.path(), &["--config", "own.toml", "doctor", "--catalog"], &[]);
    let line = said.lines().find(|line| line.starts_with("warning  catalog")).unwrap_or_else(|| panic!("{said}"));
    assert!(line.ends_with("[listeners.local] opens GET /v2/devices"), "{line}");
    let (_, said, _) = run_binary(folder.path(), &["--config", "own.toml", "doctor"], &[]);
    assert!(!said.contains("catalog"), "only on request: {said}");
}

#[test]
fn the_sandbox_publishes_a_document_of_all_that_it_has() {
    let folder = tempfile::tempdir().expect("a folder");
    let (code, said, _) = run_binary(folder.path(), &["catalog", "fetch", "--output", "own.json"], &[]);
    assert!(code == 0 && said.contains("own.json: 315 operations"), "{code} {said}");
    let (_, said, _) = run_binary(folder.path(), &["catalog", "diff", "own.json"], &[]);
    assert!(said.contains("0 added, 0 removed, 0 changed, 0 left out"), "{said}");
}
