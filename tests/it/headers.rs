//! Which header fields pass, and what becomes of redirects.

use std::sync::{Arc, Mutex};

use crate::harness::{Proxy, Scripted, Then, answer};

/// A server that keeps the head of the last request and gives the same answer each time.
fn keeping(reply: String) -> (Scripted, Arc<Mutex<String>>) {
    let kept = Arc::new(Mutex::new(String::new()));
    let keep = Arc::clone(&kept);
    let server = Scripted::start(move |mut asked| {
        *keep.lock().expect("a lock") = asked.head.clone();
        asked.answer(&reply);
        Then::Continue
    });
    (server, kept)
}

#[test]
fn upstream_sees_one_authorization_ours_and_nothing_of_the_callers_origin() {
    let (server, kept) = keeping(answer("200 OK", "[]"));
    // Only callers with keys may send what was relayed.
    let hash = ninjaone_proxy::proxy::authn::key::KeyHash::of(b"evil-key");
    let proxy = Proxy::start(&server.instance(), &format!("[listeners.local.callers.a]\nkey = \"{hash}\""), "");
    let lines = "X-Api-Key: evil-key\r\nAuthorization: Bearer evil\r\nAuthorization: Basic ZXZpbA==\r\nCookie: sessionKey=evil\r\nProxy-Authorization: evil\r\n\
                 Connection: X-First\r\nConnection: X-Second, keep-alive\r\nX-First: evil\r\nX-Second: evil\r\nKeep-Alive: evil\r\n\
                 TE: trailers\r\nUpgrade: websocket\r\nForwarded: for=evil\r\nX-Forwarded-For: evil\r\nX-Forwarded-Host: evil\r\n\
                 X-Real-IP: evil\r\nReferer: evil\r\nclient-id: evil\r\nclient-secret: evil\r\nx-nj-date: evil\r\n\
                 X-HTTP-Method-Override: DELETE\r\nX-Original-URL: /evil\r\nX-Rewrite-URL: /evil\r\n\
                 Proxy: http://evil\r\nX_HTTP_Method_Override: evil\r\nX_Forwarded_For: evil\r\nX_Api_Key: evil\r\nTransfer_Encoding: evil\r\n\
                 Content_Length: 4\r\nRemote-User: evil\r\nX_Second: evil\r\n\
                 Accept: application/json\r\nAccept-Encoding: gzip\r\nUser-Agent: tool/1\r\nX-Custom: kept\r\n";
    assert_eq!(proxy.send("GET", "/v2/devices", lines, b"").status, 200);
    let head = kept.lock().expect("a lock").clone();
    let mut names: Vec<String> = head
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .map(|(name, _)| name.to_ascii_lowercase())
        .collect();
    names.sort();
    let kept = [
        "accept",
        "accept-encoding",
        "authorization",
        "host",
        "ninjaone-proxy-loop",
        "traceparent",
        "user-agent",
        "x-custom",
    ];
    assert_eq!(names, kept, "{head}");
    assert!(head.contains("authorization: Bearer scripted_token_0\r\n"), "{head}");
    assert!(head.contains(&format!("host: {}\r\n", server.address)), "{head}");
    assert!(!head.to_ascii_lowercase().contains("evil"), "{head}");
}

#[test]
fn a_trace_is_passed_on_or_begun_and_what_cannot_be_read_is_dropped() {
    let (server, kept) = keeping(answer("200 OK", "[]"));
    let proxy = Proxy::start(&server.instance(), "", "");
    let sent = |lines: &str| {
        assert_eq!(proxy.send("GET", "/v2/devices", lines, b"").status, 200);
        let head = kept.lock().expect("a lock").clone();
        let of = |name: &str| -> Vec<String> {
            let lines = head.lines().filter_map(|line| line.split_once(": "));
            lines.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).collect()
        };
        (of("traceparent"), of("tracestate"))
    };
    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let (parent, state) = sent(&format!("Traceparent: {GOOD}\r\nTracestate: a=1\r\nTracestate: b=2\r\n"));
    assert_eq!((parent, state), (vec![GOOD.to_owned()], vec!["a=1".to_owned(), "b=2".to_owned()]));
    let mut begun = Vec::new();
    for lines in [
        String::new(),
        "Tracestate: a=1\r\n".to_owned(),
        format!("Traceparent: {}\r\nTracestate: a=1\r\n", GOOD.to_uppercase()),
        format!("Traceparent: {GOOD}\r\nTraceparent: {GOOD}\r\n"),
    ] {
        let (parent, state) = sent(&lines);
        assert!(parent.len() == 1 && parent[0].len() == 55 && state.is_empty(), "{parent:?} {state:?}");
        assert!(!parent[0].eq_ignore_ascii_case(GOOD), "{parent:?}");
        begun.extend(parent);
    }
    begun.sort();
    begun.dedup();
    assert_eq!(begun.len(), 4, "each has its own");
}

