//! Where a listener is to listen, as configured, and where it was bound.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

/// Where a listener listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// A TCP address; port 0 takes any free one.
    Tcp(SocketAddr),
    /// This port of both loopback addresses, 127.0.0.1 and `[::1]`, as far as the system has them; port 0 takes any that
    /// is free on both.
    Localhost(u16),
    /// A socket file; on Unix only.
    Unix(SocketFile),
    /// A socket that the process was started with: its number, from 3, or its name; on Unix only.
    Inherited(String),
}

/// A Unix socket's file, and who may connect to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketFile {
    /// At most 107 bytes on Linux, 103 elsewhere.
    pub path: PathBuf,
    /// Its permissions, at most 0o777: who may write may connect.
    pub mode: u32,
    /// The number of its group; `None` for that of the process or the folder.
    pub group: Option<u32>,
}

/// Where a socket was bound, as callers find it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bound {
    /// The address with its real port.
    Tcp(SocketAddr),
    /// Both loopback addresses, with the same real port.
    Localhost(u16),
    /// The path of the socket.
    Unix(PathBuf),
}

impl ListenAddress {
    /// Whether other machines may reach it.
    pub fn is_exposed(&self) -> bool {
        match self {
            Self::Tcp(address) => !address.ip().to_canonical().is_loopback(),
            Self::Localhost(_) | Self::Unix(_) | Self::Inherited(_) => false,
        }
    }

    /// The TCP addresses that it is bound to.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        match self {
            Self::Tcp(address) => vec![*address],
            Self::Localhost(port) => loopback(*port).into(),
            Self::Unix(_) | Self::Inherited(_) => Vec::new(),
        }
    }

    /// The configured port, for what can be said before it is bound.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp(address) => Some(address.port()),
            Self::Localhost(port) => Some(*port),
            Self::Unix(_) | Self::Inherited(_) => None,
        }
    }

    /// Whether a socket that was bound for `other` serves this place too, as far as can be told without a look at where
    /// it was bound. The permissions of a socket file may differ.
    pub fn is_at(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Unix(own), Self::Unix(other)) => own.path == other.path,
            (Self::Tcp(_) | Self::Localhost(_) | Self::Unix(_) | Self::Inherited(_), _) => self == other,
        }
    }
}

/// 127.0.0.1, and `[::1]`.
pub(super) fn loopback(port: u16) -> [SocketAddr; 2] {
    [(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()]
}

impl Bound {
    /// The address of a TCP socket; the first, if there are two.
    pub fn tcp(&self) -> Option<SocketAddr> {
        self.addresses().first().copied()
    }

    /// All addresses of TCP sockets.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        match self {
            Self::Tcp(address) => vec![*address],
            Self::Localhost(port) => loopback(*port).into(),
            Self::Unix(_) => Vec::new(),
        }
    }

    /// The port that callers may name in `Host`; behind a socket file that of the scheme.
    pub fn port(&self, tls: bool) -> u16 {
        self.tcp().map_or(if tls { 443 } else { 80 }, |address| address.port())
    }

    /// For callers: `http://127.0.0.1:8080`, `https://127.0.0.1:8443`, `unix:/run/ninjaone-proxy/ninja.sock`.
    pub fn url(&self, tls: bool) -> String {
        match self {
            Self::Unix(path) => format!("unix:{}", path.display()),
            Self::Tcp(_) | Self::Localhost(_) => self.urls(tls).into_iter().next().unwrap_or_default(),
        }
    }

    /// The other address, where there are two.
    pub fn other_url(&self, tls: bool) -> Option<String> {
        self.urls(tls).into_iter().nth(1)
    }

    fn urls(&self, tls: bool) -> Vec<String> {
        let scheme = if tls { "https" } else { "http" };
        self.addresses().iter().map(|address| format!("{scheme}://{address}")).collect()
    }
}

/// As in the configuration.
impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Localhost(port) => write!(f, "localhost:{port}"),
            Self::Unix(file) => write!(f, "unix:{}", file.path.display()),
            Self::Inherited(socket) => write!(f, "fd:{socket}"),
        }
    }
}
