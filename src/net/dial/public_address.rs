//! Public addresses: those that the registries of IANA call globally reachable, and that nobody uses for anything else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A range of addresses that are not public: those whose first bits are the same.
struct SpecialRange<A> {
    first: A,
    /// The number of those bits.
    length: u32,
    name: &'static str,
}

/// The IANA IPv4 Special-Purpose Address Registry (RFC 6890), with what is not globally reachable, as of 2026. The whole
/// of 192.0.0.0/24 is left out, of which two anycast addresses are reachable: a cloud has its metadata at another one.
/// In addition multicast, and the one address of a cloud that is public by its number.
const IPV4: [SpecialRange<Ipv4Addr>; 17] = [
    v4([0, 0, 0, 0], 8, "this network"),
    v4([10, 0, 0, 0], 8, "private"),
    v4([100, 64, 0, 0], 10, "shared address space of providers"),
    v4([127, 0, 0, 0], 8, "loopback"),
    v4([168, 63, 129, 16], 32, "the platform address of Azure, with metadata"),
    v4([169, 254, 0, 0], 16, "link-local, where clouds have their metadata"),
    v4([172, 16, 0, 0], 12, "private"),
    v4([192, 0, 0, 0], 24, "IETF protocol assignments"),
    v4([192, 0, 2, 0], 24, "documentation"),
    v4([192, 88, 99, 0], 24, "6to4 relays"),
    v4([192, 168, 0, 0], 16, "private"),
    v4([198, 18, 0, 0], 15, "benchmarking"),
    v4([198, 51, 100, 0], 24, "documentation"),
    v4([203, 0, 113, 0], 24, "documentation"),
    v4([224, 0, 0, 0], 4, "multicast"),
    v4([255, 255, 255, 255], 32, "broadcast"),
    v4([240, 0, 0, 0], 4, "reserved"),
];

/// The IANA IPv6 Special-Purpose Address Registry, as above, and everything outside of 2000::/3, which is all that is
/// assigned for global unicast. What has an IPv4 address in it is never public: it would be judged twice.
const IPV6: [SpecialRange<Ipv6Addr>; 21] = [
    v6([0, 0, 0, 0, 0, 0, 0, 0], 128, "unspecified"),
    v6([0, 0, 0, 0, 0, 0, 0, 1], 128, "loopback"),
    v6([0, 0, 0, 0, 0, 0xffff, 0, 0], 96, "IPv4-mapped"),
    v6([0, 0, 0, 0, 0xffff, 0, 0, 0], 96, "IPv4-translated"),
    v6([0, 0, 0, 0, 0, 0, 0, 0], 96, "IPv4-compatible"),
    v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96, "NAT64"),
    v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48, "local NAT64"),
    v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64, "discard-only"),
    v6([0x100, 0, 0, 1, 0, 0, 0, 0], 64, "dummy prefix"),
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32, "Teredo"),
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23, "IETF protocol assignments"),
    v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32, "documentation"),
    v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16, "6to4"),
    v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, "documentation"),
    v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, "unique local"),
    v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, "link-local"),
    v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, "site-local"),
    v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8, "multicast"),
    v6([0, 0, 0, 0, 0, 0, 0, 0], 3, "not global unicast"),
    v6([0x4000, 0, 0, 0, 0, 0, 0, 0], 2, "not global unicast"),
    v6([0x8000, 0, 0, 0, 0, 0, 0, 0], 1, "not global unicast"),
];

const fn v4([a, b, c, d]: [u8; 4], length: u32, name: &'static str) -> SpecialRange<Ipv4Addr> {
    SpecialRange { first: Ipv4Addr::new(a, b, c, d), length, name }
}

const fn v6([a, b, c, d, e, f, g, h]: [u16; 8], length: u32, name: &'static str) -> SpecialRange<Ipv6Addr> {
    SpecialRange { first: Ipv6Addr::new(a, b, c, d, e, f, g, h), length, name }
}

/// Whether an address is reachable from everywhere, and is nobody's own.
pub fn is_public(ip: IpAddr) -> bool {
    special_range(ip).is_none()
}

/// The range of an address that is not public.
pub fn special_range(ip: IpAddr) -> Option<&'static str> {
    match ip {
        IpAddr::V4(ip) => IPV4
            .iter()
            .find(|range| {
                let differs = ip.to_bits() ^ range.first.to_bits();
                differs.leading_zeros() >= range.length
            })
            .map(|range| range.name),
        IpAddr::V6(ip) => {
            let found = IPV6.iter().find(|range| {
                let differs = ip.to_bits() ^ range.first.to_bits();
                differs.leading_zeros() >= range.length
            });
            found.map(|range| range.name).or_else(|| is_isatap(ip).then_some("ISATAP"))
        }
    }
}

/// RFC 5214 section 6.1: an IPv4 address behind 0:5efe or 200:5efe, whatever the first half is.
fn is_isatap(ip: Ipv6Addr) -> bool {
    let [_, _, _, _, kind, id, _, _] = ip.segments();
    id == 0x5efe && matches!(kind, 0 | 0x200)
}
