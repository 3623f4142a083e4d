//! What the stages are made of, once the configuration is checked.

use std::path::PathBuf;
use std::sync::Arc;

use super::instance_site::ServerConfig;
use super::redirect_uri::RedirectUri;
use super::sandbox_warning::SandboxWarning;
use crate::net::listener::ListenAddress;
use crate::net::tls::local::LocalCa;
use crate::net::tls::server::IdentitySource;
use crate::observe::audit_log;
use crate::observe::notices::NoticesConfig;
use crate::observe::traces;
use crate::proxy::approval::ApprovalsConfig;
use crate::proxy::authn::browser;
use crate::proxy::authn::callers::CallerProofs;
use crate::proxy::connect::TunnelTarget;
use crate::proxy::policy::Policy;
use crate::proxy::policy::catalog::ScopeSet;
use crate::proxy::quota::{ByKind, QuotaLimit};
use crate::proxy::rate_limit::RateLimits;
use crate::proxy::token::credentials::Credentials;
use crate::proxy::token::endpoint::ClientAuthMethod;
use crate::proxy::token::user_grant::grant_file::GrantFile;
use crate::shared::StoreConfig;
use crate::shared::sealing::SealingKeys;

/// What the stages are made of.
#[derive(Debug)]
pub struct Settings {
    /// By [`crate::proxy::policy::InstanceId`].
    pub instances: Vec<InstanceConfig>,
    /// In the order of their names.
    pub listeners: Vec<ListenerConfig>,
    /// Where the operations used are recorded, if a listener only observes its rules.
    pub record: Option<PathBuf>,
    /// The audit log, if it is enabled.
    pub audit: Option<audit_log::AuditConfig>,
    /// Where spans go, if anywhere.
    pub traces: Option<traces::TracesConfig>,
    /// Who approves requests, and how.
    pub approvals: ApprovalsConfig,
    /// What replicas share.
    pub shared: SharedConfig,
    /// Where requests that wait are told of, if anywhere.
    pub notices: Option<NoticesConfig>,
    /// Instances that are the sandbox although a tenant seems to be meant.
    pub doubts: Vec<SandboxWarning>,
}

/// What replicas share.
#[derive(Debug, Default)]
pub struct SharedConfig {
    /// What seals, also the local tokens; `None`: a key that is made at the start.
    pub keys: Option<Arc<SealingKeys>>,
    /// The store, if there is one.
    pub store: Option<StoreConfig>,
}

/// A NinjaOne tenant.
#[derive(Debug)]
pub struct InstanceConfig {
    /// Its name in the configuration.
    pub name: String,
    /// Where it is, and whom we are there; `None` for the embedded sandbox.
    pub origin: Option<ServerConfig>,
    /// The path of its token endpoint.
    pub token_path: String,
    /// How that is given the credentials.
    pub client_auth: ClientAuthMethod,
    /// The persons who may be behind requests.
    pub users: Vec<UserConfig>,
    /// How fast requests go to it; `None`: as they come.
    pub rate: Option<RateLimits>,
    /// The command line that examines it.
    pub doctor: String,
}

/// A person, whose token is used for operations that need one.
#[derive(Debug)]
pub struct UserConfig {
    /// The name in the configuration.
    pub name: String,
    /// As which app the person signs in.
    pub credentials: Arc<Credentials>,
    /// Where the browser comes back to after the sign-in, as the app has it registered.
    pub redirect: RedirectUri,
    /// The scopes, `offline_access` apart.
    pub scopes: ScopeSet,
    /// Where the grant is kept.
    pub file: GrantFile,
    /// The command line that signs the person in.
    pub login: String,
}

/// A local port.
#[derive(Debug)]
pub struct ListenerConfig {
    /// Its name in the configuration.
    pub name: String,
    /// Where it listens.
    pub place: ListenAddress,
    /// What its TLS is made of; `None` for clear text.
    pub tls: Option<IdentitySource>,
    /// Further names that callers may use.
    pub names: Vec<String>,
    /// The names for which it stands in, lower case.
    pub intercept: Vec<String>,
    /// What vouches for these names, if there are any.
    pub interception: Option<LocalCa>,
    /// The other servers that CONNECT may reach.
    pub tunnel: Vec<TunnelTarget>,
    /// The pages of other origins that may use it.
    pub origins: Vec<browser::WebOrigin>,
    /// What may be done through it at most.
    pub policy: Arc<Policy>,
    /// How much may go through it within a time, all its callers together.
    pub quota: ByKind<QuotaLimit>,
    /// Its writes are not sent, whoever calls.
    pub tries_writes: bool,
    /// Who may call, by [`crate::proxy::authn::callers::CallerId`]; empty: everybody who reaches it.
    pub callers: Vec<CallerConfig>,
}

/// Somebody who may call.
#[derive(Debug)]
pub struct CallerConfig {
    /// Its name and its proofs.
    pub entry: CallerProofs,
    /// What it may do.
    pub policy: Arc<Policy>,
    /// How much it may send within a time.
    pub quota: ByKind<QuotaLimit>,
    /// Its writes are not sent.
    pub tries_writes: bool,
    /// What of the listener's servers it may reach by CONNECT, if not all.
    pub reach: Option<CallerReach>,
}

/// What a caller may reach by CONNECT.
#[derive(Debug, Clone)]
pub struct CallerReach {
    /// Names that the listener stands in for.
    pub intercept: Vec<String>,
    /// Other servers.
    pub tunnel: Vec<TunnelTarget>,
}

impl ListenerConfig {
    /// What is open to those who call: the policy of each caller, or the listener's own where there are none.
    pub fn policies(&self) -> Vec<&Arc<Policy>> {
        match self.callers.as_slice() {
            [] => vec![&self.policy],
            callers => callers.iter().map(|caller| &caller.policy).collect(),
        }
    }
}
