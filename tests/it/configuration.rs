//! The configuration file: the reference, and what each mistake says.

use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use ninjaone_proxy::config::Config;
use ninjaone_proxy::config::file::File;
use ninjaone_proxy::rate::Limits;

/// The message that a configuration text gets, from reading or from checking it.
fn mistake(text: &str) -> String {
    let path = Path::new("/nowhere/config.toml");
    match Config::parse(path, text.to_owned()) {
        Ok(config) => config.settings().expect_err("a mistake").to_string(),
        Err(mistake) => mistake.to_string(),
    }
}

#[test]
fn the_reference_configuration_is_the_built_in_defaults() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config.toml");
    let text = std::fs::read_to_string(&path).expect("the reference");
    let reference: toml::Table = text.parse().expect("TOML");
    let config = Config::parse(&path, text.clone()).expect("good");
    assert_eq!(config.file, File::default());
    // Every key stands in it: those without a default as a comment.
    let defaults: toml::Table = toml::to_string(&File::default()).expect("TOML").parse().expect("TOML");
    assert_eq!(reference, defaults);
    assert!(text.contains("\n# catalog-file = "));
    assert!(text.contains("# ca-file = ") && text.contains("# instance = "));
    for key in ["mode", "permissions", "file", "group", "certificate", "key", "client-ca", "client-auth"] {
        assert!(text.contains(&format!("\n# {key} = ")), "{key}");
    }
    for key in ["requests-per-second", "burst", "concurrent", "wait", "retry-after-max"] {
        assert!(text.contains(&format!("\n# {key} = ")), "{key}");
    }
}

#[test]
fn an_empty_file_means_the_defaults() {
    let config = Config::parse(Path::new("c.toml"), String::new()).expect("good");
    assert_eq!(config.file, File::default());
    assert!(config.settings().is_ok(), "the sandbox needs no credentials");
}

#[test]
fn the_table_of_a_rate_has_defaults_for_what_it_does_not_say() {
    let rate = |text: &str| {
        let text = format!("[instances.main.rate]\n{text}");
        let config = Config::parse(Path::new("c.toml"), text).expect("good");
        let settings = config.settings().expect("good");
        settings.instances.into_iter().next().and_then(|instance| instance.rate).expect("a rate")
    };
    let count = |number| NonZeroU32::new(number).expect("not 0");
    let none = Limits { pace: None, concurrent: None, wait: Duration::from_secs(10), retry_after_max: Duration::ZERO };
    assert_eq!(rate(""), none);
    assert_eq!(rate("requests-per-second = 20").pace, Some((20.0, count(20))));
    assert_eq!(rate("requests-per-second = 2.5").pace, Some((2.5, count(3))));
    assert_eq!(rate("requests-per-second = 0.001").pace, Some((0.001, count(1))));
    let all = "requests-per-second = 3\nburst = 1\nconcurrent = 4\nwait = \"5ms\"\nretry-after-max = \"2s\"";
    let (wait, retry_after_max) = (Duration::from_millis(5), Duration::from_secs(2));
    assert_eq!(rate(all), Limits { pace: Some((3.0, count(1))), concurrent: Some(count(4)), wait, retry_after_max });
}

