//! The proofs of this stage: who sent a request.

use super::callers::CallerId;
use super::local_tokens::OAuthPath;
use crate::net::listener::Peer;

/// The path below which a caller asks for the state of its approvals; the id follows.
pub const APPROVALS_PATH: &str = "/.well-known/ninjaone-proxy/approvals/";

/// A request that came through the perimeter; who sent it is not known yet.
#[derive(Debug)]
pub struct Unauthenticated {
    pub(super) peer: Peer,
    pub(super) destination: Destination,
}

/// Where a request goes that came through the perimeter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// Nowhere: a listed page asks whether another request would be allowed.
    Preflight,
    /// To the local token endpoint, or to where a person would sign in.
    OAuth(OAuthPath),
    /// To another server, by CONNECT.
    Connect,
    /// To the list of the names that go through the proxy.
    ProxyConfig,
    /// To the state of an approval, which the proxy tells itself.
    Approvals,
    /// To NinjaOne, if the policy permits it.
    Api,
}

/// The sender of a request: the proof that the guard let it in.
#[derive(Debug, Clone)]
pub struct Caller {
    pub(super) peer: Peer,
    pub(super) id: CallerId,
}

/// A caller, and what it has on this listener.
#[derive(Debug)]
pub struct Authenticated<'a, C> {
    /// The proof.
    pub caller: Caller,
    /// What the caller has.
    pub context: &'a C,
}

/// A local token, and what its caller has on this listener.
#[derive(Debug)]
pub struct GrantedToken<'a, C> {
    /// What the caller has.
    pub context: &'a C,
    /// The token.
    pub token: String,
}

impl Unauthenticated {
    /// Where it goes.
    pub fn destination(&self) -> Destination {
        self.destination
    }
}

impl Caller {
    /// Everybody who reaches a listener without callers.
    #[cfg(test)]
    pub(crate) fn anybody() -> Self {
        Self { peer: Peer::loopback(), id: CallerId(0) }
    }

    /// Where the request came from.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Who it is; 0 on a listener without callers.
    pub fn id(&self) -> CallerId {
        self.id
    }
}
