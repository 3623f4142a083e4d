//! Where the store is, and as whom it is used.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::sealing::SealingKeys;
use crate::base::secret::source::SecretSource;

/// The store of a configuration.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// Where it is.
    pub address: StoreAddress,
    /// What its TLS is made of; `None` for clear text.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// The number of the database.
    pub database: i64,
    /// The ACL user.
    pub username: Option<String>,
    /// The password; read again for each connection.
    pub password: Option<SecretSource>,
    /// That of the sentinels.
    pub sentinel_password: Option<SecretSource>,
    /// What the names of all entries begin with.
    pub prefix: String,
    /// How long an answer may take that a request waits for.
    pub timeout: Duration,
    /// What entries are sealed with.
    pub keys: Arc<SealingKeys>,
}

/// Where the store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreAddress {
    /// A host and a port.
    Tcp(String, u16),
    /// A socket file.
    Unix(PathBuf),
    /// The primary that sentinels know by a name.
    Sentinels {
        /// Their hosts and ports.
        sentinels: Vec<(String, u16)>,
        /// The name.
        primary: String,
    },
}

/// As people read it.
impl fmt::Display for StoreAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
            Self::Sentinels { sentinels, primary } => {
                write!(f, "{primary} (by {} sentinels)", sentinels.len())
            }
        }
    }
}
