//! Why a `CONNECT` goes nowhere.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::target::{MAX_NAME, TunnelHost, address, ends_in_number, is_name, plain_port, split_port};
use super::{ConnectTargets, HTTPS};
use crate::net::own_addresses::OwnAddresses;

/// Why a `CONNECT` goes nowhere.
#[derive(Debug, thiserror::Error)]
pub enum ConnectRefusal {
    /// The request is not one that names a server plainly.
    #[error("the CONNECT request is malformed: {0}")]
    Malformed(#[from] BadAuthority),
    /// It names a server that is not listed.
    #[error("{}:{} is not listed", .0.host, .0.port)]
    NotListed(Unlisted),
    /// It would come back.
    #[error("{target} leads to where {listener} of this proxy listens ({address})")]
    OwnListener {
        /// The target.
        target: String,
        /// What the listener is called in the configuration.
        listener: String,
        /// Where it listens.
        address: SocketAddr,
    },
    /// The name of a target has an address that is not public.
    #[error("{target} leads to {address}, which is not public ({range})")]
    NotPublic {
        /// The target.
        target: String,
        /// The first of its addresses that is not public.
        address: SocketAddr,
        /// The range of that address.
        range: &'static str,
    },
    /// The name of a target cannot be looked up, or has no address.
    #[error("the name of {0} cannot be resolved")]
    Resolve(String, #[source] io::Error),
    /// No address of a target can be connected to.
    #[error("no TCP connection to {0}")]
    Connect(String, #[source] io::Error),
    /// There is no connection in time.
    #[error("the connection to {0} took too long")]
    Timeout(String),
}

/// What is wrong with a `CONNECT` request itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadAuthority {
    /// The target has another form than `HOST:PORT`.
    #[error("its target is not HOST:PORT")]
    Form,
    /// HTTP/1.1 without `Host`.
    #[error("it has no Host")]
    HostMissing,
    /// More than one `Host`.
    #[error("it has more than one Host")]
    HostRepeated,
    /// `Host` is another than the target.
    #[error("its Host differs from its target")]
    HostDiffers,
    /// It has a body.
    #[error("it has a body")]
    Content,
    /// A user before the host.
    #[error("its target has user information")]
    UserInfo,
    /// No port.
    #[error("its target has no port")]
    NoPort,
    /// A port that is not one, or has zeros before it.
    #[error("the port of its target is not a number from 1 to 65535")]
    Port,
    /// A host that is longer than a name can be.
    #[error("the host of its target is longer than {MAX_NAME} bytes")]
    TooLong,
    /// Upper-case letters; the name in lower case.
    #[error("the host of its target has upper-case letters")]
    UpperCase(String),
    /// A dot at the end; the name without it.
    #[error("the host of its target ends in a dot")]
    TrailingDot(String),
    /// An address, or a name that some resolvers take for one, in another spelling than the usual one.
    #[error("the host of its target is an address in an unusual spelling")]
    Spelling,
    /// A host with characters that names do not have.
    #[error("the host of its target is not a name or an address")]
    Host,
}

/// A server that is not listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unlisted {
    /// The host, as it came.
    pub host: String,
    /// The port.
    pub port: u16,
    /// What is not listed.
    pub what: UnlistedWhat,
}

/// What of a target is not listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnlistedWhat {
    /// The name.
    Name,
    /// The port; the host is listed with another one.
    Port,
    /// The address.
    Address,
}

/// Why `authority` is not allowed, given that it is not listed as it is.
pub(super) fn of(authority: &str, targets: &ConnectTargets) -> ConnectRefusal {
    match plain(authority) {
        Err(bad) => ConnectRefusal::Malformed(bad),
        Ok((host, port)) => own_listener(&host, port, targets).unwrap_or_else(|| {
            let (text, is_name) = (host.to_string(), matches!(host, TunnelHost::Name(_)));
            let what = match targets.lists(&text) {
                true => UnlistedWhat::Port,
                false if is_name => UnlistedWhat::Name,
                false => UnlistedWhat::Address,
            };
            ConnectRefusal::NotListed(Unlisted { host: text, port, what })
        }),
    }
}

/// The host and port of an authority, each in its one spelling; or what is wrong with it.
fn plain(authority: &str) -> Result<(TunnelHost, u16), BadAuthority> {
    if authority.contains('@') {
        return Err(BadAuthority::UserInfo);
    }
    let (host, port) = split_port(authority);
    let port = plain_port(port.ok_or(BadAuthority::NoPort)?).ok_or(BadAuthority::Port)?;
    if let Some(address) = address(host) {
        let plain = TunnelHost::Address(address.to_canonical());
        return if plain.to_string() == host { Ok((plain, port)) } else { Err(BadAuthority::Spelling) };
    }
    if host.len() > MAX_NAME {
        return Err(BadAuthority::TooLong);
    }
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(BadAuthority::UpperCase(host.to_ascii_lowercase()));
    }
    if ends_in_number(host) {
        return Err(BadAuthority::Spelling);
    }
    if let Some(rest) = host.strip_suffix('.').filter(|rest| is_name(rest)) {
        return Err(BadAuthority::TrailingDot(rest.to_owned()));
    }
    if is_name(host) { Ok((TunnelHost::Name(host.to_owned()), port)) } else { Err(BadAuthority::Host) }
}

/// The listener of this process that is meant plainly. Asks neither DNS nor the system.
fn own_listener(host: &TunnelHost, port: u16, targets: &ConnectTargets) -> Option<ConnectRefusal> {
    let local = match host {
        TunnelHost::Address(address) if address.is_loopback() || address.is_unspecified() => vec![*address],
        TunnelHost::Name(name) if name == "localhost" => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
        TunnelHost::Address(_) | TunnelHost::Name(_) => return None,
    };
    local.into_iter().find_map(|ip| own(&format!("{host}:{port}"), SocketAddr::new(ip, port), targets.own()))
}

/// The refusal of an address that leads to this process.
pub(super) fn own(target: &str, address: SocketAddr, own: &OwnAddresses) -> Option<ConnectRefusal> {
    let (listener, address) = own.reached_by(address)?;
    Some(ConnectRefusal::OwnListener { target: target.to_owned(), listener: listener.to_owned(), address })
}

impl Unlisted {
    /// As an entry of `tunnel`.
    pub fn entry(&self) -> String {
        if self.port == HTTPS { self.host.clone() } else { format!("{}:{}", self.host, self.port) }
    }
}
