//! Token servers of every kind: what the caller gets, how often they are asked, and when all is well again.

mod rows;

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::harness::{Asked, Ninja, Proxy, Reply, Scripted, Then, answer, connect, eventually, grant};
use crate::watch::SCRIPTED_TOKEN;
use rows::{Outcome, Pace, ROWS, Row};

/// How many rows run at a time.
const ABREAST: usize = 16;
/// The token time of rows that stall, and of all others, which a slow machine must not make stall too.
const TOKEN_TIMES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(8));
/// What a slow machine needs beyond the token time until a caller has an answer.
const PROMPT: Duration = Duration::from_secs(4);

/// How long a token request may be on its way, on a slow machine.
const ON_THE_WAY: Duration = Duration::from_secs(1);

/// A token server that does what its row says until it is mended, and an API that takes its tokens only.
struct Stand {
    server: Scripted,
    state: Arc<State>,
    proxy: Proxy,
    /// How long a caller may wait.
    prompt: Duration,
}

struct State {
    mended: AtomicBool,
    /// When the requests of the row came, and the first one after the mending.
    asked: Mutex<Vec<Instant>>,
    /// How many grants were given after the mending.
    grants: AtomicUsize,
    /// Where redirects lead.
    elsewhere: TcpListener,
}

impl Stand {
    fn start(row: &'static Row) -> Self {
        let elsewhere = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        elsewhere.set_nonblocking(true).expect("no blocking");
        let (mended, asked, grants) = (AtomicBool::new(false), Mutex::default(), AtomicUsize::new(0));
        let state = Arc::new(State { mended, asked, grants, elsewhere });
        let shared = Arc::clone(&state);
        let server = Scripted::with_token_script(
            move |mut request| {
                let mended = shared.mended.load(Ordering::SeqCst);
                if !mended || shared.grants.fetch_add(1, Ordering::SeqCst) == 0 {
                    shared.asked.lock().expect("a lock").push(Instant::now());
                }
                if mended {
                    request.answer(&grant(&format!("{SCRIPTED_TOKEN}mended")));
                    return Then::Continue;
                }
                let elsewhere = shared.elsewhere.local_addr().expect("an address");
                if row.deed.perform(request.stream, elsewhere) { Then::Close } else { Then::Continue }
            },
            |mut request| {
                let bearers = request.lines().remove("authorization").unwrap_or_default();
                let good = matches!(&*bearers, [one] if one.starts_with(&format!("Bearer {SCRIPTED_TOKEN}")));
                request.answer(&answer(if good { "200 OK" } else { "401 Unauthorized" }, "[]"));
                Then::Continue
            },
        );
        let token_time = if row.outcome.stalls() { TOKEN_TIMES.0 } else { TOKEN_TIMES.1 };
        let timeouts = format!("[timeouts]\ntoken = \"{}s\"", token_time.as_secs());
        let proxy = Proxy::start(&server.instance(), "", &timeouts);
        Self { server, state, proxy, prompt: token_time + PROMPT }
    }

    /// Runs the row, and tells what happened; fails where that is not the outcome.
    fn run(&self, row: &Row) -> String {
        let line = match row.outcome {
            Outcome::Granted => self.is_granted(),
            Outcome::Failure { codes, pace } => self.fails(codes, pace),
        };
        assert!(self.state.elsewhere.accept().is_err(), "a redirect was followed");
        line
    }

    fn is_granted(&self) -> String {
        let replies = self.callers(3, 4);
        let statuses: BTreeSet<_> = replies.iter().map(|reply| reply.status).collect();
        assert_eq!(statuses, BTreeSet::from([200]), "{replies:?}");
        assert_eq!((self.server.token_requests(), self.server.api_requests()), (1, replies.len()));
        format!("200 | 1 | {} | -", replies.len())
    }

