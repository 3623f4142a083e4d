//! A caller's certificate, once the handshake has verified it.

use std::fmt;
use std::net::IpAddr;

use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Who a caller is by TLS; made of a certificate that a trusted CA issued and that is valid now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    fingerprint: [u8; SHA256_OUTPUT_LEN],
    name: Option<String>,
}

impl Certificate {
    /// `der` must have been verified.
    pub(crate) fn verified(der: &[u8]) -> Self {
        let mut fingerprint = [0; SHA256_OUTPUT_LEN];
        fingerprint.copy_from_slice(digest(&SHA256, der).as_ref());
        let parsed = X509Certificate::from_der(der).ok();
        Self { fingerprint, name: parsed.and_then(|(_, certificate)| name(&certificate)) }
    }

    /// SHA-256 of the whole certificate.
    pub fn fingerprint(&self) -> [u8; SHA256_OUTPUT_LEN] {
        self.fingerprint
    }

    /// The subject's common name, else the first DNS name or e-mail address among its alternative names.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

fn name(certificate: &X509Certificate<'_>) -> Option<String> {
    let common = certificate.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
    if let Some(common) = common.filter(|name| !name.is_empty()) {
        return Some(common.to_owned());
    }
    let alternatives = certificate.subject_alternative_name().ok()??;
    alternatives.value.general_names.iter().find_map(|name| match name {
        GeneralName::DNSName(name) | GeneralName::RFC822Name(name) => Some((*name).to_owned()),
        GeneralName::OtherName(..)
        | GeneralName::X400Address(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EDIPartyName(_)
        | GeneralName::URI(_)
        | GeneralName::IPAddress(_)
        | GeneralName::RegisteredID(_)
        | GeneralName::Invalid(..) => None,
    })
}

/// The DNS names and IP addresses among the subject alternative names; the subject itself is not a name of a server
/// (RFC 6125 section 6.4.4).
pub(crate) fn alternative_names(der: &[u8]) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else { return Vec::new() };
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    names.value.general_names.iter().filter_map(server_name).collect()
}

fn server_name(name: &GeneralName<'_>) -> Option<String> {
    if let GeneralName::DNSName(name) = name {
        return Some((*name).to_owned());
    }
    let GeneralName::IPAddress(bytes) = name else { return None };
    let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from)).ok().map(|ip| ip.to_string())
}

/// For the log.
impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} sha256=", self.name.as_deref().unwrap_or_default())?;
        self.fingerprint.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

    use super::*;

    fn certificate(common: Option<&str>, alternatives: &[&str]) -> Certificate {
        let names: Vec<String> = alternatives.iter().map(|&name| name.to_owned()).collect();
        let mut parameters = CertificateParams::new(names).expect("parameters");
        parameters.distinguished_name = DistinguishedName::new();
        if let Some(common) = common {
            parameters.distinguished_name.push(DnType::CommonName, common);
        }
        let made = parameters.self_signed(&KeyPair::generate().expect("a key")).expect("a certificate");
        Certificate::verified(made.der())
    }

    #[test]
    fn certificate_has_a_name_and_a_fingerprint() {
        assert_eq!(certificate(Some("backup"), &["a.example"]).name(), Some("backup"));
        assert_eq!(certificate(None, &["127.0.0.1", "a.example"]).name(), Some("a.example"));
        assert_eq!(certificate(None, &[]).name(), None);
        let shown = certificate(None, &[]).to_string();
        let (_, fingerprint) = shown.split_once("sha256=").expect("a fingerprint");
        assert!(fingerprint.len() == 64 && fingerprint.bytes().all(|digit| digit.is_ascii_hexdigit()));
    }
}
