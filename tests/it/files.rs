//! Files that people write: pipes are refused rather than waited for, and each encoding is read.

use std::path::Path;
use std::process::Command;

use rcgen::{CertificateParams, KeyPair};

use crate::harness::run_binary;

/// For an instance that is never asked.
const INSTANCE: &str = "[instances.main]\nhost = \"eu\"\nclient-id = \"id\"\n";

struct Folder(tempfile::TempDir);

impl Folder {
    /// With a certificate for these names, its key, and a secret.
    fn new(names: &[&str]) -> Self {
        let folder = Self(tempfile::tempdir().expect("a folder"));
        let key = KeyPair::generate().expect("a key");
        let parameters = CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>());
        let certificate = parameters.expect("parameters").self_signed(&key).expect("a certificate");
        folder.write("cert.pem", certificate.pem().as_bytes());
        folder.write("key.pem", key.serialize_pem().as_bytes());
        folder.write("secret", b"s3cret\n");
        folder
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path().join(name), bytes).expect("a file");
    }

    /// Runs a command with this configuration; standard output and standard error together.
    fn run(&self, text: &str, arguments: &[&str]) -> (i32, String) {
        self.write("config.toml", text.as_bytes());
        self.run_as_it_is(arguments)
    }

    fn run_as_it_is(&self, arguments: &[&str]) -> (i32, String) {
        let state = self.path().join("state");
        let environment = [("STATE_DIRECTORY", state.to_str().expect("text"))];
        let (code, output, errors) = run_binary(self.path(), arguments, &environment);
        (code, output + &errors)
    }
}

fn utf16(text: &str) -> Vec<u8> {
    [0xff, 0xfe].into_iter().chain(text.encode_utf16().flat_map(u16::to_le_bytes)).collect()
}

#[cfg(unix)]
#[test]
fn a_pipe_in_the_place_of_any_file_is_refused_and_nothing_waits_for_it() {
    let folder = Folder::new(&["localhost"]);
    let made = Command::new("mkfifo").arg(folder.path().join("pipe")).status();
    assert!(made.expect("mkfifo runs").success());
    let secret = "client-secret = { file = \"secret\" }\n";
    let tls = |certificate: &str, key: &str, more: &str| {
        format!("{INSTANCE}{secret}[listeners.local.tls]\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n{more}")
    };
    let audit = |file: &str| {
        format!(
            "[listeners.local]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"none\"\n[audit]\nfile = \"{file}\"\n"
        )
    };
    let link = |name: &str| std::os::unix::fs::symlink(folder.path().join("pipe"), folder.path().join(name));
    let plant = |name: &str| {
        let made = Command::new("mkfifo").arg(folder.path().join(name)).status();
        assert!(made.expect("mkfifo runs").success());
    };
    link("link").expect("a link");
    plant("one.jsonl.head");
    plant("two.jsonl.000000000001");
    plant("three.jsonl");
    let check = &["check"][..];
    for (text, arguments) in [
        (String::new(), &["--config", "pipe", "check"][..]),
        (format!("catalog-file = \"pipe\"\n{INSTANCE}{secret}"), check),
        (format!("{INSTANCE}client-secret = {{ file = \"pipe\" }}"), check),
        (format!("{INSTANCE}client-secret = {{ file = \"link\" }}"), check),
        (format!("{INSTANCE}{secret}ca-file = \"pipe\""), check),
        (format!("{INSTANCE}{secret}certificate = \"pipe\"\nkey = \"key.pem\""), check),
        (format!("{INSTANCE}{secret}certificate = \"cert.pem\"\nkey = \"pipe\""), check),
        (tls("pipe", "key.pem", ""), check),
        (tls("cert.pem", "pipe", ""), check),
        (tls("cert.pem", "key.pem", "client-ca = \"pipe\""), check),
        (String::new(), &["learn", "--from", "pipe"]),
        (String::new(), &["check", "--against", "pipe"]),
        (String::new(), &["catalog", "diff", "pipe"]),
        (audit("one.jsonl"), &["run"]),
        (audit("two.jsonl"), &["run"]),
        (audit("three.jsonl"), &["run"]),
        (audit("one.jsonl"), &["audit", "verify"]),
        (audit("two.jsonl"), &["audit", "verify"]),
        (audit("three.jsonl"), &["audit", "verify"]),
    ] {
        let (code, said) = folder.run(&text, arguments);
        assert!(code > 0, "{arguments:?} {text}: {code} {said}");
        assert!(said.contains("it is a pipe, and only") || said.contains("is not a regular file"), "{text}: {said}");
    }
}

