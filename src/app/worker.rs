//! A worker: one core, one runtime, and nothing on the way of a request that another worker touches.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::config::ListenerConfig;
use crate::net::listener::{self, ConnectionConfig, ListeningSocket};
use crate::net::shutdown::Shutdown;
use crate::observe::access_log::Sink;
use crate::observe::audit_log::AuditLog;
use crate::observe::logging;
use crate::observe::logging::log_line::LineWriter;
use crate::observe::metrics::Metrics;
use crate::observe::refusals::RecentRefusals;
use crate::observe::traces::Traces;
use crate::proxy::authn::callers::{Callers, KnownCallers};
use crate::proxy::authn::local_tokens::{CallerMarks, LocalTokens};
use crate::proxy::authn::{Authn, AuthnConfig};
use crate::proxy::headers::loops::LoopMark;
use crate::proxy::policy::catalog::Catalog;
use crate::proxy::policy::{InstanceId, Policy};
use crate::proxy::rate_limit::RateLimiter;
use crate::proxy::token::{TokenSource, Tokens};
use crate::proxy::upstream::Upstream;
use crate::proxy::{BodyLimits, CallerContext, Proxy, ProxyConfig, RequestIds};

use super::instances::UpstreamConfig;
use super::usage_saver::UsageSaver;

/// How often idle upstream connections are looked through.
const SWEEP: Duration = Duration::from_secs(15);

/// A bound listener, and what a worker needs to serve it.
pub(super) struct ListenerSpec {
    /// Of the door.
    pub(super) door: u64,
    pub(super) listener: Arc<ListenerConfig>,
    pub(super) port: u16,
    pub(super) terms: ConnectionConfig,
    /// When it ends.
    pub(super) stopped: Shutdown,
    pub(super) issuer: Arc<LocalTokens>,
    /// Of the listener's callers.
    pub(super) marks: CallerMarks,
}

/// What all workers serve, until they are given another plan; each makes its own connections and counters from it.
pub(super) struct RuntimeConfig {
    pub(super) posts: Vec<ListenerSpec>,
    /// These three by [`InstanceId`].
    pub(super) ways: Vec<Arc<UpstreamConfig>>,
    /// The one thing on the way of a request that workers share, where a rate is limited.
    pub(super) gates: Vec<Option<Arc<RateLimiter>>>,
    pub(super) tokens: Vec<Arc<Tokens>>,
    pub(super) metrics: Metrics,
    pub(super) journal: AuditLog,
    pub(super) traces: Option<Traces>,
    pub(super) refusals: RecentRefusals,
    pub(super) intake: BodyLimits,
    pub(super) recorder: Option<UsageSaver>,
}

/// New sockets for one worker, by the numbers of their doors.
pub(super) type Sockets = Vec<(u64, ListeningSocket)>;

/// What a worker is to do.
enum WorkerCommand {
    /// To serve this plan from now on. Dropping the last part says that it does.
    Serve(Arc<RuntimeConfig>, Sockets, mpsc::Sender<()>),
    /// To show that it is alive, by dropping this.
    Answer(mpsc::Sender<()>),
}

/// All workers.
pub(super) struct Workers {
    threads: Vec<thread::JoinHandle<io::Result<()>>>,
    words: Vec<UnboundedSender<WorkerCommand>>,
    ended: UnboundedReceiver<()>,
}

/// Asks workers whether they are alive.
#[derive(Clone)]
pub struct LivenessCheck(Vec<UnboundedSender<WorkerCommand>>);

/// Tells that a worker has ended, also when it panicked.
struct EndNotice(UnboundedSender<()>);

impl Drop for EndNotice {
    fn drop(&mut self) {
        // Nobody listens any more once shutdown has begun.
        let _ = self.0.send(());
    }
}

impl LivenessCheck {
    /// Ends when each worker has come round to answering, or has ended.
    pub async fn felt(&self) {
        let (answer, mut answered) = mpsc::channel(1);
        for words in &self.0 {
            // One that has ended is reported elsewhere.
            let _ = words.send(WorkerCommand::Answer(answer.clone()));
        }
        drop(answer);
        answered.recv().await;
    }
}

