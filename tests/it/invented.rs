//! The sandbox in the place of a tenant: all who can be asked say so.

use crate::harness::{Proxy, request, run_binary};

const WARNING: &str = "instances.main is the SANDBOX, although";

#[test]
fn check_and_doctor_warn_of_a_sandbox_where_there_are_credentials() {
    let folder = tempfile::tempdir().expect("a folder");
    let set = [("NINJAONE_CLIENT_ID", "x"), ("NINJAONE_CLIENT_SECRET", "y")];
    for (environment, sign, fix) in [
        (&set[..1], "NINJAONE_CLIENT_ID is set", "start with --config FILE"),
        (&set[1..], "NINJAONE_CLIENT_SECRET is set", "\"ninjaone-proxy init\" writes one"),
    ] {
        let (code, said, _) = run_binary(folder.path(), &["check"], environment);
        assert!(code == 0 && said.contains(&format!("warning: {WARNING} {sign}: all data is invented")), "{said}");
        assert!(said.contains(fix), "{said}");
        let (code, said, _) = run_binary(folder.path(), &["doctor"], environment);
        assert!(code == 0 && said.contains(&format!("warning  credentials       {WARNING} {sign}")), "{said}");
    }
    let (_, said, _) = run_binary(folder.path(), &["check"], &[]);
    assert!(!said.contains("SANDBOX"), "{said}");
    // As the service is installed; what systemd gives it says nothing yet.
    let text = "[instances.main]\nhost = \"sandbox\"\n";
    std::fs::write(folder.path().join("config.toml"), text).expect("a file");
    let (_, said, _) = run_binary(folder.path(), &["check"], &[("CREDENTIALS_DIRECTORY", "/run/credentials/x")]);
    assert!(said.contains("this is a service with credentials") && said.contains("host = \"eu\""), "{said}");
    let (_, said, _) = run_binary(folder.path(), &["check"], &set);
    assert!(!said.contains("SANDBOX"), "it is written there: {said}");
}

#[test]
fn a_running_proxy_warns_of_a_sandbox_where_there_are_credentials_and_is_ready() {
    // The harness writes client-id.
    let proxy = Proxy::start("", "", "[probes]\naddress = \"127.0.0.1:0\"");
    assert_eq!(proxy.get("/v2/organizations").status, 200);
    let ready = request(proxy.admin, "GET", "/readyz", "", b"");
    let warnings = ready.json()["warnings"].clone();
    let warning = warnings[0].as_str().unwrap_or_default();
    assert!(ready.status == 200 && warning.starts_with(&format!("{WARNING} client-id is written")), "{ready:?}");
    let page = String::from_utf8(request(proxy.admin, "GET", "/", "", b"").body).expect("text");
    assert!(page.contains(WARNING), "{page}");
    let probes = request(proxy.probes.expect("a listener"), "GET", "/readyz", "", b"");
    let body = String::from_utf8(probes.body.clone()).expect("text");
    assert!(probes.status == 200 && body.starts_with("ready\nwarning: an instance is the sandbox"), "{probes:?}");
    let meant = Proxy::sandboxed("");
    assert_eq!(meant.get("/v2/organizations").status, 200);
    assert_eq!(request(meant.admin, "GET", "/readyz", "", b"").json()["warnings"], serde_json::json!([]));
}
