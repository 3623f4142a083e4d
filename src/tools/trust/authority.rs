//! The certificate of the local CA as others see it, once it is known to be able to vouch for a few names only.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ring::digest::{Algorithm, SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, GeneralSubtree};
use x509_parser::pem::parse_x509_pem;
use x509_parser::time::ASN1Time;

use crate::base::file;
use crate::net::tls::local::SUBJECT;
use crate::net::tls::pem;

/// More than a certificate has.
const MAX_FILE: u64 = 64 * 1024;

/// Why a file is not the certificate of a local CA.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The system does not let us read it.
    #[error("{} cannot be read: {cause}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// It is something else, or can vouch for more than a local CA does.
    #[error("{} is not the certificate of a local CA: {fault}", path.display())]
    Other {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        fault: &'static str,
    },
}

/// The certificate of a local CA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityCertificate {
    der: Vec<u8>,
    names: Vec<String>,
    not_before: SystemTime,
    not_after: SystemTime,
}

impl AuthorityCertificate {
    /// Reads it; `None` if there is none.
    pub fn read(path: &Path) -> Result<Option<Self>, AuthorityError> {
        let text = match file::read_text(path, MAX_FILE) {
            Ok(text) => text,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(AuthorityError::Unreadable { path: path.to_owned(), cause }),
        };
        let judged = Self::parse(&text);
        judged.map(Some).map_err(|fault| AuthorityError::Other { path: path.to_owned(), fault })
    }

    /// A process that can write the state folder can put another file there. A store gets nothing that could vouch for more than
    /// the names that it shows, so every certificate that is not limited as ours are is refused.
    fn parse(text: &str) -> Result<Self, &'static str> {
        let unreadable = "it is not a certificate in PEM form";
        let (rest, pem) = parse_x509_pem(text.as_bytes()).map_err(|_| unreadable)?;
        if !rest.trim_ascii().is_empty() {
            return Err("it holds more than one certificate");
        }
        let certificate = pem.parse_x509().map_err(|_| unreadable)?;
        let subject = certificate.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
        if subject != Some(SUBJECT) {
            return Err("its subject is another one");
        }
        let names = names(&certificate)?;
        let (not_before, not_after) = (moment(certificate.validity.not_before), moment(certificate.validity.not_after));
        Ok(Self { names, not_before, not_after, der: pem.contents })
    }

    /// The names and addresses that it can vouch for; of names also those below them.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// From when it is valid.
    pub fn not_before(&self) -> SystemTime {
        self.not_before
    }

    /// Until when it is valid.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// SHA-256 of the whole certificate, as browsers show it: `AB:CD:...`.
    pub fn sha256(&self) -> String {
        self.fingerprint(&SHA256, ":")
    }

    /// By which macOS and Windows find it again; nothing is proven by it.
    pub(super) fn sha1(&self) -> String {
        self.fingerprint(&SHA1_FOR_LEGACY_USE_ONLY, "")
    }

    fn fingerprint(&self, algorithm: &'static Algorithm, between: &str) -> String {
        let digest = digest(algorithm, &self.der);
        digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(between)
    }

    /// In PEM form: what was judged, and nothing else that the file had.
    pub fn pem(&self) -> String {
        pem::block(&CertificateDer::from(self.der.as_slice()))
    }
}

/// What it can vouch for by its name constraints.
fn names(certificate: &X509Certificate<'_>) -> Result<Vec<String>, &'static str> {
    let basic = certificate.basic_constraints().ok().flatten().map(|basic| basic.value);
    if basic.is_none_or(|basic| !basic.ca || basic.path_len_constraint != Some(0)) {
        return Err("it is not a CA that can issue certificates of servers only");
    }
    let constraints = certificate.name_constraints().ok().flatten();
    let unlimited = "nothing limits the names that it can vouch for";
    let constraints = constraints.filter(|constraints| constraints.critical).ok_or(unlimited)?.value;
    let permitted = constraints.permitted_subtrees.as_ref().filter(|permitted| !permitted.is_empty());
    let permitted = permitted.ok_or(unlimited)?;
    let names: Vec<String> = permitted.iter().map(name).collect::<Option<_>>().ok_or(unlimited)?;
    // A kind of name without a permitted subtree is not limited at all (RFC 5280 section 4.2.1.10).
    let has = |kind: fn(&GeneralName<'_>) -> bool| permitted.iter().any(|subtree| kind(&subtree.base));
    if !has(|name| matches!(name, GeneralName::DNSName(_))) || !has(|name| matches!(name, GeneralName::IPAddress(_))) {
        return Err(unlimited);
    }
    Ok(names)
}

/// A host name of two labels or more, `localhost`, or a single address; `None` for what would be many hosts.
fn name(subtree: &GeneralSubtree<'_>) -> Option<String> {
    if let GeneralName::DNSName(name) = subtree.base {
        let inner = name.len() > 2 && name.get(1..name.len() - 1).is_some_and(|inner| inner.contains('.'));
        let is_host = (inner && !name.starts_with('.') && !name.ends_with('.')) || name == "localhost";
        return is_host.then(|| name.to_owned());
    }
    // An address and its mask.
    let GeneralName::IPAddress(bytes) = subtree.base else { return None };
    let (address, mask) = bytes.split_at_checked(bytes.len() / 2)?;
    if mask.iter().any(|byte| *byte != u8::MAX) {
        return None;
    }
    let v4 = <[u8; 4]>::try_from(address).map(|bytes| Ipv4Addr::from(bytes).to_string());
    v4.or_else(|_| <[u8; 16]>::try_from(address).map(|bytes| Ipv6Addr::from(bytes).to_string())).ok()
}

/// A moment before 1970 is none that matters.
fn moment(time: ASN1Time) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or_default())
}

