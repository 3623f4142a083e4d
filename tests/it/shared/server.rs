//! A real redis-server of a test's own, and the configuration that shares it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Once;

use tempfile::TempDir;

use crate::harness::eventually;

/// A sealing key.
pub(crate) const KEY: &str = "a sealing key of the tests, which is no secret";

/// A redis-server at a socket of its own; it ends with the value.
pub(crate) struct RedisServer {
    folder: TempDir,
    child: Option<Child>,
    options: Vec<String>,
}

/// `[shared]` with this server, with the sealing key in a file beside its socket.
pub(crate) fn config(server: &RedisServer) -> String {
    let key = server.folder.path().join("sealing-key");
    // The most there is, in place of 20 ms: a busy machine must not look like a store that is down.
    format!("[shared]\nurl = {:?}\nkey = {{ file = {key:?} }}\ntimeout = \"1s\"\n", server.url())
}

impl RedisServer {
    /// Starts one; `None`, and a line that says so, where there is no redis-server.
    pub(crate) fn start() -> Option<Self> {
        Self::with(&[])
    }

    /// The same with more options for its command line.
    pub(crate) fn with(options: &[&str]) -> Option<Self> {
        static TOLD: Once = Once::new();
        if Command::new("redis-server").arg("--version").stdout(Stdio::null()).status().is_err() {
            TOLD.call_once(|| eprintln!("NOT RUN: there is no redis-server; the package redis-server has it"));
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("sealing-key"), KEY).expect("a file");
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let mut server = Self { folder, child: None, options };
        server.start_again();
        Some(server)
    }

    /// Its folder.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    /// Where it is.
    pub(crate) fn url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Ends it at once; what it had not written is lost.
    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("an end");
            child.wait().expect("an end");
        }
        let _ = std::fs::remove_file(self.socket());
    }

    /// Starts it again: with what it has written to its folder, if its options have it write.
    pub(crate) fn start_again(&mut self) {
        self.stop();
        let child = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--unixsocket"])
            .arg(self.socket())
            .arg("--dir")
            .arg(self.folder.path())
            .args(&self.options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a redis-server");
        self.child = Some(child);
        eventually("the redis-server answers", || {
            self.try_cli(&["PING"]).is_some_and(|said| said.contains("PONG") || said.contains("NOAUTH"))
        });
    }

    /// It takes everything, and answers nothing.
    pub(crate) fn pause(&self) {
        self.signal("STOP");
    }

    /// It goes on.
    pub(crate) fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.pid().to_string()]).status();
        assert!(sent.expect("kill").success());
    }

    /// What redis-cli prints.
    pub(crate) fn cli(&self, words: &[&str]) -> String {
        self.try_cli(words).expect("an answer of the redis-server")
    }

    fn try_cli(&self, words: &[&str]) -> Option<String> {
        let run = Command::new("redis-cli").arg("-s").arg(self.socket()).args(words).output().ok()?;
        run.status.success().then(|| String::from_utf8_lossy(&run.stdout).into_owned())
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        if self.child.is_some() {
            // A paused one does not end otherwise.
            self.resume();
        }
        self.stop();
    }
}
