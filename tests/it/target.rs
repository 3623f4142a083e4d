//! Which requests reach NinjaOne, under which target.

use crate::harness::Proxy;

const BOTH: &str = "scopes = [\"monitoring\", \"management\"]";

#[test]
fn every_spelling_of_an_operation_reaches_the_instance_in_one_form() {
    let proxy = Proxy::sandboxed("");
    for spelling in ["/v2", "//v2", "/api/v2", "//api/v2", "/ws/api/v2", "//ws/api/v2"] {
        let reply = proxy.get(&format!("{spelling}/organizations?pageSize=2"));
        assert_eq!(reply.status, 200, "{spelling}");
        assert_eq!(reply.json().as_array().map(Vec::len), Some(2));
        assert_eq!(proxy.last_request()["target"], "/v2/organizations?pageSize=2");
    }
}

#[test]
fn the_query_reaches_the_instance_byte_for_byte() {
    let proxy = Proxy::sandboxed("");
    for query in ["df=class%20in%20(MAC,WINDOWS_SERVER)+AND+online", "df=a%3D%22b%22&&x=&=", "?", "a=../..%2f;b"] {
        assert_eq!(proxy.get(&format!("/api/v2/devices?{query}")).status, 200, "{query}");
        assert_eq!(proxy.last_request()["target"], format!("/v2/devices?{query}"));
    }
}

#[test]
fn absolute_form_is_taken_for_our_own_authority_only() {
    let proxy = Proxy::sandboxed("");
    let own = format!("http://{}/v2/organizations?pageSize=1", proxy.address);
    assert_eq!(proxy.get(&own).status, 200);
    assert_eq!(proxy.last_request()["target"], "/v2/organizations?pageSize=1");
    let foreign = proxy.get("http://eu.ninjarmm.com/v2/organizations");
    assert_eq!((foreign.status, foreign.code().as_str()), (421, "host-not-ours"));
}

#[test]
fn ambiguous_and_unknown_targets_are_refused_and_nothing_goes_up() {
    let proxy = Proxy::sandboxed(BOTH);
    let before = proxy.count("api_requests");
    for (target, status) in [
        ("/v2/devices/../users", 400),
        ("/v2/./devices", 400),
        ("/v2//devices", 400),
        ("///v2/devices", 400),
        ("/v2/devices/", 400),
        ("/v2/device/1%2fdisks", 400),
        ("/v2/device/1%2Fdisks", 400),
        ("/v2/device/1%252fdisks", 400),
        ("/v2/device/1%5cdisks", 400),
        ("/v2/device/1\\disks", 400),
        ("/v2/device/1%00", 400),
        ("/v2/device/1;x=1/disks", 400),
        ("/v2/device/1%3bx/disks", 400),
        ("/v2/device/%31/disks", 400),
        ("/v2/%64evices", 400),
        ("/v2/device/1%c0%afdisks", 400),
        ("/v2/devices%23", 400),
        ("/v2/devices%3fx=1", 400),
        ("/v2/%2e%2e/v2/devices", 400),
        ("/v2/device/07/disks", 400),
        ("/v2/device/+7/disks", 400),
        ("/v2/device/7.0/disks", 400),
        ("/v2/device/99999999999999999999", 400),
        ("/v2/device/%307", 400),
        ("/v2/Devices", 400),
        ("/v2/device/abc", 404),
        ("/v2/device/-1", 404),
        ("/v2/nothing", 404),
        ("/v2", 404),
        ("/", 404),
        ("/v1/devices", 404),
        ("/V2/devices", 400),
        ("/v2/oauth/token", 404),
        ("/oauth/tokens", 404),
        ("/ws/api/v2/generic-installer/x.msi", 404),
        ("/sandbox/counts", 404),
        ("*", 400),
        ("/v2/organizations#/v2/users", 400),
        ("/v2/organizations?x=#y", 400),
    ] {
        let reply = proxy.get(target);
        assert_eq!(reply.status, status, "{target}: {reply:?}");
        let code = if status == 400 { "target-malformed" } else { "operation-unknown" };
        assert_eq!(reply.code(), code, "{target}");
    }
    assert_eq!(proxy.count("api_requests"), before);
    assert_eq!(proxy.get("/v2/devices?pageSize=1").status, 200, "service goes on");
}

#[test]
fn a_refused_spelling_is_told_the_right_one() {
    let proxy = Proxy::sandboxed("");
    for (target, advice) in [
        ("/api/v2/device/007/disks", "Send \"/v2/device/7/disks\"."),
        ("/v2/device/7.0/disks", "GET /v2/device/{id}/disks has a number as segment 3 of its path."),
        ("/v2/Devices", "GET /v2/devices has \"devices\" as segment 2 of its path."),
    ] {
        let reply = proxy.get(target);
        let detail = reply.json()["detail"].as_str().expect("a sentence").to_owned();
        assert!(detail.ends_with(advice), "{target}: {detail}");
    }
}

