//! The table of what replicas share.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::unplaced;
use crate::config::units::Period;
use crate::config::value::{ClientSecret, SealingKeyFiles};

/// What replicas share: a store, and the keys that seal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct SharedSection {
    /// Where the store is; without it only the keys are shared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<Spanned<String>>,
    /// The sentinels that know where the primary of the name in `url` is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sentinels: Vec<Spanned<String>>,
    /// The ACL user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The password of the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Spanned<ClientSecret>>,
    /// The password of the sentinels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentinel_password: Option<Spanned<ClientSecret>>,
    /// The CA of the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<Spanned<PathBuf>>,
    /// The sealing key, or several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Spanned<SealingKeyFiles>>,
    /// What the names of all entries begin with.
    pub prefix: Spanned<String>,
    /// How long an answer of the store may take that a request waits for.
    pub timeout: Spanned<Period>,
}

impl Default for SharedSection {
    fn default() -> Self {
        Self {
            url: None,
            sentinels: Vec::new(),
            username: None,
            password: None,
            sentinel_password: None,
            ca_file: None,
            key: None,
            prefix: unplaced("ninjaone-proxy".to_owned()),
            timeout: unplaced(Period(Duration::from_millis(20))),
        }
    }
}
