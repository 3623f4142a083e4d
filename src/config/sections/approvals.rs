//! The table of approvals: who may approve requests, how many must, and how long there is for it.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::{seconds, unplaced};
use crate::config::units::{Pause, Period};
use crate::config::value::NotifyAddress;

/// The approval of requests by people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct ApprovalsSection {
    /// How long the connection of a caller is held.
    pub wait: Spanned<Pause>,
    /// How long a request can be approved, and sent.
    pub expires: Period,
    /// How many approvers must say yes.
    pub required: Spanned<NonZeroU16>,
    /// The same for operations of critical risk.
    pub required_critical: Spanned<NonZeroU16>,
    /// Who may approve, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub approvers: BTreeMap<String, ApproverSection>,
    /// Where each request that waits is told of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notify: Option<Spanned<NotifyAddress>>,
}

/// Somebody who may approve requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct ApproverSection {
    /// The hash of the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Spanned<String>>,
}

impl Default for ApprovalsSection {
    fn default() -> Self {
        Self {
            wait: unplaced(Pause(seconds(30).0)),
            expires: seconds(15 * 60),
            required: unplaced(NonZeroU16::MIN),
            required_critical: unplaced(NonZeroU16::MIN),
            approvers: BTreeMap::new(),
            notify: None,
        }
    }
}
