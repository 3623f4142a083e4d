//! The servers that are reached without a proxy: a list such as `NO_PROXY`, read as curl and Go read it.

use std::net::IpAddr;

/// Whether the list names the host at that port. Entries are separated by commas or blanks:
///
/// - `*` is every host;
/// - a name is that host and what is below it, with or without a dot or `*.` before it, or a dot behind it;
/// - an address is that address, and a network such as `10.0.0.0/8` or `fd00::/8` is all of its addresses;
/// - `:PORT` behind a name or an address (IPv6 in brackets) limits the entry to that port.
///
/// What is none of these names nothing: no mistake in a list takes a proxy away from all servers.
pub(super) fn names(list: &str, host: &str, port: u16) -> bool {
    let host = bare(host);
    let address = address(&host);
    let entries = list.split([',', ' ', '\t', '\r', '\n', ';']).filter(|entry| !entry.is_empty());
    entries.map(str::to_ascii_lowercase).any(|entry| {
        if entry == "*" {
            return true;
        }
        match (address, entry.split_once('/')) {
            (Some(address), Some((network, length))) => is_in(address, network, length),
            (None, Some(_)) => false,
            (address, None) => is_named(&entry, &host, address, port),
        }
    })
}

fn is_named(entry: &str, host: &str, own: Option<IpAddr>, port: u16) -> bool {
    let Some((name, only)) = split_port(entry) else { return false };
    if only.is_some_and(|only| only != port) {
        return false;
    }
    match own {
        Some(own) => address(name) == Some(own),
        None => {
            let name = name.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(name);
            let name = name.strip_prefix('.').unwrap_or(name);
            let name = name.strip_suffix('.').unwrap_or(name);
            let above = host.strip_suffix(name).filter(|_| !name.is_empty());
            above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
        }
    }
}

/// Name or address, and the port if there is one; `None` if it is not a port.
fn split_port(entry: &str) -> Option<(&str, Option<u16>)> {
    // More than one colon outside of brackets is an address.
    let (name, digits) = match entry.rsplit_once(':') {
        Some((name, digits)) if !name.contains(':') || name.ends_with(']') => (name, digits),
        Some(_) | None => return Some((entry, None)),
    };
    Some((name, Some(number(digits)?)))
}

/// Digits only: the parsers of the standard library take a sign too.
fn number<N: std::str::FromStr>(digits: &str) -> Option<N> {
    digits.parse().ok().filter(|_| digits.bytes().all(|digit| digit.is_ascii_digit()))
}

