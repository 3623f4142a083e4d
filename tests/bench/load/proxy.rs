//! The proxy under load: its configuration, its process, and what that costs the system.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use ninjaone_proxy::proxy::authn::key::KeyHash;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tempfile::TempDir;

use crate::instance::Instance;

/// How long it may take to listen, to answer first, and to end.
const PATIENCE: Duration = Duration::from_secs(300);

/// How the proxy is started.
pub(crate) struct Setup {
    pub(crate) binary: PathBuf,
    /// A program with arguments that runs the binary, such as `taskset -c 0`; may be empty.
    pub(crate) wrapper: Vec<OsString>,
    pub(crate) listeners: usize,
    /// Callers of each listener, with keys; none: everybody is let in.
    pub(crate) callers: usize,
    /// Rules of each listener: each closes a device, but none that of [`RULED`].
    pub(crate) rules: usize,
    /// Each listener has a quota, which is never used up.
    pub(crate) quota: bool,
    /// An OpenAPI document with more operations.
    pub(crate) document: Option<String>,
    /// The admin listener, whose history of the last minutes takes something each second, requests or not.
    pub(crate) admin: bool,
    pub(crate) environment: Vec<(&'static str, &'static str)>,
    /// More of each listener's table.
    pub(crate) listener: &'static str,
    /// More tables.
    pub(crate) tables: &'static str,
}

/// What the rules of [`Setup::rules`] have to be asked about, and leave open.
pub(crate) const RULED: &str = "/v2/device/1";

/// A running proxy.
pub(crate) struct Proxy {
    child: Child,
    started: Instant,
    folder: TempDir,
    /// Its listeners.
    pub(crate) doors: Vec<SocketAddr>,
}

/// The key of a caller.
pub(crate) fn key(caller: usize) -> String {
    format!("npk_load-{caller}")
}

impl Setup {
    /// One listener without callers, and the built-in catalogue.
    pub(crate) fn plain(binary: PathBuf) -> Self {
        Self {
            binary,
            wrapper: Vec::new(),
            listeners: 1,
            callers: 0,
            rules: 0,
            quota: false,
            document: None,
            admin: true,
            environment: Vec::new(),
            listener: "",
            tables: "",
        }
    }

    /// Starts the proxy in front of `instance`: everything that is on by default, and the log in a file.
    pub(crate) fn start(&self, instance: &Instance) -> Result<Proxy> {
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("ca.pem"), &instance.ca.0)?;
        if let Some(document) = &self.document {
            fs::write(folder.path().join("openapi.json"), document)?;
        }
        fs::write(folder.path().join("config.toml"), self.config(instance)?)?;
        let log = File::create(folder.path().join("log"))?;
        let mut words = self.wrapper.iter().cloned().chain([self.binary.clone().into_os_string()]);
        let program = words.next().context("a program")?;
        let started = Instant::now();
        let child = Command::new(&program)
            .args(words)
            .current_dir(folder.path())
            .env("LOAD_CLIENT_SECRET", "load-secret")
            .env("STATE_DIRECTORY", folder.path().join("state"))
            .envs(self.environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("{} cannot be started", program.display()))?;
        let mut proxy = Proxy { child, started, folder, doors: Vec::new() };
        proxy.wait_for_doors(self.listeners)?;
        Ok(proxy)
    }

    fn config(&self, instance: &Instance) -> Result<String> {
        let mut text = String::new();
        if self.document.is_some() {
            text.push_str("catalog-file = \"openapi.json\"\n");
        }
        writeln!(text, "[instances.main]\nhost = \"https://{}\"", instance.address)?;
        text.push_str("client-id = \"load\"\nclient-secret = { env = \"LOAD_CLIENT_SECRET\" }\nca-file = \"ca.pem\"\n");
        for listener in 0..self.listeners {
            writeln!(text, "[listeners.l{listener}]\naddress = \"127.0.0.1:0\"\n{}", self.listener)?;
            if self.rules > 0 {
                let rules: Vec<String> = (0..self.rules).map(|rule| format!("\"* /v2/device/{}\"", rule + 2)).collect();
                writeln!(text, "deny = [{}]", rules.join(", "))?;
            }
            if self.quota {
                writeln!(text, "quota = {{ requests = \"100000/s\" }}")?;
            }
            for caller in 0..self.callers {
                writeln!(text, "[listeners.l{listener}.callers.c{caller}]\nkey = \"{}\"", hash(caller))?;
            }
        }
        writeln!(text, "[admin]\naddress = \"{}\"", if self.admin { "127.0.0.1:0" } else { "none" })?;
        text.push_str(self.tables);
        // Under callgrind, or on a machine that has no time for this, a handshake may take long, and so may the next request.
        text.push_str("[timeouts]\nconnect = \"2m\"\ntoken = \"2m\"\nclient = \"10m\"\n");
        Ok(text)
    }
}

