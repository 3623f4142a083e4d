//! The configuration file: the reference, and what each mistake says.

use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use ninjaone_proxy::config::Config;
use ninjaone_proxy::config::sections::ConfigFile;
use ninjaone_proxy::proxy::rate_limit::RateLimits;

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
    assert_eq!(config.file, ConfigFile::default());
    // Every key stands in it: those without a default as a comment.
    let defaults: toml::Table = toml::to_string(&ConfigFile::default()).expect("TOML").parse().expect("TOML");
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
    assert_eq!(config.file, ConfigFile::default());
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
    let none =
        RateLimits { pace: None, concurrent: None, wait: Duration::from_secs(10), retry_after_max: Duration::ZERO };
    assert_eq!(rate(""), none);
    assert_eq!(rate("requests-per-second = 20").pace, Some((20.0, count(20))));
    assert_eq!(rate("requests-per-second = 2.5").pace, Some((2.5, count(3))));
    assert_eq!(rate("requests-per-second = 0.001").pace, Some((0.001, count(1))));
    let all = "requests-per-second = 3\nburst = 1\nconcurrent = 4\nwait = \"5ms\"\nretry-after-max = \"2s\"";
    let (wait, retry_after_max) = (Duration::from_millis(5), Duration::from_secs(2));
    assert_eq!(
        rate(all),
        RateLimits { pace: Some((3.0, count(1))), concurrent: Some(count(4)), wait, retry_after_max }
    );
}

