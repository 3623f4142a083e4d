//! The doors of the proxy: socket files, inherited sockets, TLS.

use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::harness::{PATIENCE, Proxy, Reply, binary, eventually, request, run_binary};

/// Whose process this is.
fn own_uid() -> u32 {
    rustix::process::getuid().as_raw()
}

fn ask_file(path: &Path, request: &[u8]) -> Reply {
    let mut stream = UnixStream::connect(path).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(request).expect("a request");
    Reply::read(&mut stream, false)
}

fn get_file(path: &Path, target: &str, host: &str) -> Reply {
    ask_file(path, format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes())
}

/// A proxy with a second listener on a socket file, and the path of that.
fn with_file(more: &str) -> (Proxy, std::path::PathBuf) {
    let door =
        format!("[listeners.door]\naddress = \"unix:door.sock\"\nscopes = [\"monitoring\", \"management\"]\n{more}");
    let proxy = Proxy::start("host = \"sandbox\"", "", &door);
    let path = proxy.folder().join("door.sock");
    (proxy, path)
}

#[test]
fn requests_and_uploads_pass_a_unix_socket() {
    let (proxy, path) = with_file("");
    assert_eq!(get_file(&path, "/v2/organizations", "localhost").status, 200);
    let length = 3 << 20;
    let mut upload = format!(
        "POST /v2/attachments/temp/upload HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n\
         Content-Length: {length}\r\n\r\n"
    )
    .into_bytes();
    upload.resize(upload.len() + length, b'x');
    assert!(ask_file(&path, &upload).status < 300);
    assert_eq!(proxy.count("bytes_uploaded"), 3 << 20);
    let download = get_file(&path, "/v2/attachment/7?size=2000000", "localhost");
    assert_eq!((download.body.len(), download.whole), (2_000_000, true));
    assert_eq!(proxy.get("/v2/organizations").status, 200, "the other listener too");
}

#[test]
fn a_unix_socket_checks_the_host_and_the_head_like_a_port() {
    let (_proxy, path) = with_file("names = [\"ninja.internal\"]");
    for host in ["localhost", "127.0.0.1", "ninja.internal", "localhost:80"] {
        assert_eq!(get_file(&path, "/v2/groups", host).status, 200, "{host}");
    }
    assert_eq!(get_file(&path, "/v2/groups", "evil.example").code(), "host-not-ours");
    assert_eq!(get_file(&path, "/v2/groups#x", "localhost").code(), "target-malformed");
    assert_eq!(ask_file(&path, b"GET /\x01 HTTP/1.1\r\n\r\n").code(), "request-malformed");
}

