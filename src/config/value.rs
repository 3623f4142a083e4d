//! Values as they are written in the file; what is not valid says what would be.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::sections::{TlsChoice, TlsSection};
use crate::net::dial::proxy::HttpProxy;
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

/// Permissions of a file, such as `"0660"`; at most `"0777"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permissions(pub u32);

/// A listener's mode: what becomes of what the rules close; or, for short, the permissions of its Unix socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It is refused.
    Enforce,
    /// It is let through, within the scopes, and noted.
    Observe,
    /// The same as [`Mode::Enforce`], on a socket with these permissions.
    Permissions(Permissions),
}

/// The admin listener's address; `"none"` for no such listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminAddress(pub Option<ListenAddress>);

/// The probe listener's address; `"none"` for no such listener.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProbeAddress(pub Option<ListenAddress>);

/// Where a credential is read from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reference {
    /// An environment variable.
    Env(String),
    /// A file; a line break at its end does not count.
    File(PathBuf),
    /// A systemd credential.
    Credential(String),
    /// Program and arguments of a command that prints it.
    Command(Vec<String>),
}

/// The client id: not a secret, so it may be in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum ClientId {
    /// As it is.
    Plain(String),
    /// By reference.
    Reference(Reference),
}

/// The client secret: never in the file itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct ClientSecret(pub Reference);

/// The HTTP proxy on the way to an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProxyChoice {
    /// `"none"`: also if the environment names one.
    None,
    /// A URL, which may hold a password.
    Url(SecretText),
    /// Where the URL is read from.
    Reference(Reference),
}

/// A text of the file that may hold a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(pub String);

