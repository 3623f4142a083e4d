//! The local CA: made on this machine, able to vouch for this machine's own names and for those that listeners intercept.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints,
};
use ring::digest::{SHA256, digest};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::parse_x509_pem;
use zeroize::Zeroizing;

use crate::base::file::{self, Stamp};
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
/// The subject of every local CA.
pub const SUBJECT: &str = "ninjaone-proxy local CA";
/// What it vouches for in any case.
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

/// Where the CA is kept, and what it is to vouch for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalCa {
    folder: StateFolder,
    /// Host names, in addition to [`NAMES`].
    names: Vec<String>,
}

/// A CA that could not vouch for a name, and was made anew: callers must trust the new one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Replaced {
    /// The first name that it could not vouch for.
    pub(super) name: String,
}

/// The CA that is there.
struct KeptCa {
    key: KeyPair,
    /// The host names that it can vouch for, each with the names below it.
    names: Vec<String>,
}

/// A certificate and its key, in DER.
pub(super) struct Leaf {
    pub(super) certificate: Vec<u8>,
    pub(super) key: Vec<u8>,
}

impl LocalCa {
    /// In the folder for state, to vouch for these host names too.
    pub fn find(names: Vec<String>) -> Result<Self, LocalError> {
        Ok(Self { folder: StateFolder::find()?, names })
    }

