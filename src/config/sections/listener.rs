//! The tables of a listener and its callers: where it listens, who may call, and what is open to them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::{AllowEntry, QuotaSection, TlsChoice, UserFor, unplaced};
use crate::config::value::{Address, ListenerMode, Permissions};
use crate::proxy::policy::catalog::Scope;

/// A local port, and what may be done through it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct ListenerSection {
    /// Where it listens.
    pub address: Spanned<Address>,
    /// Whether its rules are enforced, as without it, or only observed; or the permissions of a Unix socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Spanned<ListenerMode>>,
    /// The permissions of a Unix socket; 0600 without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permissions: Option<Spanned<Permissions>>,
    /// The group of a Unix socket, by name or number; without it the system gives one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<Spanned<String>>,
    /// TLS; clear text without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Spanned<TlsChoice>>,
    /// The instance's name; optional while there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<Spanned<String>>,
    /// The names that callers may use in addition to localhost, 127.0.0.1 and `[::1]`.
    pub names: Vec<Spanned<String>>,
    /// The ceiling.
    pub scopes: Spanned<Vec<Spanned<String>>>,
    /// The groups that are open; empty: every group of the scopes.
    pub groups: Vec<Spanned<String>>,
    /// Single operations on top, each as a text, or as a table with conditions.
    pub allow: Vec<Spanned<AllowEntry>>,
    /// What is closed in any case.
    pub deny: Vec<Spanned<String>>,
    /// The fence: the organizations that callers see and change, by their ids; all without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organizations: Option<Spanned<Vec<Spanned<i64>>>>,
    /// The person behind the operations that need one, of the instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<Spanned<String>>,
    /// Which operations get that person's token; those that need it without this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_for: Option<Spanned<UserFor>>,
    /// How much may go through it within a time, all its callers together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota: Option<Spanned<QuotaSection>>,
    /// Whether writes are sent; they are without this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub writes: Option<Spanned<WritesChoice>>,
    /// The names for which it stands in: CONNECT to their port 443 ends at this proxy.
    pub intercept: Vec<Spanned<String>>,
    /// The other names that CONNECT may reach.
    pub tunnel: Vec<Spanned<String>>,
    /// The web pages of other origins that may use it.
    pub allowed_origins: Vec<Spanned<String>>,
    /// Whether callers may send their keys in clear text over a network.
    pub cleartext: bool,
    /// Who may call, by name; none: everybody who reaches it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub callers: BTreeMap<String, Spanned<CallerSection>>,
}

/// A caller of a listener: how it proves who it is, and what it may do of what the listener opens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct CallerSection {
    /// The hash of its key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Spanned<String>>,
    /// The SHA-256 fingerprint of its client certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Spanned<String>>,
    /// Its user ids, on a Unix socket.
    pub uids: Vec<u32>,
    /// Its group ids, on a Unix socket.
    pub gids: Vec<u32>,
    /// Its ceiling; none: the listener's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Spanned<Vec<Spanned<String>>>>,
    /// The groups that are open; empty: every group of the scopes.
    pub groups: Vec<Spanned<String>>,
    /// Single operations on top, each as a text, or as a table with conditions.
    pub allow: Vec<Spanned<AllowEntry>>,
    /// What is closed in any case.
    pub deny: Vec<Spanned<String>>,
    /// The fence: the organizations that it sees and changes, of the listener's if that has any; those without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organizations: Option<Spanned<Vec<Spanned<i64>>>>,
    /// The person behind the operations that need one; the listener's without it, nobody if it is `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<Spanned<String>>,
    /// Which operations get that person's token; as on the listener without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_for: Option<Spanned<UserFor>>,
    /// How much it may send within a time; the listener's quota applies too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota: Option<Spanned<QuotaSection>>,
    /// Whether its writes are sent; as on the listener without this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub writes: Option<Spanned<WritesChoice>>,
    /// Those of the names that the listener stands in for which it may use; all without this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intercept: Option<Vec<Spanned<String>>>,
    /// Those of the listener's other servers which it may reach; all without this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<Vec<Spanned<String>>>,
}

/// What becomes of requests that may change something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WritesChoice {
    /// They are sent.
    Send,
    /// They are answered with invented data, and not sent.
    DryRun,
}

impl Default for ListenerSection {
    fn default() -> Self {
        Self {
            address: unplaced(Address::Localhost(8080)),
            mode: None,
            permissions: None,
            group: None,
            tls: None,
            instance: None,
            names: Vec::new(),
            scopes: unplaced(vec![unplaced(Scope::Monitoring.as_str().to_owned())]),
            groups: Vec::new(),
            allow: Vec::new(),
            deny: Vec::new(),
            organizations: None,
            user: None,
            user_for: None,
            quota: None,
            writes: None,
            intercept: Vec::new(),
            tunnel: Vec::new(),
            allowed_origins: Vec::new(),
            cleartext: false,
            callers: BTreeMap::new(),
        }
    }
}
