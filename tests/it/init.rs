//! `init`: by questions on standard input, and by options.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::{Ninja, run_binary};
use crate::watch::SECRET;

/// Runs `init` with these lines on standard input.
fn init(folder: &Path, arguments: &[&str], input: &str) -> (i32, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ninjaone-proxy"))
        .arg("init")
        .args(arguments)
        .current_dir(folder)
        .env_remove("NINJAONE_CLIENT_SECRET")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    // It may not want any of it.
    let _ = child.stdin.take().expect("standard input").write_all(input.as_bytes());
    let output = child.wait_with_output().expect("an end");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

fn read(folder: &Path, name: &str) -> (String, u32) {
    let path = folder.join(name);
    let mode = std::fs::metadata(&path).expect("a file").permissions().mode() & 0o777;
    (std::fs::read_to_string(path).expect("text"), mode)
}

#[test]
fn init_asks_until_an_answer_is_good_writes_both_files_and_ends_with_doctor() {
    let (ninja, folder) = (Ninja::start(|_| ()), tempfile::tempdir().expect("a folder"));
    let answers = format!(
        "mars\nhttp://{}\ntwo words\nsandbox\ncupboard\nfile\n\n{SECRET}\nmonitoring, managment\nmonitoring, management\n",
        ninja.address
    );
    let (code, said, asked) = init(folder.path(), &[], &answers);
    assert_eq!(code, 0, "{said}{asked}");
    for part in [
        "\"mars\" is not a region, and not a whole host name either",
        "a client id is one word",
        "answer one of file, env, credential, command",
        "did you mean \"management\"?",
    ] {
        assert!(asked.contains(part), "{part} is not in {asked}");
    }
    for part in ["wrote the client secret to client-secret", "wrote config.toml", "ok       read"] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    assert!(!said.contains(SECRET) && !asked.contains(SECRET), "{said}{asked}");
    assert_eq!(read(folder.path(), "client-secret"), (SECRET.to_owned(), 0o600));
    let (text, mode) = read(folder.path(), "config.toml");
    assert_eq!(mode, 0o640);
    for line in [
        &format!("host = \"http://{}\"", ninja.address),
        "client-id = \"sandbox\"",
        "client-secret = { file = \"client-secret\" }",
        "scopes = [\"monitoring\", \"management\"]",
    ] {
        assert!(text.lines().any(|own| own == line), "{line} is not in {text}");
    }
    assert_eq!(run_binary(folder.path(), &["check"], &[]).0, 0);
}

#[test]
fn init_does_not_repeat_a_secret_that_is_typed_too_early() {
    let folder = tempfile::tempdir().expect("a folder");
    for early in [
        &["--region", "eu"][..],
        &["--region", "eu", "--client-id", "x"],
        &["--region", "eu", "--client-id", "x", "--secret-env", "S"],
    ] {
        let (code, said, asked) = init(folder.path(), early, &format!("{SECRET} {SECRET}\nenv\n"));
        assert!(code == 64 && !said.contains(SECRET) && !asked.contains(SECRET), "{early:?}: {code} {said}{asked}");
    }
    let given = ["--region", "eu", "--client-id", "x"];
    let (_, said, asked) = init(folder.path(), &given, &format!("env\n{SECRET} {SECRET}\n"));
    assert!(asked.contains("this is not a name") && !asked.contains(SECRET), "{said}{asked}");
}

#[test]
fn init_needs_no_terminal_where_options_say_all() {
    let (ninja, folder) = (Ninja::start(|_| ()), tempfile::tempdir().expect("a folder"));
    std::fs::create_dir(folder.path().join("secrets")).expect("a folder");
    std::fs::write(folder.path().join("secrets/one"), format!("{SECRET}\n")).expect("a file");
    std::fs::set_permissions(folder.path().join("secrets/one"), PermissionsExt::from_mode(0o600)).expect("a mode");
    let host = format!("http://{}", ninja.address);
    let given = ["--region", &host, "--client-id", "sandbox", "--secret-file", "secrets/one", "--scopes", "monitoring"];
    let (code, said, asked) = init(folder.path(), &[&given[..], &["--output", "n.toml"]].concat(), "");
    assert_eq!((code, asked.as_str()), (0, ""), "{said}");
    assert!(
        said.contains("the client secret is in secrets/one\nwrote n.toml") && said.contains("ok       read"),
        "{said}"
    );
    assert!(read(folder.path(), "n.toml").0.contains("client-secret = { file = \"secrets/one\" }"));

    let (code, said, asked) = init(folder.path(), &[&given[..], &["--output", "n.toml"]].concat(), "");
    assert!(code == 64 && asked.contains("n.toml exists already: give another --output"), "{said}{asked}");
    let more = ["--output", "n.toml", "--force", "--no-doctor"];
    let (code, said, _) = init(folder.path(), &[&given[..], &more].concat(), "");
    assert!(code == 0 && said.contains("replaced n.toml"), "{said}");

    for (place, line) in [
        (&["--secret-env", "S"][..], "client-secret = { env = \"S\" }"),
        (&["--secret-credential", "client-secret"], "client-secret = { credential = \"client-secret\" }"),
        (
            &["--secret-command", "op", "read", "--no-newline"],
            "client-secret = { command = [\"op\", \"read\", \"--no-newline\"] }",
        ),
    ] {
        let given = ["--host", "EU", "--client-id", "x", "--scopes", "control", "--no-doctor", "--force"];
        let (code, said, asked) = init(folder.path(), &[&given[..], place].concat(), "");
        assert_eq!(code, 0, "{said}{asked}");
        let (text, _) = read(folder.path(), "config.toml");
        assert!(text.contains(line) && text.contains("host = \"eu\"") && text.contains("[\"control\"]"), "{text}");
    }
}

#[test]
fn init_says_what_was_not_answered_and_writes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    for (arguments, input, part) in [
        (&[][..], "", "give --region"),
        (&["--region", "eu"], "", "give --client-id"),
        (&["--region", "eu", "--client-id", "x"], "", "give --secret-file"),
        (&["--region", "eu", "--client-id", "x", "--secret-file", "s"], "", "it goes to s, or put it there"),
        (&["--region", "eu", "--client-id", "x", "--secret-file", "s"], "two words\n", "this is not a client secret"),
        (&["--region", "eu", "--client-id", "x", "--secret-file", "s"], "secret\n", "give --scopes"),
        (&["--region", "us3"], "", "did you mean \"us"),
        (&["--secret-file", "a", "--secret-env", "b"], "", "cannot be used with"),
    ] {
        let (code, said, asked) = init(folder.path(), arguments, input);
        assert!(code == 64 && asked.contains(part), "{arguments:?}: {code} {said}{asked}");
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0, "{arguments:?}");
    }
    std::fs::write(folder.path().join("s"), "\n").expect("a file");
    let given = ["--region", "eu", "--client-id", "x", "--secret-file", "s", "--scopes", "monitoring"];
    let (code, _, said) = init(folder.path(), &given, "");
    assert!(code == 64 && said.contains("there is no client secret in the file that was given"), "{said}");
}

#[test]
fn init_ends_as_doctor_does() {
    let (ninja, folder) = (Ninja::start(|_| ()), tempfile::tempdir().expect("a folder"));
    let host = format!("http://{}", ninja.address);
    let given = ["--region", &host, "--client-id", "sandbox", "--secret-file", "s", "--scopes", "monitoring"];
    let (code, said, _) = init(folder.path(), &given, "a-wrong-secret\n");
    assert!(code == 1 && said.contains("failed   scope monitoring"), "{said}");
    assert_eq!(read(folder.path(), "s").0, "a-wrong-secret");
}