#[test]
fn a_refusal_says_what_is_missing_and_what_to_do() {
    let proxy = Proxy::sandboxed("groups = [\"queries\"]\ndeny = [\"GET /v2/queries/software\"]");
    let write = proxy.send("POST", "/v2/organizations", "", b"{}");
    assert_eq!((write.status, write.code().as_str()), (403, "scope-missing"));
    let problem = write.json();
    assert_eq!(problem["operation"], "POST /v2/organizations");
    let detail = problem["detail"].as_str().expect("a sentence");
    assert!(detail.contains("needs the scope management") && detail.contains("[listeners.local]"), "{detail}");

    let group = proxy.get("/v2/devices");
    assert_eq!((group.status, group.code().as_str()), (403, "group-not-open"));
    let rule = proxy.get("/v2/queries/software");
    assert_eq!((rule.status, rule.code().as_str()), (403, "rule-denied"));
    let method = proxy.send("DELETE", "/v2/organizations", "", b"");
    assert_eq!((method.status, method.code().as_str()), (405, "method-not-allowed"));
    assert_eq!(method.header("allow"), "GET, HEAD, POST");
    assert_eq!(proxy.get("/v2/queries/disks?pageSize=1").status, 200);
}

#[test]
fn head_follows_get_and_other_methods_are_refused() {
    let proxy = Proxy::sandboxed("");
    let head = proxy.send("HEAD", "/v2/organizations", "", b"");
    assert_eq!((head.status, proxy.last_request()["method"].as_str()), (200, Some("HEAD")));
    assert!(head.header("content-length").parse::<usize>().expect("a length") > 2);
    for method in ["OPTIONS", "TRACE", "BREW", "get"] {
        assert_eq!(proxy.send(method, "/v2/organizations", "", b"").status, 405, "{method}");
    }
}

#[test]
fn allow_opens_an_operation_that_the_catalogue_lacks() {
    let proxy = Proxy::sandboxed("allow = [\"GET /v2/new-thing/{id}\"]");
    let reply = proxy.get("/v2/new-thing/7");
    assert_eq!(reply.status, 404);
    assert_eq!(reply.header("server"), "ninjaone-sandbox", "the 404 is NinjaOne's, not ours");
    assert_eq!(proxy.get("/v2/other-thing/7").code(), "operation-unknown");
}

#[test]
fn a_listener_with_management_writes() {
    let proxy = Proxy::sandboxed(&format!("{BOTH}\nallow = [\"POST /v2/device/{{id}}/script/run\"]"));
    let reply = proxy.send("POST", "/v2/organizations", "Content-Type: application/json\r\n", br#"{"name":"New"}"#);
    assert!(reply.status < 300, "{reply:?}");
    assert_eq!(proxy.count("writes"), 1);
    let script = proxy.send("POST", "/v2/device/1/script/run", "Content-Type: application/json\r\n", b"{}");
    assert_eq!(script.status, 403);
    assert_eq!(script.json()["error"], "user_context_required", "NinjaOne's own refusal is relayed");
}

#[test]
fn a_refusal_names_the_nearest_operation_and_every_place_that_must_change() {
    let key = ninjaone_proxy::proxy::authn::key::KeyHash::of(b"tool-key");
    let caller =
        format!("groups = [\"queries\"]\n[listeners.local.callers.tool]\nkey = \"{key}\"\ngroups = [\"none\"]");
    let proxy = Proxy::sandboxed(&caller);
    let detail = |method: &str, path: &str| {
        let reply = proxy.send(method, path, "X-Api-Key: tool-key\r\n", b"");
        reply.json()["detail"].as_str().expect("a sentence").to_owned()
    };
    let both = detail("GET", "/api/v2/devices");
    for table in ["listeners.local", "listeners.local.callers.tool"] {
        let step = format!("add \"GET /v2/devices\" or \"group:devices-read\" to allow in [{table}]");
        assert!(both.contains(&step), "{both}");
    }
    let near = detail("GET", "/api/v2/organisations");
    assert!(near.contains("the path \"/v2/organisations\". Did you mean GET /v2/organizations?"), "{near}");
    assert!(near.contains("add \"GET /v2/organisations\" to allow in [listeners.local] and add"), "{near}");
    let value = detail("GET", "/v2/device/abc");
    assert!(value.contains(" GET /v2/device/{id} has a number where \"abc\" is."), "{value}");
    assert!(!value.contains("If NinjaOne has it"), "a value of the wrong type is not for a rule: {value}");
    assert!(detail("GET", "/devices").contains("Did you mean /v2/devices?"));
    let method = detail("GET", "/v2/device/7/script/run");
    assert_eq!(method, "NinjaOne's API has no GET on this path; it has POST.");
}
