//! The connection to a target of `tunnel`: its name is looked up once, every answer is judged, and only what was judged is
//! connected to.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::refusal::{self, ConnectRefusal};
use super::target::{TunnelHost, TunnelTarget};
use crate::net::dial;
use crate::net::dial::public_address::special_range;
use crate::net::own_addresses::OwnAddresses;

/// Connects to `target` within `limit`, unless that leads to what nobody listed: one of the `own` listeners, or, where
/// `target` has a name, an address that is not public.
pub async fn open(target: &TunnelTarget, own: &OwnAddresses, limit: Duration) -> Result<TcpStream, ConnectRefusal> {
    open_with(target, own, limit, look_up).await
}

/// The same, with names looked up by `resolve`.
pub async fn open_with<R>(
    target: &TunnelTarget,
    own: &OwnAddresses,
    limit: Duration,
    resolve: R,
) -> Result<TcpStream, ConnectRefusal>
where
    R: AsyncFnOnce(&str) -> io::Result<Vec<IpAddr>>,
{
    let deadline = Instant::now() + limit;
    let text = || target.authority().to_owned();
    let late = |_| ConnectRefusal::Timeout(text());
    let found = match target.host() {
        TunnelHost::Address(address) => vec![*address],
        TunnelHost::Name(name) => {
            let found = timeout_at(deadline, resolve(name)).await.map_err(late)?;
            found.map_err(|error| ConnectRefusal::Resolve(text(), error))?
        }
    };
    let judged = judge(target, own, &found)?;
    let raced = timeout_at(deadline, dial::connect_to(&judged)).await.map_err(late)?;
    let stream = raced.map_err(|error| ConnectRefusal::Connect(text(), error))?;
    dial::connect::notice_death(&stream, limit);
    Ok(stream)
}

/// What may be connected to: all of the addresses, or nothing. One address that is not public among others is what a
/// name has whose owner wants to reach this network.
fn judge(target: &TunnelTarget, own: &OwnAddresses, found: &[IpAddr]) -> Result<Vec<SocketAddr>, ConnectRefusal> {
    let text = || target.authority().to_owned();
    if found.is_empty() {
        return Err(ConnectRefusal::Resolve(text(), io::Error::other("it has no address")));
    }
    let named = matches!(target.host(), TunnelHost::Name(_));
    let judged = found.iter().map(|&ip| {
        let address = SocketAddr::new(ip, target.port());
        if let Some(refusal) = refusal::own(target.authority(), address, own) {
            return Err(refusal);
        }
        match special_range(ip).filter(|_| named) {
            Some(range) => Err(ConnectRefusal::NotPublic { target: text(), address, range }),
            None => Ok(address),
        }
    });
    judged.collect::<Result<_, _>>().map(dial::interleaved)
}

