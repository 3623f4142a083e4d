//! The admin listener: gathers what it shows, and serves it.

mod approvals;
mod events;
mod explorer;
mod grants;
mod permits;
mod quotas;

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response};
use http_body_util::channel::Channel;
use http_body_util::{Either, Full};
use tokio::sync::{Semaphore, watch};

use super::target_names::TargetNames;
use crate::config::ListenerConfig;
use crate::net::listener::{
    self, Bound, Buffers, ConnectionConfig, ConnectionLimits, ListenerLabel, ListeningSocket, RequestBody, Slots,
};
use crate::net::shutdown::Shutdown;
use crate::observe::metrics::Metrics;
use crate::observe::refusals::RecentRefusals;
use crate::proxy::approval::Approvals;
use crate::proxy::authn::callers::Callers;
use crate::proxy::authn::local_tokens::LocalTokens;
use crate::proxy::authn::{Authn, AuthnConfig};
use crate::proxy::headers::loops::LoopMark;
use crate::proxy::quota::QuotaTracker;
use crate::proxy::response;
use crate::proxy::token::FlightCounts;
use crate::proxy::uses::SharedUses;
use crate::shared::SharedStore;
use crate::tools::admin::approvals::{ApprovalsPage, ApprovalsPath};
use crate::tools::admin::history::History;
use crate::tools::admin::page::{Explorer, ExplorerAnswer, ExplorerQuestion, StatusPage};
use crate::tools::admin::view::{PageStatus, Setup, View};
use crate::tools::admin::{self, Configuration, Health, StoreStatus, TokenState};

pub(super) use grants::ShownGrant;

/// The memory for what waits for those who do not read, in bytes; counted, not needed.
const BUFFERS: u64 = 16 << 20;

/// An answer: whole, or server-sent events.
type Body = Either<Full<Bytes>, Channel<Bytes>>;

/// What the admin listener draws on.
pub(super) struct AdminState {
    pub(super) metrics: Metrics,
    pub(super) approvals: Approvals,
    /// What replicas share, if they do.
    pub(super) store: Option<SharedStore>,
    /// Where replicas count the uses of rules together.
    pub(super) uses: Option<Arc<SharedUses>>,
    /// The names of what requests are about.
    pub(super) names: TargetNames,
    pub(super) counts: Arc<FlightCounts>,
    pub(super) shutdown: Shutdown,
    /// A request that has it was sent by this process itself.
    pub(super) mark: LoopMark,
    /// The grants that are kept: of which instance, and which scopes.
    pub(super) grants: RefCell<Vec<ShownGrant>>,
    pub(super) configuration: RefCell<Configuration>,
    /// What the configuration made.
    pub(super) setup: RefCell<Setup>,
    pub(super) listeners: RefCell<Vec<Arc<ListenerConfig>>>,
    pub(super) refusals: RecentRefusals,
    /// What is used of the quotas of each listener that has some.
    pub(super) quotas: RefCell<Vec<(String, Arc<QuotaTracker>)>>,
    history: RefCell<History>,
    begun: Instant,
    page: StatusPage,
    approvals_page: ApprovalsPage,
    /// The last view that was sent to open pages.
    events: watch::Sender<Bytes>,
    /// A slot for each page that may be open.
    pages: Arc<Semaphore>,
}

impl AdminState {
    /// With nothing on it yet.
    pub(super) fn new(
        (metrics, approvals, store): (Metrics, Approvals, Option<SharedStore>),
        shutdown: Shutdown,
        configuration: Configuration,
        mark: LoopMark,
    ) -> Self {
        Self {
            metrics,
            approvals,
            uses: store.clone().map(SharedUses::start),
            store,
            names: TargetNames::new(mark.clone()),
            counts: Arc::default(),
            shutdown,
            mark,
            grants: RefCell::default(),
            configuration: RefCell::new(configuration),
            setup: RefCell::default(),
            listeners: RefCell::default(),
            refusals: RecentRefusals::default(),
            quotas: RefCell::default(),
            history: RefCell::default(),
            begun: Instant::now(),
            page: StatusPage::new(),
            approvals_page: ApprovalsPage::new(),
            events: watch::Sender::new(Bytes::new()),
            pages: Arc::new(Semaphore::new(events::PAGES)),
        }
    }

    async fn tokens(&self) -> Vec<TokenState> {
        let grants = self.grants.borrow().clone();
        let mut tokens = Vec::with_capacity(grants.len());
        for grant in grants {
            tokens.push(grant.read().await);
        }
        tokens
    }

    pub(super) async fn health(&self) -> Health {
        let tokens = self.tokens().await;
        let (machine, users) = grants::gauges(&tokens);
        self.metrics.show_quotas(&quotas::gauges(&self.quotas.borrow()));
        self.metrics.approvals().set_waiting(self.approvals.waiting());
        let metrics = self.metrics.render(&machine, &users, self.counts.read());
        let metrics = metrics.unwrap_or_else(|error| format!("# {error}\n"));
        let configuration = self.configuration.borrow().clone();
        let (warnings, instances) = {
            let setup = self.setup.borrow();
            (setup.doubts.clone(), setup.instances.clone())
        };
        Health {
            draining: self.shutdown.has_begun(),
            tokens,
            metrics,
            configuration,
            warnings,
            instances,
            store: self.store(),
        }
    }

    fn store(&self) -> Option<StoreStatus> {
        self.store.as_ref().map(StoreStatus::of)
    }

