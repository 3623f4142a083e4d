//! The binary: SIGHUP, a file that changes, what a supervisor hears, and what two hundred reloads cost.

use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::doors::Running;
use crate::harness::{Reply, eventually, request};

const PLAIN: &str = "[admin]\naddress = \"127.0.0.1:0\"\n[listeners.local]\naddress = \"127.0.0.1:0\"\n";

/// The same with a rule that closes organizations.
fn denying() -> String {
    format!("{PLAIN}deny = [\"GET /v2/organizations\"]\n")
}

/// Where the log says that it listens.
fn address(running: &Running, mark: &str) -> SocketAddr {
    let log = running.log();
    let rest = log.split(mark).nth(1).and_then(|rest| rest.split("address=http://").nth(1)).expect("an address");
    rest.split_whitespace().next().expect("an address").parse().expect("an address")
}

fn status(running: &Running) -> u16 {
    request(address(running, "listening listener=local"), "GET", "/v2/organizations", "", b"").status
}

fn hang_up(running: &Running) {
    let sent = Command::new("kill").args(["-HUP", &running.id().to_string()]).status().expect("kill runs");
    assert!(sent.success());
}

fn write(running: &Running, text: &str) {
    std::fs::write(running.folder.path().join("config.toml"), text).expect("a file");
}

#[test]
fn sighup_takes_the_file_at_once_and_says_what_needs_a_restart() {
    let running = Running::start(PLAIN, "exec \"$0\"", Stdio::null());
    assert_eq!(status(&running), 200);
    write(&running, &format!("{}[log]\nformat = \"json\"\nlevel = \"debug\"", denying()));
    hang_up(&running);
    eventually("the rules", || status(&running) == 403);
    let admin = address(&running, "admin listening");
    // The workers have the rules a moment before the admin listener knows it.
    eventually("what needs a restart", || {
        let ready = request(admin, "GET", "/readyz", "", b"").json();
        ready["configuration"]["needsRestart"] == serde_json::json!(["log.level", "log.format"])
    });
    for line in ["reloading the configuration cause=\"SIGHUP\"", "applies only after a restart", "key=\"log.format\""] {
        eventually(line, || running.log().contains(line));
    }
    write(&running, "[listeners.local]\naddres = 1");
    hang_up(&running);
    let refused = "configuration NOT reloaded, the previous one stays in force: correct it and save again error=\"config.toml:2:1: listeners.local.addres: unknown key";
    eventually("it is said", || running.log().contains(refused));
    assert_eq!(status(&running), 403);
}

#[test]
fn a_file_that_changes_is_taken_also_behind_links_as_of_a_config_map() {
    // As Kubernetes does: config.toml -> ..data/config.toml, ..data -> a folder that is replaced.
    let folder = tempfile::tempdir().expect("a folder");
    let mount = |name: &str, text: &str| {
        std::fs::create_dir(folder.path().join(name)).expect("a folder");
        std::fs::write(folder.path().join(name).join("config.toml"), text).expect("a file");
        symlink(name, folder.path().join("..next")).expect("a link");
        std::fs::rename(folder.path().join("..next"), folder.path().join("..data")).expect("a swap");
    };
    mount("..1", PLAIN);
    symlink("..data/config.toml", folder.path().join("config.toml")).expect("a link");
    let shell = format!("exec \"$0\" --config {}/config.toml", folder.path().display());
    let running = Running::start("", &shell, Stdio::null());
    assert_eq!(status(&running), 200);
    mount("..2", &denying());
    eventually("the rules", || status(&running) == 403);
    // The log has a thread of its own.
    eventually("it is said", || running.log().contains("reloading the configuration cause=\"file\""));
}

#[test]
fn a_file_that_is_emptied_or_cut_is_not_taken_by_itself() {
    let whole = format!("{}{}", denying(), "[learn]\nfile = \"used.json\"\n");
    let running = Running::start(&whole, "exec \"$0\"", Stdio::null());
    assert_eq!(status(&running), 403);
    write(&running, "");
    eventually("it is refused", || {
        running.log().contains("config.toml: the file is empty: it has no [listeners.NAME]")
    });
    assert_eq!(status(&running), 403);
    let (cut, _) = whole.split_once("deny").expect("a rule");
    write(&running, cut);
    let sign = "it is the beginning of the configuration in force, and the rest is missing";
    eventually("it is refused", || running.log().contains(sign));
    assert_eq!(status(&running), 403);
    hang_up(&running);
    eventually("somebody says so", || status(&running) == 200);
}

