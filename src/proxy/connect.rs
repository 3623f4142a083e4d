//! What `CONNECT` may reach: names whose requests end here, and servers that bytes are passed on to; nothing else.
//!
//! A target is allowed by comparison alone: the text that the client sent is, byte for byte, one that the configuration
//! lists. Nothing is decoded, folded or normalized on the way, so that the name that was judged is the one that is used.
//! What does not compare equal is refused; only the reason is then looked for.

mod open;
mod refusal;
mod target;

use std::sync::Arc;

use http::header::{CONTENT_LENGTH, HOST, HeaderMap, TRANSFER_ENCODING};
use http::request::Parts;
use http::{Uri, Version};

use crate::net::fields::{self, FieldLines};
use crate::net::own_addresses::OwnAddresses;
pub use open::{open, open_with};
pub use refusal::{BadAuthority, ConnectRefusal, Unlisted, UnlistedWhat};
pub use target::{BadTunnelTarget, TunnelHost, TunnelTarget};

/// The port of HTTPS: that of `intercept`, and of targets in `tunnel` that have none.
pub const HTTPS: u16 = 443;

/// What a listener's clients may name in `CONNECT`.
#[derive(Debug, Clone, Default)]
pub struct ConnectTargets {
    intercept: Vec<InterceptedName>,
    tunnel: Vec<TunnelTarget>,
    own: Arc<OwnAddresses>,
}

/// A name that TLS ends here for.
#[derive(Debug, Clone)]
struct InterceptedName {
    name: String,
    /// The name and the port, as `CONNECT` has them.
    authority: String,
}

/// Where a `CONNECT` goes that is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectTarget<'a> {
    /// It ends here, with TLS for this name of `intercept`.
    Intercept(&'a str),
    /// It goes to this server of `tunnel`.
    Tunnel(&'a TunnelTarget),
}

impl ConnectTargets {
    /// Those of a listener. The names of `intercept` are expected as the configuration lets them pass:
    /// lower case, without a port.
    pub fn new(intercept: &[String], tunnel: Vec<TunnelTarget>, own: Arc<OwnAddresses>) -> Self {
        let named = |name: &String| InterceptedName { name: name.clone(), authority: format!("{name}:{HTTPS}") };
        Self { intercept: intercept.iter().map(named).collect(), tunnel, own }
    }

    /// Whether nothing can be reached.
    pub fn is_empty(&self) -> bool {
        self.intercept.is_empty() && self.tunnel.is_empty()
    }

    /// The names that TLS ends here for.
    pub fn intercepted(&self) -> impl Iterator<Item = &str> {
        self.intercept.iter().map(|entry| entry.name.as_str())
    }

    /// The listeners of this process, which no tunnel leads to.
    pub fn own(&self) -> &OwnAddresses {
        &self.own
    }

    /// Where a request whose method is `CONNECT` may go.
    pub fn judge(&self, head: &Parts) -> Result<ConnectTarget<'_>, ConnectRefusal> {
        let target = authority(&head.uri)?;
        check_host(head.version, &head.headers, target)?;
        check_content(&head.headers)?;
        self.judge_authority(target)
    }

    /// Where a connection to `authority` may go: a host, a colon and a port.
    pub fn judge_authority(&self, authority: &str) -> Result<ConnectTarget<'_>, ConnectRefusal> {
        if let Some(entry) = self.intercept.iter().find(|entry| entry.authority == authority) {
            return Ok(ConnectTarget::Intercept(&entry.name));
        }
        match self.tunnel.iter().find(|target| target.authority() == authority) {
            Some(target) => Ok(ConnectTarget::Tunnel(target)),
            None => Err(refusal::of(authority, self)),
        }
    }

    /// Whether `host` is a name or address that is listed, at whatever port.
    fn lists(&self, host: &str) -> bool {
        self.intercepted().any(|name| name == host) || self.tunnel.iter().any(|target| target.host_text() == host)
    }
}

/// The target of a `CONNECT`, as it came: it has the authority form, and no other (RFC 9112 section 3.2.3).
fn authority(uri: &Uri) -> Result<&str, ConnectRefusal> {
    match (uri.scheme(), uri.authority(), uri.path_and_query()) {
        (None, Some(authority), None) => Ok(authority.as_str()),
        (_, _, _) => Err(ConnectRefusal::Malformed(BadAuthority::Form)),
    }
}