/// It is not printed.
impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The word `"local-ca"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum LocalCaChoice {
    /// The only one.
    #[serde(rename = "local-ca")]
    Word,
}

/// The word, or a table.
struct TlsVisitor;

impl<'de> Visitor<'de> for TlsVisitor {
    type Value = TlsChoice;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"local-ca\" or a table with certificate and key")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<TlsChoice, E> {
        let bad = || {
            E::custom(format!("{text:?} is not a kind of TLS: write \"local-ca\", or a table with certificate and key"))
        };
        (text == "local-ca").then_some(TlsChoice::LocalCa(LocalCaChoice::Word)).ok_or_else(bad)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TlsChoice, A::Error> {
        TlsSection::deserialize(de::value::MapAccessDeserializer::new(map)).map(TlsChoice::Files)
    }
}

impl<'de> Deserialize<'de> for TlsChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TlsVisitor)
    }
}

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

fn parse_mode(text: &str) -> Option<Mode> {
    match text {
        "enforce" => Some(Mode::Enforce),
        "observe" => Some(Mode::Observe),
        _ => parse_permissions(text).map(Mode::Permissions),
    }
}

fn parse_permissions(text: &str) -> Option<Permissions> {
    let octal = (3..=4).contains(&text.len()) && text.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
    let mode = u32::from_str_radix(text, 8).ok().filter(|_| octal)?;
    (mode <= 0o777).then_some(Permissions(mode))
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

pub(super) fn parse_tcp_place(text: &str) -> Result<ListenAddress, String> {
    match parse_localhost(text) {
        Some(port) => Ok(ListenAddress::Localhost(port)),
        None => parse_tcp_address(text).map(ListenAddress::Tcp),
    }
}

pub(super) fn parsed<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, D::Error> {
    deserializer.deserialize_any(TextVisitor(parse))
}

/// A text; a number is one without its quotation marks.
struct TextVisitor<F>(F);

impl<T, F: FnOnce(&str) -> Result<T, String>> Visitor<'_> for TextVisitor<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.0)(text).map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        match (self.0)(&number.to_string()) {
            Ok(_) => Err(E::invalid_type(de::Unexpected::Signed(number), &"a string")),
            Err(error) => Err(E::custom(error)),
        }
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

impl<'de> Deserialize<'de> for Mode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bad = |text: &str| {
            format!(
                "{text:?} is not a mode: valid modes are enforce, observe, or the permissions of a Unix socket, octal digits such as \"0660\", at most \"0777\""
            )
        };
        parsed(deserializer, |text| parse_mode(text).ok_or_else(|| bad(text)))
    }
}

impl<'de> Deserialize<'de> for Permissions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bad = |text: &str| {
            format!("{text:?} is not a set of permissions: write octal digits, such as \"0660\", at most \"0777\"")
        };
        parsed(deserializer, |text| parse_permissions(text).ok_or_else(|| bad(text)))
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

/// The keys of a reference.
const REFERENCES: [&str; 4] = ["env", "file", "credential", "command"];

/// A string, if one is accepted, or a table with one of [`REFERENCES`].
struct ReferenceVisitor;

impl<'de> Visitor<'de> for ReferenceVisitor {
    type Value = ClientId;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{ env = \"VARIABLE\" }, { file = \"PATH\" }, { credential = \"NAME\" } or { command = [\"PROGRAM\", \"ARGUMENT\"] }")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<ClientId, E> {
        Ok(ClientId::Plain(text.to_owned()))
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<ClientId, M::Error> {
        let mut reference = None;
        while let Some(key) = map.next_key::<String>()? {
            if reference.is_some() {
                return Err(de::Error::custom("give only one of env, file, credential and command"));
            }
            reference = Some(match key.as_str() {
                "env" => Reference::Env(map.next_value()?),
                "file" => Reference::File(map.next_value()?),
                "credential" => Reference::Credential(map.next_value()?),
                "command" => Reference::Command(words(map.next_value()?)?),
                other => return Err(de::Error::unknown_field(other, &REFERENCES)),
            });
        }
        reference.map(ClientId::Reference).ok_or_else(|| de::Error::custom("give env, file, credential or command"))
    }
}

fn words<E: de::Error>(words: Vec<String>) -> Result<Vec<String>, E> {
    let named = words.first().is_some_and(|program| !program.is_empty());
    named.then_some(words).ok_or_else(|| E::custom("a command begins with the name of a program"))
}

impl<'de> Deserialize<'de> for ClientId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ReferenceVisitor)
    }
}

impl<'de> Deserialize<'de> for ClientSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_any(ReferenceVisitor)? {
            ClientId::Reference(reference) => Ok(Self(reference)),
            ClientId::Plain(_) => Err(de::Error::custom(
                "a secret must not be in this file: give it as { env = \"VARIABLE\" }, { file = \"PATH\" }, { credential = \"NAME\" } or { command = [\"PROGRAM\", \"ARGUMENT\"] }, and regenerate one that was here",
            )),
        }
    }
}

impl<'de> Deserialize<'de> for ProxyChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_any(ReferenceVisitor)? {
            ClientId::Reference(reference) => Ok(Self::Reference(reference)),
            ClientId::Plain(text) if text == "none" => Ok(Self::None),
            ClientId::Plain(text) => match HttpProxy::parse(&text) {
                Ok(_) => Ok(Self::Url(SecretText(text))),
                Err(error) => Err(de::Error::custom(error)),
            },
        }
    }
}

/// Without credentials.
impl Serialize for ProxyChoice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => serializer.serialize_str("none"),
            Self::Url(SecretText(text)) => match HttpProxy::parse(text) {
                Ok(proxy) => serializer.collect_str(&proxy),
                Err(_) => serializer.serialize_str("***"),
            },
            Self::Reference(reference) => reference.serialize(serializer),
        }
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

impl Serialize for Mode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Enforce => serializer.serialize_str("enforce"),
            Self::Observe => serializer.serialize_str("observe"),
            Self::Permissions(permissions) => permissions.serialize(serializer),
        }
    }
}

impl Serialize for Permissions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:04o}", self.0))
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

    #[test]
    fn mode_is_a_word_or_three_or_four_octal_digits() {
        let permissions = |mode| Some(Mode::Permissions(Permissions(mode)));
        assert_eq!((parse_mode("0660"), parse_mode("600")), (permissions(0o660), permissions(0o600)));
        assert_eq!(parse_mode("observe"), Some(Mode::Observe));
        for bad in ["", "66", "0680", "1777", "07777", "+660", "rw"] {
            assert_eq!(parse_mode(bad), None, "{bad}");
        }
    }

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
