//! The doors: every listener bound, once for each worker.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::StartError;
use super::worker::{Post, Sockets};
use crate::config::Listener;
use crate::config::file::File;
use crate::guard::issuer::Issuer;
use crate::listener::{BindError, Bound, Hold, Inheritance, Limits, Place, Socket};
use crate::tls::server::{Basis, Identity};

/// What the listeners are bound to.
pub(super) struct Doors {
    /// For each worker.
    pub(super) sockets: Vec<Sockets>,
    /// By name.
    pub(super) addresses: Vec<(String, Bound)>,
    pub(super) holds: Vec<Hold>,
}

/// Each listener once for each of `count` workers, and where it is.
pub(super) fn bind_all(listeners: &[Arc<Listener>], file: &File, count: usize) -> Result<Doors, StartError> {
    let mut doors =
        Doors { sockets: (0..count).map(|_| Vec::new()).collect(), addresses: Vec::new(), holds: Vec::new() };
    let mut inheritance = Inheritance::default();
    for listener in listeners {
        let what = format!("listener {}", listener.name);
        let opened =
            listener.place.open(count, &mut inheritance).map_err(|error| bind_error(what, &listener.place, error))?;
        let issuer = Arc::new(Issuer::new().map_err(io::Error::other)?);
        let (listener_of, port) = (Arc::clone(listener), opened.bound.port(listener.tls.is_some()));
        let tls = listener.tls.as_ref().map(|basis| identity(&listener.name, basis)).transpose()?;
        let post = Post { listener: listener_of, port, tls, issuer, limits: limits(file) };
        for (worker, socket) in doors.sockets.iter_mut().zip(opened.sockets) {
            worker.push((socket, post.clone()));
        }
        doors.addresses.push((listener.name.clone(), opened.bound));
        doors.holds.push(opened.hold);
    }
    Ok(doors)
}

/// Follows its certificate to the end of the process.
fn identity(listener: &str, basis: &Basis) -> Result<Identity, StartError> {
    let (identity, follow) = basis.clone().serve().map_err(|error| StartError::Identity(listener.to_owned(), error))?;
    tokio::task::spawn_local(follow);
    Ok(identity)
}

pub(super) fn bind_admin(file: &File) -> Result<Option<(Socket, SocketAddr)>, StartError> {
    let Some(address) = file.admin.address.0 else { return Ok(None) };
    let place = Place::Tcp(address);
    let opened = place
        .open(1, &mut Inheritance::default())
        .map_err(|error| bind_error("admin listener".to_owned(), &place, error))?;
    Ok(opened.sockets.into_iter().next().zip(opened.bound.tcp()))
}

fn bind_error(what: String, place: &Place, source: BindError) -> StartError {
    let kind = match &source {
        BindError::System(error) => Some(error.kind()),
        BindError::Live
        | BindError::NoSocket
        | BindError::Group { .. }
        | BindError::NonePassed
        | BindError::NotPassed(_)
        | BindError::Taken
        | BindError::NotListening
        | BindError::Exposed(_)
        | BindError::NotHere => None,
    };
    let hint = match (place, kind) {
        (Place::Tcp(_), Some(io::ErrorKind::AddrInUse)) => {
            " (another process has the port: end it, or change the address; port 0 takes any free one)"
        }
        (Place::Tcp(_), Some(io::ErrorKind::PermissionDenied)) => {
            " (ports below 1024 need a privilege: choose a higher one)"
        }
        (Place::Unix(_), Some(io::ErrorKind::NotFound)) => {
            " (the folder is missing: make it, or let systemd do so with RuntimeDirectory=)"
        }
        (Place::Unix(_), Some(io::ErrorKind::PermissionDenied)) => {
            " (the user of this process must be allowed to write to the folder, and to the socket if one is there)"
        }
        (Place::Unix(_), Some(io::ErrorKind::InvalidInput)) => {
            " (the path is too long for a socket: systems take about 100 octets)"
        }
        (Place::Tcp(_) | Place::Unix(_) | Place::Inherited(_), _) => "",
    };
    StartError::Bind { what, address: place.clone(), source, hint }
}

fn limits(file: &File) -> Limits {
    Limits {
        head_time: file.timeouts.client.0,
        head_size: usize::try_from(file.limits.head.get_ref().0).unwrap_or(usize::MAX),
        header_count: usize::from(file.limits.headers.get()),
        drain: file.timeouts.drain.0,
        connections: Arc::new(Semaphore::new(file.limits.connections.get() as usize)),
    }
}
