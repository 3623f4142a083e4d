//! `trust`: what it says of the local CA, and that it changes nothing that it may not.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::{binary, run_binary};

/// A folder for state with a local CA, as a proxy makes it.
fn state() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let config = "[listeners.local]\naddress = \"127.0.0.1:0\"\ntls = \"local-ca\"\n[admin]\naddress = \"none\"\n";
    std::fs::write(folder.path().join("config.toml"), config).expect("a file");
    let mut child = Command::new(binary())
        .current_dir(folder.path())
        .env("STATE_DIRECTORY", folder.path())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary runs");
    crate::harness::eventually("the CA is made", || folder.path().join("ca.pem").exists());
    child.kill().expect("an end");
    child.wait().expect("an end");
    folder
}

fn trust(state: &Path, arguments: &[&str]) -> (i32, String, String) {
    let arguments = [&["trust"], arguments].concat();
    run_binary(state, &arguments, &[("STATE_DIRECTORY", &state.to_string_lossy())])
}

#[test]
fn it_says_what_the_ca_can_vouch_for_and_what_to_type() {
    let state = state();
    let (code, said, errors) = trust(state.path(), &[]);
    assert_eq!((code, errors.as_str()), (0, ""));
    let ca = state.path().join("ca.pem").display().to_string();
    assert!(said.starts_with(&format!("The local CA: {ca}\n")), "{said}");
    for part in [
        "can vouch for  localhost, 127.0.0.1, ::1, and names below these; for nothing else",
        &format!("curl --cacert {ca} https://"),
        &format!("export REQUESTS_CA_BUNDLE={ca}"),
        &format!("export NODE_EXTRA_CA_CERTS={ca}"),
        "keytool -importcert",
        "update-ca-trust",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn programs_read_it_as_json_with_the_fingerprint_that_openssl_shows() {
    let state = state();
    let (code, said, _) = trust(state.path(), &["--json"]);
    let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(code, 0);
    let own = &said["certificate"];
    assert_eq!(own["names"], serde_json::json!(["localhost", "127.0.0.1", "::1"]));
    let pem = std::fs::read(state.path().join("ca.pem")).expect("a file");
    let (_, pem) = x509_parser::pem::parse_x509_pem(&pem).expect("PEM");
    let digest = ring::digest::digest(&ring::digest::SHA256, &pem.contents);
    let hex: Vec<String> = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    assert_eq!(own["sha256"], hex.join(":"));
    let own = pem.parse_x509().expect("a certificate").validity().not_after.timestamp();
    let told = said["certificate"]["notAfter"].as_str().expect("a time");
    let told = time::OffsetDateTime::from_unix_timestamp(own).expect("a time").year().to_string() == told[..4];
    assert!(told, "{said}");
    assert!(said["runtimes"].as_array().is_some_and(|ways| ways.len() > 10), "{said}");
}

#[test]
fn without_a_ca_it_says_what_makes_one() {
    let folder = tempfile::tempdir().expect("a folder");
    for arguments in [&[][..], &["--json"], &["--install"]] {
        let (code, said, errors) = trust(folder.path(), arguments);
        assert_eq!((code, said.as_str()), (1, ""), "{arguments:?}");
        assert!(errors.contains("The proxy makes one when it starts with tls = \"local-ca\""), "{errors}");
        assert!(errors.contains("STATE_DIRECTORY=/var/lib/ninjaone-proxy "), "{errors}");
    }
}

#[test]
fn what_is_not_a_local_ca_is_65_and_never_installed() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut other = rcgen::CertificateParams::default();
    other.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let other = other.self_signed(&key).expect("a certificate").pem();
    for text in ["nonsense", &other] {
        std::fs::write(folder.path().join("ca.pem"), text).expect("a file");
        for arguments in [&[][..], &["--install"]] {
            let (code, said, errors) = trust(folder.path(), arguments);
            assert_eq!((code, said.as_str()), (65, ""), "{arguments:?}");
            assert!(errors.contains("ca.pem is not the certificate of a local CA: "), "{errors}");
            assert!(errors.contains("Remove ca.pem and ca-key.pem there"), "{errors}");
        }
    }
}

#[test]
fn options_that_exclude_each_other_are_64() {
    let folder = tempfile::tempdir().expect("a folder");
    for arguments in [["--install", "--uninstall"], ["--json", "--install"], ["--json", "--uninstall"]] {
        assert_eq!(trust(folder.path(), &arguments).0, 64, "{arguments:?}");
    }
}

/// As another user than root, who must not change this machine: tests run as root too.
#[cfg(target_os = "linux")]
#[test]
fn without_the_rights_the_line_to_type_is_printed_and_nothing_changes() {
    use std::os::unix::fs::{PermissionsExt, chown};
    use std::os::unix::process::CommandExt;
    const NOBODY: u32 = 65534;
    let store = Path::new("/usr/local/share/ca-certificates");
    if !store.is_dir() || !Path::new("/usr/sbin/update-ca-certificates").is_file() {
        return println!("NOT RUN: this system is not of the kind of Debian");
    }
    let state = state();
    let folder = state.path().join("state of o'neil");
    std::fs::create_dir(&folder).expect("a folder");
    std::fs::copy(state.path().join("ca.pem"), folder.join("ca.pem")).expect("a copy");
    // Where another user can run it.
    let program = state.path().join("ninjaone-proxy");
    std::fs::copy(binary(), &program).expect("a copy");
    std::fs::set_permissions(state.path(), std::fs::Permissions::from_mode(0o755)).expect("a mode");
    let is_root = std::fs::metadata(state.path()).is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    let run = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        command.args(arguments).current_dir("/").env("STATE_DIRECTORY", &folder).stdin(Stdio::null());
        if is_root {
            chown(&folder, Some(NOBODY), Some(NOBODY)).expect("another owner");
            command.uid(NOBODY).gid(NOBODY);
        }
        let output = command.output().expect("the binary runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let files = || std::fs::read_dir(store).expect("a folder").count();
    let before = files();
    let (code, said) = run(&["trust", "--install"]);
    let line = format!(
        "Type: sudo env STATE_DIRECTORY='{}/state of o'\\''neil' {} trust --install",
        state.path().display(),
        program.display()
    );
    assert!(said.trim_end().ends_with(&line) && said.contains("nothing was changed"), "{said}\n{line}");
    assert_eq!((code, files()), (Some(1), before));
    let (code, said) = run(&["trust", "--uninstall"]);
    assert_eq!((code, said.as_str()), (Some(0), ""), "there is nothing");
}
