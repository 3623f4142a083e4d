//! The server's side of TLS: a listener's certificate and key, whom it asks for certificates, and their renewal.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{ConfigBuilder, InconsistentKeys, RootCertStore, ServerConfig, WantsVerifier};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::certificate::alternative_names;
use super::local::{Leaf, LocalCa, LocalError, RENEWAL, Replaced};
use super::pem::{self, PemError};
use super::{TlsError, add_ca_file, provider};
use crate::base::file::Stamp;
use crate::base::secret::source::SecretSource;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(5);

/// Whether callers must show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallerCertificates {
    /// Without one there is no connection.
    Required,
    /// One that is shown must be good.
    Optional,
}

/// Where a listener's certificate and key come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdentitySource {
    /// Files that others write.
    Files(Files),
    /// A CA of this machine's own.
    LocalCa(LocalCa),
}

/// The PEM files of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// Its certificate first, then those between it and a root.
    pub certificate: PathBuf,
    /// The private key of the first.
    pub key: PathBuf,
    /// Who vouches for callers, if they are asked.
    pub clients: Option<(PathBuf, CallerCertificates)>,
}

/// Why a listener has no TLS.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The certificate or the CA of callers.
    #[error(transparent)]
    Certificates(#[from] TlsError),
    /// There is no key.
    #[error(transparent)]
    Key(PemError),
    /// The file of those who vouch for callers cannot be used.
    #[error(transparent)]
    ClientCa(TlsError),
    /// They do not belong together, or are of a kind that is not known.
    #[error("{}", pair(certificate, cause))]
    Pair {
        /// The configured path.
        certificate: PathBuf,
        /// What rustls says.
        cause: rustls::Error,
    },
    /// The local CA does not serve.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// No certificate of a caller can be judged.
    #[error("callers' certificates cannot be verified by the file {}: {cause}", path.display())]
    Clients {
        /// The configured path.
        path: PathBuf,
        /// What rustls says.
        cause: VerifierBuilderError,
    },
}

fn pair(certificate: &Path, cause: &rustls::Error) -> String {
    let certificate = certificate.display();
    if *cause == rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) {
        return format!(
            "the key belongs to another certificate than {certificate}: give the key that it was issued for"
        );
    }
    format!("the certificate in {certificate} cannot be used with this key: {cause}")
}

/// What handshakes use from now on; it changes when the files do.
#[derive(Debug, Clone)]
pub struct Identity(watch::Receiver<Arc<ServerConfig>>);

impl Identity {
    /// Whether it is the same listener's, unchanged.
    pub fn is_same(&self, other: &Self) -> bool {
        self.0.same_channel(&other.0)
    }

    /// For the next handshake.
    pub fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0.borrow())
    }
}

/// Follows a certificate's changes, for ever.
pub type Renewal = Pin<Box<dyn Future<Output = ()>>>;

impl IdentitySource {
    /// Whether it can be used. Reads files, and makes none.
    pub fn check(&self) -> Result<(), ServerError> {
        match self {
            Self::Files(files) => files.load().map(drop),
            Self::LocalCa(home) => Ok(home.check()?),
        }
    }

    /// Those of these names and addresses that the certificate is not valid for; all of them if it cannot be read.
    pub fn uncovered<'a>(&self, names: &[&'a str]) -> Vec<&'a str> {
        let Self::Files(files) = self else { return Vec::new() };
        let chain = pem::certificates(&files.certificate).unwrap_or_default();
        let parsed = chain.first().and_then(|first| ParsedCertificate::try_from(first).ok());
        let covers = |name: &str| {
            let name = ServerName::try_from(name.trim_matches(['[', ']']));
            parsed.as_ref().zip(name.ok()).is_some_and(|(parsed, name)| verify_server_name(parsed, &name).is_ok())
        };
        names.iter().copied().filter(|name| !covers(name)).collect()
    }

    /// The names and addresses that the certificate is for, none if it cannot be read. Reads the file.
    pub fn names(&self) -> Vec<String> {
        match self {
            Self::Files(files) => {
                let chain = pem::certificates(&files.certificate).unwrap_or_default();
                chain.first().map(|first| alternative_names(first)).unwrap_or_default()
            }
            Self::LocalCa(home) => home.names().map(str::to_owned).collect(),
        }
    }

    /// Gets certificate and key, and returns what follows their changes; it must be spawned, and never ends.
    pub fn serve(self) -> Result<(Identity, Renewal), ServerError> {
        match self {
            Self::Files(files) => {
                let seen = files.stamps();
                let (sender, receiver) = watch::channel(files.load()?);
                Ok((Identity(receiver), Box::pin(files.follow(seen, sender))))
            }
            Self::LocalCa(home) => {
                if let Some(Replaced { name }) = home.prepare()? {
                    let certificate = home.certificate();
                    let certificate = certificate.display();
                    tracing::warn!(
                        %certificate, name,
                        "the local CA could not vouch for a name, and was made anew: callers must trust the new one, see \"ninjaone-proxy trust\""
                    );
                }
                let seen = home.stamp();
                let (sender, receiver) = watch::channel(issue(&home)?);
                Ok((Identity(receiver), Box::pin(renew(home, seen, sender))))
            }
        }
    }

    /// A warning if users of this machine may read or write the key who need not.
    pub fn exposure(&self) -> Option<String> {
        match self {
            Self::Files(files) => SecretSource::File(files.key.clone()).exposure(),
            Self::LocalCa(home) => SecretSource::File(home.key()).exposure(),
        }
    }
}

