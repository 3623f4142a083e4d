//! The doors: every listener bound, once for each worker. One that stays in its place keeps its sockets over reloads.

use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use super::StartError;
use super::worker::{ListenerSpec, Sockets};
use crate::config::ListenerConfig;
use crate::config::sections::ConfigFile;
use crate::net::listener::{
    self, BindError, Bound, BoundSockets, Buffers, ConnectionConfig, ConnectionLimits, Hold, Inheritance,
    ListenAddress, ListenerLabel, ListeningSocket, Slots,
};
use crate::net::shutdown::{self, Shutdown, Trigger};
use crate::net::tls::server::{Identity, IdentitySource};
use crate::proxy::authn::local_tokens::LocalTokens;

/// What to do where a port is refused.
#[cfg(target_os = "linux")]
const PRIVILEGE: &str = " (ports below 1024 need a privilege: AmbientCapabilities=CAP_NET_BIND_SERVICE in the systemd unit; or \"sudo setcap cap_net_bind_service=+ep\" on the program; or a systemd socket unit and address = \"fd:NAME\"; else choose a port from 1024 on)";
#[cfg(not(target_os = "linux"))]
const PRIVILEGE: &str = " (this user may not bind the port: choose another one, from 1024 on)";

/// How often, and how many times, a port that has an older listener too is looked at.
const LOOK: Duration = Duration::from_secs(1);
const CLOSING: u32 = 120;

/// A bound listener. Clones are the same door; when the last is dropped, nobody serves it any more.
#[derive(Clone)]
pub(super) struct BoundListener {
    pub(super) id: u64,
    /// The listener's.
    pub(super) name: String,
    pub(super) bound: Bound,
    place: ListenAddress,
    hold: Arc<Hold>,
    stop: Arc<Trigger>,
    stopped: Shutdown,
    connections: Arc<Semaphore>,
    /// The most connections.
    limit: u32,
    tls: Option<Arc<FollowedCertificate>>,
    issuer: Arc<LocalTokens>,
}

/// The certificate of a listener, which is followed as long as somebody has this.
struct FollowedCertificate {
    basis: IdentitySource,
    identity: Identity,
    following: AbortHandle,
}

impl Drop for FollowedCertificate {
    fn drop(&mut self) {
        self.following.abort();
    }
}

/// What the listeners of a configuration are bound to. Dropping it closes what was opened for it.
pub(super) struct BoundListeners {
    /// In the order of the listeners.
    pub(super) doors: Vec<BoundListener>,
    /// The new ones, for each worker.
    pub(super) sockets: Vec<Sockets>,
}

/// Opens doors.
pub(super) struct ListenerBinder {
    inheritance: Inheritance,
    count: u64,
}

impl ListenerBinder {
    /// With the sockets that the process was started with.
    pub(super) fn new(inheritance: Inheritance) -> Self {
        Self { inheritance, count: 0 }
    }

