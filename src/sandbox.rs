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
use crate::base::secret::Secret;
use crate::proxy::policy::catalog::{Catalog, CatalogError, Scope, ScopeSet};

use crate::proxy::token::credentials::Credentials;

pub use self::counts::CountSnapshot;
pub use self::marks::marked_organizations;
pub use self::owner::owner;
pub use self::sign_in::{CODE_MARK, REFRESH_MARK};
pub use self::simulated_answer::simulated_answer;
pub use self::token::TOKEN_MARK;

/// How long to wait after a failed accept: the first time, and at most.
const ACCEPT_PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// How long a connection may wait for its next request; hyper's 30 seconds would end pooled ones under test.
const IDLE: Duration = Duration::from_secs(300);

/// How the sandbox is started. It has no `Debug`: it holds the client secret.
#[derive(Clone)]
pub struct Options {
    /// The only client id that the token endpoint knows.
    pub client_id: String,
    /// The client's secret.
    pub client_secret: String,
    /// The scopes that the client may ask for.
    pub scopes: ScopeSet,
    /// How long a token is good; `expires_in` tells it in whole seconds.
    pub token_lifetime: Duration,
    /// For how long after that a token is still taken: a clock that is not exact.
    pub token_grace: Duration,
    /// The wait before each answer of the token endpoint.
    pub token_delay: Duration,
    /// By how many seconds the clock of its `Date` is ahead of the machine's; negative: behind.
    pub date_ahead: i64,
    /// Whether the client is a Native app, which may send a person back to `http://127.0.0.1`, to any port.
    pub native: bool,
    /// Where a Web app may send a person back to: these URLs, to the byte. With none, and not native, it is an app for
    /// machines only, and nobody can sign in.
    pub redirect_uris: Vec<String>,
    /// Whether the client may have refresh tokens.
    pub offline_access: bool,
    /// How long an authorization code is good.
    pub code_lifetime: Duration,
    /// How long a refresh token is good.
    pub refresh_lifetime: Duration,
    /// Whether each refresh gives a new refresh token and ends the old one.
    pub rotate_refresh_tokens: bool,
}

impl Default for Options {
    /// The client `sandbox` with the secret `sandbox-secret`: no secret at all, since nothing here is real.
    fn default() -> Self {
        Self::with_secret("sandbox-secret")
    }
}

impl Options {
    /// The client, as the proxy's token requests name it.
    pub fn credentials(&self) -> Credentials {
        let [id, secret] = [&self.client_id, &self.client_secret].map(|text| Secret::new(text.clone()));
        Credentials::given(id, secret)
    }

    /// The client `sandbox`, a Native app with all scopes, tokens for an hour, refresh tokens for 30 days, and no delay.
    pub fn with_secret(client_secret: impl Into<String>) -> Self {
        Self {
            client_id: "sandbox".to_owned(),
            client_secret: client_secret.into(),
            scopes: Scope::ALL.into_iter().collect(),
            token_lifetime: Duration::from_secs(3600),
            token_grace: Duration::ZERO,
            token_delay: Duration::ZERO,
            date_ahead: 0,
            native: true,
            redirect_uris: Vec::new(),
            offline_access: true,
            code_lifetime: Duration::from_secs(60),
            refresh_lifetime: Duration::from_secs(30 * 24 * 3600),
            rotate_refresh_tokens: true,
        }
    }
}

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
