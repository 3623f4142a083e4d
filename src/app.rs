//! The composition: bind, start a worker for each core, say where we listen, run until shutdown.

mod desk;
mod doors;
mod record;
mod worker;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

use http::uri::Authority;
use tokio::runtime::Handle;

use crate::clock::Moment;
use crate::config::file::{File, Timeouts};
use crate::config::{EndpointError, Instance, Listener, Origin, Settings, Site};
use crate::listener::{BindError, Bound, Hold, Place};
use crate::metrics::Metrics;
use crate::rate::Gate;
use crate::sandbox::{Options, Sandbox, SandboxError};
use crate::secret::Secret;
use crate::secret::source::Source;
use crate::shutdown::{self, Trigger};
use crate::tls::TlsError;
use crate::tls::server::ServerError;
use crate::token::credentials::Credentials;
use crate::token::endpoint::Endpoint;
use crate::token::{Key, Tokens};
use crate::upstream::connect::{BadHost, Connector};
use crate::usage::Ledger;
use desk::Desk;
use doors::Doors;
use record::Recorder;
use worker::{Plan, Workers};

/// Why the proxy does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be bound.
    #[error("{what} cannot listen on {address}{hint}")]
    Bind {
        /// Which listener.
        what: String,
        /// Its address.
        address: Place,
        /// Why.
        source: BindError,
        /// What to do next.
        hint: &'static str,
    },
    /// A listener's certificate or key cannot be used.
    #[error("listener {0}")]
    Identity(String, #[source] ServerError),
    /// There is no TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The host of an instance cannot be used.
    #[error("instance {0}")]
    Host(String, #[source] BadHost),
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
    pub admin: Option<SocketAddr>,
    /// Where the sandboxes listen, by the name of the instance.
    pub sandboxes: Addresses,
    trigger: Trigger,
    workers: Workers,
    ledger: Option<Arc<Ledger>>,
    /// To the end of the drain.
    _holds: Vec<Hold>,
}

impl App {
    /// Binds everything and starts a worker for each core. Token flights, the sandbox and the admin listener run on
    /// the current thread's local runtime, which must go on until [`App::finish`] has ended.
    pub async fn start(settings: Settings, file: &File) -> Result<Self, StartError> {
        let count = thread::available_parallelism().map_or(1, usize::from);
        let Settings { instances, listeners, record } = settings;
        let listeners: Vec<Arc<Listener>> = listeners.into_iter().map(Arc::new).collect();
        let Doors { sockets, addresses, holds } = doors::bind_all(&listeners, file, count)?;
        let admin_door = doors::bind_admin(file)?;
        let (trigger, shutdown) = shutdown::channel();
        let (instances, sandboxes) = start_sandboxes(instances).await?;
        let endpoints = endpoints(&instances, &file.timeouts)?;
        let tokens = Tokens::new(endpoints, file.timeouts.token.0, Handle::current(), Moment::now);
        let keys = keys(&listeners);
        let metrics = Metrics::new()?;
        let plan = Arc::new(Plan {
            connectors: connectors(&instances, &file.timeouts)?,
            gates: gates(&instances, &metrics),
            tokens: Arc::clone(&tokens),
            metrics: metrics.clone(),
            timeouts: file.timeouts.clone(),
            body_limit: file.limits.body.0,
            run: fastrand::u32(..) & 0xffff_ff00,
            recorder: record.map(|file| Recorder::new(file, &listeners)),
        });
        keys.iter().for_each(|key| tokens.keep(*key));
        let ledger = plan.recorder.as_ref().map(Recorder::keep);
        let names = instances.into_iter().map(|(instance, _)| instance.name).collect();
        let desk = Desk { tokens, keys, names, metrics, shutdown: shutdown.clone() };
        let admin = match admin_door {
            Some((socket, address)) => desk::serve(socket, address, desk).map(|()| Some(address))?,
            None => None,
        };
        let workers = worker::start(sockets, &plan, &shutdown)?;
        Ok(Self { addresses, admin, sandboxes, trigger, workers, ledger, _holds: holds })
    }

    /// Ends when a worker has ended without being told to: a part of the callers is not served any more.
    pub async fn broken(&mut self) {
        self.workers.one_ended().await;
    }

    /// Drains and ends all workers.
    pub async fn finish(self) -> io::Result<()> {
        self.trigger.shut_down();
        self.workers.join().await?;
        if let Some(ledger) = self.ledger {
            record::save(&ledger, false).await;
        }
        Ok(())
    }
}

/// Bound addresses by name.
pub type Addresses = Vec<(String, SocketAddr)>;

/// The grants that the listeners need, each once.
fn keys(listeners: &[Arc<Listener>]) -> Vec<Key> {
    let mut keys = Vec::new();
    for policy in listeners.iter().flat_map(|listener| listener.policies()) {
        let key = (policy.instance(), policy.scopes());
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    keys
}

/// Starts an embedded NinjaOne for each instance that asks for one; now each has an origin.
async fn start_sandboxes(instances: Vec<Instance>) -> Result<(Vec<(Instance, Origin)>, Addresses), StartError> {
    let (mut all, mut addresses) = (Vec::new(), Vec::new());
    for mut instance in instances {
        let origin = match instance.origin.take() {
            Some(origin) => origin,
            None => {
                let options = Options::default();
                let given = |text: &str| Source::Given(Secret::new(text.to_owned()));
                let credentials = Credentials::read(given(&options.client_id), given(&options.client_secret));
                // It goes on to the end of the process: requests in flight are answered while the proxy drains.
                let address = Sandbox::new(options)?.open().await?;
                addresses.push((instance.name.clone(), address));
                let authority = Authority::try_from(address.to_string()).map_err(io::Error::other)?;
                let credentials = Arc::new(credentials.map_err(io::Error::other)?);
                Origin { site: Site { authority, trust: None, proxy: None }, credentials }
            }
        };
        all.push((instance, origin));
    }
    Ok((all, addresses))
}

fn endpoints(instances: &[(Instance, Origin)], timeouts: &Timeouts) -> Result<Vec<Endpoint>, StartError> {
    let endpoint = |(instance, Origin { site, credentials }): &(Instance, Origin)| {
        site.endpoint(&instance.token_path, instance.client_auth, Arc::clone(credentials), timeouts.token.0)
            .map_err(|error| StartError::Endpoint(instance.name.clone(), error))
    };
    instances.iter().map(endpoint).collect()
}

/// The ways in to the instances whose rate is limited.
fn gates(instances: &[(Instance, Origin)], metrics: &Metrics) -> Vec<Option<Arc<Gate>>> {
    let gate = |(Instance { name, rate, .. }, _): &(Instance, Origin)| {
        let limits = rate.as_ref()?;
        Some(Arc::new(Gate::new(name.clone(), limits, metrics.rate_waits(name))))
    };
    instances.iter().map(gate).collect()
}

fn connectors(instances: &[(Instance, Origin)], timeouts: &Timeouts) -> Result<Vec<Connector>, StartError> {
    let connector = |(instance, Origin { site, .. }): &(Instance, Origin)| {
        let config = site.trust.as_ref().map(|trust| trust.client_config(&[])).transpose()?;
        Connector::new(site.authority.clone(), config, site.route(), timeouts.connect.0)
            .map_err(|error| StartError::Host(instance.name.clone(), error))
    };
    instances.iter().map(connector).collect()
}