/// `Host` is the target, or its name alone where the port is that of HTTPS: some clients leave the default port out.
/// HTTP/1.0 may have no such field, and neither may HTTP/2.
fn check_host(version: Version, headers: &HeaderMap, target: &str) -> Result<(), ConnectRefusal> {
    let malformed = |why| Err(ConnectRefusal::Malformed(why));
    match fields::only(headers, &HOST) {
        FieldLines::Many => malformed(BadAuthority::HostRepeated),
        FieldLines::One(host) => {
            let rest = target.as_bytes().strip_prefix(host.as_bytes());
            if matches!(rest, Some(b"" | b":443")) { Ok(()) } else { malformed(BadAuthority::HostDiffers) }
        }
        FieldLines::None if matches!(version, Version::HTTP_10 | Version::HTTP_2) => Ok(()),
        FieldLines::None => malformed(BadAuthority::HostMissing),
    }
}

/// What follows the head belongs to the tunnel (RFC 9110 section 9.3.6), so that a body would be read in two ways.
fn check_content(headers: &HeaderMap) -> Result<(), ConnectRefusal> {
    let is_nothing = headers.get_all(CONTENT_LENGTH).iter().all(|length| length == "0");
    if is_nothing && !headers.contains_key(TRANSFER_ENCODING) {
        Ok(())
    } else {
        Err(ConnectRefusal::Malformed(BadAuthority::Content))
    }
}

#[cfg(test)]
mod tests {
    use http::{Method, Request};

    use super::*;

    fn targets() -> ConnectTargets {
        let tunnel =
            ["files.example.com", "files.example.com:8443", "192.0.2.7:443", "[2001:db8::7]:443", "10.0.0.5:22"];
        let tunnel = tunnel.iter().map(|text| TunnelTarget::parse(text).expect("a target")).collect();
        let mut own = OwnAddresses::default();
        own.add("listeners.local", vec!["127.0.0.1:8080".parse().expect("an address")]);
        ConnectTargets::new(&["eu.ninjarmm.com".to_owned()], tunnel, Arc::new(own))
    }

    fn head(version: Version, target: &str, lines: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method(Method::CONNECT).version(version).uri(target);
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request").into_parts().0
    }

    /// What is wrong with a request that has the target as its Host.
    fn refusal(target: &str) -> String {
        let head = head(Version::HTTP_11, target, &[("host", target)]);
        targets().judge(&head).expect_err(target).to_string()
    }

    #[test]
    fn connect_reaches_what_is_listed_and_tells_names_that_end_here_from_servers_that_bytes_go_to() {
        let targets = targets();
        let judge = |target: &str| {
            let head = head(Version::HTTP_11, target, &[("host", target)]);
            match targets.judge(&head).expect(target) {
                ConnectTarget::Intercept(name) => format!("{name} ends here"),
                ConnectTarget::Tunnel(target) => target.to_string(),
            }
        };
        assert_eq!(judge("eu.ninjarmm.com:443"), "eu.ninjarmm.com ends here");
        for target in ["files.example.com:443", "files.example.com:8443", "192.0.2.7:443", "[2001:db8::7]:443"] {
            assert_eq!(judge(target), target);
        }
    }

