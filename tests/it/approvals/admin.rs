//! What the admin listener and the commands show of approvals, to whom, and whose decisions they take.

use serde_json::Value;

use super::stand::{BODY, Stand, key};
use crate::harness::{Proxy, Reply, Scripted, Then, answer, eventually, request, run_binary};

const PAGE: &str = "Accept: text/html\r\n";

fn get(stand: &Stand, path: &str, headers: &str) -> Reply {
    request(stand.proxy.admin, "GET", path, headers, b"")
}

fn post(stand: &Stand, id: &str, headers: &str, form: &str) -> Reply {
    let kind = "Content-Type: application/x-www-form-urlencoded\r\n";
    request(stand.proxy.admin, "POST", &format!("/approvals/{id}"), &format!("{kind}{headers}"), form.as_bytes())
}

fn text(reply: &Reply) -> String {
    String::from_utf8(reply.body.clone()).expect("text")
}

#[test]
fn without_an_approvers_key_neither_query_nor_body_is_shown() {
    let stand = Stand::start("wait = \"0s\"", "");
    let id = stand.ask_id();
    let one = format!("/approvals/{id}");
    for (path, headers) in [("/approvals", ""), ("/approvals.json", ""), (&*one, ""), (&*one, PAGE), ("/", "")] {
        let reply = get(&stand, path, headers);
        assert_eq!(reply.status, 200, "{path}");
        let text = text(&reply);
        let told = path == "/" || text.contains("/v2/device/7/script/run") && text.contains("patch week");
        assert!(told && !text.contains("seven") && !text.contains("SCRIPT"), "{path}: {text}");
    }
    assert!(text(&get(&stand, "/", "")).contains("1 request waits"), "the status page counts them");
    let shown = get(&stand, &one, &format!("Authorization: Bearer {}\r\n", key("lead"))).json();
    assert_eq!((&shown["query"], &shown["peer"].is_string()), (&"note=seven".into(), &true), "{shown}");
    let body = shown["body"].as_str().expect("a body");
    assert_eq!(body, "{\n  \"type\": \"SCRIPT\",\n  \"id\": 12,\n  \"adminPassword\": \"***\"\n}");
    assert_eq!((&shown["maskedValues"], &shown["bodyBytes"]), (&1.into(), &BODY.len().into()));
    assert_eq!((&shown["group"], &shown["risk"]), (&"scripts".into(), &"critical".into()));
    let list = get(&stand, "/approvals.json", &format!("Authorization: Bearer {}\r\n", key("lead"))).json();
    assert_eq!(list[0]["query"], "note=seven");
}

#[test]
fn a_decision_needs_the_key_of_an_approver_each_time() {
    let stand = Stand::start("wait = \"0s\"", "");
    let id = stand.ask_id();
    for (headers, form, status, code) in [
        ("", "decision=approve", 401, "key-missing"),
        ("", "decision=approve&key=wrong", 401, "key-wrong"),
        ("", &format!("decision=approve&key={}", key("agent")), 401, "key-wrong"),
        ("Authorization: Basic bGVhZDps\r\n", "decision=approve", 401, "key-missing"),
        ("", &format!("decision=maybe&key={}", key("lead")), 400, "decision-unclear"),
        ("", &format!("key={}", key("lead")), 400, "decision-unclear"),
        ("", &"x".repeat(20_000), 413, "body-too-large"),
    ] {
        let reply = post(&stand, &id, headers, form);
        assert_eq!((reply.status, reply.code_of_problem().as_str()), (status, code), "{form:.60}");
    }
    assert_eq!(
        request(stand.proxy.admin, "PUT", &format!("/approvals/{id}"), "", b"").header("allow"),
        "GET, HEAD, POST"
    );
    assert_eq!(request(stand.proxy.admin, "POST", "/approvals", "", b"").status, 405);
    let unknown = post(&stand, &"0".repeat(32), "", "");
    assert_eq!((unknown.status, unknown.code_of_problem().as_str()), (404, "approval-unknown"));
    assert_eq!(stand.list()[0]["state"], "waiting");
    let throttled =
        (0..40).map(|_| post(&stand, &id, "", "decision=deny&key=wrong").status).filter(|code| *code == 429);
    assert!(throttled.count() > 10, "wrong keys are limited");
    assert_eq!(stand.decide("lead", &id, "approve").status, 200, "right ones are not");
}

