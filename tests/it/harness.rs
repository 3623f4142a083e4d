//! What tests are made of: a running proxy, servers that follow a script, and a client that sends any bytes.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use ninjaone_proxy::app::App;
use ninjaone_proxy::app::reload::{Loaded, Loader};
use ninjaone_proxy::config::Config;
use ninjaone_proxy::net::listener::Bound;
use ninjaone_proxy::observe::logging::ErrorChain;
use ninjaone_proxy::sandbox::{CountSnapshot, Options, Sandbox};
use tempfile::TempDir;

use crate::watch::{self, SCRIPTED_TOKEN, SECRET};

/// No test waits longer for bytes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A proxy in this process, on free ports.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    /// All listeners, by name.
    pub(crate) listeners: HashMap<String, SocketAddr>,
    pub(crate) admin: SocketAddr,
    pub(crate) sandbox: Option<SocketAddr>,
    pub(crate) probes: Option<SocketAddr>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    reload: tokio::sync::mpsc::UnboundedSender<mpsc::Sender<Reloaded>>,
    thread: Option<thread::JoinHandle<()>>,
    folder: TempDir,
    /// The text of its configuration around its listener and the rest.
    frame: (String, String),
}

/// How a reload went, and where the listeners are then.
type Reloaded = (Result<(), String>, Vec<(String, Bound)>, Option<SocketAddr>);

fn tcp(listeners: Vec<(String, Bound)>) -> HashMap<String, SocketAddr> {
    listeners.into_iter().filter_map(|(name, bound)| Some((name, bound.tcp()?))).collect()
}

impl Proxy {
    /// In front of a sandbox of its own; `listener` is TOML for its listener.
    pub(crate) fn sandboxed(listener: &str) -> Self {
        Self::start("host = \"sandbox\"", listener, "")
    }

    /// In front of `instance` (TOML for it, credentials apart); `rest` is TOML for other tables.
    pub(crate) fn start(instance: &str, listener: &str, rest: &str) -> Self {
        Self::with_secret(SECRET, instance, listener, rest)
    }

    /// The same with another client secret.
    pub(crate) fn with_secret(secret: &str, instance: &str, listener: &str, rest: &str) -> Self {
        Self::begin("", secret, instance, listener, rest)
    }

    /// The same with `top`, TOML before the first table.
    pub(crate) fn with_top(top: &str, instance: &str, listener: &str) -> Self {
        Self::begin(top, SECRET, instance, listener, "")
    }

    /// What a process of its own serves.
    pub(crate) fn of_process(address: SocketAddr, admin: SocketAddr, sandbox: SocketAddr) -> Self {
        let (reload, _) = tokio::sync::mpsc::unbounded_channel();
        let listeners = HashMap::from([("local".to_owned(), address)]);
        let folder = tempfile::tempdir().expect("a folder");
        let (sandbox, frame) = (Some(sandbox), (String::new(), String::new()));
        Self { address, listeners, admin, sandbox, probes: None, stop: None, reload, thread: None, folder, frame }
    }