    /// That of the proxies that commands start for themselves, in a folder of its own: who trusts the other one need
    /// not trust another because of a command. Those who stand in for the same names share it.
    pub fn of_commands(names: Vec<String>) -> Result<Self, LocalError> {
        let known = digest(&SHA256, names.join(" ").as_bytes());
        let known: String = known.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { folder: StateFolder::find()?.commands(&known), names })
    }

    /// The CA's certificate: what callers must trust.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    pub(super) fn key(&self) -> PathBuf {
        self.folder.path().join("ca-key.pem")
    }

    /// The same CA, for the names of another one too.
    #[must_use]
    pub fn with(mut self, other: Self) -> Self {
        self.names.extend(other.names.into_iter().filter(|name| !self.names.contains(name)).collect::<Vec<_>>());
        self
    }

    /// What shows that another process has made it anew.
    pub(super) fn stamp(&self) -> Option<Stamp> {
        Stamp::of(&self.certificate())
    }

    /// What it is to vouch for: names and addresses.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        NAMES.into_iter().chain(self.names.iter().map(String::as_str))
    }

    /// Makes the CA if there is none, or none that can vouch for the names. Several processes may do so at once: one
    /// makes it, and the others take it.
    pub(super) fn prepare(&self) -> Result<Option<Replaced>, LocalError> {
        // The certificate comes last, so both are there. The folder may be one that cannot be written to.
        if self.read()?.is_some_and(|kept| self.missing_in(&kept).is_none()) {
            return Ok(None);
        }
        let unkept = |path: &Path| {
            let path = path.to_owned();
            move |cause| LocalError::File { path, cause }
        };
        self.folder.make().map_err(unkept(self.folder.path()))?;
        let lock = self.folder.path().join("ca.lock");
        let _lock = file::lock(&lock).map_err(unkept(&lock))?;
        let file = self.certificate();
        let mut names = self.names.clone();
        let mut replaced = None;
        if let Some(kept) = self.read()? {
            let Some(missing) = self.missing_in(&kept) else { return Ok(None) };
            replaced = Some(Replaced { name: missing.to_owned() });
            // Other processes may still need what it could vouch for.
            names.extend(kept.names.into_iter().filter(|name| !self.names.contains(name)));
            std::fs::remove_file(&file).map_err(unkept(&file))?;
        }
        // A key alone is what is left when a process ended in between: nobody has trusted it yet.
        let key = KeyPair::generate()?;
        let certificate = authority(SystemTime::now(), &names).self_signed(&key)?;
        let key_file = self.key();
        let text = Zeroizing::new(key.serialize_pem());
        file::replace(&key_file, text.as_bytes(), 0o600).map_err(unkept(&key_file))?;
        file::replace(&file, certificate.pem().as_bytes(), 0o644).map_err(unkept(&file))?;
        Ok(replaced)
    }

    /// Whether the CA that is there, if any, can be used, or made anew where it cannot vouch for a name.
    pub fn check(&self) -> Result<(), LocalError> {
        self.read().map(drop)
    }

    /// The first name that the CA cannot vouch for.
    fn missing_in(&self, kept: &KeptCa) -> Option<&str> {
        let covered = |name: &str| {
            let below = |kept: &String| name.strip_suffix(kept.as_str()).is_some_and(|rest| rest.ends_with('.'));
            kept.names.iter().any(|kept| kept == name || below(kept))
        };
        self.names.iter().map(String::as_str).find(|name| !covered(name))
    }

    /// The CA, once its key is known to be that of its certificate; `None` if there is no certificate.
    fn read(&self) -> Result<Option<KeptCa>, LocalError> {
        let broken = |fault| LocalError::Broken { path: self.folder.path().to_owned(), fault };
        let Some(certificate) = read(&self.certificate())? else { return Ok(None) };
        let text = read(&self.key())?.ok_or_else(|| broken("ca-key.pem, the key of ca.pem, is missing"))?;
        let key = KeyPair::from_pem(&text).map_err(|_| broken("ca-key.pem is not a private key"))?;
        let unreadable = || broken("ca.pem is not a certificate");
        let (_, pem) = parse_x509_pem(certificate.as_bytes()).map_err(|_| unreadable())?;
        let parsed = pem.parse_x509().map_err(|_| unreadable())?;
        if *parsed.public_key().subject_public_key.data != *key.public_key_raw() {
            return Err(broken("ca-key.pem is not the key of ca.pem"));
        }
        Ok(Some(KeptCa { key, names: permitted(&parsed) }))
    }

    /// A certificate for what the CA is to vouch for. Reads the CA's key, and forgets it again.
    pub(super) fn issue(&self) -> Result<Leaf, LocalError> {
        let missing = || LocalError::Broken { path: self.folder.path().to_owned(), fault: "ca.pem is missing" };
        let KeptCa { key: authority_key, names } = self.read()?.ok_or_else(missing)?;
        let issuer = Issuer::new(authority(SystemTime::now(), &names), authority_key);
        let key = KeyPair::generate()?;
        let names = self.names().map(str::to_owned).collect();
        let certificate = leaf(SystemTime::now(), names)?.signed_by(&key, &issuer)?;
        Ok(Leaf { certificate: certificate.der().to_vec(), key: key.serialize_der() })
    }
}

/// The host names below which a CA may vouch, without `localhost`.
fn permitted(authority: &X509Certificate<'_>) -> Vec<String> {
    let constraints = authority.name_constraints().ok().flatten();
    let subtrees = constraints.and_then(|found| found.value.permitted_subtrees.as_ref()).into_iter().flatten();
    let host = |name: &GeneralName<'_>| {
        let GeneralName::DNSName(name) = name else { return None };
        (!NAMES.contains(name)).then(|| (*name).to_owned())
    };
    subtrees.filter_map(|subtree| host(&subtree.base)).collect()
}

/// Its subject never changes: certificates name it as their issuer, and the key is found by it.
fn authority(now: SystemTime, names: &[String]) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, SUBJECT);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let mut permitted = vec![
        GeneralSubtree::DnsName("localhost".to_owned()),
        GeneralSubtree::IpAddress(CidrSubnet::V4([127, 0, 0, 1], [255; 4])),
        GeneralSubtree::IpAddress(CidrSubnet::V6(std::net::Ipv6Addr::LOCALHOST.octets(), [255; 16])),
    ];
    permitted.extend(names.iter().cloned().map(GeneralSubtree::DnsName));
    parameters.name_constraints =
        Some(NameConstraints { permitted_subtrees: permitted, excluded_subtrees: Vec::new() });
    (parameters.not_before, parameters.not_after) = ((now - DAY).into(), (now + CA_LIFE).into());
    parameters
}

