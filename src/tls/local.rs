//! The local CA: made once on this machine, able to vouch for this machine's own names only.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints,
};
use zeroize::Zeroizing;

use crate::state::{Folder, NoFolder};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// How long a CA is good.
const CA_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// How long a listener's certificate is good.
const LEAF_LIFE: Duration = Duration::from_secs(90 * 24 * 3600);
/// When a listener's certificate is made anew.
pub(super) const RENEWAL: Duration = Duration::from_secs(60 * 24 * 3600);
/// What it vouches for.
pub const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Why there is no local CA.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// Nobody says where state is kept.
    #[error("the local CA cannot be kept: {0}")]
    NoFolder(#[from] NoFolder),
    /// The system does not let us.
    #[error("the local CA cannot be kept in {}: {cause}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// One of the two files is missing or broken.
    #[error("the local CA in {} cannot be used ({cause}): remove ca.pem and ca-key.pem there, and trust the new one", path.display())]
    Broken {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        cause: rcgen::Error,
    },
    /// A certificate cannot be made.
    #[error("the local CA cannot issue a certificate")]
    Issue(#[from] rcgen::Error),
}

/// Where the CA is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home(Folder);

/// A certificate and its key, in DER.
pub(super) struct Leaf {
    pub(super) certificate: Vec<u8>,
    pub(super) key: Vec<u8>,
}

impl Home {
    /// In the folder for state.
    pub fn find() -> Result<Self, LocalError> {
        Ok(Self(Folder::find()?))
    }

    /// The CA's certificate: what callers must trust.
    pub fn certificate(&self) -> PathBuf {
        self.0.path().join("ca.pem")
    }

    pub(super) fn key(&self) -> PathBuf {
        self.0.path().join("ca-key.pem")
    }

    /// Makes the CA if there is none. The certificate is written last, so that there is none without a key.
    pub(super) fn prepare(&self) -> Result<(), LocalError> {
        if self.certificate().exists() {
            return Ok(());
        }
        let unkept = |path: &Path| {
            let path = path.to_owned();
            move |cause| LocalError::File { path, cause }
        };
        self.0.make().map_err(unkept(self.0.path()))?;
        let key = KeyPair::generate()?;
        let certificate = authority(SystemTime::now()).self_signed(&key)?;
        let key_file = self.key();
        write(&key_file, &key.serialize_pem(), 0o600).map_err(unkept(&key_file))?;
        let file = self.certificate();
        write(&file, &certificate.pem(), 0o644).map_err(unkept(&file))
    }

    /// A certificate for this machine's own names. Reads the CA's key, and forgets it again.
    pub(super) fn issue(&self) -> Result<Leaf, LocalError> {
        let key_file = self.key();
        let text = fs::read_to_string(&key_file)
            .map(Zeroizing::new)
            .map_err(|cause| LocalError::File { path: key_file, cause })?;
        let broken = |cause| LocalError::Broken { path: self.0.path().to_owned(), cause };
        let issuer = Issuer::new(authority(SystemTime::now()), KeyPair::from_pem(&text).map_err(broken)?);
        let key = KeyPair::generate()?;
        let certificate = leaf(SystemTime::now())?.signed_by(&key, &issuer)?;
        Ok(Leaf { certificate: certificate.der().to_vec(), key: key.serialize_der() })
    }
}

/// Its subject never changes: certificates name it as their issuer, and the key is found by it.
fn authority(now: SystemTime) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, "ninjaone-proxy local CA");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    parameters.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![
            GeneralSubtree::DnsName("localhost".to_owned()),
            GeneralSubtree::IpAddress(CidrSubnet::V4([127, 0, 0, 1], [255; 4])),
            GeneralSubtree::IpAddress(CidrSubnet::V6(std::net::Ipv6Addr::LOCALHOST.octets(), [255; 16])),
        ],
        excluded_subtrees: Vec::new(),
    });
    (parameters.not_before, parameters.not_after) = ((now - DAY).into(), (now + CA_LIFE).into());
    parameters
}

fn leaf(now: SystemTime) -> Result<CertificateParams, rcgen::Error> {
    let mut parameters = CertificateParams::new(NAMES.map(str::to_owned))?;
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, "localhost");
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    parameters.use_authority_key_identifier_extension = true;
    (parameters.not_before, parameters.not_after) = ((now - DAY).into(), (now + LEAF_LIFE).into());
    Ok(parameters)
}

/// Writes beside the place and renames, so that nobody reads a part of it.
fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let next = path.with_extension(format!("{:08x}", fastrand::u32(..)));
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    let mut file = options.open(&next)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&next, path)
}

#[cfg(test)]
mod tests {
    use x509_parser::prelude::{FromDer, X509Certificate};

    use super::*;

    fn home() -> (tempfile::TempDir, Home) {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Home(Folder::at(folder.path().join("state")));
        home.prepare().expect("a CA");
        (folder, home)
    }

    #[test]
    fn local_ca_is_made_once() {
        let (_folder, home) = home();
        let first = fs::read(home.certificate()).expect("a file");
        home.prepare().expect("a CA");
        assert_eq!(first, fs::read(home.certificate()).expect("a file"));
        assert_eq!(fs::read_dir(home.0.path()).expect("a folder").count(), 2);
    }

    #[cfg(unix)]
    #[test]
    fn local_ca_keeps_its_key_from_others() {
        use std::os::unix::fs::PermissionsExt;
        let (_folder, home) = home();
        let mode = |path: &Path| fs::metadata(path).expect("a file").permissions().mode() & 0o777;
        assert_eq!((mode(home.0.path()), mode(&home.key())), (0o700, 0o600));
    }

    #[test]
    fn local_ca_may_vouch_for_this_machine_only() {
        let (_folder, home) = home();
        let pem = fs::read(home.certificate()).expect("a file");
        let (_, pem) = x509_parser::pem::parse_x509_pem(&pem).expect("PEM");
        let (_, certificate) = X509Certificate::from_der(&pem.contents).expect("a certificate");
        let constraints = certificate.name_constraints().expect("readable").expect("name constraints");
        let (critical, constraints) = (constraints.critical, constraints.value);
        assert!(critical && constraints.excluded_subtrees.is_none());
        assert_eq!(constraints.permitted_subtrees.as_ref().map(Vec::len), Some(3));
    }
}
