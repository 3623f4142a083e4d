//! A real Chromium, by keyboard only: a caller waits, the approver reads and approves on the page, the request goes on.

use std::path::Path;

use serde_json::json;

use super::stand::{Stand, key};
use crate::browser::{CHROMIUM, program};
use crate::harness::eventually;
use crate::sign_in::web_driver::{ENTER, WebDriver};

const ARGUMENTS: [&str; 5] =
    ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"];

/// Keeps a picture in the folder for temporary files of tests.
fn picture(driver: &WebDriver, name: &str) {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("approvals-{name}.png"));
    std::fs::write(file, driver.screenshot()).expect("a file");
}

#[test]
fn an_approver_reads_and_approves_by_keyboard_and_the_callers_request_goes_on() {
    let (Some(chromium), Some(chromedriver)) = (program(&CHROMIUM), program(&["chromedriver"])) else { return };
    let stand = Stand::start("wait = \"60s\"", "");
    let held = stand.ask_aside();
    let id = stand.waiting();
    let home = stand.proxy.folder().join("home").display().to_string();
    let arguments: Vec<_> =
        ARGUMENTS.map(str::to_owned).into_iter().chain([format!("--user-data-dir={home}")]).collect();
    let driver = WebDriver::start(&chromedriver, &json!({ "binary": chromium, "args": arguments }));
    driver.resize(1000, 1200);
    driver.open(&format!("http://{}/", stand.proxy.admin));
    driver.tab_to("nav a[href=\"/approvals\"]");
    driver.press(ENTER);
    eventually("the list", || driver.text("h2").is_some_and(|title| title == "1 request waits for approval"));
    picture(&driver, "list");
    driver.tab_to(&format!("a[href=\"/approvals/{id}\"]"));
    driver.press(ENTER);
    eventually("the request", || driver.text("#show").is_some());
    picture(&driver, "request");
    driver.tab_to("#key");
    driver.press(&format!("{}{ENTER}", key("lead")));
    eventually("the whole request", || driver.text("#decide").is_some());
    let shown = driver.text("main").expect("a text");
    assert!(shown.contains("note=seven") && shown.contains("\"id\": 12") && !shown.contains("hunter2"), "{shown}");
    picture(&driver, "whole");
    driver.resize(400, 1600);
    picture(&driver, "narrow");
    assert_eq!(stand.count_sent(), 0, "nothing was decided by looking");
    driver.tab_to("input[value=approve]");
    driver.press(" ");
    driver.tab_to("#comment");
    driver.press("ticket 12");
    driver.tab_to("#key");
    driver.press(&format!("{}{ENTER}", key("lead")));
    eventually("what has come of it", || {
        driver.text("[role=status]").is_some_and(|text| text == "Approved. The request may be sent once.")
    });
    picture(&driver, "approved");
    assert_eq!(held.join().expect("an answer").status, 200);
    assert_eq!(stand.count_sent(), 1);
}
