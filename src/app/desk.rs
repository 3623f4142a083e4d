//! The admin desk: gathers what the admin listener tells.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use tokio::sync::{Semaphore, watch};

use crate::admin::{self, Configuration, Health, TokenState};
use crate::guard::issuer::Issuer;
use crate::guard::roster::Roster;
use crate::guard::{Guard, Intruder, Orders};
use crate::listener::{self, Limits, Socket, Terms};
use crate::metrics::{Metrics, TokenReading};
use crate::policy::catalog::ScopeSet;
use crate::response;
use crate::shutdown::Shutdown;
use crate::token::{Counts, Tokens};

/// What the admin listener draws on.
pub(super) struct Desk {
    pub(super) metrics: Metrics,
    pub(super) counts: Arc<Counts>,
    pub(super) shutdown: Shutdown,
    /// The grants that are kept: of which instance, and which scopes.
    pub(super) grants: RefCell<Vec<Grant>>,
    pub(super) configuration: RefCell<Configuration>,
}

/// A grant that is kept.
#[derive(Clone)]
pub(super) struct Grant {
    pub(super) instance: String,
    pub(super) tokens: Arc<Tokens>,
    pub(super) scopes: ScopeSet,
}

impl Desk {
    async fn health(&self) -> Health {
        let (mut tokens, mut readings) = (Vec::new(), Vec::new());
        let grants = self.grants.borrow().clone();
        for Grant { instance, tokens: kept, scopes } in grants {
            let status = kept.status(scopes).await;
            readings.push(TokenReading {
                instance: instance.clone(),
                scopes: scopes.to_string(),
                expires_in: status.expires_in.unwrap_or_default(),
                age: status.age,
            });
            tokens.push(TokenState {
                instance,
                scopes: scopes.to_string(),
                expires_in: status.expires_in,
                problem: status.failure.map(|failure| failure.to_string()),
            });
        }
        let metrics = self.metrics.render(&readings, self.counts.read()).unwrap_or_else(|error| format!("# {error}\n"));
        let configuration = self.configuration.borrow().clone();
        Health { draining: self.shutdown.has_begun(), tokens, metrics, configuration }
    }
}

fn refuse(intruder: &Intruder) -> Response<Full<Bytes>> {
    let mut refused = Response::new(Full::from(format!("{intruder}: call localhost, and no web page may\n")));
    *refused.status_mut() = if matches!(intruder, Intruder::ForeignHost(_)) {
        StatusCode::MISDIRECTED_REQUEST
    } else if intruder.is_malformed() {
        StatusCode::BAD_REQUEST
    } else {
        StatusCode::FORBIDDEN
    };
    refused
}

/// Serves the admin listener on a bound socket until it is closed, which a shutdown does not: it must be able to tell
/// that the process drains.
pub(super) fn serve(socket: Socket, address: SocketAddr, desk: &Rc<Desk>, closed: Shutdown) -> io::Result<()> {
    let limits = Limits {
        head_time: Duration::from_secs(10),
        head_size: 16 * 1024,
        header_count: 100,
        drain: Duration::from_secs(5),
        connections: Arc::new(Semaphore::new(64)),
    };
    let orders = Orders {
        names: Vec::new(),
        port: Some(address.port()),
        tls: false,
        origins: Vec::new(),
        roster: Roster::new(Vec::new()),
        issuer: Arc::new(Issuer::new().map_err(io::Error::other)?),
        head_size: limits.head_size,
    };
    let (guard, desk) = (Rc::new(Guard::new(orders)), Rc::clone(desk));
    let handle = move |peer, request: http::Request<hyper::body::Incoming>| {
        let (desk, guard) = (Rc::clone(&desk), Rc::clone(&guard));
        async move {
            let (head, _) = request.into_parts();
            if let Err(intruder) = guard.pass(peer, &head) {
                return refuse(&intruder);
            }
            admin::answer(&head.method, head.uri.path(), &desk.health().await)
        }
    };
    tokio::task::spawn_local(async move {
        let (_keep, terms) = watch::channel(Terms { tls: None, limits });
        let refuse = |_, status| response::refuse_head(status, None).0.concat();
        if let Err(error) = listener::serve(socket, terms, closed, handle, refuse).await {
            tracing::error!(%error, "admin listener ended");
        }
    });
    Ok(())
}
