//! The store of each kind of system, in a root of its own with a program that notes how it is called.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::super::authority::tests::authority;
use super::*;

/// A root of its own, with a program that notes how it is called, and then does `script`.
fn root(folders: &[&str], program: &str, script: &str) -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a folder");
    for folder in folders {
        fs::create_dir_all(root.path().join(folder)).expect("a folder");
    }
    let path = root.path().join(program);
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    let note = root.path().join("calls");
    fs::write(&path, format!("#!/bin/sh\necho \"$@\" >> '{}'\n{script}\n", note.display())).expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
    root
}

/// How the program was called.
fn calls(root: &tempfile::TempDir) -> Vec<String> {
    let text = fs::read_to_string(root.path().join("calls")).unwrap_or_default();
    text.lines().map(|line| line.replace(&format!("{}/", root.path().display()), "")).collect()
}

fn fedora(script: &str) -> (tempfile::TempDir, SystemStore) {
    let root = root(&["etc/pki/ca-trust/source/anchors"], "usr/bin/update-ca-trust", script);
    let store = SystemStore::folder(root.path()).expect("a store");
    (root, store)
}

fn debian(script: &str) -> (tempfile::TempDir, SystemStore) {
    let folders = ["usr/local/share/ca-certificates", "etc/ssl/certs"];
    let root = root(&folders, "usr/sbin/update-ca-certificates", script);
    let store = SystemStore::folder(root.path()).expect("a store");
    (root, store)
}

#[test]
fn system_is_known_by_its_folder_and_its_program() {
    for (folder, program, systems) in [
        ("usr/local/share/ca-certificates", "usr/sbin/update-ca-certificates", "Debian, Ubuntu, Alpine"),
        ("etc/pki/ca-trust/source/anchors", "usr/bin/update-ca-trust", "Fedora, RHEL"),
        ("etc/ca-certificates/trust-source/anchors", "usr/bin/update-ca-trust", "Arch Linux"),
        ("etc/pki/trust/anchors", "usr/sbin/update-ca-certificates", "openSUSE, SLES"),
    ] {
        let root = root(&[folder], program, "");
        let store = SystemStore::folder(root.path()).expect("a store");
        assert_eq!(store.systems(), systems);
        assert_eq!(store.file(), root.path().join(folder).join("ninjaone-proxy-local-ca.crt"));
        fs::remove_file(root.path().join(program)).expect("removed");
        assert_eq!(SystemStore::folder(root.path()), None);
    }
}

#[test]
fn installed_ca_is_a_file_that_all_can_read_and_uninstall_removes_it() {
    let (root, store) = fedora("");
    let ca = authority();
    assert_eq!(store.install(&ca).expect("installed"), Installed::Added);
    assert_eq!(store.install(&ca).expect("installed"), Installed::Again);
    assert_eq!(store.installed().expect("readable"), Some(ca.clone()));
    assert_eq!(fs::metadata(store.file()).expect("a file").permissions().mode() & 0o777, 0o644);
    assert_eq!(calls(&root), ["", ""]);
    assert_eq!(store.uninstall().expect("removed"), Some(ca));
    assert_eq!(fs::read_dir(store.file().parent().expect("a folder")).expect("a folder").count(), 0);
    assert_eq!(calls(&root).len(), 3);
    assert_eq!(store.uninstall().expect("nothing"), None);
    assert_eq!(calls(&root).len(), 3, "nothing was run");
}

#[test]
fn another_local_ca_is_replaced_and_named() {
    let (_root, store) = fedora("");
    let (old, new) = (authority(), authority());
    store.install(&old).expect("installed");
    assert_eq!(store.install(&new).expect("installed"), Installed::Replaced(Box::new(old)));
    assert_eq!(store.uninstall().expect("removed"), Some(new));
}

#[test]
fn what_is_not_of_a_local_ca_is_left_alone() {
    let (root, store) = fedora("");
    fs::write(store.file(), "another one").expect("a file");
    for said in [store.install(&authority()).map(drop), store.uninstall().map(drop)] {
        let said = said.expect_err("not ours").to_string();
        assert!(said.starts_with("nothing was changed: ") && said.contains("remove it first"), "{said}");
    }
    assert_eq!(fs::read_to_string(store.file()).expect("a file"), "another one");
    let elsewhere = root.path().join("elsewhere.crt");
    fs::rename(store.file(), &elsewhere).expect("moved");
    fs::write(&elsewhere, authority().pem()).expect("a file");
    std::os::unix::fs::symlink(&elsewhere, store.file()).expect("a link");
    let said = store.uninstall().expect_err("a link").to_string();
    assert!(said.contains("is not a regular file"), "{said}");
    assert!(calls(&root).is_empty());
}

#[test]
fn failed_program_changes_nothing_and_is_told() {
    let (_root, store) = fedora("echo no room >&2; exit 3");
    let (old, new) = (authority(), authority());
    let said = store.install(&new).expect_err("a failure").to_string();
    assert!(said.starts_with("the local CA was not added: "), "{said}");
    assert!(said.ends_with("update-ca-trust failed (exit status: 3): no room"), "{said}");
    assert_eq!(store.installed().expect("readable"), None);
    fs::write(store.file(), old.pem()).expect("a file");
    for ca in [&old, &new] {
        store.install(ca).expect_err("a failure");
        assert_eq!(store.installed().expect("readable"), Some(old.clone()), "as it was");
    }
    let said = store.uninstall().expect_err("a failure").to_string();
    assert!(said.starts_with("the local CA was not removed: "), "{said}");
    assert_eq!(store.installed().expect("readable"), Some(old), "as it was");
}