async fn look_up(name: &str) -> io::Result<Vec<IpAddr>> {
    // The port is the target's.
    Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    fn target(text: &str) -> TunnelTarget {
        TunnelTarget::parse(text).expect(text)
    }

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().expect(text)).collect()
    }

    fn judged(entry: &str, found: &[&str], own: &[&str]) -> Result<String, String> {
        let mut known = OwnAddresses::default();
        known.add("listeners.local", own.iter().map(|text| text.parse().expect("an address")).collect());
        let judged = judge(&target(entry), &known, &addresses(found)).map_err(|error| error.to_string())?;
        Ok(judged.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn a_name_leads_to_public_addresses_only_and_at_the_port_of_its_entry() {
        let entry = "files.example.com:8443";
        assert_eq!(judged(entry, &["93.184.215.14"], &[]), Ok("93.184.215.14:8443".to_owned()));
        let both = judged(entry, &["2606:4700::1", "2606:4700::2", "93.184.215.14"], &[]);
        assert_eq!(both, Ok("[2606:4700::1]:8443 93.184.215.14:8443 [2606:4700::2]:8443".to_owned()), "in turn");
        for found in [
            &["127.0.0.1"][..],
            &["93.184.215.14", "10.0.0.5"],
            &["93.184.215.14", "93.184.215.15", "::1"],
            &["2606:4700::1", "::ffff:93.184.215.14"],
        ] {
            let said = judged(entry, found, &[]).expect_err("a refusal");
            assert!(said.contains("is not public"), "{found:?}: {said}");
        }
        assert!(judged(entry, &[], &[]).is_err(), "no address");
    }

    #[test]
    fn an_address_that_is_listed_itself_need_not_be_public_and_is_never_a_listener_of_this_process() {
        assert_eq!(judged("10.0.0.5:22", &["10.0.0.5"], &[]), Ok("10.0.0.5:22".to_owned()));
        let own = ["127.0.0.1:8080", "93.184.215.14:443", "0.0.0.0:9180"];
        for (entry, found) in [
            ("127.0.0.1:8080", "127.0.0.1"),
            ("127.0.0.1:9180", "127.0.0.1"),
            ("93.184.215.14", "93.184.215.14"),
            ("files.example.com", "93.184.215.14"),
        ] {
            let said = judged(entry, &[found], &own).expect_err("a refusal");
            assert!(said.contains("leads to where listeners.local of this proxy listens"), "{entry}: {said}");
        }
    }

    #[tokio::test]
    async fn an_address_that_is_listed_is_connected_to_and_no_name_is_looked_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let entry = target(&listener.local_addr().expect("an address").to_string());
        let never = async |_: &str| -> io::Result<Vec<IpAddr>> { panic!("looked up") };
        let stream = open_with(&entry, &OwnAddresses::default(), LIMIT, never).await.expect("a connection");
        let (mut accepted, far) = listener.accept().await.expect("a connection");
        assert_eq!(far, stream.local_addr().expect("an address"));
        drop(stream);
        assert_eq!(accepted.read(&mut [0]).await.expect("an end"), 0);
    }

    #[tokio::test]
    async fn a_name_is_looked_up_once_and_what_it_led_to_first_is_judged() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let asked = Cell::new(0);
        let resolve = async |name: &str| {
            assert_eq!(name, "files.example.com");
            asked.set(asked.get() + 1);
            Ok(addresses(if asked.get() == 1 { &["127.0.0.1"] } else { &["93.184.215.14"] }))
        };
        let entry = target(&format!("files.example.com:{port}"));
        let refused = open_with(&entry, &OwnAddresses::default(), LIMIT, resolve).await.expect_err("a refusal");
        assert!(
            matches!(&refused, ConnectRefusal::NotPublic { address, range: "loopback", .. } if address.ip().is_loopback())
        );
        assert_eq!(asked.get(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_is_not_looked_up_in_time_or_at_all_is_told() {
        let own = OwnAddresses::default();
        let entry = target("files.example.com");
        let hangs = async |_: &str| std::future::pending().await;
        let late = open_with(&entry, &own, LIMIT, hangs).await.expect_err("no connection");
        assert!(matches!(late, ConnectRefusal::Timeout(target) if target == "files.example.com:443"));
        let fails = async |_: &str| Err(io::Error::other("no such name"));
        let unknown = open_with(&entry, &own, LIMIT, fails).await.expect_err("no connection");
        assert!(matches!(unknown, ConnectRefusal::Resolve(..)));
        let empty = async |_: &str| Ok(Vec::new());
        let nowhere = open_with(&entry, &own, LIMIT, empty).await.expect_err("no connection");
        assert!(matches!(nowhere, ConnectRefusal::Resolve(..)));
    }

    #[tokio::test]
    async fn a_server_that_refuses_is_told() {
        let closed = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
        let refused = open(&target(&closed.to_string()), &OwnAddresses::default(), LIMIT).await;
        assert!(matches!(refused, Err(ConnectRefusal::Connect(..))), "{refused:?}");
    }
}
