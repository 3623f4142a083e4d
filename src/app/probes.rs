//! The probe listener: alive, ready and metrics for those who ask over a network, such as a kubelet or Prometheus; no
//! reasons, and nothing else.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use bytes::Bytes;
use http::header::HOST;
use http::uri::Authority;
use http::{Response, StatusCode};
use http_body_util::Full;
use tokio::sync::watch;

use super::desk::{self, Desk};
use crate::admin;
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

/// Whether a request names a place by its address, or this machine. A page that an attacker serves under a name of his
/// own, which he then lets mean this machine, cannot do so.
fn is_address(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    !host.contains('@') && (name == "localhost" || name.parse::<IpAddr>().is_ok())
}

fn is_for_us(head: &http::request::Parts) -> bool {
    let mut hosts = head.headers.get_all(HOST).iter();
    let host = hosts.next().and_then(|host| host.to_str().ok());
    hosts.next().is_none() && host.is_some_and(is_address)
}

/// The answers of the admin listener, but for the reasons.
async fn answer(head: &http::request::Parts, desk: &Desk) -> Response<Full<Bytes>> {
    let told = |status, text: &'static str| {
        let mut response = Response::new(Full::from(text));
        *response.status_mut() = status;
        response
    };
    if !is_for_us(head) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_are_called_by_address_or_localhost_and_by_no_other_name() {
        for ours in ["10.1.2.3:9181", "10.1.2.3", "[fd00::1]:9181", "[::1]", "localhost:9181", "localhost"] {
            assert!(is_address(ours), "{ours}");
        }
        let foreign =
            ["evil.example", "evil.example:9181", "10.1.2.3.evil.example", "", "u@10.1.2.3", "localhost.evil", "[::1"];
        for foreign in foreign {
            assert!(!is_address(foreign), "{foreign}");
        }
    }

    #[test]
    fn probes_want_one_host() {
        let of = |hosts: &[&str]| {
            let request = hosts.iter().fold(http::Request::get("/livez"), |request, host| request.header(HOST, *host));
            is_for_us(&request.body(()).expect("a request").into_parts().0)
        };
        assert!(of(&["10.1.2.3:9181"]));
        assert!(!of(&[]) && !of(&["10.1.2.3", "10.1.2.3"]) && !of(&["10.1.2.3", "evil.example"]));
    }
}
