//! Sockets that the process was started with: systemd's socket activation (`LISTEN_FDS`, sd_listen_fds(3)).

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use listenfd::ListenFd;
use socket2::SockRef;

use super::BindError;
use super::address::Bound;
use super::bind::ListeningSocket;

/// The number of the first socket that is passed.
const FIRST: usize = 3;

/// The sockets that were passed; each serves one listener at a time.
pub(super) struct Passed {
    /// How many.
    count: usize,
    /// Those of a kind that can be served.
    sockets: BTreeMap<usize, ListeningSocket>,
    /// Of no use here, and closed to the programs that we start.
    _others: Vec<Other>,
    /// Those that were wanted.
    taken: BTreeMap<usize, TakenSockets>,
    /// As given by `FileDescriptorName=`; may be fewer than sockets.
    names: Vec<String>,
}

/// A socket that carries no connections.
enum Other {
    Udp { _socket: UdpSocket },
    Unix { _socket: UnixDatagram },
}

struct TakenSockets {
    socket: ListeningSocket,
    bound: Bound,
    /// Gone when no listener has it.
    used: Weak<()>,
}

impl Passed {
    /// Takes note of what was passed, and takes that out of the environment.
    pub(super) fn from_env() -> Self {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut passed = ListenFd::from_env();
        let (count, mut sockets, mut others) = (passed.len(), BTreeMap::new(), Vec::new());
        for index in 0..count {
            // Whatever is taken is closed to programs that are started from now on.
            if let Ok(Some(listener)) = passed.take_tcp_listener(index) {
                sockets.insert(index, ListeningSocket::Tcp(listener));
            } else if let Ok(Some(listener)) = passed.take_unix_listener(index) {
                sockets.insert(index, ListeningSocket::Unix(listener));
            } else if let Ok(Some(socket)) = passed.take_udp_socket(index) {
                others.push(Other::Udp { _socket: socket });
            } else if let Ok(Some(socket)) = passed.take_unix_datagram(index) {
                others.push(Other::Unix { _socket: socket });
            }
        }
        let names = names.split(':').map(str::to_owned).collect();
        Self { count, sockets, _others: others, taken: BTreeMap::new(), names }
    }

    /// The socket with this number, from 3, or name; it must listen. It is in use until the last part is dropped.
    pub(super) fn lend(&mut self, wanted: &str) -> Result<(&ListeningSocket, &Bound, Arc<()>), BindError> {
        let index = self.index(wanted)?;
        let TakenSockets { socket, bound, used } = match self.taken.entry(index) {
            Entry::Occupied(taken) if taken.get().used.strong_count() > 0 => return Err(BindError::Taken),
            Entry::Occupied(taken) => taken.into_mut(),
            Entry::Vacant(vacant) => vacant.insert(take(self.sockets.remove(&index).ok_or(BindError::NotListening)?)?),
        };
        let using = Arc::new(());
        *used = Arc::downgrade(&using);
        Ok((socket, bound, using))
    }

    fn index(&self, wanted: &str) -> Result<usize, BindError> {
        if self.count == 0 {
            return Err(BindError::NonePassed);
        }
        let index = match wanted.parse::<usize>() {
            Ok(number) => number.checked_sub(FIRST).filter(|index| *index < self.count),
            Err(_) => self.names.iter().take(self.count).position(|name| name == wanted),
        };
        index.ok_or_else(|| BindError::NotPassed(self.list()))
    }

    /// `3 (ninja), 4`
    fn list(&self) -> String {
        let names = self.names.iter().map(Some).chain(std::iter::repeat(None));
        let entry = |(number, name): (usize, Option<&String>)| match name {
            Some(name) if !name.is_empty() => format!("{number} ({name})"),
            Some(_) | None => number.to_string(),
        };
        (FIRST..FIRST + self.count).zip(names).map(entry).collect::<Vec<_>>().join(", ")
    }
}

fn take(socket: ListeningSocket) -> Result<TakenSockets, BindError> {
    let (socket, bound) = match socket {
        ListeningSocket::Tcp(listener) => of_tcp(listener)?,
        ListeningSocket::Unix(listener) => of_unix(listener),
    };
    socket.ready()?;
    Ok(TakenSockets { socket, bound, used: Weak::new() })
}

fn of_tcp(listener: TcpListener) -> Result<(ListeningSocket, Bound), BindError> {
    let address: SocketAddr = listener.local_addr()?;
    if !address.ip().to_canonical().is_loopback() {
        return Err(BindError::Exposed(address));
    }
    Ok((ListeningSocket::Tcp(listener), Bound::Tcp(address)))
}

fn of_unix(listener: UnixListener) -> (ListeningSocket, Bound) {
    let path = listener.local_addr().ok().and_then(|address| address.as_pathname().map(PathBuf::from));
    (ListeningSocket::Unix(listener), Bound::Unix(path.unwrap_or_else(|| "(no path)".into())))
}

impl ListeningSocket {
    /// Sees to it that it listens and does not block.
    fn ready(&self) -> Result<(), BindError> {
        let socket = match self {
            Self::Tcp(listener) => SockRef::from(listener),
            Self::Unix(listener) => SockRef::from(listener),
        };
        if !listens(&socket)? {
            return Err(BindError::NotListening);
        }
        Ok(socket.set_nonblocking(true)?)
    }

    /// Another handle of the same queue.
    pub(super) fn share(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(listener) => listener.try_clone().map(Self::Tcp),
            Self::Unix(listener) => listener.try_clone().map(Self::Unix),
        }
    }
}

#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
fn listens(socket: &SockRef<'_>) -> io::Result<bool> {
    socket.is_listener()
}

/// Other systems do not tell; accepting fails there.
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
fn listens(_: &SockRef<'_>) -> io::Result<bool> {
    Ok(true)
}
