//! Faults at every point of a request's life: after them nobody is counted, nothing was written twice, and the next
//! request gets its own answer.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

use crate::harness::{Asked, Proxy, Reply, Scripted, Then, connect, eventually, grant, request};
use crate::watch::SCRIPTED_TOKEN;

const WRITE: &str = "scopes = [\"monitoring\", \"management\"]";
const BODY: &str = "{\"name\":\"a new organization\"}";
/// Cases at a time.
const CROWD: usize = 12;
const PAUSE: Duration = Duration::from_millis(15);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The caller ends the connection.
    Leave,
    /// The caller resets it.
    Reset,
    /// The caller sends no more, and waits.
    Silence,
    /// The instance ends the connection.
    Close,
    /// The instance resets it.
    Abort,
    /// Nothing but a pause.
    Delay,
}

/// How much of its answer the instance has sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Nothing,
    HalfHead,
    Head,
    HalfBody,
    AllButOne,
}

/// Where the fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Point {
    /// When so many bytes of the request are out.
    Byte(usize),
    Answer(Stage),
}

#[derive(Debug, Clone, Copy)]
struct Case {
    write: bool,
    /// The answer comes in chunks.
    chunked: bool,
    point: Point,
    fault: Fault,
}

const STAGES: [Stage; 5] = [Stage::Nothing, Stage::HalfHead, Stage::Head, Stage::HalfBody, Stage::AllButOne];

fn message(number: usize, write: bool) -> String {
    if write {
        let length = BODY.len();
        format!(
            "POST /v2/organizations?case={number:04}& HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{BODY}"
        )
    } else {
        format!("GET /v2/devices?case={number:04}& HTTP/1.1\r\nHost: localhost\r\n\r\n")
    }
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (write, step) in [(false, 1), (true, 2)] {
        for bytes in (0..=message(0, write).len()).step_by(step) {
            for fault in [Fault::Leave, Fault::Reset, Fault::Silence, Fault::Delay] {
                cases.push(Case { write, chunked: false, point: Point::Byte(bytes), fault });
            }
        }
        for stage in STAGES {
            for fault in [Fault::Leave, Fault::Reset, Fault::Close, Fault::Abort, Fault::Delay] {
                for chunked in [false, true] {
                    cases.push(Case { write, chunked, point: Point::Answer(stage), fault });
                }
            }
        }
    }
    cases
}

/// What both sides know of a case.
#[derive(Default)]
struct Mark {
    /// The instance is where the fault strikes.
    reached: AtomicBool,
    /// The caller is gone.
    left: AtomicBool,
    /// Heads that arrived.
    arrived: AtomicUsize,
}

struct Scene {
    cases: Vec<Case>,
    marks: Vec<Mark>,
    without_token: AtomicUsize,
}

impl Scene {
    fn new() -> Arc<Self> {
        let cases = cases();
        let marks = cases.iter().map(|_| Mark::default()).collect();
        Arc::new(Self { cases, marks, without_token: AtomicUsize::new(0) })
    }

    /// What the instance does.
    fn play(&self, mut asked: Asked<'_>) -> Then {
        if !has_token(&asked.head) {
            self.without_token.fetch_add(1, Ordering::SeqCst);
        }
        let number = asked.head.split("case=").nth(1).and_then(|rest| rest.get(..4)?.parse().ok()).expect("a case");
        if asked.head.contains("&healthy") {
            asked.answer(&text(number, false).concat());
            return Then::Continue;
        }
        let (case, mark) = (self.cases[number], &self.marks[number]);
        mark.arrived.fetch_add(1, Ordering::SeqCst);
        if case.write && asked.stream.read_exact(&mut vec![0; BODY.len()]).is_err() {
            return Then::Close;
        }
        let [head, body] = text(number, case.chunked);
        let Point::Answer(stage) = case.point else {
            asked.answer(&(head + &body));
            return Then::Continue;
        };
        let sent = match stage {
            Stage::Nothing => 0,
            Stage::HalfHead => head.len() / 2,
            Stage::Head => head.len(),
            Stage::HalfBody => head.len() + body.len() / 2,
            Stage::AllButOne => head.len() + body.len() - 1,
        };
        let whole = head + &body;
        asked.answer(&whole[..sent]);
        mark.reached.store(true, Ordering::SeqCst);
        strike(asked.stream, case.fault, &mark.left, &whole[sent..])
    }
}

