//! One connection to the store: where the primary is, TCP or a socket file, TLS, who we are, and whether it will do.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ErrorKind, RedisConnectionInfo, RedisError};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::store_config::{StoreAddress, StoreConfig};
use super::store_error::ConnectFault;
use crate::base::secret::source::SecretSource;
use crate::net::dial::Route;
use crate::net::dial::connect::in_words;

/// How long a connection may take, to a sentinel or to the store.
const CONNECT: Duration = Duration::from_secs(2);
/// How many requests may be on their way into the connection; those behind wait, each no longer than its own time.
const QUEUE: usize = 1024;
/// The least major version.
const MIN_VERSION: u32 = 7;

/// A connection to a primary. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) commands: MultiplexedConnection,
    driver: AbortHandle,
    /// Where the primary is.
    pub(super) at: String,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// What the store says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoreIdentity {
    /// Differs with each start of a server, and with each switch of the primary.
    pub(super) run: String,
    /// How many servers copy what is written to it.
    pub(super) copies: u32,
}

impl Connection {
    /// Connects to the primary.
    pub(super) async fn open(config: &StoreConfig) -> Result<Self, ConnectFault> {
        match &config.address {
            StoreAddress::Tcp(host, port) => Self::to_host(config, host, *port).await,
            #[cfg(unix)]
            StoreAddress::Unix(path) => {
                let at = path.display().to_string();
                let connected = timeout(CONNECT, tokio::net::UnixStream::connect(path)).await;
                let stream = connected.map_err(|_| ConnectFault::Timeout(at.clone()))?;
                let stream = stream.map_err(|error| ConnectFault::Unreachable(at.clone(), error))?;
                Self::over(stream, &config.login(&config.password)?, at).await
            }
            #[cfg(not(unix))]
            StoreAddress::Unix(path) => {
                let why = io::Error::new(io::ErrorKind::Unsupported, "there are no such sockets on this system");
                Err(ConnectFault::Unreachable(path.display().to_string(), why))
            }
            StoreAddress::Sentinels { sentinels, primary } => {
                let mut last = None;
                for (host, port) in sentinels {
                    match ask_sentinel(config, (host, *port), primary).await {
                        Ok(Some((host, port))) => return Self::to_host(config, &host, port).await,
                        Ok(None) => {}
                        Err(fault) => last = Some(fault),
                    }
                }
                let all: Vec<_> = sentinels.iter().map(|(host, port)| format!("{host}:{port}")).collect();
                Err(last.unwrap_or_else(|| ConnectFault::Sentinels(all.join(", "), primary.clone())))
            }
        }
    }

    /// Whether this is the connection that would be opened now.
    pub(super) async fn is_current(&self, config: &StoreConfig) -> bool {
        let StoreAddress::Sentinels { sentinels, primary } = &config.address else { return true };
        for (host, port) in sentinels {
            if let Ok(Some((host, port))) = ask_sentinel(config, (host, *port), primary).await {
                return self.at == format!("{host}:{port}");
            }
        }
        // Without a sentinel nobody says otherwise.
        true
    }

    async fn to_host(config: &StoreConfig, host: &str, port: u16) -> Result<Self, ConnectFault> {
        Self::to(config, (host, port), &config.login(&config.password)?.set_db(config.database)).await
    }

    async fn to(
        config: &StoreConfig,
        (host, port): (&str, u16),
        login: &RedisConnectionInfo,
    ) -> Result<Self, ConnectFault> {
        let at = format!("{host}:{port}");
        let route = Route::new(host.to_owned(), port, None);
        let dialed = async {
            let addresses = route.resolve().await.map_err(io::Error::other)?;
            let stream = route.connect(&addresses).await.map_err(io::Error::other)?;
            stream.set_nodelay(true).map(|()| stream)
        };
        let stream = timeout(CONNECT, dialed).await.map_err(|_| ConnectFault::Timeout(at.clone()))?;
        let stream = stream.map_err(|error| ConnectFault::Unreachable(at.clone(), error))?;
        let Some(tls) = &config.tls else { return Self::over(stream, login, at).await };
        let name = ServerName::try_from(host.to_owned());
        let name = name.map_err(|error| ConnectFault::Tls(at.clone(), error.to_string()))?;
        let shaken = timeout(CONNECT, TlsConnector::from(tls.clone()).connect(name, stream)).await;
        let stream = shaken.map_err(|_| ConnectFault::Timeout(at.clone()))?;
        let stream = stream.map_err(|error| ConnectFault::Tls(at.clone(), in_words(&error)))?;
        Self::over(stream, login, at).await
    }

