//! What no honest instance says to a sign-in: the person reads what to do, and the grant that is there stays.

mod rows;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use ninjaone_proxy::base::plain::is_plain;
use tempfile::TempDir;

use super::stand::{run_in, spawn_login, visit};
use crate::command_line::folder;
use crate::harness::{Asked, PATIENCE, Reply, Scripted, Then, answer, eventually, grant, request, run_binary};
use crate::watch::{SCRIPTED_TOKEN, SECRET};
use rows::{BACKS, CODE, Ends, GOOD, Outcome, PAGES, RENEWALS, Renewal, Row, Step, TOKENS};

/// How many rows run at a time.
const ABREAST: usize = 12;
/// The token time of rows where the instance is silent, and of all others, which a slow machine must not make so.
const TOKEN_TIMES: (Duration, Duration) = (Duration::from_secs(3), Duration::from_secs(15));
/// The refresh token of the grant that is there.
const BEFORE: &str = "scripted_token_before";
/// What only a library's debug form has.
const DEBUG_FORMS: [&str; 7] = ["Error(", "Error {", "Some(", "Err(", "Os {", "Custom {", "hyper::"];

/// A folder with a configuration, and with a grant of the person.
struct Place {
    folder: TempDir,
    grant: PathBuf,
    before: Vec<u8>,
    running: Option<Child>,
}

impl Place {
    /// For this instance; `time` is the token time.
    fn new(instance: &Scripted, time: Duration) -> Self {
        let folder = folder(&format!(
            "[instances.main]\n{}\nclient-id = \"an-app\"\nclient-secret = {{ file = \"secret\" }}\n\
             [instances.main.users.technician]\n\
             [listeners.local]\naddress = \"127.0.0.1:0\"\nscopes = [\"monitoring\", \"management\"]\nuser = \"technician\"\n\
             [admin]\naddress = \"127.0.0.1:0\"\n[log]\nlevel = \"trace\"\n[timeouts]\ntoken = \"{}s\"\n",
            instance.instance(),
            time.as_secs()
        ));
        std::fs::write(folder.path().join("secret"), SECRET).expect("a file");
        let owner = format!("{}\nan-app\ntechnician", instance.address);
        let digest = ring::digest::digest(&ring::digest::SHA256, owner.as_bytes());
        let digest: String = digest.as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        let host = instance.address.to_string().replace(':', "_");
        let grants = folder.path().join("state/grants");
        std::fs::create_dir_all(&grants).expect("a folder");
        let before = serde_json::json!({
            "format": 1, "user": "technician", "host": instance.address.to_string(), "client-id": "an-app",
            "sign-in": "0123456789abcdef", "scopes": "monitoring management offline_access",
            "signed-in": 1_700_000_000, "renewed": 1_700_000_000, "refresh-token": BEFORE,
        });
        let place = Self {
            grant: grants.join(format!("technician@{host}.{digest}.json")),
            before: before.to_string().into_bytes(),
            folder,
            running: None,
        };
        place.keep(&place.before);
        place
    }

    fn keep(&self, grant: &[u8]) {
        std::fs::write(&self.grant, grant).expect("a file");
    }

    fn is_as_before(&self) -> bool {
        std::fs::read(&self.grant).expect("a grant") == self.before
    }

    fn state(&self) -> String {
        self.folder.path().join("state").display().to_string()
    }

    fn command(&self, state: &str, arguments: &[&str]) -> (i32, String, String) {
        run_binary(self.folder.path(), arguments, &[("STATE_DIRECTORY", state), ("BROWSER", "true")])
    }

    fn run(&mut self) -> SocketAddr {
        run_in(self.folder.path(), &mut self.running)[0]
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).expect("a log")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(running) = &mut self.running {
            let _ = running.kill();
            let _ = running.wait();
        }
    }
}

/// The command `login` that runs.
struct Login {
    child: Child,
    /// What it shows first; empty if it has ended without an address.
    address: String,
    output: thread::JoinHandle<String>,
    errors: thread::JoinHandle<String>,
}

