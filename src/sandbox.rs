//! An embedded NinjaOne: its public API with a token endpoint and invented data, for first steps and for tests.
//!
//! It answers every operation of the catalogue in the declared shape, refuses as NinjaOne refuses, and forgets
//! every write. Nothing that it says is true of any real tenant, and each answer is marked so.

mod answer;
mod changes;
mod control;
mod counts;
mod document;
mod download;
mod exchange;
mod facts;
mod filter;
mod fleet;
mod homes;
mod invention;
mod leak;
mod marks;
mod options;
mod owner;
mod paging;
mod query;
mod question;
mod record;
mod refusal;
mod shape;
mod sign_in;
mod simulated_answer;
#[cfg(test)]
mod tests;
mod token;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use self::changes::Changes;
use self::counts::{GrowingCounter, SandboxCounts};
use self::homes::ChangingFleet;
use self::leak::Leaks;
use self::paging::Cursors;
use self::record::LastRequest;
use self::shape::Shapes;
use self::sign_in::SignIn;
use self::token::SandboxTokens;
use crate::proxy::policy::catalog::{Catalog, CatalogError};

pub use self::counts::CountSnapshot;
pub use self::marks::marked_organizations;
pub use self::options::Options;
pub use self::owner::owner;
pub use self::sign_in::{CODE_MARK, REFRESH_MARK};
pub use self::simulated_answer::simulated_answer;
pub use self::token::TOKEN_MARK;

/// How long to wait after a failed accept: the first time, and at most.
const ACCEPT_PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// How long a connection may wait for its next request; hyper's 30 seconds would end pooled ones under test.
const IDLE: Duration = Duration::from_secs(300);

/// Why the sandbox cannot start.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The catalogue that the sandbox routes by.
    #[error("the sandbox cannot read the catalogue")]
    Catalog(#[from] CatalogError),
    /// Client id and secret must not be empty.
    #[error("the sandbox needs a client id and a client secret")]
    EmptyCredentials,
}

/// The HTTP version of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SandboxProtocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, from the first byte.
    Http2,
}

/// The sandbox; clones share tokens and counters.
#[derive(Clone)]
pub struct Sandbox(Arc<SandboxState>);

/// What all connections share.
struct SandboxState {
    options: Options,
    catalog: Catalog,
    shapes: Shapes,
    tokens: SandboxTokens,
    sign_in: SignIn,
    tally: SandboxCounts,
    record: LastRequest,
    requests: GrowingCounter,
    cursors: Cursors,
    fleet: ChangingFleet,
    leaks: Leaks,
    changes: Changes,
}

impl SandboxState {
    /// Ends all that persons allowed: codes, refresh tokens, access tokens.
    fn end_grants(&self) {
        self.sign_in.end_grants();
        self.tokens.revoke_persons();
    }
}

impl Sandbox {
    /// Reads the built-in catalogue and the shapes' table of contents.
    pub fn new(options: Options) -> Result<Self, SandboxError> {
        if options.client_id.is_empty() || options.client_secret.is_empty() {
            return Err(SandboxError::EmptyCredentials);
        }
        Ok(Self(Arc::new(SandboxState {
            catalog: Catalog::built_in()?,
            shapes: Shapes::built_in(),
            tokens: SandboxTokens::new(options.token_lifetime + options.token_grace),
            sign_in: SignIn::default(),
            tally: SandboxCounts::default(),
            record: LastRequest::default(),
            requests: GrowingCounter::default(),
            cursors: Cursors::default(),
            fleet: ChangingFleet::default(),
            leaks: Leaks::default(),
            changes: Changes::default(),
            options,
        })))
    }

    /// Serves HTTP/1.1 without TLS on a free loopback port, to the end of the runtime.
    pub async fn open(self) -> io::Result<SocketAddr> {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = socket.local_addr()?;
        tokio::spawn(self.serve(socket, std::future::pending()));
        Ok(address)
    }

    /// Serves HTTP/1.1 without TLS until `shutdown`, which also ends the connections that are open then.
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        let mut connections = JoinSet::new();
        let mut shutdown = pin!(shutdown);
        let mut pause = ACCEPT_PAUSE.0;
        loop {
            let accepted = tokio::select! {
                () = &mut shutdown => return,
                // Reaps what has ended; never ready while there is none.
                Some(_) = connections.join_next() => continue,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    pause = ACCEPT_PAUSE.0;
                    let sandbox = self.clone();
                    connections.spawn(async move { sandbox.serve_plain(stream).await });
                }
                Err(error) => {
                    report(&error, pause);
                    tokio::select! {
                        () = &mut shutdown => return,
                        () = tokio::time::sleep(pause) => pause = (pause * 2).min(ACCEPT_PAUSE.1),
                    }
                }
            }
        }
    }

    /// Serves one connection to its end. The caller is taken to have ended TLS on it: links to the sandbox
    /// itself begin with `https`.
    pub async fn serve_connection<I>(&self, io: I, protocol: SandboxProtocol)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.connection(io, protocol, "https").await;
    }

    /// What was counted so far.
    pub fn counts(&self) -> CountSnapshot {
        self.0.tally.counts()
    }

    /// The last API request as it was received: method, target, version and headers.
    pub fn last_request(&self) -> serde_json::Value {
        self.0.record.shown()
    }

    /// Makes all tokens invalid at once.
    pub fn revoke_tokens(&self) {
        self.0.tokens.revoke();
    }

    async fn serve_plain(&self, stream: TcpStream) {
        // Small answers must not wait for acknowledgements of the ones before.
        if stream.set_nodelay(true).is_ok() {
            self.connection(stream, SandboxProtocol::Http1, "http").await;
        }
    }

    async fn connection<I>(&self, io: I, protocol: SandboxProtocol, scheme: &'static str)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.0.tally.connections.add(1);
        let service = service_fn(|request: http::Request<Incoming>| {
            let house = Arc::clone(&self.0);
            async move { exchange::exchange(&house, scheme, request).await }
        });
        let io = TokioIo::new(io);
        let ended = match protocol {
            SandboxProtocol::Http1 => {
                http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(IDLE)
                    .serve_connection(io, service)
                    .await
            }
            SandboxProtocol::Http2 => {
                http2::Builder::new(TokioExecutor::new()).timer(TokioTimer::new()).serve_connection(io, service).await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "sandbox connection ended early");
        }
    }
}

fn report(error: &io::Error, pause: Duration) {
    tracing::warn!(%error, ?pause, "sandbox cannot accept a connection");
}