    fn begin(top: &str, secret: &str, instance: &str, listener: &str, rest: &str) -> Self {
        watch::begin();
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("secret"), format!("{secret}\n")).expect("a file");
        let frame = (
            format!(
                "{top}\n[instances.main]\n{instance}\nclient-id = \"sandbox\"\nclient-secret = {{ file = \"secret\" }}\n\
                 [listeners.local]\naddress = \"127.0.0.1:0\"\n"
            ),
            "\n[admin]\naddress = \"127.0.0.1:0\"\n".to_owned(),
        );
        let path = folder.path().join("config.toml");
        std::fs::write(&path, format!("{}{listener}{}{rest}\n", frame.0, frame.1)).expect("a file");
        let (stop, mut stopped) = tokio::sync::oneshot::channel();
        let (reload, mut reloads) = tokio::sync::mpsc::unbounded_channel::<mpsc::Sender<Reloaded>>();
        let (say, hear) = mpsc::channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build_local(tokio::runtime::LocalOptions::default())
                .expect("a runtime");
            runtime.block_on(async {
                let config = Config::load(Some(&path)).expect("a good configuration");
                let mut loader = Loader::new(&config, PATIENCE);
                let settings = config.settings().expect("settings");
                let mut app = App::start(Loaded { config, settings }).await.expect("a start");
                let sandbox = app.sandboxes.first().map(|(_, address)| *address);
                let (admin, probes) = (app.admin.as_ref().and_then(Bound::tcp), app.probes().and_then(Bound::tcp));
                say.send((app.addresses.clone(), admin, sandbox, probes)).expect("a test that listens");
                loop {
                    let answer = tokio::select! {
                        _ = &mut stopped => break,
                        Some(answer) = reloads.recv() => answer,
                    };
                    let reloaded =
                        app.reload(&mut loader, |_| ()).await.map_err(|error| ErrorChain(&error).to_string());
                    let _ = answer.send((reloaded, app.addresses.clone(), app.admin.as_ref().and_then(Bound::tcp)));
                }
                app.finish().await.expect("an end");
            });
        });
        let (listeners, admin, sandbox, probes) = hear.recv_timeout(PATIENCE).expect("a proxy that starts");
        let admin = admin.expect("an admin listener");
        let listeners = tcp(listeners);
        let address = listeners["local"];
        let (stop, thread) = (Some(stop), Some(thread));
        Self { address, listeners, admin, sandbox, probes, stop, reload, thread, folder, frame }
    }

    /// Writes another configuration, with this for its listener and the rest, and has it taken.
    pub(crate) fn reconfigure(&mut self, listener: &str, rest: &str) -> Result<(), String> {
        let text = format!("{}{listener}{}{rest}\n", self.frame.0, self.frame.1);
        self.rewrite(&text)
    }

    /// Writes another configuration, and has it taken.
    pub(crate) fn rewrite(&mut self, text: &str) -> Result<(), String> {
        std::fs::write(self.folder.path().join("config.toml"), text).expect("a file");
        self.reload()
    }

    /// Has the configuration taken as its files are now.
    pub(crate) fn reload(&mut self) -> Result<(), String> {
        let (say, hear) = mpsc::channel();
        self.reload.send(say).expect("a proxy that runs");
        let (reloaded, listeners, admin) = hear.recv_timeout(PATIENCE).expect("a reload that ends");
        self.listeners = tcp(listeners);
        self.admin = admin.unwrap_or(self.admin);
        reloaded
    }

    /// Replaces the file of the client secret, as tools do that rotate secrets.
    pub(crate) fn replace_secret(&self, secret: &str) {
        let next = self.folder.path().join("next");
        std::fs::write(&next, secret).expect("a file");
        std::fs::rename(next, self.folder.path().join("secret")).expect("a replaced file");
    }

    /// The folder of its configuration.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Begins the shutdown; the returned handle ends when it has ended.
    pub(crate) fn shut_down(&mut self) -> thread::JoinHandle<()> {
        drop(self.stop.take());
        self.thread.take().expect("a proxy that runs")
    }

    /// `GET path` on a connection of its own.
    pub(crate) fn get(&self, path: &str) -> Reply {
        self.send("GET", path, "", b"")
    }

    /// A request on a connection of its own; `headers` are lines that end in CR LF.
    pub(crate) fn send(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Reply {
        request(self.address, method, path, headers, body)
    }

    /// What the proxy's own sandbox has counted under this name.
    pub(crate) fn count(&self, name: &str) -> u64 {
        let address = self.sandbox.expect("a sandbox");
        let counts = request(address, "GET", "/sandbox/counts", "", b"").json();
        counts[name].as_u64().unwrap_or_else(|| panic!("{name} is not in {counts}"))
    }

    /// The last request that the proxy's own sandbox received.
    pub(crate) fn last_request(&self) -> serde_json::Value {
        let address = self.sandbox.expect("a sandbox");
        request(address, "GET", "/sandbox/last-request", "", b"").json()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || thread::panicking(), "the proxy panicked");
        }
    }
}

