//! Where a listener listens, and what is bound there.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

#[cfg(unix)]
use super::inherited::Passed;
use super::tcp::{self, PortGuard};
#[cfg(unix)]
use super::unix;

/// How often a port is looked for that is free on both loopback addresses.
const PORT_TRIES: usize = 16;

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

/// Why nothing can be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A process accepts connections there.
    #[error("another process answers there: end it, or change the address")]
    Live,
    /// The path is taken by something else.
    #[error("there is a file that is not a socket: remove it, or change the address")]
    NoSocket,
    /// The socket cannot be given to its group.
    #[error("the socket cannot be given to the group {group}: the user of this process must be a member of it")]
    Group {
        /// Its number.
        group: u32,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
    /// Nobody passed a socket.
    #[error(
        "no socket was passed to this process (LISTEN_FDS): start it by its systemd socket unit, or change the address"
    )]
    NonePassed,
    /// Others were passed.
    #[error(
        "no such socket was passed to this process: there are {0}; change the address, or Sockets= and FileDescriptorName= of the units"
    )]
    NotPassed(String),
    /// Another listener has it.
    #[error("another listener has this socket: pass one for each listener")]
    Taken,
    /// It is not a TCP or Unix socket that listens.
    #[error("it is not a listening TCP or Unix stream socket: write ListenStream= in its unit, without Accept=yes")]
    NotListening,
    /// It listens beyond this machine.
    #[error(
        "{0} is not a loopback address, and anyone who reaches it would use the proxy's credentials: write ListenStream=127.0.0.1:PORT or a path"
    )]
    Exposed(SocketAddr),
    /// The file is not the one that was bound.
    #[error("the socket file was replaced by somebody else: its permissions cannot be changed; restart the proxy")]
    Replaced,
    /// There are no such sockets here.
    #[error("sockets of this kind do not work on this system: use an address such as \"127.0.0.1:8080\"")]
    NotHere,
    /// What the system says.
    #[error(transparent)]
    System(#[from] io::Error),
}

/// A bound socket that accepts connections.
#[derive(Debug)]
pub enum ListeningSocket {
    /// On a TCP port.
    Tcp(std::net::TcpListener),
    /// On a socket file.
    #[cfg(unix)]
    Unix(std::os::unix::net::UnixListener),
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

/// What is bound at a place.
#[derive(Debug)]
pub struct BoundSockets {
    /// For each worker one, or one for each address.
    pub sockets: Vec<Vec<ListeningSocket>>,
    /// Where that is.
    pub bound: Bound,
    /// Keeps the place until it is dropped.
    pub hold: Hold,
}

/// What must be kept as long as a listener listens; dropping it removes a socket file.
#[derive(Debug, Default)]
pub struct Hold {
    #[cfg(unix)]
    lease: Option<unix::SocketFileGuard>,
    /// Of TCP ports.
    keepers: Vec<PortGuard>,
    /// It is in use, see [`Inheritance`].
    _passed: Option<Arc<()>>,
}

/// The sockets that the process was started with, looked at when the first is wanted. They stay open to its end, so
/// that one can be left and taken up again.
#[derive(Default)]
pub struct Inheritance {
    #[cfg(unix)]
    passed: Option<Passed>,
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

