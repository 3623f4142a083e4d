//! The judge of an instance's certificate: a chain to a root, or exactly a certificate of `ca-file`.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

/// Trusts a chain to a root. A server that shows exactly a certificate of `ca-file`, to the byte, is trusted without a
/// chain: tools make certificates for one server that are marked as a CA's, and no chain may end in those. Its names, its
/// time and its purpose are checked all the same, and the handshake proves that the server has its key.
#[derive(Debug)]
pub(crate) struct ServerVerifier {
    chain: Arc<WebPkiServerVerifier>,
    pinned: Arc<[CertificateDer<'static>]>,
}

/// A server shows the certificate of a CA as its own, and it is not one of `ca-file`.
#[derive(Debug, thiserror::Error)]
#[error(
    "the server's certificate is marked as that of a CA (CA:TRUE): give exactly this certificate as ca-file, or have the server use one without that mark"
)]
pub struct CaAsServer;

impl ServerVerifier {
    pub(super) fn new(chain: Arc<WebPkiServerVerifier>, pinned: Arc<[CertificateDer<'static>]>) -> Self {
        Self { chain, pinned }
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.chain.verify_server_cert(leaf, rest, name, ocsp, now) {
            Ok(verified) => Ok(verified),
            Err(_) if self.pinned.iter().any(|pinned| pinned.as_ref() == leaf.as_ref()) => of_pinned(leaf, name, now),
            Err(Error::InvalidCertificate(CertificateError::Other(other))) => Err(of_other(leaf, other)),
            Err(error) => Err(error),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, leaf, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, leaf, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// What is checked of a certificate that is trusted by itself.
fn of_pinned(leaf: &CertificateDer<'_>, name: &ServerName<'_>, now: UnixTime) -> Result<ServerCertVerified, Error> {
    let read = parsed(leaf).ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))?;
    let (begins, ends) = (read.validity().not_before.timestamp(), read.validity().not_after.timestamp());
    let time =
        |seconds: i64| UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds.try_into().unwrap_or(0)));
    let (not_before, not_after) = (time(begins), time(ends));
    if now.as_secs() < not_before.as_secs() {
        return Err(CertificateError::NotValidYetContext { time: now, not_before }.into());
    }
    if ends < 0 || now.as_secs() > not_after.as_secs() {
        return Err(CertificateError::ExpiredContext { time: now, not_after }.into());
    }
    let purposes = read.extended_key_usage().map_err(|_| CertificateError::BadEncoding)?;
    if purposes.is_some_and(|purposes| !purposes.value.any && !purposes.value.server_auth) {
        return Err(CertificateError::InvalidPurpose.into());
    }
    verify_server_name(&ParsedCertificate::try_from(leaf)?, name)?;
    Ok(ServerCertVerified::assertion())
}

/// An error that rustls has no name for.
fn of_other(leaf: &CertificateDer<'_>, other: OtherError) -> Error {
    let is_ca = parsed(leaf).is_some_and(|leaf| leaf.is_ca());
    let other = if is_ca { OtherError(Arc::new(CaAsServer)) } else { other };
    Error::InvalidCertificate(CertificateError::Other(other))
}

fn parsed<'a>(leaf: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    X509Certificate::from_der(leaf).ok().map(|(_, read)| read)
}

/// What an error of TLS is about, as far as it decides what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsProblem {
    /// No trusted CA has issued the certificate.
    UnknownIssuer,
    /// The certificate is that of a CA.
    IsCa,
    /// The certificate is wrong otherwise: its names, its time, its form.
    Certificate,
    /// The server does not speak TLS.
    NoTls,
    /// The server refuses us.
    Alert,
    /// Anything else.
    Other,
}

