//! Why a listener cannot be bound.

use std::io;
use std::net::SocketAddr;

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