    /// Binds it once for each of `count` workers. There must be only one `inheritance` in a process: looking at it takes
    /// it out of the environment. `own` is what this process listens on already.
    pub fn open(&self, count: usize, inheritance: &mut Inheritance, own: &[&Hold]) -> Result<BoundSockets, BindError> {
        let own: Vec<&PortGuard> = own.iter().flat_map(|hold| &hold.keepers).collect();
        match self {
            Self::Tcp(address) => Ok(BoundSockets::tcp(vec![tcp::bind(*address, count, &own)?])),
            Self::Localhost(port) => Ok(BoundSockets::tcp(open_localhost(*port, count, &own)?)),
            Self::Unix(file) => open_file(file, count),
            Self::Inherited(wanted) => inheritance.open(wanted, count),
        }
    }
}

impl BoundSockets {
    /// Of these addresses, at least one.
    fn tcp(opened: Vec<tcp::TcpSockets>) -> Self {
        let (mut sockets, mut keepers) = (Vec::<Vec<ListeningSocket>>::new(), Vec::new());
        for tcp::TcpSockets { listeners, keeper } in opened {
            sockets.resize_with(listeners.len(), Vec::new);
            sockets
                .iter_mut()
                .zip(listeners)
                .for_each(|(worker, listener)| worker.push(ListeningSocket::Tcp(listener)));
            keepers.push(keeper);
        }
        let bound = match keepers.as_slice() {
            [only] => Bound::Tcp(only.address()),
            [first, ..] => Bound::Localhost(first.address().port()),
            [] => Bound::Localhost(0),
        };
        Self { sockets, bound, hold: Hold { keepers, ..Hold::default() } }
    }
}

/// 127.0.0.1, and `[::1]`.
fn loopback(port: u16) -> [SocketAddr; 2] {
    [(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()]
}

/// A system may have one of the two addresses only, which is not a failure: nobody else can be there either. But where
/// another process has the port on one of them, callers of `localhost` would reach it with their keys.
fn open_localhost(port: u16, count: usize, own: &[&PortGuard]) -> io::Result<Vec<tcp::TcpSockets>> {
    let mut tries = 0;
    loop {
        let mut opened = Vec::<tcp::TcpSockets>::new();
        let mut failed = None;
        for mut address in loopback(port) {
            address.set_port(opened.first().map_or(port, |first| first.keeper.address().port()));
            match tcp::bind(address, count, own) {
                Ok(one) => opened.push(one),
                Err(error) if is_missing(&error) => {}
                Err(error) => failed = Some(error),
            }
        }
        tries += 1;
        match failed {
            None if opened.is_empty() => return Err(io::ErrorKind::AddrNotAvailable.into()),
            None => return Ok(opened),
            Some(error) if port != 0 || error.kind() != io::ErrorKind::AddrInUse || tries == PORT_TRIES => {
                return Err(error);
            }
            // Free on one of them only.
            Some(_) => {}
        }
    }
}

/// Whether the system has no such address, or knows no addresses of its kind.
fn is_missing(error: &io::Error) -> bool {
    #[cfg(unix)]
    let unknown = rustix::io::Errno::AFNOSUPPORT.raw_os_error();
    #[cfg(not(unix))]
    let unknown = 10047;
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(unknown)
}

impl Inheritance {
    /// Takes over what was passed, before anything else could be given it: a program that is started later inherits
    /// neither the sockets nor the variables that tell of them.
    #[cfg(unix)]
    pub fn from_env() -> Self {
        Self { passed: Some(Passed::from_env()) }
    }

    /// Sockets are passed on Unix only.
    #[cfg(not(unix))]
    pub fn from_env() -> Self {
        Self::default()
    }

    /// All workers accept from the one queue.
    #[cfg(unix)]
    fn open(&mut self, wanted: &str, count: usize) -> Result<BoundSockets, BindError> {
        let (socket, bound, used) = self.passed.get_or_insert_with(Passed::from_env).lend(wanted)?;
        let sockets = (0..count).map(|_| socket.share().map(|one| vec![one])).collect::<Result<_, _>>()?;
        Ok(BoundSockets { sockets, bound: bound.clone(), hold: Hold { _passed: Some(used), ..Hold::default() } })
    }

    #[cfg(not(unix))]
    fn open(&mut self, _: &str, _: usize) -> Result<BoundSockets, BindError> {
        Err(BindError::NotHere)
    }
}

impl Hold {
    /// Whether no other process can bind the same port.
    pub fn is_alone(&self) -> bool {
        self.keepers.iter().all(PortGuard::is_alone)
    }

    /// Gives a socket file that was bound for `old` the group and the permissions of `new`.
    #[cfg(unix)]
    pub fn admit(&self, old: &ListenAddress, new: &ListenAddress) -> Result<(), BindError> {
        match (&self.lease, old, new) {
            (Some(lease), ListenAddress::Unix(old), ListenAddress::Unix(new)) if old != new => lease.admit(old, new),
            (
                _,
                ListenAddress::Tcp(_)
                | ListenAddress::Localhost(_)
                | ListenAddress::Unix(_)
                | ListenAddress::Inherited(_),
                _,
            ) => Ok(()),
        }
    }

    /// There are no socket files here.
    #[cfg(not(unix))]
    pub fn admit(&self, _: &ListenAddress, _: &ListenAddress) -> Result<(), BindError> {
        Ok(())
    }
}

/// All workers accept from the one queue.
#[cfg(unix)]
fn open_file(file: &SocketFile, count: usize) -> Result<BoundSockets, BindError> {
    let (listener, lease) = unix::bind(file)?;
    let share = |_| listener.try_clone().map(|one| vec![ListeningSocket::Unix(one)]);
    let sockets = (0..count).map(share).collect::<Result<_, _>>()?;
    Ok(BoundSockets {
        sockets,
        bound: Bound::Unix(file.path.clone()),
        hold: Hold { lease: Some(lease), ..Hold::default() },
    })
}

#[cfg(not(unix))]
fn open_file(_: &SocketFile, _: usize) -> Result<BoundSockets, BindError> {
    Err(BindError::NotHere)
}

/// The number of a group given by name or number; `None` if this system knows no group of that name.
#[cfg(unix)]
pub fn group(name: &str) -> io::Result<Option<u32>> {
    unix::group(name)
}

/// Groups have numbers on Unix only.
#[cfg(not(unix))]
pub fn group(_: &str) -> io::Result<Option<u32>> {
    Ok(None)
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
