//! Tokens over several replicas: local tokens that each knows, and one token request for all.

use std::path::Path;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use ninjaone_proxy::proxy::authn::key::KeyHash;
use tempfile::TempDir;

use super::{RedisServer, config};
use crate::harness::{Ninja, Proxy, eventually};

/// A listener with two callers, whose keys are `NAME-key`.
fn callers(names: &[&str]) -> String {
    let one = |name: &&str| {
        let hash = KeyHash::of(format!("{name}-key").as_bytes());
        format!("[listeners.local.callers.{name}]\nkey = \"{hash}\"\n")
    };
    names.iter().map(one).collect()
}

/// `[shared]` with these sealing keys, and no store.
fn keys(texts: &[&str]) -> (TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |(number, text): (usize, &&str)| {
        let path = folder.path().join(format!("key-{number}"));
        std::fs::write(&path, format!("{text}: nobody guesses this sealing key\n")).expect("a file");
        reference(&path)
    };
    let files: Vec<_> = texts.iter().enumerate().map(file).collect();
    let table = format!("[shared]\nkey = [{}]", files.join(", "));
    (folder, table)
}

fn reference(path: &Path) -> String {
    format!("{{ file = {:?} }}", path.display().to_string())
}

fn local_token(proxy: &Proxy, name: &str) -> String {
    let form = format!("grant_type=client_credentials&client_id={name}&client_secret={name}-key");
    let granted = proxy.send("POST", "/ws/oauth/token", "", form.as_bytes());
    assert_eq!(granted.status, 200, "{granted:?}");
    granted.json()["access_token"].as_str().expect("a token").to_owned()
}

/// The status that a request with this token gets.
fn with(proxy: &Proxy, token: &str) -> u16 {
    proxy.send("GET", "/v2/groups", &format!("Authorization: Bearer {token}\r\n"), b"").status
}

#[test]
fn local_tokens_are_good_at_every_replica_and_after_a_restart_while_their_caller_is_as_it_was() {
    let (_folder, shared) = keys(&["one"]);
    let start = |names: &[&str], rest: &str| Proxy::start("host = \"sandbox\"", &callers(names), rest);
    let mut first = start(&["reports", "desk"], &shared);
    let second = start(&["desk", "reports"], &shared);
    let token = local_token(&first, "reports");
    assert_eq!((with(&first, &token), with(&second, &token)), (200, 200));
    drop(second);
    let started_again = start(&["reports"], &shared);
    assert_eq!(with(&started_again, &token), 200);
    assert_eq!(with(&start(&["desk"], &shared), &token), 401, "its caller is gone");
    first.reconfigure(&callers(&["desk"]), &shared).expect("a reload");
    assert_eq!(with(&first, &token), 401);
    // As the documents say: all that replicas know of a caller is the configuration.
    first.reconfigure(&callers(&["reports"]), &shared).expect("a reload");
    assert_eq!(with(&first, &token), 200);
    // Without the key, or with another one, it is nobody's.
    assert_eq!(with(&start(&["reports"], ""), &token), 401);
    let (_other, another) = keys(&["two"]);
    assert_eq!(with(&start(&["reports"], &another), &token), 401);
}

#[test]
fn sealing_keys_are_rotated_without_a_local_token_that_is_refused() {
    let tables = [&["old"][..], &["old", "new"], &["new", "old"], &["new"]].map(keys);
    let start = |(_, shared): &(TempDir, String)| Proxy::start("host = \"sandbox\"", &callers(&["reports"]), shared);
    let steps: Vec<_> = tables.iter().map(start).collect();
    for pair in steps.windows(2) {
        assert_eq!(with(&pair[1], &local_token(&pair[0], "reports")), 200);
        assert_eq!(with(&pair[0], &local_token(&pair[1], "reports")), 200);
    }
    assert_eq!(with(&steps[3], &local_token(&steps[0], "reports")), 401);
}

/// All of these proxies get so many requests at once; each is served.
fn at_once(proxies: &[Proxy], requests: usize) {
    let ready = Barrier::new(proxies.len() * requests);
    thread::scope(|scope| {
        for proxy in proxies {
            for _ in 0..requests {
                scope.spawn(|| {
                    ready.wait();
                    let reply = proxy.get("/v2/groups");
                    assert_eq!(reply.status, 200, "{reply:?}");
                });
            }
        }
    });
}

fn replicas(count: usize, ninja: &Ninja, server: &RedisServer) -> Vec<Proxy> {
    let shared = config(server);
    thread::scope(|scope| {
        let all: Vec<_> = (0..count).map(|_| scope.spawn(|| Proxy::start(&ninja.instance(), "", &shared))).collect();
        all.into_iter().map(|proxy| proxy.join().expect("a proxy")).collect()
    })
}