    fn fails(&self, codes: &[&str], pace: Pace) -> String {
        let replies = self.callers(4, 5);
        let (asked, sent) = (self.server.token_requests(), self.server.api_requests());
        let got: BTreeSet<_> = replies.iter().map(|reply| refusal(reply, codes)).collect();
        assert_eq!(sent, 0, "no API request without a token");
        let recovered = pace.recovery().map(|limit| self.recovers(codes, limit));
        keeps(pace, &self.state.asked.lock().expect("a lock"));
        let recovered = recovered.map_or("-".to_owned(), |after| format!("{:.1} s", after.as_secs_f64()));
        let got: Vec<_> = got.into_iter().collect();
        format!("503 {} | {asked} | {sent} | {recovered}", got.join(", "))
    }

    /// Mends the token server, and waits until callers are served.
    fn recovers(&self, codes: &[&str], limit: Duration) -> Duration {
        let begun = Instant::now();
        self.state.mended.store(true, Ordering::SeqCst);
        let mut reply = self.proxy.get("/v2/groups");
        while reply.status != 200 {
            refusal(&reply, codes);
            assert!(begun.elapsed() < limit, "not served {limit:?} after the recovery");
            thread::sleep(Duration::from_millis(50));
            reply = self.proxy.get("/v2/groups");
        }
        let recovered = begun.elapsed();
        for _ in 0..3 {
            assert_eq!(self.proxy.get("/v2/groups").status, 200);
        }
        assert_eq!((self.state.grants.load(Ordering::SeqCst), self.server.api_requests()), (1, 4));
        recovered
    }

    /// This many callers, each of which sends a request every 0.4 s.
    fn callers(&self, callers: u32, requests: u32) -> Vec<Reply> {
        let one = || {
            let begun = Instant::now();
            let request = |number| {
                thread::sleep((begun + Duration::from_millis(400) * number).saturating_duration_since(Instant::now()));
                let sent = Instant::now();
                let reply = self.proxy.get("/v2/groups");
                assert!(sent.elapsed() < self.prompt, "{:?} for an answer", sent.elapsed());
                reply
            };
            (0..requests).map(request).collect::<Vec<_>>()
        };
        thread::scope(|scope| {
            let callers: Vec<_> = (0..callers).map(|_| scope.spawn(one)).collect();
            callers.into_iter().flat_map(|caller| caller.join().expect("answers")).collect()
        })
    }
}

/// The code of a refusal that is as it must be.
fn refusal(reply: &Reply, codes: &[&str]) -> String {
    let code = reply.code();
    assert_eq!(reply.status, 503, "{reply:?}");
    assert!(codes.contains(&code.as_str()), "{code} is not one of {codes:?}");
    let retry_after: u64 = reply.header("retry-after").parse().expect("seconds");
    assert!((1..=120).contains(&retry_after), "Retry-After: {retry_after}");
    code
}

/// Token requests that all failed but the last came at this pace, which is counted from the sending of each. The waits
/// are added up: a request that the server reads late makes the next wait look short, and no other.
fn keeps(pace: Pace, asked: &[Instant]) {
    let mut least = Duration::ZERO;
    for (failures, later) in asked.iter().skip(1).enumerate() {
        least += pace.wait(failures + 1);
        let waited = *later - asked[0];
        assert!(waited + ON_THE_WAY >= least, "{waited:?} for {} waits, not {least:?}", failures + 1);
    }
}

