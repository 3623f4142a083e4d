//! The webhook that hears of requests that wait.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::stand::{BODY, Stand};
use crate::harness::{PATIENCE, eventually, read_body, read_head, request};

/// A webhook: each request's body goes to the test; it is answered with this status, or never.
fn webhook(status: Option<&'static str>) -> (SocketAddr, mpsc::Receiver<(String, String)>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    let (say, hear) = mpsc::channel();
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let say = say.clone();
            thread::spawn(move || {
                let Some(head) = read_head(&mut stream) else { return };
                let body = String::from_utf8(read_body(&head, &mut stream)).expect("text");
                let _ = say.send((head, body));
                match status {
                    Some(status) => {
                        let _ = stream.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes());
                    }
                    None => {
                        let _ = stream.read(&mut [0]);
                    }
                }
            });
        }
    });
    (address, hear)
}

fn failures(stand: &Stand) -> u64 {
    let metrics = request(stand.proxy.admin, "GET", "/metrics", "", b"");
    let text = String::from_utf8(metrics.body).expect("text");
    let line = text.lines().find_map(|line| line.strip_prefix("ninjaone_proxy_approval_notice_failures_total "));
    line.expect("a series").parse().expect("a number")
}

#[test]
fn a_webhook_hears_of_a_request_that_waits_with_a_link_and_without_a_secret() {
    let (address, heard) = webhook(Some("200 OK"));
    let stand = Stand::start(&format!("wait = \"0s\"\nnotify = \"http://{address}/hook/hunter3\""), "");
    let id = stand.ask_id();
    let (head, body) = heard.recv_timeout(PATIENCE).expect("a notice");
    assert!(
        head.starts_with("POST /hook/hunter3 HTTP/1.1") && head.contains("content-type: application/json"),
        "{head}"
    );
    let notice: Value = serde_json::from_str(&body).expect("JSON");
    let text = notice["text"].as_str().expect("a text");
    for part in [
        "POST /v2/device/{id}/script/run",
        "critical risk",
        "the caller agent",
        "patch week",
        &format!("http://{}/approvals/{id}", stand.proxy.admin),
    ] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    assert!(!body.contains("hunter2") && !body.contains("seven") && !body.contains("/device/7/"), "{body}");
    assert_eq!(failures(&stand), 0);
}

#[test]
fn a_webhook_that_hangs_or_fails_blocks_no_request_and_is_counted() {
    let (address, heard) = webhook(None);
    let stand = Stand::start(&format!("wait = \"0s\"\nnotify = \"http://{address}/hook\""), "");
    let begun = Instant::now();
    let ids: Vec<_> = (0..20).map(|_| stand.ask_id()).collect();
    assert_eq!(stand.decide("lead", &ids[0], "approve").status, 200);
    assert_eq!(stand.repeat("agent", &ids[0], BODY).status, 200);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    heard.recv_timeout(PATIENCE).expect("a notice");
    assert!(heard.try_iter().count() < 4, "a few at a time");
    eventually("it is counted", || failures(&stand) > 0);
    let (address, heard) = webhook(Some("500 Broken"));
    let stand = Stand::start(&format!("wait = \"0s\"\nnotify = \"http://{address}/hook\""), "");
    stand.ask_id();
    heard.recv_timeout(PATIENCE).expect("a notice");
    eventually("it is counted", || failures(&stand) == 1);
}

#[test]
fn a_webhook_that_is_a_listener_of_the_proxy_is_a_mistake() {
    let mut stand = Stand::start("wait = \"0s\"", "");
    let own = format!("notify = \"http://{}/hook\"", stand.proxy.address);
    let taken = stand.proxy.reconfigure(&super::stand::listener(), &super::approvals(&own, &["lead"]));
    let said = taken.expect_err("a mistake");
    assert!(said.contains("approvals.notify: this leads to where listeners.local of this proxy listens"), "{said}");
}
