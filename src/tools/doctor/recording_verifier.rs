//! What doctor says about a server certificate that is expired, for another name, or not trusted, and the fix.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

use super::certificate::CertificateFacts;
use crate::net::tls::server_verifier::{CaAsServer, ServerVerifier, in_words};

/// A judge that trusts exactly what rustls trusts, and keeps what was presented: a failed handshake leaves nothing.
#[derive(Debug)]
pub(super) struct RecordingVerifier {
    judge: Arc<ServerVerifier>,
    seen: Mutex<Option<PresentedChain>>,
}

/// What the server presented, and the verdict on it.
#[derive(Debug)]
pub(super) struct PresentedChain {
    pub(super) leaf: Option<CertificateFacts>,
    /// Who signed the last certificate of the chain.
    root: Option<String>,
    verdict: Option<Error>,
}

impl RecordingVerifier {
    pub(super) fn new(judge: Arc<ServerVerifier>) -> Self {
        Self { judge, seen: Mutex::default() }
    }

    /// What was seen last, if a handshake came that far.
    pub(super) fn take(&self) -> Option<PresentedChain> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl ServerCertVerifier for RecordingVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verdict = self.judge.verify_server_cert(leaf, rest, name, ocsp, now);
        let root = CertificateFacts::read(rest.last().unwrap_or(leaf)).map(|facts| facts.issuer);
        let presented =
            PresentedChain { leaf: CertificateFacts::read(leaf), root, verdict: verdict.as_ref().err().cloned() };
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(presented);
        verdict
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.judge.verify_tls12_signature(message, leaf, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.judge.verify_tls13_signature(message, leaf, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.judge.supported_verify_schemes()
    }
}

impl PresentedChain {
    /// Why the server is not trusted and what to do about it; `None` if its certificate is not the reason.
    pub(super) fn complaint(&self, host: &str, trust: &str) -> Option<(String, String)> {
        let verdict = self.verdict.as_ref()?;
        let Some(leaf) = &self.leaf else {
            return Some((format!("the certificate cannot be read: {verdict}"), cure_other(host)));
        };
        let Error::InvalidCertificate(reason) = verdict else {
            return Some((format!("{}; {leaf}", in_words(verdict)), cure_other(host)));
        };
        Some(self.explain(leaf, reason, host, trust))
    }

    fn explain(&self, leaf: &CertificateFacts, reason: &CertificateError, host: &str, trust: &str) -> (String, String) {
        if matches!(reason, CertificateError::UnknownIssuer) {
            let root = self.root.as_deref().unwrap_or(&leaf.issuer);
            let detail = format!("issued by {root}, which none of the trusted roots has signed ({trust}); {leaf}");
            return (detail, cure_unknown_issuer(host, root));
        }
        let expired = matches!(reason, CertificateError::Expired | CertificateError::ExpiredContext { .. });
        if expired && leaf.days_left >= 0 {
            let fix = "have the server send valid intermediate certificates; check this machine's clock too (NTP)";
            return (format!("a certificate above its own has expired; {leaf}"), fix.to_owned());
        }
        if expired {
            let fix = "renew the server's certificate; if it is not that day yet, set this machine's clock (NTP)";
            return (format!("expired on {}; {leaf}", leaf.ends), fix.to_owned());
        }
        if matches!(reason, CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }) {
            let fix = "set this machine's clock (NTP); if it is right, the server's certificate came too early";
            return (format!("not valid before {}; {leaf}", leaf.begins), fix.to_owned());
        }
        if matches!(reason, CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }) {
            let fix = format!("give one of its names as host, or see who answers in the place of {host} (DNS, proxy)");
            return (format!("not valid for {host}; {leaf}"), fix);
        }
        if matches!(reason, CertificateError::Other(other) if other.0.is::<CaAsServer>()) {
            let detail = format!("marked as the certificate of a CA (CA:TRUE), and not one of ca-file; {leaf}");
            return (detail, cure_ca(host));
        }
        (format!("{}; {leaf}", in_words(&reason.clone().into())), cure_other(host))
    }
}

fn cure_unknown_issuer(host: &str, root: &str) -> String {
    format!(
        "if {host} has a private CA, or a TLS-inspecting proxy is on the way, give the CA certificate of {root} \
         as ca-file; if the issuer is a public CA, the server does not send its intermediate certificates"
    )
}

fn cure_ca(host: &str) -> String {
    format!(
        "give exactly this certificate, in PEM form, as ca-file: it is trusted for {host} by itself; or have {host} use one \
         that is not of a CA (openssl req -x509 ... -addext basicConstraints=critical,CA:FALSE)"
    )
}

fn cure_other(host: &str) -> String {
    format!("give {host} a certificate that is right, or see who answers in its place (DNS, proxy)")
}
