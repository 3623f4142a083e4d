//! The status page: what it shows and to whom, with scripts and without.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use ninjaone_proxy::proxy::authn::key::KeyHash;

use crate::harness::{Proxy, Reply, Scripted, Then, answer, connect, eventually, request};

fn page(admin: SocketAddr) -> String {
    let reply = request(admin, "GET", "/", "", b"");
    assert_eq!((reply.status, reply.header("content-type")), (200, "text/html; charset=utf-8"));
    String::from_utf8(reply.body).expect("text")
}

/// The document without its style and its script.
fn words(admin: SocketAddr) -> String {
    let html = page(admin);
    let (_, body) = html.split_once("<body>").expect("a body");
    body.split_once("<script>").expect("a script").0.to_owned()
}

/// Server-sent events, to be read one by one.
struct Events(TcpStream);

impl Events {
    fn open(admin: SocketAddr) -> Self {
        let mut stream = connect(admin);
        stream.write_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("a request");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("a head");
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).expect("text");
        assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("text/event-stream"), "{head}");
        Self(stream)
    }

    fn line(&mut self) -> Option<String> {
        let (mut line, mut byte) = (Vec::new(), [0]);
        while !line.ends_with(b"\r\n") {
            self.0.read_exact(&mut byte).ok()?;
            line.push(byte[0]);
        }
        String::from_utf8(line).ok()
    }

    /// The next event; `None` at the end.
    fn next(&mut self) -> Option<serde_json::Value> {
        let size = usize::from_str_radix(self.line()?.trim(), 16).expect("a size");
        let mut chunk = vec![0; size + 2];
        self.0.read_exact(&mut chunk).ok()?;
        if size == 0 {
            return None;
        }
        let text = String::from_utf8(chunk).expect("text");
        let data = text.strip_prefix("data: ").and_then(|text| text.strip_suffix("\n\n\r\n")).expect("an event");
        Some(serde_json::from_str(data).expect("JSON"))
    }
}

fn text<'a>(view: &'a serde_json::Value, id: &str) -> &'a str {
    let texts = view["texts"].as_array().expect("texts");
    texts.iter().find(|pair| pair[0] == id).and_then(|pair| pair[1].as_str()).expect("a text")
}

#[test]
fn the_page_shows_everything_without_a_script() {
    let proxy = Proxy::start(
        "host = \"sandbox\"",
        "[listeners.local.callers.reports]\nkey = \"sha256:0000000000000000000000000000000000000000000000000000000000000000\"\n",
        "[listeners.watching]\naddress = \"127.0.0.1:0\"\nmode = \"observe\"\n[learn]\nfile = \"learned.json\"\n",
    );
    eventually("ready", || request(proxy.admin, "GET", "/readyz", "", b"").status == 200);
    assert_eq!(request(proxy.listeners["watching"], "GET", "/v2/devices", "", b"").status, 200);
    assert_eq!(proxy.get("/v2/devices?secret=query").status, 401);
    let words = words(proxy.admin);
    for shown in [
        "<section class=\"tone-warn\" id=\"overview\"",
        "<h2 id=\"headline\">Needs attention</h2>",
        "<p id=\"why\">listeners.watching only observes its rules",
        "mode = &quot;enforce&quot; ends this.</span>",
        "<strong id=\"state\">Ready</strong>",
        "instances.main is a sandbox: all data is invented",
        &format!("http://{}", proxy.address),
        "enforces its rules",
        "<div>reports</div></th>",
        "GET /v2/devices</a>",
        "401 key-missing",
        "send a caller's key as",
        "config.toml",
        env!("CARGO_PKG_VERSION"),
        "<b id=\"refused-total\">1</b>",
    ] {
        assert!(words.contains(shown), "{shown} is missing in\n{words}");
    }
    assert!(!words.contains("secret=query"), "the query is nobody's to see");
}

