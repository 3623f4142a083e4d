//! Messages that two readers could understand in two ways: refused, or understood in the one way that is left.

mod rows;

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::harness::{Asked, Proxy, Reply, Scripted, Then, answer, connect, eventually, read_chunks, request};
use rows::{Fate, Row};

/// The rows are tried by so many threads at a time, each with a proxy of its own.
const LANES: usize = 16;
/// How long a connection is seen to wait.
const WAIT: Duration = Duration::from_millis(300);
const LISTENER: &str = "scopes = [\"monitoring\", \"management\"]\nnames = [\"example.com\"]";
/// What follows every row on its connection.
const SECOND: &str = "GET /v2/devices?second=1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// A request as NinjaOne saw it; without a body if that broke off.
#[derive(Debug)]
struct Seen {
    head: String,
    body: Option<Vec<u8>>,
}

/// A proxy, and all that comes out of it.
struct Lane {
    proxy: Proxy,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Lane {
    fn start(rest: &str) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&seen);
        let server = Scripted::start(move |mut asked| {
            let body = whole_body(&mut asked);
            let then = if body.is_some() { Then::Continue } else { Then::Close };
            noted.lock().expect("a list").push(Seen { head: asked.head.clone(), body });
            asked.answer(&answer("200 OK", "[]"));
            then
        });
        Self { proxy: Proxy::start(&server.instance(), LISTENER, rest), seen }
    }

    /// What NinjaOne saw since the last look, of messages whose bodies are cut or of all others. The end of one that
    /// is cut may come to it later than the answer comes to the caller.
    fn seen(&self, cut: bool) -> Vec<Seen> {
        let mut seen = self.seen.lock().expect("a list");
        let mine = |seen: &mut Seen| seen.head.contains("?cut=1") == cut;
        seen.extract_if(.., mine).filter(|seen| !seen.head.contains("?fresh=1")).collect()
    }

    /// Tries a row; says what is wrong.
    fn try_row(&self, row: &Row) -> Result<(), String> {
        let outcome = match row.fate {
            Fate::Waits => self.waits(row),
            Fate::Truncated => self.truncated(row),
            Fate::Closed(statuses) => self.refused(row, statuses, true),
            Fate::Refused(statuses) => self.refused(row, statuses, false),
            Fate::Served(body) => self.served(row, body),
            Fate::Cut => self.cut(row),
        };
        // What goes up against the rule is one row's fault, not the next one's.
        self.seen(false);
        outcome?;
        match request(self.proxy.address, "GET", "/v2/organizations?fresh=1", "", b"").status {
            200 => Ok(()),
            status => Err(format!("a good request afterwards gets {status}")),
        }
    }

    /// The statuses of all answers to the row and to the request after it, to the end of the connection.
    fn converse(&self, row: &Row) -> Result<Vec<u16>, String> {
        let mut stream = connect(self.proxy.address);
        // The answer may come, and the connection go, before all of it is out.
        let _ = stream.write_all(&[&row.bytes, SECOND.as_bytes()].concat());
        let mut all = Vec::new();
        if let Err(error) = stream.read_to_end(&mut all)
            && error.kind() != ErrorKind::ConnectionReset
        {
            return Err(format!("the connection does not end: {error}"));
        }
        let mut rest = all.as_slice();
        let mut statuses = Vec::new();
        while !rest.is_empty() {
            statuses.push(Reply::read(&mut rest, false).status);
        }
        statuses.retain(|status| *status != 100);
        Ok(statuses)
    }

    fn refused(&self, row: &Row, statuses: &[u16], closes: bool) -> Result<(), String> {
        let got = self.converse(row)?;
        let seen = self.seen(false);
        if !statuses.contains(got.first().unwrap_or(&0)) || (closes && got.len() > 1) {
            return Err(format!("got {got:?}"));
        }
        let known = |seen: &Seen| !closes && seen.head.contains("?second=1");
        if seen.iter().all(known) { Ok(()) } else { Err(format!("{seen:?} went up")) }
    }

    fn served(&self, row: &Row, body: &str) -> Result<(), String> {
        let got = self.converse(row)?;
        let mut seen = self.seen(false);
        seen.retain(|seen| !seen.head.contains("?second=1"));
        match seen.as_slice() {
            [only] if got.first() == Some(&200) => well_formed(only, body),
            seen => Err(format!("got {got:?}, {} went up: {seen:?}", seen.len())),
        }
    }

    fn cut(&self, row: &Row) -> Result<(), String> {
        let got = self.converse(row)?;
        if got != [400] {
            return Err(format!("got {got:?}"));
        }
        self.nothing_whole()
    }

    fn truncated(&self, row: &Row) -> Result<(), String> {
        let mut stream = connect(self.proxy.address);
        stream.write_all(&row.bytes).map_err(|error| error.to_string())?;
        // The proxy may have refused it and reset the connection before this end.
        let _ = stream.shutdown(Shutdown::Write);
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all);
        if all.starts_with(b"HTTP/1.1 2") {
            return Err(format!("got {:?}", String::from_utf8_lossy(&all)));
        }
        self.nothing_whole()
    }

    fn nothing_whole(&self) -> Result<(), String> {
        let seen = self.seen(true);
        if seen.iter().all(|seen| seen.body.is_none()) { Ok(()) } else { Err(format!("{seen:?} went up")) }
    }

    fn waits(&self, row: &Row) -> Result<(), String> {
        let mut stream = connect(self.proxy.address);
        stream.write_all(&row.bytes).map_err(|error| error.to_string())?;
        stream.set_read_timeout(Some(WAIT)).map_err(|error| error.to_string())?;
        match stream.read(&mut [0; 100]) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(()),
            other => Err(format!("did not wait: {other:?}")),
        }
    }
}