#[cfg(test)]
pub(super) mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType, GeneralSubtree, IsCa, KeyPair,
        NameConstraints,
    };

    use super::*;

    /// A CA like ours.
    fn parameters(names: &[&str]) -> CertificateParams {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = DistinguishedName::new();
        parameters.distinguished_name.push(DnType::CommonName, SUBJECT);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let names = names.iter().map(|&name| GeneralSubtree::DnsName(name.to_owned()));
        let address = GeneralSubtree::IpAddress(CidrSubnet::V4([127, 0, 0, 1], [255; 4]));
        let permitted_subtrees = names.chain([address]).collect();
        parameters.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees: Vec::new() });
        parameters
    }

    fn pem(parameters: &CertificateParams) -> String {
        parameters.self_signed(&KeyPair::generate().expect("a key")).expect("a certificate").pem()
    }

    /// A certificate of a local CA that can vouch for `localhost`; each call makes another one.
    pub(in crate::tools::trust) fn authority() -> AuthorityCertificate {
        AuthorityCertificate::parse(&pem(&parameters(&["localhost"]))).expect("a local CA")
    }

    /// The same, changed.
    fn but(change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
        let mut parameters = parameters(&["localhost"]);
        change(&mut parameters);
        parameters
    }

    fn permitting(permitted_subtrees: Vec<GeneralSubtree>) -> CertificateParams {
        let constraints = NameConstraints { permitted_subtrees, excluded_subtrees: Vec::new() };
        but(|parameters| parameters.name_constraints = Some(constraints))
    }

    #[test]
    fn local_ca_says_what_it_can_vouch_for() {
        let text = pem(&parameters(&["localhost", "eu.ninjarmm.com"]));
        let certificate = AuthorityCertificate::parse(&text).expect("a local CA");
        assert_eq!(certificate.names(), ["localhost", "eu.ninjarmm.com", "127.0.0.1"]);
        assert_eq!(certificate.sha256().len(), 32 * 3 - 1);
        assert_eq!(certificate.sha1().len(), 40);
        assert!(certificate.not_before() < certificate.not_after());
        let again = AuthorityCertificate::parse(&certificate.pem()).expect("a local CA");
        assert_eq!(again, certificate);
    }

    #[test]
    fn only_the_certificate_is_taken_from_a_file() {
        let text = pem(&parameters(&["localhost"]));
        let certificate = AuthorityCertificate::parse(&format!("# a note\n{text}\n")).expect("a local CA");
        assert!(certificate.pem().starts_with("-----BEGIN CERTIFICATE-----\n"), "{}", certificate.pem());
        assert!(!certificate.pem().contains("note"));
        let two = format!("{text}{}", pem(&CertificateParams::default()));
        assert_eq!(AuthorityCertificate::parse(&two), Err("it holds more than one certificate"));
    }

    #[test]
    fn certificate_that_could_vouch_for_more_is_refused() {
        let unlimited = "nothing limits the names that it can vouch for";
        let dns = |name: &str| GeneralSubtree::DnsName(name.to_owned());
        let address = || GeneralSubtree::IpAddress(CidrSubnet::V4([127, 0, 0, 1], [255; 4]));
        let wide = GeneralSubtree::IpAddress(CidrSubnet::V4([10, 0, 0, 0], [255, 0, 0, 0]));
        let issuer = "it is not a CA that can issue certificates of servers only";
        for (parameters, fault) in [
            (but(|parameters| parameters.name_constraints = None), unlimited),
            (permitting(vec![dns("com"), address()]), unlimited),
            (permitting(vec![dns(""), address()]), unlimited),
            (permitting(vec![dns(".com"), address()]), unlimited),
            (permitting(vec![dns("com."), address()]), unlimited),
            (permitting(vec![dns("localhost"), wide]), unlimited),
            (permitting(vec![dns("localhost")]), unlimited),
            (permitting(vec![address()]), unlimited),
            (but(|parameters| parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)), issuer),
            (but(|parameters| parameters.is_ca = IsCa::ExplicitNoCa), issuer),
            (but(|parameters| parameters.distinguished_name = DistinguishedName::new()), "its subject is another one"),
        ] {
            assert_eq!(AuthorityCertificate::parse(&pem(&parameters)), Err(fault), "{parameters:?}");
        }
        assert_eq!(AuthorityCertificate::parse("nonsense"), Err("it is not a certificate in PEM form"));
    }

    #[test]
    fn missing_file_is_no_certificate_and_another_one_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ca.pem");
        assert!(matches!(AuthorityCertificate::read(&path), Ok(None)));
        std::fs::write(&path, "nonsense").expect("a file");
        let said = AuthorityCertificate::read(&path).expect_err("no certificate").to_string();
        assert!(said.ends_with("ca.pem is not the certificate of a local CA: it is not a certificate in PEM form"));
        let said = AuthorityCertificate::read(folder.path()).expect_err("a folder").to_string();
        assert!(said.contains("cannot be read: "), "{said}");
    }
}
