//! What `[approvals]` says, and whether requests can be approved at all.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use reqwest::Url;
use tokio::time::timeout;
use toml::Spanned;

use super::Config;
use super::mistake::ConfigMistake;
use super::sections::{ApprovalsSection, ApproverSection};
use super::value::{NotifyAddress, SecretText};
use crate::base::secret::Secret;
use crate::net::own_addresses::OwnAddresses;
use crate::net::tls::Trust;
use crate::observe::notices::NoticesConfig;
use crate::proxy::approval::{ApprovalsConfig, Approver};

/// The longest that a caller's connection is held.
const MAX_WAIT: Duration = Duration::from_secs(300);
/// How long the name of the webhook may take to be looked up.
const LOOK_UP: Duration = Duration::from_secs(2);
/// What is written in the file, and is taken for a webhook.
const WEBHOOK: &str = "write the URL of a webhook, such as https://hooks.example/T000/B000, or { file = \"PATH\" } of a file that holds it";

impl Config {
    /// Who may approve requests, how many must, and how long there is for it.
    pub(super) fn approvals(&self) -> Result<ApprovalsConfig, ConfigMistake> {
        let ApprovalsSection { wait, expires, required, required_critical, approvers, notify } = &self.file.approvals;
        if wait.get_ref().0 > MAX_WAIT {
            let message = "too long: at most \"5m\". A caller that is not answered by then gets 202, and asks again";
            return Err(self.mistake(wait, message));
        }
        let mut known = Vec::with_capacity(approvers.len());
        for (name, file) in approvers {
            known.push(self.approver(name, file)?);
        }
        self.check_approver_keys(approvers)?;
        self.check_required(required, approvers.len())?;
        self.check_required(required_critical, approvers.len())?;
        if let (Some(name), None) = (approvers.keys().next(), &self.file.admin.address.0) {
            let message = "approvers decide at the admin listener, and admin.address is \"none\": give it an address, such as \"127.0.0.1:9180\", or remove the approvers";
            return Err(self.about(&["approvals", "approvers", name], &[], message));
        }
        Ok(ApprovalsConfig {
            wait: wait.get_ref().0,
            expires: expires.0,
            required: usize::from(required.get_ref().get()),
            required_critical: usize::from(required_critical.get_ref().get()),
            approvers: known,
            notifies: notify.is_some(),
        })
    }

