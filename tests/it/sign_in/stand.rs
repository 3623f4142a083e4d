//! What tests of a sign-in are made of: the binary with a folder of its own, the sandbox, and a browser made of plain
//! requests.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::command_line::folder;
use crate::harness::{Ninja, Reply, binary, connect, eventually, request, run_binary};
use crate::watch::SECRET;

/// A folder with a configuration and a state, an instance, and perhaps a running proxy.
pub(super) struct Stand {
    pub(super) ninja: Ninja,
    pub(super) folder: tempfile::TempDir,
    pub(super) running: Option<Child>,
}

/// A command that waits for the person.
pub(super) struct Waiting {
    pub(super) child: Child,
    pub(super) address: String,
    pub(super) input: Option<ChildStdin>,
}

/// A configuration with an instance, a user, a listener, and the log at this level; each but the last is TOML.
pub(super) fn config(instance: &str, user: &str, listener: &str, level: &str) -> String {
    format!(
        "[instances.main]\n{instance}\nclient-id = \"sandbox\"\nclient-secret = {{ file = \"secret\" }}\n\
         [instances.main.users.technician]\n{user}\n\
         [listeners.local]\naddress = \"127.0.0.1:0\"\nscopes = [\"monitoring\", \"management\"]\nuser = \"technician\"\n{listener}\n\
         [admin]\naddress = \"127.0.0.1:0\"\n[log]\nlevel = \"{level}\"\n"
    )
}

impl Stand {
    pub(super) fn new(user: &str, change: impl FnOnce(&mut ninjaone_proxy::sandbox::Options)) -> Self {
        let ninja = Ninja::start(change);
        let text = config(&ninja.instance(), user, "", "trace");
        Self::with(ninja, &text)
    }

    /// With a configuration that is not the usual one.
    pub(super) fn with(ninja: Ninja, config: &str) -> Self {
        let folder = folder(config);
        std::fs::write(folder.path().join("secret"), SECRET).expect("a file");
        Self { ninja, folder, running: None }
    }

    pub(super) fn state(&self) -> String {
        self.folder.path().join("state").display().to_string()
    }

    /// Runs the proxy; where its listener and its admin listener are.
    pub(super) fn run(&mut self) -> [SocketAddr; 2] {
        run_in(self.folder.path(), &mut self.running)
    }

    /// Where a listener of the running proxy is.
    pub(super) fn listener(&self, name: &str) -> SocketAddr {
        address_in(&self.log(), &format!("listening listener={name}")).expect("an address")
    }

    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    pub(super) fn command(&self, arguments: &[&str]) -> (i32, String, String) {
        run_binary(self.folder.path(), arguments, &[("STATE_DIRECTORY", &self.state()), ("BROWSER", "true")])
    }

    /// Starts `login`, until it shows the address.
    pub(super) fn login(&self, arguments: &[&str]) -> Waiting {
        self.login_with(arguments, "true")
    }

    /// The same with this `BROWSER`.
    pub(super) fn login_with(&self, arguments: &[&str], browser: &str) -> Waiting {
        let mut child = spawn_login(self.folder.path(), arguments, browser);
        let mut address = String::new();
        let input = child.stdin.take();
        BufReader::new(child.stdout.as_mut().expect("standard output")).read_line(&mut address).expect("a line");
        Waiting { child, address: address.trim().to_owned(), input }
    }

    /// Signs in without a browser, to the end; the address where that ended.
    pub(super) fn sign_in(&self) -> String {
        let mut waiting = self.login(&["technician", "--no-browser"]);
        let back = browse(&waiting.address, "allow");
        writeln!(waiting.input.as_mut().expect("standard input"), "\n  {back}  ").expect("a line");
        let (code, said) = waiting.end();
        assert!(code == 0 && said.contains("Signed in"), "{said}");
        back
    }

    /// All files of the folder.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let (mut folders, mut files) = (vec![self.folder.path().to_owned()], Vec::new());
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() { folders.push(path) } else { files.push(path) }
            }
        }
        files
    }

    /// The files of grants.
    pub(super) fn grants(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.folder.path().join("state/grants")).into_iter().flatten();
        let paths = entries.map(|entry| entry.expect("an entry").path());
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "json")).collect()
    }

    pub(super) fn ticket(&self, local: SocketAddr) -> Reply {
        request(local, "POST", "/v2/ticketing/ticket", "Content-Type: application/json\r\n", b"{}")
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        if let Some(running) = &mut self.running {
            let _ = running.kill();
            let _ = running.wait();
        }
    }
}

