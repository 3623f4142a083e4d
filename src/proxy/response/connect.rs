//! Refusals of `CONNECT` requests.

use std::net::SocketAddr;

use super::RefusalContext;
use super::problem::Refusal;
use super::refusal_table::RefusalKind;
use crate::observe::logging::ErrorChain;
use crate::proxy::connect::{BadAuthority, ConnectRefusal, HTTPS, TunnelTarget, Unlisted, UnlistedWhat};

pub(super) fn refusal(refusal: &ConnectRefusal, scene: &RefusalContext<'_>) -> Refusal {
    let detail = match refusal {
        ConnectRefusal::Malformed(bad) => malformed(bad),
        ConnectRefusal::NotListed(unlisted) => not_listed(unlisted, scene.listener),
        ConnectRefusal::OwnListener { target, listener, address } => format!(
            "{target} leads to where {listener} of this proxy listens ({address}): what is sent there would come back. Connect to the name in intercept of [listeners.{}], or call the listener itself.",
            scene.listener
        ),
        ConnectRefusal::NotPublic { target, address, range } => not_public(target, *address, range, scene.listener),
        ConnectRefusal::Resolve(target, error) => {
            format!(
                "The name of {target} cannot be resolved: {}. Check the name, and this machine's DNS.",
                ErrorChain(error)
            )
        }
        ConnectRefusal::Connect(target, error) => format!(
            "There is no TCP connection to {target}: {}. Targets of tunnel are connected to directly, never through another proxy.",
            ErrorChain(error)
        ),
        ConnectRefusal::Timeout(target) => format!(
            "There was no TCP connection to {target} in time (timeouts.connect). Targets of tunnel are connected to directly, never through another proxy."
        ),
    };
    Refusal::new(kind(refusal), detail)
}

fn kind(refusal: &ConnectRefusal) -> RefusalKind {
    match refusal {
        ConnectRefusal::Malformed(_) => RefusalKind::ConnectMalformed,
        ConnectRefusal::NotListed(_) => RefusalKind::ConnectNotListed,
        ConnectRefusal::OwnListener { .. } | ConnectRefusal::NotPublic { .. } => RefusalKind::ConnectAddress,
        ConnectRefusal::Resolve(..) => RefusalKind::ConnectNameUnknown,
        ConnectRefusal::Connect(..) => RefusalKind::ConnectFailed,
        ConnectRefusal::Timeout(_) => RefusalKind::ConnectTimeout,
    }
}

fn not_listed(unlisted: &Unlisted, listener: &str) -> String {
    let (Unlisted { host, port, what }, entry) = (unlisted, unlisted.entry());
    let table = format!("[listeners.{listener}]");
    match what {
        UnlistedWhat::Name if *port == HTTPS => format!(
            "CONNECT reaches only what {table} lists, and {host} is not listed. If it is NinjaOne's name, add {host:?} to intercept, so that the tool's requests go through this proxy. If it is another server that the tool needs, add {entry:?} to tunnel."
        ),
        UnlistedWhat::Name => format!(
            "CONNECT reaches only what {table} lists, and {entry} is not listed. If the tool needs this server, add {entry:?} to tunnel. intercept applies to port {HTTPS} only."
        ),
        UnlistedWhat::Port => format!(
            "CONNECT reaches only what {table} lists: {host} is listed, and not at port {port}. If the tool needs that port, add {entry:?} to tunnel. intercept applies to port {HTTPS} only."
        ),
        UnlistedWhat::Address => format!(
            "CONNECT reaches only what {table} lists, and the address {entry} is not listed. Connect to a name that is listed; or, if the tool needs this address, add {entry:?} to tunnel."
        ),
    }
}

fn not_public(target: &str, address: SocketAddr, range: &str, listener: &str) -> String {
    let why = format!(
        "{target} leads to {address}, which is not public ({range}). A name in tunnel of [listeners.{listener}] may lead to public addresses only, so that its owner cannot point it into this network."
    );
    // Some addresses are no entry of tunnel.
    match TunnelTarget::parse(&address.to_string()) {
        Ok(entry) => format!("{why} If this address is meant, add \"{entry}\" to tunnel, and connect to that."),
        Err(_) => why,
    }
}

fn malformed(bad: &BadAuthority) -> String {
    match bad {
        BadAuthority::Form => {
            "The target of CONNECT must be a host, a colon and a port (RFC 9110 section 9.3.6): \"CONNECT eu.ninjarmm.com:443 HTTP/1.1\".".into()
        }
        BadAuthority::HostMissing => "An HTTP/1.1 request must have a Host field; that of CONNECT is its target (RFC 9112 section 3.2).".into(),
        BadAuthority::HostRepeated => "A request must have one Host field (RFC 9112 section 3.2).".into(),
        BadAuthority::HostDiffers => "The Host field of CONNECT must be the same as its target (RFC 9112 section 3.2), byte for byte.".into(),
        BadAuthority::Content => {
            "A CONNECT request has no body: what follows it belongs to the tunnel (RFC 9110 section 9.3.6). Leave out Content-Length and Transfer-Encoding.".into()
        }
        BadAuthority::UserInfo => {
            "The target of CONNECT must have no user before the host. Credentials for this proxy belong into Proxy-Authorization, which clients send for http://USER:PASSWORD@HOST:PORT as the proxy's URL.".into()
        }
        BadAuthority::NoPort => "The target of CONNECT must have a port (RFC 9110 section 9.3.6): \"CONNECT eu.ninjarmm.com:443 HTTP/1.1\".".into(),
        BadAuthority::Port => "The port of a CONNECT target must be a number from 1 to 65535 without zeros before it.".into(),
        BadAuthority::TooLong => "The host of the CONNECT target is longer than a name can be (253 bytes).".into(),
        BadAuthority::UpperCase(lower) => {
            format!("The host of a CONNECT target is compared byte for byte: send it in lower case, {lower:?}.")
        }
        BadAuthority::TrailingDot(name) => {
            format!("The host of a CONNECT target is compared byte for byte: send it without the dot at its end, {name:?}.")
        }
        BadAuthority::Spelling => {
            "The host of the CONNECT target is an address in an unusual spelling. Connect to a name; or, if the address is listed in tunnel, write it as it is there.".into()
        }
        BadAuthority::Host => {
            "The host of a CONNECT target must be a name of letters, digits, \"-\" and \"_\" (other letters in their xn-- form), or an address.".into()
        }
    }
}