/// A text, what is said of it, and a hint.
const MISTAKES: [(&str, &str, &str); 102] = [
    (
        "[listeners.local]\norganizations = []",
        ":2:17: listeners.local.organizations: the list is empty",
        "deny = [\"* /v2/**\"]",
    ),
    ("[listeners.local]\norganizations = [5, 0]", "0 is not the id of an organization", "from 1 to 9007199254740991"),
    ("[listeners.local]\norganizations = [-5]", "-5 is not the id of an organization", "whole numbers"),
    (
        "[listeners.local]\norganizations = [\"Harbour Clinic\"]",
        "is not the number of an organization",
        "organizations = [5]",
    ),
    (
        "[listeners.local]\nscopes = [\"management\"]\norganizations = [5]",
        "needs the scope monitoring",
        "add \"monitoring\" to scopes",
    ),
    (
        "[listeners.local]\norganizations = [5, 7]\n[listeners.local.callers.a]\nuids = [0]\norganizations = [7, 9]",
        ":5:21: listeners.local.callers.a.organizations: the organization 9 is not one of the listener's (5, 7)",
        "a caller has no more than its listener",
    ),
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
        ":2:20: listeners.local.allowed-origins: \"https://x/\": not an origin: write scheme, host and port",
        "",
    ),
    (
        "[listeners.local.callers.a]\nscopes = [\"monitoring\"]",
        ": the caller a has nothing to prove who it is: give it key, uids, gids or certificate",
        "ninjaone-proxy key new a",
    ),
    (
        "[listeners.local.callers.a]\nkey = \"hunter2\"",
        ":2:7: listeners.local.callers.a.key: this is not a key hash: ",
        "key new NAME",
    ),
    (
        "[listeners.local.callers.a]\nkey = \"sha256:...\"",
        ":2:7: listeners.local.callers.a.key: \"sha256:...\" is not a key hash: ",
        "key new NAME",
    ),
    (
        "[instances.main]\nhost = \"eu\n[listeners.local]",
        ":2:8: instances.main.host: the text that begins here has no closing quotation mark",
        "",
    ),
    (
        "[listeners.local]\naddress = 'localhost:1\n",
        ":2:11: listeners.local.address: the text that begins here has no closing quotation mark",
        "",
    ),
    (
        "[audit]\nfile = \"typo/log/audit.jsonl\"",
        ":2:8: audit.file: the folder /nowhere/typo does not exist: make it, or correct the path",
        "",
    ),
    (
        "[learn]\nfile = \"typo/log/used.json\"\n[listeners.local]\nmode = \"observe\"",
        ":2:1: learn.file: the folder /nowhere/typo does not exist: make it, or correct the path",
        "",
    ),
    (
        "[listeners.local]\naddress = \"unix:typo/run/ninja.sock\"",
        ":2:1: listeners.local.address: the folder /nowhere/typo does not exist: make it, or correct the path",
        "",
    ),
    (
        // Of "password".
        "[listeners.local.callers.a]\nkey = \"sha256:5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8\"",
        ":2:7: listeners.local.callers.a.key: this is the hash of a key that is guessed at once",
        "key new a",
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
    (
        "[instances.a]\n[instances.b]\n[listeners.local]",
        ":3:12: listeners.local.instance: this key is needed, since there are several instances (a, b)",
        "write instance = \"a\"",
    ),
    ("[instances.a]\n[instances.b]", ":1:2: listeners.local.instance: this key is needed", ""),
    (
        "[instances.main]\nhost = \"http://eu.ninjarmm.com\"",
        ":2:8: instances.main.host: \"http://eu.ninjarmm.com\" would send the client secret in clear text",
        "",
    ),
    (
        "[instances.main]\nhost = \"eu.ninjarmm.com/ws\"",
        ":2:8: instances.main.host: \"eu.ninjarmm.com/ws\" has a path, which a host does not have: leave out \"/ws\"",
        "write \"eu.ninjarmm.com\"",
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
        ":1:12: instances.main.client-id: the environment variable NINJAONE_CLIENT_ID is not set",
        "",
    ),
    (
        "[instances.main]\nclient-secret = { environment = \"X\" }",
        ":2:17: instances.main.client-secret: unknown key \"environment\": valid are env, file",
        "",
    ),
    (
        "[timeouts]\nclient = \"30\"",
        ":2:10: timeouts.client: \"30\" is not a length of time: write a number and ms, s, m or h",
        "did you mean \"30s\"?",
    ),
    ("[timeouts]\nclient = 30", ":2:10: timeouts.client: 30 is not a length of time", "did you mean \"30s\"?"),
    ("[limits]\nhead = \"64k\"", ":2:8: limits.head: \"64k\" is not a size", "did you mean \"64KiB\"?"),
    ("[limits]\nhead = \"1B\"", ":2:8: limits.head: \"1B\" is out of range: a head may have 8KiB to 1MiB", ""),
    (
        "[limits]\nconnections = 0",
        ":2:15: limits.connections: 0 is not in the range: write a whole number from 1 to 4294967295",
        "",
    ),
    (
        "[instances.main]\nhost = \"eu\"\nclient-id = \"x\"\nclient-secret = { file = \"/etc/hostname\" }\nca-file = \"none.pem\"",
        ":5:11: instances.main.ca-file: the file /nowhere/none.pem cannot be read: ",
        "",
    ),
    (
        "[listeners.local]\nallow = [\n  \"GET /v2/x\",\n  \"GOT /v2/y\",\n]",
        ":4:3: listeners.local.allow: \"GOT /v2/y\": unknown method",
        "",
    ),
    (
        "[listeners.a]\n[listeners.b]",
        ":2:12: listeners.b.address: listeners.a.address has the address 127.0.0.1:8080 too",
        "",
    ),
    (
        "[listeners.a]\naddress = \"[::1]:8080\"\n[listeners.b]",
        ":3:12: listeners.b.address: listeners.a.address has the address [::1]:8080 too",
        "",
    ),
    ("[log]\nformat = \"xml\"", ":2:10: log.format: unknown value \"xml\": valid are text, json", ""),
    (
        "[listeners.a]\naddress = \"unix:s\"\n[listeners.b]\naddress = \"unix:s\"",
        ":4:1: listeners.b.address: listeners.a.address has the address unix:s too",
        "",
    ),
    ("[listeners.local]\naddress = \"unix:\"", ":2:11: listeners.local.address: \"\" is not the path of a socket", ""),
    (
        "[listeners.local]\nmode = \"0660\"",
        ":2:8: listeners.local.mode: mode belongs to a Unix socket: leave it out",
        "address = \"unix:PATH\"",
    ),
    ("[listeners.local]\ngroup = \"x\"", ":2:9: listeners.local.group: group belongs to a Unix socket", ""),
    (
        "[listeners.local]\naddress = \"unix:s\"\nmode = \"rw\"",
        ":3:8: listeners.local.mode: \"rw\" is not a mode: valid modes are enforce, observe",
        "",
    ),
    (
        "[listeners.local]\naddress = \"unix:s\"\ngroup = \"no-such-group\"",
        ":3:9: listeners.local.group: this system has no group \"no-such-group\": make it, or write its number",
        "",
    ),
    (
        "[listeners.local]\naddress = \"fd:1\"",
        ":2:11: listeners.local.address: \"1\" is not a passed socket",
        "fd:NAME",
    ),
    (
        "[listeners.local.tls]\ncertificate = \"c.pem\"\nkey = \"k.pem\"",
        ":2:15: listeners.local.tls.certificate: the file /nowhere/c.pem cannot be read: ",
        "",
    ),
    (
        "[listeners.local.tls]\ncertificate = \"c\"\nkey = \"k\"\nclient-auth = \"required\"",
        ":4:15: listeners.local.tls.client-auth: client-auth needs client-ca",
        "",
    ),
    ("[listeners.local.tls]\ncertificate = \"c\"", ":1:1: listeners.local.tls: the key key is missing", ""),
    (
        "[listeners.local]\nnames = [\"ninja.internal\"]\ntls = \"local-ca\"",
        ":3:7: listeners.local.tls: the local CA vouches for localhost, 127.0.0.1, ::1 and the names of intercept only, not for \"ninja.internal\"",
        "",
    ),
    (
        "[listeners.local]\nintercept = [\"EU.ninjarmm.com\"]",
        ":2:14: listeners.local.intercept: \"EU.ninjarmm.com\": names are compared byte for byte: write \"eu.ninjarmm.com\"",
        "",
    ),
    (
        "[listeners.local]\nintercept = [\"eu.ninjarmm.com:443\"]",
        ":2:14: listeners.local.intercept: \"eu.ninjarmm.com:443\": the port of CONNECT is always 443: write \"eu.ninjarmm.com\"",
        "",
    ),
    (
        "[listeners.local]\nintercept = [\"192.0.2.7\"]",
        ":2:14: listeners.local.intercept: \"192.0.2.7\": an address is no name",
        "",
    ),
    (
        "[listeners.local]\nintercept = [\"*.ninjarmm.com\"]",
        ":2:14: listeners.local.intercept: \"*.ninjarmm.com\": names are compared literally",
        "",
    ),
    (
        "[listeners.local]\nintercept = [\"com\"]",
        ":2:14: listeners.local.intercept: \"com\" has one part only, and the local CA could vouch for every name that ends with .com",
        "",
    ),
    (
        "[listeners.local]\nintercept = [\"localhost\"]",
        ":2:14: listeners.local.intercept: \"localhost\" is this machine itself",
        "",
    ),
    (
        "[listeners.local]\nintercept = [\"a.example\", \"a.example\"]",
        ":2:27: listeners.local.intercept: \"a.example\" is in the list twice",
        "",
    ),
    (
        "[listeners.local.callers.a]\nuids = [1]\ntunnel = [\"pypi.org\"]",
        ":3:11: listeners.local.callers.a.tunnel: \"pypi.org\" is not in tunnel of the listener",
        "",
    ),
    (
        "[listeners.local]\ntls = \"ca\"",
        ":2:7: listeners.local.tls: \"ca\" is not a kind of TLS: write \"local-ca\"",
        "",
    ),
    (
        "[instances.main.rate]\nrequests-per-second = 0",
        ":2:23: instances.main.rate.requests-per-second: 0 is out of range: write a number above 0",
        "",
    ),
    ("[instances.main.rate]\nrequests-per-second = -0.5", ": -0.5 is out of range", ""),
    ("[instances.main.rate]\nrequests-per-second = nan", ": NaN is out of range", ""),
    (
        "[instances.main.rate]\nrequests-per-second = 2\nburst = 0",
        ":3:9: instances.main.rate.burst: 0 is not in the range: write a whole number from 1 to 4294967295",
        "",
    ),
    ("[instances.main.rate]\nburst = 5", ":2:9: instances.main.rate.burst: burst belongs to requests-per-second", ""),
    ("[instances.main.rate]\nconcurrent = -1", ":2:14: instances.main.rate.concurrent: -1 is not in the range", ""),
    (
        "[instances.main.rate]\nretry-after-max = \"0\"",
        ":2:19: instances.main.rate.retry-after-max: \"0\" is not a length of time",
        "\"0s\" for none",
    ),
    ("[admin\n", ":1:7: ", ""),
    (
        "[listeners.local.callers.a]\nkey = \"sha256:0000000000000000000000000000000000000000000000000000000000000000\"\n[listeners.local.callers.b]\nkey = \"sha256:0000000000000000000000000000000000000000000000000000000000000000\"",
        ":4:1: listeners.local.callers.b.key: the caller a has the same",
        "give each caller its own",
    ),
    (
        "[listeners.local.callers.a]\nuids = [1, 2]\n[listeners.local.callers.b]\ngids = [2]\nuids = [2]",
        ":5:1: listeners.local.callers.b.uids: the caller a has the same",
        "",
    ),
    ("[log]\nlevel = \"loud\"", ":2:9: log.level: \"loud\" is no", "error, warn, info"),
    ("[listeners]", ":1:2: listeners: there is none", "write [listeners.local]"),
    ("\n[instances]", ":2:2: instances: there is none", "write [instances.main]"),
    ("[instances]\nhost = \"eu\"", ":2:8: instances.host: a table with a name is needed here", "[instances.main]"),
    (
        "[listeners.local]\nscopes = \"monitoring\"",
        ":2:10: listeners.local.scopes: ",
        "write scopes = [\"monitoring\"]",
    ),
    (
        "[listeners.local]\nscopes = \"a, b\"",
        ":2:10: listeners.local.scopes: \"a, b\" is not a list",
        "write scopes = [\"a\", \"b\"]",
    ),
    (
        "[listeners.local]\nallow = \"GET,PUT /v2/a\"",
        ":2:9: listeners.local.allow: ",
        "write allow = [\"GET,PUT /v2/a\"]",
    ),
    ("[listeners.local]\nscopes = [monitoring]", ":2:11: listeners.local.scopes: ", "write \"monitoring\""),
    ("[listeners.local]\ncleartext = \"true\"", ":2:13: listeners.local.cleartext: ", "write true, without"),
    ("[listeners.local.callers.a]\nuids = 1000", ":2:8: listeners.local.callers.a.uids: ", "write [1000]"),
    ("[limits]\nheaders = \"100\"", ":2:11: limits.headers: \"100\" is text, not a number", "write 100, without"),
    ("[timeouts]\nupstream = 60", ":2:12: timeouts.upstream: 60 is not a length of time", "did you mean \"60s\"?"),
    ("[timeouts]\nupstream = \"48h\"", ":2:12: timeouts.upstream: ", "the longest is \"24h\""),
    ("[probes]\naddress = 9181", ":2:11: probes.address: \"9181\" is not an address", "mean \"localhost:9181\"?"),
    ("catalog-file = \"C:\\Users\\x.yaml\"", ":1:21: catalog-file: a backslash in", "'C:\\Users\\x.yaml'"),
    ("[instances.main]\nca-file = \"C:\\temp\\n.pem\"", ":2:11: instances.main.ca-file: ", "'C:\\temp\\n.pem'"),
    ("[instances.main]\nca-file = \"D:\\\"", ":2:15: instances.main.ca-file: a backslash in", "'D:\\'"),
    ("[instances.main]\nclient-secret = { file = \"D:\\\\s\\\" }", "client-secret: a backslash", "'D:\\s\\'"),
    (
        "[instances.main]\nclient-secret = { file = \"D:\\\", env = \"A\" }",
        "instances.main.client-secret: a backslash",
        "",
    ),
    ("[instances.main]\nhost = \"us3\"", ":2:8: instances.main.host: \"us3\" is not a region", "did you mean \"us\"?"),
    ("[instances.main]\nhost = \"a..b\"", ":2:8: instances.main.host: \"a..b\" is not a host", ""),
    ("[instances.main]\nhost = \"eu\"\ntoken-path = \"/a b\"", ":3:14: instances.main.token-path: ", "no blanks"),
    ("[listeners.local.tls]\ncert = \"x\"", ":2:1: listeners.local.tls.cert: ", "did you mean \"certificate\"?"),
    ("[admin]\naddress = \"127.0.0.1:7\"\n\nx", ":4:2: admin: a key without a value", ""),
    ("[admin]\naddress = \"127.0.0.1:7\"\naddress = \"none\"", ":3:1: admin.address: it is in this file already", ""),
];

