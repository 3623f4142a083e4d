//! `exec`: unchanged commands with NinjaOne's host written into them, signals, exit codes, and what they find in their
//! environment.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use ninjaone_proxy::proxy::authn::key::NewKey;

use crate::command_line::folder;
use crate::harness::{binary, run_binary};
use crate::watch::SECRET;

const LOCAL: &str = "[listeners.local]\naddress = \"127.0.0.1:0\"\n";
const CURL: [&str; 7] =
    ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "https://eu.ninjarmm.com/v2/organizations"];

/// A folder with a configuration and a state folder of its own.
struct Place(tempfile::TempDir);

impl Place {
    fn new(text: &str) -> Self {
        Self(folder(text))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn state(&self) -> String {
        self.path().join("state").display().to_string()
    }

    /// Runs `exec` with these arguments.
    fn exec(&self, arguments: &[&str], environment: &[(&str, &str)]) -> (i32, String, String) {
        let state = self.state();
        let environment = [&[("STATE_DIRECTORY", &*state)], environment].concat();
        run_binary(self.path(), &[&["exec"], arguments].concat(), &environment)
    }

    /// The same as a process that can be sent signals; `shell` runs it, such as `exec "$0" "$@"`.
    fn start(&self, shell: &str, arguments: &[&str]) -> Child {
        Command::new("sh")
            .args(["-c", shell])
            .arg(binary())
            .args(arguments)
            .current_dir(self.path())
            .env("STATE_DIRECTORY", self.state())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Away from the terminal of the tests, which would send signals to both.
            .process_group(0)
            .spawn()
            .expect("the binary runs")
    }
}

fn is_missing(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    if !found {
        // Not by eprintln, which is shown for tests that fail only.
        let _ = writeln!(std::io::stderr(), "NOT RUN: there is no {program}, which exec is tried with.");
    }
    !found
}

/// A proxy of the binary, with the state folder of `place`; killed at the end of the test.
struct RunningProxy {
    child: Child,
    address: SocketAddr,
}

impl RunningProxy {
    /// `text` is TOML for its listener.
    fn start(place: &Place, text: &str) -> Self {
        let config = format!("{LOCAL}{text}\n[admin]\naddress = \"none\"\n");
        std::fs::write(place.path().join("running.toml"), config).expect("a file");
        let mut child = place.start("exec \"$0\" \"$@\"", &["--config", "running.toml"]);
        let mut lines = BufReader::new(child.stderr.take().expect("standard error")).lines().map_while(Result::ok);
        let address = lines.find_map(|line| {
            let (_, rest) = line.split_once("listening listener=local address=http://")?;
            rest.split(' ').next()?.parse().ok()
        });
        let address = address.expect("an address in the log");
        std::thread::spawn(move || lines.for_each(drop));
        // From now on the configuration of exec says where it is.
        let config = format!("[listeners.local]\naddress = \"{address}\"\n{text}\n[admin]\naddress = \"none\"\n");
        std::fs::write(place.path().join("config.toml"), config).expect("a file");
        Self { child, address }
    }
}

impl Drop for RunningProxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The value of a variable in what `env` prints.
fn value<'a>(printed: &'a str, name: &str) -> &'a str {
    let lines = printed.lines().filter_map(|line| line.split_once('='));
    lines.filter(|(own, _)| *own == name).map(|(_, value)| value).next().unwrap_or_else(|| panic!("{name}: {printed}"))
}

#[test]
fn unchanged_commands_are_answered_by_the_sandbox_with_nothing_set_up() {
    let place = Place::new(LOCAL);
    if !is_missing("curl") {
        let (code, said, errors) = place.exec(&[&["--"], &CURL[..]].concat(), &[]);
        assert_eq!((code, said.as_str()), (0, "200"), "{errors}");
        assert!(errors.contains("this is a SANDBOX"), "{errors}");
        let other = place.exec(&["--", "curl", "-sS", "https://other.example/"], &[]);
        assert!(other.0 == 56 && other.2.contains("403"), "{other:?}");
    }
    if !is_missing("python3") {
        let program = "import urllib.request as u, urllib.parse as p, json\n\
            form = p.urlencode({'grant_type': 'client_credentials', 'client_id': 'a', 'client_secret': 'b'}).encode()\n\
            token = json.load(u.urlopen('https://app.ninjarmm.com/ws/oauth/token', form))['access_token']\n\
            head = {'Authorization': 'Bearer ' + token}\n\
            print(u.urlopen(u.Request('https://app.ninjarmm.com/v2/organizations', headers=head)).status)";
        let (code, said, errors) = place.exec(&["--", "python3", "-c", program], &[]);
        assert_eq!((code, said.as_str()), (0, "200\n"), "{errors}");
    }
    if !is_missing("wget") {
        let (code, said, errors) =
            place.exec(&["--", "wget", "-qO-", "https://us2.ninjarmm.com/v2/organizations"], &[]);
        assert!(code == 0 && said.contains("Harbour"), "{said}{errors}");
    }
}

