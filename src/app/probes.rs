//! The probe listener: alive, ready and metrics for those who ask over a network, such as a kubelet or Prometheus; no
//! reasons, and nothing else.

use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use tokio::sync::watch;

use super::desk::{self, Desk};
use crate::admin;
use crate::guard;
use crate::listener::{self, Socket, Terms};
use crate::response;
use crate::shutdown::{self, Shutdown, Trigger};

/// The listener, if there is one.
#[derive(Default)]
pub(super) struct Probes {
    /// Where it listens.
    pub(super) bound: Option<SocketAddr>,
    /// Where it shall listen, and what closes it.
    door: Option<(SocketAddr, Trigger)>,
}

impl Probes {
    /// The address, if it is another one than now.
    pub(super) fn other(&self, wanted: Option<SocketAddr>) -> Option<SocketAddr> {
        let there = self.door.as_ref().map(|(address, _)| *address);
        wanted.filter(|wanted| Some(*wanted) != there)
    }

    /// Goes to where it shall listen; a socket comes if that is another place.
    pub(super) fn go(&mut self, wanted: Option<SocketAddr>, socket: Option<(Socket, SocketAddr)>, desk: &Rc<Desk>) {
        match (wanted, socket) {
            (None, _) => *self = Self::default(),
            (Some(wanted), Some((socket, bound))) => {
                let (close, closed) = shutdown::channel();
                serve(socket, desk, closed);
                *self = Self { bound: Some(bound), door: Some((wanted, close)) };
            }
            (Some(_), None) => {}
        }
    }
}

/// The answers of the admin listener, but for the reasons.
async fn answer(head: &http::request::Parts, desk: &Desk) -> Response<Full<Bytes>> {
    let told = |status, text: &'static str| {
        let mut response = Response::new(Full::from(text));
        *response.status_mut() = status;
        response
    };
    if !guard::is_called_by_address(head) {
        return told(StatusCode::MISDIRECTED_REQUEST, "call the address, not a name\n");
    }
    match head.uri.path() {
        path @ ("/livez" | "/readyz" | "/metrics") => {
            let full = admin::answer(&head.method, path, &desk.health().await);
            match full.status() {
                StatusCode::OK if path == "/readyz" => told(StatusCode::OK, "ready\n"),
                StatusCode::SERVICE_UNAVAILABLE => told(StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
                _ => full,
            }
        }
        _ => told(StatusCode::NOT_FOUND, "there are /livez, /readyz and /metrics\n"),
    }
}

/// Serves until it is closed, which a shutdown does not: it must be able to tell that the process drains.
fn serve(socket: Socket, desk: &Rc<Desk>, closed: Shutdown) {
    let desk = Rc::clone(desk);
    let handle = move |_, request: http::Request<hyper::body::Incoming>| {
        let desk = Rc::clone(&desk);
        async move { answer(&request.into_parts().0, &desk).await }
    };
    tokio::task::spawn_local(async move {
        let (_keep, terms) = watch::channel(Terms { tls: None, limits: desk::limits() });
        let refuse = |_, status| response::refuse_head(status, None).0.concat();
        if let Err(error) = listener::serve(socket, terms, closed, handle, refuse).await {
            tracing::error!(%error, "probe listener ended");
        }
    });
}