/// A text, what is said of it, and a hint.
const MISTAKES: [(&str, &str, &str); 53] = [
    (
        "[listeners.local]\nadress = \"127.0.0.1:1\"",
        ":2:1: listeners.local.adress: unknown key \"adress\": valid are ",
        "did you mean \"address\"?",
    ),
    ("[listener.local]\n", ":1:2: listener.local: unknown key \"listener\"", "did you mean \"listeners\"?"),
    (
        "[listeners.local]\nscopes = [\"monitorin\"]",
        ":2:11: listeners.local.scopes: unknown scope \"monitorin\": valid scopes are monitoring, management, control",
        "did you mean \"monitoring\"?",
    ),
    ("[listeners.local]\nscopes = []", ":2:10: listeners.local.scopes: a listener needs at least one scope", ""),
    (
        "[listeners.local]\ngroups = [\"tickts\"]",
        ":2:11: listeners.local.groups: unknown group \"tickts\": valid groups are activities, ",
        "did you mean \"tickets\"?",
    ),
    (
        "[listeners.local]\naddress = \"localhost\"",
        ":2:11: listeners.local.address: \"localhost\" is not an address: write localhost:PORT or IP:PORT",
        "",
    ),
    (
        "[listeners.local]\naddress = \"0.0.0.0:8080\"",
        ":2:11: listeners.local.address: 0.0.0.0 is not a loopback address",
        "",
    ),
    (
        "[listeners.local]\naddress = \"10.0.0.1:8080\"\n[listeners.local.callers.a]\nkey = \"sha256:0000000000000000000000000000000000000000000000000000000000000000\"",
        ":2:11: listeners.local.address: 10.0.0.1 is not a loopback address, and callers would send their keys in clear text",
        "cleartext = true",
    ),
    (
        "[listeners.local]\nallowed-origins = [\"https://x/\"]",
        ":2:20: listeners.local.allowed-origins: \"https://x/\": it is no origin: write scheme, host and port",
        "",
    ),
    (
        "[listeners.local.callers.a]\nscopes = [\"monitoring\"]",
        ": the caller a has nothing to prove who it is: give it key, uids, gids or certificate",
        "ninjaone-proxy key new a",
    ),
    (
        "[listeners.local.callers.a]\nkey = \"hunter2\"",
        ":2:7: listeners.local.callers.a.key: it is no hash of a key",
        "key new NAME",
    ),
    (
        "[listeners.local.callers.a]\nuids = [1]\nscopes = [\"management\"]",
        ":3:10: listeners.local.callers.a.scopes: the scope management is not one of the listener's",
        "",
    ),
    (
        "[listeners.local]\nallow = [\"FETCH /v2/devices\"]",
        ":2:10: listeners.local.allow: \"FETCH /v2/devices\": unknown method \"FETCH\": valid methods are GET",
        "",
    ),
    (
        "[listeners.local]\nallow = [\"GET /v1/devices\"]",
        ":2:10: listeners.local.allow: \"GET /v1/devices\": the path must begin with /v2/",
        "",
    ),
    (
        "[listeners.local]\nallow = [\"POST /v2/organizations\"]",
        ":2:10: listeners.local.allow: the rule \"POST /v2/organizations\" allows nothing: it needs the scope management",
        "",
    ),
    (
        "[listeners.local]\ninstance = \"man\"",
        ":2:12: listeners.local.instance: unknown instance \"man\": valid instances are main",
        "did you mean \"main\"?",
    ),
    ("[instances.a]\n[instances.b]", ": listeners.local.instance is missing: there are several instances (a, b)", ""),
    (
        "[instances.main]\nhost = \"http://eu.ninjarmm.com\"",
        ":2:8: instances.main.host: \"http://eu.ninjarmm.com\" would send the client secret in clear text",
        "",
    ),
    (
        "[instances.main]\nhost = \"eu.ninjarmm.com/ws\"",
        ":2:8: instances.main.host: a host has no path: leave out \"/ws\"",
        "",
    ),
    (
        "[instances.main]\nhost = \"eu\"\nclient-id = \"x\"\nclient-secret = { env = \"NO_SUCH_VARIABLE\" }",
        ":4:17: instances.main.client-secret: the environment variable NO_SUCH_VARIABLE is not set",
        "",
    ),
    (
        "[instances.main]\nhost = \"eu\"\nclient-id = { file = \"none\" }",
        ":3:13: instances.main.client-id: the file /nowhere/none cannot be read: ",
        "",
    ),
    (
        "[instances.main]\nhost = \"eu\"",
        ": instances.main.client-id: the environment variable NINJAONE_CLIENT_ID is not set",
        "",
    ),
    (
        "[instances.main]\nclient-secret = { environment = \"X\" }",
        ":2:17: instances.main.client-secret: unknown key \"environment\": valid are env, file",
        "",
    ),
    (
        "[timeouts]\nclient = \"30\"",
        ":2:10: timeouts.client: \"30\" is no length of time: write a number and ms, s, m or h",
        "",
    ),
    ("[timeouts]\nclient = 30", ":2:10: timeouts.client: invalid type: integer `30`, expected a string", ""),
    ("[limits]\nhead = \"64k\"", ":2:8: limits.head: \"64k\" is no size", ""),
    ("[limits]\nhead = \"1B\"", ":2:8: limits.head: \"1B\" is out of range: a head may have 8KiB to 1MiB", ""),
    ("[limits]\nconnections = 0", ":2:15: limits.connections: invalid value: integer `0`, expected a nonzero u32", ""),
    (
        "[instances.main]\nhost = \"eu\"\nclient-id = \"x\"\nclient-secret = { file = \"/etc/hostname\" }\nca-file = \"none.pem\"",
        ":5:11: instances.main.ca-file: the file \"/nowhere/none.pem\" cannot be read as PEM",
        "",
    ),
    (
        "[listeners.local]\nallow = [\n  \"GET /v2/x\",\n  \"GOT /v2/y\",\n]",
        ":4:3: listeners.local.allow: \"GOT /v2/y\": unknown method",
        "",
    ),
    ("[listeners.a]\n[listeners.b]", ": listeners a and b have the same address localhost:8080", ""),
    (
        "[listeners.a]\naddress = \"[::1]:8080\"\n[listeners.b]",
        ": listeners a and b have the same address localhost:8080",
        "",
    ),
    ("[log]\nformat = \"xml\"", ":2:10: log.format: unknown value \"xml\": valid are text, json", ""),
    (
        "[listeners.a]\naddress = \"unix:s\"\n[listeners.b]\naddress = \"unix:s\"",
        ": listeners a and b have the same address unix:s",
        "",
    ),
    ("[listeners.local]\naddress = \"unix:\"", ":2:11: listeners.local.address: \"\" is no path of a socket", ""),
    (
        "[listeners.local]\nmode = \"0660\"",
        ":2:8: listeners.local.mode: mode belongs to a Unix socket: leave it out",
        "address = \"unix:PATH\"",
    ),
    ("[listeners.local]\ngroup = \"x\"", ":2:9: listeners.local.group: group belongs to a Unix socket", ""),
    (
        "[listeners.local]\naddress = \"unix:s\"\nmode = \"rw\"",
        ":3:8: listeners.local.mode: \"rw\" is no mode: valid modes are enforce, observe",
        "",
    ),
    (
        "[listeners.local]\naddress = \"unix:s\"\ngroup = \"no-such-group\"",
        ":3:9: listeners.local.group: this system has no group \"no-such-group\": make it, or write its number",
        "",
    ),
    ("[listeners.local]\naddress = \"fd:1\"", ":2:11: listeners.local.address: \"1\" is no passed socket", "fd:NAME"),
    (
        "[listeners.local.tls]\ncertificate = \"c.pem\"\nkey = \"k.pem\"",
        ":2:15: listeners.local.tls.certificate: the file \"/nowhere/c.pem\" cannot be read as PEM",
        "",
    ),
    (
        "[listeners.local.tls]\ncertificate = \"c\"\nkey = \"k\"\nclient-auth = \"required\"",
        ":4:15: listeners.local.tls.client-auth: client-auth needs client-ca",
        "",
    ),
    ("[listeners.local.tls]\ncertificate = \"c\"", "listeners.local.tls: missing field `key`", ""),
    (
        "[listeners.local]\nnames = [\"ninja.internal\"]\ntls = \"local-ca\"",
        ":3:7: listeners.local.tls: the local CA vouches for localhost, 127.0.0.1, ::1 only, not for \"ninja.internal\"",
        "",
    ),
    ("[listeners.local]\ntls = \"ca\"", ":2:7: listeners.local.tls: \"ca\" is no kind of TLS: write \"local-ca\"", ""),
    (
        "[instances.main.rate]\nrequests-per-second = 0",
        ":2:23: instances.main.rate.requests-per-second: 0 requests per second cannot be: write a number above 0",
        "",
    ),
    ("[instances.main.rate]\nrequests-per-second = -0.5", ": -0.5 requests per second cannot be", ""),
    ("[instances.main.rate]\nrequests-per-second = nan", ": NaN requests per second cannot be", ""),
    (
        "[instances.main.rate]\nrequests-per-second = 2\nburst = 0",
        ":3:9: instances.main.rate.burst: invalid value: integer `0`, expected a nonzero u32",
        "",
    ),
    ("[instances.main.rate]\nburst = 5", ":2:9: instances.main.rate.burst: burst belongs to requests-per-second", ""),
    (
        "[instances.main.rate]\nconcurrent = -1",
        ":2:14: instances.main.rate.concurrent: invalid value: integer `-1`",
        "",
    ),
    (
        "[instances.main.rate]\nretry-after-max = \"0\"",
        ":2:19: instances.main.rate.retry-after-max: \"0\" is no length of time",
        "\"0s\" for none",
    ),
    ("[admin\n", ":1:7: ", ""),
];

#[test]
fn mistakes_name_file_line_key_value_and_what_is_valid() {
    let has_sockets = |text: &str| cfg!(unix) || !(text.contains("\"unix:") || text.contains("\"fd:"));
    for (text, message, hint) in MISTAKES.into_iter().filter(|(text, ..)| has_sockets(text)) {
        // Paths are joined by a backslash on Windows, by two in quotation marks.
        let said = mistake(text).replace("/nowhere\\\\", "/nowhere/").replace("/nowhere\\", "/nowhere/");
        assert!(said.starts_with("/nowhere/config.toml"), "{said}");
        assert!(said.contains(message), "{text}\n said: {said}\n not:  {message}");
        assert!(said.contains(hint), "{text}\n said: {said}\n without: {hint}");
    }
}

#[test]
fn a_secret_in_the_file_is_refused_with_the_two_ways_and_not_repeated() {
    let said = mistake("[instances.main]\nhost = \"eu\"\nclient-secret = \"hunter2hunter2\"\n");
    assert!(said.starts_with("/nowhere/config.toml:3:17: instances.main.client-secret: "), "{said}");
    assert!(said.contains("{ env = \"VARIABLE\" }") && said.contains("{ file = \"PATH\" }"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
}
