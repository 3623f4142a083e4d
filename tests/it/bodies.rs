//! Bodies in both directions: streamed, whole or visibly broken, and cut off when a peer stops.

use std::io::{Read, Write};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::harness::{Proxy, Reply, Scripted, Then, answer, connect, read_body, read_chunked};

const WRITE: &str = "scopes = [\"monitoring\", \"management\"]";
const UPLOAD: &str = "/v2/attachments/temp/upload";

#[test]
fn uploads_with_length_and_chunked_arrive_whole() {
    let proxy = Proxy::sandboxed(WRITE);
    let body = vec![b'x'; 3 << 20];
    let reply = proxy.send("POST", UPLOAD, "Content-Type: multipart/form-data; boundary=b\r\n", &body);
    assert!(reply.status < 300, "{reply:?}");
    assert_eq!(proxy.count("bytes_uploaded"), 3 << 20);

    let mut stream = connect(proxy.address);
    let head = format!(
        "POST {UPLOAD} HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("a head");
    for _ in 0..100 {
        stream
            .write_all(b"400\r\n")
            .and_then(|()| stream.write_all(&[b'y'; 1024]))
            .and_then(|()| stream.write_all(b"\r\n"))
            .expect("a chunk");
    }
    stream.write_all(b"0\r\nX-Trailer: evil\r\n\r\n").expect("an end");
    assert!(Reply::read(&mut stream, false).status < 300);
    assert_eq!(proxy.count("bytes_uploaded"), (3 << 20) + 100 * 1024);
}

#[test]
fn downloads_with_length_and_chunked_arrive_whole() {
    let proxy = Proxy::sandboxed("");
    let size = 20 << 20;
    let reply = proxy.get(&format!("/v2/attachment/7?size={size}"));
    assert_eq!((reply.status, reply.body.len(), reply.whole), (200, size, true));
    let reply = proxy.get(&format!("/v2/attachment/7?size={size}&chunked=true"));
    assert_eq!((reply.header("transfer-encoding"), reply.body.len(), reply.whole), ("chunked", size, true));
}

#[test]
fn a_caller_that_expects_100_gets_it_only_if_the_body_is_wanted() {
    let proxy = Proxy::sandboxed(WRITE);
    let mut stream = connect(proxy.address);
    let head = |path| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
        )
    };
    stream.write_all(head(UPLOAD).as_bytes()).expect("a head");
    assert_eq!(Reply::read(&mut stream, false).status, 100);
    stream.write_all(b"body").expect("a body");
    assert!(Reply::read(&mut stream, false).status < 300);

    let mut stream = connect(proxy.address);
    stream.write_all(head("/v2/nothing").as_bytes()).expect("a head");
    assert_eq!(Reply::read(&mut stream, false).status, 404, "no 100 before a refusal");
}

#[test]
fn a_truncated_answer_is_never_a_whole_one() {
    let server = Scripted::start(|mut asked| {
        if asked.head.contains("/v2/devices ") {
            asked.answer("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this");
        } else {
            asked.answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
        }
        Then::Close
    });
    let proxy = Proxy::start(&server.instance(), "", "");
    for path in ["/v2/devices", "/v2/locations"] {
        let reply = proxy.get(path);
        assert_eq!((reply.status, reply.whole), (200, false), "{path}");
    }
}

