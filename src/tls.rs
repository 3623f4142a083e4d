//! TLS towards NinjaOne: one crypto provider, chosen here, and the roots that are trusted.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// Why there is no trust, or no TLS configuration.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read, or is no PEM.
    #[error("the file {path:?} cannot be read as PEM certificates: {cause}")]
    CaFile {
        /// The configured path.
        path: PathBuf,
        /// What the reader says.
        cause: rustls::pki_types::pem::Error,
    },
    /// The file has no certificate.
    #[error("the file {0:?} holds no certificate (a block that begins with -----BEGIN CERTIFICATE-----)")]
    NoCertificate(PathBuf),
    /// A certificate in the file is no trust anchor.
    #[error("the file {path:?} holds a certificate that cannot be trusted: {cause}")]
    BadCertificate {
        /// The configured path.
        path: PathBuf,
        /// What rustls says.
        cause: rustls::Error,
    },
    /// The provider lacks a protocol version: a build mistake.
    #[error("the TLS provider cannot be used")]
    Provider(#[source] rustls::Error),
}

/// The trust anchors of one instance.
#[derive(Debug, Clone)]
pub struct Trust(Arc<RootCertStore>);

impl Trust {
    /// The system's roots, or Mozilla's where the system has none (a container from scratch), and the certificates
    /// of `ca_file`.
    pub fn load(ca_file: Option<&Path>) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        if let Some(path) = ca_file {
            add_ca_file(&mut roots, path)?;
        }
        Ok(Self(Arc::new(roots)))
    }

    /// Nothing is trusted: for clear-text instances, which are on loopback.
    pub fn nobody() -> Self {
        Self(Arc::new(RootCertStore::empty()))
    }

    /// The configuration of connections with this ALPN offer, most wanted first. A server's name is checked against
    /// the subject alternative names of its certificate.
    pub fn client_config(&self, alpn: &[&[u8]]) -> Result<Arc<ClientConfig>, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Provider)?
            .with_root_certificates(Arc::clone(&self.0))
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(Arc::new(config))
    }
}

fn add_ca_file(roots: &mut RootCertStore, path: &Path) -> Result<(), TlsError> {
    let unreadable = |cause| TlsError::CaFile { path: path.to_owned(), cause };
    let mut found = false;
    for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
        let certificate = certificate.map_err(unreadable)?;
        roots.add(certificate).map_err(|cause| TlsError::BadCertificate { path: path.to_owned(), cause })?;
        found = true;
    }
    if found { Ok(()) } else { Err(TlsError::NoCertificate(path.to_owned())) }
}