impl Workers {
    /// Starts `count` workers that serve nothing yet; `run` makes request ids differ from those of other runs.
    pub(super) fn start(count: usize, run: u32, mark: &LoopMark, shutdown: &Shutdown) -> io::Result<Self> {
        let (end, ended) = unbounded_channel();
        let (mut threads, mut words) = (Vec::new(), Vec::new());
        for (_, number) in (0..count).zip(0..) {
            let (say, hear) = unbounded_channel();
            let (shutdown, ending) = (shutdown.clone(), EndNotice(end.clone()));
            let ids = RequestIds::new(run | (number & 0xff), mark);
            let work = move || {
                let _ending = ending;
                let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
                runtime.block_on(Worker::new(ids).work(hear, shutdown))
            };
            threads.push(thread::Builder::new().name(format!("worker-{number}")).spawn(work)?);
            words.push(say);
        }
        Ok(Self { threads, words, ended })
    }

    pub(super) fn count(&self) -> usize {
        self.threads.len()
    }

    /// Has all of them serve this plan, with sockets for what is new; ends when they do.
    pub(super) async fn serve(&self, plan: &Arc<RuntimeConfig>, sockets: Vec<Sockets>) {
        let (taken, mut all) = mpsc::channel(1);
        for (words, sockets) in self.words.iter().zip(sockets) {
            // One that has ended ends the process.
            let _ = words.send(WorkerCommand::Serve(Arc::clone(plan), sockets, taken.clone()));
        }
        drop(taken);
        all.recv().await;
    }

    pub(super) fn pulse(&self) -> LivenessCheck {
        LivenessCheck(self.words.clone())
    }

    /// Ends when a worker has ended.
    pub(super) async fn one_ended(&mut self) {
        self.ended.recv().await;
    }

    /// Waits until all have ended.
    pub(super) async fn join(self) -> io::Result<()> {
        for thread in self.threads {
            let joined = tokio::task::spawn_blocking(move || thread.join()).await?;
            joined.map_err(|_| io::Error::other("a worker panicked"))??;
        }
        Ok(())
    }
}

type Upstreams = RefCell<Vec<(Arc<UpstreamConfig>, Rc<Upstream>)>>;

/// What one worker has.
struct Worker {
    ids: Rc<RequestIds>,
    /// Where its access records go, if anywhere.
    lines: Option<Rc<LineWriter>>,
    /// The ways of the plan, and its connections on each.
    upstreams: Rc<Upstreams>,
    seats: Vec<ActiveListener>,
    serving: JoinSet<io::Result<()>>,
}

/// A listener that is served. A request takes the proxy that is here when it comes, and keeps it to its end.
struct ActiveListener {
    door: u64,
    proxy: Rc<RefCell<Rc<Proxy>>>,
    terms: watch::Sender<ConnectionConfig>,
}

impl Worker {
    fn new(ids: RequestIds) -> Self {
        let (ids, lines) = (Rc::new(ids), logging::access().map(Rc::new));
        Self { ids, lines, upstreams: Rc::default(), seats: Vec::new(), serving: JoinSet::new() }
    }

    /// Serves as commanded, until the shutdown has begun and all listeners have drained.
    async fn work(mut self, mut words: UnboundedReceiver<WorkerCommand>, shutdown: Shutdown) -> io::Result<()> {
        tokio::task::spawn_local(sweep(Rc::clone(&self.upstreams)));
        if let Some(lines) = &self.lines {
            tokio::task::spawn_local(Rc::clone(lines).flow());
        }
        while !(shutdown.has_begun() && self.serving.is_empty()) {
            tokio::select! {
                Some(word) = words.recv() => match word {
                    WorkerCommand::Serve(plan, sockets, _taken) => self.serve(&plan, sockets)?,
                    WorkerCommand::Answer(_alive) => {}
                },
                Some(ended) = self.serving.join_next() => ended??,
                () = shutdown.clone().begun(), if !shutdown.has_begun() => {}
            }
        }
        Ok(())
    }

