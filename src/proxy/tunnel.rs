//! CONNECT: a connection to a server that the listener stands in for, or to one that it passes bytes on to; and the list of
//! the names that go through the proxy.

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::uri::Authority;
use http::{Response, Uri};

use super::Proxy;
use super::response::{self, Rejection, ResponseBody};
use crate::net::listener::{Intercepted, Tunnel};
use crate::observe::access_log::RequestLog;
use crate::proxy::authn::Unauthenticated;
use crate::proxy::connect::{ConnectTarget, ConnectTargets, open};
use crate::proxy::observer::observe;

/// How much of a server's name goes into the log, in characters: a name of DNS and a port have less.
const MAX_SERVER: usize = 255;

/// What CONNECT may reach.
pub struct TunnelConfig {
    /// The servers.
    pub targets: ConnectTargets,
    /// How long a connection may take.
    pub patience: Duration,
}

/// What CONNECT names, for the log.
pub(super) fn server(target: &Uri) -> String {
    target.authority().map_or("", Authority::as_str).chars().take(MAX_SERVER).collect()
}

impl Proxy {
    /// Answers CONNECT: the listener takes the connection over after that.
    pub(super) async fn connect(
        &self,
        visitor: Unauthenticated,
        head: &Parts,
        log: &mut RequestLog,
    ) -> Result<Response<ResponseBody>, Rejection> {
        let TunnelConfig { targets, patience } = &self.tunnels;
        log.set_server(server(&head.uri));
        let tunnel = match targets.judge(head)? {
            ConnectTarget::Intercept(name) => {
                let identity = self.authn.connect_identity(&visitor, &head.headers)?;
                if let Some(identity) = identity {
                    log.set_caller(identity.id.index());
                    identity.context.connect(head)?;
                }
                let proof = identity.and_then(|identity| identity.proof());
                Tunnel::Intercept(Intercepted { name: name.into(), proof, other_name: None })
            }
            ConnectTarget::Tunnel(target) => {
                let mut authenticated = self.authn.authenticate_to_proxy(visitor, &head.headers)?;
                observe(log, &mut authenticated);
                authenticated.context.connect(head)?;
                Tunnel::Relay(Arc::new(open(target, targets.own(), *patience).await?))
            }
        };
        Ok(response::connected(tunnel))
    }

    /// Tells which names go through the proxy, in the form that systems and browsers read.
    pub(super) fn proxy_config(&self, head: &Parts) -> Response<ResponseBody> {
        response::proxy_config(self.authn.intercept(), &self.authn.place(head))
    }
}