#[test]
fn every_kind_of_token_server_gets_what_the_table_says() {
    let (next, lines, wrong) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(Vec::new()));
    let begun = Instant::now();
    eprintln!("name | caller got | token requests | API requests | recovered after");
    let work = || {
        while let Some(row) = ROWS.get(next.fetch_add(1, Ordering::SeqCst)) {
            let ran = catch_unwind(AssertUnwindSafe(|| Stand::start(row).run(row)));
            let line = ran.unwrap_or_else(|panic| {
                wrong.lock().expect("a lock").push(row.name);
                panic.downcast::<String>().map_or("WRONG".to_owned(), |why| format!("WRONG: {why}"))
            });
            eprintln!("{} | {line}", row.name);
            lines.fetch_add(1, Ordering::SeqCst);
        }
    };
    thread::scope(|scope| (0..ABREAST).for_each(|_| drop(scope.spawn(work))));
    let (lines, wrong) = (lines.into_inner(), wrong.into_inner().expect("a lock"));
    eprintln!("{lines} rows in {:.1} s", begun.elapsed().as_secs_f64());
    assert!(wrong.is_empty(), "wrong: {wrong:?}");
    assert!(lines == ROWS.len() && lines >= 45, "{lines} rows ran");
}

#[test]
fn fifty_callers_who_start_a_fetch_and_leave_cost_at_most_three_token_requests() {
    let revoked = Arc::new(AtomicUsize::new(0));
    let least = Arc::clone(&revoked);
    let server = Scripted::with_token_script(
        |mut asked| {
            thread::sleep(Duration::from_millis(400));
            asked.answer(&grant(&format!("{SCRIPTED_TOKEN}{}", asked.number)));
            Then::Continue
        },
        move |mut asked| {
            let good = number(&asked).is_some_and(|number| number >= least.load(Ordering::SeqCst));
            let refusal = answer("401 Unauthorized", r#"{"error":"not_authenticated"}"#);
            asked.answer(&if good { answer("200 OK", "[]") } else { refusal });
            Then::Continue
        },
    );
    let proxy = Proxy::start(&server.instance(), "", "");
    // Before the first token, and when the first to come finds it revoked.
    for round in 0..2 {
        revoked.store(round, Ordering::SeqCst);
        thread::scope(|scope| {
            (0..12).for_each(|_| leave(proxy.address));
            let stays: Vec<_> = (0..5).map(|_| scope.spawn(|| proxy.get("/v2/groups").status)).collect();
            (0..13).for_each(|_| leave(proxy.address));
            for caller in stays {
                assert_eq!(caller.join().expect("a status"), 200);
            }
        });
    }
    assert!((2..=3).contains(&server.token_requests()), "{} token requests", server.token_requests());
}

/// The number of the token that an API request bears.
fn number(asked: &Asked<'_>) -> Option<usize> {
    let bearers = asked.lines().remove("authorization")?;
    let [bearer] = bearers.as_slice() else { return None };
    bearer.strip_prefix(&format!("Bearer {SCRIPTED_TOKEN}"))?.parse().ok()
}

/// Sends a request, and resets the connection once the proxy is at it.
fn leave(address: SocketAddr) {
    let mut stream = connect(address);
    stream.write_all(b"GET /v2/groups HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("a request");
    thread::sleep(Duration::from_millis(8));
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("no lingering");
}

/// A token server that can be down, and what came while it was.
#[derive(Default)]
struct Outage {
    down: AtomicBool,
    /// When the last token was granted.
    granted: Mutex<Option<Instant>>,
    /// The token requests that failed, and the first that did not.
    asked: Mutex<Vec<Instant>>,
    /// API requests with a token whose 2 s had long been over: what is sent in time may come late on a busy machine.
    expired: AtomicUsize,
}

impl Outage {
    fn token(&self, mut asked: Asked<'_>) -> Then {
        let mut times = self.asked.lock().expect("a lock");
        let down = self.down.load(Ordering::SeqCst);
        if down || !times.is_empty() {
            times.push(Instant::now());
        }
        if down {
            asked.answer(&answer("503 Service Unavailable", ""));
            return Then::Continue;
        }
        self.granted.lock().expect("a lock").replace(Instant::now());
        let body =
            format!(r#"{{"access_token":"{SCRIPTED_TOKEN}{}","token_type":"Bearer","expires_in":2}}"#, asked.number);
        asked.answer(&answer("200 OK", &body));
        Then::Continue
    }

    fn api(&self, mut asked: Asked<'_>) -> Then {
        let age = self.granted.lock().expect("a lock").map(|granted| granted.elapsed());
        if age.is_none_or(|age| age > Duration::from_secs(3)) {
            self.expired.fetch_add(1, Ordering::SeqCst);
        }
        asked.answer(&answer("200 OK", "[]"));
        Then::Continue
    }
}

/// About 50 requests a second from five callers until `done`: when each was answered, and how.
fn load(proxy: &Proxy, done: &AtomicBool) -> Vec<(Instant, u16)> {
    let one = || {
        let mut answers = Vec::new();
        while !done.load(Ordering::SeqCst) {
            let status = proxy.get("/v2/groups").status;
            answers.push((Instant::now(), status));
            thread::sleep(Duration::from_millis(95));
        }
        answers
    };
    thread::scope(|scope| {
        let callers: Vec<_> = (0..5).map(|_| scope.spawn(one)).collect();
        callers.into_iter().flat_map(|caller| caller.join().expect("answers")).collect()
    })
}

#[test]
fn an_outage_under_load_costs_503_until_shortly_after_its_end() {
    let outage = Arc::new(Outage::default());
    let (tokens, api) = (Arc::clone(&outage), Arc::clone(&outage));
    let server = Scripted::with_token_script(move |asked| tokens.token(asked), move |asked| api.api(asked));
    let proxy = Proxy::start(&server.instance(), "", "");
    assert_eq!(proxy.get("/v2/groups").status, 200);
    let (done, mut ended) = (AtomicBool::new(false), Instant::now());
    let answers = thread::scope(|scope| {
        let load = scope.spawn(|| load(&proxy, &done));
        thread::sleep(Duration::from_secs(1));
        outage.down.store(true, Ordering::SeqCst);
        thread::sleep(Duration::from_secs(4));
        outage.down.store(false, Ordering::SeqCst);
        ended = Instant::now();
        eventually("recovery", || proxy.get("/v2/groups").status == 200);
        thread::sleep(Duration::from_millis(500));
        done.store(true, Ordering::SeqCst);
        load.join().expect("answers")
    });
    let statuses: BTreeSet<_> = answers.iter().map(|(_, status)| *status).collect();
    assert_eq!(statuses, BTreeSet::from([200, 503]));
    let first = answers.iter().filter(|(at, status)| *status == 200 && *at > ended).map(|(at, _)| *at - ended).min();
    assert!(first.is_some_and(|first| first < Duration::from_secs(10)), "served {first:?} after the outage");
    assert_eq!(outage.expired.load(Ordering::SeqCst), 0, "no expired token was sent");
    let asked = outage.asked.lock().expect("a lock");
    let failed = asked.iter().filter(|at| **at < ended).count();
    assert!((2..=6).contains(&failed), "{failed} token requests in the outage");
    keeps(Pace::Backoff, &asked[..=failed]);
}

#[test]
fn tokens_of_two_seconds_serve_a_steady_load_without_a_gap() {
    // What was sent in time may come late on a busy machine.
    let ninja = Ninja::start(|options| {
        (options.token_lifetime, options.token_grace) = (Duration::from_secs(2), Duration::from_secs(1));
    });
    let proxy = Proxy::start(&ninja.instance(), "", "");
    let done = AtomicBool::new(false);
    let answers = thread::scope(|scope| {
        let load = scope.spawn(|| load(&proxy, &done));
        thread::sleep(Duration::from_secs(8));
        done.store(true, Ordering::SeqCst);
        load.join().expect("answers")
    });
    let bad = answers.iter().filter(|(_, status)| *status != 200).count();
    assert!(answers.len() > 100 && bad == 0, "{bad} of {} answers were bad", answers.len());
    let counts = ninja.counts();
    assert_eq!(counts.unauthorized, 0, "no expired token was sent");
    assert!((4..=7).contains(&counts.token_requests), "{} token requests in 8 s", counts.token_requests);
}
