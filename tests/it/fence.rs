//! The fence of organizations, in front of a sandbox that keeps no organizations apart: whatever it answers, a fenced
//! caller sees nothing of another organization, and changes nothing there.

mod absent;
mod broken;
mod moves;
mod paging;
mod property;
mod requests;

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};

use ninjaone_proxy::proxy::authn::key::KeyHash;
use ninjaone_proxy::sandbox::marked_organizations;
use serde_json::Value;

use crate::harness::{Proxy, Reply, connect, request};

/// All that a listener can allow but for what needs a person.
const ALL: &str = "scopes = [\"monitoring\", \"management\", \"control\"]\nallow = [\"group:scripts\", \"group:users-and-roles\", \"group:installers\", \"group:webhooks\", \"group:unclassified\"]\n";
/// The organizations that the fence of the tests has inside.
const INSIDE: [u32; 2] = [1, 3];

/// A proxy with three ways to the same sandbox: one within the fence, with a caller `narrow` that has organization 3 only,
/// and one without a fence.
struct Stand {
    proxy: Proxy,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asker {
    /// Is kept to organizations 1 and 3.
    Wide,
    /// Is kept to organization 3.
    Narrow,
    /// Is not kept to any.
    Open,
}

impl Asker {
    fn organizations(self) -> &'static [u32] {
        match self {
            Self::Wide => &INSIDE,
            Self::Narrow => &INSIDE[1..],
            Self::Open => &[1, 2, 3, 4],
        }
    }

    fn headers(self) -> &'static str {
        match self {
            Self::Wide => "X-Api-Key: key-of-wide\r\n",
            Self::Narrow => "X-Api-Key: key-of-narrow\r\n",
            Self::Open => "",
        }
    }
}

impl Stand {
    /// What the proxy knows of organizations is believed for so long, such as `60s`.
    fn with_age(age: &str) -> Self {
        let [wide, narrow] = ["key-of-wide", "key-of-narrow"].map(|key| KeyHash::of(key.as_bytes()));
        let fenced = format!(
            "{ALL}organizations = [1, 3]\n[listeners.local.callers.wide]\nkey = \"{wide}\"\n{ALL}\n\
             [listeners.local.callers.narrow]\nkey = \"{narrow}\"\norganizations = [3]\n{ALL}\n"
        );
        let rest = format!("[timeouts]\ndirectory = \"{age}\"\n[listeners.open]\naddress = \"127.0.0.1:0\"\n{ALL}");
        Self { proxy: Proxy::start("host = \"sandbox\"", &fenced, &rest) }
    }

    fn new() -> Self {
        Self::with_age("60s")
    }

    fn address(&self, asker: Asker) -> SocketAddr {
        if asker == Asker::Open { self.proxy.listeners["open"] } else { self.proxy.address }
    }

    fn sandbox(&self, method: &str, path: &str) -> Reply {
        request(self.proxy.sandbox.expect("a sandbox"), method, path, "", b"")
    }

    /// How the sandbox answers from now on, such as `mode=ignore`.
    fn leak(&self, order: &str) {
        assert_eq!(self.sandbox("POST", &format!("/sandbox/leak?{order}")).status, 204, "{order}");
    }

    fn get(&self, asker: Asker, path: &str) -> Reply {
        self.send(asker, "GET", path, "")
    }

    fn send(&self, asker: Asker, method: &str, path: &str, body: &str) -> Reply {
        let json = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
        request(self.address(asker), method, path, &format!("{}{json}", asker.headers()), body.as_bytes())
    }

    /// The writes that reached the sandbox since this was asked last, each with the organizations that it would change.
    fn changed(&self) -> Vec<(String, Vec<u32>)> {
        let writes = self.sandbox("GET", "/sandbox/changed").json();
        assert_eq!(self.sandbox("DELETE", "/sandbox/changed").status, 204);
        let organizations = |write: &Value| {
            let ids = write["organizations"].as_array().expect("ids").iter();
            ids.map(|id| u32::try_from(id.as_u64().expect("an id")).expect("a small id")).collect()
        };
        let write = |write: &Value| (write["operation"].as_str().expect("a name").to_owned(), organizations(write));
        writes.as_array().expect("a list").iter().map(write).collect()
    }
}