#[test]
fn a_unix_sockets_users_are_callers_and_others_are_refused() {
    let (_proxy, path) = with_file(&format!(
        "[listeners.door.callers.own]\nuids = [{}]\nscopes = [\"monitoring\"]\n[listeners.door.callers.other]\nuids = [4711]",
        own_uid()
    ));
    assert_eq!(get_file(&path, "/v2/organizations", "localhost").status, 200);
    let denied = ask_file(&path, b"POST /v2/organizations HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert_eq!(denied.code(), "scope-missing");
    let (_proxy, path) = with_file("[listeners.door.callers.other]\nuids = [4711]");
    let refused = get_file(&path, "/v2/organizations", "localhost");
    assert_eq!((refused.status, refused.code().as_str()), (401, "key-missing"));
}

#[test]
fn a_unix_socket_has_the_mode_and_group_it_was_given() {
    let (_proxy, path) = with_file("");
    assert_eq!(std::fs::metadata(&path).expect("a file").mode() & 0o7777, 0o600, "the default");
    // Who is not root can give it to a group of their own only.
    let group = if own_uid() == 0 { 4711 } else { rustix::process::getgid().as_raw() };
    let (_proxy, path) = with_file(&format!("mode = \"0660\"\ngroup = \"{group}\""));
    let metadata = std::fs::metadata(&path).expect("a file");
    assert_eq!((metadata.mode() & 0o7777, metadata.gid()), (0o660, group));
}

#[test]
fn a_unix_socket_is_removed_at_the_end_of_the_drain() {
    let (mut proxy, path) = with_file("");
    assert!(path.exists());
    let folder = std::fs::read_dir(proxy.folder()).expect("a folder").count();
    assert_eq!(folder, 3, "the configuration, the secret and the socket");
    proxy.shut_down().join().expect("an end");
    assert!(!path.exists());
}

/// The binary with this configuration, its standard error in the file `log`.
pub(crate) struct Running {
    child: Child,
    pub(crate) folder: tempfile::TempDir,
}

impl Running {
    pub(crate) fn start(config: &str, shell: &str, input: Stdio) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("config.toml"), config).expect("a file");
        let log = std::fs::File::create(folder.path().join("log")).expect("a file");
        let child = Command::new("sh")
            .args(["-c".as_ref(), shell.as_ref(), binary().as_os_str()])
            .current_dir(folder.path())
            .stdin(input)
            .stderr(log)
            .spawn()
            .expect("the binary runs");
        let running = Self { child, folder };
        eventually("the binary starts", || running.log().contains("started"));
        running
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).expect("a log")
    }

    /// Where its only listener is, by its log, which must be JSON.
    pub(crate) fn address(&self) -> SocketAddr {
        let line = || {
            let log = self.log();
            let listening = log.lines().find(|line| line.contains("\"listening\""))?.to_owned();
            let value: serde_json::Value = serde_json::from_str(&listening).ok()?;
            value["address"].as_str()?.strip_prefix("http://")?.parse().ok()
        };
        eventually("an address", || line().is_some());
        line().expect("an address")
    }

    /// The process's id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("an end");
        self.child.wait().expect("an end");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const FILE_ONLY: &str = "[listeners.local]\naddress = \"unix:s.sock\"\n[admin]\naddress = \"none\"\n";

#[test]
fn the_access_log_names_the_user_behind_a_unix_socket() {
    let running = Running::start(FILE_ONLY, "exec \"$0\"", Stdio::null());
    let path = running.folder.path().join("s.sock");
    assert!(running.log().contains("listening listener=local address=unix:"), "{}", running.log());
    assert_eq!(get_file(&path, "/v2/groups", "localhost").status, 200);
    let peer = format!("peer=uid={} gid=", own_uid());
    eventually("the line is written", || running.log().contains(&peer));
    assert!(running.log().contains(&format!(" pid={} method=GET", std::process::id())), "{}", running.log());
}

#[test]
fn a_stale_unix_socket_is_replaced_and_a_live_one_is_not() {
    let mut first = Running::start(FILE_ONLY, "exec \"$0\"", Stdio::null());
    let folder = first.folder.path().to_owned();
    let (code, _, errors) = run_binary(&folder, &[], &[]);
    assert_eq!(code, 71, "{errors}");
    assert!(errors.contains("listener local cannot listen on unix:"), "{errors}");
    assert!(errors.contains("another process answers there: end it, or change the address"), "{errors}");
    first.kill();
    let path = folder.join("s.sock");
    assert!(path.exists(), "a killed process leaves it behind");
    let mut second = Command::new(env!("CARGO_BIN_EXE_ninjaone-proxy"))
        .current_dir(&folder)
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary runs");
    eventually("the new one answers", || UnixStream::connect(&path).is_ok());
    assert_eq!(get_file(&path, "/v2/groups", "localhost").status, 200);
    second.kill().expect("an end");
    second.wait().expect("an end");
}

