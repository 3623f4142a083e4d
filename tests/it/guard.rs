//! The local door: pages, relays, callers with keys, and clients that insist on fetching a token.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ninjaone_proxy::proxy::authn::key::KeyHash;

use crate::harness::{Proxy, Reply, request};

const BOTH: &str = "scopes = [\"monitoring\", \"management\"]";

/// TOML for callers, whose keys are their names and `-key`.
fn callers(listener: &str, callers: &[(&str, &str)]) -> String {
    let mut text = format!("{listener}\n");
    for (name, rules) in callers {
        let hash = KeyHash::of(format!("{name}-key").as_bytes());
        writeln!(text, "[listeners.local.callers.{name}]\nkey = \"{hash}\"\n{rules}").expect("text");
    }
    text
}

fn has_no_permission(reply: &Reply) {
    assert!(!reply.head.to_ascii_lowercase().contains("access-control-"), "{}", reply.head);
}

#[test]
fn pages_of_other_origins_are_refused_and_get_no_permission() {
    let proxy = Proxy::sandboxed(BOTH);
    for (method, headers) in [
        ("GET", "Origin: https://evil.example\r\n"),
        ("GET", "Origin: null\r\n"),
        ("GET", "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n"),
        ("GET", "Sec-Fetch-Site: same-site\r\n"),
        ("POST", "Origin: https://evil.example\r\nContent-Type: text/plain\r\n"),
        ("GET", "Origin: https://evil.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"),
        ("OPTIONS", "Origin: https://evil.example\r\nAccess-Control-Request-Method: DELETE\r\n"),
        ("OPTIONS", "Access-Control-Request-Method: GET\r\n"),
    ] {
        for path in ["/v2/organizations", "/ws/oauth/token"] {
            let reply = proxy.send(method, path, headers, b"");
            assert_eq!((reply.status, reply.code().as_str()), (403, "page-not-allowed"), "{method} {headers}");
            has_no_permission(&reply);
        }
    }
    assert_eq!(proxy.count("api_requests"), 0, "nothing of it arrived");
    for headers in ["", "Sec-Fetch-Site: none\r\n", "Content-Type: application/x-www-form-urlencoded\r\n"] {
        let reply = proxy.send("GET", "/v2/organizations", headers, b"");
        assert_eq!(reply.status, 200);
        has_no_permission(&reply);
    }
    assert_eq!(proxy.send("POST", "/v2/organizations", "", b"name=a").status, 200, "a form post of a script");
}

#[test]
fn the_admin_listener_is_closed_to_pages_too() {
    let proxy = Proxy::sandboxed("");
    assert_eq!(request(proxy.admin, "GET", "/livez", "", b"").status, 200);
    assert_eq!(request(proxy.admin, "GET", "/livez", "Origin: https://evil.example\r\n", b"").status, 403);
    assert_eq!(request(proxy.admin, "GET", "/metrics", "Sec-Fetch-Site: cross-site\r\n", b"").status, 403);
}

#[test]
fn a_listed_page_asks_calls_and_reads() {
    let proxy = Proxy::sandboxed("allowed-origins = [\"https://grafana.example:3000\"]");
    let page = "Origin: https://grafana.example:3000\r\nSec-Fetch-Site: cross-site\r\n";
    let asks =
        format!("{page}Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: x-api-key, x-grafana\r\n");
    let reply = proxy.send("OPTIONS", "/v2/organizations", &asks, b"");
    assert_eq!((reply.status, reply.header("access-control-allow-origin")), (204, "https://grafana.example:3000"));
    assert!(reply.header("access-control-allow-methods").contains("PATCH"));
    assert_eq!(reply.header("access-control-allow-headers"), "x-api-key, x-grafana");
    assert_eq!((reply.header("access-control-max-age"), reply.header("vary")), ("600", "Origin"));
    for (path, status) in [("/v2/organizations", 200), ("/v2/nope", 404)] {
        let reply = proxy.send("GET", path, page, b"");
        assert_eq!(
            (reply.status, reply.header("access-control-allow-origin")),
            (status, "https://grafana.example:3000")
        );
        assert!(reply.all("vary").contains(&"Origin"));
        assert!(reply.all("access-control-allow-credentials").is_empty());
    }
    let other = proxy.send("GET", "/v2/organizations", "Origin: https://grafana.example\r\n", b"");
    assert_eq!(other.code(), "page-not-allowed");
    has_no_permission(&other);
}

