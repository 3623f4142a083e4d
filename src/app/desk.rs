//! The admin desk: gathers what the admin listener tells.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Response, StatusCode};
use http_body_util::Full;
use tokio::sync::Semaphore;

use crate::admin::{self, Health, TokenState};
use crate::guard::Guard;
use crate::listener::{self, Limits};
use crate::metrics::{Metrics, TokenReading};
use crate::policy::InstanceId;
use crate::response;
use crate::shutdown::Shutdown;
use crate::token::{Key, Tokens};

/// What the admin listener draws on.
pub(super) struct Desk {
    pub(super) tokens: Arc<Tokens>,
    pub(super) keys: Vec<Key>,
    pub(super) names: Vec<String>,
    pub(super) metrics: Metrics,
    pub(super) shutdown: Shutdown,
}

impl Desk {
    async fn health(&self) -> Health {
        let mut tokens = Vec::new();
        for key in &self.keys {
            let (InstanceId(instance), scopes) = *key;
            let status = self.tokens.status(*key).await;
            tokens.push(TokenState {
                instance: self.names.get(usize::from(instance)).cloned().unwrap_or_default(),
                scopes: scopes.to_string(),
                expires_in: status.expires_in,
                problem: status.failure.map(|failure| failure.to_string()),
            });
        }
        let readings: Vec<TokenReading> = tokens
            .iter()
            .map(|token| TokenReading {
                instance: token.instance.clone(),
                scopes: token.scopes.clone(),
                expires_in: token.expires_in.unwrap_or_default(),
            })
            .collect();
        let metrics =
            self.metrics.render(&readings, self.tokens.counts()).unwrap_or_else(|error| format!("# {error}\n"));
        Health { draining: self.shutdown.has_begun(), tokens, metrics }
    }
}

/// Serves the admin listener on a bound socket, until the process ends: it must be able to tell that it drains.
pub(super) fn serve(socket: std::net::TcpListener, desk: Desk) -> io::Result<SocketAddr> {
    let address = socket.local_addr()?;
    let limits = Limits {
        head_time: Duration::from_secs(10),
        head_size: 16 * 1024,
        header_count: 100,
        drain: Duration::ZERO,
        connections: Arc::new(Semaphore::new(64)),
        refuse: response::refuse_head,
    };
    let guard = Arc::new(Guard::new(&[], address.port(), limits.head_size));
    let desk = Arc::new(desk);
    tokio::task::spawn_local(async move {
        let handle = move |peer, request: http::Request<hyper::body::Incoming>| {
            let (desk, guard) = (Arc::clone(&desk), Arc::clone(&guard));
            async move {
                let (head, _) = request.into_parts();
                if guard.admit(peer, &head).is_err() {
                    let mut foreign = Response::new(Full::from("this name is not ours: use localhost\n"));
                    *foreign.status_mut() = StatusCode::MISDIRECTED_REQUEST;
                    return foreign;
                }
                admin::answer(&head.method, head.uri.path(), &desk.health().await)
            }
        };
        let (_keep, never) = crate::shutdown::channel();
        if let Err(error) = listener::serve(socket, &limits, never, handle).await {
            tracing::error!(%error, "admin listener ended");
        }
    });
    Ok(address)
}