/// Whether the address is in the network.
fn is_in(address: IpAddr, network: &str, length: &str) -> bool {
    let (Some(network), Some(length)) = (bracketless(network).parse().ok(), number::<u32>(length)) else {
        return false;
    };
    let bits = |address: u128, network: u128, width: u32| {
        // A shift by the whole width does nothing.
        length <= width && (length == 0 || (address ^ network) >> (width - length) == 0)
    };
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => bits(address.to_bits().into(), network.to_bits().into(), 32),
        (IpAddr::V6(address), IpAddr::V6(network)) => bits(address.to_bits(), network.to_bits(), 128),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

/// A host as it is compared.
pub(super) fn bare(host: &str) -> String {
    let host = bracketless(host);
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

fn bracketless(text: &str) -> &str {
    text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text)
}

/// An IPv4 address in the form of IPv6 is the IPv4 address.
pub(super) fn address(text: &str) -> Option<IpAddr> {
    bracketless(text).parse().ok().map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn no_proxy_names_what_curl_and_go_read_in_it() {
        for (host, list, named) in [
            ("gw.test", "gw.test", true),
            ("GW.Test", "gw.TEST", true),
            ("gw.test.", "gw.test", true),
            ("gw.test", "gw.test.", true),
            ("gw.test", ".gw.test", true),
            ("a.gw.test", ".gw.test.", true),
            ("a.gw.test", "*.gw.test", true),
            ("a.b.gw.test", "gw.test", true),
            ("xgw.test", "gw.test", false),
            ("gw.test", "a.gw.test", false),
            ("gw.test", "*gw.test", false),
            ("gw.test", "x, *", true),
            ("10.1.2.3", "*", true),
            ("gw.test", "x  gw.test", true),
            ("gw.test", "x\tgw.test\n", true),
            ("gw.test", "localhost,.svc,.", false),
            ("gw.test", ".", false),
            ("gw.test", "..", false),
            ("gw.test", "*.", false),
            ("gw.test", ",, ,", false),
            ("gw.test", ":443", false),
            ("gw.test", ".:443", false),
            ("gw.test", "gw.test:443", true),
            ("gw.test", "gw.test.:443", true),
            ("gw.test", "gw.test:8443", false),
            ("gw.test", "gw.test:", false),
            ("gw.test", "gw.test:+443", false),
            ("gw.test", "gw.test:x", false),
            ("gw.test", "10.0.0.0/8", false),
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "10.1.2.3:443", true),
            ("10.1.2.3", "10.1.2.3:80", false),
            ("10.1.2.3", "2.3", false),
            ("10.1.2.3", ".1.2.3", false),
            ("10.1.2.3", "10.0.0.0/8", true),
            ("10.1.2.3", "10.1.2.3/32", true),
            ("10.1.2.3", "10.255.0.0/8", true),
            ("10.1.2.3", "11.0.0.0/8", false),
            ("10.1.2.3", "0.0.0.0/0", true),
            ("10.1.2.3", "10.0.0.0/33", false),
            ("10.1.2.3", "10.0.0.0/+8", false),
            ("10.1.2.3", "10.0.0.0/", false),
            ("10.1.2.3", "10.0.0/8", false),
            ("10.1.2.3", "::/0", false),
            ("10.1.2.3", "::ffff:10.1.2.3", true),
            ("[::ffff:10.1.2.3]", "10.0.0.0/8", true),
            ("[fd00::1]", "fd00::1", true),
            ("fd00::1", "[fd00::1]", true),
            ("[fd00::1]", "[FD00:0::1]:443", true),
            ("[fd00::1]", "[fd00::1]:80", false),
            ("[fd00::1]", "fd00::/8", true),
            ("[fd00::1]", "[fd00::]/8", true),
            ("[fe00::1]", "fd00::/8", false),
        ] {
            assert_eq!(names(list, host, 443), named, "{host} in {list:?}");
        }
    }

    /// The first bits as text, which is compared as text.
    fn beginning(bytes: &[u8], length: usize) -> String {
        bytes.iter().map(|byte| format!("{byte:08b}")).collect::<String>().chars().take(length).collect()
    }

    proptest! {
        #[test]
        fn no_proxy_networks_agree_with_their_bits_as_text(
            base in any::<[u8; 16]>(), flip in 0_usize..140, length in 0_usize..=140, four in any::<bool>(),
        ) {
            let (width, mut other) = (if four { 4 } else { 16 }, base);
            if let Some(byte) = other.get_mut(flip / 8) {
                *byte ^= 0x80 >> (flip % 8);
            }
            let text = |bytes: [u8; 16]| match four {
                true => Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).to_string(),
                false => Ipv6Addr::from(bytes).to_string(),
            };
            // An IPv4 address in the form of IPv6 is compared as IPv4.
            prop_assume!(four || [base, other].iter().all(|bytes| Ipv6Addr::from(*bytes).to_ipv4_mapped().is_none()));
            let same = beginning(&base[..width], length) == beginning(&other[..width], length);
            let named = names(&format!("{}/{length}", text(base)), &text(other), 443);
            prop_assert_eq!(named, length <= width * 8 && same);
        }

        #[test]
        fn no_proxy_reads_any_list_without_a_panic_and_takes_no_proxy_away_by_punctuation(list in "[.:,/\\[\\]0-9+ ]{0,12}") {
            prop_assert!(!names(&list, "eu.example", 443), "{:?}", list);
        }
    }
}