/// The instance's part of a fault, with the rest of its answer if it gets to that.
fn strike(stream: &mut TcpStream, fault: Fault, left: &AtomicBool, rest: &str) -> Then {
    match fault {
        Fault::Close => return Then::Close,
        Fault::Abort => {
            reset_at_the_end(stream);
            return Then::Close;
        }
        Fault::Delay => thread::sleep(PAUSE),
        Fault::Leave | Fault::Reset | Fault::Silence => {
            eventually("the caller leaves", || left.load(Ordering::SeqCst));
        }
    }
    let _ = stream.write_all(rest.as_bytes());
    Then::Continue
}

fn has_token(head: &str) -> bool {
    head.to_ascii_lowercase().contains(&format!("\r\nauthorization: bearer {SCRIPTED_TOKEN}"))
}

/// An answer that says for whom it is.
fn text(number: usize, chunked: bool) -> [String; 2] {
    let body = format!("{{\"case\":{number},\"padding\":\"{}\"}}", "x".repeat(200));
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
    if chunked {
        let chunks = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
        [format!("{head}Transfer-Encoding: chunked\r\n\r\n"), chunks]
    } else {
        [format!("{head}Content-Length: {}\r\n\r\n", body.len()), body]
    }
}

fn reset_at_the_end(stream: &TcpStream) {
    SockRef::from(stream).set_linger(Some(Duration::ZERO)).expect("a socket");
}

fn is_own(reply: &Reply, number: usize) -> bool {
    reply.status == 200 && reply.whole && reply.json()["case"] == number
}

/// The caller's part of a case.
fn suffer(address: SocketAddr, scene: &Scene, number: usize) {
    let (case, mark) = (scene.cases[number], &scene.marks[number]);
    let message = message(number, case.write);
    let mut stream = connect(address);
    let out = if let Point::Byte(bytes) = case.point { bytes } else { message.len() };
    stream.write_all(&message.as_bytes()[..out]).expect("a part of a request");
    if matches!(case.point, Point::Answer(_)) {
        eventually("the instance gets there", || mark.reached.load(Ordering::SeqCst));
    }
    match case.fault {
        Fault::Leave => drop(stream),
        Fault::Reset => {
            reset_at_the_end(&stream);
            drop(stream);
        }
        Fault::Silence => {
            // The proxy may have reset the connection before this end.
            let _ = stream.shutdown(Shutdown::Write);
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest);
            let answered = rest.starts_with(b"HTTP/1.1 200");
            assert!(!answered || out == message.len(), "half a request is no request: {case:?}");
        }
        Fault::Delay => {
            thread::sleep(PAUSE);
            stream.write_all(&message.as_bytes()[out..]).expect("the rest of a request");
            let reply = Reply::read(&mut stream, false);
            assert!(is_own(&reply, number), "{case:?}: {reply:?}");
        }
        Fault::Close | Fault::Abort => {
            let reply = Reply::read(&mut stream, false);
            let refused = reply.status == 502 && reply.code() == "upstream-broken";
            assert!(refused || !reply.whole || reply.status == 0, "{case:?}: {reply:?}");
        }
    }
    mark.left.store(true, Ordering::SeqCst);
    let next = request(address, "GET", &format!("/v2/devices?case={number:04}&healthy"), "", b"");
    assert!(is_own(&next, number), "after {case:?}: {next:?}");
}

/// Runs `work` for each number below `count`, some at a time.
fn crowd(count: usize, work: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..CROWD {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    if number >= count {
                        return;
                    }
                    work(number);
                }
            });
        }
    });
}

/// Also no connection to the instance, once the configuration says that other ones are to be made.
fn nobody_is_left(proxy: &mut Proxy) {
    eventually("nothing is in flight, and nothing panicked", || {
        let text = String::from_utf8(request(proxy.admin, "GET", "/metrics", "", b"").body).expect("text");
        text.contains("requests_in_flight{listener=\"local\"} 0") && text.contains("panics_total{listener=\"local\"} 0")
    });
    proxy.reconfigure(WRITE, "[timeouts]\nconnect = \"4s\"").expect("another way to the instance");
    eventually("no connection is counted", || crate::metrics::connections(proxy.admin, "http/1.1") == 0.0);
}

