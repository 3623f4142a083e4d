//! The composition: bind, start a worker for each core, say where we listen, run until shutdown.
//!
//! The start is the first reload: what a configuration asks for is made while the old one serves, and then takes its place.

mod admin_listener;
mod audit_thread;
mod instances;
mod listeners;
mod probes;
pub mod reload;
mod status_view;
mod usage_saver;
mod worker;

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::SystemTime;

use crate::config::mistake::ConfigMistake;
use crate::config::sections::ConfigFile;
use crate::config::self_call::OwnListeners;
use crate::config::{Config, EndpointError, ListenerConfig, Settings, SiteError};
use crate::net::listener::{BindError, Bound, Buffers, Hold, Inheritance, ListenAddress};
use crate::net::shutdown::{self, Trigger};
use crate::net::tls::TlsError;
use crate::net::tls::server::ServerError;
use crate::observe::audit_log::LogFileError;
use crate::observe::logging::ErrorChain;
use crate::observe::metrics::Metrics;
use crate::observe::metrics::reloads::Reloads;
use crate::observe::traces::{Traces, TracesError};
use crate::observe::usage::UsageStore;
use crate::proxy::BodyLimits;
use crate::proxy::headers::loops::LoopMark;
use crate::proxy::policy::InstanceId;
use crate::proxy::policy::catalog::ScopeSet;
use crate::proxy::token::{KeptGrant, Tokens};
use crate::sandbox::SandboxError;
use crate::tools::admin::{Configuration, Reload};
use admin_listener::AdminState;
use audit_thread::AuditThread;
use instances::{InstanceRuntime, Sandboxes};
use listeners::{BoundListener, BoundListeners, ListenerBinder, Single};
use probes::ProbeListener;
use reload::{Loaded, Loader, ReloadError};
use usage_saver::UsageSaver;
pub use worker::LivenessCheck;
use worker::{RuntimeConfig, Workers};