#[test]
fn each_file_is_read_in_the_encodings_of_windows() {
    let folder = Folder::new(&["localhost"]);
    let text = format!(
        "{INSTANCE}client-secret = {{ file = \"secret\" }}\nca-file = \"cert.pem\"\n[listeners.local.tls]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n"
    );
    let (code, plain) = folder.run(&text, &["check"]);
    assert_eq!(code, 0, "{plain}");
    type Encode = fn(&str) -> Vec<u8>;
    let encodings: [Encode; 3] = [
        |text| format!("\u{feff}{text}").into_bytes(),
        |text| text.replace('\n', "\r\n").into_bytes(),
        |text| utf16(&text.replace('\n', "\r\n")),
    ];
    for encode in encodings {
        for name in ["config.toml", "secret", "cert.pem", "key.pem"] {
            let before = std::fs::read(folder.path().join(name)).expect("a file");
            folder.write(name, &encode(std::str::from_utf8(&before).expect("text")));
            let (code, said) = folder.run_as_it_is(&["check"]);
            folder.write(name, &before);
            assert_eq!((code, &said), (0, &plain), "{name}");
        }
    }
}

#[test]
fn a_key_that_cannot_be_used_is_told_under_its_own_key() {
    let folder = Folder::new(&["localhost"]);
    folder
        .write("encrypted.pem", b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nMTIz\n-----END ENCRYPTED PRIVATE KEY-----\n");
    folder.write("quoted", b"\"s3cret\"\n");
    folder.write("other.pem", KeyPair::generate().expect("a key").serialize_pem().as_bytes());
    let of_listener = |key: &str| {
        format!(
            "[listeners.local]\n[listeners.local.tls]\ncertificate = \"cert.pem\"\nkey = \"{key}\"\nclient-ca = \"cert.pem\"\n"
        )
    };
    let of_instance = |key: &str| {
        format!("{INSTANCE}client-secret = {{ file = \"secret\" }}\ncertificate = \"cert.pem\"\nkey = \"{key}\"\n")
    };
    for (text, place, message) in [
        (of_listener("encrypted.pem"), "config.toml:4:7: listeners.local.tls.key: ", "openssl pkey -in "),
        (of_listener("none.pem"), "config.toml:4:7: listeners.local.tls.key: ", "cannot be read: No such file"),
        (of_listener("cert.pem"), "config.toml:4:7: listeners.local.tls.key: ", "it holds a certificate"),
        (
            of_listener("other.pem"),
            "config.toml:4:7: listeners.local.tls.key: ",
            "the key belongs to another certificate than cert.pem",
        ),
        (
            of_listener("key.pem").replace("client-ca = \"cert.pem\"", "client-ca = \"key.pem\""),
            "config.toml:5:13: listeners.local.tls.client-ca: ",
            "it holds a private key",
        ),
        (of_instance("encrypted.pem"), "config.toml:6:7: instances.main.key: ", "is encrypted"),
        (
            format!("{INSTANCE}client-secret = {{ file = \"quoted\" }}\n"),
            "config.toml:4:17: instances.main.client-secret: ",
            "the value from the file quoted is in quotes: write it without them",
        ),
    ] {
        let (code, said) = folder.run(&text, &["check"]);
        assert_eq!(code, 78, "{said}");
        assert!(said.contains(place) && said.contains(message) && !said.contains("s3cret"), "{said}");
        assert_eq!(said.matches(message).count(), 1, "{said}");
    }
}

#[test]
fn a_certificate_for_other_names_than_those_of_its_listener_is_a_warning() {
    let check = |certificate: &[&str], listener: &str| {
        let folder = Folder::new(certificate);
        let tls = "[listeners.local.tls]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n";
        let (code, said) = folder.run(&format!("[listeners.local]\n{listener}\n{tls}"), &["check"]);
        assert_eq!(code, 0, "{said}");
        said.lines().filter(|line| line.contains("is not valid for")).count()
    };
    let folder = Folder::new(&["proxy.example", "*.other.example", "192.0.2.1"]);
    let tls = "[listeners.local.tls]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n";
    let (_, said) = folder.run(&format!("[listeners.local]\n{tls}"), &["check"]);
    let advice = "it is for proxy.example, *.other.example, 192.0.2.1: write names = [\"proxy.example\"]";
    assert!(said.contains(advice), "{said}");
    assert_eq!(check(&["proxy.example"], ""), 1);
    assert_eq!(check(&["proxy.example"], "names = [\"proxy.example\"]"), 0);
    assert_eq!(check(&["proxy.example"], "names = [\"proxy.example\", \"other.example\"]"), 1);
    assert_eq!(check(&["*.corp.example"], "names = [\"proxy.corp.example\"]"), 0);
    assert_eq!(check(&["localhost"], ""), 0);
    assert_eq!(check(&["127.0.0.2"], "address = \"127.0.0.2:8443\""), 0);
    assert_eq!(check(&["127.0.0.2"], "address = \"127.0.0.3:8443\""), 1);
}

#[test]
fn a_blank_in_a_credential_is_a_warning_that_shows_nothing_of_it() {
    let folder = Folder::new(&["localhost"]);
    folder.write("secret", b"s3cret and more\n");
    let (code, said) = folder.run(&format!("{INSTANCE}client-secret = {{ file = \"secret\" }}\n"), &["check"]);
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains("warning: instances.main: the client secret from the file secret has a blank in it"),
        "{said}"
    );
    assert!(!said.contains("s3cret"), "{said}");
}