#[test]
fn a_relayed_request_is_refused_unless_it_has_a_key() {
    let proxy = Proxy::sandboxed("");
    for header in ["X-Forwarded-For: 10.0.0.1", "Forwarded: for=10.0.0.1", "Via: 1.1 squid"] {
        let reply = proxy.send("GET", "/v2/organizations", &format!("{header}\r\n"), b"");
        assert_eq!((reply.status, reply.code().as_str()), (403, "relayed"), "{header}");
    }
    let keyed = Proxy::sandboxed(&callers("", &[("edge", "")]));
    let reply = keyed.send("GET", "/v2/organizations", "Via: 1.1 nginx\r\nX-Api-Key: edge-key\r\n", b"");
    assert_eq!(reply.status, 200);
    let seen = keyed.last_request().to_string().to_ascii_lowercase();
    assert!(!seen.contains("edge-key") && !seen.contains("nginx"), "{seen}");
}

#[test]
fn two_callers_of_a_listener_may_do_what_is_theirs() {
    let proxy = Proxy::sandboxed(&callers(
        &format!("{BOTH}\ndeny = [\"GET /v2/users\"]"),
        &[
            ("reports", "scopes = [\"monitoring\"]"),
            (
                "desk",
                "groups = [\"tickets\"]\nallow = [\"GET /v2/devices\", \"GET /v2/users\"]\ndeny = [\"GET /v2/ticketing/trigger/boards\"]",
            ),
        ],
    ));
    for (method, path, reports, desk) in [
        ("GET", "/v2/organizations", (200, ""), (403, "group-not-open")),
        ("GET", "/v2/devices", (200, ""), (200, "")),
        ("GET", "/v2/users", (403, "rule-denied"), (403, "rule-denied")),
        ("GET", "/v2/ticketing/trigger/boards", (200, ""), (403, "rule-denied")),
        ("GET", "/v2/ticketing/ticket/1/log-entry", (200, ""), (200, "")),
        ("POST", "/v2/organizations", (403, "scope-missing"), (403, "group-not-open")),
        ("PUT", "/v2/webhook", (403, "group-not-open"), (403, "group-not-open")),
        ("PUT", "/v2/tag/1", (403, "scope-missing"), (403, "group-not-open")),
        ("GET", "/v2/nope", (404, "operation-unknown"), (404, "operation-unknown")),
    ] {
        for (name, (status, code)) in [("reports", reports), ("desk", desk)] {
            let reply = proxy.send(method, path, &format!("Authorization: Bearer {name}-key\r\n"), b"");
            // The sandbox wants a user for some ticket operations: what it says itself is not ours.
            if code.is_empty() && path.contains("ticketing") {
                assert!(reply.header("proxy-status").contains("next-hop"), "{name} {method} {path}");
                continue;
            }
            assert_eq!(reply.status, status, "{name} {method} {path}");
            if !code.is_empty() {
                assert_eq!(reply.code(), code, "{name} {method} {path}");
            }
        }
    }
    let detail =
        proxy.send("POST", "/v2/organizations", "X-Api-Key: reports-key\r\n", b"").json()["detail"].to_string();
    assert!(
        detail.contains("the caller reports has only: monitoring")
            && detail.contains("[listeners.local.callers.reports]"),
        "{detail}"
    );
    let detail = proxy.send("GET", "/v2/users", "X-Api-Key: desk-key\r\n", b"").json()["detail"].to_string();
    assert!(detail.contains("deny of [listeners.local]"), "what the listener closes is said of it: {detail}");
}

#[test]
fn each_callers_token_has_only_its_scopes() {
    let proxy = Proxy::sandboxed(&callers(BOTH, &[("reports", "scopes = [\"monitoring\"]"), ("all", "")]));
    for name in ["reports", "all", "reports"] {
        assert_eq!(proxy.send("GET", "/v2/groups", &format!("X-Api-Key: {name}-key\r\n"), b"").status, 200);
    }
    assert_eq!(proxy.count("token_requests"), 2);
}

