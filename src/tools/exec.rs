//! `exec`: what a command is told so that its calls of NinjaOne go through a proxy on this machine.

pub mod child;
mod environment;
mod java;
mod no_proxy;
mod trust_folder;

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::base::secret::Secret;
use crate::base::state::StateFolderError;
use crate::net::tls::pem::PemError;
use crate::net::tls::roots::RootsError;
pub use environment::{PLACEHOLDER, variables};
pub use trust_folder::TrustFolder;

/// The proxy that a command is sent to.
#[derive(Debug)]
pub struct CommandProxy {
    /// Where it listens.
    pub address: SocketAddr,
    /// The caller's name and key, where the listener has callers.
    pub caller: Option<(String, Secret)>,
    /// The names for which it stands in, lower case.
    pub names: Vec<String>,
    /// The certificate of the CA that vouches for them there.
    pub certificate: PathBuf,
}

/// A variable of the environment, and its value.
pub type Variable = (&'static str, OsString);

/// Why a command cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// Nobody says where state is kept.
    #[error(transparent)]
    State(#[from] StateFolderError),
    /// The system does not let us.
    #[error(
        "the certificates that the command is to trust cannot be written to {}: {cause}. Set STATE_DIRECTORY to a folder that you can write to", path.display()
    )]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// A variable that names certificates leads nowhere.
    #[error(
        "{variable} is set to {path:?}, which cannot be read ({cause}): set it to a file of certificates in PEM form, or unset it"
    )]
    Variable {
        /// Its name.
        variable: &'static str,
        /// Its value.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// The roots of this system.
    #[error(transparent)]
    Roots(#[from] RootsError),
    /// The certificate of the CA.
    #[error("the local CA of the proxy cannot be trusted")]
    Certificate(#[source] PemError),
}