/// A certificate of the local CA, and its key.
fn issue(home: &LocalCa) -> Result<Arc<ServerConfig>, ServerError> {
    let Leaf { certificate, key } = home.issue()?;
    let (chain, key) = (vec![CertificateDer::from(certificate)], PrivatePkcs8KeyDer::from(key).into());
    let builder = builder()?.with_no_client_auth();
    let pair = |cause| ServerError::Pair { certificate: home.certificate(), cause };
    Ok(offering(builder.with_single_cert(chain, key).map_err(pair)?))
}

/// Issues a certificate anew long before it ends, by the wall clock, for a machine that sleeps too; and when another
/// process has made the CA anew.
async fn renew(home: LocalCa, mut seen: Option<Stamp>, sender: watch::Sender<Arc<ServerConfig>>) {
    let (mut made, mut failed) = (SystemTime::now(), false);
    loop {
        tokio::time::sleep(LOOK).await;
        let stamp = home.stamp();
        if stamp == seen && made.elapsed().is_ok_and(|age| age < RENEWAL) {
            continue;
        }
        match issue(&home) {
            Ok(config) => {
                (made, seen, failed) = (SystemTime::now(), stamp, false);
                sender.send_replace(config);
                tracing::info!("certificate of the local CA renewed");
            }
            Err(error) => {
                if !failed {
                    tracing::warn!(%error, "the old certificate of the local CA stays in use");
                }
                failed = true;
            }
        }
    }
}

fn builder() -> Result<ConfigBuilder<ServerConfig, WantsVerifier>, TlsError> {
    ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().map_err(TlsError::Provider)
}

fn offering(mut config: ServerConfig) -> Arc<ServerConfig> {
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config)
}

impl Files {
    /// Reads the files. Blocks.
    fn load(&self) -> Result<Arc<ServerConfig>, ServerError> {
        let chain = pem::certificates(&self.certificate).map_err(TlsError::Certificates)?;
        let key = pem::private_key(&self.key).map_err(ServerError::Key)?;
        let builder = builder()?;
        let builder = match &self.clients {
            None => builder.with_no_client_auth(),
            Some((path, demand)) => builder.with_client_cert_verifier(judge(path, *demand)?),
        };
        let certificate = self.certificate.clone();
        let mut config =
            builder.with_single_cert(chain, key).map_err(|cause| ServerError::Pair { certificate, cause })?;
        if self.clients.is_some() {
            // A resumed session would not look at the caller's certificate again.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(offering(config))
    }

    /// A file that cannot be used leaves the old configuration in place, and is logged once.
    async fn follow(self, mut seen: [Option<Stamp>; 3], sender: watch::Sender<Arc<ServerConfig>>) {
        loop {
            tokio::time::sleep(LOOK).await;
            let stamps = self.stamps();
            if stamps == seen {
                continue;
            }
            seen = stamps;
            let certificate = self.certificate.display();
            match self.load() {
                Ok(config) => {
                    sender.send_replace(config);
                    tracing::info!(%certificate, "certificate of a listener renewed");
                }
                Err(error) => tracing::warn!(%error, "the old certificate of a listener stays in use"),
            }
        }
    }

    fn stamps(&self) -> [Option<Stamp>; 3] {
        let clients = self.clients.as_ref().map(|(path, _)| path);
        [Some(&self.certificate), Some(&self.key), clients]
            .map(|path| path.and_then(|path| SecretSource::File(path.clone()).stamp()))
    }
}

fn judge(
    path: &Path,
    demand: CallerCertificates,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, ServerError> {
    let mut roots = RootCertStore::empty();
    add_ca_file(&mut roots, path).map_err(ServerError::ClientCa)?;
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
    let builder = match demand {
        CallerCertificates::Required => builder,
        CallerCertificates::Optional => builder.allow_unauthenticated(),
    };
    builder.build().map_err(|cause| ServerError::Clients { path: path.to_owned(), cause })
}
