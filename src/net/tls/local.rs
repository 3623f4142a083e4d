//! The local CA: made once on this machine, able to vouch for this machine's own names only.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints,
};
use x509_parser::pem::parse_x509_pem;
use zeroize::Zeroizing;

use crate::base::file;
use crate::base::state::{StateFolder, StateFolderError};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// How long a CA is good.
const CA_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// How long a listener's certificate is good.
const LEAF_LIFE: Duration = Duration::from_secs(90 * 24 * 3600);
/// When a listener's certificate is made anew.
pub(super) const RENEWAL: Duration = Duration::from_secs(60 * 24 * 3600);
/// More than a certificate or a key of ours has.
const MAX_FILE: u64 = 64 * 1024;
/// What it vouches for.
pub const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Why there is no local CA.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// Nobody says where state is kept.
    #[error("the local CA cannot be kept: {0}")]
    NoFolder(#[from] StateFolderError),
    /// The system does not let us.
    #[error("the local CA cannot be kept in {}: {cause}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// One of the two files is missing or broken, or they are of two CAs.
    #[error("the local CA in {} cannot be used: {fault}. Remove ca.pem and ca-key.pem there, start again, and have callers trust the new ca.pem", path.display())]
    Broken {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        fault: &'static str,
    },
    /// A certificate cannot be made.
    #[error("the local CA cannot issue a certificate")]
    Issue(#[from] rcgen::Error),
}

/// Where the CA is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalCa(StateFolder);

/// A certificate and its key, in DER.
pub(super) struct Leaf {
    pub(super) certificate: Vec<u8>,
    pub(super) key: Vec<u8>,
}

impl LocalCa {
    /// In the folder for state.
    pub fn find() -> Result<Self, LocalError> {
        Ok(Self(StateFolder::find()?))
    }

    /// The CA's certificate: what callers must trust.
    pub fn certificate(&self) -> PathBuf {
        self.0.path().join("ca.pem")
    }

    pub(super) fn key(&self) -> PathBuf {
        self.0.path().join("ca-key.pem")
    }

    /// Makes the CA if there is none. Several processes may do so at once: one makes it, and the others take it.
    pub(super) fn prepare(&self) -> Result<(), LocalError> {
        // The certificate comes last, so both are there. The folder may be one that cannot be written to.
        if self.read()?.is_some() {
            return Ok(());
        }
        let unkept = |path: &Path| {
            let path = path.to_owned();
            move |cause| LocalError::File { path, cause }
        };
        self.0.make().map_err(unkept(self.0.path()))?;
        let lock = self.0.path().join("ca.lock");
        let _lock = file::lock(&lock).map_err(unkept(&lock))?;
        if self.read()?.is_some() {
            return Ok(());
        }
        // A key alone is what is left when a process ended between the two: nobody has trusted it yet.
        let key = KeyPair::generate()?;
        let certificate = authority(SystemTime::now()).self_signed(&key)?;
        let key_file = self.key();
        let text = Zeroizing::new(key.serialize_pem());
        file::replace(&key_file, text.as_bytes(), 0o600).map_err(unkept(&key_file))?;
        let file = self.certificate();
        file::replace(&file, certificate.pem().as_bytes(), 0o644).map_err(unkept(&file))
    }

    /// Whether the CA that is there, if any, can be used.
    pub(super) fn check(&self) -> Result<(), LocalError> {
        self.read().map(drop)
    }

    /// The CA's key, once it is known to be that of its certificate; `None` if there is no certificate.
    fn read(&self) -> Result<Option<KeyPair>, LocalError> {
        let broken = |fault| LocalError::Broken { path: self.0.path().to_owned(), fault };
        let Some(certificate) = read(&self.certificate())? else { return Ok(None) };
        let text = read(&self.key())?.ok_or_else(|| broken("ca-key.pem, the key of ca.pem, is missing"))?;
        let key = KeyPair::from_pem(&text).map_err(|_| broken("ca-key.pem is not a private key"))?;
        let unreadable = || broken("ca.pem is not a certificate");
        let (_, pem) = parse_x509_pem(certificate.as_bytes()).map_err(|_| unreadable())?;
        let parsed = pem.parse_x509().map_err(|_| unreadable())?;
        if *parsed.public_key().subject_public_key.data != *key.public_key_raw() {
            return Err(broken("ca-key.pem is not the key of ca.pem"));
        }
        Ok(Some(key))
    }

    /// A certificate for this machine's own names. Reads the CA's key, and forgets it again.
    pub(super) fn issue(&self) -> Result<Leaf, LocalError> {
        let missing = || LocalError::Broken { path: self.0.path().to_owned(), fault: "ca.pem is missing" };
        let issuer = Issuer::new(authority(SystemTime::now()), self.read()?.ok_or_else(missing)?);
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

/// The text of a file; `None` if it is not there.
fn read(path: &Path) -> Result<Option<Zeroizing<String>>, LocalError> {
    match file::read_text(path, MAX_FILE) {
        Ok(text) => Ok(Some(Zeroizing::new(text))),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(LocalError::File { path: path.to_owned(), cause }),
    }
}

#[cfg(test)]
mod tests {
    use x509_parser::prelude::{FromDer, ParsedExtension, X509Certificate};

    use std::fs;

    use super::*;

    fn home() -> (tempfile::TempDir, LocalCa) {
        let folder = tempfile::tempdir().expect("a folder");
        let home = LocalCa(StateFolder::at(folder.path().join("state")));
        home.prepare().expect("a CA");
        (folder, home)
    }

    #[test]
    fn local_ca_is_made_once() {
        let (_folder, home) = home();
        let first = fs::read(home.certificate()).expect("a file");
        home.prepare().expect("a CA");
        assert_eq!(first, fs::read(home.certificate()).expect("a file"));
        assert_eq!(fs::read_dir(home.0.path()).expect("a folder").count(), 3);
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

    /// Whether this certificate was issued with the key of that CA.
    fn is_issued_by(leaf: &Leaf, home: &LocalCa) -> bool {
        let pem = fs::read(home.certificate()).expect("a file");
        let (_, pem) = parse_x509_pem(&pem).expect("PEM");
        let ca = pem.parse_x509().expect("a certificate");
        let (_, own) = X509Certificate::from_der(&leaf.certificate).expect("a certificate");
        let issuer = own.extensions().iter().find_map(|extension| {
            let ParsedExtension::AuthorityKeyIdentifier(id) = extension.parsed_extension() else { return None };
            id.key_identifier.as_ref().map(|id| id.0)
        });
        let subject = ca.extensions().iter().find_map(|extension| {
            let ParsedExtension::SubjectKeyIdentifier(id) = extension.parsed_extension() else { return None };
            Some(id.0)
        });
        subject.is_some() && issuer == subject
    }

    #[test]
    fn local_ca_is_one_however_many_processes_make_it_at_once() {
        for round in 0..25 {
            let folder = tempfile::tempdir().expect("a folder");
            let home = LocalCa(StateFolder::at(folder.path().join("state")));
            let begin = std::sync::Barrier::new(4);
            let leaves: Vec<Leaf> = std::thread::scope(|scope| {
                let make = || {
                    begin.wait();
                    home.prepare().expect("a CA");
                    home.issue().expect("a certificate")
                };
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(make)).collect();
                threads.into_iter().map(|thread| thread.join().expect("an end")).collect()
            });
            assert!(leaves.iter().all(|leaf| is_issued_by(leaf, &home)), "round {round}");
        }
    }

    #[test]
    fn local_ca_whose_files_do_not_belong_together_is_refused_and_a_key_alone_is_made_anew() {
        let (_folder, home) = home();
        let (_other_folder, other) = super::tests::home();
        let said = |home: &LocalCa| {
            let all = [home.check(), home.prepare(), home.issue().map(drop)];
            all.map(|result| result.expect_err("a broken CA").to_string()).first().expect("one").clone()
        };
        fs::copy(other.certificate(), home.certificate()).expect("a copy");
        let error = said(&home);
        assert!(error.contains("ca-key.pem is not the key of ca.pem. Remove ca.pem and ca-key.pem there"), "{error}");
        fs::write(home.certificate(), "nonsense").expect("a file");
        assert!(said(&home).contains("ca.pem is not a certificate"));
        fs::write(home.key(), "nonsense").expect("a file");
        assert!(said(&home).contains("ca-key.pem is not a private key"));
        fs::remove_file(home.key()).expect("removed");
        assert!(said(&home).contains("ca-key.pem, the key of ca.pem, is missing"));
        fs::copy(other.key(), home.key()).expect("a copy");
        fs::remove_file(home.certificate()).expect("removed");
        home.check().expect("none yet");
        home.prepare().expect("a CA");
        assert!(is_issued_by(&home.issue().expect("a certificate"), &home));
    }
}