impl TlsProblem {
    /// Of this error.
    pub fn of(error: &Error) -> Self {
        if let Error::InvalidCertificate(reason) = error {
            let is_ca = matches!(reason, CertificateError::Other(other) if other.0.is::<CaAsServer>());
            return match reason == &CertificateError::UnknownIssuer {
                true => Self::UnknownIssuer,
                false if is_ca => Self::IsCa,
                false => Self::Certificate,
            };
        }
        if matches!(error, Error::InvalidMessage(_)) {
            Self::NoTls
        } else if matches!(error, Error::AlertReceived(_)) {
            Self::Alert
        } else {
            Self::Other
        }
    }
}

/// What an error of TLS says, in words.
pub fn in_words(error: &Error) -> String {
    let reason = if let Error::InvalidCertificate(reason) = error { Some(reason) } else { None };
    if let Some(CertificateError::NotValidForNameContext { expected, presented }) = reason {
        return of_other_name(&expected.to_str(), presented);
    }
    match TlsProblem::of(error) {
        TlsProblem::UnknownIssuer => "its certificate is not issued by a CA that is trusted here".to_owned(),
        TlsProblem::IsCa => CaAsServer.to_string(),
        TlsProblem::NoTls => "what answered does not speak TLS, perhaps plain HTTP".to_owned(),
        TlsProblem::Certificate if matches!(reason, Some(CertificateError::BadEncoding)) => {
            "its certificate is malformed".to_owned()
        }
        TlsProblem::Certificate if matches!(reason, Some(CertificateError::BadSignature)) => {
            "the signature of its certificate is wrong".to_owned()
        }
        TlsProblem::Certificate if matches!(reason, Some(CertificateError::Other(_))) => {
            "its certificate may not be used by a server".to_owned()
        }
        // These have words of their own.
        TlsProblem::Certificate | TlsProblem::Alert | TlsProblem::Other => {
            reason.map_or_else(|| error.to_string(), ToString::to_string)
        }
    }
}