    async fn view(&self) -> View {
        let tokens = self.tokens().await;
        View::of(&PageStatus {
            now: SystemTime::now(),
            uptime: self.begun.elapsed(),
            draining: self.shutdown.has_begun(),
            tokens,
            doctor: self.grants.borrow().first().map(|grant| grant.tokens.doctor().to_owned()),
            configuration: self.configuration.borrow().clone(),
            setup: self.setup.borrow().clone(),
            tally: self.metrics.tally(),
            waiting: self.approvals.waiting(),
            store: self.store(),
            refusals: self.refusals.groups(),
            quotas: quotas::views(&self.quotas.borrow()),
            permits: permits::views(&self.listeners.borrow(), self.uses.as_deref()),
            charts: self.history.borrow().charts(),
        })
    }

    /// Answers a request that has been admitted; server-sent events end with `closed`.
    async fn answer(&self, head: &Parts, body: RequestBody, closed: Shutdown) -> Response<Body> {
        if let Some(path) = ApprovalsPath::at(head.uri.path()) {
            return self.answer_approvals(path, head, body).await.map(Either::Left);
        }
        let reads = head.method == Method::GET || head.method == Method::HEAD;
        let whole = match (head.uri.path(), reads) {
            ("/", true) => self.show(None).await,
            ("/explain", true) => self.explain(head).await,
            ("/events", true) if head.method == Method::GET => return self.stream_events(closed).await,
            ("/events", true) => admin::events(Full::default()),
            (path, _) => admin::answer(&head.method, path, &self.health().await),
        };
        whole.map(Either::Left)
    }

    /// For the script of the page as JSON, else as the page.
    async fn explain(&self, head: &Parts) -> Response<Full<Bytes>> {
        let question = ExplorerQuestion::read(head.uri.query());
        let accepts = head.headers.get(http::header::ACCEPT).map(http::HeaderValue::as_bytes);
        if accepts == Some(b"application/json") {
            let answer = question.as_ref().map(|question| self.explanation(question));
            let none = || ExplorerAnswer::problem("path is missing: give one, such as path=/v2/devices");
            return admin::explained(&answer.unwrap_or_else(none));
        }
        self.show(question).await
    }

    /// The page, with a sample in the explorer if nothing is asked.
    async fn show(&self, asked: Option<ExplorerQuestion>) -> Response<Full<Bytes>> {
        let view = self.view().await;
        let sample = asked.is_none();
        let question = asked.unwrap_or_else(|| ExplorerQuestion::sample(view.listeners.first().map(String::as_str)));
        let answer = self.explanation(&question);
        self.page.show(&view, &Explorer { question: &question, answer: Some(&answer), sample })
    }

    fn explanation(&self, question: &ExplorerQuestion) -> ExplorerAnswer {
        explorer::answer(&self.listeners.borrow(), question)
    }
}

/// Of a listener for administrators and their programs. A probe gives up after a second: nobody can make it wait by
/// connections that ask nothing.
pub(super) fn limits() -> ConnectionLimits {
    ConnectionLimits {
        head_time: Duration::from_secs(5),
        head_size: 16 * 1024,
        header_count: 100,
        drain: Duration::from_secs(5),
        connections: Slots::Replacing(64),
        buffers: Arc::new(Buffers::new(BUFFERS)),
    }
}

/// Serves the admin listener on bound sockets until it is closed, which a shutdown does not: it must be able to tell
/// that the process drains.
pub(super) fn serve(
    sockets: Vec<ListeningSocket>,
    bound: &Bound,
    state: &Rc<AdminState>,
    closed: &Shutdown,
) -> io::Result<()> {
    let limits = limits();
    let config = AuthnConfig {
        names: Vec::new(),
        port: Some(bound.port(false)),
        tls: false,
        origins: Vec::new(),
        callers: Callers::new(Vec::new()),
        issuer: Arc::new(LocalTokens::new().map_err(io::Error::other)?),
        head_size: limits.head_size,
        intercept: Vec::new(),
    };
    let (authn, beating) = (Rc::new(Authn::new(config)), (Rc::clone(state), closed.clone()));
    tokio::task::spawn_local(async move {
        let (state, closed) = beating;
        tokio::select! {
            () = closed.begun() => {}
            () = state.beat() => {}
        }
    });
    let label = Arc::new(ListenerLabel { name: "admin".to_owned(), address: bound.url(false) });
    let (state, ending) = (Rc::clone(state), closed.clone());
    let handle = move |peer, request: http::Request<RequestBody>| {
        let (state, authn, closed) = (Rc::clone(&state), Rc::clone(&authn), ending.clone());
        async move {
            let (head, body) = request.into_parts();
            if let Err(error) = state.mark.check(&head.headers) {
                return response::refuse_loop(error).map(Either::Left);
            }
            match authn.admit(peer, &head) {
                Ok(_) => state.answer(&head, body, closed).await,
                Err(error) => response::refuse_foreign(&error).map(Either::Left),
            }
        }
    };
    for socket in sockets {
        let (limits, closed, handle, listener) = (limits.clone(), closed.clone(), handle.clone(), label.clone());
        tokio::task::spawn_local(async move {
            let (_keep, terms) = watch::channel(ConnectionConfig { listener, tls: None, interception: None, limits });
            let refuse = |_, status| response::refuse_head(status, None).0.concat();
            if let Err(error) = listener::serve(socket, terms, closed, handle, refuse).await {
                tracing::error!(%error, "admin listener ended");
            }
        });
    }
    Ok(())
}