#[test]
fn a_key_comes_as_bearer_password_or_header_and_a_wrong_one_is_401() {
    let proxy = Proxy::sandboxed(&callers("", &[("reports", "")]));
    let basic = STANDARD.encode("reports:reports-key");
    for header in
        ["Authorization: Bearer reports-key", &format!("Authorization: Basic {basic}"), "X-Api-Key: reports-key"]
    {
        assert_eq!(proxy.send("GET", "/v2/groups", &format!("{header}\r\n"), b"").status, 200, "{header}");
    }
    for (headers, code) in [
        ("", "key-missing"),
        ("Authorization: Bearer other\r\n", "key-wrong"),
        ("Authorization: Digest x\r\n", "key-wrong"),
        ("Authorization: Basic YW55Ym9keTpyZXBvcnRzLWtleQ==\r\n", "key-wrong"),
        ("X-Api-Key: other\r\nAuthorization: Bearer reports-key\r\n", "key-wrong"),
    ] {
        let reply = proxy.send("GET", "/v2/groups", headers, b"");
        assert_eq!((reply.status, reply.code().as_str()), (401, code), "{headers}");
        assert!(reply.header("www-authenticate").starts_with("Bearer realm=\"ninjaone-proxy\""));
    }
    assert_eq!(proxy.count("api_requests"), 3);
}

#[test]
fn many_wrong_keys_are_told_to_wait_and_right_ones_are_not() {
    let proxy = Proxy::sandboxed(&callers("", &[("reports", "")]));
    let mut throttled = 0;
    for _ in 0..200 {
        let reply = proxy.send("GET", "/v2/groups", "X-Api-Key: wrong\r\n", b"");
        if reply.status == 429 {
            assert_eq!((reply.code().as_str(), reply.header("retry-after")), ("key-throttled", "1"));
            throttled += 1;
        } else {
            assert_eq!(reply.status, 401);
        }
    }
    assert!(throttled > 50, "{throttled} of 200");
    assert_eq!(proxy.send("GET", "/v2/groups", "X-Api-Key: reports-key\r\n", b"").status, 200);
}

const FORM: &str = "grant_type=client_credentials&client_id=any&client_secret=thing&scope=monitoring+offline_access";

#[test]
fn a_client_that_insists_gets_a_placeholder_that_opens_nothing() {
    let proxy = Proxy::sandboxed("");
    let kind = "Content-Type: application/x-www-form-urlencoded\r\n";
    for (path, headers, form) in [
        ("/ws/oauth/token", kind.to_owned(), FORM),
        ("/oauth/token", kind.to_owned(), FORM),
        ("//ws/oauth/token", kind.to_owned(), FORM),
        (&format!("/oauth/token?{FORM}"), String::new(), ""),
        (
            "/oauth/token",
            format!("Authorization: Basic {}\r\n", STANDARD.encode("a:b")),
            "grant_type=client_credentials",
        ),
        ("/oauth/token", String::new(), ""),
    ] {
        let reply = proxy.send("POST", path, &headers, form.as_bytes());
        assert_eq!((reply.status, reply.header("content-type")), (200, "application/json"), "{path} {form}");
        assert_eq!(reply.header("cache-control"), "no-store");
        let grant = reply.json();
        assert_eq!((grant["token_type"].as_str(), grant["expires_in"].as_u64()), (Some("Bearer"), Some(3600)));
        let scope = if form == FORM || path.contains('?') { "monitoring offline_access" } else { "monitoring" };
        assert_eq!(grant["scope"], scope);
        let token = grant["access_token"].as_str().expect("a token");
        let used = proxy.send("GET", "/v2/organizations", &format!("Authorization: Bearer {token}\r\n"), b"");
        assert_eq!(used.status, 200);
        assert!(!proxy.last_request().to_string().contains(token));
    }
    assert_eq!(proxy.count("token_requests"), 1, "NinjaOne was asked by the proxy alone");
}

