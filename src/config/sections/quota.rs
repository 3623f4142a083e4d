//! The quota of a listener or a caller.

use serde::de::Deserializer;
use serde::{Deserialize, Serialize, Serializer};

use crate::config::value::parsed;
use crate::proxy::quota::QuotaLimit;

/// How much may be sent within a time: each is a limit of its own.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct QuotaSection {
    /// All requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<QuotaLimit>,
    /// Those with another method than GET and HEAD.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub writes: Option<QuotaLimit>,
    /// Those for an operation whose risk is critical, and writes that the catalogue lacks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub critical: Option<QuotaLimit>,
}

impl<'de> Deserialize<'de> for QuotaLimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer, |text| {
            text.parse().map_err(|error: crate::proxy::quota::QuotaLimitError| error.to_string())
        })
    }
}

impl Serialize for QuotaLimit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
