//! One exchange on a connection of its own, for what is asked seldom: nothing of it is spawned or outlives it.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, HeaderValue};
use http::{Request, Response, response};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::connect::{ConnectError, Connection, Connector, Offer, tls_in};
use super::protocol::{self, ExchangeBreak};
use crate::net::body::coding::{self, CodingError};
use crate::net::pass_writes::pass_writes;

/// What may come in addition to the body, in bytes: certificates, the head, informational answers, framing.
const MAX_OVERHEAD: usize = 1 << 20;

/// An answer that was read to its end.
#[derive(Debug)]
pub struct CollectedAnswer {
    /// Status and headers as they came.
    pub head: response::Parts,
    /// The body without content codings, in memory that is overwritten when it is dropped.
    pub body: Zeroizing<Vec<u8>>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The connection broke before the end of the answer.
    #[error("the connection broke before the end of the answer")]
    Broken(#[source] ExchangeBreak),
    /// What came is not HTTP, or its head is too long.
    #[error("what answered did not speak HTTP")]
    Syntax(#[source] hyper::Error),
    /// The connection is in clear text, and the server speaks TLS.
    #[error("what answered speaks TLS, and was spoken to in clear text: write host with https://")]
    IsTls,
    /// The body is longer than allowed.
    #[error("the body of the answer is larger than {0} bytes")]
    TooLong(usize),
    /// The body cannot be read.
    #[error(transparent)]
    Coding(#[from] CodingError),
}

impl ExchangeError {
    /// rustls's error, if TLS failed: over TLS 1.3 a server says what it thinks of our certificate only after the
    /// handshake.
    pub fn tls(&self) -> Option<&rustls::Error> {
        match self {
            Self::Connect(error) => error.tls(),
            Self::Broken(ExchangeBreak::Http1(error)) => error.source()?.downcast_ref().and_then(tls_in),
            Self::Broken(ExchangeBreak::Http2(error)) => error.get_io().and_then(tls_in),
            Self::Broken(ExchangeBreak::Informational) => None,
            Self::Syntax(_) | Self::IsTls | Self::TooLong(_) | Self::Coding(_) => None,
        }
    }
}

impl From<hyper::Error> for ExchangeError {
    fn from(error: hyper::Error) -> Self {
        if error.is_parse() { Self::Syntax(error) } else { Self::Broken(error.into()) }
    }
}

impl From<h2::Error> for ExchangeError {
    fn from(error: h2::Error) -> Self {
        Self::Broken(error.into())
    }
}

impl Connector {
    /// Sends a request on a new connection, which ends with it, and reads the answer, whose body may have `limit` bytes.
    /// The target of the request is its path and query; `Host` is added here.
    pub async fn exchange(&self, request: Request<Bytes>, limit: usize) -> Result<CollectedAnswer, ExchangeError> {
        let deadline = Instant::now() + self.patience();
        let record = Arc::new(AtomicBool::new(false));
        let left = limit.saturating_add(MAX_OVERHEAD);
        let wrap = |stream| Bounded { stream, left, first: true, record: Arc::clone(&record) };
        let (head, body) = match self.connect(Offer::Http1, deadline, wrap).await? {
            Connection::Clear(stream) => {
                let answered = self.over_http1(stream, request, limit).await;
                answered.map_err(|error| if record.load(Ordering::Relaxed) { ExchangeError::IsTls } else { error })?
            }
            Connection::Http1(stream) => self.over_http1(stream, request, limit).await?,
            Connection::Http2(stream) => self.over_http2(stream, request, limit).await?,
        };
        let body = coding::decoded(&head.headers, &body, limit)?;
        Ok(CollectedAnswer { head, body })
    }

    async fn over_http1<I>(
        &self,
        stream: I,
        request: Request<Bytes>,
        limit: usize,
    ) -> Result<(response::Parts, Zeroizing<Vec<u8>>), ExchangeError>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let (mut head, body) = request.into_parts();
        // The authority of a URI is a field value too.
        head.headers
            .insert(HOST, HeaderValue::from_str(self.authority().as_str()).unwrap_or(HeaderValue::from_static("")));
        let request = Request::from_parts(head, Full::new(body));
        let (mut sender, connection) = protocol::http1().handshake(TokioIo::new(stream)).await?;
        let answered = async {
            let (head, mut body) = sender.send_request(request).await.map(Response::into_parts)?;
            let mut read = Collected::new(limit);
            while let Some(frame) = body.frame().await {
                read.add(&frame?.into_data().unwrap_or_default())?;
            }
            Ok((head, read.bytes))
        };
        tokio::select! {
            biased;
            answer = answered => answer,
            // An end without an error comes after the answer, if one came.
            Err(error) = connection => Err(error.into()),
        }
    }

    async fn over_http2<I>(
        &self,
        stream: I,
        request: Request<Bytes>,
        limit: usize,
    ) -> Result<(response::Parts, Zeroizing<Vec<u8>>), ExchangeError>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let (mut head, body) = request.into_parts();
        protocol::address_http2(&mut head, self.authority());
        if !body.is_empty() {
            head.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        let (sender, connection) = protocol::http2().handshake::<_, Bytes>(stream).await?;
        let answered = async {
            let mut sender = sender.ready().await?;
            let (answer, mut upload) = sender.send_request(Request::from_parts(head, ()), body.is_empty())?;
            if !body.is_empty() {
                upload.send_data(body, true)?;
            }
            let (head, mut stream) = answer.await?.into_parts();
            let mut read = Collected::new(limit);
            while let Some(data) = stream.data().await {
                match data {
                    Ok(data) => {
                        // A stream that is over has no window.
                        let _ = stream.flow_control().release_capacity(data.len());
                        read.add(&data)?;
                    }
                    // The server wants no more of the request (RFC 9113 section 8.1).
                    Err(error) if error.reason() == Some(h2::Reason::NO_ERROR) => break,
                    Err(error) => return Err(error.into()),
                }
            }
            Ok((head, read.bytes))
        };
        tokio::select! {
            biased;
            answer = answered => answer,
            Err(error) = connection => Err(error.into()),
        }
    }
}

/// What came of a body.
struct Collected {
    bytes: Zeroizing<Vec<u8>>,
    limit: usize,
}

impl Collected {
    /// With room for a usual body from the start: what grows leaves copies behind.
    fn new(limit: usize) -> Self {
        Self { bytes: Zeroizing::new(Vec::with_capacity(limit.min(64 * 1024))), limit }
    }

    fn add(&mut self, piece: &[u8]) -> Result<(), ExchangeError> {
        if self.bytes.len() + piece.len() > self.limit {
            return Err(ExchangeError::TooLong(self.limit));
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }
}

/// A connection that brings no more than it may: what a library keeps of a head, of informational answers and of frames
/// has a limit by that.
struct Bounded<I> {
    stream: I,
    left: usize,
    /// Nothing came yet.
    first: bool,
    /// What came first is the beginning of a TLS record: an alert or a handshake.
    record: Arc<AtomicBool>,
}

impl<I: AsyncRead + Unpin> AsyncRead for Bounded<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let came = buffer.filled().len().saturating_sub(before);
        if std::mem::take(&mut self.first) {
            let is_record = matches!(buffer.filled().get(before..), Some([0x15 | 0x16, 0x03, ..]));
            self.record.store(is_record, Ordering::Relaxed);
        }
        let too_much = || io::Error::new(io::ErrorKind::InvalidData, "too much came for one answer");
        self.left = self.left.checked_sub(came).ok_or_else(too_much)?;
        Poll::Ready(Ok(()))
    }
}

pass_writes!(Bounded);
