//! The proxy never calls itself: what leads back to it is refused beforehand, and what comes back all the same ends there.

use std::io::copy;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::command_line::folder;
use crate::harness::{Ninja, Proxy, Scripted, Then, answer, eventually, grant, request, run_binary};
use crate::reload::metric;
use crate::watch::SECRET;

const FIELD: &str = "ninjaone-proxy-loop";
const CREDENTIALS: &str = "client-id = \"sandbox\"\nclient-secret = { file = \"secret\" }";
const WITHOUT_END: &str = "every request would come back to the proxy without end";

/// A port that leads somewhere, which can change: as a name does.
struct Turnout {
    address: SocketAddr,
    to: Arc<Mutex<SocketAddr>>,
    connections: Arc<AtomicUsize>,
}

impl Turnout {
    fn to(to: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let (to, connections) = (Arc::new(Mutex::new(to)), Arc::new(AtomicUsize::new(0)));
        let (target, count) = (Arc::clone(&to), Arc::clone(&connections));
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let there = *target.lock().expect("a lock");
                // A loop without an end shall fail, not fill the machine.
                if count.fetch_add(1, Ordering::SeqCst) > 200 {
                    continue;
                }
                thread::spawn(move || TcpStream::connect(there).map(|there| join(&stream, &there)));
            }
        });
        Self { address, to, connections }
    }

    fn lead(&self, to: SocketAddr) {
        *self.to.lock().expect("a lock") = to;
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn join(one: &TcpStream, other: &TcpStream) {
    let pass = |mut from: TcpStream, mut into: TcpStream| {
        let _ = copy(&mut from, &mut into);
        let _ = into.shutdown(Shutdown::Write);
    };
    let (from, into) = (one.try_clone().expect("a socket"), other.try_clone().expect("a socket"));
    let up = thread::spawn(move || pass(from, into));
    pass(other.try_clone().expect("a socket"), one.try_clone().expect("a socket"));
    let _ = up.join();
}

/// A configuration with this instance in front of the listener that is there.
fn with_instance(instance: &str) -> String {
    format!(
        "[instances.main]\n{instance}\n{CREDENTIALS}\n[listeners.local]\naddress = \"127.0.0.1:0\"\n\
         [admin]\naddress = \"127.0.0.1:0\"\n"
    )
}

fn requests(proxy: &Proxy, class: &str) -> f64 {
    let of = |operation: &str| {
        format!(
            "ninjaone_proxy_requests_total{{listener=\"local\",operation=\"{operation}\",status_class=\"{class}\"}}"
        )
    };
    metric(proxy.admin, &of("GET /v2/organizations")) + metric(proxy.admin, &of("none"))
}

#[test]
fn an_instance_that_is_this_proxy_is_refused_by_a_reload_in_every_spelling() {
    let mut proxy = Proxy::sandboxed("");
    let (port, admin) = (proxy.address.port(), proxy.admin.port());
    for (instance, listener) in [
        (format!("host = \"http://127.0.0.1:{port}\""), "listeners.local"),
        (format!("host = \"http://localhost:{port}\""), "listeners.local"),
        (format!("host = \"https://[::ffff:127.0.0.1]:{port}\""), "listeners.local"),
        (format!("host = \"https://0.0.0.0:{port}\""), "listeners.local"),
        (format!("host = \"https://eu.ninjarmm.com:{port}\"\naddresses = [\"127.0.0.1\"]"), "listeners.local"),
        (format!("host = \"https://eu.ninjarmm.com\"\nproxy = \"http://localhost:{port}\""), "listeners.local"),
        (format!("host = \"http://127.0.0.1:{admin}\""), "admin"),
    ] {
        let said = proxy.rewrite(&with_instance(&instance)).expect_err("a loop");
        for part in
            [WITHOUT_END, &format!("where {listener} of this proxy listens"), "instances.main.", "[instances.main]"]
        {
            assert!(said.contains(part), "{part} is not in {said}");
        }
    }
    assert_eq!(proxy.get("/v2/organizations").status, 200, "the one before is in force");
}

#[test]
fn check_start_and_doctor_say_that_an_instance_is_this_proxy_and_end() {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port").local_addr().expect("an address").port();
    let text = with_instance(&format!("host = \"http://localhost:{port}\""))
        .replace("address = \"127.0.0.1:0\"\n[admin]", &format!("address = \"127.0.0.1:{port}\"\n[admin]"));
    let folder = folder(&text);
    std::fs::write(folder.path().join("secret"), SECRET).expect("a file");
    for command in [&["check"][..], &["run"]] {
        let (code, _, said) = run_binary(folder.path(), command, &[]);
        assert_eq!(code, 78, "{command:?}: {said}");
        let begin = format!(
            "config.toml:2:8: instances.main.host: host leads to localhost (127.0.0.1:{port}), where listeners.local of this proxy listens (127.0.0.1:{port}): {WITHOUT_END}"
        );
        assert!(said.contains(&begin) && said.contains("write the host of NinjaOne in [instances.main]"), "{said}");
    }
    let (code, said, _) = run_binary(folder.path(), &["doctor"], &[]);
    assert_eq!(code, 1, "{said}");
    for line in ["failed   loop", "skipped  tcp", "skipped  scope monitoring", "skipped  read"] {
        assert!(said.contains(line), "{line} is not in {said}");
    }
}

#[test]
fn a_name_that_cannot_be_looked_up_yet_is_no_mistake() {
    let folder = folder(&with_instance("host = \"instance.invalid\""));
    std::fs::write(folder.path().join("secret"), SECRET).expect("a file");
    assert_eq!(run_binary(folder.path(), &["check"], &[]).0, 0);
}

#[test]
fn a_request_that_comes_back_after_the_name_has_changed_ends_at_once() {
    let ninja = Ninja::start(|_| ());
    let turnout = Turnout::to(ninja.address);
    let proxy = Proxy::start(&format!("host = \"http://{}\"", turnout.address), "", "");
    assert_eq!(proxy.get("/v2/devices").status, 200);
    let before = turnout.connections();
    turnout.lead(proxy.address);
    // The connections that are there still lead to the instance.
    drop(ninja);
    let reply = proxy.get("/v2/organizations");
    assert_eq!((reply.status, reply.code_of_problem().as_str()), (508, "loop-detected"), "{reply:?}");
    let detail = reply.json()["detail"].as_str().expect("words").to_owned();
    assert!(detail.contains("came back to the proxy itself") && detail.contains("addresses = [\"IP\"]"), "{detail}");
    assert!(turnout.connections() - before <= 2, "{}", turnout.connections());
    eventually("both are counted", || requests(&proxy, "5xx") == 2.0);
}

#[test]
fn a_token_request_that_comes_back_is_a_loop_and_the_caller_is_told() {
    let turnout = Turnout::to(([127, 0, 0, 1], 9).into());
    let proxy = Proxy::start(&format!("host = \"http://{}\"", turnout.address), "", "");
    turnout.lead(proxy.address);
    eventually("the loop is told", || {
        let reply = proxy.get("/v2/organizations");
        reply.status == 508 && reply.code() == "loop-detected"
    });
    let ready = request(proxy.admin, "GET", "/readyz", "", b"");
    assert_eq!(ready.status, 503, "{ready:?}");
}

#[test]
fn two_proxies_that_lead_to_each_other_are_caught_in_the_first_round() {
    let mut one = Proxy::sandboxed("");
    let other = Proxy::start(&format!("host = \"http://{}\"", one.address), "", "");
    one.rewrite(&with_instance(&format!("host = \"http://{}\"", other.address))).expect("another process's listener");
    let begun = (requests(&one, "5xx"), requests(&other, "5xx"));
    let reply = one.get("/v2/organizations");
    assert_eq!((reply.status, reply.code_of_problem().as_str()), (508, "loop-detected"), "{reply:?}");
    eventually("all are counted", || requests(&one, "5xx") - begun.0 == 2.0);
    eventually("all are counted", || requests(&other, "5xx") - begun.1 == 1.0);
}

#[test]
fn every_request_up_has_the_mark_and_every_listener_refuses_its_own() {
    let heads = Arc::new(Mutex::new(Vec::new()));
    let (token, api) = (Arc::clone(&heads), Arc::clone(&heads));
    let server = Scripted::with_token_script(
        move |mut asked| {
            token.lock().expect("a lock").push(asked.lines());
            asked.answer(&grant("scripted_token_0"));
            Then::Continue
        },
        move |mut asked| {
            api.lock().expect("a lock").push(asked.lines());
            asked.answer(&answer("200 OK", "[]"));
            Then::Continue
        },
    );
    let proxy = Proxy::start(&server.instance(), "", "[probes]\naddress = \"127.0.0.1:0\"");
    assert_eq!(proxy.get("/v2/devices").status, 200);
    let passed_on = format!("{FIELD}: other-1 , other2\r\n{FIELD}: \"no mark\"\r\nConnection: {FIELD}\r\n");
    assert_eq!(proxy.send("GET", "/v2/devices", &format!("{FIELD}: other-1 ,other2\r\n"), b"").status, 200);
    // A caller that would have the field taken away takes away what it sent itself.
    assert_eq!(proxy.send("GET", "/v2/devices", &passed_on, b"").status, 200);
    let marks: Vec<_> = heads.lock().expect("a lock").iter().map(|lines| lines[FIELD].clone()).collect();
    let [one] = &marks[0][..] else { panic!("{marks:?}") };
    assert!(one.len() == 32 && one.bytes().all(|byte| byte.is_ascii_hexdigit()), "{marks:?}");
    let others = format!("other-1, other2, {one}");
    assert_eq!(marks, [&[one.as_str()][..], &[one], &[&others], &[one]], "token, without, with, and taken away");

    let own = format!("{FIELD}: {one}\r\n");
    for (address, method, path, more) in [
        (proxy.address, "GET", "/v2/devices", ""),
        (proxy.address, "POST", "/v2/device/7/reboot/NORMAL", ""),
        (proxy.address, "POST", "/ws/oauth/token", ""),
        (proxy.address, "GET", "/nothing", "Origin: https://evil.example\r\n"),
        (proxy.admin, "GET", "/readyz", ""),
        (proxy.probes.expect("a listener"), "GET", "/livez", ""),
    ] {
        let reply = request(address, method, path, &format!("{own}{more}"), b"");
        assert_eq!((reply.status, reply.code_of_problem().as_str()), (508, "loop-detected"), "{path}: {reply:?}");
        assert!(reply.header("proxy-status").contains("error=proxy_loop_detected"), "{reply:?}");
    }
    let many = format!("{FIELD}: 1,2,3,4\r\n{FIELD}: 5,6,7,8\r\n");
    assert_eq!(proxy.send("GET", "/v2/devices", &many, b"").code(), "loop-detected");
    assert_eq!(heads.lock().expect("a lock").len(), 4, "nothing of it went up");
}

#[test]
fn a_request_that_is_sent_again_has_the_mark_once() {
    let heads = Arc::new(Mutex::new(Vec::new()));
    let api = Arc::clone(&heads);
    let server = Scripted::start(move |mut asked| {
        api.lock().expect("a lock").push(asked.lines());
        let refused = asked.number == 0;
        let body = r#"{"error":"not_authenticated","error_code":10}"#;
        asked.answer(&if refused { answer("401 Unauthorized", body) } else { answer("200 OK", "[]") });
        Then::Continue
    });
    let proxy = Proxy::start(&server.instance(), "", "");
    assert_eq!(proxy.send("GET", "/v2/devices", &format!("{FIELD}: other\r\n"), b"").status, 200);
    let heads = heads.lock().expect("a lock");
    let marks: Vec<_> = heads.iter().map(|lines| &lines[FIELD]).collect();
    assert_eq!((marks.len(), marks[0].len()), (2, 1));
    assert!(marks[0] == marks[1] && marks[0][0].starts_with("other, "), "{marks:?}");
}

#[test]
fn addresses_are_connected_to_in_the_place_of_those_of_the_name() {
    let server = Scripted::start(|mut asked| {
        let host = asked.lines()["host"].join(",");
        asked.answer(&answer("200 OK", &format!("{host:?}")));
        Then::Continue
    });
    let port = server.address.port();
    // The first address answers nobody, and the name would be IPv6 first on many machines.
    let instance = format!("host = \"http://localhost:{port}\"\naddresses = [\"127.0.0.9\", \"127.0.0.1\"]");
    let mut proxy = Proxy::start(&instance, "", "");
    assert_eq!(proxy.get("/v2/devices").json(), format!("localhost:{port}"));
    // Where there is nobody, nobody else is asked.
    let nobody = format!("host = \"http://localhost:{port}\"\naddresses = [\"127.0.0.9\"]");
    proxy.rewrite(&with_instance(&nobody)).expect("a reload");
    let reply = proxy.get("/v2/devices");
    assert!([502, 503].contains(&reply.status), "{reply:?}");
}

#[test]
fn addresses_that_cannot_be_are_told_with_what_to_write() {
    let check = |instance: &str, environment: &[(&str, &str)]| {
        let folder = folder(&with_instance(instance));
        std::fs::write(folder.path().join("secret"), SECRET).expect("a file");
        let (code, said, errors) = run_binary(folder.path(), &["check"], environment);
        (code, said + &errors)
    };
    let proxy = [("HTTPS_PROXY", "http://proxy.invalid:3128")];
    for (instance, environment, part) in [
        (
            "host = \"eu\"\naddresses = [\"198.51.100.7:443\"]",
            &[][..],
            "write \"198.51.100.7\" alone, the port is that of host",
        ),
        (
            "host = \"eu\"\naddresses = [\"eu.ninjarmm.com\"]",
            &[],
            "is not an address of an instance: write IP addresses",
        ),
        ("host = \"eu\"\naddresses = [\"0.0.0.0\"]", &[], "is not an address of an instance"),
        ("host = \"eu\"\naddresses = []", &[], "the list is empty"),
        ("host = \"http://localhost:1\"\naddresses = [\"198.51.100.7\"]", &[], "in clear text: use https://"),
        ("host = \"sandbox\"\naddresses = [\"198.51.100.7\"]", &[], "the sandbox is a part of this process"),
        ("addresses = [\"198.51.100.7\"]", &[], "the sandbox is a part of this process"),
        (
            "host = \"eu\"\naddresses = [\"198.51.100.7\"]\nproxy = \"http://p:1\"",
            &[],
            "the HTTP proxy http://p:1 is on the way",
        ),
        ("host = \"eu\"\naddresses = [\"198.51.100.7\"]", &proxy, "or write proxy = \"none\" to connect without it"),
    ] {
        let (code, said) = check(instance, environment);
        assert!(code == 78 && said.contains("instances.main.addresses: ") && said.contains(part), "{instance}: {said}");
    }
    for instance in
        ["host = \"eu\"\naddresses = [\"198.51.100.7\", \"[2001:db8::7]\"]", "host = \"eu\"\naddresses = [\"::1\"]"]
    {
        let (code, said) = check(instance, &[]);
        assert_eq!(code, 0, "{said}");
    }
    let (code, said) = check("host = \"eu\"\naddresses = [\"198.51.100.7\"]\nproxy = \"none\"", &proxy);
    assert!(code == 0 && said.contains("addresses = [\"198.51.100.7\"]"), "{said}");
}
