//! What the commands say of a fence of organizations.

use crate::command_line::folder;
use crate::harness::{Proxy, run_binary};

const FENCED: &str = "[listeners.local]\norganizations = [5, 7]\n";

fn run(text: &str, arguments: &[&str]) -> String {
    let (code, said, error) = run_binary(folder(text).path(), arguments, &[]);
    assert_eq!(code, 0, "{said}{error}");
    said
}

fn explained(text: &str, path: &str) -> String {
    let said = run(text, &["explain", "GET", path]);
    let line = said.lines().find_map(|line| line.strip_prefix("fence ")).unwrap_or_default();
    line.trim().to_owned()
}

#[test]
fn explain_says_what_is_checked_under_a_fence() {
    for (path, wanted) in [
        (
            "/v2/device/7/alerts",
            "organizations 5, 7: the device {id} in the path must be inside; rows whose deviceId is inside pass",
        ),
        (
            "/v2/queries/disks",
            "organizations 5, 7: df is narrowed to the organizations inside; rows whose deviceId is inside pass",
        ),
    ] {
        assert_eq!(explained(FENCED, path), wanted);
    }
    assert_eq!(explained("[listeners.local]\n", "/v2/queries/disks"), "", "there is no fence");
}

#[test]
fn explain_says_how_to_open_what_is_tenant_wide() {
    let closed = "organizations 5, 7: closed, since policies belong to the whole tenant; \"GET /v2/policies\" in allow opens it, and then nothing of it is checked";
    assert_eq!(explained(FENCED, "/v2/policies"), closed);
    let said = run(FENCED, &["explain", "GET", "/v2/policies"]);
    assert!(said.contains("403 operation-tenant-wide"), "{said}");
    let opened = format!("{FENCED}allow = [\"GET /v2/policies\"]");
    let wanted = "organizations 5, 7: nothing is checked, since policies belong to the whole tenant";
    assert_eq!(explained(&opened, "/v2/policies"), wanted);
    assert_eq!(explained(FENCED, "/v2/new-thing"), "organizations 5, 7: closed, since the catalog does not know it");
}

#[test]
fn explain_judges_what_a_request_names_as_the_proxy_does() {
    let told = |path: &str| run(FENCED, &["explain", "GET", path]);
    for (path, wanted) in [
        ("/v2/organization/7/devices", "decision   allowed"),
        ("/v2/organization/8/devices", "404 not-in-organizations"),
        ("/v2/knowledgebase/organization/articles?organizationIds=5,8", "404 not-in-organizations"),
        ("/v2/knowledgebase/organization/articles?organizationIds=x", "403 organization-unclear"),
        ("/v2/device/7/disks", "decision   conditional"),
        ("/v2/device/7/disks", "whose the device 7 is"),
    ] {
        assert!(told(path).contains(wanted), "{path}: {}", told(path));
    }
    assert!(told("/v2/organization/8/devices").contains("gate       fence"));
}

#[test]
fn explain_says_nothing_of_a_fence_where_nothing_goes_to_ninjaone() {
    assert_eq!(explained(FENCED, "/oauth/token"), "");
}

#[test]
fn explain_tells_programs_of_the_fence() {
    let told = |text: &str| -> serde_json::Value {
        serde_json::from_str(&run(text, &["explain", "GET", "/v2/device/7", "--json"])).expect("JSON")
    };
    let fence = &told(FENCED)[0]["fence"];
    assert_eq!(fence["organizations"], serde_json::json!([5, 7]));
    assert_eq!(fence["class"], "device in the path");
    let checks = "the device {id} in the path must be inside; the answer passes if its organizationId is inside";
    assert_eq!(fence["checks"], checks);
    assert!(told("")[0]["fence"].is_null());
}

#[test]
fn a_caller_has_the_fence_of_its_listener_unless_its_own_is_narrower() {
    let text = format!(
        "{FENCED}[listeners.local.callers.all]\nuids = [1000]\n[listeners.local.callers.one]\nuids = [1001]\norganizations = [7]"
    );
    for (caller, organizations) in [("all", "5, 7"), ("one", "7")] {
        let said = run(&text, &["explain", "GET", "/v2/organizations", "--caller", caller]);
        let wanted = format!("fence      organizations {organizations}: rows whose id is inside pass\n");
        assert!(said.contains(&wanted), "{said}");
    }
}