    fn serve(&mut self, plan: &RuntimeConfig, sockets: Sockets) -> io::Result<()> {
        let upstreams = plan.ways.iter().map(|way| self.upstream(way)).collect::<io::Result<Vec<_>>>()?;
        let proxies = plan.posts.iter().map(|post| self.proxy(post, plan, &upstreams).map(Rc::new));
        let proxies = proxies.collect::<io::Result<Vec<_>>>()?;
        self.seats.retain(|seat| plan.posts.iter().any(|post| post.door == seat.door));
        for (post, proxy) in plan.posts.iter().zip(&proxies) {
            for seat in self.seats.iter().filter(|seat| seat.door == post.door) {
                seat.proxy.replace(Rc::clone(proxy));
                seat.terms.send_replace(post.terms.clone());
            }
        }
        for (door, socket) in sockets {
            let new = plan.posts.iter().zip(&proxies).find(|(post, _)| post.door == door);
            let (post, proxy) = new.ok_or(io::ErrorKind::NotFound)?;
            self.spawn_listener(post, Rc::clone(proxy), socket);
        }
        self.upstreams.replace(plan.ways.iter().cloned().zip(upstreams).collect());
        Ok(())
    }

    fn spawn_listener(&mut self, post: &ListenerSpec, proxy: Rc<Proxy>, socket: ListeningSocket) {
        let proxy = Rc::new(RefCell::new(proxy));
        let (terms, followed) = watch::channel(post.terms.clone());
        self.seats.push(ActiveListener { door: post.door, proxy: Rc::clone(&proxy), terms });
        let refusing = Rc::clone(&proxy);
        let refuse = move |peer, status| refusing.borrow().refuse_head(peer, status);
        let handle = move |peer, request| {
            let proxy = Rc::clone(&proxy.borrow());
            proxy.serve(peer, request)
        };
        self.serving.spawn_local(listener::serve(socket, followed, post.stopped.clone(), handle, refuse));
    }

    /// The connections on this way that are there, or none yet.
    fn upstream(&self, way: &Arc<UpstreamConfig>) -> io::Result<Rc<Upstream>> {
        if let Some((_, upstream)) = self.upstreams.borrow().iter().find(|(own, _)| Arc::ptr_eq(own, way)) {
            return Ok(Rc::clone(upstream));
        }
        Upstream::new(way.connector.clone(), way.token_timeout, way.traffic.clone())
            .map(Rc::new)
            .map_err(io::Error::other)
    }

    fn proxy(&self, post: &ListenerSpec, plan: &RuntimeConfig, upstreams: &[Rc<Upstream>]) -> io::Result<Proxy> {
        let ListenerConfig { name, names, origins, policy, callers, .. } = &*post.listener;
        let InstanceId(instance) = policy.instance();
        let instance = usize::from(instance);
        let upstream = upstreams.get(instance).ok_or(io::ErrorKind::NotFound)?;
        let tokens = plan.tokens.get(instance).ok_or(io::ErrorKind::NotFound)?;
        let context = |place: usize, policy: &Arc<Policy>| {
            let usage = plan.recorder.as_ref().and_then(|recorder| recorder.page(name, place));
            CallerContext::new(Arc::clone(policy), TokenSource::new(Arc::clone(tokens)), usage)
        };
        let known = callers.iter().enumerate();
        let known = known.map(|(place, caller)| (caller.entry.clone(), context(place, &caller.policy)));
        let authn = Authn::new(AuthnConfig {
            names: names.clone(),
            port: Some(post.port),
            tls: post.terms.tls.is_some(),
            origins: origins.clone(),
            callers: if callers.is_empty() {
                Callers::Anonymous(context(0, policy))
            } else {
                Callers::Known(KnownCallers::new(known, post.marks.clone()))
            },
            issuer: Arc::clone(&post.issuer),
            head_size: post.terms.limits.head_size,
        });
        let caller_names = callers.iter().map(|caller| caller.entry.name.clone()).collect();
        let meter = plan.metrics.meter(name, caller_names, operation_names(policy.catalog()));
        Ok(Proxy::new(ProxyConfig {
            authn,
            upstream: Rc::clone(upstream),
            rate_limiter: plan.gates.get(instance).cloned().flatten(),
            audit_log: plan.journal.clone(),
            sink: Sink { meter, lines: self.lines.clone(), traces: plan.traces.clone() },
            refusals: plan.refusals.clone(),
            body_limits: plan.intake.clone(),
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

fn operation_names(catalog: &Catalog) -> Vec<String> {
    catalog.iter().filter_map(|(id, _)| catalog.name(id)).map(|name| name.to_string()).collect()
}
