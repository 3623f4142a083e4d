//! A real Chromium signs in: it is opened by `login` itself, and what it sends beside the callback does no harm.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::json;

use super::stand::Stand;
use super::web_driver::WebDriver;
use crate::browser::{CHROMIUM, program};
use crate::harness::{eventually, request};

const ARGUMENTS: [&str; 6] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-proxy-server",
];

/// A free port, which nobody takes meanwhile as a rule.
fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr()).expect("a port").port()
}

/// A program for `BROWSER` that starts Chromium as people do, except that a test can steer it.
fn browser(chromium: &Path, folder: &Path, port: u16) -> String {
    let script = folder.join("browser");
    let command = format!("{} {}", chromium.display(), ARGUMENTS.join(" "));
    let home = folder.join("home").display().to_string();
    let text = format!(
        "#!/bin/sh\nexec {command} --remote-debugging-port={port} --user-data-dir={home} \"$1\" >/dev/null 2>&1\n"
    );
    std::fs::write(&script, text).expect("a file");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    script.display().to_string()
}

/// Signs in and agrees.
fn agree(driver: &WebDriver) {
    eventually("the page for signing in", || driver.text("#sign-in button").is_some());
    driver.fill("#user", "technician");
    driver.fill("#password", "nothing");
    driver.click("#sign-in button");
    eventually("the question", || driver.text("#consent").is_some());
    assert!(driver.text("ul").is_some_and(|scopes| scopes.contains("offline_access")));
    driver.click("button[value=allow]");
}

/// What a listener that has no person gets for a comment, and one that has.
fn comments(machine: SocketAddr, local: SocketAddr) -> (u16, u16) {
    let comment = |listener| {
        let headers = "Content-Type: application/json\r\n";
        request(listener, "POST", "/v2/ticketing/ticket/1/comment", headers, b"{\"public\":false,\"body\":\"x\"}")
            .status
    };
    (comment(machine), comment(local))
}

#[test]
fn chromium_that_login_opens_signs_in_and_a_ticket_comment_passes() {
    let (Some(chromium), Some(driver)) = (program(&CHROMIUM), program(&["chromedriver"])) else { return };
    let mut stand = Stand::new("", |_| ());
    let path = stand.folder.path().join("config.toml");
    let text = std::fs::read_to_string(&path).expect("a configuration");
    let machine = "[listeners.machine]\naddress = \"127.0.0.1:0\"\nscopes = [\"monitoring\", \"management\"]\n";
    std::fs::write(&path, format!("{text}\n{machine}")).expect("a file");
    let [local, _] = stand.run();
    let machine = stand.listener("machine");
    eventually("the machine's token", || request(machine, "GET", "/v2/organizations", "", b"").status == 200);
    assert_eq!(comments(machine, local), (403, 503));
    let port = free_port();
    let browser = browser(&chromium, stand.folder.path(), port);
    let waiting = stand.login_with(&["technician"], &browser);
    eventually("the browser can be steered", || std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok());
    let driver = WebDriver::start(&driver, &json!({ "debuggerAddress": format!("127.0.0.1:{port}") }));
    agree(&driver);
    eventually("the last page", || driver.text("h1").is_some_and(|title| title == "Signed in"));
    assert!(driver.url().starts_with("http://127.0.0.1:"), "{}", driver.url());
    let (code, said) = waiting.end();
    assert!(code == 0 && said.contains("Signed in: user technician"), "{said}");
    eventually("the running proxy has it", || comments(machine, local) == (403, 200));
}

#[test]
fn chromium_on_another_machine_ends_at_an_address_that_can_be_pasted() {
    let (Some(chromium), Some(driver)) = (program(&CHROMIUM), program(&["chromedriver"])) else { return };
    // The browser cannot come back: somebody else has the port there, and says nothing.
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let uri = format!("http://127.0.0.1:{}/", other.local_addr().expect("an address").port());
    let own = uri.clone();
    std::thread::spawn(move || other.incoming().for_each(drop));
    let stand = Stand::new(&format!("redirect = \"{uri}\""), move |options| options.redirect_uris = vec![own]);
    let mut waiting = stand.login(&["technician", "--no-browser"]);
    let home = stand.folder.path().join("home").display().to_string();
    let arguments: Vec<_> =
        ARGUMENTS.map(str::to_owned).into_iter().chain([format!("--user-data-dir={home}")]).collect();
    let driver = WebDriver::start(&driver, &json!({ "binary": chromium, "args": arguments }));
    driver.open(&waiting.address);
    agree(&driver);
    eventually("the end at the redirect URI", || driver.url().starts_with(&uri));
    let ended = driver.url();
    writeln!(waiting.input.as_mut().expect("standard input"), "{ended}").expect("a line");
    let (code, said) = waiting.end();
    assert!(code == 0 && said.contains("Signed in: user technician"), "{said}");
}
