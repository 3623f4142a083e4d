//! The servers of whoever wrote a web page: they serve it, and hear what it learned.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::harness::{read_body, read_head};

/// A page that tries to send requests to `target`; see there.
pub(super) const ATTACKS: &str = include_str!("attacks.html");

/// One server under every name that ends in `.example`.
pub(super) struct Site {
    pub(super) address: SocketAddr,
    reports: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Site {
    pub(super) fn start() -> Self {
        let reports = Arc::new(Mutex::new(BTreeMap::new()));
        let heard = Arc::clone(&reports);
        let address = serve(move |mut stream| {
            let Some(head) = read_head(&mut stream) else { return };
            let body = String::from_utf8_lossy(&read_body(&head, &mut stream)).into_owned();
            let target = head.split(' ').nth(1).unwrap_or_default();
            let (path, query) = target.split_once('?').unwrap_or((target, ""));
            let mut values = form_urlencoded::parse(query.as_bytes()).map(|(_, value)| value.into_owned());
            let answer = match path {
                "/attacks" => page("", ATTACKS),
                "/null" => page("Content-Security-Policy: sandbox allow-scripts allow-forms allow-popups\r\n", ATTACKS),
                "/tabs" => {
                    let pages = serde_json::to_string(&values.collect::<Vec<_>>()).expect("JSON");
                    page("", &format!("<script>for (const page of {pages}) open(page);</script>"))
                }
                "/redirect" => {
                    let there = values.next().expect("a place to go");
                    format!("HTTP/1.1 302 Found\r\nLocation: {there}\r\nConnection: close\r\n\r\n")
                }
                _ => {
                    if let Some((attempt, outcome)) = body.split_once(' ') {
                        heard.lock().expect("reports").insert(attempt.to_owned(), outcome.to_owned());
                    }
                    "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n".to_owned()
                }
            };
            let _ = stream.write_all(answer.as_bytes());
        });
        Self { address, reports }
    }

    /// This site under a name of its own.
    pub(super) fn origin(&self, name: &str) -> String {
        format!("http://{name}:{}", self.address.port())
    }

    /// The address of the page at `place`, its attempts marked with `label` and sent to `target`.
    pub(super) fn attacks(&self, label: &str, place: &str, target: &str, only: &[&str]) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("label", label).append_pair("target", target);
        query.append_pair("report", &self.origin("attacker.example"));
        if !only.is_empty() {
            query.append_pair("only", &only.join(","));
        }
        format!("{place}?{}", query.finish())
    }

    /// The address of a page that opens these, each in a tab.
    pub(super) fn tabs(&self, pages: &[String]) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(pages.iter().map(|page| ("page", page)));
        format!("{}/tabs?{}", self.origin("attacker.example"), query.finish())
    }

    /// What each attempt learned, by `LABEL.NAME`; `LABEL.done` is how many there were.
    pub(super) fn reports(&self) -> BTreeMap<String, String> {
        self.reports.lock().expect("reports").clone()
    }
}

/// A whole answer with a page; `headers` are lines that end in CR LF.
pub(super) fn page(headers: &str, text: &str) -> String {
    let length = text.len();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n{text}"
    )
}

/// Hands each connection to `answer`, in a thread of its own.
pub(super) fn serve(answer: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    let answer = Arc::new(answer);
    thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let answer = Arc::clone(&answer);
            thread::spawn(move || answer(stream));
        }
    });
    address
}