#[test]
fn the_exit_code_is_that_of_the_command() {
    let place = Place::new(LOCAL);
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143), ("kill -KILL $$", 137)] {
        assert_eq!(place.exec(&["--", "sh", "-c", script], &[]).0, code, "{script}");
    }
    let (code, _, errors) = place.exec(&["--", "no-such-program"], &[]);
    assert!(code == 127 && errors.contains("\"no-such-program\" is not found"), "{errors}");
    std::fs::write(place.path().join("notes.txt"), "notes").expect("a file");
    let (code, _, errors) = place.exec(&["--", "./notes.txt"], &[]);
    assert!(code == 126 && errors.contains("\"./notes.txt\" cannot be run"), "{errors}");
}

#[test]
fn arguments_that_say_too_little_are_64_and_what_to_type() {
    let two = format!("{LOCAL}[listeners.other]\naddress = \"127.0.0.1:0\"\n");
    let one = "[listeners.local.callers.one]\nuids = [1]\n[listeners.local.callers.two]\nuids = [2]\n";
    let other = "[listeners.a]\naddress = \"127.0.0.1:0\"\n[listeners.b]\naddress = \"127.0.0.1:0\"\n";
    let socket = "[listeners.local]\naddress = \"unix:ninja.sock\"\n".to_owned();
    for (text, arguments, says) in [
        (two.clone(), &[][..], "exec -- <COMMAND>"),
        (two.clone(), &["--"], "exec -- <COMMAND>"),
        (two.clone(), &["true"], "-- <COMMAND>"),
        (two.clone(), &["--listener", "nine", "--", "true"], "valid listeners are local, other"),
        (two.clone(), &["--caller", "one", "--", "true"], "has no callers: leave --caller one out"),
        (other.to_owned(), &["--", "true"], "name one of a, b with --listener"),
        (socket, &["--", "true"], "by TCP only"),
        (format!("{LOCAL}{one}"), &["--", "true"], "of one, two, with --caller"),
        (format!("{LOCAL}{one}"), &["--caller", "nine", "--", "true"], "valid callers are one, two"),
    ] {
        let (code, said, errors) = Place::new(&text).exec(arguments, &[]);
        assert!(code == 64 && said.is_empty() && errors.contains(says), "{arguments:?}: {code} {errors}");
    }
    let (code, _, errors) = Place::new("[listeners.local]\nadress = 1\n").exec(&["--", "true"], &[]);
    assert!(code == 78 && errors.contains("config.toml:2:1"), "{errors}");
}

#[test]
fn the_command_finds_the_proxy_the_roots_and_no_secret_in_its_environment() {
    let place = Place::new(&format!("[instances.main]\nclient-secret = {{ env = \"TENANT_SECRET\" }}\n{LOCAL}"));
    let there = [("TENANT_SECRET", SECRET), ("NO_PROXY", "intra.example,ninjarmm.com"), ("no_proxy", "*")];
    let (code, said, errors) = place.exec(&["--", "env"], &there);
    assert_eq!(code, 0, "{errors}");
    assert!(!said.contains(SECRET) && !errors.contains(SECRET), "{said}");
    assert_eq!(value(&said, "TENANT_SECRET"), "held-by-ninjaone-proxy");
    for name in ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"] {
        assert!(value(&said, name).starts_with("http://127.0.0.1:"), "{said}");
    }
    for name in ["NO_PROXY", "no_proxy"] {
        assert_eq!(value(&said, name), "intra.example,localhost,127.0.0.1,::1");
    }
    let authority = std::fs::read_to_string(value(&said, "DENO_CERT")).expect("a file");
    for name in ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "GIT_SSL_CAINFO"] {
        assert!(std::fs::read_to_string(value(&said, name)).expect("a file").contains(authority.trim()), "{name}");
    }
    assert!(value(&said, "JAVA_TOOL_OPTIONS").contains("-Dhttps.proxyHost=127.0.0.1 "), "{said}");
    let trust = place.path().join("state/trust");
    let mode = std::os::unix::fs::PermissionsExt::mode(&trust.metadata().expect("a folder").permissions());
    assert_eq!(mode & 0o777, 0o700);
    // Its own proxy ends with it.
    let proxy: SocketAddr = value(&said, "HTTPS_PROXY").trim_start_matches("http://").parse().expect("an address");
    assert!(TcpStream::connect(proxy).is_err(), "{proxy} still listens");
}

