//! The head of an answer, judged before anything of it is passed on: what can be read in two ways is refused.
//!
//! hyper parses more than one recipient of a message could agree on: an unknown or doubled transfer coding, a length
//! together with a coding, a switch of protocols that nobody asked for. A server that reads such a head otherwise than hyper does
//! takes bytes of one answer for another (RFC 9112 section 11.2), so none of them is relayed.

use http::header::{CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING};
use http::{StatusCode, response};

use crate::net::fields::{self, FieldLines};

/// What is wrong with the head of an answer.
#[derive(Debug, thiserror::Error)]
pub enum MalformedAnswer {
    /// It cannot be parsed, or is too long.
    #[error("it is not HTTP")]
    Syntax(#[source] hyper::Error),
    /// So many informational answers, or such long ones, that the end is not in sight.
    #[error("too many informational answers (1xx) come before it")]
    Informational,
    /// Not between 200 and 599 (RFC 9110 section 15).
    #[error("{0} is not a final status")]
    Status(StatusCode),
    /// 101, and no upgrade was asked for (RFC 9110 section 15.2.2).
    #[error("it switches protocols unasked")]
    Upgrade,
    /// A transfer coding other than `chunked`, once, or one where none may be (RFC 9112 section 6.1).
    #[error("its transfer coding is not chunked alone")]
    Coding,
    /// A length together with a transfer coding (RFC 9112 section 6.3).
    #[error("it has a length and a transfer coding")]
    Doubled,
    /// Not a single number (RFC 9110 section 8.6), or one where there is no body.
    #[error("its length is not a single number")]
    Length,
}

/// Judges the head of an answer, and takes out of it what only its parser needs.
pub fn judge(head: &mut response::Parts) -> Result<(), MalformedAnswer> {
    // A reason phrase of the instance's own, and a handle to its connection.
    head.extensions.clear();
    match head.status.as_u16() {
        101 => return Err(MalformedAnswer::Upgrade),
        200..=599 => {}
        _ => return Err(MalformedAnswer::Status(head.status)),
    }
    let coded = is_chunked(&head.headers)?;
    let length = length(&head.headers)?;
    if coded && length.is_some() {
        return Err(MalformedAnswer::Doubled);
    }
    // 204 has neither, whatever the method; but a length of 0 says nothing wrong, and servers do send it.
    if head.status == StatusCode::NO_CONTENT {
        if coded {
            return Err(MalformedAnswer::Coding);
        }
        if length.is_some_and(|length| length > 0) {
            return Err(MalformedAnswer::Length);
        }
        head.headers.remove(CONTENT_LENGTH);
    }
    Ok(())
}

/// Whether the one transfer coding is `chunked`. An empty list is malformed too.
fn is_chunked(headers: &HeaderMap) -> Result<bool, MalformedAnswer> {
    match fields::only(headers, &TRANSFER_ENCODING) {
        FieldLines::None => Ok(false),
        FieldLines::One(line) if line.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(true),
        FieldLines::One(_) | FieldLines::Many => Err(MalformedAnswer::Coding),
    }
}

fn length(headers: &HeaderMap) -> Result<Option<u64>, MalformedAnswer> {
    let line = match fields::only(headers, &CONTENT_LENGTH) {
        FieldLines::None => return Ok(None),
        FieldLines::One(line) => line,
        FieldLines::Many => return Err(MalformedAnswer::Length),
    };
    let digits = line.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    digits.and_then(|text| text.parse().ok()).map(Some).ok_or(MalformedAnswer::Length)
}

#[cfg(test)]
mod tests {
    use http::Response;

    use super::*;

    fn judged(status: u16, lines: &[(&str, &str)]) -> Result<response::Parts, MalformedAnswer> {
        let head = lines.iter().fold(Response::builder().status(status), |head, line| head.header(line.0, line.1));
        let mut head = head.body(()).expect("a head").into_parts().0;
        judge(&mut head).map(|()| head)
    }

    #[test]
    fn head_passes_with_one_framing() {
        for lines in [
            &[][..],
            &[("content-length", "0")],
            &[("content-length", "18446744073709551615")],
            &[("transfer-encoding", "chunked")],
            &[("transfer-encoding", "Chunked")],
        ] {
            for status in [200, 206, 301, 304, 404, 429, 500, 599] {
                assert!(judged(status, lines).is_ok(), "{status} {lines:?}");
            }
        }
    }

    #[test]
    fn head_with_two_framings_or_none_that_is_known_is_refused() {
        for lines in [
            &[("transfer-encoding", "x, chunked")][..],
            &[("transfer-encoding", "chunked, chunked")],
            &[("transfer-encoding", "gzip")],
            &[("transfer-encoding", "")],
            &[("transfer-encoding", "chunked;q=1")],
            &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
            &[("transfer-encoding", "chunked"), ("content-length", "3")],
            &[("content-length", "3"), ("content-length", "3")],
            &[("content-length", "3, 3")],
            &[("content-length", "+3")],
            &[("content-length", "")],
            &[("content-length", "18446744073709551616")],
        ] {
            assert!(judged(200, lines).is_err(), "{lines:?}");
        }
    }

    #[test]
    fn head_of_an_answer_without_a_body_announces_none() {
        assert!(judged(204, &[("content-length", "5")]).is_err());
        assert!(judged(204, &[("transfer-encoding", "chunked")]).is_err());
        let head = judged(204, &[("content-length", "0")]).expect("a good head");
        assert!(!head.headers.contains_key(CONTENT_LENGTH));
    }

    #[test]
    fn head_with_no_final_status_is_refused() {
        for status in [100, 101, 103, 199, 600, 999] {
            assert!(judged(status, &[]).is_err(), "{status}");
        }
    }
}
