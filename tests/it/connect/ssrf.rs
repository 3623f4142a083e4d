//! Ways to reach this machine, its network or its cloud's metadata through a tunnel: each is tried, and nothing arrives.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ninjaone_proxy::net::own_addresses::OwnAddresses;
use ninjaone_proxy::proxy::connect::{ConnectRefusal, TunnelTarget, open_with};
use socket2::{Domain, Socket, Type};

use crate::harness::{Proxy, Reply, connect, eventually};

/// Listens at one port of all addresses of this machine, and counts connections.
struct Trap {
    port: u16,
    caught: Arc<AtomicUsize>,
}

impl Trap {
    fn set() -> Self {
        let caught = Arc::<AtomicUsize>::default();
        let four = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a port");
        let port = four.local_addr().expect("an address").port();
        // A system without IPv6 cannot be reached by it.
        let six = Socket::new(Domain::IPV6, Type::STREAM, None).and_then(|socket| {
            socket.set_only_v6(true)?;
            socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into())?;
            socket.listen(16).map(|()| TcpListener::from(socket))
        });
        for listener in [Some(four), six.ok()].into_iter().flatten() {
            let caught = Arc::clone(&caught);
            std::thread::spawn(move || {
                for _stream in listener.incoming() {
                    caught.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        Self { port, caught }
    }

    fn caught(&self) -> usize {
        self.caught.load(Ordering::SeqCst)
    }
}

/// What CONNECT may name: `PORT` is that of the trap, `OWN` that of the listener itself.
const TARGETS: &[&str] = &[
    // This machine.
    "127.0.0.1:PORT",
    "127.0.0.2:PORT",
    "127.255.255.254:PORT",
    "127.1:PORT",
    "127.0.1:PORT",
    "127.0.0.01:PORT",
    "127.000.000.001:PORT",
    "0127.0.0.1:PORT",
    "0177.0.0.1:PORT",
    "0177.1:PORT",
    "017700000001:PORT",
    "00000177.0.0.1:PORT",
    "0x7f.0.0.1:PORT",
    "0x7f.1:PORT",
    "0X7F.1:PORT",
    "0x7f000001:PORT",
    "0x0000007f.0x0.0x0.0x1:PORT",
    "2130706433:PORT",
    "4294967295:PORT",
    "6425673729:PORT",
    "127.0.0.1.:PORT",
    "127.0.0.1%00:PORT",
    "127.0.0.1%20:PORT",
    "%31%32%37.0.0.1:PORT",
    "127%2e0.0.1:PORT",
    "127。0。0。1:PORT",
    "①②⑦.⓪.⓪.①:PORT",
    "１２７.0.0.1:PORT",
    "0:PORT",
    "00:PORT",
    "0x0:PORT",
    "0.0:PORT",
    "0.0.0.0:PORT",
    "[::]:PORT",
    "[0:0:0:0:0:0:0:0]:PORT",
    "[::1]:PORT",
    "[0:0:0:0:0:0:0:1]:PORT",
    "[0000::0001]:PORT",
    "::1:PORT",
    "[::1:PORT",
    "[::1%25lo]:PORT",
    "[::1%lo]:PORT",
    "[::ffff:127.0.0.1]:PORT",
    "[::ffff:7f00:1]:PORT",
    "[0:0:0:0:0:ffff:127.0.0.1]:PORT",
    "[::FFFF:127.0.0.1]:PORT",
    "[::127.0.0.1]:PORT",
    "[::ffff:0:127.0.0.1]:PORT",
    "[64:ff9b::127.0.0.1]:PORT",
    "[64:ff9b:1::7f00:1]:PORT",
    "[2002:7f00:1::]:PORT",
    "[2001:0:7f00:1::]:PORT",
    "[fe80::5efe:127.0.0.1]:PORT",
    "[127.0.0.1]:PORT",
    "[v1.127.0.0.1]:PORT",
    "localhost:PORT",
    "LOCALHOST:PORT",
    "LocalHost:PORT",
    "localhost.:PORT",
    "localhost.localdomain:PORT",
    "ip6-localhost:PORT",
    "files.localhost:PORT",
    "localtest.me:PORT",
    "127.0.0.1.nip.io:PORT",
    "7f000001.nip.io:PORT",
    // Its network.
    "10.0.0.1:PORT",
    "172.16.0.1:PORT",
    "192.168.0.1:PORT",
    "0xc0a80001:PORT",
    "[fe80::1]:PORT",
    "[fe80::1%25eth0]:PORT",
    "[fd00::1]:PORT",
    "[ff02::1]:PORT",
    // The metadata of its cloud.
    "169.254.169.254:80",
    "169.254.43518:80",
    "2852039166:80",
    "0xa9fea9fe:80",
    "0251.0376.0251.0376:80",
    "[::ffff:169.254.169.254]:80",
    "[fd00:ec2::254]:80",
    "100.100.100.200:80",
    "168.63.129.16:80",
    "192.0.0.192:80",
    "metadata.google.internal:80",
    "metadata.google.internal.:80",
    "instance-data:80",
    // The proxy itself.
    "127.0.0.1:OWN",
    "127.0.0.2:OWN",
    "localhost:OWN",
    "[::1]:OWN",
    "0.0.0.0:OWN",
    "[::ffff:127.0.0.1]:OWN",
    // Names that are listed, with more.
    "files.example.com@127.0.0.1:PORT",
    "127.0.0.1@files.example.com:PORT",
    "files.example.com:PORT@127.0.0.1:PORT",
    "files.example.com:PORT#@127.0.0.1:PORT",
    "files.example.com:PORT,127.0.0.1:PORT",
    "files.example.com:PORT/127.0.0.1:PORT",
    "files.example.com:PORT\\@127.0.0.1:PORT",
    "files.example.com:PORT:PORT",
    "files.example.com%00.127.0.0.1:PORT",
    "files.example.com.:PORT",
    "FILES.example.com:PORT",
    "ｆiles.example.com:PORT",
    "files.example.com.127.0.0.1:PORT",
    "xfiles.example.com:PORT",
    "http://files.example.com:PORT/",
    "//127.0.0.1:PORT",
    "*:PORT",
    ":PORT",
    "",
];

#[test]
fn no_text_in_connect_reaches_this_machine_its_network_or_its_metadata() {
    let trap = Trap::set();
    let port = trap.port.to_string();
    // A name that leads to this machine by the system's own look-up, and an address that is listed on purpose.
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("a name");
    let machine = machine.trim_end().to_ascii_lowercase();
    let machine = if TunnelTarget::parse(&machine).is_ok() { &machine } else { "ip6-localhost" };
    let tunnel = format!("tunnel = [\"files.example.com:{port}\", \"127.0.0.3:{port}\", \"{machine}:{port}\"]");
    let proxy = Proxy::sandboxed(&tunnel);
    let own = proxy.address.port().to_string();
    let ask = |target: &str| {
        let target = target.replace("PORT", &port).replace("OWN", &own);
        let mut stream = connect(proxy.address);
        write!(stream, "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n").expect("a request");
        Reply::read(&mut stream, true).status
    };
    assert!(TARGETS.len() >= 80, "{} targets", TARGETS.len());
    for target in TARGETS {
        let status = ask(target);
        assert!(matches!(status, 400 | 403), "{target}: {status}");
    }
    let named = ask(&format!("{machine}:PORT"));
    assert!(matches!(named, 403 | 502), "the name of this machine: {named}");
    assert_eq!(trap.caught(), 0, "something arrived");
    // The trap works, and what is listed on purpose is reached.
    assert_eq!(ask("127.0.0.3:PORT"), 200);
    eventually("it arrives", || trap.caught() == 1);
}

/// What the DNS of a name that is listed may answer.
const ANSWERS: &[&[&str]] = &[
    &["127.0.0.1"],
    &["127.0.0.2"],
    &["127.255.255.254"],
    &["0.0.0.0"],
    &["0.0.0.1"],
    &["::"],
    &["::1"],
    &["::ffff:127.0.0.1"],
    &["::ffff:0.0.0.0"],
    &["::ffff:93.184.215.14"],
    &["::ffff:0:127.0.0.1"],
    &["::127.0.0.1"],
    &["64:ff9b::127.0.0.1"],
    &["64:ff9b::93.184.215.14"],
    &["64:ff9b:1::7f00:1"],
    &["2002:7f00:1::"],
    &["2002:5db8:d70e::1"],
    &["2001::80ff:fffe"],
    &["2606:4700::5efe:127.0.0.1"],
    &["2606:4700::200:5efe:10.0.0.1"],
    &["fe80::1"],
    &["fec0::1"],
    &["fc00::1"],
    &["fd00:ec2::254"],
    &["fd20:ce::254"],
    &["fe80::a9fe:a9fe"],
    &["ff02::1"],
    &["10.0.0.1"],
    &["100.64.0.1"],
    &["100.100.100.200"],
    &["168.63.129.16"],
    &["169.254.169.254"],
    &["169.254.170.2"],
    &["172.16.0.1"],
    &["172.31.255.255"],
    &["192.0.0.192"],
    &["192.168.1.1"],
    &["198.18.0.1"],
    &["224.0.0.1"],
    &["240.0.0.1"],
    &["255.255.255.255"],
    // One among public ones, at each place.
    &["127.0.0.1", "93.184.215.14"],
    &["93.184.215.14", "127.0.0.1"],
    &["93.184.215.14", "93.184.215.15", "::1"],
    &["2606:4700::1111", "93.184.215.14", "169.254.169.254"],
    &["93.184.215.14", "::ffff:10.0.0.1"],
    &["93.184.215.14", "0.0.0.0"],
    // The same addresses again, and none.
    &["127.0.0.1", "127.0.0.1"],
    &[],
];

#[tokio::test]
async fn no_answer_of_dns_reaches_this_machine_its_network_or_its_metadata() {
    let trap = Trap::set();
    let target = TunnelTarget::parse(&format!("files.example.com:{}", trap.port)).expect("a target");
    let own = OwnAddresses::default();
    assert!(ANSWERS.len() >= 40, "{} answers", ANSWERS.len());
    for answers in ANSWERS {
        let found: Vec<IpAddr> = answers.iter().map(|text| text.parse().expect(text)).collect();
        let resolve = async |_: &str| Ok(found);
        let refused = open_with(&target, &own, Duration::from_secs(5), resolve).await.expect_err("a refusal");
        if let ConnectRefusal::NotPublic { address, .. } = refused {
            assert!(answers.iter().any(|text| text.parse() == Ok(address.ip())), "{answers:?}: {address}");
        } else {
            assert!(answers.is_empty(), "{answers:?}: {refused}");
        }
    }
    assert_eq!(trap.caught(), 0, "something arrived");
}

/// DNS may answer something else each time that it is asked. It is asked once for each CONNECT, and what it said then is
/// what is judged and connected to: there is no second answer that could be another.
#[tokio::test]
async fn dns_that_changes_its_answer_reaches_nothing_either() {
    let trap = Trap::set();
    let target = TunnelTarget::parse(&format!("files.example.com:{}", trap.port)).expect("a target");
    let own = OwnAddresses::default();
    let asked = AtomicUsize::new(0);
    for round in 1..=20 {
        let resolve = async |_: &str| {
            // Every second answer would pass, if it were asked for within one CONNECT.
            let answer = if asked.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) { "127.0.0.1" } else { "::1" };
            Ok(vec![answer.parse().expect("an address"), "93.184.215.14".parse().expect("an address")])
        };
        let refused = open_with(&target, &own, Duration::from_secs(5), resolve).await.expect_err("a refusal");
        assert!(matches!(refused, ConnectRefusal::NotPublic { .. }), "{refused}");
        assert_eq!(asked.load(Ordering::SeqCst), round, "asked once for each CONNECT");
    }
    assert_eq!(trap.caught(), 0, "something arrived");
}