#[test]
fn a_variable_that_leads_nowhere_and_a_state_folder_that_is_missing_are_told() {
    let place = Place::new(LOCAL);
    let (code, _, errors) = place.exec(&["--", "true"], &[("REQUESTS_CA_BUNDLE", "/nowhere/roots.pem")]);
    assert!(code == 65 && errors.contains("REQUESTS_CA_BUNDLE is set to \"/nowhere/roots.pem\""), "{errors}");
    let nowhere = [("STATE_DIRECTORY", "/dev/null/state")];
    let (code, _, errors) = place.exec(&["--", "true"], &nowhere);
    assert!(code != 0 && errors.contains("/dev/null/state"), "{code} {errors}");
}

/// Whether this process was started with a signal ignored, as by a shell in the background: so are its children then, and
/// no shell can change that.
fn is_ignored(number: u32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask >> (number - 1) & 1 == 1)
}

#[test]
fn signals_are_passed_on_and_what_was_ignored_before_stays_ignored() {
    let place = Place::new(LOCAL);
    let signals = [("HUP", 1), ("INT", 2), ("QUIT", 3), ("USR1", 10), ("USR2", 12), ("TERM", 15)];
    for (signal, number) in signals.into_iter().filter(|(_, number)| !cfg!(target_os = "linux") || !is_ignored(*number))
    {
        let code = 10 + i32::try_from(number).expect("a small number");
        let script = format!("trap 'echo got; exit {code}' {signal}; echo ready; while :; do sleep 0.02; done");
        let mut child = place.start("exec \"$0\" \"$@\"", &["exec", "--", "sh", "-c", &script]);
        let mut lines = BufReader::new(child.stdout.take().expect("standard output")).lines().map_while(Result::ok);
        assert_eq!(lines.next().as_deref(), Some("ready"), "{signal}");
        let sent = Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
        assert_eq!(lines.next().as_deref(), Some("got"), "{signal}");
        assert_eq!(child.wait().expect("an end").code(), Some(code), "{signal}");
    }
    // As nohup(1) starts it.
    let script = "kill -HUP $PPID; kill -HUP $$; echo alive";
    let child = place.start("trap '' HUP; exec \"$0\" \"$@\"", &["exec", "--", "sh", "-c", script]);
    let output = child.wait_with_output().expect("an end");
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(0), &b"alive\n"[..]), "{output:?}");
}

#[test]
fn a_caller_gets_a_key_for_once_in_its_environment_only() {
    if is_missing("curl") {
        return;
    }
    let hash = NewKey::make().expect("a key").hash();
    let place = Place::new(&format!(
        "{LOCAL}scopes = [\"monitoring\"]\n[listeners.local.callers.reports]\nkey = \"{hash}\"\ngroups = [\"org-read\"]\n\
         [listeners.local.callers.other]\nuids = [1]\n"
    ));
    let script = "echo $HTTPS_PROXY; key=${HTTPS_PROXY#*s:}; tr '\\0' ' ' < /proc/$PPID/cmdline | grep -cF ${key%@*}; \
        curl -sS -o /dev/null -w '%{http_code}\\n' https://eu.ninjarmm.com/v2/organizations; \
        curl -sS -o /dev/null -w '%{http_code}\\n' https://eu.ninjarmm.com/v2/devices; \
        curl -sS -o /dev/null -x $(echo $HTTPS_PROXY | sed 's/npk_[^@]*/npk_wrong/') https://eu.ninjarmm.com/v2/organizations";
    let (code, said, errors) = place.exec(&["--caller", "reports", "--", "sh", "-c", script], &[]);
    let lines: Vec<_> = said.lines().collect();
    assert!(lines[0].starts_with("http://reports:npk_"), "{said}{errors}");
    assert_eq!(lines[1..4], ["0", "200", "403"], "{errors}");
    assert!(code == 56 && errors.contains("response 407"), "a wrong key opens nothing: {code} {errors}");
    let key = lines[0].split(['@', ':']).nth(2).expect("a key");
    assert!(!errors.contains(key), "{errors}");
    let files = Command::new("grep").args(["-r", "-l", key, "."]).current_dir(place.path()).output().expect("grep");
    assert!(files.stdout.is_empty(), "{files:?}");
}