#[test]
fn the_caller_sees_no_cookie_no_hop_field_and_no_permission_for_browsers() {
    let reply = "HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\nAccess-Control-Allow-Origin: *\r\nAlt-Svc: h3=\":443\"\r\n\
                 Connection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nX-Nj-Request-Id: 7\r\nContent-Encoding: gzip\r\n\
                 Content-Length: 4\r\n\r\n\x1f~~\x08";
    let (server, _) = keeping(reply.to_owned());
    let proxy = Proxy::start(&server.instance(), "", "");
    let reply = proxy.get("/v2/devices");
    for gone in ["set-cookie", "access-control-allow-origin", "alt-svc", "x-hop", "keep-alive"] {
        assert!(reply.all(gone).is_empty(), "{gone}");
    }
    assert_eq!(reply.header("x-nj-request-id"), "7");
    assert_eq!(reply.header("content-encoding"), "gzip");
    assert_eq!(reply.header("proxy-status"), format!("ninjaone-proxy; next-hop=\"{}\"", server.address));
    assert_eq!(reply.body, b"\x1f~~\x08", "compressed bodies pass untouched");
}

#[test]
fn redirects_are_relayed_and_a_location_at_the_instance_leads_back_to_us() {
    let server = Scripted::start(|mut asked| {
        let own = asked.lines()["host"][0].clone();
        let location = match asked.head.split(' ').nth(1) {
            Some("/v2/attachment/own") => format!("http://{own}/v2/attachment/9?x=%20y"),
            Some("/v2/attachment/signed") => "https://files.example.com/x?signature=abc".to_owned(),
            _ => format!("http://{own}/#/deviceDashboard/7/overview"),
        };
        asked.answer(&format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"));
        Then::Continue
    });
    let proxy = Proxy::start(&server.instance(), "", "");
    let own = proxy.get("/v2/attachment/own");
    assert_eq!((own.status, own.header("location")), (302, "http://localhost/v2/attachment/9?x=%20y"));
    assert_eq!(proxy.get("/v2/attachment/signed").header("location"), "https://files.example.com/x?signature=abc");
    let console = format!("http://{}/#/deviceDashboard/7/overview", server.address);
    assert_eq!(proxy.get("/v2/device/7/dashboard-url?redirect=true").header("location"), console);
    assert_eq!(server.api_requests(), 3, "no redirect was followed");
}

#[test]
fn statuses_and_bodies_of_ninjaone_pass_as_they_are() {
    for (status, body) in
        [("204 No Content", ""), ("200 OK", ""), ("500 Internal Server Error", r#"{"resultCode":"FAILURE"}"#)]
    {
        let text = if status.starts_with("204") { format!("HTTP/1.1 {status}\r\n\r\n") } else { answer(status, body) };
        let (server, _) = keeping(text);
        let proxy = Proxy::start(&server.instance(), "", "");
        let reply = proxy.get("/v2/devices");
        assert_eq!((reply.status.to_string().as_str(), reply.body.as_slice()), (&status[..3], body.as_bytes()));
    }
}

#[test]
fn a_throttled_answer_passes_with_its_retry_after() {
    let (server, _) =
        keeping("HTTP/1.1 429 Too Many Requests\r\nRetry-After: 17\r\nContent-Length: 6\r\n\r\n<html>".to_owned());
    let proxy = Proxy::start(&server.instance(), "", "");
    let reply = proxy.get("/v2/devices");
    assert_eq!((reply.status, reply.header("retry-after"), reply.body.as_slice()), (429, "17", &b"<html>"[..]));
    assert_eq!(server.api_requests(), 1, "it is not retried");
}

#[test]
fn what_is_no_json_is_no_page_for_browsers() {
    for (kind, json) in [
        ("Content-Type: application/json; charset=utf-8", true),
        ("Content-Type: text/html", false),
        ("Content-Type: image/svg+xml\r\nContent-Security-Policy: default-src *", false),
        ("Content-Type: application/json\r\nContent-Type: text/html", false),
        ("X-Kind: none", false),
    ] {
        let (server, _) = keeping(format!("HTTP/1.1 200 OK\r\n{kind}\r\nContent-Length: 2\r\n\r\n[]"));
        let reply = Proxy::start(&server.instance(), "", "").get("/v2/groups");
        let policy = if json { "" } else { "sandbox; default-src 'none'" };
        assert_eq!(reply.header("content-security-policy"), policy, "{kind}");
        assert_eq!(reply.header("x-content-type-options"), if json { "" } else { "nosniff" }, "{kind}");
    }
}
