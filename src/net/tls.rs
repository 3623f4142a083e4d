//! TLS: one crypto provider, chosen here; towards NinjaOne, the roots that are trusted.

pub mod certificate;
pub mod local;
pub mod pem;
pub mod roots;
pub mod server;
pub mod server_verifier;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pem::PemError;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{WantsClientCert, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};

use roots::RootsError;
use server_verifier::ServerVerifier;

/// Why there is no trust, or no TLS configuration.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file gives no certificates.
    #[error(transparent)]
    Certificates(PemError),
    /// A certificate in the file cannot be a trust anchor.
    #[error("the file {} holds a certificate that cannot be trusted: {cause}", path.display())]
    BadCertificate {
        /// The configured path.
        path: PathBuf,
        /// What rustls says.
        cause: rustls::Error,
    },
    /// A file gives no private key.
    #[error(transparent)]
    Key(PemError),
    /// Certificate and key do not belong together, or are of a kind that is not known.
    #[error("the certificate and the key that are shown to the instance do not belong together")]
    Pair(#[source] rustls::Error),
    /// There are no roots.
    #[error(transparent)]
    Roots(#[from] RootsError),
    /// No certificate of a server can be judged.
    #[error("certificates cannot be verified")]
    Judge(#[from] rustls::client::VerifierBuilderError),
    /// The provider lacks a protocol version: a build mistake.
    #[error("the TLS provider cannot be used")]
    Provider(#[source] rustls::Error),
}

/// The trust anchors of one instance, and the certificate that it is shown if it asks for one.
#[derive(Debug, Clone)]
pub struct Trust {
    roots: Arc<RootCertStore>,
    /// Those of `ca-file`: a server may show exactly one of them.
    pinned: Arc<[CertificateDer<'static>]>,
    origin: TrustOrigin,
    /// What of the system's roots could not be read.
    complaints: Arc<[String]>,
    shown: Option<Arc<Shown>>,
}

/// Our own certificate, those between it and a root, and its key.
#[derive(Debug, PartialEq)]
struct Shown {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

/// Where trust anchors come from, and how many.
#[derive(Debug, Clone, Copy, Default)]
struct TrustOrigin {
    system: usize,
    /// Where those are from.
    place: &'static str,
    ca_file: usize,
}

impl Trust {
    /// The system's roots, and the certificates of `ca_file`. Without either there is no trust, and so an error.
    pub fn load(ca_file: Option<&Path>) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        let mut found = roots::load(|name| std::env::var_os(name))?;
        if ca_file.is_none() {
            found = found.some()?;
        }
        let (system, unusable) = roots.add_parsable_certificates(found.certificates);
        if unusable > 0 {
            found.complaints.push(format!("{unusable} of the system's root certificates cannot be used"));
        }
        let pinned = ca_file.map(|path| add_ca_file(&mut roots, path)).transpose()?.unwrap_or_default();
        if roots.is_empty() {
            return Err(RootsError::None(" that can be used".to_owned()).into());
        }
        let origin = TrustOrigin { system, place: found.origin, ca_file: pinned.len() };
        let (roots, complaints) = (Arc::new(roots), found.complaints.into());
        Ok(Self { roots, pinned: pinned.into(), origin, complaints, shown: None })
    }

    /// Nothing is trusted: for clear-text instances, which are on loopback.
    pub fn nobody() -> Self {
        let roots = Arc::new(RootCertStore::empty());
        Self { roots, pinned: Arc::from([]), origin: TrustOrigin::default(), complaints: Arc::from([]), shown: None }
    }

    /// Whether the same servers are trusted, and shown the same certificate.
    pub fn is_same(&self, other: &Self) -> bool {
        self.roots.roots == other.roots.roots && self.pinned == other.pinned && self.shown == other.shown
    }

    /// What of the system's roots could not be read; the others are trusted.
    pub fn complaints(&self) -> &[String] {
        &self.complaints
    }

    /// What judges a server's certificate by these anchors.
    pub(crate) fn judge(&self) -> Result<Arc<ServerVerifier>, TlsError> {
        let chain = WebPkiServerVerifier::builder_with_provider(Arc::clone(&self.roots), provider()).build()?;
        Ok(Arc::new(ServerVerifier::new(chain, Arc::clone(&self.pinned))))
    }

    /// Shows the certificate of this PEM file, whose key is in the other one, to a server that asks. Reads them.
    pub fn showing(self, certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let chain = pem::certificates(certificate).map_err(TlsError::Certificates)?;
        let shown_key = pem::private_key(key).map_err(TlsError::Key)?;
        let trust = Self { shown: Some(Arc::new(Shown { chain, key: shown_key })), ..self };
        // A pair that does not match is found out here, not at the first request.
        trust.client_config(&[]).map(|_| trust)
    }

    /// As [`Trust::client_config`], with a judge in the place of the usual one.
    pub(crate) fn judged_config(
        &self,
        judge: Arc<dyn ServerCertVerifier>,
        alpn: &[&[u8]],
    ) -> Result<ClientConfig, TlsError> {
        self.offering(builder()?.dangerous().with_custom_certificate_verifier(judge), alpn)
    }

    /// The configuration of connections with this ALPN offer, most wanted first. A server's name is checked against
    /// the subject alternative names of its certificate.
    pub fn client_config(&self, alpn: &[&[u8]]) -> Result<Arc<ClientConfig>, TlsError> {
        if self.roots.is_empty() {
            return self.offering(builder()?.with_root_certificates(Arc::clone(&self.roots)), alpn).map(Arc::new);
        }
        self.judged_config(self.judge()?, alpn).map(Arc::new)
    }

    fn offering(
        &self,
        builder: ConfigBuilder<ClientConfig, WantsClientCert>,
        alpn: &[&[u8]],
    ) -> Result<ClientConfig, TlsError> {
        let mut config = match &self.shown {
            None => builder.with_no_client_auth(),
            Some(shown) => {
                let paired = builder.with_client_auth_cert(shown.chain.clone(), shown.key.clone_key());
                paired.map_err(TlsError::Pair)?
            }
        };
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(config)
    }
}

/// The anchors for people: how many, and from where.
impl fmt::Display for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TrustOrigin { system, place, ca_file } = self.origin;
        match system {
            0 => write!(f, "no roots of {place}")?,
            _ => write!(f, "{system} roots of {place}")?,
        }
        if ca_file > 0 { write!(f, " and {ca_file} of ca-file") } else { Ok(()) }
    }
}

/// The configuration of connections that trust the certificates of this PEM file, and no other roots.
pub fn trusting_only(ca_file: &Path) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    add_ca_file(&mut roots, ca_file)?;
    Ok(Arc::new(builder()?.with_root_certificates(roots).with_no_client_auth()))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, TlsError> {
    ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().map_err(TlsError::Provider)
}

/// Adds the certificates of the file, and returns them.
fn add_ca_file(roots: &mut RootCertStore, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let added = pem::certificates(path).map_err(TlsError::Certificates)?;
    for certificate in &added {
        let bad = |cause| TlsError::BadCertificate { path: path.to_owned(), cause };
        roots.add(certificate.clone()).map_err(bad)?;
    }
    Ok(added)
}