#[test]
fn a_supervisor_hears_of_start_reload_and_end_and_signs_of_life() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let heard = || {
        let mut bytes = [0; 1024];
        let length = socket.recv(&mut bytes).expect("a message");
        String::from_utf8(bytes[..length].to_vec()).expect("text")
    };
    let mut lives = 0;
    let mut heard = || loop {
        match heard() {
            life if life == "WATCHDOG=1" => lives += 1,
            said => return (said, lives),
        }
    };
    let shell = format!("NOTIFY_SOCKET={} WATCHDOG_USEC=300000 exec \"$0\"", path.display());
    let running = Running::start(PLAIN, &shell, Stdio::null());
    assert_eq!(heard().0, "READY=1\nSTATUS=serving");
    hang_up(&running);
    assert!(heard().0.starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert_eq!(heard().0, "READY=1\nSTATUS=serving; the configuration was reloaded");
    write(&running, "x = 1");
    hang_up(&running);
    assert!(heard().0.starts_with("RELOADING=1\n"));
    let refused = "READY=1\nSTATUS=serving; the new configuration was refused, the previous one is in force: config.toml:1:1: x: unknown key";
    let said = heard().0;
    assert!(said.starts_with(refused), "{said}");
    std::thread::sleep(Duration::from_secs(1));
    let sent = Command::new("kill").args(["-TERM", &running.id().to_string()]).status().expect("kill runs");
    assert!(sent.success());
    let (said, lives) = heard();
    assert_eq!(said, "STOPPING=1\nSTATUS=draining");
    assert!(lives >= 4, "{lives} signs of life in a second and more");
}

fn ask_file(path: &Path) -> u16 {
    let mut stream = UnixStream::connect(path).expect("a connection");
    std::io::Write::write_all(
        &mut stream,
        b"GET /v2/organizations HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    )
    .expect("a request");
    Reply::read(&mut stream, false).status
}

#[test]
fn a_socket_file_gets_other_permissions_and_stays_the_same() {
    let text = |permissions: &str| {
        format!("[listeners.file]\naddress = \"unix:s.sock\"\npermissions = \"{permissions}\"\n{PLAIN}")
    };
    let running = Running::start(&text("0600"), "exec \"$0\"", Stdio::null());
    let path = running.folder.path().join("s.sock");
    let meta = || std::fs::metadata(&path).expect("a socket");
    let inode = meta().ino();
    for (permissions, mode) in [("0660", 0o660), ("0606", 0o606)] {
        write(&running, &text(permissions));
        hang_up(&running);
        eventually("the mode", || meta().permissions().mode() & 0o777 == mode);
        assert_eq!((meta().ino(), ask_file(&path)), (inode, 200));
    }
    write(&running, PLAIN);
    hang_up(&running);
    eventually("it is gone", || !path.exists());
}

#[cfg(target_os = "linux")]
#[test]
fn many_reloads_leave_the_memory_as_it_was() {
    const APPLIED: &str = "ninjaone_proxy_config_reloads_total{result=\"applied\"}";
    let running = Running::start(PLAIN, "exec \"$0\"", Stdio::null());
    let admin = address(&running, "admin listening");
    let memory = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", running.id())).expect("a status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
        line.split_whitespace().next().expect("a number").parse::<u64>().expect("a number")
    };
    let reload = |numbers: std::ops::Range<u32>| {
        for number in numbers {
            write(&running, &PLAIN.replace("\n[admin]", &format!("\ndeny = [\"GET /v2/device/{number}\"]\n[admin]")));
            hang_up(&running);
            eventually("a reload", || super::metric(admin, APPLIED) == f64::from(number + 1));
            assert_eq!(status(&running), 200);
        }
    };
    reload(0..30);
    let before = memory();
    reload(30..90);
    let grown = memory().saturating_sub(before);
    assert!(grown < 3000, "{grown} KiB more than {before} KiB after sixty reloads");
}
