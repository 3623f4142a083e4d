//! What CONNECT may reach, as a list of texts: the measure of the real judgement.

use std::sync::Arc;

use http::header::{CONTENT_LENGTH, HOST};
use http::{HeaderValue, Method, Request, Uri, Version};
use ninjaone_proxy::net::own_addresses::OwnAddresses;
use ninjaone_proxy::proxy::connect::{ConnectRefusal, ConnectTarget, ConnectTargets, TunnelTarget};

const INTERCEPT: &str = "eu.ninjarmm.com";
const TUNNEL: [&str; 6] = [
    "files.example.com",
    "files.example.com:8443",
    "xn--bcher-kva.example",
    "10.0.0.5:22",
    "192.0.2.7",
    "[2001:db8::7]",
];

/// Every text that a client may send, with what it leads to, and the only other text that `Host` may have.
const ALLOWED: [(&str, &str, &str); 7] = [
    ("eu.ninjarmm.com:443", "intercept eu.ninjarmm.com", "eu.ninjarmm.com"),
    ("files.example.com:443", "tunnel files.example.com:443", "files.example.com"),
    ("files.example.com:8443", "tunnel files.example.com:8443", "files.example.com:8443"),
    ("xn--bcher-kva.example:443", "tunnel xn--bcher-kva.example:443", "xn--bcher-kva.example"),
    ("10.0.0.5:22", "tunnel 10.0.0.5:22", "10.0.0.5:22"),
    ("192.0.2.7:443", "tunnel 192.0.2.7:443", "192.0.2.7"),
    ("[2001:db8::7]:443", "tunnel [2001:db8::7]:443", "[2001:db8::7]"),
];

pub(crate) fn targets() -> ConnectTargets {
    let mut own = OwnAddresses::default();
    own.add("listeners.local", vec!["127.0.0.1:8080".parse().expect("an address")]);
    let tunnel = TUNNEL.iter().map(|text| TunnelTarget::parse(text).expect("a target")).collect();
    ConnectTargets::new(&[INTERCEPT.to_owned()], tunnel, Arc::new(own))
}

/// A CONNECT: its version, its target, the values of its Host fields, and its Content-Length.
pub(crate) struct Asked<'a> {
    pub(crate) version: Version,
    pub(crate) target: &'a [u8],
    pub(crate) hosts: &'a [&'a [u8]],
    pub(crate) length: Option<&'a [u8]>,
}

/// Asks for it; fails where the answer is not the plain one. What no parser lets through is not asked for.
pub(crate) fn agree(targets: &ConnectTargets, asked: &Asked<'_>) {
    let Ok(uri) = Uri::try_from(asked.target) else { return };
    let mut request = Request::builder().method(Method::CONNECT).version(asked.version).uri(uri).body(()).expect("one");
    for host in asked.hosts {
        let Ok(value) = HeaderValue::from_bytes(host) else { return };
        request.headers_mut().append(HOST, value);
    }
    if let Some(length) = asked.length {
        let Ok(value) = HeaderValue::from_bytes(length) else { return };
        request.headers_mut().insert(CONTENT_LENGTH, value);
    }
    let answer = targets.judge(&request.into_parts().0);
    let said = match &answer {
        Ok(ConnectTarget::Intercept(name)) => Some(format!("intercept {name}")),
        Ok(ConnectTarget::Tunnel(target)) => Some(format!("tunnel {target}")),
        Err(_) => None,
    };
    let target = String::from_utf8_lossy(asked.target);
    let plain = ALLOWED.iter().find(|(text, _, short)| {
        let hosted = match asked.hosts {
            [] => asked.version != Version::HTTP_11,
            [host] => [*text, *short].iter().any(|known| known.as_bytes() == *host),
            _ => false,
        };
        *text == target && hosted && asked.length.is_none_or(|length| length == b"0")
    });
    assert_eq!(said.as_deref(), plain.map(|(_, leads_to, _)| *leads_to), "{target} {:?}: {answer:?}", asked.hosts);
    // Somebody who adds what a refusal names opens what was asked for, and that only.
    if let Err(ConnectRefusal::NotListed(unlisted)) = &answer {
        assert_eq!(format!("{}:{}", unlisted.host, unlisted.port), target);
        if let Ok(entry) = TunnelTarget::parse(&unlisted.entry()) {
            assert_eq!(entry.authority(), target);
        }
    }
}