impl Waiting {
    /// Exit code, and what it said.
    pub(super) fn end(mut self) -> (i32, String) {
        drop(self.input.take());
        let mut said = String::new();
        self.child.stderr.take().expect("standard error").read_to_string(&mut said).expect("text");
        let mut rest = String::new();
        self.child.stdout.take().expect("standard output").read_to_string(&mut rest).expect("text");
        (self.child.wait().expect("an end").code().unwrap_or(-1), rest + &said)
    }
}

/// Starts `login` in this folder, with its state there.
pub(super) fn spawn_login(folder: &Path, arguments: &[&str], browser: &str) -> Child {
    Command::new(binary())
        .arg("login")
        .args(arguments)
        .current_dir(folder)
        .env("STATE_DIRECTORY", folder.join("state"))
        .env("BROWSER", browser)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs")
}

/// The address in the line of a log that has this.
fn address_in(log: &str, mark: &str) -> Option<SocketAddr> {
    let rest = log.split(mark).nth(1)?.split("address=http://").nth(1)?;
    rest.split_whitespace().next()?.parse().ok()
}

/// Runs the proxy in this folder, with its state and log there; where its listener and its admin listener are.
pub(super) fn run_in(folder: &Path, running: &mut Option<Child>) -> [SocketAddr; 2] {
    let log = std::fs::File::create(folder.join("log")).expect("a file");
    let child = Command::new(binary())
        .current_dir(folder)
        .env("STATE_DIRECTORY", folder.join("state"))
        .stderr(log)
        .spawn()
        .expect("the binary runs");
    *running = Some(child);
    let find = |mark: &str| address_in(&std::fs::read_to_string(folder.join("log")).ok()?, mark);
    let mut found = [None, None];
    eventually("the proxy listens", || {
        found = [find("listening listener=local"), find("admin listening")];
        found.iter().all(Option::is_some)
    });
    found.map(|address| address.expect("an address"))
}

/// Splits a URL of this machine.
pub(super) fn split(url: &str) -> (SocketAddr, String) {
    let rest = url.strip_prefix("http://").expect("clear text");
    let (host, path) = rest.split_once(['/', '?']).map_or((rest, ""), |(host, _)| (host, &rest[host.len()..]));
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    (host.replace("localhost", "127.0.0.1").parse().expect("an address"), path)
}

/// A request to the listener that the browser comes back to.
pub(super) fn visit(listener: SocketAddr, method: &str, path: &str, host: &str) -> Reply {
    let mut stream = connect(listener);
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n").expect("a request");
    Reply::read(&mut stream, false)
}

/// What a browser does: signs in, and decides. Where it is sent then.
pub(super) fn browse(address: &str, decision: &str) -> String {
    let (server, mut path) = split(address);
    let mut cookies = String::new();
    let mut method = "GET";
    let mut form = String::new();
    for _ in 0..8 {
        let headers = format!("Cookie: {cookies}\r\nContent-Type: application/x-www-form-urlencoded\r\n");
        let reply = request(server, method, &path, &headers, form.as_bytes());
        for cookie in reply.all("set-cookie") {
            cookies = format!("{cookies}; {}", cookie.split(';').next().expect("a cookie"))
                .trim_matches([';', ' '])
                .to_owned();
        }
        if (300..400).contains(&reply.status) {
            let location = reply.header("location").to_owned();
            if location.starts_with("http") {
                return location;
            }
            (method, path, form) = ("GET", location, String::new());
            continue;
        }
        let page = String::from_utf8_lossy(&reply.body).into_owned();
        assert_eq!(reply.status, 200, "{page}");
        let value = |text: &str, key: &str| {
            text.split(&format!("{key}=\""))
                .nth(1)
                .map(|rest| rest.split('"').next().expect("an end").replace("&amp;", "&"))
        };
        path = value(&page, "action").expect("a form");
        let hidden = page.split("<input").skip(1).filter(|input| input.contains("type=\"hidden\""));
        let mut fields: Vec<_> = hidden
            .map(|input| {
                format!("{}={}", value(input, "name").expect("a name"), value(input, "value").expect("a value"))
            })
            .collect();
        if page.contains("id=\"sign-in\"") {
            fields.push("user=technician&password=none".to_owned());
        } else {
            fields.push(format!("decision={decision}"));
        }
        (method, form) = ("POST", fields.join("&"));
    }
    panic!("no end")
}
