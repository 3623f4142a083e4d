//! The key `tls` of a listener: `"local-ca"`, or a table with the files of a certificate.

use std::fmt;
use std::path::PathBuf;

use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use toml::Spanned;

use crate::net::tls::server::CallerCertificates;

/// Where a listener's certificate comes from.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum TlsChoice {
    /// `"local-ca"`.
    LocalCa(LocalCaChoice),
    /// Files.
    Files(TlsSection),
}

/// TLS on a listener.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TlsSection {
    /// PEM file of its certificate and those that lead to a root.
    pub certificate: Spanned<PathBuf>,
    /// PEM file of the certificate's private key.
    pub key: Spanned<PathBuf>,
    /// PEM file of who vouches for callers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<Spanned<PathBuf>>,
    /// Whether callers must show a certificate; `required` without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_auth: Option<Spanned<CallerCertificates>>,
}

/// The word `"local-ca"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum LocalCaChoice {
    /// The only one.
    #[serde(rename = "local-ca")]
    Word,
}

/// The word, or a table.
struct TlsVisitor;

impl<'de> Visitor<'de> for TlsVisitor {
    type Value = TlsChoice;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"local-ca\" or a table with certificate and key")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<TlsChoice, E> {
        let bad = || {
            E::custom(format!("{text:?} is not a kind of TLS: write \"local-ca\", or a table with certificate and key"))
        };
        (text == "local-ca").then_some(TlsChoice::LocalCa(LocalCaChoice::Word)).ok_or_else(bad)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TlsChoice, A::Error> {
        TlsSection::deserialize(de::value::MapAccessDeserializer::new(map)).map(TlsChoice::Files)
    }
}

impl<'de> Deserialize<'de> for TlsChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TlsVisitor)
    }
}
