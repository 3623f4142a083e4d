//! The rights that deploy/ gives the proxy in a store: enough for all that it does, and nothing of others.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

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

/// Every command that a source asks a store for, in lower case, with the file.
fn commands(folder: &Path, found: &mut BTreeSet<(String, PathBuf)>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            commands(&path, found);
        } else {
            let text = std::fs::read_to_string(&path).expect("text");
            for (mark, end) in [("redis.call('", '\''), ("redis::cmd(\"", '"')] {
                let named = text.split(mark).skip(1).filter_map(|rest| rest.split(end).next());
                found.extend(named.map(|name| (name.to_ascii_lowercase(), path.clone())));
            }
        }
    }
}

#[test]
fn every_command_of_the_sources_is_among_the_rights() {
    let Some(redis) = RedisServer::start() else { return };
    let category = |name: &str| -> BTreeSet<String> {
        redis.cli(&["ACL", "CAT", name]).lines().map(str::to_ascii_lowercase).collect()
    };
    let mut allowed: BTreeSet<String> = &category("read") | &category("write");
    allowed = &allowed - &category("dangerous");
    let file = include_str!("../../../deploy/store-users.acl.example");
    let rights = file.lines().find(|line| line.starts_with("user ninjaone-proxy ")).expect("the user");
    assert!(rights.contains(" -@all +@read +@write -@dangerous +"), "as it is computed here: {rights}");
    allowed.extend(rights.split(' ').filter_map(|right| right.strip_prefix('+')).map(str::to_owned));
    let mut found = BTreeSet::new();
    commands(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    assert!(found.len() >= 20, "{found:?}");
    for (command, file) in found {
        // The sentinels are no stores.
        assert!(command == "sentinel" || allowed.contains(&command), "{command} in {}", file.display());
    }
}
