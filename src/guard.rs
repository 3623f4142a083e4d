//! The guard: who may speak to a listener at all.
//!
//! A web page that the user visits can make the browser send requests to a local port under a name of its own
//! (DNS rebinding). Such a request says so in `Host`, so the names that we answer to are compared literally.

use http::header::HOST;
use http::request::Parts;
use http::{Uri, Version};

use crate::listener::Peer;

/// The names under which anybody on this machine may call.
const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// The gate of one listener.
#[derive(Debug)]
pub struct Guard {
    /// Every accepted value of `Host`, lower case.
    authorities: Vec<String>,
    /// The largest head in octets.
    head_size: usize,
}

/// A request's origin, checked: the proof that the guard let it in.
#[derive(Debug)]
pub struct Caller {
    peer: Peer,
}

impl Caller {
    /// Where the request came from.
    pub fn peer(&self) -> Peer {
        self.peer
    }
}

/// Why a request is not let in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Intruder {
    /// A head larger than the limit.
    #[error("the request's head is too large")]
    LargeHead,
    /// HTTP/1.1 without `Host`.
    #[error("the request has no Host")]
    NoHost,
    /// More than one `Host`.
    #[error("the request has more than one Host")]
    ManyHosts,
    /// A `#` in the request line.
    #[error("the request target has a fragment")]
    Fragment,
    /// `Host`, or the authority of an absolute-form target, is not a name of this listener.
    #[error("the request is for {0:?}, which is not a name of this listener")]
    ForeignHost(String),
}

impl Guard {
    /// A gate that answers to the local names and to `names`, each with `port` or without one.
    /// A name that has a port of its own is taken as it is. A head may have `head_size` octets.
    pub fn new(names: &[String], port: u16, head_size: usize) -> Self {
        let own = names.iter().map(String::as_str);
        let authorities = LOCAL_NAMES
            .into_iter()
            .chain(own)
            .map(str::to_ascii_lowercase)
            .flat_map(|name| [format!("{name}:{port}"), name])
            .collect();
        Self { authorities, head_size }
    }

    /// Lets a request in, or says why not.
    pub fn admit(&self, peer: Peer, head: &Parts) -> Result<Caller, Intruder> {
        if peer.sent_fragment() {
            return Err(Intruder::Fragment);
        }
        if head_size(head) > self.head_size {
            return Err(Intruder::LargeHead);
        }
        let mut hosts = head.headers.get_all(HOST).iter();
        match (hosts.next(), hosts.next()) {
            (Some(_), Some(_)) => return Err(Intruder::ManyHosts),
            (Some(host), None) => self.check(host.as_bytes())?,
            // HTTP/1.0 knows no Host, and no browser speaks it.
            (None, _) if head.version == Version::HTTP_10 || head.uri.authority().is_some() => {}
            (None, _) => return Err(Intruder::NoHost),
        }
        self.check_absolute(&head.uri)?;
        Ok(Caller { peer })
    }

    fn check_absolute(&self, uri: &Uri) -> Result<(), Intruder> {
        let Some(authority) = uri.authority() else { return Ok(()) };
        match uri.scheme_str() {
            Some("http") | None => self.check(authority.as_str().as_bytes()),
            Some(_) => Err(Intruder::ForeignHost(uri.to_string())),
        }
    }

    fn check(&self, host: &[u8]) -> Result<(), Intruder> {
        if self.authorities.iter().any(|own| own.as_bytes().eq_ignore_ascii_case(host)) {
            return Ok(());
        }
        Err(Intruder::ForeignHost(String::from_utf8_lossy(host).into_owned()))
    }
}

/// The octets of the request line and the field lines. The parser reads in steps that double, so that it lets
/// through up to twice of what it is told.
fn head_size(head: &Parts) -> usize {
    let target = head.uri.path_and_query().map_or(0, |target| target.as_str().len());
    let lines = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
    head.method.as_str().len() + target + "  HTTP/1.1\r\n\r\n".len() + lines.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn admit(target: &str, version: Version, hosts: &[&str]) -> Result<(), Intruder> {
        let mut request = Request::builder().uri(target).version(version);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        let (head, ()) = request.body(()).expect("a request").into_parts();
        let guard = Guard::new(&["Proxy.internal".to_owned()], 8080, 1000);
        guard.admit(Peer::loopback(), &head).map(|_| ())
    }

    #[test]
    fn guard_admits_the_local_and_the_configured_names_with_our_port_or_none() {
        for host in
            ["localhost", "LOCALHOST:8080", "127.0.0.1", "127.0.0.1:8080", "[::1]", "[::1]:8080", "proxy.internal"]
        {
            assert_eq!(admit("/", Version::HTTP_11, &[host]), Ok(()), "{host}");
        }
    }

    #[test]
    fn guard_refuses_every_other_name() {
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "localhost:8081",
            "localhost:",
            "localhost.",
            "127.0.0.1.nip.io",
            "127.1",
            "0.0.0.0:8080",
            "[::1]:80",
            "::1",
            "user@localhost",
            "localhost,evil.example",
        ] {
            assert_eq!(admit("/", Version::HTTP_11, &[host]), Err(Intruder::ForeignHost(host.to_owned())), "{host}");
        }
    }

    #[test]
    fn guard_wants_exactly_one_host_in_http_1_1() {
        assert_eq!(admit("/", Version::HTTP_11, &[]), Err(Intruder::NoHost));
        assert_eq!(admit("/", Version::HTTP_10, &[]), Ok(()));
        assert_eq!(admit("/", Version::HTTP_11, &["localhost", "localhost"]), Err(Intruder::ManyHosts));
    }

    #[test]
    fn guard_takes_absolute_form_for_our_own_authority_only() {
        assert_eq!(admit("http://localhost:8080/v2/devices", Version::HTTP_11, &["localhost:8080"]), Ok(()));
        for target in ["http://eu.ninjarmm.com/v2/devices", "https://localhost:8080/", "http://localhost@evil.example/"]
        {
            assert!(admit(target, Version::HTTP_11, &["localhost"]).is_err(), "{target}");
        }
        assert!(admit("http://localhost/v2/devices", Version::HTTP_11, &["evil.example"]).is_err());
    }

    #[test]
    fn guard_refuses_a_head_over_the_limit() {
        let query = "x".repeat(1000 - "GET /? HTTP/1.1\r\nHost: localhost\r\n\r\n".len());
        assert_eq!(admit(&format!("/?{query}"), Version::HTTP_11, &["localhost"]), Ok(()));
        assert_eq!(admit(&format!("/?{query}x"), Version::HTTP_11, &["localhost"]), Err(Intruder::LargeHead));
    }
}