    async fn over<S>(stream: S, login: &RedisConnectionInfo, at: String) -> Result<Self, ConnectFault>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        // Each answer has a time of its own, set by who waits for it.
        let config = AsyncConnectionConfig::new().set_response_timeout(None).set_pipeline_buffer_size(QUEUE);
        let begun = timeout(CONNECT, MultiplexedConnection::new_with_config(login, stream, config)).await;
        let begun = begun.map_err(|_| ConnectFault::Timeout(at.clone()))?;
        let (commands, driver) = begun.map_err(|error| refused(&at, &error))?;
        let driver = tokio::spawn(driver).abort_handle();
        Ok(Self { commands, driver, at })
    }

    /// What the store says of itself; an error if it will not do.
    pub(super) async fn identity(&self) -> Result<StoreIdentity, ConnectFault> {
        let mut commands = self.commands.clone();
        let mut asked = redis::cmd("INFO");
        asked.arg("server").arg("replication");
        let told = timeout(CONNECT, asked.query_async::<String>(&mut commands)).await;
        let told = told.map_err(|_| ConnectFault::Timeout(self.at.clone()))?;
        let told = told.map_err(|error| refused(&self.at, &error))?;
        let fields: HashMap<_, _> = told.lines().filter_map(|line| line.trim_end().split_once(':')).collect();
        let field = |name| fields.get(name).copied().unwrap_or_default();
        let version = field("redis_version");
        let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
        if major.is_none_or(|major| major < MIN_VERSION) {
            let version = if version.is_empty() { "an unknown version" } else { version };
            return Err(ConnectFault::Version(self.at.clone(), version.to_owned()));
        }
        if field("role") != "master" {
            return Err(ConnectFault::Replica(self.at.clone()));
        }
        let run = format!("{} {}", field("run_id"), field("master_replid"));
        Ok(StoreIdentity { run, copies: field("connected_slaves").parse().unwrap_or_default() })
    }
}

impl StoreConfig {
    fn login(&self, password: &Option<SecretSource>) -> Result<RedisConnectionInfo, ConnectFault> {
        let login = RedisConnectionInfo::default().set_skip_set_lib_name().set_db(self.database);
        let login = self.username.iter().fold(login, |login, username| login.set_username(username));
        let Some(source) = password else { return Ok(login) };
        let password = source.read().map_err(ConnectFault::Password)?;
        Ok(login.set_password(password.expose().as_str()))
    }
}

/// Where the primary of this name is, if this sentinel knows.
async fn ask_sentinel(
    config: &StoreConfig,
    (host, port): (&str, u16),
    primary: &str,
) -> Result<Option<(String, u16)>, ConnectFault> {
    let mut login = RedisConnectionInfo::default().set_skip_set_lib_name();
    if let Some(source) = &config.sentinel_password {
        login = login.set_password(source.read().map_err(ConnectFault::Password)?.expose().as_str());
    }
    let sentinel = Connection::to(config, (host, port), &login).await?;
    let mut commands = sentinel.commands.clone();
    let mut asked = redis::cmd("SENTINEL");
    asked.arg("get-master-addr-by-name").arg(primary);
    let told = timeout(CONNECT, asked.query_async::<Option<(String, u16)>>(&mut commands)).await;
    told.map_err(|_| ConnectFault::Timeout(sentinel.at.clone()))?.map_err(|error| refused(&sentinel.at, &error))
}

fn refused(at: &str, error: &RedisError) -> ConnectFault {
    let said = super::store_error::plain(error);
    let about_us = matches!(error.code(), Some("WRONGPASS" | "NOAUTH" | "NOPERM"));
    if about_us || error.kind() == ErrorKind::AuthenticationFailed {
        return ConnectFault::Credentials(at.to_owned(), said);
    }
    if error.kind() == ErrorKind::Io {
        return ConnectFault::Protocol(at.to_owned(), "the connection was closed".to_owned());
    }
    ConnectFault::Protocol(at.to_owned(), said)
}
