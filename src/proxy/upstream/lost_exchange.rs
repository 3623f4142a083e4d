//! An exchange without an answer: why, and how much of the request the instance may have seen.

use std::error::Error;
use std::io;

use http::Request;

use super::UpstreamError;
use super::head::MalformedAnswer;
use super::watched_socket::TooManyInformational;
use crate::net::body::{BodyError, Upload};
use crate::net::dial::protocol::ExchangeBreak;

/// An exchange that brought no answer.
pub(super) struct LostExchange {
    pub(super) fault: UpstreamError,
    pub(super) reach: SentPart,
    /// The request, if it was given back.
    pub(super) unsent: Option<Box<Request<Upload>>>,
}

/// How far the request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SentPart {
    /// No byte of it was written.
    Unsent,
    /// The instance says that it processed nothing of it (RFC 9113 sections 6.8 and 8.7).
    Unprocessed,
    /// The connection ended without an answer: everything may have been processed.
    Died,
    /// An answer came that cannot be used, or none in time.
    Answered,
}

impl LostExchange {
    /// The instance answered, or has had its time.
    pub(super) fn answered(fault: UpstreamError) -> Self {
        Self { fault, reach: SentPart::Answered, unsent: None }
    }

    /// The connection failed, or what was on it; `unsent` says that nothing was written. `cut` is why the caller's body ended, if it did.
    pub(super) fn failed(
        error: ExchangeBreak,
        request: Option<Box<Request<Upload>>>,
        unsent: bool,
        cut: Option<BodyError>,
    ) -> Self {
        let reach = match &request {
            Some(_) => SentPart::Unsent,
            None if unsent => SentPart::Unsent,
            None => reach(&error),
        };
        let fault = match (cut, error) {
            (Some(cut), _) => UpstreamError::Upload(cut),
            (None, ExchangeBreak::Http1(error)) if error.is_parse() => {
                UpstreamError::Malformed(MalformedAnswer::Syntax(error))
            }
            (None, ExchangeBreak::Informational) => UpstreamError::Malformed(MalformedAnswer::Informational),
            (None, ExchangeBreak::Http1(error)) if is_too_much(&error) => {
                UpstreamError::Malformed(MalformedAnswer::Informational)
            }
            (None, error) => UpstreamError::Broken(error),
        };
        // What the caller has cut cannot be sent again.
        let reach = if cut.is_some() { SentPart::Answered } else { reach };
        Self { fault, reach, unsent: request }
    }
}

fn reach(error: &ExchangeBreak) -> SentPart {
    match error {
        ExchangeBreak::Http1(error) => reach_http1(error),
        ExchangeBreak::Http2(error) => reach_http2(error),
        ExchangeBreak::Informational => SentPart::Answered,
    }
}

/// Whether the wire took no more before the head of the answer.
fn is_too_much(error: &hyper::Error) -> bool {
    let io = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    io.and_then(io::Error::get_ref).is_some_and(|inner| inner.is::<TooManyInformational>())
}

fn reach_http1(error: &hyper::Error) -> SentPart {
    let io = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    // What we refuse ourselves, see `wire`.
    let ours = io.is_some_and(|io| io.kind() == io::ErrorKind::InvalidData);
    let died = error.is_incomplete_message() || error.is_canceled() || error.is_closed();
    if died || (io.is_some() && !ours) { SentPart::Died } else { SentPart::Answered }
}

fn reach_http2(error: &h2::Error) -> SentPart {
    // h2 gives a GOAWAY's error to the streams after the last one that the server may process, and to no others.
    let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
    if error.is_remote() && (error.is_go_away() || refused) {
        SentPart::Unprocessed
    } else if error.is_io() {
        SentPart::Died
    } else {
        SentPart::Answered
    }
}
