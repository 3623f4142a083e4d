//! The composition: bind, start a worker for each core, say where we listen, run until shutdown.
//!
//! The start is the first reload: what a configuration asks for is made while the old one serves, and then takes its place.

mod admin_listener;
mod approval_notices;
mod audit_thread;
mod bind_hint;
mod finish;
mod instances;
mod listeners;
mod own_listeners;
mod probes;
mod quotas;
pub mod reload;
mod renewed_grants;
mod runtime_config;
mod shared_store;
mod single_listener;
mod start_error;
mod status_view;
mod target_names;
mod throttles;
mod usage_saver;
mod users;
mod uses;
mod worker;
mod workers;

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::SystemTime;

use crate::config::sections::ConfigFile;
use crate::config::{Config, ListenerConfig, Settings};
use crate::net::listener::{Bound, Buffers, Hold, Inheritance, ListenAddress};
use crate::net::own_addresses::OwnAddresses;
use crate::net::shutdown::{self, Trigger};
use crate::observe::metrics::Metrics;
use crate::observe::metrics::reloads::Reloads;
use crate::observe::notices::Notices;
use crate::observe::traces::Traces;
use crate::proxy::BodyLimits;
use crate::proxy::approval::{Approvals, ApprovalsConfig};
use crate::proxy::headers::loops::{FIELD, LoopMark};
use crate::proxy::uses::UseCounters;
use crate::shared::SharedStore;
use crate::tools::admin::Configuration;
use admin_listener::AdminState;
use approval_notices::NoticeTarget;
use audit_thread::AuditThread;
use instances::{InstanceRuntime, Sandboxes};
use listeners::{BoundListener, BoundListeners, ListenerBinder};
use probes::ProbeListener;
use quotas::Quotas;
use reload::Loaded;
use renewed_grants::RenewedGrants;
use runtime_config::RuntimeConfig;
use single_listener::SingleListener;
pub use start_error::StartError;
use throttles::Throttles;
use usage_saver::{ListenerUsage, UsageSaver};
pub use workers::LivenessCheck;
use workers::Workers;

/// A running proxy.
pub struct App {
    /// Where the listeners listen, by name.
    pub addresses: Vec<(String, Bound)>,
    /// Where the admin listener listens.
    pub admin: Option<Bound>,
    /// Where the sandboxes listen, by the name of the instance.
    pub sandboxes: Addresses,
    trigger: Trigger,
    workers: Workers,
    binder: ListenerBinder,
    embedded: Sandboxes,
    listeners: Vec<BoundListener>,
    instances: Vec<InstanceRuntime>,
    grants: RenewedGrants,
    usage: UsageSaver,
    quotas: Quotas,
    throttles: Throttles,
    audit: AuditThread,
    notices: Rc<NoticeTarget>,
    traces: Option<Traces>,
    /// Where the admin listener was to listen, and what closes it.
    open_admin: Option<(ListenAddress, Trigger, Hold)>,
    probes: ProbeListener,
    metrics: Metrics,
    reloads: Reloads,
    admin_state: Rc<AdminState>,
    /// The memory of all connections.
    buffers: Arc<Buffers>,
    /// What replicas share, from the start on.
    store: Option<SharedStore>,
    /// What the process was started with.
    started: ConfigFile,
}

/// What a configuration asks for, made while the old one serves; dropping it leaves that as it is.
struct Next {
    bound: BoundListeners,
    own: Arc<OwnAddresses>,
    instances: Vec<InstanceRuntime>,
    sandboxes: Addresses,
    listeners: Vec<Arc<ListenerConfig>>,
    usage: Option<ListenerUsage>,
    /// How often rules with `max-uses` were used.
    uses: UseCounters,
    approvals: (ApprovalsConfig, Option<Notices>),
    /// Who else may read or write secrets, and sandboxes that seem not to be meant.
    told: (Vec<String>, Vec<String>),
    /// If its address is another one than before.
    admin: Option<SingleListener>,
    /// As with the admin listener.
    probes: Option<SingleListener>,
}

impl App {
    /// Binds everything and starts a worker for each core. Token flights, the sandbox and the admin listener run on
    /// the current thread's local runtime, which must go on until [`App::finish`] has ended.
    pub async fn start(loaded: Loaded) -> Result<Self, StartError> {
        Self::start_with(loaded, Inheritance::default()).await
    }