#[test]
fn ca_that_cannot_be_added_leaves_the_one_before() {
    // The second call removes, the third one adds.
    let (root, store) = fedora("[ $(wc -l < \"${0%/usr/bin/*}/calls\") != 3 ]");
    let (old, new) = (authority(), authority());
    store.install(&old).expect("installed");
    store.install(&new).expect_err("a failure");
    assert_eq!(store.installed().expect("readable"), Some(old));
    assert_eq!(calls(&root).len(), 4, "the store was made of it again");
}

#[test]
fn debian_is_told_that_the_certificate_is_gone() {
    let (root, store) = debian("[ \"$1\" != --certsconf ] || cp \"$2\" \"${0%/usr/sbin/*}/seen\"");
    let configuration = root.path().join("etc/ca-certificates.conf");
    fs::write(&configuration, "mozilla/A.crt\n!mozilla/B.crt").expect("a file");
    store.install(&authority()).expect("installed");
    store.install(&authority()).expect("replaced");
    store.uninstall().expect("removed");
    let gone = "--certsconf etc/ca-certificates.conf.ninjaone-proxy";
    assert_eq!(calls(&root), ["", gone, "", gone]);
    let seen = fs::read_to_string(root.path().join("seen")).expect("a file");
    assert_eq!(seen, "mozilla/A.crt\n!mozilla/B.crt\n!ninjaone-proxy-local-ca.crt\n");
    assert_eq!(fs::read_to_string(&configuration).expect("a file"), "mozilla/A.crt\n!mozilla/B.crt");
    assert_eq!(fs::read_dir(root.path().join("etc")).expect("a folder").count(), 2, "ssl and the configuration");
}

#[test]
fn old_program_of_debian_that_leaves_the_link_begins_afresh() {
    let (root, store) = debian("");
    store.install(&authority()).expect("installed");
    std::os::unix::fs::symlink(store.file(), root.path().join(LINK)).expect("a link");
    store.uninstall().expect("removed");
    assert_eq!(calls(&root)[1..], ["--certsconf etc/ca-certificates.conf.ninjaone-proxy", "--fresh"]);
}

#[test]
fn program_gets_the_search_path_of_the_system_only() {
    let (root, store) = fedora("env > \"${0%/usr/bin/*}/seen\"");
    store.install(&authority()).expect("installed");
    let seen = fs::read_to_string(root.path().join("seen")).expect("a file");
    assert!(seen.contains("PATH=/usr/sbin:/usr/bin:/sbin:/bin\n") && !seen.contains("CARGO"), "{seen}");
}

#[test]
fn macos_and_windows_find_by_its_hash_what_was_installed() {
    let (old, new) = (authority(), authority());
    let mac = root(&["Library/Application Support"], "usr/bin/security", "");
    let store = SystemStore::keychain(mac.path());
    store.install(&old).expect("installed");
    store.install(&new).expect("installed");
    assert_eq!(store.uninstall().expect("removed"), Some(new.clone()));
    let file = "Library/Application Support/ninjaone-proxy-local-ca.crt";
    let add = format!("add-trusted-cert -d -r trustRoot -k Library/Keychains/System.keychain {file}");
    let distrust = format!("remove-trusted-cert -d {file}");
    let delete =
        |ca: &AuthorityCertificate| format!("delete-certificate -Z {} Library/Keychains/System.keychain", ca.sha1());
    assert_eq!(calls(&mac), [&add, &distrust, &delete(&old), &add, &distrust, &delete(&new)].map(String::as_str));
    assert!(!store.file().exists());

    let windows = root(&["ProgramData"], "Windows/System32/certutil.exe", "");
    let store = SystemStore::windows(&windows.path().join("Windows"), &windows.path().join("ProgramData"));
    store.install(&old).expect("installed");
    store.install(&new).expect("installed");
    store.uninstall().expect("removed");
    let add = "-addstore -f Root ProgramData/ninjaone-proxy-local-ca.crt".to_owned();
    let delete = |ca: &AuthorityCertificate| format!("-delstore Root {}", ca.sha1());
    assert_eq!(calls(&windows), [add.clone(), delete(&old), add, delete(&new)]);
    assert!(!store.file().exists());
}

#[test]
fn store_that_is_not_of_a_folder_keeps_what_could_not_be_removed() {
    let mac = root(&["Library/Application Support"], "usr/bin/security", "[ \"$1\" = add-trusted-cert ]");
    let store = SystemStore::keychain(mac.path());
    let ca = authority();
    store.install(&ca).expect("installed");
    let said = store.uninstall().expect_err("a failure").to_string();
    assert!(said.contains("If the store no longer has it, remove ") && said.ends_with(".crt"), "{said}");
    assert_eq!(store.installed().expect("readable"), Some(ca));
}
