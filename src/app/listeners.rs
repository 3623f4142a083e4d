//! Every listener bound, once for each worker. One whose address stays the same keeps its sockets over reloads.

mod followed_certificate;

use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::StartError;
use super::bind_hint::bind_error;
use super::runtime_config::{ListenerSpec, Sockets};
use crate::base::clock::Moment;
use crate::base::clock::steady_wall::SteadyWall;
use crate::config::ListenerConfig;
use crate::config::sections::ConfigFile;
use crate::net::listener::{
    Bound, Buffers, ConnectionConfig, ConnectionLimits, Hold, Inheritance, ListenAddress, ListenerLabel, Slots,
};
use crate::net::shutdown::{self, Shutdown, Trigger};
use crate::net::tls::server::IdentitySource;
use crate::proxy::authn::local_tokens::LocalTokens;
use crate::proxy::authn::throttle::SharedThrottle;
use crate::proxy::quota::QuotaTracker;
use crate::shared::sealing::SealingKeys;
use followed_certificate::FollowedCertificate;

/// How often, and how many times, a port that has an older listener too is looked at.
const LOOK: Duration = Duration::from_secs(1);
const CLOSING: u32 = 120;

/// A bound listener. Clones share its sockets; when the last is dropped, nobody serves it any more.
#[derive(Clone)]
pub(super) struct BoundListener {
    pub(super) id: u64,
    /// The listener's.
    pub(super) name: String,
    /// Where it listens.
    pub(super) address: Bound,
    /// Where it was to listen.
    wanted: ListenAddress,
    hold: Arc<Hold>,
    stop: Arc<Trigger>,
    stopped: Shutdown,
    connections: Arc<Semaphore>,
    /// The most connections.
    limit: u32,
    tls: Option<Arc<FollowedCertificate>>,
    interception: Option<Arc<FollowedCertificate>>,
    issuer: Arc<LocalTokens>,
}

/// What the listeners of a configuration are bound to. Dropping it closes what was opened for it.
pub(super) struct BoundListeners {
    /// In the order of the listeners.
    pub(super) listeners: Vec<BoundListener>,
    /// The new ones, for each worker.
    pub(super) sockets: Vec<Sockets>,
}

/// Binds listeners.
pub(super) struct ListenerBinder {
    inheritance: Inheritance,
    /// What local tokens are sealed with, where all replicas have the same.
    sealing: Option<Arc<SealingKeys>>,
    clock: Arc<SteadyWall>,
    count: u64,
}

impl ListenerBinder {
    /// With the sockets that the process was started with.
    pub(super) fn new(inheritance: Inheritance, sealing: Option<Arc<SealingKeys>>) -> Self {
        Self { inheritance, sealing, clock: Arc::new(SteadyWall::new(Moment::now())), count: 0 }
    }

    /// What makes the tokens of a listener that is new.
    fn issuer(&self, listener: &str) -> Result<LocalTokens, StartError> {
        match &self.sealing {
            Some(keys) => {
                let keys = keys.mac_keys(&format!("local-token {listener}"));
                Ok(LocalTokens::shared(keys, Arc::clone(&self.clock)))
            }
            None => Ok(LocalTokens::new().map_err(io::Error::other)?),
        }
    }

    /// Binds each listener: takes the one of `old` that is at its address, else opens a socket for each of
    /// `workers`. Changes nothing of `old`.
    pub(super) fn open(
        &mut self,
        listeners: &[Arc<ListenerConfig>],
        old: &[BoundListener],
        file: &ConfigFile,
        workers: usize,
    ) -> Result<BoundListeners, StartError> {
        let mut all = BoundListeners { listeners: Vec::new(), sockets: (0..workers).map(|_| Vec::new()).collect() };
        for listener in listeners {
            let kept = old.iter().find(|old| old.serves(listener) && !all.listeners.iter().any(|new| new.id == old.id));
            let issuer = match old.iter().find(|old| old.name == listener.name) {
                Some(old) => Arc::clone(&old.issuer),
                None => Arc::new(self.issuer(&listener.name)?),
            };
            let follow = |source: &IdentitySource, kept| FollowedCertificate::follow(&listener.name, source, kept);
            let tls = listener.tls.as_ref().map(|source| follow(source, kept.and_then(|kept| kept.tls.as_ref())));
            let tls = tls.transpose()?;
            let interception = listener
                .interception
                .clone()
                .map(IdentitySource::LocalCa)
                .map(|source| follow(&source, kept.and_then(|kept| kept.interception.as_ref())));
            let interception = interception.transpose()?;
            let (name, wanted, limit) = (listener.name.clone(), listener.place.clone(), file.limits.connections.get());
            let bound = match kept {
                Some(kept) => BoundListener { name, wanted, limit, tls, interception, issuer, ..kept.clone() },
                None => {
                    let own: Vec<_> = old.iter().map(|old| &*old.hold).collect();
                    let opened = wanted.open(workers, &mut self.inheritance, &own);
                    let opened =
                        opened.map_err(|error| bind_error(format!("listener {name}"), &listener.place, error))?;
                    self.count += 1;
                    for (worker, sockets) in all.sockets.iter_mut().zip(opened.sockets) {
                        worker.extend(sockets.into_iter().map(|socket| (self.count, socket)));
                    }
                    let (stop, stopped) = shutdown::channel();
                    let (hold, stop) = (Arc::new(opened.hold), Arc::new(stop));
                    if !hold.is_alone() {
                        tokio::task::spawn_local(take_port(name.clone(), Arc::downgrade(&hold)));
                    }
                    let connections = Arc::new(Semaphore::new(limit as usize));
                    let (id, address) = (self.count, opened.bound);
                    BoundListener {
                        id,
                        name,
                        address,
                        wanted,
                        hold,
                        stop,
                        stopped,
                        connections,
                        limit,
                        tls,
                        interception,
                        issuer,
                    }
                }
            };
            all.listeners.push(bound);
        }
        Ok(all)
    }
}