fn hash(caller: usize) -> KeyHash {
    KeyHash::of(key(caller).as_bytes())
}

impl Proxy {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Reads the log until all listeners are in it.
    fn wait_for_doors(&mut self, count: usize) -> Result<()> {
        loop {
            let log = self.log()?;
            // What is being written may end anywhere.
            let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
            let said = |line: &str| {
                line.split_once(" listening listener=")?
                    .1
                    .split_once("address=http")?
                    .1
                    .split_once("://")?
                    .1
                    .split(' ')
                    .next()?
                    .parse()
                    .ok()
            };
            self.doors = whole.lines().filter_map(said).collect();
            if self.doors.len() >= count {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("the proxy did not start ({status}):\n{log}");
            }
            ensure!(self.started.elapsed() < PATIENCE, "the proxy does not listen after {PATIENCE:?}:\n{log}");
            thread::sleep(Duration::from_micros(500));
        }
    }

    fn log(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(self.folder.path().join("log"))?).into_owned())
    }

    /// The certificate of the CA of its own.
    pub(crate) fn local_ca(&self) -> Result<CertificateDer<'static>> {
        let file = self.folder.path().join("state/ca.pem");
        CertificateDer::from_pem_file(&file).with_context(|| format!("no certificate in {}", file.display()))
    }

    /// Asks once and expects 200; the time from the start to the end of the answer.
    pub(crate) fn first_answer(&self, target: &str, key: Option<&str>) -> Result<Duration> {
        let door = self.doors.first().context("a listener")?;
        let mut stream = TcpStream::connect(door)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let key = key.map(|key| format!("X-Api-Key: {key}\r\n")).unwrap_or_default();
        write!(stream, "GET {target} HTTP/1.1\r\nHost: localhost\r\n{key}Connection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let took = self.started.elapsed();
        let text = String::from_utf8_lossy(&answer);
        let start = text.get(..400).unwrap_or(&text);
        ensure!(text.starts_with("HTTP/1.1 200 "), "the first answer is not 200:\n{start}\nlog:\n{}", self.log()?);
        Ok(took)
    }

    /// The processor time of all its threads so far. From `schedstat`, or in steps of 10 ms where that is missing.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let process = PathBuf::from(format!("/proc/{}", self.id()));
        let of_thread = |folder: fs::DirEntry| {
            let text = fs::read_to_string(folder.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        };
        let threads: Option<Vec<u64>> =
            fs::read_dir(process.join("task"))?.map(|folder| of_thread(folder.ok()?)).collect();
        if let Some(threads) = threads.filter(|threads| threads.iter().sum::<u64>() > 0) {
            return Ok(Duration::from_nanos(threads.iter().sum()));
        }
        let stat = fs::read_to_string(process.join("stat"))?;
        // utime and stime are the 14th and 15th field; the second may hold blanks but ends in the last parenthesis.
        let fields = stat.rsplit_once(')').context("a process's state")?.1;
        let ticks: u64 = fields.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
        Ok(Duration::from_millis(ticks * 10))
    }

    /// The memory that it holds now, and that it held at most, in MB.
    pub(crate) fn memory(&self) -> Result<(f64, f64)> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let line = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name)).context("a line of the status")?;
            Ok::<_, anyhow::Error>(value.trim().trim_end_matches(" kB").parse::<f64>()? * 1024.0 / 1e6)
        };
        Ok((line("VmRSS:")?, line("VmHWM:")?))
    }

    /// Ends it in order.
    pub(crate) fn end(self) -> Result<()> {
        self.end_with_log().map(|_| ())
    }

    /// Ends it in order, and gives back all that it logged.
    pub(crate) fn end_with_log(mut self) -> Result<String> {
        let killed = Command::new("kill").args(["-TERM", &self.id().to_string()]).status()?;
        ensure!(killed.success(), "the proxy was gone before its end:\n{}", self.log()?);
        let begun = Instant::now();
        loop {
            match self.child.try_wait()? {
                Some(status) if status.success() => return self.log(),
                Some(status) => bail!("the proxy ended with {status}:\n{}", self.log()?),
                None => ensure!(begun.elapsed() < PATIENCE, "the proxy does not end"),
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
