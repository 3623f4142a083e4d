//! A real browser, and the web pages that its user may come across: none gets a request through to NinjaOne, but the
//! dashboard that is named in `allowed-origins` does.

mod site;
mod tap;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use site::Site;
use tap::{Exchange, Tap};

use crate::harness::{Proxy, Scripted, Then, request};
#[cfg(unix)]
use crate::intercept::StandIn;

/// How long the pages of one browser may take.
const BOUND: Duration = Duration::from_secs(240);
/// Chromium's own guards of local ports. The proxy must do without: others have none, and users can turn them off.
const WITHOUT: &str = "--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests,\
                       PrivateNetworkAccessSendPreflights,HttpsUpgrades";
/// The attempts that go to the names of the proxy that only `Host` tells apart.
const SHORT: [&str; 8] =
    ["fetch-opaque", "fetch-cors", "fetch-header", "fetch-text", "form-json", "frame", "beacon", "web-socket"];

/// TOML for a listener on which a request could do harm.
const OPEN: &str = "scopes = [\"monitoring\", \"management\"]";

/// A browser without a window, which ends with the test.
struct Browser {
    child: Child,
    home: tempfile::TempDir,
}

/// The first of these programs that this machine has; says so if it has none.
pub(crate) fn program(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = std::env::split_paths(&path).collect();
    let mut files = folders.iter().flat_map(|folder| names.iter().map(|name| folder.join(name)));
    let found = files.find(|file| file.is_file());
    if found.is_none() {
        // Not by eprintln, which is shown for tests that fail only.
        let _ = writeln!(
            std::io::stderr(),
            "NOT RUN: {} is not in PATH. What browsers send is also tested without one; this test shows that a real \
             one sends just that.",
            names.join(" or ")
        );
    }
    found
}

/// The names of Chromium.
pub(crate) const CHROMIUM: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

impl Browser {
    /// Opens a page. All connections to the port of `proxy` are made to `tap`, under whatever name, so that the
    /// browser's origins, and `Host`, are those of the proxy itself.
    /// Other servers of the machine, on the port that addresses need not name, are `site`.
    fn open(program: &Path, proxy: &Proxy, tap: &Tap, site: &Site, page: &str) -> Self {
        let rules = format!(
            "--host-resolver-rules=MAP *:{} {}, MAP *:80 {}, MAP * 127.0.0.1",
            proxy.address.port(),
            tap.address,
            site.address
        );
        Self::start(program, &["--no-proxy-server", &rules], page)
    }

