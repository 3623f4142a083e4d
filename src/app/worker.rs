//! A worker: one core, one runtime, and nothing on the way of a request that another worker touches.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::base::warn_limit::WarnLimit;
use crate::config::policy_target::PolicyTarget;
use crate::config::{CallerConfig, CallerReach, ListenerConfig};
use crate::net::listener::{self, ConnectionConfig, ListeningSocket};
use crate::net::shutdown::Shutdown;
use crate::observe::access_log::Sink;
use crate::observe::logging;
use crate::observe::logging::log_line::LineWriter;
use crate::proxy::authn::callers::{Callers, KnownCallers};
use crate::proxy::authn::{Authn, AuthnConfig};
use crate::proxy::connect::{ConnectTargets, TunnelTarget};
use crate::proxy::policy::InstanceId;
use crate::proxy::token::TokenSource;
use crate::proxy::upstream::Upstream;
use crate::proxy::{CallerContext, Proxy, ProxyConfig, RequestIds, TunnelConfig};
use crate::sandbox;

use super::instances::UpstreamConfig;
use super::runtime_config::{ListenerSpec, RuntimeConfig, Sockets};
use super::users::UserRuntime;

/// How often idle upstream connections are looked through.
const SWEEP: Duration = Duration::from_secs(15);

/// What a worker is to do.
pub(super) enum WorkerCommand {
    /// To serve this configuration from now on. Dropping the last part says that it does.
    Serve(Arc<RuntimeConfig>, Sockets, mpsc::Sender<()>),
    /// To show that it is alive, by dropping this.
    Answer(mpsc::Sender<()>),
}

type Upstreams = RefCell<Vec<(Arc<UpstreamConfig>, Rc<Upstream>)>>;

/// What one worker has.
pub(super) struct Worker {
    ids: Rc<RequestIds>,
    /// Where its access records go, if anywhere.
    lines: Option<Rc<LineWriter>>,
    /// Where it connects to, and its connections there.
    upstreams: Rc<Upstreams>,
    listeners: Vec<ActiveListener>,
    serving: JoinSet<io::Result<()>>,
}

/// A listener that is served. A request takes the proxy that is here when it comes, and keeps it to its end.
struct ActiveListener {
    id: u64,
    name: String,
    port: u16,
    proxy: Rc<RefCell<Rc<Proxy>>>,
    connections: watch::Sender<ConnectionConfig>,
}

impl Worker {
    pub(super) fn new(ids: RequestIds) -> Self {
        let (ids, lines) = (Rc::new(ids), logging::access().map(Rc::new));
        Self { ids, lines, upstreams: Rc::default(), listeners: Vec::new(), serving: JoinSet::new() }
    }

    /// Serves as commanded, until the shutdown has begun and all listeners have drained.
    pub(super) async fn run(
        mut self,
        mut commands: UnboundedReceiver<WorkerCommand>,
        shutdown: Shutdown,
    ) -> io::Result<()> {
        tokio::task::spawn_local(sweep(Rc::clone(&self.upstreams)));
        if let Some(lines) = &self.lines {
            tokio::task::spawn_local(Rc::clone(lines).flow());
        }
        while !(shutdown.has_begun() && self.serving.is_empty()) {
            tokio::select! {
                Some(command) = commands.recv() => match command {
                    WorkerCommand::Serve(config, sockets, _taken) => self.serve(&config, sockets)?,
                    WorkerCommand::Answer(_alive) => {}
                },
                Some(ended) = self.serving.join_next() => ended??,
                () = shutdown.clone().begun(), if !shutdown.has_begun() => {}
            }
        }
        Ok(())
    }

    fn serve(&mut self, config: &RuntimeConfig, sockets: Sockets) -> io::Result<()> {
        let upstreams = config.upstreams.iter().map(|wanted| self.upstream(wanted)).collect::<io::Result<Vec<_>>>()?;
        let proxies = config.listeners.iter().map(|spec| self.proxy(spec, config, &upstreams).map(Rc::new));
        let proxies = proxies.collect::<io::Result<Vec<_>>>()?;
        for (spec, proxy) in config.listeners.iter().zip(&proxies) {
            for active in &self.listeners {
                let same = active.id == spec.id;
                // One that gives its port to another socket of its name has connections that come late, or go on.
                if same || (&active.name, active.port) == (&spec.listener.name, spec.port) {
                    active.proxy.replace(Rc::clone(proxy));
                }
                if same {
                    active.connections.send_replace(spec.connections.clone());
                }
            }
        }
        self.listeners.retain(|active| config.listeners.iter().any(|spec| spec.id == active.id));
        for (id, socket) in sockets {
            let new = config.listeners.iter().zip(&proxies).find(|(spec, _)| spec.id == id);
            let (spec, proxy) = new.ok_or(io::ErrorKind::NotFound)?;
            self.spawn_listener(spec, Rc::clone(proxy), socket);
        }
        self.upstreams.replace(config.upstreams.iter().cloned().zip(upstreams).collect());
        Ok(())
    }

