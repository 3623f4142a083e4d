//! A tapped wire between a browser and a proxy.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::site::{ATTACKS, page, serve};
use crate::harness::{connect, read_head};

/// The methods that the attack page uses, as request lines begin.
const METHODS: [&str; 5] = ["GET /", "HEAD /", "POST /", "DELETE /", "OPTIONS /"];

/// All that went over the wire.
pub(super) struct Tap {
    pub(super) address: SocketAddr,
    wires: Arc<Mutex<Vec<Arc<Wire>>>>,
}

#[derive(Default)]
struct Wire {
    asked: Mutex<Vec<u8>>,
    answered: Mutex<Vec<u8>>,
    /// The browser ended it.
    left: AtomicBool,
}

/// One request and what came back.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) asked: String,
    /// Empty, or from the status on, in lower case.
    pub(super) answered: String,
    /// The browser did not wait for an answer, as it may where a page cannot read it.
    pub(super) abandoned: bool,
}

impl Tap {
    /// A wire to `proxy`. The attack page is served here too, under each name that leads here: that is what a name
    /// leads to before its owner rebinds it to this machine.
    pub(super) fn start(proxy: SocketAddr) -> Self {
        let wires: Arc<Mutex<Vec<Arc<Wire>>>> = Arc::default();
        let kept = Arc::clone(&wires);
        let address = serve(move |mut stream| {
            let Some(head) = read_head(&mut stream) else { return };
            if head.starts_with("GET /attacks?") {
                let _ = stream.write_all(page("", ATTACKS).as_bytes());
                return;
            }
            let wire = Arc::new(Wire::default());
            kept.lock().expect("wires").push(Arc::clone(&wire));
            record(&wire.asked, head.as_bytes());
            let mut onward = connect(proxy);
            let _ = onward.write_all(head.as_bytes());
            let (back, forth) = (onward.try_clone().expect("a socket"), stream.try_clone().expect("a socket"));
            let answers = Arc::clone(&wire);
            thread::spawn(move || carry(back, forth, &answers.answered));
            carry(stream, onward, &wire.asked);
            wire.left.store(true, Ordering::Release);
        });
        Self { address, wires }
    }

    /// All requests so far.
    pub(super) fn exchanges(&self) -> Vec<Exchange> {
        self.wires.lock().expect("wires").iter().flat_map(|wire| wire.exchanges()).collect()
    }
}

impl Wire {
    fn exchanges(&self) -> Vec<Exchange> {
        let left = self.left.load(Ordering::Acquire);
        let (asked, answered) = (text(&self.asked), text(&self.answered).to_lowercase());
        let mut requests: Vec<String> = Vec::new();
        for line in asked.lines() {
            // A body before it need not end with the line.
            let begin = METHODS.iter().filter_map(|method| line.find(method)).min();
            let begin = begin.filter(|_| line.ends_with(" HTTP/1.1"));
            if begin.is_some() {
                requests.push(String::new());
            }
            let line = line.get(begin.unwrap_or(0)..).unwrap_or_default();
            if let Some(request) = requests.last_mut() {
                request.push_str(line);
                request.push('\n');
            }
        }
        let mut answers = answered.split("http/1.1 ").skip(1);
        let answer = |asked| {
            let answered = answers.next().unwrap_or_default().to_owned();
            Exchange { asked, abandoned: left && answered.is_empty(), answered }
        };
        requests.into_iter().map(answer).collect()
    }
}

impl Exchange {
    /// Whether nothing more will come.
    pub(super) fn is_over(&self) -> bool {
        self.abandoned || self.status() != 0
    }

    /// 0 if no answer came.
    pub(super) fn status(&self) -> u16 {
        self.answered.split(' ').next().and_then(|status| status.parse().ok()).unwrap_or_default()
    }

    /// Which attempt of the attack page this was.
    pub(super) fn attempt(&self) -> Option<&str> {
        self.asked.lines().next()?.split_once("attempt=")?.1.split(' ').next()
    }

    pub(super) fn is_preflight(&self) -> bool {
        self.asked.contains("\nAccess-Control-Request-Method: ")
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, seen: &Mutex<Vec<u8>>) {
    let mut bytes = [0; 8192];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        record(seen, &bytes[..count]);
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

fn record(seen: &Mutex<Vec<u8>>, bytes: &[u8]) {
    seen.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
}

fn text(seen: &Mutex<Vec<u8>>) -> String {
    String::from_utf8_lossy(&seen.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
}