impl Login {
    /// Until it shows the address, or ends.
    fn start(place: &Place, no_browser: bool) -> Self {
        let arguments: &[_] = if no_browser { &["technician", "--no-browser"] } else { &["technician"] };
        let mut child = spawn_login(place.folder.path(), arguments, "true");
        let (say, hear) = mpsc::channel();
        let mut output = BufReader::new(child.stdout.take().expect("standard output"));
        let output = thread::spawn(move || {
            let (mut first, mut rest) = (String::new(), String::new());
            output.read_line(&mut first).expect("text");
            let _ = say.send(first.trim_end().to_owned());
            output.read_to_string(&mut rest).expect("text");
            rest
        });
        let mut errors = child.stderr.take().expect("standard error");
        let errors = thread::spawn(move || {
            let mut text = String::new();
            errors.read_to_string(&mut text).expect("text");
            text
        });
        let address = hear.recv_timeout(PATIENCE);
        if address.is_err() {
            let _ = child.kill();
        }
        Self { child, address: address.expect("an address or an end, in time"), output, errors }
    }

    /// What the address has under this name.
    fn value(&self, name: &str) -> String {
        let query = self.address.split_once('?').map_or("", |(_, query)| query);
        let pairs = form_urlencoded::parse(query.as_bytes());
        let mut values = pairs.filter(|(own, _)| own == name).map(|(_, value)| value.into_owned());
        values.next().unwrap_or_default()
    }

    /// A text of a row with what this sign-in has.
    fn filled(&self, text: &str) -> String {
        let back = self.value("redirect_uri");
        let host = back.strip_prefix("http://").unwrap_or_default();
        text.replace("{back}", &back)
            .replace("{host}", host)
            .replace("{state}", &self.value("state"))
            .replace("{code}", CODE)
            .replace("{address}", &self.address)
            .replace("{long}", &"y".repeat(8000))
    }

    /// A request to where the browser comes back.
    fn visit(&self, method: &str, target: &str, host: &str) -> Reply {
        let listener = self.filled("{host}").parse().expect("an address");
        visit(listener, method, &self.filled(target), &self.filled(host))
    }

    /// Exit code, standard output after the address, standard error; a command that does not end is killed.
    fn end(mut self) -> (i32, String, String) {
        drop(self.child.stdin.take());
        let begun = Instant::now();
        let mut status = self.child.try_wait().expect("a status");
        while status.is_none() && begun.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(5));
            status = self.child.try_wait().expect("a status");
        }
        if status.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        let code = status.and_then(|status| status.code()).unwrap_or(-1);
        (code, self.output.join().expect("text"), self.errors.join().expect("text"))
    }
}

/// Fails for a text that a terminal obeys, that only a programmer reads, or that holds one of these.
fn is_for_people(text: &str, secrets: &[String]) {
    assert!(text.chars().all(|c| c == '\n' || is_plain(c)), "a control character: {text:?}");
    assert!(text.lines().all(|line| line.len() < 1500), "a long line: {text}");
    for form in DEBUG_FORMS {
        assert!(!text.contains(form), "a debug form: {text}");
    }
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        assert!(!text.contains(secret), "{secret} in: {text}");
    }
}

/// An instance that says what the row says, and the code verifier that it was given.
fn instance(row: &'static Row) -> (Scripted, Arc<Mutex<String>>) {
    let verifier = Arc::new(Mutex::new(String::new()));
    let given = Arc::clone(&verifier);
    let token = move |asked: Asked<'_>| {
        let field = form_urlencoded::parse(asked.body.as_bytes()).find(|(name, _)| name == "code_verifier");
        *given.lock().expect("a lock") = field.map(|(_, value)| value.into_owned()).unwrap_or_default();
        say(&row.token, asked)
    };
    let page = move |mut asked: Asked<'_>| {
        if asked.head.starts_with("GET /ws/oauth/authorize?") {
            return say(&row.page, asked);
        }
        asked.answer(&answer("404 Not Found", ""));
        Then::Close
    };
    (Scripted::with_token_script(token, page), verifier)
}

fn say(answer: &rows::Answer, asked: Asked<'_>) -> Then {
    answer.say(asked.stream);
    if answer.is_silence() {
        rows::hang(asked.stream);
    }
    Then::Close
}