    /// The same with the sockets that the process was started with.
    pub async fn start_with(Loaded { config, settings }: Loaded, inheritance: Inheritance) -> Result<Self, StartError> {
        let count = thread::available_parallelism().map_or(1, usize::from);
        let (trigger, shutdown) = shutdown::channel();
        let metrics = Metrics::new()?;
        let now = SystemTime::now();
        let source = config.source().to_string();
        let configuration = Configuration { source, since: now, reload: None, restart: Vec::new() };
        let mark = LoopMark::new().map_err(io::Error::other)?;
        let buffers = Arc::new(Buffers::new(config.file.limits.buffers.get_ref().0));
        let store = shared_store::open(settings.shared.store.as_ref(), &metrics).await?;
        let (approvals, waiting) = Approvals::new(Arc::clone(&buffers), metrics.approvals(), store.clone());
        let notices = NoticeTarget::start(&approvals, metrics.approvals(), waiting);
        let shared = (metrics.clone(), approvals, store.clone());
        let admin_state = Rc::new(AdminState::new(shared, shutdown.clone(), configuration, mark.clone()));
        let mut app = Self {
            addresses: Vec::new(),
            admin: None,
            sandboxes: Vec::new(),
            trigger,
            workers: Workers::start(count, fastrand::u32(..) & 0xffff_ff00, &mark, &shutdown)?,
            binder: ListenerBinder::new(inheritance, settings.shared.keys.clone()),
            embedded: Sandboxes::default(),
            listeners: Vec::new(),
            instances: Vec::new(),
            grants: RenewedGrants::default(),
            usage: UsageSaver::default(),
            quotas: Quotas::default(),
            throttles: Throttles::default(),
            audit: AuditThread::default(),
            notices,
            traces: settings.traces.as_ref().map(Traces::start).transpose()?,
            open_admin: None,
            probes: ProbeListener::default(),
            reloads: Reloads::new(&metrics)?,
            metrics,
            admin_state,
            buffers,
            store,
            started: config.file.clone(),
        };
        let audit = settings.audit.clone();
        let next = app.prepare(settings, &config).await?;
        app.audit = AuditThread::start(audit.as_ref(), &app.metrics)?;
        app.replace(next, &config.file).await?;
        app.reloads.loaded(true, now, config.digest());
        Ok(app)
    }

    /// Makes what a configuration asks for; what there is serves on.
    async fn prepare(&mut self, settings: Settings, config: &Config) -> Result<Next, StartError> {
        let file = &config.file;
        let exposures = settings.exposures();
        let Settings { instances, listeners, record, audit: _, traces: _, approvals, notices, doubts, shared: _ } =
            settings;
        let listeners: Vec<Arc<ListenerConfig>> = listeners.into_iter().map(Arc::new).collect();
        let bound = self.binder.open(&listeners, &self.listeners, file, self.workers.count())?;
        let there = self.open_admin.as_ref().map(|(wanted, ..)| wanted);
        let bind = |wanted| SingleListener::bind("admin listener", wanted);
        let admin = file.admin.address.0.as_ref().filter(|wanted| Some(*wanted) != there).map(bind).transpose()?;
        let bind = |wanted| SingleListener::bind("probe listener", wanted);
        let probes = self.probes.other(file.probes.address.0.as_ref()).map(bind).transpose()?;
        let own = self.own_listeners(&bound.listeners, (admin.as_ref(), probes.as_ref()), file);
        config.check_self_calls(&instances, &own).await?;
        config.check_notices(notices.as_ref(), &own).await?;
        let mark = (FIELD.clone(), self.admin_state.mark.value().clone());
        let notices = notices.map(|config| Notices::new(&config, mark)).transpose()?;
        let (placed, sandboxes) = self.embedded.place(instances).await?;
        let mut instances = Vec::new();
        for instance in placed {
            let old = self.instances.iter().find(|old| old.name == instance.0.name);
            let shared = (&self.metrics, &self.admin_state.counts, &self.admin_state.mark);
            // An embedded NinjaOne knows the tokens of its own process only.
            let is_embedded = sandboxes.iter().any(|(name, _)| *name == instance.0.name);
            let store = self.store.clone().filter(|_| !is_embedded);
            instances.push(InstanceRuntime::next(instance, old, &file.timeouts, store, shared).await?);
        }
        let usage = record.map(|file| ListenerUsage::new(file, &listeners, self.usage.current()));
        let doubts = doubts.iter().map(ToString::to_string).collect();
        let (uses, approvals) = (uses::open(&listeners, self.admin_state.uses.clone()).await?, (approvals, notices));
        let (told, own) = ((exposures, doubts), Arc::new(own));
        Ok(Next { bound, own, instances, sandboxes, listeners, usage, uses, approvals, told, admin, probes })
    }

