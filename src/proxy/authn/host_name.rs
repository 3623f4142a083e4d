//! The names in `names` and `allowed-origins`: only those that a request can have.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Why no request can have a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// `*` is not a wildcard here.
    #[error("names are compared literally, so a * never matches: write each name")]
    Wildcard,
    /// A scheme or a path.
    #[error("a name has no scheme and no path: write {0:?}")]
    Url(String),
    /// Anything else that `Host` never has.
    #[error(
        "not a host name or address, which may have a port: write it as callers do, such as \"proxy.internal\", \"192.0.2.7:8080\" or \"[2001:db8::7]\" (a name with other letters than a to z in its xn-- form)"
    )]
    Host,
}

/// Checks a name of `names`: a host, and perhaps a port.
pub fn check(name: &str) -> Result<(), BadName> {
    if name.contains('*') {
        return Err(BadName::Wildcard);
    }
    if let Some(host) = name.split_once("://").and_then(|(_, rest)| rest.split('/').next()).filter(|host| is_name(host))
    {
        return Err(BadName::Url(host.to_owned()));
    }
    if let Some((host, _)) = name.split_once('/').filter(|(host, _)| is_name(host)) {
        return Err(BadName::Url(host.to_owned()));
    }
    if is_name(name) { Ok(()) } else { Err(BadName::Host) }
}

/// Why a name cannot be one that a listener stands in for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPlainName {
    /// As for every name.
    #[error(transparent)]
    Name(#[from] BadName),
    /// A port.
    #[error("the port of CONNECT is always 443: write {0:?}")]
    Port(String),
    /// An address.
    #[error("an address is no name, and the local CA vouches for names: write the name that the tool calls")]
    Address,
    /// Not as CONNECT has it, byte for byte.
    #[error("names are compared byte for byte: write {0:?}")]
    Spelling(String),
}

/// Checks a host name without a port, in the one spelling that tools send.
pub fn check_plain(name: &str) -> Result<(), BadPlainName> {
    check(name)?;
    let (host, port) = split_port(name);
    let plain = host.trim_end_matches('.').to_ascii_lowercase();
    match port {
        _ if plain.starts_with('[') || plain.parse::<Ipv4Addr>().is_ok() => Err(BadPlainName::Address),
        Some(_) => Err(BadPlainName::Port(plain)),
        None if plain != host => Err(BadPlainName::Spelling(plain)),
        None => Ok(()),
    }
}

fn is_name(name: &str) -> bool {
    let (host, port) = split_port(name);
    is_host(host) && port.is_none_or(|port| plain_port(port).is_some())
}

/// A host and what follows its last colon; the colons of an IPv6 address are within brackets.
pub(super) fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

/// A port as everybody writes it: 1 to 65535 without leading zeros.
pub(super) fn plain_port(port: &str) -> Option<u16> {
    let plain = port.bytes().all(|byte| byte.is_ascii_digit()) && !port.starts_with('0');
    port.parse().ok().filter(|_| plain)
}

/// Whether this is a name of letters, digits, `-` and `_`, or an address. A last label of digits makes it an address.
pub(super) fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[') {
        return address.strip_suffix(']').is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
    }
    let labels = host.strip_suffix('.').unwrap_or(host);
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let last = labels.rsplit('.').next().unwrap_or_default();
    let numeric = last.bytes().all(|byte| byte.is_ascii_digit());
    labels.split('.').all(is_label) && (!numeric || labels.parse::<Ipv4Addr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_is_a_host_with_or_without_a_port() {
        for name in ["proxy.internal", "Proxy", "a_b", "proxy.", "192.0.2.7", "proxy:9000", "[::1]", "[2001:db8::7]:80"]
        {
            assert_eq!(check(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn plain_name_has_no_port_no_address_and_one_spelling() {
        assert_eq!(check_plain("eu.ninjarmm.com"), Ok(()));
        for name in ["eu.ninjarmm.com:443", "eu.ninjarmm.com:8443"] {
            assert_eq!(check_plain(name), Err(BadPlainName::Port("eu.ninjarmm.com".to_owned())), "{name}");
        }
        for name in ["EU.ninjarmm.com", "eu.ninjarmm.com."] {
            assert_eq!(check_plain(name), Err(BadPlainName::Spelling("eu.ninjarmm.com".to_owned())), "{name}");
        }
        for name in ["192.0.2.7", "[2001:db8::7]", "192.0.2.7:443"] {
            assert_eq!(check_plain(name), Err(BadPlainName::Address), "{name}");
        }
        for name in ["*.ninjarmm.com", "", "https://eu.ninjarmm.com", "1.2", "\u{e9}u.example"] {
            assert!(matches!(check_plain(name), Err(BadPlainName::Name(_))), "{name}");
        }
    }

    #[test]
    fn name_that_no_request_has_is_refused_with_what_to_write() {
        assert_eq!(check("*.corp.example"), Err(BadName::Wildcard));
        assert_eq!(check("http://x"), Err(BadName::Url("x".to_owned())));
        assert_eq!(check("https://x:80/y"), Err(BadName::Url("x:80".to_owned())));
        assert_eq!(check("x/y"), Err(BadName::Url("x".to_owned())));
        for name in
            ["", " x", "a b", "x:", "x:0", "x:080", "x:99999", "::1", "[::1", "b\u{fc}ro", "a..b", "127.1", "u@x"]
        {
            assert_eq!(check(name), Err(BadName::Host), "{name}");
        }
    }
}
