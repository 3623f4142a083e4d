//! Whatever is wrong with another configuration: the one before serves on, and all who can be asked say why.

use std::net::{Ipv4Addr, TcpListener};

use super::{is_closed, metric};
use crate::harness::{Ninja, Proxy, request};

/// What follows the harness's own keys of the listener, what follows all, and what is said.
const MISTAKES: &[(&str, &str, &str)] = &[
    ("deny = [", "", "config.toml:"),
    ("denied = []", "", ":8:1: listeners.local.denied: unknown key \"denied\": valid are"),
    ("deny = [\"GOT /v2/x\"]", "", ":8:9: listeners.local.deny: \"GOT /v2/x\": unknown method"),
    ("scopes = [\"all\"]", "", ":8:11: listeners.local.scopes: unknown scope \"all\""),
    ("instance = \"other\"", "", "unknown instance \"other\": valid instances are main"),
    ("tls = { certificate = \"no.pem\", key = \"no.pem\" }", "", "no.pem cannot be read: "),
    ("", "[listeners.b]\naddress = \"0.0.0.0:0\"", "is not a loopback address"),
    #[cfg(unix)]
    ("", "[listeners.b]\naddress = \"unix:no/s\"", "cannot listen on unix:"),
    #[cfg(unix)]
    ("", "[listeners.b]\naddress = \"fd:ninja\"", "no socket was passed to this process"),
    ("instance = \"main\"", "[instances.b]\nhost = \"eu\"", "NINJAONE_CLIENT_ID is not set"),
    (
        "",
        "[instances.b]",
        ":6:12: listeners.local.instance: this key is needed, since there are several instances (b, main)",
    ),
    ("", "[timeouts]\nclient = \"30\"", "\"30\" is not a length of time"),
    ("", "[limits]\nhead = \"1B\"", "\"1B\" is out of range"),
    ("", "[log]\nlevel = \"loud\"", "log.level: \"loud\" is not a log level"),
];

#[test]
fn every_kind_of_mistake_changes_nothing_and_is_told() {
    let good = "deny = [\"GET /v2/devices\"]";
    let mut proxy = Proxy::sandboxed(good);
    let of = |name: &str| format!("ninjaone_proxy_config_{name}");
    let hash = metric(proxy.admin, &of("hash"));
    assert!(hash > 0.0);
    for (count, (listener, rest, message)) in (1..).zip(MISTAKES.iter().copied()) {
        let said = proxy.reconfigure(listener, rest).expect_err(message);
        assert!(said.contains(message), "{said}\nnot {message}");
        assert_eq!((proxy.get("/v2/organizations").status, proxy.get("/v2/devices").status), (200, 403), "{message}");
        assert_eq!(metric(proxy.admin, &of("reloads_total{result=\"refused\"}")), f64::from(count));
        assert_eq!(metric(proxy.admin, &of("last_reload_successful")), 0.0);
        assert_eq!(metric(proxy.admin, &of("hash")), hash);
        let ready = request(proxy.admin, "GET", "/readyz", "", b"");
        let reload = &ready.json()["configuration"]["lastReload"];
        assert_eq!(
            (ready.status, reload["result"].as_str(), reload["why"].as_str()),
            (200, Some("refused"), Some(&*said))
        );
    }
    proxy.reconfigure("", "").expect("a good one");
    assert_eq!(proxy.get("/v2/devices").status, 200);
    assert_eq!(metric(proxy.admin, &of("last_reload_successful")), 1.0);
    assert_ne!(metric(proxy.admin, &of("hash")), hash);
    let reload = &request(proxy.admin, "GET", "/readyz", "", b"").json()["configuration"]["lastReload"];
    assert_eq!((reload["result"].as_str(), reload["why"].as_str()), (Some("applied"), None));
}

#[test]
fn a_file_that_is_gone_does_not_bring_the_built_in_defaults() {
    let mut proxy = Proxy::sandboxed("deny = [\"GET /v2/devices\"]");
    std::fs::remove_file(proxy.folder().join("config.toml")).expect("no file");
    let said = proxy.reload().expect_err("no file");
    assert!(said.contains("config.toml: the configuration cannot be read"), "{said}");
    assert_eq!(proxy.get("/v2/devices").status, 403);
}

#[test]
fn a_port_that_is_taken_refuses_all_of_it() {
    let keep = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let taken = keep.local_addr().expect("an address");
    let free = super::free_port();
    let mut proxy = Proxy::sandboxed("");
    let before = proxy.address;
    let two = format!(
        "[listeners.a]\naddress = \"127.0.0.1:{free}\"\n[listeners.b]\naddress = \"127.0.0.1:{}\"",
        taken.port()
    );
    let said = proxy.reconfigure("deny = [\"GET /v2/devices\"]", &two).expect_err("a port that is taken");
    let message = format!("listener b cannot listen on {taken} (another listener of this process has the port");
    assert!(said.contains(&message), "{said}");
    assert_eq!(proxy.get("/v2/devices").status, 200);
    assert_eq!((proxy.listeners.len(), proxy.listeners["local"]), (1, before));
    assert!(is_closed(([127, 0, 0, 1], free).into()), "what was opened for it is closed");
    drop(keep);
    proxy.reconfigure("deny = [\"GET /v2/devices\"]", &two).expect("a reload");
    assert_eq!((proxy.get("/v2/devices").status, proxy.listeners.len()), (403, 3));
}

#[test]
fn a_file_that_is_empty_cut_or_half_written_changes_nothing_and_serves_no_sandbox() {
    let ninja = Ninja::start(|_| ());
    let mut proxy = Proxy::start(&ninja.instance(), "deny = [\"GET /v2/devices\"]", "");
    assert_eq!(proxy.get("/v2/organizations").status, 200);
    let listener = "[listeners.local]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\n";
    let instance = format!(
        "[instances.main]\n{}\nclient-id = \"sandbox\"\nclient-secret = {{ file = \"secret\" }}\n",
        ninja.instance()
    );
    for (text, message) in [
        (String::new(), "the file is empty: it has no [instances.NAME]"),
        ("# all of it\n".to_owned(), "the file looks cut or half written: it has no [instances.NAME]"),
        (instance.clone(), "it has no [listeners.NAME]"),
        (listener.to_owned(), "it has no [instances.NAME]"),
        (format!("[instances.main]\n{listener}"), "instances.main has no host, which would be the sandbox"),
        (format!("[instances.renamed]\nclient-id = \"x\"\n{listener}"), "instances.renamed has no host"),
    ] {
        let said = proxy.rewrite(&text).expect_err(&text);
        assert!(said.contains("config.toml: ") && said.contains(message), "{said}");
        assert_eq!((proxy.get("/v2/organizations").status, proxy.get("/v2/devices").status), (200, 403), "{text}");
        assert_eq!(proxy.send("POST", "/v2/organizations", "", b"{}").code(), "scope-missing");
        let ready = request(proxy.admin, "GET", "/readyz", "", b"").json();
        assert_eq!(ready["configuration"]["lastReload"]["why"].as_str(), Some(&*said));
        let page = String::from_utf8(request(proxy.admin, "GET", "/", "", b"").body).expect("text");
        assert!(page.contains("The last change of the configuration was refused"), "{said}");
    }
    assert_eq!(proxy.sandbox, None);
    proxy.rewrite(&format!("[instances.main]\nhost = \"sandbox\"\n{listener}")).expect("a sandbox that is meant");
    let organizations = proxy.get("/v2/organizations");
    assert_eq!(
        (organizations.status, organizations.header("x-sandbox")),
        (200, "ninjaone-proxy; invented data"),
        "{organizations:?}"
    );
}