/// Why the proxy does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An instance leads to a listener of the proxy itself.
    #[error(transparent)]
    SelfCall(#[from] ConfigMistake),
    /// An address cannot be bound.
    #[error("{what} cannot listen on {address}{hint}")]
    Bind {
        /// Which listener.
        what: String,
        /// Its address.
        address: ListenAddress,
        /// Why.
        source: BindError,
        /// What to do next.
        hint: String,
    },
    /// A listener's certificate or key cannot be used.
    #[error("listener {0}")]
    Identity(String, #[source] ServerError),
    /// The audit log cannot be opened.
    #[error(transparent)]
    Audit(#[from] LogFileError),
    /// Spans cannot be sent.
    #[error("the collector of traces cannot be used")]
    Traces(#[from] TracesError),
    /// There is no TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The host of an instance cannot be used.
    #[error("instance {0}")]
    Way(String, #[source] SiteError),
    /// The token endpoint of an instance cannot be used.
    #[error("instance {0}")]
    Endpoint(String, #[source] EndpointError),
    /// The sandbox cannot be started.
    #[error("the sandbox cannot be started")]
    Sandbox(#[from] SandboxError),
    /// A part that the system must give.
    #[error("the proxy cannot be started")]
    System(#[from] io::Error),
    /// A series was registered twice: a mistake in the program.
    #[error("the metrics cannot be set up")]
    Metrics(#[from] prometheus::Error),
}

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
    opener: ListenerBinder,
    embedded: Sandboxes,
    doors: Vec<BoundListener>,
    tenants: Vec<InstanceRuntime>,
    /// The grants that are renewed.
    keepers: Vec<RenewedGrant>,
    ledger: Option<Arc<UsageStore>>,
    /// All that may have something to save.
    ledgers: Vec<Weak<UsageStore>>,
    writing: AuditThread,
    traces: Option<Traces>,
    /// Where it is meant to listen, and what closes it.
    admin_door: Option<(ListenAddress, Trigger, Hold)>,
    probes: ProbeListener,
    metrics: Metrics,
    reloads: Reloads,
    desk: Rc<AdminState>,
    /// The memory of all connections.
    buffers: Arc<Buffers>,
    /// What the process was started with.
    started: ConfigFile,
}

/// A grant that is renewed.
struct RenewedGrant {
    tokens: Arc<Tokens>,
    scopes: ScopeSet,
    _kept: KeptGrant,
}

/// What a configuration asks for, made while the old one serves; dropping it leaves that as it is.
struct Next {
    doors: BoundListeners,
    tenants: Vec<InstanceRuntime>,
    sandboxes: Addresses,
    listeners: Vec<Arc<ListenerConfig>>,
    recorder: Option<UsageSaver>,
    /// Who else may read or write secrets.
    exposures: Vec<String>,
    /// Sandboxes that seem not to be meant.
    doubts: Vec<String>,
    /// A socket, if it is another one.
    admin: Option<Single>,
    /// As of the admin listener.
    probes: Option<Single>,
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
        let desk = Rc::new(AdminState::new(metrics.clone(), shutdown.clone(), configuration, mark.clone()));
        let mut app = Self {
            addresses: Vec::new(),
            admin: None,
            sandboxes: Vec::new(),
            trigger,
            workers: Workers::start(count, fastrand::u32(..) & 0xffff_ff00, &mark, &shutdown)?,
            opener: ListenerBinder::new(inheritance),
            embedded: Sandboxes::default(),
            doors: Vec::new(),
            tenants: Vec::new(),
            keepers: Vec::new(),
            ledger: None,
            ledgers: Vec::new(),
            writing: AuditThread::default(),
            traces: settings.traces.as_ref().map(Traces::start).transpose()?,
            admin_door: None,
            probes: ProbeListener::default(),
            reloads: Reloads::new(&metrics)?,
            metrics,
            desk,
            buffers: Arc::new(Buffers::new(config.file.limits.buffers.get_ref().0)),
            started: config.file.clone(),
        };
        let audit = settings.audit.clone();
        let next = app.prepare(settings, &config).await?;
        app.writing = AuditThread::start(audit.as_ref(), &app.metrics)?;
        app.replace(next, &config.file).await?;
        app.reloads.loaded(true, now, config.digest());
        Ok(app)
    }

    /// Reads the configuration again and takes it as a whole, between two requests, or nothing of it. The log, the
    /// metrics and the admin listener tell which; `look` is shown what would be taken. To be dropped only before
    /// [`App::finish`]: it may have been taken then, or not.
    pub async fn reload(&mut self, loader: &mut Loader, look: impl FnOnce(&Settings)) -> Result<(), ReloadError> {
        let taken = self.take(loader, look).await;
        let (at, mut told) = (SystemTime::now(), self.desk.configuration.borrow_mut());
        let refused = taken.as_ref().err().map(|error| ErrorChain(error).to_string());
        match (&taken, &refused) {
            (Ok((source, digest, restart)), _) => {
                tracing::info!(configuration = %source, "configuration reloaded");
                for key in restart {
                    tracing::warn!(
                        key,
                        "this key applies only after a restart; the rest of the configuration is in force"
                    );
                }
                self.reloads.loaded(false, at, *digest);
                (told.since, told.restart) = (at, restart.clone());
                told.source.clone_from(source);
            }
            (Err(_), why) => {
                let error = why.as_deref().unwrap_or_default();
                tracing::error!(
                    error,
                    "configuration NOT reloaded, the previous one stays in force: correct it and save again"
                );
                self.reloads.refused();
            }
        }
        told.reload = Some(Reload { at, refused });
        taken.map(drop)
    }

    /// The source, the digest, and the keys that need a restart.
    async fn take(
        &mut self,
        loader: &mut Loader,
        look: impl FnOnce(&Settings),
    ) -> Result<(String, u64, Vec<&'static str>), ReloadError> {
        let Loaded { config, settings } = loader.load().await?;
        look(&settings);
        let next = self.prepare(settings, &config).await?;
        self.replace(next, &config.file).await?;
        loader.taken(&config);
        Ok((config.source().to_string(), config.digest(), reload::restart_keys(&self.started, &config.file)))
    }

    /// Makes what a configuration asks for; what there is serves on.
    async fn prepare(&mut self, settings: Settings, config: &Config) -> Result<Next, StartError> {
        let file = &config.file;
        let exposures = settings.exposures();
        let Settings { instances, listeners, record, audit: _, traces: _, doubts } = settings;
        let listeners: Vec<Arc<ListenerConfig>> = listeners.into_iter().map(Arc::new).collect();
        let doors = self.opener.open(&listeners, &self.doors, file, self.workers.count())?;
        let there = self.admin_door.as_ref().map(|(place, ..)| place);
        let bind = |place| listeners::bind_single("admin listener", place);
        let admin = file.admin.address.0.as_ref().filter(|wanted| Some(*wanted) != there).map(bind).transpose()?;
        let bind = |place| listeners::bind_single("probe listener", place);
        let probes = self.probes.other(file.probes.address.0.as_ref()).map(bind).transpose()?;
        let own = self.own_listeners(&doors.doors, (admin.as_ref(), probes.as_ref()), file);
        config.check_self_calls(&instances, &own).await?;
        let (instances, sandboxes) = self.embedded.place(instances).await?;
        let mut tenants = Vec::new();
        for instance in instances {
            let old = self.tenants.iter().find(|old| old.name == instance.0.name);
            let shared = (&self.metrics, &self.desk.counts, &self.desk.mark);
            tenants.push(InstanceRuntime::next(instance, old, &file.timeouts, shared).await?);
        }
        let recorder = record.map(|file| UsageSaver::new(file, &listeners, self.ledger.as_ref()));
        let doubts = doubts.iter().map(ToString::to_string).collect();
        Ok(Next { doors, tenants, sandboxes, listeners, recorder, exposures, doubts, admin, probes })
    }

    /// Where the proxy listens with this configuration.
    fn own_listeners(
        &self,
        doors: &[BoundListener],
        (admin, probes): (Option<&Single>, Option<&Single>),
        file: &ConfigFile,
    ) -> OwnListeners {
        let mut own = OwnListeners::default();
        let mut add = |name: &str, bound: Option<&Bound>| {
            own.add(name, bound.map_or_else(Vec::new, Bound::addresses));
        };
        for door in doors {
            add(&format!("listeners.{}", door.name), Some(&door.bound));
        }
        let admin = admin.map(|new| &new.bound).or(self.admin.as_ref());
        add("admin", admin.filter(|_| file.admin.address.0.is_some()));
        let probes = probes.map(|new| &new.bound).or(self.probes.bound.as_ref());
        add("probes", probes.filter(|_| file.probes.address.0.is_some()));
        own
    }

    /// Puts it in the place of what there is. The only thing that can fail comes first.
    async fn replace(&mut self, next: Next, file: &ConfigFile) -> Result<(), StartError> {
        let Next { doors, mut tenants, sandboxes, listeners, recorder, exposures, doubts, admin, probes } = next;
        let BoundListeners { doors, sockets } = doors;
        if let Some(Single { place, sockets, bound, hold }) = admin {
            let (close, closed) = shutdown::channel();
            admin_listener::serve(sockets, &bound, &self.desk, &closed)?;
            listeners::admit(&self.doors, &doors)?;
            self.admin = Some(bound);
            self.admin_door = Some((place, close, hold));
        } else {
            listeners::admit(&self.doors, &doors)?;
        }
        if file.admin.address.0.is_none() {
            (self.admin, self.admin_door) = (None, None);
        }
        self.probes.go(file.probes.address.0.is_some(), probes, &self.desk);
        tenants.iter_mut().for_each(InstanceRuntime::settle);
        self.keep(&tenants, &listeners);
        self.record(recorder.as_ref());
        self.buffers.set_limit(file.limits.buffers.get_ref().0);
        let posts =
            doors.iter().zip(&listeners).map(|(door, listener)| door.post(listener, file, &self.buffers)).collect();
        let plan = Arc::new(RuntimeConfig {
            posts,
            ways: tenants.iter().map(|tenant| Arc::clone(&tenant.way)).collect(),
            gates: tenants.iter().map(|tenant| tenant.gate.clone()).collect(),
            tokens: tenants.iter().map(|tenant| Arc::clone(&tenant.tokens)).collect(),
            metrics: self.metrics.clone(),
            journal: self.writing.journal(),
            traces: self.traces.clone(),
            refusals: self.desk.refusals.clone(),
            intake: BodyLimits {
                wait: file.timeouts.client.0,
                limit: file.limits.body.0,
                buffers: Arc::clone(&self.buffers),
            },
            recorder,
        });
        self.tenants = tenants;
        self.sandboxes = sandboxes;
        self.addresses = doors.iter().map(|door| (door.name.clone(), door.bound.clone())).collect();
        self.workers.serve(&plan, sockets).await;
        listeners::log_changes(&self.doors, &doors, &listeners);
        let setup = status_view::of(&self.tenants, &self.sandboxes, (&doors, &listeners), (exposures, doubts));
        self.desk.setup.replace(setup);
        self.desk.listeners.replace(listeners);
        listeners::replace(&mut self.doors, doors);
        Ok(())
    }

    /// Renews the grants that the listeners need, each once, and no others.
    fn keep(&mut self, tenants: &[InstanceRuntime], listeners: &[Arc<ListenerConfig>]) {
        let (mut old, mut grants) = (std::mem::take(&mut self.keepers), Vec::<admin_listener::ShownGrant>::new());
        for subject in listeners.iter().flat_map(|listener| listener.subjects()) {
            let (policy, listener) = (subject.policy(), subject.listener.name.clone());
            let InstanceId(instance) = policy.instance();
            let Some(InstanceRuntime { name, tokens, .. }) = tenants.get(usize::from(instance)) else { continue };
            let scopes = policy.scopes();
            let same = |keeper: &RenewedGrant| Arc::ptr_eq(&keeper.tokens, tokens) && keeper.scopes == scopes;
            if let Some(place) = self.keepers.iter().position(same) {
                if let Some(grant) = grants.get_mut(place).filter(|grant| !grant.listeners.contains(&listener)) {
                    grant.listeners.push(listener);
                }
                continue;
            }
            let keeper = match old.iter().position(same) {
                Some(position) => old.swap_remove(position),
                None => RenewedGrant { tokens: Arc::clone(tokens), scopes, _kept: tokens.keep(scopes) },
            };
            self.keepers.push(keeper);
            grants.push(admin_listener::ShownGrant {
                instance: name.clone(),
                tokens: Arc::clone(tokens),
                scopes,
                listeners: vec![listener],
            });
        }
        self.desk.grants.replace(grants);
    }

    fn record(&mut self, recorder: Option<&UsageSaver>) {
        let ledger = recorder.map(|recorder| Arc::clone(&recorder.ledger));
        if let Some(new) = &ledger
            && !self.ledger.as_ref().is_some_and(|old| Arc::ptr_eq(old, new))
        {
            usage_saver::keep(Arc::clone(new));
            self.ledgers.retain(|ledger| ledger.strong_count() > 0);
            self.ledgers.push(Arc::downgrade(new));
        }
        self.ledger = ledger;
    }

    /// Where the probe listener listens.
    pub fn probes(&self) -> Option<&Bound> {
        self.probes.bound.as_ref()
    }

    /// Finds out whether all workers are alive.
    pub fn pulse(&self) -> LivenessCheck {
        self.workers.pulse()
    }

    /// Ends when a worker has ended without being told to: a part of the callers is not served any more.
    pub async fn broken(&mut self) {
        self.workers.one_ended().await;
    }

    /// Drains and ends all workers.
    pub async fn finish(self) -> io::Result<()> {
        self.trigger.shut_down();
        self.doors.iter().for_each(BoundListener::close);
        self.workers.join().await?;
        self.writing.end().await?;
        if let Some(traces) = self.traces {
            tokio::task::spawn_blocking(move || traces.finish()).await?;
        }
        for ledger in self.ledgers.iter().filter_map(Weak::upgrade) {
            usage_saver::save(&ledger, false).await;
        }
        Ok(())
    }
}

/// Bound addresses by name.
pub type Addresses = Vec<(String, SocketAddr)>;
