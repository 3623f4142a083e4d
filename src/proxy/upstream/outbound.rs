//! A request on its way to the instance.

use std::rc::Rc;

use http::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::{Method, Request, Uri, Version};
use http_body::Body;
use http_body_util::BodyExt as _;

use super::{Reason, UpstreamAnswer};
use crate::net::body::{BodyError, Progress, Upload};
use crate::net::listener::Reservation;
use crate::proxy::headers;
use crate::proxy::headers::loops::LoopMark;
use crate::proxy::policy::Permit;

/// A request on its way, and what is needed to send it once more.
pub struct Outbound {
    pub(super) request: Request<Upload>,
    /// Its headers, without those of a single sending.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) progress: Option<Rc<Progress>>,
    /// A safe method without a body.
    pub(super) safe: bool,
    /// A connection lost it, and it went out again.
    pub(super) resent: bool,
    /// The memory for its body.
    pub(super) room: Option<Reservation>,
}

impl Outbound {
    /// Takes a caller's headers, which it cleans and marks, and its body.
    pub fn new(method: &Method, mut headers: HeaderMap, upload: Upload, mark: &LoopMark) -> Self {
        headers::clean_request(&mut headers);
        mark.stamp(&mut headers);
        let safe = matches!(upload, Upload::Empty) && (*method == Method::GET || *method == Method::HEAD);
        let (kept, progress) = (headers.iter().map(|(name, value)| (name.clone(), value.clone())), upload.progress());
        let kept = kept.collect();
        let mut request = Request::new(upload);
        *request.headers_mut() = headers;
        Self { request, headers: kept, progress, safe, resent: false, room: None }
    }

    /// This memory is its body's until its answer is there.
    pub fn hold(&mut self, room: Option<Reservation>) {
        self.room = room;
    }

    /// How far its body has come, if it has one.
    pub fn progress(&self) -> Option<&Progress> {
        self.progress.as_deref()
    }

    /// Takes its body from the caller and sends it nowhere: what came, or nothing if that is more than `kept` bytes.
    pub async fn take_body(self, kept: usize) -> Result<Vec<u8>, BodyError> {
        let (mut body, mut taken, mut is_long) = (self.request.into_body(), Vec::new(), false);
        while let Some(frame) = body.frame().await {
            let data = frame?.into_data().unwrap_or_default();
            is_long |= taken.len() + data.len() > kept;
            match is_long {
                true => taken = Vec::new(),
                false => taken.extend_from_slice(&data),
            }
        }
        Ok(taken)
    }

    /// Whether it went out twice because of a connection.
    pub fn was_resent(&self) -> bool {
        self.resent
    }

    /// Makes the request once more, if little of its body has come.
    pub(super) fn rebuild(&mut self) -> bool {
        let progress = self.progress.as_ref();
        let Some(upload) = progress.map_or(Some(Upload::Empty), Progress::retry) else { return false };
        let mut headers = HeaderMap::with_capacity(self.headers.len() + 2);
        for (name, value) in &self.headers {
            headers.append(name, value.clone());
        }
        self.request = Request::new(upload);
        *self.request.headers_mut() = headers;
        true
    }

    /// Makes the request once more, to be sent again with another bearer, or after a 429: if it may have been processed
    /// before, or the answer proves that it was not, and little of its body was taken.
    pub fn try_replay(&mut self, permit: &Permit, answer: &UpstreamAnswer) -> bool {
        (self.is_repeatable(permit) || answer.reason == Some(Reason::NotAuthenticated)) && self.rebuild()
    }

    /// Whether it may be processed twice. A read that moves a cursor would skip a page.
    pub(super) fn is_repeatable(&self, permit: &Permit) -> bool {
        self.safe && !permit.may_move_cursor()
    }

    /// Gives it what it is sent with: method, target and bearer.
    pub(super) fn address(&mut self, permit: &Permit, authorization: HeaderValue) {
        *self.request.method_mut() = permit.method().clone();
        *self.request.uri_mut() = Uri::from(permit.target().clone());
        self.request.headers_mut().insert(AUTHORIZATION, authorization);
    }

    /// The request as HTTP/1.1 sends it (RFC 9112 section 3.2.1). hyper takes it that a GET or HEAD has no body, and leaves
    /// one out whose length is not known and that is not announced.
    pub(super) fn take_for_http1(&mut self, host: &HeaderValue) -> Request<Upload> {
        let mut request = std::mem::take(&mut self.request);
        *request.version_mut() = Version::HTTP_11;
        request.headers_mut().insert(HOST, host.clone());
        let is_unknown = |upload: &Upload| !matches!(upload, Upload::Empty) && upload.size_hint().exact().is_none();
        if matches!(*request.method(), Method::GET | Method::HEAD) && is_unknown(request.body()) {
            request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        request
    }
}
