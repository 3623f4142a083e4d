//! The admin desk: gathers what the admin listener tells.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use tokio::sync::Semaphore;

use crate::admin::{self, Health, TokenState};
use crate::guard::issuer::Issuer;
use crate::guard::roster::Roster;
use crate::guard::{Guard, Intruder, Orders};
use crate::listener::{self, Limits, Socket};
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

/// Serves the admin listener on a bound socket, until the process ends: it must be able to tell that it drains.
pub(super) fn serve(socket: Socket, address: SocketAddr, desk: Desk) -> io::Result<()> {
    let limits = Limits {
        head_time: Duration::from_secs(10),
        head_size: 16 * 1024,
        header_count: 100,
        drain: Duration::ZERO,
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
    let guard = Rc::new(Guard::new(orders));
    let desk = Arc::new(desk);
    tokio::task::spawn_local(async move {
        let handle = move |peer, request: http::Request<hyper::body::Incoming>| {
            let (desk, guard) = (Arc::clone(&desk), Rc::clone(&guard));
            async move {
                let (head, _) = request.into_parts();
                if let Err(intruder) = guard.pass(peer, &head) {
                    return refuse(&intruder);
                }
                admin::answer(&head.method, head.uri.path(), &desk.health().await)
            }
        };
        let (_keep, never) = crate::shutdown::channel();
        let refuse = |_, status| response::refuse_head(status, None).0.concat();
        if let Err(error) = listener::serve(socket, None, &limits, never, handle, refuse).await {
            tracing::error!(%error, "admin listener ended");
        }
    });
    Ok(())
}
