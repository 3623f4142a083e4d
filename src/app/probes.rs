//! The probe listener: alive, ready and metrics for those who ask over a network, such as a kubelet or Prometheus; no
//! reasons, and nothing else.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use tokio::sync::watch;

use super::admin_listener::{self, AdminState};
use super::single_listener::SingleListener;
use crate::net::listener::{self, Bound, ConnectionConfig, Hold, ListenAddress, ListenerLabel, ListeningSocket};
use crate::net::shutdown::{self, Shutdown, Trigger};
use crate::proxy::authn;
use crate::proxy::response;
use crate::tools::admin;

/// Without the reasons, which the admin listener tells.
const READY_IN_DOUBT: &str =
    "ready\nwarning: an instance is the sandbox, whose data is invented, although a tenant seems to be meant\n";

/// The listener, if there is one.
#[derive(Default)]
pub(super) struct ProbeListener {
    /// Where it listens.
    pub(super) address: Option<Bound>,
    /// Where it is meant to listen, and what closes it.
    open: Option<(ListenAddress, Trigger, Hold)>,
}

impl ProbeListener {
    /// The address, if it is another one than now.
    pub(super) fn other<'a>(&self, wanted: Option<&'a ListenAddress>) -> Option<&'a ListenAddress> {
        let there = self.open.as_ref().map(|(wanted, ..)| wanted);
        wanted.filter(|wanted| Some(*wanted) != there)
    }

    /// Goes to where it is meant to listen, if at all; `new` is bound there if that is another address.
    pub(super) fn go(&mut self, wanted: bool, new: Option<SingleListener>, state: &Rc<AdminState>) {
        match new {
            _ if !wanted => *self = Self::default(),
            Some(SingleListener { wanted, sockets, address, hold }) => {
                let (close, closed) = shutdown::channel();
                let label = ListenerLabel { name: "probes".to_owned(), address: address.url(false) };
                sockets.into_iter().for_each(|socket| serve(socket, label.clone(), state, closed.clone()));
                *self = Self { address: Some(address), open: Some((wanted, close, hold)) };
            }
            None => {}
        }
    }
}

/// The answers of the admin listener, but for the reasons.
async fn answer(head: &http::request::Parts, state: &AdminState) -> Response<Full<Bytes>> {
    let told = |status, text: &'static str| {
        let mut response = Response::new(Full::from(text));
        *response.status_mut() = status;
        response
    };
    if let Err(error) = state.mark.check(&head.headers) {
        return response::refuse_loop(error);
    }
    if !authn::is_called_by_address(head) {
        return response::refuse_name();
    }
    match head.uri.path() {
        path @ ("/livez" | "/readyz" | "/metrics") => {
            let health = state.health().await;
            let full = admin::answer(&head.method, path, &health);
            match full.status() {
                StatusCode::OK if path == "/readyz" && health.warnings.is_empty() => told(StatusCode::OK, "ready\n"),
                StatusCode::OK if path == "/readyz" => told(StatusCode::OK, READY_IN_DOUBT),
                StatusCode::SERVICE_UNAVAILABLE => told(StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
                _ => full,
            }
        }
        _ => response::refuse_path("/livez, /readyz or /metrics"),
    }
}

/// Serves until it is closed, which a shutdown does not: it must be able to tell that the process drains.
fn serve(socket: ListeningSocket, label: ListenerLabel, state: &Rc<AdminState>, closed: Shutdown) {
    let state = Rc::clone(state);
    let handle = move |_, request: http::Request<listener::RequestBody>| {
        let state = Rc::clone(&state);
        async move { answer(&request.into_parts().0, &state).await }
    };
    tokio::task::spawn_local(async move {
        let (listener, limits) = (Arc::new(label), admin_listener::limits());
        let (_keep, terms) = watch::channel(ConnectionConfig { listener, tls: None, interception: None, limits });
        let refuse = |_, status| response::refuse_head(status, None).0.concat();
        if let Err(error) = listener::serve(socket, terms, closed, handle, refuse).await {
            tracing::error!(%error, "probe listener ended");
        }
    });
}
