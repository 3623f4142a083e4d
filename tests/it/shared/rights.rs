//! The rights that deploy/ gives the proxy in a store: enough for all that it does, and nothing of others.

use super::{RedisServer, config};
use crate::approvals::stand::{BODY, Stand, counted};
use crate::harness::eventually;

const PASSWORD: &str = "a-password-of-tests";

#[test]
fn the_user_of_deploy_has_the_rights_that_a_replica_needs_and_no_more() {
    let Some(redis) = RedisServer::start() else { return };
    let file = include_str!("../../../deploy/store-users.acl.example");
    assert!(file.starts_with("user default off\n"), "nobody comes in without a password");
    let line = file.lines().find_map(|line| line.strip_prefix("user ninjaone-proxy ")).expect("the user");
    let rights = line.replace("PASSWORD", PASSWORD);
    let words: Vec<&str> = ["ACL", "SETUSER", "ninjaone-proxy"].into_iter().chain(rights.split(' ')).collect();
    assert_eq!(redis.cli(&words).trim(), "OK");
    std::fs::write(redis.folder().join("password"), PASSWORD).expect("a file");
    let path = redis.folder().join("password");
    let login = format!("{}username = \"ninjaone-proxy\"\npassword = {{ file = {path:?} }}\n", config(&redis));
    let (server, sent) = counted();
    let rest = format!("[instances.main.rate]\nrequests-per-second = 100\n{login}");
    let [a, b] = [(); 2].map(|()| Stand::before(&server, &sent, "wait = \"0s\"", &rest));
    let (used, denied) = (a.ask_id(), b.ask_id());
    assert_eq!(b.decide("lead", &used, "approve").json()["state"], "approved");
    assert_eq!(a.decide("lead", &denied, "deny").status, 200);
    eventually("it is used", || a.repeat("agent", &used, BODY).status == 200);
    assert_eq!(redis.cli(&["ACL", "LOG"]).trim(), "", "nothing was refused");
    let as_proxy = |words: &[&str]| {
        let login = ["--user", "ninjaone-proxy", "--pass", PASSWORD, "--no-auth-warning"];
        redis.cli(&[&login[..], words].concat())
    };
    for forbidden in [&["GET", "others:entry"][..], &["FLUSHALL"], &["KEYS", "*"], &["CONFIG", "GET", "*"]] {
        assert!(as_proxy(forbidden).contains("NOPERM"), "{forbidden:?}");
    }
}