#[test]
fn a_proxy_that_runs_is_used_where_it_stands_in_for_ninjaone() {
    if is_missing("curl") {
        return;
    }
    let place = Place::new("");
    let key = NewKey::make().expect("a key");
    let callers = format!("[listeners.local.callers.reports]\nkey = \"{}\"\n", key.hash());
    let curl = [&["--"], &CURL[..]].concat();
    {
        let _running = RunningProxy::start(&place, "");
        let (code, _, errors) = place.exec(&curl, &[]);
        assert!(code == 1 && errors.contains("does not stand in for NinjaOne"), "{errors}");
        assert!(errors.contains("Add intercept = [\"app.ninjarmm.com\""), "{errors}");
        assert!(errors.contains("to [listeners.local] in config.toml"), "{errors}");
        assert!(!place.path().join("state/commands").exists(), "it changes nothing");
    }
    {
        let running = RunningProxy::start(&place, "intercept = [\"eu.ninjarmm.com\"]\n");
        let (code, said, errors) = place.exec(&curl, &[]);
        assert_eq!((code, said.as_str(), errors.as_str()), (0, "200", ""));
        let (_, said, _) = place.exec(&["--", "env"], &[]);
        assert_eq!(value(&said, "HTTPS_PROXY"), format!("http://{}", running.address));
        let elsewhere = place.path().join("elsewhere").display().to_string();
        let (code, _, errors) = place.exec(&curl, &[("STATE_DIRECTORY", &elsewhere)]);
        assert!(code == 1 && errors.contains("is not in this user's state folder"), "{errors}");
        // The CA of another proxy.
        std::fs::create_dir(&elsewhere).expect("a folder");
        std::fs::write(place.path().join("elsewhere/ca.pem"), unused_authority()).expect("a file");
        let (code, _, errors) = place.exec(&curl, &[("STATE_DIRECTORY", &elsewhere)]);
        assert!(code == 1 && errors.contains("with another CA than"), "{errors}");
    }
    let _running = RunningProxy::start(&place, &format!("intercept = [\"eu.ninjarmm.com\"]\n{callers}"));
    let (code, _, errors) = place.exec(&curl, &[]);
    assert!(code == 64 && errors.contains("with --key-file FILE"), "{errors}");
    for (text, wanted, says) in [
        (NewKey::make().expect("a key").expose().to_owned(), 1, "does not know the key of --key-file"),
        (key.expose().to_owned(), 0, ""),
    ] {
        std::fs::write(place.path().join("key"), &text).expect("a file");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(place.path().join("key"), mode).expect("a mode");
        let (code, _, errors) = place.exec(&[&["--key-file", "key"], &curl[..]].concat(), &[]);
        assert!(code == wanted && errors.contains(says) && !errors.contains(&text), "{code} {errors}");
    }
}

/// The certificate of a CA that nobody uses.
fn unused_authority() -> String {
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    parameters.self_signed(&key).expect("a certificate").pem()
}

#[test]
fn what_listens_there_and_is_no_proxy_is_told() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let answering = std::thread::spawn(move || {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().expect("a connection");
            let _ = stream.write_all(b"220 mail.example\r\n");
            let _ = stream.read(&mut [0; 1024]);
        }
    });
    let place = Place::new(&format!("[listeners.local]\naddress = \"{address}\"\n"));
    let (code, said, errors) = place.exec(&["--", "echo", "ran"], &[]);
    assert!(
        code == 1 && said.is_empty() && errors.contains(&format!("what listens at {address} is not a proxy")),
        "{errors}"
    );
    answering.join().expect("an end");
}