    /// Puts it in the place of what there is. The only thing that can fail comes first.
    async fn replace(&mut self, next: Next, file: &ConfigFile) -> Result<(), StartError> {
        let Next { bound, own, mut instances, sandboxes, listeners, usage, uses, approvals, told, admin, probes } =
            next;
        let BoundListeners { listeners: bound, sockets } = bound;
        if let Some(SingleListener { wanted, sockets, address, hold }) = admin {
            let (close, closed) = shutdown::channel();
            admin_listener::serve(sockets, &address, &self.admin_state, &closed)?;
            listeners::admit(&self.listeners, &bound)?;
            self.admin = Some(address);
            self.open_admin = Some((wanted, close, hold));
        } else {
            listeners::admit(&self.listeners, &bound)?;
        }
        if file.admin.address.0.is_none() {
            (self.admin, self.open_admin) = (None, None);
        }
        self.probes.go(file.probes.address.0.is_some(), probes, &self.admin_state);
        instances.iter_mut().for_each(InstanceRuntime::settle);
        self.admin_state.grants.replace(self.grants.replace(&instances, &listeners));
        self.admin_state.names.replace(&instances);
        let (approvals, notices) = approvals;
        self.notices.replace(notices, self.admin.as_ref().map_or_else(String::new, |bound| bound.url(false)));
        self.admin_state.approvals.configure(approvals, self.audit.audit_log());
        self.usage.replace(usage.as_ref());
        self.buffers.set_limit(file.limits.buffers.get_ref().0);
        let quotas = self.quotas.replace(&listeners, self.store.as_ref());
        let throttles = self.throttles.replace(&listeners, self.store.as_ref());
        self.admin_state.quotas.replace(self.quotas.all());
        let specs = bound.iter().zip(&listeners).zip(quotas.into_iter().zip(throttles));
        let specs = specs.map(|((bound, listener), limits)| bound.spec(listener, limits, file, &self.buffers));
        let config = Arc::new(RuntimeConfig {
            listeners: specs.collect(),
            upstreams: instances.iter().map(|instance| Arc::clone(&instance.upstream)).collect(),
            rate_limiters: instances.iter().map(|instance| instance.rate_limiter.clone()).collect(),
            directories: instances.iter().map(|instance| instance.directory.clone()).collect(),
            tokens: instances.iter().map(|instance| Arc::clone(&instance.tokens)).collect(),
            users: instances.iter().map(|instance| instance.users.clone()).collect(),
            metrics: self.metrics.clone(),
            audit_log: self.audit.audit_log(),
            approvals: self.admin_state.approvals.clone(),
            traces: self.traces.clone(),
            refusals: self.admin_state.refusals.clone(),
            body_limits: BodyLimits {
                wait: file.timeouts.client.0,
                limit: file.limits.body.0,
                judged: file.limits.judged_body.get_ref().0,
                buffers: Arc::clone(&self.buffers),
            },
            usage,
            uses,
            own,
            connect_timeout: file.timeouts.connect.0,
        });
        self.instances = instances;
        self.sandboxes = sandboxes;
        self.addresses = bound.iter().map(|bound| (bound.name.clone(), bound.address.clone())).collect();
        self.workers.serve(&config, sockets).await;
        listeners::log_changes(&self.listeners, &bound, &listeners);
        let setup = status_view::of(&self.instances, &self.sandboxes, (&bound, &listeners), told);
        self.admin_state.setup.replace(setup);
        self.admin_state.listeners.replace(listeners);
        listeners::replace(&mut self.listeners, bound);
        Ok(())
    }

    /// Where the probe listener listens.
    pub fn probes(&self) -> Option<&Bound> {
        self.probes.address.as_ref()
    }

    /// Finds out whether all workers are alive.
    pub fn pulse(&self) -> LivenessCheck {
        self.workers.pulse()
    }

    /// Ends when a worker has ended without being told to: a part of the callers is not served any more.
    pub async fn broken(&mut self) {
        self.workers.one_ended().await;
    }
}

/// Bound addresses by name.
pub type Addresses = Vec<(String, SocketAddr)>;
