//! A browser that a test steers: as much of WebDriver (W3C) as that needs, spoken to a real chromedriver.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::request;

/// Under this name WebDriver refers to an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// The tabulator and the key Enter (WebDriver, section 17.4.2).
pub(crate) const TAB: &str = "\u{e004}";
pub(crate) const ENTER: &str = "\u{e007}";

/// A chromedriver, and the session with its browser.
pub(crate) struct WebDriver {
    process: Child,
    address: SocketAddr,
    session: String,
    /// What both leave behind.
    _folder: TempDir,
}

impl WebDriver {
    /// With these `goog:chromeOptions`.
    pub(crate) fn start(program: &Path, options: &Value) -> Self {
        // One that picks a port which another one picks too ends at once.
        let folder = tempfile::tempdir().expect("a folder");
        let started = (0..10).find_map(|_| Self::try_start(program, folder.path()));
        let (process, address) = started.expect("a chromedriver that listens");
        let mut driver = Self { process, address, session: String::new(), _folder: folder };
        let capabilities = json!({ "capabilities": { "alwaysMatch": { "goog:chromeOptions": options } } });
        let session = driver.send("POST", "/session", &capabilities);
        driver.session = session["sessionId"].as_str().expect("a session").to_owned();
        driver
    }

    /// A chromedriver, and where it listens.
    fn try_start(program: &Path, folder: &Path) -> Option<(Child, SocketAddr)> {
        let mut command = Command::new(program);
        command.arg("--port=0").env("TMPDIR", folder).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().expect("it runs");
        let output = BufReader::new(process.stdout.as_mut().expect("standard output"));
        let port = output.lines().find_map(|line| {
            line.ok()?
                .strip_prefix("ChromeDriver was started successfully on port ")?
                .trim_end_matches('.')
                .parse()
                .ok()
        });
        if port.is_none() {
            let _ = process.kill();
            let _ = process.wait();
        }
        Some((process, (Ipv4Addr::LOCALHOST, port?).into()))
    }

    /// Opens a page, also one that cannot be had.
    pub(crate) fn open(&self, url: &str) {
        self.try_send("POST", &self.path("url"), &json!({ "url": url }));
    }

    /// Types a text into the element.
    pub(crate) fn fill(&self, selector: &str, text: &str) {
        let element = self.element(selector);
        self.send("POST", &self.path(&format!("element/{element}/clear")), &json!({}));
        self.send("POST", &self.path(&format!("element/{element}/value")), &json!({ "text": text }));
    }

    /// Clicks on the element.
    pub(crate) fn click(&self, selector: &str) {
        let element = self.element(selector);
        // What the click leads to may be a page that cannot be had.
        self.try_send("POST", &self.path(&format!("element/{element}/click")), &json!({}));
    }

    /// The text of the element, if it is there.
    pub(crate) fn text(&self, selector: &str) -> Option<String> {
        let element = self.find(selector)?;
        let text = self.try_send("GET", &self.path(&format!("element/{element}/text")), &Value::Null);
        text["value"].as_str().map(str::to_owned)
    }

    /// Where the browser is.
    pub(crate) fn url(&self) -> String {
        self.send("GET", &self.path("url"), &Value::Null).as_str().expect("a URL").to_owned()
    }

    /// Presses keys where the focus is; a key without a character has a code of WebDriver's own.
    pub(crate) fn press(&self, keys: &str) {
        let active = self.send("GET", &self.path("element/active"), &Value::Null);
        let element = active[ELEMENT].as_str().expect("an element").to_owned();
        self.try_send("POST", &self.path(&format!("element/{element}/value")), &json!({ "text": keys }));
    }

    /// Moves the focus on by the tabulator until it is at the element, as somebody without a mouse does.
    pub(crate) fn tab_to(&self, selector: &str) {
        let wanted = self.element(selector);
        for _ in 0..50 {
            let active = self.send("GET", &self.path("element/active"), &Value::Null);
            if active[ELEMENT] == wanted.as_str() {
                return;
            }
            self.press(TAB);
        }
        panic!("the focus does not come to {selector}");
    }

    /// The page as a picture, in PNG.
    pub(crate) fn screenshot(&self) -> Vec<u8> {
        let shot = self.send("GET", &self.path("screenshot"), &Value::Null);
        STANDARD.decode(shot.as_str().expect("a picture")).expect("base64")
    }

    /// Makes the window this large, in pixels.
    pub(crate) fn resize(&self, width: u32, height: u32) {
        self.send("POST", &self.path("window/rect"), &json!({ "width": width, "height": height }));
    }

    fn path(&self, rest: &str) -> String {
        format!("/session/{}/{rest}", self.session)
    }

    fn element(&self, selector: &str) -> String {
        self.find(selector).unwrap_or_else(|| panic!("{selector} is not at {}", self.url()))
    }

    fn find(&self, selector: &str) -> Option<String> {
        let asked = json!({ "using": "css selector", "value": selector });
        let found = self.try_send("POST", &self.path("element"), &asked);
        found["value"][ELEMENT].as_str().map(str::to_owned)
    }

    fn send(&self, method: &str, path: &str, body: &Value) -> Value {
        let answer = self.try_send(method, path, body);
        assert!(answer["value"]["error"].is_null(), "{method} {path}: {answer}");
        answer["value"].clone()
    }

    fn try_send(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let headers = "Content-Type: application/json\r\nConnection: close\r\n";
        request(self.address, method, path, headers, body.as_bytes()).json()
    }
}

impl Drop for WebDriver {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            // It did not start the browser where that was there before, so it would leave it open.
            self.try_send("POST", &self.path("goog/cdp/execute"), &json!({ "cmd": "Browser.close", "params": {} }));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
