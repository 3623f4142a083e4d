//! The first checks of a head: Host, Origin, relayed requests, ambiguous framing.

use std::net::{Ipv4Addr, Ipv6Addr};

use http::Version;
use http::header::{HOST, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use http::request::Parts;

use super::AuthnError;
use crate::net::fields::{self, FieldLines};

/// The parser takes any list that ends in `chunked`; a coding that is not taken off would be, by some reader behind us.
pub(super) fn check_codings(headers: &HeaderMap) -> Result<(), AuthnError> {
    match fields::only(headers, &TRANSFER_ENCODING) {
        FieldLines::None => Ok(()),
        FieldLines::One(coding) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        FieldLines::One(_) | FieldLines::Many => Err(AuthnError::Framing),
    }
}

/// The only `Host` of a request; `None` where its version needs none.
pub(super) fn only_host(head: &Parts) -> Result<Option<&HeaderValue>, AuthnError> {
    match fields::only(&head.headers, &HOST) {
        FieldLines::Many => Err(AuthnError::ManyHosts),
        FieldLines::One(host) => Ok(Some(host)),
        // HTTP/1.0 knows no Host, and no browser speaks it; HTTP/2 has the authority in its place.
        FieldLines::None if head.version == Version::HTTP_10 => Ok(None),
        FieldLines::None if head.version == Version::HTTP_2 && head.uri.authority().is_some() => Ok(None),
        FieldLines::None => Err(AuthnError::NoHost),
    }
}

/// Whether a request names this place by its address, or as localhost, and by no other name. A page that an attacker
/// serves under a name of his own, which he then lets mean this place (DNS rebinding), cannot do so.
pub fn is_called_by_address(head: &Parts) -> bool {
    let target = head.uri.authority().is_none_or(|authority| is_address(authority.as_str()));
    match fields::only(&head.headers, &HOST) {
        FieldLines::One(host) => host.to_str().is_ok_and(is_address) && target,
        // HTTP/1.0 has no such field, and load balancers still ask so; no browser does.
        FieldLines::None => head.version == Version::HTTP_10 && target,
        FieldLines::Many => false,
    }
}

/// An IP address or localhost, and perhaps a port.
fn is_address(host: &str) -> bool {
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    let name = host.rsplit_once(':').filter(|(_, port)| is_port(port)).map_or(host, |(name, _)| name);
    let inner = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    inner.is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok())
        || name.parse::<Ipv4Addr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
}

/// A name or an address, and perhaps a port (RFC 9110 section 7.2), without what RFC 3986 has beyond that: user
/// information, percent-encoding and sub-delimiters, at which readers cut differently.
pub(super) fn is_authority(host: &[u8]) -> bool {
    let bracket = host.iter().position(|&byte| byte == b']').map(|at| at + 1);
    let colon = host.iter().position(|&byte| byte == b':').unwrap_or(host.len());
    let (name, port) = host.split_at(bracket.unwrap_or(colon));
    let named = match name {
        [b'[', address @ .., b']'] => address.iter().all(|&byte| byte.is_ascii_hexdigit() || b":.".contains(&byte)),
        name => name.iter().all(|&byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)),
    };
    let ported = match port {
        [] => true,
        [b':', digits @ ..] => digits.iter().all(u8::is_ascii_digit),
        [..] => false,
    };
    named && ported && !name.is_empty() && name != b"[]"
}

/// The bytes of the request line and the field lines. The parser reads in steps that double, so that it lets
/// through up to twice of it.
pub(super) fn head_size(head: &Parts) -> usize {
    let target = head.uri.path_and_query().map_or(0, |target| target.as_str().len());
    let lines = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
    head.method.as_str().len() + target + "  HTTP/1.1\r\n\r\n".len() + lines.sum::<usize>()
}
