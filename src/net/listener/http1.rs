//! One HTTP/1 connection of a caller, served by hyper, which is there only while something is asked.

use std::cell::Cell;
use std::convert::Infallible;
use std::error::Error;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1::{Builder, Parts};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::buffers::Outgoing;
use super::connection::ConnectionServer;
use super::idle::{Usage, Using};
use super::request_body::RequestBody;
use super::timed_socket::{CallerConnectionState, TimedSocket};
use super::tracked::Tracked;
use super::tunnel::{Tunnel, Upgraded};
use super::wrong_protocol::TLS_HANDSHAKE;
use super::{ConnectionLimits, Peer};

/// The least that hyper takes as the limit of a head.
const MIN_HEAD: usize = 8192;
/// The most fields of a head that hyper takes unless it is told otherwise.
const HYPER_FIELDS: usize = 100;

/// All limits of a connection, set in one place; the time for a head is the wire's.
pub(super) fn builder(limits: &ConnectionLimits) -> Builder {
    let mut http = Builder::new();
    // half_close: hyper does not look out for a caller that leaves while a request is served; the wire does.
    http.header_read_timeout(None).max_buf_size(limits.head_size.max(MIN_HEAD)).half_close(true);
    // hyper has room for so many at hand; for another number it makes room with each head.
    if limits.header_count != HYPER_FIELDS {
        http.max_headers(limits.header_count);
    }
    // Not pipeline_flush: with it hyper takes the whole of an answer that its caller does not read into memory.
    http
}

impl<H, R, F, B> ConnectionServer<H, R>
where
    H: Fn(Peer, Request<RequestBody>) -> F + 'static,
    R: Fn(Peer, StatusCode) -> Vec<u8> + 'static,
    F: Future<Output = Response<B>> + 'static,
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    /// Serves HTTP/1; what the connection is if it is to be of another protocol then.
    pub(super) async fn http1<S>(self: Rc<Self>, stream: S, peer: Peer, usage: Option<Rc<Usage>>) -> Option<Upgraded<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let (track, outgoing) = (CallerConnectionState::new(), Outgoing::new(&self.limits.buffers));
        let (host, far) = (Rc::clone(&self), peer.clone());
        let head_time = self.limits.head_time;
        let mut wire =
            TimedSocket::new(stream, Rc::clone(&track), head_time, move |status| (host.refuse)(far.clone(), status));
        let host = Rc::clone(&self);
        let (opened, far) = (Rc::clone(&track), peer.clone());
        let upgrade = Rc::<Cell<Option<Tunnel>>>::default();
        let agreed = Rc::clone(&upgrade);
        let mut service = service_fn(move |request: Request<Incoming>| {
            let (serving, fault) = track.serve();
            let serving = (serving, usage.as_ref().map(Using::begin));
            let connects = *request.method() == Method::CONNECT;
            let request = request.map(RequestBody::Http1);
            Answering {
                // Boxed: hyper keeps room for the future of a request in every connection, also at rest.
                answer: Box::pin((host.handle)(peer.clone().with_fault(fault), request)),
                track: Rc::clone(&track),
                outgoing: Rc::clone(&outgoing),
                upgrade: Rc::clone(&agreed),
                connects,
                serving: Some(serving),
            }
        });
        let (mut stop, mut stopping) = (pin!(self.shutdown.clone().begun()), false);
        let (served, read) = loop {
            let begun = poll_fn(|cx| match stop.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(Ok(false)),
                Poll::Pending => wire.poll_begun(cx),
            });
            match begun.await {
                Ok(true) => {}
                Ok(false) => break (Ok(()), Bytes::new()),
                Err(error) => {
                    tracing::debug!(%error, "connection ended at rest");
                    break (Ok(()), Bytes::new());
                }
            }
            // Boxed: its room and its buffers are most of what a connection takes, and are given back at rest.
            let mut connection = Box::new(self.http1.serve_connection(TokioIo::new(wire), service));
            let served = poll_fn(|cx| {
                if !stopping && stop.as_mut().poll(cx).is_ready() {
                    stopping = true;
                    Pin::new(&mut *connection).graceful_shutdown();
                }
                match connection.poll_without_shutdown(cx) {
                    Poll::Ready(served) => Poll::Ready(Some(served)),
                    Poll::Pending if opened.is_at_rest() => Poll::Ready(None),
                    Poll::Pending => Poll::Pending,
                }
            });
            let served = served.await;
            let parts: Parts<_, _> = connection.into_parts();
            (wire, service) = (parts.io.into_inner(), parts.service);
            match served {
                Some(served) => break (served, parts.read_buf),
                // Empty lines before a head mean nothing (RFC 9112 section 2.2). With anything else that hyper has read
                // and not served, it is not sure where the next head begins.
                None if !stopping && parts.read_buf.iter().all(|byte| b"\r\n".contains(byte)) => {}
                None => break (Ok(()), Bytes::new()),
            }
        };
        if opened.first_byte() == Some(TLS_HANDSHAKE) && !far.is_tls() {
            self.mixups.tls_in_clear(&far);
        }
        match (served, upgrade.take()) {
            (Ok(()), Some(tunnel)) => {
                let (stream, read) = wire.into_inner(read);
                return Some(Upgraded { stream, read, tunnel });
            }
            // A far end that is gone already needs no end.
            (Ok(()), None) => drop(wire.shutdown().await),
            (Err(error), _) => tracing::debug!(%error, "connection ended"),
        }
        None
    }
}

/// The answer to a request over HTTP/1, on its way.
struct Answering<F, G> {
    answer: Pin<Box<F>>,
    track: Rc<CallerConnectionState>,
    outgoing: Rc<Outgoing>,
    /// What the connection becomes after it.
    upgrade: Rc<Cell<Option<Tunnel>>>,
    /// It is the answer to a CONNECT.
    connects: bool,
    serving: Option<G>,
}

impl<F, B, G> Future for Answering<F, G>
where
    F: Future<Output = Response<B>>,
    B: Body<Data = Bytes> + Unpin,
    G: Unpin,
{
    type Output = Result<Response<Tracked<B, Option<G>>>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut answer = ready!(self.answer.as_mut().poll(cx));
        let tunnel = answer.extensions_mut().remove::<Tunnel>();
        // What follows a CONNECT is of another protocol, and may have been sent already: it is not a request.
        if self.track.is_over() || (self.connects && tunnel.is_none()) {
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if tunnel.is_some() {
            self.upgrade.set(tunnel);
        }
        let (flush, outgoing, serving) =
            (Rc::clone(self.track.flush()), Rc::clone(&self.outgoing), self.serving.take());
        Poll::Ready(Ok(answer.map(|body| Tracked::new(body, flush, outgoing, serving))))
    }
}