impl BoundListener {
    /// Whether its sockets are those that this listener wants.
    fn serves(&self, listener: &ListenerConfig) -> bool {
        match (&listener.place, self.address.tcp()) {
            // Any port: the one that it has.
            (place, _) if place.port() == Some(0) => self.wanted == *place && self.name == listener.name,
            (ListenAddress::Tcp(wanted), Some(bound)) => {
                *wanted == bound && matches!(self.wanted, ListenAddress::Tcp(_))
            }
            (
                ListenAddress::Tcp(_)
                | ListenAddress::Localhost(_)
                | ListenAddress::Unix(_)
                | ListenAddress::Inherited(_),
                _,
            ) => listener.place.is_at(&self.wanted),
        }
    }

    /// What a worker needs to serve it. The listener's callers are those from now on.
    pub(super) fn spec(
        &self,
        listener: &Arc<ListenerConfig>,
        (quotas, throttle): (Option<Arc<QuotaTracker>>, Option<Arc<SharedThrottle>>),
        file: &ConfigFile,
        buffers: &Arc<Buffers>,
    ) -> ListenerSpec {
        let tls = self.tls.as_ref().map(|tls| tls.identity());
        let port = self.address.port(tls.is_some());
        let limits = ConnectionLimits {
            head_time: file.timeouts.client.0,
            head_size: usize::try_from(file.limits.head.get_ref().0).unwrap_or(usize::MAX),
            header_count: usize::from(file.limits.headers.get_ref().get()),
            drain: file.timeouts.drain.0,
            connections: Slots::Waiting(Arc::clone(&self.connections)),
            buffers: Arc::clone(buffers),
        };
        let label = Arc::new(ListenerLabel { name: self.name.clone(), address: self.url() });
        let interception = self.interception.as_ref().map(|certificate| certificate.identity());
        let connections = ConnectionConfig { listener: label, tls, interception, limits };
        let (stopped, issuer) = (self.stopped.clone(), Arc::clone(&self.issuer));
        let marks = issuer.enroll(listener.callers.iter().map(|caller| &caller.entry));
        let (id, listener) = (self.id, Arc::clone(listener));
        ListenerSpec { id, listener, port, connections, stopped, issuer, marks, quotas, throttle }
    }

    /// Ends it, as a shutdown does.
    pub(super) fn close(&self) {
        self.stop.shut_down();
    }

    /// How the log calls it.
    pub(super) fn url(&self) -> String {
        self.address.url(self.tls.is_some())
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
    let stays = |bound: &&BoundListener| old.iter().any(|old| old.id == bound.id);
    let mut done: Vec<(&BoundListener, &ListenAddress)> = Vec::new();
    for bound in new.iter().filter(stays) {
        let Some(before) = old.iter().find(|old| old.id == bound.id).map(|old| &old.wanted) else { continue };
        if let Err(error) = bound.hold.admit(before, &bound.wanted) {
            for (bound, before) in done {
                // They had them a moment ago.
                let _ = bound.hold.admit(&bound.wanted, before);
            }
            return Err(bind_error(format!("listener {}", bound.name), &bound.wanted, error));
        }
        done.push((bound, before));
    }
    Ok(())
}

/// Says where is listened from now on that was not before.
pub(super) fn log_changes(old: &[BoundListener], new: &[BoundListener], listeners: &[Arc<ListenerConfig>]) {
    let same = |bound: &BoundListener| old.iter().any(|old| (&old.name, old.url()) == (&bound.name, bound.url()));
    for (bound, listener) in new.iter().zip(listeners).filter(|(bound, _)| !same(bound)) {
        let scopes = listener.policy.scopes();
        let also = bound.address.other_url(bound.tls.is_some()).map(tracing::field::display);
        tracing::info!(listener = %bound.name, address = %bound.url(), also, %scopes, "listening");
    }
}

/// The workers serve the new listeners: closes those of the old ones that are not among them.
pub(super) fn replace(old: &mut Vec<BoundListener>, new: Vec<BoundListener>) {
    for bound in old.iter() {
        match new.iter().find(|new| new.id == bound.id) {
            Some(new) => new.resize(bound),
            None => {
                tracing::info!(listener = %bound.name, address = %bound.url(), "no longer listening");
                bound.close();
            }
        }
    }
    *old = new;
}

/// Keeps others out of a port as soon as an older listener of ours, on another address of it, has gone.
async fn take_port(listener: String, hold: Weak<Hold>) {
    for _ in 0..CLOSING {
        tokio::time::sleep(LOOK).await;
        if hold.upgrade().is_none_or(|hold| hold.is_alone()) {
            return;
        }
    }
    tracing::warn!(listener, "other processes of this user can bind the port of this listener too: restart the proxy");
}