/// Runs a sign-in; what was said last.
fn sign_in(row: &'static Row) -> String {
    let (server, verifier) = instance(row);
    let is_silent = row.page.is_silence() || row.token.is_silence();
    let place = Place::new(&server, if is_silent { TOKEN_TIMES.0 } else { TOKEN_TIMES.1 });
    let mut login = Login::start(&place, matches!(row.step, Step::Pasted(_)));
    let has_opened = !matches!(row.step, Step::Preflight);
    assert_eq!(!login.address.is_empty(), has_opened, "an address is shown where there is a page");
    let state = login.value("state");
    let mut page = match row.step {
        Step::Preflight => None,
        Step::Browser(query) => Some(login.visit("GET", &format!("/?{query}"), "{host}")),
        Step::Request(method, target, host) => Some(login.visit(method, target, host)),
        Step::Pasted(text) => {
            let text = login.filled(text);
            let mut input = login.child.stdin.take().expect("standard input");
            // The command may have read enough before.
            let _ = writeln!(input, "{text}");
            None
        }
    };
    let mut secrets = vec![SECRET.to_owned(), SCRIPTED_TOKEN.to_owned(), CODE.to_owned(), state];
    let mut read = String::new();
    if let Ends::WaitsOn(status, said) = row.ends {
        let waits = page.take().expect("a page");
        read = String::from_utf8(waits.body.clone()).expect("text");
        assert!(waits.status == status && read.contains(said), "{waits:?}");
        is_for_people(&read, &secrets);
        assert!(login.child.try_wait().expect("a status").is_none() && place.is_as_before(), "it waits on");
        page = Some(login.visit("GET", &format!("/?{GOOD}"), "{host}"));
    }
    let (code, output, errors) = login.end();
    secrets.push(verifier.lock().expect("a lock").clone());
    let page = page.map(|page| (page.status, String::from_utf8(page.body).expect("text")));
    for text in [&output, &errors].into_iter().chain(page.as_ref().map(|(_, text)| text)) {
        is_for_people(text, &secrets);
    }
    assert!(page.as_ref().is_none_or(|(_, text)| !text.contains("<script")), "{page:?}");
    let last = errors.lines().last().unwrap_or_default();
    if let Ends::Refused(said) = row.ends {
        assert_eq!((code, last.matches(said).count()), (1, 1), "{errors}");
        assert!(page.is_none_or(|(status, text)| status == 400 && text.contains("Not signed in")));
        assert!(place.is_as_before(), "the grant was touched");
        return last.to_owned();
    }
    assert!(code == 0 && output.contains("Signed in: user technician"), "{output}{errors}");
    assert!(page.is_none_or(|(status, text)| status == 200 && text.contains("Signed in")));
    assert!(!place.is_as_before(), "another grant");
    let (code, status, _) = place.command(&place.state(), &["login", "--status"]);
    assert!(code == 0 && status.contains("29 days left"), "{status}");
    if read.is_empty() {
        "signed in".to_owned()
    } else {
        format!("waits on: {}", read.lines().last().unwrap_or_default())
    }
}

/// Whether the instance says what it should, and who waits for that.
#[derive(Default)]
struct Recovered(Mutex<bool>, Condvar);

impl Recovered {
    fn is(&self) -> bool {
        *self.0.lock().expect("a lock")
    }

    fn set(&self) {
        *self.0.lock().expect("a lock") = true;
        self.1.notify_all();
    }

    fn wait(&self) {
        let recovered = self.0.lock().expect("a lock");
        drop(self.1.wait_timeout_while(recovered, PATIENCE, |recovered| !*recovered).expect("a lock"));
    }
}

