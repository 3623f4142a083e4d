//! One exchange on an HTTP/2 connection: the request, the head of the answer and its body.

use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream};
use http::header::{CONTENT_LENGTH, HeaderMap, HeaderValue};
use http::uri::Authority;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};

use super::Http2Connection;
use super::upload_task::UploadTask;
use crate::net::body::Upload;
use crate::net::dial::protocol::{self, ExchangeBreak};
use crate::proxy::upstream::watched_socket::{MAX_INFORMATIONAL, MAX_UNANSWERED};

/// A request that got no answer.
pub(in crate::proxy::upstream) struct Failed {
    pub(in crate::proxy::upstream) error: h2::Error,
    /// The request, if nothing of it was taken.
    pub(in crate::proxy::upstream) request: Option<Box<Request<Upload>>>,
}

/// One exchange, until the head of the answer comes.
pub(in crate::proxy::upstream) struct Http2Exchange {
    answer: ResponseFuture,
    informational: Informational,
    upload: Option<UploadTask>,
}

/// The informational answers to a request (RFC 9110 section 15.2). None is passed on.
#[derive(Debug, Default)]
struct Informational {
    count: usize,
    bytes: usize,
}

impl Informational {
    /// One more; fails if there are too many.
    fn add(&mut self, fields: &HeaderMap) -> Result<(), ExchangeBreak> {
        self.count += 1;
        // As RFC 9113 section 6.5.2 counts.
        self.bytes += fields.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum::<usize>();
        let fits = self.count <= MAX_INFORMATIONAL && self.bytes <= MAX_UNANSWERED;
        if fits { Ok(()) } else { Err(ExchangeBreak::Informational) }
    }
}

impl Http2Connection {
    /// Begins an exchange.
    pub(in crate::proxy::upstream) fn send(
        &self,
        request: Request<Upload>,
        authority: &Authority,
    ) -> Result<Http2Exchange, Failed> {
        let mut sender = self.sender.clone();
        // A new handle never waits; what it would wait for is a stream of its own to be opened.
        if let Poll::Ready(Err(error)) = sender.poll_ready(&mut Context::from_waker(Waker::noop())) {
            return Err(Failed { error, request: Some(Box::new(request)) });
        }
        let (request, body) = absolute(request, authority);
        let ended = body.is_end_stream();
        let (answer, stream) = sender.send_request(request, ended).map_err(|error| Failed { error, request: None })?;
        let upload = (!ended).then(|| UploadTask::spawn(body, stream));
        Ok(Http2Exchange { answer, informational: Informational::default(), upload })
    }
}

impl Future for Http2Exchange {
    type Output = Result<Response<Http2Body>, ExchangeBreak>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // h2 would keep all that come together, and throw them away uncounted.
        while let Some(response) = ready!(self.answer.poll_informational(cx)) {
            self.informational.add(response?.headers())?;
        }
        let answer = ready!(Pin::new(&mut self.answer).poll(cx))?;
        // What the server still wants of the request goes up by itself.
        if let Some(upload) = self.upload.take() {
            upload.leave();
        }
        Poll::Ready(Ok(Http2Body::new(answer)))
    }
}

/// The request as HTTP/2 addresses it, and its body.
fn absolute(request: Request<Upload>, authority: &Authority) -> (Request<()>, Upload) {
    let (mut head, upload) = request.into_parts();
    protocol::address_http2(&mut head, authority);
    if let Some(length) = upload.size_hint().exact().filter(|length| *length > 0) {
        head.headers.entry(CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(length));
    }
    (Request::from_parts(head, ()), upload)
}

/// The body of an answer.
#[derive(Debug)]
pub(in crate::proxy::upstream) struct Http2Body {
    stream: RecvStream,
    /// What is to come, where the server has said it.
    left: Option<u64>,
    ended: bool,
}

impl Http2Body {
    pub(super) fn new(answer: Response<RecvStream>) -> Response<Self> {
        let (head, stream) = answer.into_parts();
        let length = head.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let ended = stream.is_end_stream();
        Response::from_parts(head, Self { stream, left: if ended { Some(0) } else { length }, ended })
    }
}

impl Body for Http2Body {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        let this = &mut *self;
        match ready!(this.stream.poll_data(cx)) {
            Some(Ok(data)) => {
                // A stream that is over has no window.
                let _ = this.stream.flow_control().release_capacity(data.len());
                this.left = this.left.map(|left| left.saturating_sub(data.len() as u64));
                this.ended = this.stream.is_end_stream();
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            // The server wants no more of the request (RFC 9113 section 8.1); whether the answer is whole shows its length.
            Some(Err(error)) if error.reason() == Some(Reason::NO_ERROR) => Poll::Ready(None),
            Some(Err(error)) => Poll::Ready(Some(Err(error))),
            None => {
                // Only what is taken has come to its end. They go no further.
                let _ = ready!(this.stream.poll_trailers(cx));
                this.ended = this.stream.is_end_stream();
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
