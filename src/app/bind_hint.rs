//! What to do when an address cannot be bound.

use std::io;

use super::StartError;
use crate::net::listener::{self, BindError, ListenAddress};

/// What to do where a port is refused.
#[cfg(target_os = "linux")]
const PRIVILEGE: &str = " (ports below 1024 need a privilege: AmbientCapabilities=CAP_NET_BIND_SERVICE in the systemd unit; or \"sudo setcap cap_net_bind_service=+ep\" on the program; or a systemd socket unit and address = \"fd:NAME\"; else choose a port from 1024 on)";
#[cfg(not(target_os = "linux"))]
const PRIVILEGE: &str = " (this user may not bind the port: choose another one, from 1024 on)";

/// The error with a hint that fits its cause.
pub(super) fn bind_error(what: String, place: &ListenAddress, source: BindError) -> StartError {
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
        | BindError::Replaced
        | BindError::NotHere => None,
    };
    let hint = match (place, kind) {
        (ListenAddress::Tcp(_) | ListenAddress::Localhost(_), Some(io::ErrorKind::AddrInUse)) => {
            let who = place.port().and_then(listener::occupant).unwrap_or_else(|| "another process".to_owned());
            format!(" ({who} has the port: end it, or choose another port; port 0 takes any free one)")
        }
        (ListenAddress::Tcp(_) | ListenAddress::Localhost(_), Some(io::ErrorKind::PermissionDenied)) => {
            PRIVILEGE.to_owned()
        }
        (ListenAddress::Unix(_), Some(io::ErrorKind::NotFound)) => {
            " (the folder is missing: make it, or let systemd do so with RuntimeDirectory=)".to_owned()
        }
        (ListenAddress::Unix(_), Some(io::ErrorKind::PermissionDenied)) => {
            " (the user of this process must be allowed to write to the folder, and to the socket if one is there)"
                .to_owned()
        }
        (ListenAddress::Unix(_), Some(io::ErrorKind::InvalidInput)) => {
            " (the path is too long for a socket: systems take about 100 bytes)".to_owned()
        }
        (
            ListenAddress::Tcp(_) | ListenAddress::Localhost(_) | ListenAddress::Unix(_) | ListenAddress::Inherited(_),
            _,
        ) => String::new(),
    };
    StartError::Bind { what, address: place.clone(), source, hint }
}
