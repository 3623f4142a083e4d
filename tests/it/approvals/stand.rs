//! A proxy whose callers need approvals, in front of a server that counts what is sent to it.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use ninjaone_proxy::proxy::authn::key::KeyHash;
use serde_json::Value;

use crate::harness::{Proxy, Reply, Scripted, Then, answer, connect, eventually, read_body, request};

/// The request that needs an approval.
pub(crate) const TARGET: &str = "/v2/device/7/script/run?note=seven";
pub(crate) const BODY: &[u8] = br#"{"type":"SCRIPT","id":12,"adminPassword":"hunter2"}"#;
/// Callers and approvers have their names and this as keys.
const KEY: &str = "-key-of-tests";

pub(crate) struct Stand {
    pub(crate) proxy: Proxy,
    pub(crate) server: Arc<Scripted>,
    pub(crate) sent: Sent,
}

/// Heads and bodies of what was sent.
pub(crate) type Sent = Arc<Mutex<Vec<(String, String)>>>;

pub(crate) fn key(name: &str) -> String {
    format!("{name}{KEY}")
}

pub(crate) fn hash(name: &str) -> KeyHash {
    KeyHash::of(key(name).as_bytes())
}

/// TOML for the listener: two callers, and the operation that needs an approval.
pub(crate) fn listener() -> String {
    let caller = |name: &str| {
        format!(
            "[listeners.local.callers.{name}]\nkey = \"{}\"\nscopes = [\"management\"]\nallow = [\"group:scripts\"]\n",
            hash(name)
        )
    };
    format!(
        "scopes = [\"monitoring\", \"management\"]\n\
         allow = [{{ rule = \"POST /v2/device/{{id}}/script/run\", approval = true, reason = \"patch week\" }}]\n{}{}",
        caller("agent"),
        caller("other")
    )
}

/// TOML for approvals with these approvers.
pub(crate) fn approvals(settings: &str, approvers: &[&str]) -> String {
    let keys = approvers.iter().map(|name| format!("approvers.{name}.key = \"{}\"\n", hash(name)));
    format!("[approvals]\n{settings}\n{}", keys.collect::<String>())
}

impl Stand {
    /// With these settings in `[approvals]` and the approvers lead and deputy; `rest` is TOML for other tables.
    pub(crate) fn start(settings: &str, rest: &str) -> Self {
        let (server, sent) = counted();
        Self::before(&server, &sent, settings, rest)
    }

    /// One more proxy in front of the same server.
    pub(crate) fn before(server: &Arc<Scripted>, sent: &Sent, settings: &str, rest: &str) -> Self {
        let rest = format!("{}{rest}", approvals(settings, &["lead", "deputy"]));
        let proxy = Proxy::start(&server.instance(), &listener(), &rest);
        Self { proxy, server: Arc::clone(server), sent: Arc::clone(sent) }
    }

    /// Another configuration with these settings and approvers.
    pub(crate) fn reconfigure(&mut self, settings: &str, approvers: &[&str]) {
        let taken = self.proxy.reconfigure(&listener(), &approvals(settings, approvers));
        assert_eq!(taken, Ok(()));
    }

    /// The request of a caller; `headers` are lines that end in CR LF.
    pub(crate) fn ask(&self, caller: &str, headers: &str, body: &[u8]) -> Reply {
        self.proxy.send("POST", TARGET, &lines(caller, headers), body)
    }

    /// Asks, gets 202, and returns the id.
    pub(crate) fn ask_id(&self) -> String {
        let reply = self.ask("agent", "", BODY);
        assert_eq!(reply.status, 202, "{reply:?}");
        let id = reply.json()["id"].as_str().expect("an id").to_owned();
        assert_eq!(reply.header("location"), format!("/.well-known/ninjaone-proxy/approvals/{id}"));
        id
    }

    /// The same request again, with the id.
    pub(crate) fn repeat(&self, caller: &str, id: &str, body: &[u8]) -> Reply {
        self.ask(caller, &format!("X-Approval-Id: {id}\r\n"), body)
    }

    /// What a caller hears of an approval.
    pub(crate) fn status(&self, caller: &str, id: &str) -> Reply {
        self.proxy.send("GET", &format!("/.well-known/ninjaone-proxy/approvals/{id}"), &lines(caller, ""), b"")
    }

    /// Sends the request of a caller in a thread of its own.
    pub(crate) fn ask_aside(&self) -> thread::JoinHandle<Reply> {
        let address = self.proxy.address;
        thread::spawn(move || request(address, "POST", TARGET, &lines("agent", ""), BODY))
    }

    /// Sends the request of a caller, and does not wait for an answer.
    pub(crate) fn begin(&self) -> TcpStream {
        let mut stream = connect(self.proxy.address);
        let head = format!(
            "POST {TARGET} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n{}\r\n",
            BODY.len(),
            lines("agent", "")
        );
        stream.write_all(&[head.as_bytes(), BODY].concat()).expect("a request goes out");
        stream
    }

    /// All approvals, as everybody at the admin listener sees them.
    pub(crate) fn list(&self) -> Vec<Value> {
        let reply = request(self.proxy.admin, "GET", "/approvals.json", "", b"");
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.json().as_array().expect("a list").clone()
    }

    /// The id of the one that waits.
    pub(crate) fn waiting(&self) -> String {
        let mut found = None;
        eventually("a request waits", || {
            found = self.list().into_iter().find(|one| one["state"] == "waiting");
            found.is_some()
        });
        found.expect("it was found")["id"].as_str().expect("an id").to_owned()
    }

    /// A decision by a program.
    pub(crate) fn decide(&self, approver: &str, id: &str, decision: &str) -> Reply {
        decide_at(self.proxy.admin, approver, id, decision)
    }

    /// How many requests of callers were sent to NinjaOne.
    pub(crate) fn count_sent(&self) -> usize {
        self.sent.lock().expect("a list").len()
    }
}

/// A server that counts what is sent to it.
pub(crate) fn counted() -> (Arc<Scripted>, Sent) {
    let sent = Sent::default();
    let seen = Arc::clone(&sent);
    let server = Scripted::start(move |mut asked| {
        let body = String::from_utf8(read_body(&asked.head, &mut *asked.stream)).expect("text");
        let own = match asked.head.split(' ').nth(1) {
            Some("/v2/device/7") => r#"{"systemName":"SRV-07","organizationId":5}"#,
            Some("/v2/organization/5") => r#"{"name":"Acme <b>"}"#,
            _ => "",
        };
        if own.is_empty() {
            seen.lock().expect("a list").push((asked.head.clone(), body));
        }
        asked.answer(&answer("200 OK", if own.is_empty() { "{}" } else { own }));
        Then::Continue
    });
    (Arc::new(server), sent)
}

pub(crate) fn lines(caller: &str, headers: &str) -> String {
    format!("Content-Type: application/json\r\nX-Api-Key: {}\r\n{headers}", key(caller))
}

pub(crate) fn decide_at(admin: SocketAddr, approver: &str, id: &str, decision: &str) -> Reply {
    let headers =
        format!("Authorization: Bearer {}\r\nContent-Type: application/x-www-form-urlencoded\r\n", key(approver));
    let form = format!("decision={decision}&comment=by+a+test");
    request(admin, "POST", &format!("/approvals/{id}"), &headers, form.as_bytes())
}