fn route(text: &str, path: &str) -> String {
    let said = run(text, &["routes", "--all"]);
    let is_it = |line: &&str| line.split('\t').nth(3) == Some(path) && line.contains("\tGET\t");
    said.lines().find(is_it).expect("a line").split('\t').skip(7).collect::<Vec<_>>().join("\t")
}

#[test]
fn routes_says_how_each_operation_is_fenced() {
    let devices = "open\tscope and group; organizations 5, 7: df is narrowed to the organizations inside; rows whose organizationId is inside pass";
    assert_eq!(route(FENCED, "/v2/devices"), devices);
    let closed = "closed\torganizations 5, 7: closed, since policies belong to the whole tenant; \"GET /v2/policies\" in allow opens it, and then nothing of it is checked";
    assert_eq!(route(FENCED, "/v2/policies"), closed);
    let opened = format!("{FENCED}allow = [\"GET /v2/policies\"]");
    let wanted = "open\tallow \"GET /v2/policies\"; organizations 5, 7: nothing is checked, since policies belong to the whole tenant";
    assert_eq!(route(&opened, "/v2/policies"), wanted);
    let rows: serde_json::Value = serde_json::from_str(&run(FENCED, &["routes", "--json"])).expect("JSON");
    let classes: Vec<_> = rows.as_array().expect("rows").iter().map(|row| row["fence"]["class"].clone()).collect();
    assert!(classes.len() >= 60 && !classes.contains(&"closed".into()), "{classes:?}");
}

/// A record of these reads, by a listener without a fence.
fn recorded(folder: &std::path::Path, paths: &[&str]) {
    let file = folder.join("used.json");
    let mut proxy =
        Proxy::start("host = \"sandbox\"", "mode = \"observe\"", &format!("[learn]\nfile = {:?}", file.display()));
    for path in paths {
        assert_eq!(proxy.get(path).status, 200, "{path}");
    }
    proxy.shut_down().join().expect("an end");
}

#[test]
fn learn_opens_nothing_tenant_wide_that_is_closed() {
    let folder = folder(&format!("{FENCED}[learn]\nfile = \"used.json\""));
    recorded(folder.path(), &["/v2/devices", "/v2/policies"]);
    let (code, said, error) = run_binary(folder.path(), &["learn"], &[]);
    assert_eq!(code, 0, "{error}");
    assert!(said.contains("\"GET /v2/devices\",") && !said.contains("\"GET /v2/policies\""), "{said}");
    assert!(said.contains("# GET /v2/policies was used, and stays closed: it is tenant-wide"), "{said}");
}

#[test]
fn learn_keeps_what_a_rule_has_opened_by_name() {
    let folder = folder(&format!("{FENCED}allow = [\"GET /v2/policies\"]\n[learn]\nfile = \"used.json\""));
    // All of the group, which as a group opens nothing under a fence.
    recorded(folder.path(), &["/v2/devices", "/v2/policies"]);
    let (code, said, error) = run_binary(folder.path(), &["learn"], &[]);
    assert_eq!(code, 0, "{error}");
    assert!(said.contains("\"GET /v2/policies\",") && !said.contains("stays closed"), "{said}");
}

#[test]
fn check_knows_what_opens_something_under_a_fence() {
    let warnings = |rules: &str| run(&format!("{FENCED}{rules}"), &["check"]).matches("warning").count();
    let said = |rules: &str| run(&format!("{FENCED}{rules}"), &["check"]);
    let named = said("allow = [\"GET /v2/policies\"]");
    assert!(named.contains("no fence can keep") && !named.contains("adds nothing"), "{named}");
    let both = said("allow = [\"GET group:policies\", \"GET /v2/policies\"]");
    assert!(!both.contains("is shadowed"), "{both}");
    for wide in ["allow = [\"GET group:node-roles\"]", "groups = [\"node-roles\"]"] {
        let text = said(wide);
        assert!(text.contains("all that it matches is tenant-wide"), "{wide}: {text}");
    }
    assert_eq!(warnings("groups = [\"devices-read\"]"), 0);
}