/// One wrong key for each table.
#[test]
fn an_unknown_key_of_any_table_gets_the_nearest_one() {
    for (table, wrong, right) in [
        ("", "catalog-fil", "catalog-file"),
        ("", "listenrs", "listeners"),
        ("instances.main", "hots", "host"),
        ("instances.main.rate", "bursts", "burst"),
        ("instances.main.client-secret", "fil", "file"),
        ("listeners.local", "scope", "scopes"),
        ("listeners.local.tls", "certficate", "certificate"),
        ("listeners.local.callers.a", "keys", "key"),
        ("timeouts", "upsteam", "upstream"),
        ("limits", "header", "headers"),
        ("admin", "adress", "address"),
        ("probes", "adress", "address"),
        ("learn", "files", "file"),
        ("audit", "maxsize", "max-size"),
        ("traces", "samples", "sample"),
        ("log", "levl", "level"),
        ("process", "core-dump", "core-dumps"),
    ] {
        let header = if table.is_empty() { String::new() } else { format!("[{table}]") };
        let said = mistake(&format!("{header}\n{wrong} = 1"));
        let dot = if table.is_empty() { "" } else { "." };
        // A reference is one value for its parser.
        let place = if wrong == "fil" { ":1:" } else { ":2:1: " };
        assert!(said.starts_with(&format!("/nowhere/config.toml{place}")), "{said}");
        assert!(wrong == "fil" || said.contains(&format!(": {table}{dot}{wrong}: unknown key \"{wrong}\"")), "{said}");
        assert!(said.ends_with(&format!("did you mean \"{right}\"?")), "{said}");
    }
}