#[test]
fn a_body_that_drips_does_not_withhold_its_head() {
    let (say, hear) = std::sync::mpsc::channel::<()>();
    let hear = std::sync::Mutex::new(hear);
    let server = Scripted::start(move |mut asked| {
        let status = match asked.head.split(' ').next() {
            Some("PUT") => 401,
            Some("POST") => 403,
            Some("DELETE") => 404,
            _ => 429,
        };
        asked.answer(&format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nRetry-After: 0\r\nContent-Length: 2\r\n\r\n{{"
        ));
        let _ = hear.lock().expect("a lock").recv();
        asked.answer("}");
        Then::Continue
    });
    let rate = "[instances.main.rate]\nconcurrent = 4\nretry-after-max = \"5s\"";
    let proxy = Proxy::start(&server.instance(), WRITE, rate);
    for (status, asked) in
        [(401, "PUT /v2/tag/7"), (403, "POST /v2/organizations"), (404, "DELETE /v2/tag/7"), (429, "GET /v2/devices")]
    {
        let mut stream = connect(proxy.address);
        stream.write_all(format!("{asked} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).expect("a request");
        let mut bytes = [0; 12];
        stream.read_exact(&mut bytes).expect("a head");
        assert_eq!(bytes, format!("HTTP/1.1 {status}").as_bytes());
        say.send(()).expect("an instance that waits");
    }
}

#[test]
fn the_body_of_a_read_is_not_lost_though_it_has_no_length() {
    let (say, hear) = std::sync::mpsc::channel();
    let say = std::sync::Mutex::new(say);
    let server = Scripted::start(move |mut asked| {
        let coding = asked.lines().get("transfer-encoding").cloned().unwrap_or_default().join(",");
        let body = if coding.is_empty() { String::new() } else { read_chunked(asked.stream) };
        say.lock().expect("a lock").send((coding, body)).expect("a test that listens");
        asked.answer(&answer("200 OK", ""));
        Then::Continue
    });
    let proxy = Proxy::start(&server.instance(), WRITE, "");
    for method in ["GET", "HEAD", "DELETE"] {
        let path = if method == "DELETE" { "/v2/tag/7" } else { "/v2/devices" };
        let mut stream = connect(proxy.address);
        let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
        stream.write_all(format!("{head}2\r\n{{}}\r\n0\r\n\r\n").as_bytes()).expect("a request");
        assert_eq!(Reply::read(&mut stream, true).status, 200, "{method}");
        let arrived = hear.recv_timeout(Duration::from_secs(15)).expect("a request");
        assert_eq!(arrived, ("chunked".to_owned(), "{}".to_owned()), "{method}");
    }
}

#[test]
fn a_truncated_upload_never_arrives_as_a_whole_one() {
    let server = Scripted::start(|mut asked| {
        let mut rest = Vec::new();
        let _ = asked.stream.read_to_end(&mut rest);
        assert!(!rest.ends_with(b"0\r\n\r\n"), "the body must not be ended for the caller");
        asked.answer(&answer("200 OK", "{}"));
        Then::Close
    });
    let proxy = Proxy::start(&server.instance(), WRITE, "");
    let mut stream = connect(proxy.address);
    let head = format!("POST {UPLOAD} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    stream.write_all(head.as_bytes()).expect("a part");
    stream.shutdown(std::net::Shutdown::Write).expect("an end");
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all);
    assert!(!String::from_utf8_lossy(&all).starts_with("HTTP/1.1 200"), "{}", String::from_utf8_lossy(&all));
}

#[test]
fn a_caller_that_stops_sending_its_body_gets_408() {
    let server = Scripted::start(|asked| {
        let _ = asked.stream.read(&mut [0; 100]);
        let _ = asked.stream.read(&mut [0; 100]);
        Then::Close
    });
    let proxy = Proxy::start(&server.instance(), WRITE, "[timeouts]\nclient = \"300ms\"");
    let mut stream = connect(proxy.address);
    let head = format!("POST {UPLOAD} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nsome");
    stream.write_all(head.as_bytes()).expect("a part");
    let reply = Reply::read(&mut stream, false);
    assert_eq!((reply.status, reply.code().as_str()), (408, "body-stalled"));
}

#[test]
fn an_instance_that_does_not_answer_costs_504_and_one_that_stops_a_broken_body() {
    let server = Scripted::start(|mut asked| {
        if asked.head.contains("/v2/locations") {
            asked.answer("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this");
        }
        sleep(Duration::from_secs(8));
        Then::Close
    });
    let proxy = Proxy::start(&server.instance(), WRITE, "[timeouts]\nupstream = \"1s\"");
    let begun = Instant::now();
    let late = proxy.get("/v2/devices");
    assert_eq!((late.status, late.code().as_str()), (504, "upstream-timeout"));
    let write = proxy.send("POST", "/v2/organizations", "", b"{}");
    assert_eq!((write.status, write.code().as_str()), (504, "upstream-timeout"));
    let stopped = proxy.get("/v2/locations");
    assert_eq!((stopped.status, stopped.whole), (200, false));
    assert!(begun.elapsed() < Duration::from_secs(16), "{:?}", begun.elapsed());
}

#[test]
fn a_slow_upload_may_take_longer_than_the_time_for_an_answer() {
    let server = Scripted::start(|mut asked| {
        read_body(&asked.head.clone(), asked.stream);
        asked.answer(&answer("200 OK", "{}"));
        Then::Continue
    });
    let proxy = Proxy::start(&server.instance(), WRITE, "[timeouts]\nupstream = \"3s\"");
    let mut stream = connect(proxy.address);
    stream
        .write_all(format!("POST {UPLOAD} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n").as_bytes())
        .expect("a head");
    for _ in 0..10 {
        sleep(Duration::from_millis(400));
        stream.write_all(b"x").expect("an byte");
    }
    assert_eq!(Reply::read(&mut stream, false).status, 200);
}

#[test]
fn a_body_over_the_limit_is_refused_whether_it_says_so_or_not() {
    let proxy = Proxy::start("host = \"sandbox\"", WRITE, "[limits]\nbody = \"1KiB\"");
    let large = proxy.send("POST", "/v2/organizations", "", &[b' '; 2000]);
    assert_eq!((large.status, large.code().as_str()), (413, "body-too-large"));
    let mut stream = connect(proxy.address);
    let mut request =
        b"POST /v2/organizations HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n".to_vec();
    request.extend_from_slice(&[b' '; 2000]);
    request.extend_from_slice(b"\r\n0\r\n\r\n");
    stream.write_all(&request).expect("a request");
    let reply = Reply::read(&mut stream, false);
    assert_eq!((reply.status, reply.code().as_str()), (413, "body-too-large"));
    assert_eq!(proxy.send("POST", "/v2/organizations", "", b"{}").status, 200);
}

#[test]
fn a_download_waits_for_a_slow_reader_instead_of_filling_memory() {
    // The instance can send only what fits into the buffers between it and a caller that does not read.
    let (say, hear) = std::sync::mpsc::channel();
    let say = std::sync::Mutex::new(say);
    let server = Scripted::start(move |asked| {
        let _ = asked.stream.set_write_timeout(Some(Duration::from_millis(700)));
        let _ = asked.stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
        let mut sent = 0usize;
        while let Ok(n) = asked.stream.write(&[b'z'; 65536]) {
            sent += n;
        }
        let _ = say.lock().expect("a lock").send(sent);
        Then::Close
    });
    let proxy = Proxy::start(&server.instance(), "", "");
    let mut stream = connect(proxy.address);
    stream.write_all(b"GET /v2/attachment/7 HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("a request");
    let sent = hear.recv_timeout(Duration::from_secs(15)).expect("the instance gives up");
    assert!(sent < 64 << 20, "{sent} bytes were taken from the instance");
}