#[test]
fn a_local_token_is_its_callers_own_and_ends_with_the_listener() {
    let more = "[listeners.other]\naddress = \"127.0.0.1:0\"\n";
    let text = callers("", &[("reports", "scopes = [\"monitoring\"]"), ("desk", "groups = [\"tickets\"]")]);
    let proxy = Proxy::start("host = \"sandbox\"", &text, more);
    let ask = |form: &str| proxy.send("POST", "/ws/oauth/token", "", form.as_bytes());
    let token = |name: &str| {
        let grant = ask(&format!("grant_type=client_credentials&client_id={name}&client_secret={name}-key")).json();
        grant["access_token"].as_str().expect("a token").to_owned()
    };
    let get = |token: &str| proxy.send("GET", "/v2/organizations", &format!("Authorization: Bearer {token}\r\n"), b"");
    assert_eq!(get(&token("reports")).status, 200);
    assert_eq!(get(&token("desk")).code(), "group-not-open");
    assert_eq!(get(&format!("{}x", token("reports"))).code(), "key-wrong");
    for (form, error) in [
        ("client_id=reports&client_secret=wrong", "invalid_client"),
        ("client_id=desk&client_secret=reports-key", "invalid_client"),
        ("client_id=reports", "invalid_client"),
        ("grant_type=authorization_code&code=1", "unsupported_grant_type"),
    ] {
        let reply = ask(form);
        assert_eq!(reply.json()["error"], error, "{form}");
        assert_eq!(reply.status, if error == "invalid_client" { 401 } else { 400 }, "{form}");
        assert_eq!(reply.header("content-type"), "application/json");
    }
    let foreign = token("reports");
    let elsewhere =
        request(proxy.listeners["other"], "GET", "/v2/groups", &format!("Authorization: Bearer {foreign}\r\n"), b"");
    assert_eq!(elsewhere.status, 200, "a listener without callers asks nobody");
}

#[test]
fn the_token_endpoint_takes_a_small_post_only_and_sign_in_leads_nowhere() {
    let proxy = Proxy::sandboxed("");
    let get = proxy.get("/ws/oauth/token");
    assert_eq!((get.status, get.header("allow")), (405, "POST"));
    assert_eq!(proxy.send("POST", "/oauth/token", "", &[b'x'; 20_000]).code(), "body-too-large");
    for path in ["/ws/oauth/authorize?response_type=code", "/oauth/authorize"] {
        let reply = proxy.get(path);
        assert_eq!((reply.status, reply.code().as_str()), (403, "sign-in-unsupported"));
    }
    assert_eq!(proxy.count("api_requests"), 0);
}

#[test]
fn a_wrong_key_gets_the_advice_that_its_form_asks_for() {
    let proxy = Proxy::start("host = \"sandbox\"", &callers("", &[("reports", ""), ("desk", "")]), "");
    let hash = ninjaone_proxy::proxy::authn::key::KeyHash::of(b"reports-key");
    for (header, wanted) in [
        (format!("X-Api-Key: {hash}"), "is the hash of a key"),
        (format!("Authorization: Bearer {hash}"), "is the hash of a key"),
        ("Authorization: reports-key".to_owned(), "has no scheme before the key"),
        ("Authorization: Token reports-key".to_owned(), "is not Bearer with a key"),
        ("X-Api-Key: 'reports-key'".to_owned(), "without quotation marks"),
        ("Authorization: Bearer".to_owned(), "The key is empty"),
        ("X-Api-Key: a\r\nX-Api-Key: b".to_owned(), "several keys"),
        ("Authorization: Bearer npt_abc".to_owned(), "Fetch another from /ws/oauth/token"),
        ("X-Api-Key: report-key".to_owned(), "begin with npk_"),
        ("X-Api-Key: npk_short".to_owned(), "copy the whole key"),
        (format!("X-Api-Key: npk_{}", "x".repeat(43)), "Compare it with the one that"),
        ("X-Api-Key: Bearer npk_x".to_owned(), "takes the key alone"),
        ("Authorization: Basic ZGVzazpyZXBvcnRzLWtleQ==".to_owned(), "The key is right, but"),
    ] {
        let reply = proxy.send("GET", "/v2/groups", &format!("{header}\r\n"), b"");
        assert_eq!(reply.code(), "key-wrong", "{header}");
        let detail = reply.json()["detail"].as_str().expect("text").to_owned();
        assert!(detail.contains(wanted) && !detail.contains("reports"), "{header}: {detail}");
        assert!(!(detail.contains("is right") && detail.contains("is not that of a caller")), "{detail}");
    }
    let ask =
        |form: &str| proxy.send("POST", "/oauth/token", "", form.as_bytes()).json()["error_description"].to_string();
    assert!(ask("client_id=desk&client_secret=reports-key").contains("The key is right, but the client id is not"));
    assert!(!ask("client_id=desk&client_secret=report-key").contains("is right"));
}
