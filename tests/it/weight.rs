//! What connections and bodies cost the process, measured from outside.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::doors::Running;
use crate::harness::{Ninja, PATIENCE, Reply, connect, request};
use crate::watch::SECRET;

const MIB: usize = 1 << 20;
/// Connections at rest. Not every machine lets a test have 10,000, and in a release build each costs less.
const IDLE: usize = 400;
const DRIPPING: usize = 300;
const READERS: usize = 50;

/// The binary in front of a sandbox.
struct Process {
    running: Running,
    address: SocketAddr,
    _ninja: Ninja,
}

impl Process {
    fn start(rest: &str) -> Self {
        let ninja = Ninja::start(|_| {});
        let config = format!(
            "[instances.main]\n{}\nclient-id = \"sandbox\"\nclient-secret = {{ env = \"NINJA_SECRET\" }}\n\
             [listeners.local]\naddress = \"127.0.0.1:0\"\nscopes = [\"monitoring\", \"management\"]\n\
             [admin]\naddress = \"none\"\n{rest}\n",
            ninja.instance()
        );
        let running = Running::start(&config, &format!("NINJA_SECRET={SECRET} exec \"$0\""), Stdio::null());
        let log = running.log();
        let address =
            log.split("address=http://").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("an address");
        let process = Self { address: address.parse().expect("an address"), running, _ninja: ninja };
        // Each worker has its connections and buffers before anything is measured.
        for _ in 0..20 {
            assert_eq!(process.get("/v2/organizations"), 200);
        }
        process
    }

    fn get(&self, path: &str) -> u16 {
        request(self.address, "GET", path, "", b"").status
    }

    /// Bytes of memory: `VmRSS` now, or `VmHWM` at the most.
    fn memory(&self, name: &str) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.running.id())).expect("a status");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
        let number = line.trim_start_matches(':').split_whitespace().next().expect("a number");
        number.parse::<usize>().expect("a number") * 1024
    }

    /// What it takes more than `before`, once that does not change any more.
    fn settled(&self, before: usize) -> usize {
        let (begun, mut last, mut same) = (Instant::now(), 0, 0);
        while same < 10 {
            assert!(begun.elapsed() < PATIENCE, "the memory settles");
            sleep(Duration::from_millis(50));
            let now = self.memory("VmRSS");
            same = if now == last { same + 1 } else { 0 };
            last = now;
        }
        last.saturating_sub(before)
    }
}

#[test]
fn a_connection_at_rest_costs_less_than_48_kib() {
    let process = Process::start("");
    let before = process.memory("VmRSS");
    let idle: Vec<TcpStream> = (0..IDLE)
        .map(|_| {
            let mut stream = connect(process.address);
            stream.write_all(b"GET /v2/groups HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("a request");
            assert_eq!(Reply::read(&mut stream, false).status, 200);
            stream
        })
        .collect();
    let each = process.settled(before) / idle.len();
    println!("{each} bytes for each of {IDLE} connections at rest");
    assert!(each < 48 * 1024, "{each} bytes");
    let still = |mut stream: &TcpStream| {
        stream.set_nonblocking(true).expect("a mode");
        matches!(stream.read(&mut [0; 1]), Err(error) if error.kind() == ErrorKind::WouldBlock)
    };
    assert!(idle.iter().all(still), "they are held");
}

#[test]
fn dripping_connections_are_cut_off_while_others_are_served() {
    let process = Process::start("[timeouts]\nclient = \"1s\"");
    let mut dripping: Vec<TcpStream> = (0..DRIPPING).map(|_| connect(process.address)).collect();
    dripping.iter().for_each(|stream| stream.set_nonblocking(true).expect("a mode"));
    let head = b"GET /v2/groups HTTP/1.1\r\nHost: localhost\r\nX: ".iter().chain(std::iter::repeat(&b'x'));
    let begun = Instant::now();
    for byte in head {
        dripping.retain_mut(|stream| {
            let written = stream.write(&[*byte]).is_ok();
            let waits = matches!(stream.read(&mut [0; 1]), Err(error) if error.kind() == ErrorKind::WouldBlock);
            written && waits
        });
        assert_eq!(process.get("/v2/organizations?pageSize=1"), 200);
        if dripping.is_empty() {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{} are still there", dripping.len());
        sleep(Duration::from_millis(20));
    }
    println!("{DRIPPING} dripping connections were cut off within {:?}", begun.elapsed());
}

#[test]
fn fifty_callers_that_do_not_read_cost_less_than_64_mib() {
    let process = Process::start("");
    let before = process.memory("VmRSS");
    let readers: Vec<TcpStream> = (0..READERS)
        .map(|_| {
            let mut stream = connect(process.address);
            let head = format!("GET /v2/attachment/7?size={} HTTP/1.1\r\nHost: localhost\r\n\r\n", 8 * MIB);
            stream.write_all(head.as_bytes()).expect("a request");
            assert_eq!(stream.read(&mut [0; 1]).expect("an answer that begins"), 1);
            stream
        })
        .collect();
    let cost = process.settled(before);
    println!("{cost} bytes for {READERS} callers that do not read");
    assert!(cost < 64 * MIB, "{cost} bytes");
    assert_eq!(process.get("/v2/organizations"), 200);
    drop(readers);
}

#[test]
fn bodies_of_64_mib_cost_less_than_48_mib() {
    let process = Process::start("");
    let before = process.memory("VmRSS");
    let upload = "/v2/attachments/temp/upload";
    let kind = "Content-Type: multipart/form-data; boundary=b\r\n";
    let sent = request(process.address, "POST", upload, kind, &vec![b'x'; 64 * MIB]);
    assert!(sent.status < 300, "{sent:?}");
    let up = process.memory("VmHWM").saturating_sub(before);
    let got = request(process.address, "GET", &format!("/v2/attachment/7?size={}", 64 * MIB), "", b"");
    assert_eq!((got.status, got.body.len(), got.whole), (200, 64 * MIB, true));
    let cost = process.memory("VmHWM").saturating_sub(before);
    println!("{up} bytes for 64 MiB up, {cost} for up and down");
    assert!(cost < 48 * MIB, "{cost} bytes");
}
