//! Another configuration without a restart: taken as a whole between two requests, or not at all.

mod mistakes;
#[cfg(unix)]
mod process;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use ninjaone_proxy::proxy::authn::key::KeyHash;

use crate::harness::{PATIENCE, Proxy, Reply, Scripted, Then, answer, connect, eventually, grant, request};
use crate::watch::{SCRIPTED_TOKEN, SECRET};

const DENY: &str = "deny = [\"GET /v2/organizations\"]";

/// One request on a connection that is kept.
pub(crate) fn ask(stream: &mut TcpStream, path: &str) -> Reply {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("a request");
    Reply::read(stream, false)
}

/// The value of a series, 0 if it is not there.
pub(crate) fn metric(admin: SocketAddr, series: &str) -> f64 {
    let text = String::from_utf8(request(admin, "GET", "/metrics", "", b"").body).expect("text");
    let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok());
    value.unwrap_or_default()
}

fn is_closed(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_err()
}

/// What is answered at an address whose listener may just go: the system resets what waits there to be accepted.
fn status_if_any(address: SocketAddr) -> Option<u16> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(b"GET /v2/organizations HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.split(' ').nth(1)?.parse().ok()
}

/// A port that nobody has, for now.
fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("an address").port()
}

/// A server whose answers tell its name, but come only when the test says so.
fn on_command(name: &'static str) -> (Scripted, mpsc::Receiver<()>, mpsc::Sender<()>) {
    let (arrive, arrived) = mpsc::channel();
    let (go, gone) = mpsc::channel();
    let gone = Mutex::new(gone);
    let server = Scripted::start(move |mut asked| {
        let _ = arrive.send(());
        let _ = gone.lock().expect("a lock").recv_timeout(PATIENCE);
        asked.answer(&answer("200 OK", &format!("{name:?}")));
        Then::Continue
    });
    (server, arrived, go)
}

#[test]
fn a_kept_connection_sees_other_rules_on_its_next_request() {
    let mut proxy = Proxy::sandboxed("");
    let mut stream = connect(proxy.address);
    assert_eq!(ask(&mut stream, "/v2/organizations").status, 200);
    let series =
        "ninjaone_proxy_requests_total{listener=\"local\",operation=\"GET /v2/organizations\",status_class=\"2xx\"}";
    eventually("the count", || metric(proxy.admin, series) == 1.0);
    proxy.reconfigure(DENY, "").expect("a reload");
    assert_eq!(ask(&mut stream, "/v2/organizations").code(), "rule-denied");
    assert_eq!(ask(&mut stream, "/v2/devices").status, 200);
    assert_eq!(metric(proxy.admin, series), 1.0, "counters do not go backwards");
    proxy.reconfigure("", "").expect("a reload");
    assert_eq!(ask(&mut stream, "/v2/organizations").status, 200);
    assert_eq!(metric(proxy.admin, "ninjaone_proxy_config_reloads_total{result=\"applied\"}"), 2.0);
    assert_eq!(proxy.count("token_requests"), 1);
}

