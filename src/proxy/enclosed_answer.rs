//! The answer to a request of a caller that is kept to organizations: what is inside passes, and nothing else.
//!
//! Lists pass row by row, as they come. Where rows were dropped the proxy reads on at NinjaOne, until the page has as many
//! rows as were asked for or the list ends: so a caller that takes a short or an empty page for the end loses nothing.

mod rows;

use std::rc::Rc;

use http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, DATE, EXPIRES, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, VARY,
};
use http::{Method, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};

use super::Proxy;
use super::enclosing::Enclosure;
use super::response::{self, Rejection, ResponseBody};
use crate::net::body::BodyError;
use crate::proxy::fence::FenceError;
use crate::proxy::fence::rows::{RowError, judge_object};
use crate::proxy::policy::catalog::AnswerCheck;
use crate::proxy::policy::{Permit, is_write};
use crate::proxy::upstream::UpstreamAnswer;
use rows::{ListRequest, RowStream};

/// How large a row, or an answer that is one object, may be, in bytes.
pub(super) const MAX_ROW: usize = 1024 * 1024;

/// The fields of an answer that tell nothing of its content.
const KEPT: [HeaderName; 6] =
    [DATE, CACHE_CONTROL, EXPIRES, VARY, RETRY_AFTER, HeaderName::from_static("x-nj-request-id")];

impl Proxy {
    /// What of an answer may pass.
    pub(super) async fn enclosed(
        self: &Rc<Self>,
        mut answer: UpstreamAnswer,
        enclosure: Box<Enclosure>,
        permit: &Permit,
    ) -> Result<Response<ResponseBody>, Rejection> {
        let check = enclosure.answer.clone();
        check_head(&answer, &check)?;
        if check == AnswerCheck::Opaque {
            return Ok(response::relay(answer, &self.relayed, permit.token_holder(), |_| None));
        }
        let status = answer.head.status;
        let headers = kept(&answer.head.headers);
        if *permit.method() == Method::HEAD {
            return Ok(response::enclosed(status, headers, &self.relayed, None));
        }
        let body = match check {
            AnswerCheck::Empty | AnswerCheck::Opaque => {
                // It says nothing by the schema; what it says all the same is read, so that the connection can be used again.
                answer.body.settle().await;
                None
            }
            AnswerCheck::Object { key } => {
                let read = Limited::new(answer.body, MAX_ROW).collect().await;
                let read = read.map_err(|error| unfinished(&*error))?.to_bytes();
                match read.trim_ascii().is_empty() {
                    true => None,
                    false if judge_object(&read, key.as_ref(), &enclosure.inside).map_err(FenceError::from)? => {
                        Some(response::whole(read))
                    }
                    // A write has been done.
                    false if is_write(permit.method()) => return Err(FenceError::AnswerOutside.into()),
                    false => return Err(FenceError::Outside.into()),
                }
            }
            AnswerCheck::Rows { at, key, paging } => {
                let list = ListRequest::new(permit.target(), at, key, paging);
                let stream = RowStream::new(self, enclosure, list, answer.body);
                Some(stream.into_body().await?)
            }
        };
        Ok(response::enclosed(status, headers, &self.relayed, body))
    }
}

/// Only a whole answer of success can be judged. What else NinjaOne says may name what is outside.
fn check_head(answer: &UpstreamAnswer, check: &AnswerCheck) -> Result<(), FenceError> {
    let head = &answer.head;
    match head.status {
        StatusCode::OK | StatusCode::CREATED | StatusCode::ACCEPTED | StatusCode::NO_CONTENT => {}
        // To what the request names: a file, or a page of the console.
        status if status.is_redirection() && *check == AnswerCheck::Opaque => {}
        StatusCode::NOT_FOUND => return Err(FenceError::Outside),
        status => {
            let retry_after = head.headers.get(RETRY_AFTER).cloned();
            return Err(FenceError::Refused { status, reason: answer.reason, retry_after });
        }
    }
    let is_plain = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"identity");
    match *check != AnswerCheck::Opaque && !head.headers.get_all(CONTENT_ENCODING).iter().all(is_plain) {
        true => Err(FenceError::Encoded),
        false => Ok(()),
    }
}

fn kept(headers: &HeaderMap) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for name in KEPT {
        for value in headers.get_all(&name) {
            kept.append(name.clone(), value.clone());
        }
    }
    kept.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    kept
}

/// An answer that is too large, or breaks off.
fn unfinished(error: &(dyn std::error::Error + Send + Sync + 'static)) -> FenceError {
    match error.downcast_ref::<BodyError>() {
        Some(_) => FenceError::Broken,
        None => FenceError::Unfit(RowError::TooLarge { at: 1, limit: MAX_ROW }),
    }
}
