//! The table of an instance: where a tenant is, the credentials for it, and how fast requests go to it.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::user::UserSection;
use super::{seconds, unplaced};
use crate::config::host::InstanceHost;
use crate::config::units::{Pause, Period};
use crate::config::value::{ClientId, ClientSecret, InstanceAddress, ProxyChoice, Reference};
use crate::proxy::token::endpoint::ClientAuthMethod;

/// A NinjaOne tenant's API host, and the credentials for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct InstanceSection {
    /// Where it is.
    pub host: Spanned<InstanceHost>,
    /// Its addresses, instead of those that DNS has for its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub addresses: Option<Spanned<Vec<InstanceAddress>>>,
    /// The path of its token endpoint.
    pub token_path: Spanned<String>,
    /// The id of the API client app.
    pub client_id: Spanned<ClientId>,
    /// The secret of the API client app.
    pub client_secret: Spanned<ClientSecret>,
    /// How the token endpoint is given both.
    pub client_auth: ClientAuthMethod,
    /// PEM file of trust anchors in addition to the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<Spanned<PathBuf>>,
    /// PEM file of the certificate that the instance is shown if it asks for one, and those that lead to a root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Spanned<PathBuf>>,
    /// PEM file of that certificate's private key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Spanned<PathBuf>>,
    /// The HTTP proxy on the way; without it the environment may name one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<Spanned<ProxyChoice>>,
    /// How fast requests go to it; without it as they come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<RateSection>,
    /// Persons who sign in there, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub users: BTreeMap<String, UserSection>,
}

/// How fast requests go to an instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct RateSection {
    /// In the long run; none: unlimited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<Spanned<f64>>,
    /// At once; none: as in a second, rounded up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<Spanned<NonZeroU32>>,
    /// At a time; none: unlimited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrent: Option<NonZeroU32>,
    /// The longest that a request is held back.
    pub wait: Period,
    /// The longest `Retry-After` with which a read is sent again after a 429; 0: it never is.
    pub retry_after_max: Pause,
}

impl Default for InstanceSection {
    fn default() -> Self {
        let variable = |name: &str| Reference::Env(name.to_owned());
        Self {
            host: unplaced(InstanceHost::Sandbox),
            addresses: None,
            token_path: unplaced("/ws/oauth/token".to_owned()),
            client_id: unplaced(ClientId::Reference(variable("NINJAONE_CLIENT_ID"))),
            client_secret: unplaced(ClientSecret(variable("NINJAONE_CLIENT_SECRET"))),
            client_auth: ClientAuthMethod::Form,
            ca_file: None,
            certificate: None,
            key: None,
            proxy: None,
            rate: None,
            users: BTreeMap::new(),
        }
    }
}

impl Default for RateSection {
    fn default() -> Self {
        Self {
            requests_per_second: None,
            burst: None,
            concurrent: None,
            wait: seconds(10),
            retry_after_max: Pause(Duration::ZERO),
        }
    }
}