#[test]
fn a_unix_socket_that_cannot_be_made_says_why() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("file"), "precious").expect("a file");
    std::fs::set_permissions(folder.path().join("file"), std::fs::Permissions::from_mode(0o600)).expect("a mode");
    let long = "x".repeat(120);
    for (path, said) in [
        ("file", "there is a file that is not a socket: remove it, or change the address"),
        ("none/s.sock", "the folder is missing: make it, or let systemd do so with RuntimeDirectory="),
        (long.as_str(), "the path is too long for a socket"),
    ] {
        let config = format!("[listeners.local]\naddress = \"unix:{path}\"\n[admin]\naddress = \"none\"\n");
        std::fs::write(folder.path().join("config.toml"), config).expect("a file");
        let (code, _, errors) = run_binary(folder.path(), &[], &[]);
        assert_eq!(code, 71, "{errors}");
        assert!(errors.contains(said), "{errors}");
    }
    assert_eq!(std::fs::read(folder.path().join("file")).expect("a file"), b"precious");
}

const PASSED: &str = "[listeners.local]\naddress = \"fd:NAME\"\n[admin]\naddress = \"none\"\n";
/// Passes standard input as the first socket.
const PASS: &str = "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=ninja exec \"$0\" 3<&0";

#[test]
fn a_passed_tcp_socket_is_served_by_number_or_name() {
    for name in ["3", "ninja"] {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = socket.local_addr().expect("an address");
        let input = Stdio::from(std::os::fd::OwnedFd::from(socket));
        let running = Running::start(&PASSED.replace("NAME", name), PASS, input);
        assert!(running.log().contains(&format!("address=http://{address}")), "{}", running.log());
        for _ in 0..4 {
            assert_eq!(request(address, "GET", "/v2/groups", "", b"").status, 200, "{name}");
        }
    }
}

#[test]
fn a_passed_unix_socket_is_served_and_stays_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("passed.sock");
    let socket = std::os::unix::net::UnixListener::bind(&path).expect("a socket");
    let input = Stdio::from(std::os::fd::OwnedFd::from(socket));
    let mut running = Running::start(&PASSED.replace("NAME", "ninja"), PASS, input);
    assert_eq!(get_file(&path, "/v2/groups", "localhost").status, 200);
    let peer = format!("peer=uid={} gid=", own_uid());
    eventually("the line is written", || running.log().contains(&peer));
    let killed = Command::new("kill").args(["-TERM", &running.child.id().to_string()]).status().expect("kill runs");
    assert!(killed.success() && running.child.wait().expect("an end").success());
    assert!(path.exists(), "it belongs to who passed it");
}

#[test]
fn a_socket_that_was_not_passed_or_does_not_listen_is_a_start_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let start = |name: &str, shell: &str, input: Stdio| {
        std::fs::write(folder.path().join("config.toml"), PASSED.replace("NAME", name)).expect("a file");
        let mut command = Command::new("sh");
        command.args(["-c", shell, env!("CARGO_BIN_EXE_ninjaone-proxy")]).current_dir(folder.path()).stdin(input);
        let output = command.output().expect("the binary runs");
        assert_eq!(output.status.code(), Some(71), "{output:?}");
        String::from_utf8(output.stderr).expect("text")
    };
    let listening = || {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        Stdio::from(std::os::fd::OwnedFd::from(socket))
    };
    let said = start("3", "exec \"$0\"", Stdio::null());
    assert!(said.contains("listener local cannot listen on fd:3: no socket was passed to this process"), "{said}");
    for name in ["4", "other"] {
        let said = start(name, PASS, listening());
        assert!(said.contains("no such socket was passed to this process: there are 3 (ninja); change"), "{said}");
    }
    let said = start("3", PASS, Stdio::null());
    assert!(said.contains("it is not a listening TCP or Unix stream socket"), "{said}");
    let (socket, _other) = UnixStream::pair().expect("sockets");
    let said = start("3", PASS, Stdio::from(std::os::fd::OwnedFd::from(socket)));
    assert!(said.contains("it is not a listening TCP or Unix stream socket"), "{said}");
    let open = std::net::TcpListener::bind("0.0.0.0:0").expect("a port");
    let said = start("3", PASS, Stdio::from(std::os::fd::OwnedFd::from(open)));
    assert!(said.contains("is not a loopback address"), "{said}");
}