/// An answer, as a client reads it.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// The body came to its declared end.
    pub(crate) whole: bool,
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let body: String = String::from_utf8_lossy(&self.body).chars().take(400).collect();
        write!(f, "{} whole: {} body: {body}", self.head, self.whole)
    }
}

impl Reply {
    /// The values of a header field, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
    }

    /// The only value of a header field; empty if it is missing.
    pub(crate) fn header(&self, name: &str) -> &str {
        let all = self.all(name);
        assert!(all.len() < 2, "{name} is there {} times", all.len());
        all.first().copied().unwrap_or_default()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self))
    }

    /// The stable code of a refusal; fails for anything else.
    pub(crate) fn code(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status);
        assert_eq!(problem["requestId"].as_str().unwrap_or_default(), self.header("x-request-id"));
        assert_eq!(problem["errorMessage"], problem["detail"]);
        assert_eq!(problem["resultCode"], problem["code"]);
        assert!(self.header("proxy-status").starts_with("ninjaone-proxy; error="), "{self:?}");
        problem["code"].as_str().expect("a code").to_owned()
    }

    /// The stable code of a refusal that another proxy, or the admin listener, has given.
    pub(crate) fn code_of_problem(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        self.json()["code"].as_str().expect("a code").to_owned()
    }

    /// Reads one answer from a connection; `head_only` for the answer to HEAD.
    pub(crate) fn read(stream: &mut impl Read, head_only: bool) -> Self {
        let (head, _) = read_until(stream, b"\r\n\r\n");
        let head = String::from_utf8(head).expect("a readable head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
        let mut reply = Self { status, head, body: Vec::new(), whole: true };
        if head_only || status == 204 || status == 304 || (100..200).contains(&status) {
            return reply;
        }
        if reply.header("transfer-encoding") == "chunked" {
            reply.whole = read_chunks(stream, &mut reply.body);
        } else if let Ok(length) = reply.header("content-length").parse::<u64>() {
            // Not made room for: a faulty instance may say any length.
            let read = stream.take(length).read_to_end(&mut reply.body);
            reply.whole = read.is_ok_and(|bytes| bytes as u64 == length);
        } else {
            let _ = stream.read_to_end(&mut reply.body);
        }
        reply
    }
}

/// Reads a body in chunks, as text.
pub(crate) fn read_chunked(stream: &mut impl Read) -> String {
    let mut body = Vec::new();
    assert!(read_chunks(stream, &mut body), "a whole body");
    String::from_utf8(body).expect("text")
}

/// Reads a body in chunks to its end; whether it came.
pub(crate) fn read_chunks(stream: &mut impl Read, body: &mut Vec<u8>) -> bool {
    loop {
        let (line, _) = read_until(stream, b"\r\n");
        let size = std::str::from_utf8(&line).ok().and_then(|line| usize::from_str_radix(line.trim(), 16).ok());
        let Some(size) = size else { return false };
        let mut chunk = vec![0; size + 2];
        if stream.read_exact(&mut chunk).is_err() {
            return false;
        }
        body.extend_from_slice(&chunk[..size]);
        if size == 0 {
            return true;
        }
    }
}

/// A connection to `address` that fails rather than hangs.
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_nodelay(true).expect("no delay");
    stream
}

/// One request on a connection of its own.
pub(crate) fn request(address: SocketAddr, method: &str, path: &str, headers: &str, body: &[u8]) -> Reply {
    let mut stream = connect(address);
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{length}{headers}\r\n");
    stream.write_all(head.as_bytes()).expect("a head goes out");
    // The answer may come, and the connection go, before the whole body is out.
    let _ = stream.write_all(body);
    Reply::read(&mut stream, method == "HEAD")
}

