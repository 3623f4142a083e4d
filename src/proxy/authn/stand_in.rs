//! Requests for servers that a listener stands in for: inside a CONNECT, or with their name in an absolute target.

use http::header::{HOST, HeaderMap, REFERER};
use http::request::Parts;
use http::uri::Authority;
use http::{Method, Version};

use super::callers::{Callers, ProofIdentity};
use super::host_name::split_port;
use super::perimeter::{is_authority, only_host};
use super::presented_proof::PresentedProof;
use super::{Authenticated, Authn, AuthnError, Caller, Unauthenticated};
use crate::net::listener::{Intercepted, Peer};

/// Where systems and browsers fetch which names go through the proxy.
const PROXY_CONFIG_PATH: &str = "/proxy.pac";

impl<C> Authn<C> {
    /// The names of servers that the listener stands in for.
    pub fn intercept(&self) -> &[String] {
        &self.intercept
    }

    /// Whether a request is for a server that the listener stands in for; refuses one that names two.
    pub(super) fn check_stand_in(&self, intercepted: Option<&Intercepted>, head: &Parts) -> Result<bool, AuthnError> {
        if head.method == Method::CONNECT {
            let nested = intercepted.is_some() || head.version == Version::HTTP_2;
            return if nested { Err(AuthnError::NestedConnect) } else { Ok(false) };
        }
        match (intercepted, self.absolute(head)) {
            (Some(intercepted), _) => {
                if let Some(other) = &intercepted.other_name {
                    return Err(other_server(&intercepted.name, other));
                }
                check_names(head, "https", &intercepted.name)?;
            }
            (None, Some((scheme, name))) => {
                check_names(head, scheme, name)?;
                // In clear text browsers say nothing else of the page that a request is from.
                if let Some(page) = head.headers.get(REFERER) {
                    return Err(AuthnError::CrossOrigin(format!(
                        "Referer: {}",
                        String::from_utf8_lossy(page.as_bytes())
                    )));
                }
            }
            (None, None) => return Ok(false),
        }
        Ok(true)
    }

    /// The far end of a request in absolute form for such a server, with what it has proved to the proxy: as inside a
    /// CONNECT.
    pub(super) fn stand_in_peer(&self, peer: Peer, head: &Parts) -> Result<Peer, AuthnError> {
        let Some((_, name)) = self.absolute(head).filter(|_| peer.intercepted().is_none()) else {
            return Ok(peer);
        };
        let proof = self.if_presented(&peer, &head.headers)?.and_then(|identity| identity.proof());
        Ok(peer.through(Intercepted { name: name.into(), proof, other_name: None }))
    }

    /// Whether a request asks which names go through the proxy.
    pub(super) fn is_proxy_config(&self, head: &Parts) -> bool {
        let reads = head.method == Method::GET || head.method == Method::HEAD;
        reads && head.uri.path() == PROXY_CONFIG_PATH && !self.intercept.is_empty()
    }

    /// The listener as a proxy auto-configuration names it, by the name that a request calls it.
    pub fn place(&self, head: &Parts) -> String {
        let kind = if self.scheme == "https" { "HTTPS" } else { "PROXY" };
        let host = head.headers.get(HOST).and_then(|host| host.to_str().ok());
        let host = host.or(head.uri.authority().map(Authority::as_str)).unwrap_or("localhost");
        match (split_port(host), self.port) {
            ((_, None), Some(port)) => format!("{kind} {host}:{port}"),
            ((_, Some(_)), _) | ((_, None), None) => format!("{kind} {host}"),
        }
    }

    /// The scheme and the server of a target in absolute form that the listener stands in for. Over HTTP/2 every target has
    /// both, and a name of the listener itself is called as such.
    fn absolute(&self, head: &Parts) -> Option<(&'static str, &str)> {
        let uri = Some(&head.uri).filter(|_| !self.intercept.is_empty() && head.version != Version::HTTP_2)?;
        let scheme = match uri.scheme_str()? {
            "http" => "http",
            "https" => "https",
            _ => return None,
        };
        let authority = uri.authority().filter(|authority| !self.is_own(authority.as_str().as_bytes()))?;
        self.intercept.iter().find(|name| *name == authority.host()).map(|name| (scheme, name.as_str()))
    }

    /// Who opens a CONNECT to a server that is not stood in for.
    pub fn authenticate_to_proxy(
        &self,
        visitor: Unauthenticated,
        headers: &HeaderMap,
    ) -> Result<Authenticated<'_, C>, AuthnError> {
        let ProofIdentity { id, context, .. } = self.identify_to_proxy(&visitor.peer, headers)?;
        Ok(Authenticated { caller: Caller { peer: visitor.peer, id }, context })
    }

    /// Who opens a CONNECT to a server that is stood in for; `None` where callers prove themselves inside.
    pub fn connect_identity(
        &self,
        visitor: &Unauthenticated,
        headers: &HeaderMap,
    ) -> Result<Option<ProofIdentity<'_, C>>, AuthnError> {
        self.if_presented(&visitor.peer, headers)
    }

    fn if_presented(&self, peer: &Peer, headers: &HeaderMap) -> Result<Option<ProofIdentity<'_, C>>, AuthnError> {
        match self.identify_to_proxy(peer, headers) {
            Ok(identity) => Ok(Some(identity)),
            Err(AuthnError::NoProxyKey) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whose request it is by what is presented to the proxy, else by the user or certificate at the other end.
    fn identify_to_proxy(&self, peer: &Peer, headers: &HeaderMap) -> Result<ProofIdentity<'_, C>, AuthnError> {
        let known = match &self.callers {
            Callers::Anonymous(context) => return Ok(ProofIdentity::anonymous(context)),
            Callers::Known(known) => known,
        };
        let identity = self.identify_by(known, &PresentedProof::to_proxy(headers), Some(peer));
        identity.map_err(|error| {
            let error = self.throttled(error);
            if let AuthnError::WrongKey(hint) = error {
                return AuthnError::WrongProxyKey(hint);
            }
            if error == AuthnError::NoKey { AuthnError::NoProxyKey } else { error }
        })
    }
}

/// Whether `Host` and the target name `name` and nothing else, with the port of its scheme or without one.
fn check_names(head: &Parts, scheme: &str, name: &str) -> Result<(), AuthnError> {
    let port = if scheme == "https" { ":443" } else { ":80" };
    let check = |authority: &[u8]| {
        let host = authority.strip_suffix(port.as_bytes()).unwrap_or(authority);
        if host.eq_ignore_ascii_case(name.as_bytes()) {
            return Ok(());
        }
        let other = String::from_utf8_lossy(authority).into_owned();
        Err(if is_authority(authority) { other_server(name, &other) } else { AuthnError::BadHost(other) })
    };
    only_host(head)?.map_or(Ok(()), |host| check(host.as_bytes()))?;
    let Some(authority) = head.uri.authority() else { return Ok(()) };
    match head.uri.scheme_str() {
        Some(other) if other != scheme => Err(other_server(name, &head.uri.to_string())),
        Some(_) | None => check(authority.as_str().as_bytes()),
    }
}

fn other_server(outside: &str, inside: &str) -> AuthnError {
    AuthnError::OtherServer { outside: outside.to_owned(), inside: inside.to_owned() }
}