    /// A door for each listener: one of `old` where there is one at its place, else one with a socket for each of
    /// `workers`. Changes nothing of `old`.
    pub(super) fn open(
        &mut self,
        listeners: &[Arc<ListenerConfig>],
        old: &[BoundListener],
        file: &ConfigFile,
        workers: usize,
    ) -> Result<BoundListeners, StartError> {
        let mut doors = BoundListeners { doors: Vec::new(), sockets: (0..workers).map(|_| Vec::new()).collect() };
        for listener in listeners {
            let kept = old.iter().find(|door| door.serves(listener) && !doors.doors.iter().any(|d| d.id == door.id));
            let issuer = match old.iter().find(|door| door.name == listener.name) {
                Some(door) => Arc::clone(&door.issuer),
                None => Arc::new(LocalTokens::new().map_err(io::Error::other)?),
            };
            let tls = listener.tls.as_ref().map(|basis| identity(&listener.name, basis, kept)).transpose()?;
            let (name, place, limit) = (listener.name.clone(), listener.place.clone(), file.limits.connections.get());
            let door = match kept {
                Some(kept) => BoundListener { name, place, limit, tls, issuer, ..kept.clone() },
                None => {
                    let own: Vec<_> = old.iter().map(|door| &*door.hold).collect();
                    let opened = place.open(workers, &mut self.inheritance, &own);
                    let opened =
                        opened.map_err(|error| bind_error(format!("listener {name}"), &listener.place, error))?;
                    self.count += 1;
                    for (worker, sockets) in doors.sockets.iter_mut().zip(opened.sockets) {
                        worker.extend(sockets.into_iter().map(|socket| (self.count, socket)));
                    }
                    let (stop, stopped) = shutdown::channel();
                    let (hold, stop) = (Arc::new(opened.hold), Arc::new(stop));
                    if !hold.is_alone() {
                        tokio::task::spawn_local(close(name.clone(), Arc::downgrade(&hold)));
                    }
                    let connections = Arc::new(Semaphore::new(limit as usize));
                    let (id, bound) = (self.count, opened.bound);
                    BoundListener { id, name, bound, place, hold, stop, stopped, connections, limit, tls, issuer }
                }
            };
            doors.doors.push(door);
        }
        Ok(doors)
    }
}

impl BoundListener {
    /// Whether its sockets are those that this listener wants.
    fn serves(&self, listener: &ListenerConfig) -> bool {
        match (&listener.place, self.bound.tcp()) {
            // Any port: the one that it has.
            (place, _) if place.port() == Some(0) => self.place == *place && self.name == listener.name,
            (ListenAddress::Tcp(wanted), Some(bound)) => {
                *wanted == bound && matches!(self.place, ListenAddress::Tcp(_))
            }
            (
                ListenAddress::Tcp(_)
                | ListenAddress::Localhost(_)
                | ListenAddress::Unix(_)
                | ListenAddress::Inherited(_),
                _,
            ) => listener.place.is_at(&self.place),
        }
    }

    /// What a worker needs to serve it. The listener's callers are those from now on.
    pub(super) fn post(
        &self,
        listener: &Arc<ListenerConfig>,
        file: &ConfigFile,
        buffers: &Arc<Buffers>,
    ) -> ListenerSpec {
        let tls = self.tls.as_ref().map(|tls| tls.identity.clone());
        let port = self.bound.port(tls.is_some());
        let limits = ConnectionLimits {
            head_time: file.timeouts.client.0,
            head_size: usize::try_from(file.limits.head.get_ref().0).unwrap_or(usize::MAX),
            header_count: usize::from(file.limits.headers.get_ref().get()),
            drain: file.timeouts.drain.0,
            connections: Slots::Waiting(Arc::clone(&self.connections)),
            buffers: Arc::clone(buffers),
        };
        let label = Arc::new(ListenerLabel { name: self.name.clone(), address: self.url() });
        let terms = ConnectionConfig { listener: label, tls, limits };
        let (stopped, issuer) = (self.stopped.clone(), Arc::clone(&self.issuer));
        let marks = issuer.enroll(listener.callers.iter().map(|caller| &caller.entry));
        ListenerSpec { door: self.id, listener: Arc::clone(listener), port, terms, stopped, issuer, marks }
    }

    /// Ends it, as a shutdown does.
    pub(super) fn close(&self) {
        self.stop.shut_down();
    }

    /// How the log calls it.
    pub(super) fn url(&self) -> String {
        self.bound.url(self.tls.is_some())
    }

    /// Of one that stays, as many connections as it may have now. It must not have more than before by that, so fewer
    /// are reached when enough have ended.
    fn resize(&self, old: &Self) {
        if self.limit >= old.limit {
            return self.connections.add_permits((self.limit - old.limit) as usize);
        }
        let (connections, surplus) = (Arc::clone(&self.connections), old.limit - self.limit);
        tokio::task::spawn_local(async move {
            if let Ok(permits) = connections.acquire_many(surplus).await {
                permits.forget();
            }
        });
    }
}

