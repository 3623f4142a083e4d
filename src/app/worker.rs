//! A worker: one core, one runtime, and nothing on the way of a request that another worker touches.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use crate::audit::Scribe;
use crate::config::Listener;
use crate::config::file::Timeouts;
use crate::guard::issuer::Issuer;
use crate::guard::roster::Roster;
use crate::guard::{Guard, Orders};
use crate::listener::{self, Limits, Socket};
use crate::metrics::Metrics;
use crate::policy::catalog::Catalog;
use crate::policy::{InstanceId, Policy};
use crate::proxy::{Entrance, Intake, Proxy};
use crate::rate::Gate;
use crate::shutdown::Shutdown;
use crate::telemetry;
use crate::telemetry::lines::Lines;
use crate::tls::server::Identity;
use crate::token::{Source, Tokens};
use crate::upstream::Upstream;
use crate::upstream::connect::Connector;

use super::record::Recorder;

/// How often idle upstream connections are looked through.
const SWEEP: Duration = Duration::from_secs(15);

/// A bound listener, and what a worker needs to serve it.
#[derive(Clone)]
pub(super) struct Post {
    pub(super) listener: Arc<Listener>,
    pub(super) port: u16,
    pub(super) tls: Option<Identity>,
    pub(super) issuer: Arc<Issuer>,
    pub(super) limits: Limits,
}

/// What all workers share; each makes its own connections and counters from it.
pub(super) struct Plan {
    pub(super) connectors: Vec<Connector>,
    /// The one thing on the way of a request that workers share, where a rate is limited.
    pub(super) gates: Vec<Option<Arc<Gate>>>,
    pub(super) tokens: Arc<Tokens>,
    pub(super) metrics: Metrics,
    pub(super) timeouts: Timeouts,
    pub(super) body_limit: u64,
    pub(super) recorder: Option<Recorder>,
    /// Makes request ids of this run differ from those of another.
    pub(super) run: u32,
}

/// The sockets of one worker.
pub(super) type Sockets = Vec<(Socket, Post)>;

/// All workers.
pub(super) struct Workers {
    threads: Vec<thread::JoinHandle<io::Result<()>>>,
    ended: UnboundedReceiver<()>,
}

/// Tells that a worker has ended, also when it panicked.
struct Ending(UnboundedSender<()>);

impl Drop for Ending {
    fn drop(&mut self) {
        // Nobody listens any more once shutdown has begun.
        let _ = self.0.send(());
    }
}

impl Workers {
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

/// Starts a worker for each set of sockets.
pub(super) fn start(sockets: Vec<Sockets>, plan: &Arc<Plan>, shutdown: &Shutdown) -> io::Result<Workers> {
    let (end, ended) = tokio::sync::mpsc::unbounded_channel();
    let threads = (0..)
        .zip(sockets)
        .map(|(number, sockets)| {
            let (plan, shutdown) = (Arc::clone(plan), shutdown.clone());
            let ending = Ending(end.clone());
            let work = move || {
                let _ending = ending;
                work(number, sockets, &plan, &shutdown)
            };
            thread::Builder::new().name(format!("worker-{number}")).spawn(work)
        })
        .collect::<Result<_, _>>()?;
    Ok(Workers { threads, ended })
}

fn work(number: u32, sockets: Sockets, plan: &Arc<Plan>, shutdown: &Shutdown) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    runtime.block_on(async {
        let upstreams: Vec<Rc<Upstream>> = plan
            .connectors
            .iter()
            .map(|connector| Upstream::new(connector.clone(), plan.timeouts.upstream.0).map(Rc::new))
            .collect::<Result<_, _>>()
            .map_err(io::Error::other)?;
        tokio::task::spawn_local(sweep(upstreams.clone()));
        let lines = telemetry::access().map(Rc::new);
        if let Some(lines) = &lines {
            tokio::task::spawn_local(Rc::clone(lines).flow());
        }
        let mut serving = Vec::new();
        for (socket, post) in sockets {
            let proxy = Rc::new(proxy(number, &post, plan, (&upstreams, lines.clone()))?);
            let shutdown = shutdown.clone();
            serving.push(tokio::task::spawn_local(async move {
                let refusing = Rc::clone(&proxy);
                let refuse = move |peer, status| refusing.refuse_head(peer, status);
                let handle = move |peer, request| Rc::clone(&proxy).serve(peer, request);
                listener::serve(socket, post.tls, &post.limits, shutdown, handle, refuse).await
            }));
        }
        for listener in serving {
            listener.await??;
        }
        Ok(())
    })
}

async fn sweep(upstreams: Vec<Rc<Upstream>>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        upstreams.iter().for_each(|upstream| upstream.sweep());
    }
}

fn proxy(
    number: u32,
    post: &Post,
    plan: &Plan,
    (upstreams, lines): (&[Rc<Upstream>], Option<Rc<Lines>>),
) -> io::Result<Proxy> {
    let Listener { name, names, origins, policy, callers, .. } = &*post.listener;
    let InstanceId(instance) = policy.instance();
    let upstream = upstreams.get(usize::from(instance)).ok_or(io::ErrorKind::NotFound)?;
    let gate = plan.gates.get(usize::from(instance)).cloned().flatten();
    let entrance = |(place, policy): (usize, &Arc<Policy>)| {
        let page = plan.recorder.as_ref().and_then(|recorder| recorder.page(name, place));
        Entrance::new(Arc::clone(policy), Source::new(Arc::clone(&plan.tokens)), page)
    };
    let entrances = post.listener.policies().into_iter().enumerate().map(entrance).collect();
    let guard = Guard::new(Orders {
        names: names.clone(),
        port: Some(post.port),
        tls: post.tls.is_some(),
        origins: origins.clone(),
        roster: Roster::new(callers.iter().map(|caller| caller.entry.clone()).collect()),
        issuer: Arc::clone(&post.issuer),
        head_size: post.limits.head_size,
    });
    let caller_names = callers.iter().map(|caller| caller.entry.name.clone()).collect();
    let meter = plan.metrics.meter(name, caller_names, operation_names(policy.catalog()));
    let scribe = Scribe { meter, lines };
    let intake = Intake { wait: plan.timeouts.client.0, limit: plan.body_limit };
    Ok(Proxy::new(guard, entrances, (gate, Rc::clone(upstream)), scribe, intake, plan.run | (number & 0xff)))
}

fn operation_names(catalog: &Catalog) -> Vec<String> {
    catalog.iter().filter_map(|(id, _)| catalog.name(id)).map(|name| name.to_string()).collect()
}