/// A sandbox of the test's own, in clear text.
pub(crate) struct Ninja {
    pub(crate) sandbox: Sandbox,
    pub(crate) address: SocketAddr,
    _runtime: tokio::runtime::Runtime,
}

impl Ninja {
    pub(crate) fn start(change: impl FnOnce(&mut Options)) -> Self {
        let mut options = Options::with_secret(SECRET);
        change(&mut options);
        let sandbox = Sandbox::new(options).expect("a sandbox");
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let listener = runtime.block_on(tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).expect("a port");
        let address = listener.local_addr().expect("an address");
        runtime.spawn(sandbox.clone().serve(listener, std::future::pending()));
        Self { sandbox, address, _runtime: runtime }
    }

    /// TOML for an instance.
    pub(crate) fn instance(&self) -> String {
        format!("host = \"http://{}\"", self.address)
    }

    pub(crate) fn counts(&self) -> CountSnapshot {
        self.sandbox.counts()
    }
}

/// A request as a scripted server sees it.
pub(crate) struct Asked<'a> {
    pub(crate) head: String,
    /// The body of a token request; that of an API request is left to the script.
    pub(crate) body: String,
    /// How many requests of its kind (API or token) came before this one, over all connections.
    pub(crate) number: usize,
    pub(crate) stream: &'a mut TcpStream,
}

impl Asked<'_> {
    pub(crate) fn answer(&mut self, text: &str) {
        let _ = self.stream.write_all(text.as_bytes());
    }

    pub(crate) fn lines(&self) -> HashMap<String, Vec<String>> {
        let mut lines: HashMap<String, Vec<String>> = HashMap::new();
        for (name, value) in self.head.lines().skip(1).filter_map(|line| line.split_once(": ")) {
            lines.entry(name.to_ascii_lowercase()).or_default().push(value.to_owned());
        }
        lines
    }
}

/// Whether a scripted connection goes on.
#[derive(PartialEq)]
pub(crate) enum Then {
    Continue,
    Close,
}

/// A server in clear text that grants tokens, and otherwise does what its script says.
pub(crate) struct Scripted {
    pub(crate) address: SocketAddr,
    pub(crate) token_requests: Arc<AtomicUsize>,
    pub(crate) api_requests: Arc<AtomicUsize>,
}