/// Gives the socket files that stay their new permissions: all, or none.
pub(super) fn admit(old: &[BoundListener], new: &[BoundListener]) -> Result<(), StartError> {
    let stays = |door: &&BoundListener| old.iter().any(|old| old.id == door.id);
    let mut done: Vec<(&BoundListener, &ListenAddress)> = Vec::new();
    for door in new.iter().filter(stays) {
        let Some(before) = old.iter().find(|old| old.id == door.id).map(|old| &old.place) else { continue };
        if let Err(error) = door.hold.admit(before, &door.place) {
            for (door, before) in done {
                // They had them a moment ago.
                let _ = door.hold.admit(&door.place, before);
            }
            return Err(bind_error(format!("listener {}", door.name), &door.place, error));
        }
        done.push((door, before));
    }
    Ok(())
}

/// Says where is listened from now on that was not before.
pub(super) fn log_changes(old: &[BoundListener], new: &[BoundListener], listeners: &[Arc<ListenerConfig>]) {
    let same = |door: &BoundListener| old.iter().any(|old| (&old.name, old.url()) == (&door.name, door.url()));
    for (door, listener) in new.iter().zip(listeners).filter(|(door, _)| !same(door)) {
        let scopes = listener.policy.scopes();
        let also = door.bound.other_url(door.tls.is_some()).map(tracing::field::display);
        tracing::info!(listener = %door.name, address = %door.url(), also, %scopes, "listening");
    }
}

/// The workers serve the new doors: those that nobody wants any more are closed.
pub(super) fn replace(old: &mut Vec<BoundListener>, new: Vec<BoundListener>) {
    for door in old.iter() {
        match new.iter().find(|new| new.id == door.id) {
            Some(new) => new.resize(door),
            None => {
                tracing::info!(listener = %door.name, address = %door.url(), "no longer listening");
                door.close();
            }
        }
    }
    *old = new;
}

/// Keeps others out of a port as soon as an older listener of ours, on another address of it, has gone.
async fn close(listener: String, hold: Weak<Hold>) {
    for _ in 0..CLOSING {
        tokio::time::sleep(LOOK).await;
        if hold.upgrade().is_none_or(|hold| hold.is_alone()) {
            return;
        }
    }
    tracing::warn!(listener, "other processes of this user can bind the port of this listener too: restart the proxy");
}

/// The certificate that the door has, or another one, which is followed.
fn identity(
    listener: &str,
    basis: &IdentitySource,
    kept: Option<&BoundListener>,
) -> Result<Arc<FollowedCertificate>, StartError> {
    if let Some(tls) = kept.and_then(|door| door.tls.as_ref()).filter(|tls| tls.basis == *basis) {
        return Ok(Arc::clone(tls));
    }
    let served = basis.clone().serve();
    let (identity, follow) = served.map_err(|error| StartError::Identity(listener.to_owned(), error))?;
    let following = tokio::task::spawn_local(follow).abort_handle();
    Ok(Arc::new(FollowedCertificate { basis: basis.clone(), identity, following }))
}

/// A listener that does not proxy, such as the admin listener.
pub(super) struct Single {
    /// Where it was to be.
    pub(super) place: ListenAddress,
    pub(super) sockets: Vec<ListeningSocket>,
    pub(super) bound: Bound,
    pub(super) hold: Hold,
}

/// Binds a listener that does not proxy.
pub(super) fn bind_single(what: &str, place: &ListenAddress) -> Result<Single, StartError> {
    let fault = |error| bind_error(what.to_owned(), place, error);
    let opened = place.open(1, &mut Inheritance::default(), &[]).map_err(fault)?;
    let BoundSockets { sockets, bound, hold } = opened;
    Ok(Single { place: place.clone(), sockets: sockets.into_iter().flatten().collect(), bound, hold })
}

fn bind_error(what: String, place: &ListenAddress, source: BindError) -> StartError {
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
