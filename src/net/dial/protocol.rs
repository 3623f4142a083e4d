//! HTTP to a server: the limits of its answers, the same for every request that leaves the proxy.

use http::header::HOST;
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Uri, Version};
use hyper::client::conn::http1;

use crate::net::fields;

/// The longest head of an answer, and with that what hyper reads at a time, in bytes.
pub(crate) const MAX_HEAD: u32 = 64 * 1024;
const READ_BUFFER: usize = 128 * 1024;
/// The most fields of an answer's head. hyper allows 100, and makes room for all of them with each answer over
/// HTTP/1.1, so it is not the 2048 that a head over HTTP/2 has room for.
pub(crate) const MAX_FIELDS: usize = 1024;

/// How a connection, or what is on it, broke.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeBreak {
    /// Over HTTP/1.1.
    #[error(transparent)]
    Http1(#[from] hyper::Error),
    /// Over HTTP/2.
    #[error(transparent)]
    Http2(#[from] h2::Error),
    /// Informational answers come without an end.
    #[error("too many informational answers came")]
    Informational,
}

/// HTTP/1.1 with the limits of answers.
pub(crate) fn http1() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.max_header_size(MAX_HEAD as usize).max_buf_size(READ_BUFFER).max_headers(MAX_FIELDS);
    builder
}

/// HTTP/2 with the limits of answers.
pub(crate) fn http2() -> h2::client::Builder {
    let mut builder = h2::client::Builder::new();
    builder.max_header_list_size(MAX_HEAD).enable_push(false);
    builder
}

/// Addresses a request as HTTP/2 does: it names its authority in the target, not in `Host` (RFC 9113 section 8.3.1).
pub(crate) fn address_http2(head: &mut Parts, authority: &Authority) {
    if fields::has(&head.headers, &HOST) {
        head.headers.remove(HOST);
    }
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(Scheme::HTTPS);
    parts.authority = Some(authority.clone());
    parts.path_and_query =
        std::mem::take(&mut head.uri).into_parts().path_and_query.or(Some(PathAndQuery::from_static("/")));
    head.uri = Uri::from_parts(parts).unwrap_or_default();
    head.version = Version::HTTP_2;
}