#[test]
fn an_approver_reads_the_names_of_device_and_organization_and_each_is_read_once() {
    let stand = Stand::start("wait = \"0s\"", "");
    let id = stand.ask_id();
    let whole =
        || get(&stand, &format!("/approvals/{id}"), &format!("Authorization: Bearer {}\r\n", key("lead"))).json();
    let names = serde_json::json!([
        { "what": "Device", "name": "SRV-07 (7)" },
        { "what": "Organization", "name": "Acme <b> (5)" },
    ]);
    assert_eq!(whole()["names"], names);
    assert_eq!(whole()["names"], names);
    let page = text(&post(&stand, &id, PAGE, &format!("decision=show&key={}", key("lead"))));
    assert!(page.contains("SRV-07 (7)") && page.contains("Acme &lt;b&gt; (5)"), "{page}");
    assert_eq!((stand.server.api_requests(), stand.count_sent()), (2, 0), "two reads of the proxy's own");
}

#[test]
fn what_has_no_name_has_its_id_and_the_reason() {
    let server = Scripted::start(|mut asked| {
        asked.answer(&answer("404 Not Found", "{}"));
        Then::Continue
    });
    let rest = super::approvals("wait = \"0s\"", &["lead"]);
    let proxy = Proxy::start(&server.instance(), &super::stand::listener(), &rest);
    let asked = proxy.send("POST", super::stand::TARGET, &super::lines("agent", ""), BODY);
    let id = asked.json()["id"].as_str().expect("an id").to_owned();
    let bearer = format!("Authorization: Bearer {}\r\n", key("lead"));
    let shown = request(proxy.admin, "GET", &format!("/approvals/{id}"), &bearer, b"").json();
    let name = shown["names"][0]["name"].as_str().expect("a text");
    assert_eq!(name, "7 (its name is not known: NinjaOne answers 404)");
}

#[test]
fn a_page_of_another_origin_decides_nothing() {
    let stand = Stand::start("wait = \"0s\"", "");
    let id = stand.ask_id();
    let form = format!("decision=approve&key={}", key("lead"));
    for mark in ["Origin: https://evil.example\r\n", "Origin: null\r\n", "Sec-Fetch-Site: cross-site\r\n"] {
        assert_eq!(post(&stand, &id, mark, &form).status, 403, "{mark}");
    }
    assert_eq!(stand.list()[0]["state"], "waiting");
    let own = format!("Origin: http://{}\r\nSec-Fetch-Site: same-origin\r\n{PAGE}", stand.proxy.admin);
    assert_eq!(post(&stand, &id, &own, &form).status, 200);
    assert_eq!(stand.list()[0]["state"], "approved");
}

#[test]
fn the_page_shows_the_whole_request_after_the_key_and_takes_the_decision() {
    let stand = Stand::start("wait = \"0s\"", "");
    let id = stand.ask_id();
    let list = get(&stand, "/approvals", "");
    assert_eq!(list.header("content-type"), "text/html; charset=utf-8");
    assert!(list.header("content-security-policy").starts_with("default-src 'none'; style-src 'sha256-"));
    assert_eq!(list.header("referrer-policy"), "same-origin");
    assert!(text(&list).contains(&format!("href=\"/approvals/{id}\"")));
    let before = text(&get(&stand, &format!("/approvals/{id}"), PAGE));
    assert!(before.contains("Show query and body") && !before.contains("value=\"approve\""), "look first");
    let wrong = post(&stand, &id, PAGE, "decision=show&key=wrong");
    assert_eq!(wrong.status, 403, "a browser would ask for a password at 401");
    assert!(text(&wrong).contains("role=\"alert\"") && !text(&wrong).contains("seven"));
    let whole = text(&post(&stand, &id, PAGE, &format!("decision=show&key={}", key("lead"))));
    for part in ["note=seven", "&quot;adminPassword&quot;: &quot;***&quot;", "value=\"approve\"", "value=\"deny\""] {
        assert!(whole.contains(part), "{part}");
    }
    assert!(!whole.contains("hunter2") && !whole.contains(&key("lead")), "neither a secret nor the key");
    let done = post(&stand, &id, PAGE, &format!("decision=approve&comment=%3Cb%3E&key={}", key("lead")));
    assert!(done.status == 200 && text(&done).contains("Approved. The request may be sent once."), "{done:?}");
    let after = text(&post(&stand, &id, PAGE, &format!("decision=show&key={}", key("lead"))));
    assert!(after.contains("Approved by") && after.contains("&lt;b&gt;") && !after.contains("<b>:"), "{after}");
    assert_eq!(get(&stand, "/approvals/x", PAGE).status, 404);
}