impl Scripted {
    /// `script` is called for each API request once its head is read.
    pub(crate) fn start(script: impl Fn(Asked<'_>) -> Then + Send + Sync + 'static) -> Self {
        Self::with_tokens(|number| grant(&format!("{SCRIPTED_TOKEN}{number}")), script)
    }

    /// `tokens` is the whole answer to the token request of this number, from 0.
    pub(crate) fn with_tokens(
        tokens: impl Fn(usize) -> String + Send + Sync + 'static,
        script: impl Fn(Asked<'_>) -> Then + Send + Sync + 'static,
    ) -> Self {
        let tokens = move |mut asked: Asked<'_>| {
            asked.answer(&tokens(asked.number));
            Then::Continue
        };
        Self::with_token_script(tokens, script)
    }

    /// `tokens` is called for each token request once all of it is read.
    pub(crate) fn with_token_script(
        tokens: impl Fn(Asked<'_>) -> Then + Send + Sync + 'static,
        script: impl Fn(Asked<'_>) -> Then + Send + Sync + 'static,
    ) -> Self {
        Self::on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port"), tokens, script)
    }

    /// The same on a bound socket.
    pub(crate) fn on(
        listener: TcpListener,
        tokens: impl Fn(Asked<'_>) -> Then + Send + Sync + 'static,
        script: impl Fn(Asked<'_>) -> Then + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().expect("an address");
        let (token_requests, api_requests) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (counts, scripts) = ((Arc::clone(&token_requests), Arc::clone(&api_requests)), Arc::new((tokens, script)));
        thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                let ((token_requests, api_requests), scripts) = (counts.clone(), Arc::clone(&scripts));
                thread::spawn(move || {
                    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
                    while let Some(head) = read_head(&mut stream) {
                        let then = if head.starts_with("POST /ws/oauth/token") {
                            let number = token_requests.fetch_add(1, Ordering::SeqCst);
                            let body = String::from_utf8_lossy(&read_body(&head, &mut stream)).into_owned();
                            (scripts.0)(Asked { head, body, number, stream: &mut stream })
                        } else {
                            let number = api_requests.fetch_add(1, Ordering::SeqCst);
                            (scripts.1)(Asked { head, body: String::new(), number, stream: &mut stream })
                        };
                        if then == Then::Close {
                            return;
                        }
                    }
                });
            }
        });
        Self { address, token_requests, api_requests }
    }

    /// TOML for an instance.
    pub(crate) fn instance(&self) -> String {
        format!("host = \"http://{}\"", self.address)
    }

    pub(crate) fn token_requests(&self) -> usize {
        self.token_requests.load(Ordering::SeqCst)
    }

    pub(crate) fn api_requests(&self) -> usize {
        self.api_requests.load(Ordering::SeqCst)
    }
}

/// A whole answer with JSON.
pub(crate) fn answer(status: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
}

/// A whole answer that grants a token for an hour.
pub(crate) fn grant(token: &str) -> String {
    answer("200 OK", &format!(r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":3600}}"#))
}

pub(crate) fn read_head(stream: &mut (impl Read + ?Sized)) -> Option<String> {
    let (head, whole) = read_until(stream, b"\r\n\r\n");
    String::from_utf8(head).ok().filter(|_| whole)
}

/// Reads through these bytes, and whether they came before the end.
fn read_until(stream: &mut (impl Read + ?Sized), end: &[u8]) -> (Vec<u8>, bool) {
    let mut read = Vec::new();
    let mut byte = [0];
    while !read.ends_with(end) {
        match stream.read(&mut byte) {
            Ok(1) => read.push(byte[0]),
            _ => return (read, false),
        }
    }
    (read, true)
}

/// Reads the body that a head with `Content-Length` announces.
pub(crate) fn read_body(head: &str, stream: &mut (impl Read + ?Sized)) -> Vec<u8> {
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or_default()];
    let _ = stream.read_exact(&mut body);
    body
}

/// Waits until `holds`; fails if it does not hold in time.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "not in time: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The binary under test: that of the test, or the one of `NINJAONE_PROXY_BINARY`, such as a release build.
pub(crate) fn binary() -> std::ffi::OsString {
    std::env::var_os("NINJAONE_PROXY_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_ninjaone-proxy").into())
}

/// Runs the binary in `folder` and returns its exit code, standard output and standard error. One that does not
/// end is killed, and its exit code is -1.
pub(crate) fn run_binary(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> (i32, String, String) {
    let mut child = std::process::Command::new(binary())
        .args(arguments)
        .current_dir(folder)
        .env_remove("NINJAONE_CLIENT_ID")
        .env_remove("NINJAONE_CLIENT_SECRET")
        .envs(environment.iter().copied())
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let output = read_aside(child.stdout.take().expect("standard output"));
    let errors = read_aside(child.stderr.take().expect("standard error"));
    let begun = std::time::Instant::now();
    let code = loop {
        if let Some(status) = child.try_wait().expect("a status") {
            break status.code().unwrap_or(-1);
        }
        if begun.elapsed() > PATIENCE {
            child.kill().expect("an end");
        }
        thread::sleep(Duration::from_millis(5));
    };
    (code, output.join().expect("text"), errors.join().expect("text"))
}

fn read_aside(mut from: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut text = String::new();
        from.read_to_string(&mut text).expect("text");
        text
    })
}