#[test]
fn the_page_may_load_nothing_and_stand_in_no_frame() {
    let proxy = Proxy::sandboxed("");
    for path in ["/", "/explain?listener=local&method=GET&path=/v2/devices"] {
        let reply = request(proxy.admin, "GET", path, "", b"");
        let policy = reply.header("content-security-policy");
        for directive in ["default-src 'none';", "frame-ancestors 'none'", "connect-src 'self'", "form-action 'self'"] {
            assert!(policy.contains(directive), "{policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!((reply.header("cache-control"), reply.header("referrer-policy")), ("no-store", "no-referrer"));
        assert_eq!(reply.header("x-content-type-options"), "nosniff");
    }
    for (method, path) in [("POST", "/"), ("DELETE", "/events"), ("POST", "/explain?method=GET&path=/v2/devices")] {
        assert_eq!(request(proxy.admin, method, path, "", b"").status, 405, "{method} {path}");
    }
    assert_eq!(request(proxy.admin, "HEAD", "/", "", b"").status, 200);
    assert_eq!(request(proxy.admin, "HEAD", "/events", "", b"").header("content-type"), "text/event-stream");
}

#[test]
fn what_callers_send_is_no_markup_of_the_page() {
    let proxy = Proxy::sandboxed("");
    let evil = "<script>alert(1)</script>";
    assert_eq!(proxy.send("GET", "/v2/devices", &format!("Origin: {evil}\r\n"), b"").status, 403);
    assert_eq!(proxy.get("/v2/\"onfocus=\"alert(1)").status, 400);
    assert_eq!(proxy.get("/v2/%3Cscript%3E").status, 404);
    let before = page(proxy.admin);
    assert!(before.contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "the origin is told");
    assert!(before.contains("/v2/&quot;onfocus=&quot;alert(1)"), "the path is told");
    let asked = "/explain?listener=%3Cscript%3E&method=%3Cb%3E&path=%22%3E%3Cscript%3Ealert(1)%3C/script%3E";
    let explained = request(proxy.admin, "GET", asked, "", b"");
    assert_eq!(explained.status, 400);
    let explained = String::from_utf8(explained.body).expect("text");
    for html in [&before, &explained] {
        assert_eq!(html.matches("<script>").count(), 1, "the page's own");
        assert!(!html.contains("<b>") && !html.contains("\"onfocus"));
    }
    assert!(explained.contains("value=\"&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;\""), "{explained}");
}

#[test]
fn the_page_is_live_by_events() {
    let proxy = Proxy::sandboxed("");
    eventually("ready", || request(proxy.admin, "GET", "/readyz", "", b"").status == 200);
    let mut events = Events::open(proxy.admin);
    let first = events.next().expect("an event at once");
    assert_eq!((&first["tone"], text(&first, "headline")), (&"good".into(), "Fine"));
    assert_eq!(first["tables"][2]["id"], "refusals");
    assert_eq!(first["tables"][2]["rows"].as_array().map(Vec::len), Some(0));
    assert_eq!(proxy.get("/v2/nope").status, 404);
    let begun = Instant::now();
    loop {
        let event = events.next().expect("more events");
        let refusals = &event["tables"][2];
        if refusals["rows"][0][1]["t"] == "GET /v2/nope" && text(&event, "refused-total") == "1" {
            assert_eq!(refusals["rows"][0][0]["t"], "404 operation-unknown");
            assert_eq!(refusals["keys"][0], "operation-unknown | local |  | ");
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "not in time");
    }
    let charted = || {
        let html = words(proxy.admin);
        html.matches("<path class=\"line\" d=\"M").count() >= 2
    };
    eventually("the charts are drawn on the server too", charted);
}

#[test]
fn only_some_pages_are_live_at_a_time() {
    let proxy = Proxy::sandboxed("");
    let mut open: Vec<_> = (0..8).map(|_| Events::open(proxy.admin)).collect();
    let ninth = request(proxy.admin, "GET", "/events", "", b"");
    assert_eq!((ninth.status, ninth.header("retry-after")), (503, "5"));
    assert!(open.iter_mut().all(|events| events.next().is_some()), "the others go on");
    assert_eq!(request(proxy.admin, "GET", "/livez", "", b"").status, 200);
    open.pop();
    eventually("there is room again", || {
        let mut stream = connect(proxy.admin);
        stream.write_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("a request");
        let mut head = [0; 12];
        stream.read_exact(&mut head).expect("a status");
        head.ends_with(b"200")
    });
}

#[test]
fn live_pages_end_with_the_process_and_with_their_listener() {
    let mut proxy = Proxy::sandboxed("");
    let mut left = Events::open(proxy.admin);
    let text = format!(
        "[instances.main]\nhost = \"sandbox\"\n[listeners.local]\naddress = \"{}\"\n[admin]\naddress = \"none\"\n",
        proxy.address
    );
    proxy.rewrite(&text).expect("a reload");
    while left.next().is_some() {}
    proxy.rewrite(&text.replace("none", "127.0.0.1:0")).expect("a reload");
    let mut last = Events::open(proxy.admin);
    assert!(last.next().is_some());
    let begun = Instant::now();
    proxy.shut_down().join().expect("a clean end");
    while last.next().is_some() {}
    assert!(begun.elapsed() < Duration::from_secs(10), "nobody waits for a page");
}

#[test]
fn live_pages_show_that_the_process_drains() {
    let server = Scripted::start(|mut asked| {
        std::thread::sleep(Duration::from_millis(3000));
        asked.answer(&answer("200 OK", "[]"));
        Then::Continue
    });
    let mut proxy = Proxy::start(&server.instance(), "", "");
    let mut busy = connect(proxy.address);
    busy.write_all(b"GET /v2/devices HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("a request");
    eventually("the request arrives", || server.api_requests() == 1);
    let mut events = Events::open(proxy.admin);
    let ended = proxy.shut_down();
    let mut states = Vec::new();
    while let Some(event) = events.next() {
        states.push(text(&event, "state").to_owned());
    }
    assert!(states.contains(&"Draining".to_owned()), "{states:?}");
    assert_eq!(Reply::read(&mut busy, false).status, 200);
    ended.join().expect("a clean end");
}

#[test]
fn the_explorer_says_what_explain_says() {
    let proxy = Proxy::sandboxed("deny = [\"GET /v2/users\"]\n");
    let page = |query: &str| {
        let reply = request(proxy.admin, "GET", &format!("/explain?{query}"), "", b"");
        (reply.status, String::from_utf8(reply.body).expect("text"))
    };
    let (status, html) = page("listener=local&method=get&path=%2Fv2%2Fdevice%2F7%2Fdisks");
    assert_eq!(status, 200);
    for shown in [
        "local: allowed",
        "GET /v2/device/{id}/disks",
        "<option value=\"GET\" selected>",
        "value=\"/v2/device/7/disks\"",
    ] {
        assert!(html.contains(shown), "{shown} is missing in\n{html}");
    }
    let (_, html) = page("listener=&method=GET&path=/v2/users");
    assert!(html.contains("local: refused") && html.contains("remove &quot;GET /v2/users&quot; from deny"), "{html}");
    assert!(page("listener=gone&method=GET&path=/v2/users").1.contains("the configuration has no listener"));
    assert_eq!(page("method=G%20T&path=/v2/users").0, 400);
    for query in ["", "listener=local&method=POST&path="] {
        let (status, html) = page(query);
        for sample in
            ["value=\"/v2/devices\"", "<option value=\"local\" selected>", "<summary>local: allowed</summary>"]
        {
            assert!(status == 200 && html.contains(sample), "{sample} is missing in\n{html}");
        }
    }
    let json =
        |query: &str| request(proxy.admin, "GET", &format!("/explain?{query}"), "Accept: application/json\r\n", b"");
    let told = json("listener=local&method=POST&path=/v2/organizations").json();
    assert_eq!((&told["problem"], &told["told"][0]["open"]), (&serde_json::Value::Null, &false.into()));
    let lines = told["told"][0]["lines"].to_string();
    assert!(lines.contains("403 scope-missing") && lines.contains("add \\\"management\\\" to scopes"), "{lines}");
    assert_eq!((json("method=GET&path=nonsense%20").status, json("").status), (400, 400));
    assert_eq!(proxy.count("api_requests"), 0, "nothing is sent");
}

#[test]
fn a_browser_may_open_the_page_and_other_pages_may_not() {
    let proxy = Proxy::sandboxed("");
    let port = proxy.admin.port();
    let asks = |path: &str, host: &str, fields: &str| {
        let mut stream = connect(proxy.admin);
        let head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n");
        stream.write_all(head.as_bytes()).expect("a request");
        let mut status = [0; 12];
        stream.read_exact(&mut status).expect("a status");
        String::from_utf8_lossy(&status[9..]).parse::<u16>().expect("a status")
    };
    for path in ["/", "/events", "/explain?listener=&method=GET&path=/v2/devices", "/readyz"] {
        for name in ["127.0.0.1", "localhost", "[::1]"] {
            let host = format!("{name}:{port}");
            // Typed or reloaded; a link, the form, EventSource or fetch of the page itself.
            for fields in [
                "Sec-Fetch-Site: none\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\nSec-Fetch-User: ?1\r\n".to_owned(),
                "Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: navigate\r\n".to_owned(),
                format!("Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: cors\r\nOrigin: http://{host}\r\n"),
            ] {
                assert_ne!(asks(path, &host, &fields), 403, "{path} {fields}");
            }
        }
        for fields in [
            "Origin: https://evil.example\r\n",
            "Origin: null\r\n",
            "Origin: http://localhost:8080\r\n",
            "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n",
            "Sec-Fetch-Site: same-site\r\nSec-Fetch-Mode: cors\r\nAccept: text/event-stream\r\n",
            "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: iframe\r\n",
        ] {
            assert_eq!(asks(path, &format!("localhost:{port}"), fields), 403, "{path} {fields}");
        }
        assert_eq!(asks(path, &format!("evil.example:{port}"), ""), 421, "{path}");
    }
}

#[test]
fn the_page_says_why_there_is_no_token_and_what_to_do() {
    let refused = answer("401 Unauthorized", r#"{"error":"invalid_client"}"#);
    let server = Scripted::with_tokens(move |_| refused.clone(), |_| Then::Close);
    let proxy = Proxy::start(&server.instance(), "", "");
    eventually("the failure", || words(proxy.admin).contains("refused the client id or secret"));
    let words = words(proxy.admin);
    for shown in [
        "<section class=\"tone-bad\" id=\"overview\"",
        "<h2 id=\"headline\">Not fine</h2>",
        "<strong id=\"state\">Not ready</strong>",
        "The proxy has no usable token for main (monitoring): requests get 503",
        "<strong>Do this: </strong><span id=\"todo\">copy client id and secret again from Administration",
    ] {
        assert!(words.contains(shown), "{shown} is missing in\n{words}");
    }
}

#[test]
fn the_page_tells_of_a_refused_reload_and_of_an_instance_that_is_down() {
    let down = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let server = Scripted::start(|_| Then::Close);
    let mut proxy = Proxy::start(&server.instance(), "", "");
    assert_eq!(proxy.get("/v2/devices").status, 502);
    let told = words(proxy.admin);
    for shown in [
        "502 upstream-broken",
        "class=\"tone-warn\"",
        "<p id=\"why\">Requests failed in the last minute",
        " doctor</span>",
    ] {
        assert!(told.contains(shown), "{shown} is missing in\n{told}");
    }
    proxy.reconfigure("scopes = [\"nonsense\"]\n", "").expect_err("a mistake");
    let told = words(proxy.admin);
    assert!(
        told.contains("The last change of the configuration was refused") && told.contains("unknown scope"),
        "{told}"
    );
    let text = format!(
        "[instances.main]\nhost = \"http://{down}\"\nclient-id = \"sandbox\"\nclient-secret = {{ file = \"secret\" }}\n\
         [listeners.local]\naddress = \"{}\"\n[admin]\naddress = \"127.0.0.1:0\"\n",
        proxy.address
    );
    proxy.rewrite(&text).expect("a reload");
    let told = || words(proxy.admin);
    eventually("no token", || {
        told().contains("the token endpoint cannot be reached") && told().contains("config.toml doctor (it tries")
    });
    assert!(told().contains(&down.to_string()) && !told().contains("was refused, the one before"));
}

/// The texts of the rows of a table, as the script gets them.
fn rows(admin: SocketAddr, id: &str) -> Vec<Vec<String>> {
    let view = Events::open(admin).next().expect("an event");
    let tables = view["tables"].as_array().expect("tables");
    let table = tables.iter().find(|table| table["id"] == id).expect("a table");
    let cells = |row: &serde_json::Value| {
        let cells = row.as_array().expect("cells").iter();
        cells.map(|cell| cell["t"].as_str().expect("a text").to_owned()).collect()
    };
    table["rows"].as_array().expect("rows").iter().map(cells).collect()
}

#[test]
fn refusals_are_grouped_by_cause_and_counted_for_each_caller() {
    let key = |name: &str| KeyHash::of(format!("{name}-key").as_bytes());
    let callers =
        ["desk", "reports"].map(|name| format!("[listeners.local.callers.{name}]\nkey = \"{}\"\n", key(name)));
    let proxy = Proxy::sandboxed(&format!("deny = [\"GET /v2/users\"]\n{}", callers.concat()));
    let send = |caller: &str, path: &str| proxy.send("GET", path, &format!("X-Api-Key: {caller}-key\r\n"), b"").status;
    assert_eq!((send("desk", "/v2/users"), send("desk", "/v2/groups"), send("reports", "/v2/users")), (403, 200, 403));
    assert_eq!((send("reports", "/v2/nope/1?secret=query"), send("reports", "/v2/nope/2")), (404, 404));
    assert_eq!((send("desk", "/v2/users"), proxy.get("/v2/users").status), (403, 401));
    eventually("all are counted", || rows(proxy.admin, "listeners")[0][6] == "7");
    let groups: Vec<_> = rows(proxy.admin, "refusals").iter().map(|row| row[..6].join(" ")).collect();
    assert_eq!(
        groups,
        [
            "401 key-missing GET /v2/users local – caller 1",
            "403 rule-denied GET /v2/users local desk caller 2",
            "404 operation-unknown GET /v2/nope/2 and others local reports caller 2",
            "403 rule-denied GET /v2/users local reports caller 1",
        ],
        "the newest first"
    );
    let counts: Vec<_> =
        rows(proxy.admin, "callers").iter().map(|row| [&*row[0], &*row[5], &*row[6]].join(" ")).collect();
    assert_eq!(counts, ["desk 3 2", "reports 3 3"]);
    let html = words(proxy.admin);
    let (_, desk) =
        html.split_once("<tr role=\"row\" data-key=\"rule-denied | local | desk | GET /v2/users\">").expect("a row");
    let (desk, _) = desk.split_once("</tr>").expect("its end");
    assert!(desk.contains("<details><summary>Why, and what to do</summary><dl><dt>Why</dt><dd>"), "{desk}");
    assert!(desk.contains(", 2 times</dt><dd class=\"code\"><a href=\"/explain?listener=local&amp;"), "{desk}");
    assert!(desk.contains("<td role=\"cell\" class=\"number\" data-label=\"Count\"><div>2</div>"), "{desk}");
    for (place, head) in ["Count", "First", "Last", "Refused"].into_iter().enumerate() {
        assert!(html.contains(&format!("class=\"number\">{head}</th>")), "{place}: {head} is above numbers");
    }
    assert!(!html.contains("secret=query"));
}

#[test]
fn the_page_is_fine_whatever_callers_do_wrong() {
    let proxy = Proxy::sandboxed("");
    eventually("ready", || request(proxy.admin, "GET", "/readyz", "", b"").status == 200);
    assert_eq!(proxy.get("/v2/nope").status, 404);
    let html = words(proxy.admin);
    for shown in [
        "<section class=\"tone-good\" id=\"overview\"",
        "<span id=\"symbol\" aria-hidden=\"true\">✓</span>",
        "<h2 id=\"headline\">Fine</h2>",
        "Every token is usable, and nothing needs your attention.",
        "<li class=\"good\">instances.main is a sandbox",
        "<div class=\"minutes\"><span>−5 min</span><span>−4</span><span>−3</span><span>−2</span><span>−1</span><span>now</span></div>",
    ] {
        assert!(html.contains(shown), "{shown} is missing in\n{html}");
    }
    assert!(html.contains("<span id=\"todo\"></span>"), "nothing to do");
}

#[test]
fn a_flood_of_refusals_leaves_the_page_short() {
    let proxy = Proxy::sandboxed("");
    for number in 0..70 {
        assert_eq!(proxy.get(&format!("/v2/nope/{number}/{}", "x".repeat(2000))).status, 404);
    }
    let html = words(proxy.admin);
    assert_eq!(html.matches("404 operation-unknown").count(), 1, "one cause");
    assert!(html.contains("/v2/nope/69/") && html.contains("/v2/nope/65/") && !html.contains("/v2/nope/64/"));
    assert!(!html.contains(&"x".repeat(1100)) && html.contains("data-label=\"Count\"><div>70</div>"), "{html}");
    assert!(html.len() < 64 * 1024, "{} bytes", html.len());
}
