//! Listeners of both loopback addresses, and of a port that nobody else can join.

use std::net::{Ipv6Addr, SocketAddr, TcpListener};

use crate::harness::{Proxy, connect, eventually, request};

const DENY: &str = "deny = [\"GET /v2/organizations\"]";

/// The same port of `[::1]`; `None` where this system has no IPv6.
fn other(address: SocketAddr) -> Option<SocketAddr> {
    TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok().then(|| (Ipv6Addr::LOCALHOST, address.port()).into())
}

fn status(address: SocketAddr) -> u16 {
    request(address, "GET", "/v2/organizations", "", b"").status
}

#[test]
fn localhost_answers_on_both_loopback_addresses_as_one_listener() {
    let rest = "[probes]\naddress = \"localhost:0\"\n[listeners.both]\naddress = \"localhost:0\"\n";
    let mut proxy = Proxy::start("host = \"sandbox\"", "", rest);
    let both = proxy.listeners["both"];
    assert!(both.is_ipv4(), "{both}");
    let Some(six) = other(both) else { return eprintln!("no IPv6 here") };
    let probes = proxy.probes.expect("a probe listener");
    for address in [probes, other(probes).expect("IPv6")] {
        assert_eq!(request(address, "GET", "/livez", "", b"").status, 200, "{address}");
    }
    // A kept connection sees other rules on either address.
    let mut kept = connect(six);
    crate::reload::ask(&mut kept, "/v2/organizations");
    assert_eq!((status(both), status(six)), (200, 200));
    proxy.reconfigure("", &format!("{rest}{DENY}")).expect("other rules");
    assert_eq!((status(both), status(six)), (403, 403));
    assert_eq!(crate::reload::ask(&mut kept, "/v2/organizations").status, 403);
    // From both addresses to one, and back.
    let one = format!("[listeners.both]\naddress = \"{both}\"\n");
    proxy.reconfigure("", &one).expect("one address");
    eventually("the other is left", || std::net::TcpStream::connect(six).is_err());
    eventually("it answers by the new rules", || answers(both));
    proxy.reconfigure("", &one.replace("127.0.0.1", "localhost")).expect("both addresses");
    eventually("both answer", || answers(both) && answers(six));
}

/// Whether somebody is let in there. A socket that goes may take a connection with it: the kernel gives it to one of
/// several sockets of an address before that one is closed.
fn answers(address: SocketAddr) -> bool {
    let Ok(mut stream) = std::net::TcpStream::connect(address) else { return false };
    let asked = std::io::Write::write_all(&mut stream, b"GET /v2/organizations HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let status = asked.map_or(0, |()| crate::harness::Reply::read(&mut stream, false).status);
    assert!(matches!(status, 0 | 200), "by the rules before: {status}");
    status == 200
}

#[test]
fn localhost_is_not_served_beside_another_process_on_one_of_its_addresses() {
    let Ok(taken) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) else { return eprintln!("no IPv6 here") };
    let port = taken.local_addr().expect("an address").port();
    let mut proxy = Proxy::sandboxed("");
    let refused = proxy.reconfigure("", &format!("[listeners.both]\naddress = \"localhost:{port}\""));
    let said = refused.expect_err("another process would be given callers");
    assert!(said.starts_with(&format!("listener both cannot listen on localhost:{port} (")), "{said}");
}

/// What any process of the same user can try.
#[cfg(target_os = "linux")]
#[test]
fn nobody_can_bind_a_port_of_ours_also_after_a_reload() {
    use socket2::{Domain, Socket, Type};
    let joins = |address: SocketAddr| {
        [(true, true), (true, false), (false, true)].into_iter().any(|(port, address_too)| {
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket");
            socket.set_reuse_port(port).expect("an option");
            socket.set_reuse_address(address_too).expect("an option");
            socket.bind(&address.into()).and_then(|()| socket.listen(8)).is_ok()
        })
    };
    let rest = "[probes]\naddress = \"127.0.0.1:0\"\n[listeners.both]\naddress = \"localhost:0\"\n";
    let mut proxy = Proxy::start("host = \"sandbox\"", "", rest);
    let both = proxy.listeners["both"];
    let mut all = vec![proxy.address, proxy.admin, proxy.probes.expect("a probe listener"), both];
    all.extend(other(both));
    assert_eq!(all.iter().copied().filter(|address| joins(*address)).collect::<Vec<_>>(), []);
    let wide = format!("[listeners.wide]\naddress = \"127.0.0.2:{}\"\n{rest}", both.port());
    proxy.reconfigure("", &wide).expect("one more on the same port");
    assert_eq!(all.iter().copied().filter(|address| joins(*address)).collect::<Vec<_>>(), []);
    let key = ninjaone_proxy::proxy::authn::key::KeyHash::of(b"a-key-of-a-test");
    let open = format!(
        "[listeners.wide]\naddress = \"0.0.0.0:{}\"\ncleartext = true\n[listeners.wide.callers.a]\nkey = \"{key}\"",
        both.port()
    );
    proxy.reconfigure("", &open).expect("a wider address with the same port");
    eventually("the port is closed again", || !joins(both) && !joins(([0, 0, 0, 0], both.port()).into()));
    assert_eq!(status(both), 401);
}
