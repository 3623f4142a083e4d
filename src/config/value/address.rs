//! Addresses: of listeners, of the admin and the probe listener, and of an instance.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde::de::Deserializer;
use serde::{Deserialize, Serialize, Serializer};

use super::parsed;
use crate::net::listener::ListenAddress;

/// An address of an instance, without a port: that is the host's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct InstanceAddress(pub IpAddr);

/// Where a listener listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A socket address.
    Tcp(SocketAddr),
    /// `localhost:PORT`: that port of 127.0.0.1 and of `[::1]`.
    Localhost(u16),
    /// `unix:PATH`; a relative path is meant relative to the file.
    Unix(PathBuf),
    /// `fd:N` or `fd:NAME`: a socket that the process is started with.
    Fd(String),
}

/// The admin listener's address; `"none"` for no such listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminAddress(pub Option<ListenAddress>);

/// The probe listener's address; `"none"` for no such listener.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProbeAddress(pub Option<ListenAddress>);

fn parse_address(text: &str) -> Result<Address, String> {
    match text.split_once(':') {
        Some(("unix", path)) => parse_socket_path(path).map(Address::Unix),
        Some(("fd", socket)) => parse_fd(socket).map(Address::Fd),
        Some(_) | None => match parse_localhost(text) {
            Some(port) => Ok(Address::Localhost(port)),
            None => parse_tcp_address(text).map(Address::Tcp),
        },
    }
}

/// The port of `localhost:PORT`.
fn parse_localhost(text: &str) -> Option<u16> {
    let (name, port) = text.split_once(':')?;
    let digits = port.bytes().all(|digit| digit.is_ascii_digit());
    port.parse().ok().filter(|_| digits && name.eq_ignore_ascii_case("localhost"))
}

fn parse_socket_path(path: &str) -> Result<PathBuf, String> {
    if cfg!(not(unix)) {
        return Err("Unix sockets do not work on this system: write IP:PORT, such as \"127.0.0.1:8080\"".to_owned());
    }
    if path.is_empty() || path.ends_with('/') || path.starts_with(['@', '\0']) {
        return Err(format!(
            "{path:?} is not the path of a socket: write unix:PATH, such as \"unix:/run/ninjaone-proxy/ninja.sock\" (abstract sockets have no permissions, so that everybody could connect)"
        ));
    }
    Ok(PathBuf::from(path))
}

/// Names are those that systemd takes for FileDescriptorName=.
fn parse_fd(socket: &str) -> Result<String, String> {
    if cfg!(not(unix)) {
        return Err("sockets are passed on Unix only: write IP:PORT, such as \"127.0.0.1:8080\"".to_owned());
    }
    let number = socket.bytes().all(|byte| byte.is_ascii_digit());
    let good = match socket.parse::<u16>() {
        Ok(number) => number >= 3,
        Err(_) => !number && socket.len() < 256 && socket.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':'),
    };
    good.then(|| socket.to_owned()).ok_or_else(|| {
        format!("{socket:?} is not a passed socket: write fd:NUMBER from 3 on, such as \"fd:3\", or fd:NAME with the FileDescriptorName= of its systemd unit")
    })
}

fn parse_tcp_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!(
            "{text:?} is not an address: write localhost:PORT or IP:PORT, such as \"localhost:8080\", \"127.0.0.1:8080\" or \"[::1]:8080\" (a listener may also have \"unix:PATH\" or \"fd:NAME\"){}",
            meant_address(text)
        )
    })
}

/// A port alone.
fn meant_address(text: &str) -> String {
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    let port = port.parse::<u16>().ok().filter(|_| ["", "*"].contains(&host));
    port.map_or_else(String::new, |port| format!("; did you mean \"localhost:{port}\"?"))
}

/// The admin listener tells no secret, but it asks nobody who he is.
fn parse_loopback(text: &str) -> Result<ListenAddress, String> {
    let place = parse_tcp_place(text)?;
    if !place.is_exposed() {
        return Ok(place);
    }
    Err(format!(
        "{text:?} is not a loopback address, and anyone who reaches this port could read it: use localhost, 127.0.0.1 or [::1]"
    ))
}

pub(in crate::config) fn parse_tcp_place(text: &str) -> Result<ListenAddress, String> {
    match parse_localhost(text) {
        Some(port) => Ok(ListenAddress::Localhost(port)),
        None => parse_tcp_address(text).map(ListenAddress::Tcp),
    }
}

impl<'de> Deserialize<'de> for InstanceAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer, |text| {
            let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
            let ip = bare.parse().ok().filter(|ip: &IpAddr| !ip.is_unspecified() && !ip.is_multicast());
            ip.map(Self).ok_or_else(|| {
                let hint = match text.parse::<SocketAddr>() {
                    Ok(address) => format!("write {:?} alone, the port is that of host", address.ip().to_string()),
                    Err(_) => "write IP addresses, such as [\"198.51.100.7\"] or [\"2001:db8::7\"]".to_owned(),
                };
                format!("{text:?} is not an address of an instance: {hint}")
            })
        })
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer, parse_address)
    }
}

impl<'de> Deserialize<'de> for AdminAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(
            deserializer,
            |text| {
                if text == "none" { Ok(Self(None)) } else { parse_loopback(text).map(|a| Self(Some(a))) }
            },
        )
    }
}

impl<'de> Deserialize<'de> for ProbeAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer, |text| match text {
            "none" => Ok(Self(None)),
            _ => parse_tcp_place(text).map(|place| Self(Some(place))),
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Localhost(port) => write!(f, "localhost:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Fd(socket) => write!(f, "fd:{socket}"),
        }
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn or_none<S: Serializer>(address: Option<&ListenAddress>, serializer: S) -> Result<S::Ok, S::Error> {
    match address {
        Some(address) => serializer.collect_str(address),
        None => serializer.serialize_str("none"),
    }
}

impl Serialize for AdminAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        or_none(self.0.as_ref(), serializer)
    }
}

impl Serialize for ProbeAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        or_none(self.0.as_ref(), serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn address_is_a_port_a_socket_file_or_a_passed_socket() {
        assert_eq!(parse_address("[::1]:80"), Ok(Address::Tcp("[::1]:80".parse().expect("an address"))));
        assert_eq!(parse_address("unix:/run/x/y.sock"), Ok(Address::Unix("/run/x/y.sock".into())));
        assert_eq!(parse_address("fd:3"), Ok(Address::Fd("3".to_owned())));
        assert_eq!(parse_address("fd:ninja.socket"), Ok(Address::Fd("ninja.socket".to_owned())));
        for bad in ["fd:", "fd:2", "fd:99999", "fd:a:b", "fd:a b", "fd"] {
            assert!(parse_address(bad).is_err(), "{bad}");
        }
        for bad in ["", "unix", "unix:", "unix:/run/", "unix:@x", "127.0.0.1", "tcp:127.0.0.1:80"] {
            assert!(parse_address(bad).is_err(), "{bad}");
        }
    }
}
