//! Reads names and dates out of a certificate.

use std::time::{SystemTime, UNIX_EPOCH};

use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

use crate::net::tls::certificate::alternative_names;

/// A certificate that ends within so many days should be renewed.
pub(super) const SOON: i64 = 14;
/// More names of a certificate than these are only counted.
const SHOWN_NAMES: usize = 6;
const DAY: i64 = 24 * 3600;

/// What a certificate says.
#[derive(Debug)]
pub(super) struct CertificateFacts {
    subject: String,
    pub(super) issuer: String,
    names: Vec<String>,
    pub(super) begins: String,
    pub(super) ends: String,
    /// Whole days until it ends; negative once it has ended.
    pub(super) days_left: i64,
}

impl CertificateFacts {
    pub(super) fn read(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let (begins, ends) = (certificate.validity().not_before, certificate.validity().not_after);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        let days_left = (ends.timestamp() - i64::try_from(now.as_secs()).ok()?).div_euclid(DAY);
        Some(Self {
            subject: certificate.subject().to_string(),
            issuer: certificate.issuer().to_string(),
            names: alternative_names(der),
            begins: date(begins),
            ends: date(ends),
            days_left,
        })
    }
}

impl std::fmt::Display for CertificateFacts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { subject, issuer, names, ends, days_left, .. } = self;
        write!(
            f,
            "certificate {subject} for {}",
            names.iter().take(SHOWN_NAMES).cloned().collect::<Vec<_>>().join(", ")
        )?;
        match names.len() {
            0 => f.write_str("no name")?,
            count if count > SHOWN_NAMES => write!(f, " and {} more", count - SHOWN_NAMES)?,
            _ => {}
        }
        write!(f, ", issued by {issuer}, valid until {ends}")?;
        if *days_left >= 0 { write!(f, " ({days_left} days left)") } else { Ok(()) }
    }
}

fn date(time: ASN1Time) -> String {
    time.to_datetime().date().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(names: &[&str], days: u64) -> CertificateFacts {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut parameters = rcgen::CertificateParams::new(names).expect("parameters");
        let end = SystemTime::now() + std::time::Duration::from_secs(days * 24 * 3600 + 60);
        parameters.not_after = end.into();
        let key = rcgen::KeyPair::generate().expect("a key");
        CertificateFacts::read(parameters.self_signed(&key).expect("a certificate").der()).expect("facts")
    }

    #[test]
    fn certificate_tells_its_names_and_the_days_that_are_left() {
        let facts = facts(&["eu.example", "192.0.2.1", "2001:db8::1"], 9);
        assert_eq!(facts.names, ["eu.example", "192.0.2.1", "2001:db8::1"]);
        assert_eq!(facts.days_left, 9);
        assert!(facts.to_string().contains(" for eu.example, 192.0.2.1, 2001:db8::1, issued by CN="), "{facts}");
        assert!(facts.to_string().ends_with(" (9 days left)"), "{facts}");
    }

    #[test]
    fn certificate_with_many_names_shows_some_and_counts_the_rest() {
        let facts =
            facts(&["a.example", "b.example", "c.example", "d.example", "e.example", "f.example", "g.example"], 1);
        assert!(facts.to_string().contains("f.example and 1 more, issued"), "{facts}");
    }

    #[test]
    fn certificate_that_is_none_has_no_facts() {
        assert!(CertificateFacts::read(b"").is_none() && CertificateFacts::read(b"0\x82\xff\xff").is_none());
    }
}
