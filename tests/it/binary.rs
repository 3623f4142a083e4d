//! The running binary: signals, limits of the system, and what it says of itself.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ninjaone_proxy::sandbox::TOKEN_MARK;

use crate::command_line::folder;
use crate::harness::{Ninja, connect, eventually, request};
use crate::tls::{GOOD, Secure};
use crate::watch::SECRET;

/// The binary, run by `shell` (such as `exec "$0"`), once it has said where it listens; killed at the end of the test.
struct Running {
    child: Child,
    address: std::net::SocketAddr,
    /// All of standard error, once the binary has ended.
    log: Option<std::thread::JoinHandle<Vec<String>>>,
    _folder: tempfile::TempDir,
}

impl Running {
    fn start(shell: &str, more: &str) -> Self {
        Self::with_listener(shell, "", more)
    }

    /// `listener` is TOML for the listener.
    fn with_listener(shell: &str, listener: &str, more: &str) -> Self {
        let ports =
            format!("[listeners.local]\naddress = \"127.0.0.1:0\"\n{listener}\n[admin]\naddress = \"127.0.0.1:0\"\n");
        let folder = folder(&format!("{ports}{more}"));
        std::fs::write(folder.path().join("secret"), SECRET).expect("a file");
        let mut child = Command::new("sh")
            .args(["-c", shell, env!("CARGO_BIN_EXE_ninjaone-proxy")])
            .current_dir(folder.path())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let mut lines = BufReader::new(child.stderr.take().expect("standard error")).lines();
        let mut log = Vec::new();
        // At trace level the libraries write many lines before it.
        let listening = lines.by_ref().take(10_000).map(|line| line.expect("a line")).find_map(|line| {
            log.push(line.clone());
            let (_, rest) = line.split_once("listening listener=local address=http://")?;
            rest.split(' ').next()?.parse().ok()
        });
        let address = listening.unwrap_or_else(|| {
            let _ = child.kill();
            panic!("the log does not name the address: {log:?}")
        });
        let log = std::thread::spawn(move || log.into_iter().chain(lines.map_while(Result::ok)).collect());
        Self { child, address, log: Some(log), _folder: folder }
    }

    /// Sends SIGTERM.
    fn signal(&self) {
        let killed = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().expect("kill runs");
        assert!(killed.success());
    }

    /// Sends SIGTERM and returns the exit code.
    fn terminate(&mut self) -> Option<i32> {
        self.signal();
        let mut code = None;
        eventually("the process ends", || {
            code = self.child.try_wait().expect("a status").map(|status| status.code());
            code.is_some()
        });
        code.flatten()
    }