/// An instance that says what the row says to the refresh token until it has recovered, and how often it was asked.
fn renewing_instance(row: &'static Renewal) -> (Scripted, Arc<Recovered>, Arc<AtomicUsize>) {
    let (recovered, asked) = (Arc::new(Recovered::default()), Arc::new(AtomicUsize::new(0)));
    let (has_recovered, count) = (Arc::clone(&recovered), Arc::clone(&asked));
    let token = move |mut asked: Asked<'_>| {
        if asked.body.contains("grant_type=client_credentials") {
            asked.answer(&grant(&format!("{SCRIPTED_TOKEN}machine")));
            return Then::Close;
        }
        count.fetch_add(1, Ordering::SeqCst);
        if has_recovered.is() {
            let token = format!(r#""access_token":"{SCRIPTED_TOKEN}person","token_type":"Bearer","expires_in":3600"#);
            asked.answer(&answer("200 OK", &format!(r#"{{{token},"refresh_token":"{SCRIPTED_TOKEN}after"}}"#)));
            return Then::Close;
        }
        row.answer.say(asked.stream);
        if row.answer.is_silence() {
            has_recovered.wait();
        }
        Then::Close
    };
    let api = |mut asked: Asked<'_>| {
        let bearers = asked.lines().remove("authorization").unwrap_or_default();
        let is_person = bearers == [format!("Bearer {SCRIPTED_TOKEN}person")];
        asked.answer(&answer(if is_person { "200 OK" } else { "403 Forbidden" }, "{}"));
        Then::Close
    };
    (Scripted::with_token_script(token, api), recovered, asked)
}

fn ticket(local: SocketAddr) -> Reply {
    request(local, "POST", "/v2/ticketing/ticket", "Content-Type: application/json\r\n", b"{}")
}

/// Status, code and detail.
fn refusal(reply: &Reply) -> (u16, String, String) {
    (reply.status, reply.code(), reply.json()["detail"].as_str().expect("a detail").to_owned())
}

/// Has a proxy renew a grant; what the caller was told.
fn renew(row: &'static Renewal) -> String {
    let (server, recovered, asked) = renewing_instance(row);
    let time = if row.answer.is_silence() { TOKEN_TIMES.0 } else { TOKEN_TIMES.1 };
    let mut place = Place::new(&server, time);
    let local = place.run();
    eventually("the grant is used", || asked.load(Ordering::SeqCst) > 0);
    let (status, code, detail) = refusal(&ticket(local));
    is_for_people(&detail, &[SECRET.to_owned(), SCRIPTED_TOKEN.to_owned()]);
    assert_eq!(status, 503, "{code}: {detail}");
    match row.outcome {
        Outcome::Ended => {
            assert_eq!(code, "sign-in-needed", "{detail}");
            assert!(detail.contains("has ended the sign-in") && detail.contains("login technician"), "{detail}");
            let kept = std::fs::read(&place.grant).expect("a grant");
            let mut kept: serde_json::Value = serde_json::from_slice(&kept).expect("JSON");
            assert!(kept.as_object_mut().and_then(|kept| kept.remove("ended")).is_some_and(|ended| ended.is_u64()));
            let before: serde_json::Value = serde_json::from_slice(&place.before).expect("JSON");
            assert_eq!(kept, before, "only the end was added");
            // An ended grant is not tried again.
            recovered.set();
            assert_eq!((ticket(local).status, asked.load(Ordering::SeqCst)), (503, 1));
        }
        Outcome::Kept(codes, said) => {
            assert!(codes.contains(&code.as_str()) && detail.contains(said), "{code}: {detail}");
            assert!(place.is_as_before(), "the grant was touched");
            recovered.set();
            eventually("the later good answer is used", || ticket(local).status == 200);
            let kept = std::fs::read_to_string(&place.grant).expect("a grant");
            assert!(kept.contains("scripted_token_after") && !kept.contains("\"ended\""));
        }
    }
    let log = place.log();
    assert!(!log.contains(SCRIPTED_TOKEN) && !log.contains(SECRET), "a secret in the log");
    format!("{code}: {detail}")
}

/// Runs rows several at a time, and prints what came of each; how many ran, and the names of those that went wrong.
fn table<R: Sync>(rows: &[&'static R], name: fn(&R) -> &'static str, run: fn(&'static R) -> String) -> usize {
    let (next, lines, wrong) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(Vec::new()));
    let begun = Instant::now();
    let work = || {
        while let Some(row) = rows.get(next.fetch_add(1, Ordering::SeqCst)) {
            let ran = catch_unwind(AssertUnwindSafe(|| run(row)));
            let line = ran.unwrap_or_else(|panic| {
                wrong.lock().expect("a lock").push(name(row));
                panic.downcast::<String>().map_or("WRONG".to_owned(), |why| format!("WRONG: {why}"))
            });
            eprintln!("{} | {line}", name(row));
            lines.fetch_add(1, Ordering::SeqCst);
        }
    };
    thread::scope(|scope| (0..ABREAST).for_each(|_| drop(scope.spawn(work))));
    let (lines, wrong) = (lines.into_inner(), wrong.into_inner().expect("a lock"));
    eprintln!("{lines} rows in {:.1} s", begun.elapsed().as_secs_f64());
    assert!(wrong.is_empty(), "wrong: {wrong:?}");
    lines
}

#[test]
fn every_answer_to_a_sign_in_is_told_with_what_to_do_and_touches_no_grant() {
    assert!(PAGES.len() + BACKS.len() >= 20 && TOKENS.len() >= 20);
    let rows: Vec<_> = PAGES.iter().chain(TOKENS).chain(BACKS).collect();
    assert_eq!(table(&rows, |row| row.name, sign_in), rows.len());
    assert!(rows.len() >= 50, "{} rows", rows.len());
}

#[test]
fn every_answer_to_a_renewal_but_invalid_grant_leaves_the_grant_as_it_is() {
    let rows: Vec<_> = RENEWALS.iter().collect();
    assert_eq!(table(&rows, |row| row.name, renew), rows.len());
    assert!(rows.len() >= 12, "{} rows", rows.len());
}

/// An instance where everything is fine.
fn good_instance() -> Scripted {
    let row = RENEWALS.first().expect("a row");
    let (server, recovered, _) = renewing_instance(row);
    recovered.set();
    server
}

#[test]
fn a_grant_file_that_cannot_be_used_is_told_and_left() {
    let server = good_instance();
    let text = String::from_utf8(Place::new(&server, TOKEN_TIMES.1).before.clone()).expect("text");
    let cases = [
        (String::new(), "is damaged (not the JSON of a grant): sign in again"),
        (text[..text.len() - 9].to_owned(), "is damaged (not the JSON of a grant): sign in again"),
        (format!("{text}{text}"), "is damaged (not the JSON of a grant): sign in again"),
        (text.replace("\"format\":1", "\"format\":2"), "is damaged (written by another version): sign in again"),
        (text.replace("an-app", "another-app"), "client id another-app, not of user technician"),
        (text.replace("127.0.0.1:", "127.0.0.2:"), "is of user technician, host 127.0.0.2:"),
        (
            text.replace("\"renewed\":1700000000", "\"renewed\":99999999999999"),
            "is damaged (a time in it is not possible): sign in again",
        ),
    ];
    thread::scope(|scope| {
        for (content, said) in &cases {
            let server = &server;
            scope.spawn(move || {
                let mut place = Place::new(server, TOKEN_TIMES.1);
                place.before = content.clone().into_bytes();
                place.keep(content.as_bytes());
                let (code, status, _) = place.command(&place.state(), &["login", "--status"]);
                assert!(code == 1 && status.contains(said) && status.contains("run: "), "{status}");
                let local = place.run();
                let mut told = None;
                eventually("the caller is told", || {
                    let reply = ticket(local);
                    told = (reply.status == 503).then(|| refusal(&reply));
                    told.is_some()
                });
                let (_, code, detail) = told.expect("a refusal");
                assert!(code == "sign-in-needed" && detail.contains(said), "{code}: {detail}");
                for text in [status, detail] {
                    is_for_people(&text, &[SCRIPTED_TOKEN.to_owned(), SECRET.to_owned()]);
                }
                assert!(place.is_as_before(), "the file was touched");
            });
        }
    });
}

#[test]
fn a_grant_that_was_renewed_in_the_future_is_used_and_put_right() {
    let mut place = Place::new(&good_instance(), TOKEN_TIMES.1);
    let text = String::from_utf8(place.before.clone()).expect("text");
    place.before = text.replace("1700000000", "4000000000").into_bytes();
    place.keep(&place.before);
    let (code, status, _) = place.command(&place.state(), &["login", "--status"]);
    let told =
        status.contains("renewed 2096-10-02") && status.contains("the clock of this machine is wrong, or was then");
    assert!(code == 0 && told && !status.contains("days left"), "{status}");
    assert!(place.is_as_before(), "a question changes nothing");
    let local = place.run();
    eventually("it is used", || ticket(local).status == 200);
    let kept = std::fs::read_to_string(&place.grant).expect("a grant");
    assert!(!kept.contains("\"renewed\":4000000000") && kept.contains("scripted_token_after"));
}

#[test]
fn a_folder_that_cannot_be_written_is_told_before_the_instance_is_asked() {
    let server = good_instance();
    let place = Place::new(&server, TOKEN_TIMES.1);
    let secret = place.folder.path().join("secret").display().to_string();
    let occupied = place.folder.path().join("occupied");
    std::fs::create_dir(&occupied).expect("a folder");
    std::fs::write(occupied.join("grants"), "").expect("a file");
    for state in [format!("{secret}/state"), occupied.display().to_string()] {
        let (code, output, said) = place.command(&state, &["login", "technician"]);
        assert!(code == 1 && output.is_empty(), "{output}{said}");
        assert!(said.contains(&state) && said.contains("cannot be written: "), "{said}");
        assert!(said.contains("or name another one by STATE_DIRECTORY"), "{said}");
        is_for_people(&said, &[SCRIPTED_TOKEN.to_owned(), SECRET.to_owned()]);
    }
    assert_eq!((server.token_requests(), server.api_requests()), (0, 0));
    assert!(place.is_as_before());
}

/// Where the grant is, and that it is found there.
#[test]
fn a_grant_of_the_place_is_the_one_that_the_command_finds() {
    let place = Place::new(&good_instance(), TOKEN_TIMES.1);
    let (code, status, _) = place.command(&place.state(), &["login", "--status"]);
    let kept: &Path = &place.grant;
    assert!(code == 0 && status.contains(&kept.display().to_string()), "{status}");
}