/// A connection that stays open, as far as the proxy lets it.
struct Connection {
    address: SocketAddr,
    stream: Option<TcpStream>,
}

impl Connection {
    fn new(address: SocketAddr) -> Self {
        Self { address, stream: None }
    }

    fn send(&mut self, method: &str, path: &str, headers: &str, body: &str) -> Reply {
        let mut stream = self.stream.take().unwrap_or_else(|| connect(self.address));
        let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let text = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{length}{headers}\r\n{body}");
        let sent = stream.write_all(text.as_bytes());
        let reply = Reply::read(&mut stream, method == "HEAD");
        if reply.status == 0 || sent.is_err() {
            return request(self.address, method, path, headers, body.as_bytes());
        }
        self.stream = Some(stream).filter(|_| reply.whole && !reply.header("connection").eq_ignore_ascii_case("close"));
        reply
    }
}

/// What of an answer is of an organization outside, if anything is.
fn foreign(reply: &Reply, inside: &[u32]) -> Option<String> {
    let text = format!("{}{}", reply.head, String::from_utf8_lossy(&reply.body));
    let marked = marked_organizations(&text).into_iter().find(|organization| !inside.contains(organization));
    let marked = marked.map(|organization| format!("a mark of organization {organization}"));
    let json: Option<Value> = serde_json::from_slice(&reply.body).ok().filter(|_| reply.status < 300);
    marked.or_else(|| json.and_then(|json| requests::foreign_id(&json, inside)))
}

#[test]
fn a_caller_wider_than_its_listener_is_a_mistake() {
    let key = KeyHash::of(b"key-of-a");
    let folder = tempfile::tempdir().expect("a folder");
    let text = format!(
        "[instances.main]\nhost = \"sandbox\"\n[listeners.local]\norganizations = [1, 3]\n\
         [listeners.local.callers.a]\nkey = \"{key}\"\norganizations = [3, 4]\n"
    );
    std::fs::write(folder.path().join("ninjaone.toml"), text).expect("a file");
    let (code, _, errors) =
        crate::harness::run_binary(folder.path(), &["--config", "ninjaone.toml", "check", "--offline"], &[]);
    assert_ne!(code, 0);
    assert!(errors.contains("listeners.local.callers.a.organizations") && errors.contains('4'), "{errors}");
}

#[test]
fn a_caller_sees_no_more_than_its_own_organizations() {
    let stand = Stand::new();
    let organizations = |asker| {
        let rows = stand.get(asker, "/v2/organizations").json();
        rows.as_array().expect("rows").iter().map(|row| row["id"].as_u64().expect("an id")).collect::<Vec<_>>()
    };
    assert_eq!(organizations(Asker::Open), [1, 2, 3, 4]);
    assert_eq!(organizations(Asker::Wide), [1, 3]);
    assert_eq!(organizations(Asker::Narrow), [3]);
    // Device 1 is of organization 1, device 3 of organization 3.
    let status = |asker, path: &str| stand.get(asker, path).status;
    for (path, wide, narrow) in [("/v2/device/1", 200, 404), ("/v2/device/3", 200, 200), ("/v2/device/2", 404, 404)] {
        assert_eq!((status(Asker::Wide, path), status(Asker::Narrow, path)), (wide, narrow), "{path}");
        assert_eq!(status(Asker::Open, path), 200);
    }
    assert_eq!(status(Asker::Narrow, "/v2/organization/1/devices"), 404);
    assert_eq!(stand.send(Asker::Narrow, "PATCH", "/v2/device/3", "{\"organizationId\":1}").status, 404);
    assert_eq!(stand.send(Asker::Wide, "PATCH", "/v2/device/3", "{\"organizationId\":1}").status, 204);
    assert_eq!(stand.changed(), [("PATCH /v2/device/{id}".to_owned(), vec![1, 3])]);
}

#[test]
fn a_fenced_answer_tells_what_is_left_of_a_quota() {
    let proxy = Proxy::start("host = \"sandbox\"", "organizations = [1]\nquota = { requests = \"50/min\" }", "");
    for path in ["/v2/devices", "/v2/device/5/disks", "/v2/organization/1"] {
        let reply = request(proxy.address, "GET", path, "", b"");
        assert!(reply.status == 200 && reply.header("ratelimit").contains("r="), "{path}: {reply:?}");
    }
}