#[test]
fn a_fault_at_any_byte_of_a_request_or_stage_of_its_answer_harms_nobody_else() {
    let scene = Scene::new();
    assert!(scene.cases.len() >= 500, "{} faults", scene.cases.len());
    let playing = Arc::clone(&scene);
    let server = Scripted::start(move |asked| playing.play(asked));
    let mut proxy = Proxy::start(&server.instance(), WRITE, "");
    crowd(scene.cases.len(), |number| suffer(proxy.address, &scene, number));
    nobody_is_left(&mut proxy);
    assert_eq!(scene.without_token.load(Ordering::SeqCst), 0);
    for (case, mark) in scene.cases.iter().zip(&scene.marks) {
        let arrived = mark.arrived.load(Ordering::SeqCst);
        assert!(arrived <= if case.write { 1 } else { 2 }, "{case:?} arrived {arrived} times");
    }
}

/// A fault at a stage of the token's answer, which a cold proxy and its first caller wait for.
fn wait_for_a_token(write: bool, stage: Stage, fault: Fault) {
    let (mark, wrong) = (Arc::new(Mark::default()), Arc::new(AtomicUsize::new(0)));
    let (playing, seen) = (Arc::clone(&mark), Arc::clone(&wrong));
    let tokens = move |mut asked: Asked<'_>| {
        let whole = grant(&format!("{SCRIPTED_TOKEN}{}", asked.number));
        if asked.number > 0 {
            asked.answer(&whole);
            return Then::Continue;
        }
        let sent = match stage {
            Stage::Nothing => 0,
            Stage::HalfHead => 30,
            Stage::Head => whole.find('{').expect("a body"),
            Stage::HalfBody => whole.len() - 40,
            Stage::AllButOne => whole.len() - 1,
        };
        asked.answer(&whole[..sent]);
        playing.reached.store(true, Ordering::SeqCst);
        // The caller shall be there when the instance fails.
        eventually("a caller", || playing.arrived.load(Ordering::SeqCst) > 0);
        strike(asked.stream, fault, &playing.left, &whole[sent..])
    };
    let server = Scripted::with_token_script(tokens, move |mut asked| {
        seen.fetch_add(usize::from(!has_token(&asked.head)), Ordering::SeqCst);
        if asked.head.starts_with("POST") && asked.stream.read_exact(&mut vec![0; BODY.len()]).is_err() {
            return Then::Close;
        }
        asked.answer(&text(1, false).concat());
        Then::Continue
    });
    let mut proxy = Proxy::start(&server.instance(), WRITE, "");
    eventually("the token is asked for", || mark.reached.load(Ordering::SeqCst));
    let mut stream = connect(proxy.address);
    stream.write_all(message(1, write).as_bytes()).expect("a request");
    thread::sleep(PAUSE);
    mark.arrived.store(1, Ordering::SeqCst);
    let scene = format!("{stage:?} {fault:?}, write: {write}");
    match fault {
        Fault::Leave | Fault::Silence => drop(stream),
        Fault::Reset => {
            reset_at_the_end(&stream);
            drop(stream);
        }
        Fault::Delay => assert!(is_own(&Reply::read(&mut stream, false), 1), "{scene}"),
        Fault::Close | Fault::Abort => {
            // A broken answer may be asked for again at once, or else the caller is told to come back.
            let reply = Reply::read(&mut stream, false);
            assert!(is_own(&reply, 1) || reply.status == 503, "{scene}: {reply:?}");
        }
    }
    mark.left.store(true, Ordering::SeqCst);
    let arrived = server.api_requests();
    assert!(arrived <= 1, "{scene}: {arrived} arrived");
    eventually("the next request is served", || is_own(&proxy.get("/v2/devices?case=1&"), 1));
    nobody_is_left(&mut proxy);
    assert_eq!(wrong.load(Ordering::SeqCst), 0, "{scene}: no request without a token");
}

#[test]
fn a_fault_at_any_stage_of_the_first_token_harms_no_later_request() {
    let faults = [Fault::Leave, Fault::Reset, Fault::Close, Fault::Abort, Fault::Delay];
    let all: Vec<_> = STAGES.into_iter().flat_map(|stage| faults.map(|fault| (stage, fault))).collect();
    crowd(all.len() * 2, |number| {
        let (stage, fault) = all[number / 2];
        wait_for_a_token(number % 2 == 0, stage, fault);
    });
}
