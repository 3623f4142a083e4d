//! Refused bearers: renewed once for all, a request repeated only if that is safe, and no storm.

use std::io::Write;
use std::sync::{Arc, Barrier};
use std::thread;

use crate::harness::{Ninja, Proxy, Reply, Scripted, Then, answer, connect, read_body, read_chunked};

const WRITE: &str = "scopes = [\"monitoring\", \"management\"]";
const DEAD: &str = r#"{"error":"not_authenticated","error_description":"Invalid credentials","error_code":10}"#;

#[test]
fn a_revoked_token_costs_a_reader_or_a_writer_nothing() {
    let ninja = Ninja::start(|_| ());
    let proxy = Proxy::start(&ninja.instance(), WRITE, "");
    assert_eq!(proxy.get("/v2/groups").status, 200);
    ninja.sandbox.revoke_tokens();
    assert_eq!(proxy.get("/v2/groups").status, 200);
    assert_eq!((ninja.counts().token_requests, ninja.counts().unauthorized), (2, 1));
    for (method, path, body) in [
        ("POST", "/v2/organizations", "{\"name\":\"a\"}"),
        ("PATCH", "/v2/organization/1", "{}"),
        ("DELETE", "/v2/tag/1", ""),
    ] {
        let before = ninja.counts();
        ninja.sandbox.revoke_tokens();
        let write = proxy.send(method, path, "", body.as_bytes());
        assert!((200..300).contains(&write.status), "{method} {write:?}");
        let after = ninja.counts();
        assert_eq!((after.token_requests - before.token_requests, after.unauthorized - before.unauthorized), (1, 1));
        assert_eq!(after.writes - before.writes, 1, "{method} was done once");
    }
}

#[test]
fn a_write_comes_again_as_it_was_in_chunks_or_not() {
    let (say, heard) = std::sync::mpsc::channel();
    let say = std::sync::Mutex::new(say);
    let server = Scripted::start(move |mut asked| {
        let lines = asked.lines();
        let body = match lines.get("content-length") {
            Some(_) => String::from_utf8(read_body(&asked.head, asked.stream)).expect("text"),
            None => read_chunked(asked.stream),
        };
        let token = lines["authorization"].join(",");
        // Each proxy finds its first token refused.
        let good = asked.number % 2 == 1;
        say.lock().expect("a lock").send((token, lines["content-type"].clone(), body)).expect("a test that listens");
        asked.answer(&if good { answer("200 OK", "[]") } else { answer("401 Unauthorized", DEAD) });
        Then::Continue
    });
    for chunked in [false, true] {
        let proxy = Proxy::start(&server.instance(), WRITE, "");
        let head = "Content-Type: application/json\r\n";
        let reply = if chunked {
            let mut stream = connect(proxy.address);
            let text = format!(
                "POST /v2/organizations HTTP/1.1\r\nHost: localhost\r\n{head}Transfer-Encoding: chunked\r\n\r\n3\r\n{{\"a\r\n4\r\n\":1}}\r\n0\r\n\r\n"
            );
            stream.write_all(text.as_bytes()).expect("a request");
            Reply::read(&mut stream, false)
        } else {
            proxy.send("POST", "/v2/organizations", head, b"{\"a\":1}")
        };
        assert_eq!(reply.status, 200);
        let (first, second) = (heard.recv().expect("one"), heard.recv().expect("another"));
        assert_ne!(first.0, second.0, "another token");
        assert_eq!((&first.1, &first.2), (&second.1, &second.2));
        assert_eq!(second.2, "{\"a\":1}");
    }
}

