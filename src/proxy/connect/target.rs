//! The entries of `tunnel`: servers in the one spelling that they are compared in.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::HTTPS;

/// The longest name of a host, in bytes (RFC 1035 section 2.3.4, as text and without the dot at its end).
pub(super) const MAX_NAME: usize = 253;
/// The longest label of a name, in bytes.
const MAX_LABEL: usize = 63;

/// A server that `CONNECT` may reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunnelTarget {
    host: TunnelHost,
    port: u16,
    /// As `CONNECT` has it.
    authority: String,
}

/// The host of a [`TunnelTarget`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TunnelHost {
    /// A name, which is looked up for each connection.
    Name(String),
    /// An address, which somebody has listed knowingly: it need not be public.
    Address(IpAddr),
}

/// Why a text is not an entry of `tunnel`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTunnelTarget {
    /// `*` is not a wildcard here.
    #[error("names are compared literally, so a * never matches: write each name")]
    Wildcard,
    /// A scheme, a path or user information.
    #[error("a target has no scheme, no user and no path: write it as \"NAME\" or \"NAME:PORT\"")]
    Url,
    /// Upper-case letters.
    #[error("targets are compared byte for byte, and clients send lower case: write {0:?}")]
    UpperCase(String),
    /// A dot at its end.
    #[error("targets are compared byte for byte, and clients send no dot at the end of a name: write {0:?}")]
    TrailingDot(String),
    /// Letters beyond ASCII.
    #[error("clients send a name with other letters than a to z in its xn-- form: write that form")]
    NotAscii,
    /// A port that is not one.
    #[error("{0:?} is not a port: write a number from 1 to 65535 without zeros before it, or no port for {HTTPS}")]
    Port(String),
    /// An address in a spelling of its own.
    #[error("this is an address in an unusual spelling: write {0:?}")]
    Spelling(String),
    /// A number that some programs take for an address.
    #[error(
        "a name whose last part is a number is taken for an address: write a name, or an address such as \"192.0.2.7\" or \"[2001:db8::7]:443\""
    )]
    Number,
    /// An address that no server has.
    #[error("{0} is not the address of a server: write the address of one")]
    NoServer(IpAddr),
    /// This machine by its name.
    #[error(
        "names lead to public addresses only, and {0} is this machine: write its address, such as \"127.0.0.1:PORT\", and connect to that"
    )]
    ThisMachine(String),
    /// Anything else.
    #[error(
        "not the name of a host: write it as clients do, such as \"files.example.com\", \"files.example.com:8443\", \"192.0.2.7:443\" or \"[2001:db8::7]:443\""
    )]
    Host,
}

impl TunnelTarget {
    /// Reads an entry of `tunnel`: a name or an address (IPv6 in brackets), and perhaps a colon and a port.
    pub fn parse(text: &str) -> Result<Self, BadTunnelTarget> {
        check_form(text)?;
        if let Ok(address) = text.parse::<Ipv6Addr>() {
            return Err(BadTunnelTarget::Spelling(format!("[{address}]")));
        }
        let (host, port) = split_port(text);
        let port =
            port.map_or(Ok(HTTPS), |port| plain_port(port).ok_or_else(|| BadTunnelTarget::Port(port.to_owned())))?;
        let host = TunnelHost::parse(host)?;
        let authority = format!("{host}:{port}");
        Ok(Self { host, port, authority })
    }

    /// The host.
    pub fn host(&self) -> &TunnelHost {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether it is where `CONNECT` to a name of `intercept` would go.
    pub fn is_https_of(&self, name: &str) -> bool {
        self.port == HTTPS && matches!(&self.host, TunnelHost::Name(own) if own == name)
    }

    /// The only text by which a client may name it.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The host as it is in [`TunnelTarget::authority`].
    pub(super) fn host_text(&self) -> &str {
        split_port(&self.authority).0
    }
}

impl fmt::Display for TunnelTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.authority)
    }
}

impl TunnelHost {
    fn parse(host: &str) -> Result<Self, BadTunnelTarget> {
        let Some(address) = address(host) else { return name(host).map(|()| Self::Name(host.to_owned())) };
        let plain = Self::Address(address.to_canonical());
        if plain.to_string() != host {
            return Err(BadTunnelTarget::Spelling(plain.to_string()));
        }
        let is_server = match address {
            IpAddr::V4(ip) => !ip.is_unspecified() && !ip.is_multicast() && ip != Ipv4Addr::BROADCAST,
            IpAddr::V6(ip) => !ip.is_unspecified() && !ip.is_multicast(),
        };
        if is_server { Ok(plain) } else { Err(BadTunnelTarget::NoServer(address)) }
    }
}

/// As in an authority: IPv6 in brackets.
impl fmt::Display for TunnelHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => address.fmt(f),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

fn check_form(text: &str) -> Result<(), BadTunnelTarget> {
    if text.contains('*') {
        return Err(BadTunnelTarget::Wildcard);
    }
    if text.contains(['/', '@', '?', '#', '\\']) {
        return Err(BadTunnelTarget::Url);
    }
    if !text.is_ascii() {
        return Err(BadTunnelTarget::NotAscii);
    }
    Ok(())
}

/// A host and what follows its last colon; the colons of an IPv6 address are within brackets.
pub(super) fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        Some(_) | None => (authority, None),
    }
}

/// A port as everybody writes it: 1 to 65535 without zeros before it.
pub(super) fn plain_port(port: &str) -> Option<u16> {
    let plain = port.bytes().all(|byte| byte.is_ascii_digit()) && !port.starts_with('0');
    port.parse().ok().filter(|_| plain)
}