fn leaf(now: SystemTime, names: Vec<String>) -> Result<CertificateParams, rcgen::Error> {
    let mut parameters = CertificateParams::new(names)?;
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

    fn at(folder: &tempfile::TempDir, names: &[&str]) -> LocalCa {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        LocalCa { folder: StateFolder::at(folder.path().join("state")), names }
    }

    fn home() -> (tempfile::TempDir, LocalCa) {
        let folder = tempfile::tempdir().expect("a folder");
        let home = at(&folder, &[]);
        home.prepare().expect("a CA");
        (folder, home)
    }

    #[test]
    fn local_ca_is_made_once() {
        let (_folder, home) = home();
        let first = fs::read(home.certificate()).expect("a file");
        home.prepare().expect("a CA");
        assert_eq!(first, fs::read(home.certificate()).expect("a file"));
        assert_eq!(fs::read_dir(home.folder.path()).expect("a folder").count(), 3);
    }

    #[cfg(unix)]
    #[test]
    fn local_ca_keeps_its_key_from_others() {
        use std::os::unix::fs::PermissionsExt;
        let (_folder, home) = home();
        let mode = |path: &Path| fs::metadata(path).expect("a file").permissions().mode() & 0o777;
        assert_eq!((mode(home.folder.path()), mode(&home.key())), (0o700, 0o600));
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
            let home = at(&folder, &[]);
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
            let all = [home.check(), home.prepare().map(drop), home.issue().map(drop)];
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

    /// What the certificate that was issued last says.
    fn names_of(leaf: &Leaf) -> Vec<String> {
        super::super::certificate::alternative_names(&leaf.certificate)
    }

    #[test]
    fn local_ca_that_cannot_vouch_for_a_name_is_made_anew_once_and_keeps_what_it_could() {
        let (folder, plain) = home();
        let first = fs::read(plain.certificate()).expect("a file");
        let eu = at(&folder, &["eu.ninjarmm.com"]);
        assert_eq!(eu.prepare().expect("a CA"), Some(Replaced { name: "eu.ninjarmm.com".to_owned() }));
        let second = fs::read(eu.certificate()).expect("a file");
        assert_ne!(first, second);
        let leaf = eu.issue().expect("a certificate");
        assert!(is_issued_by(&leaf, &eu));
        assert_eq!(names_of(&leaf), ["localhost", "127.0.0.1", "::1", "eu.ninjarmm.com"]);
        // Others that need no more, or what lies below, take it as it is.
        for names in [&["eu.ninjarmm.com"][..], &["api.eu.ninjarmm.com"], &[]] {
            assert_eq!(at(&folder, names).prepare().expect("a CA"), None, "{names:?}");
        }
        assert_eq!(second, fs::read(eu.certificate()).expect("a file"));
        // A name that only ends alike is another one.
        for name in ["xeu.ninjarmm.com", "ninjarmm.com", "ninjarmm.example"] {
            let other = at(&folder, &[name]);
            assert_eq!(other.prepare().expect("a CA"), Some(Replaced { name: name.to_owned() }));
        }
        let all = plain.read().expect("readable").expect("a CA").names;
        assert_eq!(all, ["ninjarmm.example", "ninjarmm.com", "xeu.ninjarmm.com", "eu.ninjarmm.com"]);
        assert_eq!(eu.prepare().expect("a CA"), None);
    }

    #[test]
    fn local_ca_is_made_anew_after_a_process_ended_while_it_replaced_it() {
        let (folder, plain) = home();
        fs::remove_file(plain.certificate()).expect("removed");
        let eu = at(&folder, &["eu.ninjarmm.com"]);
        eu.check().expect("none yet");
        assert_eq!(eu.prepare().expect("a CA"), None, "nobody could trust the one before");
        assert!(is_issued_by(&eu.issue().expect("a certificate"), &eu));
    }
}
