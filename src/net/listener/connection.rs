//! One connection: its handshake, then HTTP/1.1 or HTTP/2 within the limits, until it or the process ends.

use std::error::Error;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body;
use hyper_util::server::graceful::Watcher;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::idle::Usage;
use super::request_body::RequestBody;
use super::tunnel::Upgraded;
use super::write_timeout::WriteTimeout;
use super::wrong_protocol::{Mixups, PeekedStream};
use super::{ConnectionConfig, ConnectionLimits, Peer, http1, http2};
use crate::net::shutdown::Shutdown;
use crate::net::tls::certificate::Certificate;
use crate::net::tls::server::Identity;

/// What TLS may hold of what a caller does not read, in bytes.
const TLS_BUFFER: usize = 32 * 1024;

/// How all connections of a listener are served.
pub(super) struct ConnectionServer<H, R> {
    pub(super) http1: hyper::server::conn::http1::Builder,
    pub(super) http2: h2::server::Builder,
    pub(super) tls: Option<Identity>,
    /// As which it ends CONNECT.
    pub(super) interception: Option<Identity>,
    pub(super) limits: ConnectionLimits,
    pub(super) shutdown: Shutdown,
    pub(super) handle: H,
    pub(super) refuse: R,
    pub(super) mixups: Mixups,
}

impl<H, R, F, B> ConnectionServer<H, R>
where
    H: Fn(Peer, Request<RequestBody>) -> F + 'static,
    R: Fn(Peer, StatusCode) -> Vec<u8> + 'static,
    F: Future<Output = Response<B>> + 'static,
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    pub(super) fn new(
        ConnectionConfig { listener, tls, interception, limits }: &ConnectionConfig,
        shutdown: Shutdown,
        handle: H,
        refuse: R,
    ) -> Self {
        Self {
            http1: http1::builder(limits),
            http2: http2::builder(limits),
            tls: tls.clone(),
            interception: interception.clone(),
            limits: limits.clone(),
            shutdown,
            handle,
            refuse,
            mixups: Mixups::new(Arc::clone(listener)),
        }
    }

    /// Serves a connection to its end, and notes in `usage` when it serves a request over HTTP/1. The drain waits as long
    /// as `_watcher` is there.
    pub(super) async fn serve<S>(self: Rc<Self>, stream: S, peer: Peer, usage: Option<Rc<Usage>>, _watcher: Watcher)
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let stream = WriteTimeout::new(stream, self.limits.head_time, &self.limits.buffers);
        let (server, far, used) = (Rc::clone(&self), peer.clone(), usage.clone());
        match &self.tls {
            None => {
                if let Some(upgraded) = Rc::clone(&self).http1(stream, peer, usage).await {
                    Box::pin(server.tunnel(upgraded, far, used)).await;
                }
            }
            Some(tls) => {
                let stream = PeekedStream::new(stream, Bytes::new());
                // Boxed: it is large, and nothing that a connection without TLS should keep room for.
                if let Some(upgraded) = Box::pin(Rc::clone(&self).encrypted(tls, stream, peer, usage)).await {
                    Box::pin(server.tunnel(upgraded, far, used)).await;
                }
            }
        }
    }

    /// Serves a connection over TLS; what it is if that is to be another protocol.
    pub(super) async fn encrypted<S>(
        self: Rc<Self>,
        tls: &Identity,
        stream: PeekedStream<S>,
        peer: Peer,
        usage: Option<Rc<Usage>>,
    ) -> Option<Upgraded<Box<TlsStream<PeekedStream<S>>>>>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let shaken = tokio::select! {
            biased;
            () = self.shutdown.clone().begun() => return None,
            shaken = shake_hands(tls, stream, self.limits.head_time) => shaken,
        };
        let mut stream = match shaken {
            // Boxed for good: it is large, and moved often.
            Ok(Shaken::Tls(stream)) => stream,
            Ok(Shaken::ClearText(stream)) => {
                self.mixups.clear_in_tls(stream, &peer).await;
                return None;
            }
            Err(error) => {
                tracing::debug!(%peer, %error, "TLS handshake failed");
                return None;
            }
        };
        stream.get_mut().1.set_buffer_limit(Some(TLS_BUFFER));
        let (_, session) = stream.get_ref();
        let peer = match peer.intercepted() {
            Some(_) => peer.over_inner_tls(session.server_name()),
            None => {
                let certificate = session.peer_certificates().and_then(|chain| chain.first());
                peer.over_tls(certificate.map(|der| Arc::new(Certificate::verified(der))))
            }
        };
        if session.alpn_protocol() == Some(b"h2") {
            http2::serve(self, stream, peer).await;
            return None;
        }
        self.http1(stream, peer, usage).await
    }
}

/// How a connection to a TLS port begins.
enum Shaken<S> {
    Tls(Box<TlsStream<PeekedStream<S>>>),
    /// Without TLS.
    ClearText(PeekedStream<S>),
}

async fn shake_hands<S>(tls: &Identity, mut stream: PeekedStream<S>, limit: Duration) -> io::Result<Shaken<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let shaken = async {
        if stream.is_clear_text().await? {
            return Ok(Shaken::ClearText(stream));
        }
        let stream = TlsAcceptor::from(tls.current()).accept(stream).await?;
        Ok(Shaken::Tls(Box::new(stream)))
    };
    timeout(limit, shaken).await?
}