#[test]
fn a_write_that_is_refused_before_its_body_came_goes_up_whole() {
    // On Windows an answer is lost if the server resets the connection, as it does when it closes with bytes unread.
    let ends: &[bool] = if cfg!(windows) { &[false] } else { &[false, true] };
    for &close in ends {
        let (say, heard) = std::sync::mpsc::channel();
        let say = std::sync::Mutex::new(say);
        let server = Scripted::start(move |mut asked| {
            if asked.number == 0 {
                asked.answer(&answer("401 Unauthorized", DEAD));
                return if close { Then::Close } else { Then::Continue };
            }
            let body = read_body(&asked.head.clone(), asked.stream);
            say.lock().expect("a lock").send(body).expect("a test that listens");
            asked.answer(&answer("200 OK", "[]"));
            Then::Close
        });
        let proxy = Proxy::start(&server.instance(), WRITE, "");
        let body: Vec<u8> = (0..200_000_u32).map(|number| number.to_le_bytes()[0]).collect();
        let mut stream = connect(proxy.address);
        let head =
            format!("POST /v2/organizations HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
        // Some of the body has gone up when the refusal comes, most of it has not even come.
        stream.write_all(&[head.as_bytes(), &body[..1000]].concat()).expect("a head");
        crate::harness::eventually("another token", || server.token_requests() == 2);
        stream.write_all(&body[1000..]).expect("a body");
        assert_eq!(Reply::read(&mut stream, false).status, 200);
        assert!(heard.recv().expect("a body") == body, "as it was");
        assert_eq!((server.api_requests(), server.token_requests()), (2, 2));
    }
}

#[test]
fn a_write_that_may_have_been_processed_or_is_large_gets_its_401() {
    let large = vec![b'x'; 70_000];
    for (said, body) in
        [("<html>401</html>", &b"{}"[..]), ("", b""), (r#"{"error":"not_authenticated""#, b"{}"), (DEAD, &large)]
    {
        let server = Scripted::start(move |mut asked| {
            read_body(&asked.head.clone(), asked.stream);
            asked.answer(&answer("401 Unauthorized", said));
            Then::Continue
        });
        let proxy = Proxy::start(&server.instance(), WRITE, "");
        let reply = proxy.send("DELETE", "/v2/tag/1", "", body);
        assert_eq!((reply.status, reply.body.as_slice()), (401, said.as_bytes()));
        assert_eq!(server.api_requests(), 1, "{said:?}");
        // The next one has a new token.
        assert_eq!(proxy.send("DELETE", "/v2/tag/1", "", body).status, 401);
        assert_eq!((server.api_requests(), server.token_requests()), (2, 2), "{said:?}");
    }
}

#[test]
fn a_403_a_404_or_a_missing_user_renews_nothing_and_is_explained() {
    const NO_USER: &str = r#"{"error":"user_context_required","error_description":"x","error_code":5}"#;
    for (status, body, explained) in [
        ("403 Forbidden", NO_USER, "details=\"user_context_required: "),
        ("401 Unauthorized", NO_USER, "details=\"user_context_required: "),
        ("403 Forbidden", r#"{"error":"insufficient_privileges"}"#, "details=\"insufficient_privileges: "),
        ("401 Unauthorized", DEAD, "details=\"not_authenticated: "),
        ("403 Forbidden", "<html>", "; next-hop="),
        (
            "404 Not Found",
            r#"{"resultCode":"FAILURE","errorMessage":"HTTP 404 Not Found"}"#,
            "details=\"route-unknown: ",
        ),
        ("404 Not Found", r#"{"resultCode":"NODE_NOT_FOUND","errorMessage":{}}"#, "details=\"entity-unknown: "),
        ("404 Not Found", r#"{"resultCode":"FAILURE"}"#, "; next-hop="),
    ] {
        let server = Scripted::start(move |mut asked| {
            asked.answer(&answer(status, body));
            Then::Continue
        });
        let scripts = format!("{WRITE}\nallow = [\"group:scripts\"]");
        let proxy = Proxy::start(&server.instance(), &scripts, "");
        let reply = proxy.send("POST", "/v2/device/7/script/run", "", b"");
        assert_eq!((reply.status.to_string().as_str(), reply.body.as_slice()), (&status[..3], body.as_bytes()));
        let told = reply.header("proxy-status");
        assert!(told.starts_with("ninjaone-proxy; next-hop=\"") && told.contains(explained), "{told}");
        if !explained.contains("not_auth") {
            assert_eq!((server.token_requests(), server.api_requests()), (1, 1), "{status} {body}");
        }
    }
}

#[test]
fn a_missing_privilege_is_seen_through_gzip() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(br#"{"error":"insufficient_privileges"}"#).expect("packed");
    let packed = encoder.finish().expect("packed");
    let copy = packed.clone();
    let server = Scripted::start(move |asked| {
        let head =
            format!("HTTP/1.1 401 Unauthorized\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", copy.len());
        asked.stream.write_all(&[head.as_bytes(), &copy].concat()).expect("an answer");
        Then::Continue
    });
    let proxy = Proxy::start(&server.instance(), "", "");
    for _ in 0..3 {
        let reply = proxy.send("GET", "/v2/groups", "Accept-Encoding: gzip\r\n", b"");
        assert_eq!((reply.status, reply.body.as_slice()), (401, packed.as_slice()));
    }
    assert_eq!((server.token_requests(), server.api_requests()), (1, 3));
}

#[test]
fn a_storm_of_401_is_damped() {
    let server = Scripted::start(|mut asked| {
        asked.answer(&answer("401 Unauthorized", DEAD));
        Then::Continue
    });
    let proxy = Proxy::start(&server.instance(), "", "");
    for _ in 0..100 {
        assert_eq!(proxy.get("/v2/groups").status, 401);
    }
    // The first token, ten renewals, and one more for each 10 s.
    assert!(server.token_requests() <= 14, "{} token requests", server.token_requests());
    assert!(server.api_requests() <= 100 + server.token_requests(), "{} API requests", server.api_requests());
}

#[test]
fn readers_who_find_the_token_revoked_at_once_share_its_renewal() {
    let ninja = Ninja::start(|_| ());
    let proxy = Arc::new(Proxy::start(&ninja.instance(), "", ""));
    assert_eq!(proxy.get("/v2/groups").status, 200);
    ninja.sandbox.revoke_tokens();
    let barrier = Arc::new(Barrier::new(50));
    let callers: Vec<_> = (0..50)
        .map(|_| {
            let (proxy, barrier) = (Arc::clone(&proxy), Arc::clone(&barrier));
            thread::spawn(move || {
                barrier.wait();
                proxy.get("/v2/groups").status
            })
        })
        .collect();
    for caller in callers {
        assert_eq!(caller.join().expect("a status"), 200);
    }
    assert_eq!(ninja.counts().token_requests, 2);
}

#[test]
fn a_missing_privilege_renews_nothing_and_is_relayed() {
    let body = r#"{"error":"insufficient_privileges","error_description":"no","error_code":4}"#;
    let long = format!("{body}{}", " ".repeat(100_000));
    for (head, body) in [
        (format!("Content-Length: {}", body.len()), body.to_owned()),
        ("Transfer-Encoding: chunked".to_owned(), format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len())),
        (format!("Content-Length: {}", long.len()), long),
    ] {
        let whole = format!("HTTP/1.1 401 Unauthorized\r\n{head}\r\n\r\n{body}");
        let server = Scripted::start(move |mut asked| {
            asked.answer(&whole);
            Then::Continue
        });
        let proxy = Proxy::start(&server.instance(), "", "");
        for _ in 0..3 {
            let reply = proxy.get("/v2/groups");
            assert_eq!((reply.status, reply.whole), (401, true));
            assert!(body.contains(std::str::from_utf8(&reply.body).expect("text")), "nothing is lost or added");
        }
        assert_eq!((server.token_requests(), server.api_requests()), (1, 3));
    }
}

#[test]
fn a_lasting_401_costs_two_requests_and_one_token_a_call() {
    let server = Scripted::start(|mut asked| {
        asked.answer(&answer("401 Unauthorized", r#"{"error":"not_authenticated"}"#));
        Then::Continue
    });
    let proxy = Proxy::start(&server.instance(), "", "");
    assert_eq!(proxy.get("/v2/groups").status, 401);
    assert_eq!((server.token_requests(), server.api_requests()), (2, 2));
}