/// A credential command is given nothing that is this process's own.
#[cfg(target_os = "linux")]
#[test]
fn a_command_inherits_no_socket_and_no_word_of_the_supervisor() {
    let folder = Folder::new(&["localhost"]);
    let script = "ls -l /proc/self/fd >fds; env >env; echo s3cret";
    let text = format!(
        "[instances.main]\nhost = \"http://127.0.0.1:9\"\nclient-id = \"id\"\nclient-secret = {{ command = [\"sh\", \"-c\", \"{script}\"] }}\n\
         [listeners.local]\naddress = \"fd:3\"\n[admin]\naddress = \"none\"\n"
    );
    folder.write("config.toml", text.as_bytes());
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let own = [
        "LISTEN_FDS=1 LISTEN_PID=$$ LISTEN_FDNAMES=ninja NOTIFY_SOCKET=@nobody WATCHDOG_USEC=9999999 WATCHDOG_PID=$$",
        "exec \"$0\" 3<&0",
    ]
    .join(" ");
    let mut child = Command::new("sh")
        .args(["-c", &own, env!("CARGO_BIN_EXE_ninjaone-proxy")])
        .current_dir(folder.path())
        .stdin(std::os::fd::OwnedFd::from(socket.try_clone().expect("a socket")))
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("the binary runs");
    let address = socket.local_addr().expect("an address");
    crate::harness::eventually("it serves", || {
        let asked = std::panic::catch_unwind(|| crate::harness::request(address, "GET", "/nowhere", "", b"").status);
        asked.is_ok_and(|status| status >= 400)
    });
    child.kill().expect("an end");
    child.wait().expect("an end");
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).expect("what the command saw");
    assert!(!read("fds").contains("socket:"), "{}", read("fds"));
    let variables = read("env");
    for name in ["LISTEN_", "NOTIFY_SOCKET", "WATCHDOG_"] {
        assert!(!variables.lines().any(|line| line.starts_with(name)), "{name}: {variables}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_or_closed_standard_error_or_output_ends_nothing_early() {
    let folder = Folder::new(&["localhost"]);
    folder.write("config.toml", b"[listeners.local]\naddress = \"unix:s.sock\"\n[admin]\naddress = \"none\"\n");
    let run = |shell: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", shell, env!("CARGO_BIN_EXE_ninjaone-proxy")]).current_dir(folder.path());
        command.env("STATE_DIRECTORY", folder.path().join("state")).output().expect("a shell").status.code()
    };
    for closed in ["2>/dev/full", "2>&-"] {
        let shell = |command: &str| format!("\"$0\" {command} {closed}");
        assert_eq!(run(&shell("--config none.toml check")), Some(78), "{closed}");
        assert_eq!(run(&shell("--nonsense")), Some(64), "{closed}");
        // It serves, and ends well when it is told to.
        let wait = "while ! test -S s.sock; do kill -0 $! || exit 9; sleep 0.05; done";
        assert_eq!(run(&format!("\"$0\" {closed} & {wait}; kill -TERM $! && wait $!")), Some(0), "{closed}");
    }
    // A pipe whose reader has gone.
    assert_eq!(run("{ \"$0\" --config none.toml check; echo $? >code; } 2>&1 | :; test \"$(cat code)\" = 78"), Some(0));
    for command in ["check", "--help", "--version", "groups", "man man"] {
        let code = run(&format!("\"$0\" {command} >&-"));
        assert!(matches!(code, Some(0 | 70)), "{command}: {code:?}");
        let code = run(&format!("\"$0\" {command} >/dev/full"));
        assert!(matches!(code, Some(0 | 70)), "{command}: {code:?}");
    }
}