    /// What a rule with `approval = true` lacks; `None` if requests can be approved.
    pub fn approvals_lack(&self) -> Option<&'static str> {
        if self.file.approvals.approvers.is_empty() {
            return Some(
                "approval = true needs somebody who can approve, and there is no approver: run \"ninjaone-proxy key new NAME --approver\", and add the lines that it prints",
            );
        }
        self.file.admin.address.0.is_none().then_some(
            "approval = true needs the admin listener, where approvers decide, and admin.address is \"none\": give it an address, such as \"127.0.0.1:9180\"",
        )
    }

    fn approver(&self, name: &str, ApproverSection { key }: &ApproverSection) -> Result<Approver, ConfigMistake> {
        let place = ["approvals", "approvers", name];
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || name.starts_with('-') || !name.chars().all(is_plain) {
            let message = format!("{name:?} is not a valid name: use letters, digits, -, _ and ., such as lead");
            return Err(self.about(&place, &[], message));
        }
        let Some(text) = key else {
            let message = format!(
                "the approver {name} has nothing to prove who it is: give it key (\"ninjaone-proxy key new {name} --approver\" makes one)"
            );
            return Err(self.about(&place, &[], message));
        };
        let key = self.key_hash(text)?;
        if key.is_guessed(name) {
            let message = format!(
                "this is the hash of a key that is guessed at once, such as a common word, the approver's name or nothing: \"ninjaone-proxy key new {name} --approver\" makes one that nobody can guess"
            );
            return Err(self.mistake(text, message));
        }
        Ok(Approver { name: name.to_owned(), key })
    }

    /// An approver is somebody else than any caller, and than any other approver.
    fn check_approver_keys(&self, approvers: &BTreeMap<String, ApproverSection>) -> Result<(), ConfigMistake> {
        let lowered = |key: &Spanned<String>| key.get_ref().to_ascii_lowercase();
        let mut taken = BTreeMap::new();
        for (name, file) in approvers {
            let place = ["approvals", "approvers", name.as_str()];
            let callers = self.file.listeners.iter().flat_map(|(listener, file)| {
                file.callers.iter().map(move |(caller, file)| (listener, caller, file.get_ref()))
            });
            let key = file.key.as_ref().map(lowered);
            for (listener, caller, file) in callers {
                if caller == name {
                    let message = format!(
                        "listeners.{listener} has a caller of this name, and an approver must be somebody else than the caller: rename one of them"
                    );
                    return Err(self.about(&place, &[], message));
                }
                if key.is_some() && file.key.as_ref().map(lowered) == key {
                    let message = format!(
                        "the caller {caller} of listeners.{listener} has the same key, and could approve its own requests: make another with \"ninjaone-proxy key new {name} --approver\""
                    );
                    return Err(self.about(&["approvals", "approvers", name, "key"], &[], message));
                }
            }
            if let Some(other) = key.and_then(|key| taken.insert(key, name)) {
                let message = format!(
                    "the approver {other} has the same key, and one person would count as two: make another with \"ninjaone-proxy key new {name} --approver\""
                );
                return Err(self.about(&["approvals", "approvers", name, "key"], &[], message));
            }
        }
        Ok(())
    }

    fn check_required(&self, required: &Spanned<NonZeroU16>, approvers: usize) -> Result<(), ConfigMistake> {
        let wanted = required.get_ref().get();
        if usize::from(wanted) <= approvers.max(1) {
            return Ok(());
        }
        let there = match approvers {
            0 => "there is no approver".to_owned(),
            1 => "there is one approver".to_owned(),
            count => format!("there are {count} approvers"),
        };
        let message = format!(
            "{wanted} different approvers must say yes, and {there}: no request could ever be approved; add [approvals.approvers.NAME], or write a smaller number"
        );
        Err(self.mistake(required, message))
    }

    /// Where requests that wait are told of; reads the address.
    pub(super) fn notices(&self) -> Result<Option<NoticesConfig>, ConfigMistake> {
        let Some(place) = &self.file.approvals.notify else { return Ok(None) };
        let url = match place.get_ref() {
            NotifyAddress::Url(SecretText(text)) => Secret::new(text.clone()),
            NotifyAddress::Reference(reference) => {
                let read = self.referred(reference).and_then(|source| source.read());
                read.map_err(|error| self.mistake(place, error.to_string()))?
            }
        };
        let parsed = webhook(&url.expose()).map_err(|error| self.mistake(place, error))?;
        let trust = if parsed.scheme() == "https" && !self.offline { Trust::load(None) } else { Ok(Trust::nobody()) };
        let trust = trust.map_err(|error| self.mistake(place, error.to_string()))?;
        Ok(Some(NoticesConfig { url, trust }))
    }

    /// The same as far as it is in the file itself.
    pub(super) fn check_notices_offline(&self) -> Result<(), ConfigMistake> {
        match &self.file.approvals.notify {
            Some(place) if matches!(place.get_ref(), NotifyAddress::Url(_)) => self.notices().map(drop),
            Some(_) | None => Ok(()),
        }
    }

    /// Looks up where notices go, and refuses a listener of this proxy.
    pub async fn check_notices(
        &self,
        notices: Option<&NoticesConfig>,
        own: &OwnAddresses,
    ) -> Result<(), ConfigMistake> {
        let (Some(notices), Some(place)) = (notices, &self.file.approvals.notify) else { return Ok(()) };
        let Ok(url) = Url::parse(&notices.url.expose()) else { return Ok(()) };
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else { return Ok(()) };
        // A name that cannot be looked up now is not a mistake: notices are tried each time.
        let host = host.trim_matches(['[', ']']);
        let Ok(Ok(addresses)) = timeout(LOOK_UP, tokio::net::lookup_host((host, port))).await else { return Ok(()) };
        let reached = addresses.filter_map(|address| own.reached_by(address)).next();
        match reached {
            None => Ok(()),
            Some((name, address)) => {
                let message = format!(
                    "this leads to where {name} of this proxy listens ({address}), which takes no notices: {WEBHOOK}"
                );
                Err(self.mistake(place, message))
            }
        }
    }
}

/// An address that notices may go to. Errors show nothing of it: it is a secret.
fn webhook(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|_| format!("this is not a URL: {WEBHOOK}"))?;
    let is_here = |host: &str| {
        let ip = host.trim_matches(['[', ']']).parse::<IpAddr>();
        host == "localhost" || ip.is_ok_and(|ip| ip.to_canonical().is_loopback())
    };
    match (url.scheme(), url.host_str()) {
        ("https", Some(_)) => Ok(url),
        ("http", Some(host)) if is_here(host) => Ok(url),
        ("http", Some(_)) => Err(format!(
            "over http, everybody on the way could read the address, and post there: write https://; http only leads to this machine (127.0.0.1). {WEBHOOK}"
        )),
        _ => Err(format!("this is not an https URL: {WEBHOOK}")),
    }
}