/// An address in a usual spelling: IPv4 in four decimal numbers, IPv6 in brackets.
pub(super) fn address(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(inner) => inner.parse().ok().map(IpAddr::V6),
        None => host.parse().ok().map(IpAddr::V4),
    }
}

/// A name that clients send, in the one spelling that is compared.
fn name(host: &str) -> Result<(), BadTunnelTarget> {
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        let lower = host.to_ascii_lowercase();
        return name(&lower).and(Err(BadTunnelTarget::UpperCase(lower)));
    }
    if let Some(rest) = host.strip_suffix('.') {
        return name(rest).and(Err(BadTunnelTarget::TrailingDot(rest.to_owned())));
    }
    if !is_name(host) {
        return Err(BadTunnelTarget::Host);
    }
    if ends_in_number(host) {
        return Err(BadTunnelTarget::Number);
    }
    if host == "localhost" || host.ends_with(".localhost") {
        return Err(BadTunnelTarget::ThisMachine(host.to_owned()));
    }
    Ok(())
}

/// Labels of letters, digits, `-` and `_`, which are in use in names of hosts although RFC 952 has no `_`.
pub(super) fn is_name(host: &str) -> bool {
    let is_label = |label: &str| {
        let plain = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        plain && (1..=MAX_LABEL).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    host.len() <= MAX_NAME && host.split('.').all(is_label)
}

/// Whether resolvers may take a name for an address: `127.1`, `2130706433`, `0x7f.1`, `0177.0.0.1`.
pub(super) fn ends_in_number(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let last = host.rsplit('.').next().unwrap_or_default();
    let hex = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    let digits = !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit());
    digits || hex.is_some_and(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tunnel_target_is_a_name_or_an_address_and_its_port_is_443_unless_it_is_written() {
        for (text, authority) in [
            ("files.example.com", "files.example.com:443"),
            ("files.example.com:8443", "files.example.com:8443"),
            ("files.example.com:443", "files.example.com:443"),
            ("a_b.example", "a_b.example:443"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example:443"),
            ("192.0.2.7", "192.0.2.7:443"),
            ("10.0.0.5:8443", "10.0.0.5:8443"),
            ("127.0.0.1:5000", "127.0.0.1:5000"),
            ("[2001:db8::7]", "[2001:db8::7]:443"),
            ("[::1]:8443", "[::1]:8443"),
        ] {
            let target = TunnelTarget::parse(text).expect(text);
            assert_eq!(target.authority(), authority);
            assert_eq!(TunnelTarget::parse(authority), Ok(target), "read from itself");
        }
    }

    #[test]
    fn tunnel_target_that_no_client_names_is_refused_with_what_to_write() {
        use BadTunnelTarget as Bad;
        let long = format!("{}.example", "a".repeat(64));
        let text = |text: &str| text.to_owned();
        for (entry, bad) in [
            ("*.example.com", Bad::Wildcard),
            ("*", Bad::Wildcard),
            ("https://files.example.com", Bad::Url),
            ("files.example.com/x", Bad::Url),
            ("user@files.example.com", Bad::Url),
            ("b\u{fc}cher.example", Bad::NotAscii),
            ("Files.example.com:8443", Bad::UpperCase(text("files.example.com"))),
            ("files.example.com.", Bad::TrailingDot(text("files.example.com"))),
            ("files.example.com:", Bad::Port(text(""))),
            ("files.example.com:0", Bad::Port(text("0"))),
            ("files.example.com:0443", Bad::Port(text("0443"))),
            ("files.example.com:+443", Bad::Port(text("+443"))),
            ("files.example.com:65536", Bad::Port(text("65536"))),
            ("[2001:DB8::7]", Bad::Spelling(text("[2001:db8::7]"))),
            ("[2001:db8:0::7]:8443", Bad::Spelling(text("[2001:db8::7]"))),
            ("[::ffff:10.0.0.5]", Bad::Spelling(text("10.0.0.5"))),
            ("2001:db8::7", Bad::Spelling(text("[2001:db8::7]"))),
            ("127.1", Bad::Number),
            ("2130706433", Bad::Number),
            ("0x7f000001", Bad::Number),
            ("0177.0.0.1", Bad::Number),
            ("files.0x1", Bad::Number),
            ("0.0.0.0", Bad::NoServer(IpAddr::V4(Ipv4Addr::UNSPECIFIED))),
            ("[::]", Bad::NoServer(IpAddr::V6(Ipv6Addr::UNSPECIFIED))),
            ("255.255.255.255", Bad::NoServer(IpAddr::V4(Ipv4Addr::BROADCAST))),
            ("224.0.0.1", Bad::NoServer(IpAddr::V4(Ipv4Addr::new(224, 0, 0, 1)))),
            ("localhost", Bad::ThisMachine(text("localhost"))),
            ("localhost:8080", Bad::ThisMachine(text("localhost"))),
            ("db.localhost", Bad::ThisMachine(text("db.localhost"))),
            ("", Bad::Host),
            ("a b", Bad::Host),
            ("a..b", Bad::Host),
            ("-a.example", Bad::Host),
            ("%61.example", Bad::Host),
            ("[fe80::1%25eth0]", Bad::Host),
            ("[::1", Bad::Host),
            (&long, Bad::Host),
        ] {
            assert_eq!(TunnelTarget::parse(entry), Err(bad), "{entry}");
        }
    }
}