fn whole_body(asked: &mut Asked<'_>) -> Option<Vec<u8>> {
    let lines = asked.lines();
    if lines.contains_key("transfer-encoding") {
        let mut body = Vec::new();
        return read_chunks(asked.stream, &mut body).then_some(body);
    }
    let length = lines.get("content-length").map_or(Some(0), |values| values.first()?.parse().ok())?;
    let mut body = Vec::new();
    asked.stream.take(length).read_to_end(&mut body).ok()?;
    (body.len() as u64 == length).then_some(body)
}

/// Whether any reader understands a request as we do.
fn well_formed(seen: &Seen, body: &str) -> Result<(), String> {
    let whole = seen.body.as_deref() == Some(body.as_bytes());
    let lines: Vec<&str> = seen.head.trim_end_matches("\r\n").split("\r\n").collect();
    let named = |name: &str| lines.iter().filter(|line| line.to_ascii_lowercase().starts_with(name)).count();
    let (length, coding) = (named("content-length: "), named("transfer-encoding: chunked"));
    let hop = ["connection:", "upgrade:", "http2-settings:", "te:", "trailer:", "expect:"].map(named);
    let plain = lines[0].ends_with(" HTTP/1.1") && !seen.head.replace("\r\n", "").contains(['\r', '\n', '\0']);
    let framed = length + coding < 2 && named("transfer-encoding:") == coding;
    let fine = whole && plain && framed && named("host: ") == 1 && hop.iter().sum::<usize>() == 0;
    if fine { Ok(()) } else { Err(format!("{seen:?} went up")) }
}

fn describe(row: &Row, wrong: &str) -> String {
    let bytes: String = String::from_utf8_lossy(&row.bytes).chars().take(200).collect();
    format!("{} ({}) {bytes:?}, {:?}: {wrong}", row.family, row.section, row.fate)
}

#[test]
fn every_ambiguous_message_is_refused_or_understood_in_one_way() {
    let rows = Arc::new(rows::rows());
    let lanes: Vec<_> = (0..LANES)
        .map(|number| {
            let rows = Arc::clone(&rows);
            thread::spawn(move || {
                let lane = Lane::start("");
                let mine = rows.iter().skip(number).step_by(LANES);
                let wrong = mine.filter_map(|row| lane.try_row(row).err().map(|wrong| describe(row, &wrong)));
                wrong.collect::<Vec<_>>()
            })
        })
        .collect();
    let wrong: Vec<String> = lanes.into_iter().flat_map(|lane| lane.join().expect("a lane")).collect();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    rows.iter().for_each(|row| *counts.entry(row.family).or_default() += 1);
    for (family, count) in &counts {
        println!("{family:20} {count:4}");
    }
    println!("{:20} {:4}, {} wrong", "all", rows.len(), wrong.len());
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
    assert_eq!(counts["h1spec"], 33);
    assert!(rows.len() >= 250, "{} rows", rows.len());
}

#[test]
fn what_the_parser_hides_is_found_wherever_a_head_is_cut_into_pieces() {
    let lane = Lane::start("");
    let body = "POST /v2/organizations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello";
    for head in [
        "POST /v2/devices HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
        "GET /v2/devices HTTP/1.1\r\nHost: localhost\n\r\n",
        "GET /v2/devices#x HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ] {
        for cut in (0..head.len()).step_by(7) {
            let (one, two) = head.split_at(cut);
            let mut stream = connect(lane.proxy.address);
            stream.write_all(format!("{body}{one}").as_bytes()).expect("a request and a part");
            assert_eq!(Reply::read(&mut stream, false).status, 200, "{one:?}");
            stream.write_all(two.as_bytes()).expect("the rest");
            assert_eq!(Reply::read(&mut stream, false).status, 400, "{one:?} {two:?}");
            assert_eq!(stream.read(&mut [0; 1]).unwrap_or_default(), 0, "an end");
            assert_eq!(lane.seen(false).len(), 1);
        }
    }
}

#[test]
fn what_the_parser_refuses_is_counted_and_has_a_record() {
    let proxy = Proxy::sandboxed("");
    for (bytes, status, code) in [
        (format!("GET / HTTP/1.1\r\n{}\r\n", "X: 1\r\n".repeat(200)), 431, "head-too-large"),
        ("GET / HTTP/9.9\r\n\r\n".to_owned(), 400, "request-malformed"),
    ] {
        let mut stream = connect(proxy.address);
        let _ = stream.write_all(bytes.as_bytes());
        let reply = Reply::read(&mut stream, false);
        assert_eq!((reply.status, reply.code().as_str()), (status, code));
        assert_eq!(reply.header("x-request-id").len(), 16, "it stands in the log");
        let line = format!("ninjaone_proxy_refusals_total{{blame=\"caller\",code=\"{code}\",listener=\"local\"}} 1");
        eventually("it is counted", || {
            let metrics = request(proxy.admin, "GET", "/metrics", "", b"").body;
            String::from_utf8_lossy(&metrics).lines().any(|l| l == line)
        });
    }
}