#[test]
fn replicas_share_one_token_and_renew_it_once_when_it_is_revoked() {
    let Some(server) = RedisServer::start() else { return };
    let ninja = Ninja::start(|options| options.token_delay = Duration::from_millis(300));
    let proxies = replicas(5, &ninja, &server);
    at_once(&proxies, 20);
    assert_eq!(ninja.counts().token_requests, 1);
    for round in 2..5 {
        ninja.sandbox.revoke_tokens();
        at_once(&proxies, 20);
        assert_eq!(ninja.counts().token_requests, round);
    }
    // One that comes later asks for nothing.
    assert_eq!(Proxy::start(&ninja.instance(), "", &config(&server)).get("/v2/groups").status, 200);
    assert_eq!(ninja.counts().token_requests, 4);
    // And nobody who reads the store reads a token.
    let seen = everything(&server);
    assert!(seen.contains("ninjaone-proxy:token:") && !seen.contains("Bearer") && !seen.contains("sandbox"), "{seen}");
}

/// All that the store holds, as text.
fn everything(server: &RedisServer) -> String {
    let keys = server.cli(&["--scan"]);
    keys.lines().map(|key| format!("{key} {}\n", server.cli(&["DUMP", key]))).collect()
}

#[test]
fn replicas_renew_a_token_ahead_of_its_end_once_for_all() {
    let Some(server) = RedisServer::start() else { return };
    let ninja = Ninja::start(|options| options.token_lifetime = Duration::from_secs(4));
    let proxies = replicas(4, &ninja, &server);
    let begun = std::time::Instant::now();
    while begun.elapsed() < Duration::from_secs(8) {
        for proxy in &proxies {
            assert_eq!(proxy.get("/v2/groups").status, 200);
        }
        thread::sleep(Duration::from_millis(20));
    }
    let counts = ninja.counts();
    assert!((3..=5).contains(&counts.token_requests), "{} token requests", counts.token_requests);
    assert_eq!(counts.unauthorized, 0, "no expired token was sent");
}

#[test]
fn a_token_comes_also_while_the_store_is_down_and_is_shared_when_it_is_back() {
    let Some(mut server) = RedisServer::start() else { return };
    let ninja = Ninja::start(|_| ());
    let proxies = replicas(2, &ninja, &server);
    at_once(&proxies, 2);
    assert_eq!(ninja.counts().token_requests, 1);
    server.stop();
    ninja.sandbox.revoke_tokens();
    at_once(&proxies, 5);
    assert_eq!(ninja.counts().token_requests, 3, "one of each");
    server.start_again();
    eventually("a token in the store", || server.cli(&["--scan", "--pattern", "*:token:*"]).contains(":token:"));
    at_once(&[Proxy::start(&ninja.instance(), "", &config(&server))], 5);
    assert_eq!(ninja.counts().token_requests, 3);
}

#[test]
fn what_no_replica_has_sealed_is_ignored_and_other_credentials_get_a_token_of_their_own() {
    let Some(server) = RedisServer::start() else { return };
    let ninja = Ninja::start(|_| ());
    let get = || Proxy::start(&ninja.instance(), "", &config(&server)).get("/v2/groups").status;
    assert_eq!(get(), 200);
    let key = server.cli(&["--scan", "--pattern", "*:token:*"]).trim().to_owned();
    let mut asked = 1;
    for (text, times) in [("", "1"), ("Bearer mine", "1"), ("x", "1048576")] {
        let set = "return redis.call('SET', KEYS[1], string.rep(ARGV[1], ARGV[2]), 'PX', 100000)";
        server.cli(&["EVAL", set, "1", &key, text, times]);
        asked += 1;
        assert_eq!((get(), ninja.counts().token_requests), (200, asked), "{times} times {text:?}");
        assert_eq!((get(), ninja.counts().token_requests), (200, asked), "it is replaced");
    }
    server.cli(&["DEL", &key]);
    server.cli(&["LPUSH", &key, "a list"]);
    assert_eq!((get(), ninja.counts().token_requests), (200, asked + 1));
    assert_eq!((get(), ninja.counts().token_requests), (200, asked + 1));
    // A lease that somebody else has made, which would never end, holds nobody up.
    server.cli(&["DEL", &key]);
    for kind in ["token-lease", "token-number"] {
        server.cli(&["SET", &key.replace(":token:", &format!(":{kind}:")), "x"]);
    }
    assert_eq!((get(), ninja.counts().token_requests), (200, asked + 2));
    // Another client secret does not take what was given for this one.
    let wrong = Proxy::with_secret("another secret", &ninja.instance(), "", &config(&server));
    assert_eq!(wrong.get("/v2/groups").code(), "token-client-refused");
    assert_eq!(get(), 200, "and its failure is not shared with those who have the right one");
}

#[test]
fn replicas_share_the_failure_of_the_one_that_asked() {
    let Some(server) = RedisServer::start() else { return };
    let ninja = Ninja::start(|options| {
        (options.client_secret, options.token_delay) = ("another".to_owned(), Duration::from_millis(300));
    });
    let proxies = replicas(5, &ninja, &server);
    let codes = thread::scope(|scope| {
        let all: Vec<_> = proxies.iter().map(|proxy| scope.spawn(|| proxy.get("/v2/groups").code())).collect();
        all.into_iter().map(|code| code.join().expect("a code")).collect::<Vec<_>>()
    });
    assert!(codes.iter().all(|code| code == "token-client-refused"), "{codes:?}");
    assert!(ninja.counts().token_requests <= 2, "{} token requests", ninja.counts().token_requests);
}