    /// Opens a page in a browser with these arguments.
    fn start(program: &Path, arguments: &[&str], page: &str) -> Self {
        let home = tempfile::tempdir().expect("a folder");
        let mut command = Command::new(program);
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = command
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update"])
            .args(["--disable-sync", "--disable-popup-blocking", WITHOUT])
            .arg(format!("--user-data-dir={}", home.path().display()))
            .args(arguments)
            .arg(page)
            .env("HOME", home.path())
            .env("TMPDIR", home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the browser runs");
        Self { child, home }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // With its helpers, who would write to the folder until they notice.
        let _ = Command::new("kill").args(["-KILL", "--", &format!("-{}", self.child.id())]).status();
        let _ = self.child.kill();
        let _ = self.child.wait();
        let gone = || std::fs::remove_dir_all(self.home.path()).is_ok();
        let _ = (0..50).any(|_| {
            thread::sleep(Duration::from_millis(20));
            gone()
        });
    }
}

/// Waits as long as a browser may take; the test's own assertions say what is missing.
fn wait(mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() && begun.elapsed() < BOUND {
        thread::sleep(Duration::from_millis(20));
    }
}

/// Lets a browser open these pages, each in a tab, until all have reported that they are done, and closes it; what it
/// asked until then. A request that the browser breaks off as it is closed got no answer, and is not among them.
fn visit(program: &Path, proxy: &Proxy, tap: &Tap, site: &Site, pages: &[String]) -> Vec<Exchange> {
    let browser = Browser::open(program, proxy, tap, site, &site.tabs(pages));
    let done = || site.reports().keys().filter(|name| name.ends_with(".done")).count() == pages.len();
    let mut exchanges = Vec::new();
    wait(|| {
        let all = done();
        exchanges = tap.exchanges();
        all && exchanges.iter().all(Exchange::is_over)
    });
    drop(browser);
    exchanges
}

/// The attempts under `label` that were reported: each of them, once.
fn attempts(site: &Site, label: &str) -> Vec<(String, String)> {
    let reports = site.reports();
    let of_label =
        reports.into_iter().filter_map(|(name, outcome)| Some((name.strip_prefix(label)?.to_owned(), outcome)));
    let (done, attempts): (Vec<_>, Vec<_>) = of_label.partition(|(name, _)| name == ".done");
    assert_eq!(done.first().map(|(_, count)| count.as_str()), Some(attempts.len().to_string().as_str()), "{label}");
    attempts.into_iter().map(|(name, outcome)| (format!("{label}{name}"), outcome)).collect()
}

fn refusals(proxy: &Proxy) -> u64 {
    let metrics = String::from_utf8(request(proxy.admin, "GET", "/metrics", "", b"").body).expect("text");
    let lines = metrics.lines().filter(|line| line.starts_with("ninjaone_proxy_refusals_total{"));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

fn told(exchange: &Exchange) -> String {
    format!("{}\n{}", exchange.asked, exchange.answered)
}

#[test]
fn browser_gets_no_request_of_any_web_page_through() {
    no_page_gets_through(&Proxy::sandboxed(OPEN));
}

#[cfg(unix)]
#[test]
fn browser_gets_no_request_of_any_web_page_through_a_listener_that_intercepts() {
    let stand_in = StandIn::start(OPEN);
    no_page_gets_through(&stand_in.proxy());
}

fn no_page_gets_through(proxy: &Proxy) {
    let Some(program) = program(&CHROMIUM) else { return };
    let site = Site::start();
    let tap = Tap::start(proxy.address);
    let port = proxy.address.port();
    let (attacker, rebound) = (site.origin("attacker.example"), format!("http://rebind.example:{port}"));
    let foreign = format!("{attacker}/attacks");
    let target = |name: &str| format!("http://{name}:{port}");
    let pages = [
        site.attacks("foreign", &foreign, &target("127.0.0.1"), &[]),
        site.attacks("neighbour", &format!("{}/attacks", site.origin("127.0.0.1")), &target("127.0.0.1"), &[]),
        site.attacks("null", &format!("{attacker}/null"), &target("127.0.0.1"), &[]),
        site.attacks("rebound", &format!("{rebound}/attacks"), &rebound, &[]),
        site.attacks("unbound", &foreign, &rebound, &SHORT),
        site.attacks("localhost", &foreign, &target("localhost"), &SHORT),
        site.attacks("sub", &foreign, &target("sub.localhost"), &SHORT),
        site.attacks("dot", &foreign, &target("localhost."), &SHORT),
        site.attacks("six", &foreign, &target("[::1]"), &SHORT),
        site.attacks("zero", &foreign, &target("0.0.0.0"), &SHORT),
    ];
    let exchanges = visit(&program, proxy, &tap, &site, &pages);

    let arrived =
        |attempt: &str| exchanges.iter().filter(move |one| one.attempt() == Some(attempt)).collect::<Vec<_>>();
    let mut count = 0;
    for label in ["foreign", "neighbour", "null", "rebound", "unbound", "localhost", "sub", "dot", "six", "zero"] {
        for (attempt, outcome) in attempts(&site, label) {
            let arrived = arrived(&attempt);
            assert!(!arrived.is_empty(), "{attempt} did not arrive at the proxy: {outcome}");
            for exchange in arrived {
                let refused = matches!(exchange.status(), 403 | 421);
                assert!(refused || exchange.abandoned, "{attempt} was not refused: {}", told(exchange));
            }
            // A page under a rebound name may read, as its own, that the name is none of the proxy's.
            let refused = label == "rebound" && outcome.contains("\"code\":\"host-not-ours\"");
            let empty = label == "rebound" && outcome == "read: 421 ";
            assert!(refused || empty || !outcome.starts_with("read:"), "{attempt} read an answer: {outcome}");
            count += 1;
        }
    }
    assert_eq!(count, 4 * 36 + 6 * SHORT.len());
    for exchange in &exchanges {
        assert!((400..500).contains(&exchange.status()) || exchange.abandoned, "{}", told(exchange));
        assert!(!exchange.answered.contains("\naccess-control-"), "{}", told(exchange));
    }
    assert!(refusals(proxy) >= count as u64, "{} of {count}", refusals(proxy));
    assert_eq!((proxy.count("api_requests"), proxy.count("writes")), (0, 0));

    // The same without a browser, so that the numbers above mean something.
    assert_eq!(proxy.get("/v2/organizations?attempt=fetch-opaque").status, 200);
    assert_eq!(proxy.send("POST", "/v2/organizations?attempt=form-json", "", b"{\"name\":\"Planted\"}").status, 200);
    assert_eq!((proxy.count("api_requests"), proxy.count("writes")), (2, 1));
}

/// A browser that takes its proxy from the listener: pages call the server that it stands in for.
#[cfg(unix)]
#[test]
fn browser_that_uses_the_proxy_configuration_gets_no_request_of_a_page_through_to_an_intercepted_server() {
    let Some(program) = program(&CHROMIUM) else { return };
    let (stand_in, site) = (StandIn::start(OPEN), Site::start());
    let proxy = stand_in.proxy();
    let attacker = site.origin("attacker.example");
    let target = format!("https://{}", crate::intercept::NAME);
    let pages = [
        site.attacks("foreign", &format!("{attacker}/attacks"), &target, &[]),
        site.attacks("null", &format!("{attacker}/null"), &target, &[]),
    ];
    let open = |page: &str| {
        let pac = format!("--proxy-pac-url=http://{}/proxy.pac", proxy.address);
        Browser::start(&program, &[&pac, "--ignore-certificate-errors", "--host-resolver-rules=MAP * 127.0.0.1"], page)
    };
    let browser = open(&site.tabs(&pages));
    let done = || site.reports().keys().filter(|name| name.ends_with(".done")).count() == pages.len();
    wait(done);
    drop(browser);
    let mut count = 0;
    for label in ["foreign", "null"] {
        for (attempt, outcome) in attempts(&site, label) {
            assert!(!outcome.starts_with("read:"), "{attempt} read an answer: {outcome}");
            count += 1;
        }
    }
    assert_eq!(count, 2 * 36);
    // Some attempts are one request for both pages, or are ended by the browser itself.
    assert!(refusals(&proxy) >= 40, "{} of {count} came here", refusals(&proxy));
    assert_eq!((proxy.count("api_requests"), proxy.count("writes")), (0, 0));
    // What its user types gets an answer, so that the numbers above mean something.
    let _browser = open(&format!("{target}/v2/organizations"));
    wait(|| proxy.count("api_requests") == 1);
    assert_eq!(proxy.count("api_requests"), 1);
}

#[test]
fn browser_shows_what_its_user_typed_and_nothing_under_another_name() {
    let Some(program) = program(&CHROMIUM) else { return };
    let (proxy, site) = (Proxy::sandboxed(""), Site::start());
    let tap = Tap::start(proxy.address);
    for (name, status) in [("127.0.0.1", 200), ("rebind.example", 421)] {
        let page = format!("http://{name}:{}/v2/organizations?attempt={name}", proxy.address.port());
        let _browser = Browser::open(&program, &proxy, &tap, &site, &page);
        let typed = || tap.exchanges().into_iter().find(|one| one.attempt() == Some(name) && one.status() != 0);
        wait(|| typed().is_some());
        assert_eq!(typed().map(|exchange| exchange.status()), Some(status), "{name}");
    }
    assert_eq!(proxy.count("api_requests"), 1);
}

/// In clear text browsers send `Sec-Fetch-Site` to the names of the machine itself only. So under another name a page
/// can send reads that look like a tool's, as long as it wants no answer; all else has an `Origin`.
#[test]
fn browser_lets_no_page_write_or_read_under_a_configured_name() {
    let Some(program) = program(&CHROMIUM) else { return };
    let (proxy, site) = (Proxy::sandboxed(&format!("{OPEN}\nnames = [\"proxy.example\"]")), Site::start());
    let tap = Tap::start(proxy.address);
    let target = format!("http://proxy.example:{}", proxy.address.port());
    let pages = [
        site.attacks("foreign", &format!("{}/attacks", site.origin("attacker.example")), &target, &[]),
        site.attacks("null", &format!("{}/null", site.origin("attacker.example")), &target, &[]),
        // The same name, but the port that origins leave out: another server of that machine.
        site.attacks("portless", "http://proxy.example/attacks", &target, &[]),
    ];
    let exchanges = visit(&program, &proxy, &tap, &site, &pages);

    for label in ["foreign", "null", "portless"] {
        for (attempt, outcome) in attempts(&site, label) {
            assert!(!outcome.starts_with("read:"), "{attempt} read an answer: {outcome}");
        }
    }
    let (marked, unmarked): (Vec<_>, Vec<_>) = exchanges.iter().partition(|one| one.asked.contains("\nOrigin: "));
    assert!(marked.len() > 40, "{} with Origin", marked.len());
    for exchange in marked {
        assert_eq!(exchange.status(), 403, "{}", told(exchange));
    }
    for exchange in unmarked {
        let reads = exchange.asked.starts_with("GET ") || exchange.asked.starts_with("HEAD ");
        assert!(reads && !exchange.answered.contains("\naccess-control-"), "{}", told(exchange));
    }
    assert_eq!(proxy.count("writes"), 0);
}

/// Whoever can store a file in NinjaOne could store a page, which would be one of the proxy's own.
#[test]
fn browser_runs_no_page_that_ninjaone_answers_with() {
    let Some(program) = program(&CHROMIUM) else { return };
    let scripted = Scripted::start(|mut asked| {
        asked.answer(&site::page("", site::ATTACKS));
        Then::Close
    });
    let (proxy, site) = (Proxy::start(&scripted.instance(), OPEN, ""), Site::start());
    let tap = Tap::start(proxy.address);
    let own = format!("http://127.0.0.1:{}", proxy.address.port());
    let place = format!("{own}/v2/knowledgebase/article/1/download");
    let page = site.attacks("stored", &place, &own, &["fetch-cors", "fetch-json"]);
    let browser = Browser::open(&program, &proxy, &tap, &site, &page);
    wait(|| tap.exchanges().iter().any(|one| one.status() == 200));
    assert_eq!(scripted.api_requests(), 1, "the page itself");
    // It would report within milliseconds.
    let shown = Instant::now();
    wait(|| site.reports().contains_key("stored.done") || shown.elapsed() > Duration::from_secs(3));
    drop(browser);
    assert_eq!((scripted.api_requests(), site.reports().get("stored.fetch-json")), (1, None));
}

#[test]
fn browser_lets_the_allowed_dashboard_read_and_no_other_page() {
    let Some(program) = program(&CHROMIUM) else { return };
    let site = Site::start();
    let dashboard = site.origin("dashboard.example");
    let listener = format!("{OPEN}\nallowed-origins = [\"{dashboard}\"]");
    let proxy = Proxy::sandboxed(&listener);
    let tap = Tap::start(proxy.address);
    let target = format!("http://127.0.0.1:{}", proxy.address.port());
    let attacker = site.origin("attacker.example");
    let readers = ["fetch-cors", "fetch-header", "fetch-json", "xhr", "xhr-header"];
    let pages = [
        site.attacks("dashboard", &format!("{dashboard}/attacks"), &target, &readers),
        site.attacks("socket", &format!("{dashboard}/attacks"), &target, &["web-socket"]),
        site.attacks("foreign", &format!("{attacker}/attacks"), &target, &[]),
        site.attacks("null", &format!("{attacker}/null"), &target, &[]),
    ];
    let exchanges = visit(&program, &proxy, &tap, &site, &pages);

    let read = attempts(&site, "dashboard");
    assert_eq!(read.len(), readers.len());
    for (attempt, outcome) in read {
        assert!(outcome.starts_with("read: 20"), "{attempt}: {outcome}");
    }
    let origin = format!("\naccess-control-allow-origin: {dashboard}\r\n");
    let of = |label: &str, one: &Exchange| one.attempt().is_some_and(|attempt| attempt.starts_with(label));
    let of_dashboard = |one: &Exchange| of("dashboard.", one);
    for exchange in &exchanges {
        let allowed = exchange.answered.contains(&origin) && exchange.answered.contains("\nvary: ");
        if of_dashboard(exchange) {
            assert!(allowed, "{}", told(exchange));
            assert_eq!(exchange.status() == 204, exchange.is_preflight(), "{}", told(exchange));
            assert_eq!(exchange.answered.contains("\naccess-control-max-age: "), exchange.is_preflight());
        } else if of("socket.", exchange) {
            assert_ne!(exchange.status(), 101, "{}", told(exchange));
        } else {
            assert!((400..500).contains(&exchange.status()) || exchange.abandoned, "{}", told(exchange));
        }
    }
    let preflights = exchanges.iter().filter(|one| of_dashboard(one) && one.is_preflight()).count();
    assert_eq!(preflights, 3, "for X-Api-Key, Authorization and JSON");
    for (attempt, outcome) in attempts(&site, "foreign").into_iter().chain(attempts(&site, "null")) {
        assert!(!outcome.starts_with("read:"), "{attempt} read an answer: {outcome}");
    }
    assert!(attempts(&site, "socket").iter().all(|(_, outcome)| outcome == "failed"));
    let served = exchanges.iter().filter(|one| one.status() == 200).count();
    assert_eq!(proxy.count("api_requests"), served as u64);
}
