//! Binds a listener: TCP ports, socket files, and sockets that the process was started with.

use std::io;
use std::sync::Arc;

use super::BindError;
use super::address::{Bound, ListenAddress, SocketFile, loopback};
#[cfg(unix)]
use super::inherited::Passed;
use super::tcp::{self, PortGuard};
#[cfg(unix)]
use super::unix;

/// How often a port is looked for that is free on both loopback addresses.
const PORT_TRIES: usize = 16;

/// A bound socket that accepts connections.
#[derive(Debug)]
pub enum ListeningSocket {
    /// On a TCP port.
    Tcp(std::net::TcpListener),
    /// On a socket file.
    #[cfg(unix)]
    Unix(std::os::unix::net::UnixListener),
}

/// The sockets that are bound for a listener.
#[derive(Debug)]
pub struct BoundSockets {
    /// For each worker one, or one for each address.
    pub sockets: Vec<Vec<ListeningSocket>>,
    /// Where they are.
    pub bound: Bound,
    /// Keeps the address until it is dropped.
    pub hold: Hold,
}

/// What must be kept as long as a listener listens; dropping it removes a socket file.
#[derive(Debug, Default)]
pub struct Hold {
    #[cfg(unix)]
    file_guard: Option<unix::SocketFileGuard>,
    port_guards: Vec<PortGuard>,
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
    /// Binds it once for each of `count` workers. There must be only one `inheritance` in a process: looking at it takes
    /// it out of the environment. `own` is what this process listens on already.
    pub fn open(&self, count: usize, inheritance: &mut Inheritance, own: &[&Hold]) -> Result<BoundSockets, BindError> {
        let own: Vec<&PortGuard> = own.iter().flat_map(|hold| &hold.port_guards).collect();
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
        let (mut sockets, mut port_guards) = (Vec::<Vec<ListeningSocket>>::new(), Vec::new());
        for tcp::TcpSockets { listeners, guard } in opened {
            sockets.resize_with(listeners.len(), Vec::new);
            sockets
                .iter_mut()
                .zip(listeners)
                .for_each(|(worker, listener)| worker.push(ListeningSocket::Tcp(listener)));
            port_guards.push(guard);
        }
        let bound = match port_guards.as_slice() {
            [only] => Bound::Tcp(only.address()),
            [first, ..] => Bound::Localhost(first.address().port()),
            [] => Bound::Localhost(0),
        };
        Self { sockets, bound, hold: Hold { port_guards, ..Hold::default() } }
    }
}

/// A system may have one of the two addresses only, which is not a failure: nobody else can be there either. But where
/// another process has the port on one of them, callers of `localhost` would reach it with their keys.
fn open_localhost(port: u16, count: usize, own: &[&PortGuard]) -> io::Result<Vec<tcp::TcpSockets>> {
    let mut tries = 0;
    loop {
        let mut opened = Vec::<tcp::TcpSockets>::new();
        let mut failed = None;
        for mut address in loopback(port) {
            address.set_port(opened.first().map_or(port, |first| first.guard.address().port()));
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
        self.port_guards.iter().all(PortGuard::is_alone)
    }

    /// Gives a socket file that was bound for `old` the group and the permissions of `new`.
    #[cfg(unix)]
    pub fn admit(&self, old: &ListenAddress, new: &ListenAddress) -> Result<(), BindError> {
        match (&self.file_guard, old, new) {
            (Some(file_guard), ListenAddress::Unix(old), ListenAddress::Unix(new)) if old != new => {
                file_guard.admit(old, new)
            }
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
    let (listener, file_guard) = unix::bind(file)?;
    let share = |_| listener.try_clone().map(|one| vec![ListeningSocket::Unix(one)]);
    let sockets = (0..count).map(share).collect::<Result<_, _>>()?;
    Ok(BoundSockets {
        sockets,
        bound: Bound::Unix(file.path.clone()),
        hold: Hold { file_guard: Some(file_guard), ..Hold::default() },
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