#[test]
fn mistakes_name_file_line_key_value_and_what_is_valid() {
    let has_sockets = |text: &str| cfg!(unix) || !(text.contains("\"unix:") || text.contains("\"fd:"));
    for (text, message, hint) in MISTAKES.into_iter().filter(|(text, ..)| has_sockets(text)) {
        // Paths are joined by a backslash on Windows, by two in quotation marks.
        let said = mistake(text).replace("/nowhere\\\\", "/nowhere/").replace("/nowhere\\", "/nowhere/");
        let line =
            said.strip_prefix("/nowhere/config.toml:").and_then(|rest| rest.split_once(':')).map(|(line, _)| line);
        assert!(line.is_some_and(|line| line.parse::<usize>().is_ok_and(|line| line > 0)), "no line: {said}");
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

#[test]
fn names_and_origins_that_no_request_can_have_are_mistakes() {
    for (key, message) in [
        ("names = [\"ok.example\", \"*.corp.example\"]", "\"*.corp.example\": names are compared literally"),
        ("names = [\"http://x\"]", "a name has no scheme and no path: write \"x\""),
        ("allowed-origins = [\"https://*.example\"]", "\"https://*.example\": origins are compared literally"),
        ("allowed-origins = [\"https://x:080\"]", "not an origin"),
        ("tunnel = [\"pypi.org\", \"*.corp.example\"]", "\"*.corp.example\": names are compared literally"),
        ("tunnel = [\"https://pypi.org\"]", "write it as \"NAME\" or \"NAME:PORT\""),
        ("tunnel = [\"localhost:5000\"]", "write its address, such as \"127.0.0.1:PORT\""),
        ("tunnel = [\"pypi.org\", \"pypi.org:443\"]", "\"pypi.org:443\" is in the list twice"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("config.toml"), format!("[listeners.local]\n{key}\n")).expect("a file");
        let (code, _, error) = crate::harness::run_binary(folder.path(), &["check"], &[]);
        assert_eq!(code, 78, "{key}: {error}");
        assert!(error.contains(message) && error.contains("config.toml:2:"), "{key}: {error}");
    }
}