    fn get(&self, path: &str) -> u16 {
        request(self.address, "GET", path, "", b"").status
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_binary_says_where_it_listens_serves_and_ends_with_0_on_sigterm() {
    let mut running = Running::start("exec \"$0\"", "");
    assert_eq!(running.get("/v2/organizations"), 200);
    assert_eq!(running.terminate(), Some(0));
}

/// The running binary, and a connection with a request that an instance of another process answers after a minute.
fn with_a_request_in_flight(ninja: &Ninja, more: &str) -> (Running, std::net::TcpStream) {
    let instance = ninja.instance();
    let more = format!(
        "[instances.main]\n{instance}\nclient-id = \"sandbox\"\nclient-secret = {{ file = \"secret\" }}\n{more}"
    );
    let running = Running::start("exec \"$0\"", &more);
    assert_eq!(running.get("/v2/organizations"), 200);
    let mut busy = connect(running.address);
    busy.write_all(b"GET /v2/organizations?delay=60000 HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("a request");
    std::thread::sleep(std::time::Duration::from_millis(300));
    (running, busy)
}

#[test]
fn a_second_signal_ends_the_binary_at_once() {
    let ninja = Ninja::start(|_| ());
    let (mut running, mut busy) = with_a_request_in_flight(&ninja, "[timeouts]\ndrain = \"60s\"");
    running.signal();
    eventually("the listener closes", || std::net::TcpStream::connect(running.address).is_err());
    assert!(running.child.try_wait().expect("a status").is_none(), "it waits for what is in flight");
    assert_eq!(running.terminate(), Some(0));
    assert!(!busy.read(&mut [0; 1]).is_ok_and(|bytes| bytes > 0), "no half an answer");
}

#[test]
fn a_request_that_outlasts_the_drain_does_not_hold_up_the_end() {
    let ninja = Ninja::start(|_| ());
    let (mut running, mut busy) = with_a_request_in_flight(&ninja, "[timeouts]\ndrain = \"500ms\"");
    assert_eq!(running.terminate(), Some(0));
    assert!(!busy.read(&mut [0; 1]).is_ok_and(|bytes| bytes > 0), "no half an answer");
}

/// Saved every 5 seconds: the disk is full for two of these times.
#[cfg(target_os = "linux")]
#[test]
fn the_binary_serves_while_its_record_cannot_be_written_tells_it_once_and_writes_it_later() {
    let disk = tempfile::tempdir().expect("a folder");
    let (file, aside) = (disk.path().join("used.json"), disk.path().join("used.json.lock"));
    std::fs::create_dir(&aside).expect("something in the way of the lock");
    let mut running = Running::with_listener("exec \"$0\"", "mode = \"observe\"", &format!("[learn]\nfile = {file:?}"));
    let begun = std::time::Instant::now();
    let mut requests = 0;
    while begun.elapsed() < std::time::Duration::from_secs(12) {
        assert_eq!(running.get("/v2/organizations"), 200);
        requests += 1;
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    assert!(!file.exists(), "nothing was written, and no half of it");
    std::fs::remove_dir(&aside).expect("out of the way");
    assert_eq!(running.terminate(), Some(0));
    let record: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).expect("a record")).expect("JSON");
    assert_eq!(record["used"][0]["requests"], requests, "{record}");
    let log = running.log.take().expect("a log").join().expect("lines");
    let told = log.iter().filter(|line| line.contains("cannot be recorded")).count();
    assert_eq!(told, 1, "{log:#?}");
}

#[test]
fn the_binary_survives_having_no_descriptors_left() {
    let running = Running::start("ulimit -n 48; exec \"$0\"", "");
    assert_eq!(running.get("/v2/organizations"), 200);
    let idle: Vec<_> = (0..80).map(|_| connect(running.address)).collect();
    std::thread::sleep(std::time::Duration::from_millis(300));
    drop(idle);
    eventually("service goes on", || running.get("/v2/organizations") == 200);
}

#[cfg(target_os = "linux")]
#[test]
fn the_binary_leaves_no_core_dump() {
    use std::os::unix::process::ExitStatusExt;
    let mut running = Running::start("ulimit -c unlimited; exec \"$0\"", "");
    assert_eq!(running.get("/v2/organizations"), 200);
    let killed = Command::new("kill").args(["-ABRT", &running.child.id().to_string()]).status().expect("kill runs");
    assert!(killed.success());
    let status = running.child.wait().expect("a status");
    assert_eq!((status.signal(), status.core_dumped()), (Some(6), false));
}

#[test]
fn the_binary_logs_no_secret_and_no_token_at_trace_level() {
    // Over HTTP/2, whose library logs each frame.
    let secure = Secure::start(&GOOD, &[b"h2"]);
    for auth in ["form", "basic"] {
        let more = format!(
            "[instances.main]\nhost = \"https://localhost:{}\"\nca-file = {:?}\nclient-id = \"sandbox\"\n\
             client-secret = {{ file = \"secret\" }}\nclient-auth = {auth:?}\n[log]\nlevel = \"trace\"",
            secure.address.port(),
            secure.ca_file
        );
        let mut running = Running::start("exec \"$0\"", &more);
        assert_eq!(running.get("/v2/organizations"), 200);
        secure.sandbox.revoke_tokens();
        assert_eq!(running.get("/v2/devices?pageSize=1"), 200);
        assert_eq!(running.get("/v2/devices/../users"), 400);
        assert_eq!(running.terminate(), Some(0));
        let log = running.log.take().expect("a log").join().expect("lines");
        assert!(log.iter().any(|line| line.contains("h2::") && line.contains("frame=Data")), "frames are logged");
        let encoded = STANDARD.encode(format!("sandbox:{SECRET}"));
        for line in log {
            assert!(!line.contains(SECRET) && !line.contains(TOKEN_MARK) && !line.contains(&encoded), "{line}");
        }
    }
}

#[test]
fn the_binary_tells_of_callers_that_speak_tls_to_clear_text_once_a_minute() {
    let mut running = Running::start("exec \"$0\"", "");
    // Line ends and blanks are in hellos, too.
    for hello in [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], b"\x16\x03\x01\x00\x20\r\n\n \r\n\r\n", b"\x16"]
    {
        for _ in 0..20 {
            let mut stream = connect(running.address);
            stream.write_all(hello).expect("a hello");
            // The proxy may have reset the connection before this end.
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let _ = stream.read_to_end(&mut Vec::new());
        }
    }
    assert_eq!(running.get("/v2/organizations"), 200);
    assert_eq!(running.terminate(), Some(0));
    let log = running.log.take().expect("a log").join().expect("lines");
    let of_mixups = |line: &&String| line.contains("a caller speaks TLS to this port, which is plain HTTP");
    let told: Vec<_> = log.iter().filter(of_mixups).collect();
    let place = format!("listener=local address=http://{}", running.address);
    assert!(told.iter().all(|line| line.contains(&place)), "{told:?}");
    let told = told.len();
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    assert!((1..=workers).contains(&told), "{told} times: {log:#?}");
}
