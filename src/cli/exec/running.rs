//! Whether a proxy that stands in for NinjaOne listens at the address of a listener.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use http::StatusCode;
use http::header::CONTENT_TYPE;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::cli::health::{Asked, ask_whole};
use crate::net::listener::ListenAddress;
use crate::observe::logging::ErrorChain;

/// How long it may take.
const LIMIT: Duration = Duration::from_secs(3);
/// Where it says which names it stands in for.
const PAC: &str = "/proxy.pac";
const PAC_TYPE: &str = "application/x-ns-proxy-autoconfig";

/// What is there.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The address is free, or is chosen by the system.
    Nobody,
    /// A proxy, and the names for which it stands in.
    StandingIn { address: SocketAddr, names: Vec<String> },
    /// Something that does not help: what it is, and why.
    Other(String),
}

/// Looks there.
pub(super) async fn find(place: &ListenAddress, tls: bool) -> Found {
    for address in place.addresses().into_iter().filter(|address| address.port() != 0).map(reachable) {
        match timeout(LIMIT, look(address, tls)).await {
            Ok(Found::Nobody) => {}
            Ok(found) => return found,
            Err(_) => {
                return Found::Other(format!(
                    "{address} does not answer within {LIMIT:?}, so it is unclear what listens there."
                ));
            }
        }
    }
    Found::Nobody
}

async fn look(address: SocketAddr, tls: bool) -> Found {
    match TcpStream::connect(address).await {
        Ok(_) => {}
        Err(error) if [ErrorKind::ConnectionRefused, ErrorKind::AddrNotAvailable].contains(&error.kind()) => {
            return Found::Nobody;
        }
        Err(error) => return Found::Other(format!("{address} cannot be reached: {error}.")),
    }
    if tls {
        return Found::Other(format!(
            "a proxy runs at {address}, and its listener has TLS, which few programs speak with a proxy."
        ));
    }
    let answer = match ask_whole(address, &Asked { path: PAC, ..Asked::default() }).await {
        Ok(answer) => answer,
        Err(error) => {
            return Found::Other(format!(
                "what listens at {address} is not a proxy of this kind: {}.",
                ErrorChain(&*error)
            ));
        }
    };
    let is_pac =
        answer.headers().get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(PAC_TYPE.as_bytes()));
    let script = String::from_utf8_lossy(answer.body());
    if let Some(names) = names(&script).filter(|_| is_pac && answer.status() == StatusCode::OK) {
        return Found::StandingIn { address, names };
    }
    Found::Other(format!(
        "the proxy at {address} does not stand in for NinjaOne (it answers {PAC} with {}), so the command would go past it.",
        answer.status()
    ))
}

/// The address that means all addresses is that of this machine, for who connects.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

/// The names of the list that a proxy auto-configuration of ours looks the host up in.
fn names(script: &str) -> Option<Vec<String>> {
    let (_, list) = script.split_once('[')?;
    let (list, _) = list.split_once(']')?;
    serde_json::from_str(&format!("[{list}]")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_list() {
        let script = "function FindProxyForURL(url, host) {\n  return [\"eu.ninjarmm.com\",\"gateway\"].indexOf(host.toLowerCase()) < 0 ? \"DIRECT\" : \"PROXY [::1]:8080\";\n}\n";
        assert_eq!(names(script), Some(vec!["eu.ninjarmm.com".to_owned(), "gateway".to_owned()]));
        for other in ["", "return \"DIRECT\";", "[1]", "[\"a\""] {
            assert_eq!(names(other), None, "{other}");
        }
    }

    #[tokio::test]
    async fn a_free_port_is_nobody_and_what_is_not_a_proxy_is_named() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let place = ListenAddress::Tcp(address);
        let answering = tokio::spawn(async move {
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"220 mail.example\r\n").await;
            }
        });
        let Found::Other(what) = find(&place, false).await else { panic!("it is not a proxy") };
        assert!(what.contains(&address.to_string()) && what.contains("is not a proxy"), "{what}");
        answering.await.expect("an end");
        assert_eq!(find(&place, false).await, Found::Nobody);
        assert_eq!(find(&ListenAddress::Localhost(0), false).await, Found::Nobody);
    }
}
