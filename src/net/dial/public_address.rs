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

/// The range of an address that is not public; `None` of one that is reachable from everywhere, and is nobody's own.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_public(ip: IpAddr) -> bool {
        special_range(ip).is_none()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect(text)
    }

    #[test]
    fn each_range_begins_and_ends_where_its_registry_says() {
        for (before, first, last, after) in [
            ("", "0.0.0.0", "0.255.255.255", "1.0.0.0"),
            ("9.255.255.255", "10.0.0.0", "10.255.255.255", "11.0.0.0"),
            ("100.63.255.255", "100.64.0.0", "100.127.255.255", "100.128.0.0"),
            ("126.255.255.255", "127.0.0.0", "127.255.255.255", "128.0.0.0"),
            ("168.63.129.15", "168.63.129.16", "168.63.129.16", "168.63.129.17"),
            ("169.253.255.255", "169.254.0.0", "169.254.255.255", "169.255.0.0"),
            ("172.15.255.255", "172.16.0.0", "172.31.255.255", "172.32.0.0"),
            ("191.255.255.255", "192.0.0.0", "192.0.0.255", "192.0.1.0"),
            ("192.0.1.255", "192.0.2.0", "192.0.2.255", "192.0.3.0"),
            ("192.88.98.255", "192.88.99.0", "192.88.99.255", "192.88.100.0"),
            ("192.167.255.255", "192.168.0.0", "192.168.255.255", "192.169.0.0"),
            ("198.17.255.255", "198.18.0.0", "198.19.255.255", "198.20.0.0"),
            ("198.51.99.255", "198.51.100.0", "198.51.100.255", "198.51.101.0"),
            ("203.0.112.255", "203.0.113.0", "203.0.113.255", "203.0.114.0"),
            ("223.255.255.255", "224.0.0.0", "255.255.255.255", ""),
            ("", "::", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2000::"),
            (
                "2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
                "2001::",
                "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff",
                "2001:200::",
            ),
            (
                "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff",
                "2001:db8::",
                "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
                "2001:db9::",
            ),
            ("2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2003::"),
            (
                "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
                "3fff::",
                "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff",
                "3fff:1000::",
            ),
            ("3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "4000::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ""),
        ] {
            for inside in [first, last] {
                assert!(!is_public(ip(inside)), "{inside}");
            }
            for outside in [before, after].into_iter().filter(|text| !text.is_empty()) {
                assert!(is_public(ip(outside)), "{outside}");
            }
        }
    }

    #[test]
    fn an_address_that_is_not_public_is_told_by_its_range() {
        for (address, range) in [
            ("127.0.0.1", "loopback"),
            ("10.1.2.3", "private"),
            ("169.254.169.254", "link-local, where clouds have their metadata"),
            ("100.100.100.200", "shared address space of providers"),
            ("192.0.0.192", "IETF protocol assignments"),
            ("168.63.129.16", "the platform address of Azure, with metadata"),
            ("255.255.255.255", "broadcast"),
            ("::", "unspecified"),
            ("::1", "loopback"),
            ("::ffff:93.184.215.14", "IPv4-mapped"),
            ("::ffff:0:93.184.215.14", "IPv4-translated"),
            ("::93.184.215.14", "IPv4-compatible"),
            ("64:ff9b::93.184.215.14", "NAT64"),
            ("64:ff9b:1::1", "local NAT64"),
            ("100::1", "discard-only"),
            ("100:0:0:1::1", "dummy prefix"),
            ("2001::5ef5:79fb:0:1", "Teredo"),
            ("2001:20::1", "IETF protocol assignments"),
            ("2002:7f00:1::", "6to4"),
            ("2606:4700::5efe:10.0.0.1", "ISATAP"),
            ("2606:4700::200:5efe:10.0.0.1", "ISATAP"),
            ("fd00:ec2::254", "unique local"),
            ("fe80::a9fe:a9fe", "link-local"),
            ("fec0::1", "site-local"),
            ("ff02::1", "multicast"),
            ("5f00::1", "not global unicast"),
        ] {
            assert_eq!(special_range(ip(address)), Some(range), "{address}");
        }
        for address in ["1.1.1.1", "93.184.215.14", "192.31.196.1", "2606:4700::1111", "2620:4f:8000::1"] {
            assert_eq!(special_range(ip(address)), None, "{address}");
        }
    }

    /// The registries as they are published, each with what they say of "Globally Reachable" (true only where they say
    /// so), and multicast. Of the entries that hold an address the one with the most bits says it.
    const REGISTRY: [(&str, bool); 56] = [
        ("0.0.0.0/0", true),
        ("0.0.0.0/8", false),
        ("0.0.0.0/32", false),
        ("10.0.0.0/8", false),
        ("100.64.0.0/10", false),
        ("127.0.0.0/8", false),
        ("169.254.0.0/16", false),
        ("172.16.0.0/12", false),
        ("192.0.0.0/24", false),
        ("192.0.0.0/29", false),
        ("192.0.0.8/32", false),
        ("192.0.0.9/32", true),
        ("192.0.0.10/32", true),
        ("192.0.0.170/32", false),
        ("192.0.0.171/32", false),
        ("192.0.2.0/24", false),
        ("192.31.196.0/24", true),
        ("192.52.193.0/24", true),
        ("192.88.99.0/24", false),
        ("192.88.99.2/32", false),
        ("192.168.0.0/16", false),
        ("192.175.48.0/24", true),
        ("198.18.0.0/15", false),
        ("198.51.100.0/24", false),
        ("203.0.113.0/24", false),
        ("224.0.0.0/4", false),
        ("240.0.0.0/4", false),
        ("255.255.255.255/32", false),
        ("::/0", false),
        ("2000::/3", true),
        ("::1/128", false),
        ("::/128", false),
        ("::ffff:0:0/96", false),
        ("64:ff9b::/96", true),
        ("64:ff9b:1::/48", false),
        ("100::/64", false),
        ("100:0:0:1::/64", false),
        ("2001::/23", false),
        ("2001::/32", false),
        ("2001:1::1/128", true),
        ("2001:1::2/128", true),
        ("2001:1::3/128", true),
        ("2001:2::/48", false),
        ("2001:3::/32", true),
        ("2001:4:112::/48", true),
        ("2001:10::/28", false),
        ("2001:20::/28", true),
        ("2001:30::/28", true),
        ("2001:db8::/32", false),
        ("2002::/16", false),
        ("2620:4f:8000::/48", true),
        ("3fff::/20", false),
        ("5f00::/16", false),
        ("fc00::/7", false),
        ("fe80::/10", false),
        ("ff00::/8", false),
    ];
    /// What is refused in addition.
    const STRICTER: [&str; 4] = ["192.0.0.0/24", "168.63.129.16/32", "64:ff9b::/96", "2001::/23"];

    /// An address as its bits, one character each.
    fn bits(address: IpAddr) -> String {
        match address {
            IpAddr::V4(ip) => ip.octets().iter().map(|byte| format!("{byte:08b}")).collect(),
            IpAddr::V6(ip) => ip.segments().iter().map(|part| format!("{part:016b}")).collect(),
        }
    }

    fn prefix(range: &str) -> String {
        let (first, length) = range.split_once('/').expect(range);
        bits(ip(first))[..length.parse().expect(range)].to_owned()
    }

    fn holds(range: &str, address: IpAddr) -> bool {
        let same_family = range.contains(':') == address.is_ipv6();
        same_family && bits(address).starts_with(&prefix(range))
    }

    fn is_public_by_registry(address: IpAddr) -> bool {
        let holding = REGISTRY.iter().filter(|(range, _)| holds(range, address));
        let reachable = holding.max_by_key(|(range, _)| prefix(range).len()).is_some_and(|(_, reachable)| *reachable);
        let embeds = address.is_ipv6()
            && matches!(&bits(address)[64..96], isatap if [0_u32, 0x0200_0000].iter().any(|kind| {
                isatap == format!("{:032b}", kind | 0x5efe)
            }));
        reachable && !embeds && !STRICTER.iter().any(|range| holds(range, address))
    }

    /// Addresses in the ranges of the registry, at their ends, and just outside.
    fn addresses() -> impl Strategy<Value = IpAddr> {
        let near = (prop::sample::select(&REGISTRY[..]), any::<u128>(), -2_i8..=2, any::<bool>());
        let near = near.prop_map(|((range, _), tail, step, at_end)| {
            let (first, length) = range.split_once('/').expect(range);
            let length: u32 = length.parse().expect(range);
            let shift = |width: u32| width - length;
            let pick = |first: u128, free: u32| {
                let mask = 1_u128.checked_shl(free).map_or(u128::MAX, |end| end - 1);
                let tail = if step != 0 { if at_end { mask } else { 0 } } else { tail & mask };
                (first | tail).wrapping_add_signed(i128::from(step))
            };
            match ip(first) {
                IpAddr::V4(first) => IpAddr::from(Ipv4Addr::from_bits(pick(first.to_bits().into(), shift(32)) as u32)),
                IpAddr::V6(first) => IpAddr::from(Ipv6Addr::from_bits(pick(first.to_bits(), shift(128)))),
            }
        });
        let isatap = (any::<[u16; 8]>(), prop::sample::select(&[0, 0x200, 0x300, 2][..]));
        let isatap = isatap.prop_map(|([a, b, c, d, _, _, g, h], kind)| {
            IpAddr::from(Ipv6Addr::new(a & 0x1fff | 0x2000, b, c, d, kind, 0x5efe, g, h))
        });
        prop_oneof![
            4 => near,
            1 => any::<u32>().prop_map(|bits| IpAddr::from(Ipv4Addr::from_bits(bits))),
            1 => any::<u128>().prop_map(|bits| IpAddr::from(Ipv6Addr::from_bits(bits >> 3 | 1 << 125))),
            1 => isatap,
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn public_is_what_the_registries_call_globally_reachable_and_is_not_held_back(address in addresses()) {
            prop_assert_eq!(is_public(address), is_public_by_registry(address), "{}", address);
        }
    }
}