    #[test]
    fn connect_that_is_not_spelled_as_it_is_listed_is_refused_and_says_why() {
        for (target, why) in [
            ("eu.ninjarmm.com", "no port"),
            ("eu.ninjarmm.com:0443", "the port"),
            ("eu.ninjarmm.com:99999", "the port"),
            ("EU.ninjarmm.com:443", "upper-case"),
            ("eu.ninjarmm.com.:443", "ends in a dot"),
            ("user@eu.ninjarmm.com:443", "user information"),
            ("eu.ninjarmm.com:443@evil.example:443", "user information"),
            ("http://eu.ninjarmm.com:443/", "not HOST:PORT"),
            ("/v2/devices", "not HOST:PORT"),
            ("*", "not HOST:PORT"),
            ("2130706433:443", "unusual spelling"),
            ("0x7f.1:443", "unusual spelling"),
            ("0300.0.2.7:443", "unusual spelling"),
            ("192.0.519:443", "unusual spelling"),
            ("[::ffff:192.0.2.7]:443", "unusual spelling"),
            ("[2001:db8:0:0::7]:443", "unusual spelling"),
            ("[2001:DB8::7]:443", "unusual spelling"),
            ("eu~ninjarmm.com:443", "not a name or an address"),
            (&format!("{}:443", "a".repeat(10 * 1024)), "longer than 253"),
            ("us.ninjarmm.com:443", "us.ninjarmm.com:443 is not listed"),
            ("eu.ninjarmm.com:80", "eu.ninjarmm.com:80 is not listed"),
            ("eu.ninjarmm.com.evil.example:443", "is not listed"),
            ("xn--ninjarmm-zya.com:443", "is not listed"),
            ("192.0.2.8:443", "192.0.2.8:443 is not listed"),
            ("10.0.0.5:443", "is not listed"),
            ("169.254.169.254:80", "is not listed"),
            ("localhost:443", "is not listed"),
            ("127.0.0.1:8081", "is not listed"),
            ("127.0.0.1:8080", "leads to where listeners.local of this proxy listens"),
            ("0.0.0.0:8080", "leads to where listeners.local of this proxy listens"),
            ("localhost:8080", "leads to where listeners.local of this proxy listens"),
        ] {
            let said = refusal(target);
            assert!(said.contains(why), "{target}: {said}");
        }
    }

    #[test]
    fn connect_with_a_host_that_is_not_its_target_is_refused() {
        let target = "eu.ninjarmm.com:443";
        let targets = targets();
        let judge = |version, lines: &[(&str, &str)]| {
            let head = head(version, target, lines);
            targets.judge(&head).map(drop).map_err(|error| error.to_string())
        };
        assert_eq!(judge(Version::HTTP_11, &[("host", target)]), Ok(()));
        assert_eq!(judge(Version::HTTP_11, &[("host", "eu.ninjarmm.com")]), Ok(()), "some leave the default port out");
        assert_eq!(judge(Version::HTTP_10, &[]), Ok(()), "Python before 3.12");
        assert_eq!(judge(Version::HTTP_2, &[]), Ok(()));
        for (version, lines, why) in [
            (Version::HTTP_11, &[][..], "no Host"),
            (Version::HTTP_11, &[("host", target), ("host", target)], "more than one Host"),
            (Version::HTTP_10, &[("host", target), ("host", "localhost")], "more than one Host"),
            (Version::HTTP_11, &[("host", "us.ninjarmm.com:443")], "differs"),
            (Version::HTTP_2, &[("host", "us.ninjarmm.com:443")], "differs"),
            (Version::HTTP_10, &[("host", "localhost:8080")], "differs"),
            (Version::HTTP_11, &[("host", "")], "differs"),
            (Version::HTTP_11, &[("host", "eu.ninjarmm.com:")], "differs"),
            (Version::HTTP_11, &[("host", "eu.ninjarmm")], "differs"),
            (Version::HTTP_11, &[("host", "EU.ninjarmm.com:443")], "differs"),
            (Version::HTTP_11, &[("host", "eu.ninjarmm.com:4430")], "differs"),
        ] {
            let said = judge(version, lines).expect_err("a refusal");
            assert!(said.contains(why), "{version:?} {lines:?}: {said}");
        }
        let other_port = head(Version::HTTP_11, "files.example.com:8443", &[("host", "files.example.com")]);
        assert!(targets.judge(&other_port).is_err(), "the port is not the default one");
    }

    #[test]
    fn connect_with_a_body_is_refused() {
        let target = "eu.ninjarmm.com:443";
        for (name, value) in [("content-length", "5"), ("content-length", "+0"), ("transfer-encoding", "chunked")] {
            let head = head(Version::HTTP_11, target, &[("host", target), (name, value)]);
            assert!(targets().judge(&head).is_err_and(|error| error.to_string().contains("body")), "{name}: {value}");
        }
        let empty = head(Version::HTTP_11, target, &[("host", target), ("content-length", "0")]);
        assert!(targets().judge(&empty).is_ok());
    }
}
