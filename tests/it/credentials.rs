//! Client id and secret: where they come from, how they are sent, and what happens when they change.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::harness::{Ninja, Proxy, Scripted, Then, answer, eventually, grant, run_binary};
use crate::watch::{SCRIPTED_TOKEN, SECRET};

const REFUSED: &str = r#"{"error":"invalid_client"}"#;

/// A token server that takes this secret only, and an API that takes every token.
fn server(accepted: &Arc<Mutex<String>>) -> Scripted {
    let accepted = Arc::clone(accepted);
    Scripted::with_token_script(
        move |mut asked| {
            let good = asked.body.contains(&format!("client_secret={}", accepted.lock().expect("a lock")));
            let text = if good {
                grant(&format!("{SCRIPTED_TOKEN}{}", asked.number))
            } else {
                answer("401 Unauthorized", REFUSED)
            };
            asked.answer(&text);
            Then::Continue
        },
        |mut asked| {
            let token = asked.lines()["authorization"].join(",");
            asked.answer(&answer("200 OK", &format!("{token:?}")));
            Then::Continue
        },
    )
}

#[test]
fn a_secret_that_is_replaced_is_tried_at_once_and_no_request_is_lost() {
    let accepted = Arc::new(Mutex::new(SECRET.to_owned()));
    let server = server(&accepted);
    let proxy = Proxy::start(&server.instance(), "", "");
    let first = proxy.get("/v2/groups");
    assert_eq!(first.status, 200);
    let rotated = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let mut served = 0;
                    while !rotated.load(Ordering::SeqCst) {
                        assert_eq!(proxy.get("/v2/groups").status, 200);
                        served += 1;
                    }
                    served
                })
            })
            .collect();
        std::thread::sleep(Duration::from_millis(200));
        *accepted.lock().expect("a lock") = "the-second-secret".to_owned();
        proxy.replace_secret("the-second-secret\n");
        eventually("another token", || proxy.get("/v2/groups").body != first.body);
        rotated.store(true, Ordering::SeqCst);
        let served: u32 = callers.into_iter().map(|caller| caller.join().expect("no failure")).sum();
        assert!(served > 20, "{served} requests");
    });
    assert_eq!(server.token_requests(), 2);
}

#[test]
fn a_new_secret_that_is_refused_leaves_the_old_one_in_use() {
    let accepted = Arc::new(Mutex::new(SECRET.to_owned()));
    let server = server(&accepted);
    let proxy = Proxy::start(&server.instance(), "", "");
    assert_eq!(proxy.get("/v2/groups").status, 200);
    proxy.replace_secret("a-wrong-secret");
    eventually("both are tried", || server.token_requests() == 3);
    for _ in 0..20 {
        assert_eq!(proxy.get("/v2/groups").status, 200);
    }
    assert_eq!(server.token_requests(), 3, "not again without need");
}

#[test]
fn a_wrong_secret_that_is_mended_serves_within_seconds() {
    let accepted = Arc::new(Mutex::new("the-right-secret".to_owned()));
    let server = server(&accepted);
    let proxy = Proxy::start(&server.instance(), "", "");
    assert_eq!(proxy.get("/v2/groups").code(), "token-client-refused");
    let begun = Instant::now();
    proxy.replace_secret("the-right-secret");
    eventually("service", || proxy.get("/v2/groups").status == 200);
    assert!(begun.elapsed() < Duration::from_secs(15), "not only after the wait for what lasts: {:?}", begun.elapsed());
}

#[test]
fn both_ways_of_client_authentication_carry_any_secret() {
    let odd = "s&c=r+t %2f\u{e9}:\"\\";
    for auth in ["form", "basic"] {
        let ninja = Ninja::start(|options| options.client_secret = odd.to_owned());
        let proxy = Proxy::with_secret(odd, &format!("{}\nclient-auth = {auth:?}", ninja.instance()), "", "");
        assert_eq!(proxy.get("/v2/groups").status, 200, "{auth}");
    }
    for (auth, basic) in [("form", false), ("basic", true)] {
        let seen = Arc::new(Mutex::new(String::new()));
        let copy = Arc::clone(&seen);
        let tokens = move |mut asked: crate::harness::Asked<'_>| {
            *copy.lock().expect("a lock") = format!("{}\r\n{}", asked.head, asked.body);
            asked.answer(&grant(SCRIPTED_TOKEN));
            Then::Continue
        };
        let server = Scripted::with_token_script(tokens, |mut asked| {
            asked.answer(&answer("200 OK", "[]"));
            Then::Continue
        });
        let proxy = Proxy::start(&format!("{}\nclient-auth = {auth:?}", server.instance()), "", "");
        assert_eq!(proxy.get("/v2/groups").status, 200);
        let seen = seen.lock().expect("a lock");
        assert_eq!(seen.to_ascii_lowercase().contains("\r\nauthorization: basic "), basic, "{seen}");
        assert_eq!(seen.contains("client_secret="), !basic, "{seen}");
        assert!(seen.contains("grant_type=client_credentials&scope=monitoring"), "{seen}");
    }
}