#[test]
fn a_request_in_flight_ends_as_it_began() {
    let ((first, arrived, go), (second, _, go_on)) = (on_command("first"), on_command("second"));
    let mut proxy = Proxy::start(&first.instance(), "", "");
    let mut stream = connect(proxy.address);
    write!(stream, "GET /v2/groups HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("a request");
    arrived.recv_timeout(PATIENCE).expect("a request on its way");
    let text = format!(
        "[instances.main]\n{}\nclient-id = \"sandbox\"\nclient-secret = {{ file = \"secret\" }}\n\
         [listeners.local]\naddress = \"127.0.0.1:0\"\ndeny = [\"GET /v2/organizations\"]\n\
         [admin]\naddress = \"127.0.0.1:0\"\n",
        second.instance()
    );
    proxy.rewrite(&text).expect("a reload");
    go.send(()).expect("a server");
    let reply = Reply::read(&mut stream, false);
    assert_eq!((reply.status, reply.json()), (200, "first".into()));
    go_on.send(()).expect("a server");
    assert_eq!(ask(&mut stream, "/v2/groups").json(), "second");
    assert_eq!((first.api_requests(), second.api_requests()), (1, 1));
}

#[test]
fn listeners_come_move_and_go_and_the_others_keep_their_connections() {
    let mut proxy = Proxy::sandboxed("");
    let mut stream = connect(proxy.address);
    assert_eq!(ask(&mut stream, "/v2/organizations").status, 200);
    proxy.reconfigure("", "[listeners.other]\naddress = \"127.0.0.1:0\"").expect("a new listener");
    let came = proxy.listeners["other"];
    assert_eq!(request(came, "GET", "/v2/organizations", "", b"").status, 200);
    let port = free_port();
    proxy.reconfigure("", &format!("[listeners.other]\naddress = \"127.0.0.1:{port}\"\n{DENY}")).expect("a move");
    let moved = proxy.listeners["other"];
    assert_eq!(moved.port(), port);
    assert_eq!(request(moved, "GET", "/v2/organizations", "", b"").code(), "rule-denied");
    eventually("the old place is left", || is_closed(came));
    // The same place under another name, and, where one socket may follow another so, for all addresses of this machine.
    proxy.reconfigure("", &format!("[listeners.another]\naddress = \"127.0.0.1:{port}\"")).expect("a name");
    assert_eq!(request(moved, "GET", "/v2/organizations", "", b"").status, 200);
    if cfg!(unix) {
        let open = format!(
            "[listeners.another]\naddress = \"0.0.0.0:{port}\"\ncleartext = true\n\
             [listeners.another.callers.a]\nkey = \"{}\"",
            KeyHash::of(b"a-key-of-a-test")
        );
        proxy.reconfigure("", &open).expect("a wider address with the same port");
        eventually("the wider one alone", || status_if_any(moved) == Some(401));
    }
    proxy.reconfigure("", "").expect("one less");
    eventually("it is gone", || is_closed(moved));
    assert_eq!(ask(&mut stream, "/v2/organizations").status, 200);
    assert_eq!(proxy.listeners["local"], proxy.address);
}

#[test]
fn a_listener_that_goes_lets_its_requests_end() {
    let (server, arrived, go) = on_command("late");
    let other = "[listeners.other]\naddress = \"127.0.0.1:0\"";
    let mut proxy = Proxy::start(&server.instance(), "", other);
    let mut stream = connect(proxy.listeners["other"]);
    write!(stream, "GET /v2/groups HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("a request");
    arrived.recv_timeout(PATIENCE).expect("a request on its way");
    let gone = proxy.listeners["other"];
    proxy.reconfigure("", "").expect("a reload");
    eventually("nobody else gets in", || is_closed(gone));
    go.send(()).expect("a server");
    let reply = Reply::read(&mut stream, false);
    assert_eq!((reply.status, reply.header("connection")), (200, "close"));
    assert_eq!(stream.read(&mut [0]).expect("an end"), 0);
}

#[test]
fn listeners_can_change_places() {
    let two = |one: u16, other: u16| {
        format!(
            "[listeners.one]\naddress = \"127.0.0.1:{one}\"\n{DENY}\n[listeners.other]\naddress = \"127.0.0.1:{other}\""
        )
    };
    let mut proxy = Proxy::sandboxed("");
    let ports = (free_port(), free_port());
    proxy.reconfigure("", &two(ports.0, ports.1)).expect("two listeners");
    let status = |port: u16| request(([127, 0, 0, 1], port).into(), "GET", "/v2/organizations", "", b"").status;
    assert_eq!((status(ports.0), status(ports.1)), (403, 200));
    proxy.reconfigure("", &two(ports.1, ports.0)).expect("the other way round");
    assert_eq!((status(ports.0), status(ports.1)), (200, 403));
}

#[test]
fn the_admin_listener_moves_too() {
    let mut proxy = Proxy::sandboxed("");
    let (old, port) = (proxy.admin, free_port());
    let text = std::fs::read_to_string(proxy.folder().join("config.toml")).expect("a file");
    let admin = "[admin]\naddress = \"127.0.0.1:";
    proxy.rewrite(&text.replace(&format!("{admin}0\""), &format!("{admin}{port}\""))).expect("a move");
    assert_eq!(proxy.admin.port(), port);
    // The first token may still be on its way.
    eventually("ready", || request(proxy.admin, "GET", "/readyz", "", b"").status == 200);
    eventually("the old place is left", || is_closed(old));
    proxy.rewrite(&text.replace(&format!("{admin}0\""), "[admin]\naddress = \"none\"")).expect("none");
    let moved = proxy.admin;
    eventually("there is none", || is_closed(moved));
}

#[test]
fn more_connections_are_let_in_when_the_limit_is_raised_and_fewer_when_it_is_lowered() {
    let limit = |connections: u32| format!("[limits]\nconnections = {connections}");
    let mut proxy = Proxy::start("host = \"sandbox\"", "", &limit(1));
    let mut first = connect(proxy.address);
    assert_eq!(ask(&mut first, "/v2/organizations").status, 200);
    // It is taken from the queue, and waits for a slot over the reload.
    let mut second = connect(proxy.address);
    write!(second, "GET /v2/organizations HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("a request");
    thread::sleep(std::time::Duration::from_millis(100));
    proxy.reconfigure("", &limit(2)).expect("a reload");
    assert_eq!(Reply::read(&mut second, false).status, 200);
    proxy.reconfigure("", &limit(1)).expect("a reload");
    assert_eq!(ask(&mut first, "/v2/organizations").status, 200, "those there are stay");
    drop((first, second));
    let mut third = connect(proxy.address);
    assert_eq!(ask(&mut third, "/v2/organizations").status, 200);
    let mut fourth = connect(proxy.address);
    write!(fourth, "GET /v2/organizations HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("a request");
    fourth.set_read_timeout(Some(std::time::Duration::from_millis(300))).expect("a timeout");
    assert!(fourth.read(&mut [0]).is_err(), "one at a time");
}

/// A token server that takes this secret only, and an API that tells the token that it got.
fn strict(accepted: &Arc<Mutex<String>>) -> Scripted {
    let accepted = Arc::clone(accepted);
    Scripted::with_token_script(
        move |mut asked| {
            let good = asked.body.contains(&format!("client_secret={}", accepted.lock().expect("a lock")));
            let text = if good {
                grant(&format!("{SCRIPTED_TOKEN}{}", asked.number))
            } else {
                answer("401 Unauthorized", r#"{"error":"invalid_client"}"#)
            };
            asked.answer(&text);
            Then::Continue
        },
        |mut asked| {
            let token = asked.lines()["authorization"].join(",");
            asked.answer(&answer("200 OK", &format!("{token:?}")));
            Then::Continue
        },
    )
}

#[test]
fn reloads_ask_for_tokens_only_where_something_has_changed() {
    let accepted = Arc::new(Mutex::new(SECRET.to_owned()));
    let server = strict(&accepted);
    let mut proxy = Proxy::start(&server.instance(), "", "");
    let first = proxy.get("/v2/groups").body;
    for number in 0..30 {
        proxy.reconfigure(&format!("deny = [\"GET /v2/device/{number}\"]"), "").expect("a reload");
        assert_eq!(proxy.get("/v2/groups").body, first);
    }
    assert_eq!(server.token_requests(), 1);
    // The same instance and the same credentials, by another timeout and from another file.
    let text = |secret: &str, rest: &str| {
        format!(
            "[instances.main]\n{}\nclient-id = \"sandbox\"\nclient-secret = {{ file = {secret:?} }}\n\
             [listeners.local]\naddress = \"127.0.0.1:0\"\n{rest}\n[admin]\naddress = \"127.0.0.1:0\"\n",
            server.instance()
        )
    };
    proxy.rewrite(&text("secret", "[timeouts]\ntoken = \"9s\"")).expect("a reload");
    std::fs::write(proxy.folder().join("copy"), SECRET).expect("a file");
    proxy.rewrite(&text("copy", "")).expect("a reload");
    assert_eq!(proxy.get("/v2/groups").body, first);
    assert_eq!(server.token_requests(), 1);
    // More scopes are another token; so are other credentials.
    proxy.rewrite(&text("copy", "scopes = [\"monitoring\", \"control\"]")).expect("a reload");
    assert_ne!(proxy.get("/v2/groups").body, first);
    assert_eq!(server.token_requests(), 2);
    *accepted.lock().expect("a lock") = "another-secret".to_owned();
    std::fs::write(proxy.folder().join("other"), "another-secret").expect("a file");
    proxy.rewrite(&text("other", "")).expect("a reload");
    let third = proxy.get("/v2/groups");
    assert!(third.status == 200 && third.body != first, "{third:?}");
    assert_eq!(server.token_requests(), 3);
}

#[test]
fn local_tokens_outlast_a_reload_but_not_the_key_that_they_were_given_for() {
    let caller = |name: &str, key: &str| {
        format!("[listeners.local.callers.{name}]\nkey = \"{}\"\n", KeyHash::of(key.as_bytes()))
    };
    let mut proxy = Proxy::sandboxed(&caller("reports", "one"));
    let form = b"grant_type=client_credentials&client_id=reports&client_secret=one";
    let kind = "Content-Type: application/x-www-form-urlencoded\r\n";
    let granted = proxy.send("POST", "/ws/oauth/token", kind, form).json();
    let header = format!("Authorization: Bearer {}\r\n", granted["access_token"].as_str().expect("a token"));
    let status = |proxy: &Proxy| proxy.send("GET", "/v2/organizations", &header, b"").status;
    assert_eq!(status(&proxy), 200);
    // Somebody who may nothing takes its place in the list.
    let nobody = format!("{}groups = [\"none\"]\n", caller("a", "two"));
    proxy.reconfigure(&format!("{nobody}{}", caller("reports", "one")), "").expect("a reload");
    assert_eq!(status(&proxy), 200);
    proxy.reconfigure(&nobody, "").expect("a reload");
    assert_eq!(status(&proxy), 401, "its caller is gone");
    proxy.reconfigure(&format!("{nobody}{}", caller("reports", "three")), "").expect("a reload");
    assert_eq!(status(&proxy), 401, "its key is gone");
    proxy.reconfigure(&format!("{nobody}{}", caller("reports", "one")), "").expect("a reload");
    assert_eq!(status(&proxy), 401, "its caller is back, and got no new token");
    let granted = proxy.send("POST", "/ws/oauth/token", kind, form).json();
    let header = format!("Authorization: Bearer {}\r\n", granted["access_token"].as_str().expect("a token"));
    assert_eq!(proxy.send("GET", "/v2/organizations", &header, b"").status, 200, "a new one is good");
}

#[test]
fn what_was_learned_outlasts_a_reload() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("used.json");
    let learn = format!("[learn]\nfile = {file:?}");
    let mut proxy = Proxy::start("host = \"sandbox\"", "mode = \"observe\"", &learn);
    assert_eq!(proxy.get("/v2/organizations").status, 200);
    proxy.reconfigure("mode = \"observe\"\ndeny = [\"GET /v2/devices\"]", &learn).expect("a reload");
    assert_eq!(proxy.get("/v2/organizations").status, 200);
    let other = folder.path().join("other.json");
    proxy.reconfigure("mode = \"observe\"", &format!("[learn]\nfile = {other:?}")).expect("a reload");
    assert_eq!(proxy.get("/v2/organizations").status, 200);
    proxy.reconfigure("", "").expect("a reload");
    assert_eq!(proxy.get("/v2/organizations").status, 200);
    proxy.shut_down().join().expect("an end");
    let count = |file: &std::path::Path| {
        let used = ninjaone_proxy::observe::usage::read(file).expect("a record");
        used.values().map(|count| count.requests).collect::<Vec<_>>()
    };
    assert_eq!((count(&file), count(&other)), (vec![2], vec![1]));
}

#[test]
fn no_request_fails_while_the_configuration_changes_again_and_again() {
    let mut proxy = Proxy::sandboxed("");
    let (address, over) = (proxy.address, AtomicBool::new(false));
    let served = thread::scope(|scope| {
        let callers: Vec<_> = (0..3)
            .map(|number| {
                let over = &over;
                scope.spawn(move || {
                    let (mut served, mut stream) = (0, connect(address));
                    while !over.load(Ordering::SeqCst) {
                        if number == 0 {
                            stream = connect(address);
                        }
                        let reply = ask(&mut stream, "/v2/organizations");
                        assert!(reply.status == 200 && reply.whole, "{reply:?}");
                        served += 1;
                    }
                    served
                })
            })
            .collect();
        for number in 0..40 {
            let other = if number % 3 == 0 { "[listeners.other]\naddress = \"127.0.0.1:0\"" } else { "" };
            let listener = format!("deny = [\"GET /v2/device/{number}\"]\nnames = [\"name{number}\"]");
            proxy.reconfigure(&listener, other).expect("a reload");
        }
        over.store(true, Ordering::SeqCst);
        callers.into_iter().map(|caller| caller.join().expect("no failure")).sum::<u32>()
    });
    assert!(served > 40, "{served} requests");
    assert_eq!(proxy.count("token_requests"), 1);
}
