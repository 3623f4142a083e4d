//! Taking connections, and a slot for each.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
#[cfg(unix)]
use tokio::net::{UnixListener, UnixStream};

use super::Peer;
#[cfg(unix)]
use super::User;
use super::slots::{ConnectionSlot, OpenConnections};

/// A listening socket.
pub(super) trait Accept {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + 'static;

    /// The next connection, and who is at its far end.
    async fn next(&self) -> io::Result<(Self::Stream, Peer)>;
}

impl Accept for TcpListener {
    type Stream = TcpStream;

    async fn next(&self) -> io::Result<(TcpStream, Peer)> {
        let (stream, address) = self.accept().await?;
        // Fails only for a caller who has left already.
        let _ = stream.set_nodelay(true);
        Ok((stream, Peer::tcp(address)))
    }
}

#[cfg(unix)]
impl Accept for UnixListener {
    type Stream = UnixStream;

    async fn next(&self) -> io::Result<(UnixStream, Peer)> {
        let (stream, _) = self.accept().await?;
        // Fails only for a caller who has left already, on systems that forget who that was.
        let user = stream.peer_cred().map_err(|_| io::ErrorKind::ConnectionAborted)?;
        Ok((stream, Peer::unix(User { uid: user.uid(), gid: user.gid(), pid: user.pid() })))
    }
}

/// A connection, and a slot for it. One connection beyond the limit waits here, further ones in the kernel: a slot
/// taken before the connection would be kept from the other workers.
pub(super) async fn accept<A: Accept>(
    listener: &A,
    connections: &OpenConnections,
) -> io::Result<(A::Stream, Peer, ConnectionSlot)> {
    let (stream, peer) = listener.next().await?;
    let slot = connections.slot(&peer).await;
    Ok((stream, peer, slot))
}