/// Runs `check` with this client secret in a folder that holds a file `secret`.
fn check(secret: &str, environment: &[(&str, &str)]) -> (i32, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let text = format!("[instances.main]\nhost = \"eu\"\nclient-id = \"id\"\nclient-secret = {secret}");
    std::fs::write(folder.path().join("config.toml"), text).expect("a file");
    std::fs::write(folder.path().join("secret"), SECRET).expect("a file");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let open = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(folder.path().join("secret"), open).expect("a mode");
    }
    let directory = folder.path().display().to_string();
    let environment: Vec<_> = environment
        .iter()
        .map(|(name, value)| (*name, if value.is_empty() { directory.as_str() } else { value }))
        .collect();
    let (code, said, error) = run_binary(folder.path(), &["check"], &environment);
    assert!(!said.contains(SECRET) && !error.contains(SECRET), "{said}{error}");
    (code, said + &error)
}

#[test]
fn a_secret_comes_from_the_environment_a_file_systemd_or_a_command() {
    for (secret, environment) in [
        ("{ env = \"MY_SECRET\" }", [("MY_SECRET", SECRET)]),
        ("{ file = \"secret\" }", [("X", "1")]),
        ("{ credential = \"secret\" }", [("CREDENTIALS_DIRECTORY", "")]),
    ] {
        let (code, said) = check(secret, &environment);
        assert!(code == 0 && said.contains("secret: present"), "{said}");
    }
    for (secret, message) in [
        ("\"in the file\"", "a secret must not be in this file"),
        ("{ env = \"MY_SECRET\" }", "the environment variable MY_SECRET is not set: set it"),
        ("{ file = \"missing\" }", "missing cannot be read: "),
        ("{ credential = \"secret\" }", "there is no credential \"secret\": systemd passes them to services"),
        ("{ credential = \"../secret\" }", "\"../secret\" is not the name of a systemd credential"),
        ("{ command = [] }", "a command begins with the name of a program"),
        (
            "{ command = \"cat secret\" }",
            "a command is a list of words: write { command = [\"PROGRAM\", \"ARGUMENT\"] }",
        ),
        ("{ command = [\"no-such-program-here\"] }", "the command \"no-such-program-here\" cannot be run"),
        ("{ env = \"A\", file = \"b\" }", "give only one of env, file, credential and command"),
        ("hunter2", "text needs quotation marks"),
        ("22222222", "give it as { env = \"VARIABLE\" }, "),
        ("true", "give it as { env = \"VARIABLE\" }, "),
        ("{ vault = \"x\" }", "unknown key \"vault\": valid are env, file, credential, command"),
    ] {
        let (code, said) = check(secret, &[]);
        assert!(code == 78 && said.contains("main.client-secret") && said.contains(message), "{secret}: {said}");
        assert!(!said.contains("hunter2") && !said.contains("22222222"), "{said}");
    }
}

#[cfg(unix)]
#[test]
fn a_command_prints_the_secret_and_an_open_file_is_warned_of() {
    let (code, said) = check("{ command = [\"cat\", \"secret\"] }", &[]);
    assert!(code == 0 && said.contains("secret: present") && !said.contains("chmod"), "{said}");
    let (code, said) = check("{ command = [\"false\"] }", &[]);
    assert!(code == 78 && said.contains("\"false\" failed (exit status: 1): run it by hand"), "{said}");
    let (_, said) = check("{ file = \"secret\" }", &[]);
    assert!(said.contains("warning: every user may read ") && said.contains("(mode 644): chmod 600 "), "{said}");
}