    fn spawn_listener(&mut self, spec: &ListenerSpec, proxy: Rc<Proxy>, socket: ListeningSocket) {
        let proxy = Rc::new(RefCell::new(proxy));
        let (connections, followed) = watch::channel(spec.connections.clone());
        let (name, port) = (spec.listener.name.clone(), spec.port);
        self.listeners.push(ActiveListener { id: spec.id, name, port, proxy: Rc::clone(&proxy), connections });
        let refusing = Rc::clone(&proxy);
        let refuse = move |peer, status| refusing.borrow().refuse_head(peer, status);
        let handle = move |peer, request| {
            let proxy = Rc::clone(&proxy.borrow());
            proxy.serve(peer, request)
        };
        self.serving.spawn_local(listener::serve(socket, followed, spec.stopped.clone(), handle, refuse));
    }

    /// The connections that are there already, or none yet.
    fn upstream(&self, wanted: &Arc<UpstreamConfig>) -> io::Result<Rc<Upstream>> {
        if let Some((_, upstream)) = self.upstreams.borrow().iter().find(|(own, _)| Arc::ptr_eq(own, wanted)) {
            return Ok(Rc::clone(upstream));
        }
        Upstream::new(wanted.connector.clone(), wanted.head_timeout, wanted.traffic.clone())
            .map(Rc::new)
            .map_err(io::Error::other)
    }

    fn proxy(&self, spec: &ListenerSpec, config: &RuntimeConfig, upstreams: &[Rc<Upstream>]) -> io::Result<Proxy> {
        let ListenerConfig { name, names, origins, policy, callers, .. } = &*spec.listener;
        let InstanceId(instance) = policy.instance();
        let instance = usize::from(instance);
        let upstream = upstreams.get(instance).ok_or(io::ErrorKind::NotFound)?;
        let tokens = config.tokens.get(instance).ok_or(io::ErrorKind::NotFound)?;
        let connect = |intercept: &[String], tunnel: &[TunnelTarget]| {
            ConnectTargets::new(intercept, tunnel.to_vec(), Arc::clone(&config.own))
        };
        let context = |place: usize, caller: Option<&CallerConfig>| {
            let target = PolicyTarget { listener: &spec.listener, caller };
            let reach = caller.and_then(|caller| caller.reach.as_ref());
            let reach = reach.map(|CallerReach { intercept, tunnel }| connect(intercept, tunnel));
            let (policy, caller) = (caller.map_or(policy, |caller| &caller.policy), target.caller());
            let usage = config.usage.as_ref().and_then(|usage| usage.counters(name, place));
            let user =
                policy.user().and_then(|user| config.users.get(instance)?.iter().find(|own| own.name == user.name));
            let user = user.map(UserRuntime::source);
            let uses = config.uses.rules(name, caller, policy);
            let quota = spec.quotas.as_ref().and_then(|quotas| quotas.caller(caller));
            CallerContext::new(Arc::clone(policy), TokenSource::new(Arc::clone(tokens)), user, usage, uses, quota)
                .trying_writes(target.tries_writes())
                .reaching(reach)
        };
        let known = callers.iter().enumerate();
        let known = known.map(|(place, caller)| (caller.entry.clone(), context(place, Some(caller))));
        let authn = Authn::new(AuthnConfig {
            names: names.clone(),
            port: Some(spec.port),
            tls: spec.connections.tls.is_some(),
            origins: origins.clone(),
            callers: if callers.is_empty() {
                Callers::Anonymous(context(0, None))
            } else {
                Callers::Known(KnownCallers::new(known, spec.marks.clone()).throttled_by(spec.throttle.clone()))
            },
            issuer: Arc::clone(&spec.issuer),
            head_size: spec.connections.limits.head_size,
            intercept: spec.listener.intercept.clone(),
        });
        let caller_names = callers.iter().map(|caller| caller.entry.name.clone()).collect();
        let meter = config.metrics.meter(name, caller_names, Arc::clone(policy.catalog().names()));
        Ok(Proxy::new(ProxyConfig {
            authn,
            upstream: Rc::clone(upstream),
            rate_limiter: config.rate_limiters.get(instance).cloned().flatten(),
            audit_log: config.audit_log.clone(),
            approvals: config.approvals.clone(),
            directory: config.directories.get(instance).cloned().ok_or(io::ErrorKind::NotFound)?,
            sink: Sink {
                meter,
                lines: self.lines.clone(),
                traces: config.traces.clone(),
                warnings: WarnLimit::default(),
            },
            refusals: config.refusals.clone(),
            body_limits: config.body_limits.clone(),
            invent_answer: sandbox::simulated_answer,
            tunnels: TunnelConfig {
                targets: connect(&spec.listener.intercept, &spec.listener.tunnel),
                patience: config.connect_timeout,
            },
            ids: Rc::clone(&self.ids),
        }))
    }
}

async fn sweep(upstreams: Rc<Upstreams>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        upstreams.borrow().iter().for_each(|(_, upstream)| upstream.sweep());
    }
}