/// A certificate that is not valid for name `expected`, but for these.
fn of_other_name(expected: &str, presented: &[String]) -> String {
    // Each comes in a form for debugging: DnsName("a.example"), IpAddress(192.0.2.1).
    let plain = |name: &String| {
        let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(name);
        inner.trim_matches('"').to_owned()
    };
    let names: Vec<_> = presented.iter().take(3).map(plain).collect();
    match names.as_slice() {
        [] => format!("its certificate is not valid for name {expected}, and has no other"),
        [name] if !name.contains('*') => {
            format!("its certificate is not valid for name {expected}, it is for {name}: write that as host")
        }
        names => format!("its certificate is not valid for name {expected}, it is for {}", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa as Marked, KeyPair};
    use rustls::RootCertStore;

    use super::*;
    use crate::net::tls::provider;

    const NOW: u64 = 1_800_000_000;
    const DAY: u64 = 24 * 3600;

    /// A self-signed certificate as `openssl req -x509` makes it, changed by this.
    fn certificate(key: &KeyPair, change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
        let mut parameters = CertificateParams::new(vec!["a.example".to_owned()]).expect("parameters");
        parameters.distinguished_name.push(DnType::CommonName, "a.example");
        parameters.is_ca = Marked::Ca(BasicConstraints::Unconstrained);
        parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(2040, 1, 1);
        change(&mut parameters);
        parameters.self_signed(key).expect("a certificate").der().clone()
    }

    fn key() -> KeyPair {
        KeyPair::generate().expect("a key")
    }

    /// Trusts these as roots, and pins them as those of `ca-file` are.
    fn judge(pinned: &[&CertificateDer<'static>]) -> ServerVerifier {
        let mut roots = RootCertStore::empty();
        for certificate in pinned {
            roots.add((*certificate).clone()).expect("a root");
        }
        let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build().expect("a judge");
        ServerVerifier::new(chain, pinned.iter().map(|certificate| (*certificate).clone()).collect())
    }

    fn verdict(
        judge: &ServerVerifier,
        leaf: &CertificateDer<'_>,
        name: &'static str,
        now: u64,
    ) -> Result<(), CertificateError> {
        let (name, now) = (ServerName::try_from(name).expect("a name"), Duration::from_secs(now));
        match judge.verify_server_cert(leaf, &[], &name, &[], UnixTime::since_unix_epoch(now)) {
            Ok(_) => Ok(()),
            Err(Error::InvalidCertificate(reason)) => Err(reason),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn judge_trusts_exactly_a_certificate_of_ca_file_for_its_names_and_in_its_time() {
        let leaf = certificate(&key(), |_| ());
        let judge = judge(&[&leaf]);
        assert_eq!(verdict(&judge, &leaf, "a.example", NOW), Ok(()));
        assert!(matches!(
            verdict(&judge, &leaf, "b.example", NOW),
            Err(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. })
        ));
        let (begin, end) = (1_577_836_800, 2_208_988_800);
        for (now, good) in [(begin - 1, false), (begin, true), (end, true), (end + 1, false), (end + 400 * DAY, false)]
        {
            assert_eq!(verdict(&judge, &leaf, "a.example", now).is_ok(), good, "{now}");
        }
        assert!(matches!(
            verdict(&judge, &leaf, "a.example", end + 1),
            Err(CertificateError::ExpiredContext { .. } | CertificateError::Expired)
        ));
    }

    #[test]
    fn judge_does_not_trust_another_certificate_that_looks_the_same() {
        let own = key();
        let leaf = certificate(&own, |_| ());
        let judge = judge(&[&leaf]);
        for (other, what) in [
            (certificate(&key(), |_| ()), "another key with the same subject"),
            (certificate(&own, |made| made.serial_number = Some(7_u64.into())), "the same key in another certificate"),
            (certificate(&own, |made| made.not_after = rcgen::date_time_ymd(2050, 1, 1)), "the same key, a later end"),
        ] {
            let refused = verdict(&judge, &other, "a.example", NOW).expect_err(what);
            assert!(
                matches!(&refused, CertificateError::Other(other) if other.0.is::<CaAsServer>()),
                "{what}: {refused:?}"
            );
            assert!(in_words(&Error::InvalidCertificate(refused)).contains("CA:TRUE"), "{what}");
        }
    }

    #[test]
    fn judge_trusts_no_other_purpose_and_no_certificate_that_is_a_root_only() {
        let client = certificate(&key(), |made| made.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]);
        let pinned = judge(&[&client]);
        assert!(matches!(
            verdict(&pinned, &client, "a.example", NOW),
            Err(CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. })
        ));
        // As a root of the system, which is not pinned.
        let leaf = certificate(&key(), |_| ());
        let of_system = ServerVerifier { pinned: Arc::from([]), ..judge(&[&leaf]) };
        assert!(verdict(&of_system, &leaf, "a.example", NOW).is_err());
    }

    #[test]
    fn judge_trusts_a_chain_to_a_root_as_ever() {
        let ca_key = key();
        let mut ca = CertificateParams::new(Vec::<String>::new()).expect("parameters");
        ca.is_ca = Marked::Ca(BasicConstraints::Unconstrained);
        let ca = rcgen::CertifiedIssuer::self_signed(ca, ca_key).expect("a CA");
        let leaf_key = key();
        let leaf = CertificateParams::new(vec!["a.example".to_owned()]).expect("parameters");
        let leaf = leaf.signed_by(&leaf_key, &ca).expect("a certificate").der().clone();
        let judge = judge(&[ca.der()]);
        assert_eq!(verdict(&judge, &leaf, "a.example", NOW), Ok(()));
        assert!(verdict(&judge, &leaf, "b.example", NOW).is_err());
        assert!(matches!(
            verdict(&judge, &certificate(&key(), |made| made.is_ca = Marked::NoCa), "a.example", NOW),
            Err(CertificateError::UnknownIssuer)
        ));
    }
}