#[test]
fn commands_list_show_and_decide() {
    let stand = Stand::start("wait = \"20s\"", "");
    let held = stand.ask_aside();
    let id = stand.waiting();
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("lead.key"), format!("{}\n", key("lead"))).expect("a file");
    std::fs::write(folder.path().join("wrong.key"), "npk_wrong\n").expect("a file");
    let admin = stand.proxy.admin.to_string();
    let run = |arguments: &[&str]| {
        let all = [&["approvals"], arguments].concat();
        run_binary(folder.path(), &all, &[("NINJAONE_PROXY_ADMIN", &admin)])
    };
    let (code, output, errors) = run(&["list", "--json"]);
    assert_eq!((code, errors.as_str()), (0, ""));
    let listed: Value = serde_json::from_str(&output).expect("JSON");
    assert_eq!((&listed[0]["id"], &listed[0]["state"]), (&id.as_str().into(), &"waiting".into()));
    let (code, output, _) = run(&["list"]);
    assert!(
        code == 0 && output.starts_with(&format!("{id} waiting critical risk, agent on local, until ")),
        "{output}"
    );
    let (code, output, _) = run(&["show", &id]);
    assert!(code == 0 && output.contains("give --key-file FILE") && !output.contains("SCRIPT"), "{output}");
    let (code, output, _) = run(&["show", &id, "--key-file", "lead.key"]);
    assert!(code == 0 && output.contains("\"adminPassword\": \"***\"") && output.contains("note=seven"), "{output}");
    let (code, _, errors) = run(&["approve", &id, "--key-file", "wrong.key"]);
    assert!(code == 1 && errors.contains("key-wrong") && errors.contains("not the key of an approver"), "{errors}");
    let (code, _, errors) = run(&["approve", &id, "--key-file", "none.key"]);
    assert!(code == 65 && errors.contains("none.key cannot be read"), "{errors}");
    assert_eq!(run(&["approve", "x", "--key-file", "lead.key"]).0, 64);
    assert_eq!(run(&["approve", &id]).0, 64, "a key is needed");
    let (code, output, errors) = run(&["approve", &id, "--key-file", "lead.key", "--comment", "ticket 12"]);
    assert_eq!((code, errors.as_str()), (0, ""), "{output}");
    assert_eq!(output, "approved: POST /v2/device/{id}/script/run may be sent once\n");
    assert_eq!(held.join().expect("an answer").status, 200);
    let (code, _, errors) = run(&["deny", &id, "--key-file", "lead.key"]);
    assert!(code == 1 && errors.contains("approval-over"), "{errors}");
    eventually("it is used", || stand.list()[0]["state"] == "used");
    let nobody = run_binary(folder.path(), &["approvals", "list", "--admin", "127.0.0.1:9"], &[]);
    assert!(nobody.0 == 1 && nobody.2.contains("is the proxy running?"), "{nobody:?}");
}

#[test]
fn a_key_for_an_approver_comes_with_the_lines_for_the_configuration() {
    let folder = tempfile::tempdir().expect("a folder");
    let (code, output, errors) = run_binary(folder.path(), &["key", "new", "lead", "--approver"], &[]);
    assert_eq!((code, errors.as_str()), (0, ""));
    assert!(output.contains("\n[approvals.approvers.lead]\nkey = \"sha256:"), "{output}");
    let config = format!("[listeners.local.callers.agent]\nkey = \"{}\"\n{output}", super::stand::hash("agent"));
    std::fs::write(folder.path().join("config.toml"), config).expect("a file");
    let (code, output, _) = run_binary(folder.path(), &["check"], &[]);
    let told = "# approvals: 1 of lead must approve, 1 for critical risk; a request can be approved for 900s, and its caller is held for 30s\n";
    assert!(code == 0 && output.contains(told), "{output}");
    let (code, _, errors) = run_binary(folder.path(), &["key", "new", "agent", "--approver"], &[]);
    assert!(code == 64 && errors.contains("an approver must be somebody else than the caller"), "{errors}");
}
